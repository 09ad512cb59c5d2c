#include "bus/file/nameplate.hpp"

#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U  // Linux 6.3
#endif

namespace shmif::bus {
namespace {

UniqueFd make_memfd(const char* name) noexcept {
  UniqueFd file(memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  if (!file && errno == EINVAL) file.reset(memfd_create(name, MFD_CLOEXEC));  // an older kernel
  return file;
}

}  // namespace

std::string nameplate_begin(const FileId& bus) {
  return "shmif-port:" + std::to_string(major(bus.device)) + '.' +
         std::to_string(minor(bus.device)) + ':' + std::to_string(bus.inode) + ':';
}

std::string nameplate_text(const FileId& bus, unsigned slot, const std::string& name) {
  return nameplate_begin(bus) + std::to_string(slot) + ':' + name;
}

Nameplate Nameplate::put_up(const FileId& bus, unsigned slot, const std::string& name) {
  const int before = errno;
  Nameplate plate;
  if (!bus) return plate;
  const std::string text = nameplate_text(bus, slot, name);
  {
    const base::ForkHold no_fork;
    const UniqueFd file = make_memfd(text.c_str());
    if (file && !plate.page_.map(file.get()) && plate.page_.hide_from_children()) plate.reset();
  }
  errno = before;
  return plate;
}

}  // namespace shmif::bus
