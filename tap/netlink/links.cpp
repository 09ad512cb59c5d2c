// Interfaces: what they are, changes to them, and the offloads of the hardware or the kernel.

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tap/device_settings.hpp"
#include "tap/netlink/session.hpp"

namespace shmif::tap {
namespace {

/// Whether packet sockets can describe super-frames of UDP. Before Linux 6.2 they drop such frames.
bool speaks_of_udp_segments() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  return ::uname(&kernel) == 0 && std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 2));
}

/// Whether a feature of an interface, by its name in `ethtool -k`, makes frames that an Offload or
/// a packet socket cannot describe.
bool is_unspeakable(std::string_view feature) {
  if (feature == "tx-udp-segmentation") return !speaks_of_udp_segments();
  constexpr std::array<std::string_view, 4> kSpeakable{
      "tx-generic-segmentation", "tx-tcp-segmentation", "tx-tcp6-segmentation",
      "tx-tcp-ecn-segmentation"};
  if (feature == "tx-gso-partial" || feature == "tx-gso-list") return true;
  return feature.starts_with("tx-") && feature.ends_with("-segmentation") &&
         std::find(kSpeakable.begin(), kSpeakable.end(), feature) == kSpeakable.end();
}

}  // namespace

bool is_interface_name(std::string_view name) noexcept {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         std::all_of(
             name.begin(), name.end(),
             [](char c) {
               // The kernel treats a '%' as a pattern to fill in.
               return c != '/' && c != ':' && c != '%' && static_cast<unsigned char>(c) > ' ' &&
                      c != '\x7f';
             });
}

Result<Interface> Netlink::interface(const std::string& name) const {
  auto link = impl_->get(name);
  if (!link) return std::move(link).error();
  Interface i;
  i.index = static_cast<unsigned>(rtnl_link_get_ifindex(link->get()));
  i.name = rtnl_link_get_name(link->get());
  i.flags = rtnl_link_get_flags(link->get());
  i.mtu = rtnl_link_get_mtu(link->get());
  i.promiscuity = rtnl_link_get_promiscuity(link->get());
  if (nl_addr* mac = rtnl_link_get_addr(link->get()); mac != nullptr && nl_addr_get_len(mac) == 6) {
    i.mac = MacAddress::read(nl_addr_get_binary_addr(mac));
  }
  return i;
}

std::string Netlink::name_of(unsigned index) const {
  rtnl_link* link = nullptr;
  if (rtnl_link_get_kernel(impl_->socket.get(), static_cast<int>(index), nullptr, &link) < 0) {
    return {};
  }
  return rtnl_link_get_name(NlLinkPtr(link).get());
}

std::optional<bool> Netlink::tap_has_header(const std::string& name) const {
  if (!is_interface_name(name)) return std::nullopt;
  // Built here, because libnl does not know this kind of device.
  nl_msg* const message = nlmsg_alloc_simple(RTM_GETLINK, NLM_F_REQUEST);
  if (message == nullptr) return std::nullopt;
  const ifinfomsg about{};
  if (nlmsg_append(message, const_cast<ifinfomsg*>(&about), sizeof about, NLMSG_ALIGNTO) != 0 ||
      nla_put_string(message, IFLA_IFNAME, name.c_str()) != 0) {
    nlmsg_free(message);
    return std::nullopt;
  }
  std::optional<bool> answer;
  nl_cb* const own = nl_socket_get_cb(impl_->socket.get());  // counts the reference
  nl_cb* const callbacks = nl_cb_clone(own);
  nl_cb_put(own);
  const auto read = [](nl_msg* got, void* into) -> int {
    constexpr int kTunHasHeader = 5;  // IFLA_TUN_VNET_HDR, which old headers lack
    nlattr* const info =
        nlmsg_find_attr(nlmsg_hdr(got), static_cast<int>(sizeof(ifinfomsg)), IFLA_LINKINFO);
    nlattr* const kind = info == nullptr ? nullptr
                                         : nla_find(static_cast<nlattr*>(nla_data(info)),
                                                    nla_len(info), IFLA_INFO_KIND);
    nlattr* const data = info == nullptr ? nullptr
                                         : nla_find(static_cast<nlattr*>(nla_data(info)),
                                                    nla_len(info), IFLA_INFO_DATA);
    if (kind == nullptr || data == nullptr || nla_strcmp(kind, "tun") != 0) return NL_OK;
    nlattr* const header =
        nla_find(static_cast<nlattr*>(nla_data(data)), nla_len(data), kTunHasHeader);
    *static_cast<std::optional<bool>*>(into) = header != nullptr && nla_get_u8(header) != 0;
    return NL_OK;
  };
  nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, read, &answer);
  if (nl_send_auto(impl_->socket.get(), message) >= 0 &&
      nl_recvmsgs(impl_->socket.get(), callbacks) >= 0) {
    nl_wait_for_ack(impl_->socket.get());  // or the ack would answer the next request
  }
  nl_cb_put(callbacks);
  nlmsg_free(message);
  return answer;
}

Result<std::vector<AddressedInterface>> Netlink::interfaces() const {
  nl_cache* links = nullptr;
  nl_cache* addresses = nullptr;
  const std::string what = "cannot list interfaces";
  if (const int e = rtnl_link_alloc_cache(impl_->socket.get(), AF_UNSPEC, &links); e < 0) {
    return libnl_failure(e, what);
  }
  const CachePtr links_owned(links);
  if (const int e = rtnl_addr_alloc_cache(impl_->socket.get(), &addresses); e < 0) {
    return libnl_failure(e, what);
  }
  const CachePtr addresses_owned(addresses);
  std::vector<AddressedInterface> all;
  for (nl_object* o = nl_cache_get_first(links); o != nullptr; o = nl_cache_get_next(o)) {
    auto* const link = reinterpret_cast<rtnl_link*>(o);
    AddressedInterface& each = all.emplace_back();
    each.name = rtnl_link_get_name(link);
    if (nl_addr* mac = rtnl_link_get_addr(link); mac != nullptr && nl_addr_get_len(mac) == 6) {
      each.mac = MacAddress::read(nl_addr_get_binary_addr(mac));
    }
    for (nl_object* a = nl_cache_get_first(addresses); a != nullptr; a = nl_cache_get_next(a)) {
      auto* const address = reinterpret_cast<rtnl_addr*>(a);
      nl_addr* const local = rtnl_addr_get_local(address);
      if (rtnl_addr_get_ifindex(address) != rtnl_link_get_ifindex(link) || local == nullptr) {
        continue;
      }
      Cidr cidr;
      cidr.address.family = nl_addr_get_family(local);
      cidr.prefix = nl_addr_get_prefixlen(local);
      const std::size_t size = std::min<std::size_t>(nl_addr_get_len(local), 16);
      std::memcpy(cidr.address.bytes.data(), nl_addr_get_binary_addr(local), size);
      each.addresses.push_back(cidr);
    }
  }
  return all;
}

Result<void> Netlink::set_up(const std::string& name, bool up) {
  return impl_->set_flag(name, "cannot set interface \"" + name + (up ? "\" up" : "\" down"),
                         IFF_UP, up);
}

Result<void> Netlink::set_mtu(const std::string& name, std::uint32_t mtu) {
  return impl_->change(name,
                       "cannot set the MTU of interface \"" + name + "\" to " + std::to_string(mtu),
                       [&](rtnl_link* l) { rtnl_link_set_mtu(l, mtu); });
}

Result<void> Netlink::set_mac(const std::string& name, MacAddress mac) {
  const NlAddrPtr address(nl_addr_build(AF_LLC, mac.bytes.data(), mac.bytes.size()));
  if (!address) return netlink_out_of_memory();
  return impl_->change(name,
                       "cannot set the MAC of interface \"" + name + "\" to " + mac.to_string(),
                       [&](rtnl_link* l) { rtnl_link_set_addr(l, address.get()); });
}

Result<void> Netlink::rename(const std::string& name, const std::string& to) {
  if (!is_interface_name(to)) return bad_interface_name(to);
  return impl_->change(name, "cannot rename interface \"" + name + "\" to \"" + to + "\"",
                       [&](rtnl_link* l) { rtnl_link_set_name(l, to.c_str()); });
}

Result<void> Netlink::remove(const std::string& name) {
  auto link = impl_->get(name);
  if (!link) return std::move(link).error();
  if (const int e = rtnl_link_delete(impl_->socket.get(), link->get()); e < 0) {
    return libnl_failure(e, "cannot remove interface \"" + name + "\"");
  }
  return {};
}

Result<void> Netlink::move_to(const std::string& name, const NetNamespace& where) {
  return impl_->change(
      name, "cannot move interface \"" + name + "\" to the network namespace of " + where.name(),
      [&](rtnl_link* l) { rtnl_link_set_ns_fd(l, where.descriptor()); });
}

Result<void> Netlink::wait_for_carrier(const std::string& name, std::chrono::milliseconds timeout) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + timeout;
  // The kernel reports link changes only to sockets in a multicast group. Looking again every
  // millisecond is as good, because the wait is short, and it leaves nothing behind.
  for (;;) {
    auto now = interface(name);
    if (!now) return std::move(now).error();
    if (now->has_carrier()) return {};
    if (steady_clock::now() >= deadline) {
      return Error(Errc::timed_out, "interface \"" + name + "\" has no carrier after " +
                                        std::to_string(timeout.count()) +
                                        " ms (is its other end there and up?)");
    }
    ::poll(nullptr, 0, 1);
  }
}

Result<void> Netlink::add_veth(const std::string& name, const std::string& peer,
                               const NetNamespace* peer_namespace) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  if (!is_interface_name(peer)) return bad_interface_name(peer);
  const NlLinkPtr link(rtnl_link_veth_alloc());
  if (!link) return netlink_out_of_memory();
  const NlLinkPtr other(rtnl_link_veth_get_peer(link.get()));
  rtnl_link_set_name(link.get(), name.c_str());
  rtnl_link_set_name(other.get(), peer.c_str());
  if (peer_namespace != nullptr) rtnl_link_set_ns_fd(other.get(), peer_namespace->descriptor());
  if (const int e = rtnl_link_add(impl_->socket.get(), link.get(), NLM_F_CREATE | NLM_F_EXCL);
      e < 0) {
    return libnl_failure(e, "cannot create the veth pair \"" + name + "\" and \"" + peer + "\"");
  }
  return {};
}

Result<void> Netlink::add_bridge(const std::string& name, MacAddress mac) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  const std::string what = "cannot create the bridge \"" + name + '"';
  // Built here, because libnl 3.7 cannot write most attributes of a bridge.
  nl_msg* const message =
      nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
  if (message == nullptr) return netlink_out_of_memory();
  const ifinfomsg about{};
  // All attributes fit into the page that the message has.
  bool fits =
      nlmsg_append(message, const_cast<ifinfomsg*>(&about), sizeof about, NLMSG_ALIGNTO) == 0 &&
      nla_put_string(message, IFLA_IFNAME, name.c_str()) == 0 &&
      nla_put(message, IFLA_ADDRESS, static_cast<int>(mac.bytes.size()), mac.bytes.data()) == 0;
  constexpr std::uint16_t kAllThatMayPass = 0xfff8;  // the kernel refuses bits 0 to 2
  nlattr* const kind = nla_nest_start(message, IFLA_LINKINFO);
  fits = fits && kind != nullptr && nla_put_string(message, IFLA_INFO_KIND, "bridge") == 0;
  nlattr* const data = nla_nest_start(message, IFLA_INFO_DATA);
  fits = fits && data != nullptr && nla_put_u32(message, IFLA_BR_STP_STATE, 0) == 0 &&
         nla_put_u32(message, IFLA_BR_FORWARD_DELAY, 0) == 0 &&
         nla_put_u8(message, IFLA_BR_MCAST_SNOOPING, 0) == 0 &&
         nla_put_u16(message, IFLA_BR_GROUP_FWD_MASK, kAllThatMayPass) == 0;
  if (!fits) {
    nlmsg_free(message);
    return netlink_out_of_memory();
  }
  nla_nest_end(message, data);
  nla_nest_end(message, kind);
  const int e = nl_send_sync(impl_->socket.get(), message);  // frees the message
  if (e == -NLE_OPNOTSUPP) {
    return Error::from_errno(EOPNOTSUPP, what, "the kernel has no bridges: run 'modprobe bridge'");
  }
  if (e < 0) return libnl_failure(e, what);
  return {};
}

Result<void> Netlink::add_to_bridge(const std::string& name, const std::string& bridge) {
  const std::string what = "cannot add interface \"" + name + "\" to the bridge \"" + bridge + '"';
  auto link = impl_->get(bridge);
  if (!link) return Error(link.error().code, what + ": " + link.error().message);
  const int index = rtnl_link_get_ifindex(link->get());
  return impl_->change(name, what, [&](rtnl_link* l) { rtnl_link_set_master(l, index); });
}

Result<void> Netlink::disable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  static constexpr std::array<std::uint32_t, 6> kOff{ETHTOOL_STSO,    ETHTOOL_SGSO,    ETHTOOL_SGRO,
                                                     ETHTOOL_SRXCSUM, ETHTOOL_STXCSUM, ETHTOOL_SSG};
  for (const std::uint32_t command : kOff) {
    ethtool_value value{};
    value.cmd = command;
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), name.size());
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (::ioctl(impl_->control.get(), SIOCETHTOOL, &request) != 0 && errno != EOPNOTSUPP) {
      return Error::from_errno(errno,
                               "cannot switch off the offloads of interface \"" + name + "\"");
    }
  }
  return {};
}

Result<void> Netlink::disable_unspeakable_offloads(const std::string& name) {
  if (!is_interface_name(name)) return bad_interface_name(name);
  const std::string what =
      "cannot switch off the offloads of tunnels on interface \"" + name + "\"";
  auto features = Features::read(impl_->control.get(), name);
  if (!features) return Error(features.error().code, what + ": " + features.error().message);
  const auto is_off = [](const Features::Feature&) { return false; };
  return features->request([](const Features::Feature& f) { return is_unspeakable(f.name); },
                           is_off);
}

}  // namespace shmif::tap
