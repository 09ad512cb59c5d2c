// What wakes a command that waits for frames, and what it says of a bus that does not work.

#include "tools/relay/await.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <string>
#include <system_error>

#include "base/error.hpp"
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

TEST(Corruption, AndALockThatIsHeldAreWaitedForAndToldOnceEachTime) {
  const tools::StopSignals stop;
  ASSERT_EQ(::raise(SIGTERM), 0);  // so that it does not wait long
  tools::Corruption corruption("/dev/shm/b");
  const std::string corrupt =
      "cannot go on with /dev/shm/b: the bus is corrupt (waiting until 'shmifctl repair "
      "/dev/shm/b' has repaired it)\n";
  const std::string held =
      "cannot go on with /dev/shm/b: " + std::error_code(Errc::lock_held).message() + "; waiting\n";
  struct Step {
    std::error_code error;
    bool is_met;
    std::string said;
  };
  for (const Step& step : {Step{{}, false, ""},
                           {Errc::corrupt, true, corrupt},
                           {Errc::corrupt, true, ""},
                           {{}, false, ""},
                           {Errc::corrupt, true, corrupt},
                           {Errc::link_ended, false, ""},
                           {Errc::lock_held, true, held},
                           {Errc::lock_held, true, ""},
                           {Errc::bus_lost, false, ""}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(corruption.met(step.error, stop), step.is_met) << step.error;
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(corruption.lasts(), step.is_met) << step.error;
    EXPECT_EQ(said.empty(), step.said.empty()) << said;
    EXPECT_TRUE(said.ends_with(step.said)) << said;
  }
}

}  // namespace
}  // namespace shmif::test
