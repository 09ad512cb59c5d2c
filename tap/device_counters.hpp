#pragma once
// What a device link has counted.

#include <atomic>
#include <cstdint>

namespace shmif::tap {

/// Counts of one device link since it was opened. "Sent" frames went from the program into the
/// interface; "received" frames came from the interface's host.
struct DeviceCounters {
  std::uint64_t sent_frames = 0,      ///< the kernel took them
      sent_bytes = 0;                 ///< bytes of these frames, without FCS
  std::uint64_t received_frames = 0,  ///< handed to the program
      received_bytes = 0;             ///< bytes of these frames, without FCS
  std::uint64_t dropped_down = 0;     ///< not sent: the interface was down
  std::uint64_t dropped_full = 0;     ///< not sent: the device's queue was full
  std::uint64_t dropped_corrupt = 0;  ///< either way: not valid for the kernel or for us
  std::uint64_t missed = 0;           ///< not received: our queue in the kernel was full
};

/// A counter with one writer at a time and readers in any thread.
class Counter {
 public:
  /// Only one thread at a time may call it.
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  /// The present count. Threads: any.
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// DeviceCounters as a link keeps them. dropped_corrupt has a part for each direction, because
/// sending and receiving may be two threads.
struct DeviceCounts {
  Counter sent_frames,   ///< as in DeviceCounters
      sent_bytes,        ///< as in DeviceCounters
      received_frames,   ///< as in DeviceCounters
      received_bytes;    ///< as in DeviceCounters
  Counter dropped_down,  ///< as in DeviceCounters
      dropped_full,      ///< as in DeviceCounters
      corrupt_sent,      ///< the part of dropped_corrupt that was not sent
      corrupt_received,  ///< the part of dropped_corrupt that was not received
      missed;            ///< as in DeviceCounters

  /// The counts now, each read on its own. Threads: any.
  DeviceCounters snapshot() const noexcept {
    return {.sent_frames = sent_frames.get(),
            .sent_bytes = sent_bytes.get(),
            .received_frames = received_frames.get(),
            .received_bytes = received_bytes.get(),
            .dropped_down = dropped_down.get(),
            .dropped_full = dropped_full.get(),
            .dropped_corrupt = corrupt_sent.get() + corrupt_received.get(),
            .missed = missed.get()};
  }
};

}  // namespace shmif::tap
