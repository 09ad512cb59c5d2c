// The uplink over VXLAN.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/signals.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tap/cidr.hpp"
#include "tap/netlink.hpp"
#include "tap/netlink/vxlan.hpp"
#include "tap/netns.hpp"
#include "tap/tap_link.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/links.hpp"
#include "tools/relay/peer.hpp"
#include "tools/uplink/uplink_line.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {

namespace {

// The network between the machines, as the kernel's routes describe it.

/// How packets reach another machine.
struct UnderlayPath {
  tap::IpAddress remote = {};
  tap::IpAddress local = {};   ///< source address that the kernel would choose
  std::uint32_t mtu = 0;       ///< of the way there, as far as the kernel knows
  std::string interface = {};  ///< that has the local address; empty if it is not found
};

socklen_t to_socket_address(const tap::IpAddress& address, std::uint16_t port,
                            sockaddr_storage& storage) {
  storage = {};
  if (address.is_v6()) {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&v6.sin6_addr, address.bytes.data(), sizeof v6.sin6_addr);
    std::memcpy(&storage, &v6, sizeof v6);
    return sizeof v6;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  std::memcpy(&v4.sin_addr, address.bytes.data(), sizeof v4.sin_addr);
  std::memcpy(&storage, &v4, sizeof v4);
  return sizeof v4;
}

tap::IpAddress from_socket_address(const sockaddr_storage& storage) {
  tap::IpAddress address;
  address.family = storage.ss_family;
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    std::memcpy(address.bytes.data(), &v6.sin6_addr, sizeof v6.sin6_addr);
  } else {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    std::memcpy(address.bytes.data(), &v4.sin_addr, sizeof v4.sin_addr);
  }
  return address;
}

std::string interface_with(const tap::IpAddress& address) {
  const auto session = tap::Netlink::open();
  if (!session) return {};
  const auto all = session->interfaces();
  if (!all) return {};
  for (const tap::AddressedInterface& each : *all) {
    if (std::ranges::any_of(each.addresses,
                            [&](const tap::Cidr& has) { return has.address == address; }))
      return each.name;
  }
  return {};
}

/// Whether the kernel refused to send there only because a socket must ask for broadcasts.
bool is_broadcast(int socket, const sockaddr* there, socklen_t size) {
  const int yes = 1;
  return ::setsockopt(socket, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes) == 0 &&
         ::connect(socket, there, size) == 0;
}

/// Asks the kernel. Sends nothing. Threads: any. Blocks: for the kernel's answer. Errors: an errno,
/// such as ENETUNREACH; the message names the address and what to do.
Result<UnderlayPath> path_to(const tap::IpAddress& remote) {
  const std::string what = "cannot find the way to " + remote.to_string();
  const UniqueFd socket(::socket(remote.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, what);
  sockaddr_storage storage;
  const socklen_t size = to_socket_address(remote, tap::kVxlanPort, storage);
  const auto* const there = reinterpret_cast<const sockaddr*>(&storage);
  if (::connect(socket.get(), there, size) != 0) {
    const int why = errno;
    if (why == EACCES && is_broadcast(socket.get(), there, size))
      return Error(Errc::bad_argument,
                   remote.to_string() +
                       " is a broadcast address of this machine's network, and not the address of "
                       "one machine (name each machine by its own address)");
    errno = why;
    return Error::from_errno(errno, what,
                             "give this machine an address in its network, or a route: 'ip route'");
  }
  sockaddr_storage own{};
  socklen_t own_size = sizeof own;
  int mtu = 0;
  socklen_t mtu_size = sizeof mtu;
  const int level = remote.is_v6() ? IPPROTO_IPV6 : IPPROTO_IP;
  const int option = remote.is_v6() ? IPV6_MTU : IP_MTU;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &own_size) != 0 ||
      ::getsockopt(socket.get(), level, option, &mtu, &mtu_size) != 0)
    return Error::from_errno(errno, what);
  UnderlayPath path;
  path.remote = remote;
  path.local = from_socket_address(own);
  path.mtu = static_cast<std::uint32_t>(std::max(mtu, 0));
  path.interface = interface_with(path.local);
  return path;
}

/// Whether an interface of this machine has the address. Threads: any. Blocks: for the kernel's
/// answer.
bool is_own_address(const tap::IpAddress& address) {
  return !interface_with(address).empty();
}

/// Why VXLAN cannot carry the frames of a bus with this MTU at all, with what to do; empty if it
/// can.
std::string too_wide(std::uint32_t bus_mtu, bool is_v6) {
  constexpr std::uint32_t kMaxPacket = 65'535;
  const std::uint32_t most = kMaxPacket - tap::vxlan_bytes(is_v6);
  if (bus_mtu <= most) return {};
  return "the bus has an MTU of " + std::to_string(bus_mtu) + ", and VXLAN over " +
         (is_v6 ? "IPv6" : "IPv4") + " carries at most " + std::to_string(most) +
         " (make the bus with --mtu " + std::to_string(most) + " or less, or use --ssh)";
}

/// A text for each interface that is too narrow for the frames of a bus with this MTU, which become
/// longer by the headers of VXLAN. Says what to set. Empty if all frames fit.
std::vector<std::string> too_narrow(const std::vector<UnderlayPath>& paths, std::uint32_t bus_mtu) {
  std::vector<std::string> texts;
  std::set<std::string> said;
  for (const UnderlayPath& path : paths) {
    const std::uint32_t headers = tap::vxlan_bytes(path.remote.is_v6());
    const std::uint32_t needed = bus_mtu + headers;
    if (path.mtu >= needed || !said.insert(path.interface).second) continue;
    const std::string name = path.interface.empty() ? "NAME" : path.interface;
    texts.push_back("the MTU " + std::to_string(path.mtu) + " of the route to " +
                    path.remote.to_string() +
                    (path.interface.empty() ? std::string() : " (" + path.interface + ")") +
                    " is too small: frames of this bus, whose MTU is " + std::to_string(bus_mtu) +
                    ", need " + std::to_string(needed) +
                    " there. Long frames are sent in fragments, or their senders are told to send "
                    "shorter ones (make the buses with --mtu " +
                    std::to_string(path.mtu - std::min(path.mtu, headers)) +
                    ", or raise the MTU of the network: 'ip link set dev " + name + " mtu " +
                    std::to_string(needed) + "')");
  }
  return texts;
}

// Routing: FRR's zebra and bgpd, which tell the kernel's bridge which machine has which address
// (EVPN, RFC 8365).
//
// bgpd is in this machine's namespace, because its peers are there. zebra is in the private one, in
// which the bridge and the VXLAN device are. The two speak over a socket in a folder /run that only
// they see, so an FRR that the machine runs for itself is not touched. Both are the children of a
// process that is the first one of a PID namespace of its own: when it ends, the kernel ends both.
// It ends with this process, also when this is killed. (A death signal does not suffice: FRR's
// programs change their user, and then the kernel forgets it.)

struct RoutingWish {
  tap::IpAddress local = {};               ///< source of the sessions; IPv4
  std::uint32_t asn = 0;                   ///< of this machine and of all peers
  std::vector<tap::IpAddress> peers = {};  ///< IPv4
};

/// Threads: one at a time.
class Routing {
 public:
  /// Starts both programs. Throws: not_supported if FRR is not installed; an errno. Blocks: no
  /// longer than a fork does.
  Routing(const RoutingWish& wish, const tap::NetNamespace& inner);
  Routing(const Routing&) = delete;
  Routing& operator=(const Routing&) = delete;
  /// Ends both programs. Blocks: until they have ended.
  ~Routing();

  /// Readable when the programs have written something, or have ended.
  int output() const noexcept { return output_.get(); }
  /// Reads that, and tells of peers that come and go. Result: false if the programs have ended.
  bool read_output();
  bool has_ended() const noexcept { return ended_; }
  /// What they wrote last.
  std::string why_ended() const;

 private:
  void take_line(const std::string& line);

  pid_t process_ = -1;
  UniqueFd output_;
  std::string begun_;  ///< of a line that has not yet ended
  std::vector<std::string> last_lines_;
  bool ended_ = false;
};

constexpr const char* kFrrFolder = "/run/frr";
constexpr const char* kZebraSocket = "/run/frr/zserv.api";
constexpr int kZebraStartMs = 20'000;
constexpr std::size_t kMaxFrrLine = 4096;
constexpr std::size_t kKeptLines = 4;

/// The file of one of FRR's programs; empty if it is not installed.
std::string frr_program(const std::string& name) {
  for (const char* const folder : {"/usr/lib/frr/", "/usr/libexec/frr/", "/usr/sbin/"}) {
    std::string file = folder + name;
    if (::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

struct FrrPrograms {
  std::string zebra, bgpd;
};

FrrPrograms find_frr() {
  FrrPrograms programs{frr_program("zebra"), frr_program("bgpd")};
  if (programs.zebra.empty() || programs.bgpd.empty()) {
    throw Exception(Error(Errc::not_supported,
                          "cannot run EVPN: no " +
                              std::string(programs.zebra.empty() ? "zebra" : "bgpd") +
                              " here (install Debian's package frr: apt install frr; or name the "
                              "machines with --remote)"));
  }
  return programs;
}

/// Everything below runs in the child, which has one thread. It writes what fails to standard
/// output, which the parent reads, and ends.
[[noreturn]] void leave_child(const std::string& what) {
  const std::string text = "cannot " + what + ": " + std::strerror(errno) + '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
  ::_exit(1);
}

/// Makes a folder that FRR's user can write to, and that nobody else sees.
void make_frr_folder() {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    leave_child("make a private view of the file system");
  // /var/tmp: FRR leaves a folder there for each process.
  for (const char* const place : {"/run", "/var/tmp"}) {
    if (::mount("shmif-uplink", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m") != 0)
      leave_child(std::string("mount a file system at ") + place);
  }
  const passwd* const user = ::getpwnam("frr");
  if (user == nullptr) leave_child("find the user frr");
  for (const char* const folder : {kFrrFolder, "/var/tmp/frr"}) {
    if (::mkdir(folder, 0755) != 0 || ::chown(folder, user->pw_uid, user->pw_gid) != 0)
      leave_child(std::string("make the folder ") + folder);
  }
}

/// What bgpd reads when it starts.
std::string bgpd_configuration(const RoutingWish& wish) {
  std::ostringstream text;
  const std::string local = wish.local.to_string();
  text << "log stdout informational\n"
       << "router bgp " << wish.asn << '\n'
       << " bgp router-id " << local << '\n'
       << " bgp log-neighbor-changes\n"
       << " no bgp default ipv4-unicast\n"
       << " timers bgp 3 9\n";
  for (const tap::IpAddress& peer : wish.peers) {
    const std::string neighbor = " neighbor " + peer.to_string();
    text << neighbor << " remote-as " << wish.asn << '\n'
         << neighbor << " update-source " << local << '\n'
         << neighbor << " timers connect 1\n"
         << neighbor << " advertisement-interval 0\n";
  }
  text << " address-family l2vpn evpn\n";
  for (const tap::IpAddress& peer : wish.peers)
    text << "  neighbor " << peer.to_string() << " activate\n";
  text << "  advertise-all-vni\n"
       << " exit-address-family\n";
  return text.str();
}

void write_configuration(const std::string& name, const std::string& text) {
  const std::string path = std::string(kFrrFolder) + '/' + name;
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    leave_child("write " + path);
}

/// Starts one of the programs in the foreground. `space`: its network namespace; -1: this one.
pid_t start_daemon(const std::string& file, const std::string& name, int space,
                   const std::vector<std::string>& more) {
  const pid_t child = ::fork();
  if (child < 0) leave_child("start " + name);
  if (child > 0) return child;
  if (space >= 0 && ::setns(space, CLONE_NEWNET) != 0) leave_child("enter a network namespace");
  std::vector<std::string> words{file, "-f", std::string(kFrrFolder) + '/' + name + ".conf", "-P",
                                 "0"};
  words.insert(words.end(), more.begin(), more.end());
  const std::vector<char*> pointers = argv_of(words);
  ::execv(file.c_str(), pointers.data());
  leave_child("execute " + file);
}

/// Waits until zebra listens, or has ended.
void await_zebra() {
  for (int waited = 0; waited < kZebraStartMs; waited += 10) {
    if (::access(kZebraSocket, F_OK) == 0) return;
    if (::waitpid(-1, nullptr, WNOHANG | WNOWAIT) > 0) return;
    ::poll(nullptr, 0, 10);
  }
  errno = ETIMEDOUT;
  leave_child("reach zebra");
}

/// Is the first process of the PID namespace: runs until one of the programs has ended, or until
/// the parent kills it.
[[noreturn]] void keep_programs(const FrrPrograms& programs, const RoutingWish& wish, int space,
                                int output, int parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd gone{.fd = parent, .events = POLLIN, .revents = 0};
  if (::poll(&gone, 1, 0) != 0) ::_exit(1);  // it ended before it could send the signal
  ::prctl(PR_SET_NAME, "shmif-routing");
  ::setpgid(0, 0);  // Ctrl-C ends the uplink, and the uplink ends this process
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(number, SIG_DFL);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) leave_child("open /dev/null");
  ::dup2(nothing, STDIN_FILENO);
  make_frr_folder();
  write_configuration("zebra.conf", "log stdout warnings\nip nht resolve-via-default\n");
  write_configuration("bgpd.conf", bgpd_configuration(wish));
  const pid_t zebra = start_daemon(programs.zebra, "zebra", space, {});
  await_zebra();
  const pid_t bgpd = start_daemon(programs.bgpd, "bgpd", -1, {"-l", wish.local.to_string()});
  for (;;) {  // ends with the first of the two
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) ::_exit(1);
    if (ended != zebra && ended != bgpd) continue;
    const std::string text =
        std::string(ended == zebra ? "zebra" : "bgpd") + " has ended " +
        (WIFSIGNALED(status) ? "by signal " + std::to_string(WTERMSIG(status))
                             : "with code " + std::to_string(WEXITSTATUS(status))) +
        '\n';
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    ::_exit(1);
  }
}

Routing::Routing(const RoutingWish& wish, const tap::NetNamespace& inner) {
  const FrrPrograms programs = find_frr();
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Exception(Error::from_errno(errno, "cannot make a pipe"));
  output_ = UniqueFd(ends[0]);
  const UniqueFd theirs(ends[1]);
  ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  const UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  // This process has one thread, so its copy may do everything.
  const long child = ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr,
                               nullptr, nullptr);
  if (child == 0) keep_programs(programs, wish, inner.descriptor(), theirs.get(), self.get());
  if (child < 0) {
    throw Exception(
        Error::from_errno(errno, "cannot make namespaces for FRR", "needs root: CAP_SYS_ADMIN"));
  }
  process_ = static_cast<pid_t>(child);
}

Routing::~Routing() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) continue;
}

bool Routing::read_output() {
  std::array<char, kMaxFrrLine> chunk{};
  const ssize_t got = ::read(output_.get(), chunk.data(), chunk.size());
  if (got == 0) ended_ = true;
  for (ssize_t i = 0; i < got; ++i) {
    const char c = chunk[static_cast<std::size_t>(i)];
    if (c != '\n' && begun_.size() < kMaxFrrLine) {
      begun_ += c;
      continue;
    }
    take_line(begun_);
    begun_.clear();
  }
  return !ended_;
}

/// A line such as "BGP: [M59KS-A3ZXZ] bgp_update_receive: ...", or "...%ADJCHANGE: neighbor
/// 198.18.0.2(Unknown) in vrf default Up".
void Routing::take_line(const std::string& line) {
  debug(Debug::relay, [&] { return "FRR: " + line; });
  last_lines_.push_back(line);
  if (last_lines_.size() > kKeptLines) last_lines_.erase(last_lines_.begin());
  const std::string sign = "ADJCHANGE: neighbor ";
  const std::size_t at = line.find(sign);
  if (at == std::string::npos) return;
  const std::string rest = line.substr(at + sign.size());
  const std::string peer = rest.substr(0, rest.find_first_of("( "));
  const bool is_up = rest.find(" Up") != std::string::npos;
  say("evpn: peer " + peer + (is_up ? " is up" : " is down"));
}

std::string Routing::why_ended() const {
  std::string text = "cannot go on without FRR: ";
  for (std::size_t i = 0; i < last_lines_.size(); ++i)
    text += (i == 0 ? "" : "; ") + last_lines_[i];
  const bool was_killed = std::ranges::any_of(last_lines_, [](const std::string& line) {
    return line.find(" has ended by signal ") != std::string::npos;
  });
  if (was_killed) return text;
  return text + " (is another BGP program listening on port 179 here?)";
}

constexpr const char* kBridge = "bridge";
constexpr const char* kVxlan = "vxlan";
constexpr const char* kTap = "bus";

/// How long to wait for the devices of an uplink that was ended a moment ago. The kernel removes a
/// namespace in the background.
constexpr std::chrono::milliseconds kRemains{3000};

/// Keeps the kernel from sending packets of its own to the bus and to all machines: of IPv6 (MLD,
/// duplicate address detection), and answers of ARP.
void keep_silent(const tap::NetNamespace& where) {
  const auto write_files = []() -> Result<std::vector<UniqueFd>> {
    for (const auto& [file, value] :
         {std::pair("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
          std::pair("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
          std::pair("/proc/sys/net/ipv4/conf/all/arp_ignore", "8")}) {
      const UniqueFd opened(::open(file, O_WRONLY | O_CLOEXEC));
      if (!opened) continue;  // a kernel without IPv6
      [[maybe_unused]] const ssize_t written = ::write(opened.get(), value, 1);
    }
    return std::vector<UniqueFd>();
  };
  tap::run_in(where, write_files).value();
}

/// Adds what to do to an error about rights.
Error with_root_remedy(Error error) {
  if (error.code == std::errc::operation_not_permitted || error.code == Errc::not_supported)
    error.message += " (a VXLAN device needs root; without root, use --ssh HOST:PATH)";
  return error;
}

void done_or_throw(Result<void> done) {
  if (!done) throw Exception(with_root_remedy(std::move(done).error()));
}

/// The private namespace with its devices.
class Devices {
 public:
  Devices(const UplinkWish& wish, const BusInfo& bus, const tap::IpAddress& local,
          const std::vector<UnderlayPath>& paths)
      : inner_(make_namespace()), outer_(tap::NetNamespace::current().value()) {
    keep_silent(inner_);
    tap::Netlink session = tap::Netlink::open(inner_).value();
    done_or_throw(session.set_up("lo"));
    tap::VxlanOptions options;
    options.id = wish.vxlan_id;
    options.local = local;
    options.port = wish.udp_port;
    options.learning = wish.way == UplinkWay::vxlan;
    options.mtu = bus.mtu;
    options.mac = MacAddress::random();
    make_vxlan(options);
    done_or_throw(session.add_bridge(kBridge, MacAddress::random()));
    open_tap(wish, bus);
    for (const char* const port : {kVxlan, kTap}) {
      done_or_throw(session.disable_ipv6(port));
      done_or_throw(session.add_to_bridge(port, kBridge));
    }
    if (wish.way == UplinkWay::evpn) {
      done_or_throw(tap::let_routing_tell(kVxlan, inner_));
    } else {
      for (const UnderlayPath& path : paths)
        done_or_throw(tap::add_flood_peer(kVxlan, inner_, path.remote));
    }
    done_or_throw(session.disable_ipv6(kBridge));
    for (const char* const each : {kVxlan, kTap, kBridge}) done_or_throw(session.set_up(each));
    if (wish.way != UplinkWay::evpn) return;
    // The routing programs ask in this namespace which interface has their address, and whether
    // their peers can be reached. No packet uses either.
    done_or_throw(session.add_address("lo", tap::Cidr{local, local.bits()}));
    done_or_throw(tap::route_everything_to(kBridge, inner_));
  }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;
  /// Removes the VXLAN device at once, so that the next uplink with its number finds none. The rest
  /// vanishes with the namespace.
  ~Devices() {
    if (auto session = tap::Netlink::open(inner_)) static_cast<void>(session->remove(kVxlan));
  }

  const tap::NetNamespace& space() const noexcept { return inner_; }
  AnyLink& link() noexcept { return *link_; }
  tap::DeviceCounters counters() const noexcept { return tap_->counters(); }

 private:
  static tap::NetNamespace make_namespace() {
    auto made = tap::NetNamespace::create();
    if (!made) throw Exception(with_root_remedy(std::move(made).error()));
    return *std::move(made);
  }

  void make_vxlan(const tap::VxlanOptions& options) const {
    const auto until = std::chrono::steady_clock::now() + kRemains;
    for (;;) {  // runs until `until` at most
      auto made = tap::add_vxlan(kVxlan, inner_, outer_, options);
      if (made) return;
      if (made.error().code != std::errc::file_exists || std::chrono::steady_clock::now() >= until)
        throw Exception(with_root_remedy(std::move(made).error()));
      ::poll(nullptr, 0, 20);
    }
  }

  void open_tap(const UplinkWish& wish, const BusInfo& bus) {
    need_tun_device();
    tap::TapOptions options;
    options.name = kTap;
    options.mtu = bus.mtu;
    options.mac = MacAddress::random();
    options.where = &inner_;
    options.up = false;
    options.offload = wish.offload && bus.carries_offloads;
    auto opened = std::make_unique<tap::TapLink>(tap::TapLink::open(options).value());
    tap_ = opened.get();
    link_.emplace(std::move(opened));
  }

  tap::NetNamespace inner_, outer_;
  tap::TapLink* tap_ = nullptr;
  std::optional<AnyLink> link_;
};

/// The ways to all machines. They must begin at one address, which the machines know this one by.
std::vector<UnderlayPath> find_paths(const UplinkWish& wish) {
  if (wish.local && !is_own_address(*wish.local))
    throw UsageError{"--local " + wish.local->to_string() +
                     " is no address of this machine ('ip address' shows those that it has)"};
  std::vector<UnderlayPath> paths;
  paths.reserve(wish.remotes.size());
  for (const tap::IpAddress& remote : wish.remotes) {
    auto found = path_to(remote);
    if (!found && found.error().code == Errc::bad_argument) throw UsageError{found.error().message};
    UnderlayPath path = std::move(found).value();
    if (path.local == remote)
      throw UsageError{remote.to_string() + " is this machine (name only the other machines)"};
    if (!wish.local && !paths.empty() && path.local != paths.front().local) {
      throw UsageError{"this machine reaches " + paths.front().remote.to_string() + " from " +
                       paths.front().local.to_string() + ", and " + remote.to_string() + " from " +
                       path.local.to_string() +
                       " (give --local ADDRESS, by which all of them know this machine)"};
    }
    paths.push_back(std::move(path));
  }
  return paths;
}

void need_mtu(const UplinkWish& wish, std::uint32_t bus_mtu, const tap::IpAddress& local) {
  if (const std::string why = too_wide(bus_mtu, local.is_v6()); !why.empty())
    throw Exception(Error(Errc::bad_argument, "cannot join " + wish.bus_text() + ": " + why));
}

std::string addresses_of(const std::vector<UnderlayPath>& paths) {
  std::string text;
  for (const UnderlayPath& path : paths)
    text += (text.empty() ? "" : ", ") + path.remote.to_string();
  return text;
}

/// Prints what was carried.
void sum_up_vxlan(const UplinkWish& wish, const std::string& far, const UplinkPort& port,
                  const tap::PairCounters& counts, const tap::DeviceCounters& device,
                  const JsonOutput& json) {
  const base::SignalGuard guard(SIGPIPE);  // the reader of this output may be gone
  auto [there, back] = port.ways(counts, wish.bus_text(), far);
  there.has_device = true;
  there.sink_device = device;
  if (json.is_wanted()) {
    json.print(json_text({{"directions", {to_json(there, port.faults().received), to_json(back)}},
                          {"local_frames", port.stayed()}}));
    return;
  }
  say(to_text(there) + to_text(back) + faults_text(there, port.faults().received) +
      faults_text(back, {}) + wish.bus_text() + ": " + base::counted(port.stayed(), "frame") +
      " between hosts of this bus stayed there");
}

}  // namespace

int run_vxlan_uplink(const UplinkWish& wish, const JsonOutput& json) {
  const std::vector<UnderlayPath> paths = find_paths(wish);
  const tap::IpAddress local = wish.local.value_or(paths.front().local);
  const StopSignals stop;
  UplinkBus bus(wish.path, wish.bus);
  const BusInfo info = bus.bus().info();
  need_mtu(wish, info.mtu, local);
  for (const std::string& text : too_narrow(paths, info.mtu)) log_warning(text);
  Devices devices(wish, info, local, paths);
  std::optional<Routing> routing;
  if (wish.way == UplinkWay::evpn) {
    routing.emplace(RoutingWish{.local = local, .asn = wish.asn, .peers = wish.remotes},
                    devices.space());
  }
  UplinkPort port(bus.bus(), {.name = wish.port_name,
                              .behind = HomeTable::Behind::bridge,
                              .take_offloads = devices.link().takes_offloads(),
                              .lock_memory = wish.bus.lock_memory,
                              .faults = wish.faults});
  const std::string far = "vxlan:" + std::to_string(wish.vxlan_id);
  const auto device_drops = [&devices]() -> UplinkDrops {
    const tap::DeviceCounters device = devices.counters();
    return {device.dropped_down + device.dropped_full, 0};
  };
  UplinkLine line(port, devices.link(), wish.bus_text(), far, device_drops);
  std::vector<UplinkWatch> watches;
  if (routing)
    watches.push_back({routing->output(), [&routing] { return routing->read_output(); }});
  say(far + ": ready, as port " + port.port().name() + ", from " + local.to_string() +
      (routing ? ", machines found by BGP with " : " to ") + addresses_of(paths) + ", MTU " +
      std::to_string(info.mtu));
  bus.keep();
  const UplinkEnd end = line.carry(stop.descriptor(), watches);
  sum_up_vxlan(wish, far, port, line.counts(), devices.counters(), json);
  if (routing && routing->has_ended() && !stop.stopped()) return fail(routing->why_ended());
  return end.text.empty() ? kDone : fail(end.text);
}

}  // namespace shmif::tools
