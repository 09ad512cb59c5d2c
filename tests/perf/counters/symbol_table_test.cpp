// Symbols by address, from ELF files and from the kernel's list.

#include "perf/counters/symbol_table.hpp"

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

TEST(SymbolTable, FindsTheOuterFunctionBehindThreeInnerOnes) {
  const SymbolTable table({{0, 1000, "outer"}, {100, 110, "a"}, {200, 210, "b"}, {300, 310, "c"}});
  for (const std::uint64_t address : {99U, 199U, 299U, 310U, 999U}) {
    EXPECT_EQ(found(table, address), "outer") << address;
  }
  EXPECT_EQ(found(table, 1000), "");
}

TEST(SymbolTable, TurnsAByteOfTheFileIntoAnAddress) {
  const SymbolTable table({}, {{0x1000, 0x401000, 0x500}, {0x2000, 0x600000, 0x10}});
  EXPECT_EQ(table.address_of(0x1000), 0x401000U);
  EXPECT_EQ(table.address_of(0x14ff), 0x4014ffU);
  EXPECT_EQ(table.address_of(0x1500), std::nullopt);
  EXPECT_EQ(table.address_of(0x200f), 0x60000fU);
  EXPECT_EQ(table.address_of(0), std::nullopt);
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

/// Each prefix of a file, and a file that is cut off while it is read, ends in symbols or an error.
TEST(SymbolTable, TakesAFileThatIsCutOffAnywhere) {
  const std::string image = file_text(shmif::test::in_build("tests/perf/known_load"));
  ASSERT_GT(image.size(), 1000U);
  const auto whole = SymbolTable::of_elf_image(bytes_of(image));
  ASSERT_TRUE(whole);
  const std::set<std::string> names = names_in(*whole);
  EXPECT_GT(names.size(), 3U);
  const shmif::test::TempDir dir;
  for (std::size_t bytes = 1; bytes < image.size(); bytes += bytes < 5000 ? 41 : 1999) {
    const auto table = SymbolTable::of_elf_image(bytes_of(image).first(bytes));
    EXPECT_TRUE(!table || std::ranges::includes(names, names_in(*table))) << bytes;
    const std::string path = dir.file("cut");
    std::ofstream(path) << image.substr(0, bytes);
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto of_file = SymbolTable::of_elf_file(file.get());
    EXPECT_TRUE(!of_file || std::ranges::includes(names, names_in(*of_file))) << bytes;
  }
}

TEST(SymbolTable, TellsWhyATableOfTheFileCouldNotBeRead) {
  const std::string whole = file_text(shmif::test::in_build("tests/perf/known_load"));
  EXPECT_EQ(SymbolTable::of_elf_image(bytes_of(whole)).value().trouble(), "");
  ElfW(Ehdr) head{};
  std::memcpy(&head, whole.data(), sizeof head);
  /// The file with a changed header of each section of symbols.
  const auto with = [&](auto change) {
    std::string image = whole;
    for (std::size_t at = 0; at < head.e_shnum; ++at) {
      const std::size_t place = head.e_shoff + at * head.e_shentsize;
      ElfW(Shdr) section{};
      std::memcpy(&section, &image[place], sizeof section);
      if (section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM) continue;
      change(section);
      std::memcpy(&image[place], &section, sizeof section);
    }
    const auto table = SymbolTable::of_elf_image(bytes_of(image));
    EXPECT_TRUE(table);
    EXPECT_TRUE(!table || names_in(*table).empty());
    return table ? table->trouble() : "";
  };
  EXPECT_EQ(with([&](auto& each) {
              each.sh_offset = whole.size() + 1;
            }).rfind("its symbol table cannot be read: ", 0),
            0U);
  EXPECT_EQ(
      with([](auto& each) { each.sh_link = 0; }).rfind("names of its symbols cannot be read: ", 0),
      0U);
}

TEST(SymbolTable, TakesSectionsThatSayTheyAreHuge) {
  std::string image = file_text(shmif::test::in_build("tests/perf/known_load"));
  ElfW(Ehdr) head{};
  std::memcpy(&head, image.data(), sizeof head);
  for (std::size_t at = 0; at < head.e_shnum; ++at) {
    ElfW(Shdr) section{};
    char* const place = &image[head.e_shoff + at * sizeof section];
    std::memcpy(&section, place, sizeof section);
    if (section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM) continue;
    section.sh_size = ~std::uint64_t{0} - 100;
    std::memcpy(place, &section, sizeof section);
  }
  const auto table = SymbolTable::of_elf_image(bytes_of(image));
  EXPECT_TRUE(!table || names_in(*table).empty());
}

/// A file that begins with `image` and goes on with a hole.
UniqueFd file_with_hole(const std::string& path, const std::string& image, std::uint64_t bytes) {
  std::ofstream(path) << image;
  EXPECT_EQ(::truncate(path.c_str(), static_cast<off_t>(bytes)), 0);
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

TEST(SymbolTable, ReadsNoHolesIntoMemory) {
  constexpr std::uint64_t kHole = std::uint64_t{1400} << 20U;
  const shmif::test::TempDir dir;
  std::string image = file_text(shmif::test::in_build("tests/perf/known_load"));
  ElfW(Ehdr) head{};
  std::memcpy(&head, image.data(), sizeof head);
  const auto change_sections = [&](auto change) {
    std::string changed = image;
    for (std::size_t at = 0; at < head.e_shnum; ++at) {
      ElfW(Shdr) section{};
      char* const place = &changed[head.e_shoff + at * sizeof section];
      std::memcpy(&section, place, sizeof section);
      change(section);
      std::memcpy(place, &section, sizeof section);
    }
    return changed;
  };
  const std::string symbols = change_sections([&](auto& each) {
    if (each.sh_type != SHT_SYMTAB && each.sh_type != SHT_DYNSYM) return;
    each.sh_offset = image.size();
    each.sh_size = (kHole - image.size()) / each.sh_entsize * each.sh_entsize;
  });
  const std::string names = change_sections([&](auto& each) {
    if (each.sh_type != SHT_STRTAB) return;
    each.sh_offset = image.size();
    each.sh_size = kHole - image.size();
  });
  for (const std::string& each : {symbols, names}) {
    const UniqueFd file = file_with_hole(dir.file("program"), each, kHole);
    const auto table = SymbolTable::of_elf_file(file.get());
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(names_in(*table), std::set<std::string>{});
    EXPECT_EQ(table->trouble(), "its symbol table is larger than the file's contents can make it");
  }
  // The number of sections, for which libelf makes room at once, is then in the first of them.
  std::string sections = image;
  head.e_shnum = 0;
  std::memcpy(&sections[0], &head, sizeof head);
  ElfW(Shdr) first{};
  first.sh_size = 1U << 24U;
  std::memcpy(&sections[head.e_shoff], &first, sizeof first);
  const UniqueFd file = file_with_hole(dir.file("sections"), sections, kHole);
  const auto table = SymbolTable::of_elf_file(file.get());
  ASSERT_FALSE(table);
  EXPECT_NE(table.error().message.find("promises too much"), std::string::npos);
}

TEST(SymbolTable, ReadsTheKernelsList) {
  const auto table = SymbolTable::of_kallsyms(
      "ffffffff81000000 T _stext\nffffffff81000100 t do_one\nbad line\n"
      "ffffffff81000180 D some_data\nffffffffc0000000 t veth_xmit\t[veth]\nffffffff81000200 T end");
  ASSERT_TRUE(table);
  EXPECT_EQ(found(*table, 0xffffffff80ffffffU), "");
  EXPECT_EQ(found(*table, 0xffffffff810000ffU), "_stext");
  EXPECT_EQ(found(*table, 0xffffffff81000190U), "do_one") << "data are no functions";
  EXPECT_EQ(found(*table, 0xffffffff81000200U), "end");
  EXPECT_EQ(found(*table, 0xffffffffc0000010U), "veth_xmit [veth]");
  const auto hidden = SymbolTable::of_kallsyms("0000000000000000 T _stext\n");
  ASSERT_FALSE(hidden);
  EXPECT_EQ(hidden.error().code, std::errc::permission_denied);
  EXPECT_TRUE(SymbolTable::of_kallsyms(""));
}

TEST(SymbolTable, OfTheKernelHasLocalAndWeakFunctionsAndThoseThatAreNotHidden) {
  const auto table = SymbolTable::of_kallsyms(
      "ffffffff81000000 T global\nffffffff81000100 t local\nffffffff81000200 W weak\n"
      "ffffffff81000300 w weak_too\nffffffff81000400 R constant\nffffffff81000500 b zeros\n"
      "0000000000000000 T hidden\nffffffff81000600 T \nffffffff81000700 T x\n");
  ASSERT_TRUE(table);
  std::string names, before;
  for (std::uint64_t address = 0xffffffff80fff000; address < 0xffffffff81002000; address += 0x10) {
    const std::string name = found(*table, address);
    if (name != before) names += name + ' ';
    before = name;
  }
  EXPECT_EQ(names, "global local weak weak_too x ");
  EXPECT_EQ(found(*table, 0), "");
  EXPECT_EQ(found(*table, ~std::uint64_t{0} - 1), "x") << "nothing is behind the last one";
}

TEST(Demangled, GivesNamesAsInTheSourceAndLeavesOthers) {
  EXPECT_EQ(demangled("_Z1fi"), "f(int)");
  EXPECT_EQ(demangled("main"), "main");
  EXPECT_EQ(demangled("_Zxyz"), "_Zxyz");
  EXPECT_EQ(demangled("_Z1f" + std::string(2000, 'i')), "_Z1f" + std::string(2000, 'i'));
}

TEST(Demangled, ReadsNamesOfUpToAThousandCharacters) {
  const std::string longest = "_Z1f" + std::string(996, 'i');
  EXPECT_EQ(demangled(longest).substr(0, 10), "f(int, int");
  EXPECT_EQ(demangled(longest + 'i'), longest + 'i');
}

TEST(Demangled, CountsReferencesToParametersOfTemplatesToo) {
  const auto with = [](int references) {
    std::string name = "_Z1fIiEv";
    for (int i = 0; i < references; ++i) name += "T_";
    return name;
  };
  EXPECT_EQ(demangled(with(2)), "void f<int>(int, int)");
  EXPECT_EQ(demangled(with(38)).substr(0, 12), "void f<int>(");
  EXPECT_EQ(demangled(with(40)), with(40)) << "twenty pairs could be a million times as long";
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
  using Mappings = std::vector<MappedFile>;
  EXPECT_EQ(
      found_in(space),
      (Mappings{
          {100, 120, 1000, "a"}, {120, 140, 0, "c"}, {140, 200, 1040, "a"}, {300, 400, 0, "b"}}));
  space.add({130, 350, 0, "d"});
  EXPECT_EQ(
      found_in(space),
      (Mappings{
          {100, 120, 1000, "a"}, {120, 130, 0, "c"}, {130, 350, 0, "d"}, {350, 400, 50, "b"}}));
  EXPECT_EQ(space.find(129)->file, "c");
  EXPECT_EQ(space.find(130)->file, "d");
  EXPECT_EQ(space.find(99), nullptr);
  EXPECT_EQ(space.find(400), nullptr);
  space.add({0, 1000, 0, "e"});
  EXPECT_EQ(found_in(space).size(), 1U);
  space.add({5, 5, 0, "empty"});
  EXPECT_EQ(found_in(space).size(), 1U);
  space.clear();
  EXPECT_TRUE(found_in(space).empty());
}

}  // namespace
}  // namespace shmif::perf::test
