#pragma once
// The doorbell wakes ports that sleep.
//
// A sleeper sets its bit in BusHeader::sleepers, looks at the ring once more, and only then sleeps.
// A writer commits, and then looks at the bits. All four steps are sequentially consistent, so at
// least one of the two sees the other (D1). A writer that clears a bit must wake its port. If no
// port sleeps, there is no system call.
//
// A writer may die between commit and wake. So a sleeper checks the ring every 50 ms (D2), until
// the bus has been idle for 100 ms. Then it sleeps *deep*, without a time limit. A writer with
// frames for a deep sleeper wakes it *before* it commits (D3). A sleeper that finds the lock held,
// or a claim standing, does not go deep. So an idle bus uses no CPU, and no port waits longer than
// 50 ms for a writer that died before it rang.
//
// Frames for others do not wake a sleeper, but may lap it, and must not count as lost. Writers look
// at the sleepers under the lock, in the order of their batches. So a writer that rings knows that
// no frame before its batch was for the sleeper. A sleeper that was not rung knows the same about
// everything before `first`, if it reads `first` while its bit is still set: the writer that lapped
// it took the lock after the senders of all these frames had looked (D4). Both hold only for frames
// committed after the sleeper's last look, and only if every writer kept the lock until it had
// looked at the sleepers; otherwise the next writer may have passed a batch that rang nobody. Every
// way to lose the lock first increases `takeovers`. So a sleeper does not use D4 if that count has
// grown, or if the sleeper fell asleep while a writer that had lost the lock before might still
// commit.
//
// The sleeper chooses how it is woken. A futex in its slot wakes its thread, and no other thread.
// The same futex serves a descriptor for poll or epoll, if io_uring can wait for it (FutexPoll). If
// io_uring cannot, or must not, the descriptor is an inotify watch on the file. A 4-byte pwrite
// triggers it (NetBSD's shmif uses kqueue like this), and wakes every watcher of the file. If no
// inotify instance is available, a helper thread turns the futex into an eventfd.
//
// A descriptor of the futex stands for a sleep on it with the value that announce() read: each ring
// that has changed the value since then makes the descriptor readable. Rings from before announce()
// may get lost, as they may for a thread that goes to sleep on the futex. The last look at the ring
// finds their frames, or they ring again, since D1 to D3 hold for each announcement by itself. A
// wait that is left from an earlier announcement, or another thread's, hears the same word: it may
// ring too often, but never too seldom.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <thread>

#include "base/unique_fd.hpp"
#include "bus/frame.hpp"
#include "bus/port/futex_poll.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

// Audience: which ports a frame is for. Senders ask while ports sleep, to wake only those that the
// frame is for (D3, D4).
// To answer, a sender looks at the slots of all ports, at least a cache line each. It asks for the
// same few addresses again and again, so it keeps the answers. A port that changes what it accepts
// then increases `filter_changes` in the header, and earlier answers are no longer used (D5).

/// A set of slots, one bit each.
using SlotSet = std::array<std::uint64_t, kBitmapWords>;

/// Call this after a change of a port's address, of its learned addresses, or of a flag that makes
/// it hear more or less; and before the port's owner relies on the change.
void tell_filter_change(const Ring& ring) noexcept;

/// Threads: one at a time.
class Audience {
 public:
  Audience() = default;
  explicit Audience(Ring ring) noexcept : ring_(ring) {}

  /// The slots that accept one of `frames`; their ports may be gone. Call it after the look at the
  /// sleepers' bits: if a port changed its filter before it went to sleep, the answer then follows
  /// the new filter.
  SlotSet of(std::span<const FrameView> frames) noexcept;
  /// Call it after a repair: the count of changes may have been overwritten.
  void forget() noexcept { answers_ = {}; }

 private:
  struct Answer {
    std::uint64_t mac = UINT64_MAX;  // no answer yet: an address has 48 bits
    std::uint64_t changes = 0;       // `filter_changes` when it was asked
    SlotSet slots{};
  };
  const SlotSet& of(std::uint64_t mac) noexcept;

  Ring ring_;
  std::array<Answer, 16> answers_{};  // indexed by a hash of the address
};

inline constexpr std::chrono::milliseconds kLookUp{50};
inline constexpr std::chrono::milliseconds kIdleUntilDeep{100};

/// Slots of ports that must be woken.
struct Wanted {
  SlotSet slots{};
  bool any = false;
};

/// The writers' side.
class Bell {
 public:
  Bell() = default;
  /// `fd`: a writable description of the file, for the inotify doorbell.
  Bell(Ring ring, unsigned slot, int fd) noexcept
      : ring_(ring), slot_(slot), fd_(fd), audience_(ring) {}

  /// Finds the sleepers that a batch is for. The batch was committed at `position`, and `number` is
  /// the number of its first frame. Call it between the commit and the release of the lock, so that
  /// sleepers learn of batches in order (D4). Each port found must then be woken.
  Wanted collect(std::span<const FrameView> frames, std::uint64_t position,
                 std::uint64_t number) noexcept;
  /// Wakes the ports that collect() found.
  void wake(const Wanted& wanted) noexcept;
  /// Wakes the deep sleepers that `frames` are for. Call it before a commit (D3). Result: whether
  /// there were any.
  bool wake_deep(std::span<const FrameView> frames) noexcept;
  /// Call it after a repair: what was learned about the ports no longer holds.
  void forget() noexcept { audience_.forget(); }

 private:
  template <class Visitor>
  void visit(const std::uint64_t (&bitmap)[kBitmapWords], std::span<const FrameView> frames,
             Visitor&& visitor) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  int fd_ = -1;
  Audience audience_;
  std::array<std::uint64_t, kSlots> tickets_served_{};  // the ticket plus one; 0: not served yet
};

/// Wakes a thread that waits for this slot's futex.
void wake_futex(PortSlot& slot) noexcept;

/// Wakes a port, whether its thread sleeps on the futex or polls a descriptor. Rings both, because
/// the thread may be about to change from one to the other. `fd`: the bus's file, open for writing,
/// to wake a port that polls.
void wake_port(const Ring& ring, unsigned slot, int fd) noexcept;

/// Wakes every port, whatever bitmaps and slots say. `fd`: writable, for ports that poll.
void wake_everybody(const Ring& ring, int fd) noexcept;

/// What a sleeper learns when it wakes up.
struct Woken {
  bool rung = false;
  /// No frame before this position that was committed since the announcement was for the sleeper
  /// (D4). Frame `number` begins there. 0: not known.
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
  /// In the child of a fork: leaves the helper thread alone, which does not exist there. Destroying
  /// the rest then only closes the child's copies.
  void forget() noexcept;

  /// Announces that this port is going to sleep; look at the ring afterwards. Result: how long it
  /// may sleep before it must look again.
  std::chrono::nanoseconds announce(bool by_descriptor) noexcept;
  /// Reports that the look found no frame: until the port is rung or withdraws, senders do not wait
  /// for it (bus/ring/flow.hpp, W2).
  void found_nothing() noexcept;
  /// Withdraws the announcement.
  Woken withdraw() noexcept;
  /// Sleeps until rung, or for `timeout`. Call it between announce and withdraw.
  void sleep(std::chrono::nanoseconds timeout) noexcept;
  /// Frames came, so the bus is not idle.
  void saw_traffic() noexcept { idle_since_ = {}; }

  /// The descriptor, made at the first call; `fd` is the file that inotify watches. -1 if there is
  /// no descriptor.
  int descriptor(int fd) noexcept;
  /// Why the descriptor needs a helper thread; no error if it does not need one.
  std::error_code descriptor_error() const noexcept { return descriptor_error_; }
  /// Whether the descriptor reports everything that happens to the file.
  bool watches_file() const noexcept { return static_cast<bool>(inotify_); }
  /// Makes the descriptor quiet again.
  void drain() noexcept;
  /// As descriptor(), but for a port that also makes it readable by itself: never the inotify
  /// watch, which stands for the whole file. Result: -1, and errno, on failure.
  int level_descriptor() noexcept;
  /// From now on, announce(true) announces a sleep on level_descriptor().
  void prefer_level_descriptor() noexcept { level_ = true; }
  /// Makes level_descriptor() readable.
  void ring_itself() noexcept;

 private:
  struct Helper;
  PortSlot& self() const noexcept { return ring_.slot(slot_); }
  bool arm_descriptor() noexcept;
  bool start_helper() noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  std::uint32_t futex_seen_ = 0;
  bool announced_ = false;
  bool level_ = false;                   // level_descriptor() is rung, and not inotify_
  std::uint64_t settled_takeovers_ = 0;  // at this count, every writer that lost the lock was done
  std::chrono::steady_clock::time_point idle_since_{};
  FutexPoll futex_poll_;
  UniqueFd inotify_;
  std::unique_ptr<Helper> helper_;
  std::error_code descriptor_error_;
};

}  // namespace shmif::bus
