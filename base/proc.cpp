#include "base/proc.hpp"

#include <sstream>

namespace shmif::base {

std::optional<MappedRange> read_maps_line(const std::string& line) {
  std::istringstream words(line);
  MappedRange range;
  char dash = 0;
  std::string permissions;
  std::string offset;
  std::string inode;
  if (!(words >> std::hex >> range.begin >> dash >> range.end >> permissions >> offset >>
        range.file >> inode)) {
    return std::nullopt;
  }
  range.is_shared = permissions.ends_with('s');
  range.file += ' ';
  range.file += inode;
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
