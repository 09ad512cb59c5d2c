#include "tools/lab/find_buses.hpp"

#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/quantity.hpp"

namespace shmif::tools {

namespace {

/// Of a process with more, the rest is not looked at: others may have any number of mappings.
constexpr std::size_t kMaxMapsOfProcess = std::size_t{4} << 20U;

/// The paths of files that a process maps as shared memory.
void add_shared_mappings(const std::string& maps, std::set<std::string>& paths) {
  std::ifstream file(maps);
  std::size_t bytes = 0;
  for (std::string line; bytes < kMaxMapsOfProcess && std::getline(file, line);) {
    bytes += line.size() + 1;
    // "7f12-7f34 rw-s 00000000 00:1a 123     /dev/shm/bus0"
    const std::size_t mode = line.find(' ');
    const std::size_t path = line.find('/');
    if (mode == std::string::npos || path == std::string::npos || mode + 4 >= path) continue;
    if (line[mode + 4] != 's' || line.ends_with(" (deleted)")) continue;
    if (std::string_view(line).substr(path).starts_with("/memfd:")) continue;
    paths.insert(line.substr(path));
  }
}

}  // namespace

std::vector<BusInfo> find_buses(const std::vector<std::string>& also) {
  std::set<std::string> paths(also.begin(), also.end());
  std::error_code failed;
  for (const auto& each : std::filesystem::directory_iterator("/dev/shm", failed)) {
    paths.insert(each.path().string());
  }
  for (const auto& each : std::filesystem::directory_iterator("/proc", failed)) {
    if (base::read_digits(each.path().filename().string())) {
      add_shared_mappings(each.path().string() + "/maps", paths);
    }
  }
  std::set<std::pair<dev_t, ino_t>> seen;
  std::vector<BusInfo> found;
  found.reserve(paths.size());
  for (const std::string& path : paths) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
    if (const Result<Bus> bus = Bus::open(path)) found.push_back(bus->info());
  }
  return found;
}

}  // namespace shmif::tools
