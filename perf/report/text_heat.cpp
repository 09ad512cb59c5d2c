// Which parts of their bus the jobs used.

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "perf/heat/heat_map.hpp"
#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

namespace {

constexpr std::size_t kMaxMaps = 4;
constexpr std::size_t kMaxMapRows = 8;

void add_job(const ReportJson& job, Table& table, std::string& notes, std::size_t width) {
  const ReportJson& heat = job.at("heat");
  const std::string name = words(job, "jobname");
  const ReportJson& set = heat.at("working_set_bytes");
  const auto percentile = [&](const char* key) {
    return set.is_null() ? std::string("-") : format_memory(count(set, key));
  };
  table.add({name, percentile("p50"), percentile("p95"),
             format_share(figure(heat, "touched_share")),
             format_share(figure(heat, "written_share")), format_memory(count(heat, "bytes"))});
  for (const char* const key : {"reason", "writes_reason"}) {
    if (heat.at(key).is_null()) continue;
    const char* const before = key == std::string_view("reason") ? ": " : ": writes: ";
    notes += wrapped("  " + name + before + words(heat, key), width, 4);
  }
}

/// The means of some rows, weighted by their looks.
std::vector<double> mean_of_rows(const ReportJson& rows, std::size_t first, std::size_t last) {
  std::vector<double> sums;
  double looks = 0;
  for (std::size_t i = first; i < last; ++i) {
    const ReportJson& cells = rows.at(i).at("accessed");
    const auto weight = rows.at(i).at("looks").get<double>();
    looks += weight;
    sums.resize(std::max(sums.size(), cells.size()));
    for (std::size_t cell = 0; cell < cells.size(); ++cell) {
      sums[cell] += cells.at(cell).get<double>() * weight;
    }
  }
  for (double& sum : sums) sum /= looks;
  return sums;
}

/// The cells with a bar at the end of each part.
std::string barred(const std::string& cells, const ReportJson& parts) {
  std::string text = "|";
  std::size_t at = 0;
  for (const ReportJson& part : parts) {
    const auto width = part.at("cells").get<std::size_t>();
    text += cells.substr(std::min(at, cells.size()), width) + '|';
    at += width;
  }
  return text;
}

/// The map of a job: what to draw, or a sentence if it would be one character, repeated.
struct MapText {
  std::string drawn, said;
};

/// Time goes down, addresses go across.
MapText map_text(const ReportJson& job, std::size_t width) {
  const ReportJson& map = job.at("heat").at("map");
  if (map.is_null() || map.at("rows").empty()) return {};
  const ReportJson& rows = map.at("rows");
  const std::size_t lines = std::min(rows.size(), kMaxMapRows);
  std::string text = "  " + words(job, "jobname") + '\n';
  std::vector<double> all;
  for (std::size_t line = 0; line < lines; ++line) {
    const std::size_t first = line * rows.size() / lines;
    const std::size_t last = (line + 1) * rows.size() / lines;
    std::array<char, 32> label{};
    std::snprintf(label.data(), label.size(), "  %8.1f s ",
                  rows.at(first).at("begin_s").get<double>());
    const auto shares = mean_of_rows(rows, first, last);
    text += label.data() + barred(heat_strip(shares), map.at("parts")) + '\n';
    all.insert(all.end(), shares.begin(), shares.end());
  }
  const auto one = heat_of_all(all);
  if (!one) return {text, ""};
  const std::string used =
      *one > 0 ? "all parts of its bus were used alike, in " + heat_share(*one) + " of the looks"
               : "no part of its bus was used";
  return {"", wrapped("  " + words(job, "jobname") + ": " + used, width, 4)};
}

/// The maps of the first jobs that have one, the drawn ones first.
std::string maps_text(const std::vector<const ReportJson*>& jobs, std::size_t width) {
  std::string maps, sentences;
  std::size_t known = 0;
  for (const ReportJson* const job : jobs) {
    const MapText map = map_text(*job, width);
    if (map.drawn.empty() && map.said.empty()) continue;
    if (++known > kMaxMaps) continue;
    maps += map.drawn;
    sentences += map.said;
  }
  if (known > kMaxMaps) {
    sentences +=
        "  maps of other jobs, which are not shown: " + std::to_string(known - kMaxMaps) + '\n';
  }
  if (maps.empty()) return sentences;
  return wrapped(
             "  over time: header, ports and ring of the bus; share of the looks in which a part "
             "was "
             "used,",
             width, 4) +
         "    from none to all: \"" + std::string(kHeatScale) + "\"\n" + maps + sentences;
}

}  // namespace

std::string heat_text(const ReportJson& report, std::size_t width) {
  Table table;
  table.add({"heat of the bus", "used, p50", "p95", "touched", "written", "of"});
  std::string notes;
  std::vector<const ReportJson*> jobs;
  for (const ReportJson& job : report.at("jobs")) {
    if (!job.contains("heat")) continue;
    jobs.push_back(&job);
    add_job(job, table, notes, width);
  }
  if (jobs.empty()) return "";
  return table.text(width) + notes + maps_text(jobs, width) + '\n';
}

}  // namespace shmif::perf
