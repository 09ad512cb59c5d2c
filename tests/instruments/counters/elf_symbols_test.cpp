// What is read of an ELF file that was made for that: kinds of symbols, tables, and limits.

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "instruments/counters/symbol_table.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
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

SymbolTable read(const ElfFile& file) {
  const std::string image = file.image();
  auto table = SymbolTable::of_elf_image(std::as_bytes(std::span(image)));
  EXPECT_TRUE(table) << table.error().message;
  return table ? *std::move(table) : SymbolTable();
}

Result<SymbolTable> read_file(const ElfFile& file) {
  const shmif::test::TempDir dir;
  const std::string path = dir.file("program");
  std::ofstream(path) << file.image();
  const UniqueFd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return SymbolTable::of_elf_file(opened.get());
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
  EXPECT_TRUE(read_file(file));
  file.head.e_ident[EI_DATA] = ELFDATA2MSB;
  EXPECT_FALSE(read_file(file));
  file.head.e_ident[EI_DATA] = ELFDATA2LSB;
  file.head.e_phnum = PN_XNUM;  // the number is in the first section
  file.first.sh_info = 65535;
  EXPECT_TRUE(read_file(file));
  file.first.sh_info = 65536;
  EXPECT_FALSE(read_file(file));
}

}  // namespace
}  // namespace shmif::perf::test
