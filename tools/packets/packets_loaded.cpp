#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "base/loaded_library.hpp"
#include "base/unique_fd.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

namespace {

[[noreturn]] void cannot_load(const std::string& why) {
  throw Exception(
      Error(Errc::not_supported, "cannot load the part of shmifctl that reads packets: " + why));
}

/// Opens the module. In the build tree it is beside the program; `cmake --install` puts it
/// elsewhere. It must belong to root or to the owner of the program, and others must not be able to
/// write to it: the program may be in a folder of another user, or run through a hard link.
UniqueFd open_module() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  struct stat own{};
  if (error || !program.is_absolute() || stat("/proc/self/exe", &own) != 0)
    cannot_load("where the program is cannot be read (mount /proc)");
  const std::filesystem::path folder = program.parent_path();
  const std::filesystem::path name = "shmifctl_packets.so";
  const std::filesystem::path places[] = {
      folder / name, (folder / SHMIFCTL_PACKETS_INSTALLED / name).lexically_normal()};
  for (const std::filesystem::path& path : places) {
    UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (file.get() < 0 || fstat(file.get(), &status) != 0) continue;
    const bool others_write = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if ((status.st_uid != own.st_uid && status.st_uid != 0) || others_write)
      cannot_load(path.string() + " may be somebody else's (its owner must be that of the " +
                  "program, or root, and nobody else may have the right to write it)");
    return file;
  }
  cannot_load(places[1].string() + ": No such file (install all of shmif again)");
}

const Packets& load_packets() {
  const UniqueFd file = open_module();
  // Loads it by its descriptor, so that nobody can replace the file in between.
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const LoadedLibrary module(path.c_str());
  const Packets* found = nullptr;
  if (!module.find("shmifctl_packets", found)) {
    cannot_load(std::string(::dlerror()) + " (install all of shmif again, and libtins)");
  }
  if (found->interface != std::string_view(SHMIFCTL_PACKETS_INTERFACE)) {
    cannot_load("it was not built with this shmifctl (install all of shmif again)");
  }
  return *found;
}

}  // namespace

const Packets& packets() {
  static const Packets& loaded = load_packets();
  return loaded;
}

}  // namespace shmif::tools
