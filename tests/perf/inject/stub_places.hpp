#pragma once
// Where stubs can be in a process.

#include <cstdint>
#include <vector>

#include "perf/inject/stub_room.hpp"

namespace shmif::perf::test {

/// Each place for a stub behind the image in a mapping of the vDSO, whatever is there now.
inline std::vector<std::uint64_t> stub_places(const base::MappedRange& vdso,
                                              std::vector<std::uint8_t> bytes) {
  std::vector<std::uint64_t> places;
  const auto room = StubRoom::behind(vdso, bytes);
  if (!room) return places;
  for (std::uint64_t at = vdso.begin; at < vdso.begin + bytes.size(); ++at) {
    if (room->contains(at)) bytes[at - vdso.begin] = 0;
  }
  while (const auto empty = StubRoom::behind(vdso, bytes)->empty_place()) {
    places.push_back(*empty);
    bytes[*empty - vdso.begin] = 1;
  }
  return places;
}

}  // namespace shmif::perf::test
