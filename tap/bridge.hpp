#pragma once
// Bridge: carries frames between pairs of links; any number of pairs in one loop in one thread.
//
//        left link  --- to_right -->  right link          one pair
//                   <--- to_left ---
//
// One loop replaces a thread per direction, because a ping then crosses with one wakeup instead of
// two (measured: 2 to 3 times faster). If there are no frames to carry, the loop sleeps in epoll.
// After a single small frame to a bus, it first keeps looking for 50 us, as long as answers come
// within that time (tap/expectation.hpp).
//
// A frame goes only to the other link of its pair, so no frame returns to where it came from.
//
// If a side takes no frames for now (a short SendResult without an error), only its own direction
// waits, and only for `patience`. Then the waiting frames are dropped and counted, as in a switch.
// So two pairs that wait for each other cannot lock up.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "shmif/link.hpp"

namespace shmif::tap {

/// Looks at a frame before it is passed on. `back`: the link that it came from, to answer there.
/// Result: true if the frame is consumed, and must not be passed on. Runs in the loop's thread:
/// must not block.
using Interceptor = std::function<bool(const FrameView& frame, AnyLink& back)>;

/// Called for each frame that is dropped because it is too long for `to`. Runs in the loop's
/// thread: must not block.
using TooLongListener = std::function<void(const FrameView& frame, AnyLink& from, AnyLink& to)>;

/// Called when receiving from a link begins to fail although the link has not ended, for example a
/// bus that is corrupt until somebody repairs it. Called without an error when receiving works
/// again. Runs in the loop's thread: must not block.
using TroubleListener = std::function<void(AnyLink& link, std::error_code error)>;

/// How a bridge carries frames. The same for all pairs.
struct BridgeOptions {
  std::size_t batch_frames = 64;  ///< most frames that are received at a time; at least 1
  /// How long a side may refuse frames before they are dropped; twice its own patience if that is
  /// longer.
  std::chrono::milliseconds patience{10};
  TooLongListener on_too_long{};  ///< may be empty
  TroubleListener on_trouble{};   ///< may be empty
};

/// What one direction of a pair has done.
struct DirectionCounters {
  std::uint64_t received = 0;      ///< from the source; the counts below say what became of them
  std::uint64_t frames = 0,        ///< passed on (a link may still have dropped them)
      bytes = 0;                   ///< bytes of the frames passed on, without FCS
  std::uint64_t segments = 0;      ///< the same, with each super-frame split as on a wire
  std::uint64_t batches = 0;       ///< times that frames were received, any number at a time
  std::uint64_t consumed = 0;      ///< by the interceptor
  std::uint64_t lost = 0;          ///< lost in overruns, as the source reported
  std::uint64_t dropped_full = 0;  ///< the other side took no frame for too long
  std::uint64_t dropped_too_long = 0;  ///< too long for the other side
  std::uint64_t dropped_error = 0;     ///< refused for another reason, such as a port that is down
};
/// What both directions of a pair have done.
struct PairCounters {
  DirectionCounters to_right,  ///< from the left link to the right one
      to_left;                 ///< from the right link to the left one
};

/// Why a bridge stopped.
struct BridgeEnd {
  /// The kinds of reasons.
  enum class Why : std::uint8_t {
    stopped,     ///< the stop descriptor, a watch or stop()
    link_ended,  ///< a link will never give or take a frame again
  };
  Why why = Why::stopped;  ///< one of these
  std::size_t pair = 0;    ///< of the link that ended
  std::string address;     ///< of that link: "tap:tap0"
  /// Errc::link_ended, or why the link became useless, such as Errc::bus_lost. With `stopped`: set
  /// only if the stop descriptor could not be watched.
  std::error_code error;
};

/// The loop. Links must outlive it, and belong to it from add() until run() has returned.
/// Threads: one at a time; stop() and counters() from any.
class Bridge {
 public:
  /// Errors: bad_argument; an errno, if no descriptor is available.
  static Result<Bridge> create(const BridgeOptions& options = {});
  Bridge(Bridge&&) noexcept;             ///< the other may then only be assigned to or destroyed
  Bridge& operator=(Bridge&&) noexcept;  ///< drops its pairs and watches; not while run() runs
  ~Bridge();

  /// Adds a pair. An interceptor may be empty. Not while run() runs. Result: the pair's number,
  /// from 0. Errors: an errno, if a descriptor cannot be watched.
  Result<std::size_t> add(AnyLink& left, AnyLink& right, Interceptor on_to_right = {},
                          Interceptor on_to_left = {});

  /// Calls `on_ready` in the loop whenever `descriptor` is readable (a signalfd, a pidfd, a netlink
  /// socket). It must read what is there, and return false to stop the bridge. It may change a link
  /// of the bridge so that this has another descriptor (Line::set_faults()). Do not call this while
  /// run() runs.
  Result<void> watch(int descriptor, std::function<bool()> on_ready);

  /// Carries frames until a link ends, `stop_descriptor` (-1: none) becomes readable, a watch
  /// returns false, or stop() is called. Frames received before a link ended are passed on first.
  /// So are frames that were there when the loop was told to stop. May be called again. Blocks:
  /// until then.
  BridgeEnd run(int stop_descriptor = -1);
  /// Makes run() return; if it does not run, the next run() returns at once. Threads: any; also
  /// from a signal handler.
  void stop() noexcept;

  /// What the pair has done since add(). `pair`: a number that add() returned.
  PairCounters counters(std::size_t pair) const noexcept;

 private:
  struct Impl;
  explicit Bridge(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
