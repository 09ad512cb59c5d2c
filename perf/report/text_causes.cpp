// What held the jobs back, in sentences.

#include <nlohmann/json.hpp>

#include "perf/figures/table.hpp"
#include "perf/figures/units.hpp"
#include "perf/report/text_blocks.hpp"

namespace shmif::perf {
namespace {

/// " in run 2", if there were several runs.
std::string of_run(const ReportJson& report) {
  const auto shown = report.find("shown_run");
  if (shown == report.end() || shown->is_null()) return "";
  return " in run " + format_count(shown->get<std::uint64_t>());
}

/// " (29 looks in 2.93 s; not seen: /proc/pressure/memory)"
std::string how_text(const ReportJson& report) {
  const auto why = report.find("why");
  if (why == report.end() || why->is_null()) return "";
  std::string text = " (" + format_counted(count(*why, "looks").value_or(0), "look") + " in " +
                     format_seconds(figure(*why, "seconds"));
  const char* before = "; not seen: ";
  for (const ReportJson& each : why->at("missing")) {
    text += before + words(each, "source");
    before = ", ";
  }
  return text + ')';
}

/// The frames that the jobs lost.
std::uint64_t lost_frames(const ReportJson& report) {
  std::uint64_t lost = 0;
  for (const ReportJson& job : report.at("jobs")) {
    if (!job.at("loss").is_null()) lost += count(job.at("loss"), "lost_frames").value_or(0);
  }
  return lost;
}

}  // namespace

std::string causes_text(const ReportJson& report, std::size_t width) {
  constexpr std::size_t kMax = 10;
  const auto causes = report.find("causes");
  if (causes == report.end()) return "";  // of an earlier version
  if (causes->is_null()) {
    return wrapped("what held the jobs back is not known: " + words(report, "causes_reason"), width,
                   2);
  }
  if (causes->empty()) {
    const std::uint64_t lost = lost_frames(report);
    const std::string unexplained =
        lost == 0 ? "" : "; what lost " + format_counted(lost, "frame") + " was not seen";
    return wrapped("nothing held the jobs back" + of_run(report) + unexplained + how_text(report),
                   width, 2);
  }
  std::string text = "what held the jobs back" + of_run(report) + ", the heaviest first\n";
  for (std::size_t i = 0; i < causes->size() && i < kMax; ++i) {
    text += wrapped("  " + words(causes->at(i), "sentence"), width, 4);
  }
  if (causes->size() <= kMax) return text;
  return text + "  ... and " + format_count(causes->size() - kMax) +
         " more: --output-format=json\n";
}

}  // namespace shmif::perf
