#include "instruments/heat/regions.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <queue>
#include <sstream>
#include <utility>

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

namespace {

constexpr std::uint32_t kTenths = 10;

std::uint32_t difference_of(std::uint32_t a, std::uint32_t b) noexcept {
  return a > b ? a - b : b - a;
}

/// The mean of two counts, weighted by their bytes and rounded down.
std::uint32_t mean(std::uint32_t a, std::uint64_t a_bytes, std::uint32_t b,
                   std::uint64_t b_bytes) noexcept {
  const auto first = static_cast<double>(a_bytes);
  const auto second = static_cast<double>(b_bytes);
  return static_cast<std::uint32_t>((a * first + b * second) / (first + second));
}

void join(Region& into, const Region& next) noexcept {
  const std::uint64_t bytes = into.bytes();
  const std::uint64_t more = next.bytes();
  into.accesses = mean(into.accesses, bytes, next.accesses, more);
  into.writes = into.writes && next.writes
                    ? std::optional(mean(*into.writes, bytes, *next.writes, more))
                    : std::nullopt;
  into.age = mean(into.age, bytes, next.age, more);
  into.end = next.end;
}

/// Widens ranges to whole pages, sorts them, and removes overlaps and empty ranges.
std::vector<AddressRange> in_pages(std::vector<AddressRange> ranges, std::uint64_t page) {
  const std::uint64_t last = std::numeric_limits<std::uint64_t>::max() / page * page;
  for (AddressRange& range : ranges) {
    range.begin = range.begin / page * page;
    range.end = range.end > last ? last : (range.end + page - 1) / page * page;
  }
  std::ranges::sort(ranges, {}, &AddressRange::begin);
  std::vector<AddressRange> clean;
  for (AddressRange range : ranges) {
    if (!clean.empty()) range.begin = std::max(range.begin, clean.back().end);
    if (range.begin < range.end) clean.push_back(range);
  }
  return clean;
}

}  // namespace

Regions::Regions(const HeatAttributes& attributes, Looking looking, std::uint64_t page_bytes,
                 std::uint64_t seed)
    : attributes_(attributes), looking_(looking), page_(page_bytes), random_(seed) {}

std::uint64_t Regions::target_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const AddressRange& range : target_) bytes += range.bytes();
  return bytes;
}

std::size_t Regions::most() const noexcept {
  return std::max<std::size_t>(attributes_.max_regions, target_.size());
}

std::size_t Regions::least() const noexcept {
  return std::min<std::size_t>(attributes_.min_regions, target_bytes() / page_);
}

void Regions::set_target(std::vector<AddressRange> ranges) {
  ranges = in_pages(std::move(ranges), page_);
  if (ranges == target_) return;
  target_ = std::move(ranges);
  cover(std::exchange(regions_, {}));
  if (looking_ != Looking::whole_ranges) {
    if (regions_.size() > most()) merge_to_bound();
    split_to_bound();
  }
  chosen_.clear();
  counts_.clear();
  first_page_.clear();
  if (looking_ != Looking::all_pages) return;
  std::size_t pages = 0;
  for (const AddressRange& range : target_) {
    first_page_.push_back(pages);
    pages += range.bytes() / page_;
  }
  counts_.resize(pages);
}

/// R1: an address keeps what is known of it. A new address begins as never accessed.
void Regions::cover(const std::vector<Piece>& known) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < target_.size(); ++i) {
    const AddressRange& range = target_[i];
    std::uint64_t at = range.begin;
    while (next < known.size() && known[next].region.end <= range.begin) ++next;
    for (std::size_t k = next; k < known.size() && known[k].region.begin < range.end; ++k) {
      Piece part = known[k];
      const bool whole = part.region.begin == range.begin && part.region.end == range.end;
      if (looking_ == Looking::whole_ranges && !whole) continue;
      part.region.begin = std::max(part.region.begin, range.begin);
      part.region.end = std::min(part.region.end, range.end);
      part.range = i;
      if (at < part.region.begin) regions_.push_back({{at, part.region.begin, 0, {}, 0}, 0, i});
      at = part.region.end;
      regions_.push_back(part);
    }
    if (at < range.end) regions_.push_back({{at, range.end, 0, {}, 0}, 0, i});
  }
}

const std::vector<std::uint64_t>& Regions::choose() {
  chosen_.clear();
  for (const Piece& piece : regions_) {
    const std::uint64_t pages = piece.region.bytes() / page_;
    std::uniform_int_distribution<std::uint64_t> any(0, pages - 1);
    chosen_.push_back(piece.region.begin + any(random_) * page_);
  }
  return chosen_;
}

void Regions::record(std::span<const Sighting> seen) {
  const std::size_t count = std::min(seen.size(), regions_.size());
  for (std::size_t i = 0; i < count; ++i) {
    Region& region = regions_[i].region;
    region.accesses += seen[i].accessed ? 1 : 0;
    if (seen[i].written) region.writes = region.writes.value_or(0) + (*seen[i].written ? 1 : 0);
  }
}

void Regions::record_pages(std::span<const SeenPages> seen) {
  for (const SeenPages& each : seen) {
    writes_known_ = writes_known_ || each.seen.written.has_value();
    auto range = std::ranges::upper_bound(target_, each.range.begin, {}, &AddressRange::end);
    for (; range != target_.end() && range->begin < each.range.end; ++range) {
      const std::uint64_t begin = std::max(range->begin, each.range.begin);
      const std::uint64_t end = std::min(range->end, each.range.end);
      const std::size_t first = first_page_[static_cast<std::size_t>(range - target_.begin())];
      for (std::uint64_t at = begin / page_ * page_; at < end; at += page_) {
        PageCount& count = counts_[first + (at - range->begin) / page_];
        count.accesses += each.seen.accessed ? 1 : 0;
        count.writes += each.seen.written.value_or(false) ? 1 : 0;
      }
    }
  }
}

std::vector<Region> Regions::aggregate() {
  if (looking_ == Looking::all_pages) cut_by_pages();
  working_set_ = 0;
  const std::uint32_t about_the_same = std::max(1U, attributes_.samples_per_window() / kTenths);
  for (Piece& piece : regions_) {
    const bool same = difference_of(piece.region.accesses, piece.before) <= about_the_same;
    piece.region.age = same ? piece.region.age + 1 : 0;
    if (piece.region.accesses > 0) working_set_ += piece.region.bytes();
  }
  if (looking_ != Looking::whole_ranges) {
    merge_all();
    split_to_bound();
  }
  std::vector<Region> result;
  result.reserve(regions_.size());
  for (const Piece& piece : regions_) result.push_back(piece.region);
  begin_window();
  return result;
}

void Regions::begin_window() {
  for (Piece& piece : regions_) {
    piece.before = piece.region.accesses;
    piece.region.accesses = 0;
    piece.region.writes.reset();
  }
  std::ranges::fill(counts_, PageCount{});
  writes_known_ = false;
  if (looking_ == Looking::chosen_pages) split_all();
}

/// Cuts regions where the counts of neighbouring pages differ.
void Regions::cut_by_pages() {
  std::vector<Piece> cut;
  for (const Piece& piece : regions_) {
    const AddressRange& range = target_[piece.range];
    const std::size_t first = first_page_[piece.range];
    for (std::uint64_t at = piece.region.begin; at < piece.region.end; at += page_) {
      const PageCount& count = counts_[first + (at - range.begin) / page_];
      const auto writes = writes_known_ ? std::optional(count.writes) : std::nullopt;
      const bool same = at != piece.region.begin && cut.back().region.accesses == count.accesses &&
                        cut.back().region.writes == writes;
      if (same) {
        cut.back().region.end += page_;
      } else {
        cut.push_back({{at, at + page_, count.accesses, writes, piece.region.age},
                       piece.before,
                       piece.range});
      }
    }
  }
  regions_ = std::move(cut);
}

void Regions::merge_all() {
  const bool exact = looking_ == Looking::all_pages;
  const std::uint32_t samples = attributes_.samples_per_window();
  std::uint32_t difference = exact ? 0 : samples / kTenths;
  const std::uint64_t max_bytes = exact ? std::numeric_limits<std::uint64_t>::max()
                                        : std::max(page_, target_bytes() / attributes_.min_regions);
  merge_within(difference, max_bytes);
  while (regions_.size() > most() && difference < samples) {
    difference = std::max(1U, difference * 2);
    merge_within(difference, max_bytes);
  }
  if (regions_.size() > most()) merge_to_bound();
}

/// Joins neighbours in a range whose counts differ by no more than `difference`.
void Regions::merge_within(std::uint32_t difference, std::uint64_t max_bytes) {
  std::vector<Piece> merged;
  for (const Piece& piece : regions_) {
    const bool near =
        !merged.empty() && merged.back().range == piece.range &&
        difference_of(merged.back().region.accesses, piece.region.accesses) <= difference &&
        difference_of(merged.back().region.writes.value_or(0), piece.region.writes.value_or(0)) <=
            difference;
    if (near && merged.back().region.bytes() + piece.region.bytes() <= max_bytes) {
      join(merged.back().region, piece.region);
    } else {
      merged.push_back(piece);
    }
  }
  regions_ = std::move(merged);
}

/// R2: joins as many pairs of neighbours as needed, first those that differ least.
void Regions::merge_to_bound() {
  const std::size_t too_many = regions_.size() - most();
  std::vector<std::pair<std::uint32_t, std::size_t>>
      pairs;  // the difference, and the second's index
  for (std::size_t i = 1; i < regions_.size(); ++i) {
    if (regions_[i].range != regions_[i - 1].range) continue;
    pairs.emplace_back(difference_of(regions_[i].region.accesses, regions_[i - 1].region.accesses),
                       i);
  }
  const std::size_t joined = std::min(too_many, pairs.size());
  std::ranges::nth_element(pairs, pairs.begin() + static_cast<std::ptrdiff_t>(joined));
  std::vector<bool> joins(regions_.size());
  for (std::size_t i = 0; i < joined; ++i) joins[pairs[i].second] = true;
  std::vector<Piece> merged;
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    if (joins[i]) {
      join(merged.back().region, regions_[i].region);
    } else {
      merged.push_back(regions_[i]);
    }
  }
  regions_ = std::move(merged);
}

/// Splits each region as DAMON does: in two, or in three if the number of regions is small and has
/// not changed.
void Regions::split_all() {
  const std::size_t count = regions_.size();
  if (count <= most() / 2) {
    constexpr std::size_t kFew = 3;
    const bool settled = count == merged_before_ && count < most() / kFew;
    split(settled ? 3 : 2);
  }
  merged_before_ = count;
}

void Regions::split(std::size_t parts) {
  std::vector<Piece> cut;
  for (Piece piece : regions_) {
    for (std::size_t part = 1; part < parts; ++part) {
      const std::uint64_t pages = piece.region.bytes() / page_;
      if (pages < 2) break;
      const std::uint64_t unit = std::max<std::uint64_t>(pages / kTenths, 1);
      std::uniform_int_distribution<std::uint64_t> any(1,
                                                       std::min<std::uint64_t>(pages, kTenths) - 1);
      const std::uint64_t first = unit * any(random_);
      cut.push_back(piece);
      cut.back().region.end = piece.region.begin + first * page_;
      piece.region.begin = cut.back().region.end;
    }
    cut.push_back(piece);
  }
  regions_ = std::move(cut);
}

/// R3: halves the largest regions.
void Regions::split_to_bound() {
  if (regions_.size() >= least()) return;
  const auto smaller = [this](std::size_t a, std::size_t b) {
    return regions_[a].region.bytes() < regions_[b].region.bytes();
  };
  std::vector<std::size_t> order(regions_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(smaller)> largest(
      smaller, std::move(order));
  while (regions_.size() < least()) {
    const std::size_t at = largest.top();
    largest.pop();
    Piece rest = regions_[at];
    const std::uint64_t pages = rest.region.bytes() / page_;
    rest.region.begin += pages / 2 * page_;
    regions_[at].region.end = rest.region.begin;
    regions_.push_back(rest);
    largest.push(at);
    largest.push(regions_.size() - 1);
  }
  std::ranges::sort(regions_, {}, [](const Piece& piece) { return piece.region.begin; });
}

}  // namespace shmif::perf
