#include <charconv>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "instruments/counters/symbol_table.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

/// Asks for the addresses that can be read in the input: in ELF files as eight bytes at any place,
/// in the kernel's list as hexadecimal numbers.
void check_table(const perf::SymbolTable& table, Bytes bytes, std::string_view text) {
  const auto look_for = [&table](std::uint64_t address) {
    const perf::Symbol* const found = table.find(address);
    if (found == nullptr) return;
    require(found->begin <= address && address < found->end, "a function of other addresses");
    require(table.find(found->begin) == found, "a function that does not have its first byte");
  };
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); ++at) {
    std::uint64_t address = 0;
    std::memcpy(&address, &bytes[at], sizeof address);
    look_for(address);
    look_for(address - 1);
  }
  constexpr int kHexadecimal = 16;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at)) {
    while (at < text.size() && text[at] == '\n') ++at;
    std::uint64_t address = 0;
    std::from_chars(text.data() + at, text.data() + text.size(), address, kHexadecimal);
    look_for(address);
    look_for(address - 1);
  }
  for (const std::uint64_t offset : {0ULL, 1ULL, 4096ULL, ~0ULL}) {
    if (const auto address = table.address_of(offset)) static_cast<void>(table.find(*address));
  }
}

}  // namespace

void symbols(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  const auto elf = perf::SymbolTable::of_elf_image(std::as_bytes(bytes));
  require(elf || !elf.error().message.empty(), "a refusal without a reason");
  if (elf) check_table(*elf, bytes, text);
  if (const auto kernel = perf::SymbolTable::of_kallsyms(text)) check_table(*kernel, bytes, text);
  perf::AddressSpace space;
  std::set<std::uint64_t> borders;  // what is left of a mapping begins at one
  for (perf::MappedFile& each : perf::read_maps(text)) {
    const std::uint64_t begin = each.begin;
    const std::string file = each.file;
    borders.insert({each.begin, each.end});
    space.add(std::move(each));
    require(space.find(begin) != nullptr && space.find(begin)->file == file,
            "a mapping that is not there");
  }
  std::uint64_t end = 0;
  for (const std::uint64_t address : borders) {
    const perf::MappedFile* const here = space.find(address);
    if (here == nullptr) continue;
    require(here->begin <= address && address < here->end, "a mapping of other addresses");
    require(here->begin == address ? address >= end : here->end == end, "mappings that overlap");
    end = here->end;
  }
}

}  // namespace shmif::fuzz
