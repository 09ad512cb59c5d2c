#include "bus/file/liveness.hpp"

#include <fcntl.h>

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

}  // namespace shmif::bus
