// Symbols by address, those of the kernel's list, their names, and mappings of files.

#include "instruments/counters/symbol_table.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf::test {
namespace {

std::string found(const SymbolTable& table, std::uint64_t address) {
  const Symbol* const symbol = table.find(address);
  return symbol == nullptr ? "" : symbol->name;
}

TEST(SymbolTable, FindsTheFunctionOfAnAddress) {
  const SymbolTable table({{100, 200, "outer"},
                           {300, 300, "without_size"},
                           {120, 140, "inner"},
                           {400, 410, "last"},
                           {100, 150, "a_smaller_one"},
                           {100, 200, "z_alias"}});
  EXPECT_EQ(found(table, 99), "");
  EXPECT_EQ(found(table, 100), "outer") << "the largest, and then the first by name";
  EXPECT_EQ(found(table, 119), "outer");
  EXPECT_EQ(found(table, 130), "inner");
  EXPECT_EQ(found(table, 140), "outer");
  EXPECT_EQ(found(table, 200), "");
  EXPECT_EQ(found(table, 399), "without_size");
  EXPECT_EQ(found(table, 409), "last");
  EXPECT_EQ(found(table, 410), "");
  EXPECT_EQ(found(SymbolTable(), 1), "");
}

TEST(SymbolTable, ReadsTheFunctionsOfTheKernelsList) {
  const auto table = SymbolTable::of_kallsyms(
      "ffffffff81000000 T global\nffffffff81000100 t local\nffffffff81000200 W weak\nbad line\n"
      "ffffffff81000300 w weak_too\nffffffff81000400 R constant\nffffffff81000500 b zeros\n"
      "0000000000000000 T hidden\nffffffff81000600 T \nffffffffc0000000 t veth_xmit\t[veth]");
  ASSERT_TRUE(table);
  std::string names, before;
  for (std::uint64_t address = 0xffffffff80fff000; address < 0xffffffff81002000; address += 0x10) {
    const std::string name = found(*table, address);
    if (name != before) names += name + ' ';
    before = name;
  }
  EXPECT_EQ(names, "global local weak weak_too ");
  EXPECT_EQ(found(*table, 0), "");
  EXPECT_EQ(found(*table, 0xffffffffc0000010U), "veth_xmit [veth]");
  const auto hidden = SymbolTable::of_kallsyms("0000000000000000 T _stext\n");
  ASSERT_FALSE(hidden);
  EXPECT_EQ(hidden.error().code, std::errc::permission_denied);
  EXPECT_TRUE(SymbolTable::of_kallsyms(""));
}

TEST(Demangled, GivesNamesAsInTheSourceAndLeavesOthers) {
  EXPECT_EQ(demangled("_Z1fi"), "f(int)");
  EXPECT_EQ(demangled("main"), "main");
  EXPECT_EQ(demangled("_Zxyz"), "_Zxyz");
  EXPECT_EQ(demangled("_Z1f" + std::string(2000, 'i')), "_Z1f" + std::string(2000, 'i'));
}

/// A<A<...>, A<...>>: each level refers twice to the level before, so 24 of them are 500 million
/// letters.
TEST(Demangled, LeavesANameWhoseTextWouldTakeAllMemory) {
  const auto doubled = [](std::size_t levels) {
    constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    std::string name = "_Z1f1AIiiE";
    for (std::size_t level = 0; level < levels; ++level) {
      const std::string before = {'S', kDigits[level], '_'};
      name += "S_I" + before + before + "E";
    }
    return name;
  };
  EXPECT_NE(demangled(doubled(5)), doubled(5));
  EXPECT_EQ(demangled(doubled(24)), doubled(24));
  const std::string usual = "_ZNSt6vectorIN5shmif4perf6SymbolESaIS2_EE9push_backEOS2_";
  EXPECT_EQ(demangled(usual),
            "std::vector<shmif::perf::Symbol, std::allocator<shmif::perf::Symbol> "
            ">::push_back(shmif::perf::Symbol&&)");
}

TEST(AddressSpace, ReadsTheExecutableLinesOfMaps) {
  const auto maps = read_maps(
      "55d0-55e0 r-xp 00001000 fe:01 1234                       /usr/bin/a b\n"
      "55e0-55f0 rw-p 00002000 fe:01 1234                       /usr/bin/a b\n"
      "7000-8000 r-xp 00000000 00:00 0 \nzzz\n9000-8000 r-xp 00000000 00:00 0 /wrong\n"
      "ffff-1ffff --xp 00000000 00:00 0                          [vsyscall]");
  ASSERT_EQ(maps.size(), 3U);
  EXPECT_EQ(maps[0], (MappedFile{0x55d0, 0x55e0, 0x1000, "/usr/bin/a b"}));
  EXPECT_EQ(maps[1].file, "");
  EXPECT_EQ(maps[2].file, "[vsyscall]");
}

/// The mappings of the addresses below 1100, each once.
std::vector<MappedFile> found_in(const AddressSpace& space) {
  std::vector<MappedFile> all;
  for (std::uint64_t address = 0; address < 1100; ++address) {
    const MappedFile* const here = space.find(address);
    if (here == nullptr) continue;
    EXPECT_TRUE(here->begin <= address && address < here->end) << address;
    if (all.empty() || all.back() != *here) all.push_back(*here);
  }
  return all;
}

TEST(AddressSpace, KeepsWhatANewerMappingLeavesOfOlderOnes) {
  AddressSpace space;
  space.add({100, 200, 1000, "a"});
  space.add({300, 400, 0, "b"});
  space.add({120, 140, 0, "c"});
  space.add({130, 350, 0, "d"});
  space.add({105, 105, 0, "empty"});
  using Mappings = std::vector<MappedFile>;
  EXPECT_EQ(
      found_in(space),
      (Mappings{
          {100, 120, 1000, "a"}, {120, 130, 0, "c"}, {130, 350, 0, "d"}, {350, 400, 50, "b"}}));
  space.add({0, 1000, 0, "e"});
  EXPECT_EQ(found_in(space).size(), 1U);
  space.clear();
  EXPECT_TRUE(found_in(space).empty());
}

}  // namespace
}  // namespace shmif::perf::test
