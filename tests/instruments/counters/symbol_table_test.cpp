// Symbols by address, those of the kernel's list, their names, and mappings of files.

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.hpp"
#include "instruments/counters/symbol_table.hpp"
#include "tests/support/temp_dir.hpp"

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

// What is read of ELF files, most of them made for that: kinds of symbols, tables, and limits.

/// A function of this program that is to be found.
__attribute__((noinline)) int function_of_the_test(int value) {
  asm volatile("" : "+r"(value));
  return value + 1;
}

namespace {

struct Entry {
  const char* name;
  std::uint64_t at;
  unsigned char type = STT_FUNC;
  std::uint16_t section = 1;
  std::uint64_t bytes = 16;
  std::size_t times = 1;  ///< so many symbols are this one
};

template <class T>
void append(std::string& to, const T& object) {
  to.append(reinterpret_cast<const char*>(&object), sizeof object);
}

/// Tables of symbols, with one table of names for all of them at the end of the file.
class ElfFile {
 public:
  Elf64_Ehdr head{};
  Elf64_Shdr first{};

  ElfFile() {
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_ident[EI_VERSION] = EV_CURRENT;
    head.e_type = ET_DYN;
    head.e_machine = EM_X86_64;
    head.e_version = EV_CURRENT;
    head.e_ehsize = sizeof(Elf64_Ehdr);
    head.e_phentsize = sizeof(Elf64_Phdr);
    head.e_shentsize = sizeof(Elf64_Shdr);
  }

  ElfFile& table(std::uint32_t type, const std::vector<Entry>& entries, std::size_t blanks = 0,
                 std::size_t times = 1) {
    std::string bytes(blanks * sizeof(Elf64_Sym), '\0');
    for (const Entry& entry : entries) {
      Elf64_Sym symbol{};
      symbol.st_name = static_cast<Elf64_Word>(names_.size());
      symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, entry.type);
      symbol.st_shndx = entry.section;
      symbol.st_value = entry.at;
      symbol.st_size = entry.bytes;
      for (std::size_t i = 0; i < entry.times; ++i) append(bytes, symbol);
      names_ += entry.name;
      names_ += '\0';
    }
    tables_.push_back({type, std::move(bytes), times});
    return *this;
  }

  std::string image() const {
    Elf64_Ehdr begin = head;
    std::string body;
    std::vector<Elf64_Shdr> sections{first};
    std::size_t count = 2;
    for (const Table& each : tables_) count += each.times;
    for (const Table& each : tables_) {
      Elf64_Shdr section{};
      section.sh_type = each.type;
      section.sh_offset = sizeof begin + body.size();
      section.sh_size = each.bytes.size();
      section.sh_link = static_cast<Elf64_Word>(count - 1);
      section.sh_entsize = sizeof(Elf64_Sym);
      section.sh_addralign = 8;
      sections.insert(sections.end(), each.times, section);
      body += each.bytes;
    }
    begin.e_shoff = sizeof begin + body.size();
    begin.e_shnum = static_cast<Elf64_Half>(count);
    Elf64_Shdr names{};
    names.sh_type = SHT_STRTAB;
    names.sh_offset = begin.e_shoff + count * sizeof(Elf64_Shdr);
    names.sh_size = names_.size();
    names.sh_addralign = 1;
    sections.push_back(names);
    std::string all;
    append(all, begin);
    all += body;
    for (const Elf64_Shdr& each : sections) append(all, each);
    return all + names_;
  }

 private:
  struct Table {
    std::uint32_t type;
    std::string bytes;
    std::size_t times;  ///< so many sections have these bytes
  };
  std::vector<Table> tables_;
  std::string names_ = std::string(1, '\0');
};

/// With holes up to so many bytes, if they are more than the file has.
Result<SymbolTable> read_file(const std::string& image, std::size_t bytes = 0) {
  const shmif::test::TempDir dir;
  const std::string path = dir.file("program");
  std::ofstream(path) << image;
  EXPECT_EQ(::truncate(path.c_str(), static_cast<off_t>(std::max(bytes, image.size()))), 0);
  const UniqueFd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return SymbolTable::of_elf_file(opened.get());
}

std::string file_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

SymbolTable read_image(const std::string& image) {
  auto table = SymbolTable::of_elf_image(std::as_bytes(std::span(image)));
  EXPECT_TRUE(table) << table.error().message;
  return table ? *std::move(table) : SymbolTable();
}
SymbolTable read(const ElfFile& file) {
  return read_image(file.image());
}

std::string name_at(const SymbolTable& table, std::uint64_t address) {
  const Symbol* const symbol = table.find(address);
  return symbol == nullptr ? "" : symbol->name;
}

/// The functions that lie in the first 64 KiB, in the order of their addresses.
std::string names_of(const SymbolTable& table) {
  std::string names;
  const Symbol* before = nullptr;
  for (std::uint64_t address = 0; address < 0x10000; ++address) {
    const Symbol* const symbol = table.find(address);
    if (symbol != nullptr && symbol != before) names += symbol->name + ' ';
    if (symbol != nullptr) before = symbol;
  }
  return names;
}

TEST(ElfSymbols, AreFunctionsThatTheFileHasItself) {
  ElfFile file;
  file.table(SHT_SYMTAB, {{"plain", 0x100},
                          {"chosen_at_start", 0x200, STT_GNU_IFUNC},
                          {"variable", 0x300, STT_OBJECT},
                          {"label", 0x400, STT_NOTYPE},
                          {"thread_local", 0x500, STT_TLS},
                          {"of_another_file", 0x600, STT_FUNC, SHN_UNDEF},
                          {"", 0x700},
                          {"absolute", 0x800, STT_FUNC, SHN_ABS},
                          {"endless", 0xfff0, STT_FUNC, 1, ~std::uint64_t{0}}});
  const SymbolTable table = read(file);
  EXPECT_EQ(names_of(table), "plain chosen_at_start absolute endless ");
  EXPECT_EQ(table.trouble(), "");
  ASSERT_NE(table.find(0x20f), nullptr);
  EXPECT_EQ(table.find(0x210), nullptr);
}

TEST(ElfSymbols, OfTheFullTableAreAllAndThoseOfTheExportedOneOnlyWithoutIt) {
  ElfFile both;
  both.table(SHT_DYNSYM, {{"exported", 0x100}}).table(SHT_SYMTAB, {{"own", 0x200}});
  EXPECT_EQ(names_of(read(both)), "own ");
  ElfFile two;
  two.table(SHT_SYMTAB, {{"own", 0x200}}).table(SHT_SYMTAB, {{"other", 0x300}});
  EXPECT_EQ(names_of(read(two)), "own other ") << "of each such table";
  ElfFile stripped;
  stripped.table(SHT_DYNSYM, {{"exported", 0x100}}).table(SHT_SYMTAB, {{"data", 1, STT_OBJECT}});
  EXPECT_EQ(names_of(read(stripped)), "exported ");
  EXPECT_EQ(read(stripped).trouble(), "");
}

TEST(ElfSymbols, HaveNamesOf256MebibytesAndItIsToldIfThereAreMore) {
  const std::string name(std::size_t{4} << 20U, 'n');
  const auto file_of = [&](std::size_t symbols) {
    ElfFile file;
    file.table(SHT_SYMTAB, {{name.c_str(), 0x100, STT_FUNC, 1, 16, symbols}});
    return file;
  };
  EXPECT_EQ(read(file_of(63)).trouble(), "");
  const SymbolTable table = read(file_of(64));
  EXPECT_TRUE(names_of(table) == name + ' ') << "all begin at one address";
  EXPECT_EQ(table.trouble(), "it has more symbols, or longer names of them, than are read");
}

TEST(ElfSymbols, AreReadUpToFourMillionAndItIsToldIfThereAreMore) {
  // Each section that comes before has the same bytes, so the file is small.
  constexpr std::size_t kEach = 50'000, kSections = 80;
  ElfFile all;
  all.table(SHT_SYMTAB, {}, kEach, kSections - 1)
      .table(SHT_SYMTAB, {{"last", 0x100}}, kEach - 1)
      .table(SHT_DYNSYM, {{"exported", 0x100}});
  EXPECT_EQ(names_of(read(all)), "last ");
  EXPECT_EQ(read(all).trouble(), "");
  ElfFile more;
  more.table(SHT_SYMTAB, {{"read", 0x100}}, kEach - 1)
      .table(SHT_SYMTAB, {}, kEach, kSections - 1)
      .table(SHT_SYMTAB, {{"one_too_many", 0x200}});
  EXPECT_EQ(names_of(read(more)), "read ");
  EXPECT_EQ(read(more).trouble(), "it has more symbols, or longer names of them, than are read");
}

TEST(ElfSymbols, OfAnotherByteOrderOrWithMillionsOfSegmentsAreRefused) {
  ElfFile file;
  file.table(SHT_SYMTAB, {{"f", 0x100}});
  EXPECT_TRUE(read_file(file.image()));
  file.head.e_ident[EI_DATA] = ELFDATA2MSB;
  EXPECT_FALSE(read_file(file.image()));
  file.head.e_ident[EI_DATA] = ELFDATA2LSB;
  file.head.e_phnum = PN_XNUM;  // the number is in the first section
  file.first.sh_info = 65535;
  EXPECT_TRUE(read_file(file.image()));
  file.first.sh_info = 65536;
  EXPECT_FALSE(read_file(file.image()));
}

/// A file with one function, and with changed headers of its table and of its names.
template <class Change>
std::string with_sections(Change change) {
  ElfFile file;
  std::string image = file.table(SHT_SYMTAB, {{"f", 0x100}}).image();
  Elf64_Ehdr head{};
  std::memcpy(&head, image.data(), sizeof head);
  Elf64_Shdr sections[3];
  std::memcpy(sections, &image[head.e_shoff], sizeof sections);
  change(sections[1], sections[2]);
  std::memcpy(&image[head.e_shoff], sections, sizeof sections);
  return image;
}

TEST(ElfSymbols, OfATableThatCannotBeReadAreMissingAndItIsToldWhy) {
  const auto trouble_with = [](auto change) {
    const SymbolTable table =
        read_image(with_sections([&](auto& symbols, auto&) { change(symbols); }));
    EXPECT_EQ(names_of(table), "");
    return table.trouble();
  };
  EXPECT_TRUE(trouble_with([](auto& each) {
                each.sh_offset = 1U << 20U;
              }).starts_with("its symbol table cannot be read: "));
  EXPECT_TRUE(trouble_with([](auto& each) {
                each.sh_link = 0;
              }).starts_with("names of its symbols cannot be read: "));
  EXPECT_NE(trouble_with([](auto& each) { each.sh_size = ~std::uint64_t{0} - 100; }), "");
}

TEST(ElfSymbols, OfHolesAreNotReadIntoMemory) {
  constexpr std::uint64_t kHole = std::uint64_t{1400} << 20U, kFrom = std::uint64_t{1} << 20U;
  for (const bool of_names : {false, true}) {
    const auto table = read_file(with_sections([&](auto& symbols, auto& names) {
                                   auto& each = of_names ? names : symbols;
                                   const std::uint64_t whole = of_names ? 1 : each.sh_entsize;
                                   each.sh_offset = kFrom;
                                   each.sh_size = (kHole - kFrom) / whole * whole;
                                 }),
                                 kHole);
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(names_of(*table), "");
    EXPECT_NE(table->trouble(), "");
  }
  // The number of sections, for which libelf makes room at once, is then in the first of them.
  ElfFile file;
  file.first.sh_size = 1U << 24U;
  std::string sections = file.table(SHT_SYMTAB, {{"f", 0x100}}).image();
  const Elf64_Half none = 0;
  std::memcpy(&sections[offsetof(Elf64_Ehdr, e_shnum)], &none, sizeof none);
  EXPECT_FALSE(read_file(sections, kHole));
}

TEST(ElfSymbols, OfThisProgramAreFoundWhereItIsLoaded) {
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
  EXPECT_EQ(demangled(name_at(*table, *inside)), "shmif::perf::test::function_of_the_test(int)");
  EXPECT_EQ(name_at(*table, 1), "") << "functions of other files are none of its own";
}

TEST(ElfSymbols, OfAStrippedLibraryAreTheExportedOnes) {
  Dl_info info{};
  ASSERT_NE(::dladdr(reinterpret_cast<void*>(&::getppid), &info), 0);
  const SymbolTable table = read_image(file_text(info.dli_fname));
  const auto begin = reinterpret_cast<std::uint64_t>(info.dli_saddr) -
                     reinterpret_cast<std::uint64_t>(info.dli_fbase);
  EXPECT_NE(name_at(table, begin).find("getppid"), std::string::npos) << info.dli_fname;
}

TEST(ElfSymbols, OfWhatIsNoElfFileAreRefused) {
  for (const std::string text : {"", "no ELF",
                                 "\x7f"
                                 "ELF"}) {
    const auto table = SymbolTable::of_elf_image(std::as_bytes(std::span(text)));
    ASSERT_FALSE(table) << text;
    EXPECT_EQ(table.error().code, make_error_code(Errc::bad_argument));
  }
  const UniqueFd folder(::open("/", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(SymbolTable::of_elf_file(folder.get()));
  EXPECT_FALSE(SymbolTable::of_elf_file(-1));
}

}  // namespace

}  // namespace shmif::perf::test
