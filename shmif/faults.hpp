#pragma once
// Deliberate faults for frames on their way: loss, delay, duplicates, reordering, corruption, a
// bottleneck. This is one direction of a link; FaultLink (shmif/fault_link.hpp) and LineFaults have
// two.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif {

class FrameFilter;

/// How many frames wait for a bottleneck at most, unless FaultOptions::queue_frames says otherwise.
inline constexpr std::size_t kMaxQueuedForLine = 1000;
/// How much memory the frames that wait in one direction take at most; further ones are dropped.
inline constexpr std::size_t kMaxFaultBytes = std::size_t{64} << 20U;

/// `loss`, `duplicate`, `reorder`, `corrupt` and `truncate` are probabilities, 0 to 1, with which a
/// frame gets the fault. Each frame is drawn independently. The same seed gives the same faults to
/// the same frames. Each kind of fault has its own random numbers, so adding one kind does not
/// change the others.
struct FaultOptions {
  double loss = 0;  ///< probability that the frame does not arrive
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
    double to_bad = 0;        ///< probability that a good line becomes bad
    double to_good = 1;       ///< probability that a bad line becomes good
    double loss_in_bad = 1;   ///< probability that a frame is lost on a bad line
    double loss_in_good = 0;  ///< probability that a frame is lost on a good line
  };
  std::optional<Bursts> bursts = std::nullopt;  ///< empty: the line is always good

  /// Each frame is delayed by a time between `delay` - `jitter` and `delay` + `jitter`, uniformly
  /// distributed. So close frames can overtake each other, as with tc-netem(8).
  std::chrono::nanoseconds delay{0};
  std::chrono::nanoseconds jitter{0};  ///< 0: each frame is delayed by exactly `delay`
  /// With this, jitter does not reorder frames: a frame that would overtake another one arrives
  /// together with it. So the mean delay of close frames is greater than `delay`, and their spread
  /// is smaller.
  bool keep_order = false;
  std::uint64_t rate_bps = 0;  ///< a bottleneck, in bit/s of frames without FCS; 0: no limit
  /// How many frames may wait for delay and bottleneck; any more are dropped. 0: as many as fit:
  /// any number may wait for the delay. For the bottleneck, as many may wait as it sends within
  /// `delay` (rate times delay), or kMaxQueuedForLine frames if that is more. In any case, frames
  /// that would take more than kMaxFaultBytes of memory together are dropped.
  std::size_t queue_frames = 0;
  std::uint64_t seed = 1;  ///< of the random numbers

  /// Exactly these frames are lost: ranges of their numbers. The first frame that comes in has the
  /// number 1, and the count starts again when the faults are changed. With `match`, only frames
  /// that match are counted. In ascending order, without overlaps.
  struct Range {
    std::uint64_t first = 0,  ///< the number of the first frame that is lost
        last = 0;             ///< the number of the last one, at least `first`
    bool operator==(const Range&) const = default;  ///< whether both name the same frames
  };
  std::vector<Range> drop = {};  ///< empty: no frame is lost by its number
  /// Faults hit only frames that this filter matches. It looks at each frame before any fault does.
  /// The others pass at once, as on a line without faults: they neither wait for delay or
  /// bottleneck nor take its time, so they overtake frames that wait. No random number is drawn for
  /// them. Make it with match_frames().
  struct Match {
    std::string text = {};  ///< the filter expression; empty: every frame matches
    /// `text`, compiled; null: every frame matches.
    std::shared_ptr<const FrameFilter> filter = {};
  };
  Match match = {};  ///< which frames faults hit

  /// Whether any fault is set.
  bool any() const noexcept;
};

/// Compiles a filter expression (pcap-filter(7)) for FaultOptions::match. Names of hosts, ports and
/// protocols are refused, because whoever may write a bus asks the owner of a port to compile
/// filters, and the owner must not wait for a resolver. Errors: those of FrameFilter::compile;
/// bad_argument for a text with a quotation mark or with a name. Threads: any. Blocks: for the disk
/// when the process first needs libpcap.
Result<FaultOptions::Match> match_frames(std::string_view expression);

/// Parses a text such as "loss=1%,delay=5ms±1ms". Faults are separated by commas:
///
///   loss, duplicate, reorder, corrupt, truncate = PROBABILITY     "1%"
///   burst = TO_BAD:TO_GOOD[:LOSS_IN_BAD[:LOSS_IN_GOOD]]           probabilities
///   delay = TIME[±TIME]                                           "5ms", "250us±50us", also "+-"
///   order = keep | free                                           whether jitter keeps the order
///   rate = RATE            "10Mbit", "64kbit"; a plain number: bit/s, refused below 1000000
///   queue = FRAMES, seed = NUMBER   (base/quantity.hpp says how each is written)
///   drop = NUMBER[-NUMBER],...      exactly these frames: "57,60-62"
///   match = FILTER                  only frames that match: "'tcp port 80'"; the quotation marks,
///                                   ' or ", may be left out; numbers, no names (match_frames())
///
/// Each occurs at most once, and never adds up with another of its kind: a second one is refused by
/// its name. `order` occurs only with jitter, and `match` only with a fault. The value of `drop`
/// goes on behind a comma if a digit follows, and that of `match` without quotation marks up to the
/// next comma before one of these names and "=". Errors: bad_argument; the message names the part
/// and says what it could be. Blocks: with `match`, as match_frames().
Result<FaultOptions> parse_faults(std::string_view text);
/// A text from which parse_faults() makes the same options, except for the seed. If no fault is
/// set, the result is "none", which parse_faults() refuses.
std::string to_string(const FaultOptions& options);

/// The faults of a host's line to its bus.
struct LineFaults {
  FaultOptions received;  ///< for frames that the host receives
  FaultOptions sent;      ///< for frames that it sends

  /// Whether any fault is set.
  bool any() const noexcept { return received.any() || sent.any(); }
};

/// Parses the faults of a line. A text as for parse_faults() holds for both ways. With "in:" before
/// it, it holds for frames that the host receives, and with "out:" for those that it sends. Several
/// such texts are separated by semicolons, and add up for each way: "delay=10ms;in:loss=1%". For
/// one way, each fault occurs at most once. "none" sets no faults; so does "in:none" for one way.
///
/// Each way has its own random numbers: frames that are received take the seed, and frames that are
/// sent take the seed plus 1, whether it was given for one way or for both.
/// Errors and Blocks: as parse_faults().
Result<LineFaults> parse_line_faults(std::string_view text);
/// A text from which parse_line_faults() makes the same faults, with their seeds: the seed is left
/// out if it is 1. "none" if no fault is set.
std::string to_string(const LineFaults& faults);

/// What faults did to the frames of one direction. Several faults can hit one frame.
struct FaultCounters {
  std::uint64_t frames = 0;      ///< that came in, also those that `match` left alone
  std::uint64_t lost = 0;        ///< by `loss`, `bursts` and `drop`
  std::uint64_t duplicated = 0;  ///< copies made by `duplicate`
  std::uint64_t reordered = 0;   ///< overtaken by another, by `reorder` or `jitter`
  std::uint64_t corrupted = 0;   ///< by `corrupt`
  std::uint64_t truncated = 0;   ///< by `truncate`
  std::uint64_t queue_full = 0;  ///< dropped because the queue was full

  /// Adds the counters of another direction, or of earlier faults.
  FaultCounters& operator+=(const FaultCounters& more) noexcept;
};

/// Frames on their way in one direction. Each frame is due at a certain time. The class has no
/// clock: the caller passes the time. Threads: one at a time. Blocks: never.
class Faults {
 public:
  using Time = std::chrono::steady_clock::time_point;  ///< the clock of the caller

  /// Begins with no frame on its way.
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
  /// and later frames do not overtake them even if their delay is shorter (frames that `match`
  /// leaves alone do). The random numbers and the count of `drop` start again.
  void change(const FaultOptions& options);
  /// Makes all frames that wait due at once, in the order in which they would have gone. Also frees
  /// the bottleneck.
  void hurry(Time now) noexcept;
  /// Discards all frames that wait. Result: how many.
  std::size_t discard() noexcept;

  /// How many frames are on their way: those not due yet, held back, or due but not removed by
  /// pop().
  std::size_t waiting() const noexcept { return queue_.size() + held_.size(); }
  /// Counted since the beginning; change() does not reset them.
  const FaultCounters& counters() const noexcept { return counters_; }
  /// The faults for frames that come in now.
  const FaultOptions& options() const noexcept { return options_; }

 private:
  struct Frame {
    FrameView view;  // of `bytes`
    std::vector<std::byte> bytes;
    Time due{};
    std::uint64_t number = 0;  // of the frames that came in
    bool is_copy = false;
    bool passes_by = false;  // no fault hits it
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
  bool is_to_drop() noexcept;
  void pass_by(const FrameView& frame, Time now) noexcept;
  void put_matching(const FrameView& frame, Time now) noexcept;
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
  std::uint64_t counted_ = 0;    // frames that matched, for `drop`
  std::size_t next_drop_ = 0;    // the range of `drop` that has not passed yet
  Time line_free_{};             // when the bottleneck has sent all earlier frames
  std::uint64_t line_rest_ = 0;  // the fraction of a ns after line_free_, in 1/rate_bps ns
  std::deque<Time> line_;        // when it has sent each waiting frame
  Time last_due_{};              // the latest of all frames so far
  Time not_before_{};            // later frames do not overtake those from before a change
  std::uint64_t turns_ = 0;
  std::uint64_t numbers_ = 0;
  std::uint64_t gone_ = 0;   // the greatest number of the frames that have gone
  std::size_t bytes_ = 0;    // memory of the frames that wait
  std::size_t passing_ = 0;  // frames in the queue that no fault hits
  Queue queue_;
  std::vector<Queue::node_type> held_;   // these wait until a frame passes them
  std::vector<Queue::node_type> spare_;  // of frames that have gone
  FaultCounters counters_;
};

}  // namespace shmif
