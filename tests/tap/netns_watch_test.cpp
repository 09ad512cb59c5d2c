// When a network namespace that is watched is over.

#include "tap/namespaces.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

class NetNamespaceWatchTest : public NamespaceTest {};

TEST_F(NetNamespaceWatchTest, ANamespaceIsOverWhenItHasNeitherItsPathNorAProcess) {
  std::optional<TestNamespace> space(std::in_place);
  const auto watch = NetNamespaceWatch::open(space->path());
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_FALSE(watch->look());
  const pid_t inhabitant = ::fork();
  if (inhabitant == 0) {
    if (::setns(space->descriptor(), CLONE_NEWNET) != 0) ::_exit(1);
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(inhabitant, nullptr, WUNTRACED), inhabitant);
  space.reset();
  EXPECT_FALSE(watch->look()) << "a process is in it";
  ::kill(inhabitant, SIGKILL);
  ::waitpid(inhabitant, nullptr, 0);
  EXPECT_TRUE(watch->look());
}

TEST_F(NetNamespaceWatchTest, ALookAtANamespaceIsEnoughUntilTheNextIsDue) {
  const TestNamespace space;
  const auto watch = NetNamespaceWatch::open(space.path());
  ASSERT_TRUE(watch) << watch.error().message;
  itimerspec looks{};
  ASSERT_EQ(::timerfd_gettime(watch->descriptor(), &looks), 0);
  EXPECT_TRUE(looks.it_interval.tv_sec > 0 || looks.it_interval.tv_nsec > 0) << "and once only";
  const itimerspec now{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1}};
  ASSERT_EQ(::timerfd_settime(watch->descriptor(), 0, &now, nullptr), 0);
  pollfd due{watch->descriptor(), POLLIN, 0};
  ASSERT_EQ(::poll(&due, 1, 20'000), 1);
  EXPECT_FALSE(watch->look());
  EXPECT_EQ(::poll(&due, 1, 0), 0) << "it would be looked at without pause";
}

TEST_F(NetNamespaceWatchTest, AWatcherIsNoInhabitantOfTheNamespaceThatItWatches) {
  std::optional<TestNamespace> space(std::in_place);
  const pid_t watcher = ::fork();
  if (watcher == 0) {
    const auto watch = NetNamespaceWatch::open(space->path());
    if (!watch || ::setns(space->descriptor(), CLONE_NEWNET) != 0) ::_exit(1);
    space.reset();
    ::_exit(watch->look() ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(watcher, &status, 0), watcher);
  EXPECT_EQ(status, 0) << "it would wait for itself to leave";
}

TEST_F(NetNamespaceWatchTest, ANamespaceGivenByAProcessIsOverWhenThatEnds) {
  const pid_t process = ::fork();
  if (process == 0) ::_exit(::pause());
  const auto watch = NetNamespaceWatch::open(std::to_string(process));
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_FALSE(watch->look());
  ::kill(process, SIGKILL);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(process), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(watch->look().value_or(""), "process " + std::to_string(process) + " has ended");
  EXPECT_FALSE(NetNamespaceWatch::open(std::to_string(process))) << "a zombie has no namespace";
  ::waitpid(process, nullptr, 0);
}

/// As in ip(8).
TEST_F(NetNamespaceWatchTest, ANumberMeansTheNamespaceOfThatNameIfThereIsOne) {
  const TestNamespace space;
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string number = std::to_string(::getpid());
    leave_mounts();
    std::error_code failed;
    if (::mount("none", "/run", "tmpfs", 0, nullptr) != 0) ::_exit(2);
    std::filesystem::create_directories("/run/netns/", failed);
    std::filesystem::create_symlink(space.path(), "/run/netns/" + number, failed);
    const auto watch = NetNamespaceWatch::open(number);
    ::_exit(watch && watch->space().name() == '"' + number + '"' && !watch->look() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace shmif::tap::test
