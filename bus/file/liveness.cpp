#include "bus/file/liveness.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/file.hpp"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U  // Linux 6.3
#endif

namespace shmif::bus {
namespace {

struct flock byte_of(unsigned slot, short type) noexcept {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(kHeaderBytes + slot * sizeof(PortSlot));
  lock.l_len = 1;
  return lock;
}

std::size_t own_page_bytes() noexcept {
  return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

UniqueFd make_memfd(const char* name) noexcept {
  UniqueFd file(memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  if (!file && errno == EINVAL) file.reset(memfd_create(name, MFD_CLOEXEC));  // an older kernel
  return file;
}

}  // namespace

bool take_liveness(int fd, unsigned slot) noexcept {
  struct flock lock = byte_of(slot, F_WRLCK);
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool is_alive(int fd, unsigned slot) noexcept {
  struct flock lock = byte_of(slot, F_RDLCK);
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

bool same_file(int fd, const FileId& file) noexcept {
  return file && FileId::of(fd) == file;
}

std::error_code OwnPage::map(int fd) noexcept {
  reset();
  void* const page = mmap(nullptr, own_page_bytes(), PROT_NONE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) return {errno, std::generic_category()};
  page_ = page;
  return {};
}

std::error_code OwnPage::hide_from_children() noexcept {
  if (madvise(page_, own_page_bytes(), MADV_DONTFORK) == 0) return {};
  return {errno, std::generic_category()};
}

void OwnPage::reset() noexcept {
  if (page_ != nullptr) munmap(page_, own_page_bytes());
  page_ = nullptr;
}

Result<Lifeline> Lifeline::open(int fd, const std::string& path,
                                const std::function<bool(int description)>& take_lock) {
  const base::ForkHold no_fork;
  const auto description = reopen(fd, path, Access::read_write);
  if (!description) return description.error();
  Lifeline line;
  if (const auto failed = line.page_.map(description->get()))
    return Error::from_errno(failed.value(), "cannot map the bus " + path);
  if (const auto failed = line.page_.hide_from_children())
    return Error::from_errno(failed.value(), "cannot hide the bus from forked children");
  if (!take_lock(description->get())) line.reset();
  return line;
}

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
