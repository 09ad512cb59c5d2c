#pragma once
// The doorbell: what wakes ports that sleep.
//
// A sleeper sets its bit in BusHeader::sleepers, looks at the ring once more, and only then sleeps.
// A writer commits, and then looks at the bits. All four steps are sequentially consistent, so at
// least one of the two sees the other (D1). Whoever clears a bit owes the wake; nobody asleep means
// no system call at all.
//
// A writer may die between commit and wake. So a sleeper looks up every 50 ms (D2), until the bus
// was idle for a second. Then it sleeps for as long as it likes, deep; but a writer that finds a
// deep sleeper its frames are for wakes it *before* it commits (D3), and a sleeper that finds the
// lock held, or a claim standing, does not go deep. So an idle bus costs no CPU, and nobody ever
// waits longer than 50 ms for a bell that its ringer did not live to ring.
//
// A sleeper that is not woken may be lapped by frames for others, and they must not count as lost.
// Since writers look at the sleepers under the lock, in the order of their batches, who rings can
// say that nothing before its batch was for the sleeper; and a sleeper that was not rung knows it
// of everything before `first`, read while its bit still stood: who lapped it took the lock after
// each of those frames' senders had looked (D4).
//
// How a sleeper is woken is its choice: a futex in its slot wakes a thread, and nobody else. A
// descriptor for poll or epoll comes from inotify on the file, which a 4-byte pwrite sets off (as
// NetBSD's shmif does with kqueue), or, where no inotify instance is to be had, from a helper
// thread that turns the futex into an eventfd.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <thread>

#include "bus/frame.hpp"
#include "bus/ring.hpp"
#include "bus/unique_fd.hpp"

namespace shmif::bus {

inline constexpr std::chrono::milliseconds kLookUp{50};
inline constexpr std::chrono::seconds kIdleUntilDeep{1};

/// Slots to be woken, one bit each.
struct Wanted {
  std::array<std::uint64_t, kBitmapWords> slots{};
  bool any = false;
};

/// The writers' side.
class Bell {
 public:
  Bell() = default;
  /// `fd`: a writable description of the file, for the inotify doorbell.
  Bell(Ring ring, unsigned slot, int fd) noexcept : ring_(ring), slot_(slot), fd_(fd) {}

  /// Finds the sleepers that a batch, committed at `position` with its first frame `number`, is
  /// for. To be called between the commit and the release of the lock, so that sleepers learn of
  /// batches in their order (D4). Each must be woken then.
  Wanted collect(std::span<const FrameView> frames, std::uint64_t position,
                 std::uint64_t number) noexcept;
  /// Wakes them.
  void wake(const Wanted& wanted) noexcept;
  /// Wakes the deep sleepers that `frames` are for; to be called before a commit (D3). Result:
  /// whether there were any.
  bool wake_deep(std::span<const FrameView> frames) noexcept;

 private:
  template <class Visitor>
  void visit(const std::uint64_t (&bitmap)[kBitmapWords], std::span<const FrameView> frames,
             Visitor&& visitor) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  int fd_ = -1;
  std::array<std::uint64_t, kSlots> tickets_served_{};  // one more than the ticket; 0: none
};

/// Wakes a thread that waits for this slot's futex.
void wake_futex(PortSlot& slot) noexcept;

/// What a sleeper learns when it is awake again.
struct Woken {
  bool rung = false;
  /// No frame before this position, where the frame `number` is, was for the sleeper (D4). 0:
  /// nothing is known.
  std::uint64_t position = 0;
  std::uint64_t number = 0;
};

/// The sleeper's side. Threads: one at a time.
class Sleeper {
 public:
  Sleeper() noexcept;
  Sleeper(Ring ring, unsigned slot) noexcept;
  Sleeper(Sleeper&&) noexcept;
  Sleeper& operator=(Sleeper&&) noexcept;
  ~Sleeper();
  /// In the child of a fork: leaves the helper thread, which does not exist there, alone.
  void forget() noexcept;

  /// Says that this port is going to sleep; look at the ring afterwards.
  /// Result: how long it may sleep before it must look up.
  std::chrono::nanoseconds announce(bool by_descriptor) noexcept;
  /// Takes that back.
  Woken withdraw() noexcept;
  /// Sleeps until rung or `timeout`; to be called between announce and withdraw.
  void sleep(std::chrono::nanoseconds timeout) noexcept;
  /// Frames came, so the bus is not idle.
  void saw_traffic() noexcept { idle_since_ = {}; }

  /// The descriptor, made at the first call; `fd` names the file to watch. -1 when none can be had.
  int descriptor(int fd) noexcept;
  std::error_code descriptor_error() const noexcept { return descriptor_error_; }
  /// Makes the descriptor quiet again.
  void drain() noexcept;

 private:
  struct Helper;
  PortSlot& self() const noexcept { return ring_.slot(slot_); }

  Ring ring_;
  unsigned slot_ = 0;
  std::uint32_t futex_seen_ = 0;
  bool announced_ = false;
  std::chrono::steady_clock::time_point idle_since_{};
  UniqueFd inotify_;
  std::unique_ptr<Helper> helper_;
  std::error_code descriptor_error_;
};

}  // namespace shmif::bus
