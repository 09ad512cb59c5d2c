#include "bus/attachment.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

namespace shmif::bus {
namespace {

constexpr std::size_t kLongestName = 31;

bool can_be_in_name(char c) noexcept {
  return c > ' ' && c <= '~';
}

/// A valid name that is as close to `wrong` as possible.
std::string name_like(const std::string& wrong) {
  std::string name = wrong.substr(0, kLongestName);
  std::ranges::replace_if(name, [](char c) { return !can_be_in_name(c); }, '_');
  return name;
}

}  // namespace

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

bool is_valid_name(const std::string& name) noexcept {
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, can_be_in_name);
}

Result<void> check_options(const std::string& path, const PortOptions& options) {
  if (!options.name.empty() && !is_valid_name(options.name)) {
    return Error(Errc::bad_name, "\"" + options.name +
                                     "\" cannot be the name of a port: a name has 1 to 31 "
                                     "printable characters without spaces (such as " +
                                     name_like(options.name) + ')');
  }
  if (options.mac && !options.mac->is_unicast()) {
    return Error(Errc::bad_argument,
                 "cannot attach to the bus " + path + " with the address " +
                     options.mac->to_string() +
                     ": it is not a unicast MAC address (the first byte must be even, not all "
                     "zero)");
  }
  return {};
}

}  // namespace shmif::bus
