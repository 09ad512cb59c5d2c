// shmifperf heat: which addresses processes access, and how often.

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "perf/heat/bus_heat.hpp"
#include "perf/heat/control_text.hpp"
#include "shmif/bus.hpp"
#include "shmif/heat_wire.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/heat_control.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

using perf::HeatBackend;
using perf::HeatOptions;
using perf::HeatSession;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostWindows = 1'000'000;

/// For programs that this command starts: a directory in which they share their access heat.
class ClientFolder {
 public:
  ClientFolder() {
    if (::mkdtemp(path_.data()) == nullptr) {
      throw Exception(Error::from_errno(errno, "cannot make a directory in /tmp"));
    }
    ::setenv(heat::kVariable, path_.c_str(), 1);
  }
  ClientFolder(const ClientFolder&) = delete;
  ClientFolder& operator=(const ClientFolder&) = delete;
  ~ClientFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_ = "/tmp/shmifperf-heat-XXXXXX";
};

HeatBackend heat_backend(const Arguments& args) {
  const std::string word = args.text("backend").value_or("auto");
  const auto backend = perf::read_heat_backend(word);
  if (!backend) throw UsageError{"--backend: " + backend.error().message};
  return *backend;
}

HeatOptions heat_options(const Arguments& args) {
  HeatOptions options;
  if (const auto text = args.text("attrs")) {
    auto read = perf::read_attributes(*text);
    if (!read) throw UsageError{"--attrs: " + read.error().message};
    options.attributes = *read;
  }
  options.backend = heat_backend(args);
  const char* const folder = std::getenv(heat::kVariable);
  options.clients = args.text("clients").value_or(folder == nullptr ? "" : folder);
  options.files = perf::KernelFiles(args.text("sysroot").value_or("/"));
  return options;
}

void print_heat(const Arguments& args, const HeatSession& session, const HeatOptions& options,
                bool partial) {
  const auto results = session.results();
  constexpr std::size_t kUsualColumns = 80;
  const std::size_t columns = terminal_columns();
  const std::string text =
      args.flag("json")
          ? perf::heat_json(results, options.attributes, partial)
          : perf::heat_text(results, options.attributes, columns == 0 ? kUsualColumns : columns);
  write_file("-", text).value();
}

/// Whether anything was measured of any target. If not, says why.
bool was_measured(const HeatSession& session) {
  const auto results = session.results();
  if (std::ranges::any_of(results, [](const auto& each) { return !each.windows.empty(); })) {
    return true;
  }
  for (const perf::HeatResult& each : results) {
    complain("process " + std::to_string(each.process.number) + " was not measured: " +
             (each.reason.empty() ? "it ended within the first sampling interval" : each.reason));
  }
  return false;
}

/// The processes on a bus. Those that cannot take part appear in the result, with the reason.
Watched watch_bus(const std::string& path, const HeatOptions& options, HeatSession& session) {
  const Bus bus = Bus::open(path).value();
  return Watched(
      perf::add_parties(session, perf::heat_parties(bus.info(), options.clients, options.files)));
}

Watched watched_of(const Arguments& args, const HeatOptions& options, HeatSession& session) {
  const auto bus = args.text("bus");
  if (!bus) {
    Watched watched(args);
    for (const perf::Process& process : watched.processes()) session.add(process);
    return watched;
  }
  if (args.given("pid") || !args.program().empty()) {
    throw UsageError{"--bus cannot be given with -p or a program (it names the processes)"};
  }
  if (options.backend == HeatBackend::clear_refs || options.backend == HeatBackend::damon) {
    throw UsageError{"--bus needs processes that take part (--backend client or auto)"};
  }
  return watch_bus(*bus, options, session);
}

int watch_heat(const Arguments& args) {
  HeatOptions options = heat_options(args);
  const auto wanted = args.count("windows", 1, kMostWindows);
  if (wanted) options.keep_windows = *wanted;
  std::optional<ClientFolder> folder;
  if (!args.program().empty() && options.clients.empty()) {
    options.clients = folder.emplace().path();
  } else if (!args.program().empty()) {
    ::setenv(heat::kVariable, options.clients.c_str(), 1);
  }
  HeatSession session(options);
  Watched watched = watched_of(args, options, session);
  const StopSignals stop;
  watched.begin();
  while (session.is_watching() && !(wanted && session.windows() >= *wanted)) {
    const auto next = std::min(session.step(), Clock::now() + std::chrono::hours(1));
    if (watched.wait_until(next, stop)) continue;
    session.step();
    break;
  }
  session.finish();
  const bool is_done = wanted && session.windows() >= *wanted;
  const bool is_partial = stop.stopped() && !is_done;
  if (stop.stopped() || is_done) watched.end(stop.stopped() ? stop.signal() : SIGTERM);
  print_heat(args, session, options, is_partial);
  if (is_partial && wanted) return kEndedBySignal + stop.signal();
  if (!was_measured(session)) return kFailed;
  return is_done || stop.stopped() ? kDone : watched.exit_code();
}

Options heat_command_line() {
  Options options("heat", "[-p PID[,PID]... | --bus PATH | -- PROGRAM [ARGUMENT]...]");
  options.about(
      "Shows which addresses of a process are accessed, how often, and for how many windows they "
      "have been accessed about as often. For a program that uses the library and was started with "
      "SHMIF_HEAT=DIR, it tells which pages of the bus the program accessed and wrote. For other "
      "programs, it tells only which mappings they accessed. It asks the kernel for this so rarely "
      "that this takes at most 1 % of a CPU.");
  Watched::describe(options);
  options
      .value("bus", "PATH",
             "watch the processes that are attached to this bus and were started with SHMIF_HEAT")
      .value("attrs", "S,A,U,MIN,MAX",
             "how often to check for accesses (sampling), how long a window is (aggregation), and "
             "how often to read the list of mappings (update), in microseconds or with a unit; the "
             "fewest and the most regions, which are neighbouring pages that are accessed about "
             "equally often (default: 5000,100000,1000000,10,1000)")
      .value("windows", "N", "end after N windows (aggregation intervals), and end the program")
      .value("backend", "NAME",
             "who tells the accesses: client, the process itself (SHMIF_HEAT), by page; "
             "clear_refs, the kernel, by mapping; damon, the kernel's monitor, of one process, if "
             "nobody else uses it; auto, client if the process offers it, or else "
             "clear_refs (default: auto)")
      .value("clients", "DIR",
             "the directory that SHMIF_HEAT names in the watched processes, by its path here "
             "(default: $SHMIF_HEAT, or what their own environments say)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts");
  describe_heat_control(options);
  options.example("shmifperf heat -p 1234 --windows 50 --json", "50 windows of 100 ms")
      .example("shmifperf heat --bus /dev/shm/bus0 --windows 10", "the programs on a bus")
      .example("shmifperf heat --on -p 1234", "in the background; later: shmifperf heat --show")
      .example("shmifperf heat --attrs 100ms,1s,1s,10,1000 -- ./rig", "a rig from its beginning");
  return options;
}

int run_heat(const CommandLine& line) {
  const Arguments args = heat_command_line().parse(line);
  return is_heat_control(args) ? control_heat(args) : watch_heat(args);
}

}  // namespace

const Command kHeatCommand{"heat", "show which addresses a process accesses", run_heat};

}  // namespace shmif::tools
