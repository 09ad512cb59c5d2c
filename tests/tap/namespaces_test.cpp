// Network namespaces: what comes back from one, how one is named, and whose it is.

#include "tap/namespaces.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/tap_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

class Namespaces : public TapFixture {};

TEST_F(Namespaces, DescriptorsComeBackInTheirOrderAndStayHere) {
  for (const std::size_t count : {0U, 1U, 16U, 17U}) {
    const auto made = run_in(where_, [&]() -> Result<std::vector<UniqueFd>> {
      std::vector<UniqueFd> out;
      for (std::size_t i = 0; i < count; ++i) {
        out.emplace_back(::open("/dev/null", O_RDONLY | O_APPEND));
        if (i % 2 == 1) out.back().reset(::socket(AF_UNIX, SOCK_STREAM, 0));
      }
      return out;
    });
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->size(), std::min<std::size_t>(count, 16));
    for (std::size_t i = 0; i < made->size(); ++i) {
      const int each = (*made)[i].get();
      EXPECT_EQ(::fcntl(each, F_GETFD), FD_CLOEXEC) << i;
      EXPECT_EQ((::fcntl(each, F_GETFL) & O_APPEND) != 0, i % 2 == 0) << i;
    }
  }
}

TEST_F(Namespaces, ErrorsOfTheSystemAreStillThose) {
  const auto full = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    return Error::from_errno(ENOSPC, "cannot do it");
  });
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, std::errc::no_space_on_device);
  EXPECT_EQ(full.error().message, Error::from_errno(ENOSPC, "cannot do it").message);
  const auto wordy = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    return Error(Errc::bad_argument, std::string(5000, 'x') + "end");
  });
  ASSERT_FALSE(wordy);
  EXPECT_EQ(wordy.error().code, Errc::bad_argument);
  EXPECT_EQ(wordy.error().message, std::string(4000, 'x'));
}

TEST_F(Namespaces, AreTheSameWhereverTheyWereFound) {
  const NetNamespace here = NetNamespace::current().value();
  EXPECT_FALSE(where_.is_current());
  EXPECT_FALSE(where_.is_same(here));
  EXPECT_TRUE(where_.is_same(space_.space()));
  const UniqueFd tap = handed(IFF_TAP | IFF_NO_PI);
  EXPECT_TRUE(NetNamespace::of_device(tap.get()).value().is_same(where_));
  const auto sockets = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    std::vector<UniqueFd> out;
    out.emplace_back(::socket(AF_INET, SOCK_DGRAM, 0));
    return out;
  });
  EXPECT_TRUE(NetNamespace::of_socket(sockets->at(0).get()).value().is_same(where_));
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(
      NetNamespace::of_device(file.get()).error().message,
      Error::from_errno(ENOTTY, "cannot find the network namespace of the TAP device").message);
  EXPECT_EQ(NetNamespace::of_socket(file.get()).error().message,
            Error::from_errno(ENOTTY, "cannot find the network namespace of a socket").message);
}

TEST(NetNamespace, RefusesWhatIsNone) {
  EXPECT_EQ(NetNamespace::parse("no-such-name").error().code, std::errc::no_such_file_or_directory);
  EXPECT_EQ(NetNamespace::parse("0").error().code, Errc::bad_argument);
  for (const char* no_name : {".", "..", "a/.."}) {
    EXPECT_EQ(NetNamespace::by_name(no_name).error().code, Errc::bad_argument) << no_name;
  }
  EXPECT_EQ(NetNamespace::parse("99999999999").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("/etc/passwd").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("/proc/self/ns/user").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("").error().code, Errc::bad_argument);
  const auto mine = NetNamespace::parse(std::to_string(::getpid()));
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_TRUE(mine->is_current());
}

TEST(WhyNoNamespaces, FollowsFromTheErrorUnlessALimitIsZero) {
  const std::string other = why_no_namespaces(EPERM);
  if (other.find(" is 0; as root: ") != std::string::npos)
    GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  EXPECT_NE(why_no_namespaces(ENOSPC).find("limits"), std::string::npos);
  EXPECT_NE(why_no_namespaces(EUSERS).find("nested"), std::string::npos);
  for (const int number : {EINVAL, ENOSYS})
    EXPECT_NE(why_no_namespaces(number).find("without namespaces"), std::string::npos);
}

TEST(NetNamespace, AHelperIsReapedAndWhatItThrewIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters a namespace";
  const auto before = children_of(::getpid());
  const auto here = NetNamespace::current();
  const auto r = run_in(*here, []() -> Result<std::vector<UniqueFd>> {
    throw std::runtime_error("thrown in there");
  });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message, "thrown in there");
  EXPECT_EQ(children_of(::getpid()), before);
}

TEST(NetNamespace, HelperThatDiesIsAnErrorNotAHang) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters a namespace";
  const auto here = NetNamespace::current();
  const auto r = run_in(*here, []() -> Result<std::vector<UniqueFd>> { ::_exit(3); });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, std::errc::no_child_process);
}

TEST(NetNamespace, EntersAnotherUserNamespaceOfTheSameUserFromAThreadedProcess) {
  const shmif::test::StayingChild foreigner(
      [] { return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0; });
  if (!foreigner.works()) {
    GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  }
  // The setns of a user namespace fails beside a thread.
  const std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) ::usleep(1000);
  });
  const auto where = NetNamespace::by_pid(foreigner.pid());
  ASSERT_TRUE(where) << where.error().message;
  auto netlink = Netlink::open(*where);
  ASSERT_TRUE(netlink) << netlink.error().message;
  // The session works from outside, on interfaces that only exist inside.
  const auto made = netlink->add_veth("inner0", "inner1");
  EXPECT_TRUE(made) << made.error().message;
  EXPECT_TRUE(netlink->interface("inner0"));
  EXPECT_FALSE(Netlink::open()->interface("inner0"));
}

// When a network namespace that is watched is over.

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

constexpr int kNoMounts = 77;

/// In a process of its own, with mounts of its own: whether a chroot into a directory, or into a
/// mount, is found. Result: 0 no, 1 yes.
int found_in(const std::string& directory, bool is_mount) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return kNoMounts;
  }
  const std::string proc = directory + "/proc";
  if (is_mount && ::mount("none", directory.c_str(), "tmpfs", 0, nullptr) != 0) return kNoMounts;
  ::mkdir(proc.c_str(), 0755);
  if (::mount("/proc", proc.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) return kNoMounts;
  // This process stays outside, and sees the mount of the other at another place.
  return shmif::test::Child([&] {
           if (::chroot(directory.c_str()) != 0 || ::chdir("/") != 0) return kNoMounts;
           return is_chrooted() ? 1 : 0;
         })
      .wait();
}

TEST(IsChrooted, InADirectoryAndInAMount) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: changes its root directory";
  for (const bool is_mount : {false, true}) {
    const shmif::test::TempDir directory;
    const int found =
        shmif::test::Child([&] { return found_in(directory.path(), is_mount); }).wait();
    if (found == kNoMounts) GTEST_SKIP() << "no namespaces here with mounts of their own";
    EXPECT_EQ(found, 1) << (is_mount ? "a mount" : "a directory");
  }
}

}  // namespace
}  // namespace shmif::tap::test
