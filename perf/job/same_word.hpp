#pragma once
// same_word(), shared by the readers of values. Internal to perf/job.

#include <algorithm>
#include <string_view>

namespace shmif::perf {

inline char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
/// Whether the words differ at most in upper and lower case.
inline bool same_word(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace shmif::perf
