#include "bus/netbsd/file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/fork_guard.hpp"
#include "base/text.hpp"
#include "bus/file/file.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/memory.hpp"
#include "bus/netbsd/ring.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace shmif::bus {

std::string netbsd_warning(const std::string& path) {
  return "the bus " + path +
         " has NetBSD's format, which promises less: it does not count lost frames, and does not "
         "tell who is attached or who sent a frame; a sender that is killed can leave the lock "
         "held, and kernels trust all lengths in the file (docs/netbsd.md)";
}

bool is_netbsd_bus(std::span<const std::byte> beginning, std::uint64_t file_bytes) noexcept {
  std::uint32_t magic = 0;
  if (beginning.size() < sizeof magic) return false;
  std::memcpy(&magic, beginning.data(), sizeof magic);
  // A kernel makes the file long first, and writes the magic afterwards.
  return magic == kNetbsdMagic || (magic == 0 && file_bytes == kNetbsdFileBytes);
}

Result<void> check_netbsd_options(const CreateOptions& options) {
  if (options.ring_bytes != CreateOptions{}.ring_bytes) {
    return Error(Errc::bad_size, "a bus of NetBSD's format has a ring of " +
                                     std::to_string(kNetbsdDataBytes) +
                                     " bytes, and no other (leave the size out)");
  }
  if (options.mtu != kNetbsdMtu) {
    return Error(Errc::bad_mtu, "a bus of NetBSD's format has an MTU of " +
                                    std::to_string(kNetbsdMtu) + ", and no other (leave it out)");
  }
  if (options.flow != Flow::ethernet || options.patience_ns != 0) {
    return Error(Errc::bad_patience,
                 "on a bus of NetBSD's format no sender waits for slow ports (leave the flow out)");
  }
  return {};
}

bool is_blank_for_netbsd(int fd, std::uint64_t file_bytes) {
  if (file_bytes == 0) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
  }
  if (file_bytes != kNetbsdFileBytes) return false;
  std::vector<char> bytes(kNetbsdFileBytes);
  if (pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return false;
  // Another process may have taken the lock to do the same.
  std::fill_n(bytes.begin() + offsetof(NetbsdHeader, lock), sizeof NetbsdHeader::lock, '\0');
  return std::ranges::all_of(bytes, [](char each) { return each == 0; });
}

Result<void> fill_netbsd(int fd, const std::string& path, const CreateOptions& /*options*/) {
  if (auto ok = reserve_space(fd, path, kNetbsdFileBytes); !ok) return ok;
  auto mapping = NetbsdMapping::map(fd, Access::read_write);
  if (!mapping) return Error(mapping.error().code, "cannot make the bus " + path);
  const NetbsdRing ring(mapping->bytes().data());
  NetbsdLock lock(ring);
  if (!lock.acquire()) {
    return Error(Errc::lock_held, "cannot make the bus " + path +
                                      ": a process has held the lock of the file for a second "
                                      "(delete the file, if that process is dead)");
  }
  NetbsdHeader& header = ring.header();
  if (load_relaxed(header.magic) == 0) {
    store_relaxed(header.first, kNetbsdDataBytes);
    store_release(header.magic, kNetbsdMagic);
  }
  lock.release();
  return {};
}

Result<void> check_netbsd(OpenFile& file, const std::string& path, const struct stat& status,
                          Copies copies) {
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size != kNetbsdFileBytes) {
    return Error(Errc::wrong_size,
                 "cannot open the bus " + path + ": it has " + std::to_string(size) +
                     " bytes, and a bus of NetBSD's format has " +
                     std::to_string(kNetbsdFileBytes) +
                     " (it was truncated or extended; 'shmifctl destroy --force' removes it, then "
                     "create a new one)");
  }
  NetbsdHeader header{};
  if (pread(file.fd.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    return Error::from_errno(errno, "cannot read the bus " + path);
  if (header.magic == 0) {
    return Error(Errc::not_ready,
                 "cannot open the bus " + path +
                     ": it has the size of a bus of NetBSD's format, but no magic number yet (a "
                     "port that attaches makes the bus, if the file has only zeros)");
  }
  // The version stays 0 until the first wakeup.
  if (header.magic != kNetbsdMagic || (header.version != 0 && header.version != kNetbsdOldVersion &&
                                       header.version != kNetbsdVersion)) {
    return Error(Errc::wrong_layout, "bus " + path + " has NetBSD's format in version " +
                                         std::to_string(header.version) +
                                         ", this build speaks versions 2 and 3 (use kernels that "
                                         "speak one of them, and a new bus)");
  }
  if (const char* harm = harm_on_file_system(file.file_system); harm != nullptr) {
    if (copies == Copies::refuse) return refuse_file_system("open", path, file.file_system);
    file.warning = "the bus " + path + " is on " + file_system_name(file.file_system) + ": " +
                   harm + ", so what is shown may be old";
  }
  return {};
}

Result<NetbsdMapping> NetbsdMapping::map(int fd, Access access, bool lock_memory) {
  if (base::process_token() == 0)
    return Error::from_errno(errno, "cannot tell forked children from their parent");
  const int protection = access == Access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const base = mmap(nullptr, kNetbsdFileBytes, protection, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return Error::from_errno(errno, "cannot map the bus");
  NetbsdMapping mapping;
  mapping.base_ = static_cast<std::byte*>(base);
  if (madvise(base, kNetbsdFileBytes, MADV_DONTFORK) != 0)
    return Error::from_errno(errno, "cannot hide the bus from forked children");
  static_cast<void>(madvise(base, kNetbsdFileBytes, MADV_DONTDUMP));
  mapping.guard_ = std::make_unique<GuardedRange>(mapping.base_, kNetbsdFileBytes);
  if (!mapping.guard_->is_watched())
    return Error::from_errno(ENOMEM, "cannot guard the bus against a truncation of its file");
  if (access == Access::read_write)
    static_cast<void>(madvise(base, kNetbsdFileBytes, MADV_POPULATE_WRITE));
  if (lock_memory) {
    if (auto locked = lock_in_memory(mapping.base_, kNetbsdFileBytes); !locked)
      return locked.error();
  }
  return mapping;
}

NetbsdMapping::~NetbsdMapping() {
  guard_.reset();  // first: another mapping may get these addresses at once
  if (base_ != nullptr) munmap(base_, kNetbsdFileBytes);
}

void NetbsdMapping::look_whether_lost() const noexcept {
  if (base_ == nullptr || lost() || !sigbus_guard_is_installed()) return;
  static_cast<void>(*static_cast<volatile std::byte*>(base_ + kNetbsdFileBytes - 1));
}

}  // namespace shmif::bus
