#pragma once
// HeaderTemplate: the headers of layers 2 to 4 before the probe of a frame, with fields that vary
// from frame to frame.
//
// Executive summary: a field of frame number n depends only on n, so a receiver can make each
// header again. Checksums are correct without summing the whole frame each time: the sums of header
// and payload are kept, and the varying fields are added (RFC 1071, section 2; RFC 1624).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// Where the parts of a header are in a frame; offsets from its beginning, 0: the part is missing.
struct HeaderPlaces {
  std::size_t ip = 0;                  ///< IPv4 or IPv6
  std::size_t transport = 0;           ///< UDP or TCP
  std::size_t transport_checksum = 0;  ///< the field; 0 also for UDP without a checksum
  std::size_t probe = 0;               ///< after the last header
  bool v6 = false;
  bool tcp = false;
};

/// Finds the headers of a frame: Ethernet, 802.1Q and 802.1ad tags, IPv4 without fragments or IPv6
/// without extensions, UDP or TCP. At the first unknown header the search ends, and the probe is
/// there.
HeaderPlaces places_of(std::span<const std::byte> frame) noexcept;

/// Whether the checksum of UDP or TCP is right for the whole frame. A frame without a checksum
/// counts as right.
bool transport_checksum_is_right(std::span<const std::byte> frame,
                                 const HeaderPlaces& places) noexcept;

/// The ones' complement sum of `bytes`, folded to 16 bits, in the machine's byte order.
std::uint16_t internet_sum(std::span<const std::byte> bytes) noexcept;

/// Threads: one at a time. Blocks: never.
class HeaderTemplate {
 public:
  /// A field that varies from frame to frame: `bytes` bytes at offset `at`; `mask` selects the
  /// field's bits.
  struct Field {
    enum class Order : std::uint8_t { inc, dec, random };
    std::size_t at = 0;
    std::size_t bytes = 1;
    std::uint64_t mask = 0xff;
    unsigned shift = 0;
    std::uint64_t min = 0, count = 1, step = 1;  ///< least + step * (0 to count - 1)
    Order order = Order::inc;
    // Set by complete(): 2^64 / count rounded up, used to divide by count; whether the bytes
    // contain bits of other fields; and which checksums cover them.
    std::uint64_t inverse = 0;
    bool shares_bytes = false;
    bool in_ip = false, in_transport = false;
    /// The value in frame number `sequence`. `salt` makes the random numbers of fields differ.
    std::uint64_t value(std::uint64_t sequence, std::uint64_t salt) const noexcept;
  };

  /// Reads `text` (header_template.cpp has the syntax). Errors: bad_argument, and those of a
  /// capture file that it names. Blocks: as reading that file does.
  static Result<HeaderTemplate> parse(std::string_view text);

  /// The part of `text` that is the path of a capture; empty if parse() would open no file.
  /// Blocks: never.
  static std::string_view capture_in(std::string_view text);

  /// Sets what the text does not contain: the addresses of both ends, and the seed of random
  /// fields.
  void complete(MacAddress destination, MacAddress source, std::uint64_t seed) noexcept;

  std::size_t bytes() const noexcept { return bytes_.size(); }
  const HeaderPlaces& places() const noexcept { return places_; }
  /// Whether frames go to other addresses than that of the receiving end.
  bool has_own_destination() const noexcept { return own_destination_; }
  /// Whether frames come from other addresses than that of the sending end.
  bool has_own_source() const noexcept { return own_source_; }

  /// Writes the header of frame number `sequence` with `frame_bytes` to `frame`, with a transport
  /// checksum of 0. Result: the header's part of that checksum, for write_checksum().
  std::uint32_t write(std::byte* frame, std::size_t frame_bytes,
                      std::uint64_t sequence) const noexcept;
  /// Writes the transport checksum of an otherwise complete frame. `rest_sum`: the internet_sum()
  /// of the bytes behind the first `summed` ones; `summed` is even.
  void write_checksum(std::byte* frame, std::uint32_t header_sum, std::size_t summed,
                      std::uint16_t rest_sum) const noexcept;

 private:
  friend class HeaderReader;

  std::vector<std::byte> bytes_;  // the header that all others are copied from
  std::vector<Field> fields_;
  HeaderPlaces places_;
  bool own_destination_ = false, own_source_ = false;
  std::uint64_t seed_ = 0;
  // In network byte order, without lengths and varying fields.
  std::uint32_t ip_sum_ = 0, transport_sum_ = 0;
};

}  // namespace shmif::perf
