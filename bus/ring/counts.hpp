#pragma once
// The counters of a port: kept by its process, shown in the port table.

#include <atomic>
#include <cstdint>

#include "bus/atomics.hpp"
#include "bus/info.hpp"
#include "bus/layout.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

/// A counter of this process, which the port table shows, too. A peer may overwrite the table, but
/// not this counter. One thread writes at a time; any may read.
class Count {
 public:
  void add(std::uint64_t n, std::uint64_t& shown) noexcept {
    if (n == 0) return;
    const std::uint64_t value = own_.load(std::memory_order_relaxed) + n;
    own_.store(value, std::memory_order_relaxed);
    store_relaxed(shown, value);
  }
  std::uint64_t get() const noexcept { return own_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> own_{0};
};

/// The same, for several threads that count seldom.
class SharedCount {
 public:
  void add(std::uint64_t n, std::uint64_t& shown) noexcept {
    if (n == 0) return;
    std::uint64_t value = own_.fetch_add(n) + n;
    // The thread that counted last shows its number last: there is another round only if another
    // thread counted meanwhile.
    for (;;) {
      store_seq_cst(shown, value);
      const std::uint64_t now = own_.load();
      if (now == value) return;
      value = now;
    }
  }
  std::uint64_t get() const noexcept { return own_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> own_{0};
};

/// All counters of a port, one for each field of PortCounters.
struct Counts {
  Count tx_frames, tx_bytes, refused, doorbells, lock_sleeps, pauses, paused_ns;
  Count rx_frames, rx_bytes, own, filtered, skipped, overruns, lost_frames, lost_bytes, wakeups;
  SharedCount corrupt;  ///< the sending thread and the receiving one both count here
  Count tx_more_segments, rx_more_segments, too_long;

  void add(const ReadTally& t, PortSlot& s) noexcept {
    rx_frames.add(t.frames, s.rx_frames);
    rx_bytes.add(t.bytes, s.rx_bytes);
    own.add(t.own, s.own_frames);
    filtered.add(t.filtered, s.filtered_frames);
    overruns.add(t.overruns, s.overruns);
    lost_frames.add(t.lost_frames, s.lost_frames);
    lost_bytes.add(t.lost_bytes, s.lost_bytes);
    corrupt.add(t.corrupt, s.corrupt);
    rx_more_segments.add(t.more_segments, s.rx_more_segments);
  }
  PortCounters get() const noexcept {
    PortCounters c;
    c.tx_frames = tx_frames.get();
    c.tx_bytes = tx_bytes.get();
    c.refused_frames = refused.get();
    c.rx_frames = rx_frames.get();
    c.rx_bytes = rx_bytes.get();
    c.own_frames = own.get();
    c.filtered_frames = filtered.get();
    c.skipped_frames = skipped.get();
    c.overruns = overruns.get();
    c.lost_frames = lost_frames.get();
    c.lost_bytes = lost_bytes.get();
    c.corrupt = corrupt.get();
    c.wakeups = wakeups.get();
    c.doorbells = doorbells.get();
    c.lock_sleeps = lock_sleeps.get();
    c.pauses = pauses.get();
    c.paused_ns = paused_ns.get();
    c.tx_segments = c.tx_frames + tx_more_segments.get();
    c.rx_segments = c.rx_frames + rx_more_segments.get();
    c.too_long_frames = too_long.get();
    return c;
  }
};

}  // namespace shmif::bus
