#include "instruments/heat/bus_history.hpp"

#include <algorithm>
#include <cmath>

#include "base/nearest_rank.hpp"
#include "bus/file/parts.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kHeaderRowCells = 1;
constexpr std::size_t kPortsRowCells = 7;

/// Joins a row with the row after it.
void extend_row(BusHeatRow& row, const BusHeatRow& next) {
  const auto before = static_cast<double>(row.looks);
  const auto more = static_cast<double>(next.looks);
  const auto mix = [&](std::vector<double>& into, const std::vector<double>& with) {
    for (std::size_t i = 0; i < into.size(); ++i) {
      into[i] = (into[i] * before + with[i] * more) / (before + more);
    }
  };
  mix(row.accessed, next.accessed);
  if (next.written.empty()) row.written.clear();
  mix(row.written, next.written);
  row.end_s = next.end_s;
  row.looks += next.looks;
}

std::uint32_t apart(std::uint32_t a, std::uint32_t b) noexcept {
  return a > b ? a - b : b - a;
}

/// Sums of bytes times counts for regions that become one. Keeping only the mean so far would not
/// do: it is rounded, so many small regions would not change the mean of a large one.
struct JoinedCounts {
  double bytes = 0, accesses = 0, writes = 0;

  void add(const Region& region) {
    const auto weight = static_cast<double>(region.bytes());
    bytes += weight;
    accesses += weight * region.accesses;
    writes += weight * region.writes.value_or(0);
  }
  std::uint32_t mean(double sum) const {
    return static_cast<std::uint32_t>(std::lround(sum / bytes));
  }
};

/// Joins neighbours whose counts differ by no more than `difference`, whatever their ages.
std::vector<Region> joined(const std::vector<Region>& regions, std::uint32_t difference) {
  std::vector<Region> found;
  JoinedCounts last;
  for (const Region& next : regions) {
    if (found.empty() || apart(found.back().accesses, next.accesses) > difference ||
        apart(found.back().writes.value_or(0), next.writes.value_or(0)) > difference) {
      found.push_back(next);
      last = {};
      last.add(next);
      continue;
    }
    Region& into = found.back();
    last.add(next);
    into.accesses = last.mean(last.accesses);
    if (into.writes && next.writes) into.writes = last.mean(last.writes);
    into.age = std::min(into.age, next.age);
    into.end = next.end;
  }
  return found;
}

}  // namespace

BusHistory::BusHistory(std::uint64_t ring_bytes, std::uint64_t page_bytes, double window_s)
    : ring_(ring_bytes),
      page_(page_bytes),
      window_s_(window_s),
      pages_(bus::parts_of_file(ring_bytes).ring.end / page_bytes) {}

std::array<BusPart, 3> BusHistory::parts() const noexcept {
  const bus::FileParts file = bus::parts_of_file(ring_);
  return {{{"header", {file.header.begin, file.header.end}, kHeaderRowCells},
           {"ports", {file.ports.begin, file.ports.end}, kPortsRowCells},
           {"ring", {file.ring.begin, file.ring.end}, kCells - kHeaderRowCells - kPortsRowCells}}};
}

/// Adds the counts to each page of the file. Result: whether the window knows any page.
bool BusHistory::fold(const HeatWindow& window, AddressRange mapped) {
  bool known = false;
  tells_writes_ = false;
  const std::size_t ring_pages = ring_ / page_;
  for (const Region& region : window.regions) {
    const std::uint64_t begin = std::max(region.begin, mapped.begin);
    const std::uint64_t end = std::min(region.end, mapped.end);
    if (begin >= end) continue;
    known = true;
    tells_writes_ |= region.writes.has_value();
    for (std::uint64_t at = begin; at < end; at += page_) {
      std::size_t page = (at - mapped.begin) / page_;
      if (page >= pages_.size()) page -= ring_pages;
      if (page >= pages_.size()) break;
      pages_[page].accesses = std::max(pages_[page].accesses, region.accesses);
      pages_[page].writes = std::max(pages_[page].writes, region.writes.value_or(0));
    }
  }
  return known;
}

/// The mean of the pages that the cell covers, also in part.
double BusHistory::cell_of(const BusPart& part, std::size_t cell,
                           std::uint32_t Page::* count) const {
  const std::uint64_t begin = part.range.begin + part.range.bytes() * cell / part.cells;
  const std::uint64_t end = part.range.begin + part.range.bytes() * (cell + 1) / part.cells;
  const std::size_t first = begin / page_;
  const std::size_t last = std::min(std::max(first, (end - 1) / page_), pages_.size() - 1);
  double sum = 0;
  for (std::size_t i = first; i <= last; ++i) sum += pages_[i].*count;
  return sum / static_cast<double>(last - first + 1);
}

void BusHistory::add_row(const HeatWindow& window) {
  BusHeatRow row{window.begin_s, window.end_s, window.samples, {}, {}};
  for (const BusPart& part : parts()) {
    for (std::size_t cell = 0; cell < part.cells; ++cell) {
      row.accessed.push_back(cell_of(part, cell, &Page::accesses) / window.samples);
      if (!tells_writes_) continue;
      row.written.push_back(cell_of(part, cell, &Page::writes) / window.samples);
    }
  }
  if (!rows_.empty() && windows_in_last_row_ < windows_of_row_) {
    extend_row(rows_.back(), row);
    ++windows_in_last_row_;
    return;
  }
  if (rows_.size() == kMaxRows) halve_rows();
  rows_.push_back(std::move(row));
  windows_in_last_row_ = 1;
}

void BusHistory::halve_rows() {
  for (std::size_t i = 0; i < kMaxRows / 2; ++i) {
    BusHeatRow joined = std::move(rows_[2 * i]);
    extend_row(joined, rows_[2 * i + 1]);
    rows_[i] = std::move(joined);
  }
  rows_.resize(kMaxRows / 2);
  windows_of_row_ *= 2;
}

/// Updates ages and working set, and keeps the counts of this window as those of the last one.
void BusHistory::keep_pages(std::uint32_t looks) {
  constexpr double kAboutTheSame = 0.1;
  std::uint64_t used = 0;
  for (Page& page : pages_) {
    const double share = static_cast<double>(page.accesses) / looks;
    page.age = std::abs(share - page.share) <= kAboutTheSame ? page.age + 1 : 0;
    page.share = share;
    page.last_accesses = page.accesses;
    page.last_writes = page.writes;
    used += page.accesses > 0 ? page_ : 0;
  }
  ++working_sets_[used];
  last_looks_ = looks;
  last_tells_writes_ = tells_writes_;
}

void BusHistory::add(const HeatWindow& window, AddressRange mapped, Counts counts) {
  if (window.samples == 0) return;
  for (Page& page : pages_) page.accesses = page.writes = 0;
  if (!fold(window, mapped)) return;
  add_row(window);
  if (counts == Counts::row) return;
  ++windows_;
  told_writes_ |= tells_writes_;
  for (Page& page : pages_) {
    page.touched |= page.accesses > 0;
    page.written |= page.writes > 0;
  }
  if (2 * (window.end_s - window.begin_s) >= window_s_) keep_pages(window.samples);
}

std::optional<std::uint64_t> BusHistory::working_set_bytes(double per_cent) const {
  std::size_t count = 0;
  for (const auto& [bytes, times] : working_sets_) count += times;
  if (count == 0) return std::nullopt;
  const std::uint64_t rank = base::nearest_rank(count, per_cent);
  std::uint64_t seen = 0;
  for (const auto& [bytes, times] : working_sets_) {
    seen += times;
    if (seen >= rank) return bytes;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> BusHistory::touched_bytes() const noexcept {
  if (windows_ == 0) return std::nullopt;
  const auto pages = std::ranges::count_if(pages_, [](const Page& page) { return page.touched; });
  return static_cast<std::uint64_t>(pages) * page_;
}

std::optional<std::uint64_t> BusHistory::written_bytes() const noexcept {
  if (!told_writes_) return std::nullopt;
  const auto pages = std::ranges::count_if(pages_, [](const Page& page) { return page.written; });
  return static_cast<std::uint64_t>(pages) * page_;
}

std::vector<Region> BusHistory::regions() const {
  std::vector<Region> found;
  if (last_looks_ == 0) return found;
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    const Page& page = pages_[i];
    const auto writes = last_tells_writes_ ? std::optional(page.last_writes) : std::nullopt;
    const bool same = !found.empty() && found.back().accesses == page.last_accesses &&
                      found.back().writes == writes && found.back().age == page.age;
    if (same) {
      found.back().end += page_;
    } else {
      found.push_back({i * page_, (i + 1) * page_, page.last_accesses, writes, page.age});
    }
  }
  for (std::uint32_t by = 0; found.size() > kMaxRegions && by <= 2 * last_looks_;) {
    found = joined(found, by);
    by = std::max(1U, 2 * by);
  }
  return found;
}

}  // namespace shmif::perf
