// Reads the symbol tables of ELF files with libelf.

#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "instruments/counters/symbol_table.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxSegments = 256;

/// Limits on what we read from a file; the largest programs need less. The size of the file is no
/// such limit: sections can overlap, and symbols can share a name.
struct Budget {
  std::size_t symbols = 4'000'000;
  std::size_t name_bytes = std::size_t{256} << 20U;
  std::uint64_t section_bytes = std::uint64_t{384} << 20U;  ///< for libelf to read into memory
};

/// Holes in a file take no space on disk, but they take memory when we read them. A file system
/// with compression makes a file at most 16 times smaller.
std::uint64_t bytes_worth_reading(const struct stat& status) noexcept {
  constexpr std::uint64_t kAnyFile = std::uint64_t{8} << 20U;
  constexpr std::uint64_t kBlock = 512, kCompression = 16;
  const auto blocks = static_cast<std::uint64_t>(std::max<blkcnt_t>(status.st_blocks, 0));
  return std::min(Budget().section_bytes, kAnyFile + blocks * kBlock * kCompression);
}

/// Whether libelf may open the file. libelf allocates memory for all sections and segments that the
/// header promises, and the header of a file with holes can promise millions. True for a file that
/// is broken in another way: libelf refuses it.
template <class Header, class Section>
bool has_modest_tables(int file) {
  constexpr std::uint64_t kMaxSections = 65535;
  Header head{};
  if (::pread(file, &head, sizeof head, 0) != static_cast<ssize_t>(sizeof head)) return true;
  if (head.e_shoff == 0) return true;
  Section first{};  // its fields hold the numbers that do not fit into the header
  const auto at = static_cast<off_t>(head.e_shoff);
  if (::pread(file, &first, sizeof first, at) != static_cast<ssize_t>(sizeof first)) return true;
  return (head.e_shnum != 0 || first.sh_size <= kMaxSections) &&
         (head.e_phnum != PN_XNUM || first.sh_info <= kMaxSections);
}

bool may_be_opened(int file) {
  std::array<unsigned char, EI_NIDENT> ident{};
  if (::pread(file, ident.data(), ident.size(), 0) != static_cast<ssize_t>(ident.size()))
    return true;
  if (std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0) return true;
  constexpr unsigned char kOurs =
      std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  if (ident[EI_DATA] != kOurs) return false;
  return ident[EI_CLASS] == ELFCLASS32 ? has_modest_tables<Elf32_Ehdr, Elf32_Shdr>(file)
                                       : has_modest_tables<Elf64_Ehdr, Elf64_Shdr>(file);
}

struct EndElf {
  void operator()(Elf* elf) const noexcept { elf_end(elf); }
};
using OwnedElf = std::unique_ptr<Elf, EndElf>;

bool is_function(const GElf_Sym& symbol) noexcept {
  const auto type = GELF_ST_TYPE(symbol.st_info);
  return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol.st_shndx != SHN_UNDEF;
}

/// What libelf says about its last failure.
std::string elf_words() {
  const char* const words = elf_errmsg(-1);
  return words == nullptr ? "it does not lie in the file" : words;
}

/// The functions found, and why the file may have more.
struct Found {
  std::vector<Symbol> symbols{};
  std::string trouble{};
};

/// Whether the budget is enough for the section and its names; libelf reads both as a whole.
bool pays(Elf* elf, const GElf_Shdr& head, Budget& left) {
  std::uint64_t names_bytes = 0;
  GElf_Shdr names{};
  Elf_Scn* const other = elf_getscn(elf, head.sh_link);
  if (other != nullptr && gelf_getshdr(other, &names) != nullptr) {
    if ((names.sh_flags & SHF_COMPRESSED) != 0) return false;  // linkers never make it so
    names_bytes = names.sh_size;
  }
  if (head.sh_size > left.section_bytes || names_bytes > left.section_bytes - head.sh_size)
    return false;
  left.section_bytes -= head.sh_size + names_bytes;
  return true;
}

/// Adds the functions of this section.
void add_functions(Elf* elf, Elf_Scn* section, const GElf_Shdr& head, Budget& left, Found& found) {
  if (!pays(elf, head, left)) {
    found.trouble = "its symbol table is larger than the file's contents can make it";
    return;
  }
  Elf_Data* const data = elf_getdata(section, nullptr);
  const std::size_t bytes = gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
  if (data == nullptr || data->d_buf == nullptr || bytes == 0) {
    if (head.sh_size > 0) found.trouble = "its symbol table cannot be read: " + elf_words();
    return;
  }
  constexpr const char* kMore = "it has more symbols, or longer names of them, than are read";
  const std::size_t all = data->d_size / bytes;
  const std::size_t count = std::min(all, left.symbols);
  if (count < all) found.trouble = kMore;
  left.symbols -= count;
  for (std::size_t at = 0; at < count; ++at) {
    GElf_Sym symbol{};
    if (gelf_getsym(data, static_cast<int>(at), &symbol) == nullptr) return;
    if (!is_function(symbol)) continue;
    const char* const name = elf_strptr(elf, head.sh_link, symbol.st_name);
    if (name == nullptr) found.trouble = "names of its symbols cannot be read: " + elf_words();
    if (name == nullptr || *name == '\0') continue;
    const std::size_t length = ::strnlen(name, left.name_bytes);
    left.name_bytes -= length;
    if (left.name_bytes == 0) {
      found.trouble = kMore;
      return;
    }
    const std::uint64_t end = symbol.st_value + symbol.st_size;
    found.symbols.push_back({symbol.st_value, std::max(symbol.st_value, end), {name, length}});
  }
}

/// Whether the header says that there are sections, but libelf finds no section.
bool has_lost_sections(Elf* elf) {
  GElf_Ehdr head{};
  return gelf_getehdr(elf, &head) != nullptr && head.e_shoff != 0 &&
         elf_nextscn(elf, nullptr) == nullptr;
}

Found functions_of(Elf* elf, Budget left) {
  std::string trouble;
  if (has_lost_sections(elf)) trouble = "its sections cannot be read: " + elf_words();
  // If the file has a full table, that table includes the exported functions.
  for (const GElf_Word wanted : {GElf_Word{SHT_SYMTAB}, GElf_Word{SHT_DYNSYM}}) {
    Found found;
    for (Elf_Scn* at = elf_nextscn(elf, nullptr); at != nullptr; at = elf_nextscn(elf, at)) {
      GElf_Shdr head{};
      if (gelf_getshdr(at, &head) == nullptr || head.sh_type != wanted) continue;
      add_functions(elf, at, head, left, found);
    }
    if (trouble.empty()) trouble = std::move(found.trouble);
    if (!found.symbols.empty()) return {std::move(found.symbols), std::move(trouble)};
  }
  return {{}, std::move(trouble)};
}

std::vector<SymbolTable::Segment> segments_of(Elf* elf) {
  std::vector<SymbolTable::Segment> segments;
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return segments;
  for (std::size_t at = 0; at < std::min(count, kMaxSegments); ++at) {
    GElf_Phdr head{};
    if (gelf_getphdr(elf, static_cast<int>(at), &head) == nullptr) break;
    if (head.p_type == PT_LOAD) segments.push_back({head.p_offset, head.p_vaddr, head.p_filesz});
  }
  return segments;
}

Result<SymbolTable> table_of(OwnedElf elf, const Budget& budget) {
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) {
    const char* const why = elf ? "it is no ELF file" : elf_errmsg(-1);
    return Error(Errc::bad_argument, std::string("cannot read symbols: ") + why);
  }
  Found found = functions_of(elf.get(), budget);
  SymbolTable table(std::move(found.symbols), segments_of(elf.get()));
  table.set_trouble(std::move(found.trouble));
  return table;
}

}  // namespace

Result<SymbolTable> SymbolTable::of_elf_file(int file) {
  elf_version(EV_CURRENT);
  struct stat status{};
  if (::fstat(file, &status) != 0) return Error::from_errno(errno, "cannot read symbols");
  if (!S_ISREG(status.st_mode)) {
    return Error(Errc::bad_argument, "cannot read symbols: it is no regular file");
  }
  if (!may_be_opened(file)) {
    return Error(
        Errc::bad_argument,
        "cannot read symbols: its header promises too much, or it is of another byte order");
  }
  Budget budget;
  budget.section_bytes = bytes_worth_reading(status);
  // ELF_C_READ reads the file. If libelf mapped it and somebody truncated it, SIGBUS would kill us.
  return table_of(OwnedElf(elf_begin(file, ELF_C_READ, nullptr)), budget);
}

Result<SymbolTable> SymbolTable::of_elf_image(std::span<const std::byte> image) {
  elf_version(EV_CURRENT);
  // libelf may write to the image, so it gets a copy.
  std::string copy(reinterpret_cast<const char*>(image.data()), image.size());
  return table_of(OwnedElf(elf_memory(copy.data(), copy.size())), {});
}

}  // namespace shmif::perf
