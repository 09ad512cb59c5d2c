#include "perf/job/values.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <optional>
#include <set>
#include <span>

namespace shmif::perf {
namespace {

using std::chrono::nanoseconds;

/// The longest and the shortest frame, header included and FCS not. The shortest holds a probe.
constexpr std::uint64_t kLeastFrameBytes = 60;
constexpr std::uint64_t kMostFrameBytes = 65535;
constexpr std::uint64_t kMostWeight = 1'000'000;
constexpr std::size_t kMostParts = 256;
constexpr std::size_t kMostPatternBytes = 512;
constexpr std::uint64_t kMostTimeNs = 100ULL * 365 * 24 * 3600 * 1'000'000'000;

Error bad(std::string_view text, const std::string& why) {
  return {Errc::bad_argument, '"' + std::string(text) + "\" " + why};
}

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// All of `text` as digits; from_chars takes no sign of an unsigned number and no space.
std::optional<std::uint64_t> whole(std::string_view text, int base = 10) noexcept {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(end - text.size(), end, value, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

/// A decimal number: `digits` divided by ten to the power `decimals`.
struct Decimal {
  std::uint64_t digits = 0;
  unsigned decimals = 0;
};

/// The decimal number at the front of `text`, which is then what follows. Result: nothing when
/// there is none, or more than 64 bits of it.
std::optional<Decimal> take_decimal(std::string_view& text) noexcept {
  Decimal number;
  bool point = false;
  std::size_t at = 0;
  std::size_t seen = 0;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !point)); ++at) {
    if (text[at] == '.') {
      point = true;
      continue;
    }
    ++seen;
    if (point && ++number.decimals > 18) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (number.digits > (UINT64_MAX - digit) / 10) return std::nullopt;
    number.digits = number.digits * 10 + digit;
  }
  if (seen == 0 || text[at - 1] == '.') return std::nullopt;
  text.remove_prefix(at);
  return number;
}

/// `number` times `factor`. Result: nothing when that is no whole number of 64 bits.
std::optional<std::uint64_t> times(Decimal number, std::uint64_t factor) noexcept {
  std::uint64_t divisor = 1;
  for (unsigned i = 0; i < number.decimals; ++i) divisor *= 10;
  const std::uint64_t common = std::gcd(factor, divisor);
  factor /= common;
  divisor /= common;
  // What is left of the divisor shares nothing with the factor, so it must go into the digits.
  if (number.digits % divisor != 0) return std::nullopt;
  const std::uint64_t quotient = number.digits / divisor;
  if (factor != 0 && quotient > UINT64_MAX / factor) return std::nullopt;
  return quotient * factor;
}

/// A number and one of `units`, in either case; the unit may be "".
std::optional<std::uint64_t> with_unit(std::string_view text, std::span<const Unit> units) {
  const std::optional<Decimal> number = take_decimal(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (same_word(text, unit.name)) return times(*number, unit.factor);
  }
  return std::nullopt;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// "64", "64-1518".
std::optional<FrameSizes::Part> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const Result<std::uint64_t> least = parse_bytes(text.substr(0, dash));
  const Result<std::uint64_t> most =
      dash == std::string_view::npos ? least : parse_bytes(text.substr(dash + 1));
  if (!least || !most || *least < kLeastFrameBytes || *most > kMostFrameBytes || *least > *most) {
    return std::nullopt;
  }
  return FrameSizes::Part{static_cast<std::uint32_t>(*least), static_cast<std::uint32_t>(*most), 1};
}

const std::string kSizeForm = "bytes without FCS from " + std::to_string(kLeastFrameBytes) +
                              " to " + std::to_string(kMostFrameBytes) + ", as 64 or 64-1514";

/// A floating-point number, all of it, finite and not below zero.
std::optional<double> real(std::string_view text) noexcept {
  double value = 0;
  const char* const end = text.data() + text.size();
  // from_chars would take "inf", "-1" and, of std::chars_format::general, "1e3".
  if (text.empty() || (!is_digit(text[0]) && text[0] != '.')) return std::nullopt;
  const auto [stop, error] =
      std::from_chars(end - text.size(), end, value, std::chars_format::fixed);
  if (error != std::errc{} || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
  constexpr std::uint64_t k = 1024;
  static constexpr std::array<Unit, 17> kUnits{{{"", 1},
                                                {"k", k},
                                                {"ki", k},
                                                {"kb", k},
                                                {"kib", k},
                                                {"m", k * k},
                                                {"mi", k * k},
                                                {"mb", k * k},
                                                {"mib", k * k},
                                                {"g", k * k * k},
                                                {"gi", k * k * k},
                                                {"gb", k * k * k},
                                                {"gib", k * k * k},
                                                {"t", k * k * k * k},
                                                {"ti", k * k * k * k},
                                                {"tb", k * k * k * k},
                                                {"tib", k * k * k * k}}};
  const auto bytes = with_unit(text, kUnits);
  if (!bytes) {
    return bad(text, "is no size (write bytes, or 64k, 4m, 1g with powers of 1024, below 2^64)");
  }
  return *bytes;
}

Result<std::uint64_t> parse_count(std::string_view text) {
  static constexpr std::array<Unit, 4> kUnits{
      {{"", 1}, {"k", 1'000}, {"m", 1'000'000}, {"g", 1'000'000'000}}};
  const auto count = with_unit(text, kUnits);
  if (!count) {
    return bad(text, "is no whole number (as 1000, 1k or 2.5M, with powers of 1000, below 2^64)");
  }
  return *count;
}

Result<std::uint64_t> parse_rate(std::string_view text) {
  static constexpr std::array<Unit, 6> kUnits{{{"", 1},
                                               {"bit", 1},
                                               {"kbit", 1'000},
                                               {"mbit", 1'000'000},
                                               {"gbit", 1'000'000'000},
                                               {"tbit", 1'000'000'000'000}}};
  const auto rate = with_unit(text, kUnits);
  if (!rate) {
    return bad(text,
               "is no rate (write bits per second, as 64kbit, 10Mbit, 2Gbit or the plain number; "
               "bytes per second, as fio has them, are not meant here)");
  }
  return *rate;
}

Result<nanoseconds> parse_time(std::string_view text, TimeUnit plain) {
  const std::array<Unit, 8> units{{{"", static_cast<std::uint64_t>(plain)},
                                   {"ns", 1},
                                   {"us", 1'000},
                                   {"ms", 1'000'000},
                                   {"s", 1'000'000'000},
                                   {"m", 60ULL * 1'000'000'000},
                                   {"h", 3600ULL * 1'000'000'000},
                                   {"d", 86400ULL * 1'000'000'000}}};
  const auto ns = with_unit(text, units);
  if (!ns || *ns > kMostTimeNs) {
    return bad(text,
               "is no time (as 30s, 1.5ms or 2m, with ns, us, ms, s, m, h or d, down to one "
               "nanosecond and up to 100 years)");
  }
  return nanoseconds(static_cast<std::int64_t>(*ns));
}

Result<double> parse_decimal(std::string_view text) {
  const auto value = real(text);
  if (!value) return bad(text, "is no number (as 2 or 0.5, not below 0)");
  return *value;
}

Result<double> parse_share(std::string_view text) {
  const bool per_cent = text.ends_with('%');
  const auto value = real(per_cent ? text.substr(0, text.size() - 1) : text);
  const double share = value.value_or(2) / (per_cent ? 100 : 1);
  if (!value || share > 1) return bad(text, "is no share (as 1% or 0.01, from 0 to 1)");
  return share;
}

Result<double> parse_per_cent(std::string_view text) {
  const auto value = real(text.ends_with('%') ? text.substr(0, text.size() - 1) : text);
  if (!value || *value > 100) return bad(text, "is no percentage (as 99.9, from 0 to 100)");
  return *value;
}

Result<bool> parse_boolean(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "yes", "on"}) {
    if (same_word(text, yes)) return true;
  }
  for (const std::string_view no : {"0", "false", "no", "off"}) {
    if (same_word(text, no)) return false;
  }
  return bad(text, "is neither yes nor no (write 1 or 0)");
}

Result<FrameSizes> parse_frame_sizes(std::string_view text) {
  if (same_word(text, "imix")) return imix_sizes();
  const auto part = parse_range(text);
  if (!part) return bad(text, "is no frame size (" + kSizeForm + ", or imix)");
  return FrameSizes{{*part}};
}

Result<FrameSizes> parse_frame_split(std::string_view text) {
  if (same_word(text, "imix")) return imix_sizes();
  const auto refuse = [&](const std::string& why) {
    return bad(text, "is no split of frame sizes (as 64/70:1514/30): " + why);
  };
  FrameSizes sizes{{}};
  std::vector<std::size_t> open;  // those without a weight
  std::uint64_t sum = 0;
  for (const std::string_view item : split(text, ':')) {
    const std::size_t slash = item.find('/');
    auto part = parse_range(item.substr(0, slash));
    if (!part) return refuse('"' + std::string(item) + "\" needs " + kSizeForm);
    const std::string_view weight_text =
        slash == std::string_view::npos ? std::string_view() : item.substr(slash + 1);
    if (weight_text.empty()) {
      open.push_back(sizes.parts.size());
    } else {
      const auto weight = whole(weight_text);
      if (!weight || *weight > kMostWeight) {
        return refuse("a weight is a whole number up to " + std::to_string(kMostWeight));
      }
      part->weight = static_cast<std::uint32_t>(*weight);
      sum += *weight;
    }
    sizes.parts.push_back(*part);
    if (sizes.parts.size() > kMostParts) {
      return refuse("it has more than " + std::to_string(kMostParts) + " parts");
    }
  }
  if (open.empty() && sum == 0) return refuse("all weights are 0");
  if (sizes.parts.size() == 1) sizes.parts[0].weight = 1;  // of the whole, whatever was written
  if (open.empty() || sizes.parts.size() == 1) return sizes;
  if (sum > 100) return refuse("the percentages add up to more than 100");
  // In parts of 100 * open.size(), so that the rest can be divided evenly.
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
    text += std::to_string(part.least);
    if (part.most != part.least) text += '-' + std::to_string(part.most);
    if (sizes.parts.size() > 1) text += '/' + std::to_string(part.weight);
  }
  return text;
}

Result<std::vector<int>> parse_cpus(std::string_view text) {
  std::set<int> cpus;
  for (const std::string_view item : split(text, ',')) {
    const std::size_t dash = item.find('-');
    const auto first = whole(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : whole(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= CPU_SETSIZE) {
      return bad(text, "is no list of CPUs (as 0-3,7, numbers up to " +
                           std::to_string(CPU_SETSIZE - 1) + ')');
    }
    for (std::uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

std::string to_string_of_cpus(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus[i]);
    if (end - i > 1) text += '-' + std::to_string(cpus[end - 1]);
    i = end;
  }
  return text;
}

Result<std::vector<std::byte>> parse_pattern(std::string_view text) {
  const auto refuse = [&](const char* why) {
    return bad(text, std::string("is no pattern (as 0xdeadbeef or \"text\"): ") + why);
  };
  std::vector<std::byte> bytes;
  std::string_view rest = text;
  while (!rest.empty()) {
    if (rest.starts_with("0x") || rest.starts_with("0X")) {
      rest.remove_prefix(2);
      const std::size_t digits =
          std::min(rest.find_first_not_of("0123456789abcdefABCDEF"), rest.size());
      if (digits == 0 || digits % 2 != 0) return refuse("two hexadecimal digits make a byte");
      for (std::size_t i = 0; i < digits; i += 2) {
        bytes.push_back(static_cast<std::byte>(*whole(rest.substr(i, 2), 16)));
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
      return refuse("it is neither hexadecimal with 0x before it nor a text in quotation marks");
    }
  }
  if (bytes.empty()) return refuse("it is empty");
  if (bytes.size() > kMostPatternBytes) return refuse("it is longer than 512 bytes");
  return bytes;
}

Result<ErrorClasses> parse_error_classes(std::string_view text) {
  ErrorClasses classes;
  for (const std::string_view word : split(text, ',')) {
    if (word == "none" && text == word) continue;
    const bool all = word == "all";
    const bool io = all || word == "io";
    const bool known = io || word == "tx" || word == "write" || word == "rx" || word == "read" ||
                       word == "verify" || word == "overrun" || word == "lock";
    if (!known) {
      return bad(text,
                 "names no classes of errors (none, all, or some of tx, rx, io, verify, "
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
  const auto number = real(wanted.relative ? limit.substr(0, limit.size() - 1) : limit);
  if (!known || !number || (wanted.relative && *number > 100)) {
    return bad(text,
               "is no steady state (iops, iops_slope, bw or bw_slope, a colon and a limit, "
               "as iops:0.3% or bw_slope:1000)");
  }
  wanted.limit = wanted.relative ? *number / 100 : *number;
  return wanted;
}

Result<PairText> split_pair(std::string_view text) {
  const auto parts = split(text, ',');
  if (parts.size() == 1) return PairText{parts[0], parts[0]};
  if (parts.size() > 2 || (parts[0].empty() && parts[1].empty())) {
    return bad(text, "is no value for each direction (as A for both, A,B for tx and rx)");
  }
  return PairText{parts[0], parts[1]};
}

std::string time_text(nanoseconds time) {
  // "0", not "0ns": zero needs no unit.
  if (time.count() == 0) return "0";
  constexpr std::int64_t s = 1'000'000'000;
  constexpr std::array<std::pair<const char*, std::int64_t>, 6> kUnits{{{"d", 86400 * s},
                                                                        {"h", 3600 * s},
                                                                        {"m", 60 * s},
                                                                        {"s", s},
                                                                        {"ms", 1'000'000},
                                                                        {"us", 1'000}}};
  for (const auto& [name, factor] : kUnits) {
    if (time.count() % factor == 0) return std::to_string(time.count() / factor) + name;
  }
  return std::to_string(time.count()) + "ns";
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::pair<const char*, unsigned>, 3> kUnits{
      {{"g", 30}, {"m", 20}, {"k", 10}}};
  for (const auto& [name, shift] : kUnits) {
    if (bytes != 0 && bytes % (1ULL << shift) == 0) return std::to_string(bytes >> shift) + name;
  }
  return std::to_string(bytes);
}

std::string rate_text(std::uint64_t bits_per_second) {
  constexpr std::array<std::pair<const char*, std::uint64_t>, 3> kUnits{
      {{"Gbit", 1'000'000'000}, {"Mbit", 1'000'000}, {"kbit", 1'000}}};
  if (bits_per_second == 0) return "0";
  for (const auto& [name, factor] : kUnits) {
    if (bits_per_second % factor == 0) return std::to_string(bits_per_second / factor) + name;
  }
  return std::to_string(bits_per_second) + "bit";
}

}  // namespace shmif::perf
