#pragma once
// Finds places for a piece of code in another process: behind the image of the vDSO (rule S2 of
// perf/inject/borrow.hpp).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/proc.hpp"

namespace shmif::perf {

/// Reads a part of a process's memory, as far as it can be read. `memory`: a descriptor of
/// /proc/PID/mem.
std::vector<std::uint8_t> read_memory(int memory, std::uint64_t address, std::size_t bytes);

/// Finds the mapping of the vDSO; empty if there is none. `maps`: the text of /proc/PID/maps.
std::optional<base::MappedRange> vdso_in(const std::string& maps);

/// Places of kStubBytes each.
class StubRoom {
 public:
  StubRoom() = default;
  /// `bytes`: the contents of the whole mapping. Result: empty if this is not a 64-bit ELF file.
  static std::optional<StubRoom> behind(const base::MappedRange& vdso,
                                        std::vector<std::uint8_t> bytes);

  bool contains(std::uint64_t address) const noexcept { return address - begin_ < end_ - begin_; }
  /// A place where all bytes are 0; empty if there is none.
  std::optional<std::uint64_t> empty_place() const;
  /// Places with a stub. Its monitor may have been killed.
  std::vector<std::uint64_t> left_behind() const;

 private:
  const std::uint8_t* at(std::uint64_t place) const { return &bytes_[place - mapped_]; }

  std::uint64_t mapped_ = 0, begin_ = 0, end_ = 0;
  std::vector<std::uint8_t> bytes_;
  std::vector<std::uint64_t> places_;
};

}  // namespace shmif::perf
