#pragma once
// VerifyQueue: checks frames apart from receiving them.
//
// To check a frame of 1500 bytes takes longer than to receive it. So frames are copied, in groups,
// and a group is checked later, by threads of its own (`verify_async`) or, where there are none, by
// the one that receives, when `verify_backlog` frames have come. What was found out comes back in
// the order of arrival, as if each had been checked at once; so the ledger sees no difference.
//
//        put()           check              deliver
//   filling -> waiting -> taken by a worker -> done, in order
//
// Memory is bounded: where all groups are in use, put() waits for the oldest, and checks one itself
// rather than wait for a worker.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "bus/result.hpp"
#include "perf/frame/probe.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// What became of a frame. Its bytes are good until the callback returns.
struct CheckedFrame {
  FrameView frame;
  std::uint64_t arrived_ns = 0;
  ProbeReading reading;  ///< unchecked: peek_probe()'s
  bool checked = true;   ///< false: time ran out before
};

/// Threads: one at a time, the one that receives; deliver() is called in it.
class VerifyQueue {
 public:
  struct Options {
    std::size_t threads = 0;
    std::uint64_t backlog = 0;  ///< frames of a group; 0: whatever has come at flush(), up to 64
    /// Of the frames of a group: one that is as long is not waited with any longer.
    std::size_t group_bytes = std::size_t{16} << 20U;
  };
  /// Checks one frame; called by several threads at once.
  using Check = std::function<ProbeReading(const FrameView& frame)>;
  using Deliver = std::function<void(const CheckedFrame& frame)>;

  /// Errors: the system's, when there can be no more threads.
  static Result<std::unique_ptr<VerifyQueue>> start(const Options& options, Check check,
                                                    Deliver deliver);
  VerifyQueue(const VerifyQueue&) = delete;
  VerifyQueue& operator=(const VerifyQueue&) = delete;
  ~VerifyQueue();  ///< what was not delivered is forgotten; ask finish() first

  /// A frame has come; it is copied. Blocks: for the check of a group, where all are in use.
  void put(const FrameView& frame, std::uint64_t arrived_ns);
  /// Nothing more has come for now: without a backlog, what has is checked. Delivers what is done.
  void flush();
  /// Nothing more will come for long: checks and delivers all that has, the beginning of a backlog
  /// too. Blocks: for the checks.
  void catch_up();
  /// Checks all that is left, until the time `deadline_ns` of CLOCK_MONOTONIC; delivers everything,
  /// what was not checked by then as unchecked. Result: how many those were. Nothing can be put any
  /// more.
  std::uint64_t finish(std::uint64_t deadline_ns);

  /// Frames that have come and were not delivered.
  std::uint64_t waiting() const noexcept;

 private:
  struct Impl;
  explicit VerifyQueue(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
