// The ends of datagram and stream sockets, for emulated hosts.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "base/unique_fd.hpp"
#include "perf/engine/socket_end.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_address.hpp"
#include "shmif/stream_link.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/frames.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::test::same_frames;
using std::chrono::milliseconds;

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

struct TcpPair {
  std::unique_ptr<End> one, other;
};

TcpPair tcp_pair(int port, const FaultOptions& sent = {}) {
  auto listening = std::async(std::launch::async, [=] {
    return listen_tcp_host_end(host_options(own_address(port), {}, 1)).value();
  });
  HostEndOptions options = host_options({}, own_address(port));
  options.end.sent = sent;
  auto connected = connect_tcp_host_end(options).value();
  return {std::move(connected), listening.get()};
}

TEST(HostEnd, DatagramsGoBothWays) {
  const auto one = open_udp_host_end(host_options(own_address(7000), own_address(7001))).value();
  const auto other =
      open_udp_host_end(host_options(own_address(7001), own_address(7000), 1)).value();
  EXPECT_EQ(one->address(), "udp:" + own_address(7000));
  EXPECT_EQ(one->max_frame_bytes(), 1514U);
  const auto there = frames_to(1, 0, 50, 1514);
  const auto back = frames_to(0, 1, 50);
  (void)send_all(*one, there, *other);
  (void)send_all(*other, back, *one);
  EXPECT_TRUE(same_frames(there, collect(*other, there.size())));
  EXPECT_TRUE(same_frames(back, collect(*one, back.size())));
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

TEST(HostEnd, AConnectionCarriesMoreThanItsBuffersBothWays) {
  const TcpPair pair = tcp_pair(7030);
  const auto there = frames_to(1, 0, 20'000, 1514);
  const auto out = shmif::test::views(there);
  const SendResult first = pair.one->send(out);
  EXPECT_FALSE(first.error);
  EXPECT_LT(first.taken, out.size()) << "a full socket takes no more";
  const std::vector<Bytes> rest(there.begin() + static_cast<std::ptrdiff_t>(first.taken),
                                there.end());
  auto got = send_all(*pair.one, rest, *pair.other);
  while (got.size() < there.size()) {  // the rest of a record goes when its sender waits, too
    pair.one->wait(milliseconds(1));
    auto more = arrived(*pair.other);
    std::ranges::move(more, std::back_inserter(got));
  }
  EXPECT_TRUE(same_frames(there, got));
  const auto back = frames_to(0, 1, 100);
  (void)send_all(*pair.other, back, *pair.one);
  EXPECT_TRUE(same_frames(back, collect(*pair.one, back.size())));
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
