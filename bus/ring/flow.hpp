#pragma once
// Flow control. On a bus whose flow is *pause*, a sender waits for slow ports instead of
// overrunning them, in the spirit of IEEE 802.3 clause 31. On other buses senders never wait for
// ports, as on a cable.
//
// W1  A sender waits before it takes the lock, never while it holds it. Under the lock it only
// compares: it may move `first` up to `limit`, a position before which every port that is waited
// for has read everything. If that does not make enough room, the batch is refused, the sender
// gives the lock back, and the wait begins.
//
// W2  Senders wait for a port that is up, has kFlagPause in its slot, and is not asleep. A sleeping
// port has read every frame that was for it; if there are more, a sender rings it, and then it
// still has to read them (D4). A port is asleep once it has announced sleep, looked again, and
// found no frame. Before that look, it may still have to read frames that were sent a moment ago
// and rang nobody. A sender that rings the port before that look sets kRungEarly in the position,
// which then does not say how far the port has read. A limit is at least half a ring before the
// newest record that its finder saw; it is further on only for a batch that must step around
// claims. So a port that begins to listen later, or wakes up, is noticed before writers come round
// the ring to where it began. (A sleeper that wakes up without a ring begins at `first`. There,
// frames for others may lap it, which it counts as lost.)
//
// W3  A sender that waits charges the time to every port that is more than half a ring behind, not
// only to the slowest: all of them had that time to read. If a port reads less than the next frame
// needs during `patience` of such time, it loses the flag as soon as it is in the way. It is then
// overrun, and its counters say so. So any number of idle ports costs one patience in total. A port
// takes the flag again when it has caught up, but not before nine times the patience have passed.
// Until then the sender ignores the flag, since a peer may set it again and again. (So the sender
// does not wait for a new port in the same slot either.) A sender waits for a port for at most
// `patience` in ten times that, unless the port has read a good part of the ring meanwhile. So a
// port that does not read costs each sender at most a tenth of its time. A port that is slow but
// reads sets the pace, even if other senders take the room that it makes.
//
// W4  All times are the sender's own: no process's clock decides anything in another process. If a
// peer writes wrong values into its slot, it may lose frames, and it costs others at most the time
// of W3. If a port says how far it has read inside of a record, senders believe it up to the length
// of the longest shared record.
//
// A sender that waits looks again and again, first spinning, then sleeping for moments. So no
// reader has to ring a bell for each batch, and a process that dies leaves no work to others.
// Between two looks the sender holds no mutex, so other threads of its port can send, and can end
// the wait.

#include <array>
#include <chrono>
#include <cstdint>

#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// A sender's view of how far the others have read. Threads: one at a time.
class FlowControl {
 public:
  using Clock = std::chrono::steady_clock;
  /// After a wait in vain, senders do not wait for the port during this many times the patience
  /// (W3).
  static constexpr int kRest = 9;

  /// `fd`: any description of the file, to ask which ports live.
  FlowControl(Ring ring, unsigned slot, int fd, std::chrono::nanoseconds patience) noexcept
      : ring_(ring), slot_(slot), fd_(fd), patience_(patience) {}

  /// How far `first` may be moved.
  std::uint64_t limit() const noexcept { return limit_; }

  /// Bytes of the ring, a batch's tail included, that may be appended now without overrunning a
  /// port. Looks at the ports if it knows of less room than `wanted`.
  std::uint64_t room(std::uint64_t wanted) noexcept;

  /// Whether there is room for `min` bytes. If not, charges the time since the last look to the
  /// ports that are behind, and takes the flag from those that are in the way and have used up the
  /// patience (W3). Blocks: never.
  bool admits(std::uint64_t min) noexcept;
  /// Call this after a batch was sent. It ends the pause, unless a thread still waits for room.
  void found_room() noexcept;
  /// How long a waiting thread should sleep after it looked `looks` times in vain; 0: look again at
  /// once.
  std::chrono::nanoseconds pause_after(unsigned looks) const noexcept;
  /// A thread begins, and ends, to wait for room. Several threads may wait at once.
  void begin_wait() noexcept { ++waiting_threads_; }
  void end_wait() noexcept;
  /// Forgets how far ports have read, since a repair may have moved them.
  void forget_positions() noexcept;

  /// How many times a batch had to wait, and for how long in total.
  std::uint64_t pauses() const noexcept { return pauses_; }
  std::chrono::nanoseconds paused() const noexcept { return paused_; }

 private:
  /// The time that waits for one port have cost.
  struct Account {
    // In the current window of ten times the patience:
    Clock::time_point begin{};
    std::uint64_t read_to = 0;  // where the port was when it began
    std::chrono::nanoseconds waited{0};
    // Since the port last read as much as the next frame needed, or had moved when a pause began:
    std::uint64_t run_from = 0;  // where the port was then
    std::chrono::nanoseconds run{0};
    std::uint64_t furthest = 0;      // the furthest place seen
    std::uint64_t pause = 0;         // number of the last pause
    Clock::time_point not_before{};  // after a wait in vain, do not wait before then
  };
  struct Behind {
    unsigned slot;
    std::uint64_t position;  // of the record that `first` must not pass
    std::uint64_t read_to;   // how far the port has come, also inside of that record
  };

  void look(std::uint64_t wanted) noexcept;
  std::uint64_t known_room() const noexcept;
  bool is_waited_for(unsigned slot, Behind& port) const noexcept;
  bool rests(unsigned slot) const noexcept;
  bool overrun_stalled(Clock::time_point now, std::chrono::nanoseconds cost,
                       std::uint64_t min) noexcept;
  void charge(Account& a, std::uint64_t read_to, Clock::time_point now,
              std::chrono::nanoseconds cost, std::uint64_t min) noexcept;
  bool is_stalled(const Account& a, const Behind& port,
                  std::chrono::nanoseconds cost) const noexcept;
  void end_pause() noexcept;

  Ring ring_;
  unsigned slot_;
  int fd_;
  std::chrono::nanoseconds patience_;
  std::uint64_t limit_ = 0;
  unsigned slowest_ = 0;
  std::array<Behind, kSlots> behind_{};  // ports more than half a ring behind at the last look
  std::size_t behind_count_ = 0;
  std::array<Account, kSlots> accounts_{};

  bool pausing_ = false;  // there was no room at the last look
  unsigned waiting_threads_ = 0;
  Clock::time_point looked_{};  // while pausing: time of the last look
  std::uint64_t pauses_ = 0;
  std::chrono::nanoseconds paused_{0};
};

}  // namespace shmif::bus
