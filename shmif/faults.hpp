#pragma once
// Deliberate faults for frames on their way: loss, delay, duplicates, reordering, corruption, a
// bottleneck. This is one direction of a link; FaultLink (shmif/fault_link.hpp) has two.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif {

inline constexpr std::size_t kMaxQueuedForLine = 1000;
inline constexpr std::size_t kMaxFaultBytes = std::size_t{64} << 20U;

/// `loss`, `duplicate`, `reorder`, `corrupt` and `truncate` are probabilities, 0 to 1, with which a
/// frame gets the fault. Each frame is drawn independently. The same seed gives the same faults to
/// the same frames. Each kind of fault has its own random numbers, so adding one kind does not
/// change the others.
struct FaultOptions {
  double loss = 0;
  /// An undamaged copy follows at once. If the queue of `queue_frames` has no place left for it, it
  /// is not made.
  double duplicate = 0;
  /// The probability with which a frame is held back. It goes on after a later frame that is not
  /// held back, but after 10 ms at the latest. At most 64 frames are held back at a time, and
  /// always fewer than `queue_frames`. So if `queue_frames` is 1, no frame is held back.
  double reorder = 0;
  double corrupt = 0;   ///< one bit changes, anywhere after the two addresses
  double truncate = 0;  ///< the end is cut off; at least 14 bytes stay

  /// Losses in bursts (Gilbert 1960, Elliott 1963). The line is good or bad, and good at first.
  /// Each frame first changes a good line to bad with probability `to_bad`, or a bad line to good
  /// with `to_good`. The frame is then lost with probability `loss_in_good` or `loss_in_bad`.
  struct Bursts {
    double to_bad = 0;
    double to_good = 1;
    double loss_in_bad = 1;
    double loss_in_good = 0;
  };
  std::optional<Bursts> bursts = std::nullopt;

  /// Each frame is delayed by a time between `delay` - `jitter` and `delay` + `jitter`, uniformly
  /// distributed. So close frames can overtake each other, as with tc-netem(8).
  std::chrono::nanoseconds delay{0};
  std::chrono::nanoseconds jitter{0};
  /// With this, jitter does not reorder frames: a frame that would overtake another one arrives
  /// together with it. So the mean delay of close frames is greater than `delay`, and their spread
  /// is smaller.
  bool keep_order = false;
  std::uint64_t rate_bps = 0;  ///< a bottleneck, in bit/s of frames without FCS; 0: no limit
  /// How many frames may wait for delay and bottleneck; any more are dropped. 0: up to
  /// kMaxQueuedForLine frames may wait for the bottleneck, and any number for the delay, as long as
  /// all of them take at most kMaxFaultBytes of memory.
  std::size_t queue_frames = 0;
  std::uint64_t seed = 1;

  /// Whether any fault is set.
  bool any() const noexcept;
};

/// Parses a text such as "loss=1%,delay=5ms±1ms". Faults are separated by commas:
///
///   loss, duplicate, reorder, corrupt, truncate = PROBABILITY     "1%"
///   burst = TO_BAD:TO_GOOD[:LOSS_IN_BAD[:LOSS_IN_GOOD]]           probabilities
///   delay = TIME[±TIME]                                           "5ms", "250us±50us", also "+-"
///   order = keep | free                                           whether jitter keeps the order
///   rate = RATE                                                   "10Mbit", "2.5Gbit", "64kbit"
///   queue = FRAMES, seed = NUMBER   (base/quantity.hpp says how each is written)
///
/// Each occurs at most once, and `order` only with jitter. Errors: bad_argument; the message names
/// the part and says what it could be.
Result<FaultOptions> parse_faults(std::string_view text);
/// A text from which parse_faults() makes the same options, except for the seed. If no fault is
/// set, the result is "none", which parse_faults() refuses.
std::string to_string(const FaultOptions& options);

struct FaultCounters {
  std::uint64_t frames = 0;  ///< that came in
  std::uint64_t lost = 0;    ///< by `loss` and `bursts`
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;  ///< overtaken by another, by `reorder` or `jitter`
  std::uint64_t corrupted = 0;
  std::uint64_t truncated = 0;
  std::uint64_t queue_full = 0;  ///< dropped because the queue was full
};

/// Frames on their way in one direction. Each frame is due at a certain time. The class has no
/// clock: the caller passes the time. Threads: one at a time. Blocks: never.
class Faults {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Faults(const FaultOptions& options);

  /// Takes a copy of `frame`, which comes in at `now`. The faults may drop it at once.
  void put(const FrameView& frame, Time now) noexcept;
  /// When the front frame is due; empty when there is none.
  std::optional<Time> due() const noexcept;
  /// Fills `into` with views of frames that are due, from the front. Result: how many. The views
  /// are valid until the next put() or pop().
  std::size_t ready(std::span<FrameView> into, Time now) noexcept;
  /// Removes the first `count` frames, after the caller has sent them on.
  void pop(std::size_t count) noexcept;

  /// Sets other faults for frames that come in from now on. Frames on their way keep their time,
  /// and later frames do not overtake them even if their delay is shorter. The random numbers go
  /// on, but start again if the seed changes.
  void change(const FaultOptions& options);

  std::size_t waiting() const noexcept { return queue_.size() + held_.size(); }
  const FaultCounters& counters() const noexcept { return counters_; }
  const FaultOptions& options() const noexcept { return options_; }

 private:
  struct Frame {
    FrameView view;  // of `bytes`
    std::vector<std::byte> bytes;
    Time due{};
    std::uint64_t number = 0;  // of the frames that came in
    bool is_copy = false;
  };
  /// The place of a frame in the queue: by its time, and for equal times by its turn.
  struct Place {
    Time due;
    std::uint64_t turn = 0;
    auto operator<=>(const Place&) const = default;
  };
  using Queue = std::map<Place, Frame>;
  enum Kind : std::size_t { kLoss, kBurst, kDuplicate, kReorder, kCorrupt, kTruncate, kJitter };

  void seed_random();
  bool happens(Kind kind, double share) noexcept;
  bool is_lost() noexcept;
  std::chrono::nanoseconds draw_jitter() noexcept;
  bool has_room(std::size_t bytes, Time now) noexcept;
  bool has_room_for_copy() const noexcept;
  Time due_of(std::size_t bytes, std::chrono::nanoseconds jitter, Time now);
  Queue::iterator enter(const FrameView& frame, Time due, Time now);
  void cut_short(Frame& frame, std::uint64_t where) noexcept;
  void flip_a_bit(Frame& frame, std::uint64_t which) noexcept;
  bool may_hold(std::size_t count) const noexcept;
  void hold(Queue::iterator at) noexcept;
  void let_go(std::size_t count, Time not_before) noexcept;

  FaultOptions options_;
  std::array<std::mt19937_64, 7> random_;
  bool bad_ = false;             // the state of `bursts`
  Time line_free_{};             // when the bottleneck has sent all earlier frames
  std::uint64_t line_rest_ = 0;  // the fraction of a ns after line_free_, in 1/rate_bps ns
  std::deque<Time> line_;        // when it has sent each waiting frame
  Time last_due_{};              // the latest of all frames so far
  Time not_before_{};            // later frames do not overtake those from before a change
  std::uint64_t turns_ = 0;
  std::uint64_t numbers_ = 0;
  std::uint64_t gone_ = 0;  // the greatest number of the frames that have gone
  std::size_t bytes_ = 0;   // memory of the frames that wait
  Queue queue_;
  std::vector<Queue::node_type> held_;   // these wait until a frame passes them
  std::vector<Queue::node_type> spare_;  // of frames that have gone
  FaultCounters counters_;
};

}  // namespace shmif
