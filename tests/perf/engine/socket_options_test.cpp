// What the sockets of engines and of emulated hosts are set to, and what they hand on.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <future>
#include <set>
#include <thread>

#include "base/unique_fd.hpp"
#include "perf/engine/socket_engines.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_address.hpp"
#include "shmif/stream_link.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::tap::test::Inside;
using shmif::tap::test::TestNamespace;
using shmif::test::same_frames;
using std::chrono::milliseconds;

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

TEST_F(HostSockets, OfAConnectionDelayNothing) {
  const Inside inside(*space);
  std::optional<Connection> pair;
  const auto made = opened_by([&] { pair.emplace("127.0.0.1:7000"); });
  ASSERT_EQ(made.size(), 2U) << "nobody listens any more";
  for (const int socket : made) EXPECT_EQ(value_of(socket, IPPROTO_TCP, TCP_NODELAY), 1);
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

// ---- Ends of emulated hosts ----

/// An address of loopback that no other test uses just now.
std::string own_address(int port) {
  const unsigned pid = static_cast<unsigned>(::getpid());
  return "127." + std::to_string(1 + (pid >> 16U) % 250) + '.' + std::to_string(pid >> 8U & 0xffU) +
         '.' + std::to_string(pid & 0xffU) + ':' + std::to_string(port);
}

HostEndOptions host_options(std::string local, std::string remote, std::size_t index = 0) {
  HostEndOptions options;
  options.local = std::move(local);
  options.remote = std::move(remote);
  options.end = end_options(index);
  return options;
}

TEST(HostEnd, ADatagramPeerMayComeLater) {
  const auto one = open_udp_host_end(host_options(own_address(7020), own_address(7021))).value();
  const auto frames = frames_to(1, 0, 20);
  const auto out = shmif::test::views(frames);
  EXPECT_FALSE(one->send(out).error) << "nobody there is no error";
  FrameBatch batch;
  EXPECT_FALSE(one->receive(batch).error);
  const auto other =
      open_udp_host_end(host_options(own_address(7021), own_address(7020), 1)).value();
  (void)send_all(*one, frames, *other);
  EXPECT_TRUE(same_frames(frames, collect(*other, frames.size())));
}

/// An attempt that was given up may have been answered all the same.
TEST(HostEnd, AConnectionWaitsForItsAddressesWhileAnotherHasThem) {
  const SocketAddress there = parse_socket_address(own_address(7070)).value();
  const UniqueFd listening = bound_socket(SOCK_STREAM, there).value();
  ASSERT_EQ(::listen(listening.get(), 2), 0);
  UniqueFd before =
      bound_socket(SOCK_STREAM, parse_socket_address(own_address(7071)).value()).value();
  ASSERT_EQ(::connect(before.get(), there.get(), there.size), 0);
  auto closing = std::async(std::launch::async, [&] {
    std::this_thread::sleep_for(milliseconds(200));
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(::setsockopt(before.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    before.reset();
  });
  const auto end = connect_tcp_host_end(host_options(own_address(7071), own_address(7070)));
  EXPECT_TRUE(end) << end.error().message;
}

TEST(HostEnd, AConnectionToNobodyTimesOutAndSaysWhatToLookAt) {
  HostEndOptions options = host_options({}, own_address(7060));
  options.patience = milliseconds(30);
  const auto nobody = connect_tcp_host_end(options);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, Errc::timed_out);
  EXPECT_NE(nobody.error().message.find("Connection refused"), std::string::npos)
      << nobody.error().message;
  options.local = own_address(7061);
  const auto unheard = listen_tcp_host_end(options);
  ASSERT_FALSE(unheard);
  EXPECT_EQ(unheard.error().code, Errc::timed_out);
  EXPECT_EQ(unheard.error().message, "no peer connected to " + own_address(7061) + " within 30 ms");
}

TEST(HostEnd, AddressesThatAreNoneAreRefused) {
  for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "host:1", "[::1]",
                           "::1:80", "[127.0.0.1]:1", "127.0.0.1:1x"}) {
    const auto parsed = parse_socket_address(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::bad_argument);
  }
  for (const char* text : {"127.0.0.1:0", "198.18.0.1:65535", "[fd00::1]:7000"}) {
    EXPECT_EQ(parse_socket_address(text).value().to_string(), text);
  }
}

/// A TCP connection over loopback that has carried data both ways.
struct KernelConnection {
  KernelConnection() {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener.get(), any, size), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), any, &size), 0);
    here = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(here.get(), any, size), 0);
    there = UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::array<char, 5000> data{};
    for (const auto& [from, to] : {std::pair{&here, &there}, std::pair{&there, &here}}) {
      EXPECT_EQ(::send(from->get(), data.data(), data.size(), 0), ssize_t{data.size()});
      EXPECT_EQ(::recv(to->get(), data.data(), data.size(), MSG_WAITALL), ssize_t{data.size()});
    }
  }
  UniqueFd here, there;
};

TEST(TcpState, IsWhatTheKernelTellsOfTheConnection) {
  const KernelConnection pair;
  const auto state = tcp_state_of(pair.here.get());
  ASSERT_TRUE(state);
  tcp_info told{};
  socklen_t size = sizeof told;
  ASSERT_EQ(::getsockopt(pair.here.get(), IPPROTO_TCP, TCP_INFO, &told, &size), 0);
  EXPECT_GT(told.tcpi_rtt, 0U);
  EXPECT_EQ(state->rtt_ns, told.tcpi_rtt * std::uint64_t{1000});
  EXPECT_GT(told.tcpi_rttvar, 0U);
  EXPECT_EQ(state->rttvar_ns, told.tcpi_rttvar * std::uint64_t{1000});
  EXPECT_EQ(state->mss_bytes, told.tcpi_snd_mss);
  EXPECT_EQ(state->cwnd_bytes, std::uint64_t{told.tcpi_snd_cwnd} * told.tcpi_snd_mss);
  EXPECT_EQ(state->pmtu_bytes, told.tcpi_pmtu);
  EXPECT_EQ(state->retransmits, told.tcpi_total_retrans);
}

}  // namespace
}  // namespace shmif::perf::rig
