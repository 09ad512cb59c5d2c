#include "perf/counters/address_space.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace shmif::perf {
namespace {

/// Removes a hexadecimal number and the character `behind` after it from the front of `text`.
std::optional<std::uint64_t> take_number(std::string_view& text, char behind) {
  constexpr int kHexadecimal = 16;
  std::uint64_t value = 0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, kHexadecimal);
  const auto used = static_cast<std::size_t>(rest - text.data());
  if (error != std::errc() || used >= text.size() || text[used] != behind) return std::nullopt;
  text.remove_prefix(used + 1);
  return value;
}

std::string_view take_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return word;
}

/// "55d0-55e0 r-xp 00001000 fe:01 1234     /usr/bin/true"
std::optional<MappedFile> read_line(std::string_view line) {
  const auto begin = take_number(line, '-');
  const auto end = begin ? take_number(line, ' ') : std::nullopt;
  if (!end || *end <= *begin) return std::nullopt;
  const std::string_view rights = take_word(line);
  const auto offset = take_number(line, ' ');
  constexpr std::size_t kExecute = 2;
  if (!offset || rights.size() <= kExecute || rights[kExecute] != 'x') return std::nullopt;
  take_word(line);  // the device
  take_word(line);  // the inode
  return MappedFile{*begin, *end, *offset, std::string(line)};
}

}  // namespace

std::vector<MappedFile> read_maps(std::string_view text) {
  std::vector<MappedFile> mappings;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto mapping = read_line(text.substr(0, end))) mappings.push_back(*std::move(mapping));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mappings;
}

void AddressSpace::add(MappedFile mapping) {
  if (mapping.end <= mapping.begin) return;
  // Begin with the first mapping that ends after the new one begins.
  for (auto at = mappings_.upper_bound(mapping.begin);
       at != mappings_.end() && at->second.begin < mapping.end;) {
    MappedFile old = std::move(at->second);
    at = mappings_.erase(at);
    if (old.begin < mapping.begin) {
      MappedFile front = old;
      front.end = mapping.begin;
      mappings_[front.end] = std::move(front);
    }
    if (old.end > mapping.end) {
      old.file_offset += mapping.end - old.begin;
      old.begin = mapping.end;
      at = mappings_.insert_or_assign(old.end, std::move(old)).first;
      break;
    }
  }
  const std::uint64_t end = mapping.end;
  mappings_[end] = std::move(mapping);
}

const MappedFile* AddressSpace::find(std::uint64_t address) const noexcept {
  const auto at = mappings_.upper_bound(address);
  return at != mappings_.end() && at->second.begin <= address ? &at->second : nullptr;
}

}  // namespace shmif::perf
