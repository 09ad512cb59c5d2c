// shmifctl wait: returns when ports are up and services answer, so that scripts need no sleep.

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/printable.hpp"
#include "shmif/bus.hpp"
#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tools/common/options.hpp"
#include "tools/common/values.hpp"
#include "tools/packets/packets.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// Whether a port is up. If not, says why, for the message after the timeout.
struct Sight {
  bool up = false;
  std::string why{};
  std::string hint{};  ///< advice for the user
};

Sight look(const Bus& bus, const std::string& name) {
  const BusInfo info = bus.info();
  check_port_table(info, "wait for a port on").value();
  Sight sight{.why = "no port of that name is attached",
              .hint = "see " + base::quote_command("shmifctl stat", info.path)};
  for (const PortInfo& port : info.ports) {
    if (port.name != name) continue;
    if (port.live && port.up && port.carrier) return {.up = true};
    sight.why = !port.live ? "the port's process is gone"
                : port.up  ? "the port is up, but the network interface of its host is down"
                           : "the port is attached but down";
  }
  return sight;
}

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

/// Checks until the port is up or `deadline` has passed. The bus may also be made later. Errors:
/// those of an existing file that is not a bus.
Sight look_until(const std::string& path, const std::string& name,
                 const std::optional<Clock::time_point>& deadline) {
  std::optional<Bus> bus;
  bool warned = false;
  Sight sight;
  std::chrono::milliseconds pause(1);
  for (unsigned looks = 1;; ++looks) {
    // The bus may have been removed and made again.
    if (looks % 64 == 0) bus.reset();
    if (!bus) {
      Result<Bus> opened = Bus::open(path);
      if (opened) {
        bus.emplace(std::move(*opened));
        if (!bus->warning().empty() && !std::exchange(warned, true)) log_warning(bus->warning());
      } else {
        sight = why_no_bus(path, std::move(opened).error());
      }
    }
    if (bus) sight = look(*bus, name);
    if (sight.up || (deadline && Clock::now() >= *deadline)) return sight;
    // A port comes up only once, so polling is cheaper than a doorbell.
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
}

/// What to wait for, and until when.
struct WaitWish {
  std::string path;
  std::vector<std::string> ports;
  std::vector<TcpService> services;
  std::optional<tap::IpAddress> from;
  std::optional<std::string> timeout;  ///< as the user gave it, for messages
  std::optional<Clock::time_point> deadline;
};

std::string within(const WaitWish& wish) {
  return wish.timeout ? " within " + with_unit_of_time(*wish.timeout) : "";
}

/// Waits until the bus exists. Result: empty; after the deadline, why the bus does not exist.
std::optional<Sight> wait_for_bus(const WaitWish& wish) {
  for (;;) {
    Result<Bus> bus = Bus::open(wish.path);
    if (bus) return std::nullopt;
    Sight sight = why_no_bus(wish.path, std::move(bus).error());
    if (wish.deadline && Clock::now() >= *wish.deadline) return sight;
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

/// Probes until the service answers, its host has left, or the deadline has passed. Result: why the
/// service does not answer; empty if it does.
std::optional<std::string> ask_until(const Bus& bus, Port& port, const TcpService& service,
                                     const WaitWish& wish) {
  std::optional<tap::IpAddress> from;
  if (wish.from && wish.from->family == service.address.family) from = wish.from;
  const std::unique_ptr<ServiceProbe> probe = packets().probe(port, service, from);
  HostWatch watch(bus);
  FrameBatch batch;
  while (!probe->answered()) {
    const Clock::time_point now = Clock::now();
    if (wish.deadline && now >= *wish.deadline) return within(wish) + ": " + probe->why();
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

/// Result: the error message if a port did not come up in time; otherwise empty.
std::optional<std::string> wait_for_ports(const WaitWish& wish) {
  for (const std::string& name : wish.ports) {
    const Sight sight = look_until(wish.path, name, wish.deadline);
    if (sight.up) continue;
    return "cannot see port \"" + name + "\" up on bus \"" + wish.path + '"' + within(wish) + ": " +
           sight.why + " (" + sight.hint + ')';
  }
  return std::nullopt;
}

std::optional<std::string> wait_for_services(const WaitWish& wish) {
  if (wish.services.empty()) return std::nullopt;
  const std::string what = "cannot reach TCP service ";
  if (const auto sight = wait_for_bus(wish)) {
    return what + wish.services.front().to_string() + " on bus \"" + wish.path + '"' +
           within(wish) + ": " + sight->why + " (" + sight->hint + ')';
  }
  const Bus bus = Bus::open(wish.path).value();
  Port port = open_probe_port(bus, wish.path);
  for (const TcpService& service : wish.services) {
    if (const auto why = ask_until(bus, port, service, wish))
      return what + service.to_string() + " on bus \"" + wish.path + '"' + *why;
  }
  return std::nullopt;
}

WaitWish read_wait_wish(const Arguments& args) {
  WaitWish wish;
  wish.path = args.positional()[0];
  wish.ports = args.all("port");
  for (const std::string& name : wish.ports) {
    if (name.empty()) throw UsageError{"--port \"\" names no port (give the name of a port)"};
  }
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
  wish.timeout = args.text("timeout");
  if (const auto timeout = args.seconds("timeout")) wish.deadline = Clock::now() + *timeout;
  return wish;
}

int run_wait(const CommandLine& line) {
  const Arguments args =
      Options("wait", "PATH {--port NAME | --tcp ADDRESS:PORT}...")
          .about(
              R"(Waits until each port of --port is up and the network interface behind it has
                 carrier, and until each service of --tcp accepts connections. So a script needs
                 no 'sleep'. Give at least one of the two options. If the bus does not exist yet,
                 the command waits for it, too. It connects to a service over the bus, as another
                 host would. It runs nothing inside a host. If the host that has the address
                 leaves the bus, the command looks for another one for 2 seconds, and then exits
                 1. While a bridge is on the bus, it goes on, because the address may be behind
                 the bridge.)")
          .repeatable("port", "NAME", "a port to wait for")
          .repeatable("tcp", "ADDRESS:PORT",
                      "a service to wait for, such as 198.18.0.1:80 or [fd00::1]:80")
          .value("from", "ADDRESS",
                 R"(the source address of the connection. Default for IPv6: the link-local
                    address of this command's own port. Default for IPv4: an address in the
                    service's /24 for which nobody answers ARP. Needed if the network is smaller
                    than a /24)")
          .value("timeout", "SECONDS", "give up after that time, and exit 1 (default: never)")
          .example(
              "shmifctl exec /dev/shm/bus0 --name web --ip 198.18.0.1/24 -- "
              "busybox httpd -f -p 80 &\n"
              "  shmifctl wait /dev/shm/bus0 --port web --tcp 198.18.0.1:80 --timeout 5",
              "go on when the host \"web\" is on the bus and its server answers")
          .parse(line);
  const WaitWish wish = read_wait_wish(args);
  if (const auto late = wait_for_ports(wish)) return fail(*late);
  if (const auto late = wait_for_services(wish)) return fail(*late);
  return kDone;
}

}  // namespace

const Command kWaitCommand{"wait", "return when ports are up and services answer", run_wait};

}  // namespace shmif::tools
