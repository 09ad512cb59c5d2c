// What held the jobs back, in sentences.

#include <nlohmann/json.hpp>

#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

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

/// At most `max` causes. `whole`: adds how they were found, and where to find the others.
std::string some_causes_text(const ReportJson& report, std::size_t width, std::size_t max,
                             bool whole) {
  const auto causes = report.find("causes");
  if (causes == report.end()) return "";  // a file of an earlier version
  if (causes->is_null()) {
    return wrapped("what held the jobs back is not known: " + words(report, "causes_reason"), width,
                   2);
  }
  if (causes->empty()) {
    const std::uint64_t lost = lost_frames(report);
    const std::string unexplained =
        lost == 0 ? "" : "; what lost " + format_counted(lost, "frame") + " was not seen";
    return wrapped("nothing held the jobs back" + of_run(report) + unexplained +
                       (whole ? how_text(report) : ""),
                   width, 2);
  }
  std::string text = "what held the jobs back" + of_run(report) + ", the heaviest first\n";
  for (std::size_t i = 0; i < causes->size() && i < max; ++i) {
    text += wrapped("  " + words(causes->at(i), "sentence"), width, 4);
  }
  if (causes->size() <= max) return text;
  const std::size_t rest = causes->size() - max;
  return text + "  ... and " +
         (whole ? format_count(rest) + " more: --output-format=json"
                : format_counted(rest, "more cause")) +
         '\n';
}

}  // namespace

std::string causes_text(const ReportJson& report, std::size_t width) {
  constexpr std::size_t kMax = 10;
  return some_causes_text(report, width, kMax, true);
}

std::string main_causes_text(const ReportJson& report, std::size_t width, std::size_t max) {
  return some_causes_text(report, width, max, false);
}

}  // namespace shmif::perf
