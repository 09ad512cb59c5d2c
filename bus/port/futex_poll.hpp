#pragma once
// FutexPoll: a descriptor for poll and epoll that becomes readable when a futex is woken.
//
// Since Linux 6.7, io_uring can wait for futexes. A ring of our own waits for this futex, and
// signals an eventfd when the wait is over. Users poll the eventfd, which stays the same even if
// the ring is made again. Completions are deferred (IORING_SETUP_DEFER_TASKRUN): otherwise they
// would interrupt the thread that armed the wait, in its epoll_wait. So the thread that wakes the
// futex puts the wait on the ring's work list, and signals the eventfd if that list was empty. The
// rules:
//
// F1 While the list is not empty, the eventfd is readable: only drain() reads it, and the list is
//    emptied before another wait is armed. So no wait ends unnoticed.
// F2 A wait counts as armed until drain() finds the eventfd readable. So as long as the futex keeps
//    its value and is not rung, arming the wait again costs no system call.
// F3 A wait that was woken posts no completion (IOSQE_CQE_SKIP_SUCCESS): a completion would signal
//    the eventfd again when the list is emptied. A wait that could not begin, because the value had
//    already changed or for any other reason, posts one, and has rung by that.
// F4 If the value changed and nobody rang, because the waker died in between or is late, the old
//    wait stands beside the new one until both end at the next wake. After kMaxForsaken such waits
//    all are ended, so a hostile peer cannot make them pile up.
// F5 The kernel lets only the thread that made a ring use it. Any other thread gets EEXIST, and
//    makes another ring. When a thread ends, some kernels end its waits, which then ring; others
//    let the waits stand, so the next wake rings (Linux 6.18 has been seen to do either).
// F6 ring_itself() also makes the eventfd readable. drain() then cannot tell whether the wait is
//    over, so it counts as an old wait that may still stand (F4).
//
// The kernel knows the futex by inode and offset. A ring holds neither mapping nor file, so a
// forked child that inherited its descriptor keeps no port alive.

#include <cstdint>
#include <memory>

#include "base/unique_fd.hpp"

namespace shmif::bus {

/// Threads: one at a time; preferably always the same one, see F5. Blocks: never.
class FutexPoll {
 public:
  FutexPoll() noexcept;
  FutexPoll(FutexPoll&&) noexcept;
  FutexPoll& operator=(FutexPoll&&) noexcept;
  ~FutexPoll();

  /// Makes descriptor and ring. Result: false if the kernel lacks this, forbids it, or does not do
  /// what it should, as Linux 6.12.117. The first call of a process tries that.
  bool open() noexcept;
  bool is_open() const noexcept { return static_cast<bool>(event_); }
  int descriptor() const noexcept { return event_.get(); }

  /// Makes the descriptor readable when `word`, which lies in a shared mapping of a file, is woken
  /// or is no longer `expected`. Result: false if nothing was armed; the next call tries again.
  bool arm(const std::uint32_t& word, std::uint32_t expected) noexcept;
  /// Makes the descriptor quiet again. A wait that was not woken stays armed.
  void drain() noexcept;
  /// Makes the descriptor readable (F6).
  void ring_itself() noexcept;

 private:
  class Ring;
  static bool kernel_rings() noexcept;

  UniqueFd event_;
  std::unique_ptr<Ring> ring_;
  bool rung_ = false;  // since the last wait was armed: the ring may have work
  bool armed_ = false;
  std::uint32_t expected_ = 0;
  bool rung_itself_ = false;
  unsigned forsaken_ = 0;  // old waits of this ring (F4)
};

}  // namespace shmif::bus
