#include "tap/tap_writing.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace shmif::tap::test {
namespace {

/// A pair of datagram sockets: like a device, one takes each write as one frame.
struct Wire {
  Wire() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "socketpair");
    }
    in.reset(ends[0]);
    out.reset(ends[1]);
  }
  std::vector<std::string> heard() const {
    std::vector<std::string> all;
    std::array<char, 256> buffer{};
    for (ssize_t n = 0; (n = ::read(out.get(), buffer.data(), buffer.size())) >= 0;) {
      all.emplace_back(buffer.data(), static_cast<std::size_t>(n));
    }
    return all;
  }
  UniqueFd in, out;
};

/// Frames in two parts, as writev takes them.
struct Frames {
  explicit Frames(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      heads.push_back("frame ");
      bodies.push_back(std::to_string(i));
    }
    for (std::size_t i = 0; i < count; ++i) {
      parts.push_back({{{heads[i].data(), heads[i].size()}, {bodies[i].data(), bodies[i].size()}}});
    }
    for (const auto& p : parts) buffers.emplace_back(p);
  }
  std::vector<std::string> heads, bodies;
  std::vector<std::array<iovec, 2>> parts;
  std::vector<std::span<const iovec>> buffers;
};

using Results = std::array<std::int32_t, BatchWriter::kMaxFrames>;

class BatchWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!writer_.open()) GTEST_SKIP() << "io_uring cannot be had here";
    // Before Linux 6.4 io_uring cannot write to a socket or a TAP device without waiting, and the
    // writer closes itself at the first write.
    const Frames one(1);
    if (writer_.write(wire_.in.get(), one.buffers, results_) == 0) {
      GTEST_SKIP() << "io_uring cannot write to a socket without waiting here";
    }
    (void)wire_.heard();
  }
  BatchWriter writer_;
  Wire wire_;
  Results results_{};
};

TEST_F(BatchWriterTest, WritesEachByItselfInOrderAndSaysHowMuch) {
  Frames frames(BatchWriter::kMaxFrames);
  for (unsigned round = 0; round < 5; ++round) {  // more than the rings hold
    for (std::size_t begin = 0; begin < frames.buffers.size(); begin += 8) {
      const auto some = std::span(frames.buffers).subspan(begin, 8);
      ASSERT_EQ(writer_.write(wire_.in.get(), some, results_), some.size());
      const auto heard = wire_.heard();
      ASSERT_EQ(heard.size(), some.size());
      for (std::size_t i = 0; i < some.size(); ++i) {
        EXPECT_EQ(heard[i], "frame " + std::to_string(begin + i));
        EXPECT_EQ(results_[i], static_cast<std::int32_t>(heard[i].size()));
      }
    }
  }
}

TEST_F(BatchWriterTest, WhatFindsNoRoomFailsAtOnceAndIsNotWrittenLater) {
  Frames frames(BatchWriter::kMaxFrames);
  const int few_bytes = 4096;  // for a few frames, with what the kernel adds to each
  ASSERT_EQ(::setsockopt(wire_.in.get(), SOL_SOCKET, SO_SNDBUF, &few_bytes, sizeof few_bytes), 0);
  ASSERT_EQ(writer_.write(wire_.in.get(), frames.buffers, results_), frames.buffers.size());
  const auto heard = wire_.heard();
  ASSERT_LT(heard.size(), frames.buffers.size()) << "the socket took them all";
  for (std::size_t i = 0; i < results_.size(); ++i) {
    if (i < heard.size()) {
      EXPECT_GT(results_[i], 0) << i;
    } else {
      EXPECT_EQ(results_[i], -EAGAIN) << i;
    }
  }
  EXPECT_TRUE(wire_.heard().empty());
}

TEST_F(BatchWriterTest, OneThatFailsDoesNotKeepTheOthers) {
  Frames frames(3);
  const iovec nothing{nullptr, 1};
  frames.buffers[1] = std::span(&nothing, 1);
  ASSERT_EQ(writer_.write(wire_.in.get(), frames.buffers, results_), 3U);
  EXPECT_EQ(results_[1], -EFAULT);
  EXPECT_EQ(wire_.heard(), (std::vector<std::string>{"frame 0", "frame 2"}));
}

TEST(BatchWriterClosed, WritesNothing) {
  const Wire wire;
  Frames frames(2);
  Results results{};
  BatchWriter never_opened;
  EXPECT_EQ(never_opened.write(wire.in.get(), frames.buffers, results), 0U);
  EXPECT_TRUE(wire.heard().empty());
}

}  // namespace
}  // namespace shmif::tap::test
