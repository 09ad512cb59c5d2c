// A pinned directory: no system call leaves it through a symbolic link, whoever makes it and when.

#include "perf/remote/pinned_directory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/file/output_file.hpp"
#include "shmif/bus.hpp"
#include "shmif/socket_place.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::pinned_directory {
namespace {

using test::Child;
using test::eventually;
using test::Shared;
using test::TempDir;

/// Why no directory can be pinned here; empty: it can.
std::string missing() {
  const TempDir directory;
  const auto can = can_pin_directory(directory.path());
  return can ? std::string() : "no namespaces here: " + can.error().message;
}

/// Something that a process does to the file or the directory at a path. Result: 0 or errno.
struct Deed {
  const char* name;
  const char* at;  ///< below the directory: what is there already, or a new name
  int (*done)(const std::string& path);
};
void PrintTo(const Deed& deed, std::ostream* out) {
  *out << deed.name;
}

int number_of(bool done) {
  return done ? 0 : errno;
}
int number_of(const std::error_code& code) {
  return code.value();
}
template <class T>
int number_of_result(const Result<T>& result) {
  return result ? 0 : number_of(result.error().code);
}
int opened(const std::string& path, int flags) {
  return number_of(static_cast<bool>(UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600))));
}
sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

const std::vector<Deed> kDeeds{
    {"read", "file", [](const std::string& path) { return opened(path, O_RDONLY); }},
    {"write", "file", [](const std::string& path) { return opened(path, O_WRONLY | O_TRUNC); }},
    {"make", "new", [](const std::string& path) { return opened(path, O_WRONLY | O_CREAT); }},
    {"list", ".", [](const std::string& path) { return opened(path, O_RDONLY | O_DIRECTORY); }},
    {"look", "file",
     [](const std::string& path) {
       struct stat status{};
       return number_of(::stat(path.c_str(), &status) == 0);
     }},
    {"truncate", "file",
     [](const std::string& path) { return number_of(::truncate(path.c_str(), 1) == 0); }},
    {"chmod", "file",
     [](const std::string& path) { return number_of(::chmod(path.c_str(), 0777) == 0); }},
    {"make_directory", "new",
     [](const std::string& path) { return number_of(::mkdir(path.c_str(), 0700) == 0); }},
    {"make_fifo", "new",
     [](const std::string& path) { return number_of(::mkfifo(path.c_str(), 0600) == 0); }},
    {"remove", "file",
     [](const std::string& path) { return number_of(::unlink(path.c_str()) == 0); }},
    {"rename", "file",
     [](const std::string& path) {
       return number_of(::rename(path.c_str(), (path + ".old").c_str()) == 0);
     }},
    {"connect", "socket",
     [](const std::string& path) {
       const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
       const sockaddr_un to = address_of(path);
       return number_of(
           ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
     }},
    {"bind", "new",
     [](const std::string& path) {
       return number_of_result(BoundSocket::bind(SOCK_DGRAM, parse_socket_place(path).value()));
     }},
    {"write_whole", "file",
     [](const std::string& path) {
       return number_of_result(bus::write_whole(path, {}, {.what = "cannot write"}));
     }},
    {"append", "file",
     [](const std::string& path) {
       return number_of_result(bus::OutputFile::open_append(path, {.what = "cannot write"}));
     }},
    {"create_bus", "new",
     [](const std::string& path) {
       return number_of_result(Bus::create(path, {.ring_bytes = 1U << 16U}));
     }},
};

/// A directory with a real one in it, "real", and links to one outside: "door", and "real/ITS-file"
/// for each file in it.
class Pinned : public testing::TestWithParam<Deed> {
 protected:
  void SetUp() override {
    if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    for (const std::string& place : {parent_.file("outside"), parent_.file("dir/real")}) {
      std::filesystem::create_directories(place);
      std::ofstream(place + "/file") << "secret";
      sockets_.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      const sockaddr_un address = address_of(place + "/socket");
      ASSERT_EQ(::bind(sockets_.back().get(), reinterpret_cast<const sockaddr*>(&address),
                       sizeof address),
                0);
      ASSERT_EQ(::listen(sockets_.back().get(), 4), 0);
    }
    std::filesystem::create_directory_symlink(parent_.file("outside"), parent_.file("dir/door"));
    outside_ = state_of_outside();
  }
  /// Names, modes, sizes and contents.
  std::string state_of_outside() const {
    std::set<std::string> entries;
    for (const auto& entry : std::filesystem::directory_iterator(parent_.file("outside"))) {
      struct stat status{};
      EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
      std::string text;
      if (S_ISREG(status.st_mode)) std::getline(std::ifstream(entry.path()), text);
      entries.insert(entry.path().filename().string() + ' ' + std::to_string(status.st_mode) + ' ' +
                     std::to_string(status.st_size) + ' ' + text + '\n');
    }
    std::string all;
    for (const std::string& entry : entries) all += entry;
    return all;
  }
  /// What the deed says in a process that has pinned the directory.
  int in_pinned(const std::string& path) const {
    Child child([&] {
      if (!pin_directory(parent_.file("dir"))) return 98;
      return GetParam().done(path);
    });
    return child.wait();
  }

  const TempDir parent_;
  std::vector<UniqueFd> sockets_;
  std::string outside_;
};

TEST_P(Pinned, NothingIsDoneThroughALinkToADirectory) {
  EXPECT_EQ(in_pinned(parent_.file("dir/door/") + GetParam().at), ELOOP);
  EXPECT_EQ(state_of_outside(), outside_);
}

TEST_P(Pinned, NothingIsDoneThroughALinkThatIsMadeAfterwards) {
  test::Shared<std::atomic<int>> step;
  Child child([&] {
    if (!pin_directory(parent_.file("dir"))) return 98;
    *step = 1;
    if (!test::eventually([&] { return step->load() == 2; })) return 97;
    return GetParam().done(parent_.file("dir/real/") + GetParam().at);
  });
  ASSERT_TRUE(test::eventually([&] { return step->load() == 1; }));
  std::filesystem::rename(parent_.file("dir/real"), parent_.file("dir/was"));
  std::filesystem::rename(parent_.file("dir/door"), parent_.file("dir/real"));
  *step = 2;
  EXPECT_EQ(child.wait(), ELOOP);
  EXPECT_EQ(state_of_outside(), outside_);
}

TEST_P(Pinned, ItIsDoneWhereThereIsNoLink) {
  EXPECT_EQ(in_pinned(parent_.file("dir/real/") + GetParam().at), 0);
  EXPECT_EQ(state_of_outside(), outside_);
}

INSTANTIATE_TEST_SUITE_P(By, Pinned, testing::ValuesIn(kDeeds),
                         [](const auto& deed) { return std::string(deed.param.name); });

TEST(PinnedDirectory, ALinkToAFileIsNotFollowedAndLinksElsewhereAre) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent;
  std::filesystem::create_directory(parent.file("dir"));
  std::ofstream(parent.file("file")) << "secret";
  std::filesystem::create_symlink(parent.file("file"), parent.file("dir/link"));
  std::filesystem::create_symlink(parent.file("file"), parent.file("link"));
  std::ofstream(parent.file("dir/own")) << "mine";
  std::filesystem::create_symlink("own", parent.file("dir/inside"));
  const auto opened_after = [&](const std::string& path) {
    Child child([&] {
      if (!pin_directory(parent.file("dir"))) return 98;
      return opened(path, O_RDONLY);
    });
    return child.wait();
  };
  EXPECT_EQ(opened_after(parent.file("dir/link")), ELOOP);
  EXPECT_EQ(opened_after(parent.file("dir/inside")), ELOOP);
  EXPECT_EQ(opened_after(parent.file("dir/own")), 0);
  EXPECT_EQ(opened_after(parent.file("link")), 0);
  const UniqueFd held(::open(parent.file("dir/own").c_str(), O_RDONLY));
  EXPECT_EQ(opened_after("/proc/self/fd/" + std::to_string(held.get())), 0)
      << "a link of the kernel";
}

TEST(PinnedDirectory, AFileIsNotReplacedThroughALinkThatComesAndGoes) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  constexpr int kWrites = 10'000;
  const TempDir parent;
  std::filesystem::create_directory(parent.file("dir"));
  std::filesystem::create_directory(parent.file("outside"));
  const std::string file = parent.file("dir/file");
  const std::string link = parent.file("dir/link");
  std::ofstream(parent.file("outside/file")) << "secret";
  std::ofstream(file) << "mine";
  std::filesystem::create_symlink(parent.file("outside/file"), link);
  const Shared<std::atomic<unsigned>> exchanges;
  Child neighbour([&] {
    while (::syscall(SYS_renameat2, AT_FDCWD, file.c_str(), AT_FDCWD, link.c_str(),
                     RENAME_EXCHANGE) == 0) {
      ++*exchanges;
    }  // until it is killed
    return 1;
  });
  ASSERT_TRUE(eventually([&] { return *exchanges > 0; }));
  Child child([&] {
    if (!pin_directory(parent.file("dir"))) return 98;
    const std::vector<std::byte> content(7);
    for (int i = 0; i < kWrites; ++i) {
      (void)bus::write_whole(file, content, {.what = "cannot write"});
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  const unsigned before = *exchanges;
  EXPECT_TRUE(eventually([&] { return *exchanges > before; })) << "it has ended too early";
  neighbour.kill_and_wait();
  std::string text;
  std::getline(std::ifstream(parent.file("outside/file")), text);
  EXPECT_EQ(text, "secret");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(parent.file("outside")), {}), 1);
}

TEST(PinnedDirectory, WhatIsMountedBelowFollowsNoLinksEither) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent;
  std::filesystem::create_directories(parent.file("dir/sub"));
  std::ofstream(parent.file("file")) << "secret";
  Child child([&] {
    const std::string sub = parent.file("dir/sub");
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", sub.c_str(), "tmpfs", 0, "size=1m") != 0)
      return 97;
    std::filesystem::create_symlink(parent.file("file"), sub + "/link");
    std::ofstream(sub + "/own") << "mine";
    if (!pin_directory(parent.file("dir"))) return 98;
    if (opened(sub + "/own", O_RDONLY) != 0) return 96;
    return opened(sub + "/link", O_RDONLY);
  });
  EXPECT_EQ(child.wait(), ELOOP);
}

TEST(PinnedDirectory, AnOrdinaryUserKeepsItsIdsAndGetsNoRights) {
  if (test::kSanitized) GTEST_SKIP() << "a process has more than one thread under sanitizers";
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  const TempDir directory("/tmp");
  ASSERT_EQ(::chown(directory.path().c_str(), 1234, 1235), 0);
  Child child([&] {
    if (::setgid(1235) != 0 || ::setuid(1234) != 0) return 97;
    // Otherwise /proc/self still belongs to root. A program that is executed has this already.
    if (::prctl(PR_SET_DUMPABLE, 1) != 0) return 97;
    if (const auto done = pin_directory(directory.path()); !done) {
      std::fprintf(stderr, "%s\n", done.error().message.c_str());
      return 98;
    }
    if (::geteuid() != 1234 || ::getegid() != 1235) return 1;
    if (opened(directory.file("new"), O_WRONLY | O_CREAT) != 0) return 2;
    // A mount is what the new user namespace would allow.
    return ::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, nullptr) == 0 ? 3 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
  struct stat status{};
  ASSERT_EQ(::stat(directory.file("new").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 1234U);
  EXPECT_EQ(status.st_gid, 1235U);
}

TEST(PinnedDirectory, WhatCannotBePinnedIsSaidWithWhatIsNeeded) {
  struct Row {
    const char* path;
    const char* remedy;
  };
  for (const auto& [path, remedy] :
       {Row{"/", "(name a directory on another file system)"},
        Row{"/nowhere/at/all", "(this needs Linux 5.14, and mount namespaces: "},
        Row{"/nowhere/at/all", "trust the clients with all files by --allow-exec)"}}) {
    const auto can = can_pin_directory(path);
    ASSERT_FALSE(can) << path;
    EXPECT_EQ(can.error().code, Errc::not_supported);
    const std::string& said = can.error().message;
    EXPECT_NE(said.find("below " + std::string(path) + ": "), std::string::npos) << said;
    EXPECT_NE(said.find(remedy), std::string::npos) << said;
  }
}

TEST(PinnedDirectory, ALinkAboveItThatWasNotThereIsRefused) {
  if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  const TempDir parent;
  std::filesystem::create_directories(parent.file("a/dir"));
  std::filesystem::create_directory_symlink(parent.file("a"), parent.file("b"));
  EXPECT_TRUE(can_pin_directory(parent.file("a/dir")));
  EXPECT_FALSE(can_pin_directory(parent.file("b/dir")));
}

TEST(PinnedDirectory, WhoMayReplaceItIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives files to others";
  const TempDir parent;  // in a sticky directory, and ours
  const std::string middle = parent.file("middle");
  const std::string directory = middle + "/dir";
  std::filesystem::create_directories(directory);
  const auto set = [](const std::string& path, mode_t mode, uid_t user) {
    EXPECT_EQ(::chown(path.c_str(), user, 0), 0);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
  };
  struct Row {
    mode_t mode;
    uid_t user;
    uid_t user_of_directory;
    std::string said;
  };
  const std::string replace = " may replace " + directory;
  for (const Row& row :
       {Row{0755, 0, 0, ""}, Row{0755, 0, 1000, ""}, Row{0775, 0, 0, "other users"},
        Row{0757, 0, 0, "other users"}, Row{01777, 0, 0, ""}, Row{01777, 0, 1000, "user 1000"},
        Row{0700, 1001, 0, "user 1001"}}) {
    set(directory, 0755, row.user_of_directory);
    set(middle, row.mode, row.user);
    EXPECT_EQ(who_may_replace(directory), row.said.empty() ? "" : row.said + replace)
        << std::oct << row.mode << ' ' << std::dec << row.user;
  }
  set(middle, 0755, 0);
  set(parent.path(), 0777, 0);
  EXPECT_EQ(who_may_replace(directory), "other users may replace " + middle);
}

}  // namespace
}  // namespace shmif::perf::pinned_directory
