// shmifperf why: watches programs, and says what held them back.

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

#include "base/quantity.hpp"
#include "instruments/watch/clock.hpp"
#include "perf/report/why_report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t kUsualIntervalNs = 100'000'000;
constexpr std::uint64_t kShortestNs = 10'000'000;
constexpr std::uint64_t kLongestNs = 60'000'000'000;

Arguments parse_why(const CommandLine& line) {
  Options options("why", Watched::kSynopsis);
  options.about(
      R"(Watches programs and says what held them back: whether they waited for a CPU, were
         stopped, throttled or moved, and whether the hypervisor, the kernel's packet queues,
         network interfaces, a lack of memory or the bus delayed them. Prints the result when
         the programs have ended. With PROGRAM, the exit code is that of the program; with -p it
         is 0, or 130 after Ctrl-C. Needs no privileges for the user's own processes.)");
  Watched::describe(options);
  return options
      .repeatable("bus", "PATH", "also watch this bus, and count what the programs lose on it")
      .value("interval", "TIME",
             "how often to look, 10ms to 60s (default: " +
                 base::time_text(std::chrono::nanoseconds(kUsualIntervalNs)) + ")")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf why -- make -j8", "what slowed the build down")
      .example("shmifperf why -p $(pidof -s rx) --bus /dev/shm/bus0",
               "a receiver, until Ctrl-C, with the frames that it loses")
      .example("shmifperf why --json -o why.json -- ./rx; jq '.causes[0].sentence' why.json",
               "the heaviest cause")
      .parse(line);
}

std::uint64_t interval_of(const Arguments& args) {
  const auto given = args.seconds("interval");
  if (!given) return kUsualIntervalNs;
  const auto ns = static_cast<std::uint64_t>(given->count());
  if (ns < kShortestNs || ns > kLongestNs) {
    throw UsageError{"--interval: it must be 10ms to 60s"};
  }
  return ns;
}

/// The name of the process. Its number is added if another process has the same name.
std::string name_of(const perf::KernelFiles& files, pid_t pid,
                    const std::vector<perf::WatchedJob>& others) {
  const auto text = files.read("/proc/" + std::to_string(pid) + "/stat");
  const auto stat = text ? perf::read_task_stat(*text) : perf::TaskStat{};
  const std::string name = stat ? stat->name : "";
  const bool taken = std::ranges::find(others, name, &perf::WatchedJob::name) != others.end();
  return name.empty() || taken ? name + '(' + std::to_string(pid) + ')' : name;
}

void add_jobs(perf::WhySampler& sampler, const Watched& watched, const Arguments& args,
              const perf::KernelFiles& files) {
  for (const perf::Process& process : watched.processes()) {
    std::string name;
    if (watched.is_program()) {
      name = args.program().front();
      name.erase(0, name.rfind('/') + 1);
    } else {
      name = name_of(files, process.pid(), sampler.series().jobs);
    }
    const std::size_t job = sampler.add_job(std::move(name));
    if (!sampler.add_process(job, process.pid()) && !process.has_ended()) {
      const int number = errno;
      if (const char* const remedy = perf::descriptor_remedy(number); *remedy != 0) {
        throw Exception(Error::from_errno(
            number, "cannot watch process " + std::to_string(process.pid()), remedy));
      }
      throw Exception(Error(Errc::not_supported,
                            "cannot watch process " + std::to_string(process.pid()) + ": " +
                                files.path("/proc/" + std::to_string(process.pid()) + "/task") +
                                " cannot be listed"));
    }
  }
}

steady_clock::time_point time_of(std::uint64_t ns) {
  return steady_clock::time_point(std::chrono::nanoseconds(ns));
}

int run_why(const CommandLine& line) {
  const Arguments args = parse_why(line);
  const std::uint64_t interval = interval_of(args);
  check_file(args.text("output").value_or("-")).value();
  const StopSignals stop;
  Watched watched(args);
  const perf::KernelFiles files(args.text("sysroot").value_or("/"));
  perf::WhySampler sampler(files, perf::now_ns());
  add_jobs(sampler, watched, args, files);
  for (const std::string& bus : args.all("bus")) sampler.add_bus(bus).value();
  sampler.sample(perf::now_ns());
  watched.begin();
  // Runs until the programs have ended, or a signal comes.
  while (watched.wait_until(time_of(sampler.next_ns(interval)), stop)) {
    sampler.sample(perf::now_ns());
  }
  sampler.sample(perf::now_ns());
  perf::WhyResult result = perf::why_result(sampler, traffic_of_ports(sampler.series()));
  result.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::why_json(result) : perf::why_text(result, width))
      .value();
  return watched.exit_code(stop, Measured::values);
}

}  // namespace

const Command kWhyCommand{"why", "watch programs, and say what held them back", run_why};

}  // namespace shmif::tools
