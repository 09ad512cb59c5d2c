#include "bus/file/nameplate.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U  // Linux 6.3
#endif

namespace shmif::bus {
namespace {

std::size_t plate_bytes() noexcept {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

UniqueFd make_memfd(const char* name) noexcept {
  UniqueFd file(memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  if (!file && errno == EINVAL) file.reset(memfd_create(name, MFD_CLOEXEC));  // an older kernel
  return file;
}

}  // namespace

std::string nameplate_text(std::uint64_t inode, unsigned slot, const std::string& name) {
  return "shmif-port:" + std::to_string(inode) + ':' + std::to_string(slot) + ':' + name;
}

Nameplate Nameplate::put_up(std::uint64_t inode, unsigned slot, const std::string& name) {
  const int before = errno;
  Nameplate plate;
  const std::string text = nameplate_text(inode, slot, name);
  {
    const base::ForkHold no_fork;
    if (const UniqueFd file = make_memfd(text.c_str())) {
      void* const page = mmap(nullptr, plate_bytes(), PROT_NONE, MAP_SHARED, file.get(), 0);
      if (page != MAP_FAILED) plate.page_ = page;
      if (plate && madvise(page, plate_bytes(), MADV_DONTFORK) != 0) plate.reset();
    }
  }
  errno = before;
  return plate;
}

void Nameplate::reset() noexcept {
  if (page_ != nullptr) munmap(page_, plate_bytes());
  page_ = nullptr;
}

}  // namespace shmif::bus
