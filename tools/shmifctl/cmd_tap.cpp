// shmifctl tap: connects a TAP device of this machine or of another network namespace to a bus.

#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/device_settings.hpp"
#include "tap/host_mac.hpp"
#include "tap/line/line.hpp"
#include "tap/namespaces.hpp"
#include "tap/netlink.hpp"
#include "tap/tap_link.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/relay/links.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

struct TapWish {
  std::string path;
  BusWish bus;
  tap::TapOptions device;
  std::optional<tap::NetNamespaceWatch> where;
  PortOptions port;
  LineFaults faults;
  bool link_down = false;

  const tap::NetNamespace* space() const { return where ? &where->space() : nullptr; }
};

Options tap_options() {
  Options options("tap", "PATH");
  options.bus_first()
      .about(
          R"(Connects a TAP device to the bus, until a signal ends the command. Frames that this
             machine sends through the device go to the bus. The device receives broadcasts,
             multicasts, frames for its MAC address, and frames for machines behind it (learned
             addresses). When the command ends, even by SIGKILL, a device that existed before
             gets back its offloads, MTU, MAC address, addresses, default routes and state (up or
             down). Needs /dev/net/tun, and CAP_NET_ADMIN in the network namespace of the device.
             With --netns, it is needed only in that namespace's own user namespace: the user who
             started a rootless container has it there. 'shmifctl exec' needs neither.)")
      .value("name", "NAME",
             R"(the device (not the port: see --port-name), which is made unless it exists
                (default: the next free tapN))")
      .repeatable("ip", "CIDR", "an address for it, such as 198.18.0.1/24 or fd00::1/64")
      .repeatable("gateway", "ADDRESS", "the default gateway: one for IPv4, one for IPv6")
      .value("mac", "ADDRESS",
             R"(its MAC address (default: b2:a0:..., which follows from the bus and the port's
                name; a device that existed keeps its own))")
      .value("netns", "NAME|PID|PATH",
             R"(make the device in another network namespace, given by its name, by a process in
                it, or by its file. A number is a name if a namespace has that. With PID, the
                command ends when that process ends. With NAME or PATH, it ends when that file
                was removed and no other process is in the namespace)")
      .flag("persist", "leave the device behind at the end")
      .flag("promisc",
            "receive every frame, not only those for the device and for machines behind it")
      .value("port-name", "NAME", "the port's name on the bus (default: the device's name)");
  add_fault_option(options, "of the line between the device and the bus");
  options.flag("link-down",
               "begin with the device's link down: no frame passes until 'shmifctl link --up'");
  add_bus_options(options);
  add_offload_option(options);
  options
      .example("shmifctl tap /dev/shm/bus0 --name lab0 --ip 198.18.0.254/24",
               "put this machine on the bus (as root)")
      .example("shmifctl tap /dev/shm/bus0 --create --netns 4711 --ip fd00::7/64",
               "put the container of process 4711 on the bus");
  return options;
}

TapWish read_tap_wish(const Arguments& args) {
  TapWish wish;
  wish.path = args.positional()[0];
  wish.bus = bus_wish(args);
  wish.device.name = args.text("name").value_or("");
  wish.device.mac = args.mac("mac");
  wish.device.persist = args.flag("persist");
  wish.device.offload = !args.flag("no-offload");
  for (const std::string& text : args.all("ip")) {
    const Result<tap::Cidr> address = tap::Cidr::parse(text);
    if (!address) throw UsageError{"--ip: " + address.error().message};
    wish.device.addresses.push_back(*address);
  }
  for (const std::string& text : args.all("gateway")) {
    const Result<tap::IpAddress> gateway = tap::IpAddress::parse(text);
    if (!gateway) throw UsageError{"--gateway: " + gateway.error().message};
    for (const tap::IpAddress& other : wish.device.gateways) {
      if (other.family == gateway->family)
        throw UsageError{"--gateway " + text + ": " + other.to_string() +
                         " is the gateway already (give one for IPv4 and one for IPv6)"};
    }
    wish.device.gateways.push_back(*gateway);
  }
  if (const auto text = args.text("netns")) {
    wish.where.emplace(tap::NetNamespaceWatch::open(*text).value());
  }
  wish.faults = line_faults_option(args).value_or(LineFaults());
  wish.link_down = args.flag("link-down");
  wish.port.name = args.text("port-name").value_or("");
  wish.port.kind = LinkKind::tap;
  wish.port.promiscuous = args.flag("promisc");
  wish.port.learn = true;
  wish.port.lock_memory = wish.bus.lock_memory;
  return wish;
}

/// The error to report if a port on the bus already has the address of device `name`, because
/// another `tap` serves the device.
Error already_there(const Error& refused, const Bus& bus, const std::string& name, MacAddress mac) {
  const BusInfo info = bus.info();
  for (const PortInfo& port : info.ports) {
    if (!port.live || port.mac != mac) continue;
    return {refused.code, "cannot attach TAP device \"" + name + "\" to the bus " + info.path +
                              ": process " + std::to_string(port.pid) +
                              " has attached it there as port \"" + port.name +
                              "\" (for a second device, choose another --name)"};
  }
  return refused;
}

/// Attaches under the name of the device. If another host has that name, takes the next free name.
/// `is_old`: the device existed before. Without options.mac, the port gets the default address.
void attach(Port& port, PortOptions options, const Bus& bus, const std::string& device_name,
            bool is_old) {
  const bool named = !options.name.empty();
  if (!named) options.name = device_name;
  options.name_patience = named ? kNamePatience : std::chrono::milliseconds(0);
  port = Port(options);
  Result<void> attached = port.attach(bus);
  const std::error_code refused = attached ? std::error_code{} : attached.error().code;
  if (!named && (refused == Errc::name_taken || refused == Errc::mac_taken)) {
    // If the device outlived a `tap` that was killed a moment ago, the device's address may still
    // belong to the port of that `tap`.
    if (refused == Errc::name_taken) options.name.clear();
    options.name_patience = kNamePatience;
    port = Port(options);
    attached = port.attach(bus);
  }
  if (!attached && attached.error().code == Errc::mac_taken && is_old) {
    throw Exception(already_there(attached.error(), bus, device_name, *options.mac));
  }
  attached.value();
  if (options.mac) return;
  // If the bus has no table of ports, nobody would notice that a device in another namespace has
  // this name and so this address.
  const BusInfo info = bus.info();
  if (named || info.has_port_table()) tap::take_host_mac(port, info);
}

/// Carries frames until a signal comes, or until the device or the bus is gone.
class TapRun {
 public:
  TapRun(const TapWish& wish, std::unique_ptr<Port> port, std::unique_ptr<tap::TapLink> device);

  /// Brings the port up, and says so. Throws.
  void begin();
  int carry();

 private:
  tap::BridgeOptions bridge_options();
  LineMeans means();
  bool has_address(MacAddress mac) const;
  void join();

  const StopSignals stop_;
  const TapWish& wish_;
  Port& on_bus_;
  const std::string name_;  // of the device
  DeviceWatch watch_;
  tap::Line line_;  // the bus
  AnyLink right_;   // the device
  LineControl control_;
  TooLongNotice too_long_;
  tap::Bridge bridge_;
  AddressWatch addresses_;
  BusWatch bus_watch_;
  LoopGuard guard_;
  const PingAnswerer answer_;
  std::optional<std::string> over_;  // why the network namespace has ended
  std::string path_;                 // of the bus: a move changes it
};

tap::Line line_with(std::unique_ptr<Port> port, const TapWish& wish) {
  tap::Line line(std::move(port));
  line.set_faults(wish.faults).value();
  line.set_carrier(!wish.link_down);
  return line;
}

TapRun::TapRun(const TapWish& wish, std::unique_ptr<Port> port,
               std::unique_ptr<tap::TapLink> device)
    : wish_(wish),
      on_bus_(*port),
      name_(device->name()),
      watch_(wish.space(), name_, device->descriptor(), on_bus_,
             wish.port.promiscuous ? DeviceWatch::Hears::all
                                   : DeviceWatch::Hears::what_the_device_hears,
             {.addresses = wish.device.addresses, .gateways = wish.device.gateways}),
      line_(line_with(std::move(port), wish)),
      right_(std::move(device)),
      control_(line_, means()),
      bridge_(tap::Bridge::create(bridge_options()).value()),
      addresses_("tap", [this](MacAddress mac) { return has_address(mac); }),
      guard_([this] { complain(loop_text(line_.link().address(), right_.address(), {})); }),
      answer_(on_bus_),
      path_(wish.path) {
  control_.note_start();
  control_.keep_down();
  addresses_.add(on_bus_, wish_.path, wish_.device.addresses);
  bus_watch_.add(on_bus_);
  join();
}

/// What others can ask of the line.
LineMeans TapRun::means() {
  return {.set_carrier =
              [this](bool on) {
                const std::error_code error =
                    tap::set_carrier(right_.descriptor(), LinkKind::tap, on);
                if (!error) watch_.set_link(on);
                return error;
              },
          .attach_to = [this](const Bus& bus) -> Result<Port> {
            PortOptions options = wish_.port;
            options.name = on_bus_.name();
            options.mac = on_bus_.mac();
            options.name_patience = std::chrono::milliseconds(0);
            Port port(options);
            if (auto done = port.attach(bus); !done) return std::move(done).error();
            if (const std::error_code error = port.up())
              return Error(error, "cannot bring the port up: " + error.message());
            return port;
          },
          .replace =
              [this](Port moved) {
                on_bus_ = std::move(moved);
                static_cast<void>(line_.restart());
                path_ = on_bus_.link().value().path;  // it is attached
              }};
}

tap::BridgeOptions TapRun::bridge_options() {
  tap::BridgeOptions options;
  // This is needed only towards the bus: a TAP device accepts the longest frame of any bus.
  options.on_too_long = [this](const FrameView& frame, AnyLink& from, AnyLink& to) {
    const std::optional<tap::Interface> now = find_device(wish_.space(), name_);
    too_long_.say(frame.size(), from.address(), now ? std::optional(now->mtu) : std::nullopt,
                  to.address(), on_bus_.mtu());
  };
  options.on_trouble = [this](AnyLink& link, std::error_code error) {
    if (&link != &line_.link() || control_.is_down()) return;
    follow_bus(path_, right_.descriptor(), LinkKind::tap, error);
  };
  return options;
}

/// Whether an interface has the address. The kernel answers for its addresses on all of its
/// interfaces.
bool TapRun::has_address(MacAddress mac) const {
  const auto all = open_session(wish_.space()).interfaces();
  const auto has_it = [mac](const tap::AddressedInterface& each) { return each.mac == mac; };
  return all && std::ranges::any_of(*all, has_it);
}

/// Gives the bridge both links, and everything that looks at the frames or at the time.
void TapRun::join() {
  addresses_.join(bridge_).value();
  const auto settle = [this] {
    line_.settle();
    return true;
  };
  control_.show_counts();
  bus_watch_.join(bridge_, settle).value();
  control_.join(bridge_).value();
  bridge_
      .add(
          line_.link(), right_,
          [this](const FrameView& frame, AnyLink& back) {
            return control_.is_down() || addresses_.look(0, frame) ||
                   guard_.look(LoopGuard::Side::left, frame, back) || answer_(frame, back);
          },
          [this](const FrameView& frame, AnyLink& back) {
            return control_.is_down() || guard_.look(LoopGuard::Side::right, frame, back);
          })
      .value();
  watch_.join(bridge_).value();
  if (wish_.where) {
    const auto look = [this] { return !(over_ = wish_.where->look()); };
    bridge_.watch(wish_.where->descriptor(), look).value();
  }
}

void TapRun::begin() {
  bring_up(on_bus_, "bus " + wish_.path);
  addresses_.begin();
  std::printf("%s is on %s as port %s, %s\n", base::printable(name_).c_str(),
              base::printable(wish_.path).c_str(), on_bus_.name().c_str(),
              on_bus_.mac().to_string().c_str());
  flush_output();
}

int TapRun::carry() {
  tap::BridgeEnd end = bridge_.run(stop_.descriptor());
  while (control_.was_moved()) {
    bridge_ = tap::Bridge::create(bridge_options()).value();
    join();
    end = bridge_.run(stop_.descriptor());
  }
  if (over_)
    std::printf("%s: %s leaves %s\n", over_->c_str(), base::printable(name_).c_str(),
                base::printable(path_).c_str());
  if (end.why == tap::BridgeEnd::Why::stopped && !end.error) return kDone;
  return fail("cannot go on with " + (end.address.empty() ? name_ : end.address) + ": " +
              end.error.message());
}

/// Gives the device the MTU and offloads of the bus, which may not exist yet.
void fit_device_to_bus(TapWish& wish, const std::optional<Bus>& bus) {
  if (bus) {
    const BusInfo is = bus->info();
    wish.device.mtu = is.mtu;
    wish.device.offload &= is.carries_offloads;
  } else {
    wish.device.mtu = wish.bus.options.mtu;
    wish.device.offload &= wish.bus.options.carries_offloads();
  }
  wish.port.take_offloads = wish.device.offload;
}

/// Gives the port the address of a device that existed. The address that was seen earlier may have
/// changed before the device was ours.
void follow_mac(Port& port, const tap::NetNamespace* space, const std::string& device) {
  const std::optional<tap::Interface> now = find_device(space, device);
  if (!now || now->mac == port.mac()) return;
  if (const std::error_code refused = port.set_mac(now->mac)) {
    throw Exception(Error(refused, "cannot attach TAP device \"" + device + "\" to the bus with " +
                                       now->mac.to_string() + ": " + refused.message()));
  }
}

/// Refuses an impossible gateway before anything is made. `old`: the device existed, so only the
/// kernel knows which addresses it has.
void check_gateways(const TapWish& wish, bool old) {
  const std::string& name = wish.device.name;
  for (const tap::IpAddress& gateway : wish.device.gateways) {
    if (!old && !tap::is_on_link(gateway, wish.device.addresses)) {
      throw UsageError{"--gateway " + gateway.to_string() +
                       " is not in any network of the device (give it an address in the gateway's "
                       "network: --ip)"};
    }
    const auto there = open_session(wish.space()).default_route(gateway.family);
    if (!there || (there->interface == name && there->gateway == gateway)) continue;
    throw Exception(Error(std::make_error_code(std::errc::file_exists),
                          "cannot add a default route through gateway " + gateway.to_string() +
                              ": the network namespace has one, through " +
                              there->gateway.to_string() + " on interface " + there->interface +
                              " (remove it, or leave --gateway out)"));
  }
}

/// Refuses the name of the loopback interface, which is no TAP device.
void check_device(const std::optional<tap::Interface>& old, const std::string& name) {
  if (!old || (old->flags & IFF_LOOPBACK) == 0) return;
  throw Exception(Error(Errc::bad_argument,
                        "cannot make the TAP device " + name +
                            ": the loopback interface has this name (--name needs the name of a "
                            "new interface, or of a TAP device that is there)"));
}

/// Gives a device that was made before its bus the address that follows from the bus, and what a
/// device without it could not have yet.
void give_mac(const TapWish& wish, const std::string& device, MacAddress mac) {
  tap::Netlink session = open_session(wish.space());
  session.set_mac(device, mac).value();
  session.set_up(device).value();
  for (const tap::IpAddress& gateway : wish.device.gateways)
    session.add_default_route(device, gateway).value();
}

int run_tap(const CommandLine& line) {
  TapWish wish = read_tap_wish(tap_options().parse(line));
  base::let_lost_output_vanish();
  // Steps that can fail come first, and steps that leave traces come last: a bus is made when
  // everything else is ready.
  NewBus made;
  std::optional<Bus> bus;
  if (!wish.bus.create || access(wish.path.c_str(), F_OK) == 0)
    bus.emplace(provide_bus(wish.path, wish.bus, made).value());
  fit_device_to_bus(wish, bus);
  need_tun_device();
  wish.device.where = wish.space();
  wish.device.put_back = true;
  const std::optional<tap::Interface> old = find_device(wish.space(), wish.device.name);
  check_device(old, wish.device.name);
  if (wish.device.mac || old) wish.port.mac = wish.device.mac ? *wish.device.mac : old->mac;

  check_gateways(wish, old.has_value());

  auto port = std::make_unique<Port>();
  if (bus) {
    attach(*port, wish.port, *bus, wish.device.name, old.has_value());
    if (!wish.port.mac) wish.device.mac = port->mac();
  }
  // The default address follows from a bus that will be made later.
  const bool mac_comes_later = !bus && !wish.port.mac;
  wish.device.up = !mac_comes_later;
  auto device = std::make_unique<tap::TapLink>(tap::TapLink::open(wish.device).value());
  if (!bus) {
    bus.emplace(provide_bus(wish.path, wish.bus, made).value());
    attach(*port, wish.port, *bus, device->name(), old.has_value());
  }
  if (old && !wish.device.mac) follow_mac(*port, wish.space(), device->name());
  if (mac_comes_later) give_mac(wish, device->name(), port->mac());
  bus.reset();
  TapRun run(wish, std::move(port), std::move(device));
  run.begin();
  made.keep();
  return run.carry();
}

}  // namespace

const Command kTapCommand{"tap", "connect a TAP device to a bus, until a signal ends the command",
                          run_tap};

}  // namespace shmif::tools
