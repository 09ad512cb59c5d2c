// Threads that wait in a call of the kernel while their process makes a call for a monitor.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ostream>
#include <string>

#include "tests/perf/inject/borrow_rig.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;

/// Longer than any test takes.
timespec hour{3600, 0};
std::uint64_t word = 0;
iovec part{&word, sizeof word};
mmsghdr messages[1]{};
constexpr std::uint64_t kUserSignal = std::uint64_t{1} << unsigned{SIGUSR2 - 1};
constexpr std::size_t kSetBytes = 8;

/// What the target waits for.
struct Waited {
  int epoll = -1;
  int empty = -1;     ///< a socket that receives nothing
  int full = -1;      ///< a socket that takes no more
  int listener = -1;  ///< nobody connects
  int crowded = -1;   ///< not connected; it would be to a listener whose queue is full
  int pipe[2] = {-1, -1};
  int file = -1;
  int semaphore = -1;  ///< made by the test, which removes it
  aio_context_t events = 0;
  sockaddr_un crowd{};
  socklen_t crowd_bytes = 0;
};
Waited waited;

/// A socket with a limit: the kernel does not restart its interrupted calls.
int limited(int file) {
  const timeval limit{3600, 0};
  ::setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return file;
}
int new_socket(int flags = 0) {
  return limited(::socket(AF_UNIX, SOCK_STREAM | flags, 0));
}
/// One of two; the other one stays open.
int connected_socket() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  return limited(ends[0]);
}
/// The kernel gives it a name.
int new_listener(int backlog, sockaddr_un& name, socklen_t& bytes) {
  const int file = new_socket();
  name.sun_family = AF_UNIX;
  ::bind(file, reinterpret_cast<const sockaddr*>(&name), sizeof name.sun_family);
  bytes = sizeof name;
  ::getsockname(file, reinterpret_cast<sockaddr*>(&name), &bytes);
  ::listen(file, backlog);
  return file;
}

void make_what_is_waited_for() {
  waited.epoll = ::epoll_create1(0);
  waited.empty = connected_socket();
  waited.full = connected_socket();
  while (::send(waited.full, &word, sizeof word, MSG_DONTWAIT) > 0) {
  }
  sockaddr_un name{};
  socklen_t bytes = 0;
  waited.listener = new_listener(1, name, bytes);
  new_listener(0, waited.crowd, waited.crowd_bytes);
  const auto* const crowd = reinterpret_cast<const sockaddr*>(&waited.crowd);
  while (::connect(new_socket(SOCK_NONBLOCK), crowd, waited.crowd_bytes) == 0) {
  }
  waited.crowded = new_socket();
  EXPECT_EQ(::pipe(waited.pipe), 0);
  waited.file = ::memfd_create("waits", 0);
  EXPECT_EQ(::ftruncate(waited.file, 4096), 0);
  ::syscall(SYS_io_setup, 1, &waited.events);
  messages[0].msg_hdr.msg_iov = &part;
  messages[0].msg_hdr.msg_iovlen = 1;
}

struct Wait {
  const char* name;
  long number;
  long (*call)();
};
void PrintTo(const Wait& wait, std::ostream* out) {
  *out << wait.name;
}

epoll_event event;
io_event completion;
sembuf one_less{0, -1, 0};
pollfd nothing{-1, POLLIN, 0};
std::uint32_t never = 0;

const Wait kWaits[] = {
    {"epoll_pwait", SYS_epoll_pwait,
     [] {
       return ::syscall(SYS_epoll_pwait, waited.epoll, &event, 1, 3'600'000, nullptr, kSetBytes);
     }},
    {"epoll_pwait2", SYS_epoll_pwait2,
     [] {
       return ::syscall(SYS_epoll_pwait2, waited.epoll, &event, 1, &hour, nullptr, kSetBytes);
     }},
    {"semop", SYS_semop, [] { return ::syscall(SYS_semop, waited.semaphore, &one_less, 1); }},
    {"semtimedop", SYS_semtimedop,
     [] { return ::syscall(SYS_semtimedop, waited.semaphore, &one_less, 1, &hour); }},
    {"sigwaitinfo", SYS_rt_sigtimedwait,
     [] { return ::syscall(SYS_rt_sigtimedwait, &kUserSignal, nullptr, nullptr, kSetBytes); }},
    {"sigtimedwait", SYS_rt_sigtimedwait,
     [] { return ::syscall(SYS_rt_sigtimedwait, &kUserSignal, nullptr, &hour, kSetBytes); }},
    {"io_getevents", SYS_io_getevents,
     [] { return ::syscall(SYS_io_getevents, waited.events, 1, 1, &completion, &hour); }},
    {"io_pgetevents", SYS_io_pgetevents,
     [] { return ::syscall(SYS_io_pgetevents, waited.events, 1, 1, &completion, &hour, nullptr); }},
    {"read", SYS_read, [] { return ::syscall(SYS_read, waited.empty, &word, sizeof word); }},
    {"readv", SYS_readv, [] { return ::syscall(SYS_readv, waited.empty, &part, 1); }},
    {"preadv2", SYS_preadv2,
     [] { return ::syscall(SYS_preadv2, waited.empty, &part, 1, -1L, -1L, 0); }},
    {"recvfrom", SYS_recvfrom,
     [] { return ::syscall(SYS_recvfrom, waited.empty, &word, sizeof word, 0, nullptr, nullptr); }},
    {"recvmsg", SYS_recvmsg,
     [] { return ::syscall(SYS_recvmsg, waited.empty, &messages[0].msg_hdr, 0); }},
    {"recvmmsg", SYS_recvmmsg,
     [] { return ::syscall(SYS_recvmmsg, waited.empty, messages, 1, 0, nullptr); }},
    {"splice", SYS_splice,
     [] { return ::syscall(SYS_splice, waited.empty, nullptr, waited.pipe[1], nullptr, 4096, 0); }},
    {"accept", SYS_accept, [] { return ::syscall(SYS_accept, waited.listener, nullptr, nullptr); }},
    {"accept4", SYS_accept4,
     [] { return ::syscall(SYS_accept4, waited.listener, nullptr, nullptr, 0); }},
    {"connect", SYS_connect,
     [] { return ::syscall(SYS_connect, waited.crowded, &waited.crowd, waited.crowd_bytes); }},
    {"write", SYS_write, [] { return ::syscall(SYS_write, waited.full, &word, sizeof word); }},
    {"writev", SYS_writev, [] { return ::syscall(SYS_writev, waited.full, &part, 1); }},
    {"pwritev2", SYS_pwritev2,
     [] { return ::syscall(SYS_pwritev2, waited.full, &part, 1, -1L, -1L, 0); }},
    {"sendto", SYS_sendto,
     [] { return ::syscall(SYS_sendto, waited.full, &word, sizeof word, 0, nullptr, 0); }},
    {"sendmsg", SYS_sendmsg,
     [] { return ::syscall(SYS_sendmsg, waited.full, &messages[0].msg_hdr, 0); }},
    {"sendmmsg", SYS_sendmmsg, [] { return ::syscall(SYS_sendmmsg, waited.full, messages, 1, 0); }},
    {"sendfile", SYS_sendfile,
     [] { return ::syscall(SYS_sendfile, waited.full, waited.file, nullptr, 4096); }},
    // These the kernel restarts itself, with the time that is left.
    {"ppoll", SYS_ppoll,
     [] {
       timespec left = hour;
       return ::syscall(SYS_ppoll, &nothing, 1, &left, nullptr, kSetBytes);
     }},
    {"pselect6", SYS_pselect6,
     [] {
       timespec left = hour;
       return ::syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &left, nullptr);
     }},
    {"clock_nanosleep", SYS_clock_nanosleep,
     [] { return ::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &hour, nullptr); }},
    {"futex", SYS_futex,
     [] { return ::syscall(SYS_futex, &never, FUTEX_WAIT, 0, &hour, nullptr, 0); }},
};

const Wait* wanted = nullptr;
TargetState* told = nullptr;

/// Waits until a signal comes. A wait that ends before is wrong.
void wait_as_wanted(TargetState& state) {
  static const bool is_set = [&] {
    told = &state;
    struct sigaction action{};
    action.sa_handler = [](int) { ++told->handlers; };
    make_what_is_waited_for();
    return ::sigaction(SIGUSR1, &action, nullptr) == 0;
  }();
  if (state.rounds[0] == 0) return;  // the first times only make what it needs
  const std::uint64_t handlers = state.handlers;
  const long got = wanted->call();
  state.wrong += is_set && got < 0 && errno == EINTR && state.handlers > handlers ? 0 : 1;
}

class WaitOfAProcess : public testing::TestWithParam<Wait> {
 protected:
  WaitOfAProcess() { waited.semaphore = ::semget(IPC_PRIVATE, 1, 0600); }
  ~WaitOfAProcess() override { ::semctl(waited.semaphore, 0, IPC_RMID); }
};

TEST_P(WaitOfAProcess, GoesOnAsIfNothingHadHappened) {
  NEEDS_BORROWING();
  wanted = &GetParam();
  LiveTarget target(wait_as_wanted);
  const TaskId id = target.id();
  const auto waits = [&] {
    const auto now = KernelFiles().read("/proc/" + std::to_string(id.number) + "/syscall");
    return now && (now->starts_with(std::to_string(wanted->number) + ' ') ||
                   now->starts_with(std::to_string(SYS_restart_syscall) + ' '));
  };
  ASSERT_TRUE(eventually(waits)) << "it does not wait in that call";
  const std::uint64_t rounds = target.state()->rounds[0];
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(refusal_of(id), "");
    EXPECT_TRUE(eventually(waits));
    EXPECT_EQ(target.state()->rounds[0], rounds) << "the wait ended";
  }
  target.state()->ends = true;
  ::kill(id.number, SIGUSR1);
  EXPECT_EQ(target.end(), 0);
}

INSTANTIATE_TEST_SUITE_P(Calls, WaitOfAProcess, testing::ValuesIn(kWaits),
                         [](const auto& wait) { return std::string(wait.param.name); });

}  // namespace
}  // namespace shmif::perf::test
