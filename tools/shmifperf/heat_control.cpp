#include "tools/shmifperf/heat_control.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <filesystem>
#include <utility>

#include "base/descriptors.hpp"
#include "base/unique_fd.hpp"
#include "bus/repair/port_owners.hpp"
#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/monitor.hpp"
#include "shmif/bus.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {
namespace {

using perf::HeatRequest;
using perf::HeatVerb;

struct VerbOption {
  HeatVerb verb;
  const char* text;
};
constexpr std::array<VerbOption, 6> kVerbOptions{{
    {HeatVerb::on,
     R"(watch in the background: start a process, the monitor, if there is none, and turn it on,
        with the settings and targets that are given here or were given before)"},
    {HeatVerb::off, "turn the monitor off; settings, targets and the result are kept"},
    {HeatVerb::status, "print whether the monitor is on, its settings and its targets"},
    {HeatVerb::show, "print the monitor's newest result, also after --off"},
    {HeatVerb::set, "give the monitor settings and targets, without turning it on"},
    {HeatVerb::forget, "end the monitor, and lose its settings, targets and result"},
}};

/// The verb whose option is given, if any.
std::optional<HeatVerb> verb_in(const Arguments& args) {
  std::optional<HeatVerb> given;
  for (const VerbOption& each : kVerbOptions) {
    if (!args.given(to_word(each.verb))) continue;
    if (given) {
      throw UsageError{std::string("--") + to_word(*given) + " and --" + to_word(each.verb) +
                       " exclude each other"};
    }
    given = each.verb;
  }
  return given;
}

/// The processes with live ports on a bus. With `clients`, it includes those of other users: the
/// monitor watches them only if they take part in the named directory.
std::vector<pid_t> processes_on(const std::string& path, bool clients) {
  std::vector<pid_t> pids;
  std::string unknown;
  const BusInfo info = Bus::open(path).value().info();
  check_port_table(info, "find the processes on").value();
  bus::PortOwners owners(info);
  for (const PortInfo& port : info.ports) {
    if (!port.live) continue;
    const auto proven = owners.prove(port);
    const bool is_hidden = !proven && proven.error().code == std::errc::operation_not_permitted;
    if (!proven && !(clients && is_hidden && port.pid > 1)) {
      unknown =
          "port \"" + port.name + "\" on " + path + " is not watched: " + proven.error().message;
      complain(unknown);
      continue;
    }
    if (std::find(pids.begin(), pids.end(), port.pid) == pids.end()) pids.push_back(port.pid);
  }
  if (!pids.empty()) return pids;
  throw Exception(Error(Errc::bad_argument,
                        unknown.empty() ? "no process is attached to " + path
                                        : "the process of no port on " + path + " is known"));
}

HeatRequest request_of(const Arguments& args) {
  HeatRequest request;
  request.verb = verb_in(args).value();
  request.as_json = args.flag("json");
  if (const unsigned columns = terminal_columns()) request.columns = std::min(columns, 1000U);
  request.in_colour = request.verb == HeatVerb::show && !request.as_json && shows_colours();
  request.attributes = heat_setting<perf::read_attributes>(args, "attrs");
  request.targets = Watched::pids_of(args);
  request.backend = heat_setting<perf::read_heat_backend>(args, "backend");
  if (request.backend == perf::HeatBackend::written) throw UsageError{kWrittenIsOfPrograms};
  if (const auto path = args.text("bus")) {
    if (request.targets) throw UsageError{"--bus and -p exclude each other"};
    request.targets = processes_on(*path, args.given("clients"));
    // The heat of a bus consists only of processes that take part.
    if (!request.backend) request.backend = perf::HeatBackend::client;
  }
  request.damon = heat_damon_memory(args);
  if (request.damon && request.damon->space == perf::DamonSpace::paddr) {
    throw UsageError{"--ops paddr is not for the monitor, which watches processes (leave out --" +
                     std::string(to_word(request.verb)) + ')'};
  }
  request.clients = args.text("clients");
  if (request.clients && request.clients->find('\n') != std::string::npos) {
    throw UsageError{"--clients: a name with a newline"};
  }
  if (args.given("windows") || args.given("budget") || !args.program().empty()) {
    throw UsageError{
        "--windows, --budget and a program are not for the monitor (it takes -p or --bus)"};
  }
  const bool sets = request.verb == HeatVerb::on || request.verb == HeatVerb::set;
  if (request.has_settings() && !sets) {
    throw UsageError{"settings and targets are given with --on or --set"};
  }
  return request;
}

/// Removes an empty folder if it is the default one: a folder that the user named (--control)
/// stays.
void leave(const std::string& folder) {
  if (folder == perf::heat_control_path()) ::rmdir(folder.c_str());
}

/// Runs in the background, without a terminal and without descriptors of others.
[[noreturn]] void be_monitor(const std::string& folder, const std::string& sysroot,
                             UniqueFd ready) {
  ::setsid();
  for (const int signal : {SIGINT, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) ::_exit(kFailed);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, stream);
  const int kept = ready.get();
  base::close_all_but({kept}, STDERR_FILENO + 1);
  [[maybe_unused]] const int moved = ::chdir("/");
  std::string failure;
  try {
    auto listener = perf::HeatListener::open(folder);
    // Another monitor was faster, and serves as well.
    if (!listener && listener.error().code != Errc::busy) failure = listener.error().message;
    [[maybe_unused]] const auto told = ::write(kept, failure.data(), failure.size());
    ready.reset();
    if (listener) {
      perf::HeatMonitor monitor{perf::KernelFiles(sysroot)};
      listener->serve(monitor);
      // Another monitor may begin while this one waits for its last look to end.
      listener = Error(Errc::link_ended, "the monitor ends");
      leave(folder);
    }
  } catch (const std::exception&) {
    ::_exit(kFailed);
  }
  ::_exit(failure.empty() ? kDone : kFailed);
}

/// Returns when the monitor listens. If it cannot, throws Exception with its message.
void start_monitor(const std::string& folder, const std::string& sysroot) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Exception(Error::from_errno(errno, "cannot start the monitor of access heat"));
  }
  const UniqueFd answer(ends[0]);
  UniqueFd ready(ends[1]);
  const pid_t child = ::fork();
  if (child < 0)
    throw Exception(Error::from_errno(errno, "cannot start the monitor of access heat"));
  if (child == 0) {
    // A grandchild is not our child, so this process need not wait for it.
    if (::fork() == 0) be_monitor(folder, sysroot, std::move(ready));
    ::_exit(kDone);
  }
  ready.reset();
  ::waitpid(child, nullptr, 0);
  std::string failure;
  std::array<char, 512> part;
  for (ssize_t got = 0; (got = ::read(answer.get(), part.data(), part.size())) > 0;) {
    failure.append(part.data(), static_cast<std::size_t>(got));
  }
  if (!failure.empty()) throw Exception(Error(Errc::link_ended, failure));
}

std::string folder_of(const Arguments& args) {
  const auto given = args.text("control");
  if (!given) return perf::heat_control_folder().value();
  // An absolute path is needed, because the monitor has another working directory.
  const std::string folder = std::filesystem::absolute(*given).string();
  perf::make_private_folder(folder).value();
  return folder;
}

/// Answers in place of a monitor that does not run: heat is off, and no data is stored.
int answer_without_monitor(const HeatRequest& request, const Error& why) {
  switch (request.verb) {
    case HeatVerb::off:
    case HeatVerb::forget: return kDone;
    case HeatVerb::status: {
      const perf::HeatMonitor none;
      const perf::HeatStatus status = none.status();
      write_file("-",
                 request.as_json ? perf::heat_status_json(status) : perf::heat_status_text(status))
          .value();
      return kDone;
    }
    default: return fail(why);
  }
}

}  // namespace

std::optional<perf::DamonMemory> heat_damon_memory(const Arguments& args) {
  const auto space = args.text("ops");
  const auto ranges = args.text("ranges");
  if (!space && !ranges) return std::nullopt;
  auto memory = perf::read_damon_memory(space ? &*space : nullptr, ranges ? &*ranges : nullptr);
  if (!memory) {
    throw UsageError{std::string(ranges ? "--ranges" : "--ops") + ": " + memory.error().message};
  }
  return *std::move(memory);
}

void describe_heat_control(Options& options) {
  for (const VerbOption& each : kVerbOptions) options.flag(to_word(each.verb), each.text);
  options.value("control", "DIR",
                R"(directory of the monitor's socket (default: shmif-heat in $XDG_RUNTIME_DIR,
                   or /tmp/shmif-heat-UID))");
}

bool is_heat_control(const Arguments& args) {
  return std::ranges::any_of(
      kVerbOptions, [&](const VerbOption& each) { return args.given(to_word(each.verb)); });
}

int control_heat(const Arguments& args) {
  const HeatRequest request = request_of(args);
  const std::string folder = folder_of(args);
  auto answer = perf::ask_heat_monitor(folder, request);
  if (!answer && answer.error().code == Errc::link_ended) {
    const bool starts = request.verb == HeatVerb::on || request.verb == HeatVerb::set;
    if (!starts) {
      leave(folder);
      return answer_without_monitor(request, answer.error());
    }
    start_monitor(folder, args.text("sysroot").value_or("/"));
    answer = perf::ask_heat_monitor(folder, request);
    if (!answer) {  // a monitor without work does not stay
      HeatRequest forget;
      forget.verb = HeatVerb::forget;
      static_cast<void>(perf::ask_heat_monitor(folder, forget));
    }
  }
  if (!answer) return fail(answer.error());
  write_file("-", *answer).value();
  return kDone;
}

}  // namespace shmif::tools
