// shmifctl wait: returns when ports are up and services answer, so that scripts need no sleep.

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tools/common/options.hpp"
#include "tools/packets/packets.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// Whether a port is up. If not, says why, for the message.
struct Sight {
  bool up = false;
  std::string why{};
  std::string hint{};    ///< advice for the user
  bool is_gone = false;  ///< it was there, and will not come up
};

/// What to wait for, and until when.
struct WaitWish {
  std::string path;
  std::vector<std::string> ports;
  std::vector<TcpService> services;
  std::optional<tap::IpAddress> from;
  std::optional<std::int32_t> process;  ///< of --pid
  std::optional<std::string> timeout;   ///< as the user gave it, for messages
  std::optional<Clock::time_point> deadline;

  bool is_late() const { return deadline && Clock::now() >= *deadline; }
};

/// Says why there is no bus yet. Throws the error if there is a file that is not a bus.
Sight why_no_bus(const std::string& path, Error error) {
  const std::string create = base::quote_command("shmifctl create", path);
  if (error.code == std::errc::no_such_file_or_directory) {
    return {.why = "there is no such bus", .hint = "make one with " + create};
  }
  if (error.code == make_error_code(Errc::not_ready)) {
    return {
        .why = "the file exists, but no bus has been made in it",
        .hint = "unless another process is making the bus now, delete the file and make one with " +
                create};
  }
  throw Exception(std::move(error));
}

/// A process that is not a child of this one. Threads: one at a time.
class ForeignProcess {
 public:
  explicit ForeignProcess(std::int32_t pid)
      : pid_(pid), file_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))) {
    if (!file_ && errno != ESRCH) {
      throw Exception(
          Error::from_errno(errno, "cannot watch process " + std::to_string(pid) + " of --pid"));
    }
  }
  /// Also if it has ended, and its parent does not know that yet. Blocks: never.
  bool has_ended() const {
    pollfd entry{.fd = file_.get(), .events = POLLIN, .revents = 0};
    return !file_ || ::poll(&entry, 1, 0) > 0;
  }
  Sight sight() const {
    return {.why = "process " + std::to_string(pid_) + ", which --pid names, has ended",
            .hint = "see its messages and its exit status",
            .is_gone = true};
  }

 private:
  std::int32_t pid_;
  UniqueFd file_;  ///< empty: there was no such process any more
};

/// The ports to wait for. It tells a port that has gone from one that has not come yet: it has seen
/// the port, or --pid says which process it belongs to. The table alone does not tell that, because
/// a port of that name may be from an earlier host. Threads: one at a time. Blocks: never.
class AwaitedPorts {
 public:
  explicit AwaitedPorts(const WaitWish& wish) : path_(wish.path) {
    ports_.reserve(wish.ports.size());
    for (const std::string& name : wish.ports) ports_.push_back({.name = name});
    if (wish.process) process_.emplace(*wish.process);
  }

  /// A port that is not up, and why; empty if all are up. The bus may also be made later. Throws
  /// for an existing file that is not a bus.
  struct Missing {
    std::string port;
    Sight sight;
  };
  std::optional<Missing> look() {
    std::optional<Missing> missing = look_at_bus();
    if (missing && !missing->sight.is_gone && process_ && process_->has_ended()) {
      missing->sight = process_->sight();
    }
    return missing;
  }
  /// Why it is useless to wait longer for a service: a host has gone. Empty if none has.
  std::optional<Sight> gone() {
    if (process_ && process_->has_ended()) return process_->sight();
    const std::optional<Missing> missing = look_at_bus();
    if (missing && missing->sight.is_gone) return missing->sight;
    return std::nullopt;
  }

 private:
  /// A killed host left its port. Another host has so long to take the name.
  static constexpr std::chrono::seconds kForAnother{5};
  struct Awaited {
    std::string name;
    /// Device and inode of the bus on which it was seen.
    std::optional<std::pair<std::uint64_t, std::uint64_t>> seen_on{};
    std::optional<Clock::time_point> dead_since{};
  };

  std::optional<Missing> look_at_bus() {
    if (ports_.empty()) return std::nullopt;
    // The bus may have been removed and made again.
    if (++looks_ % 64 == 0) bus_.reset();
    if (!bus_) {
      Result<Bus> opened = Bus::open(path_);
      if (!opened) return Missing{ports_.front().name, why_no_bus(path_, opened.error())};
      bus_.emplace(std::move(*opened));
      if (!bus_->warning().empty() && !std::exchange(warned_, true)) log_warning(bus_->warning());
    }
    const BusInfo info = bus_->info();
    check_port_table(info, "wait for a port on").value();
    std::optional<Missing> first;
    for (Awaited& each : ports_) {
      Missing now{each.name, look_for(each, info)};
      if (now.sight.is_gone) return now;
      if (!now.sight.up && !first) first = std::move(now);
    }
    return first;
  }

  Sight look_for(Awaited& awaited, const BusInfo& info) const {
    const std::pair<std::uint64_t, std::uint64_t> here{info.device, info.inode};
    const auto has_name = [&](const PortInfo& port) { return port.name == awaited.name; };
    const auto live = std::ranges::find_if(
        info.ports, [&](const PortInfo& port) { return port.live && has_name(port); });
    if (live != info.ports.end()) {
      awaited.seen_on = here;
      awaited.dead_since.reset();
      return {.up = live->up && live->carrier,
              .why = live->up ? "the port is up, but the network interface of its host is down"
                              : "the port is attached but down",
              .hint = see_stat(info)};
    }
    if (awaited.seen_on == here) {
      return {.why = "its host was on the bus, and has ended or left it",
              .hint = "see the messages and the exit status of the host",
              .is_gone = true};
    }
    if (std::ranges::none_of(info.ports, has_name)) {
      awaited.dead_since.reset();
      return {.why = "no port of that name is attached", .hint = see_stat(info)};
    }
    const Clock::time_point now = Clock::now();
    if (!awaited.dead_since) awaited.dead_since = now;
    // With --pid, it is known whether a new host is about to take the name.
    const bool is_gone = !process_ && now - *awaited.dead_since >= kForAnother;
    return {.why = std::string("the port's process is gone") +
                   (is_gone ? ", and no other took the name" : ""),
            .hint = is_gone ? "start the host again; " + see_stat(info) : see_stat(info),
            .is_gone = is_gone};
  }

  static std::string see_stat(const BusInfo& info) {
    return "see " + base::quote_command("shmifctl stat", info.path);
  }

  std::string path_;
  std::vector<Awaited> ports_;
  std::optional<ForeignProcess> process_;
  std::optional<Bus> bus_;
  unsigned looks_ = 0;
  bool warned_ = false;
};

std::string within(const WaitWish& wish) {
  return wish.timeout ? " within " + with_unit_of_time(*wish.timeout) : "";
}

/// Waits until the bus exists. Result: empty; after the deadline, or if a host has gone, why not.
std::optional<Sight> wait_for_bus(const WaitWish& wish, AwaitedPorts& hosts) {
  for (;;) {  // runs until the bus is there, or the wait is over
    Result<Bus> bus = Bus::open(wish.path);
    if (bus) return std::nullopt;
    Sight sight = why_no_bus(wish.path, std::move(bus).error());
    if (const auto gone = hosts.gone()) return gone;
    if (wish.is_late()) return sight;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

/// Attaches a port for the probes and sets it up.
Port open_probe_port(const Bus& bus, const std::string& path) {
  PortOptions options;
  options.kind = LinkKind::ping;
  Port port(options);
  port.attach(bus).value();
  if (const std::error_code error = port.up()) {
    throw Exception(Error(error, "cannot use a port on " + path + ": " + error.message()));
  }
  return port;
}

/// Notices that the host of a service has left the bus, and that no other host takes its place.
/// Threads: one at a time. Blocks: never.
class HostWatch {
 public:
  static constexpr std::chrono::milliseconds kBetweenLooks{50};
  explicit HostWatch(const Bus& bus) : bus_(bus) {}

  /// Result: a message that says which host has left, if it is useless to wait longer. When a host
  /// leaves, the probe is told to ask for another one.
  std::optional<std::string> look(ServiceProbe& probe, Clock::time_point now) {
    if (now < next_) return std::nullopt;
    next_ = now + kBetweenLooks;
    const BusInfo info = bus_.info();
    const std::optional<MacAddress> host = probe.host();
    if (host) follow(info, *host, probe, now);
    return left_ ? what_left(info, now) : std::nullopt;
  }

 private:
  /// Another host has this long to take the address, counted from the last new port.
  static constexpr std::chrono::seconds kForAnother{2};
  using Ports = std::set<std::pair<unsigned, std::uint32_t>>;

  static Ports live_ports(const BusInfo& info) {
    Ports ports;
    for (const PortInfo& port : info.ports) {
      if (port.live) ports.emplace(port.slot, port.incarnation);
    }
    return ports;
  }

  void follow(const BusInfo& info, MacAddress host, ServiceProbe& probe, Clock::time_point now) {
    const auto port = std::ranges::find_if(
        info.ports, [&](const PortInfo& each) { return each.live && each.mac == host; });
    if (port != info.ports.end()) {
      name_ = port->name;
      mac_ = host;
      left_.reset();
    } else if (mac_ == host) {
      left_ = now;
      ports_ = live_ports(info);
      probe.look_for_another();
    } else {  // behind a bridge: the port table does not say whether it is there
      mac_.reset();
      left_.reset();
    }
  }

  std::optional<std::string> what_left(const BusInfo& info, Clock::time_point now) {
    Ports ports = live_ports(info);
    const bool any_new = !std::ranges::includes(ports_, ports);
    const bool any_bridge = std::ranges::any_of(info.ports, [](const PortInfo& port) {
      return port.live && port.link == LinkKind::bridge;
    });
    if (any_new) ports_.merge(ports);
    // A new host, or a host behind a bridge, may take the address.
    if (any_new || any_bridge) left_ = now;
    if (now - *left_ < kForAnother) return std::nullopt;
    return "the host \"" + name_ +
           "\", which had the address, has left the bus, and no other host took it";
  }

  const Bus& bus_;
  Clock::time_point next_;
  std::string name_;               ///< name of the port whose host claimed the address last
  std::optional<MacAddress> mac_;  ///< its address
  std::optional<Clock::time_point> left_;
  Ports ports_;  ///< ports known when it left, and ports seen later
};

/// " within 5 s: why (hint)"; the time only if that is the reason.
std::string reason(const WaitWish& wish, const Sight& sight) {
  return (sight.is_gone ? "" : within(wish)) + ": " + sight.why + " (" + sight.hint + ')';
}

/// Probes until the service answers, its host has left, or the deadline has passed. Result: why the
/// service does not answer; empty if it does.
std::optional<std::string> ask_until(const Bus& bus, Port& port, const TcpService& service,
                                     const WaitWish& wish, AwaitedPorts& hosts) {
  std::optional<tap::IpAddress> from;
  if (wish.from && wish.from->family == service.address.family) from = wish.from;
  const std::unique_ptr<ServiceProbe> probe = packets().probe(port, service, from);
  HostWatch watch(bus);
  FrameBatch batch;
  Clock::time_point look_at_hosts = Clock::now();
  while (!probe->answered()) {
    const Clock::time_point now = Clock::now();
    if (now >= look_at_hosts) {
      if (const auto gone = hosts.gone()) return reason(wish, *gone);
      look_at_hosts = now + HostWatch::kBetweenLooks;
    }
    if (wish.is_late()) return within(wish) + ": " + probe->why();
    if (const auto left = watch.look(*probe, now)) return ": " + *left;
    Clock::time_point until = std::min(probe->tick(now), now + HostWatch::kBetweenLooks);
    if (wish.deadline) until = std::min(until, *wish.deadline);
    port.wait(std::max<std::chrono::nanoseconds>(until - now, std::chrono::nanoseconds(0)));
    batch.clear();
    const ReceiveResult received = port.receive(batch);
    if (received.error) {
      throw Exception(Error(received.error,
                            "cannot go on with " + wish.path + ": " + received.error.message()));
    }
    for (const FrameView& frame : batch.frames()) probe->take(frame);
  }
  return std::nullopt;
}

/// Result: the error message if a port did not come up in time, or has gone; otherwise empty.
std::optional<std::string> wait_for_ports(const WaitWish& wish, AwaitedPorts& hosts) {
  std::chrono::milliseconds pause(1);
  for (;;) {  // runs until all ports are up, or the wait is over
    const auto missing = hosts.look();
    if (!missing) return std::nullopt;
    if (missing->sight.is_gone || wish.is_late()) {
      return "cannot see port \"" + missing->port + "\" up on bus \"" + wish.path + '"' +
             reason(wish, missing->sight);
    }
    // A port comes up only once, so polling is cheaper than a doorbell.
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
}

std::optional<std::string> wait_for_services(const WaitWish& wish, AwaitedPorts& hosts) {
  if (wish.services.empty()) return std::nullopt;
  const std::string what = "cannot reach TCP service ";
  if (const auto sight = wait_for_bus(wish, hosts)) {
    return what + wish.services.front().to_string() + " on bus \"" + wish.path + '"' +
           reason(wish, *sight);
  }
  const Bus bus = Bus::open(wish.path).value();
  Port port = open_probe_port(bus, wish.path);
  for (const TcpService& service : wish.services) {
    if (const auto why = ask_until(bus, port, service, wish, hosts))
      return what + service.to_string() + " on bus \"" + wish.path + '"' + *why;
  }
  return std::nullopt;
}

WaitWish read_wait_wish(const Arguments& args) {
  WaitWish wish;
  wish.path = args.positional()[0];
  wish.ports = args.all("port");
  for (const std::string& text : args.all("tcp")) {
    const Result<TcpService> service = TcpService::parse(text);
    if (!service) throw UsageError{"--tcp: " + service.error().message};
    wish.services.push_back(*service);
  }
  if (wish.ports.empty() && wish.services.empty()) {
    throw UsageError{"--port NAME or --tcp ADDRESS:PORT is missing: say what to wait for"};
  }
  if (const auto text = args.text("from")) {
    const Result<tap::IpAddress> from = tap::IpAddress::parse(*text);
    if (!from) throw UsageError{"--from: " + from.error().message};
    if (wish.services.empty()) throw UsageError{"--from needs --tcp ADDRESS:PORT"};
    wish.from = *from;
  }
  if (!wish.services.empty()) packets();  // if this fails, it fails before any wait
  if (const auto pid = args.count("pid", 1, std::numeric_limits<std::int32_t>::max())) {
    wish.process = static_cast<std::int32_t>(*pid);
  }
  wish.timeout = args.text("timeout");
  if (const auto timeout = args.seconds("timeout")) wish.deadline = Clock::now() + *timeout;
  return wish;
}

int run_wait(const CommandLine& line) {
  const Arguments args =
      Options("wait", "PATH {--port NAME | --tcp ADDRESS:PORT}...")
          .bus_first()
          .about(
              R"(Waits until each port of --port is up and the network interface behind it has
                 carrier, and until each service of --tcp accepts connections. So a script needs
                 no 'sleep'. Give at least one of the two options. If the bus does not exist yet,
                 the command waits for it, too. It connects to a service over the bus, as another
                 host would. It runs nothing inside a host.

                 The command exits 1 at once if a port of --port was there, also if it was up,
                 and its host has ended or left the bus. A host that ended before the command saw
                 it looks like one that is still to come; --pid tells them apart. If a killed
                 host left a port of that name, another host has 5 seconds to take the name. If
                 the host that has the address of --tcp leaves the bus, the command looks for
                 another one for 2 seconds, and then exits 1. While a bridge is on the bus, it
                 goes on, because the address may be behind the bridge.)")
          .repeatable("port", "NAME", "a port to wait for")
          .repeatable("tcp", "ADDRESS:PORT",
                      "a service to wait for, such as 198.18.0.1:80 or [fd00::1]:80")
          .value("from", "ADDRESS",
                 R"(the source address of the connection. Default for IPv6: the link-local
                    address of this command's own port. Default for IPv4: an address in the
                    service's /24 for which nobody answers ARP. Needed if the network is smaller
                    than a /24)")
          .value("pid", "PID",
                 R"(the process of the host, such as $! of an exec in the background: exit 1 as soon
                    as it has ended)")
          .value("timeout", "SECONDS", "give up after that time, and exit 1 (default: never)")
          .example(
              "shmifctl exec /dev/shm/bus0 --name web --ip 198.18.0.1/24 -- "
              "busybox httpd -f -p 80 &\n"
              "  shmifctl wait /dev/shm/bus0 --port web --tcp 198.18.0.1:80 --pid $! --timeout 5",
              "go on when the host \"web\" is on the bus and its server answers, or has ended")
          .parse(line);
  const WaitWish wish = read_wait_wish(args);
  AwaitedPorts hosts(wish);
  if (!wish.ports.empty()) {
    if (const auto why = wait_for_ports(wish, hosts)) return fail(*why);
  }
  if (const auto why = wait_for_services(wish, hosts)) return fail(*why);
  return kDone;
}

}  // namespace

const Command kWaitCommand{"wait", "return when ports are up and services answer", run_wait};

}  // namespace shmif::tools
