#include "perf/engine/device_wires.hpp"

#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/handlers.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <type_traits>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "perf/engine/link_end.hpp"
#include "tap/libnl.hpp"
#include "tap/netlink.hpp"

namespace shmif::perf {
namespace {

constexpr std::chrono::seconds kForwardingTime{5};

using MessagePtr = std::unique_ptr<nl_msg, tap::NlDeleter<nlmsg_free>>;
using CachePtr = std::unique_ptr<nl_cache, tap::NlDeleter<nl_cache_free>>;

Error failure(int nl_error, const std::string& what) {
  const std::string message = what + ": " + nl_geterror(nl_error);
  switch (std::abs(nl_error)) {
    case NLE_OPNOTSUPP: return {Errc::not_supported, message + " (the kernel has none here)"};
    case NLE_PERM:
      return {std::make_error_code(std::errc::operation_not_permitted),
              message + " (needs CAP_NET_ADMIN in this network namespace)"};
    case NLE_NODEV:
    case NLE_OBJ_NOTFOUND: return {std::make_error_code(std::errc::no_such_device), message};
    default: return {std::make_error_code(std::errc::io_error), message};
  }
}

/// A request about an interface. Attributes are added to it.
class LinkRequest {
 public:
  LinkRequest(int type, int flags, unsigned index, unsigned up = 0)
      : message_(nlmsg_alloc_simple(type, flags)) {
    ifinfomsg header{};
    header.ifi_family = AF_UNSPEC;
    header.ifi_index = static_cast<int>(index);
    header.ifi_flags = up;
    header.ifi_change = up;
    if (message_) (void)nlmsg_append(message_.get(), &header, sizeof header, NLMSG_ALIGNTO);
  }

  template <class T>
  LinkRequest& put(int attribute, T value) {
    static_assert(std::is_integral_v<T>);  // the width is part of the format
    if (message_) (void)nla_put(message_.get(), attribute, sizeof value, &value);
    return *this;
  }
  LinkRequest& put(int attribute, const std::string& text) {
    if (message_) (void)nla_put_string(message_.get(), attribute, text.c_str());
    return *this;
  }
  /// Adds an attribute that contains the attributes that `fill` adds.
  LinkRequest& nest(int attribute, const std::function<void(LinkRequest&)>& fill) {
    if (!message_) return *this;
    nlattr* const begin = nla_nest_start(message_.get(), attribute);
    fill(*this);
    if (begin != nullptr) (void)nla_nest_end(message_.get(), begin);
    return *this;
  }
  MessagePtr take() { return std::move(message_); }

 private:
  MessagePtr message_;
};

/// What the kernel tells about an interface.
struct LinkNews {
  std::optional<InterfaceCounts> counts;
  std::optional<std::uint8_t> port_state;  ///< BR_STATE_*, for a port of a bridge
};

int read_link(nl_msg* message, void* into) {
  auto& news = *static_cast<LinkNews*>(into);
  std::array<nlattr*, IFLA_MAX + 1> attributes{};
  if (nlmsg_parse(nlmsg_hdr(message), sizeof(ifinfomsg), attributes.data(), IFLA_MAX, nullptr) < 0)
    return NL_SKIP;
  if (const nlattr* const stats = attributes[IFLA_STATS64]; stats != nullptr) {
    rtnl_link_stats64 s{};
    const int size = std::min<int>(nla_len(stats), sizeof s);
    std::memcpy(&s, nla_data(stats), static_cast<std::size_t>(size));
    news.counts = {s.tx_packets, s.tx_bytes, s.tx_dropped, s.rx_packets, s.rx_bytes, s.rx_dropped};
  }
  std::array<nlattr*, IFLA_INFO_MAX + 1> info{};
  if (attributes[IFLA_LINKINFO] == nullptr ||
      nla_parse_nested(info.data(), IFLA_INFO_MAX, attributes[IFLA_LINKINFO], nullptr) < 0 ||
      info[IFLA_INFO_SLAVE_DATA] == nullptr) {
    return NL_OK;
  }
  std::array<nlattr*, IFLA_BRPORT_MAX + 1> port{};
  if (nla_parse_nested(port.data(), IFLA_BRPORT_MAX, info[IFLA_INFO_SLAVE_DATA], nullptr) >= 0 &&
      port[IFLA_BRPORT_STATE] != nullptr) {
    news.port_state = nla_get_u8(port[IFLA_BRPORT_STATE]);
  }
  return NL_OK;
}

/// Whether an IPv6 address or route is one that the kernel makes itself: link-local or multicast.
bool is_automatic(nl_addr* address) {
  if (address == nullptr || nl_addr_get_family(address) != AF_INET6) return false;
  if (nl_addr_get_len(address) < 2) return false;
  const auto* const bytes = static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(address));
  return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0U) == 0x80);
}

std::string text_of(nl_addr* address) {
  std::array<char, 128> text{};
  return address == nullptr ? "?" : nl_addr2str(address, text.data(), text.size());
}

}  // namespace

struct RouteSession::Impl {
  tap::NlSocketPtr socket;

  Result<void> ask(MessagePtr message, const std::string& what) const {
    if (!message) return Error::from_errno(ENOMEM, what);
    if (const int e = nl_send_sync(socket.get(), message.release()); e < 0) return failure(e, what);
    return {};
  }
  std::optional<LinkNews> look(unsigned index) const noexcept;
  Result<void> forward_to(unsigned index, MacAddress host, const std::string& what) const;
  Result<void> wait_until_forwarding(unsigned index, const std::string& what) const;
  Result<std::string> address_of(unsigned index) const;
  Result<std::string> route_of(unsigned index) const;
};

RouteSession::RouteSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RouteSession::RouteSession(RouteSession&&) noexcept = default;
RouteSession::~RouteSession() = default;

Result<RouteSession> RouteSession::open(const tap::NetNamespace& where) {
  const auto make = []() -> Result<std::vector<UniqueFd>> {
    std::vector<UniqueFd> made;
    made.emplace_back(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    sockaddr_nl any{};
    any.nl_family = AF_NETLINK;
    if (!made.front() ||
        ::bind(made.front().get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
      return Error::from_errno(errno, "cannot open a netlink socket");
    }
    return made;
  };
  auto sockets = where.is_current() ? make() : tap::run_in(where, make);
  if (!sockets) return std::move(sockets).error();
  auto impl = std::make_unique<Impl>();
  impl->socket.reset(nl_socket_alloc());
  if (!impl->socket) return Error::from_errno(ENOMEM, "cannot open a netlink socket");
  const int fd = sockets->front().release();  // nl_socket_free() closes it
  if (const int e = nl_socket_set_fd(impl->socket.get(), NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return failure(e, "cannot use a netlink socket");
  }
  tap::believe_kernel_only(impl->socket.get());
  return RouteSession(std::move(impl));
}

Result<unsigned> RouteSession::index_of(const std::string& name) {
  rtnl_link* link = nullptr;
  if (const int e = rtnl_link_get_kernel(impl_->socket.get(), 0, name.c_str(), &link); e < 0) {
    return failure(e == -NLE_INVAL ? -NLE_NODEV : e, "no interface \"" + name + "\" here");
  }
  const tap::NlLinkPtr owned(link);
  return static_cast<unsigned>(rtnl_link_get_ifindex(link));
}

Result<void> RouteSession::add_bridge(const std::string& name) {
  LinkRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, IFF_UP);
  request.put(IFLA_IFNAME, name).nest(IFLA_LINKINFO, [](LinkRequest& info) {
    info.put(IFLA_INFO_KIND, std::string("bridge"));
    info.nest(IFLA_INFO_DATA, [](LinkRequest& bridge) {
      bridge.put(IFLA_BR_STP_STATE, std::uint32_t{0});
      bridge.put(IFLA_BR_FORWARD_DELAY, std::uint32_t{0});
      bridge.put(IFLA_BR_MCAST_SNOOPING, std::uint8_t{0});
    });
  });
  return impl_->ask(request.take(), "cannot make a bridge");
}

Result<void> RouteSession::add_port(const std::string& name, const std::string& bridge,
                                    MacAddress host) {
  const std::string what = "cannot make interface \"" + name + "\" a port of a bridge";
  auto index = index_of(name);
  if (!index) return std::move(index).error();
  auto master = index_of(bridge);
  if (!master) return std::move(master).error();
  LinkRequest enslave(RTM_SETLINK, 0, *index);
  enslave.put(IFLA_MASTER, std::uint32_t{*master});
  if (auto done = impl_->ask(enslave.take(), what); !done) return done;
  LinkRequest port(RTM_NEWLINK, 0, *index);
  port.nest(IFLA_LINKINFO, [](LinkRequest& info) {
    info.put(IFLA_INFO_SLAVE_KIND, std::string("bridge"));
    info.nest(IFLA_INFO_SLAVE_DATA, [](LinkRequest& data) {
      data.put(IFLA_BRPORT_LEARNING, std::uint8_t{0});
      data.put(IFLA_BRPORT_UNICAST_FLOOD, std::uint8_t{0});
    });
  });
  if (auto done = impl_->ask(port.take(), what); !done) return done;
  if (auto done = impl_->forward_to(*index, host, what); !done) return done;
  return impl_->wait_until_forwarding(*index, what);
}

/// Adds a static entry to the bridge's table.
Result<void> RouteSession::Impl::forward_to(unsigned index, MacAddress host,
                                            const std::string& what) const {
  MessagePtr message(nlmsg_alloc_simple(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE));
  if (!message) return Error::from_errno(ENOMEM, what);
  ndmsg header{};
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = static_cast<int>(index);
  header.ndm_state = NUD_NOARP;
  header.ndm_flags = NTF_MASTER;
  (void)nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
  (void)nla_put(message.get(), NDA_LLADDR, 6, host.bytes.data());
  return ask(std::move(message), what + " for " + host.to_string());
}

std::optional<LinkNews> RouteSession::Impl::look(unsigned index) const noexcept {
  LinkNews news;
  MessagePtr message = LinkRequest(RTM_GETLINK, 0, index).take();
  nl_cb* const callbacks = nl_cb_alloc(NL_CB_DEFAULT);
  const std::unique_ptr<nl_cb, tap::NlDeleter<nl_cb_put>> owned(callbacks);
  if (!message || callbacks == nullptr) return std::nullopt;
  tap::believe_kernel_only(callbacks);
  (void)nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, read_link, &news);
  if (nl_send_auto(socket.get(), message.get()) < 0 || nl_recvmsgs(socket.get(), callbacks) < 0 ||
      nl_wait_for_ack(socket.get()) < 0) {
    return std::nullopt;
  }
  return news;
}

Result<void> RouteSession::Impl::wait_until_forwarding(unsigned index,
                                                       const std::string& what) const {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  for (const auto deadline = now() + kForwardingTime; now() < deadline;) {
    const auto news = look(index);
    if (news && news->port_state == BR_STATE_FORWARDING) return {};
    ::poll(nullptr, 0, 1);  // carrier takes a moment to come up
  }
  return Error(Errc::timed_out, what + ": it does not forward after five seconds");
}

std::optional<InterfaceCounts> RouteSession::counts(unsigned index) noexcept {
  const auto news = impl_->look(index);
  return news ? news->counts : std::nullopt;
}

Result<std::string> RouteSession::Impl::address_of(unsigned index) const {
  nl_cache* addresses = nullptr;
  if (const int e = rtnl_addr_alloc_cache(socket.get(), &addresses); e < 0) {
    return failure(e, "cannot list addresses");
  }
  const CachePtr owned(addresses);
  for (nl_object* o = nl_cache_get_first(addresses); o != nullptr; o = nl_cache_get_next(o)) {
    auto* const address = reinterpret_cast<rtnl_addr*>(o);
    nl_addr* const local = rtnl_addr_get_local(address);
    if (rtnl_addr_get_ifindex(address) == static_cast<int>(index) && !is_automatic(local)) {
      return "has the address " + text_of(local);
    }
  }
  return std::string();
}

Result<std::string> RouteSession::Impl::route_of(unsigned index) const {
  nl_cache* routes = nullptr;
  if (const int e = rtnl_route_alloc_cache(socket.get(), AF_UNSPEC, 0, &routes); e < 0) {
    return failure(e, "cannot list routes");
  }
  const CachePtr owned(routes);
  for (nl_object* o = nl_cache_get_first(routes); o != nullptr; o = nl_cache_get_next(o)) {
    auto* const route = reinterpret_cast<rtnl_route*>(o);
    if (is_automatic(rtnl_route_get_dst(route))) continue;
    for (int hop = 0; hop < rtnl_route_get_nnexthops(route); ++hop) {
      if (rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, hop)) == static_cast<int>(index)) {
        return "has a route, to " + text_of(rtnl_route_get_dst(route));
      }
    }
  }
  return std::string();
}

Result<std::string> RouteSession::use_of(const std::string& name) {
  rtnl_link* link = nullptr;
  if (const int e = rtnl_link_get_kernel(impl_->socket.get(), 0, name.c_str(), &link); e < 0) {
    return failure(e, "cannot look at interface \"" + name + '"');
  }
  const tap::NlLinkPtr owned(link);
  if (rtnl_link_get_master(link) != 0) return std::string("is part of a bridge or a bond");
  const auto index = static_cast<unsigned>(rtnl_link_get_ifindex(link));
  auto address = impl_->address_of(index);
  if (!address || !address->empty()) return address;
  return impl_->route_of(index);
}

namespace {

constexpr std::size_t kMaxDeviceMtu = 65521;  // of a TAP device

/// Stops new interfaces from sending frames by themselves. If /proc/sys is not writable, each
/// interface at least gets no address (Netlink::disable_ipv6).
Result<std::vector<UniqueFd>> hush() {
  constexpr std::array<std::pair<const char*, char>, 3> kSettings{
      {{"/proc/sys/net/ipv6/conf/default/disable_ipv6", '1'},
       {"/proc/sys/net/ipv6/conf/all/disable_ipv6", '1'},
       {"/proc/sys/net/ipv6/conf/default/accept_ra", '0'}}};
  for (const auto& [path, value] : kSettings) {
    const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    if (file) (void)!::write(file.get(), &value, 1);
  }
  return std::vector<UniqueFd>{};
}

Result<void> check_interface(RouteSession& session, const JobOptions& job,
                             const std::string& name) {
  const std::string place = job.netns.empty() ? "" : " in namespace " + job.netns;
  if (auto found = session.index_of(name); !found) {
    return Error(found.error().code,
                 found.error().message + place +
                     " ('ip link' lists the interfaces; without 'netdev' the run makes its own)");
  }
  if (job.allow_live) return {};
  auto use = session.use_of(name);
  if (!use) return std::move(use).error();
  if (use->empty()) return {};
  return Error(Errc::busy,
               "interface \"" + name + '"' + place + ' ' + *use +
                   ", and the traffic would reach its users (set allow_live=1 to allow this)");
}

}  // namespace

std::uint32_t device_mtu(const JobOptions& job) noexcept {
  return static_cast<std::uint32_t>(
      std::min(max_frame_bytes_of(job) - kEthernetHeaderBytes, kMaxDeviceMtu));
}

Result<tap::NetNamespace> make_quiet_namespace() {
  auto space = tap::NetNamespace::create();
  if (!space) return space;
  if (auto quiet = tap::run_in(*space, hush); !quiet) return std::move(quiet).error();
  return space;
}

Result<NamedInterfaces> find_interfaces(const JobOptions& job, std::size_t ends) {
  auto where =
      job.netns.empty() ? tap::NetNamespace::current() : tap::NetNamespace::parse(job.netns);
  if (!where) return std::move(where).error();
  const auto names = base::split(job.netdev, ',');
  NamedInterfaces found{*std::move(where), {names.begin(), names.end()}};
  if (found.names.size() < ends) {
    return Error(Errc::bad_argument,
                 "netdev=" + job.netdev + " names " + std::to_string(found.names.size()) +
                     (found.names.size() == 1 ? " interface" : " interfaces") + ", but " +
                     std::to_string(ends) +
                     " are needed (name one for each job, separated by commas)");
  }
  auto session = RouteSession::open(found.where);
  if (!session) return std::move(session).error();
  for (const std::string& name : found.names) {
    if (!tap::is_interface_name(name)) {
      return Error(Errc::bad_argument,
                   "netdev=" + job.netdev + ": \"" + name + "\" is not the name of an interface");
    }
    if (auto fit = check_interface(*session, job, name); !fit) return std::move(fit).error();
  }
  return found;
}

WireCounters from_link(const tap::DeviceCounters& counts) noexcept {
  const std::uint64_t dropped = counts.dropped_down + counts.dropped_full + counts.dropped_corrupt;
  return {.tx_frames = counts.sent_frames,
          .tx_bytes = counts.sent_bytes,
          .rx_frames = counts.received_frames,
          .rx_bytes = counts.received_bytes,
          .lost_frames = std::nullopt,
          .overruns = std::nullopt,
          .dropped_frames = dropped + counts.missed};
}

std::optional<InterfaceCounts> CountsSince::operator()() const noexcept {
  const auto now = session_->counts(index_);
  if (!now || !before_) return std::nullopt;
  return InterfaceCounts{
      now->tx_frames - before_->tx_frames,   now->tx_bytes - before_->tx_bytes,
      now->tx_dropped - before_->tx_dropped, now->rx_frames - before_->rx_frames,
      now->rx_bytes - before_->rx_bytes,     now->rx_dropped - before_->rx_dropped};
}

namespace {

class NamedWire final : public Wire {
 public:
  NamedWire(EngineKind kind, NamedInterfaces interfaces, OpenNamed open)
      : kind_(kind), interfaces_(std::move(interfaces)), open_(open) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = engine_of(kind_).capabilities;
    can.max_ends = interfaces_.names.size();
    return can;
  }
  std::string address() const override {
    return std::string(name_of(kind_)) + ':' + interfaces_.names.front();
  }
  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, interfaces_.names.size(), address()); !fits) {
      return std::move(fits).error();
    }
    return open_(interfaces_.names[options.index], interfaces_.where, options);
  }

 private:
  EngineKind kind_;
  NamedInterfaces interfaces_;
  OpenNamed open_;
};

}  // namespace

std::unique_ptr<Wire> make_named_wire(EngineKind kind, NamedInterfaces interfaces, OpenNamed open) {
  return std::make_unique<NamedWire>(kind, std::move(interfaces), open);
}

}  // namespace shmif::perf
