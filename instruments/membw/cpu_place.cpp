#include "instruments/membw/cpu_place.hpp"

#include <string>

namespace shmif::perf {

Result<CpuPlace> place_of_cpu(const KernelFiles& files, unsigned cpu) {
  const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu);
  const auto socket = files.read_number(folder + "/topology/physical_package_id");
  if (!socket) return socket.error();
  const std::string caches = folder + "/cache/";
  const auto names = files.list(folder + "/cache");
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    if (!name.starts_with("index")) continue;
    const std::string cache = caches + name;
    const auto level = files.read_number(cache + "/level");
    constexpr std::uint64_t kLastLevel = 3;
    if (!level || *level != kLastLevel) continue;
    const auto id = files.read_number(cache + "/id");
    if (!id) return id.error();
    return CpuPlace{static_cast<unsigned>(*socket), static_cast<unsigned>(*id)};
  }
  return Error(Errc::not_supported, "CPU " + std::to_string(cpu) + " has no L3 cache in " +
                                        files.path(folder + "/cache"));
}

}  // namespace shmif::perf
