// Code that killed monitors left in a process, with a thread that is still in it or comes back to
// it: no later monitor may take its place.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "perf/inject/held_threads.hpp"
#include "perf/inject/stub_room.hpp"
#include "tests/perf/inject/borrow_rig.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Child;
using shmif::test::eventually;

TargetState* visited = nullptr;  ///< in the target
int handler_waits_on[2] = {-1, -1};

/// Waits until the test lets it go: for a time, or in a call for which no thread is stopped.
void wait_in_handler(int /*signal*/) {
  ++visited->handlers;
  char byte = 0;
  if (handler_waits_on[0] >= 0) {
    while (::read(handler_waits_on[0], &byte, 1) != 1) ++visited->wrong;
    return;
  }
  const timespec rest{0, 1'000'000};
  while (!visited->may_leave_handler) ::nanosleep(&rest, nullptr);
}

constexpr std::uint64_t kAnswer = 0x5eed;
/// Computes; calls the code at `place` once.
void visit(TargetState& state) {
  static const bool is_set = [&] {
    visited = &state;
    struct sigaction action{};
    action.sa_handler = wait_in_handler;
    return ::sigaction(SIGUSR1, &action, nullptr) == 0 &&
           ::sigaction(SIGUSR2, &action, nullptr) == 0;
  }();
  state.wrong += is_set ? 0 : 1;
  compute(state);
  if (state.place != 0) {
    state.wrong += reinterpret_cast<std::uint64_t (*)()>(state.place.load())() == kAnswer ? 0 : 1;
    state.place = 0;
    ++state.visits;
  }
}

void plant(const LiveTarget& target, std::uint64_t place, const Bytes& code) {
  HeldThreads held(target.id());
  ASSERT_TRUE(held.hold());
  for (std::size_t at = 0; at < code.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, &code[at], std::min(sizeof word, code.size() - at));
    ASSERT_TRUE(held.poke(held.threads().front(), place + at, word));
  }
}

/// Each empty place, as if many monitors had been killed.
void plant_everywhere_else(const LiveTarget& target) {
  while (const auto place = room_of(target.pid()).empty_place()) {
    plant(target, *place, stub_for({}));
  }
}

/// Code that begins as each stub does, waits until `may_leave`, and returns kAnswer. Meanwhile no
/// register says where it is.
Bytes slow_stub(const std::atomic<bool>* may_leave) {
  constexpr std::ptrdiff_t kBeginning = 10;  // mov eax, ...; mov edi, ...
  const Bytes stub = stub_for({});
  Bytes code(stub.begin(), stub.begin() + kBeginning);
  const auto number = [&](std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) code.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  };
  code.insert(code.end(), {0x48, 0xb8});  // mov rax, may_leave
  number(reinterpret_cast<std::uint64_t>(may_leave), 8);
  // xor ecx, ecx; the same with edx, esi, edi, r8d, r9d, r10d and r11d
  code.insert(code.end(), {0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff});
  code.insert(code.end(), {0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xdb});
  // cmp byte [rax], 0; je back to it; mov eax, kAnswer; ret
  code.insert(code.end(), {0x80, 0x38, 0x00, 0x74, 0xfb, 0xb8});
  number(kAnswer, 4);
  code.push_back(0xc3);
  return code;
}

/// A monitor that is killed when it has led a thread into a stub, before it lets it run: the thread
/// gets `signal`, and is in the handler of that before the first instruction of the stub. Or it is
/// killed before its step kMaxSteps, if it leads no thread there.
void kill_when_in_stub(const LiveTarget& target, int signal) {
  constexpr int kMaxSteps = 100;
  const TaskId id = target.id();
  const auto places = places_of(target.pid());
  Child monitor([&] {
    int step = 0;
    const BeforeEachStep hook([&] {
      if (std::ranges::find(places, instruction_at(id.number)) != places.end()) {
        ::syscall(SYS_tgkill, id.number, id.number, signal);
        ::raise(SIGKILL);
      }
      if (++step == kMaxSteps) ::raise(SIGKILL);
    });
    return borrow_userfaultfd(id) ? 0 : 1;
  });
  EXPECT_EQ(monitor.wait(), 128 + SIGKILL);
}

TEST(StubsOfKilledMonitors, AreNotLeftForAnotherOneByAThreadThatIsInThem) {
  NEEDS_BORROWING();
  const LiveTarget target(visit);
  TargetState& state = *target.state();
  const std::uint64_t place = places_of(target.pid()).front();
  plant(target, place, slow_stub(&state.may_leave_place));
  plant_everywhere_else(target);
  state.place = place;
  ASSERT_TRUE(eventually([&] {
    HeldThreads held(target.id());
    return held.hold() &&
           instruction_of(held.threads().front().state.registers) - place < kStubBytes;
  }));
  // Were it led into another stub, that would go back into the first one, which nobody would know
  // of while the thread is in a handler. The second monitor would put its stub there.
  kill_when_in_stub(target, SIGUSR1);
  kill_when_in_stub(target, SIGUSR2);
  const auto third = borrow_userfaultfd(target.id());
  EXPECT_EQ(third ? "" : third.error().message,
            "process " + std::to_string(target.pid()) +
                " is still in the code of a monitor that was killed (try again)");
  EXPECT_EQ(state.handlers, 0U);
  state.may_leave_handler = true;
  state.may_leave_place = true;
  EXPECT_TRUE(eventually([&] { return state.visits == 1; }));
  EXPECT_TRUE(target.lives_on()) << target.status();
  EXPECT_TRUE(borrow_userfaultfd(target.id()));
}

struct Handler {
  const char* name;
  bool waits_in_read;
  int threads;
};
void PrintTo(const Handler& handler, std::ostream* out) {
  *out << handler.name;
}
class StubBelowAHandler : public testing::TestWithParam<Handler> {};

/// A signal came before the first instruction of the stub. Its handler returns there, much later.
TEST_P(StubBelowAHandler, IsThereWhenTheHandlerReturns) {
  NEEDS_BORROWING();
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]), in(ends[1]);
  if (GetParam().waits_in_read) std::ranges::copy(ends, handler_waits_on);
  LiveTarget target(visit, GetParam().threads);
  handler_waits_on[0] = handler_waits_on[1] = -1;
  TargetState& state = *target.state();
  const std::uint64_t first = places_of(target.pid()).front();
  kill_when_in_stub(target, SIGUSR1);
  ASSERT_TRUE(eventually([&] { return state.handlers == 1; }));
  const Bytes stub = memory_of(target.pid(), first, kStubBytes);
  ASSERT_TRUE(std::equal(stub.begin(), stub.begin() + kStubHeadBytes, stub_for({}).begin()));
  if (GetParam().threads == 1) {
    // The second one, too: of the same thread, in the same handler.
    kill_when_in_stub(target, SIGUSR2);
    ASSERT_TRUE(eventually([&] { return state.handlers == 2; }));
  }
  plant_everywhere_else(target);
  for (int i = 0; i < 3; ++i) {
    const auto file = borrow_userfaultfd(target.id());
    EXPECT_TRUE(file) << file.error().message;
    EXPECT_TRUE(memory_of(target.pid(), first, kStubBytes) == stub);
    plant_everywhere_else(target);
  }
  state.may_leave_handler = true;
  const char bytes[2] = {};
  ASSERT_EQ(::write(in.get(), bytes, sizeof bytes), 2);
  EXPECT_TRUE(target.lives_on()) << target.status();
  EXPECT_EQ(target.end(), 0);
}

INSTANTIATE_TEST_SUITE_P(Handlers, StubBelowAHandler,
                         testing::Values(Handler{"sleeps", false, 1}, Handler{"reads", true, 1},
                                         Handler{"reads beside another thread", true, 2}),
                         [](const auto& kind) { return "That" + std::to_string(kind.index); });

/// A thread whose waiting ends with EINTR whenever it is stopped, and that has no handler.
void wait_without_handler(TargetState& state) {
  static const int epoll = ::epoll_create1(0);
  epoll_event event{};
  state.wrong += ::epoll_wait(epoll, &event, 1, 20) == 0 ? 0 : 1;
}

TEST(BorrowedCalls, AreNotSeenByAWaitAlthoughAnIgnoredSignalComesMeanwhile) {
  NEEDS_BORROWING();
  LiveTarget target(wait_without_handler);
  const auto places = places_of(target.pid());
  const TaskId id = target.id();
  for (int i = 0; i < 20; ++i) {
    const BeforeEachStep hook([&] {
      if (std::ranges::find(places, instruction_at(id.number)) == places.end()) return;
      ::syscall(SYS_tgkill, id.number, id.number, SIGCHLD);
    });
    const auto file = borrow_userfaultfd(id);
    EXPECT_TRUE(file || file.error().code == Errc::busy) << file.error().message;
  }
  EXPECT_TRUE(target.lives_on());
  EXPECT_EQ(target.wrong(), 0U);
  EXPECT_EQ(target.end(), 0);
}

/// The first thread computes; the others wait until the test writes.
void wait_beside(TargetState& state) {
  char byte = 0;
  if (::gettid() == ::getpid()) return compute(state);
  state.wrong += ::read(handler_waits_on[0], &byte, 1) == 1 ? 0 : 1;
}

TEST(BorrowedCalls, AreNotMadeWhileAnotherMonitorHoldsAnyThread) {
  NEEDS_BORROWING();
  ASSERT_EQ(::pipe2(handler_waits_on, O_CLOEXEC), 0);
  const UniqueFd out(handler_waits_on[0]), in(handler_waits_on[1]);
  LiveTarget target(wait_beside, 2);
  const TaskId id = target.id();
  const std::string tasks = "/proc/" + std::to_string(id.number) + "/task";
  pid_t other = 0;
  const auto names = KernelFiles().list(tasks);
  ASSERT_TRUE(names);
  for (const std::string& name : *names) {
    if (std::stoi(name) != id.number) other = std::stoi(name);
  }
  ASSERT_TRUE(eventually([&] {
    const auto call = KernelFiles().read(tasks + '/' + std::to_string(other) + "/syscall");
    return call && call->starts_with(std::to_string(SYS_read) + ' ');
  }));
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, other, nullptr, nullptr), 0);
  const auto file = borrow_userfaultfd(id);
  EXPECT_EQ(file ? "" : file.error().message, "cannot stop process " + std::to_string(id.number) +
                                                  ": process " + std::to_string(::getpid()) +
                                                  " traces it (end that one first)");
  target.state()->ends = true;
  const char byte = 0;
  ASSERT_EQ(::write(in.get(), &byte, 1), 1);
  EXPECT_EQ(::waitpid(other, nullptr, __WALL), other);  // by us: we trace it
  EXPECT_EQ(target.end(), 0);
  handler_waits_on[0] = handler_waits_on[1] = -1;
}

}  // namespace
}  // namespace shmif::perf::test
