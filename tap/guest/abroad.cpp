#include "tap/guest/abroad.hpp"

#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>

#include "tap/netns.hpp"

namespace shmif::tap {
namespace {

/// The number of the sender's namespace. The kernel adds it to news from another namespace.
std::optional<int> space_in(msghdr& message) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID) continue;
    int space = 0;
    std::memcpy(&space, CMSG_DATA(c), sizeof space);
    return space;
  }
  return std::nullopt;
}

}  // namespace

OurEnd::OurEnd(int descriptor, LinkKind kind) noexcept {
  ifreq request{};
  if (kind == LinkKind::tap && ::ioctl(descriptor, TUNGETIFF, &request) == 0) tap_ = descriptor;
  sockaddr_ll bound{};
  socklen_t size = sizeof bound;
  if (kind == LinkKind::veth &&
      ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
      bound.sll_family == AF_PACKET) {
    far_index_ = static_cast<unsigned>(bound.sll_ifindex);
  }
}

Abroad::Found Abroad::find(const OurEnd& end) {
  if (end.tap() >= 0) return find_tap(end.tap());
  if (end.far_index() != 0) return find_peer(end.far_index());
  return {};
}

Abroad::Found Abroad::find_tap(int tap) {
  const auto space = NetNamespace::of_device(tap);
  if (!space) return {.where = space.error().code.value() == EBADFD ? Where::gone : Where::unknown};
  ifreq request{};
  if (::ioctl(tap, TUNGETIFF, &request) != 0)
    return {.where = errno == EBADFD ? Where::gone : Where::unknown};
  const auto number = questions_.space_number(space->descriptor());
  if (!number) return {};
  const auto now = questions_.link(request.ifr_name, Place{.space = *number});
  if (!now) return {};
  const auto home = NetNamespace::of_socket(home_);
  if (!home) return {};
  const bool here = space->is_same(*home);
  return {.where = here ? Where::here : Where::abroad,
          .place = {.space = *number, .index = now->index}};
}

Abroad::Found Abroad::find_peer(unsigned far_index) {
  const auto ours = questions_.link(far_index);
  if (!ours) return {.where = Where::gone};
  if (ours->lower == 0 || !ours->lower_space) return {};
  const auto home = NetNamespace::of_socket(home_);
  const auto number = home ? questions_.space_number(home->descriptor()) : std::nullopt;
  if (!number) return {};
  return {.where = *ours->lower_space == *number ? Where::here : Where::abroad,
          .place = {.space = *ours->lower_space, .index = ours->lower}};
}

void Abroad::listen(bool on) {
  if (on == listens_) return;
  const int all = on ? 1 : 0;
  const int group = RTNLGRP_LINK;
  // This process may not be allowed to hear of other namespaces now. The next attempt may succeed.
  if (::setsockopt(news_.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &all, sizeof all) != 0)
    return;
  listens_ = on;
  (void)::setsockopt(news_.get(), SOL_NETLINK,
                     on ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &group, sizeof group);
}

bool Abroad::read(LinkNewsBatch& batch, int& space, bool& missed) {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;  // the kernel sends no larger ones
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  sockaddr_nl from{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  batch = {};
  const ssize_t size = ::recvmsg(news_.get(), &message, 0);
  if (size < 0 && errno == ENOBUFS) return missed = true;
  if (size < 0) return errno == EINTR;
  // Root of a namespace may send to every netlink socket of the namespace.
  const auto number = space_in(message);
  if (from.nl_pid != 0 || !number) return true;
  space = *number;
  batch = read_link_news(std::span(buffer).first(static_cast<std::size_t>(size)));
  return true;
}

}  // namespace shmif::tap
