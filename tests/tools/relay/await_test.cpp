// await_descriptor() and is_abandoned(): what wakes a command that waits for frames.

#include "tools/relay/await.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>

#include "base/unique_fd.hpp"

namespace shmif::test {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  UniqueFd reader, writer;
};

/// Longer than any machine needs to wake up.
constexpr std::chrono::seconds kLong{30};

/// Whether waiting ended before its time was up.
bool wakes(int descriptor, const tools::StopSignals& stop, int output) {
  const auto begin = Clock::now();
  tools::await_descriptor(descriptor, stop, kLong, output);
  return Clock::now() - begin < kLong;
}

TEST(Await, EndsWhenTheReaderOfTheOutputHasGone) {
  const tools::StopSignals stop;
  Pipe output;
  EXPECT_FALSE(tools::is_abandoned(output.writer.get()));
  output.reader.reset();
  EXPECT_TRUE(tools::is_abandoned(output.writer.get()));
  EXPECT_TRUE(wakes(-1, stop, output.writer.get()));
}

TEST(Await, EndsWhenTheDescriptorIsReadableOrASignalHasCome) {
  const tools::StopSignals stop;
  const Pipe output;
  const UniqueFd ready(::eventfd(1, EFD_CLOEXEC));
  EXPECT_TRUE(wakes(ready.get(), stop, output.writer.get()));
  ASSERT_EQ(::raise(SIGTERM), 0);
  EXPECT_TRUE(wakes(-1, stop, output.writer.get()));
}

TEST(Await, WaitsNoLongerThanItMayThoughTheReaderIsThere) {
  const tools::StopSignals stop;
  const Pipe output;
  tools::await_descriptor(-1, stop, std::chrono::nanoseconds(-1), output.writer.get());
  const auto begin = Clock::now();
  tools::await_descriptor(-1, stop, std::chrono::milliseconds(20), output.writer.get());
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(20));
}

}  // namespace
}  // namespace shmif::test
