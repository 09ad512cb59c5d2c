#pragma once
// Sizes, counts, rates, times and shares as people write them. Every option of every program is
// read here, so a spelling means the same everywhere.
//
// Every reader accepts the whole text or refuses it. It does not round, and does not overflow:
// "1.5k" is 1536 bytes, and "1.0001k" is refused because it is not a whole number of bytes. Upper
// and lower case are the same. A text that could mean two things is refused, and the reason offers
// both spellings.
//
// Threads: any. Blocks: never.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shmif::base {

/// A value, or the reason why a text was refused.
template <class T>
class Reading {
 public:
  Reading(T value) : value_(std::move(value)) {}
  /// `why` continues a sentence that begins with the text: "is not a size (...)".
  static Reading refused(std::string why) { return Reading(std::move(why), {}); }
  /// The text could mean any of `choices`; the reader accepts each of them.
  static Reading ambiguous(std::vector<std::string> choices) {
    return Reading({}, std::move(choices));
  }

  explicit operator bool() const noexcept { return value_.has_value(); }
  const T& operator*() const noexcept { return *value_; }
  const T* operator->() const noexcept { return &*value_; }
  /// The message for a refused text: `"4X" is not a size (write bytes, or 64k)`; or, with "loss="
  /// before the value, `"loss=1" could be 1% or 100% (write loss=1% or loss=100%)`.
  std::string why(std::string_view text, const std::string& before = {}) const;

 private:
  Reading(std::string why, std::vector<std::string> choices)
      : why_(std::move(why)), choices_(std::move(choices)) {}

  std::optional<T> value_;
  std::string why_;
  std::vector<std::string> choices_;
};

/// Bytes: "1514", "64k", "1.5M", "4GiB". k, m, g and t are powers of 1024, and "ki", "kb" and "kib"
/// are the same as "k" (fio's reversed meaning of "ki" is not copied).
Reading<std::uint64_t> read_size(std::string_view text);

/// Bytes of one packet, as digits only: "9k" is refused because it could be 9000 or 9216.
Reading<std::uint64_t> read_packet_bytes(std::string_view text);

/// A number of things: "1000", "1k", "2.5M". k, M and G are powers of 1000.
Reading<std::uint64_t> read_count(std::string_view text);

/// Bits per second: "2Gbit", "10Mbit", "10M", "64kbit/s", "1000". Powers of 1000. "10MB" and
/// "10Mbps" are refused: fio and tc mean bytes by them, others mean bits.
Reading<std::uint64_t> read_rate(std::string_view text);

enum class TimeUnit : std::int64_t {
  microseconds = 1'000,
  milliseconds = 1'000'000,
  seconds = 1'000'000'000,
};
/// A time with one of the units ns, us, ms, s, m, h and d: "1.5ms", "2m"; at most 100 years. A
/// number without a unit is in `plain`; without `plain` it is refused, unless it is 0.
Reading<std::chrono::nanoseconds> read_time(std::string_view text, std::optional<TimeUnit> plain);

/// A part of a whole: "1%", "0.5%". A number without % is refused, unless it is 0: "1" could be 1%
/// or 100%. Result: 0 to 1.
Reading<double> read_share(std::string_view text);
/// A percentage, where the option itself says that it is one: "99.9", "99.9%". Result: 0 to 100.
Reading<double> read_percentage(std::string_view text);

/// The whole of `text` as digits of `radix`, without sign, space or prefix.
std::optional<std::uint64_t> read_digits(std::string_view text, int radix = 10) noexcept;
/// The whole of `text` as a decimal number, finite and not below zero; no exponent.
std::optional<double> read_real(std::string_view text) noexcept;

/// Text that the readers above read back without loss: "1500us", "4m", "10Mbit", "0.5%".
std::string time_text(std::chrono::nanoseconds time);
std::string size_text(std::uint64_t bytes);
std::string rate_text(std::uint64_t bits_per_second);
std::string share_text(double share);

/// What --help and the manual pages say about the values that the readers accept.
struct Spelling {
  const char* kind;      ///< the placeholder in the description of an option: "SIZE"
  const char* examples;  ///< separated by ", "; the reader accepts each
  const char* meaning;
};
extern const Spelling kSpellings[5];

// Lists of numbers as the kernel writes them, of CPUs for example: "0-3,8".

/// One part of a list: "5" or "5-7".
struct NumberRange {
  std::uint64_t first;
  std::uint64_t last;  ///< not below `first`
};
/// The whole of `text` as one part of a list. Threads: any.
std::optional<NumberRange> read_number_range(std::string_view text) noexcept;
/// The numbers of a list, in ascending order; an empty list for an empty text. Threads: any.
/// Result: empty if the text is not a list, or has a number above 65535.
std::optional<std::vector<int>> read_number_list(std::string_view text);
/// The text of a list of numbers, which are in ascending order. Threads: any.
std::string number_list_text(const std::vector<int>& numbers);

}  // namespace shmif::base
