#pragma once
// VerifyQueue: checks frames separately from receiving them.
//
// Checking a frame of 1500 bytes takes longer than receiving it. So frames are copied into groups,
// and a group is checked later: by separate threads (`verify_async`) or, without such threads, by
// the receiving thread when `verify_backlog` frames have come. Results are delivered in the order
// of arrival, as if each frame had been checked at once, so the ledger sees no difference.
//
//        put()           check              deliver
//   filling -> waiting -> taken by a worker -> done, in order
//
// Memory is bounded: if all groups are in use, put() waits for the oldest. It checks that group
// itself if no worker has taken it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "perf/frame/probe.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// A frame and its result. Its bytes are valid until the callback returns.
struct CheckedFrame {
  FrameView frame;
  std::uint64_t arrived_ns = 0;
  ProbeReading reading;  ///< if it was not checked, from peek_probe()
  bool checked = true;   ///< false: time ran out first
};

/// Threads: one at a time, the receiving thread; deliver() is called in it.
class VerifyQueue {
 public:
  struct Options {
    std::size_t threads = 0;
    std::uint64_t backlog = 0;  ///< frames per group; 0: as many as came before flush(), up to 64
    /// Limit for the bytes of a group: at this size a group is complete.
    std::size_t group_bytes = std::size_t{16} << 20U;
  };
  /// Checks one frame. Several threads call it at once.
  using Check = std::function<ProbeReading(const FrameView& frame)>;
  using Deliver = std::function<void(const CheckedFrame& frame)>;

  /// Errors: an errno, if no more threads can be made.
  static Result<std::unique_ptr<VerifyQueue>> start(const Options& options, Check check,
                                                    Deliver deliver);
  VerifyQueue(const VerifyQueue&) = delete;
  VerifyQueue& operator=(const VerifyQueue&) = delete;
  ~VerifyQueue();  ///< drops undelivered frames; call finish() first

  /// Copies a frame that has arrived. Blocks: while a group is checked, if all are in use.
  void put(const FrameView& frame, std::uint64_t arrived_ns);
  /// To be called when no more frames have come for now: without a backlog, the group is checked.
  /// Delivers finished groups.
  void flush();
  /// To be called when no more frames will come for a while: checks and delivers all frames, also
  /// those of an incomplete backlog. Blocks: for the checks.
  void catch_up();
  /// Checks all remaining frames until `deadline_ns` of CLOCK_MONOTONIC, and delivers all of them,
  /// the rest as unverified. Result: how many these are. put() must not be called afterwards.
  std::uint64_t finish(std::uint64_t deadline_ns);

  /// How many frames have come and were not delivered.
  std::uint64_t waiting() const noexcept;

 private:
  struct Impl;
  explicit VerifyQueue(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
