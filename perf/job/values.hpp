#pragma once
// What people write behind the `=` of an option: sizes, times, rates, splits, lists.
//
// Every reader takes all of its text or none, rounds nothing and overflows nothing: "1.5k" is 1536,
// "1.0001k" is refused, for it is no whole number of bytes. The message of an error says what is
// wrong with the text and how to write it, as `"4X" is no size (write bytes, or 64k, 4m, 1g)`; the
// caller puts the option and the place before it.
//
// Threads: any. Blocks: never. Errors: bad_argument, all of them.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// "4X" is no size (...): `text` in quotation marks, and why it is refused.
Error refused(std::string_view text, const std::string& why);

/// Bytes: "1514", "64k", "1.5M", "4GiB". As with fio the letters k, m, g and t are powers of 1024
/// in either case; "ki", "kb" and "kib" are the same (fio's reversed meaning of "ki" is not
/// copied).
Result<std::uint64_t> parse_bytes(std::string_view text);

/// A number of things, frames for one: "1000", "1k", "2.5M". Here k, M and G are powers of 1000.
Result<std::uint64_t> parse_count(std::string_view text);

/// Bits per second: "2Gbit", "10Mbit", "64kbit", "1000bit" or the plain number, in powers of 1000.
/// fio's rate is in bytes per second, which no network is sold by; its "10m" is refused rather than
/// taken for something else.
Result<std::uint64_t> parse_rate(std::string_view text);

/// What a time without a unit is in. fio has options of each kind.
enum class TimeUnit : std::int64_t {
  microseconds = 1'000,
  milliseconds = 1'000'000,
  seconds = 1'000'000'000,
};
/// A time with ns, us, ms, s, m, h or d behind it: "30", "1.5ms", "2m"; at most 100 years.
Result<std::chrono::nanoseconds> parse_time(std::string_view text,
                                            TimeUnit plain = TimeUnit::seconds);

/// A part of a whole: "1%", "0.01". Result: 0 to 1.
Result<double> parse_share(std::string_view text);
/// "99.9", "99.9%". Result: 0 to 100.
Result<double> parse_per_cent(std::string_view text);

/// "1", "true", "yes", "on"; "0", "false", "no", "off".
Result<bool> parse_boolean(std::string_view text);

/// "64", "64-1518" (fio's bs and bsrange), "imix". Bytes without FCS, least first.
Result<FrameSizes> parse_frame_sizes(std::string_view text);
/// fio's bssplit: "64/70:1514/30", sizes or ranges, each with its weight. When all have one they
/// are shares of their sum; when some have none (fio: "64/70:590:1514"), the others are per cents,
/// and those share the rest evenly.
Result<FrameSizes> parse_frame_split(std::string_view text);
/// As the two above read it.
std::string to_string(const FrameSizes& sizes);

/// CPUs: "0-3,7", each once and in their order. At most 1023, as in cpu_set_t.
Result<std::vector<int>> parse_cpus(std::string_view text);
std::string to_string_of_cpus(const std::vector<int>& cpus);

/// Bytes as fio's buffer_pattern has them: "0xdeadbeef", "\"text\"", or several behind each other.
/// Within the quotation marks \" and \\ stand for themselves. At most 512 bytes.
Result<std::vector<std::byte>> parse_pattern(std::string_view text);

/// The words of a command line, with '...', "..." and backslash as a shell has them, and nothing
/// else of a shell: no variables, no globs, no pipes.
Result<std::vector<std::string>> split_words(std::string_view text);
/// `word` as split_words(), and a shell, read it.
std::string quote_word(std::string_view word);

/// fio's continue_on_error: "none", "all", or some of tx (write), rx (read), io (both), verify,
/// overrun and lock.
Result<ErrorClasses> parse_error_classes(std::string_view text);

/// fio's steadystate: "iops:0.3%", "bw_slope:100": what is looked at, and the limit.
struct SteadyState {
  bool bandwidth = false;  ///< bits per second; else frames per second
  bool slope = false;      ///< of a line through the samples, per second; else their deviation
  double limit = 0;        ///< of the mean where `relative`, 0 to 1
  bool relative = false;
};
Result<SteadyState> parse_steady_state(std::string_view text);

/// A value for each direction: "a,b" for tx and rx, "a" for both, "a," and ",b" for one alone.
struct PairText {
  std::string_view tx, rx;
};
Result<PairText> split_pair(std::string_view text);

/// How the readers above read it again, without loss: "1500us", "4m", "10Mbit".
std::string time_text(std::chrono::nanoseconds time);
std::string bytes_text(std::uint64_t bytes);
std::string rate_text(std::uint64_t bits_per_second);

}  // namespace shmif::perf
