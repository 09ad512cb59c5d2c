// Who is another user, to somebody who wants to enter a guest.

#include "tap/guest_enter.hpp"

#include <sched.h>
#include <sys/syscall.h>

#include "tests/tap/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A process in a user namespace that root has made, as container managers do.
class ContainerOfRoot {
 public:
  /// `outer`: the first of `count` ids outside that are in there, as 0 and up. `effective`: the
  /// effective user id of the process.
  explicit ContainerOfRoot(uid_t outer, unsigned count = 1000, uid_t effective = 0) {
    std::array<int, 2> steps{};
    EXPECT_EQ(::pipe2(steps.data(), O_CLOEXEC), 0);
    std::array<int, 2> news{};
    EXPECT_EQ(::pipe2(news.data(), O_CLOEXEC), 0);
    char step = 0;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
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
      std::ofstream("/proc/" + std::to_string(pid_) + '/' + kind) << "0 " << outer << ' ' << count;
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

TEST(GuestEnter, KnowsWhereThereIsOnlyOneId) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const unsigned count : {1U, 2U, 1000U}) {
    const ContainerOfRoot container(100000, count);
    if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
    const auto target = container.look();
    ASSERT_TRUE(target) << target.error().message;
    EXPECT_EQ(target->single_id, count == 1) << count;
  }
}

TEST(GuestEnter, WhoRunsAsTwoUsersIsNobodyToBecome) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const ContainerOfRoot container(100000, 1000, 5);
  if (!container.works()) GTEST_SKIP() << "this machine forbids user namespaces";
  const auto target = container.look();
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().code, std::errc::permission_denied);
  EXPECT_NE(target.error().message.find("started by another user"), std::string::npos)
      << target.error().message;
}

}  // namespace
}  // namespace shmif::tap::test
