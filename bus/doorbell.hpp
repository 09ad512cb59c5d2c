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
// each of those frames' senders had looked (D4). They speak for what was committed after the
// sleeper's last look only, and while no writer's turn was cut short: the next one may then have
// passed a batch that nobody looked at the sleepers for. Each way to lose the lock grows
// `takeovers` first. So a sleeper learns nothing when that count grew, nor when it fell asleep
// while a writer that had lost the lock before might still commit.
//
// How a sleeper is woken is its choice: a futex in its slot wakes a thread, and nobody else. So it
// is with a descriptor for poll or epoll where io_uring can wait for the futex (FutexPoll). Where
// it cannot, or must not, the descriptor is inotify's on the file, which a 4-byte pwrite sets off
// (as NetBSD's shmif does with kqueue), for every watcher of the file; and where no inotify
// instance is to be had, a helper thread turns the futex into an eventfd.
//
// A descriptor of the futex stands for a sleep on it with the value that announce() read: each ring
// that moved the value since makes it readable. Rings from before announce() may be swallowed, as
// they are by a thread that goes to sleep on the futex: their frames are found by the last look at
// the ring, or they ring again, since D1 to D3 hold for each announcement by itself. A wait that
// stands from an earlier announcement, or another thread's, hears the same word: it rings too
// often, never too seldom.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <thread>

#include "bus/audience.hpp"
#include "bus/frame.hpp"
#include "bus/futex_poll.hpp"
#include "bus/ring.hpp"
#include "bus/unique_fd.hpp"

namespace shmif::bus {

inline constexpr std::chrono::milliseconds kLookUp{50};
inline constexpr std::chrono::seconds kIdleUntilDeep{1};

/// Slots to be woken.
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
  /// To be called when the bus was repaired: nothing that was learned of the ports holds any more.
  void forget() noexcept { audience_.forget(); }

 private:
  template <class Visitor>
  void visit(const std::uint64_t (&bitmap)[kBitmapWords], std::span<const FrameView> frames,
             Visitor&& visitor) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  int fd_ = -1;
  Audience audience_;
  std::array<std::uint64_t, kSlots> tickets_served_{};  // one more than the ticket; 0: none
};

/// Wakes a thread that waits for this slot's futex.
void wake_futex(PortSlot& slot) noexcept;

/// Wakes a port, whether its thread sleeps on the futex or polls a descriptor. Rings both, because
/// the thread may be about to change from one to the other. `fd`: the bus's file, open for writing,
/// to wake a port that polls.
void wake_port(const Ring& ring, unsigned slot, int fd) noexcept;

/// Wakes every port, whatever the bitmaps and the slots say. `fd`: writable, for those that poll.
void wake_everybody(const Ring& ring, int fd) noexcept;

/// What a sleeper learns when it is awake again.
struct Woken {
  bool rung = false;
  /// Of what was committed since the announcement, no frame before this position, where the frame
  /// `number` is, was for the sleeper (D4). 0: nothing is known.
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
  /// In the child of a fork: leaves the helper thread, which does not exist there, alone. The rest
  /// may be destroyed, which closes the child's copies only.
  void forget() noexcept;

  /// Says that this port is going to sleep; look at the ring afterwards.
  /// Result: how long it may sleep before it must look up.
  std::chrono::nanoseconds announce(bool by_descriptor) noexcept;
  /// Says that this look found nothing: until it is rung, or withdraws, nobody waits for this port
  /// (bus/flow.hpp, W2).
  void found_nothing() noexcept;
  /// Takes the announcement back.
  Woken withdraw() noexcept;
  /// Sleeps until rung or `timeout`; to be called between announce and withdraw.
  void sleep(std::chrono::nanoseconds timeout) noexcept;
  /// Frames came, so the bus is not idle.
  void saw_traffic() noexcept { idle_since_ = {}; }

  /// The descriptor, made at the first call; `fd` names the file that inotify is to watch. -1 when
  /// none can be had.
  int descriptor(int fd) noexcept;
  /// Why it is a helper thread's, or none.
  std::error_code descriptor_error() const noexcept { return descriptor_error_; }
  /// Whether the descriptor tells of everything that happens to the file.
  bool watches_file() const noexcept { return static_cast<bool>(inotify_); }
  /// Makes the descriptor quiet again.
  void drain() noexcept;

 private:
  struct Helper;
  PortSlot& self() const noexcept { return ring_.slot(slot_); }
  bool arm_descriptor() noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  std::uint32_t futex_seen_ = 0;
  bool announced_ = false;
  std::uint64_t settled_takeovers_ = 0;  // so many, and who lost the lock then commits no more
  std::chrono::steady_clock::time_point idle_since_{};
  FutexPoll futex_poll_;
  UniqueFd inotify_;
  std::unique_ptr<Helper> helper_;
  std::error_code descriptor_error_;
};

}  // namespace shmif::bus
