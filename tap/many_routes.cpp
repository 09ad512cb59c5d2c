#include "tap/many_routes.hpp"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace shmif::tap {
namespace {

constexpr std::chrono::milliseconds kLookEvery{10};
/// When to try again after a list could not be read.
constexpr std::chrono::seconds kReadAgain{1};
/// A list with more prefixes is not kept.
constexpr std::size_t kMaxPrefixes = 4096;
/// If a list takes more reads, the reading ends. Old kernels send all routes, not only those asked
/// for.
constexpr unsigned kMaxReads = 4096;

/// Lets only news of routes of type broadcast and multicast pass.
bool only_to_many(int socket) {
  constexpr std::uint32_t kType = NLMSG_HDRLEN + offsetof(rtmsg, rtm_type);
  std::array<sock_filter, 5> program{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kType),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RTN_BROADCAST, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RTN_MULTICAST, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

UniqueFd route_socket(unsigned groups, int flags) {
  UniqueFd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (s && (groups == 0 || only_to_many(s.get())) &&
      ::bind(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return s;
  return {};
}

/// The end of a list says whether the kernel could send all of it.
bool is_success(nlmsghdr* done) noexcept {
  int error = 0;
  if (::nlmsg_datalen(done) >= static_cast<int>(sizeof error))
    std::memcpy(&error, ::nlmsg_data(done), sizeof error);
  return error >= 0;
}

bool covers(std::uint32_t first, unsigned bits, std::uint32_t address) noexcept {
  return bits == 0 || (first ^ address) >> (32 - bits) == 0;
}

}  // namespace

Result<ManyRoutes> ManyRoutes::open() {
  auto netlink = Netlink::open();
  if (!netlink) return std::move(netlink).error();
  // Open it before the list is read, so that no change is missed in between.
  UniqueFd news = route_socket(RTMGRP_IPV4_ROUTE, SOCK_NONBLOCK);
  if (!news) return Error::from_errno(errno, "cannot watch the routes of this machine");
  return ManyRoutes(*std::move(netlink), std::move(news));
}

/// Whether the list may have changed. Lost messages count as news. So do messages that a process of
/// this namespace sent in the kernel's name.
bool ManyRoutes::has_news() noexcept {
  bool any = false;
  std::byte first{};
  for (unsigned i = 0; i < 1024; ++i) {  // bounded: the next call reads the rest
    const ssize_t got = ::recv(news_.get(), &first, sizeof first, MSG_TRUNC);
    if (got < 0 && errno == EAGAIN) break;
    any = true;
  }
  return any;
}

bool ManyRoutes::read_type(int socket, std::uint8_t type, std::vector<Prefix>& all) const {
  struct {
    nlmsghdr header;
    rtmsg about;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = RTM_GETROUTE;
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.header.nlmsg_seq = type;
  question.about.rtm_family = AF_INET;
  question.about.rtm_type = type;
  if (::send(socket, &question, sizeof question, 0) != static_cast<ssize_t>(sizeof question))
    return false;
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;  // the kernel sends no larger ones
  for (unsigned i = 0; i < kMaxReads; ++i) {
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    const ssize_t size = ::recvfrom(socket, buffer.data(), buffer.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from), &length);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return false;
    if (from.nl_pid != 0) continue;
    auto left = static_cast<int>(size);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); ::nlmsg_ok(header, left) != 0;
         header = ::nlmsg_next(header, &left)) {
      if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0 || header->nlmsg_type == NLMSG_ERROR)
        return false;
      if (header->nlmsg_type == NLMSG_DONE) return is_success(header);
      std::array<nlattr*, RTA_MAX + 1> found{};
      if (header->nlmsg_type != RTM_NEWROUTE ||
          ::nlmsg_parse(header, sizeof(rtmsg), found.data(), RTA_MAX, nullptr) < 0)
        continue;
      const auto* const about = static_cast<const rtmsg*>(::nlmsg_data(header));
      if (about->rtm_type != type || about->rtm_dst_len > 32) continue;
      Prefix& prefix = all.emplace_back(Prefix{.bits = about->rtm_dst_len});
      if (found[RTA_DST] != nullptr && ::nla_len(found[RTA_DST]) == 4)
        prefix.first = ntohl(::nla_get_u32(found[RTA_DST]));
      if (all.size() > kMaxPrefixes) return false;
    }
  }
  return false;
}

/// Each list gets its own socket. If its reading is given up, the rest disappears with the socket.
bool ManyRoutes::read_list() {
  list_.reset();
  const UniqueFd socket = route_socket(0, 0);
  if (!socket) return false;
  const int strict = 1;        // Linux 4.20: only the type that is asked for
  constexpr int kStrict = 12;  // NETLINK_GET_STRICT_CHK, which old headers lack
  (void)::setsockopt(socket.get(), SOL_NETLINK, kStrict, &strict, sizeof strict);
  std::vector<Prefix> all;
  for (const std::uint8_t type : {RTN_BROADCAST, RTN_MULTICAST}) {
    if (!read_type(socket.get(), type, all)) return false;
  }
  list_ = std::move(all);
  return true;
}

bool ManyRoutes::may_lead(std::uint32_t address) const noexcept {
  // These are "many" even without a route: 224.0.0.0/4 and 255.255.255.255.
  if (!list_ || covers(0xe0000000, 4, address) || address == 0xffffffff) return true;
  return std::ranges::any_of(
      *list_, [address](const Prefix& each) { return covers(each.first, each.bits, address); });
}

Result<bool> ManyRoutes::lead(std::uint32_t address) {
  const Clock::time_point now = Clock::now();
  if (looked_at_ == Clock::time_point::min() || now - looked_at_ >= kLookEvery) {
    looked_at_ = now;
    if (has_news() || now >= read_again_at_)
      read_again_at_ = read_list() ? Clock::time_point::max() : now + kReadAgain;
  }
  if (!may_lead(address)) return false;
  IpAddress to;
  for (unsigned i = 0; i < 4; ++i)
    to.bytes.at(i) = static_cast<std::uint8_t>(address >> (24U - 8U * i));
  return netlink_.leads_to_many(to);
}

}  // namespace shmif::tap
