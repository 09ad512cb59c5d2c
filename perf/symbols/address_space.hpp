#pragma once
// Which file is mapped where in a process.
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

/// The executable mappings in a text as in /proc/PID/maps. Lines of another form are left out.
std::vector<MappedFile> read_maps(std::string_view text);

class AddressSpace {
 public:
  /// What it covers of older mappings is gone.
  void add(MappedFile mapping);
  void clear() noexcept { mappings_.clear(); }
  bool empty() const noexcept { return mappings_.empty(); }
  /// The mapping with this address; nullptr: none.
  const MappedFile* find(std::uint64_t address) const noexcept;

 private:
  std::map<std::uint64_t, MappedFile> mappings_;  ///< by their ends; they do not overlap
};

}  // namespace shmif::perf
