// A program may close descriptors that it does not know, and open files of its own in their place.
// The library must neither write into these nor believe what they say.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

/// Puts the file at `path` in the place of every descriptor of `bus` that this process has.
int replace_descriptors(const std::string& bus, const std::string& path) {
  const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  int replaced = 0;
  for (int fd = 3; fd < 200; ++fd) {
    std::error_code none;
    const auto link = "/proc/self/fd/" + std::to_string(fd);
    if (std::filesystem::read_symlink(link, none) != bus) continue;
    if (dup2(other.get(), fd) == fd) ++replaced;
  }
  return replaced;
}

TEST(ReplacedDescriptor, IsNotAskedWhoLives) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Port stopped = port_on(bus.path());
  Port sender = port_on(bus.path());
  std::ofstream(bus.file("other")) << "text";
  ASSERT_GE(replace_descriptors(bus.path(), bus.file("other")), 2);
  raw.claim(stopped.slot(), 0, 0, 1024);
  EXPECT_FALSE(send_one(sender));
  EXPECT_NE(raw.slot(stopped.slot()).claim_owner, 0U) << "it may still write there";
  EXPECT_EQ(raw.header().claims_freed, 0U);
}

TEST(ReplacedDescriptor, IsNotWrittenInto) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  const std::string content(8192, 'x');
  std::ofstream(bus.file("other")) << content;
  ASSERT_GE(replace_descriptors(bus.path(), bus.file("other")), 1);
  port.interrupt();  // rings those that poll by a write into the file of the bus
  EXPECT_FALSE(port.down());
  std::ifstream file(bus.file("other"), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), content);
}

/// Its descriptor may be a watch of the file, but a wait is woken by the futex, as by any sender.
TEST(InotifyDescriptor, DoesNotChangeHowAWaitIsWoken) {
  if (const std::string why = lacking(WakeMeans::inotify); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<std::atomic<unsigned>> slot;
  Child child([&] {
    if (!leave_only(WakeMeans::inotify)) return 1;
    Port port = port_on(bus.path());
    if (!is_woken_by(port, WakeMeans::inotify)) return 2;
    *slot = port.slot() + 1;
    if (!port.wait(std::chrono::seconds(60))) return 3;
    return heard(port) == 1 ? 0 : 4;
  });
  ASSERT_TRUE(eventually([&] { return *slot != 0 && sleeps_deeply(raw, *slot - 1); }));
  EXPECT_EQ(bus::load_relaxed(raw.slot(*slot - 1).bell), bus::kBellFutex);
  Port sender = port_on(bus.path());
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(child.wait(), 0);
}

/// The level descriptor is rung for the ring alone; a program may still sleep on the older one.
TEST(InotifyDescriptor, BesideALevelDescriptorIsNotSleptOnForLong) {
  if (const std::string why = lacking(WakeMeans::inotify); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              if (!leave_only(WakeMeans::inotify)) return 1;
              Port port = port_on(bus.path());
              if (!is_woken_by(port, WakeMeans::inotify)) return 2;
              if (!port.level_descriptor()) return 3;
              const WaitHint hint = port.prepare_wait();
              if (hint.ready || hint.at_most > std::chrono::milliseconds(50)) return 4;
              port.finish_wait();
              return 0;
            }).wait(),
            0);
}

/// A truncation rings no futex. Whoever survives it looks now and then.
TEST(FutexDescriptor, IsNotSleptOnForEverUnderTheGuard) {
  if (const std::string why = lacking(WakeMeans::io_uring); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  for (const bool guarded : {false, true}) {
    EXPECT_EQ(Child([&] {
                if (guarded && !install_sigbus_guard()) return 1;
                Port port = port_on(bus.path());
                if (!is_woken_by(port, WakeMeans::io_uring)) return 2;
                WaitHint hint;
                if (!eventually([&] {
                      hint = port.prepare_wait();
                      port.finish_wait();
                      return hint.at_most > std::chrono::milliseconds(50);
                    }))
                  return 3;
                return (hint.at_most == std::chrono::nanoseconds::max()) != guarded ? 0 : 4;
              }).wait(),
              0);
  }
}

}  // namespace
}  // namespace shmif::test
