#pragma once
// HeaderTemplate: the headers of layers 2 to 4 that stand before the probe of a frame, with fields
// that differ from frame to frame.
//
// Executive summary: a field of frame number n follows from n alone, so a receiver can make each
// header again. Checksums are right and never summed anew: the sums of the header and of the
// payload are kept, and what differs is added to them (RFC 1071, section 2; RFC 1624).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// Where in a frame the parts are that this header has; offsets from its begin, 0: it has none.
struct HeaderPlaces {
  std::size_t ip = 0;                  ///< IPv4 or IPv6
  std::size_t transport = 0;           ///< UDP or TCP
  std::size_t transport_checksum = 0;  ///< the field; 0 also for a UDP without one
  std::size_t probe = 0;               ///< behind the last header
  bool v6 = false;
  bool tcp = false;
};

/// What a frame says of its headers: Ethernet, 802.1Q and 802.1ad tags, IPv4 without fragments or
/// IPv6 without extensions, UDP or TCP. What it does not know ends it, and the probe is there.
HeaderPlaces places_of(std::span<const std::byte> frame) noexcept;

/// Whether the checksum of UDP or TCP is right, of the whole frame. One without a checksum is.
bool transport_checksum_is_right(std::span<const std::byte> frame,
                                 const HeaderPlaces& places) noexcept;

/// The ones' complement sum of `bytes`, folded to 16 bits, in the byte order of the machine.
std::uint16_t internet_sum(std::span<const std::byte> bytes) noexcept;

/// Threads: one at a time. Blocks: never.
class HeaderTemplate {
 public:
  /// A field that differs from frame to frame: `bytes` at `at`, of which `mask` is the field's.
  struct Field {
    enum class Order : std::uint8_t { inc, dec, random };
    std::size_t at = 0;
    std::size_t bytes = 1;
    std::uint64_t mask = 0xff;
    unsigned shift = 0;
    std::uint64_t least = 0, count = 1, step = 1;  ///< least + step * (0 to count - 1)
    Order order = Order::inc;
    // Set by complete(): 2^64 / count rounded up, to divide by it; whether the bytes have bits of
    // other fields, and which checksums cover them.
    std::uint64_t inverse = 0;
    bool shares_bytes = false;
    bool in_ip = false, in_transport = false;
    /// Of frame number `sequence`; `salt` sets the random numbers of fields apart.
    std::uint64_t value(std::uint64_t sequence, std::uint64_t salt) const noexcept;
  };

  /// Reads what `headers` says (see header_text.cpp for the syntax). Errors: bad_argument, and
  /// those of a capture file that it names. Blocks: as reading that does.
  static Result<HeaderTemplate> parse(std::string_view text);

  /// What it does not say: the addresses of the two ends, and where random fields come from.
  void complete(MacAddress destination, MacAddress source, std::uint64_t seed) noexcept;

  std::size_t bytes() const noexcept { return bytes_.size(); }
  const HeaderPlaces& places() const noexcept { return places_; }
  /// Whether frames go to other addresses than that of the end they are for.
  bool has_own_destination() const noexcept { return own_destination_; }

  /// Writes the header of frame number `sequence` of `frame_bytes` to its begin, but for the
  /// transport checksum, which is 0. Result: what that checksum covers of it, for write_checksum().
  std::uint32_t write(std::byte* frame, std::size_t frame_bytes,
                      std::uint64_t sequence) const noexcept;
  /// Writes the transport checksum of a frame that is otherwise complete. `rest_sum` is the
  /// internet_sum() of what stands behind the first `summed` bytes, an even number.
  void write_checksum(std::byte* frame, std::uint32_t header_sum, std::size_t summed,
                      std::uint16_t rest_sum) const noexcept;

 private:
  friend class HeaderReader;

  std::vector<std::byte> bytes_;  // of the frame that all others are made of
  std::vector<Field> fields_;
  HeaderPlaces places_;
  bool own_destination_ = false, own_source_ = false;
  std::uint64_t seed_ = 0;
  // Without lengths and the fields that differ, in network byte order.
  std::uint32_t ip_sum_ = 0, transport_sum_ = 0;
};

}  // namespace shmif::perf
