// What is told of a bus whose file was removed or replaced, when that is looked for, and what is
// told of a bus that does not work.

#include "tools/relay/watches.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <list>
#include <regex>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

using Nanoseconds = std::chrono::nanoseconds;
using tools::BusWatch;

/// A watch whose time the test chooses.
class TimedWatch {
 public:
  const BusWatch::Clock::time_point before = BusWatch::Clock::now();
  BusWatch watch;
  const BusWatch::Clock::time_point after = BusWatch::Clock::now();

  /// Lets so much time pass. Result: how long until the next look.
  Nanoseconds pass(Nanoseconds time) {
    now_ += time;
    testing::internal::CaptureStderr();
    const Nanoseconds left = watch.look_if_due(now_);
    said_ = testing::internal::GetCapturedStderr();
    return left;
  }
  const std::string& said() const { return said_; }

 private:
  BusWatch::Clock::time_point now_ = after;
  std::string said_;
};

/// Expects one line of a bus that was removed, or replaced, with its port.
void expect_removed(const std::string& said, const TempBus& bus, const std::string& port) {
  EXPECT_TRUE(contains(said, "the bus " + bus.path() + " was removed; port " + port + ' '));
  EXPECT_EQ(count_of_lines(said), 1) << said;
}
void expect_replaced(const std::string& said, const TempBus& bus, const std::string& port) {
  EXPECT_TRUE(contains(said, "another file is at " + bus.path() + " now; port " + port + ' '));
  EXPECT_EQ(count_of_lines(said), 1) << said;
}

TEST(BusWatch, LooksAfterASecondAndThenAtDistancesThatGrowToSixteen) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path());
  TimedWatch timed;
  timed.watch.add(port);
  const Nanoseconds first = timed.watch.look_if_due(timed.before);
  EXPECT_GE(first, std::chrono::seconds(1));
  EXPECT_LE(first, std::chrono::seconds(1) + (timed.after - timed.before));
  Nanoseconds left = timed.pass(std::chrono::seconds(1));
  for (const int expected : {2, 4, 8, 16, 16, 16}) {
    EXPECT_EQ(left, std::chrono::seconds(expected));
    EXPECT_EQ(timed.pass(left - Nanoseconds(1)), Nanoseconds(1)) << "it is not time yet";
    left = timed.pass(Nanoseconds(1));
    EXPECT_EQ(timed.said(), "");
  }
}

TEST(BusWatch, TellsOnceThatABusWasRemovedAndOnceThatAnotherIsThere) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path(), {.name = "ear"});
  TimedWatch timed;
  timed.watch.add(port);
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2));
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(4));
  std::filesystem::remove(bus.path());
  timed.pass(std::chrono::seconds(3));
  EXPECT_EQ(timed.said(), "") << "it is not time yet";
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1))
      << "another may be made there soon";
  expect_removed(timed.said(), bus, "ear");
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1));
  EXPECT_EQ(timed.said(), "");
  std::ofstream(bus.path()) << "a letter";
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2))
      << "nothing is awaited any more";
  expect_replaced(timed.said(), bus, "ear");
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(4));
  EXPECT_EQ(timed.said(), "");
  std::filesystem::remove(bus.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(4)), std::chrono::seconds(8));
  EXPECT_EQ(timed.said(), "") << "that was not its bus";
}

// A host that is down may have been taken down because of that.
TEST(BusWatch, DoesNotLookForAPortThatIsDown) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path(), {.name = "ear"});
  TimedWatch timed;
  timed.watch.add(port);
  std::filesystem::remove(bus.path());
  ASSERT_FALSE(port.down());
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2));
  EXPECT_EQ(timed.said(), "");
  ASSERT_FALSE(port.up());
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(1));
  expect_removed(timed.said(), bus, "ear");
}

/// And a lock that is held.
TEST(Corruption, IsWaitedForAndToldOnceEachTime) {
  const tools::StopSignals stop;
  ASSERT_EQ(::raise(SIGTERM), 0);  // so that it does not wait long
  tools::Corruption corruption("/dev/shm/b");
  struct Step {
    std::error_code error;
    bool is_met;
    const char* said;
  };
  for (const Step& step : {Step{{}, false, ""},
                           {Errc::corrupt, true, "'shmifctl repair /dev/shm/b'"},
                           {Errc::corrupt, true, ""},
                           {{}, false, ""},
                           {Errc::corrupt, true, "'shmifctl repair /dev/shm/b'"},
                           {Errc::link_ended, false, ""},
                           {Errc::lock_held, true, "waiting"},
                           {Errc::lock_held, true, ""},
                           {Errc::bus_lost, false, ""}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(corruption.met(step.error, stop), step.is_met) << step.error;
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(corruption.lasts(), step.is_met) << step.error;
    EXPECT_EQ(said.empty(), *step.said == '\0') << said;
    EXPECT_TRUE(contains(said, step.said));
  }
}

TEST(HostsLeftBehind, AreNamedUpToFiveAndTheRestIsCounted) {
  const TempDir directory;
  const std::string path = directory.file("bus");
  constexpr std::size_t kBytes = 4096;
  std::ofstream(path) << std::string(kBytes, 'x');
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const mapped = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const auto said = [&] {
    testing::internal::CaptureStderr();
    tools::warn_of_hosts_left_behind(path);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(), "") << "the file is still there";
  std::filesystem::remove(path);
  // This process is one of them.
  std::list<StayingChild> others;
  for (const auto& [all, users] : {std::pair{1U, "process \\d+: "},
                                   {2U, "processes \\d+, \\d+: "},
                                   {5U, "processes (\\d+, ){4}\\d+: "},
                                   {6U, "processes (\\d+, ){4}\\d+ and 1 more: "},
                                   {8U, "processes (\\d+, ){4}\\d+ and 3 more: "}}) {
    while (others.size() + 1 < all) others.emplace_back([] { return 0; });
    const std::string text = said();
    EXPECT_TRUE(contains(text, "an older bus was removed from " + path));
    EXPECT_TRUE(std::regex_search(text, std::regex(std::string("used by ") + users))) << text;
  }
  ::munmap(mapped, kBytes);
}

}  // namespace
}  // namespace shmif::test
