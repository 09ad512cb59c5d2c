#pragma once
// Readers for the values of options: sizes, times, rates, splits, lists.
//
// base/quantity.hpp reads sizes, counts, rates, times and shares, as in every other program. An
// error message says what is wrong with the text and how to write it, such as `"4X" is no size
// (write bytes, or 64k, 4m, 1g)`. The caller puts the option and the place before it.
//
// Threads: any. Blocks: never. Errors: bad_argument only.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/quantity.hpp"
#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

/// An error such as `"4X" is no size (...)`: `text` in quotation marks, and `why` it is refused.
Error refused(std::string_view text, const std::string& why);

using base::rate_text;
using base::share_text;
using base::time_text;
using base::TimeUnit;

/// As base::read_size and so on, with an error instead of a reason.
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

/// "64", "64-1518" (fio's bs and bsrange), "imix". Bytes without FCS, smallest first.
Result<FrameSizes> parse_frame_sizes(std::string_view text);
/// fio's bssplit: "64/70:1514/30", sizes or ranges, each with a weight. If all have a weight, the
/// weights are shares of their sum. If some lack it (fio: "64/70:590:1514"), the weights are
/// percentages, and the parts without a weight share the rest equally.
Result<FrameSizes> parse_frame_split(std::string_view text);
/// In the format of parse_frame_sizes() or parse_frame_split().
std::string to_string(const FrameSizes& sizes);

/// CPUs: "0-3,7", each once, in ascending order. The highest is 1023, as in cpu_set_t.
Result<std::vector<int>> parse_cpus(std::string_view text);
/// Nodes as fio's lists of them: "0,2-3", or "all", which is {kAllNodes}. Errors: bad_argument.
Result<std::vector<int>> parse_nodes(std::string_view text);
std::string to_string_of_nodes(const std::vector<int>& nodes);
/// MODE[:NODES], as fio's numa_mem_policy: default, prefer:N, bind:NODES, interleave:NODES, local.
Result<NumaPolicy> parse_numa_policy(std::string_view text);
std::string to_string(const NumaPolicy& policy);

std::string to_string_of_cpus(const std::vector<int>& cpus);

/// Bytes in fio's buffer_pattern format: "0xdeadbeef", "\"text\"", or several in a row. In
/// quotation marks, \" means " and \\ means \. At most 512 bytes.
Result<std::vector<std::byte>> parse_pattern(std::string_view text);

/// The words of a command line, with '...', "..." and backslash as in a shell. Other features of a
/// shell are missing: variables, globs, pipes. base::quote_word() is the inverse.
Result<std::vector<std::string>> split_words(std::string_view text);

/// Sizes that parse_frame_sizes() and parse_frame_split() accept, in bytes.
inline constexpr const char* kFrameSizeRange = "60 to 65535 (1m with proto=tcp)";

/// fio's continue_on_error: "none", "all", or some of tx (write), rx (read), io (both), verify,
/// overrun and lock.
Result<ErrorClasses> parse_error_classes(std::string_view text);

/// fio's steadystate: "iops:0.3%", "bw_slope:100": the figure and its limit.
struct SteadyState {
  bool bandwidth = false;  ///< bits per second; otherwise frames per second
  bool slope = false;      ///< slope of a line through samples, per second; else their deviation
  double limit = 0;        ///< if `relative`, share of the mean, 0 to 1
  bool relative = false;
};
Result<SteadyState> parse_steady_state(std::string_view text);

/// A value for each direction: "a,b" for tx and rx, "a" for both, "a," or ",b" for only one.
struct PairText {
  std::string_view tx, rx;
};
Result<PairText> split_pair(std::string_view text);

}  // namespace shmif::perf
