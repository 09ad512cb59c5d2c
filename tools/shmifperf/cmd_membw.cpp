// shmifperf membw: measures memory bandwidth by the counters of the memory controllers, by resctrl,
// and by what software copied.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>

#include "perf/figures/units.hpp"
#include "perf/membw/fill_counts.hpp"
#include "perf/membw/fill_load.hpp"
#include "perf/membw/load_source.hpp"
#include "perf/membw/measure.hpp"
#include "perf/membw/pmu_source.hpp"
#include "perf/membw/resctrl_source.hpp"
#include "perf/membw/software_source.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/membw_output.hpp"
#include "tools/shmifperf/membw_target.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

using Sources = std::vector<std::unique_ptr<perf::MemorySource>>;
using std::chrono::nanoseconds;

constexpr std::uint64_t kMaxSamples = 1'000'000;
constexpr std::size_t kSamplesOfLoad = 5;

Options describe_membw() {
  Options options("membw", "[-p PID[,PID]... | --load fill | -- PROGRAM [ARGUMENT]...]");
  options.about(
      "Measures memory bandwidth, from up to three independent sources: the counters of the memory "
      "controllers (pmu), the monitoring of the resctrl file system (resctrl), and the bytes that "
      "software copied (software). A source that this machine does not have is listed with the "
      "reason. Without processes, a program or a load, it measures the whole machine. It drops the "
      "first sample.");
  MembwTarget::describe(options);
  options
      .repeatable("source", "SOURCE", "only this source: pmu, resctrl or software (default: all)")
      .flag("compare", "compare each pair of sources, and say whether they agree")
      .value("report", "WHAT",
             "which bytes --compare compares: reads, writes or total (default: total)")
      .value("tolerance", "SHARE", "with --compare: how far apart sources may be (default: 8%)")
      .value("floor", "SIZE",
             "with --compare: say nothing about sources that measured fewer bytes per second "
             "(default: 750M)")
      .value("bus", "PATH", "also count what the ports of this bus read and write")
      .value("samples", "N",
             "keep N samples; the first one, which is dropped, does not count (default: with a "
             "program or -p, until it ends; with --load, 5; for the whole machine, 1)")
      .value("window", "TIME", "length of a sample (default: 1s)")
      .value("interval", "TIME", "from one sample to the next (default: they follow each other)")
      .value("settle", "TIME", "wait this long before the first sample (default: 1s)")
      .value("socket", "N", "only the memory controllers of this socket")
      .flag("mount", "mount resctrl if it is not, and unmount it at the end")
      .value("control-group", "NAME",
             "measure in this control group of resctrl; if it is missing, make it, and delete it "
             "at the "
             "end")
      .value("csv", "FILE", "append a line for each source and sample to this file")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .value("fill", "TIME", "measure nothing: be the built-in load for that long")
      .value("fill-counts", "FILE",
             "with --fill: the file in which the load counts what it has filled, for membw --load")
      .flag("json", "print JSON, for scripts");
  return options;
}

Arguments parse_membw(const CommandLine& line) {
  return describe_membw()
      .example("shmifperf membw --load fill --samples 3 --compare",
               "what the sources say about a known load")
      .example("shmifperf membw -p $(pidof -s rx) --bus /dev/shm/bus0 --samples 10",
               "a receiver, and the bus that it reads")
      .example(
          "shmifperf membw --json -o membw.json -- ./rx; jq '.sources[] | {source, "
          "total_bytes_per_s}' membw.json",
          "for a script")
      .parse(line);
}

nanoseconds time_of(const Arguments& args, const char* option, nanoseconds usual,
                    nanoseconds least) {
  const nanoseconds time = args.seconds(option).value_or(usual);
  if (time >= least && time <= std::chrono::hours(1)) return time;
  throw UsageError{std::string("--") + option + ": it must be " +
                   (least.count() > 0 ? "10ms to 1h" : "at most 1h")};
}

perf::MembwOptions options_of_membw(const Arguments& args) {
  constexpr nanoseconds kLeastWindow = std::chrono::milliseconds(10);
  perf::MembwOptions options;
  options.window = time_of(args, "window", options.window, kLeastWindow);
  options.settle = time_of(args, "settle", options.settle, {});
  options.interval = time_of(args, "interval", options.interval, {});
  std::size_t usual = args.given("load") ? kSamplesOfLoad : 1;
  if (args.given("pid") || !args.program().empty()) usual = 0;
  options.samples = static_cast<std::size_t>(args.count("samples", 1, kMaxSamples).value_or(usual));
  return options;
}

perf::MemoryReport report_of(const Arguments& args) {
  const std::string word = args.text("report").value_or("total");
  for (const auto each :
       {perf::MemoryReport::reads, perf::MemoryReport::writes, perf::MemoryReport::total}) {
    if (word == perf::word_of(each)) return each;
  }
  throw UsageError{"--report \"" + word + "\" is not known (write reads, writes or total)"};
}

perf::CompareLimits limits_of(const Arguments& args) {
  perf::CompareLimits limits;
  limits.tolerance = args.share("tolerance").value_or(limits.tolerance);
  if (const auto floor = args.size("floor")) {
    limits.floor_bytes_per_s = static_cast<double>(*floor);
  }
  return limits;
}

void check_source(const std::string& word) {
  if (word == "pmu" || word == "resctrl" || word == "software") return;
  throw UsageError{"--source \"" + word + "\" is not known (write pmu, resctrl or software)"};
}

Sources sources_of(const Arguments& args, const MembwTarget& target) {
  const perf::KernelFiles files(args.text("sysroot").value_or("/"));
  const auto asked = args.all("source");
  std::ranges::for_each(asked, check_source);
  const auto wants = [&](const char* name) {
    return asked.empty() || std::ranges::find(asked, name) != asked.end();
  };
  Sources sources;
  if (wants("pmu")) {
    std::optional<unsigned> socket;
    if (const auto number = args.count("socket", 0, 65535)) socket = static_cast<unsigned>(*number);
    sources.push_back(std::make_unique<perf::PmuSource>(files, socket));
  }
  if (wants("resctrl")) {
    perf::ResctrlOptions options;
    options.mount = args.flag("mount");
    options.control_group = args.text("control-group").value_or("");
    if (options.mount && args.given("sysroot")) {
      throw UsageError{"--mount is for this machine, and --sysroot is for another one"};
    }
    if (options.control_group.find('/') != std::string::npos) {
      throw UsageError{"--control-group: it must be a name without \"/\""};
    }
    sources.push_back(std::make_unique<perf::ResctrlSource>(files, std::move(options)));
  }
  if (wants("software")) {
    if (const auto bus = args.text("bus")) {
      sources.push_back(std::make_unique<perf::BusSource>(*bus));
    }
    if (target.counts() != nullptr) {
      sources.push_back(std::make_unique<perf::LoadSource>(*target.counts()));
    }
    if (!target.pids().empty()) sources.push_back(std::make_unique<perf::ProcessIoSource>(files));
    sources.push_back(std::make_unique<perf::DeviceSource>(files));
  }
  return sources;
}

int fill(const Arguments& args) {
  std::optional<perf::FillCounts> counts;
  if (const auto path = args.text("fill-counts")) {
    counts.emplace(perf::FillCounts::open(*path).value());
  }
  const auto filled =
      perf::fill_memory(args.seconds("fill").value(), {.counts = counts ? &*counts : nullptr})
          .value();
  const double rate = static_cast<double>(filled.bytes) / filled.seconds;
  std::printf("filled %s/s (read and written) in %s by %u threads, with %s each\n",
              perf::format_bytes(static_cast<std::uint64_t>(rate)).c_str(),
              perf::format_seconds(filled.seconds).c_str(), filled.threads,
              perf::format_memory(filled.buffer_bytes).c_str());
  return kDone;
}

/// How long the built-in load may run: well longer than it is measured.
nanoseconds longest_load(const perf::MembwOptions& options) {
  const nanoseconds one = std::max(options.window, options.interval);
  const auto windows = static_cast<std::int64_t>(options.samples) + 2;
  return options.settle + one * windows + std::chrono::seconds(10);
}

int exit_code_of_run(const perf::MembwResult& result, const StopSignals& stop,
                     MembwTarget& target) {
  if (result.error && !stop.stopped()) {
    return target.failure_code() != 0 ? target.failure_code() : kFailed;
  }
  const auto any = [&](const auto& holds) { return std::ranges::any_of(result.sources, holds); };
  Measured measured = Measured::unsupported;
  if (any([](const perf::MemorySummary& each) {
        return each.rates.total || each.rates.reads || each.rates.writes || each.rates.local;
      })) {
    measured = Measured::values;
  } else if (any([](const perf::MemorySummary& each) { return each.samples != 0; })) {
    measured = Measured::nothing;
  }
  return exit_code_of_instrument(stop.signal(), target.program_code(), measured);
}

int run_membw(const CommandLine& line) {
  const Arguments args = parse_membw(line);
  if (args.given("fill")) return fill(args);
  const perf::MembwOptions options = options_of_membw(args);
  const perf::MemoryReport report = report_of(args);
  const perf::CompareLimits limits = limits_of(args);
  const std::string csv = args.text("csv").value_or("");
  check_file(csv).value();
  check_file(args.text("output").value_or("-"), {csv}).value();
  const StopSignals stop;
  MembwTarget target(args, longest_load(options));
  const Sources sources = sources_of(args, target);
  perf::MembwHooks hooks;
  hooks.sleep = [&](nanoseconds time) { return target.sleep(time, stop); };
  hooks.begin = [&] {
    auto begun = target.begin();
    if (begun) target.wait_for_load(stop);
    return begun;
  };
  hooks.pause = [&] { return target.pause(); };
  hooks.resume = [&] { return target.resume(); };
  const perf::MembwResult result = perf::measure_memory(sources, target.pids(), options, hooks);
  const int code = exit_code_of_run(result, stop, target);
  target.end(stop.stopped() ? stop.signal() : SIGTERM);
  if (result.error) complain(result.error->message);
  if (target.failure_code() != 0) return code;  // there is nothing to print
  if (!csv.empty()) append_csv(csv, result).value();
  std::vector<perf::MemoryComparison> comparisons;
  if (args.flag("compare")) comparisons = perf::compare_all(result.sources, report, limits);
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::membw_json(result, report, comparisons)
                                     : membw_text(result, report, comparisons, width))
      .value();
  return code;
}

}  // namespace

const Command kMembwCommand{"membw", "measure memory bandwidth, from up to three sources",
                            run_membw};

}  // namespace shmif::tools
