// shmifctl stop: ends hosts.

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "tools/common/options.hpp"
#include "tools/common/values.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

void send_signal(const Host& host, int number) {
  if (::syscall(SYS_pidfd_send_signal, host.supervisor_file.get(), number, nullptr, 0U) == 0 ||
      errno == ESRCH) {
    return;
  }
  throw Exception(Error::from_errno(errno, "cannot stop host \"" + host.name() + '"',
                                    "only root or the user who started the host can do this"));
}

/// Waits until the host's process has ended. Result: false if the deadline came first.
bool wait_for_end(const Host& host, Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd entry{host.supervisor_file.get(), POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(std::max<long>(left, 0))) > 0;
}

/// Waits until the host's ports are gone, so that the bus can be destroyed and the names reused.
bool wait_for_ports(const Bus& bus, const Host& host, Clock::time_point deadline) {
  const auto is_there = [&host](const PortInfo& port) {
    return port.live && port.pid == host.supervisor;
  };
  while (std::ranges::any_of(bus.info().ports, is_there)) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// Waits for the end of a host that was sent a signal; with `force`, kills it after the deadline.
/// Result: whether it has ended.
bool finish(const Bus& bus, const Host& host, Clock::time_point deadline, bool force,
            const std::string& time) {
  constexpr std::chrono::seconds kKernel{5};
  if (!wait_for_end(host, deadline)) {
    if (!force) {
      complain("cannot stop host \"" + host.name() + "\": its program did not end within " +
               with_unit_of_time(time) +
               " of SIGTERM (interactive shells ignore it; --force kills the host)");
      return false;
    }
    send_signal(host, SIGKILL);
    if (!wait_for_end(host, Clock::now() + kKernel)) {
      complain("cannot stop host \"" + host.name() + "\": process " +
               std::to_string(host.supervisor) + " does not end, although it was killed");
      return false;
    }
  }
  if (wait_for_ports(bus, host, Clock::now() + kKernel)) return true;
  complain("host \"" + host.name() +
           "\" has ended, but its port is still held (perhaps by a process that the host forked)");
  return false;
}

int run_stop(const CommandLine& line) {
  const Arguments args =
      Options("stop", "PATH NAME...")
          .about(
              "Ends hosts that 'shmifctl exec' runs on the bus. NAME is the name of a host's port. "
              "Sends SIGTERM to the program and waits until the host has left the bus. All "
              "processes of the host end with the program. If one of the names cannot be found, no "
              "host gets a signal. If a program has not ended after --timeout, its host goes on "
              "running, and the command exits 1; the other hosts end. Only hosts of this bus are "
              "ever sent a signal.")
          .words(2, 256)
          .value("timeout", "SECONDS", "how long the programs may take to end (default: 10)")
          .flag("force", "kill hosts whose programs have not ended after --timeout")
          .example("shmifctl stop /dev/shm/bus0 web", "end the host \"web\"")
          .example("shmifctl stop /dev/shm/bus0 web db --timeout 2 --force",
                   "end two of them, at the latest after 2 seconds")
          .parse(line);
  const std::string time = args.text("timeout").value_or("10");
  const auto timeout = args.seconds("timeout").value_or(std::chrono::seconds(10));
  const Bus bus = look_at(args.positional()[0]);
  const BusInfo info = bus.info();
  std::vector<Host> hosts;
  for (std::size_t i = 1; i < args.positional().size(); ++i) {
    Host host = host_by_name(info, args.positional()[i]);
    const bool known = std::ranges::any_of(
        hosts, [&](const Host& other) { return other.supervisor == host.supervisor; });
    if (!known) hosts.push_back(std::move(host));
  }
  for (const Host& host : hosts) {
    send_signal(host, SIGTERM);
    send_signal(host, SIGCONT);  // a stopped process would not react
  }
  const auto deadline =
      Clock::now() + std::min<std::chrono::nanoseconds>(timeout, std::chrono::hours(24));
  int code = kDone;
  for (const Host& host : hosts) {
    if (!finish(bus, host, deadline, args.flag("force"), time)) code = kFailed;
  }
  return code;
}

}  // namespace

const Command kStopCommand{"stop", "end hosts on a bus", run_stop};

}  // namespace shmif::tools
