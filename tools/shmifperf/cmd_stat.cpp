// shmifperf stat: counts events of programs.

#include <algorithm>
#include <chrono>
#include <span>
#include <string_view>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/stat.hpp"
#include "perf/report/counters_report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

Arguments parse_stat(const CommandLine& line) {
  Options options("stat", Watched::kSynopsisWithCpus);
  options.about(
      R"(Counts events of programs, with all their threads and the children that they start from
         then on: CPU time, page faults, context switches, tracepoints, and the CPU's cycles,
         instructions and caches where the machine has counters for them. What cannot be counted
         is listed with the reason. The result follows when the programs have ended. With
         PROGRAM, the exit code is that of the program; with -p it is 0, or 130 after Ctrl-C.
         With -a or -C, everything that runs on the CPUs is counted.)");
  Watched::describe_with_cpus(options);
  return options
      .repeatable("e,event", "EVENT[,EVENT]...",
                  R"(count these: task-clock, cycles:u, r1a8, sched:sched_switch,
                     cpu/event=0x3c,umask=1/, or a name that libpfm4 knows. Each -e, and each
                     group in braces as in {a,b},{c}, is an event set. Only one set counts at a
                     time: sets take turns. Use several for events that need more counters than
                     a CPU has)")
      .value("turn", "TIME", "how long each event set counts, 1ms to 60s (default: 10ms)")
      .value("switch-on", "EVENT:N",
             R"(begin the next event set at each Nth EVENT, such as page-faults:1000; with
                --turn, also after that time)")
      .flag("group",
            R"(count the events of a set only while each of them has a counter (default: the
               kernel may let them take turns))")
      .flag("stop-target", "with -p: stop the processes while their counters are read")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf stat -- make -j8", "CPU time, switches, faults, cycles and instructions")
      .example("shmifperf stat -e context-switches,sched:sched_switch -p $(pidof -s rx)",
               "a program that runs already, until Ctrl-C")
      .example("shmifperf stat -a -e context-switches,page-faults -- sleep 1",
               "all programs of the machine, for a second")
      .example("shmifperf stat -e cycles,instructions -e cache-misses,cache-references -- ./rx",
               "two event sets")
      .example("shmifperf stat --switch-on page-faults:100 -e task-clock -e cpu-clock -- ./rx",
               "two event sets, the next one at each 100th page fault")
      .example("shmifperf stat --json -o stat.json -- ./rx; jq '.events[].value' stat.json",
               "for scripts")
      .parse(line);
}

std::vector<perf::StatEvent> events_of(const Arguments& args) {
  const perf::EventNames names(perf::KernelFiles(args.text("sysroot").value_or("/")));
  std::vector<std::string> lists = args.all("event");
  if (lists.empty()) lists.emplace_back(perf::kUsualEvents);
  auto found = perf::find_stat_events(names, lists);
  if (!found) throw UsageError{"-e: " + found.error().message};
  return *std::move(found);
}

/// Reads EVENT:N. EVENT may have colons.
void put_switch_event(const std::string& text, const Arguments& args,
                      std::span<const perf::StatEvent> events, perf::StatOptions& options) {
  const std::size_t colon = std::min(text.rfind(':'), text.size());
  const auto period =
      base::read_digits(std::string_view(text).substr(std::min(colon + 1, text.size())));
  if (!period || *period == 0) {
    throw UsageError{"--switch-on: \"" + text + "\" is not EVENT:N, such as page-faults:1000"};
  }
  if (events.empty() || events.back().set == 0) {
    throw UsageError{"--switch-on needs at least two event sets (give -e twice)"};
  }
  const perf::EventNames names(perf::KernelFiles(args.text("sysroot").value_or("/")));
  const auto event = names.find(text.substr(0, colon));
  if (!event) throw UsageError{"--switch-on: " + event.error().message};
  options.switch_event = *event;
  options.switch_period = *period;
  options.turn = {};
}

perf::StatOptions options_of_stat(const Arguments& args, std::span<const perf::StatEvent> events) {
  perf::StatOptions options;
  options.cpus = Watched::cpus_of(args);
  options.on_exec = !args.program().empty();
  options.group = args.flag("group");
  options.stop_target = args.flag("stop-target");
  if (options.stop_target && !options.cpus.empty()) {
    throw UsageError{"--stop-target excludes -a and -C (it stops the processes of -p)"};
  }
  if (const auto text = args.text("switch-on")) put_switch_event(*text, args, events, options);
  if (const auto turn = args.seconds("turn")) {
    if (*turn < std::chrono::milliseconds(1) || *turn > std::chrono::minutes(1)) {
      throw UsageError{"--turn: it must be 1ms to 60s"};
    }
    options.turn = *turn;
  }
  return options;
}

perf::StatRun started_stat(std::vector<perf::StatEvent> events,
                           std::span<const perf::TaskId> processes,
                           const perf::StatOptions& options) {
  auto run = perf::StatRun::start(std::move(events), processes, options);
  if (run) return *std::move(run);
  if (run.error().code != make_error_code(Errc::not_supported)) throw Exception(run.error());
  complain(run.error().message);
  throw Exit{kNotSupported};
}

void print_stat(const Arguments& args, const perf::StatResult& result) {
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::stat_json(result) : perf::stat_text(result, width))
      .value();
}

int run_stat(const CommandLine& line) {
  const Arguments args = parse_stat(line);
  std::vector<perf::StatEvent> events = events_of(args);
  const perf::StatOptions options = options_of_stat(args, events);
  const StopSignals stop;
  check_file(args.text("output").value_or("-")).value();
  Watched watched(args);
  std::vector<perf::TaskId> processes;
  for (const perf::Process& process : watched.processes()) processes.push_back(process.id());
  perf::StatRun run = started_stat(std::move(events), processes, options);
  if (!run.counts() && !options.cpus.empty()) {
    print_stat(args, run.finish().value());
    return kNotSupported;  // the program would only have said how long to count
  }
  watched.begin();
  const auto look = options.switch_event ? std::chrono::milliseconds(20) : std::chrono::minutes(1);
  // Runs until the programs have ended, or a signal comes. It does not wait for processes that have
  // no event that can be counted.
  while ((run.counts() || watched.is_program()) &&
         watched.wait_until(std::chrono::steady_clock::now() + look, stop)) {
    run.look();
  }
  perf::StatResult result = run.finish().value();
  result.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  print_stat(args, result);
  const bool any = std::ranges::any_of(result.events, [](const perf::StatEvent& each) {
    return each.state != "not permitted" && each.state != "not supported";
  });
  return watched.exit_code(stop, any ? Measured::values : Measured::unsupported);
}

}  // namespace

const Command kStatCommand{"stat", "count events of programs", run_stat};

}  // namespace shmif::tools
