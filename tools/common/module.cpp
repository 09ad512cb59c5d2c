#include "tools/common/module.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "base/result.hpp"

namespace shmif::tools {

void refuse_module(const ModuleName& name, const std::string& why) {
  throw Exception(Error(Errc::not_supported, std::string("cannot load ") + name.what + ": " + why));
}

UniqueFd open_module(const ModuleName& name) {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  struct stat own{};
  if (error || !program.is_absolute() || stat("/proc/self/exe", &own) != 0)
    refuse_module(name, "where the program is cannot be read (mount /proc)");
  const std::filesystem::path folder = program.parent_path();
  const std::filesystem::path places[] = {
      folder / name.file, (folder / SHMIFCTL_MODULES_INSTALLED / name.file).lexically_normal()};
  for (const std::filesystem::path& path : places) {
    UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (file.get() < 0 || fstat(file.get(), &status) != 0) continue;
    const bool others_write = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    if ((status.st_uid != own.st_uid && status.st_uid != 0) || others_write)
      refuse_module(name, path.string() +
                              " may be somebody else's (its owner must be that of the " +
                              "program, or root, and nobody else may have the right to write it)");
    return file;
  }
  refuse_module(name, places[1].string() + ": No such file (install all of shmif again)");
}

}  // namespace shmif::tools
