// shmifperf heat: which addresses processes access, and how often.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/descriptors.hpp"
#include "base/unique_fd.hpp"
#include "bus/repair/port_owners.hpp"
#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/control_text.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/monitor.hpp"
#include "instruments/heat/session.hpp"
#include "instruments/heat/source.hpp"
#include "shmif/bus.hpp"
#include "shmif/heat_wire.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::tools {

namespace {

// shmifperf heat --live: the newest windows on the terminal, drawn again for each window.

/// Takes over the terminal while it exists (Screen). Threads: one at a time.
class LiveHeat {
 public:
  /// `keys`: whether keys are for this command. They are not if a program shares the terminal.
  LiveHeat(const perf::HeatAttributes& attributes, bool keys);

  /// Wait for these, too: one is readable when a key or a signal has come.
  std::vector<int> descriptors() const;
  /// Draws the session, if it has changed or the terminal has another size. It draws at most 20
  /// times per second. Result: false if the user typed q. Blocks: while the terminal stands still.
  bool look(const perf::HeatSession& session);

 private:
  using Clock = std::chrono::steady_clock;
  bool quits();

  perf::HeatAttributes attributes_;
  bool keys_;
  bool is_stale_ = true;  ///< must be drawn, also without new windows
  std::uint64_t drawn_ = 0;
  Clock::time_point next_{};
  Screen screen_;
};

LiveHeat::LiveHeat(const perf::HeatAttributes& attributes, bool keys)
    : attributes_(attributes), keys_(keys) {}

std::vector<int> LiveHeat::descriptors() const {
  std::vector<int> all{screen_.signal_descriptor()};
  if (keys_) all.push_back(STDIN_FILENO);
  return all;
}

/// Reads the pending keys.
bool LiveHeat::quits() {
  if (!keys_) return false;
  std::array<char, 64> keys;
  const ssize_t n = ::read(STDIN_FILENO, keys.data(), keys.size());
  // On a terminal, nothing was typed. Elsewhere, an empty read means the end.
  if (n <= 0) {
    keys_ = ::isatty(STDIN_FILENO) == 1;
    return false;
  }
  return std::string_view(keys.data(), static_cast<std::size_t>(n)).find_first_of("qQ") !=
         std::string_view::npos;
}

bool LiveHeat::look(const perf::HeatSession& session) {
  while (const int number = screen_.next_signal()) {
    if (number == SIGTSTP) screen_.suspend();
    is_stale_ = true;
  }
  if (quits()) return false;
  const Clock::time_point now = Clock::now();
  if (!is_stale_ && (session.changes() == drawn_ || now < next_)) return true;
  constexpr std::chrono::milliseconds kBetween{50};
  next_ = now + kBetween;
  drawn_ = session.changes();
  is_stale_ = false;
  const Screen::Size size = screen_.size();
  screen_.show(
      perf::heat_picture(session.views(), attributes_, size.columns, size.rows, shows_colours()) +
      (keys_ ? "q quits" : "Ctrl-C quits"));
  return true;
}

// shmifperf heat --on, --off, ...: commands for the monitor of access heat, which runs on its own.

constexpr const char* kWrittenIsOfPrograms =
    "--backend written is for a program that heat starts (give -- PROGRAM, or another backend)";

/// What `read` makes of an option; empty if the option is not given. Throws UsageError.
template <auto read>
auto heat_setting(const Arguments& args, const char* option) {
  const auto text = args.text(option);
  auto value = text ? std::optional(read(*text)) : std::nullopt;
  if (value && !*value)
    throw UsageError{std::string("--") + option + ": " + value->error().message};
  return value ? std::optional(**value) : std::nullopt;
}

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

/// The memory that --ops and --ranges name; empty if neither is given. Throws UsageError.
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

/// Adds these options to the description of a command line.
void describe_heat_control(Options& options) {
  for (const VerbOption& each : kVerbOptions) options.flag(to_word(each.verb), each.text);
  options.value("control", "DIR",
                R"(directory of the monitor's socket (default: shmif-heat in $XDG_RUNTIME_DIR,
                   or /tmp/shmif-heat-UID))");
}

/// Whether one of them is given.
bool is_heat_control(const Arguments& args) {
  return std::ranges::any_of(
      kVerbOptions, [&](const VerbOption& each) { return args.given(to_word(each.verb)); });
}

/// Executes the control option. Result: the exit code. Throws UsageError and Exception.
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

using perf::HeatBackend;
using perf::HeatOptions;
using perf::HeatSession;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMaxWindows = 1'000'000;
constexpr std::uint64_t kMaxBudget = 100;

HeatOptions heat_options(const Arguments& args) {
  HeatOptions options;
  options.attributes =
      heat_setting<perf::read_attributes>(args, "attrs").value_or(options.attributes);
  options.backend =
      heat_setting<perf::read_heat_backend>(args, "backend").value_or(options.backend);
  if (const auto percent = args.count("budget", 1, kMaxBudget)) {
    options.budget = static_cast<double>(*percent) / kMaxBudget;
  }
  const char* const folder = std::getenv(heat::kVariable);
  options.clients = args.text("clients").value_or(folder == nullptr ? "" : folder);
  if (const auto memory = heat_damon_memory(args)) {
    if (options.backend != HeatBackend::damon) {
      throw UsageError{"--ops and --ranges are for --backend damon"};
    }
    options.damon = *memory;
  }
  options.files = perf::KernelFiles(args.text("sysroot").value_or("/"));
  return options;
}

void print_heat(const Arguments& args, const HeatSession& session, const HeatOptions& options,
                bool partial) {
  const auto results = session.results();
  constexpr std::size_t kUsualColumns = 80;
  const std::size_t columns = terminal_columns();
  const std::string text =
      args.flag("json") ? perf::heat_json(results, options.attributes, partial)
                        : perf::heat_text(results, options.attributes,
                                          columns == 0 ? kUsualColumns : columns, shows_colours());
  write_file("-", text).value();
}

/// The bus whose processes are watched: that of --bus, or of SHMIF_BUS if the line names nothing to
/// watch.
std::optional<std::string> bus_to_watch(const Arguments& args, const HeatOptions& options) {
  if (args.given("bus")) return args.text("bus");
  const bool needs_target = options.damon.space != perf::DamonSpace::paddr;
  const bool takes_bus =
      options.backend == HeatBackend::automatic || options.backend == HeatBackend::client;
  if (args.given("pid") || !args.program().empty() || !needs_target || !takes_bus) return {};
  auto bus = default_bus();
  if (bus) note_default_bus(*bus);
  return bus;
}

/// Whether any target was measured. If not, says why. `bus`: whose processes they are, if any.
Measured measured_by(const std::optional<std::string>& bus, const HeatSession& session) {
  const auto results = session.results();
  if (bus && results.empty()) {
    complain("nothing was measured: no process is attached to " + *bus +
             " (attach one that was started with SHMIF_HEAT, and watch again)");
    return Measured::nothing;
  }
  if (std::ranges::any_of(results, [](const auto& each) { return !each.windows.empty(); })) {
    return Measured::values;
  }
  const bool too_short = std::ranges::all_of(
      results, [](const auto& each) { return each.reason.empty() || each.has_ended; });
  for (const perf::HeatResult& each : results) {
    const bool is_process = each.process.number != 0;
    const std::string end = " ended before the first sample";
    complain((is_process ? "process " + std::to_string(each.process.number) : each.name) +
             " was not measured: " +
             (each.reason.empty() ? (each.has_ended ? "it" : "the watch") + end : each.reason));
  }
  return too_short ? Measured::too_short : Measured::nothing;
}

/// Whether the watch of a target ended before the target did. If so, says why.
bool was_given_up(const HeatSession& session) {
  bool any = false;
  for (const perf::HeatResult& each : session.results()) {
    if (each.windows.empty() || each.reason.empty() || each.has_ended) continue;
    complain("process " + std::to_string(each.process.number) +
             " could not be watched any longer: " + each.reason);
    any = true;
  }
  return any;
}

/// The processes on a bus. If a process cannot take part, it appears in the result with the reason.
Watched watch_bus(const std::string& path, const HeatOptions& options, HeatSession& session) {
  const Bus bus = Bus::open(path).value();
  check_port_table(bus.info(), "find the processes on").value();
  return Watched(
      perf::add_parties(session, perf::heat_parties(bus.info(), options.clients, options.files)));
}

Watched watched_of(const Arguments& args, const HeatOptions& options, HeatSession& session) {
  if (options.backend == HeatBackend::written && args.program().empty()) {
    throw UsageError{kWrittenIsOfPrograms};
  }
  const auto bus = bus_to_watch(args, options);
  // Physical memory does not belong to a process. If one is given, it only says how long to watch.
  const bool needs_none = options.damon.space == perf::DamonSpace::paddr;
  const bool has_none = !args.given("pid") && args.program().empty();
  if (!bus) {
    if (has_none && !needs_none) {
      throw UsageError{"nothing to watch (give -p PID, --bus PATH or -- PROGRAM, or set " +
                       std::string(kBusVariable) + " to the path of a bus)"};
    }
    return needs_none && has_none ? Watched(std::vector<perf::Process>()) : Watched(args);
  }
  if (args.given("pid") || !args.program().empty()) {
    throw UsageError{"--bus cannot be given with -p or a program (it names the processes)"};
  }
  if (options.backend != HeatBackend::automatic && options.backend != HeatBackend::client) {
    throw UsageError{"--bus needs processes that take part (--backend client or auto)"};
  }
  return watch_bus(*bus, options, session);
}

/// Lets the program begin, if there is one, and adds what is watched. (The processes on a bus were
/// added when they were found.)
void begin(Watched& watched, const HeatOptions& options, HeatSession& session, bool is_bus) {
  const bool wants_pages =
      options.backend == HeatBackend::automatic || options.backend == HeatBackend::written;
  if (watched.is_program() && wants_pages) {
    auto userfaultfd = watched.begin_with_userfaultfd();
    session.add(watched.processes().front(), std::move(userfaultfd));
    return;
  }
  watched.begin();
  if (!is_bus) session.add_all(watched.processes());
}

/// Says once why the windows of a target come so late. It costs much to sample a process with very
/// many mappings, and the cost is bounded.
class SlownessNotice {
 public:
  void tell_of(const HeatSession& session) {
    if (told_ || session.changes() == seen_) return;
    seen_ = session.changes();
    for (const perf::HeatResult* const each : session.views()) {
      const std::string why = perf::heat_slowness(*each);
      if (why.empty()) continue;
      told_ = true;
      complain(why);
      return;
    }
  }

 private:
  bool told_ = false;
  std::uint64_t seen_ = 0;
};

int watch_heat(const Arguments& args) {
  HeatOptions options = heat_options(args);
  const auto wanted = args.count("windows", 1, kMaxWindows);
  if (wanted) options.keep_windows = *wanted;
  std::optional<perf::HeatFolder> folder;
  if (!args.program().empty() && options.clients.empty()) {
    std::signal(SIGPIPE, SIG_IGN);  // the process must not end before it removes the directory
    if (!folder.emplace().reason().empty()) {
      throw Exception(Error(std::make_error_code(std::errc::io_error), folder->reason()));
    }
    options.clients = folder->path();
  } else if (!args.program().empty()) {
    ::setenv(heat::kVariable, options.clients.c_str(), 1);
  }
  const StopSignals* stopping = nullptr;  // while this is null, a signal ends the process
  options.stops = [&stopping] { return stopping != nullptr && stopping->stopped(); };
  HeatSession session(options);
  Watched watched = watched_of(args, options, session);
  const bool is_live = args.flag("live");
  const StopSignals stop =
      is_live ? StopSignals({SIGINT, SIGTERM, SIGHUP, SIGQUIT}) : StopSignals();
  stopping = &stop;
  const bool is_bus = bus_to_watch(args, options).has_value();
  begin(watched, options, session, is_bus);
  SlownessNotice notice;
  std::optional<LiveHeat> live;
  if (is_live) {
    stop.bound_writes();
    live.emplace(options.attributes, args.program().empty());
  }
  while (session.is_watching() && !(wanted && session.windows() >= *wanted)) {
    const auto next = std::min(session.step(), Clock::now() + std::chrono::hours(1));
    if (live && !live->look(session)) break;
    if (!live) notice.tell_of(session);  // the picture says it itself
    if (!session.is_watching()) break;
    if (watched.wait_until(next, stop, live ? live->descriptors() : std::vector<int>())) continue;
    session.step();
    break;
  }
  live.reset();  // the result is printed below what was on the terminal before
  session.finish();
  const bool is_done = wanted && session.windows() >= *wanted;
  const bool is_partial = stop.stopped() && !is_done;
  if (stop.stopped() || is_done) watched.end(stop.stopped() ? stop.signal() : SIGTERM);
  print_heat(args, session, options, is_partial);
  Measured measured = measured_by(bus_to_watch(args, options), session);
  if (wanted && !is_done && was_given_up(session)) measured = Measured::nothing;
  return is_done ? kDone : watched.exit_code(stop, measured);
}

Options heat_command_line() {
  Options options("heat", "[-p PID[,PID]... | --bus PATH | -- PROGRAM [ARGUMENT]...]");
  options.about(
      R"(Shows which addresses of a process are accessed, how often, and for how many windows
         this frequency has been about the same. (A window is an interval of time, see --attrs.)
         For a program that uses the library and was started with SHMIF_HEAT=DIR, it tells which
         pages of the bus the program accessed and wrote. For any other PROGRAM that it starts,
         it tells which pages the program wrote (Linux 6.7, x86-64), and which mappings it
         accessed. For any other process that runs already (-p), it tells which mappings the
         process accessed, and with --backend damon which parts of them. It asks the kernel so
         rarely that this takes at most 1 % of the time (--budget).)");
  Watched::describe(options);
  options
      .value("bus", "PATH",
             R"(watch the processes that are attached to this bus and were started with SHMIF_HEAT
                (default, if nothing else to watch is given: the bus of $SHMIF_BUS))")
      .value("attrs", "S,A,U,MIN,MAX",
             R"(times in microseconds or with a unit, and numbers, with commas or spaces
                (default: 5000,100000,1000000,10,1000)
                - S: from one check for accesses to the next (sampling)
                - A: length of a window, whose checks are added up (aggregation)
                - U: from one reading of the list of mappings to the next (update)
                - MIN, MAX: the fewest and the most regions (neighbouring pages that are
                  accessed about equally often))")
      .value("windows", "N", "end after N windows (aggregation intervals), and end the program")
      .value("backend", "NAME",
             R"(where the accesses are read (default: auto)
                - client: from the process itself, for each page (SHMIF_HEAT)
                - written: from the kernel, each page that a PROGRAM writes. Not for -p: the
                  program must help before its first instruction
                - clear_refs: from the kernel, for each mapping
                - damon: from DAMON, the kernel's monitor; needs root, and fails if DAMON is in
                  use
                - auto: client if the process offers it, or else written for a PROGRAM, or else
                  clear_refs)")
      .value("budget", "PERCENT",
             "take at most this share of the time for the looks, from 1 to 100 (default: 1)")
      .value("clients", "DIR",
             R"(the directory in which the processes made their sockets (their SHMIF_HEAT), as
                this command sees it. Needed if they have another path to it, as in a
                container. Default: $SHMIF_HEAT, or else the SHMIF_HEAT in the environment of
                each process)")
      .value("ops", "NAME",
             R"(what damon watches (default: vaddr)
                - vaddr: all memory of the processes
                - fvaddr: the ranges of their addresses that --ranges gives
                - paddr: physical memory, which needs no process)")
      .value("ranges", "BEGIN-END[,...]",
             R"(for --ops fvaddr and paddr: addresses, in whole pages, hexadecimal (0x1000) or
                decimal (default for paddr: all memory of the machine))")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .flag("live",
            R"(while it watches, show the newest windows on the terminal, as a map that is drawn
               again for each window. The result follows at the end, as without this option.
               'q' quits. A PROGRAM shares the terminal, and the keys are for it: redirect what
               it prints)");
  describe_heat_control(options);
  options.example("shmifperf heat -- ./rig", "which pages it writes, until it ends")
      .example("shmifperf heat -p 1234", "which mappings it accesses, until Ctrl-C")
      .example("shmifperf heat -p 1234 --live", "the same, as a map that is redrawn every 100 ms")
      .example("shmifperf heat -p 1234 --windows 50 --json", "50 windows of 100 ms")
      .example("shmifperf heat --bus /dev/shm/bus0 --windows 10", "the programs on a bus")
      .example("shmifperf heat --on -p 1234", "in the background; later: shmifperf heat --show")
      .example("shmifperf heat --backend damon --ops paddr --windows 50",
               "the machine's memory, as root")
      .example("shmifperf heat --attrs 100ms,1s,1s,10,1000 -- ./rig", "a rig from its beginning");
  return options;
}

void refuse_live_elsewhere(const Arguments& args) {
  if (!args.flag("live")) return;
  if (is_heat_control(args)) {
    throw UsageError{
        "--live is not for the monitor (give -p PID or --bus PATH, without --on, --show ...)"};
  }
  if (args.flag("json")) throw UsageError{"--live and --json exclude each other"};
  if (::isatty(STDOUT_FILENO) == 0) {
    throw UsageError{"--live needs a terminal, but standard output is not one (leave --live out)"};
  }
}

int run_heat(const CommandLine& line) {
  const Arguments args = heat_command_line().parse(line);
  refuse_live_elsewhere(args);
  return is_heat_control(args) ? control_heat(args) : watch_heat(args);
}

}  // namespace

const Command kHeatCommand{"heat", "show which addresses a process accesses", run_heat};

}  // namespace shmif::tools
