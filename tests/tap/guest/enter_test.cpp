// Who is another user, to somebody who wants to enter a guest, and what is left outside.

#include "tap/guest/enter.hpp"

#include <linux/keyctl.h>
#include <sched.h>
#include <sys/syscall.h>

#include <filesystem>
#include <optional>
#include <sstream>

#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/test_namespace.hpp"

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

// Commands that enter a guest that runs, and what a command of a guest finds of its caller's.

using shmif::test::TempDir;

/// A guest of this user without interfaces, whose command does nothing.
class EnteredGuest : public ::testing::Test {
 protected:
  void SetUp() override {
    GuestOptions o = guest_running({"/bin/sleep", "300"});
    o.interfaces.clear();
    o.forward_signals = false;
    o.hostname = "entered";
    auto made = Guest::start(o);
    if (!made) GTEST_SKIP() << "no namespaces here: " << made.error().message;
    host_.emplace(*std::move(made));
    ASSERT_TRUE(host_->release());
  }

  struct Said {
    int status = -1;
    std::string output;
  };
  /// Runs a command in the guest. `before`: in the caller; `meanwhile`: while the command runs.
  Said enter(const std::vector<std::string>& command, const std::function<void()>& before = {},
             const std::function<void(Guest&)>& meanwhile = {}) {
    const std::string path = directory_.file("output");
    shmif::test::Child child([&] {
      const UniqueFd output(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) ::dup2(output.get(), fd);
      if (before) before();
      GuestOptions o;
      o.command = command;
      const pid_t init = host_->pid();
      const UniqueFd file(static_cast<int>(::syscall(SYS_pidfd_open, init, 0)));
      auto guest = Guest::enter(init, file.get(), o);
      if (!guest) {
        (void)::dprintf(STDOUT_FILENO, "not entered: %s\n", guest.error().message.c_str());
        return 200;
      }
      if (!guest->release()) return 201;
      if (meanwhile) meanwhile(*guest);
      const GuestExit exit = guest->wait();
      (void)::dprintf(STDOUT_FILENO, "%s%d daemons, %d jobs\n",
                      exit.failure.empty() ? "" : (exit.failure + '\n').c_str(), exit.daemons,
                      exit.jobs);
      return exit.status;
    });
    Said said{.status = child.wait(), .output = {}};
    said.output = contents(path);
    return said;
  }

  const TempDir directory_{"/tmp"};
  std::optional<Guest> host_;
};

TEST_F(EnteredGuest, HasItsNamespacesAndAnswersWithTheStatusOfTheCommand) {
  const Said said = enter(shell("hostname; id -u; cat /proc/1/comm; exit 7"));
  EXPECT_EQ(said.status, 7);
  EXPECT_EQ(said.output, "entered\n0\nshmif-init\n0 daemons, 0 jobs\n");
  EXPECT_EQ(enter(shell("kill -TERM $$")).status, 128 + SIGTERM);
  const Said missing = enter({"shmif-nowhere"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_NE(missing.output.find("no such program in PATH"), std::string::npos) << missing.output;
}

TEST_F(EnteredGuest, RunsInTheDirectoryOfItsCallerOrInTheRootIfThatIsNotThere) {
  const std::string there = directory_.path();
  EXPECT_EQ(enter({"pwd"}, [&] { std::filesystem::current_path(there); }).output,
            there + "\n0 daemons, 0 jobs\n");
  if (::geteuid() != 0) return;
  const TempDir outside("/run");  // the guest's is another one
  EXPECT_EQ(enter({"pwd"}, [&] { std::filesystem::current_path(outside.path()); }).output,
            "/\n0 daemons, 0 jobs\n");
}

TEST_F(EnteredGuest, HasTheMaskOfItsCallerAndGetsItsSignals) {
  EXPECT_EQ(enter(shell("umask"), [] { ::umask(0027); }).output, "0027\n0 daemons, 0 jobs\n");
  const Said said =
      enter(shell("trap 'echo usr1; exit 3' USR1; echo trapped; "
                  "while :; do sleep 0.01; done"),
            {}, [&](Guest& guest) {
              (void)eventually([&] { return contents(directory_.file("output")) == "trapped\n"; });
              guest.signal(SIGUSR1);
            });
  EXPECT_EQ(said.status, 3);
  EXPECT_EQ(said.output, "trapped\nusr1\n0 daemons, 0 jobs\n");
}

TEST_F(EnteredGuest, KeepsWhatACommandLeftThereUntilItEndsItself) {
  const Said said = enter(shell("sleep 4711 > /dev/null 2>&1 & exit 0"));
  EXPECT_EQ(said.status, 0);
  EXPECT_EQ(said.output, "0 daemons, 0 jobs\n") << "they are the guest's now";
  const auto left = [&] {
    for (const pid_t each : children_of(host_->pid())) {
      if (contents("/proc/" + std::to_string(each) + "/cmdline").find("4711") != std::string::npos)
        return each;
    }
    return pid_t{-1};
  };
  ASSERT_TRUE(eventually([&] { return left() > 0; }));
  const pid_t pid = left();
  host_.reset();
  EXPECT_TRUE(is_dead(pid));
}

TEST_F(EnteredGuest, EndsItsCommandsWithItselfAndThatIsSaid) {
  const Said said = enter({"sleep", "300"}, {}, [&](Guest&) { ::kill(host_->pid(), SIGKILL); });
  EXPECT_EQ(said.status, 128 + SIGKILL);
  EXPECT_NE(said.output.find("the host has ended\n"), std::string::npos) << said.output;
}

std::string path_in_guest(const char* path) {
  Supervised::Options o;
  o.guest = guest_running({"/bin/sh", "-c", "echo \"$PATH\""});
  o.guest.interfaces.clear();
  o.before = [path] { path != nullptr ? ::setenv("PATH", path, 1) : ::unsetenv("PATH"); };
  Supervised guest(o);
  return guest.finish() == 77 ? "none here\n" : guest.output();
}

TEST(GuestCommand, FindsRootsProgramsBehindThoseOfItsCaller) {
  const std::string all = path_in_guest(nullptr);
  if (all == "none here\n") GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(all, "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n");
  EXPECT_EQ(path_in_guest("/usr/sbin:/bin"), "/usr/sbin:/bin:/usr/local/sbin:/sbin\n");
  EXPECT_EQ(path_in_guest("/sbin:/usr/sbin:/usr/local/sbin"), "/sbin:/usr/sbin:/usr/local/sbin\n");
  EXPECT_EQ(path_in_guest("/opt/sbin:/opt/usr/sbin"),
            "/opt/sbin:/opt/usr/sbin:/usr/local/sbin:/usr/sbin:/sbin\n");
}

/// As an event loop would.
bool becomes(Guest& guest, const std::function<bool(const GuestInterfaceState&)>& so) {
  GuestInterfaceState now;
  return eventually([&] {
    pollfd entry{guest.descriptor(), POLLIN, 0};
    if (::poll(&entry, 1, 10) <= 0) return false;
    const GuestNews news = guest.dispatch();
    for (const GuestInterfaceState& each : news.interfaces) {
      if (so(each)) return true;
    }
    return false;
  });
}

TEST(GuestLans, WhatTheirBridgeDoesToTheInterfaceIsNoCapture) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters the guest's namespace";
  for (const std::vector<std::string>& taps : {std::vector<std::string>{}, {"vm0"}}) {
    GuestOptions o = guest_running({"/bin/sleep", "300"});
    o.forward_signals = false;
    o.interfaces[0].lan = GuestLan{.bridge = "lan0", .taps = taps};
    auto guest = Guest::start(o);
    if (!guest) GTEST_SKIP() << "no namespaces or bridges here: " << guest.error().message;
    ASSERT_TRUE(guest->release());
    EXPECT_TRUE(becomes(*guest, [](const GuestInterfaceState& now) {
      return now.mtu == 1500 && now.carrier && !now.promiscuous;
    })) << taps.size();
    const NetNamespace there = NetNamespace::by_pid(guest->pid()).value();
    ASSERT_TRUE(set_promiscuous(there, "tap0", true));
    EXPECT_TRUE(becomes(*guest, [](const GuestInterfaceState& now) { return now.promiscuous; }))
        << taps.size();
    ASSERT_TRUE(set_promiscuous(there, "tap0", false));
    EXPECT_TRUE(becomes(*guest, [](const GuestInterfaceState& now) { return !now.promiscuous; }))
        << taps.size();
  }
}

}  // namespace
}  // namespace shmif::tap::test
