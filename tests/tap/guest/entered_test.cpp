// Commands that enter a guest that runs, and what a command of a guest finds of its caller's.

#include <sys/syscall.h>

#include <filesystem>
#include <optional>

#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/guest_rig.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {
namespace {

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
