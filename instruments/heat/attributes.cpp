#include "instruments/heat/attributes.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif::perf {
namespace {

using std::chrono::microseconds;

constexpr std::uint64_t kLeastRegions = 3;
constexpr std::uint64_t kMaxRegions = 1'000'000;
constexpr std::int64_t kMaxSamples = 1'000'000;
constexpr microseconds kLongest = std::chrono::hours(24);

Error bad(const std::string& why) {
  return {Errc::bad_argument, why};
}

Result<microseconds> read_interval(const std::string& text, const std::string& name) {
  const auto time = base::read_time(text, base::TimeUnit::microseconds);
  if (!time) return bad("the " + name + " interval: " + time.why(text));
  if (time->count() % 1000 != 0) {
    return bad("the " + name + " interval: \"" + text + "\" is not in whole microseconds");
  }
  return microseconds(time->count() / 1000);
}

Result<std::uint64_t> read_regions(const std::string& text, const std::string& name) {
  const auto count = base::read_count(text);
  if (!count) return bad("the " + name + " number of regions: " + count.why(text));
  return *count;
}

/// Splits at commas. If the text has no comma, splits at blanks, as the kernel's file writes the
/// numbers.
std::vector<std::string> split_numbers(std::string_view text) {
  std::vector<std::string> words;
  if (text.find(',') == std::string_view::npos &&
      text.find_first_of(" \t\n") != std::string_view::npos) {
    std::istringstream blanks{std::string(text)};
    for (std::string word; blanks >> word;) words.push_back(word);
    return words;
  }
  const auto parts = base::split(text, ',');
  return {parts.begin(), parts.end()};
}

}  // namespace

Result<HeatAttributes> read_attributes(std::string_view text) {
  constexpr std::size_t kNumbers = 5;
  const auto words = split_numbers(text);
  if (words.size() != kNumbers) {
    return bad('"' + std::string(text) + "\" has " + std::to_string(words.size()) +
               (words.size() == 1 ? " number" : " numbers") +
               ", and five are needed (sampling, aggregation and update interval in microseconds, "
               "fewest and most regions: " +
               attributes_text({}) + ')');
  }
  HeatAttributes attributes;
  constexpr std::array kIntervals = {
      std::pair{&HeatAttributes::sampling, "sampling"},
      std::pair{&HeatAttributes::aggregation, "aggregation"},
      std::pair{&HeatAttributes::update, "update"},
  };
  for (std::size_t i = 0; i < kIntervals.size(); ++i) {
    auto interval = read_interval(words[i], kIntervals[i].second);
    if (!interval) return std::move(interval).error();
    attributes.*kIntervals[i].first = *interval;
  }
  const auto least = read_regions(words[3], "minimum");
  if (!least) return least.error();
  const auto most = read_regions(words[4], "maximum");
  if (!most) return most.error();
  attributes.min_regions = *least;
  attributes.max_regions = *most;
  if (const auto right = check_attributes(attributes); !right) return right.error();
  return attributes;
}

Result<void> check_attributes(const HeatAttributes& attributes) {
  const auto& [sampling, aggregation, update, least, most] = attributes;
  for (const microseconds interval : {sampling, aggregation, update}) {
    if (interval <= microseconds(0)) return bad("an interval cannot be 0");
    if (interval > kLongest) return bad("an interval cannot be longer than a day");
  }
  if (aggregation < sampling) {
    return bad("the aggregation interval (" + std::to_string(aggregation.count()) +
               " us) is shorter than the sampling interval (" + std::to_string(sampling.count()) +
               " us)");
  }
  if (aggregation / sampling > kMaxSamples) {
    return bad("the aggregation interval has more than a million sampling intervals");
  }
  if (least < kLeastRegions) {
    return bad("the minimum number of regions is " + std::to_string(least) +
               ", and must be at least " + std::to_string(kLeastRegions));
  }
  if (most < least) {
    return bad("the maximum number of regions (" + std::to_string(most) +
               ") is below the minimum (" + std::to_string(least) + ')');
  }
  if (most > kMaxRegions) return bad("the maximum number of regions is above a million");
  return {};
}

std::string attributes_text(const HeatAttributes& attributes) {
  std::string text;
  for (const microseconds interval :
       {attributes.sampling, attributes.aggregation, attributes.update}) {
    text += std::to_string(interval.count()) + ',';
  }
  return text + std::to_string(attributes.min_regions) + ',' +
         std::to_string(attributes.max_regions);
}

}  // namespace shmif::perf
