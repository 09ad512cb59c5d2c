#pragma once
// Tells which files a process has mapped, and where.
//
// Threads: one at a time. Blocks: never.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

class AddressSpace {
 public:
  /// Adds a mapping. It replaces the parts of older mappings that it covers.
  void add(MappedFile mapping);
  void clear() noexcept { mappings_.clear(); }
  bool empty() const noexcept { return mappings_.empty(); }
  /// The mapping with this address; nullptr if no mapping has it.
  const MappedFile* find(std::uint64_t address) const noexcept;

 private:
  std::map<std::uint64_t, MappedFile> mappings_;  ///< by their ends; they do not overlap
};

}  // namespace shmif::perf
