#include "tools/shmifperf/membw_output.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include "bus/file/output_file.hpp"
#include "perf/figures/table.hpp"
#include "perf/figures/units.hpp"

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

std::string source_table(const perf::MembwResult& result, std::size_t width) {
  perf::Table table(0);
  table.add({"source", "scope", "level", "samples", "reads", "writes", "total", "background"});
  for (const perf::MemorySummary& each : result.sources) {
    const bool measured = each.rates.total || each.rates.reads || each.rates.writes;
    table.add({each.label(), perf::word_of(each.scope), perf::word_of(each.level),
               measured ? std::to_string(each.samples) : "-", rate_text(each.rates.reads),
               rate_text(each.rates.writes), rate_text(each.rates.total),
               each.background ? rate_text(each.background->total) : "-"});
  }
  return table.text(width);
}

std::string comparison_line(const perf::MemoryComparison& each, std::size_t width) {
  std::string verdict = perf::word_of(each.verdict);
  for (char& letter : verdict) letter = letter == '_' ? ' ' : letter;
  std::string line = each.first + " and " + each.second + ": " + verdict;
  if (each.difference_share) {
    line += ", " + perf::format_share(each.difference_share) + " or " +
            rate_text(each.difference_bytes_per_s) + " apart";
  }
  if (!each.reason.empty()) line += " (" + perf::printable(each.reason) + ')';
  return perf::wrapped(line, width, 2);
}

}  // namespace

std::string membw_text(const perf::MembwResult& result, perf::MemoryReport report,
                       const std::vector<perf::MemoryComparison>& comparisons, std::size_t width) {
  std::string out = source_table(result, width);
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
  if (!comparisons.empty()) out += std::string("compared by ") + perf::word_of(report) + ":\n";
  for (const perf::MemoryComparison& each : comparisons) {
    out += comparison_line(each, width);
  }
  if (result.partial) out += "partial: it was ended before the measurement was complete\n";
  return out;
}

Result<void> append_csv(const std::string& path, const perf::MembwResult& result) {
  const auto cannot = [&](int number) {
    return Error::from_errno(number, "cannot append to " + path);
  };
  const auto file = bus::OutputFile::open_append(path, {.what = "cannot append to " + path});
  if (!file) return file.error();
  std::string text;
  if (file->old_bytes() == 0) {
    text =
        "sample,source,scope,level,begin_s,window_s,read_bytes_per_s,write_bytes_per_s,"
        "total_bytes_per_s,reason\n";
  }
  text += csv_lines(result);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(file->descriptor(), text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return cannot(wrote < 0 ? errno : EIO);
    done += static_cast<std::size_t>(wrote);
  }
  return {};
}

}  // namespace shmif::tools
