// The ids of a guest: ranges of /etc/subuid and /etc/subgid, and what pretends to change the only
// id that there is.

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <optional>
#include <utility>

#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

/// Gives the calling process an /etc of which `kStranger` is a user with subordinate ids.
void give_ranges(const std::string& users, const std::string& groups, gid_t group = kStranger) {
  const auto replace = [](const char* path, const std::string& text) {
    std::string copy = "/tmp/shmif-subid-XXXXXX";
    const UniqueFd file(::mkstemp(copy.data()));
    (void)!::write(file.get(), text.data(), text.size());
    (void)::fchmod(file.get(), 0644);
    const bool done = ::mount(copy.c_str(), path, nullptr, MS_BIND, nullptr) == 0;
    ::unlink(copy.c_str());
    return done;
  };
  const std::string uid = std::to_string(kStranger);
  leave_mounts();
  if (!replace("/etc/passwd", contents("/etc/passwd") + "stranger:x:" + uid + ':' +
                                  std::to_string(group) + "::/:/bin/sh\n") ||
      !replace("/etc/subuid", users) || !replace("/etc/subgid", groups)) {
    ::_exit(98);
  }
}

/// One blank between words.
std::string squeezed(const std::string& text) {
  std::istringstream words(text);
  std::string all;
  for (std::string word; words >> word;) all += word + ' ';
  return all;
}

TEST(Guest, SubordinateIdsAreMappedBehindRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a user a range of its own";
  if (::access("/usr/bin/newuidmap", X_OK) != 0) GTEST_SKIP() << "no newuidmap here";
  Supervised::Options o;
  o.guest = guest_running(shell(
      "cat /proc/self/uid_map /proc/self/gid_map; setpriv --reuid 33 --regid 33 --groups 34 id"));
  o.caller = {kStranger};
  const std::string uid = std::to_string(kStranger);
  o.before = [&] {  // by name and by number, and beside somebody else's
    give_ranges("other:1000000:65536\nstranger:3000000:65536\n" + uid + ":5000000:1000\n",
                uid + ":4000000:65536\n");
  };
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 0) << guest.output();
  const std::string said = squeezed(guest.output());
  EXPECT_TRUE(said.starts_with("0 " + uid + " 1 1 3000000 65536 65537 5000000 1000 0 " + uid +
                               " 1 1 4000000 65536 "))
      << guest.output();
  EXPECT_NE(guest.output().find("uid=33"), std::string::npos) << guest.output();
  EXPECT_EQ(guest.output().find("note:"), std::string::npos) << guest.output();
}

constexpr gid_t kGroup = kStranger + 1;

/// A stranger whose group has another number than the user, and who ignores children.
void become_stranger_of_another_group() {
  ::signal(SIGCHLD, SIG_IGN);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kGroup, kGroup, kGroup) != 0 ||
      ::setresuid(kStranger, kStranger, kStranger) != 0) {
    ::_exit(99);
  }
  ::prctl(PR_SET_DUMPABLE, 1);
}

TEST(Guest, UserAndGroupAreMappedEachToItsOwnNumberAlsoWhereTheCallerIgnoresItsChildren) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a user a range of its own";
  Supervised::Options probe;
  probe.guest = guest_running({"true"});
  probe.caller = {kStranger};
  if (Supervised(probe).finish() == 77) GTEST_SKIP() << "no namespaces here";
  const std::string uid = std::to_string(kStranger);
  const std::string gid = std::to_string(kGroup);
  for (const bool ranged : {false, true}) {
    if (ranged && ::access("/usr/bin/newuidmap", X_OK) != 0) GTEST_SKIP() << "no newuidmap here";
    Supervised::Options o;
    o.guest = guest_running(shell("cat /proc/self/uid_map /proc/self/gid_map"));
    o.caller = {kStranger};
    o.before = [ranged] {
      if (ranged) give_ranges("stranger:3000000:65536\n", "stranger:4000000:65536\n", kGroup);
      become_stranger_of_another_group();
    };
    o.serve = [](Guest&) {
      struct sigaction now{};
      ::sigaction(SIGCHLD, nullptr, &now);
      if (now.sa_handler != SIG_IGN) (void)::dprintf(STDERR_FILENO, "SIGCHLD is not ignored\n");
    };
    Supervised guest(o);
    EXPECT_EQ(guest.finish(), 0);
    EXPECT_EQ(squeezed(guest.output()),
              ranged ? "0 " + uid + " 1 1 3000000 65536 0 " + gid + " 1 1 4000000 65536 "
                     : "0 " + uid + " 1 0 " + gid + " 1 ");
  }
}

TEST(Guest, WithARangeInOneOfTheFilesOnlyThereIsRootAloneAndNothingToTell) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a user a range of its own";
  const std::string line = "stranger:3000000:65536\n";
  for (const bool of_users : {false, true}) {
    Supervised::Options o;
    o.guest = guest_running(shell("cat /proc/self/uid_map /proc/self/gid_map"));
    o.caller = {kStranger};
    o.before = [&] { give_ranges(of_users ? line : "", of_users ? "" : line); };
    Supervised guest(o);
    const int status = guest.finish();
    if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    const std::string single = "0 " + std::to_string(kStranger) + " 1 ";
    EXPECT_EQ(squeezed(guest.output()), single + single) << of_users;
  }
}

TEST(Guest, WhatAHelperThatFailsOrIsMissingComplainsOfIsToldInOurWordsAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: gives a user a range of its own";
  const shmif::test::TempDir helpers("/tmp");  // for /dev/shm may be mounted noexec
  ::chmod(helpers.path().c_str(), 0755);
  for (const char* name : {"newuidmap", "newgidmap"}) {
    std::ofstream(helpers.file(name)) << "#!/bin/sh\necho of the helper >&2\nexit 1\n";
    ::chmod(helpers.file(name).c_str(), 0755);
  }
  for (const std::string& path : {helpers.path(), std::string("/nonexistent")}) {
    Supervised::Options o;
    o.guest = guest_running({"/bin/cat", "/proc/self/uid_map"});
    o.caller = {kStranger};
    o.before = [&] {
      give_ranges("stranger:3000000:65536\n", "stranger:4000000:65536\n");
      ::setenv("PATH", path.c_str(), 1);
    };
    Supervised guest(o);
    const int status = guest.finish();
    if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(status, 0) << guest.output();
    EXPECT_EQ(guest.output().find("of the helper"), std::string::npos) << guest.output();
    EXPECT_NE(guest.output().find("note: the ranges of /etc/subuid"), std::string::npos)
        << guest.output();
  }
}

/// As root of a container, which has some ids of the outer machine, in two ranges.
TEST(Guest, OfRootInAUserNamespaceHasEveryIdThatIsThere) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has two ranges of ids";
  Supervised::Options o;
  o.guest = guest_running(shell("cat /proc/self/uid_map /proc/self/gid_map"));
  o.before = [] {
    std::array<int, 2> made{};
    if (::pipe2(made.data(), O_CLOEXEC) != 0) ::_exit(96);
    const pid_t container = ::getpid();
    const pid_t mapper = ::fork();  // stays outside
    if (mapper == 0) {
      ::close(made[1]);  // or it would wait for ever where there are no user namespaces
      char step = 0;
      if (::read(made[0], &step, 1) != 1) ::_exit(0);
      const std::string process = "/proc/" + std::to_string(container);
      for (const char* kind : {"/uid_map", "/gid_map"}) {
        std::ofstream(process + kind) << "0 100000 1000\n1000 300000 65536\n";
      }
      ::_exit(0);
    }
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(77);
    (void)!::write(made[1], "m", 1);
    ::waitpid(mapper, nullptr, 0);
    if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) ::_exit(77);
    ::prctl(PR_SET_DUMPABLE, 1);
  };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0);
  std::string said = squeezed(guest.output());
  const std::string both = "0 0 1000 1000 1000 65536 ";
  EXPECT_TRUE(said.ends_with(both + both)) << guest.output();
}

#ifdef __x86_64__
/// fchown() as a program of 32 bits calls it. Result: none where the kernel runs no such programs.
std::optional<int> fchown_of_32_bits(int fd, uid_t user, gid_t group) {
  const auto call = [](int number, int a, unsigned b, unsigned c) {
    int answer = 0;
    asm volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return answer;
  };
  constexpr int kGetpid = 20, kFchown = 207;
  const pid_t child = ::fork();  // without such programs, the instruction ends the process
  if (child == 0) ::_exit(call(kGetpid, 0, 0, 0) == ::getpid() ? 0 : 1);
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) return std::nullopt;
  return call(kFchown, fd, user, group);
}
#endif

/// Calls what changes ids, in a guest that has one only. Result: 0, or the number of the first call
/// that did not answer that it is done.
int pretend_to_change_each_id() {
  constexpr const char* kFile = "/run/of-somebody";
  const UniqueFd file(::open(kFile, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::array<gid_t, 2> groups{5, 6};
  constexpr auto kAsItIs = static_cast<uid_t>(-1);
  int number = 0;
  const auto done = [&](long answer) {
    ++number;
    return answer == 0;
  };
  if (!done(::syscall(SYS_setgroups, groups.size(), groups.data())) ||
      !done(::syscall(SYS_setgid, 5)) || !done(::syscall(SYS_setuid, 5)) ||
      !done(::syscall(SYS_setregid, 5, 5)) || !done(::syscall(SYS_setreuid, 5, 5)) ||
      !done(::syscall(SYS_setresgid, 5, 5, 5)) || !done(::syscall(SYS_setresuid, 5, 5, 5)) ||
      !done(::syscall(SYS_setfsgid, 5)) || !done(::syscall(SYS_setfsuid, 5))) {
    return number;
  }
  for (unsigned bit = 0; bit < 31; ++bit) {
    const uid_t id = 1U << bit;
    for (const auto& [user, group] :
         {std::pair{id, kAsItIs}, std::pair{kAsItIs, id}, std::pair{id, id}}) {
      number = 10;
      if (!done(::chown(kFile, user, group)) || !done(::lchown(kFile, user, group)) ||
          !done(::fchown(file.get(), user, group)) ||
          !done(::fchownat(AT_FDCWD, kFile, user, group, 0))) {
        return number;
      }
    }
  }
#ifdef __x86_64__
  if (const auto answer = fchown_of_32_bits(file.get(), 5, 6)) {
    number = 15;
    if (!done(*answer)) return number;
  }
#endif
  struct stat now{};
  if (::fstat(file.get(), &now) != 0 || now.st_uid != 0 || now.st_gid != 0) return 20;
  return ::getuid() == 0 && ::geteuid() == 0 && ::getgid() == 0 ? 0 : 21;
}

TEST(Guest, WhereRootIsTheOnlyIdEveryChangeOfIdsIsAnsweredAsDone) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes a user without subordinate ids";
  Supervised::Options o;
  o.guest = guest_running({});
  o.guest.body = pretend_to_change_each_id;
  o.caller = {kStranger};
  Supervised guest(o);
  const int code = guest.finish();
  if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(code, 0) << "the number of a call";
}

}  // namespace
}  // namespace shmif::tap::test
