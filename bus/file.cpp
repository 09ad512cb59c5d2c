#include "bus/file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "bus/geometry.hpp"

namespace shmif::bus {
namespace {

struct FileSystem {
  std::uint64_t magic;
  const char* name;
  bool refused;  ///< measured on overlay: two views of a file see different locks, watches and data
};

constexpr std::array kFileSystems{
    FileSystem{TMPFS_MAGIC, "tmpfs", false},
    FileSystem{0x858458f6, "ramfs", false},
    FileSystem{EXT4_SUPER_MAGIC, "ext4", false},
    FileSystem{XFS_SUPER_MAGIC, "xfs", false},
    FileSystem{BTRFS_SUPER_MAGIC, "btrfs", false},
    FileSystem{F2FS_SUPER_MAGIC, "f2fs", false},
    FileSystem{OVERLAYFS_SUPER_MAGIC, "overlay", true},
    FileSystem{NFS_SUPER_MAGIC, "nfs", true},
    FileSystem{FUSE_SUPER_MAGIC, "fuse", true},
    FileSystem{V9FS_MAGIC, "9p", true},
    FileSystem{0xff534d42, "cifs", true},
    FileSystem{0xfe534d42, "smb2", true},
    FileSystem{CEPH_SUPER_MAGIC, "ceph", true},
    FileSystem{AFS_SUPER_MAGIC, "afs", true},
    FileSystem{HUGETLBFS_MAGIC, "hugetlbfs", true},
};

const FileSystem* find_file_system(std::uint64_t magic) noexcept {
  const auto* it = std::find_if(kFileSystems.begin(), kFileSystems.end(),
                                [&](const FileSystem& f) { return f.magic == magic; });
  return it == kFileSystems.end() ? nullptr : it;
}

Result<std::uint64_t> file_system_of(int fd, const std::string& path) {
  struct statfs s{};
  if (fstatfs(fd, &s) != 0)
    return Error::from_errno(errno, "cannot query the file system of " + path);
  return static_cast<std::uint64_t>(static_cast<unsigned long>(s.f_type)) & 0xffffffffU;
}

Error refuse_file_system(const std::string& path, std::uint64_t magic) {
  return {Errc::unsupported_file_system,
          "cannot put a bus at " + path + ": on " + file_system_name(magic) +
              ", processes may see different data (use a tmpfs such as /dev/shm, or a local disk)"};
}

std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::uint64_t wall_clock_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

std::string hex(std::uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

bool write_at(int fd, const void* data, std::size_t size, std::uint64_t offset) noexcept {
  const auto* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = pwrite(fd, p, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    p += n;
    offset += static_cast<std::size_t>(n);
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

/// Reserves every block, so that a full disk is an error here and never a SIGBUS later.
int reserve(int fd, std::uint64_t bytes) noexcept {
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return errno;
  int error = 0;
  do {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  return error;
}

/// Turns an empty file into a bus. `ready` is written last (I1).
Result<void> fill(int fd, const std::string& path, const CreateOptions& options) {
  const auto type = file_system_of(fd, path);
  if (!type) return type.error();
  if (const FileSystem* f = find_file_system(*type); f != nullptr && f->refused) {
    return refuse_file_system(path, *type);
  }
  struct stat status{};
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  const std::uint64_t bytes = file_bytes(options.ring_bytes);
  if (const int error = reserve(fd, bytes); error != 0) {
    return Error::from_errno(
        error, "cannot reserve " + std::to_string(bytes) + " bytes for the bus " + path +
                   (error == ENOSPC ? " (free some space or use a smaller --size)" : ""));
  }
  BusHeader h{};
  h.magic = kMagic;
  h.layout_signature = kLayoutSignature;
  h.ring_bytes = options.ring_bytes;
  h.ring_offset = kRingOffset;
  h.slot_count = kSlots;
  h.mtu = options.mtu;
  h.max_record = max_record_of(options.ring_bytes, options.mtu);
  h.record_align = kRecordAlign;
  h.inode = status.st_ino;
  h.file_system = *type;
  h.created_ns = wall_clock_ns();
  // Position 0 ends the chain; the first frame will have number 0.
  const std::uint64_t tail[2] = {word::empty(0), 0};
  const std::uint32_t ready = 1;
  if (!write_at(fd, &h, sizeof h, 0) || !write_at(fd, tail, sizeof tail, kRingOffset) ||
      !write_at(fd, &ready, sizeof ready, offsetof(BusHeader, ready))) {
    return Error::from_errno(errno, "cannot write the bus " + path);
  }
  return {};
}

std::string proc_path(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

/// A file in the directory of `path` that has no name, or none that lasts (`temporary` is set
/// then).
Result<UniqueFd> open_unnamed(const std::string& path, std::string& temporary) {
  const std::string directory = directory_of(path);
  // Mode 0 until fchmod: nobody opens it half made, whatever the umask.
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd && access(proc_path(fd.get()).c_str(), F_OK) == 0) return fd;
  if (!fd && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return Error::from_errno(errno, "cannot create the bus " + path + " in directory " + directory);
  }
  temporary = path + ".XXXXXX";
  fd = UniqueFd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    const int error = errno;
    temporary.clear();
    return Error::from_errno(error, "cannot create the bus " + path);
  }
  return fd;
}

Error refuse_existing(const std::string& path) {
  return {Errc::exists,
          "cannot create the bus " + path +
              ": the path exists already (choose another; 'shmifctl destroy' removes a bus)"};
}

}  // namespace

std::string file_system_name(std::uint64_t f_type) {
  const FileSystem* f = find_file_system(f_type);
  return f != nullptr ? f->name : "file system " + hex(f_type);
}

Result<void> create_file(const std::string& path, const CreateOptions& options) {
  if (auto ok = check_geometry(options.ring_bytes, options.mtu); !ok) return ok;
  if (path.empty()) return Error(Errc::path_empty, "cannot create a bus: the path is empty");
  struct stat status{};
  if (lstat(path.c_str(), &status) == 0) return refuse_existing(path);
  std::string temporary;
  auto fd = open_unnamed(path, temporary);
  if (!fd) return fd.error();
  auto made = fill(fd->get(), path, options);
  int error = 0;
  if (made && fchmod(fd->get(), options.mode & 07777U) != 0) error = errno;
  if (made && error == 0) {
    const int linked = temporary.empty() ? linkat(AT_FDCWD, proc_path(fd->get()).c_str(), AT_FDCWD,
                                                  path.c_str(), AT_SYMLINK_FOLLOW)
                                         : ::link(temporary.c_str(), path.c_str());
    if (linked != 0) error = errno;
  }
  if (!temporary.empty()) unlink(temporary.c_str());
  if (!made) return made;
  if (error == EEXIST) return refuse_existing(path);
  if (error != 0) return Error::from_errno(error, "cannot create the bus " + path);
  return {};
}

Result<void> initialise_if_empty(const std::string& path, const CreateOptions& options) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  // Whatever is wrong with the path, open_file says it better.
  if (!fd || fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  std::uint32_t ready = 0;
  const auto is_ready = [&] {
    return pread(fd.get(), &ready, sizeof ready, offsetof(BusHeader, ready)) ==
               static_cast<ssize_t>(sizeof ready) &&
           ready != 0;
  };
  if (status.st_size != 0 && is_ready()) return {};
  if (auto ok = check_geometry(options.ring_bytes, options.mtu); !ok) return ok;
  // A byte that no port's lock covers serves as the creators' lock; the kernel frees it when one
  // dies.
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(1) << 40U;
  lock.l_len = 1;
  for (int tries = 0; fcntl(fd.get(), F_OFD_SETLK, &lock) != 0; ++tries) {
    if ((errno != EAGAIN && errno != EACCES) || tries == 1000) {
      return Error(Errc::not_ready,
                   "the bus " + path + " was not made ready by its creator in time");
    }
    const timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  if (fstat(fd.get(), &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  if (status.st_size != 0) return {};
  auto made = fill(fd.get(), path, options);
  if (!made) static_cast<void>(ftruncate(fd.get(), 0) == 0);  // empty again, as it was found
  return made;
}

namespace {

Result<void> check_identity(const std::string& path, const BusHeader& h, const struct stat& status,
                            std::uint64_t type, bool tolerate, std::string& warning) {
  Error problem{std::error_code{}, {}};
  if (const FileSystem* f = find_file_system(type); f != nullptr && f->refused) {
    problem = refuse_file_system(path, type);
  } else if (h.inode != status.st_ino || h.file_system != type) {
    problem = Error(Errc::copied_file,
                    path + " is a copy: the bus was made as inode " + std::to_string(h.inode) +
                        " on " + file_system_name(h.file_system) + ", this is inode " +
                        std::to_string(status.st_ino) + " on " + file_system_name(type) +
                        " (create a bus of its own with 'shmifctl create')");
  }
  if (!problem.code) {
    if (type != TMPFS_MAGIC && !tolerate) {  // who only looks makes no page dirty
      warning = "the bus " + path + " is on " + file_system_name(type) +
                ", not on tmpfs: the kernel will write its pages to disk (better under /dev/shm)";
    }
    return {};
  }
  if (!tolerate) return problem;
  warning = problem.message;
  return {};
}

}  // namespace

Result<OpenFile> open_file(const std::string& path, bool writable, bool tolerate_copies) {
  if (path.empty()) return Error(Errc::path_empty, "cannot open a bus: the path is empty");
  OpenFile file;
  file.fd = UniqueFd(
      ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.fd) {
    if (errno == ELOOP) {
      return Error(Errc::not_a_regular_file,
                   "cannot open the bus " + path +
                       ": it is a symbolic link, which is never followed (give the file itself)");
    }
    if (errno == EISDIR || errno == ENXIO) {
      return Error(Errc::not_a_regular_file,
                   "cannot open the bus " + path + ": not a regular file (give the file of a bus)");
    }
    const char* remedy = errno == ENOENT  ? " (make one with 'shmifctl create')"
                         : errno == EROFS ? " (who attaches must write; 'stat' and 'dump' need not)"
                         : errno != EACCES ? ""
                         : writable        ? " (ask its owner for read and write permission)"
                                           : " (ask its owner for read permission)";
    auto e = Error::from_errno(errno, "cannot open the bus " + path);
    e.message += remedy;
    return e;
  }
  struct stat status{};
  if (fstat(file.fd.get(), &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  if (!S_ISREG(status.st_mode)) {
    return Error(Errc::not_a_regular_file,
                 "cannot open the bus " + path + ": not a regular file (give the file of a bus)");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  BusHeader& h = file.header;
  std::memset(&h, 0, sizeof h);
  if (size == 0) {
    return Error(Errc::not_ready, path + " is an empty file (attach with --create, or delete it)");
  }
  const ssize_t got = pread(file.fd.get(), &h, sizeof h, 0);
  if (got < 0) return Error::from_errno(errno, "cannot read the bus " + path);
  if (static_cast<std::size_t>(got) < sizeof h.magic || h.magic != kMagic) {
    return Error(Errc::not_a_bus, path + " is not a shmif bus: it begins with " + hex(h.magic) +
                                      " where a bus has " + hex(kMagic) +
                                      " (give the file of a bus; 'shmifctl create' makes one)");
  }
  if (h.ready != 1) {
    return Error(Errc::not_ready,
                 "the bus " + path + " was never completed (delete it and create it anew)");
  }
  if (h.layout_signature != kLayoutSignature) {
    return Error(Errc::wrong_layout,
                 "bus " + path + " has layout " + hex(h.layout_signature) + ", this build speaks " +
                     hex(kLayoutSignature) +
                     " (use the shmif version that made it, or delete it and create a new bus)");
  }
  if (static_cast<std::size_t>(got) < sizeof h || size != file_bytes(h.ring_bytes)) {
    return Error(Errc::wrong_size,
                 "bus " + path + " has " + std::to_string(size) + " bytes, its header says " +
                     std::to_string(file_bytes(h.ring_bytes)) +
                     " (it was truncated or extended; delete it and create a new bus)");
  }
  if (auto ok = check_geometry(h.ring_bytes, h.mtu); !ok) {
    return Error(Errc::corrupt, "bus " + path + " has a damaged header: " + ok.error().message);
  }
  if (h.ring_offset != kRingOffset || h.slot_count != kSlots || h.record_align != kRecordAlign ||
      h.max_record != max_record_of(h.ring_bytes, h.mtu) || h.flow > 1) {
    return Error(Errc::corrupt,
                 "bus " + path + " has a damaged header (delete it and create a new bus)");
  }
  const auto type = file_system_of(file.fd.get(), path);
  if (!type) return type.error();
  if (auto ok = check_identity(path, h, status, *type, tolerate_copies, file.warning); !ok)
    return ok.error();
  return file;
}

Result<UniqueFd> reopen(int fd, const std::string& path, bool writable) {
  const int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  UniqueFd again(::open(proc_path(fd).c_str(), flags));
  if (!again) again = UniqueFd(::open(path.c_str(), flags | O_NOFOLLOW));
  struct stat a{};
  struct stat b{};
  if (!again || fstat(fd, &a) != 0 || fstat(again.get(), &b) != 0) {
    return Error::from_errno(errno, "cannot open the bus " + path + " a second time");
  }
  if (a.st_ino != b.st_ino || a.st_dev != b.st_dev) {
    return Error(Errc::copied_file,
                 "the file at " + path + " was replaced while attaching (try again)");
  }
  return again;
}

}  // namespace shmif::bus
