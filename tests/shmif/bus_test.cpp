// Creating, opening and removing a bus: what is refused, and what the refusal says.

#include "shmif/bus.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "bus/file/file.hpp"
#include "bus/layout.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Expects a failure with this code, and each of the words in its message.
template <class T>
void expect_refused(const Result<T>& result, std::error_code code,
                    const std::vector<std::string>& words) {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string& word : words) EXPECT_THAT(result.error().message, HasSubstr(word));
  EXPECT_THAT(result.error().message, testing::Not(HasSubstr("\n")));
}

std::size_t files_in(const TempDir& dir) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(dir.path()), {}));
}

template <class T>
void patch(const std::string& path, std::size_t offset, T value) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)),
            static_cast<ssize_t>(sizeof value));
  close(fd);
}

TEST(Create, MakesAnEmptyBusOfTheGeometryAskedFor) {
  const TempDir dir;
  ASSERT_TRUE(Bus::create(dir.file("b"), {.ring_bytes = 1U << 20U, .mtu = 9000}));
  const Bus bus = Bus::open(dir.file("b")).value();
  const BusInfo info = bus.info();
  EXPECT_EQ(info.ring_bytes, 1U << 20U);
  EXPECT_EQ(info.mtu, 9000U);
  EXPECT_EQ(info.frames, 0U);
  EXPECT_EQ(info.first, info.last);
  EXPECT_FALSE(info.lock_holder);
  EXPECT_TRUE(info.ports.empty());
  EXPECT_TRUE(is_clean(bus.audit()));
  EXPECT_EQ(files_in(dir), 1U) << "nothing else is left behind";
}

TEST(Create, ReservesEveryBlockSoThatAFullDiskNeverShowsLater) {
  const TempDir dir;
  ASSERT_TRUE(Bus::create(dir.file("b"), {}));
  struct stat status{};
  ASSERT_EQ(stat(dir.file("b").c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, status.st_size);
}

TEST(Create, GivesTheFileExactlyTheModeAskedForUnderAnyUmask) {
  const TempDir dir;
  for (const mode_t mask : {0000U, 0022U, 0077U, 0777U}) {
    const mode_t before = umask(mask);
    for (const std::uint32_t mode : {0600U, 0660U, 0666U, 0640U}) {
      const std::string path = dir.file("b" + std::to_string(mask) + "-" + std::to_string(mode));
      EXPECT_TRUE(Bus::create(path, {.ring_bytes = 64U << 10U, .mode = mode}));
      struct stat status{};
      EXPECT_EQ(stat(path.c_str(), &status), 0);
      EXPECT_EQ(status.st_mode & 07777U, mode);
    }
    umask(before);
  }
}

TEST(Create, RefusesAModeThatKeepsItsOwnerFromReadingOrWriting) {
  const TempDir dir;
  for (const std::uint32_t mode : {0U, 0200U, 0400U, 0177U, 0577U, 01666U, 07777U}) {
    expect_refused(Bus::create(dir.file("b"), {.mode = mode}), Errc::bad_argument,
                   {dir.file("b"), "its owner must be able to read and write it"});
    expect_refused(Bus::create_if_missing(dir.file("b"), {.mode = mode}, false, false),
                   Errc::bad_argument, {"0600 to 0777"});
  }
  EXPECT_EQ(files_in(dir), 0U);
}

TEST(Create, RefusesAPathThatNamesAnythingAndLeavesItAlone) {
  const TempDir dir;
  std::ofstream(dir.file("file")) << "keep me";
  std::filesystem::create_directory(dir.file("dir"));
  std::filesystem::create_symlink("nowhere", dir.file("dangling"));
  ASSERT_EQ(mkfifo(dir.file("fifo").c_str(), 0600), 0);
  ASSERT_TRUE(Bus::create(dir.file("bus"), {}));
  for (const char* name : {"file", "dir", "dangling", "fifo", "bus"}) {
    expect_refused(Bus::create(dir.file(name), {}), Errc::exists, {dir.file(name), "exists"});
  }
  EXPECT_EQ(files_in(dir), 5U);
  EXPECT_EQ(std::filesystem::file_size(dir.file("file")), 7U);
  EXPECT_FALSE(std::filesystem::exists(dir.file("nowhere")));
}

TEST(Create, RefusesARingTooSmallForItsMtuAndNamesTheLeastSizeWhichThenWorks) {
  const TempDir dir;
  expect_refused(Bus::create(dir.file("b"), {.ring_bytes = 64U << 10U, .mtu = 9000}),
                 Errc::ring_too_small, {"9000", "64K", "128K"});
  EXPECT_TRUE(Bus::create(dir.file("b"), {.ring_bytes = 128U << 10U, .mtu = 9000}));
}

TEST(Create, NamesDirectoryAndReasonWhereItMayNotWrite) {
  const TempDir dir;
  expect_refused(Bus::create(dir.file("no/such/dir/bus"), {}), {ENOENT, std::generic_category()},
                 {"no/such/dir", "No such file"});
  EXPECT_EQ(Child([&] {
              std::filesystem::permissions(dir.path(), std::filesystem::perms(0755));
              if (setuid(65534) != 0) return 77;
              const auto made = Bus::create(dir.file("b"), {});
              return made.error().code == std::errc::permission_denied ? 0 : 1;
            }).wait(),
            geteuid() == 0 ? 0 : 77);
}

/// Runs `body` in a mount namespace of its own with a tmpfs of `bytes` on `where`.
int on_small_tmpfs(const std::string& where, const std::string& bytes,
                   const std::function<int()>& body) {
  const bool root = geteuid() == 0;
  const gid_t gid = getegid();  // asked before: in the new namespace we are nobody
  const std::string ids = "0 " + std::to_string(geteuid()) + " 1";
  if (unshare(root ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) return 77;
  if (!root) {
    std::ofstream("/proc/self/uid_map") << ids;
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/gid_map") << "0 " + std::to_string(gid) + " 1";
  }
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (mount("small", where.c_str(), "tmpfs", 0, ("size=" + bytes).c_str()) != 0) return 77;
  return body();
}

TEST(Create, AFullDiskIsAnErrorAtCreateAndLeavesNothing) {
  const TempDir dir;
  const int code = Child([&] {
                     return on_small_tmpfs(dir.path(), "1M", [&] {
                       const auto made = Bus::create(dir.file("b"), {.ring_bytes = 4U << 20U});
                       if (made || made.error().code != std::errc::no_space_on_device) return 1;
                       if (made.error().message.find("reserve") == std::string::npos) return 2;
                       if (files_in(dir) != 0) return 3;
                       // An empty file is empty again afterwards, and a smaller bus fits.
                       std::ofstream(dir.file("empty")).flush();
                       if (Bus::create_if_missing(dir.file("empty"), {}, false, false)) return 4;
                       if (std::filesystem::file_size(dir.file("empty")) != 0) return 5;
                       return Bus::create(dir.file("c"), {.ring_bytes = 256U << 10U}) ? 0 : 6;
                     });
                   }).wait();
  if (code == 77) GTEST_SKIP() << "user namespaces cannot be made here";
  EXPECT_EQ(code, 0);
}

TEST(Create, AFileSizeLimitIsAnErrorAndLeavesSignalsAsTheyWere) {
  const TempDir dir;
  EXPECT_EQ(Child([&] {
              const rlimit limit{.rlim_cur = 100'000, .rlim_max = RLIM_INFINITY};
              if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
              signal(SIGXFSZ, SIG_DFL);  // ends the process
              const auto made = Bus::create(dir.file("b"), {});
              if (made.error().code != std::errc::file_too_large) return 2;
              sigset_t set;
              sigpending(&set);
              if (sigismember(&set, SIGXFSZ) != 0) return 3;
              pthread_sigmask(SIG_BLOCK, nullptr, &set);
              return sigismember(&set, SIGXFSZ) != 0 ? 4 : 0;
            }).wait(),
            0);
  EXPECT_EQ(files_in(dir), 0U);
}

// create_if_missing: what tap, exec and bridge do with --create.

TEST(CreateIfMissing, OfManyProcessesAtOnceOneCreatesAndAllAttachToTheSameBus) {
  for (const bool empty_file : {false, true}) {
    for (unsigned round = 0; round < 10; ++round) {
      const TempDir dir;
      if (empty_file) std::ofstream(dir.file("b")).flush();
      const Shared<std::atomic<bool>> go;
      const Shared<std::array<std::atomic<std::uint64_t>, 8>> inodes;
      const Shared<std::atomic<int>> attached;
      std::vector<Child> children;
      for (unsigned i = 0; i < 8; ++i) {
        children.emplace_back([&, i] {
          while (!*go) std::this_thread::yield();
          const BusOptions options{.ring_bytes = 64U << 10U};
          if (!Bus::create_if_missing(dir.file("b"), options, true, true)) return 1;
          Port port = port_on(dir.file("b"));
          inodes->at(i) = Bus::open(dir.file("b")).value().info().inode;
          ++*attached;
          while (*attached < 8) std::this_thread::yield();
          return 0;
        });
      }
      *go = true;
      for (Child& c : children) ASSERT_EQ(c.wait(), 0);
      for (const auto& inode : *inodes) EXPECT_EQ(inode, inodes->at(0));
      EXPECT_EQ(files_in(dir), 1U);
    }
  }
}

TEST(CreateIfMissing, TakesAnExistingBusAsItIsWhenNothingParticularWasAskedFor) {
  const TempBus bus({.ring_bytes = 128U << 10U, .mtu = 2000});
  EXPECT_TRUE(Bus::create_if_missing(bus.path(), {}, false, false));
  EXPECT_TRUE(
      Bus::create_if_missing(bus.path(), {.ring_bytes = 128U << 10U, .mtu = 2000}, true, true));
  EXPECT_EQ(bus.info().mtu, 2000U);
}

TEST(CreateIfMissing, RefusesAnExistingBusOfAnotherSizeOrMtuNamingBoth) {
  const TempBus bus({.ring_bytes = 128U << 10U, .mtu = 2000});
  expect_refused(Bus::create_if_missing(bus.path(), {.ring_bytes = 64U << 10U}, true, false),
                 Errc::geometry_differs, {bus.path(), "131072", "65536"});
  expect_refused(Bus::create_if_missing(bus.path(), {.mtu = 1500}, false, true),
                 Errc::geometry_differs, {bus.path(), "2000", "1500"});
}

TEST(CreateIfMissing, NeverInitialisesAFileThatIsNotEmpty) {
  const TempDir dir;
  std::ofstream(dir.file("notes")) << "my notes";
  expect_refused(Bus::create_if_missing(dir.file("notes"), {}, false, false), Errc::not_a_bus,
                 {dir.file("notes")});
  std::ofstream(dir.file("zeros")) << std::string(8192, '\0');
  EXPECT_FALSE(Bus::create_if_missing(dir.file("zeros"), {}, false, false));
  expect_refused(Bus::create_if_missing(dir.path(), {}, false, false), Errc::not_a_regular_file,
                 {"not a regular file (give the file of a bus)"});
  EXPECT_EQ(std::filesystem::file_size(dir.file("notes")), 8U);
  EXPECT_EQ(std::filesystem::file_size(dir.file("zeros")), 8192U);
}

TEST(CreateIfMissing, AFileThatAnotherFillsMeanwhileIsNotFilledAgain) {
  const TempDir dir;
  std::ofstream(dir.file("b")).flush();
  const int fd = open(dir.file("b").c_str(), O_RDWR | O_CLOEXEC);
  struct flock creators{};
  creators.l_type = F_WRLCK;
  creators.l_whence = SEEK_SET;
  creators.l_start = off_t{1} << 40U;
  creators.l_len = 1;
  ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &creators), 0);
  Child late([&] { return Bus::create_if_missing(dir.file("b"), {}, false, false) ? 0 : 1; });
  // Until it has found the file empty, and sleeps before it tries to lock it again.
  ASSERT_TRUE(eventually([&] {
    std::ifstream file("/proc/" + std::to_string(late.pid()) + "/syscall");
    std::string call;
    if (!std::getline(file, call)) return true;  // this machine does not tell
    const auto is = [&](long number) { return call.starts_with(std::to_string(number) + ' '); };
    return is(SYS_clock_nanosleep) || is(SYS_nanosleep);
  }));
  // Another creator's work, as a bus made elsewhere that is told where it is now.
  Bus::create(dir.file("other"), {.ring_bytes = 64U << 10U}).value();
  std::ifstream other(dir.file("other"), std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(other), {}};
  struct stat status{};
  ASSERT_EQ(fstat(fd, &status), 0);
  const std::uint64_t inode = status.st_ino;
  bytes.replace(offsetof(bus::BusHeader, inode), sizeof inode,
                reinterpret_cast<const char*>(&inode), sizeof inode);
  ASSERT_EQ(pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  creators.l_type = F_UNLCK;
  ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &creators), 0);
  close(fd);
  EXPECT_EQ(late.wait(), 0);
  const auto info = [&](const char* name) { return Bus::open(dir.file(name)).value().info(); };
  EXPECT_EQ(info("b").created_ns, info("other").created_ns);
  EXPECT_EQ(info("b").ring_bytes, info("other").ring_bytes);
}

TEST(CreateIfMissing, DoesNotFollowASymbolicLinkToAnEmptyFileNorToNone) {
  const TempDir dir;
  std::ofstream(dir.file("empty")).flush();
  for (const char* const target : {"empty", "none"}) {
    const std::string link = dir.file("to-" + std::string(target));
    std::filesystem::create_symlink(dir.file(target), link);
    expect_refused(Bus::create_if_missing(link, {}, false, false), Errc::not_a_regular_file,
                   {"symbolic link"});
  }
  EXPECT_EQ(std::filesystem::file_size(dir.file("empty")), 0U);
  EXPECT_FALSE(std::filesystem::exists(dir.file("none")));
}

// Opening: each refusal names what it is about.

TEST(Open, DirectoriesFifosDevicesAndSymbolicLinksAreRefusedAndNeverWaitedFor) {
  const TempBus bus;
  std::filesystem::create_directory(bus.file("dir"));
  std::filesystem::create_symlink(bus.path(), bus.file("link"));
  ASSERT_EQ(mkfifo(bus.file("fifo").c_str(), 0600), 0);
  for (const Access access : {Access::read_only, Access::read_write}) {
    for (const std::string& path :
         {bus.file("dir"), bus.file("link"), bus.file("fifo"), std::string("/dev/null")}) {
      expect_refused(Bus::open(path, access), Errc::not_a_regular_file, {path});
    }
  }
}

TEST(Open, AForeignFileIsRefusedShowingHowBothBegin) {
  const TempDir dir;
  std::ofstream(dir.file("text")) << "hello, world, I am not a bus at all";
  expect_refused(Bus::open(dir.file("text")), Errc::not_a_bus,
                 {"begins with \"hello, w\"", "\"shmifbus\""});
  std::ofstream(dir.file("binary")) << "\x7f"
                                       "E\x1b[\x80\xff~ and more";
  expect_refused(Bus::open(dir.file("binary")), Errc::not_a_bus, {"begins with \".E.[..~ \""});
  std::ofstream(dir.file("short")) << "abc";
  expect_refused(Bus::open(dir.file("short")), Errc::not_a_bus,
                 {dir.file("short"), "begins with \"abc\" where"});
  std::ofstream(dir.file("empty")).flush();
  expect_refused(Bus::open(dir.file("empty")), Errc::not_ready, {"empty", "--create"});
}

TEST(Open, AnotherLayoutIsRefusedNamingBoth) {
  const TempBus bus;
  patch(bus.path(), offsetof(bus::BusHeader, layout_signature), std::uint32_t{0x51c20003});
  char ours[16];
  std::snprintf(ours, sizeof ours, "0x%x", bus::kLayoutSignature);
  expect_refused(Bus::open(bus.path()), Errc::wrong_layout, {bus.path(), "0x51c20003", ours});
}

TEST(Open, ABusWhoseCreatorDiedHalfWayIsRefused) {
  const TempBus bus;
  patch(bus.path(), offsetof(bus::BusHeader, ready), std::uint32_t{0});
  expect_refused(Bus::open(bus.path()), Errc::not_ready, {bus.path(), "never completed"});
}

TEST(Open, ATruncatedOrExtendedFileIsRefusedNamingBothSizes) {
  const TempBus bus(small_ring());
  const auto size = std::filesystem::file_size(bus.path());
  for (const auto other :
       {size - 1, size + 1, size / 2, std::uintmax_t{4096}, std::uintmax_t{100}}) {
    std::filesystem::resize_file(bus.path(), other);
    expect_refused(Bus::open(bus.path()), other < 4096 ? Errc::not_ready : Errc::wrong_size, {});
    std::filesystem::resize_file(bus.path(), size);
    if (other < size) break;
  }
  const TempBus longer(small_ring());
  std::filesystem::resize_file(longer.path(), size + 4096);
  expect_refused(Bus::open(longer.path()), Errc::wrong_size,
                 {std::to_string(size), std::to_string(size + 4096)});
}

TEST(Open, ADamagedGeometryIsRefused) {
  const auto refused = [](std::size_t offset, auto value) {
    const TempBus bus(small_ring());
    patch(bus.path(), offset, value);
    EXPECT_FALSE(Bus::open(bus.path())) << "offset " << offset;
    EXPECT_FALSE(Port().attach(bus.path())) << "offset " << offset;
  };
  refused(offsetof(bus::BusHeader, ring_bytes), std::uint64_t{0});
  refused(offsetof(bus::BusHeader, ring_bytes), std::uint64_t{1} << 63U);
  refused(offsetof(bus::BusHeader, ring_bytes), std::uint64_t{65537});
  refused(offsetof(bus::BusHeader, ring_offset), std::uint32_t{4096});
  refused(offsetof(bus::BusHeader, slot_count), std::uint32_t{100'000});
  refused(offsetof(bus::BusHeader, mtu), std::uint32_t{0xffffffff});
  refused(offsetof(bus::BusHeader, max_record), std::uint32_t{0xffffffff});
  refused(offsetof(bus::BusHeader, record_align), std::uint32_t{0});
  refused(offsetof(bus::BusHeader, flow), std::uint32_t{7});
}

TEST(Open, ACopyIsRefusedForUseAndShownWithAWarning) {
  const TempBus bus;
  std::filesystem::copy_file(bus.path(), bus.file("copy"));
  Port port;
  expect_refused(port.attach(bus.file("copy")), Errc::copied_file, {bus.file("copy"), "inode"});
  expect_refused(Bus::open(bus.file("copy"), Access::read_write), Errc::copied_file, {});
  const auto seen = Bus::open(bus.file("copy"));
  ASSERT_TRUE(seen);
  EXPECT_THAT(seen->warning(), HasSubstr("copy"));
  expect_refused(port.attach(*seen), Errc::copied_file, {bus.file("copy"), "inode"});
  EXPECT_TRUE(seen->info().is_copy);
  EXPECT_FALSE(bus.info().is_copy);
  EXPECT_NE(seen->info().inode, bus.info().inode) << "of the file, not of its header";
}

TEST(Open, WithoutProcAnotherFileThatTookThePlaceOfABusIsNotTakenForIt) {
  const TempDir dir;
  Bus::create(dir.file("b"), {.ring_bytes = 64U << 10U}).value();
  Bus::create(dir.file("other"), {.ring_bytes = 64U << 10U}).value();
  const int code = Child([&] {
                     return on_small_tmpfs("/proc", "1M", [&] {
                       const int held = open(dir.file("b").c_str(), O_PATH | O_CLOEXEC);
                       if (!bus::reopen(held, dir.file("b"), Access::read_write)) return 1;
                       std::filesystem::rename(dir.file("other"), dir.file("b"));
                       const auto again = bus::reopen(held, dir.file("b"), Access::read_write);
                       if (again) return 2;
                       return again.error().code == Errc::copied_file ? 0 : 3;
                     });
                   }).wait();
  if (code == 77) GTEST_SKIP() << "user namespaces cannot be made here";
  EXPECT_EQ(code, 0) << "1 it is not found by its path, 2 another is opened, 3 for another reason";
}

TEST(Open, AFileThatMayOnlyBeReadCanBeLookedAtButNotRepairedOrAttachedTo) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const TempBus bus({.ring_bytes = 64U << 10U, .mode = 0644});
  std::filesystem::permissions(std::filesystem::path(bus.path()).parent_path(),
                               std::filesystem::perms(0755));
  EXPECT_EQ(Child([&] {
              if (setuid(65534) != 0) return 9;
              const auto seen = Bus::open(bus.path());
              if (!seen || !seen->audit().clean()) return 1;
              if (Bus::open(bus.path(), Access::read_write)) return 2;
              const auto attached = Port().attach(bus.path());
              if (attached || attached.error().code != std::errc::permission_denied) return 3;
              return attached.error().message.find("permission") != std::string::npos ? 0 : 4;
            }).wait(),
            0);
}

TEST(Open, TwoUsersShareABusWhereItsModeAllows) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const TempBus bus({.ring_bytes = 64U << 10U, .mode = 0666});
  std::filesystem::permissions(std::filesystem::path(bus.path()).parent_path(),
                               std::filesystem::perms(0755));
  Port mine = port_on(bus.path());
  EXPECT_EQ(Child([&] {
              if (setuid(65534) != 0) return 9;
              Port theirs = port_on(bus.path());
              const std::vector<std::byte> frame(60, std::byte{0xff});
              const FrameView view(frame);
              return theirs.send({&view, 1}).error ? 1 : 0;
            }).wait(),
            0);
  FrameBatch in;
  EXPECT_EQ(mine.receive(in).frames, 1U);
}

// destroy

TEST(Destroy, RefusesWhileLivePortsAreAttachedNamingOneUnlessForced) {
  const TempBus bus;
  Port port;
  ASSERT_TRUE(port.attach(bus.path()));
  expect_refused(Bus::destroy(bus.path(), false), Errc::busy,
                 {port.name(), std::to_string(getpid()), "--force"});
  EXPECT_TRUE(Bus::destroy(bus.path(), true));
  EXPECT_FALSE(std::filesystem::exists(bus.path()));
  EXPECT_FALSE(port.up()) << "who is attached goes on";
}

TEST(Destroy, DeadPortsAreNoHindrance) {
  const TempBus bus;
  Child([&] {
    Port port = port_on(bus.path());
    raise(SIGKILL);
    return 0;
  }).wait();
  ASSERT_TRUE(eventually([&] { return !bus.info().ports.at(0).live; }));
  EXPECT_TRUE(Bus::destroy(bus.path(), false));
}

TEST(Destroy, NeverRemovesWhatIsNoBus) {
  const TempDir dir;
  std::ofstream(dir.file("notes")) << "my notes";
  EXPECT_FALSE(Bus::destroy(dir.file("notes"), false));
  EXPECT_FALSE(Bus::destroy(dir.file("notes"), true));
  EXPECT_TRUE(std::filesystem::exists(dir.file("notes")));
}

/// Inode numbers are those of a file system: a copy may have the same one on another.
TEST(Open, ACopyOnAnotherFileSystemIsNoneOfTheSameInode) {
  const TempBus bus;
  patch(bus.path(), offsetof(bus::BusHeader, file_system), std::uint64_t{0xef53});
  expect_refused(Port().attach(bus.path()), Errc::copied_file, {"on ext4, this is", "on tmpfs"});
  EXPECT_THAT(Bus::open(bus.path()).value().warning(), HasSubstr("on ext4"));
}

// What the user is told to do about a bus that cannot be made or opened: advice that fits the
// reason, and none that does not.

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
