#pragma once
// The functions of an object file or of the kernel, by address.
//
// The files belong to the watched programs. A file may be truncated, be made wrong on purpose, or
// vanish. So we read it and do not map it, check all of its numbers (libelf checks those of the
// sections), and limit the number of symbols.
//
// Threads: any thread may call the functions that only read. A table does not change after it was
// made.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

struct MappedFile {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< just past it
  std::uint64_t file_offset = 0;
  std::string file;  ///< as the kernel names it: a path, "[vdso]", "//anon"
  bool operator==(const MappedFile&) const = default;
};

/// The executable mappings in a text as in /proc/PID/maps. Skips lines of another form.
std::vector<MappedFile> read_maps(std::string_view text);

/// Tells which files a process has mapped, and where. Threads: one at a time. Blocks: never.
class AddressSpace {
 public:
  /// Adds a mapping. It replaces the parts of older mappings that it covers.
  void add(MappedFile mapping);
  void clear() noexcept { mappings_.clear(); }
  /// The mapping with this address; nullptr if no mapping has it.
  const MappedFile* find(std::uint64_t address) const noexcept;

 private:
  std::map<std::uint64_t, MappedFile> mappings_;  ///< by their ends; they do not overlap
};

struct Symbol {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< just past it; equal to `begin` if the size is not known
  std::string name;       ///< as the file has it
};

class SymbolTable {
 public:
  /// Part of the file that is loaded into memory.
  struct Segment {
    std::uint64_t file_offset = 0;
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
  };

  SymbolTable() = default;
  /// Symbols in any order. A symbol without a size ends where the next one begins. If several begin
  /// at one address, the largest remains; if several are as large, the first by name.
  explicit SymbolTable(std::vector<Symbol> symbols, std::vector<Segment> segments = {});

  /// The functions of an ELF file, from its symbol table. If the file was stripped, only the
  /// functions that it exports. The table is empty if the file has no functions. Errors:
  /// Errc::bad_argument for another kind of file; the errno of a read that failed.
  static Result<SymbolTable> of_elf_file(int file);
  /// The same for a file in memory. Does not change the image.
  static Result<SymbolTable> of_elf_image(std::span<const std::byte> image);
  /// The kernel's functions, from a text as in /proc/kallsyms. Errors: EACCES if the addresses are
  /// hidden from this user (all zero).
  static Result<SymbolTable> of_kallsyms(std::string_view text);

  /// Why the file may have more functions than these; empty if everything could be read.
  const std::string& trouble() const noexcept { return trouble_; }
  void set_trouble(std::string why) { trouble_ = std::move(why); }
  /// The function with this address; nullptr if no function has it.
  const Symbol* find(std::uint64_t address) const noexcept;
  /// The address that symbols use for this byte of the file; empty if the byte is not loaded.
  std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const noexcept;

 private:
  std::vector<Symbol> symbols_;
  std::vector<Segment> segments_;
  std::string trouble_;
};

/// The name as in the source: "f(int)" for "_Z1fi". Three kinds of names remain as they are: names
/// of other languages, names of more than 1000 characters, and names whose text could take much
/// memory.
std::string demangled(const std::string& name);

}  // namespace shmif::perf
