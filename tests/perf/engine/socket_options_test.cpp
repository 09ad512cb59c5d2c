// What the sockets of engines and of emulated hosts are set to, and what they hand on.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <future>
#include <set>

#include "base/unique_fd.hpp"
#include "perf/engine/socket_end.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_address.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/handed_on.hpp"
#include "tests/support/own_dev_net.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::tap::test::Inside;
using shmif::tap::test::TestNamespace;
using shmif::test::same_frames;

int value_of(int socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  (void)::getsockopt(socket, level, name, &value, &size);
  return value;
}

/// All sockets of this process.
std::set<int> sockets() {
  std::set<int> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int number = std::stoi(entry.path().filename());
    if (value_of(number, SOL_SOCKET, SO_TYPE) > 0) all.insert(number);
  }
  return all;
}

/// The sockets that `open` opened and left open.
template <class Open>
std::vector<int> opened_by(const Open& open) {
  const std::set<int> before = sockets();
  open();
  const std::set<int> now = sockets();
  std::vector<int> more;
  std::ranges::set_difference(now, before, std::back_inserter(more));
  return more;
}

/// Ends of a connection over loopback, `listening` at `address`.
struct Connection {
  explicit Connection(const std::string& address, HostEndOptions options = {}) {
    options.local = address;
    options.remote = {};
    auto accepted =
        std::async(std::launch::async, [options] { return listen_tcp_host_end(options).value(); });
    options.local = {};
    options.remote = address;
    connecting = connect_tcp_host_end(options).value();
    listening = accepted.get();
  }
  std::unique_ptr<End> connecting, listening;
};

/// A namespace of its own for ports, or the reason why there is none.
class HostSockets : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    space.emplace();
    space->netlink().set_mtu("lo", 1500).value();
  }
  std::optional<TestNamespace> space;
};

TEST_F(HostSockets, OfAConnectionDelayNothingAndAreWhatWasAskedFor) {
  const Inside inside(*space);
  HostEndOptions options;
  options.window_bytes = 64U << 10U;
  options.dscp = 34;
  options.mss_bytes = 800;
  options.congestion = "reno";
  std::optional<Connection> pair;
  const auto made = opened_by([&] { pair.emplace("127.0.0.1:7000", options); });
  ASSERT_EQ(made.size(), 2U) << "nobody listens any more";
  for (const int socket : made) {
    EXPECT_EQ(value_of(socket, IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(value_of(socket, SOL_SOCKET, SO_SNDBUF), 128 << 10);
    EXPECT_EQ(value_of(socket, SOL_SOCKET, SO_RCVBUF), 128 << 10);
    EXPECT_EQ(value_of(socket, IPPROTO_IP, IP_TOS), 34 << 2);
    EXPECT_EQ(tcp_state_of(socket)->congestion, "reno");
    EXPECT_LE(tcp_state_of(socket)->mss_bytes, 800U);
  }
}

TEST_F(HostSockets, OfDatagramsAreWhatWasAskedForWithEitherFamily) {
  const Inside inside(*space);
  for (const bool six : {false, true}) {
    SCOPED_TRACE(six);
    const std::string host = six ? "[::1]:" : "127.0.0.1:";
    HostEndOptions options;
    options.local = host + "7000";
    options.remote = host + "7001";
    options.window_bytes = 64U << 10U;
    options.dscp = 46;
    std::unique_ptr<End> end;
    const auto made = opened_by([&] { end = open_udp_host_end(options).value(); });
    ASSERT_EQ(made.size(), 1U);
    EXPECT_EQ(value_of(made[0], SOL_SOCKET, SO_SNDBUF), 128 << 10);
    EXPECT_EQ(value_of(made[0], SOL_SOCKET, SO_RCVBUF), 128 << 10);
    EXPECT_EQ(
        value_of(made[0], six ? int{IPPROTO_IPV6} : int{IPPROTO_IP}, six ? IPV6_TCLASS : IP_TOS),
        46 << 2);
    EXPECT_EQ(value_of(made[0], six ? int{IPPROTO_IPV6} : int{IPPROTO_IP},
                       six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER),
              IP_PMTUDISC_DO)
        << "nothing is fragmented";
    EXPECT_EQ(end->max_frame_bytes(), six ? 1500U - 48 : 1500U - 28);
    EXPECT_EQ(end->address(), "udp:" + options.local);
    EXPECT_FALSE(end->tcp());
    end.reset();
    options.window_bytes = 0;
    const auto large = opened_by([&] { end = open_udp_host_end(options).value(); });
    ASSERT_EQ(large.size(), 1U);
    EXPECT_EQ(value_of(large[0], SOL_SOCKET, SO_RCVBUF), 2 * kUdpBufferBytes);
    EXPECT_EQ(value_of(large[0], SOL_SOCKET, SO_SNDBUF), 2 * kUdpBufferBytes);
  }
}

TEST_F(HostSockets, AWindowThatTheKernelDoesNotGrantIsRefusedWithWhatItGrants) {
  const Inside inside(*space);
  const UniqueFd asked(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int much = 1 << 30;
  ASSERT_EQ(::setsockopt(asked.get(), SOL_SOCKET, SO_SNDBUF, &much, sizeof much), 0);
  const int max = value_of(asked.get(), SOL_SOCKET, SO_SNDBUF) / 2;  // of net.core.wmem_max
  ASSERT_LT(max, much);
  HostEndOptions options;
  options.local = "127.0.0.1:7000";
  options.window_bytes = static_cast<std::uint64_t>(max);
  const auto most = open_udp_host_end(options);
  ASSERT_TRUE(most || most.error().message.find("rmem_max") != std::string::npos);
  options.window_bytes = static_cast<std::uint64_t>(max) + 1;
  options.local = "127.0.0.1:7001";
  const auto more = open_udp_host_end(options);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message,
            "window: the kernel grants " + std::to_string(max) + " of " + std::to_string(max + 1) +
                " bytes (ask for less, or raise net.core.wmem_max of the machine)");
}

TEST(SocketBuffers, AreEnlargedBothWaysByRootAndByAnOrdinaryUser) {
  const auto both_are = [](int bytes) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    enlarge_buffers(socket.get(), bytes);
    return value_of(socket.get(), SOL_SOCKET, SO_RCVBUF) == 2 * bytes &&
           value_of(socket.get(), SOL_SOCKET, SO_SNDBUF) == 2 * bytes;
  };
  EXPECT_TRUE(both_are(50'000));
  if (::geteuid() != 0) return;
  EXPECT_TRUE(both_are(8 << 20)) << "beyond the limit of the machine";
  shmif::test::Child user(
      [&] { return shmif::test::become_ordinary() && both_are(50'000) ? 0 : 1; });
  EXPECT_EQ(user.wait(), 0);
}

TEST_F(HostSockets, OfEngineUdpHaveThePortThatIsAskedForAtTheFirstEnd) {
  const Inside inside(*space);
  for (const char* const host : {"127.0.0.1", "::1"}) {
    JobOptions job;
    job.engine = EngineKind::udp;
    job.hostname = host;
    job.port = 7000;
    std::unique_ptr<Wire> wire;
    const auto made = opened_by([&] { wire = make_wire(job, 2).value(); });
    ASSERT_EQ(made.size(), 2U);
    for (const int socket : made) {
      EXPECT_EQ(value_of(socket, SOL_SOCKET, SO_RCVBUF), 2 * kUdpBufferBytes);
    }
    const std::string place = std::string(host) == "::1" ? "udp:[::1]:" : "udp:127.0.0.1:";
    EXPECT_EQ(wire->address(), place + "7000");
    const auto one = wire->open_end(end_options(0)).value();
    const auto other = wire->open_end(end_options(1)).value();
    EXPECT_EQ(one->address(), place + "7000");
    EXPECT_EQ(other->address().substr(0, place.size()), place);
    EXPECT_NE(other->address(), one->address());
    const auto there = frames_to(1, 0, 5, 100);
    (void)send_all(*one, there, *other);
    EXPECT_TRUE(same_frames(there, collect(*other, there.size())));
  }
}

}  // namespace
}  // namespace shmif::perf::rig
