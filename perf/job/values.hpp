#pragma once
// What people write behind the `=` of an option: sizes, times, rates, splits, lists.
//
// Sizes, counts, rates, times and shares are read by base/quantity.hpp, as in every other program.
// The message of an error says what is wrong with the text and how to write it, as `"4X" is no size
// (write bytes, or 64k, 4m, 1g)`; the caller puts the option and the place before it.
//
// Threads: any. Blocks: never. Errors: bad_argument, all of them.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/quantity.hpp"
#include "bus/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// "4X" is no size (...): `text` in quotation marks, and why it is refused.
Error refused(std::string_view text, const std::string& why);

using base::rate_text;
using base::share_text;
using base::time_text;
using base::TimeUnit;

/// base::read_size and so on, with an error in place of a reason.
Result<std::uint64_t> parse_bytes(std::string_view text);
Result<std::uint64_t> parse_packet_bytes(std::string_view text);
Result<std::uint64_t> parse_count(std::string_view text);
Result<std::uint64_t> parse_rate(std::string_view text);
Result<std::chrono::nanoseconds> parse_time(std::string_view text,
                                            TimeUnit plain = TimeUnit::seconds);
Result<double> parse_share(std::string_view text);
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

/// What sizes parse_frame_sizes() and parse_frame_split() take, in bytes.
inline constexpr const char* kFrameSizeRange = "60 to 65535 (1m with proto=tcp)";

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

}  // namespace shmif::perf
