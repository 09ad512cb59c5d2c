// File systems that few machines can mount: this program's own fstatfs tells the library that a
// file is on one. (Real mounts of those that most machines have:
// tests/tools/shmifctl/mounts_test.cpp.)

#include "bus/file/file_system.hpp"

#include <gtest/gtest.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "shmif/log.hpp"
#include "tests/support/temp_bus.hpp"

namespace {
/// What fstatfs answers; 0: the truth.
std::uint64_t pretended_type = 0;
}  // namespace

// Takes the place of libc's for this program.
extern "C" int fstatfs(int fd, struct statfs* into) noexcept {
  const auto result = static_cast<int>(syscall(SYS_fstatfs, fd, into));
  if (result == 0 && pretended_type != 0) {
    into->f_type = static_cast<decltype(into->f_type)>(pretended_type);
  }
  return result;
}

namespace shmif::test {
namespace {

struct Kind {
  const char* name;
  std::uint64_t type;  ///< as statfs(2) lists it
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class FileSystemKind : public testing::TestWithParam<Kind> {
 protected:
  void TearDown() override { pretended_type = 0; }
};

using Network = FileSystemKind;

TEST_P(Network, TakesNoBusAndNoPort) {
  const TempBus bus(small_ring());
  pretended_type = GetParam().type;
  const std::string on = std::string(" on ") + GetParam().name + ":";

  const Result<void> made = Bus::create(bus.file("fresh"), small_ring());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::unsupported_file_system);
  EXPECT_NE(made.error().message.find(bus.file("fresh") + on), std::string::npos)
      << made.error().message;
  EXPECT_FALSE(std::filesystem::exists(bus.file("fresh")));

  Port port;
  const Result<void> attached = port.attach(bus.path());
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, Errc::unsupported_file_system);
  EXPECT_NE(attached.error().message.find(bus.path() + on), std::string::npos)
      << attached.error().message;
  EXPECT_FALSE(Bus::open(bus.path(), Access::read_write));
}

TEST_P(Network, LetsOneLookWithAWarningAndRemoveByForce) {
  ASSERT_TRUE(set_log_level("off"));
  const TempBus bus(small_ring());
  pretended_type = GetParam().type;
  const std::string on = std::string(" is on ") + GetParam().name + ":";
  EXPECT_NE(Bus::open(bus.path()).value().warning().find(on), std::string::npos);
  EXPECT_TRUE(Follower::open(bus.path(), Start::now));
  const Result<void> removed = Bus::destroy(bus.path(), false);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::unsupported_file_system);
  EXPECT_TRUE(Bus::destroy(bus.path(), true));
  EXPECT_FALSE(std::filesystem::exists(bus.path()));
  ASSERT_TRUE(set_log_level("warning"));
}

INSTANTIATE_TEST_SUITE_P(FileSystems, Network,
                         testing::Values(Kind{"nfs", 0x6969}, Kind{"9p", 0x01021997},
                                         Kind{"fuse", 0x65735546}, Kind{"overlay", 0x794c7630},
                                         Kind{"cifs", 0xff534d42}, Kind{"smb2", 0xfe534d42},
                                         // as where f_type is a signed word of 32 bits
                                         Kind{"smb2", 0xfffffffffe534d42}, Kind{"ceph", 0x00c36400},
                                         Kind{"afs", 0x5346414f}));

using Local = FileSystemKind;

/// What `act` logs, which goes to standard error.
template <class Act>
std::string logged_by(const Act& act) {
  testing::internal::CaptureStderr();
  act();
  return testing::internal::GetCapturedStderr();
}

TEST_P(Local, TakesABusAndSaysOnceWhenItIsMadeThatItsPagesAreWritten) {
  pretended_type = GetParam().type;
  const TempDir dir;
  const std::string warning = std::string(" is on ") + GetParam().name + ", not on tmpfs";
  const auto create = [](const std::string& path) { Bus::create(path, small_ring()).value(); };
  const auto provide = [](const std::string& path) {
    const Bus bus = Bus::create_if_missing(path, small_ring(), false, false).value();
    EXPECT_TRUE(Port().attach(bus));
  };
  std::ofstream(dir.file("empty")).close();
  for (const auto& [name, make] :
       {std::pair<const char*, std::function<void(const std::string&)>>{"created", create},
        {"provided", provide},
        {"empty", provide}}) {
    const std::string path = dir.file(name);
    const std::string said = logged_by([&, &how = make] { how(path); });
    EXPECT_NE(said.find(path + warning), std::string::npos) << name << ": " << said;
    EXPECT_EQ(logged_by([&] {
                EXPECT_TRUE(Port().attach(path));
                provide(path);
                EXPECT_EQ(Bus::open(path).value().warning(), "");
                EXPECT_EQ(Bus::open(path, Access::read_write).value().warning(), "");
                EXPECT_TRUE(Bus::destroy(path, false));
              }),
              "")
        << name;
  }
}

TEST_P(Local, IsTheSameUnderEachPathButNotForTheNextBusThere) {
  pretended_type = GetParam().type;
  const TempDir dir;
  const std::string path = dir.file("bus");
  const std::string link = dir.file("way/bus");
  const std::string warning = " is on " + std::string(GetParam().name) + ", not on tmpfs";
  Bus::create(path, small_ring()).value();
  std::filesystem::create_directory_symlink(dir.path(), dir.file("way"));
  std::filesystem::create_hard_link(path, dir.file("other"));
  for (const std::string& other :
       {link, dir.file("./bus"), std::filesystem::relative(path).string(), dir.file("other")}) {
    EXPECT_EQ(logged_by([&] {
                EXPECT_TRUE(Port().attach(other)) << other;
                EXPECT_TRUE(Bus::create_if_missing(other, small_ring(), false, false));
              }),
              "")
        << other;
  }
  EXPECT_TRUE(Bus::destroy(link, true));
  std::filesystem::remove(path);
  std::filesystem::remove(dir.file("other"));
  const std::string said = logged_by([&] { Bus::create(dir.file("new"), small_ring()).value(); });
  EXPECT_NE(said.find("the bus " + dir.file("new") + warning), std::string::npos) << said;
}

INSTANTIATE_TEST_SUITE_P(FileSystems, Local,
                         testing::Values(Kind{"ext4", 0xef53}, Kind{"xfs", 0x58465342},
                                         Kind{"btrfs", 0x9123683e}, Kind{"f2fs", 0xf2f52010},
                                         Kind{"file system 0x2fc12fc1", 0x2fc12fc1}));

TEST(FileSystem, OfMemoryNeedsNoWarning) {
  for (const std::uint64_t type : {0x01021994U, 0x858458f6U}) {
    EXPECT_EQ(bus::harm_on_file_system(type), nullptr);
    EXPECT_FALSE(bus::writes_to_disk(type)) << bus::file_system_name(type);
  }
}

}  // namespace
}  // namespace shmif::test
