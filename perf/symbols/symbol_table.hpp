#pragma once
// The functions of an object file or of the kernel, by address.
//
// The files belong to the programs that are watched: they may be cut off, wrong on purpose, or
// vanish. So a file is read and not mapped, all of its numbers are checked (libelf does it for the
// sections), and the number of symbols is bounded.
//
// Threads: reading functions any; a table is not changed after it was made.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

struct Symbol {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< just past it; as begin: the size is not known
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
  /// Symbols in any order. One without a size ends where the next one begins. Of several that begin
  /// at one address, the first by name of the largest ones remains.
  explicit SymbolTable(std::vector<Symbol> symbols, std::vector<Segment> segments = {});

  /// The functions of an ELF file: from its symbol table, or, if it was stripped, those that it
  /// exports. A file without any gives an empty table. Errors: Errc::bad_argument for another kind
  /// of file; the errno of a read that failed.
  static Result<SymbolTable> of_elf_file(int file);
  /// The same of a file in memory, which is not changed.
  static Result<SymbolTable> of_elf_image(std::span<const std::byte> image);
  /// The kernel's functions, from a text as in /proc/kallsyms. Errors: EACCES if the addresses are
  /// hidden from this user (all zero).
  static Result<SymbolTable> of_kallsyms(std::string_view text);

  /// Why the file may have more functions than these; empty: all of it could be read.
  const std::string& trouble() const noexcept { return trouble_; }
  void set_trouble(std::string why) { trouble_ = std::move(why); }
  std::size_t size() const noexcept { return symbols_.size(); }
  const std::vector<Symbol>& symbols() const noexcept { return symbols_; }
  /// The function with this address; nullptr: none.
  const Symbol* find(std::uint64_t address) const noexcept;
  /// The address, as symbols have it, of this byte of the file. None: it is not loaded.
  std::optional<std::uint64_t> address_of(std::uint64_t file_offset) const noexcept;

 private:
  std::vector<Symbol> symbols_;
  std::vector<Segment> segments_;
  std::string trouble_;
};

/// The name as in the source: "f(int)" for "_Z1fi". Names of other languages remain as they are,
/// and so do those of more than 1000 characters, or whose text could take much memory.
std::string demangled(const std::string& name);

}  // namespace shmif::perf
