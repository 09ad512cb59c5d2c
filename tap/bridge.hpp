#pragma once
// Bridge: carries frames between pairs of links, any number of pairs in one loop in one thread.
//
//        left link  --- to_right -->  right link          one pair
//                   <--- to_left ---
//
// One loop rather than a thread per direction: a ping then crosses with one wakeup instead of two
// (measured: 2 to 3 times faster). With nothing to carry it sleeps in epoll; after a lone small
// frame to a bus it first looks on for 50 us, as long as answers come within that time
// (tap/expectation.hpp).
//
// A frame only ever goes to the other link of its pair, so nothing comes back to where it came
// from.
//
// A side that takes nothing for now (SendResult short, without an error) holds up only its own
// direction, and only for `patience`; then what waits is dropped and counted, as a switch does. So
// two pairs that wait for each other cannot lock up.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "bus/result.hpp"
#include "shmif/link.hpp"

namespace shmif::tap {

/// Looks at a frame before it is passed on; `back` is the link it came from, to answer it there.
/// Result: true when the frame is consumed, so not passed on. Runs in the loop's thread: must not
/// block.
using Interceptor = std::function<bool(const FrameView& frame, AnyLink& back)>;

/// Is told of each frame that is dropped since `to` carries none so long. Runs in the loop's
/// thread: must not block.
using TooLongListener = std::function<void(const FrameView& frame, AnyLink& from, AnyLink& to)>;

/// Is told when a link begins to fail in receiving, though it has not ended, as a bus that is
/// corrupt until somebody repairs it; and, without an error, when it receives again. Runs in the
/// loop's thread: must not block.
using TroubleListener = std::function<void(AnyLink& link, std::error_code error)>;

struct BridgeOptions {
  std::size_t batch_frames = 64;
  /// How long a side may refuse frames before they are dropped; twice its own patience if longer.
  std::chrono::milliseconds patience{10};
  TooLongListener on_too_long{};  ///< may be empty
  TroubleListener on_trouble{};   ///< may be empty
};

/// What one direction of a pair has done.
struct DirectionCounters {
  std::uint64_t received = 0;           ///< from the source; what became of them is below
  std::uint64_t frames = 0, bytes = 0;  ///< passed on (a link may still have dropped them)
  std::uint64_t segments = 0;  ///< the same as a wire would carry them: super-frames cut up
  std::uint64_t batches = 0;
  std::uint64_t consumed = 0;          ///< by the interceptor
  std::uint64_t lost = 0;              ///< the source said that an overrun cost so many
  std::uint64_t dropped_full = 0;      ///< the other side took nothing for too long
  std::uint64_t dropped_too_long = 0;  ///< longer than the other side carries
  std::uint64_t dropped_error = 0;     ///< refused for another reason, such as a port that is down
};
struct PairCounters {
  DirectionCounters to_right, to_left;
};

/// Why a bridge stopped.
struct BridgeEnd {
  enum class Why : std::uint8_t {
    stopped,     ///< the stop descriptor, a watch or stop()
    link_ended,  ///< a link will never yield or take a frame again
  };
  Why why = Why::stopped;
  std::size_t pair = 0;  ///< of the link that ended
  std::string address;   ///< of that link: "tap:tap0"
  /// Errc::link_ended, or what made the link useless, such as Errc::bus_lost. With `stopped`: set
  /// when the stop descriptor could not be watched.
  std::error_code error;
};

/// The loop. Links outlive it and belong to it from add() until run() has returned.
/// Threads: one at a time; stop() and counters() from any.
class Bridge {
 public:
  /// Errors: the system's, when no descriptor can be had.
  static Result<Bridge> create(const BridgeOptions& options = {});
  Bridge(Bridge&&) noexcept;
  Bridge& operator=(Bridge&&) noexcept;
  ~Bridge();

  /// Adds a pair. An interceptor may be empty. Not while run() runs.
  /// Result: its number, from 0. Errors: the system's, when a descriptor cannot be watched.
  Result<std::size_t> add(AnyLink& left, AnyLink& right, Interceptor on_to_right = {},
                          Interceptor on_to_left = {});

  /// Calls `on_ready` in the loop whenever `descriptor` is readable (a signalfd, a pidfd, a netlink
  /// socket); it must read what is there, and answers false to stop the bridge. Not while run()
  /// runs.
  Result<void> watch(int descriptor, std::function<bool()> on_ready);

  /// Carries frames until a link ends, `stop_descriptor` (-1: none) becomes readable, a watch says
  /// so or stop() is called. Frames received before a link ended are passed on first. May be called
  /// again. Blocks: until then; that is its purpose.
  BridgeEnd run(int stop_descriptor = -1);
  /// Makes run() return, or the next one at once. Threads: any; also from a signal handler.
  void stop() noexcept;

  PairCounters counters(std::size_t pair) const noexcept;

 private:
  struct Impl;
  explicit Bridge(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
