// Calls that are borrowed of a process that gets signals meanwhile.

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>

#include "tests/perf/inject/borrow_rig.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Child;
using shmif::test::eventually;
using shmif::test::Shared;

/// The whole mapping of its vDSO, with the room for stubs.
Bytes vdso_of(pid_t process) {
  const auto maps = KernelFiles().read("/proc/" + std::to_string(process) + "/maps");
  const auto vdso = vdso_in(maps.value());
  return memory_of(process, vdso->begin, vdso->end - vdso->begin);
}

std::string told_of_signals(pid_t process) {
  return "process " + std::to_string(process) + " gets signals all the time (try again)";
}

/// A process that sends a signal to a thread each time that it is asked to.
class Sender {
 public:
  Sender(pid_t thread, int signal)
      : child_([this, thread, signal]() -> int {
          const timespec rest{0, 20'000};
          for (;;) {  // until killed
            if (letters_->sent == letters_->asked) {
              ::nanosleep(&rest, nullptr);
              continue;
            }
            if (::syscall(SYS_tgkill, letters_->process.load(), thread, signal) != 0) return 1;
            ++letters_->sent;
          }
        }) {
    letters_->process = thread;
  }
  void send() {
    const std::uint64_t wanted = ++letters_->asked;
    const timespec rest{0, 20'000};
    while (letters_->sent < wanted) ::nanosleep(&rest, nullptr);
  }
  std::uint64_t sent() const { return letters_->sent; }

 private:
  struct Letters {
    std::atomic<std::uint64_t> asked, sent;
    std::atomic<pid_t> process;
  };
  Shared<Letters> letters_;
  Child child_;
};

void compute_and_ignore(TargetState& state) {
  static const bool is_set = ::signal(SIGUSR1, SIG_IGN) != SIG_ERR;
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

/// Of a thread that gets a signal each time that it is about to begin the stub.
Result<UniqueFd> borrow_under_fire(const TaskId& id, Sender& sender) {
  const auto places = room_of(id.number).places();
  BorrowOptions options;
  options.before_step = [&] {
    if (std::ranges::find(places, instruction_at(id.number)) != places.end()) sender.send();
  };
  return borrow_userfaultfd(id, options);
}

TEST(BorrowedCalls, AreGivenUpWithoutATraceIfSignalsComeAllTheTime) {
  NEEDS_BORROWING();
  LiveTarget target(compute_and_ignore);
  const Bytes before = vdso_of(target.pid());
  Sender sender(target.pid(), SIGUSR1);
  for (int i = 0; i < 3; ++i) {
    const auto file = borrow_under_fire(target.id(), sender);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().message, told_of_signals(target.pid()));
    EXPECT_EQ(file.error().code, Errc::busy);
    EXPECT_TRUE(vdso_of(target.pid()) == before) << "a stub was left there";
  }
  EXPECT_GE(sender.sent(), 60U) << "twenty tries each";
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(refusal_of(target.id()), "") << "it gets none now";
  EXPECT_TRUE(vdso_of(target.pid()) == before);
  EXPECT_EQ(target.wrong(), 0U);
  EXPECT_EQ(target.end(), 0);
}

TEST(BorrowedCalls, AreMadeByAThreadThatGetsNoSignals) {
  NEEDS_BORROWING();
  LiveTarget target(compute_and_ignore, 2);
  const Bytes before = vdso_of(target.pid());
  Sender sender(target.pid(), SIGUSR1);
  const auto file = borrow_under_fire(target.id(), sender);
  EXPECT_TRUE(file) << file.error().message;
  EXPECT_GE(sender.sent(), 20U) << "the first thread was tried";
  EXPECT_TRUE(vdso_of(target.pid()) == before);
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.end(), 0);
}

TargetState* counts = nullptr;  ///< in the target
void compute_and_count(TargetState& state) {
  static const bool is_set = [&] {
    counts = &state;
    struct sigaction action{};
    action.sa_handler = [](int) { ++counts->handlers; };
    return ::sigaction(SIGUSR1, &action, nullptr) == 0;
  }();
  state.wrong += is_set ? 0 : 1;
  compute(state);
}

TEST(BorrowedCalls, LeaveNothingInAProcessThatIsSentSignalsInALoop) {
  NEEDS_BORROWING();
  for (const TargetBody body : {compute_and_ignore, compute_and_count}) {
    LiveTarget target(body);
    const TaskId id = target.id();
    const Bytes before = vdso_of(target.pid());
    {
      const Child sender([&]() -> int {
        const timespec rest{0, 300'000};  // else it would do nothing but handle them
        for (;;) {                        // until killed
          for (int i = 0; i < 300; ++i) ::kill(id.number, SIGUSR1);
          ::nanosleep(&rest, nullptr);
        }
      });
      for (int i = 0; i < 20; ++i) {
        const std::string refusal = refusal_of(id);
        EXPECT_TRUE(refusal.empty() || refusal == told_of_signals(id.number)) << refusal;
        EXPECT_TRUE(vdso_of(target.pid()) == before) << "a stub was left there";
      }
    }
    EXPECT_TRUE(target.lives_on());
    EXPECT_EQ(refusal_of(id), "");
    EXPECT_EQ(target.end(), 0);
  }
}

}  // namespace
}  // namespace shmif::perf::test
