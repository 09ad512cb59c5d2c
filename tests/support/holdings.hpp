#pragma once
// What a process holds: descriptors, threads and mappings, so that a test can say that nothing was
// left behind.

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

namespace shmif::test {

struct Holdings {
  std::ptrdiff_t descriptors = 0;
  std::ptrdiff_t threads = 0;
  std::ptrdiff_t bus_mappings = 0;  ///< of files whose path contains the text asked for
  std::ptrdiff_t mappings = 0;      ///< of everything
  bool operator==(const Holdings&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Holdings& h) {
  return out << h.descriptors << " descriptors, " << h.threads << " threads, " << h.bus_mappings
             << " mappings of the bus of " << h.mappings << " in all";
}

inline Holdings holdings(const std::string& path) {
  using Entries = std::filesystem::directory_iterator;
  Holdings h;
  h.descriptors = std::distance(Entries("/proc/self/fd"), Entries());
  h.threads = std::distance(Entries("/proc/self/task"), Entries());
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line); ++h.mappings) {
    if (line.find(path) != std::string::npos) ++h.bus_mappings;
  }
  return h;
}

/// Without the mappings that are not the bus's: malloc's come and go.
inline Holdings without_heap(Holdings h) {
  h.mappings = 0;
  return h;
}

}  // namespace shmif::test
