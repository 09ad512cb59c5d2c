// Datagram and stream sockets as links, and the ends made of them for emulated hosts.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "base/unique_fd.hpp"
#include "perf/engine/datagram_link.hpp"
#include "perf/engine/socket_address.hpp"
#include "perf/engine/socket_end.hpp"
#include "perf/engine/stream_link.hpp"
#include "perf/engine/tcp_socket.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::test {
namespace {

using perf::DatagramLink;
using perf::StreamLink;

std::array<UniqueFd, 2> socket_pair(int type) {
  std::array<int, 2> pair{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

/// The far end of a link is another of its kind; the suite hears what arrives there.
template <class L>
class SocketRig {
 public:
  static constexpr bool kIsStream = std::is_same_v<L, StreamLink>;
  static constexpr bool kSends = true, kReceives = true, kLive = true;
  // Who receives datagrams is not told that nobody will send any more.
  static constexpr bool kEnds = kIsStream;
  static constexpr int kType = kIsStream ? SOCK_STREAM : SOCK_DGRAM;
  static constexpr std::size_t kLargest = 9022;
  static std::string unavailable() { return {}; }

  SocketRig() : SocketRig(socket_pair(kType)) {}
  L& link() { return *near_; }
  std::size_t largest() { return kLargest; }
  void feed(const std::vector<Bytes>& frames) {
    ASSERT_EQ(far_->send(views(frames)).taken, frames.size());
  }
  std::vector<Bytes> heard() {
    std::vector<Bytes> out;
    FrameBatch batch;
    while (far_->receive(batch).frames > 0) {
      for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
      batch.clear();
    }
    return out;
  }
  void end() { far_.reset(); }

 private:
  explicit SocketRig(std::array<UniqueFd, 2> pair)
      : near_(L::adopt(std::move(pair[0]), {.max_frame_bytes = kLargest, .address = "near"})),
        far_(L::adopt(std::move(pair[1]), {.max_frame_bytes = kLargest, .address = "far"})) {}
  std::optional<L> near_, far_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Stream, LinkConformance, testing::Types<SocketRig<StreamLink>>);
INSTANTIATE_TYPED_TEST_SUITE_P(Datagram, LinkConformance, testing::Types<SocketRig<DatagramLink>>);

TEST(DatagramLink, WhoSendsToAPeerThatIsGoneIsTold) {
  auto pair = socket_pair(SOCK_DGRAM);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.address = "near"});
  pair[1].reset();
  const Bytes frame = make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  EXPECT_EQ(link.send({&view, 1}).error, Errc::link_ended);
}

TEST(DatagramLink, AnErrorOfItsSocketIsTold) {
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd other(ends[1]);
  auto link = DatagramLink::adopt(UniqueFd(ends[0]), {.address = "no socket"});
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).error, std::errc::not_a_socket);
}

TEST(DatagramLink, WhatIsTooShortForAFrameIsPassedOver) {
  auto pair = socket_pair(SOCK_DGRAM);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.address = "near"});
  const Bytes frame = make_frame(60, 1);
  for (const std::size_t size : {std::size_t{0}, std::size_t{13}, frame.size()}) {
    ASSERT_EQ(::send(pair[1].get(), frame.data(), size, 0), static_cast<ssize_t>(size));
  }
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 1U);
  EXPECT_EQ(to_bytes(batch[0]), frame);
}

TEST(DatagramLink, WhatWasDroppedBeforeItIsNotItsOwn) {
  const perf::SocketAddress here = perf::parse_socket_address("127.0.0.1:0").value();
  UniqueFd socket = perf::bound_socket(SOCK_DGRAM, here).value();
  const UniqueFd sender = perf::bound_socket(SOCK_DGRAM, here).value();
  perf::connect_to(sender.get(), perf::address_of(socket.get()).value()).value();
  const int min = 1;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &min, sizeof min), 0);
  const Bytes frame = make_frame(1400, 1);
  const auto overflow = [&](std::uint32_t before) {
    for (int i = 0; i < 1000 && perf::drops_of(socket.get()).value_or(0) < before + 10; ++i)
      ASSERT_EQ(::send(sender.get(), frame.data(), frame.size(), 0), 1400);
  };
  overflow(0);
  ASSERT_GE(perf::drops_of(socket.get()), 10U);
  const auto link = DatagramLink::adopt(std::move(socket), {.address = "here"});
  EXPECT_EQ(link.dropped(), 0U);
}

TEST(DatagramLink, APeerThatIsNotThereYetEndsOnlyALinkThatDoesNotExpectIt) {
  const perf::SocketAddress here = perf::parse_socket_address("127.0.0.1:0").value();
  // Nobody else takes a port of this address while the peer is gone.
  const perf::SocketAddress elsewhere = perf::parse_socket_address("127.0.77.1:0").value();
  const Bytes frame = make_frame(60, 1);
  for (const bool may_come : {true, false}) {
    UniqueFd there = perf::bound_socket(SOCK_DGRAM, elsewhere).value();
    const perf::SocketAddress address = perf::address_of(there.get()).value();
    there.reset();
    UniqueFd socket = perf::bound_socket(SOCK_DGRAM, here).value();
    perf::connect_to(socket.get(), address).value();
    auto link =
        DatagramLink::adopt(std::move(socket), {.address = "here", .peer_may_come = may_come});
    std::error_code error;
    for (int i = 0; i < 10; ++i) {  // a refusal is told at a later call
      const SendResult sent = link.send(views({frame}));
      if (sent.error) error = sent.error;
    }
    EXPECT_EQ(error, may_come ? std::error_code() : Errc::link_ended);
    if (!may_come) continue;
    there = perf::bound_socket(SOCK_DGRAM, address).value();
    auto peer = DatagramLink::adopt(std::move(there), {.address = "there"});
    FrameBatch batch;
    for (int i = 0; i < 10 && batch.size() == 0; ++i) {
      EXPECT_FALSE(link.send(views({frame})).error);
      (void)peer.receive(batch);
    }
    ASSERT_GT(batch.size(), 0U);
    EXPECT_EQ(to_bytes(batch[0]), frame);
  }
}

TEST(StreamLink, IsReadyWhileThereIsAWholeFrameThatItHasRead) {
  auto pair = socket_pair(SOCK_STREAM);
  auto near = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
  auto far = StreamLink::adopt(std::move(pair[1]), {.address = "far"});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  ASSERT_EQ(far.send(views(frames)).taken, 2U);
  FrameBatch one(1, 4096);
  for (const Bytes& frame : frames) {
    one.clear();
    ASSERT_EQ(near.receive(one).frames, 1U);
    EXPECT_EQ(to_bytes(one[0]), frame);
    EXPECT_EQ(near.prepare_wait().ready, frame == frames.front());
    near.finish_wait();
  }
}

TEST(StreamLink, OffersTheRestOfARecordAgainSoon) {
  auto pair = socket_pair(SOCK_STREAM);
  auto near = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
  const std::vector<Bytes> frames(5000, make_frame(1400, 1));
  const auto out = views(frames);
  EXPECT_EQ(near.prepare_wait().at_most, std::chrono::nanoseconds::max());
  EXPECT_LT(near.send(out).taken, frames.size());
  // A stream socket may be full exactly at the end of a record; then nothing is left to send.
  for (int i = 0; i < 100 && near.prepare_wait().at_most > std::chrono::milliseconds(1); ++i) {
    std::array<char, 333> some{};
    ASSERT_GT(::recv(pair[1].get(), some.data(), some.size(), 0), 0);
    (void)near.send(out);
  }
  EXPECT_LE(near.prepare_wait().at_most, std::chrono::milliseconds(1));
}

TEST(StreamLink, ALengthThatNoFrameHasEndsTheLinkAndIsToldOnce) {
  for (const std::uint32_t length : {0U, 13U, 1523U, 0xffff'ffffU}) {
    auto pair = socket_pair(SOCK_STREAM);
    auto link = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
    ASSERT_EQ(::send(pair[1].get(), &length, sizeof length, 0), 4);
    FrameBatch batch;
    EXPECT_EQ(link.receive(batch).error, Errc::corrupt);
    EXPECT_EQ(link.receive(batch).error, Errc::link_ended);
    EXPECT_TRUE(link.prepare_wait().ready);
  }
}

TEST(StreamLink, ARecordThatComesByteByByteIsReceivedWhenItIsWhole) {
  auto pair = socket_pair(SOCK_STREAM);
  auto link = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
  const Bytes frame = make_frame(60, 1);
  Bytes record{std::byte{60}, std::byte{0}, std::byte{0}, std::byte{0}};
  record.insert(record.end(), frame.begin(), frame.end());
  FrameBatch batch;
  for (const std::byte& b : record) {
    EXPECT_TRUE(batch.empty());
    ASSERT_EQ(::send(pair[1].get(), &b, 1, 0), 1);
    (void)link.receive(batch);
  }
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_EQ(to_bytes(batch[0]), frame);
}

}  // namespace
}  // namespace shmif::test

namespace shmif::perf::rig {
namespace {

using shmif::tap::test::Inside;
using shmif::tap::test::TestNamespace;
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

TEST(HostEnd, WithoutARemoteItReceivesFromAnybody) {
  const auto sink = open_udp_host_end(host_options(own_address(7010), {})).value();
  const auto one = open_udp_host_end(host_options(own_address(7011), own_address(7010))).value();
  const auto two = open_udp_host_end(host_options(own_address(7012), own_address(7010))).value();
  const auto frames = frames_to(1, 0, 2);
  const auto out = shmif::test::views(frames);
  EXPECT_EQ(one->send(std::span(out).first(1)).taken, 1U);
  EXPECT_TRUE(same_frames({frames[0]}, collect(*sink, 1)));
  EXPECT_EQ(two->send(std::span(out).last(1)).taken, 1U);
  EXPECT_TRUE(same_frames({frames[1]}, collect(*sink, 1)));
  EXPECT_TRUE(sink->send(out).error);
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

TEST(HostEnd, ADatagramIsNoLongerThanTheWayToThePeerTakes) {
  if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const TestNamespace space;
  space.netlink().set_mtu("lo", 1500).value();
  const Inside inside(space);
  const auto one = open_udp_host_end(host_options("127.0.0.1:7000", "127.0.0.1:7001")).value();
  const auto other = open_udp_host_end(host_options("127.0.0.1:7001", "127.0.0.1:7000")).value();
  EXPECT_EQ(one->max_frame_bytes(), 1472U);
  const auto good = frames_to(1, 0, 1, 1472);
  const auto too_long = frames_to(1, 0, 1, 1473);
  EXPECT_EQ(one->send(shmif::test::views(good)).taken, 1U);
  EXPECT_EQ(one->send(shmif::test::views(too_long)).error, Errc::frame_too_long);
  EXPECT_TRUE(same_frames(good, collect(*other, 1)));
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

TEST(HostEnd, AnEndOfAConnectionEndsWithItsPeer) {
  TcpPair pair = tcp_pair(7040);
  pair.other.reset();
  pair.one->wait(std::chrono::hours(1));
  FrameBatch batch;
  EXPECT_EQ(pair.one->receive(batch).error, Errc::link_ended);
}

TEST(HostEnd, FaultsOnAConnectionAreCounted) {
  const TcpPair pair = tcp_pair(7050, {.loss = 0.5, .seed = 5});
  const auto frames = frames_to(1, 0, 200);
  auto got = send_all(*pair.one, frames, *pair.other);
  const std::size_t expected = frames.size() - pair.one->faults_sent()->lost;
  std::ranges::move(collect(*pair.other, expected - got.size()), std::back_inserter(got));
  EXPECT_EQ(got.size(), expected);
  EXPECT_TRUE(is_subsequence(got, frames));
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
