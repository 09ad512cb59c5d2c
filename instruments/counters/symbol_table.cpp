#include "instruments/counters/symbol_table.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace shmif::perf {

SymbolTable::SymbolTable(std::vector<Symbol> symbols, std::vector<Segment> segments)
    : symbols_(std::move(symbols)), segments_(std::move(segments)) {
  std::ranges::sort(symbols_, [](const Symbol& a, const Symbol& b) {
    if (a.begin != b.begin) return a.begin < b.begin;
    if (a.end != b.end) return a.end > b.end;
    return a.name < b.name;
  });
  const auto rest = std::ranges::unique(symbols_, {}, &Symbol::begin);
  symbols_.erase(rest.begin(), rest.end());
  for (std::size_t at = 0; at + 1 < symbols_.size(); ++at) {
    if (symbols_[at].end <= symbols_[at].begin) symbols_[at].end = symbols_[at + 1].begin;
  }
  if (!symbols_.empty() && symbols_.back().end <= symbols_.back().begin) {
    symbols_.back().end = ~std::uint64_t{0};
  }
}

const Symbol* SymbolTable::find(std::uint64_t address) const noexcept {
  auto at = std::ranges::upper_bound(symbols_, address, {}, &Symbol::begin);
  // Assembly functions can lie inside other functions. A few levels are enough.
  constexpr int kLevels = 4;
  for (int level = 0; level < kLevels && at != symbols_.begin(); ++level) {
    --at;
    if (address < at->end) return &*at;
  }
  return nullptr;
}

std::optional<std::uint64_t> SymbolTable::address_of(std::uint64_t file_offset) const noexcept {
  for (const Segment& each : segments_) {
    if (file_offset < each.file_offset || file_offset - each.file_offset >= each.bytes) continue;
    return each.address + (file_offset - each.file_offset);
  }
  return std::nullopt;
}

Result<SymbolTable> SymbolTable::of_kallsyms(std::string_view text) {
  constexpr int kHexadecimal = 16;
  constexpr std::string_view kFunctions = "tTwW";
  std::vector<Symbol> symbols;
  bool hidden = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    // "ffffffff81000000 T name"; after the name of a module's function comes "\t[module]".
    std::uint64_t address = 0;
    const auto [rest, error] =
        std::from_chars(line.data(), line.data() + line.size(), address, kHexadecimal);
    const auto left = line.substr(static_cast<std::size_t>(rest - line.data()));
    constexpr std::size_t kName = 3;  // behind " T "
    if (error != std::errc() || left.size() <= kName || left[0] != ' ' || left[2] != ' ') continue;
    if (kFunctions.find(left[1]) == std::string_view::npos) continue;
    if (address == 0) {
      hidden = true;
      continue;
    }
    std::string name(left.substr(kName));
    std::ranges::replace(name, '\t', ' ');
    symbols.push_back({address, address, std::move(name)});
  }
  if (symbols.empty() && hidden) {
    return Error::from_errno(EACCES, "cannot read the kernel's symbols",
                             "their addresses are hidden: kernel.kptr_restrict");
  }
  return SymbolTable(std::move(symbols));
}

namespace {

/// About the greatest length that the text of a mangled name can have. A name can refer back to its
/// parts ("S1_", "T_"). Two references to the previous part double its text, and the next two
/// double it again.
double longest_text(const std::string& name) {
  int references = 0;
  for (std::size_t at = 0; at + 1 < name.size(); ++at) {
    if (name[at] != 'S' && name[at] != 'T') continue;
    const std::size_t end = name.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", at + 1);
    if (end != std::string::npos && name[end] == '_') ++references;
  }
  return std::ldexp(static_cast<double>(name.size()), references / 2);
}

}  // namespace

std::string demangled(const std::string& name) {
  // The text of a malicious name could take all memory.
  constexpr std::size_t kLongest = 1000;
  constexpr double kLongestText = 1 << 26;
  if (!name.starts_with("_Z") || name.size() > kLongest || longest_text(name) > kLongestText) {
    return name;
  }
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && text ? std::string(text.get()) : name;
}

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
