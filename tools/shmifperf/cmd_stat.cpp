// shmifperf stat: counts events of programs.

#include <algorithm>
#include <chrono>

#include "perf/counters/stat.hpp"
#include "perf/findings/counters_report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

Arguments parse_stat(const CommandLine& line) {
  Options options("stat", Watched::kSynopsis);
  options.about(
      "Counts events of programs, with all their threads and the children that they start from "
      "then on: CPU time, page faults, context switches, tracepoints, and the CPU's cycles, "
      "instructions and caches where the machine has counters for them. What cannot be counted "
      "is listed with the reason. The result follows when the programs have ended. With PROGRAM, "
      "the exit code is that of the program; with -p it is 0, or 130 after Ctrl-C.");
  Watched::describe(options);
  return options
      .repeatable("e,event", "EVENT[,EVENT]...",
                  "count these: task-clock, cycles:u, r1a8, sched:sched_switch, "
                  "cpu/event=0x3c,umask=1/, or a name that libpfm4 knows. Each -e, and each group "
                  "in braces as in {a,b},{c}, is an event set. Only one set counts at a time: sets "
                  "take turns. Use several for events that need more counters than a CPU has")
      .value("turn", "TIME", "how long each event set counts, 1ms to 60s (default: 10ms)")
      .flag("group",
            "count the events of a set only while each of them has a counter (default: the kernel "
            "may let them take turns)")
      .flag("stop-target", "with -p: stop the processes while their counters are read")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf stat -- make -j8", "CPU time, switches, faults, cycles and instructions")
      .example("shmifperf stat -e context-switches,sched:sched_switch -p $(pidof -s rx)",
               "a program that runs already, until Ctrl-C")
      .example("shmifperf stat -e cycles,instructions -e cache-misses,cache-references -- ./rx",
               "two event sets")
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

perf::StatOptions options_of_stat(const Arguments& args, bool program) {
  perf::StatOptions options;
  options.on_exec = program;
  options.group = args.flag("group");
  options.stop_target = args.flag("stop-target");
  if (const auto turn = args.seconds("turn")) {
    if (*turn < std::chrono::milliseconds(1) || *turn > std::chrono::minutes(1)) {
      throw UsageError{"--turn: it must be 1ms to 60s"};
    }
    options.turn = *turn;
  }
  return options;
}

int run_stat(const CommandLine& line) {
  const Arguments args = parse_stat(line);
  std::vector<perf::StatEvent> events = events_of(args);
  const perf::StatOptions options = options_of_stat(args, !args.program().empty());
  const StopSignals stop;
  check_file(args.text("output").value_or("-")).value();
  Watched watched(args);
  std::vector<perf::TaskId> processes;
  for (const perf::Process& process : watched.processes()) processes.push_back(process.id());
  perf::StatRun run = perf::StatRun::start(std::move(events), processes, options).value();
  watched.begin();
  constexpr std::chrono::minutes kLook{1};
  // Runs until the programs have ended, or a signal comes. Processes of which nothing can be
  // counted are not waited for.
  while ((run.counts() || watched.is_program()) &&
         watched.wait_until(std::chrono::steady_clock::now() + kLook, stop)) {
  }
  perf::StatResult result = run.finish().value();
  result.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::stat_json(result) : perf::stat_text(result, width))
      .value();
  const bool any = std::ranges::any_of(result.events, [](const perf::StatEvent& each) {
    return each.state != "not permitted" && each.state != "not supported";
  });
  return watched.exit_code(stop, any ? Measured::values : Measured::unsupported);
}

}  // namespace

const Command kStatCommand{"stat", "count events of programs", run_stat};

}  // namespace shmif::tools
