#pragma once
// Modules of shmifctl: parts that bring many libraries, and that the program loads at need.

#include <string>
#include <string_view>

#include "base/loaded_library.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

/// What a module is called, in the file system and in messages.
struct ModuleName {
  const char* file;       ///< "shmifctl_packets.so"
  const char* table;      ///< the symbol that it exports
  const char* what;       ///< "the part of shmifctl that reads packets"
  const char* libraries;  ///< what it brings, for the remedy: "libtins"
  const char* detour;     ///< "./" or the like, another one for each module: part of its path
};

/// Opens the file of a module. In the build tree it is beside the program; `cmake --install` puts
/// it elsewhere. It must belong to root or to the owner of the program, and others must not be able
/// to write to it: the program may be in a folder of another user, or run through a hard link.
/// Throws Exception (not_supported). Threads: safe. Blocks: for the disk.
UniqueFd open_module(const ModuleName& name);

/// Throws Exception (not_supported): the module cannot be loaded, because of `why`.
[[noreturn]] void refuse_module(const ModuleName& name, const std::string& why);

/// Loads the module, and returns its table, whose member `interface` must be `interface`. The
/// module stays loaded. Throws, Threads, Blocks: as open_module().
template <class Table>
const Table& load_module(const ModuleName& name, std::string_view interface) {
  const UniqueFd file = open_module(name);
  // Loads it by its descriptor, so that nobody can replace the file in between. The dynamic linker
  // knows a library by its path, and another module may have had the same descriptor.
  const std::string path = "/proc/self/fd/" + std::string(name.detour) + std::to_string(file.get());
  const LoadedLibrary module(path.c_str());
  const Table* found = nullptr;
  if (!module.find(name.table, found)) {
    refuse_module(name, std::string(::dlerror()) + " (install all of shmif again, and " +
                            name.libraries + ")");
  }
  if (found->interface != interface) {
    refuse_module(name, "it was not built with this shmifctl (install all of shmif again)");
  }
  return *found;
}

}  // namespace shmif::tools
