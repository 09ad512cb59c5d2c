#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/loaded_library.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

namespace {

/// In the build tree the module lies beside the program; `cmake --install` puts it elsewhere.
std::string module_path() {
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::filesystem::path built = folder / "shmifctl_packets.so";
  if (std::filesystem::exists(built, error)) return built;
  return (folder / SHMIFCTL_PACKETS_INSTALLED / "shmifctl_packets.so").lexically_normal();
}

const Packets& load_packets() {
  const std::string path = module_path();
  const LoadedLibrary module(path.c_str());
  const Packets* found = nullptr;
  if (!module.find("shmifctl_packets", found)) {
    throw Exception(Error(Errc::not_supported,
                          std::string("cannot load the part of shmifctl that reads packets: ") +
                              ::dlerror() + " (install all of shmif again, and libtins)"));
  }
  if (found->interface != std::string_view(SHMIFCTL_PACKETS_INTERFACE)) {
    throw Exception(Error(Errc::not_supported, "cannot use " + path +
                                                   ": it was not built with this shmifctl " +
                                                   "(install all of shmif again)"));
  }
  return *found;
}

}  // namespace

const Packets& packets() {
  static const Packets& loaded = load_packets();
  return loaded;
}

}  // namespace shmif::tools
