// Addresses of sockets: how they are read and written, and which are of this machine.

#include "shmif/socket_address.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

namespace shmif::test {
namespace {

SocketAddress address_from(const std::string& text) {
  return parse_socket_address(text).value();
}

TEST(SocketAddress, IsReadAndWrittenInBothFamilies) {
  struct Row {
    std::string text;
    int family;
    std::uint16_t port;
    bool is_any;
    std::string any;
  };
  for (const Row& row : {Row{"198.18.0.1:7000", AF_INET, 7000, false, "0.0.0.0:7000"},
                         Row{"0.0.0.0:1", AF_INET, 1, true, "0.0.0.0:1"},
                         Row{"[fd00::1]:65535", AF_INET6, 65535, false, "[::]:65535"},
                         Row{"[::]:0", AF_INET6, 0, true, "[::]:0"},
                         Row{"[::1]:258", AF_INET6, 258, false, "[::]:258"},
                         Row{"[::ffff:0.0.0.0]:9", AF_INET6, 9, true, "[::]:9"},
                         Row{"[::ffff:198.18.0.1]:9", AF_INET6, 9, false, "[::]:9"}}) {
    const SocketAddress address = address_from(row.text);
    EXPECT_EQ(address.to_string(), row.text);
    EXPECT_EQ(address.family(), row.family) << row.text;
    EXPECT_EQ(address.port(), row.port) << row.text;
    EXPECT_EQ(address.is_any(), row.is_any) << row.text;
    EXPECT_EQ(address.any().to_string(), row.any) << row.text;
    EXPECT_EQ(address.with_port(4660).port(), 4660U) << row.text;
    EXPECT_EQ(address.with_port(row.port).to_string(), row.text);
  }
}

TEST(SocketAddress, OfALinkKeepsItsInterface) {
  const SocketAddress here = parse_host_address("fe80::1%lo", 80).value();
  EXPECT_EQ(here.to_string(), "[fe80::1%lo]:80");
  EXPECT_EQ(parse_socket_address(here.to_string()).value().to_string(), "[fe80::1%lo]:80");
  EXPECT_EQ(here.with_port(81).to_string(), "[fe80::1%lo]:81");
  EXPECT_EQ(parse_host_address("198.18.0.1", 80).value().to_string(), "198.18.0.1:80");
  EXPECT_EQ(parse_host_address("::1", 80).value().to_string(), "[::1]:80");
  const auto name = parse_host_address("localhost", 80);
  ASSERT_FALSE(name) << "no name is looked up";
  EXPECT_EQ(name.error().code, Errc::bad_argument);
  EXPECT_TRUE(name.error().message.starts_with("cannot find the host \"localhost\": "))
      << name.error().message;
}

TEST(SocketAddress, ThatIsNoneIsRefused) {
  for (const char* const text : {"",
                                 ":",
                                 "198.18.0.1",
                                 "198.18.0.1:",
                                 "198.18.0.1:65536",
                                 "198.18.0.1:-1",
                                 "198.18.0.1:1x",
                                 "198.18.0:1",
                                 "host:1",
                                 "fd00::1",
                                 "fd00::1:80",
                                 "[fd00::1]",
                                 "[fd00::1]:",
                                 "[fd00::1]80",
                                 "[fd00::1:80",
                                 "[fd00::1]x:80",
                                 "[]:80",
                                 "[198.18.0.1]:80",
                                 "[host]:80",
                                 " 198.18.0.1:1"}) {
    const auto refused = parse_socket_address(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, Errc::bad_argument);
    EXPECT_EQ(refused.error().message,
              '"' + std::string(text) +
                  "\" is not a socket address (write an IP address and a port, "
                  "\"198.18.0.1:7000\" or \"[fd00::1]:7000\")");
  }
}

TEST(HostPort, IsSplitAtTheLastColonThatIsOne) {
  struct Row {
    std::string text, host;
    std::optional<std::uint16_t> port;
  };
  for (const Row& row :
       {Row{"host", "host", {}}, Row{"host:0", "host", 0}, Row{"host:65535", "host", 65535},
        Row{"198.18.0.1:80", "198.18.0.1", 80}, Row{"fd00::1", "fd00::1", {}},
        Row{"[fd00::1]", "fd00::1", {}}, Row{"[fd00::1]:80", "fd00::1", 80},
        Row{"[fe80::1%eth0]:80", "fe80::1%eth0", 80}}) {
    const auto split = split_host_port(row.text);
    ASSERT_TRUE(split) << row.text;
    EXPECT_EQ(split->host, row.host);
    EXPECT_EQ(split->port, row.port) << row.text;
  }
  for (const char* const text : {"", ":80", "[]", "[]:80", "[fd00::1", "[fd00::1]80", "host:",
                                 "host:x", "host:65536", "a b", "a\tb:80", "a/b:80", "user@host"})
    EXPECT_FALSE(split_host_port(text)) << text;
}

TEST(SocketAddress, OfTheLoopbackIsOfThisMachineAndAWildcardIsOfNone) {
  for (const char* const text :
       {"127.0.0.1:1", "127.255.255.255:1", "[::1]:1", "[::ffff:127.0.0.1]:1"})
    EXPECT_TRUE(is_of_this_machine(address_from(text))) << text;
  for (const char* const text : {"0.0.0.0:1", "[::]:1", "126.0.0.1:1", "128.0.0.1:1",
                                 "198.18.255.254:1", "[::2]:1", "[::ffff:198.18.255.254]:1"})
    EXPECT_FALSE(is_of_this_machine(address_from(text))) << text;
}

/// Gives the loopback of the thread's network namespace another address.
void add_to_loopback(const char* address) {
  const UniqueFd four(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq up{};
  std::strcpy(&up.ifr_name[0], "lo");
  up.ifr_flags = IFF_UP;
  EXPECT_EQ(::ioctl(four.get(), SIOCSIFFLAGS, &up), 0);
  const UniqueFd six(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct {
    in6_addr address;
    std::uint32_t prefix;
    int interface;
  } wanted{{}, 64, 1};
  ASSERT_EQ(::inet_pton(AF_INET6, address, &wanted.address), 1);
  EXPECT_EQ(::ioctl(six.get(), SIOCSIFADDR, &wanted), 0) << address;
}

/// Another IPv4 address behind 127.0.0.1.
void add_to_loopback_too(const char* address) {
  const UniqueFd four(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq wanted{};
  std::strcpy(&wanted.ifr_name[0], "lo:1");
  sockaddr_in given{};
  given.sin_family = AF_INET;
  ASSERT_EQ(::inet_pton(AF_INET, address, &given.sin_addr), 1);
  std::memcpy(&wanted.ifr_addr, &given, sizeof given);
  EXPECT_EQ(::ioctl(four.get(), SIOCSIFADDR, &wanted), 0) << address;
}

TEST(SocketAddress, OfALinkIsOfThisMachineOnlyWithItsOwnInterface) {
  std::string skipped;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      skipped = "needs root: makes a network namespace";
      return;
    }
    if (!UniqueFd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) ||
        ::access("/proc/net/if_inet6", F_OK) != 0) {
      skipped = "this machine has no IPv6";
      return;
    }
    add_to_loopback("fe80::5");
    add_to_loopback("fd00::5");
    EXPECT_TRUE(is_of_this_machine(parse_host_address("fe80::5%lo", 1).value()));
    EXPECT_TRUE(is_of_this_machine(parse_host_address("fe80::5%1", 1).value()));
    EXPECT_FALSE(is_of_this_machine(parse_host_address("fe80::5%2", 1).value()));
    EXPECT_FALSE(is_of_this_machine(parse_host_address("fe80::6%lo", 1).value()));
    EXPECT_TRUE(is_of_this_machine(address_from("[fd00::5]:1")));
    EXPECT_TRUE(is_of_this_machine(parse_host_address("fd00::5%1", 1).value()));
    EXPECT_FALSE(is_of_this_machine(address_from("[fd00::6]:1")));
    EXPECT_FALSE(is_of_this_machine(address_from("[::ffff:198.18.0.5]:1")));
    add_to_loopback_too("198.18.0.5");
    EXPECT_TRUE(is_of_this_machine(address_from("198.18.0.5:1")));
    EXPECT_TRUE(is_of_this_machine(address_from("[::ffff:198.18.0.5]:1")));
    EXPECT_FALSE(is_of_this_machine(address_from("198.18.0.6:1")));
    EXPECT_EQ(parse_host_address("fe80::5%7", 1).value().to_string(), "[fe80::5%7]:1")
        << "there is no such interface";
  }).join();
  if (!skipped.empty()) GTEST_SKIP() << skipped;
}

void set_mtu_of_loopback(int mtu) {
  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq wanted{};
  std::strcpy(&wanted.ifr_name[0], "lo");
  wanted.ifr_mtu = mtu;
  EXPECT_EQ(::ioctl(control.get(), SIOCSIFMTU, &wanted), 0);
}

TEST(MaxDatagramBytes, AreWhatFitsBehindTheHeadersOfBothFamilies) {
  std::string skipped;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0 || ::access("/proc/net/if_inet6", F_OK) != 0) {
      skipped = "needs root and IPv6: makes a network namespace";
      return;
    }
    add_to_loopback("fd00::5");
    struct Row {
      const char* to;
      int mtu;
      std::size_t bytes;
    };
    for (const Row& row : {Row{"127.0.0.1:7", 1500, 1472}, Row{"[::1]:7", 1500, 1452},
                           Row{"127.0.0.1:7", 65536, 65507}, Row{"[::1]:7", 65536, 65488},
                           Row{"[::1]:7", 70000, 65507}}) {
      set_mtu_of_loopback(row.mtu);
      const SocketAddress remote = address_from(row.to);
      const UniqueFd socket = bound_socket(SOCK_DGRAM, remote.any().with_port(0)).value();
      EXPECT_EQ(max_datagram_bytes(socket.get(), remote), 65507U) << "it has no way yet";
      ASSERT_TRUE(connect_to(socket.get(), remote));
      EXPECT_EQ(max_datagram_bytes(socket.get(), remote), row.bytes) << row.to << ' ' << row.mtu;
      const bool six = remote.family() == AF_INET6;
      int never = 0;
      socklen_t size = sizeof never;
      ASSERT_EQ(::getsockopt(socket.get(), six ? IPPROTO_IPV6 : IPPROTO_IP,
                             six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &never, &size),
                0);
      EXPECT_EQ(never, IP_PMTUDISC_DO);
    }
  }).join();
  if (!skipped.empty()) GTEST_SKIP() << skipped;
}

TEST(BoundSocketOfAnAddress, MayFollowAnotherOnlyWhereThatIsAStream) {
  for (const int type : {int{SOCK_STREAM}, SOCK_STREAM | SOCK_NONBLOCK, int{SOCK_DGRAM}}) {
    const UniqueFd socket = bound_socket(type, address_from("127.0.0.1:0")).value();
    int reuse = -1;
    socklen_t size = sizeof reuse;
    ASSERT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, &size), 0);
    EXPECT_EQ(reuse, type == SOCK_DGRAM ? 0 : 1) << type;
  }
}

}  // namespace
}  // namespace shmif::test
