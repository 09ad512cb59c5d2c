// BusWatch and follow_bus(): what is told of a bus whose file was removed or replaced, when that is
// looked for, and what is told of a bus that does not work.

#include "tools/relay/bus_watch.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <list>
#include <memory>
#include <regex>
#include <string>
#include <utility>

#include "base/unique_fd.hpp"
#include "shmif/loopback_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

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

std::string removed_text(const std::string& path, const std::string& port) {
  return "the bus " + path + " was removed; port " + port +
         " still works with the other attached ports, but no new port can join them\n";
}
std::string replaced_text(const std::string& path, const std::string& port) {
  return "another file is at " + path + " now; port " + port +
         " stays on the old bus, and does not hear ports of a new one (restart this command to "
         "join the new one)\n";
}

void expect_one_line(const std::string& said, const std::string& line) {
  EXPECT_TRUE(said.ends_with(line)) << said;
  EXPECT_EQ(std::ranges::count(said, '\n'), 1) << said;
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
  expect_one_line(timed.said(), removed_text(bus.path(), "ear"));
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1));
  EXPECT_EQ(timed.said(), "");
  std::ofstream(bus.path()) << "a letter";
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2))
      << "nothing is awaited any more";
  expect_one_line(timed.said(), replaced_text(bus.path(), "ear"));
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(4));
  EXPECT_EQ(timed.said(), "");
  std::filesystem::remove(bus.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(4)), std::chrono::seconds(8));
  EXPECT_EQ(timed.said(), "") << "that was not its bus";
}

TEST(BusWatch, TellsOfEachBusByItself) {
  const TempBus one(small_ring()), two(small_ring()), three(small_ring());
  const Port first = port_on(one.path(), {.name = "first"});
  const Port second = port_on(two.path(), {.name = "second"});
  const Port third = port_on(three.path(), {.name = "third"});
  TimedWatch timed;
  for (const Port* const port : {&first, &second, &third}) timed.watch.add(*port);
  Bus::create(three.file("new"), small_ring()).value();
  std::filesystem::rename(three.file("new"), three.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2));
  expect_one_line(timed.said(), replaced_text(three.path(), "third"));
  std::filesystem::remove(two.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(1))
      << "though the last one is not missing";
  expect_one_line(timed.said(), removed_text(two.path(), "second"));
  std::filesystem::remove(one.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1));
  expect_one_line(timed.said(), removed_text(one.path(), "first"));
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1));
  EXPECT_EQ(timed.said(), "");
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
  expect_one_line(timed.said(), removed_text(bus.path(), "ear"));
}

TEST(BusWatch, LooksInASecondIfAsked) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path(), {.name = "ear"});
  TimedWatch timed;
  timed.watch.add(port);
  for (const int passed : {1, 2, 4}) timed.pass(std::chrono::seconds(passed));
  timed.watch.look_soon();
  EXPECT_EQ(timed.pass(std::chrono::seconds(8)), std::chrono::seconds(2))
      << "and from there at growing distances";
}

std::string told_of(std::error_code error, LinkKind kind) {
  AnyLink device(std::make_unique<LoopbackLink>(LoopbackLink::self().value()));
  testing::internal::CaptureStderr();
  tools::follow_bus("/dev/shm/b", device.descriptor(), kind, error);
  return testing::internal::GetCapturedStderr();
}

TEST(FollowBus, TellsWhatABusHasAndWhatHelps) {
  const std::string cannot = "cannot receive from the bus /dev/shm/b: ";
  for (const LinkKind kind : {LinkKind::bridge, LinkKind::tap, LinkKind::veth}) {
    // What this device is has no carrier, whatever its kind.
    expect_one_line(
        told_of(Errc::corrupt, kind),
        cannot + std::error_code(Errc::corrupt).message() + " (run 'shmifctl repair')\n");
    expect_one_line(told_of(Errc::lock_held, kind),
                    cannot + std::error_code(Errc::lock_held).message() + '\n');
    expect_one_line(told_of({}, kind), "the bus /dev/shm/b works again\n");
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
  const std::string before = "an older bus was removed from " + path + " but is still used by ";
  const std::string rest =
      ": they do not hear ports of the new bus \\(restart them to join it\\)\n";
  // This process is one of them.
  std::list<StayingChild> others;
  for (const auto& [all, users] : {std::pair{1U, "process \\d+"},
                                   {2U, "processes \\d+, \\d+"},
                                   {5U, "processes (\\d+, ){4}\\d+"},
                                   {6U, "processes (\\d+, ){4}\\d+ and 1 more"},
                                   {8U, "processes (\\d+, ){4}\\d+ and 3 more"}}) {
    while (others.size() + 1 < all) others.emplace_back([] { return 0; });
    const std::string text = said();
    const std::size_t at = text.find(before);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_TRUE(std::regex_match(text.substr(at + before.size()), std::regex(users + rest)))
        << text;
  }
  ::munmap(mapped, kBytes);
}

}  // namespace
}  // namespace shmif::test
