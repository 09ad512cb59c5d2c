#pragma once
// ProbeTrain: frames of one flow that a receiver can take together, because they are whole and
// their numbers follow each other. Small frames that are taken one by one cost about three times as
// much (bench/harness.cpp).

#include <cstddef>
#include <cstdint>
#include <span>

#include "perf/frame/probe.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// The times that a probe contains.
struct ProbeTimes {
  std::uint64_t intended_ns = 0;
  std::uint64_t sent_ns = 0;
  bool operator==(const ProbeTimes&) const = default;
};

struct ProbeTrain {
  Checksum checksum = Checksum::none;  ///< of each frame: whether a CRC was checked
  std::uint32_t flow = 0;
  std::uint32_t nonce = 0;
  std::uint64_t first = 0;              ///< sequence number of its first frame
  std::uint64_t bytes = 0;              ///< of all frames
  std::span<const ProbeTimes> times{};  ///< of each frame

  std::size_t frames() const noexcept { return times.size(); }
  /// The same train without its first `count` frames, which have `their_bytes`.
  ProbeTrain behind(std::size_t count, std::uint64_t their_bytes) const noexcept {
    ProbeTrain rest = *this;
    rest.first += count;
    rest.bytes -= their_bytes;
    rest.times = times.subspan(count);
    return rest;
  }
  /// What the probe of frame `i` contains.
  Probe probe(std::size_t i) const noexcept {
    return {.flow = flow,
            .nonce = nonce,
            .sequence = first + i,
            .intended_ns = times[i].intended_ns,
            .sent_ns = times[i].sent_ns};
  }
};

/// Reads frames from the front, as long as each is whole, has a probe of Probe::Kind::data behind
/// its Ethernet header (and VLAN tag), and the next number. All have a CRC, or all lack it. Reads
/// at most as many frames as `times` has room for. Result: the frames that were read, which can be
/// 0; read_probe() reads the others. On a CPU without instructions for CRC-32C there is never a
/// train. Threads: any. Blocks: never.
ProbeTrain read_train(std::span<const FrameView> frames, std::span<ProbeTimes> times) noexcept;

/// Calls `take(times, count)` for each group of frames with equal times that follow each other.
/// Frames that were sent together without a pace have equal times.
template <class Take>
void by_equal_times(std::span<const ProbeTimes> all, const Take& take) {
  while (!all.empty()) {
    std::size_t count = 1;
    while (count < all.size() && all[count] == all.front()) ++count;
    take(all.front(), count);
    all = all.subspan(count);
  }
}

}  // namespace shmif::perf
