#include "instruments/heat/damon_space.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/printable.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/watch/lines.hpp"

namespace shmif::perf {
namespace {

constexpr std::array<std::pair<DamonSpace, const char*>, 3> kSpaces{
    {{DamonSpace::vaddr, "vaddr"}, {DamonSpace::fvaddr, "fvaddr"}, {DamonSpace::paddr, "paddr"}}};
constexpr int kHexadecimal = 16;

std::optional<std::uint64_t> read_address(std::string_view text) {
  if (text.starts_with("0x")) return base::read_digits(text.substr(2), kHexadecimal);
  return base::read_digits(text);
}

/// Reads one range. Result: what is wrong with it; empty if it is right.
std::string read_range(std::string_view word, std::uint64_t least, AddressRange& into) {
  const std::size_t dash = word.find('-');
  if (dash == std::string_view::npos) return "is not a range (write BEGIN-END)";
  const auto begin = read_address(word.substr(0, dash));
  const auto end = read_address(word.substr(dash + 1));
  if (!begin || !end) return "is not a range (write BEGIN-END, as 0x1000-0x3000 or 4096-12288)";
  if (*begin >= *end) return "ends where it begins, or before";
  if (*begin % page_bytes() != 0 || *end % page_bytes() != 0) {
    return "is not in whole pages of " + std::to_string(page_bytes()) + " bytes";
  }
  if (*begin < least) return "begins before the end of the range before it";
  into = {*begin, *end};
  return {};
}

/// Reads a line such as "00100000-bfffffff : System RAM". The last address belongs to the range.
/// Lines for parts of such a range are indented.
std::optional<AddressRange> read_memory_line(std::string_view line) {
  constexpr std::string_view kName = " : System RAM";
  const std::size_t dash = line.find('-');
  if (!line.ends_with(kName) || dash == std::string_view::npos) return std::nullopt;
  line.remove_suffix(kName.size());
  const auto begin = base::read_digits(line.substr(0, dash), kHexadecimal);
  const auto last = base::read_digits(line.substr(dash + 1), kHexadecimal);
  if (!begin || !last || *last < *begin) return std::nullopt;
  return AddressRange{*begin, *last + 1};
}

}  // namespace

const char* to_word(DamonSpace space) noexcept {
  for (const auto& [each, word] : kSpaces) {
    if (each == space) return word;
  }
  return "";
}

Result<DamonSpace> read_damon_space(std::string_view word) {
  for (const auto& [each, name] : kSpaces) {
    if (word == name) return each;
  }
  return Error(Errc::bad_argument, '"' + base::printable(word) +
                                       "\" names no memory that DAMON watches (one of vaddr, "
                                       "fvaddr, paddr)");
}

Result<std::vector<AddressRange>> read_address_ranges(std::string_view text) {
  constexpr std::size_t kMax = 1024;
  std::vector<AddressRange> ranges;
  for (const std::string_view word : base::split(text, ',')) {
    const std::uint64_t least = ranges.empty() ? 0 : ranges.back().end;
    const std::string wrong = read_range(word, least, ranges.emplace_back());
    if (!wrong.empty()) {
      return Error(Errc::bad_argument, '"' + base::printable(word) + "\" " + wrong);
    }
    if (ranges.size() > kMax) return Error(Errc::bad_argument, "there are more than 1024 ranges");
  }
  return ranges;
}

std::string address_ranges_text(const std::vector<AddressRange>& ranges) {
  std::string text;
  for (const AddressRange& each : ranges) {
    text += (text.empty() ? "" : ",") + base::hex(each.begin) + '-' + base::hex(each.end);
  }
  return text;
}

Result<DamonMemory> read_damon_memory(const std::string* space, const std::string* ranges) {
  DamonMemory memory;
  if (space != nullptr) {
    const auto read = read_damon_space(*space);
    if (!read) return read.error();
    memory.space = *read;
  }
  if (ranges != nullptr) {
    auto read = read_address_ranges(*ranges);
    if (!read) return std::move(read).error();
    memory.ranges = *std::move(read);
  }
  if (memory.space == DamonSpace::vaddr && ranges != nullptr) {
    return Error(Errc::bad_argument, "vaddr has no ranges: it is all memory of the process");
  }
  if (memory.space == DamonSpace::fvaddr && ranges == nullptr) {
    return Error(Errc::bad_argument, "fvaddr needs ranges of the process's addresses");
  }
  return memory;
}

Result<std::vector<AddressRange>> physical_memory(const KernelFiles& files) {
  const auto text = files.read("/proc/iomem");
  if (!text) return text.error();
  std::vector<AddressRange> ranges;
  bool is_hidden = false;
  for (const std::string_view line : lines_in(*text)) {
    const auto range = read_memory_line(line);
    // Without the privilege, each line shows 00000000-00000000.
    if (range && *range == AddressRange{0, 1}) is_hidden = true;
    if (!range || is_hidden) continue;
    // Firmware may use a part of the first page.
    const std::uint64_t page = page_bytes();
    const AddressRange whole{(range->begin + page - 1) / page * page, range->end / page * page};
    if (whole.begin < whole.end) ranges.push_back(whole);
  }
  if (is_hidden) {
    return Error::from_errno(EPERM, "cannot read the addresses in " + files.path("/proc/iomem"),
                             "run it as root");
  }
  if (ranges.empty()) {
    return Error(Errc::not_supported, files.path("/proc/iomem") + " lists no System RAM");
  }
  return ranges;
}

}  // namespace shmif::perf
