#include "tap/guest/watch.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/rtnl.h>
#include <netlink/socket.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <utility>

#include "tap/libnl.hpp"
#include "tap/netlink.hpp"

namespace shmif::tap {
namespace {

/// What one message says, if it is about an interface. The flag IFF_PROMISC only shows what an
/// administrator set; the count shows packet sockets, too.
std::optional<LinkNews> read_message(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK) return std::nullopt;
  std::array<nla_policy, IFLA_MAX + 1> policy{};
  policy[IFLA_PROMISCUITY].type = policy[IFLA_MTU].type = NLA_U32;  // shorter ones are refused
  std::array<nlattr*, IFLA_MAX + 1> found{};
  if (::nlmsg_parse(header, sizeof(ifinfomsg), found.data(), IFLA_MAX, policy.data()) < 0 ||
      found[IFLA_PROMISCUITY] == nullptr) {
    return std::nullopt;
  }
  const auto* const about = static_cast<const ifinfomsg*>(::nlmsg_data(header));
  return LinkNews{.index = static_cast<unsigned>(about->ifi_index),
                  .promiscuity = ::nla_get_u32(found[IFLA_PROMISCUITY]),
                  .carrier = Interface::carries(about->ifi_flags),
                  .mtu = found[IFLA_MTU] != nullptr ? ::nla_get_u32(found[IFLA_MTU]) : 0};
}

}  // namespace

LinkNewsBatch read_link_news(std::span<const std::byte> datagram) {
  LinkNewsBatch batch;
  // libnl's functions do not write here, but their parameters are not const.
  auto* header =
      reinterpret_cast<nlmsghdr*>(const_cast<std::byte*>(datagram.data()));  // NOLINT: see above
  auto left = static_cast<int>(datagram.size());
  while (::nlmsg_ok(header, left) != 0) {  // each message is 16 bytes or more
    batch.incomplete = batch.incomplete || (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (const auto news = read_message(header)) batch.news.push_back(*news);
    header = ::nlmsg_next(header, &left);
  }
  return batch;
}

struct GuestWatch::Impl {
  ~Impl() { ::nl_socket_free(socket); }

  void note(const LinkNews& news, std::vector<GuestInterfaceState>& changes) {
    for (std::size_t i = 0; i < links.size(); ++i) {
      const GuestInterfaceState now{i, news.promiscuity > links[i].own, news.carrier, news.mtu};
      if (links[i].index != news.index || states[i] == now) continue;
      bool& comes_up_later = links[i].comes_up_later;
      if (comes_up_later && !news.carrier) continue;
      comes_up_later = false;
      states[i] = now;
      changes.push_back(now);
    }
  }

  /// Call it when something was missed.
  void ask_for_everything() const {
    (void)::nl_rtgen_request(socket, RTM_GETLINK, AF_UNSPEC, NLM_F_DUMP);
  }

  nl_sock* socket = nullptr;
  std::vector<WatchedLink> links;
  std::vector<GuestInterfaceState> states;
};

GuestWatch::GuestWatch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GuestWatch::GuestWatch(GuestWatch&&) noexcept = default;
GuestWatch& GuestWatch::operator=(GuestWatch&&) noexcept = default;
GuestWatch::~GuestWatch() = default;

Result<GuestWatch> GuestWatch::open(UniqueFd socket, std::vector<WatchedLink> links) {
  auto impl = std::make_unique<Impl>();
  impl->socket = ::nl_socket_alloc();
  if (impl->socket == nullptr) return Error::from_errno(ENOMEM, "netlink");
  const int fd = socket.release();
  if (const int e = ::nl_socket_set_fd(impl->socket, NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return Error::from_errno(
        EIO, std::string("cannot watch the host's interfaces: ") + ::nl_geterror(e));
  }
  ::nl_socket_set_nonblocking(impl->socket);
  impl->states.resize(links.size());
  impl->links = std::move(links);
  return GuestWatch(std::move(impl));
}

int GuestWatch::descriptor() const noexcept {
  return ::nl_socket_get_fd(impl_->socket);
}

void GuestWatch::read(std::vector<GuestInterfaceState>& changes) {
  // One call reads one datagram. Bounded: a guest that changes its interfaces without pause must
  // not keep us here.
  for (int i = 0; i < 64; ++i) {
    sockaddr_nl from{};
    unsigned char* buffer = nullptr;
    const int size = receive_from_kernel(impl_->socket, &from, &buffer, nullptr);
    const std::unique_ptr<unsigned char, NlDeleter<std::free>> owned(buffer);
    if (size == -NLE_NOMEM) {  // the socket overflowed
      impl_->ask_for_everything();
      continue;
    }
    if (size <= 0) break;
    const auto batch =
        read_link_news(std::as_bytes(std::span(buffer, static_cast<std::size_t>(size))));
    for (const LinkNews& news : batch.news) impl_->note(news, changes);
    if (batch.incomplete) impl_->ask_for_everything();
  }
}

}  // namespace shmif::tap
