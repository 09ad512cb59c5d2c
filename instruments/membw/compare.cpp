#include "instruments/membw/compare.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace shmif::perf {
namespace {

/// "12.3 MB/s"
std::string rate_text(double bytes_per_s) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.4g MB/s", bytes_per_s / 1e6);
  return text.data();
}

/// The part of a source's value that belongs to the watched processes alone.
struct Share {
  double rate = 0;
  std::string refusal;
};

Share share_of(const MemorySummary& source, double rate, MemoryReport report,
               const CompareLimits& limits) {
  const std::string label = source.label();
  const std::optional<double> background =
      source.background ? source.background->of(report) : std::nullopt;
  if (!background) {
    return {0, label + " counts the whole " + word_of(source.scope) +
                   ", and its background was not measured"};
  }
  if (*background > limits.background * rate) {
    return {0, label + " counted a background of " + rate_text(*background) +
                   ", which is too much beside " + rate_text(rate)};
  }
  return {rate - *background, {}};
}

std::string why_not_comparable(const MemorySummary& first, const MemorySummary& second) {
  if (first.level != second.level) {
    const bool first_copies = first.level == MemoryLevel::copied;
    return (first_copies ? first : second).label() + " counts copied bytes, and " +
           (first_copies ? second : first).label() + " counts bytes of the memory itself";
  }
  if (first.level == MemoryLevel::copied) return "they count different copies";
  const bool both_wide = first.scope != MemoryScope::group && second.scope != MemoryScope::group;
  if (first.scope == second.scope || !both_wide) return {};
  return "one counts a socket, and the other the machine";
}

}  // namespace

const char* word_of(MemoryVerdict verdict) noexcept {
  switch (verdict) {
    case MemoryVerdict::same: return "same";
    case MemoryVerdict::different: return "different";
    case MemoryVerdict::refused: return "refused";
    case MemoryVerdict::not_comparable: return "not_comparable";
    case MemoryVerdict::not_measured: return "not_measured";
  }
  return "";
}

MemoryComparison compare_memory(const MemorySummary& first, const MemorySummary& second,
                                MemoryReport report, const CompareLimits& limits) {
  MemoryComparison result;
  result.first = first.label();
  result.second = second.label();
  const auto end = [&](MemoryVerdict verdict, std::string reason) {
    result.verdict = verdict;
    result.reason = std::move(reason);
    return result;
  };
  if (auto reason = why_not_comparable(first, second); !reason.empty()) {
    return end(MemoryVerdict::not_comparable, std::move(reason));
  }
  for (const MemorySummary* each : {&first, &second}) {
    const auto& rate = each->rates.of(report);
    if (!rate || !std::isfinite(*rate)) {
      return end(MemoryVerdict::not_measured,
                 each->label() + " has no " + word_of(report) + ": " + each->rates.reason);
    }
  }
  double one = *first.rates.of(report);
  double other = *second.rates.of(report);
  if (first.scope != second.scope) {
    const bool first_is_wide = first.scope != MemoryScope::group;
    double& wide = first_is_wide ? one : other;
    const Share share = share_of(first_is_wide ? first : second, wide, report, limits);
    if (!share.refusal.empty()) return end(MemoryVerdict::refused, share.refusal);
    wide = share.rate;
  }
  result.first_bytes_per_s = one;
  result.second_bytes_per_s = other;
  const double larger = std::max(one, other);
  result.difference_bytes_per_s = std::abs(one - other);
  result.difference_share = larger > 0 ? std::abs(one - other) / larger : 0;
  if (std::min(one, other) < limits.floor_bytes_per_s) {
    return end(MemoryVerdict::refused,
               "below " + rate_text(limits.floor_bytes_per_s) + ", other traffic weighs too much");
  }
  const bool same = *result.difference_share <= limits.tolerance;
  return end(same ? MemoryVerdict::same : MemoryVerdict::different, {});
}

std::vector<MemoryComparison> compare_all(const std::vector<MemorySummary>& sources,
                                          MemoryReport report, const CompareLimits& limits) {
  std::vector<MemoryComparison> all;
  for (std::size_t first = 0; first < sources.size(); ++first) {
    for (std::size_t second = first + 1; second < sources.size(); ++second) {
      all.push_back(compare_memory(sources[first], sources[second], report, limits));
    }
  }
  return all;
}

MemoryVerdict MemoryTally::verdict() const noexcept {
  if (different > 0) return MemoryVerdict::different;
  if (not_measured > 0) return MemoryVerdict::not_measured;
  return same > 0 ? MemoryVerdict::same : MemoryVerdict::refused;
}

std::vector<MemoryTally> tally(const std::vector<std::vector<MemoryComparison>>& steps) {
  std::vector<MemoryTally> tallies;
  if (steps.empty()) return tallies;
  for (std::size_t pair = 0; pair < steps.front().size(); ++pair) {
    const MemoryComparison& first = steps.front()[pair];
    if (first.verdict == MemoryVerdict::not_comparable) continue;
    MemoryTally sum{first.first, first.second};
    for (const auto& step : steps) {
      switch (step[pair].verdict) {
        case MemoryVerdict::same: ++sum.same; break;
        case MemoryVerdict::different: ++sum.different; break;
        case MemoryVerdict::refused: ++sum.refused; break;
        case MemoryVerdict::not_measured:
        case MemoryVerdict::not_comparable: ++sum.not_measured; break;
      }
    }
    tallies.push_back(std::move(sum));
  }
  return tallies;
}

}  // namespace shmif::perf
