// StreamLink: records that the socket takes and gives in parts.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/stream_link.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {
namespace {

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
