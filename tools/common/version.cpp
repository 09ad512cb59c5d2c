#include "tools/common/version.hpp"

#include <cstdio>

#include "bus/file/parts.hpp"

namespace shmif::tools {

std::string version_number() {
  return SHMIF_VERSION;
}

std::string version_text() {
  char signature[16];
  std::snprintf(signature, sizeof signature, "0x%x", unsigned{bus::format_signature()});
  return std::string(SHMIF_VERSION) + " (bus format " + signature + ')';
}

}  // namespace shmif::tools
