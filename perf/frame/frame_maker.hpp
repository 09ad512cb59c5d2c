#pragma once
// FrameMaker: the frames of one flow, each with its probe.
//
// Nothing of a frame but its probe, and headers that differ, is made when it is sent: K buffers are
// filled once, with header and payload, and frame number n is the front of buffer n mod K. A
// receiver with the same options makes the same buffers, and so knows every byte of every frame
// without a record of any.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "perf/frame/frame_buffers.hpp"
#include "perf/frame/header_template.hpp"
#include "perf/frame/probe.hpp"
#include "perf/job/job_options.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

struct FrameMakerOptions {
  /// Frames; else the payload of datagrams, which begins with the probe.
  bool ethernet = true;
  MacAddress destination, source;
  std::optional<std::uint16_t> vlan;      ///< a tag of 802.1Q, priority 0
  std::optional<HeaderTemplate> headers;  ///< in place of Ethernet's and the tag
  std::uint32_t flow = 0;
  std::uint64_t seed = 1;
  Payload payload = Payload::random;
  std::vector<std::byte> pattern;    ///< empty: 0, 1, 2, ... 255, as of ping(8)
  std::uint32_t zeros_per_cent = 0;  ///< of any payload, 100 at most
  std::size_t most_bytes = 1514;     ///< of a frame, at least those of header and probe
  std::size_t batch = 32;            ///< most frames whose bytes are in use at once
  Checksum checksum = Checksum::crc;
  bool hugepages = false;
};

/// What `job` asks of the frames of `flow`, whose addresses are still to be filled in.
FrameMakerOptions frame_maker_options(const JobOptions& job, std::uint32_t flow,
                                      std::uint32_t most_bytes);

/// Threads: one at a time. Blocks: never.
class FrameMaker {
 public:
  /// Throws what FrameBuffers does.
  explicit FrameMaker(const FrameMakerOptions& options);

  /// Frame number `sequence` with `probe`, whose flow and number are written as those of the frame;
  /// `bytes` from least_bytes() to `most_bytes`. Result: a view that is good until slots() frames
  /// more have been made.
  FrameView make(std::uint64_t sequence, std::size_t bytes, Probe probe) noexcept {
    if (headers_) write_headers(sequence, bytes);
    return finish(sequence, bytes, probe);
  }

  /// The same in two steps, for many frames: what write_headers() stored is read by finish(), and
  /// takes no time when others were stored meanwhile. Of a maker with headers.
  bool has_headers() const noexcept { return headers_.has_value(); }
  void write_headers(std::uint64_t sequence, std::size_t bytes) noexcept {
    std::byte* const slot = slot_of(sequence);
    sums_[sequence & slot_mask_].header = headers_->write(slot, bytes, sequence);
  }
  FrameView finish(std::uint64_t sequence, std::size_t bytes, Probe probe) noexcept {
    std::byte* const slot = slot_of(sequence);
    probe.flow = flow_;
    probe.sequence = sequence;
    write_probe({slot, bytes}, probe_at_, probe, checksum_);
    if (headers_) {
      const Sums& sums = sums_of(sequence, bytes);
      headers_->write_checksum(slot, sums.header, least_bytes(), sums.rest);
    }
    return {slot, bytes};
  }

  /// Whether all but the probe of a frame, whose probe is whole and of this flow, is what this
  /// maker makes of its number. What a link added at the end is overlooked.
  bool payload_is_as_made(std::span<const std::byte> frame) const noexcept;

  std::size_t least_bytes() const noexcept { return probe_at_ + kProbeBytes; }
  std::size_t slots() const noexcept { return slot_mask_ + 1; }
  std::size_t probe_at() const noexcept { return probe_at_; }
  /// All the buffers, to be locked into memory.
  std::span<std::byte> memory() noexcept { return buffers_.bytes(); }

 private:
  std::byte* slot_of(std::uint64_t sequence) noexcept {
    return buffers_.data() + (sequence & slot_mask_) * stride_;
  }
  void write_header(const FrameMakerOptions& options, std::byte* slot) noexcept;
  /// What the checksum of a frame is made of, but for its probe.
  struct Sums {
    std::uint32_t header = 0;
    std::uint16_t rest = 0;  // of what stands behind the probe, in a frame of
    std::size_t bytes = 0;
  };
  const Sums& sums_of(std::uint64_t sequence, std::size_t bytes) noexcept;
  bool header_is_as_made(std::span<const std::byte> frame, std::size_t length,
                         std::uint64_t sequence) const noexcept;

  std::uint32_t flow_;
  Checksum checksum_;
  std::optional<HeaderTemplate> headers_;
  std::vector<Sums> sums_;  // as the slots; of frames with headers
  std::size_t probe_at_;
  std::size_t most_bytes_;
  std::size_t stride_;
  std::size_t slot_mask_;
  FrameBuffers buffers_;
};

}  // namespace shmif::perf
