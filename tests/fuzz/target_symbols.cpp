#include <set>
#include <span>
#include <string>

#include "perf/counters/symbol_table.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

void check_table(const perf::SymbolTable& table) {
  const perf::Symbol* before = nullptr;
  for (const perf::Symbol& each : table.symbols()) {
    require(each.begin < each.end || each.end == ~std::uint64_t{0}, "a function without a size");
    require(before == nullptr || before->begin < each.begin, "functions in disorder");
    const perf::Symbol* const found = table.find(each.begin);
    require(found == &each || each.begin == each.end, "a function that is not found");
    before = &each;
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
  if (elf) check_table(*elf);
  if (const auto kernel = perf::SymbolTable::of_kallsyms(text)) check_table(*kernel);
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
