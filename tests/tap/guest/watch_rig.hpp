#pragma once
// How watches of interfaces ask in tests, messages of rtnetlink, and sockets that others may send
// to.

#include <gtest/gtest.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"
#include "tap/guest/watch.hpp"

namespace shmif::tap::test {

inline const MacAddress kFirst = *MacAddress::parse("02:00:00:00:00:01");
inline const MacAddress kSecond = *MacAddress::parse("02:00:00:00:00:02");

/// Asks so rarely that only news can be why it asks.
inline constexpr WatchPace kAtNews{.quiet = std::chrono::hours(1),
                                   .busy = std::chrono::hours(1),
                                   .busy_for = std::chrono::milliseconds(1),
                                   .least = std::chrono::milliseconds(1)};
/// Asks without news.
inline constexpr WatchPace kOften{.quiet = std::chrono::milliseconds(20),
                                  .busy = std::chrono::milliseconds(20),
                                  .least = std::chrono::milliseconds(1)};

/// A message of rtnetlink. Its fields are those of the answer to question 7, about interface 3.
struct RouteMessage {
  using Bytes = std::vector<std::byte>;
  struct Attribute {
    int type;
    Bytes value;
  };
  unsigned type = RTM_NEWNEIGH;
  unsigned flags = NLM_F_MULTI;
  std::uint32_t question = 7;
  ndmsg entry{.ndm_family = AF_BRIDGE,
              .ndm_pad1 = 0,
              .ndm_pad2 = 0,
              .ndm_ifindex = 3,
              .ndm_state = 0,
              .ndm_flags = NTF_SELF,
              .ndm_type = 0};
  std::optional<ifinfomsg> link{};  ///< instead of an entry
  std::optional<ifaddrmsg> ip{};    ///< instead of either
  std::vector<Attribute> attributes{};

  static Bytes number(std::uint32_t value) {
    Bytes made(sizeof value);
    std::memcpy(made.data(), &value, sizeof value);
    return made;
  }
  static Bytes address(const MacAddress& mac, std::size_t size = 6) {
    Bytes made(size);
    std::memcpy(made.data(), mac.bytes.data(), std::min<std::size_t>(size, 6));
    return made;
  }
  static void append(Bytes& to, const void* from, std::size_t size) {
    const std::size_t at = to.size();
    to.resize(at + NLMSG_ALIGN(size));
    std::memcpy(to.data() + at, from, size);
  }
  Bytes bytes() const {
    nlmsghdr header{};
    header.nlmsg_type = static_cast<std::uint16_t>(type);
    header.nlmsg_flags = static_cast<std::uint16_t>(flags);
    header.nlmsg_seq = question;
    Bytes all;
    append(all, &header, sizeof header);
    if (ip) {
      append(all, &*ip, sizeof *ip);
    } else {
      link ? append(all, &*link, sizeof *link) : append(all, &entry, sizeof entry);
    }
    for (const Attribute& each : attributes) {
      const nlattr head{.nla_len = static_cast<std::uint16_t>(NLA_HDRLEN + each.value.size()),
                        .nla_type = static_cast<std::uint16_t>(each.type)};
      append(all, &head, sizeof head);
      append(all, each.value.data(), each.value.size());
    }
    header.nlmsg_len = static_cast<std::uint32_t>(all.size());
    std::memcpy(all.data(), &header, sizeof header);
    return all;
  }
};

/// Where another socket of rtnetlink is reached.
class RouteSocket {
 public:
  explicit RouteSocket(int socket) {
    socklen_t size = sizeof address_;
    EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address_), &size), 0);
  }
  /// As root of its namespace, which the caller is in.
  void send(const RouteMessage& message) const {
    const auto bytes = message.bytes();
    const UniqueFd other(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    EXPECT_EQ(::sendto(other.get(), bytes.data(), bytes.size(), 0,
                       reinterpret_cast<const sockaddr*>(&address_), sizeof address_),
              static_cast<ssize_t>(bytes.size()));
  }

 private:
  sockaddr_nl address_{};
};

}  // namespace shmif::tap::test
