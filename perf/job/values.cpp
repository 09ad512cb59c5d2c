#include "perf/job/values.hpp"

#include <sched.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/text.hpp"

namespace shmif::perf {
namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
/// Whether the words differ at most in upper and lower case.
bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

using std::chrono::nanoseconds;

template <class T>
Result<T> result_of(const base::Reading<T>& reading, std::string_view text) {
  if (!reading) return Error(Errc::bad_argument, reading.why(text));
  return *reading;
}

}  // namespace

Error refused(std::string_view text, const std::string& why) {
  return {Errc::bad_argument, '"' + std::string(text) + "\" " + why};
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  return result_of(base::read_size(text), text);
}
Result<std::uint64_t> parse_packet_bytes(std::string_view text) {
  return result_of(base::read_packet_bytes(text), text);
}
Result<std::uint64_t> parse_count(std::string_view text) {
  return result_of(base::read_count(text), text);
}
Result<std::uint64_t> parse_rate(std::string_view text) {
  return result_of(base::read_rate(text), text);
}
Result<nanoseconds> parse_time(std::string_view text, TimeUnit plain) {
  return result_of(base::read_time(text, plain), text);
}
Result<double> parse_share(std::string_view text) {
  return result_of(base::read_share(text), text);
}
Result<double> parse_per_cent(std::string_view text) {
  return result_of(base::read_percentage(text), text);
}

Result<bool> parse_boolean(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "yes", "on"}) {
    if (same_word(text, yes)) return true;
  }
  for (const std::string_view no : {"0", "false", "no", "off"}) {
    if (same_word(text, no)) return false;
  }
  return refused(text, "is neither yes nor no (write 1 or 0)");
}

Result<PairText> split_pair(std::string_view text) {
  const auto parts = base::split(text, ',');
  if (parts.size() == 1) return PairText{parts[0], parts[0]};
  if (parts.size() > 2 || (parts[0].empty() && parts[1].empty())) {
    return refused(text,
                   "is not a value for both directions (write A for both, or A,B for tx and rx)");
  }
  return PairText{parts[0], parts[1]};
}

// ---- Values with several parts: frame sizes, CPUs, patterns, classes of errors ----

namespace {

/// The shortest and the longest frame, with header and without FCS. The shortest still holds a
/// probe. Frames longer than 65535 are only for TCP (plan_checks.cpp). Messages take both limits
/// from kFrameSizeRange.
constexpr std::uint64_t kMinFrameBytes = 60;
constexpr std::uint64_t kMaxFrameBytes = 1U << 20U;
constexpr std::uint64_t kMaxWeight = 1'000'000;
constexpr std::size_t kMaxParts = 256;
constexpr std::size_t kMaxPatternBytes = 512;

/// "64", "64-1518".
std::optional<FrameSizes::Part> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const Result<std::uint64_t> min = parse_bytes(text.substr(0, dash));
  const Result<std::uint64_t> max =
      dash == std::string_view::npos ? min : parse_bytes(text.substr(dash + 1));
  if (!min || !max || *min < kMinFrameBytes || *max > kMaxFrameBytes || *min > *max) {
    return std::nullopt;
  }
  return FrameSizes::Part{static_cast<std::uint32_t>(*min), static_cast<std::uint32_t>(*max), 1};
}

const std::string kSizeForm =
    std::string("bytes without FCS, ") + kFrameSizeRange + ", as 64 or 64-1514";

}  // namespace

Result<FrameSizes> parse_frame_sizes(std::string_view text) {
  if (same_word(text, "imix")) return imix_sizes();
  const auto part = parse_range(text);
  if (!part) return refused(text, "is not a frame size (" + kSizeForm + ", or imix)");
  return FrameSizes{{*part}};
}

Result<FrameSizes> parse_frame_split(std::string_view text) {
  if (same_word(text, "imix")) return imix_sizes();
  const auto refuse = [&](const std::string& why) {
    return refused(text,
                   "is not a list of frame sizes with weights (such as 64/70:1514/30): " + why);
  };
  FrameSizes sizes{{}};
  std::vector<std::size_t> open;  // those without a weight
  std::uint64_t sum = 0;
  for (const std::string_view item : base::split(text, ':')) {
    const std::size_t slash = item.find('/');
    auto part = parse_range(item.substr(0, slash));
    if (!part) return refuse('"' + std::string(item) + "\" must be " + kSizeForm);
    const std::string_view weight_text =
        slash == std::string_view::npos ? std::string_view() : item.substr(slash + 1);
    if (weight_text.empty()) {
      open.push_back(sizes.parts.size());
    } else {
      const auto weight = base::read_digits(weight_text);
      if (!weight || *weight > kMaxWeight) {
        return refuse("a weight must be a whole number up to " + std::to_string(kMaxWeight));
      }
      part->weight = static_cast<std::uint32_t>(*weight);
      sum += *weight;
    }
    sizes.parts.push_back(*part);
    if (sizes.parts.size() > kMaxParts) {
      return refuse("it has more than " + std::to_string(kMaxParts) + " parts");
    }
  }
  if (open.empty() && sum == 0) return refuse("all weights are 0");
  if (sizes.parts.size() == 1) sizes.parts[0].weight = 1;  // the whole, whatever was written
  if (open.empty() || sizes.parts.size() == 1) return sizes;
  if (sum > 100) return refuse("the percentages add up to more than 100");
  // In units of 1/open.size() per cent, so that the rest can be divided equally.
  for (FrameSizes::Part& part : sizes.parts) {
    part.weight *= static_cast<std::uint32_t>(open.size());
  }
  for (const std::size_t i : open) sizes.parts[i].weight = static_cast<std::uint32_t>(100 - sum);
  return sizes;
}

std::string to_string(const FrameSizes& sizes) {
  if (sizes == imix_sizes()) return "imix";
  std::string text;
  for (const FrameSizes::Part& part : sizes.parts) {
    if (!text.empty()) text += ':';
    text += std::to_string(part.min);
    if (part.max != part.min) text += '-' + std::to_string(part.max);
    if (sizes.parts.size() > 1) text += '/' + std::to_string(part.weight);
  }
  return text;
}

Result<std::vector<int>> parse_cpus(std::string_view text) {
  std::set<int> cpus;
  for (const std::string_view item : base::split(text, ',')) {
    const auto range = base::read_number_range(item);
    if (!range || range->last >= CPU_SETSIZE) {
      return refused(text, "is not a list of CPUs (such as 0-3,7, numbers up to " +
                               std::to_string(CPU_SETSIZE - 1) + ')');
    }
    for (std::uint64_t cpu = range->first; cpu <= range->last; ++cpu)
      cpus.insert(static_cast<int>(cpu));
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

std::string to_string_of_cpus(const std::vector<int>& cpus) {
  return base::number_list_text(cpus);
}

Result<std::vector<int>> parse_nodes(std::string_view text) {
  if (text == "all") return std::vector<int>{kAllNodes};
  auto nodes = parse_cpus(text);
  if (nodes) return nodes;
  return refused(text, "is not a list of NUMA nodes (such as 0-1,3 or all, numbers up to " +
                           std::to_string(CPU_SETSIZE - 1) + ')');
}

std::string to_string_of_nodes(const std::vector<int>& nodes) {
  return nodes == std::vector<int>{kAllNodes} ? "all" : to_string_of_cpus(nodes);
}

namespace {

using NumaMode = NumaPolicy::Mode;
constexpr std::pair<std::string_view, NumaMode> kNumaModes[] = {
    {"default", NumaMode::standard},      {"prefer", NumaMode::prefer}, {"bind", NumaMode::bind},
    {"interleave", NumaMode::interleave}, {"local", NumaMode::local},
};

}  // namespace

Result<NumaPolicy> parse_numa_policy(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view word = text.substr(0, colon);
  for (const auto& [name, mode] : kNumaModes) {
    if (word != name) continue;
    const bool has_nodes = colon != std::string_view::npos;
    const std::string example = std::string(name) + ":0";
    if (mode == NumaMode::standard || mode == NumaMode::local) {
      if (!has_nodes) return NumaPolicy{mode, {}};
      return refused(text, "names nodes, but " + std::string(name) + " takes none");
    }
    if (!has_nodes) return refused(text, "names no node (such as " + example + ')');
    auto nodes = parse_nodes(text.substr(colon + 1));
    if (!nodes) return std::move(nodes).error();
    if (mode == NumaMode::prefer && (nodes->size() != 1 || nodes->front() == kAllNodes)) {
      return refused(text, "names several nodes, and prefer takes one (such as " + example + ')');
    }
    return NumaPolicy{mode, *std::move(nodes)};
  }
  return refused(text, "is not known (default, prefer:N, bind:NODES, interleave:NODES or local)");
}

std::string to_string(const NumaPolicy& policy) {
  for (const auto& [name, mode] : kNumaModes) {
    if (mode != policy.mode) continue;
    return std::string(name) + (policy.nodes.empty() ? "" : ':' + to_string_of_nodes(policy.nodes));
  }
  return "as the program was started";
}

Result<std::vector<std::byte>> parse_pattern(std::string_view text) {
  const auto refuse = [&](const char* why) {
    return refused(text, std::string("is not a pattern (such as 0xdeadbeef or \"text\"): ") + why);
  };
  std::vector<std::byte> bytes;
  std::string_view rest = text;
  while (!rest.empty()) {
    if (rest.starts_with("0x") || rest.starts_with("0X")) {
      rest.remove_prefix(2);
      const std::size_t digits =
          std::min(rest.find_first_not_of("0123456789abcdefABCDEF"), rest.size());
      if (digits == 0 || digits % 2 != 0)
        return refuse("write two hexadecimal digits for each byte");
      for (std::size_t i = 0; i < digits; i += 2) {
        bytes.push_back(static_cast<std::byte>(*base::read_digits(rest.substr(i, 2), 16)));
      }
      rest.remove_prefix(digits);
    } else if (rest[0] == '"') {
      std::size_t at = 1;
      for (; at < rest.size() && rest[at] != '"'; ++at) {
        if (rest[at] == '\\' && at + 1 < rest.size()) ++at;
        bytes.push_back(static_cast<std::byte>(rest[at]));
      }
      if (at >= rest.size()) return refuse("the text does not end with a quotation mark");
      rest.remove_prefix(at + 1);
    } else {
      return refuse("write hexadecimal digits after 0x, or text in quotation marks");
    }
  }
  if (bytes.empty()) return refuse("it is empty");
  if (bytes.size() > kMaxPatternBytes) return refuse("it is longer than 512 bytes");
  return bytes;
}

Result<ErrorClasses> parse_error_classes(std::string_view text) {
  ErrorClasses classes;
  for (const std::string_view word : base::split(text, ',')) {
    if (word == "none" && text == word) continue;
    const bool all = word == "all";
    const bool io = all || word == "io";
    const bool known = io || word == "tx" || word == "write" || word == "rx" || word == "read" ||
                       word == "verify" || word == "overrun" || word == "lock";
    if (!known) {
      return refused(text,
                     "is not a list of error classes (none, all, or some of tx, rx, io, verify, "
                     "overrun, lock, as tx,verify)");
    }
    classes.tx |= io || word == "tx" || word == "write";
    classes.rx |= io || word == "rx" || word == "read";
    classes.verify |= all || word == "verify";
    classes.overrun |= all || word == "overrun";
    classes.lock |= all || word == "lock";
  }
  return classes;
}

Result<SteadyState> parse_steady_state(std::string_view text) {
  SteadyState wanted;
  const std::size_t colon = text.find(':');
  const std::string_view what = text.substr(0, colon);
  const std::string_view limit =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  wanted.bandwidth = what.starts_with("bw");
  wanted.slope = what.ends_with("_slope");
  wanted.relative = limit.ends_with('%');
  const bool known = what == "iops" || what == "iops_slope" || what == "bw" || what == "bw_slope";
  const auto number = base::read_real(wanted.relative ? limit.substr(0, limit.size() - 1) : limit);
  if (!known || !number || (wanted.relative && *number > 100)) {
    return refused(text,
                   "is not a steady state (iops, iops_slope, bw or bw_slope, a colon and a limit, "
                   "as iops:0.3% or bw_slope:1000)");
  }
  wanted.limit = wanted.relative ? *number / 100 : *number;
  return wanted;
}

// ---- Command lines without a shell ----

namespace {

constexpr std::size_t kMaxWords = 1024;

/// Takes words from the front of a command line.
class Splitter {
 public:
  explicit Splitter(std::string_view text) : rest_(text) {}

  /// The next word; empty at the end, or when a quote is not closed.
  std::optional<std::string> next() {
    while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
    if (rest_.empty()) return std::nullopt;
    std::string word;
    while (!rest_.empty() && !is_space(rest_[0])) {
      const char c = take();
      if (c == '\'' || c == '"') {
        if (!take_quoted(c, word)) return std::nullopt;
      } else if (c == '\\') {
        if (!take_escaped(word)) return std::nullopt;
      } else {
        word += c;
      }
    }
    return word;
  }
  /// What is missing in an unfinished word; null if the words are complete.
  const char* missing() const noexcept { return missing_; }

 private:
  static bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  char take() noexcept {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return c;
  }
  bool take_escaped(std::string& word) {
    if (rest_.empty()) {
      missing_ = "it ends with a backslash";
      return false;
    }
    word += take();
    return true;
  }
  bool take_quoted(char quote, std::string& word) {
    while (!rest_.empty()) {
      const char c = take();
      if (c == quote) return true;
      // Within "...", a backslash is literal unless the next character is special there. Within
      // '...', it is always literal.
      const bool escapes = quote == '"' && c == '\\' && !rest_.empty() &&
                           (rest_[0] == '"' || rest_[0] == '\\' || rest_[0] == '$');
      word += escapes ? take() : c;
    }
    missing_ = quote == '"' ? "a quotation mark (\") is not closed" : "a quote (') is not closed";
    return false;
  }

  std::string_view rest_;
  const char* missing_ = nullptr;
};

}  // namespace

Result<std::vector<std::string>> split_words(std::string_view text) {
  const auto refuse = [&](const std::string& why) {
    return Error(Errc::bad_argument, '"' + std::string(text) + "\" is not a command: " + why);
  };
  std::vector<std::string> words;
  Splitter splitter(text);
  while (auto word = splitter.next()) {
    if (word->find('\0') != std::string::npos) return refuse("it holds a NUL byte");
    words.push_back(std::move(*word));
    if (words.size() > kMaxWords) return refuse("it has more than 1024 words");
  }
  if (splitter.missing() != nullptr) return refuse(splitter.missing());
  if (words.empty() || words[0].empty()) return refuse("it does not name a program");
  return words;
}

}  // namespace shmif::perf
