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
// lock held does not go deep. So an idle bus costs no CPU, and nobody ever waits longer than 50 ms
// for a bell that its ringer did not live to ring.
//
// How a sleeper is woken is its choice: a futex in its slot wakes a thread, and nobody else. A
// descriptor for poll or epoll comes from inotify on the file, which a 4-byte pwrite sets off (as
// NetBSD's shmif does with kqueue), or, where no inotify instance is to be had, from a helper
// thread that turns the futex into an eventfd.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <thread>

#include "bus/descriptor.hpp"
#include "bus/frame.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {

inline constexpr std::chrono::milliseconds kLookUp{50};
inline constexpr std::chrono::seconds kIdleUntilDeep{1};

/// The writers' side.
class Bell {
 public:
  Bell() = default;
  /// `fd`: a writable description of the file, for the inotify doorbell.
  Bell(Ring ring, unsigned slot, int fd) noexcept : ring_(ring), slot_(slot), fd_(fd) {}

  /// Wakes the sleepers that `frames` are for. Result: whether anybody was woken.
  bool ring(std::span<const FrameView> frames) noexcept { return wake(frames, false); }
  /// Wakes only deep sleepers; to be called before a commit (D3).
  bool ring_deep(std::span<const FrameView> frames) noexcept { return wake(frames, true); }

 private:
  bool wake(std::span<const FrameView> frames, bool deep_only) noexcept;
  bool wake_slot(unsigned slot, std::span<const FrameView> frames, bool deep_only,
                 bool& write_file) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  int fd_ = -1;
};

/// Wakes a thread that waits for this slot's futex.
void wake_futex(PortSlot& slot) noexcept;

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
  /// Takes that back. Result: whether somebody rang meanwhile.
  bool withdraw() noexcept;
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
  std::chrono::steady_clock::time_point idle_since_{};
  Descriptor inotify_;
  std::unique_ptr<Helper> helper_;
  std::error_code descriptor_error_;
};

}  // namespace shmif::bus
