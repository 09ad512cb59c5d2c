// shmifctl enter, stop: goes into a host, and ends hosts.

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "tap/guest/guest.hpp"
#include "tools/common/options.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::tools {

namespace {

int enter_host(const Arguments& args) {
  Host host = [&] {
    const Bus bus = look_at(args.positional()[0]);
    const BusInfo info = bus.info();
    check_port_table(info, "find a host on").value();
    return host_by_name(info, args.positional()[1]);
  }();
  tap::GuestOptions options;
  options.command = args.program();
  tap::Guest guest = tap::Guest::enter(host.init, host.init_file.get(), std::move(options)).value();
  guest.release().value();
  let_go_of_streams();
  const tap::GuestExit end = guest.wait();
  if (!end.failure.empty()) complain(end.failure);
  return end.status;
}

int run_enter(const CommandLine& line) {
  const Arguments args =
      Options("enter", "PATH NAME -- PROGRAM [ARGUMENT]...")
          .bus_first()
          .about(
              R"(Runs another program in a host that 'shmifctl exec' runs. NAME is the name of
                 the host's port. The program sees the interfaces, processes and files of the
                 host, and has its user and group ids. Standard input and output, the terminal
                 and signals pass through as with exec, and so does the exit status (125:
                 shmifctl failed; 126: the program cannot be executed; 127: there is no such
                 program). Processes that the program leaves behind stay until the host ends.
                 When the host ends, the program is killed (exit status 137). Only the user who
                 started the host, and root, can use this.)")
          .words(2, 2)
          .takes_program()
          .example("shmifctl enter /dev/shm/bus0 web -- ip addr", "look into the host \"web\"")
          .example("shmifctl enter /dev/shm/bus0 web -- bash", "a second shell in it")
          .parse(line);
  return code_of_program("enter", [&] { return enter_host(args); });
}

using Clock = std::chrono::steady_clock;

/// A target to end: a host, or any process with a port.
struct StopTarget {
  std::string what;  ///< 'host "web"'
  bool is_host = false;
  Host process;
};

/// Result: false if that is not permitted, which is then said.
bool send_signal(const StopTarget& target, int number) {
  const auto sent = target.process.owner->signal(number);
  if (sent) return true;
  std::string why = sent.error().message;
  if (sent.error().code == std::errc::operation_not_permitted)
    why += "; only root or the user who started it can do this";
  complain(Error::from_errno(sent.error().code.value(), "cannot stop " + target.what, why).message);
  return false;
}

/// Waits until the process has ended. Result: false if the deadline came first.
bool wait_for_end(const StopTarget& target, Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd entry{target.process.owner->descriptor(), POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(std::max<long>(left, 0))) > 0;
}

/// Waits until the process's ports are gone, so that the bus can be destroyed and the names reused.
bool wait_for_ports(const Bus& bus, const Host& process, Clock::time_point deadline) {
  const auto is_there = [&process](const PortInfo& port) {
    return port.live && std::ranges::any_of(process.interfaces, [&](const HostInterface& each) {
             return each.port.slot == port.slot && each.port.incarnation == port.incarnation;
           });
  };
  while (std::ranges::any_of(bus.info().ports, is_there)) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// Waits for the end of a process that was sent a signal; with `force`, kills it after the
/// deadline. Result: whether it has ended.
bool finish(const Bus& bus, const StopTarget& target, Clock::time_point deadline, bool force,
            const std::string& time) {
  constexpr std::chrono::seconds kKernel{5};
  if (!wait_for_end(target, deadline)) {
    if (!force) {
      complain("cannot stop " + target.what + ": its " + (target.is_host ? "program" : "process") +
               " did not end within " + with_unit_of_time(time) + " of SIGTERM (" +
               (target.is_host ? "interactive shells ignore it; --force kills the host)"
                               : "--force kills it)"));
      return false;
    }
    if (!send_signal(target, SIGKILL)) return false;
    if (!wait_for_end(target, Clock::now() + kKernel)) {
      complain("cannot stop " + target.what + ": process " +
               std::to_string(target.process.supervisor) + " does not end, although it was killed");
      return false;
    }
  }
  if (wait_for_ports(bus, target.process, Clock::now() + kKernel)) return true;
  complain(target.what + " has ended, but its port is still held (perhaps by a process that " +
           (target.is_host ? "the host forked)" : "it forked)"));
  return false;
}

/// The processes that the command line means. Each appears once. If one of them is not found, says
/// so and sets `code`; the others do not live on for that.
std::vector<StopTarget> targets_of(const BusInfo& info, const Arguments& args, int& code) {
  std::vector<StopTarget> targets;
  const auto add = [&](const std::string& kind, const std::string& name, const auto& find) {
    try {
      StopTarget target{
          .what = kind + " \"" + name + '"', .is_host = kind == "host", .process = find()};
      const bool known = std::ranges::any_of(targets, [&](const StopTarget& other) {
        return other.process.supervisor == target.process.supervisor;
      });
      if (!known) targets.push_back(std::move(target));
    } catch (const Exception& error) {
      complain(with_remedy(error.what(), error.code()));
      code = kFailed;
    }
  };
  for (std::size_t i = 1; i < args.positional().size(); ++i) {
    const std::string& name = args.positional()[i];
    add("host", name, [&] { return host_by_name(info, name); });
  }
  for (const std::string& name : args.all("port")) {
    add("port", name, [&] { return process_by_port(info, name); });
  }
  if (!args.flag("all")) return targets;
  for (Host& host : hosts_of(info)) {
    const std::string name = host.name();
    add("host", name, [&] {
      // A host that is ending by itself has an owner, and is waited for.
      return host.owner ? std::move(host) : host_by_name(info, name);
    });
  }
  return targets;
}

/// Whether the line is NAME: without --port and --all, there must be one.
bool lacks_bus_of_stop(const Arguments& args) {
  return args.positional().size() == 1 && !args.given("port") && !args.given("all");
}

int run_stop(const CommandLine& line) {
  const Arguments args =
      Options("stop", "PATH {NAME | --port NAME | --all}...")
          .bus_first(" and there is at most one NAME", lacks_bus_of_stop)
          .about(
              R"(Ends hosts that 'shmifctl exec' runs on the bus. NAME is the name of a host's
                 port. Sends SIGTERM to the program and waits until the host has left the bus.
                 All processes of the host end with the program. If a name is not found (also with
                 --force), or a program has not ended after --timeout, the command says so and
                 exits 1; the other hosts end all the same. A process gets a signal only if it
                 really has the named port of this bus, whatever the port table says.)")
          .words(1, 256)
          .repeatable("port", "NAME",
                      R"(end the process that has this port, whatever it is: a 'tap', a
                         'bridge', your own program; repeat for more)")
          .flag("all", "end every host on the bus; if there is none, exit 0")
          .value("timeout", "SECONDS", "how long the programs may take to end (default: 10)")
          .flag("force", "kill hosts whose programs have not ended after --timeout")
          .example("shmifctl stop /dev/shm/bus0 web", "end the host \"web\"")
          .example("shmifctl stop /dev/shm/bus0 web db --timeout 2 --force",
                   "end two of them, at the latest after 2 seconds")
          .example("shmifctl stop /dev/shm/bus0 --all --force",
                   "end all hosts, as a script does at its end")
          .example("shmifctl stop /dev/shm/bus0 --port lab0", "end the 'tap' that serves lab0")
          .parse(line);
  const std::string time = args.text("timeout").value_or("10");
  const auto timeout = args.seconds("timeout").value_or(std::chrono::seconds(10));
  if (args.positional().size() < 2 && args.all("port").empty() && !args.flag("all"))
    throw UsageError{"give the NAME of a host, --port NAME, or --all"};
  const Bus bus = look_at(args.positional()[0]);
  const BusInfo info = bus.info();
  check_port_table(info, "find a host on").value();
  int code = kDone;
  std::vector<StopTarget> targets = targets_of(info, args, code);
  std::erase_if(targets, [&code](const StopTarget& target) {
    if (send_signal(target, SIGTERM)) {
      send_signal(target, SIGCONT);  // a stopped process would not react
      return false;
    }
    code = kFailed;
    return true;
  });
  const auto deadline =
      Clock::now() + std::min<std::chrono::nanoseconds>(timeout, std::chrono::hours(24));
  for (const StopTarget& target : targets) {
    if (!finish(bus, target, deadline, args.flag("force"), time)) code = kFailed;
  }
  return code;
}

}  // namespace

const Command kEnterCommand{"enter", "run another program in a host", run_enter};
const Command kStopCommand{"stop", "end hosts on a bus", run_stop};

}  // namespace shmif::tools
