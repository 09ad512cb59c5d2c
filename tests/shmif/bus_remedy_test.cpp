// What the user is told to do about a bus that cannot be made or opened: advice that fits the
// reason, and none that does not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "bus/file/file_common.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/own_tmpfs.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// What a child says that is no longer root; empty: it is not root in the first place.
std::string said_by_nobody(const std::function<std::string()>& say) {
  int ends[2];
  if (geteuid() != 0 || pipe(ends) != 0) return {};
  EXPECT_EQ(Child([&] {
              if (setgid(65534) != 0 || setuid(65534) != 0) return 1;
              const std::string text = say();
              const auto size = static_cast<ssize_t>(text.size());
              return write(ends[1], text.data(), text.size()) == size ? 0 : 2;
            }).wait(),
            0);
  close(ends[1]);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(read(ends[0], text.data(), 4096), 0)));
  close(ends[0]);
  return text;
}

std::string not_made(const std::string& path) {
  const auto made = Bus::create(path, small_ring());
  return made ? "it was made" : made.error().message;
}

std::string not_attached(const std::string& path) {
  const auto attached = Port().attach(path);
  return attached ? "it is attached" : attached.error().message;
}

std::string not_opened(const std::string& path) {
  const auto opened = Bus::open(path);
  return opened ? "it was opened" : opened.error().message;
}

void set_mode(const std::string& path, unsigned mode) {
  std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
}

TEST(Remedy, ForABusThatIsNotThereOrCannotBeMadeFitsThePlace) {
  const TempDir dir;
  EXPECT_THAT(not_opened(dir.file("none")), HasSubstr("(make one with 'shmifctl create')"));
  EXPECT_THAT(not_opened("bus:" + dir.file("none")), HasSubstr("without \"bus:\")"));
  EXPECT_THAT(not_made("/proc/bus0"), HasSubstr("takes no new files; choose another, such as"));
  EXPECT_THAT(not_made(dir.file("none/bus")), HasSubstr("(make the directory first)"));
  EXPECT_THAT(not_made("bus:" + dir.file("bus")), HasSubstr("(write the path without \"bus:\")"));
  if (geteuid() != 0) return;
  set_mode(dir.path(), 0755);
  EXPECT_THAT(said_by_nobody([&] { return not_made(dir.file("bus")); }),
              HasSubstr("(ask for write permission in the directory, or choose another)"));
}

TEST(Remedy, ForAFullOrAReadOnlyFileSystemSaysSo) {
  const OwnTmpfs small("size=1m,mode=0777");
  if (!small.missing().empty()) GTEST_SKIP() << small.missing();
  Bus::create(small.file("bus"), small_ring()).value();
  small.fill();
  EXPECT_THAT(not_made(small.file("b")), HasSubstr("(free some space, or use a smaller --size)"));
  ASSERT_EQ(small.remount(MS_RDONLY), 0);
  EXPECT_THAT(not_made(small.file("b")),
              HasSubstr("(choose a place that may be written to, such as /dev/shm)"));
  EXPECT_THAT(not_attached(small.file("bus")),
              HasSubstr("this must write to the bus; 'stat' and 'dump' need not"));
  EXPECT_TRUE(Bus::open(small.file("bus")));
}

TEST(Remedy, ForABusThatOnesRightsDoNotOpenSaysWhichAreMissing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const TempBus bus(small_ring());
  const std::string directory = bus::directory_of(bus.path());
  const auto opened = [&] { return said_by_nobody([&] { return not_opened(bus.path()); }); };
  const auto attached = [&] { return said_by_nobody([&] { return not_attached(bus.path()); }); };
  const std::string only_read = "'stat' and 'dump' only read, and need no write permission";
  set_mode(directory, 0700);
  EXPECT_THAT(opened(), HasSubstr("(ask for search permission in its directory)"));
  set_mode(directory, 0755);
  EXPECT_THAT(opened(), HasSubstr("it belongs to user 0 and group 0, and has mode 0600: its owner "
                                  "can give read permission, and for ports write permission, too, "
                                  "with chmod"));
  EXPECT_THAT(opened(), Not(HasSubstr(only_read)));
  EXPECT_THAT(attached(), HasSubstr("can give read and write permission with chmod"));
  EXPECT_THAT(attached(), Not(HasSubstr(only_read))) << "it may not read it either";
  set_mode(bus.path(), 0640);
  EXPECT_THAT(opened(), HasSubstr("has mode 0640"));
  set_mode(bus.path(), 0644);
  EXPECT_EQ(opened(), "it was opened");
  EXPECT_THAT(attached(), HasSubstr(only_read));
}

}  // namespace
}  // namespace shmif::test
