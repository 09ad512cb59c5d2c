// The guest's processes: exit status, signals, descriptors, ids, and that nothing outlives it.

#include "tap/guest/guest.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <atomic>
#include <optional>
#include <set>
#include <stdexcept>

#include "tests/support/child_process.hpp"
#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

class Guests : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    if (GetParam().via == Via::tap && !tun_.works()) GTEST_SKIP() << "no TUN device here";
    const Supervised::Options probe = options({"true"});
    Supervised guest(probe);
    if (guest.finish() == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  }

  Supervised::Options options(std::vector<std::string> command, std::string input = {}) const {
    Supervised::Options o;
    o.guest = guest_running(std::move(command), GetParam().via);
    if (tun_.works()) o.guest.tun_device = tun_.path();
    o.caller = GetParam().caller;
    o.input = std::move(input);
    return o;
  }

  /// Runs a shell script in a guest to its end. Result: what it printed.
  std::string print(const std::string& script, int expected_status = 0) const {
    Supervised guest(options(shell(script)));
    EXPECT_EQ(guest.finish(), expected_status) << script << '\n' << guest.output();
    return guest.output();
  }

 private:
  OpenTunDevice tun_;
};

INSTANTIATE_TEST_SUITE_P(Each, Guests, ::testing::ValuesIn(settings()),
                         ::testing::PrintToStringParamName());

TEST_P(Guests, ExitStatusIsTheCommands) {
  print("exit 0", 0);
  print("exit 7", 7);
  print("kill -TERM $$", 128 + SIGTERM);
  print("kill -KILL $$", 128 + SIGKILL);
}

TEST_P(Guests, StandardInputAndOutputPassThrough) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i) + '\n';  // less than a pipe holds
  Supervised guest(options({"cat"}, text));
  EXPECT_EQ(guest.finish(), 0);
  EXPECT_EQ(guest.output(), text);
}

TEST_P(Guests, OutputThatTheCommandClosesIsClosed) {
  // Who reads what the command writes must see the end when the command closes it. The supervisor
  // keeps its own copies, for its caller to close; init must not.
  const std::string said = print(
      "i=0; while ls -l /proc/1/fd | grep -q pipe: && test $i -lt 500; do i=$((i+1)); sleep 0.01; "
      "done; ls -l /proc/1/fd | grep -c pipe:; true");
  EXPECT_EQ(said, "0\n");
}

TEST_P(Guests, CommandIsRootWithEveryCapabilityAndGainsNoPrivileges) {
  EXPECT_EQ(print("id -u; id -g"), "0\n0\n");
  const std::string status = print("cat /proc/self/status");
  const std::string all = contents("/proc/sys/kernel/cap_last_cap");
  char mask[17];
  (void)std::snprintf(&mask[0], sizeof mask, "%016llx", (2ULL << std::stoi(all)) - 1);
  EXPECT_NE(status.find(std::string("CapEff:\t") + &mask[0]), std::string::npos) << status;
  EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos) << status;
}

TEST_P(Guests, OutsideItsNamespacesTheCommandIsOnlyItsCaller) {
  // A capability over the outer world would set the outer clock, host name or load modules.
  print("date -s '2001-01-01' > /dev/null 2>&1", 1);
  const std::string before = contents("/proc/sys/kernel/hostname");
  print("echo shmif-guest > /proc/sys/kernel/hostname; cat /proc/sys/kernel/hostname");
  EXPECT_EQ(contents("/proc/sys/kernel/hostname"), before);
  if (!GetParam().caller.is_root()) {
    const std::string denied = print("cat /etc/shadow 2>&1; true");
    EXPECT_NE(denied.find("ermission denied"), std::string::npos) << denied;
  }
}

TEST_P(Guests, CommandHasNoDescriptorOfOurs) {
  auto o = options(shell("ls -l /proc/self/fd"));
  UniqueFd deliberate(::open("/dev/null", O_RDONLY));
  const UniqueFd marked(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 0);
  EXPECT_NE(guest.output().find("/dev/null"), std::string::npos) << "what was inherited stays";
  EXPECT_EQ(guest.output().find("/dev/zero"), std::string::npos) << guest.output();
  EXPECT_EQ(guest.output().find("socket:"), std::string::npos) << guest.output();
  EXPECT_EQ(guest.output().find("/tun"), std::string::npos) << guest.output();
  EXPECT_EQ(guest.output().find("anon_inode"), std::string::npos) << guest.output();
}

TEST_P(Guests, StreamsThatTheCallerClosedStayClosed) {
  auto o = options(
      shell("n=0; for i in 0 1 2; do test -e /proc/$$/fd/$i && n=$((n+1)); done; exit $((40+n))"));
  o.before = [] { ::close_range(0, 255, 0); };
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 40) << "streams are open";
}

TEST_P(Guests, CommandInheritsSignalMaskAndIgnoredSignals) {
  auto o = options({"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"});
  o.before = [] {
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGCHLD, SIG_IGN);
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
  };
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 0);
  EXPECT_NE(guest.output().find("SigBlk:\t0000000000000200"), std::string::npos) << guest.output();
  EXPECT_NE(guest.output().find("SigIgn:\t0000000000010001"), std::string::npos) << guest.output();
}

TEST_P(Guests, SignalToTheSupervisorReachesTheCommandOnce) {
  Supervised guest(
      options(shell("n=0; trap 'n=$((n+1)); echo heard' USR1; trap 'echo got $n; exit 9' TERM; "
                    "echo ready; while :; do sleep 0.01; done")));
  ASSERT_TRUE(guest.says("ready")) << guest.output();
  guest.signal(SIGUSR1);
  ASSERT_TRUE(guest.says("heard")) << guest.output();
  guest.signal(SIGTERM);
  EXPECT_EQ(guest.finish(), 9);
  EXPECT_NE(guest.output().find("got 1"), std::string::npos) << guest.output();
}

TEST_P(Guests, SignalThatEndsTheCommandIsTold) {
  Supervised guest(options(shell("echo ready; exec sleep 600")));
  ASSERT_TRUE(guest.says("ready")) << guest.output();
  guest.signal(SIGINT);
  EXPECT_EQ(guest.finish(), 128 + SIGINT);
}

TEST_P(Guests, DaemonLeftBehindEndsWithTheCommand) {
  Supervised guest(
      options(shell("setsid sleep 600 & setsid sh -c \"trap '' TERM; sleep 600\" & "
                    "sleep 0.1; exit 3")));
  EXPECT_EQ(guest.finish(), 3);
  EXPECT_TRUE(guest.all_gone());
}

TEST_P(Guests, DaemonLeftBehindMayEndInItsOwnWay) {
  auto o = options(
      shell("(trap 'echo tidy; exit' TERM; echo ready > /run/ready; while :; do sleep 0.01; done) "
            "2> /dev/null & while ! test -s /run/ready; do sleep 0.01; done"));
  o.guest.grace = kGenerousTime;  // 100 ms may be too short on a busy machine
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 0);
  EXPECT_EQ(guest.output(), "tidy\n");
}

TEST_P(Guests, NothingIsLeftWhenTheSupervisorIsKilled) {
  Supervised guest(
      options(shell("setsid sleep 600 & setsid sh -c \"trap '' TERM INT HUP; echo "
                    "ready; sleep 600; sleep 600\" & wait")));
  ASSERT_TRUE(guest.says("ready")) << guest.output();
  const std::vector<pid_t> init = guest.children();
  ASSERT_EQ(init.size(), 1U);
  guest.signal(SIGKILL);
  EXPECT_TRUE(guest.all_gone());
  EXPECT_TRUE(eventually([&] { return is_dead(init[0]); }));
  EXPECT_EQ(guest.finish(), 128 + SIGKILL);
}

TEST_P(Guests, NothingIsLeftWhenTheSupervisorIsKilledAtAnyStageOfTheStart) {
  for (int delay_us = 0; delay_us < 40000; delay_us += 1500) {
    Supervised guest(options({"sleep", "600"}));
    ::usleep(static_cast<useconds_t>(delay_us));
    const std::vector<pid_t> init = guest.children();
    guest.signal(SIGKILL);
    EXPECT_TRUE(guest.all_gone()) << delay_us;
    for (const pid_t each : init) {
      EXPECT_TRUE(eventually([&] { return is_dead(each); })) << delay_us;
    }
  }
}

TEST_P(Guests, EndOfInitIsTheEndOfTheGuest) {
  Supervised guest(options(shell("echo ready; exec sleep 600")));
  ASSERT_TRUE(guest.says("ready")) << guest.output();
  const std::vector<pid_t> init = guest.children();
  ASSERT_EQ(init.size(), 1U);
  ::kill(init[0], SIGKILL);
  EXPECT_EQ(guest.finish(), 128 + SIGKILL);
  EXPECT_NE(guest.output().find("the host's init was killed"), std::string::npos) << guest.output();
  EXPECT_TRUE(guest.all_gone());
}

TEST_P(Guests, InitReapsOrphans) {
  // What the last look saw counts: an orphan may be ending at any moment, but none stays so.
  const std::string left = print(
      "for i in 1 2 3 4 5; do (true & ) ; done; sleep 0.1; i=0; "
      "while left=$(grep -l 'State:.Z' /proc/[0-9]*/status 2> /dev/null); "
      "test -n \"$left\" && test $i -lt 200; do i=$((i+1)); sleep 0.02; done; echo \"$left\"");
  EXPECT_EQ(left, "\n");
}

TEST_P(Guests, GuestSeesItsOwnProcessesOnly) {
  const std::string seen = print("cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l");
  EXPECT_TRUE(seen.starts_with("shmif-init\n")) << seen;
  EXPECT_LE(std::stoi(seen.substr(seen.find('\n'))), 6) << seen;
}

TEST_P(Guests, ProgramsThatDropPrivilegesStart) {
  const std::string said = print(
      "setpriv --reuid 1 --regid 1 --clear-groups echo as user; "
      "setpriv --regid 1 --groups 1,2,3 echo with groups");
  EXPECT_EQ(said, "as user\nwith groups\n");
}

TEST_P(Guests, StateOfDaemonsIsPrivate) {
  const std::string before = contents("/etc/resolv.conf");
  print(
      "echo nameserver 198.18.0.53 > /etc/resolv.conf.new && mv /etc/resolv.conf.new "
      "/etc/resolv.conf && grep -q 198.18.0.53 /etc/resolv.conf && "
      "echo 1 > /run/shmif-guest-test.pid && echo 1 > /var/run/shmif-guest-test2.pid && "
      "{ test ! -d /var/lib/misc || echo 1 > /var/lib/misc/shmif-guest-test; }");
  EXPECT_EQ(contents("/etc/resolv.conf"), before);
  for (const char* path : {"/run/shmif-guest-test.pid", "/run/shmif-guest-test2.pid",
                           "/var/lib/misc/shmif-guest-test"}) {
    EXPECT_NE(::access(path, F_OK), 0) << path;
  }
}

TEST_P(Guests, MountsInsideStayInside) {
  print("mount -t tmpfs none /mnt && touch /mnt/shmif-guest-test");
  EXPECT_NE(::access("/mnt/shmif-guest-test", F_OK), 0);
}

TEST_P(Guests, MachineWithoutUserNamespacesIsNotSupported) {
  auto o = options({"true"});
  o.before = [caller = o.caller] {
    // A user namespace that may have no further ones below it.
    become(caller);
    const uid_t uid = ::geteuid();
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(98);
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << uid << ' ' << uid << " 1";
    std::ofstream("/proc/sys/user/max_user_namespaces") << 0;
  };
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 77) << guest.output();
  EXPECT_NE(guest.output().find("/proc/sys/user/max_user_namespaces is 0; as root: sysctl"),
            std::string::npos)
      << guest.output();
}

TEST(Guest, AUserWithTooManyProcessesIsToldSoAndNotThatNamespacesAreMissing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: is an ordinary user with a limit of its own";
  Supervised::Options o;
  o.guest = guest_running({"true"});
  o.caller = {kStranger};
  o.before = [] {
    const rlimit one{1, 1};
    ::setrlimit(RLIMIT_NPROC, &one);
  };
  Supervised guest(o);
  EXPECT_EQ(guest.finish(), 125) << guest.output();
  EXPECT_NE(guest.output().find("ulimit -u"), std::string::npos) << guest.output();
}

TEST(Guest, WhatABodyAnswersIsTheStatusAnd125IfItThrows) {
  for (const int expected : {0, 7, 125}) {
    Supervised::Options o;
    o.guest = guest_running({});
    o.guest.body = [expected] {
      if (expected == 125) throw std::runtime_error("thrown in there");
      return expected;
    };
    Supervised guest(o);
    const int code = guest.finish();
    if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(code, expected) << guest.output();
  }
}

TEST(Guest, SaysWhyACommandCannotRun) {
  std::string script = "/tmp/shmif-script-XXXXXX";
  {
    const UniqueFd file(::mkstemp(script.data()));
    (void)!::write(file.get(), "#!/nonexistent\n", 15);
    (void)::fchmod(file.get(), 0755);
  }
  std::string closed = "/tmp/shmif-closed-XXXXXX";  // a directory that others may not look into
  ASSERT_NE(::mkdtemp(closed.data()), nullptr);
  struct Case {
    std::string command;
    int status;
    std::string why;
  };
  for (const Case& each : {Case{"no-such-program-anywhere", 127, "(no such program in PATH)"},
                           Case{"/nonexistent/program", 127, "does not exist)"},
                           Case{script, 127, "the interpreter that it names"},
                           Case{"/etc/passwd", 126, "may execute?)"}}) {
    Supervised::Options o;
    o.guest = guest_running({each.command});
    if (::geteuid() == 0) o.caller = {kStranger};
    o.before = [&] { ::setenv("PATH", (closed + ":/usr/bin:/bin").c_str(), 1); };
    Supervised guest(o);
    const int code = guest.finish();
    if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(code, each.status) << guest.output();
    EXPECT_NE(guest.output().find("cannot run \"" + each.command + '"'), std::string::npos)
        << guest.output();
    EXPECT_NE(guest.output().find(each.why), std::string::npos) << guest.output();
  }
  ::unlink(script.c_str());
  ::rmdir(closed.c_str());
}

TEST(Guest, EverySignalThatCanBeSentOnReachesTheCommand) {
  constexpr std::array kSignals{SIGHUP,  SIGINT,    SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE,
                                SIGALRM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGURG,  SIGWINCH,
                                SIGIO,   SIGPWR,    40,      64,      SIGTERM};
  std::string traps;
  for (const int number : kSignals) {
    const std::string n = std::to_string(number);
    traps.append("trap 'echo heard ").append(n).append(".' ").append(n).append("; ");
  }
  Supervised::Options o;
  o.guest = guest_running(shell(traps + "echo ready; while :; do sleep 0.01; done"));
  o.before = [&] {
    for (const int number : kSignals) ::signal(number, SIG_DFL);
  };
  Supervised guest(o);
  if (!guest.says("ready")) GTEST_SKIP() << "no namespaces here: " << guest.output();
  for (const int number : kSignals) {
    guest.signal(number);
    EXPECT_TRUE(guest.says("heard " + std::to_string(number) + '.')) << guest.output();
  }
}

TEST(Guest, StoppedProcessLeftBehindMayEndInItsOwnWay) {
  Supervised::Options o;
  o.guest = guest_running(
      shell("(trap 'echo tidy; exit' TERM; echo ready > /run/ready; while :; do sleep 0.01; done) "
            "2> /dev/null & while ! test -s /run/ready; do sleep 0.01; done; kill -STOP $!"));
  o.guest.grace = kGenerousTime / 4;  // 100 ms may be too short on a busy machine
  Supervised guest(o);
  const int code = guest.finish();
  if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(code, 0);
  EXPECT_EQ(guest.output(), "tidy\n");
}

TEST(Guest, SignalMaskOfTheCallerIsAsBeforeWhenTheGuestIsGoneOrCouldNotBeMade) {
  const auto try_both = [] {
    const auto mask = [] {
      sigset_t set;
      ::sigprocmask(SIG_SETMASK, nullptr, &set);
      std::string blocked;
      for (int number = 1; number < 65; ++number) {
        blocked += ::sigismember(&set, number) == 1 ? '1' : '0';
      }
      return blocked;
    };
    sigset_t own;
    ::sigemptyset(&own);
    ::sigaddset(&own, SIGUSR2);
    ::sigprocmask(SIG_SETMASK, &own, nullptr);
    const std::string before = mask();
    GuestOptions impossible = guest_running({"true"}, Via::tap);
    impossible.tun_device = "/nonexistent/tun";
    if (Guest::start(impossible)) return 1;
    if (mask() != before) return 2;
    {
      auto guest = Guest::start(guest_running({"true"}));
      if (!guest) return 77;
      if (mask() == before) return 3;
      if (!guest->release() || guest->wait().status != 0) return 4;
    }
    return mask() == before ? 0 : 5;
  };
  const int code = shmif::test::Child(try_both).wait();
  if (code == 77) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(code, 0) << "1 made, 2 blocked after a failure, 3 not blocked meanwhile, 4 not run, "
                        "5 blocked afterwards";
}

TEST(Guest, TellsOfEachInterfaceByItsOwnNumber) {
  auto o = guest_running(
      shell("ip link set tap1 mtu 1400; ip link set tap2 mtu 1300; ip link set tap1 down"));
  o.forward_signals = false;
  for (const char* name : {"tap1", "tap2"}) {
    o.interfaces.emplace_back();
    o.interfaces.back().name = name;
    o.interfaces.back().mtu = 9000;
  }
  o.interfaces[1].mac = MacAddress::parse("b2:a0:00:00:00:01");
  auto guest = Guest::start(o);
  if (!guest && guest.error().code == make_error_code(Errc::not_supported)) {
    GTEST_SKIP() << "no namespaces here: " << guest.error().message;
  }
  ASSERT_TRUE(guest) << guest.error().message;
  ASSERT_EQ(guest->links().size(), 3U);
  std::set<std::uint64_t> macs;
  for (std::size_t i = 0; i < 3; ++i) {
    const GuestLink& link = guest->links()[i];
    EXPECT_EQ(link.interface, "tap" + std::to_string(i));
    EXPECT_EQ(link.mtu, i == 0 ? 1500U : 9000U);
    EXPECT_TRUE(link.mac.is_unicast());
    macs.insert(link.mac.to_u64());
  }
  EXPECT_EQ(macs.size(), 3U);
  EXPECT_EQ(guest->links()[1].mac, *o.interfaces[1].mac);
  ASSERT_TRUE(guest->release());
  std::array<GuestInterfaceState, 3> last{{{.mtu = 1500}, {}, {}}};
  for (std::optional<GuestExit> exit; !exit;) {
    const GuestNews news = guest->dispatch();
    for (const GuestInterfaceState& now : news.interfaces) last.at(now.interface) = now;
    exit = news.exit;
    pollfd entry{guest->descriptor(), POLLIN, 0};
    if (!exit) (void)::poll(&entry, 1, -1);
  }
  last[0].mac = {};  // it has no news
  EXPECT_EQ(last[0], (GuestInterfaceState{.mtu = 1500}));
  EXPECT_EQ(last[1],
            (GuestInterfaceState{
                .interface = 1, .carrier = false, .mtu = 1400, .mac = guest->links()[1].mac}));
  EXPECT_EQ(last[2],
            (GuestInterfaceState{.interface = 2, .mtu = 1300, .mac = guest->links()[2].mac}));
}

/// Sends every netlink socket of this network namespace a message about interface `index`, with an
/// attribute IFLA_PROMISCUITY of `size` bytes. Result: how many sockets took one.
int forge_promiscuity(unsigned index, std::uint16_t size) {
  struct {
    nlmsghdr header;
    ifinfomsg about;
    rtattr attribute;
    std::uint32_t count;
  } message{};
  message.attribute = {static_cast<std::uint16_t>(sizeof(rtattr) + size), IFLA_PROMISCUITY};
  message.count = 1;
  message.about.ifi_index = static_cast<int>(index);
  message.header.nlmsg_type = RTM_NEWLINK;
  message.header.nlmsg_len = static_cast<std::uint32_t>(offsetof(decltype(message), count)) + size;
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  std::ifstream table("/proc/net/netlink");
  std::string line;
  std::getline(table, line);
  int taken = 0;
  while (std::getline(table, line)) {  // address, protocol, port, groups ...
    std::istringstream words(line);
    std::string address;
    unsigned protocol = 1;
    sockaddr_nl to{};
    to.nl_family = AF_NETLINK;
    words >> address >> protocol >> to.nl_pid;
    if (protocol != NETLINK_ROUTE || to.nl_pid == 0) continue;
    if (::sendto(socket.get(), &message, message.header.nlmsg_len, 0,
                 reinterpret_cast<const sockaddr*>(&to), sizeof to) > 0) {
      ++taken;
    }
  }
  return taken;
}

TEST(Guest, WhatAGuestSaysAboutItsInterfacesIsNotTakenForTheKernelsWord) {
  auto o = guest_running({});
  o.forward_signals = false;
  o.body = [] {
    const unsigned index = ::if_nametoindex("tap0");
    if (forge_promiscuity(index, 4) == 0 || forge_promiscuity(index, 0) == 0) return 9;
    return 0;
  };
  auto guest = Guest::start(o);
  if (!guest && guest.error().code == make_error_code(Errc::not_supported)) {
    GTEST_SKIP() << "no namespaces here: " << guest.error().message;
  }
  ASSERT_TRUE(guest) << guest.error().message;
  ASSERT_TRUE(guest->release());
  std::optional<GuestExit> exit;
  std::size_t believed = 0;
  while (!exit) {
    const GuestNews news = guest->dispatch();
    for (const GuestInterfaceState& now : news.interfaces) believed += now.promiscuous ? 1U : 0U;
    exit = news.exit;
    pollfd entry{guest->descriptor(), POLLIN, 0};
    if (!exit) (void)::poll(&entry, 1, -1);
  }
  EXPECT_EQ(exit->status, 0) << "9: nobody took the forged messages";
  EXPECT_EQ(believed, 0U);
}

}  // namespace
}  // namespace shmif::tap::test
