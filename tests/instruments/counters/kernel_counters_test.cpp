// What the counters ask of this machine's kernel beside events: tasks, their ends and owners, and
// threads that are held.

#include <linux/perf_event.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <csignal>
#include <future>
#include <thread>

#include "instruments/counters/errors.hpp"
#include "instruments/counters/stat.hpp"
#include "instruments/watch/process.hpp"
#include "tests/instruments/counters/session_rig.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

/// A child that does nothing until it is killed.
class IdleChild {
 public:
  IdleChild()
      : child_([] {
          for (;;) ::pause();
          return 0;
        }) {}
  pid_t pid() const { return child_.pid(); }
  /// 'S', 'T' and so on, as in /proc/PID/stat.
  char state() const {
    const auto text = KernelFiles().read("/proc/" + std::to_string(pid()) + "/stat");
    const auto stat = text ? read_task_stat(*text) : Result<TaskStat>(text.error());
    return stat ? stat->state : '?';
  }
  bool has_state(char wanted) const {
    return shmif::test::eventually([&] { return state() == wanted; });
  }

 private:
  shmif::test::Child child_;
};

/// The number of a process that has ended and was waited for.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return child;
}

/// Where linux/perf_event.h has them.
TEST(KernelAttributes, HaveTheirLargerSizeOnlyForWhatNeedsIt) {
  EventAttr attr;
  attr.base.config = 0x304;
  const auto words = [&] {
    const AttrBytes bytes = kernel_bytes_of(attr);
    constexpr std::size_t kSize = 4, kConfig = 8, kConfig3 = 128;
    std::uint32_t size = 0;
    std::uint64_t config = 0, config3 = 0;
    std::memcpy(&size, &bytes.at(kSize), sizeof size);
    std::memcpy(&config, &bytes.at(kConfig), sizeof config);
    std::memcpy(&config3, &bytes.at(kConfig3), sizeof config3);
    return std::vector<std::uint64_t>{size, config, config3};
  };
  EXPECT_EQ(words(), (std::vector<std::uint64_t>{128, 0x304, 0}));
  attr.config3 = 0x99aabbccddeeff00;
  EXPECT_EQ(words(), (std::vector<std::uint64_t>{136, 0x304, 0x99aabbccddeeff00}));
}

TEST(MachineKernel, KnowsWhenOneOfSeveralThreadsHasEnded) {
  KernelCounters& kernel = kernel_counters();
  std::promise<pid_t> number;
  std::promise<void> end;
  std::thread other([&] {
    number.set_value(static_cast<pid_t>(::syscall(SYS_gettid)));
    end.get_future().wait();
  });
  const pid_t thread = number.get_future().get();
  const auto threads = kernel.threads(::getpid());
  EXPECT_NE(std::ranges::find(threads, thread), threads.end());
  EXPECT_NE(std::ranges::find(threads, ::getpid()), threads.end());
  const int file = kernel.open_task(thread, true);
  if (file >= 0) {  // since Linux 6.9
    EXPECT_FALSE(kernel.has_ended(file, thread));
  }
  end.set_value();
  other.join();
  if (file >= 0) {
    EXPECT_TRUE(shmif::test::eventually([&] { return kernel.has_ended(file, thread); }));
    kernel.close(file);
  }
  errno = 0;
  EXPECT_TRUE(kernel.threads(ended_process()).empty());
  EXPECT_EQ(errno, ENOENT);
}

TEST(MachineKernel, TellsWhenATaskBeganAndWhoseItIs) {
  KernelCounters& kernel = kernel_counters();
  EXPECT_EQ(kernel.start_ticks(::getpid()), Process::open(::getpid())->id().start_ticks);
  errno = 0;
  EXPECT_EQ(kernel.start_ticks(ended_process()), 0U);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(kernel.other_owner(::getpid()), std::nullopt);
  const auto cpus = kernel.online_cpus();
  EXPECT_EQ(static_cast<long>(cpus.size()), ::sysconf(_SC_NPROCESSORS_ONLN));
  if (::geteuid() != 0) return;
  EXPECT_EQ(kernel.other_owner(1), std::nullopt) << "root may watch everybody";
  const pid_t roots = ::getpid();
  const pid_t gone = ended_process();
  const Tree tree;
  EXPECT_TRUE(as_nobody(tree, [&] {
    EXPECT_EQ(kernel.other_owner(roots), std::optional<uid_t>(0));
    EXPECT_FALSE(kernel.has_ended(-1, roots)) << "we may not signal it, and it lives";
    EXPECT_TRUE(kernel.has_ended(-1, gone));
    EXPECT_EQ(kernel.other_owner(gone), std::nullopt);
  }));
}

TEST(MachineKernel, HoldsAThreadUntilItIsReleased) {
  KernelCounters& kernel = kernel_counters();
  const IdleChild child;
  EXPECT_EQ(kernel.hold(child.pid()), 0);
  EXPECT_EQ(child.state(), 't');
  EXPECT_EQ(kernel.hold(child.pid()), -EPERM) << "somebody holds it already";
  EXPECT_EQ(child.state(), 't');
  kernel.release(child.pid(), 0);
  EXPECT_TRUE(child.has_state('S'));
  EXPECT_EQ(kernel.hold(ended_process()), -ESRCH);
  // One that a user has stopped stays so.
  ASSERT_EQ(::kill(child.pid(), SIGSTOP), 0);
  EXPECT_TRUE(child.has_state('T'));
  const int signal = kernel.hold(child.pid());
  EXPECT_EQ(signal, 0);
  kernel.release(child.pid(), signal);
  EXPECT_TRUE(child.has_state('T'));
  ASSERT_EQ(::kill(child.pid(), SIGCONT), 0);
  EXPECT_TRUE(child.has_state('S'));
}

/// A signal can arrive while a read begins to hold the thread. It then stops the thread.
TEST(MachineKernel, GivesAThreadTheSignalThatStoppedIt) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  ASSERT_GT(child, 0);
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, child, nullptr, nullptr), 0);
  ASSERT_EQ(::kill(child, SIGUSR1), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, __WALL), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  ASSERT_EQ(WSTOPSIG(status), SIGUSR1);
  kernel_counters().release(child, SIGUSR1);
  const bool has_ended =
      shmif::test::eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; });
  EXPECT_TRUE(has_ended) << "the signal was lost";
  if (!has_ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGUSR1);
}

}  // namespace

// What people read when the kernel counts nothing: why, and what would help.

namespace {

CounterEvent event_called(const std::string& name, std::uint32_t type = PERF_TYPE_HARDWARE,
                          std::uint64_t config = 0) {
  CounterEvent event;
  event.name = name;
  event.type = type;
  event.config = config;
  return event;
}

TEST(Refusals, NameTheSettingThatWouldPermitTheEvent) {
  const CounterEvent cycles = event_called("cycles");
  const CounterEvent tracepoint = event_called("sched:sched_switch", PERF_TYPE_TRACEPOINT, 314);
  struct Case {
    const CounterEvent& event;
    RefusalHints hints;
    const char *reason, *enable_with;
  };
  for (const Case& each :
       {Case{cycles, {}, "does not allow it to this user", "sysctl kernel.perf_event_paranoid=1"},
        {cycles, {true, false}, "to this user", "in user space only, as cycles:u; or sysctl"},
        {cycles, {true, true}, "everything on a CPU", "sysctl kernel.perf_event_paranoid=0"},
        {tracepoint, {true, true}, "tracepoints", "sysctl kernel.perf_event_paranoid=-1"}}) {
    for (const int error : {EACCES, EPERM}) {
      const Refusal refusal = explain_refusal(error, each.event, each.hints);
      EXPECT_EQ(refusal.state, Refusal::State::not_permitted);
      expect_words(refusal.reason, {"kernel.perf_event_paranoid", each.reason});
      expect_words(refusal.enable_with, {each.enable_with, "CAP_PERFMON"});
    }
  }
}

TEST(UserSpace, IsAskedForByTheModifierThatTheNameCanHave) {
  for (const auto& [name, in_user_space] : std::vector<std::pair<std::string, std::string>>{
           {"cycles", "cycles:u"},
           {"cycles:k", "cycles:ku"},
           {"cycles:ukhGHp", "cycles:ukhGHpu"},
           {"sched:sched_switch", "sched:sched_switch:u"},
           {"a:b:pp", "a:b:ppu"},
           {"a:", "a::u"},
           {"cpu/event=1/", "cpu/event=1/u"},
           {"cpu/event=1/k", "cpu/event=1/ku"}}) {
    EXPECT_EQ(user_space_name(event_called(name)), in_user_space);
  }
  expect_words(user_space_note(event_called("cycles")),
               {"in user space only", "cycles:u", "kernel.perf_event_paranoid=1"});
}

TEST(CounterTargets, SayWhatASessionCannotBeLoadedOn) {
  const auto why = [](const CounterTarget& target, bool mask) {
    const auto checked = check_target(target, mask);
    EXPECT_TRUE(checked || checked.error().code == CounterErrc::invalid);
    return checked ? std::string() : checked.error().message;
  };
  const auto words = [&why](const CounterTarget& target, bool mask, const char* expected) {
    expect_words(why(target, mask), {expected});
    EXPECT_EQ(why(target, mask).empty(), *expected == 0) << why(target, mask);
  };
  const char* const single = "needs one thread or one CPU";
  words(CounterTarget::cpu({}), false, "none is named");
  words(CounterTarget::cpu({1}), true, "");
  words(CounterTarget::cpu({1, 2}), true, single);
  words(CounterTarget::cpu({1, 2}), false, "");
  CounterTarget cpu = CounterTarget::cpu({1});
  cpu.on_exec = true;
  words(cpu, false, "execute no program");
  CounterTarget thread = CounterTarget::thread({});
  words(thread, true, "");
  thread.on_exec = true;
  words(thread, true, single);
  words(thread, false, "");
  words(CounterTarget::process({}), true, single);
  words(CounterTarget::process({}), false, "");
}

}  // namespace

}  // namespace shmif::perf::test
