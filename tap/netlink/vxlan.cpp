#include "tap/netlink/vxlan.hpp"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tap/libnl.hpp"
#include "tap/netlink.hpp"
#include "tap/netlink/session.hpp"

namespace shmif::tap {
namespace {

using MessagePtr = std::unique_ptr<nl_msg, NlDeleter<nlmsg_free>>;

/// Opens rtnetlink of a namespace. libnl writes only some of the attributes below, so the messages
/// are made here.
Result<NlSocketPtr> open_vxlan_socket(const NetNamespace& where) {
  const auto open = []() -> Result<std::vector<UniqueFd>> {
    UniqueFd route(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    sockaddr_nl any{};
    any.nl_family = AF_NETLINK;
    if (!route || ::bind(route.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0)
      return Error::from_errno(errno, "cannot open a netlink socket");
    std::vector<UniqueFd> one;
    one.push_back(std::move(route));
    return one;
  };
  auto opened = where.is_current() ? open() : run_in(where, open);
  if (!opened) return std::move(opened).error();
  NlSocketPtr socket(nl_socket_alloc());
  if (!socket) return netlink_out_of_memory();
  const int fd = opened->at(0).release();  // nl_socket_free closes it
  if (const int e = nl_socket_set_fd(socket.get(), NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return libnl_failure(e, "cannot use a netlink socket");
  }
  believe_kernel_only(socket.get());
  return socket;
}

Result<int> index_in(const NetNamespace& where, const std::string& name) {
  auto session = Netlink::open(where);
  if (!session) return std::move(session).error();
  auto found = session->interface(name);
  if (!found) return std::move(found).error();
  return static_cast<int>(found->index);
}

/// Sends a message, and frees it. Result: 0, or an error number of libnl.
int send_message(nl_sock* socket, MessagePtr message) {
  return nl_send_sync(socket, message.release());
}

template <class Header>
bool append_header(nl_msg* message, const Header& header) {
  return nlmsg_append(message, const_cast<Header*>(&header), sizeof header, NLMSG_ALIGNTO) == 0;
}

bool put_address(nl_msg* message, int attribute, const IpAddress& address) {
  return nla_put(message, attribute, static_cast<int>(address.bits() / 8), address.bytes.data()) ==
         0;
}

/// The attributes that only a VXLAN device has.
bool put_vxlan(nl_msg* message, const VxlanOptions& options) {
  nlattr* const kind = nla_nest_start(message, IFLA_LINKINFO);
  if (kind == nullptr || nla_put_string(message, IFLA_INFO_KIND, "vxlan") != 0) return false;
  nlattr* const data = nla_nest_start(message, IFLA_INFO_DATA);
  if (data == nullptr) return false;
  const int local = options.local.is_v6() ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL;
  const bool fits = nla_put_u32(message, IFLA_VXLAN_ID, options.id) == 0 &&
                    put_address(message, local, options.local) &&
                    nla_put_u16(message, IFLA_VXLAN_PORT, htons(options.port)) == 0 &&
                    nla_put_u8(message, IFLA_VXLAN_LEARNING, options.learning ? 1 : 0) == 0;
  nla_nest_end(message, data);
  nla_nest_end(message, kind);
  return fits;
}

/// Whether an error number of libnl means this errno.
bool is_errno(int nl_error, int number) {
  return errno_of(nl_error) == number;
}

}  // namespace

Result<void> add_vxlan(const std::string& name, const NetNamespace& where,
                       const NetNamespace& underlay, const VxlanOptions& options) {
  const std::string number = std::to_string(options.id);
  const std::string what = "cannot make a VXLAN device with ID " + number;
  auto socket = open_vxlan_socket(underlay);
  if (!socket) return std::move(socket).error();
  MessagePtr message(nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL));
  if (!message) return netlink_out_of_memory();
  const auto space = static_cast<std::uint32_t>(where.descriptor());
  // All attributes fit into the page that the message has.
  const bool fits = append_header(message.get(), ifinfomsg{}) &&
                    nla_put_string(message.get(), IFLA_IFNAME, name.c_str()) == 0 &&
                    nla_put(message.get(), IFLA_ADDRESS, static_cast<int>(options.mac.bytes.size()),
                            options.mac.bytes.data()) == 0 &&
                    nla_put_u32(message.get(), IFLA_MTU, options.mtu) == 0 &&
                    nla_put_u32(message.get(), IFLA_NET_NS_FD, space) == 0 &&
                    put_vxlan(message.get(), options);
  if (!fits) return netlink_out_of_memory();
  const int e = send_message(socket->get(), std::move(message));
  if (e >= 0) return {};
  if (is_errno(e, EOPNOTSUPP))
    return Error::from_errno(EOPNOTSUPP, what, "the kernel has no VXLAN: run 'modprobe vxlan'");
  if (is_errno(e, EEXIST)) {
    return Error::from_errno(EEXIST, what,
                             "this machine has another one with this ID and UDP port " +
                                 std::to_string(options.port) +
                                 ": choose another --vxlan, or end the other one");
  }
  return libnl_failure(e, what);
}

Result<void> add_flood_peer(const std::string& name, const NetNamespace& where,
                            const IpAddress& peer) {
  const std::string what = "cannot send the frames of \"" + name + "\" to " + peer.to_string();
  auto index = index_in(where, name);
  if (!index) return std::move(index).error();
  auto socket = open_vxlan_socket(where);
  if (!socket) return std::move(socket).error();
  MessagePtr message(nlmsg_alloc_simple(RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND));
  if (!message) return netlink_out_of_memory();
  ndmsg about{};
  about.ndm_family = AF_BRIDGE;
  about.ndm_ifindex = *index;
  about.ndm_state = NUD_PERMANENT | NUD_NOARP;
  about.ndm_flags = NTF_SELF;
  constexpr std::array<std::uint8_t, 6> kUnknown{};  // stands for all addresses that are not known
  const bool fits =
      append_header(message.get(), about) &&
      nla_put(message.get(), NDA_LLADDR, static_cast<int>(kUnknown.size()), kUnknown.data()) == 0 &&
      put_address(message.get(), NDA_DST, peer);
  if (!fits) return netlink_out_of_memory();
  if (const int e = send_message(socket->get(), std::move(message)); e < 0)
    return libnl_failure(e, what);
  return {};
}

Result<void> let_routing_tell(const std::string& port, const NetNamespace& where) {
  const std::string what = "cannot set up \"" + port + "\" as a port of a bridge";
  auto index = index_in(where, port);
  if (!index) return std::move(index).error();
  auto socket = open_vxlan_socket(where);
  if (!socket) return std::move(socket).error();
  MessagePtr message(nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST));
  if (!message) return netlink_out_of_memory();
  ifinfomsg about{};
  about.ifi_index = *index;
  bool fits = append_header(message.get(), about);
  nlattr* const kind = nla_nest_start(message.get(), IFLA_LINKINFO);
  fits =
      fits && kind != nullptr && nla_put_string(message.get(), IFLA_INFO_SLAVE_KIND, "bridge") == 0;
  nlattr* const data = nla_nest_start(message.get(), IFLA_INFO_SLAVE_DATA);
  fits = fits && data != nullptr && nla_put_u8(message.get(), IFLA_BRPORT_LEARNING, 0) == 0 &&
         nla_put_u8(message.get(), IFLA_BRPORT_NEIGH_SUPPRESS, 1) == 0;
  if (!fits) return netlink_out_of_memory();
  nla_nest_end(message.get(), data);
  nla_nest_end(message.get(), kind);
  if (const int e = send_message(socket->get(), std::move(message)); e < 0)
    return libnl_failure(e, what);
  return {};
}

Result<void> route_everything_to(const std::string& name, const NetNamespace& where) {
  auto index = index_in(where, name);
  if (!index) return std::move(index).error();
  auto socket = open_vxlan_socket(where);
  if (!socket) return std::move(socket).error();
  MessagePtr message(nlmsg_alloc_simple(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL));
  if (!message) return netlink_out_of_memory();
  rtmsg about{};
  about.rtm_family = AF_INET;
  about.rtm_table = RT_TABLE_MAIN;
  about.rtm_protocol = RTPROT_STATIC;
  about.rtm_scope = RT_SCOPE_LINK;
  about.rtm_type = RTN_UNICAST;
  const bool fits = append_header(message.get(), about) &&
                    nla_put_u32(message.get(), RTA_OIF, static_cast<std::uint32_t>(*index)) == 0;
  if (!fits) return netlink_out_of_memory();
  if (const int e = send_message(socket->get(), std::move(message)); e < 0)
    return libnl_failure(e, "cannot add a route to interface \"" + name + '"');
  return {};
}

}  // namespace shmif::tap
