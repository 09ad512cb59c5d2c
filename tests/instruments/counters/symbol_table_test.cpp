// Symbols by address, from ELF files and from the kernel's list.

#include "instruments/counters/symbol_table.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {

/// A function of this program that is to be found.
__attribute__((noinline)) int function_of_the_test(int value) {
  asm volatile("" : "+r"(value));
  return value + 1;
}

namespace {

std::string file_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

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

TEST(SymbolTable, FindsTheFunctionsOfThisProgramWhereItIsLoaded) {
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto table = SymbolTable::of_elf_file(file.get());
  ASSERT_TRUE(table) << table.error().message;
  const auto address = reinterpret_cast<std::uint64_t>(&function_of_the_test);
  AddressSpace space;
  for (MappedFile& each : read_maps(file_text("/proc/self/maps"))) space.add(std::move(each));
  const MappedFile* const mapping = space.find(address);
  ASSERT_NE(mapping, nullptr);
  const auto inside = table->address_of(address - mapping->begin + mapping->file_offset);
  ASSERT_TRUE(inside);
  EXPECT_EQ(demangled(found(*table, *inside)), "shmif::perf::test::function_of_the_test(int)");
  EXPECT_EQ(found(*table, 1), "") << "functions of other files are none of its own";
}

TEST(SymbolTable, ReadsTheExportedFunctionsOfAStrippedLibrary) {
  Dl_info info{};
  ASSERT_NE(::dladdr(reinterpret_cast<void*>(&::getppid), &info), 0);
  const std::string image = file_text(info.dli_fname);
  const auto table = SymbolTable::of_elf_image(bytes_of(image));
  ASSERT_TRUE(table) << table.error().message;
  const auto begin = reinterpret_cast<std::uint64_t>(info.dli_saddr) -
                     reinterpret_cast<std::uint64_t>(info.dli_fbase);
  EXPECT_NE(found(*table, begin).find("getppid"), std::string::npos) << info.dli_fname;
}

TEST(SymbolTable, RefusesWhatIsNoElfFile) {
  for (const std::string text : {"", "no ELF",
                                 "\x7f"
                                 "ELF"}) {
    const auto table = SymbolTable::of_elf_image(bytes_of(text));
    ASSERT_FALSE(table) << text;
    EXPECT_EQ(table.error().code, make_error_code(Errc::bad_argument));
  }
  const UniqueFd folder(::open("/", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(SymbolTable::of_elf_file(folder.get()));
  EXPECT_FALSE(SymbolTable::of_elf_file(-1));
}

/// The names of the functions that begin in the first 64 KiB; linkers align them to 16 bytes.
std::set<std::string> names_in(const SymbolTable& table) {
  std::set<std::string> names;
  for (std::uint64_t address = 0; address < 0x10000; address += 16) {
    if (std::string name = found(table, address); !name.empty()) names.insert(std::move(name));
  }
  return names;
}

/// The file with a changed header of each section.
template <class Change>
std::string with_sections(std::string image, Change change) {
  ElfW(Ehdr) head{};
  std::memcpy(&head, image.data(), sizeof head);
  for (std::size_t at = 0; at < head.e_shnum; ++at) {
    ElfW(Shdr) section{};
    char* const place = &image[head.e_shoff + at * sizeof section];
    std::memcpy(&section, place, sizeof section);
    change(section);
    std::memcpy(place, &section, sizeof section);
  }
  return image;
}
bool has_symbols(const ElfW(Shdr) & section) {
  return section.sh_type == SHT_SYMTAB || section.sh_type == SHT_DYNSYM;
}

TEST(SymbolTable, TellsWhyATableOfTheFileCouldNotBeRead) {
  const std::string whole = file_text(shmif::test::in_build("tests/instruments/known_load"));
  EXPECT_EQ(SymbolTable::of_elf_image(bytes_of(whole)).value().trouble(), "");
  const auto trouble_with = [&](auto change) {
    const std::string image = with_sections(whole, [&](auto& each) {
      if (has_symbols(each)) change(each);
    });
    const auto table = SymbolTable::of_elf_image(bytes_of(image));
    EXPECT_TRUE(table && names_in(*table).empty());
    return table ? table->trouble() : "";
  };
  EXPECT_TRUE(trouble_with([&](auto& each) {
                each.sh_offset = whole.size() + 1;
              }).starts_with("its symbol table cannot be read: "));
  EXPECT_TRUE(trouble_with([](auto& each) {
                each.sh_link = 0;
              }).starts_with("names of its symbols cannot be read: "));
  EXPECT_NE(trouble_with([](auto& each) { each.sh_size = ~std::uint64_t{0} - 100; }), "");
}

TEST(SymbolTable, ReadsNoHolesIntoMemory) {
  constexpr std::uint64_t kHole = std::uint64_t{1400} << 20U;
  const shmif::test::TempDir dir;
  const std::string image = file_text(shmif::test::in_build("tests/instruments/known_load"));
  const auto read_with_hole = [&](const std::string& text) {
    const std::string path = dir.file("program");
    std::ofstream(path) << text;
    EXPECT_EQ(::truncate(path.c_str(), static_cast<off_t>(kHole)), 0);
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return SymbolTable::of_elf_file(file.get());
  };
  for (const bool of_names : {false, true}) {
    const auto table = read_with_hole(with_sections(image, [&](auto& each) {
      if (!(of_names ? each.sh_type == SHT_STRTAB : has_symbols(each))) return;
      const std::uint64_t whole = of_names ? 1 : each.sh_entsize;
      each.sh_offset = image.size();
      each.sh_size = (kHole - image.size()) / whole * whole;
    }));
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(names_in(*table), std::set<std::string>{});
    EXPECT_NE(table->trouble(), "");
  }
  // The number of sections, for which libelf makes room at once, is then in the first of them.
  std::string sections = image;
  ElfW(Ehdr) head{};
  std::memcpy(&head, image.data(), sizeof head);
  head.e_shnum = 0;
  std::memcpy(&sections[0], &head, sizeof head);
  ElfW(Shdr) first{};
  first.sh_size = 1U << 24U;
  std::memcpy(&sections[head.e_shoff], &first, sizeof first);
  EXPECT_FALSE(read_with_hole(sections));
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
