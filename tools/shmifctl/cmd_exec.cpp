// shmifctl exec: a program as a host on one or more buses.

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/carrier.hpp"
#include "tap/guest/port.hpp"
#include "tap/guest/vain_questions.hpp"
#include "tap/host_mac.hpp"
#include "tools/common/options.hpp"
#include "tools/relay/address_watch.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/bus_watch.hpp"
#include "tools/relay/device_watch.hpp"
#include "tools/relay/name_servers.hpp"
#include "tools/relay/ping_answerer.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::tools {

namespace {

// ---- The command line ----

/// One interface of the host, and its bus.
struct Attachment {
  std::string path;
  tap::GuestInterface interface;
  PortOptions port;
  bool lan = false;  ///< the interface is in a bridge
  std::vector<std::string> taps;
  /// Set from the first inspection until the port is attached; empty if the bus must be made.
  std::optional<Bus> bus;
};

struct HostWish {
  std::vector<Attachment> attachments;
  BusWish bus;
  tap::Via via = tap::Via::any;
  bool offload = true;
  std::string hostname;
  std::vector<tap::IpAddress> name_servers;
  std::vector<std::string> program;
};

Options exec_options() {
  Options options("exec", "PATH -- PROGRAM [ARGUMENT]...");
  options
      .about(
          R"(Runs a program as a host on the bus, in namespaces of its own. Needs no privileges,
             but a kernel that permits user namespaces: if the kernel forbids them, exec exits
             77 and names the settings that can be the cause.

             Standard input and output, the terminal, signals and the exit status pass through
             (125: shmifctl failed; 126: the program cannot be executed; 127: there is no such
             program). All processes of the host end with the program.

             In the host the program is root and may change its interfaces. It sees only the
             interfaces and processes of the host. Set-user-ID programs give no rights in it.

             The program sees the files of the machine, with your rights only. Files of users
             who have no id in the host belong to "nobody" there. The host has its own /run,
             with empty directories, and its changes in /etc and /var/lib are discarded at the
             end. This is not a sandbox: the program may read and write all other files that you
             may.)")
      .elsewhere("fault",
                 R"(faults belong to a line between two buses: 'shmifctl bridge bus:A bus:B
                    --fault FAULTS', with this host on A and the others on B)")
      .elsewhere("forward",
                 R"(start a program that turns forwarding on: -- sh -c 'sysctl -w
                    net.ipv4.ip_forward=1; exec bash'; for IPv6:
                    net.ipv6.conf.all.forwarding)")
      .repeatable("ip", "CIDR",
                  R"(an address, such as 198.18.0.1/24 or fd00::1/64. Without one, the interface
                     has only its IPv6 link-local address)")
      .repeatable("gateway", "ADDRESS", "the default gateway: one for IPv4, one for IPv6")
      .once_per_bus("mac", "ADDRESS",
                    R"(the MAC address (default: b2:a0:..., which follows from the bus and the
                       port's name))")
      .once_per_bus("name", "NAME", "the port's name on the bus (default: the next free portN)")
      .once_per_bus(
          "ifname", "NAME",
          "the interface's name (default: tap0, then tap1, ...; with --lan: bus0, bus1, ...)")
      .once_per_bus("promisc", "", "receive every frame, not only those for this host")
      .once_per_bus("lan", "",
                    R"(for a program that opens a TAP device itself: make a kernel bridge in the
                       host, lan0 (lan1, ...). It connects the interface on the bus, then called
                       bus0 (bus1, ...), with the TAP devices of --tap. The addresses of --ip
                       and the gateways of --gateway belong to lan0)")
      .repeatable("tap", "NAME",
                  R"(with --lan: make the TAP device NAME, and connect it to the bridge. When
                     the program opens /dev/net/tun and asks for NAME, its frames go to the bus.
                     The device exists before the program starts, and remains when the program
                     closes it)")
      .repeatable("bus", "PATH",
                  R"(add an interface, on the bus PATH. The options --ip, --gateway, --mac,
                     --name, --ifname, --promisc, --lan and --tap after it belong to that
                     interface)")
      .repeatable("dns", "ADDRESS",
                  R"(a name server for the host: its /etc/resolv.conf then has these, and not
                     those of this machine. The lines search, domain and options stay. Behind
                     shmifctl gateway, give the address that it prints)")
      .value("hostname", "NAME",
             R"(the host name (default: the port's name, with hyphens for characters that a host
                name cannot have))")
      .value("via", "tap|veth",
             R"(how interfaces are made (default: tap if /dev/net/tun can be used, else veth). A
                packet of MTU size can carry one VLAN tag with veth, two with tap)");
  add_bus_options(options);
  add_offload_option(options);
  options.takes_program()
      .example("shmifctl exec /dev/shm/bus0 --create --ip 198.18.0.1/24 -- bash",
               "a shell on a host of its own")
      .example("shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 -- ping -c 3 198.18.0.1",
               "another host pings it")
      .example(
          "shmifctl exec /dev/shm/bus0 --name web --ip 198.18.0.3/24 -- python3 -m http.server 80 "
          "&\n"
          "  shmifctl wait /dev/shm/bus0 --tcp 198.18.0.3:80\n"
          "  shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 -- curl http://198.18.0.3\n"
          "  shmifctl stop /dev/shm/bus0 web",
          "a server in the background: wait until it answers, ask it, end it")
      .example(
          "shmifctl exec /dev/shm/bus0 --lan --tap tap0 \\\n"
          "      -- qemu-system-x86_64 disk.img -netdev "
          "tap,id=n,ifname=tap0,script=no,downscript=no \\\n"
          "      -device virtio-net,netdev=n",
          "a virtual machine that opens a TAP device")
      .example(
          "shmifctl exec /dev/shm/bus0 --create --name router --ip 198.18.0.254/24 \\\n"
          "      --bus /dev/shm/bus1 --ip 198.18.1.254/24 \\\n"
          "      -- sh -c 'sysctl -w net.ipv4.ip_forward=1; sleep infinity' &\n"
          "  shmifctl wait /dev/shm/bus0 --port router",
          "a router between two buses")
      .example(
          "shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 --gateway 198.18.0.254 "
          "-- ping -c 3 198.18.1.254",
          "a host of the first bus uses it as its gateway");
  return options;
}

template <class T>
T parsed_option(const std::string& option, const std::string& value) {
  const Result<T> result = T::parse(value);
  if (!result) throw UsageError{"--" + option + ": " + result.error().message};
  return *result;
}

/// The attachments, in the order of the command line. Each option applies to the bus before it.
class AttachmentReader {
 public:
  explicit AttachmentReader(const std::string& first_path) { begin(first_path); }

  void take(const std::string& option, const std::string& value) {
    Attachment& last = all_.back();
    if (option == "bus") {
      begin(value);
    } else if (option == "ip") {
      last.interface.addresses.push_back(parsed_option<tap::Cidr>(option, value));
    } else if (option == "gateway") {
      last.interface.gateways.push_back(parsed_option<tap::IpAddress>(option, value));
    } else if (option == "promisc") {
      last.port.promiscuous = true;
    } else if (option == "mac") {
      once(option, last.interface.mac.has_value());
      const auto mac = MacAddress::parse(value);
      if (!mac || !mac->is_unicast()) {
        throw UsageError{"--mac \"" + value +
                         "\" is not a unicast MAC address (such as b2:a0:00:00:00:01)"};
      }
      last.interface.mac = mac;
    } else if (option == "name") {
      once(option, !last.port.name.empty());
      if (value.empty()) throw UsageError{"--name needs a name"};
      last.port.name = value;
    } else if (option == "ifname") {
      once(option, !last.interface.name.empty());
      if (value.empty()) throw UsageError{"--ifname needs a name"};
      last.interface.name = value;
    } else if (option == "lan") {
      last.lan = true;
    } else if (option == "tap") {
      last.taps.push_back(value);
    }
  }

  std::vector<Attachment> finish() && {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      Attachment& each = all_[i];
      const std::string number = std::to_string(i);
      if (!each.taps.empty() && !each.lan) {
        throw UsageError{"--tap " + each.taps.front() +
                         " needs --lan, the bridge between that device and the bus" +
                         (all_.size() > 1 ? " (one for each bus)" : "") + ": write --lan --tap " +
                         each.taps.front()};
      }
      // Many programs open "tap0" unless they are told otherwise. In a LAN, that name is left to
      // them.
      if (each.interface.name.empty()) each.interface.name = (each.lan ? "bus" : "tap") + number;
      if (each.lan) each.interface.lan = tap::GuestLan{"lan" + number, std::move(each.taps)};
      // The port has the same address, so the bus refuses a duplicate. The default address follows
      // from the name of the port, which is known only when the port is attached.
      each.interface.mac_comes_later = !each.interface.mac;
      each.port.mac = each.interface.mac;
    }
    return std::move(all_);
  }

 private:
  void begin(const std::string& path) {
    Attachment next;
    next.path = path;
    next.interface.name.clear();
    next.port.learn = true;
    next.port.name_patience = kNamePatience;
    all_.push_back(std::move(next));
  }

  static void once(const std::string& option, bool given_before) {
    if (given_before) throw UsageError{"--" + option + " is given more than once for one bus"};
  }

  std::vector<Attachment> all_;
};

bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

/// Whether RFC 1123 and the kernel allow the name.
bool is_host_name(const std::string& name) {
  constexpr std::size_t kMaxName = 64;
  constexpr std::size_t kMaxLabel = 63;
  if (name.empty() || name.size() > kMaxName) return false;
  std::size_t begin = 0;
  for (;;) {  // one label in each round; it ends at a dot or at the end
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string label = name.substr(begin, end - begin);
    if (label.empty() || label.size() > kMaxLabel || label.front() == '-' || label.back() == '-' ||
        !std::ranges::all_of(label, is_label_character)) {
      return false;
    }
    if (end == name.size()) return true;
    begin = end + 1;
  }
}

/// The host name for a port called `name`, which may contain any printable character.
std::string host_name_for(const std::string& name) {
  if (is_host_name(name)) return name;
  std::string made;
  for (const char c : name) made += is_label_character(c) ? c : '-';
  const std::size_t first = made.find_first_not_of('-');
  if (first == std::string::npos) return "host";
  return made.substr(first, made.find_last_not_of('-') - first + 1);
}

HostWish read_host_wish(const Arguments& args) {
  HostWish wish;
  wish.bus = bus_wish(args);
  wish.program = args.program();
  wish.offload = !args.flag("no-offload");
  if (const auto via = args.text("via")) {
    if (*via != "tap" && *via != "veth" && *via != "any") {
      throw UsageError{"--via \"" + *via + "\" is neither tap nor veth"};
    }
    wish.via = *via == "tap" ? tap::Via::tap : *via == "veth" ? tap::Via::veth : tap::Via::any;
  }
  wish.hostname = args.text("hostname").value_or("");
  if (args.given("hostname") && !is_host_name(wish.hostname)) {
    throw UsageError{"--hostname \"" + wish.hostname +
                     "\" is not a host name (letters, digits, hyphens and dots, at most 64 "
                     "characters; each part between dots has 1 to 63 and no hyphen at its ends)"};
  }
  AttachmentReader reader(args.positional()[0]);
  for (const auto& [option, value] : args.in_order()) {
    if (option == "dns") {
      wish.name_servers.push_back(parsed_option<tap::IpAddress>(option, value));
    } else {
      reader.take(option, value);
    }
  }
  wish.attachments = std::move(reader).finish();
  for (Attachment& each : wish.attachments) each.port.lock_memory = wish.bus.lock_memory;
  return wish;
}

// ---- The host ----

/// A program on its buses.
class ExecHost {
 public:
  /// `wish` must outlive this.
  ExecHost(tap::Guest guest, HostWish& wish)
      : guest_(std::move(guest)),
        program_(wish.program.front()),
        hostname_(wish.hostname),
        attachments_(wish.attachments) {
    for (std::size_t i = 0; i < wish.attachments.size(); ++i) {
      attach(wish.attachments[i], guest_.links()[i]);
    }
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      addresses_.add(ports_[i].port(), ports_[i].path(), wish.attachments[i].interface.addresses);
    }
  }

  /// Runs the program. Result: the exit code.
  int run() {
    for (tap::GuestPort& port : ports_) port.up().value();
    std::vector<MacAddress> macs;
    macs.reserve(ports_.size());
    for (const tap::GuestPort& port : ports_) macs.push_back(port.port().mac());
    guest_
        .release(hostname_.empty() ? host_name_for(ports_.front().port().name()) : hostname_, macs)
        .value();
    addresses_.begin();
    let_go_of_streams();
    while (!exit_ && carry()) {  // until the program ends, or no interface is left
    }
    const tap::GuestExit end = exit_ ? *exit_ : guest_.wait();
    if (!end.failure.empty()) complain(end.failure);
    if (end.daemons > 0) {
      tell_of_processes(end.daemons,
                        "a daemon must stay in the foreground: most have an option such as -f, -F, "
                        "-n, --foreground or --nodaemon; or run sh -c '" +
                            program_ + " ...; sleep infinity'");
    } else if (end.jobs > 0) {
      tell_of_processes(end.jobs,
                        "the host ends with \"" + program_ +
                            "\": end a shell script with 'wait', or leave out the last '&'");
    }
    return end.status;
  }

 private:
  /// Warns that background processes ended together with the program.
  void tell_of_processes(int count, const std::string& advice) const {
    log_warning("exec: \"" + program_ + "\" has ended and left " + std::to_string(count) +
                (count == 1 ? " process" : " processes") +
                " in the background, which ended with the host (" + advice + ')');
  }

  void attach(Attachment& attachment, tap::GuestLink& link) {
    ports_.push_back(tap::GuestPort::attach(link, *attachment.bus, attachment.port).value());
    if (!attachment.port.mac) tap::take_host_mac(ports_.back().port(), attachment.bus->info());
    attachment.bus.reset();
    buses_.add(ports_.back().port());
  }

  /// Carries frames until the program or a link ends. A link that has ended is then left out.
  /// Result: false if no link is left.
  bool carry() {
    tap::BridgeOptions options;
    options.on_too_long = [this](const FrameView& frame, AnyLink& from, AnyLink& to) {
      too_long_.say(frame.size(), from.address(), mtu_of(from), to.address(), mtu_of(to));
    };
    options.on_trouble = [this](AnyLink& link, std::error_code error) {
      for (const tap::GuestPort& port : ports_) {
        if (&port.bus() == &link)
          follow_bus(port.path(), port.device().descriptor(), port.kind(), error);
      }
    };
    tap::Bridge bridge = tap::Bridge::create(options).value();
    std::vector<tap::GuestPort*> pairs;
    std::deque<tap::VainQuestions> asked;  // of each pair
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      tap::GuestPort& port = ports_[i];
      if (!port.is_plugged()) continue;
      tap::VainQuestions& questions = asked.emplace_back();
      for (const tap::Cidr& each : attachments_[i].interface.addresses) {
        questions.note_own(std::bit_cast<tap::VainQuestions::Address>(each.address.bytes));
      }
      const bool sees_all = attachments_[i].port.promiscuous;  // --promisc
      const auto look = [this, i, sees_all, answer = PingAnswerer(port.port()), &questions](
                            const FrameView& frame, AnyLink& back) {
        return addresses_.look(i, frame) || answer(frame, back) ||
               (!sees_all && questions.is_vain(frame, [&] { return back.bus_frames(); }));
      };
      const auto learn = [&questions](const FrameView& frame, AnyLink&) {
        questions.learn(frame);
        return false;
      };
      bridge.add(port.bus(), port.device(), look, learn).value();
      pairs.push_back(&port);
    }
    if (pairs.empty() && std::ranges::none_of(ports_, &tap::GuestPort::waits_for_bus)) return false;
    buses_.join(bridge, [this] { return !find_buses_again(); }).value();
    addresses_.join(bridge).value();
    bridge.watch(guest_.descriptor(), [this] { return take_news(); }).value();
    const tap::BridgeEnd end = bridge.run();
    if (end.why == tap::BridgeEnd::Why::link_ended && end.pair < pairs.size()) {
      give_up(*pairs[end.pair], end);
      if (pairs[end.pair]->waits_for_bus()) buses_.look_soon();
    } else if (end.error) {
      throw Exception(Error(end.error, "cannot carry frames: " + end.error.message()));
    }
    return true;
  }

  /// Goes on without an interface. If its bus is lost, the interface loses its carrier. It gets the
  /// carrier back when a bus is at that path again.
  static void give_up(tap::GuestPort& lost, const tap::BridgeEnd& end) {
    std::string then = "; the program goes on without it";
    if (lost.unplug(end.error) && !lost.set_carrier(false)) {
      then +=
          ", and " + lost.interface() + " has no carrier until there is a bus at that path again";
    }
    log_warning("exec: " + end.address + " is gone: " + end.error.message() + then);
  }

  /// Result: whether a lost bus has come back.
  bool find_buses_again() {
    bool found = false;
    for (tap::GuestPort& port : ports_) {
      if (!port.waits_for_bus() || !port.attach_again()) continue;
      found = true;
      log_warning("exec: there is a bus at " + port.path() + " again, and " + port.interface() +
                  " has carrier");
    }
    if (std::ranges::any_of(ports_, &tap::GuestPort::waits_for_bus)) buses_.look_soon();
    return found;
  }

  std::optional<std::uint32_t> mtu_of(const AnyLink& side) const {
    for (const tap::GuestPort& port : ports_) {
      if (const auto mtu = port.mtu_of(side)) return mtu;
    }
    return std::nullopt;
  }

  /// Result: false if the program has ended.
  bool take_news() {
    tap::GuestNews news = guest_.dispatch();
    for (const tap::GuestInterfaceState& now : news.interfaces) ports_[now.interface].show(now);
    exit_ = std::move(news.exit);
    return !exit_;
  }

  tap::Guest guest_;
  std::string program_;
  std::string hostname_;  ///< as given; empty means the name of the port
  const std::vector<Attachment>& attachments_;
  std::vector<tap::GuestPort> ports_;
  BusWatch buses_;
  /// If a host has two interfaces on one bus, its kernel answers for its addresses on both.
  AddressWatch addresses_{"exec", [this](MacAddress mac) {
                            return std::ranges::any_of(ports_, [mac](const tap::GuestPort& port) {
                              return port.port().mac() == mac;
                            });
                          }};
  std::optional<tap::GuestExit> exit_;
  TooLongNotice too_long_;
};

/// Finds out the MTU of every bus. If a bus is missing, it is made only when everything else is
/// ready.
void look_at_buses(HostWish& wish) {
  for (Attachment& each : wish.attachments) {
    bool carries = wish.bus.options.carries_offloads();
    each.interface.mtu = wish.bus.options.mtu;
    if (!wish.bus.create || ::access(each.path.c_str(), F_OK) == 0) {
      each.bus.emplace(provide_bus(each.path, wish.bus).value());
      const BusInfo bus = each.bus->info();
      carries = bus.carries_offloads;
      each.interface.mtu = bus.mtu;
    }
    each.interface.offload = each.port.take_offloads = wish.offload && carries;
  }
}

void make_missing_buses(HostWish& wish) {
  for (Attachment& each : wish.attachments) {
    if (each.bus) continue;
    each.bus.emplace(provide_bus(each.path, wish.bus).value());
    const BusInfo made = each.bus->info();
    if (made.mtu == each.interface.mtu) continue;
    throw Exception(
        Error(Errc::geometry_differs, "cannot use the bus " + each.path +
                                          ": another process has just made it, with MTU " +
                                          std::to_string(made.mtu) + " (try again)"));
  }
}

/// Warns if a host with a gateway has no name server: /etc/resolv.conf names none, or only some on
/// this machine's loopback. The host cannot reach these, because it sees only its own loopback.
void check_name_servers(const HostWish& wish) {
  const bool is_led = std::ranges::any_of(
      wish.attachments, [](const Attachment& each) { return !each.interface.gateways.empty(); });
  if (!is_led || !wish.name_servers.empty()) return;
  const std::vector<tap::IpAddress> all = name_servers();
  if (!std::ranges::all_of(all, is_loopback)) return;
  log_warning(std::string("exec: the host cannot look up names, because ") + kResolvConf +
              (all.empty() ? " names no name server"
                           : " names only " + all.front().to_string() +
                                 ", where no server answers inside the host") +
              " (give --dns ADDRESS, a name server that the host reaches)");
}

int run_host(HostWish& wish) {
  look_at_buses(wish);
  check_name_servers(wish);
  tap::GuestOptions options;
  options.command = wish.program;
  options.via = wish.via;
  options.hostname = wish.hostname;
  options.name_servers = wish.name_servers;
  for (const Attachment& each : wish.attachments) options.interfaces.push_back(each.interface);
  Result<tap::Guest> guest = tap::Guest::start(std::move(options));
  if (!guest && guest.error().code == make_error_code(Errc::bad_argument)) {
    throw UsageError{guest.error().message};
  }
  if (!guest) throw Exception(std::move(guest).error());
  for (const std::string& note : guest->notes()) log_warning("exec: " + note);
  make_missing_buses(wish);
  return ExecHost(*std::move(guest), wish).run();
}

int run_exec(const CommandLine& line) {
  HostWish wish = read_host_wish(exec_options().parse(line));
  return code_of_program("exec", [&] { return run_host(wish); });
}

}  // namespace

const Command kExecCommand{"exec", "run a program as a host on a bus", run_exec};

}  // namespace shmif::tools
