#include "tap/tap_keeper.hpp"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <system_error>
#include <utility>

#include "base/descriptors.hpp"
#include "tap/device_settings.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {
namespace {

constexpr const char* kStateDirectory = "/run";
constexpr const char* kStateFile = "/run/shmif-tap-";
constexpr int kEndTimeMs = 2000;

/// The features that TUNSETOFFLOAD changes, and its flags for them. Linux 6.2 can split UDP, and
/// 6.17 UDP in tunnels. The headers of these versions brought the names of the flags.
struct TunOffload {
  const char* feature;
  unsigned long flags;
};
constexpr std::array<TunOffload, 7> kTunOffloads{{{"tx-checksum-ip-generic", TUN_F_CSUM},
                                                  {"tx-tcp-segmentation", TUN_F_TSO4},
                                                  {"tx-tcp6-segmentation", TUN_F_TSO6},
                                                  {"tx-tcp-ecn-segmentation", TUN_F_TSO_ECN},
                                                  {"tx-udp-segmentation", 0x20UL | 0x40UL},
                                                  {"tx-udp_tnl-segmentation", 0x80UL},
                                                  {"tx-udp_tnl-csum-segmentation", 0x100UL}}};

bool is_tun_offload(const std::string& feature) {
  return std::ranges::any_of(kTunOffloads,
                             [&](const TunOffload& each) { return feature == each.feature; });
}

bool contains(const std::vector<std::string>& all, const std::string& one) {
  return std::ranges::find(all, one) != all.end();
}

/// The device of `tun`: its present name, and IFF_ flags.
std::optional<ifreq> device_of(int tun) {
  ifreq request{};
  if (::ioctl(tun, TUNGETIFF, &request) != 0) return std::nullopt;
  return request;
}

UniqueFd control_socket() {
  return UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

bool is_link_local(const IpAddress& a) {
  return a.is_v6() && a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0U) == 0x80;
}

/// The addresses that somebody gave an interface.
std::vector<Cidr> addresses_of(const Netlink& netlink, const std::string& name) {
  std::vector<Cidr> all;
  const auto interfaces = netlink.interfaces();
  if (!interfaces) return all;
  for (const AddressedInterface& each : *interfaces) {
    if (each.name != name) continue;
    std::ranges::copy_if(each.addresses, std::back_inserter(all),
                         [](const Cidr& c) { return !is_link_local(c.address); });
  }
  return all;
}

/// The settings of this namespace's devices are in files. Their names begin like this, and the
/// index of the device follows. No other namespace gets the same number until the machine is
/// started again, and no other device in it gets the same index. Empty if the kernel (before 5.14)
/// has no such number for a namespace.
std::string state_files(int control) {
  constexpr int kNamespaceCookie = 71;  // SO_NETNS_COOKIE, which old headers lack
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(control, SOL_SOCKET, kNamespaceCookie, &cookie, &size) != 0) return {};
  return kStateFile + std::to_string(cookie) + '-';
}

/// If a keeper was killed and then its device was deleted, the file is left. Removes such files of
/// this namespace.
void remove_files_of_deleted(const std::string& files) {
  if (files.empty()) return;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kStateDirectory, ignored)) {
    const std::string path = entry.path().string();
    if (!path.starts_with(files)) continue;
    unsigned index = 0;
    const char* const end = path.data() + path.size();
    const auto read = std::from_chars(path.data() + files.size(), end, index);
    if (read.ec != std::errc{} || read.ptr != end) continue;
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(index, name.data()) == nullptr && errno == ENXIO) ::unlink(path.c_str());
  }
}

/// Reads the file only if nobody else can have written it.
std::optional<TapSettings> read_state(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return std::nullopt;
  }
  std::string text(65536, '\0');
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return TapSettings::parse(text);
}

/// If this fails, only the keeper can restore the device.
void write_state(const std::string& path, const TapSettings& settings) {
  if (path.empty()) return;
  const std::string fresh = path + ".new";
  const UniqueFd file(
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  const std::string text = settings.to_text();
  if (file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::rename(fresh.c_str(), path.c_str()) == 0) {
    return;
  }
  ::unlink(fresh.c_str());
}

Result<TapSettings> read_settings(int tun, const Netlink& netlink, const std::string& name) {
  TapSettings now;
  if (::ioctl(tun, TUNGETVNETHDRSZ, &now.header_bytes) != 0)
    return Error::from_errno(errno, "cannot read the settings of TAP device \"" + name + "\"");
  auto device = netlink.interface(name);
  if (!device) return std::move(device).error();
  now.mtu = device->mtu;
  now.mac = device->mac;
  now.up = device->is_up();
  now.addresses = addresses_of(netlink, name);
  const UniqueFd control = control_socket();
  auto features = Features::read(control.get(), name);
  if (!features) return std::move(features).error();
  for (const Features::Feature& each : features->all()) {
    if (!is_tun_offload(each.name)) continue;
    if (each.active) now.active.push_back(each.name);
    if (each.requested) now.requested.push_back(each.name);
  }
  return now;
}

/// Restores everything but the mode of the device. Goes on if a step fails. `control`: -1 if the
/// device is in another namespace; then only what the file of the device can change is restored.
void put_back(int tun, int control, Netlink& netlink, const std::string& name,
              const TapSettings& old) {
  unsigned long flags = 0;
  for (const TunOffload& each : kTunOffloads) {
    if (contains(old.active, each.feature)) flags |= each.flags;
  }
  (void)::ioctl(tun, TUNSETOFFLOAD, flags);
  (void)::ioctl(tun, TUNSETVNETHDRSZ, &old.header_bytes);
  if (control < 0) return;
  if (auto features = Features::read(control, name)) {
    (void)features->request(
        [](const Features::Feature& f) { return is_tun_offload(f.name); },
        [&](const Features::Feature& f) { return contains(old.requested, f.name); });
  }
  if (old.is_new) return;
  const auto had = [&](const Cidr& c) {
    return std::ranges::find(old.addresses, c) != old.addresses.end();
  };
  for (const IpAddress& each : old.gateways) (void)netlink.remove_default_route(name, each);
  for (const Cidr& each : old.added) {
    if (!had(each)) (void)netlink.remove_address(name, each);
  }
  const auto now = netlink.interface(name);
  if (now && now->mac != old.mac) (void)netlink.set_mac(name, old.mac);
  if (now && now->mtu != old.mtu) (void)netlink.set_mtu(name, old.mtu);
  if (now && now->is_up() && !old.up) (void)netlink.set_up(name, false);
  // The kernel removes IPv6 addresses when an interface goes down, or if its MTU is too small.
  const std::vector<Cidr> left = addresses_of(netlink, name);
  for (const Cidr& each : old.addresses) {
    if (std::ranges::find(left, each) == left.end()) (void)netlink.add_address(name, each);
  }
}

/// All that the keeper does. `link`: its other end closes when the command ends. `spare`: another
/// file of the TUN device, not attached.
[[noreturn]] void keep(int link, int tun, int spare, const TapSettings& old,
                       const std::string& state) {
  base::close_all_but({link, tun, spare}, 0);  // a port's descriptors would keep the port alive
  auto netlink = Netlink::open();
  const UniqueFd control = control_socket();
  // We leave the device's namespace, so that it can end when no other process is in it.
  if (!netlink || !control || ::unshare(CLONE_NEWNET) != 0) ::_exit(1);
  char none = 0;
  while (::read(link, &none, 1) < 0 && errno == EINTR) {
  }
  auto device = device_of(tun);
  if (!device) {  // deleted
    if (!state.empty()) ::unlink(state.c_str());
    ::_exit(0);
  }
  const std::string name = device->ifr_name;
  // Somebody may have moved the device. An interface with its name here is then another one.
  const auto space = NetNamespace::of_device(tun);
  const auto ours = NetNamespace::of_socket(control.get());
  const bool is_here = !space || (ours && space->is_same(*ours));
  put_back(tun, is_here ? control.get() : -1, *netlink, name, old);
  ::close(tun);
  if (!old.is_new && is_here) {
    // Attaching a file sets the mode. The command's own file is closed in a moment.
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags =
        static_cast<short>(IFF_TAP | (device->ifr_flags & (IFF_NO_PI | IFF_MULTI_QUEUE)) |
                           (old.vnet_hdr ? IFF_VNET_HDR : 0));
    for (int tries = 0; tries < 20 && ::ioctl(spare, TUNSETIFF, &request) != 0 && errno == EBUSY;
         ++tries) {
      ::usleep(1000);
    }
    // Without an attached file, a device has no carrier; its MTU and addresses stay.
  }
  if (!state.empty()) ::unlink(state.c_str());
  ::_exit(0);
}

}  // namespace

std::string TapSettings::to_text() const {
  std::ostringstream text;
  text << "new " << is_new << "\nvnet_hdr " << vnet_hdr << "\nheader_bytes " << header_bytes
       << "\nmtu " << mtu << "\nmac " << mac.to_string() << "\nup " << up << '\n';
  for (const Cidr& each : addresses) text << "address " << each.to_string() << '\n';
  for (const Cidr& each : added) text << "added " << each.to_string() << '\n';
  for (const IpAddress& each : gateways) text << "gateway " << each.to_string() << '\n';
  for (const std::string& each : active) text << "active " << each << '\n';
  for (const std::string& each : requested) text << "requested " << each << '\n';
  text << "end\n";
  return text.str();
}

std::optional<TapSettings> TapSettings::parse(const std::string& text) {
  TapSettings all;
  std::istringstream lines(text);
  for (std::string key; lines >> key;) {
    std::string value;
    if (key == "end") return all;
    if (!(lines >> value)) return std::nullopt;
    const auto number = [&] { return std::strtoul(value.c_str(), nullptr, 10); };
    if (key == "new") all.is_new = number() != 0;
    if (key == "vnet_hdr") all.vnet_hdr = number() != 0;
    if (key == "header_bytes") all.header_bytes = static_cast<int>(number());
    if (key == "mtu") all.mtu = static_cast<std::uint32_t>(number());
    if (key == "up") all.up = number() != 0;
    if (key == "mac") all.mac = MacAddress::parse(value).value_or(MacAddress{});
    if (key == "active") all.active.push_back(value);
    if (key == "requested") all.requested.push_back(value);
    if (key == "gateway") {
      const auto gateway = IpAddress::parse(value);
      if (!gateway) return std::nullopt;
      all.gateways.push_back(*gateway);
    }
    if (key == "address" || key == "added") {
      const auto cidr = Cidr::parse(value);
      if (!cidr) return std::nullopt;
      (key == "address" ? all.addresses : all.added).push_back(*cidr);
    }
  }
  return std::nullopt;
}

std::optional<bool> tap_has_header(const std::string& name) {
  const auto netlink = Netlink::open();
  if (!netlink) return std::nullopt;
  return netlink->tap_has_header(name);
}

Result<TapKeeper> start_tap_keeper(int tun, const std::string& tun_device,
                                   std::optional<bool> had_header, bool persist,
                                   const std::vector<Cidr>& added,
                                   const std::vector<IpAddress>& gateways) {
  const auto device = device_of(tun);
  if (!device) return Error::from_errno(errno, "cannot read the name of a TAP device");
  // Somebody may have made the device after we asked and before we attached.
  const bool is_new = !had_header && (device->ifr_flags & IFF_PERSIST) == 0;
  if (is_new && !persist) return TapKeeper{};
  const std::string name = device->ifr_name;
  auto netlink = Netlink::open();
  if (!netlink) return std::move(netlink).error();
  const UniqueFd control = control_socket();
  const std::string files = state_files(control.get());
  remove_files_of_deleted(files);
  const std::string state =
      files.empty() ? files : files + std::to_string(::if_nametoindex(name.c_str()));
  if (const auto left = read_state(state); left && !is_new) {
    put_back(tun, control.get(), *netlink, name, *left);  // its keeper was killed
    had_header = left->vnet_hdr;
  }
  auto old = read_settings(tun, *netlink, name);
  if (!old) return std::move(old).error();
  old->is_new = is_new;
  old->vnet_hdr = had_header.value_or(false);
  old->added = added;
  for (const IpAddress& gateway : gateways) {
    const auto there = netlink->default_route(gateway.family);
    if (!there || there->interface != name || there->gateway != gateway)
      old->gateways.push_back(gateway);
  }
  std::array<int, 2> pair{};
  const UniqueFd spare(::open(tun_device.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!spare || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return Error::from_errno(errno, "cannot watch over TAP device \"" + name + "\"");
  UniqueFd ours(pair[0]);
  const UniqueFd theirs(pair[1]);
  write_state(state, *old);
  const pid_t child = ::fork();
  if (child < 0) {
    const int number = errno;
    if (!state.empty()) ::unlink(state.c_str());
    return Error::from_errno(number, "cannot watch over TAP device \"" + name + "\"");
  }
  if (child == 0) {
    ::setsid();  // so that signals of the command's terminal do not reach it
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    ::prctl(PR_SET_NAME, "shmif-keeper");
    (void)!::chdir("/");
    keep(theirs.get(), tun, spare.get(), *old, state);
  }
  TapKeeper keeper{std::move(ours), {}};
  keeper.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, child, 0U)));
  if (!keeper.process)
    return Error::from_errno(errno, "cannot watch over TAP device \"" + name + "\"");
  return keeper;
}

void end_tap_keeper(const TapKeeper& keeper) noexcept {
  ::shutdown(keeper.link.get(), SHUT_WR);
  pollfd end{keeper.process.get(), POLLIN, 0};
  while (::poll(&end, 1, kEndTimeMs) < 0 && errno == EINTR) {
  }
  // Reap it. It is not our child if the device is in another namespace.
  siginfo_t none{};
  (void)::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(keeper.process.get()), &none,
                 WEXITED | WNOHANG);
}

}  // namespace shmif::tap
