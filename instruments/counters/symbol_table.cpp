#include "instruments/counters/symbol_table.hpp"

#include <cxxabi.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
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

// Reads the symbol tables of ELF files with libelf.

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
