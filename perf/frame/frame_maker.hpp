#pragma once
// FrameMaker: the frames of one flow, each with its probe.
//
// Only the probe of a frame, and header fields that vary, are made when the frame is sent. K
// buffers are filled once, with header and payload; frame number n is the front part of buffer n
// mod K. A receiver with the same options makes the same buffers, so it knows every byte of every
// frame without a record of them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/frame/header_template.hpp"
#include "perf/frame/probe.hpp"
#include "perf/frame/schedule.hpp"
#include "perf/job/job_options.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// Memory in which frames are made, in huge pages on request. It is zero-filled. Normal pages are
/// allocated by the constructor, huge ones at the first write. Threads: as any memory.
class FrameBuffers {
 public:
  /// `huge`: uses pages of 2 MiB, reserved ones (vm.nr_hugepages) or otherwise transparent ones.
  /// Throws std::system_error if there is no memory, or if huge pages are switched off on this
  /// machine.
  explicit FrameBuffers(std::size_t bytes, bool huge = false);
  FrameBuffers(FrameBuffers&& other) noexcept;
  FrameBuffers& operator=(FrameBuffers&&) = delete;
  ~FrameBuffers();

  std::byte* data() const noexcept { return memory_.data(); }
  std::span<std::byte> bytes() const noexcept { return memory_; }

 private:
  std::span<std::byte> mapping_, memory_;  // the second lies within the first
};

struct FrameMakerOptions {
  MacAddress destination, source;
  std::optional<std::uint16_t> vlan;      ///< an 802.1Q tag with priority 0
  std::optional<HeaderTemplate> headers;  ///< instead of the Ethernet header and the tag
  std::uint32_t flow = 0;
  std::uint64_t seed = 1;
  Payload payload = Payload::random;
  std::vector<std::byte> pattern;    ///< empty: 0, 1, 2, ... 255, as in ping(8)
  std::uint32_t zeros_per_cent = 0;  ///< share of the payload, at most 100
  std::size_t max_bytes = 1514;      ///< longest frame; at least header and probe
  std::size_t batch = 32;            ///< most frames whose bytes are used at once
  Checksum checksum = Checksum::crc;
  bool hugepages = false;
};

/// The options that `job` sets for the frames of `flow`. The caller fills in the addresses.
FrameMakerOptions frame_maker_options(const JobOptions& job, std::uint32_t flow,
                                      std::uint32_t max_bytes);

/// Threads: one at a time. Blocks: never.
class FrameMaker {
 public:
  /// Throws as FrameBuffers does.
  explicit FrameMaker(const FrameMakerOptions& options);

  /// Makes frame number `sequence` with `probe`; the probe's flow and number are replaced by those
  /// of the frame. `bytes`: from min_bytes() to `max_bytes`. Result: a view that is valid until
  /// slots() more frames have been made.
  FrameView make(std::uint64_t sequence, std::size_t bytes, Probe probe) noexcept {
    if (headers_) write_headers(sequence, bytes);
    return finish(sequence, bytes, probe);
  }

  /// Makes one frame for each of `slots`, from number `first` on, all sent at `probe.sent_ns`, and
  /// appends their views to `into`. At most slots() of them.
  void make_all(std::uint64_t first, std::span<const Schedule::Slot> slots, const Probe& probe,
                std::vector<FrameView>& into);

  /// Checks a frame of this flow whose probe is whole. Result: whether everything but the probe is
  /// what this maker makes for its number. Bytes that a link added at the end are ignored.
  bool payload_is_as_made(std::span<const std::byte> frame) const noexcept;

  std::size_t min_bytes() const noexcept { return probe_at_ + kProbeBytes; }
  std::size_t slots() const noexcept { return slot_mask_ + 1; }
  /// All buffers, for locking into memory.
  std::span<std::byte> memory() noexcept { return buffers_.bytes(); }

 private:
  std::byte* slot_of(std::uint64_t sequence) noexcept {
    return buffers_.data() + (sequence & slot_mask_) * stride_;
  }
  void write_header(const FrameMakerOptions& options, std::byte* slot) noexcept;
  // A frame with headers in two steps. finish() reads what write_headers() stored. This costs no
  // waiting time if headers of other frames were stored in between.
  void write_headers(std::uint64_t sequence, std::size_t bytes) noexcept {
    std::byte* const slot = slot_of(sequence);
    sums_[sequence & slot_mask_].header = headers_->write(slot, bytes, sequence);
  }
  FrameView finish(std::uint64_t sequence, std::size_t bytes, Probe probe) noexcept;
  std::array<std::uint64_t, 5> words_of(std::uint64_t sequence, const Schedule::Slot& slot,
                                        const Probe& probe) const noexcept;
  /// As make_all(), for frames without headers: without and with a CRC.
  void make_without_crc(std::uint64_t first, std::span<const Schedule::Slot> slots,
                        const Probe& probe, std::vector<FrameView>& into);
  SHMIF_CRC32C_BY_CPU void make_by_cpu(std::uint64_t first, std::span<const Schedule::Slot> slots,
                                       const Probe& probe, std::vector<FrameView>& into);
  /// What is known of the bytes behind the CRC in a frame of `bytes`.
  struct Tail {
    std::uint32_t bytes = 0;
    std::uint32_t crc = 0;
    Crc32cJoin join;
  };
  /// How many tails of each buffer are remembered. IMIX has three sizes.
  static constexpr std::size_t kTails = 4;
  /// Found by trial: for 16 of 17 usual mixes, IMIX among them, each size has a place of its own.
  static constexpr std::uint32_t kSpread = 0xc79e6e81;
  const Tail& tail_of(std::uint64_t sequence, std::uint32_t bytes) noexcept {
    const std::uint32_t spread = bytes * kSpread;  // modulo 2^32
    const std::size_t place = (std::uint64_t{spread} * kTails) >> 32U;
    Tail& tail = tails_[(sequence & slot_mask_) * kTails + place];
    if (tail.bytes != bytes) [[unlikely]]
      learn_tail(tail, slot_of(sequence), bytes);
    return tail;
  }
  void learn_tail(Tail& tail, const std::byte* slot, std::uint32_t bytes) noexcept;
  /// Parts of a frame's checksum, without its probe.
  struct Sums {
    std::uint32_t header = 0;
    std::uint16_t rest = 0;  // of the bytes after the probe, in a frame of
    std::size_t bytes = 0;
  };
  const Sums& sums_of(std::uint64_t sequence, std::size_t bytes) noexcept;
  bool header_is_as_made(std::span<const std::byte> frame, std::size_t length,
                         std::uint64_t sequence) const noexcept;

  std::uint32_t flow_;
  Checksum checksum_;
  std::optional<HeaderTemplate> headers_;
  std::vector<Sums> sums_;  // indexed like the slots; only with headers
  // Without headers, and with a CRC:
  std::vector<Tail> tails_;        // kTails for each slot
  std::vector<Crc32cJoin> joins_;  // by the bytes of a tail
  std::uint32_t header_crc_ = 0;
  std::size_t probe_at_;
  std::size_t max_bytes_;
  std::size_t stride_;
  std::size_t slot_mask_;
  FrameBuffers buffers_;
};

}  // namespace shmif::perf
