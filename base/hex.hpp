#pragma once
// Formats numbers for findings and errors.

#include <cstdint>
#include <cstdio>
#include <string>

namespace shmif::base {

/// "0x1000".
inline std::string hex(std::uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

}  // namespace shmif::base
