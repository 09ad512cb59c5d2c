#pragma once
// `shmifctl dump` on the bus of a rig.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Its command line, with `more` words.
inline std::vector<std::string> dump(const BusRig& rig, const std::vector<std::string>& more) {
  std::vector<std::string> argv{shmifctl_path(), "dump", rig.path()};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

inline std::int64_t lines(const std::string& text) {
  return std::ranges::count(text, '\n');
}

}  // namespace shmif::test
