#include "tests/support/paths.hpp"

namespace shmif::test {

std::string in_source(std::string_view file) {
  return std::string(SHMIF_SOURCE_DIR "/").append(file);
}

std::string in_build(std::string_view file) {
  return std::string(SHMIF_BUILD_DIR "/").append(file);
}

}  // namespace shmif::test
