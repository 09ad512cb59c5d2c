#include "bus/attachment.hpp"

#include <sys/stat.h>

#include <filesystem>

namespace shmif::bus {

std::string absolute_path(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path whole = std::filesystem::absolute(path, unknown);
  return unknown ? path : whole.string();
}

bool Attachment::path_names_this_file() const noexcept {
  struct stat status{};
  return !forked() && lstat(bus_.absolute_path.c_str(), &status) == 0 &&
         status.st_dev == bus_.device && status.st_ino == bus_.inode;
}

}  // namespace shmif::bus
