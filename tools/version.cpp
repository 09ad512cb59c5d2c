#include "tools/version.hpp"

#include <cstdio>

#if __has_include("bus/layout.hpp")
#include "bus/layout.hpp"
#endif

namespace shmif::tools {

std::string version_text() {
  std::string text = SHMIF_VERSION;
#if __has_include("bus/layout.hpp")
  char signature[16];
  std::snprintf(signature, sizeof signature, "0x%08x",
                static_cast<unsigned>(bus::kLayoutSignature));
  text += std::string(" (bus format ") + signature + ')';
#endif
  return text;
}

}  // namespace shmif::tools
