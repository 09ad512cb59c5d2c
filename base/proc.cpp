#include "base/proc.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <system_error>

namespace shmif::base {

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::optional<MappedRange> read_maps_line(std::string_view line) {
  // "7f3a8c000000-7f3a8c001000 rw-s 00000000 00:1a 4711   /dev/shm/bus0"
  MappedRange range;
  const std::string_view addresses = take_word(line);
  const char* const end = addresses.data() + addresses.size();
  const auto begun =
      std::from_chars(addresses.data(), addresses.data() + addresses.size(), range.begin, 16);
  if (begun.ec != std::errc{} || begun.ptr == end || *begun.ptr != '-') return std::nullopt;
  const auto ended = std::from_chars(begun.ptr + 1, end, range.end, 16);
  if (ended.ec != std::errc{} || ended.ptr != end) return std::nullopt;
  const std::string_view permissions = take_word(line);
  take_word(line);  // the offset
  const std::string_view device = take_word(line), inode = take_word(line);
  if (inode.empty()) return std::nullopt;
  range.is_shared = permissions.ends_with('s');
  range.file.append(device).append(1, ' ').append(inode);
  return range;
}

std::vector<std::uint64_t> status_numbers(const std::string& status, std::string_view name) {
  std::istringstream lines(status);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
    std::istringstream words(line.substr(name.size() + 1));
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t each = 0; words >> each;) numbers.push_back(each);
    return numbers;
  }
  return {};
}

}  // namespace shmif::base
