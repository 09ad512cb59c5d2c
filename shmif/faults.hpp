#pragma once
// What may go wrong with frames on their way, on purpose: loss, delay, duplicates, reordering,
// corruption, a bottleneck. One direction of a link; FaultLink (shmif/fault_link.hpp) has two.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// Shares are of all frames, 0 to 1, and drawn for each frame by itself. The same seed makes the
/// same faults of the same frames, and each kind draws from numbers of its own: to add a kind
/// changes none of the others.
struct FaultOptions {
  double loss = 0;
  double duplicate = 0;  ///< an undamaged copy follows at once
  /// The frame lets the next one pass that is not chosen itself, or goes on by itself after 10 ms.
  /// Of more than 64 chosen in a row, one passes all the same, and so it does when those that wait
  /// would fill the queue: with `queue_frames` of 1 nothing is reordered.
  double reorder = 0;
  double corrupt = 0;   ///< one bit changes, anywhere behind the two addresses
  double truncate = 0;  ///< the end is missing; at least 14 bytes stay

  /// Losses that come in bursts (Gilbert 1960, Elliott 1963): a frame leaves the good state with
  /// probability `to_bad`, the bad one with `to_good`, and is lost with that of its state.
  struct Bursts {
    double to_bad = 0;
    double to_good = 1;
    double loss_in_bad = 1;
    double loss_in_good = 0;
  };
  std::optional<Bursts> bursts = std::nullopt;

  /// Each frame takes `delay`, and up to `jitter` more or less, evenly spread. Jitter alone
  /// reorders nothing: who would overtake arrives together with the one before.
  std::chrono::nanoseconds delay{0};
  std::chrono::nanoseconds jitter{0};
  std::uint64_t rate_bps = 0;  ///< a bottleneck, in bits of frames without FCS; 0: none
  /// Frames that may wait for delay and bottleneck; more are dropped.
  std::size_t queue_frames = 1000;
  std::uint64_t seed = 1;

  /// Whether there is any fault at all.
  bool any() const noexcept;
};

/// What "loss=1%,delay=5ms±1ms" means. Faults are separated by commas:
///
///   loss, duplicate, reorder, corrupt, truncate = SHARE     "1%"
///   burst = TO_BAD:TO_GOOD[:LOSS_IN_BAD[:LOSS_IN_GOOD]]     shares
///   delay = TIME[±TIME]                                     "5ms", "250us±50us", also "+-"
///   rate = RATE                                             "10Mbit", "2.5Gbit", "64kbit"
///   queue = FRAMES, seed = NUMBER   (base/quantity.hpp says how each is written)
///
/// Errors: bad_argument, naming the part and what it could be.
Result<FaultOptions> parse_faults(std::string_view text);
/// parse_faults() of it makes the same options, the seed left out; "none" when there is no fault.
std::string to_string(const FaultOptions& options);

struct FaultCounters {
  std::uint64_t frames = 0;  ///< that came in
  std::uint64_t lost = 0;    ///< by `loss` and `bursts`
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;  ///< overtaken by another
  std::uint64_t corrupted = 0;
  std::uint64_t truncated = 0;
  std::uint64_t queue_full = 0;  ///< dropped, because so many waited
};

/// Frames on their way in one direction, each due at its time. No clock of its own: the caller says
/// what time it is. Threads: one at a time. Blocks: never.
class Faults {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Faults(const FaultOptions& options);

  /// A frame comes in.
  void put(const FrameView& frame, Time now) noexcept;
  /// When the front frame is due; nothing when there is none.
  std::optional<Time> due() const noexcept;
  /// Fills `into` with views of frames that are due, from the front. Result: how many. They are
  /// good until the next put() or pop().
  std::size_t ready(std::span<FrameView> into, Time now) noexcept;
  /// So many from the front have gone out.
  void pop(std::size_t count) noexcept;

  /// Other faults for frames that come in from now on. Frames on their way keep their time, and
  /// those that come later do not overtake them by a shorter delay. Random numbers go on, unless
  /// the seed is another: then they begin anew.
  void change(const FaultOptions& options);

  std::size_t waiting() const noexcept { return queue_.size() + held_.size(); }
  const FaultCounters& counters() const noexcept { return counters_; }
  const FaultOptions& options() const noexcept { return options_; }

 private:
  struct Frame {
    Time due;
    FrameView view;  // of `bytes`
    std::vector<std::byte> bytes;
    bool is_copy = false;
  };
  enum Kind : std::size_t { kLoss, kBurst, kDuplicate, kReorder, kCorrupt, kTruncate, kJitter };

  void seed_random();
  bool happens(Kind kind, double share) noexcept;
  bool is_lost() noexcept;
  std::chrono::nanoseconds draw_jitter() noexcept;
  Time due_of(std::size_t bytes, std::chrono::nanoseconds jitter, Time now) noexcept;
  bool enter(const FrameView& frame, Time due, Time now) noexcept;
  void cut_short(Frame& frame, std::uint64_t where) noexcept;
  void flip_a_bit(Frame& frame, std::uint64_t which) noexcept;
  bool may_hold(std::size_t count) const noexcept;
  void hold(std::size_t count) noexcept;
  std::size_t let_go(std::size_t count) noexcept;

  FaultOptions options_;
  std::array<std::mt19937_64, 7> random_;
  bool bad_ = false;             // the state of `bursts`
  Time line_free_{};             // when the bottleneck has sent what came before
  std::uint64_t line_rest_ = 0;  // of that, what is less than a nanosecond, in bits * 10^9
  Time last_due_{};              // of the frame before: jitter reorders nothing
  std::deque<Frame> queue_;
  std::vector<Frame> held_;                    // these let the next one pass
  std::vector<std::vector<std::byte>> spare_;  // room of frames that have gone
  FaultCounters counters_;
};

}  // namespace shmif
