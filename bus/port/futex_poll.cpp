#include "bus/port/futex_poll.hpp"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "base/shared_memory.hpp"
#include "bus/atomics.hpp"

namespace shmif::bus {
namespace {

// From Linux 6.6 and 6.7; Debian 12's headers are older.
constexpr unsigned kSetupNoSqArray = 1U << 16;  // IORING_SETUP_NO_SQARRAY
constexpr std::uint8_t kOpFutexWait = 51;       // IORING_OP_FUTEX_WAIT
constexpr int kFutexU32 = 2;                    // FUTEX2_SIZE_U32, shared between processes

constexpr unsigned kMaxForsaken = 16;

}  // namespace

/// An io_uring with one entry.
class FutexPoll::Ring {
 public:
  /// Result: whether it can be used.
  bool open(int event) noexcept;
  /// These three return false if the ring can no longer be used.
  bool submit_wait(const std::uint32_t& word, std::uint32_t expected) noexcept;
  bool empty_work_list() noexcept;
  bool end_waits() noexcept;

 private:
  bool enter(unsigned to_submit, unsigned flags) const noexcept {
    return syscall(SYS_io_uring_enter, fd_.get(), to_submit, 0, flags, nullptr, 0) ==
           static_cast<long>(to_submit);
  }
  bool knows_futexes() const noexcept;

  UniqueFd fd_;
  io_uring_params params_{};
  base::RingMemory rings_;
  base::RingMemory entries_;
};

bool FutexPoll::Ring::open(int event) noexcept {
  params_.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | kSetupNoSqArray;
  fd_.reset(static_cast<int>(syscall(SYS_io_uring_setup, 1, &params_)));  // close-on-exec
  if (!fd_ || !knows_futexes()) return false;
  const std::size_t completions = params_.cq_off.cqes + params_.cq_entries * sizeof(io_uring_cqe);
  rings_ = base::RingMemory(fd_.get(), completions, IORING_OFF_SQ_RING);
  entries_ =
      base::RingMemory(fd_.get(), params_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  return rings_ && entries_ &&
         syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_EVENTFD, &event, 1) == 0;
}

bool FutexPoll::Ring::knows_futexes() const noexcept {
  io_uring_probe probe;
  std::memset(&probe, 0, sizeof probe);  // clang refuses {} because of its flexible member
  return syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_PROBE, &probe, 0) == 0 &&
         probe.last_op >= kOpFutexWait;
}

bool FutexPoll::Ring::submit_wait(const std::uint32_t& word, std::uint32_t expected) noexcept {
  auto& entry = entries_.at<io_uring_sqe>(0);
  entry = {};
  entry.opcode = kOpFutexWait;
  entry.flags = IOSQE_CQE_SKIP_SUCCESS;  // F3
  entry.fd = kFutexU32;
  entry.addr = reinterpret_cast<std::uintptr_t>(&word);
  entry.addr2 = expected;
  entry.addr3 = FUTEX_BITSET_MATCH_ANY;
  auto& tail = rings_.at<std::uint32_t>(params_.sq_off.tail);
  store_release(tail, load_relaxed(tail) + 1);  // the kernel reads the entry after this
  if (!enter(1, 0)) return false;
  // The content of a completion does not matter: its arrival has rung. This makes room for the
  // next.
  store_release(rings_.at<std::uint32_t>(params_.cq_off.head),
                load_acquire(rings_.at<std::uint32_t>(params_.cq_off.tail)));
  return true;
}

bool FutexPoll::Ring::empty_work_list() noexcept {
  return enter(0, IORING_ENTER_GETEVENTS);
}

bool FutexPoll::Ring::end_waits() noexcept {
  io_uring_sync_cancel_reg all{};
  all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  all.timeout = {-1, -1};  // no time limit: nothing delays it
  return syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_SYNC_CANCEL, &all, 1) >= 0;
}

/// Whether each wake signals the eventfd. Linux 6.12.117 (Debian 13) signals only the first one
/// that a ring of ours waits for, 20 ms late; all later ones are lost.
bool FutexPoll::kernel_rings() noexcept {
  constexpr int kPatienceMs = 200;
  enum { unknown, no, yes };
  static std::atomic<int> known{unknown};
  if (known != unknown) return known == yes;
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Ring ring;
  if (!event || !ring.open(event.get())) return false;
  const std::uint32_t word = 0;
  bool rings = true;
  for (int round = 0; round < 2 && rings; ++round) {
    if (!ring.submit_wait(word, word)) return false;
    syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    pollfd rung{.fd = event.get(), .events = POLLIN, .revents = 0};
    std::uint64_t count = 0;
    rings = ::poll(&rung, 1, kPatienceMs) == 1 && ::read(event.get(), &count, sizeof count) > 0 &&
            ring.empty_work_list();
  }
  known = rings ? yes : no;
  return rings;
}

FutexPoll::FutexPoll() noexcept = default;
FutexPoll::FutexPoll(FutexPoll&&) noexcept = default;
FutexPoll& FutexPoll::operator=(FutexPoll&&) noexcept = default;
FutexPoll::~FutexPoll() = default;

bool FutexPoll::open() noexcept {
  *this = FutexPoll();
  if (!kernel_rings()) return false;
  event_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ring_.reset(new (std::nothrow) Ring);
  if (event_ && ring_ && ring_->open(event_.get())) return true;
  ring_.reset();
  event_.reset();
  return false;
}

bool FutexPoll::arm(const std::uint32_t& word, std::uint32_t expected) noexcept {
  if (armed_ && expected_ == expected) return true;  // F2
  if (armed_) drain();
  if (armed_) ++forsaken_;
  if (forsaken_ > kMaxForsaken) {  // F4
    if (ring_ && !ring_->end_waits()) ring_.reset();
    forsaken_ = 0;
    drain();
  }
  if (rung_ && ring_ && !ring_->empty_work_list()) ring_.reset();  // F1, F5
  rung_ = false;
  for (unsigned attempt = 0; attempt < 2; ++attempt) {
    armed_ = ring_ && ring_->submit_wait(word, expected);
    expected_ = expected;
    if (armed_) return true;
    // No ring yet, or another thread's (F5).
    forsaken_ = 0;
    ring_.reset(new (std::nothrow) Ring);
    if (ring_ && !ring_->open(event_.get())) ring_.reset();
  }
  return false;
}

void FutexPoll::drain() noexcept {
  std::uint64_t rings = 0;
  if (read(event_.get(), &rings, sizeof rings) != sizeof rings) return;  // F2
  rung_ = true;
  if (std::exchange(rung_itself_, false) && armed_) ++forsaken_;  // F6
  armed_ = false;
}

void FutexPoll::ring_itself() noexcept {
  rung_itself_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(write(event_.get(), &one, sizeof one) == sizeof one);
}

}  // namespace shmif::bus
