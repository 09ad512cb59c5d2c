// Who is another user, to somebody who wants to enter a guest, and what is left outside.

#include "tap/guest/enter.hpp"

#include <linux/keyctl.h>
#include <sched.h>
#include <sys/syscall.h>

#include <sstream>

#include "tests/support/child_process.hpp"
#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A process in a user namespace that root has made, as container managers do.
class ContainerOfRoot {
 public:
  /// `outer`: the first of `count` ids outside that are in there, as 0 and up. `effective`: the
  /// effective user id of the process. `maker`: who makes the namespaces. `first`: how many ids
  /// the first line of a map has; 0: all.
  explicit ContainerOfRoot(uid_t outer, unsigned count = 1000, uid_t effective = 0, uid_t maker = 0,
                           unsigned first = 0) {
    std::array<int, 2> steps{};
    EXPECT_EQ(::pipe2(steps.data(), O_CLOEXEC), 0);
    std::array<int, 2> news{};
    EXPECT_EQ(::pipe2(news.data(), O_CLOEXEC), 0);
    char step = 0;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      become({maker});
      if (::unshare(CLONE_NEWUSER) != 0) ::_exit(1);
      (void)!::write(news[1], "u", 1);
      (void)!::read(steps[0], &step, 1);
      if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, effective, 0) != 0) ::_exit(1);
      (void)!::write(news[1], "r", 1);
      for (;;) ::pause();  // until the test kills it
    }
    ::close(news[1]);
    works_ = ::read(news[0], &step, 1) == 1;
    for (const char* kind : {"uid_map", "gid_map"}) {
      std::ostringstream map;
      map << "0 " << outer << ' ' << (first != 0 ? first : count) << '\n';
      if (first != 0) map << first << ' ' << outer + first << ' ' << count - first << '\n';
      std::ofstream("/proc/" + std::to_string(pid_) + '/' + kind) << map.str();
    }
    (void)!::write(steps[1], "m", 1);
    works_ = works_ && ::read(news[0], &step, 1) == 1;
    for (const int fd : {steps[0], steps[1], news[0]}) ::close(fd);
    file_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0U)));
  }
  ContainerOfRoot(const ContainerOfRoot&) = delete;
  ContainerOfRoot& operator=(const ContainerOfRoot&) = delete;
  ~ContainerOfRoot() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  /// False where namespaces are forbidden, or have no such ids.
  bool works() const { return works_; }
  Result<GuestTarget> look() const { return look_at_guest(pid_, file_.get()); }
  /// Ends the process, and leaves its number taken.
  void end() const {
    siginfo_t ended{};
    ::kill(pid_, SIGKILL);
    ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOWAIT);
  }

 private:
  bool works_ = false;
  pid_t pid_ = -1;
  UniqueFd file_;
};

TEST(GuestEnter, WhoRunsInAContainerThatRootMadeIsAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const ContainerOfRoot other(100000);
  const ContainerOfRoot same(0);
  if (!other.works() || !same.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const auto target = other.look();
  ASSERT_TRUE(target) << target.error().message;
  EXPECT_TRUE(target->is_foreign);
  EXPECT_EQ(target->user, 100000U);
  const auto own = same.look();
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_FALSE(own->is_foreign) << "there root is the same one";
}

TEST(GuestEnter, WhoseNamespacesAreAnotherUsersIsThatUsersThoughItRunsAsRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const ContainerOfRoot container(0, 1000, 0, kStranger);
  if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const auto target = container.look();
  ASSERT_TRUE(target) << target.error().message;
  EXPECT_EQ(target->user, 0U);
  EXPECT_TRUE(target->is_foreign);
}

TEST(GuestEnter, OfOneThatHasEndedThatIsSaidAndNotThatItIsAnotherUsers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const ContainerOfRoot container(0);
  if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  container.end();
  const auto target = container.look();
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().code, std::errc::no_such_process);
  EXPECT_NE(target.error().message.find("has just ended"), std::string::npos)
      << target.error().message;
}

TEST(GuestEnter, KnowsWhereThereIsOnlyOneId) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  // The last ones as newuidmap leaves them: the caller, and behind it the ranges of /etc/subuid.
  for (const auto& [count, first] : {std::pair(1U, 0U), {2U, 0U}, {1000U, 0U}, {1000U, 1U}}) {
    const ContainerOfRoot container(100000, count, 0, 0, first);
    if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
    const auto target = container.look();
    ASSERT_TRUE(target) << target.error().message;
    EXPECT_EQ(target->single_id, count == 1) << count << ' ' << first;
  }
}

TEST(GuestEnter, WhoRunsAsTwoUsersIsNobodyToBecome) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const ContainerOfRoot container(100000, 1000, 5);
  if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const auto target = container.look();
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().code, std::errc::permission_denied);
  EXPECT_NE(target.error().message.find("another user started the host"), std::string::npos)
      << target.error().message;
}

/// The real, effective and saved id.
template <class Get>
std::array<id_t, 3> ids_of(Get get) {
  std::array<id_t, 3> ids{9, 9, 9};
  (void)get(&ids[0], &ids[1], &ids[2]);
  return ids;
}

/// The namespaces of a process, without that of process ids, into which only children move.
std::vector<ino_t> namespaces_of(const std::string& process) {
  std::vector<ino_t> all;
  for (const char* kind : {"user", "net", "mnt", "ipc", "uts"}) {
    struct stat space{};
    ::stat(("/proc/" + process + "/ns/" + kind).c_str(), &space);
    all.push_back(space.st_ino);
  }
  return all;
}

/// Joins a guest of `kStranger` as root who has a key. Result: 0, or what went wrong.
int join_with_a_key(pid_t init) {
  constexpr const char* kKey = "of root";
  constexpr long kSession = KEY_SPEC_SESSION_KEYRING;
  if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0) return 77;
  if (::syscall(SYS_add_key, "user", kKey, "x", 1UL, kSession) < 0) return 77;
  const UniqueFd file(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
  const auto target = look_at_guest(init, file.get());
  if (!target || !target->is_foreign) return 1;
  const std::vector<ino_t> theirs = namespaces_of(std::to_string(init));
  const std::array<gid_t, 2> groups{5, 6};
  if (::setgroups(groups.size(), groups.data()) != 0) return 77;
  if (!join_guest(*target, file.get()) || !become_foreign_guest(file.get())) return 2;
  if (::getgroups(0, nullptr) != 0) return 5;
  for (const auto& ids : {ids_of(::getresuid), ids_of(::getresgid)}) {
    if (ids != std::array<id_t, 3>{}) return 6;
  }
  if (namespaces_of("self") != theirs) return 7;
  if (::syscall(SYS_keyctl, KEYCTL_SEARCH, kSession, "user", kKey, 0L) >= 0) return 3;
  return ::prctl(PR_GET_DUMPABLE) == 0 ? 0 : 4;
}

TEST(JoinGuest, OfAnotherUserTakesNothingOfRootAlong) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has two users";
  const shmif::test::StayingChild init([] {
    become({kStranger});
    const std::string map = "0 " + std::to_string(kStranger) + " 1";
    return ::unshare(static_cast<int>(kGuestNamespaces)) == 0 &&
           (std::ofstream("/proc/self/uid_map") << map).flush() &&
           (std::ofstream("/proc/self/setgroups") << "deny").flush() &&
           (std::ofstream("/proc/self/gid_map") << map).flush();
  });
  if (!init.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const int code = shmif::test::Child([&] { return join_with_a_key(init.pid()); }).wait();
  if (code == 77) GTEST_SKIP() << "this machine has no keys";
  EXPECT_EQ(code, 0) << "1 it is not found foreign, 2 not joined, 3 the key is there, 4 it may be "
                        "traced, 5 it has groups, 6 other ids, 7 other namespaces";
}

TEST(JoinGuest, OfOneselfIsInEachOfItsNamespaces) {
  const uid_t user = ::geteuid() == 0 ? kStranger : ::geteuid();
  const shmif::test::StayingChild parent([&] {
    become({user});
    if (::unshare(static_cast<int>(kGuestNamespaces)) != 0) return false;
    if (::fork() != 0) return true;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();  // until the test kills its parent
  });
  if (!parent.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const std::string map = "0 " + std::to_string(user) + " 1";
  std::ofstream("/proc/" + std::to_string(parent.pid()) + "/uid_map") << map;
  ASSERT_EQ(children_of(parent.pid()).size(), 1U);
  const pid_t init = children_of(parent.pid())[0];
  const auto join = [&] {
    become({user});
    const UniqueFd file(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
    const auto target = look_at_guest(init, file.get());
    if (!target || target->is_foreign) return 1;
    const auto theirs = namespaces_of(std::to_string(init));
    if (!join_guest(*target, file.get())) return 2;
    return namespaces_of("self") == theirs ? 0 : 3;
  };
  const int code = shmif::test::Child(join).wait();
  ::kill(init, SIGKILL);  // also if it did not hear of its parent's end
  EXPECT_EQ(code, 0) << "1 it is taken for foreign, 2 not joined, 3 other namespaces";
}

}  // namespace
}  // namespace shmif::tap::test
