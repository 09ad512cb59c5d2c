#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/printable.hpp"
#include "base/text.hpp"
#include "instruments/heat/heat_map.hpp"

namespace shmif::perf {
namespace {

/// Memory counts as equally hot if it was accessed at least nine tenths as often as the hottest.
constexpr double kNearly = 0.9;

/// An address at which the number of accesses changes, and by how much.
struct HeatStep {
  std::uint64_t at = 0;
  std::ptrdiff_t windows = 0;
  double share = 0;
};

/// Stretches of bytes that were accessed in the same windows, sorted and disjoint. Bytes without an
/// access are left out.
std::vector<HeatStretch> stretches_of(const HeatResult& result) {
  std::vector<HeatStep> steps;
  for (const HeatWindow& window : result.windows) {
    for (const Region& region : window.regions) {
      if (region.accesses == 0 || window.samples == 0) continue;
      const double share = static_cast<double>(region.accesses) / window.samples /
                           static_cast<double>(result.windows.size());
      steps.push_back({region.begin, 1, share});
      steps.push_back({region.end, -1, -share});
    }
  }
  std::ranges::sort(steps, {}, &HeatStep::at);
  std::vector<HeatStretch> stretches;
  HeatStep now;
  for (const HeatStep& step : steps) {
    if (now.windows > 0 && step.at > now.at) {
      stretches.push_back(
          {{now.at, step.at}, static_cast<std::size_t>(now.windows), std::min(now.share, 1.0)});
    }
    now = {step.at, now.windows + step.windows, now.share + step.share};
    if (now.windows == 0) now.share = 0;  // without the rounding errors of the sums
  }
  return stretches;
}

/// The parts of `stretches` that lie in `range`.
std::vector<HeatStretch> within(const std::vector<HeatStretch>& stretches, AddressRange range) {
  std::vector<HeatStretch> parts;
  auto each = std::ranges::upper_bound(stretches, range.begin, {},
                                       [](const HeatStretch& one) { return one.range.end; });
  for (; each != stretches.end() && each->range.begin < range.end; ++each) {
    parts.push_back(*each);
    parts.back().range = {std::max(each->range.begin, range.begin),
                          std::min(each->range.end, range.end)};
  }
  return parts;
}

/// Memory that was accessed in this many windows counts as accessed all the time.
std::size_t nine_of_ten(std::size_t windows) {
  return windows - windows / 10;
}

std::string in_windows(std::size_t windows) {
  if (windows == 1) return "in the one window";
  if (nine_of_ten(windows) < windows) return "in nine of ten windows";
  return "in each of " + std::to_string(windows) + " windows";
}

/// "64.0 KiB of pattern at 128.0 KiB".
std::string place_of(AddressRange hot, const NamedRange& memory) {
  const std::string name =
      memory.name.empty() ? base::hex(memory.range.begin) : base::printable(memory.name);
  if (hot == memory.range) return name + " (" + heat_bytes(hot.bytes()) + ')';
  return heat_bytes(hot.bytes()) + " of " + name + " at " +
         heat_bytes(hot.begin - memory.range.begin);
}

}  // namespace

std::string bytes_with_care(const HeatResult& result, std::uint64_t bytes) {
  const std::string& precision = result.provenance.precision;
  if (precision == "mapping") return "mappings with " + heat_bytes(bytes);
  return (precision == "page" ? "" : "about ") + heat_bytes(bytes);
}

std::string heat_share(double share) {
  if (!(share > 0)) return "0 %";
  if (share < 0.01) return "below 1 %";
  if (share < 1 && share > 0.99) return "over 99 %";
  return std::to_string(std::lround(share * 100)) + " %";
}

std::optional<HeatStretch> hottest_of(const std::vector<HeatStretch>& stretches) {
  double most = 0;
  for (const HeatStretch& each : stretches) most = std::max(most, each.share);
  std::optional<HeatStretch> best;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    HeatStretch one = stretches[i];
    if (one.share < kNearly * most) continue;
    double sum = one.share * static_cast<double>(one.range.bytes());
    for (; i + 1 < stretches.size(); ++i) {
      const HeatStretch& next = stretches[i + 1];
      if (next.range.begin != one.range.end || next.share < kNearly * most) break;
      sum += next.share * static_cast<double>(next.range.bytes());
      one.range.end = next.range.end;
      one.windows = std::min(one.windows, next.windows);
    }
    one.share = sum / static_cast<double>(one.range.bytes());
    if (!best || one.range.bytes() > best->range.bytes()) best = one;
  }
  return best;
}

std::string heat_in_any(std::size_t windows) {
  return windows == 1 ? " in the one window" : " in any of " + std::to_string(windows) + " windows";
}

std::string heat_target(const HeatResult& result) {
  std::string name = base::printable(result.name);
  if (result.process.number == 0) return name;
  return "process " + std::to_string(result.process.number) +
         (name.empty() ? "" : " (" + name + ')');
}

std::string heat_conclusion(const HeatResult& result) {
  const std::string who = heat_target(result) + ": ";
  const std::size_t windows = result.windows.size();
  if (windows == 0) return who + "not measured";
  const bool is_of_writes = !result.provenance.reads_precision.empty();
  const char* const accessed = is_of_writes ? "written " : "accessed ";
  const auto all = stretches_of(result);
  std::uint64_t whole = 0, steady = 0, any = 0;
  std::vector<std::pair<HeatStretch, const NamedRange*>> hot;  // the hottest of each range
  for (const NamedRange& each : result.ranges) {
    whole += each.range.bytes();
    const auto parts = within(all, each.range);
    for (const HeatStretch& part : parts) {
      any += part.range.bytes();
      if (part.windows >= nine_of_ten(windows)) steady += part.range.bytes();
    }
    if (const auto one = hottest_of(parts)) hot.emplace_back(*one, &each);
  }
  if (hot.empty())
    return who + (is_of_writes ? "no write to " : "no access to ") + heat_bytes(whole) +
           heat_in_any(windows);
  const double share = static_cast<double>(steady) / static_cast<double>(whole);
  std::string text = who;
  text += steady == 0 ? "none of " + heat_bytes(whole) + " was " + accessed
                      : bytes_with_care(result, steady) + " of " + heat_bytes(whole) + " (" +
                            heat_share(share) + ") were " + accessed;
  text += in_windows(windows);
  if (any != steady) text += ", " + heat_bytes(any) + " in any";
  const auto share_of = [](const auto& one) { return one.first.share; };
  const double most = share_of(*std::ranges::max_element(hot, {}, share_of));
  std::erase_if(hot, [&](const auto& one) { return share_of(one) < kNearly * most; });
  const auto& [stretch, memory] =
      *std::ranges::max_element(hot, {}, [](const auto& one) { return one.first.range.bytes(); });
  return text + "; hottest: " + place_of(stretch.range, *memory) + ", in " +
         heat_share(stretch.share) + " of the samples";
}

std::string heat_folded(const std::string& text, std::size_t columns, const std::string& first) {
  constexpr const char* kIndent = "  ";
  std::string lines;
  std::string line = first;
  bool begins = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (!begins && line.size() + 1 + (end - at) > columns) {
      lines += line + '\n';
      line = kIndent;
    } else if (!begins) {
      line += ' ';
    }
    line += text.substr(at, end - at);
    begins = false;
    at = end + 1;
  }
  return lines + line + '\n';
}

}  // namespace shmif::perf
