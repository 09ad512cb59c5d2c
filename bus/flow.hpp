#pragma once
// Flow control. On a bus whose flow is *pause*, a sender waits for slow ports instead of
// overrunning them, in the spirit of IEEE 802.3 clause 31; on others writers never wait, as on a
// cable.
//
// W1  A sender waits before it takes the lock, and never under it. Under the lock it only compares:
// the oldest record moves to `limit` at most, a position that no port that is waited for has yet to
// read. Where that is not enough the batch is refused, the lock given back, and the wait begins.
//
// W2  Waited for is who is up, has kFlagPause in its slot, and is not asleep: a sleeper has read
// all that was for it, or somebody rings, and then it has yet to read what rang (D4). Asleep it is
// from when its look after the announcement found nothing, not from the announcement on: before
// that it may have yet to read what was sent a moment ago, and rang nobody. A sender that rings the
// port before that look sets kRungEarly in the position; it then does not say how far the port has
// read. A limit ends half a ring before the newest record that its finder saw, further on only for
// a batch that has to step around so many claims. So whoever begins to listen later, or wakes up,
// is seen before the ring comes round to where it began. (A sleeper that looks up unrung begins at
// `first`, and may be lapped there: by frames for others, which it counts as lost.)
//
// W3  A sender that waits charges the time to every port that is more than half a ring behind, not
// only to the slowest: they all had that time to read. A port that did not read as much as the next
// frame needs in `patience` of such time loses the flag as soon as it is in the way. It is overrun
// and learns so by its counters. So ports that are idle together cost one patience, however many
// they are. A port takes the flag again when it has caught up, but not before nine times the
// patience; and until then the sender does not look whether it has it, since a peer may raise it
// again and again. (So a port in the slot of one that was overrun a moment ago is not waited for
// either.) By itself a sender waits for no port more than `patience` in ten times that, unless the
// port has read a good part of the ring meanwhile. So one that reads nothing costs each sender a
// tenth of its time at most, and one that is slow but reads sets the pace, also where other senders
// take the room that it makes.
//
// W4  All times are the sender's own (no clock of one process decides anything in another), and
// what a peer scribbles into its slot can cost it frames, and others the time of W3.
//
// A sender that waits looks again and again, first spinning, then asleep for moments: that needs no
// bell that a reader would have to ring for each batch, and nothing to tidy up when one of them
// dies. Between two looks it holds no mutex, so that other threads of its port can send, and can
// end the wait.

#include <array>
#include <chrono>
#include <cstdint>

#include "bus/ring.hpp"

namespace shmif::bus {

/// A sender's view of how far the others have read. Threads: one at a time.
class FlowControl {
 public:
  using Clock = std::chrono::steady_clock;
  /// After a wait in vain a port is not waited for during so many times the patience (W3).
  static constexpr int kRest = 9;

  /// `fd`: any description of the file, to ask who lives.
  FlowControl(Ring ring, unsigned slot, int fd, std::chrono::nanoseconds patience) noexcept
      : ring_(ring), slot_(slot), fd_(fd), patience_(patience) {}

  /// The position that `first` may be moved to.
  std::uint64_t limit() const noexcept { return limit_; }

  /// Bytes of the ring, a batch's tail included, that may be appended now without overrunning
  /// anybody. Looks at the ports when what it knows is less than `wanted`.
  std::uint64_t room(std::uint64_t wanted) noexcept;

  /// Whether there is room for `least` bytes. If not, charges the time since the last look to the
  /// ports that are behind, and takes the flag away from those in the way that patience is over
  /// with (W3). Blocks: never.
  bool admits(std::uint64_t least) noexcept;
  /// To be called when a batch was sent: no pause goes on that a batch before it began.
  void found_room() noexcept;
  /// How long a thread that waits should pause after so many looks in vain; 0: look again at once.
  std::chrono::nanoseconds pause_after(unsigned looks) const noexcept;
  /// A thread begins to wait for room, and ends that. Several threads may wait at once.
  void begin_wait() noexcept { ++waiting_threads_; }
  void end_wait() noexcept;
  /// Forgets how far ports had read, since a repair may have moved them.
  void forget_positions() noexcept;

  /// Times that a batch had to wait, and for how long altogether.
  std::uint64_t pauses() const noexcept { return pauses_; }
  std::chrono::nanoseconds paused() const noexcept { return paused_; }

 private:
  /// What waiting for one port has cost.
  struct Account {
    // In the current window of ten times the patience:
    Clock::time_point begin{};
    std::uint64_t position = 0;  // where the port was then
    std::chrono::nanoseconds waited{0};
    // Since it last read as much as the next frame needed, or had moved at all when a pause began:
    std::uint64_t run_from = 0;  // where it was then
    std::chrono::nanoseconds run{0};
    std::uint64_t furthest = 0;      // that it was seen
    std::uint64_t pause = 0;         // the number of the last one
    Clock::time_point not_before{};  // no wait until then, after one in vain
  };
  struct Behind {
    unsigned slot;
    std::uint64_t position;
  };

  void look(std::uint64_t wanted) noexcept;
  std::uint64_t known_room() const noexcept;
  bool is_waited_for(unsigned slot, std::uint64_t& position) const noexcept;
  bool rests(unsigned slot) const noexcept;
  bool overrun_stalled(Clock::time_point now, std::chrono::nanoseconds cost,
                       std::uint64_t least) noexcept;
  void charge(Account& a, std::uint64_t position, Clock::time_point now,
              std::chrono::nanoseconds cost, std::uint64_t least) noexcept;
  bool is_stalled(const Account& a, const Behind& port,
                  std::chrono::nanoseconds cost) const noexcept;
  void end_pause() noexcept;

  Ring ring_;
  unsigned slot_;
  int fd_;
  std::chrono::nanoseconds patience_;
  std::uint64_t limit_ = 0;
  unsigned slowest_ = 0;
  std::array<Behind, kSlots> behind_{};  // more than half a ring, at the last look
  std::size_t behind_count_ = 0;
  std::array<Account, kSlots> accounts_{};

  bool pausing_ = false;  // there was no room at the last look
  unsigned waiting_threads_ = 0;
  Clock::time_point looked_{};  // while pausing: the last time
  std::uint64_t pauses_ = 0;
  std::chrono::nanoseconds paused_{0};
};

}  // namespace shmif::bus
