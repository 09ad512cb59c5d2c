// Datagram and stream sockets as links.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_address.hpp"
#include "shmif/socket_place.hpp"
#include "shmif/stream_link.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

std::array<UniqueFd, 2> socket_pair(int type) {
  std::array<int, 2> pair{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

/// The far end of a link is another of its kind; the suite hears what arrives there.
template <class L, int kType>
class SocketRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true;
  // Who receives datagrams is not told that nobody will send any more.
  static constexpr bool kEnds = kType != SOCK_DGRAM;
  static constexpr std::size_t kLargest = 9022;
  static std::string unavailable() { return {}; }

  SocketRig() : SocketRig(socket_pair(kType)) {}
  L& link() { return near_; }
  std::size_t largest() { return kLargest; }
  void feed(const std::vector<Bytes>& frames) { far_.feed(frames); }
  std::vector<Bytes> heard() { return far_.heard(); }
  void end() { far_.end(); }

 private:
  explicit SocketRig(std::array<UniqueFd, 2> pair)
      : near_(L::adopt(std::move(pair[0]), {.max_frame_bytes = kLargest, .address = "near"})),
        far_(L::adopt(std::move(pair[1]), {.max_frame_bytes = kLargest, .address = "far"})) {}
  L near_;
  FarEnd<L> far_;
};

using StreamRig = SocketRig<StreamLink, SOCK_STREAM>;
using DatagramRig = SocketRig<DatagramLink, SOCK_DGRAM>;
using PacketsRig = SocketRig<DatagramLink, SOCK_SEQPACKET>;
INSTANTIATE_TYPED_TEST_SUITE_P(Stream, LinkConformance, testing::Types<StreamRig>);
INSTANTIATE_TYPED_TEST_SUITE_P(Datagram, LinkConformance, testing::Types<DatagramRig>);
INSTANTIATE_TYPED_TEST_SUITE_P(Packets, LinkConformance, testing::Types<PacketsRig>);

/// A stream that has a pipe for each way, as the standard input and output of a program.
class PipesRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static constexpr std::size_t kLargest = 9022;
  static std::string unavailable() { return {}; }

  PipesRig() : PipesRig(pipe_ends(), pipe_ends()) {}
  StreamLink& link() { return near_; }
  std::size_t largest() { return kLargest; }
  void feed(const std::vector<Bytes>& frames) { far_.feed(frames); }
  std::vector<Bytes> heard() { return far_.heard(); }
  void end() { far_.end(); }

 private:
  static std::array<UniqueFd, 2> pipe_ends() {
    std::signal(SIGPIPE, SIG_IGN);  // as the header asks
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    EXPECT_GT(::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  PipesRig(std::array<UniqueFd, 2> there, std::array<UniqueFd, 2> back)
      : near_(StreamLink::adopt(std::move(back[0]), std::move(there[1]),
                                {.max_frame_bytes = kLargest, .address = "near"})
                  .value()),
        far_(StreamLink::adopt(std::move(there[0]), std::move(back[1]),
                               {.max_frame_bytes = kLargest, .address = "far"})
                 .value()) {}
  StreamLink near_;
  FarEnd<StreamLink> far_;
};
INSTANTIATE_TYPED_TEST_SUITE_P(Pipes, LinkConformance, testing::Types<PipesRig>);

TEST(StreamLink, OverPipesKeepsARecordWholeThatThePipeTakesInParts) {
  std::array<int, 2> there{-1, -1}, back{-1, -1};
  ASSERT_EQ(::pipe2(there.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(back.data(), O_CLOEXEC), 0);
  ASSERT_GT(::fcntl(there[1], F_SETPIPE_SZ, 4096), 0);
  const StreamOptions options{.max_frame_bytes = 9022, .address = "near"};
  auto near = StreamLink::adopt(UniqueFd(back[0]), UniqueFd(there[1]), options).value();
  auto far = StreamLink::adopt(UniqueFd(there[0]), UniqueFd(back[1]), options).value();
  const std::vector<Bytes> frames{make_frame(9000, 1), make_frame(60, 2), make_frame(8999, 3)};
  std::size_t taken = 0;
  std::vector<Bytes> heard;
  FrameBatch batch;
  EXPECT_TRUE(eventually([&] {
    const std::vector<FrameView> out = views(frames);
    taken += near.send(std::span(out).subspan(taken)).taken;
    static_cast<void>(near.prepare_wait());  // offers the rest
    batch.clear();
    static_cast<void>(far.receive(batch));
    for (const FrameView& f : batch.frames()) heard.push_back(to_bytes(f));
    return heard.size() == frames.size();
  }));
  EXPECT_EQ(heard, frames);
  pollfd room{.fd = near.room_descriptor(), .events = POLLOUT, .revents = 0};
  EXPECT_EQ(::poll(&room, 1, 0), 1) << "the pipe that it sends to has room";
}

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
  // Once: what it comes to afterwards counts.
  const auto pair = socket_pair(SOCK_DGRAM);
  ASSERT_EQ(::dup3(pair[0].get(), link.descriptor(), O_CLOEXEC), link.descriptor());
  EXPECT_FALSE(link.receive(batch).error);
  const Bytes frame = make_frame(60, 1);
  ASSERT_EQ(::send(pair[1].get(), frame.data(), frame.size(), 0), 60);
  EXPECT_EQ(link.receive(batch).frames, 1U);
}

TEST(DatagramLink, AFrameThatItsSocketIsTooSmallForIsTooLong) {
  auto pair = socket_pair(SOCK_DGRAM);
  const int least = 1;  // the kernel makes 4608 of it
  ASSERT_EQ(::setsockopt(pair[0].get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.max_frame_bytes = 9022, .address = "near"});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(9000, 2), make_frame(61, 3)};
  const std::vector<FrameView> out = views(frames);
  SendResult sent = link.send(out);
  EXPECT_EQ(sent.taken, 1U);
  EXPECT_EQ(sent.error, Errc::frame_too_long);
  sent = link.send(std::span(out).last(1));
  EXPECT_EQ(sent.taken, 1U);
  EXPECT_FALSE(sent.error);
}

TEST(DatagramLink, APeerThatClosesWithoutReadingEndsIt) {
  auto pair = socket_pair(SOCK_SEQPACKET);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.address = "near"});
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(link.send(views(frames)).taken, 1U);
  pair[1].reset();
  FrameBatch batch;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(link.receive(batch).error, Errc::link_ended);
  EXPECT_EQ(link.send(views(frames)).error, Errc::link_ended);
}

TEST(DatagramLink, FramesToAPathWhereNobodyIsAreTakenAndCounted) {
  const TempDir directory;
  const std::string path = directory.file("q");
  const SocketAddress remote = parse_socket_place(path).value().address;
  auto link = DatagramLink::adopt(UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
                                  {.address = "near", .remote = remote});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  for (const std::uint64_t counted : {2U, 4U}) {  // without a file, and with an old one
    const SendResult sent = link.send(views(frames));
    EXPECT_EQ(sent.taken, 2U);
    EXPECT_FALSE(sent.error) << sent.error.message();
    EXPECT_EQ(link.undelivered(), counted);
    const UniqueFd old(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    (void)::bind(old.get(), remote.get(), remote.size);
  }
  EXPECT_EQ(link.room_descriptor(), -1);
}

TEST(DatagramLink, ComesBackToItsCallerFromAFloodOfWhatIsNoFrame) {
  auto pair = socket_pair(SOCK_SEQPACKET);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.address = "near"});
  const Bytes frame = make_frame(60, 1);
  for (unsigned i = 0; i < 16; ++i) ASSERT_EQ(::send(pair[1].get(), frame.data(), 13, 0), 13);
  ASSERT_EQ(::send(pair[1].get(), frame.data(), frame.size(), 0), 60);
  FrameBatch batch(1, 65536);  // one datagram for each call of the kernel
  const ReceiveResult none = link.receive(batch);
  EXPECT_EQ(none.frames, 0U);
  EXPECT_FALSE(none.error) << none.error.message();
  EXPECT_EQ(link.drops().too_short, 16U);
  EXPECT_EQ(link.receive(batch).frames, 1U);
  EXPECT_EQ(to_bytes(batch[0]), frame);
}

/// What a link of that longest frame receives of datagrams of these lengths, and what it drops.
struct Received {
  std::vector<std::pair<std::size_t, std::size_t>> lengths;  ///< and true lengths
  DatagramDrops drops;
};
Received received_of(const std::vector<std::size_t>& lengths, bool drops_too_long,
                     std::size_t room) {
  auto pair = socket_pair(SOCK_DGRAM);
  DatagramLink link = DatagramLink::adopt(
      std::move(pair[0]),
      {.max_frame_bytes = 100, .address = "near", .drops_too_long = drops_too_long});
  Received received;
  for (const std::size_t length : lengths)
    EXPECT_EQ(::send(pair[1].get(), Bytes(1000).data(), length, 0), static_cast<ssize_t>(length));
  FrameBatch batch(64, room);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    batch.clear();
    (void)link.receive(batch);
    for (const FrameView& frame : batch.frames())
      received.lengths.emplace_back(frame.size(), frame.true_bytes);
  }
  received.drops = link.drops();
  return received;
}

TEST(DatagramLink, CountsWhatIsTooShortAndTooLongAndReceivesTheRest) {
  using Lengths = decltype(Received::lengths);
  const std::vector<std::size_t> lengths{13, 14, 100, 101, 0, 300, 60, 113, 112};
  const Received strict = received_of(lengths, true, 65536);
  EXPECT_EQ(strict.lengths, (Lengths{{14, 0}, {100, 0}, {60, 0}}));
  EXPECT_EQ(strict.drops.too_long, 4U);
  EXPECT_EQ(strict.drops.too_short, 2U);
  const Received all = received_of(lengths, false, 65536);
  EXPECT_EQ(all.lengths, (Lengths{{14, 0},
                                  {100, 0},
                                  {101, 0},
                                  {112, 300},  // as much as there is room for a frame
                                  {60, 0},
                                  {112, 113},
                                  {112, 0}}));
  EXPECT_EQ(all.drops.too_long, 0U);
  EXPECT_EQ(all.drops.too_short, 2U);
  const Received cut = received_of({60, 80, 200}, false, 70);
  EXPECT_EQ(cut.lengths, (Lengths{{60, 0}, {70, 80}, {70, 200}}));
}

TEST(DatagramLink, FramesThatAPeerSentBeforeItClosedArriveAlsoBehindAnEmptyDatagram) {
  auto pair = socket_pair(SOCK_SEQPACKET);
  auto link = DatagramLink::adopt(std::move(pair[0]), {.address = "near"});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  FrameBatch batch;
  // The peer is still there: an empty datagram is no end.
  ASSERT_EQ(::send(pair[1].get(), frames[0].data(), 0, 0), 0);
  EXPECT_EQ(link.receive(batch).error, std::error_code());
  for (const Bytes& frame : frames) {
    ASSERT_EQ(::send(pair[1].get(), frame.data(), 0, 0), 0);
    ASSERT_EQ(::send(pair[1].get(), frame.data(), frame.size(), 0),
              static_cast<ssize_t>(frame.size()));
  }
  pair[1].reset();
  EXPECT_EQ(link.receive(batch).frames, 2U);
  EXPECT_TRUE(same_frames(frames, {to_bytes(batch[0]), to_bytes(batch[1])}));
  EXPECT_EQ(link.receive(batch).error, Errc::link_ended);
  EXPECT_TRUE(link.prepare_wait().ready);
}

TEST(DatagramLink, WhatWasDroppedBeforeItIsNotItsOwn) {
  const SocketAddress here = parse_socket_address("127.0.0.1:0").value();
  UniqueFd socket = bound_socket(SOCK_DGRAM, here).value();
  const UniqueFd sender = bound_socket(SOCK_DGRAM, here).value();
  connect_to(sender.get(), address_of(socket.get()).value()).value();
  const int min = 1;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &min, sizeof min), 0);
  const Bytes frame = make_frame(1400, 1);
  const auto overflow = [&](std::uint32_t before) {
    for (int i = 0; i < 1000 && drops_of(socket.get()).value_or(0) < before + 10; ++i)
      ASSERT_EQ(::send(sender.get(), frame.data(), frame.size(), 0), 1400);
  };
  overflow(0);
  ASSERT_GE(drops_of(socket.get()), 10U);
  const auto link = DatagramLink::adopt(std::move(socket), {.address = "here"});
  EXPECT_EQ(link.dropped(), 0U);
}

TEST(DatagramLink, APeerThatIsNotThereYetEndsOnlyALinkThatDoesNotExpectIt) {
  const SocketAddress here = parse_socket_address("127.0.0.1:0").value();
  // Nobody else takes a port of this address while the peer is gone.
  const SocketAddress elsewhere = parse_socket_address("127.0.77.1:0").value();
  const Bytes frame = make_frame(60, 1);
  for (const bool may_come : {true, false}) {
    UniqueFd there = bound_socket(SOCK_DGRAM, elsewhere).value();
    const SocketAddress address = address_of(there.get()).value();
    there.reset();
    UniqueFd socket = bound_socket(SOCK_DGRAM, here).value();
    connect_to(socket.get(), address).value();
    auto link =
        DatagramLink::adopt(std::move(socket), {.address = "here", .peer_may_come = may_come});
    std::error_code error;
    for (int i = 0; i < 10; ++i) {  // a refusal is told at a later call
      const SendResult sent = link.send(views({frame}));
      if (sent.error) error = sent.error;
    }
    EXPECT_EQ(error, may_come ? std::error_code() : Errc::link_ended);
    if (!may_come) continue;
    there = bound_socket(SOCK_DGRAM, address).value();
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

/// Sends until the link takes no more.
template <class L>
void fill(L& link) {
  const std::vector<Bytes> frames(64, make_frame(1400, 1));
  const auto out = views(frames);
  for (int i = 0; i < 10'000; ++i) {
    const SendResult sent = link.send(out);
    ASSERT_FALSE(sent.error) << sent.error.message();
    if (sent.taken == 0) return;
  }
  FAIL() << "it is never full";
}

bool says_room(int descriptor, int milliseconds) {
  pollfd asked{.fd = descriptor, .events = POLLOUT, .revents = 0};
  return ::poll(&asked, 1, milliseconds) == 1 && (asked.revents & POLLOUT) != 0;
}

TEST(DatagramLink, TellsWhenTheSocketAtItsPathHasRoomAlsoWhenThatIsAnotherOne) {
  const TempDir directory;
  SocketAddress path;
  auto& address = reinterpret_cast<sockaddr_un&>(path.storage);
  address.sun_family = AF_UNIX;
  directory.file("there").copy(address.sun_path, sizeof address.sun_path - 1);
  path.size = sizeof address;
  auto link = DatagramLink::adopt(UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
                                  {.address = "here", .remote = path});
  EXPECT_EQ(link.room_descriptor(), -1) << "nobody is there";
  for (int i = 0; i < 2; ++i) {
    const UniqueFd there(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(there.get(), path.get(), path.size), 0);
    fill(link);
    const int room = link.room_descriptor();
    ASSERT_GE(room, 0);
    EXPECT_NE(room, link.descriptor());
    EXPECT_FALSE(says_room(room, 0));
    std::array<char, 2000> frame{};
    while (::recv(there.get(), frame.data(), frame.size(), MSG_DONTWAIT) > 0) continue;
    EXPECT_TRUE(says_room(room, 10'000));
    EXPECT_EQ(link.send(views({make_frame(60, 1)})).taken, 1U);
    ASSERT_EQ(::unlink(address.sun_path), 0);
  }
}

template <class L, int kType>
void tells_when_its_own_socket_has_room() {
  auto pair = socket_pair(kType);
  auto link = L::adopt(std::move(pair[0]), {.address = "near"});
  fill(link);
  const int room = link.room_descriptor();
  ASSERT_GE(room, 0);
  EXPECT_NE(room, link.descriptor());
  EXPECT_FALSE(says_room(room, 0));
  std::array<char, 65536> bytes{};
  while (::recv(pair[1].get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) continue;
  EXPECT_TRUE(says_room(room, 10'000));
}

TEST(DatagramLink, TellsWhenItsOwnSocketHasRoom) {
  tells_when_its_own_socket_has_room<DatagramLink, SOCK_SEQPACKET>();
}

TEST(StreamLink, TellsWhenItsOwnSocketHasRoom) {
  tells_when_its_own_socket_has_room<StreamLink, SOCK_STREAM>();
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
  // To a peer that never reads it is offered more and more seldom.
  using std::chrono::milliseconds;
  std::chrono::nanoseconds next{0};
  for (int i = 0; i < 16 && next < milliseconds(2); ++i) next = near.prepare_wait().at_most;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(next, milliseconds(2) * (1 << std::min(i / 16, 5))) << i;
    next = near.prepare_wait().at_most;
  }
  std::array<char, 333> some{};
  for (int i = 0; i < 20'000 && next != milliseconds(1); ++i) {
    if (near.prepare_wait().at_most == std::chrono::nanoseconds::max()) (void)near.send(out);
    ASSERT_GT(::recv(pair[1].get(), some.data(), some.size(), 0), 0);
    next = near.prepare_wait().at_most;
  }
  EXPECT_EQ(next, milliseconds(1)) << "it reads again";
}

/// As it stands before a record.
std::array<std::uint8_t, 4> length_of(std::uint32_t length) {
  return {static_cast<std::uint8_t>(length >> 24U), static_cast<std::uint8_t>(length >> 16U),
          static_cast<std::uint8_t>(length >> 8U), static_cast<std::uint8_t>(length)};
}

void send_record(int socket, const Bytes& frame) {
  const auto length = length_of(static_cast<std::uint32_t>(frame.size()));
  ASSERT_EQ(::send(socket, length.data(), 4, 0), 4);
  ASSERT_EQ(::send(socket, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
}

TEST(StreamLink, ALengthThatNoPeerSendsEndsTheLinkAndIsToldOnce) {
  for (const std::uint32_t length : {69633U, 0x8000'0000U, 0xffff'ffffU}) {
    auto pair = socket_pair(SOCK_STREAM);
    auto link = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
    ASSERT_EQ(::send(pair[1].get(), length_of(length).data(), 4, 0), 4);
    FrameBatch batch;
    EXPECT_EQ(link.receive(batch).error, Errc::corrupt);
    EXPECT_EQ(link.receive(batch).error, Errc::link_ended);
    EXPECT_TRUE(link.prepare_wait().ready);
  }
}

TEST(StreamLink, RecordsThatAreNoFramesForItAreDroppedAndCountedAndTheOthersArrive) {
  auto pair = socket_pair(SOCK_STREAM);
  auto link = StreamLink::adopt(std::move(pair[0]), {.max_frame_bytes = 1000, .address = "near"});
  const std::vector<Bytes> good{make_frame(60, 1), make_frame(1000, 2), make_frame(14, 3)};
  FrameBatch batch;
  std::thread peer([&] {
    send_record(pair[1].get(), {});
    send_record(pair[1].get(), good[0]);
    send_record(pair[1].get(), Bytes(69632));
    send_record(pair[1].get(), good[1]);
    send_record(pair[1].get(), Bytes(13));
    send_record(pair[1].get(), Bytes(1001));
    send_record(pair[1].get(), good[2]);
  });
  EXPECT_TRUE(eventually([&] {
    EXPECT_FALSE(link.receive(batch).error);
    return batch.size() == good.size();
  }));
  peer.join();
  for (std::size_t i = 0; i < batch.size(); ++i) EXPECT_EQ(to_bytes(batch[i]), good[i]) << i;
  EXPECT_EQ(link.drops().too_short, 2U);
  EXPECT_EQ(link.drops().too_long, 2U);
}

TEST(StreamLink, APeerThatSendsOnlyWhatIsDroppedDoesNotHoldUpItsCaller) {
  auto pair = socket_pair(SOCK_STREAM);
  auto link = StreamLink::adopt(std::move(pair[0]), {.address = "near"});
  std::atomic<bool> over{false};
  std::thread peer([&] {
    const Bytes zeros(1U << 16U);
    while (!over && ::send(pair[1].get(), zeros.data(), zeros.size(), MSG_NOSIGNAL) > 0) continue;
  });
  FrameBatch batch;
  for (unsigned i = 0; i < 10; ++i) EXPECT_EQ(link.receive(batch).frames, 0U);
  over = true;
  {
    const auto gone = std::move(link);
  }  // ends the peer's send
  peer.join();
}

// StreamLink: records that the socket takes and gives in parts.

/// A link with a socket that takes little at a time, and the other end of that socket.
struct StreamEnds {
  explicit StreamEnds(StreamOptions options = {.max_frame_bytes = 9022, .address = "near"}) {
    std::array<int, 2> pair{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    const int little = 1;
    EXPECT_EQ(::setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
    far.reset(pair[1]);
    link.emplace(StreamLink::adopt(UniqueFd(pair[0]), std::move(options)));
  }
  UniqueFd far;
  std::optional<StreamLink> link;
};

/// The frames as records.
Bytes records_of(const std::vector<Bytes>& frames) {
  Bytes all;
  for (const Bytes& frame : frames) {
    for (unsigned shift = 32; shift > 0;) {
      shift -= 8;
      all.push_back(static_cast<std::byte>(frame.size() >> shift));
    }
    all.insert(all.end(), frame.begin(), frame.end());
  }
  return all;
}

/// Frames of all sorts of lengths.
std::vector<Bytes> some_frames(std::size_t count) {
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < count; ++i) frames.push_back(make_frame(14 + i * 1237 % 9000, i));
  return frames;
}

/// Reads at most that much of what is there.
void read_some(int socket, std::size_t bytes, Bytes& into) {
  Bytes part(bytes);
  const ssize_t got = ::recv(socket, part.data(), part.size(), MSG_DONTWAIT);
  if (got > 0) into.insert(into.end(), part.begin(), part.begin() + got);
}

TEST(StreamRecords, ThatTheSocketTookInPartsAreWholeAndInOrder) {
  StreamEnds ends;
  const std::vector<Bytes> frames = some_frames(300);
  const std::vector<FrameView> out = views(frames);
  const Bytes expected = records_of(frames);
  Bytes got;
  std::size_t taken = 0;
  std::size_t in_part = 0;
  for (std::size_t round = 0; round < 100'000 && got.size() < expected.size(); ++round) {
    const std::size_t count = std::min<std::size_t>(out.size() - taken, 1 + round % 7);
    const SendResult sent = ends.link->send(std::span(out).subspan(taken, count));
    ASSERT_FALSE(sent.error);
    taken += sent.taken;
    // With nothing to send, it is the wait that offers the rest.
    if (ends.link->prepare_wait().at_most < std::chrono::seconds(1)) ++in_part;
    ends.link->finish_wait();
    read_some(ends.far.get(), 1 + round * 977 % 5000, got);
  }
  EXPECT_EQ(taken, frames.size());
  EXPECT_GT(in_part, 0U) << "else this tested nothing";
  EXPECT_TRUE(got == expected);
}

TEST(StreamRecords, ThatStayInPartArePassedOnByAReceiver) {
  StreamEnds ends;
  const std::vector<Bytes> frames = some_frames(40);
  const std::size_t taken = ends.link->send(views(frames)).taken;
  ASSERT_LT(taken, frames.size());
  Bytes got;
  FrameBatch batch;
  const Bytes expected = records_of({frames.begin(), frames.begin() + static_cast<long>(taken)});
  for (int i = 0; i < 10'000 && got.size() < expected.size(); ++i) {
    read_some(ends.far.get(), 500, got);
    EXPECT_EQ(ends.link->receive(batch).frames, 0U);
  }
  EXPECT_TRUE(got == expected);
}

/// Feeds the bytes in parts of that length. Result: the frames that arrive.
std::vector<Bytes> received_in_parts(StreamEnds& ends, const Bytes& bytes, std::size_t part,
                                     std::size_t most_frames) {
  std::vector<Bytes> got;
  FrameBatch batch(most_frames, std::size_t{1} << 17U);
  for (std::size_t at = 0; at < bytes.size(); at += part) {
    const std::size_t size = std::min(part, bytes.size() - at);
    EXPECT_EQ(::send(ends.far.get(), &bytes[at], size, MSG_DONTWAIT), static_cast<ssize_t>(size));
    bool more = true;
    while (more) {
      batch.clear();
      const ReceiveResult result = ends.link->receive(batch);
      EXPECT_FALSE(result.error);
      for (const FrameView& frame : batch.frames()) got.push_back(to_bytes(frame));
      more = result.frames > 0;
    }
  }
  return got;
}

TEST(StreamRecords, ThatComeInPartsAreWholeAndThoseToBeDroppedLeaveNoTrace) {
  const Bytes longest = make_frame(1000, 1), shortest = make_frame(14, 2);
  const std::vector<Bytes> all{Bytes(1001), longest,  Bytes(13), {},       Bytes(3000), Bytes(2000),
                               shortest,    Bytes(1), longest,   shortest, Bytes(1001)};
  for (const std::size_t part : {1U, 3U, 5U, 64U, 1003U, 1004U, 1005U, 4000U}) {
    StreamEnds ends({.max_frame_bytes = 1000, .address = "near"});
    const std::vector<Bytes> got = received_in_parts(ends, records_of(all), part, 64);
    EXPECT_TRUE(same_frames({longest, shortest, longest, shortest}, got)) << part;
    EXPECT_EQ(ends.link->drops().too_long, 4U) << part;
    EXPECT_EQ(ends.link->drops().too_short, 3U) << part;
  }
}

TEST(StreamRecords, AFrameThatWaitsForRoomComesBeforeTheEnd) {
  StreamEnds ends;
  const std::vector<Bytes> frames{make_frame(1000, 1), make_frame(1500, 2)};
  const Bytes bytes = records_of(frames);
  ASSERT_EQ(::send(ends.far.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  ends.far.reset();
  FrameBatch batch(64, 2048);
  EXPECT_EQ(ends.link->receive(batch).frames, 1U);
  FrameBatch none(64, 13);
  for (FrameBatch* const each : {&batch, &none, &batch}) {
    const ReceiveResult got = ends.link->receive(*each);
    EXPECT_EQ(got.frames, 0U);
    EXPECT_FALSE(got.error) << got.error.message();
    EXPECT_TRUE(ends.link->prepare_wait().ready);
    ends.link->finish_wait();
  }
  batch.clear();
  EXPECT_EQ(ends.link->receive(batch).frames, 1U);
  EXPECT_EQ(to_bytes(batch[0]), frames[1]);
  EXPECT_EQ(ends.link->receive(batch).error, Errc::link_ended);
}

}  // namespace
}  // namespace shmif::test
