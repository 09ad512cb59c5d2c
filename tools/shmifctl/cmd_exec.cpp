// shmifctl exec: a program as a host on one or more buses.

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/device_settings.hpp"
#include "tap/guest/neighbours.hpp"
#include "tap/guest/port.hpp"
#include "tap/host_mac.hpp"
#include "tools/common/options.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/relay/nat_process.hpp"
#include "tools/relay/watches.hpp"
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
  std::vector<std::string> fault_texts;
  LineFaults faults;
  bool link_down = false;
  /// Set from the first inspection until the port is attached; empty if the bus must be made.
  std::optional<Bus> bus;
  NewBus made;  ///< the bus, until the program has started
};

struct HostWish {
  std::vector<Attachment> attachments;
  BusWish bus;
  tap::Via via = tap::Via::any;
  bool offload = true;
  bool forward = false;
  std::string hostname;
  std::optional<std::vector<tap::IpAddress>> name_servers;
  std::vector<std::string> program;
  InHost in_host;
};

Options exec_options() {
  Options options("exec", "PATH -- PROGRAM [ARGUMENT]...");
  options.bus_first()
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
                     --name, --ifname, --promisc, --lan, --tap, --fault and --link-down after it
                     belong to that interface)")
      .flag("forward",
            R"(make the host a router: before the program starts, its kernel is told to forward
               IPv4 and IPv6 packets between its interfaces)")
      .repeatable("dns", "ADDRESS|none",
                  R"(a name server for the host: its /etc/resolv.conf then has these, and not
                     those of this machine. The lines search, domain and options stay. Behind
                     shmifctl gateway, give the address that it prints. With none, the host has no
                     name server: an unknown name fails at once)")
      .value("hostname", "NAME",
             R"(the host name (default: the port's name, with hyphens for characters that a host
                name cannot have))")
      .value("via", "tap|veth",
             R"(how interfaces are made (default: tap if /dev/net/tun can be used, else veth). A
                packet of MTU size can carry one VLAN tag with veth, two with tap)");
  add_fault_option(options, "of the line between this interface and its bus");
  options.once_per_bus("link-down", "",
                       R"(begin with the link of this interface down: no frame passes until
                          'shmifctl link --up')");
  add_bus_options(options);
  add_offload_option(options);
  options.takes_program()
      .example("shmifctl exec /dev/shm/bus0 --create --ip 198.18.0.1/24 -- bash",
               "a shell on a host of its own")
      .example("shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 -- ping -c 3 198.18.0.1",
               "another host pings it")
      .example(
          "shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 --fault delay=20ms -- ping -c 3 "
          "198.18.0.1",
          "a host behind a slow line: 20 ms each way")
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
          "shmifctl exec /dev/shm/bus0 --create --name router --forward --ip 198.18.0.254/24 \\\n"
          "      --bus /dev/shm/bus1 --ip 198.18.1.254/24 -- sleep infinity &\n"
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
      last.port.name = value;
    } else if (option == "ifname") {
      once(option, !last.interface.name.empty());
      last.interface.name = value;
    } else if (option == "lan") {
      last.lan = true;
    } else if (option == "tap") {
      last.taps.push_back(value);
    } else if (option == "link-down") {
      last.link_down = true;
    } else if (option == "fault") {
      last.fault_texts.push_back(value);
    }
  }

  std::vector<Attachment> finish() && {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      Attachment& each = all_[i];
      const std::string number = std::to_string(i);
      if (!each.fault_texts.empty()) each.faults = line_faults_of(each.fault_texts);
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

/// A value of --dns: an address, or "none", which must be the only one.
void read_name_server(HostWish& wish, const std::string& value) {
  const bool had_none = wish.name_servers && wish.name_servers->empty();
  if (had_none || (value == "none" && wish.name_servers)) {
    throw UsageError{"--dns none means that the host has no name server: give it once, and alone"};
  }
  if (!wish.name_servers) wish.name_servers.emplace();
  if (value != "none") {
    wish.name_servers->push_back(parsed_option<tap::IpAddress>("dns", value));
  }
}

HostWish read_host_wish(const Arguments& args) {
  HostWish wish;
  wish.bus = bus_wish(args);
  wish.program = args.program();
  wish.offload = !args.flag("no-offload");
  wish.forward = args.flag("forward");
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
      read_name_server(wish, value);
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
      lines_.emplace_back(ports_[i].line(), means_of(ports_[i])).note_start();
      lines_.back().show_counts();
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
    const tap::GuestExit end = carry_until_end();
    if (end.failure.empty()) {
      keep_buses();
    } else {
      complain(end.failure);  // the program was not started
    }
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
  tap::GuestExit carry_until_end() {
    try {
      while (!exit_ && carry()) {  // until the program ends, or no interface is left
      }
      return exit_ ? *exit_ : guest_.wait();
    } catch (...) {
      keep_buses();
      throw;
    }
  }

  void keep_buses() noexcept {
    for (Attachment& each : attachments_) each.made.keep();
  }

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
    ports_.back().line().set_faults(attachment.faults).value();
    ports_.back().line().set_carrier(!attachment.link_down);
    // The interface comes up when it has the MAC address of the port. Until then it hears nothing.
    if (attachment.interface.mac_comes_later)
      static_cast<void>(ports_.back().port().set_carrier(false));
    buses_.add(ports_.back().port());
  }

  /// What others can ask of the line of a port.
  static LineMeans means_of(tap::GuestPort& port) {
    return {.set_carrier = [&port](bool on) { return port.set_link(on); },
            .attach_to = [&port](const Bus& bus) { return port.attach_to(bus); },
            .replace = [&port](Port moved) { port.replace(std::move(moved)); }};
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
        if (&port.bus() == &link && port.line().has_carrier())
          follow_bus(port.path(), port.device().descriptor(), port.kind(), error);
      }
    };
    tap::Bridge bridge = tap::Bridge::create(options).value();
    std::vector<tap::GuestPort*> pairs;
    asked_.clear();
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      tap::GuestPort& port = ports_[i];
      if (!port.is_plugged()) continue;
      tap::VainQuestions& questions = asked_.emplace_back();
      for (const tap::Cidr& each : attachments_[i].interface.addresses) {
        note_own(questions, each.address);
      }
      for (const tap::IpAddress& each : added_) note_own(questions, each);
      const bool sees_all = attachments_[i].port.promiscuous;  // --promisc
      LineControl& line = lines_[i];
      const auto look = [this, i, sees_all, &line, answer = PingAnswerer(port.port()), &questions](
                            const FrameView& frame, AnyLink& back) {
        return line.is_down() || addresses_.look(i, frame) || answer(frame, back) ||
               (!sees_all && questions.is_vain(frame, [&] { return back.bus_frames(); }));
      };
      const auto learn = [&questions, &line](const FrameView& frame, AnyLink&) {
        if (line.is_down()) return true;
        questions.learn(frame);
        return false;
      };
      bridge.add(port.bus(), port.device(), look, learn).value();
      line.join(bridge).value();
      pairs.push_back(&port);
    }
    if (pairs.empty() && std::ranges::none_of(ports_, &tap::GuestPort::waits_for_bus)) return false;
    buses_.join(bridge, [this] { return !find_buses_again(); }).value();
    addresses_.join(bridge).value();
    bridge.watch(guest_.descriptor(), [this] { return take_news(); }).value();
    const tap::BridgeEnd end = bridge.run();
    for (LineControl& line : lines_) static_cast<void>(line.was_moved());
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
      then += ", and " + lost.interface() +
              " has no carrier until there is a bus at that path again" +
              (lost.line().has_carrier() ? "" : " and its link is up");
    }
    log_warning("exec: " + end.address + " is gone: " + end.error.message() + then);
  }

  /// Result: whether a lost bus has come back.
  bool find_buses_again() {
    bool found = false;
    for (tap::GuestPort& port : ports_) {
      port.line().settle();
      LineControl& line = lines_[static_cast<std::size_t>(&port - ports_.data())];
      if (!port.waits_for_bus() || !port.attach_again()) continue;
      found = true;
      line.begin_again();
      log_warning(
          "exec: there is a bus at " + port.path() + " again, and " + port.interface() +
          (port.line().has_carrier() ? " has carrier" : " has no carrier while its link is down"));
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
    for (const tap::GuestInterfaceState& now : news.interfaces) {
      ports_[now.interface].show(now);
      // --link-down: the interface gets its MAC address and its routes while it has its carrier.
      if (now.carrier) lines_[now.interface].keep_down();
    }
    learn(news.addresses);
    exit_ = std::move(news.exit);
    return !exit_;
  }

  /// The host's kernel answers for its addresses on all interfaces.
  void learn(const tap::GuestAddresses& addresses) {
    for (tap::VainQuestions& each : asked_) {
      if (addresses.missed) each.forget();
      for (const tap::IpAddress& address : addresses.added) note_own(each, address);
    }
    for (const tap::IpAddress& address : addresses.added) {
      if (std::ranges::find(added_, address) != added_.end()) continue;
      if (added_.size() == kMaxAdded) added_.pop_front();
      added_.push_back(address);
    }
  }

  static void note_own(tap::VainQuestions& questions, const tap::IpAddress& address) {
    questions.note_own(std::bit_cast<tap::VainQuestions::Address>(address.bytes));
  }

  /// More than VainQuestions holds.
  static constexpr std::size_t kMaxAdded = 1024;

  tap::Guest guest_;
  std::string program_;
  std::string hostname_;  ///< as given; empty means the name of the port
  std::vector<Attachment>& attachments_;
  std::vector<tap::GuestPort> ports_;
  std::deque<tap::VainQuestions> asked_;  ///< of each pair of the bridge
  std::deque<tap::IpAddress> added_;      ///< while the host ran
  std::deque<LineControl> lines_;         ///< of each port
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
      each.bus.emplace(provide_bus(each.path, wish.bus, each.made).value());
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
    each.bus.emplace(provide_bus(each.path, wish.bus, each.made).value());
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
  if (!is_led || wish.name_servers) return;
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
  options.before_command = wish.in_host.prepare;
  options.via = wish.via;
  options.forward = wish.forward;
  options.hostname = wish.hostname;
  options.name_servers = wish.name_servers;
  for (const Attachment& each : wish.attachments) options.interfaces.push_back(each.interface);
  Result<tap::Guest> guest = tap::Guest::start(std::move(options));
  if (!guest && guest.error().code == make_error_code(Errc::bad_argument)) {
    throw UsageError{guest.error().message};
  }
  if (!guest) throw Exception(std::move(guest).error());
  if (wish.in_host.tells_notes) {
    for (const std::string& note : guest->notes()) log_warning("exec: " + note);
  }
  make_missing_buses(wish);
  return ExecHost(*std::move(guest), wish).run();
}

int run_exec(const CommandLine& line) {
  HostWish wish = read_host_wish(exec_options().parse(line));
  wish.in_host = line.in_host;
  return code_of_program("exec", [&] { return run_host(wish); });
}

}  // namespace

const Command kExecCommand{"exec", "run a program as a host on a bus", run_exec};

}  // namespace shmif::tools
