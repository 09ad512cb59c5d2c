#pragma once
// Words of command lines.

#include <string>
#include <vector>

namespace shmif::test {

using Words = std::vector<std::string>;

inline Words operator+(Words first, const Words& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

}  // namespace shmif::test
