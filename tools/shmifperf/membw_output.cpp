#include "tools/shmifperf/membw_output.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "bus/file/output_file.hpp"
#include "perf/report/table.hpp"

namespace shmif::tools {

namespace {

std::string rate_text(const std::optional<double>& bytes_per_s) {
  if (!bytes_per_s) return "-";
  const auto bytes = static_cast<std::uint64_t>(std::llround(std::max(*bytes_per_s, 0.0)));
  return perf::format_bytes(bytes) + "/s";
}

std::string csv_number(const std::optional<double>& number) {
  if (!number) return {};
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.1f", *number);
  return text.data();
}

/// A field of CSV, as RFC 4180 quotes it.
std::string csv_text(const std::string& text) {
  std::string quoted = "\"";
  for (const char each : perf::printable(text)) {
    quoted += each;
    if (each == '"') quoted += each;
  }
  return quoted + '"';
}

std::string csv_lines(const perf::MembwResult& result) {
  constexpr double kNanosecondsInSecond = 1e9;
  std::string lines;
  for (const perf::MembwSample& sample : result.samples) {
    for (std::size_t at = 0; at < sample.readings.size(); ++at) {
      const perf::MemoryReading& each = sample.readings[at];
      const perf::MemorySummary& source = result.sources[at];
      std::array<char, 64> times{};
      std::snprintf(times.data(), times.size(), "%.6f,%.6f",
                    static_cast<double>(each.begin_ns) / kNanosecondsInSecond, each.window_s());
      lines += std::to_string(sample.number) + ',' + source.label() + ',' +
               perf::word_of(source.scope) + ',' + perf::word_of(source.level) + ',' +
               times.data() + ',' + csv_number(each.reads) + ',' + csv_number(each.writes) + ',' +
               csv_number(each.total) + ',' + csv_text(each.reason) + '\n';
    }
  }
  return lines;
}

/// The column "background" has the rate that is compared (`report`), as in JSON.
std::string source_table(const perf::MembwResult& result, perf::MemoryReport report,
                         std::size_t width) {
  perf::Table table(0);
  table.add({"source", "scope", "level", "samples", "reads", "writes", "total", "background"});
  for (const perf::MemorySummary& each : result.sources) {
    const bool measured = each.rates.total || each.rates.reads || each.rates.writes;
    table.add({each.label(), perf::word_of(each.scope), perf::word_of(each.level),
               measured ? std::to_string(each.samples) : "-", rate_text(each.rates.reads),
               rate_text(each.rates.writes), rate_text(each.rates.total),
               each.background ? rate_text(each.background->of(report)) : "-"});
  }
  return table.text(width);
}

std::string verdict_text(perf::MemoryVerdict verdict) {
  std::string text = perf::word_of(verdict);
  std::ranges::replace(text, '_', ' ');
  return text;
}

std::string comparison_line(const perf::MemoryComparison& each, std::size_t width) {
  std::string line = each.first + " and " + each.second + ": " + verdict_text(each.verdict);
  if (each.difference_share) {
    line += ", " + perf::format_share(each.difference_share) + " or " +
            rate_text(each.difference_bytes_per_s) + " apart";
  }
  if (!each.reason.empty()) line += " (" + perf::printable(each.reason) + ')';
  return perf::wrapped(line, width, 2);
}

std::string pids_text(const perf::MembwResult& result) {
  std::string text;
  for (const pid_t pid : result.processes) {
    text += (text.empty() ? "" : " ") + std::to_string(pid);
  }
  return text;
}

std::string allocation_of(const perf::MembwExtras& extras, std::size_t step) {
  return step < extras.allocations.size() ? extras.allocations[step] : std::string();
}

std::string difference_text(const perf::MemoryComparison& each) {
  if (!each.difference_share) return "-";
  return rate_text(each.difference_bytes_per_s) + ", " + perf::format_share(each.difference_share);
}

/// A row for each sample and each pair of sources that were both measured.
std::string pair_table(const perf::MembwResult& result, perf::MemoryReport report,
                       const perf::MembwExtras& extras, std::size_t width) {
  perf::Table table(2);
  table.add({"sample", "pid", "sources", "first", "second", "difference"});
  const std::string pids = pids_text(result);
  bool any = false;
  for (const perf::MembwSample& sample : result.samples) {
    for (const auto& each : perf::compare_sample(result, sample, report, *extras.pairs)) {
      if (!each.difference_share) continue;
      any = true;
      table.add({std::to_string(sample.number), pids.empty() ? "-" : pids,
                 each.first + " and " + each.second, rate_text(each.first_bytes_per_s),
                 rate_text(each.second_bytes_per_s), difference_text(each)});
    }
  }
  return any ? table.text(width) : std::string();
}

/// A row for each sample, with the sources that measured. Pairs of sources have a table of their
/// own.
std::string sample_table(const perf::MembwResult& result, std::size_t width) {
  perf::Table table(2);
  std::vector<std::vector<std::string>> rows(result.samples.size() + 1);
  rows[0].emplace_back("sample");
  for (std::size_t i = 0; i < result.samples.size(); ++i) {
    rows[i + 1].push_back(std::to_string(result.samples[i].number));
  }
  for (std::size_t at = 0; at < result.sources.size(); ++at) {
    if (!result.sources[at].rates.total) continue;
    rows[0].push_back(result.sources[at].label());
    for (std::size_t i = 0; i < result.samples.size(); ++i) {
      rows[i + 1].push_back(rate_text(result.samples[i].readings[at].total));
    }
  }
  for (const std::vector<std::string>& row : rows) table.add(row);
  return table.text(width);
}

/// A row for each step: the sources, and for each pair of sources the difference and a verdict.
std::string sweep_table(const perf::MembwResult& result, perf::MemoryReport report,
                        const perf::MembwExtras& extras, std::size_t width) {
  const auto compared =
      perf::compare_steps(result, report, extras.pairs.value_or(perf::CompareLimits{}));
  perf::Table table(0);
  std::vector<std::string> head{"allocation"};
  for (const perf::MemorySummary& each : result.sources) head.push_back(each.label());
  const auto tallies = perf::tally(compared);
  for (std::size_t pair = 0; pair < tallies.size(); ++pair) {
    head.insert(head.end(), {"difference", "verdict"});
  }
  table.add(head);
  for (std::size_t step = 0; step < result.steps.size(); ++step) {
    std::vector<std::string> row{allocation_of(extras, step)};
    for (const perf::MemorySummary& each : result.steps[step]) {
      row.push_back(rate_text(each.rates.of(report)));
    }
    for (const perf::MemoryComparison& each : compared[step]) {
      if (each.verdict == perf::MemoryVerdict::not_comparable) continue;
      row.insert(row.end(), {difference_text(each), verdict_text(each.verdict)});
    }
    table.add(row);
  }
  std::string out = table.text(width);
  for (const perf::MemoryTally& each : tallies) {
    out += perf::wrapped("all steps, " + each.first + " and " + each.second + ": " +
                             verdict_text(each.verdict()) + " (" + std::to_string(each.same) +
                             " same, " + std::to_string(each.different) + " different, " +
                             std::to_string(each.refused) + " refused, " +
                             std::to_string(each.not_measured) + " not measured)",
                         width, 2);
  }
  return out;
}

std::string pair_lines(const perf::MembwResult& result, perf::MemoryReport report,
                       const perf::MembwExtras& extras) {
  std::string lines;
  const std::string pids = pids_text(result);
  for (const perf::MembwSample& sample : result.samples) {
    for (const auto& each : perf::compare_sample(result, sample, report,
                                                 extras.pairs.value_or(perf::CompareLimits{}))) {
      lines += std::to_string(sample.number) + ',' + csv_text(allocation_of(extras, sample.step)) +
               ',' + pids + ',' + each.first + ',' + each.second + ',' +
               csv_number(each.first_bytes_per_s) + ',' + csv_number(each.second_bytes_per_s) +
               ',' + csv_number(each.difference_bytes_per_s) + ',' + perf::word_of(each.verdict) +
               ',' + csv_text(each.reason) + '\n';
    }
  }
  return lines;
}

/// The first line of a file, with its end; empty if it cannot be read.
std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  if (!std::getline(file, line)) return {};
  return line + '\n';
}

constexpr const char* kCsvHead =
    "sample,source,scope,level,begin_s,window_s,read_bytes_per_s,write_bytes_per_s,"
    "total_bytes_per_s,reason\n";
constexpr const char* kPairsCsvHead =
    "sample,allocation,pid,first,second,first_bytes_per_s,second_bytes_per_s,"
    "difference_bytes_per_s,verdict,reason\n";

/// If a file has lines, it must begin with this one. Otherwise its columns are different.
Result<void> check_head(const std::string& path, const std::string& head) {
  std::error_code error;
  if (path.empty() || !std::filesystem::is_regular_file(path, error)) return {};
  if (std::filesystem::file_size(path, error) == 0 || error) return {};
  if (first_line(path) == head) return {};
  return Error(Errc::bad_argument, "cannot append to " + path +
                                       ": its first line names other columns (give a new file)");
}

Result<void> append(const std::string& path, const std::string& head, const std::string& lines) {
  const auto cannot = [&](int number) {
    return Error::from_errno(number, "cannot append to " + path);
  };
  const auto file = bus::OutputFile::open_append(path, {.what = "cannot append to " + path});
  if (!file) return file.error();
  if (auto known = check_head(path, head); !known) return known;
  const std::string text = (file->old_bytes() == 0 ? head : std::string()) + lines;
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(file->descriptor(), text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return cannot(wrote < 0 ? errno : EIO);
    done += static_cast<std::size_t>(wrote);
  }
  return {};
}

}  // namespace

perf::CompareLimits membw_limits(const Arguments& args) {
  perf::CompareLimits limits;
  limits.tolerance = args.share("tolerance").value_or(limits.tolerance);
  if (const auto floor = args.size("floor")) {
    limits.floor_bytes_per_s = static_cast<double>(*floor);
  }
  return limits;
}

int membw_exit_code(const perf::MembwResult& result, perf::MemoryReport report,
                    const perf::CompareLimits& limits) {
  const auto tallies = perf::tally(perf::compare_steps(result, report, limits));
  const bool differ = std::ranges::any_of(
      tallies, [](const perf::MemoryTally& each) { return each.different > 0; });
  return differ ? kFailed : kDone;
}

std::string membw_text(const perf::MembwResult& result, perf::MemoryReport report,
                       const std::vector<perf::MemoryComparison>& comparisons,
                       const perf::MembwExtras& extras, std::size_t width) {
  std::string out = source_table(result, report, width);
  for (const perf::MemorySummary& each : result.sources) {
    if (!each.rates.reason.empty()) {
      out += perf::wrapped(each.label() + ": " + perf::printable(each.rates.reason), width, 2);
    }
    if (each.running_share < 1) {
      out += perf::wrapped(each.label() + ": scaled; a counter ran for only " +
                               perf::format_share(each.running_share) + " of a window",
                           width, 2);
    }
  }
  const bool sweeps = !result.steps.empty();
  if (!sweeps && !extras.allocations.empty()) {
    out += "measured with the allocation " + extras.allocations.front() + '\n';
  }
  if (!comparisons.empty() || sweeps) {
    out += std::string("compared by ") + perf::word_of(report) + ":\n";
  }
  for (const perf::MemoryComparison& each : comparisons) out += comparison_line(each, width);
  if (extras.pairs) {
    out += pair_table(result, report, extras, width);
  } else if (result.samples.size() > 1) {
    out += sample_table(result, width);
  }
  if (sweeps) out += sweep_table(result, report, extras, width);
  if (result.partial) out += "partial: it was ended before the measurement was complete\n";
  return out;
}

Result<void> append_csv(const std::string& path, const perf::MembwResult& result) {
  return append(path, kCsvHead, csv_lines(result));
}

Result<void> append_pairs_csv(const std::string& path, const perf::MembwResult& result,
                              perf::MemoryReport report, const perf::MembwExtras& extras) {
  return append(path, kPairsCsvHead, pair_lines(result, report, extras));
}

Result<void> check_csv(const std::string& path) {
  return check_head(path, kCsvHead);
}

Result<void> check_pairs_csv(const std::string& path) {
  return check_head(path, kPairsCsvHead);
}

}  // namespace shmif::tools
