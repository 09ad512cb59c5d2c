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
  /// `outer`: the first id outside that is in there, as 0.
  explicit ContainerOfRoot(uid_t outer) {
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
      if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) ::_exit(1);
      (void)!::write(news[1], "r", 1);
      for (;;) ::pause();  // until the test kills it
    }
    ::close(news[1]);
    works_ = ::read(news[0], &step, 1) == 1;
    for (const char* kind : {"uid_map", "gid_map"}) {
      std::ofstream("/proc/" + std::to_string(pid_) + '/' + kind) << "0 " << outer << " 1000";
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

}  // namespace
}  // namespace shmif::tap::test
