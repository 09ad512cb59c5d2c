// shmifctl exec leaves nothing behind, whichever of its processes gets which signal at which stage
// of its life. Every stage in turn with SHMIF_EVERY_STAGE=1, else some of them, others each time.

#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>

#include "tests/support/traced_family.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

/// Which process of the host is hit.
enum class Victim { caller, supervisor, init, command };
constexpr std::array kVictimNames{"the caller", "the supervisor", "init", "the command"};

/// What of the machine could remember a host.
struct World {
  std::set<std::string> interfaces;
  std::set<std::string> mounts;  ///< the number and the mount point of each

  static World now() {
    World world;
    if (auto* const all = ::if_nameindex(); all != nullptr) {
      for (auto* each = all; each->if_index != 0; ++each) world.interfaces.insert(each->if_name);
      ::if_freenameindex(all);
    }
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
      std::istringstream words(line);
      std::string number, parent, device, root, place;
      words >> number >> parent >> device >> root >> place;
      world.mounts.insert(number + ' ' + place);
    }
    return world;
  }
  /// The mounts of `after` that were not there before. An earlier mount may be missing in `after`:
  /// when somebody removes the file that is the mount point, the kernel removes the mount
  /// everywhere.
  std::string new_mounts(const World& after) const {
    std::string text;
    for (const std::string& each : after.mounts) {
      if (!mounts.contains(each)) text += each + '\n';
    }
    return text;
  }
};

class ExecKill : public ExecRig {
 protected:
  static constexpr int kNoRoom = 77;  ///< exit status of a host that may make no namespaces

  void SetUp() override {
    ExecRig::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Interfaces and mounts of our own, so that nobody else changes them meanwhile. Shared mounts,
    // as systemd has them: what a guest mounted would show here if it did not keep it to itself.
    if (::geteuid() == 0) {
      ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
      ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
      ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr), 0);
    }
    before_ = World::now();
  }

  /// A host whose program changes the terminal, leaves a daemon behind and ends: the whole of a
  /// life, from the start of the program to the last process's end. With the file `stay` the
  /// program would not end by itself.
  Words whole_life() const {
    return host_line(
        {"sh", "-c",
         "stty raw -echo; setsid sleep 1000 & test -e " + file("stay") + " && sleep 1000; exit 3"},
        {"--name", "a", "--ip", "198.18.0.1/24"});
  }

  static pid_t find(Victim victim, const TracedFamily& family, pid_t caller) {
    const pid_t pid =
        victim == Victim::caller ? caller : family.member(static_cast<int>(victim) - 1);
    return family.is_running(pid) ? pid : caller;
  }

  /// Lets a host live to its `step`th stage, sends `signal` there, and checks that nothing is left.
  /// Result: `over` when its life had no such stage, `no_room` when it could not begin.
  enum class Outcome { hit, over, no_room };
  Outcome hit(Words line, std::uint64_t step, Victim victim, int signal) {
    const std::string what = std::string("signal ") + std::to_string(signal) + " to " +
                             kVictimNames[static_cast<std::size_t>(victim)] + " at step " +
                             std::to_string(step);
    TracedFamily family(std::move(line));
    ::unlink(file("stay").c_str());
    bool done = false;
    bool supervisor_killed = false;
    const bool ended = family.run([&](const TracedFamily::Stage& stage) {
      if (stage.step < step) return TracedFamily::Go::on;
      const pid_t pid = find(victim, family, stage.process);
      supervisor_killed = signal == SIGKILL && pid == family.member(0);
      // The host must not owe its end to its program.
      if (supervisor_killed || (signal == SIGKILL && pid == family.member(1))) {
        std::ofstream(file("stay")).close();
      }
      done = true;
      ::kill(pid, signal);
      return TracedFamily::Go::alone;
    });
    EXPECT_TRUE(ended) << what << " leaves\n" << family.survivors() << family.screen();
    if (!ended) return Outcome::over;
    const TracedFamily::End end = family.end();
    if (!done && counted_ && end.status == kNoRoom) return Outcome::no_room;
    if (!done) {
      EXPECT_EQ(end.status, 3) << family.screen();
    }
    // Who is killed himself can give nothing back; shells do that then.
    if (!supervisor_killed) {
      EXPECT_TRUE(end.gave_terminal_back) << what << family.screen();
      EXPECT_TRUE(family.terminal_is_as_before()) << what << family.screen();
    }
    expect_nothing_left(what);
    return done ? Outcome::hit : Outcome::over;
  }

  void expect_nothing_left(const std::string& what) {
    const World after = World::now();
    EXPECT_EQ(after.interfaces, before_.interfaces) << what;
    EXPECT_EQ(before_.new_mounts(after), "") << what;
    EXPECT_TRUE(eventually([&] { return !port("a"); })) << what << " leaves the port live";
  }

  /// The steps to hit, for one victim and signal: all, or some that differ from run to run.
  class Steps {
   public:
    explicit Steps(std::uint64_t stride)
        : stride_(std::getenv("SHMIF_EVERY_STAGE") != nullptr ? 1 : stride),
          at_(1 + std::random_device()() % stride_) {}
    std::uint64_t next() { return std::exchange(at_, at_ + stride_); }

   private:
    std::uint64_t stride_;
    std::uint64_t at_;
  };

  /// Hits hosts at one stage after another to the end of their life.
  void sweep(Victim victim, const std::vector<int>& signals, std::uint64_t stride) {
    Steps steps(stride);
    std::size_t count = 0;
    for (std::uint64_t step = steps.next(); !HasFailure();) {  // until a life has no such step
      Outcome outcome = Outcome::over;
      // The kernel takes a moment to count off the namespaces of the host before.
      ASSERT_TRUE(eventually([&] {
        outcome = hit(whole_life(), step, victim, signals[count % signals.size()]);
        return outcome != Outcome::no_room;
      })) << "namespaces are left of the host before the one for step "
          << step;
      if (outcome == Outcome::over) break;
      step = steps.next();
      ++count;
    }
    std::printf("%s hit at %zu stages\n", kVictimNames[static_cast<std::size_t>(victim)], count);
    EXPECT_GT(count, 0U);
  }

 private:
  World before_;

 protected:
  bool counted_ = false;  ///< there is room for few namespaces
};

INSTANTIATE_TEST_SUITE_P(Each, ExecKill, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecKill, NothingIsLeftOfAHostOneOfWhoseProcessesIsKilledAtAnyStage) {
  sweep(Victim::caller, {SIGKILL}, 53);
}

TEST_P(ExecKill, NothingIsLeftOfAHostWhoseSupervisorIsKilledAtAnyStage) {
  sweep(Victim::supervisor, {SIGKILL}, 97);
}

TEST_P(ExecKill, NothingIsLeftOfAHostWhoseInitIsKilledAtAnyStage) {
  sweep(Victim::init, {SIGKILL}, 97);
}

TEST_P(ExecKill, NothingIsLeftOfAHostOneOfWhoseProcessesIsAskedToEndAtAnyStage) {
  sweep(Victim::caller, {SIGTERM, SIGINT, SIGHUP}, 53);
}

TEST_P(ExecKill, NoSignalToASupervisorIsLostAtAnyStageOfTheStart) {
  // Its program would sleep for very long: that it ends is the signal's doing.
  Steps steps(61);
  const std::array<int, 3> signals{SIGTERM, SIGINT, SIGHUP};
  std::size_t count = 0;
  for (bool started = false; !started && !HasFailure(); ++count) {
    const int number = signals[count % signals.size()];
    const std::uint64_t step = steps.next();
    TracedFamily family(host_line({"sleep", "1000"}, {"--name", "a"}));
    const bool ended = family.run([&](const TracedFamily::Stage& stage) {
      started = stage.process == family.member(2) && stage.number == SYS_clock_nanosleep;
      if (stage.step < step && !started) return TracedFamily::Go::on;
      ::kill(family.member(0), number);
      return TracedFamily::Go::alone;
    });
    ASSERT_TRUE(ended) << "signal " << number << " at step " << step << '\n' << family.survivors();
    EXPECT_EQ(family.end().status, 128 + number) << "at step " << step;
    expect_nothing_left("signal at step " + std::to_string(step));
  }
  std::printf("signals at %zu stages\n", count);
}

/// Here only as many namespaces may exist as one host needs, so a further host can start only where
/// those before have left none.
class ExecNamespaces : public ExecKill {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(::unshare(CLONE_NEWUSER), 0);
    for (const auto& [file, text] : {std::pair{"setgroups", "deny"}, std::pair{"uid_map", "0 0 1"},
                                     std::pair{"gid_map", "0 0 1"}}) {
      ASSERT_TRUE(std::ofstream(std::string("/proc/self/") + file) << text << std::flush);
    }
    ExecKill::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // Of network and mount namespaces the test has one, and the far ends of veth pairs are in one.
    const bool veth = GetParam().via == "veth";
    limit(1, 2, veth ? 3 : 2);
    counted_ = true;
  }
  void TearDown() override { limit(1000, 1000, 1000); }  // the next test makes some here

  static void limit(int others, int mounts, int networks) {
    for (const auto& [kind, max] :
         {std::pair{"user", others}, std::pair{"pid", others}, std::pair{"ipc", others},
          std::pair{"uts", others}, std::pair{"mnt", mounts}, std::pair{"net", networks}}) {
      const std::string path = std::string("/proc/sys/user/max_") + kind + "_namespaces";
      EXPECT_TRUE(std::ofstream(path) << max << std::flush) << path;
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Root, ExecNamespaces,
                         ::testing::Values(ExecSetting{false, "tap", "ViaTap"},
                                           ExecSetting{false, "veth", "ViaVeth"}),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecNamespaces, NoneIsLeftOfAHostOneOfWhoseProcessesIsKilledAtAnyStage) {
  std::unique_ptr<Tool> one;
  ASSERT_TRUE(eventually([&] {
    one = std::make_unique<Tool>(host_line({"sh", "-c", "echo here; sleep 1000"}, {}));
    return one->wait_for("here");
  }));
  EXPECT_EQ(run({"true"}).status, kNoRoom) << "the limits do not bind";
  one->signal(SIGTERM);
  EXPECT_EQ(one->finish().status, 128 + SIGTERM);
  sweep(Victim::caller, {SIGKILL}, 71);
}

// Fifty hosts on one bus: all of them ping each other, and idle ones cost nothing.

using ExecMany = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecMany, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// Pings 198.18.0.1 and so on, one after the other, as `ping -c 1 -W 2` does: thousands of processes
// would take most of the time. Arguments: how many, and the file that says when.
constexpr const char* kPingAll = R"(
import os, socket, struct, subprocess, sys, time

count, go = int(sys.argv[1]), sys.argv[2]
echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
echo.setsockopt(255, 1, struct.pack('=I', 0xfffffffe))  # SOL_RAW, ICMP_FILTER: only answers

def request(number):
    body = struct.pack('!HH', os.getpid() & 0xffff, number) + b'everybody?'
    total = sum(struct.unpack('!7H', body)) + 0x800
    total = (total >> 16) + (total & 0xffff)
    return struct.pack('!BBH', 8, 0, ~(total + (total >> 16)) & 0xffff) + body

def is_answered(address, number):
    asked = request(number)
    echo.sendto(asked, (address, 0))
    end = time.monotonic() + 2
    while (left := end - time.monotonic()) > 0:
        echo.settimeout(left)
        try:
            packet, sender = echo.recvfrom(2048)
        except TimeoutError:
            return False
        if sender[0] == address and packet[20:22] == b'\0\0' and packet[24:] == asked[4:]:
            return True
    return False

def forget():
    subprocess.run(['ip', 'neigh', 'flush', 'all'], stdout=subprocess.DEVNULL, check=False)

while not os.path.exists(go):
    time.sleep(0.1)
for i in range(1, count + 1):
    for attempt in range(30):
        if is_answered(f'198.18.0.{i}', 100 * i + attempt):
            break
        forget()
        time.sleep(0.2)
    else:
        sys.exit(f'no answer from {i}')
    if i % 8 == 0:
        forget()
print('reached all', flush=True)
while not os.path.exists(go + '.home'):
    time.sleep(0.2)
)";

// All network namespaces of a machine share one table of 1024 neighbours, which by itself lets go
// of an entry after 5 s at the earliest (net.ipv4.neigh.default.gc_thresh3; "neighbor table
// overflow" in the kernel's log). Fifty hosts need 2450 at once, so these forget theirs after every
// eighth ping.
//
// On emulated CPUs, fifty hosts that look for one another at once get no answer within a minute.
TEST_P(ExecMany, FiftyHostsAllPingOneAnother) {
  const int hosts_wanted = kEmulated ? 10 : 50;
  constexpr std::chrono::seconds kLong{100};
  const std::string go = file("go");
  std::ofstream(file("ping_all.py")) << kPingAll;
  const std::string script = "exec /usr/bin/python3 " + file("ping_all.py") + ' ' +
                             std::to_string(hosts_wanted) + ' ' + go;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int i = 1; i <= hosts_wanted; ++i) {
    const std::string number = std::to_string(i);
    hosts.push_back(start("h" + number, script, {"--ip", "198.18.0." + number + "/24"}));
  }
  std::ofstream(go).close();
  const auto end = std::chrono::steady_clock::now() + kLong;
  int reached = 0;
  for (const auto& host : hosts) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (host->wait_for("reached all", left)) ++reached;
  }
  EXPECT_EQ(reached, hosts_wanted);
  std::ofstream(go + ".home").close();
  for (const auto& host : hosts) EXPECT_EQ(host->finish().status, 0);
}

/// How often a process was given a CPU, all its threads counted: nothing that runs escapes it.
std::uint64_t times_run(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t total = 0;
  for (std::string word; status >> word;) {
    std::uint64_t count = 0;
    if (word.find("ctxt_switches:") != std::string::npos && status >> count) total += count;
  }
  return total;
}

using ExecIdle = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecIdle, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// The kernels of fresh hosts report groups for some seconds, so the hosts are watched until they
// are quiet. They would solicit routers for hours, and each solicitation wakes all the others.
// Hosts that looked at their bus every 50 ms would run 40 times each in a window of two seconds,
// for ever.
TEST_P(ExecIdle, FiftyIdleHostsDoNotRun) {
  constexpr unsigned kHosts = 50;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (unsigned i = 0; i < kHosts; ++i)
    hosts.push_back(start(
        "h" + std::to_string(i),
        "for each in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 > $each; done; "
        "exec sleep 100"));
  std::uint64_t runs = 0;
  for (int window = 0; window < 20; ++window) {
    std::uint64_t before = 0;
    for (const auto& host : hosts) before += times_run(host->pid());
    std::this_thread::sleep_for(std::chrono::seconds(2));
    runs = 0;
    for (const auto& host : hosts) runs += times_run(host->pid());
    ASSERT_GT(runs, 0U);
    runs -= before;
    if (runs < kHosts) break;
  }
  EXPECT_LT(runs, kHosts) << "in two seconds";
}

}  // namespace
}  // namespace shmif::test
