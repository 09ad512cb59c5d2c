#include "bus/file/file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/signals.hpp"
#include "base/wall_clock.hpp"
#include "bus/file/file_common.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/huge_pages.hpp"

namespace shmif::bus {
namespace {

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

/// What the user can do about a bus that could not be made at `path`; empty if that is not known.
const char* remedy_for(const std::error_code& why, const std::string& path) noexcept {
  if (why.category() != std::generic_category()) return "";
  constexpr const char* kNoNewFiles =
      " (its directory takes no new files; choose another, such as /dev/shm)";
  switch (why.value()) {
    case ENOENT: {  // also if the directory is /proc
      struct stat directory{};
      if (path.starts_with("bus:")) return " (write the path without \"bus:\")";
      return stat(directory_of(path).c_str(), &directory) == 0 ? kNoNewFiles
                                                               : " (make the directory first)";
    }
    case EPERM: return kNoNewFiles;
    case EACCES: return " (ask for write permission in the directory, or choose another)";
    case EROFS: return " (choose a place that may be written to, such as /dev/shm)";
    case ENOSPC: return " (free some space, or use a smaller --size)";
    case EDQUOT: return " (ask for a larger quota, or use a smaller --size)";
    case EFBIG: return " (raise the limit, see 'ulimit -f', or use a smaller --size)";
    default: return "";
  }
}

Error with_remedy(Error error, const std::string& path) {
  error.message += remedy_for(error.code, path);
  return error;
}

int reserve(int fd, std::uint64_t bytes) noexcept {
  const base::SignalGuard guard(SIGXFSZ);  // beyond RLIMIT_FSIZE: EFBIG instead of a signal
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) return errno;
  int error = 0;
  do {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  return error;
}

}  // namespace

Error refuse_file_system(const char* doing, const std::string& path, std::uint64_t type) {
  return {Errc::unsupported_file_system, std::string("cannot ") + doing + " the bus " + path +
                                             " on " + file_system_name(type) + ": " +
                                             harm_on_file_system(type) +
                                             " (use a tmpfs such as /dev/shm, or a local disk)"};
}

std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string proc_path(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

Result<void> reserve_space(int fd, const std::string& path, std::uint64_t bytes) {
  const int error = reserve(fd, bytes);
  if (error == 0) return {};
  const std::string what = "cannot reserve " + std::to_string(bytes) + " bytes for the bus " + path;
  return with_remedy(Error::from_errno(error, what), path);
}

Result<void> fill(int fd, const std::string& path, const CreateOptions& options,
                  const BusMaker& maker) {
  const auto type = file_system_of(fd, path);
  if (!type) return type.error();
  if (harm_on_file_system(*type) != nullptr) return refuse_file_system("create", path, *type);
  return maker.fill(fd, path, options);
}

namespace {

std::uint32_t flow_word(Flow flow) noexcept {
  return flow == Flow::pause ? kFlowPause : kFlowEthernet;
}

Result<void> check_native(const CreateOptions& options) {
  if (auto ok = check_geometry(options.ring_bytes, options.mtu); !ok) return ok;
  return check_flow(flow_word(options.flow), options.patience_ns);
}

/// `ready` is written last (I1).
Result<void> fill_native(int fd, const std::string& path, const CreateOptions& options) {
  const auto type = file_system_of(fd, path);
  if (!type) return type.error();
  struct stat status{};
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  const std::uint64_t bytes = file_bytes(options.ring_bytes);
  if (auto reserved = reserve_space(fd, path, bytes); !reserved) return reserved;
  gather_in_huge_pages(fd, bytes);
  BusHeader h{};
  h.magic = kMagic;
  h.layout_signature = kLayoutSignature;
  h.ring_bytes = options.ring_bytes;
  h.ring_offset = kRingOffset;
  h.slot_count = kSlots;
  h.mtu = options.mtu;
  h.max_record = max_record_of(options.ring_bytes, options.mtu);
  h.record_align = kRecordAlign;
  h.flow = flow_word(options.flow);
  h.patience_ns = options.patience_ns;
  h.inode = status.st_ino;
  h.file_system = *type;
  h.created_ns = base::wall_clock_ns();
  // Position 0 ends the chain; the first frame will have number 0.
  const std::uint64_t tail[2] = {word::empty(0), 0};
  const std::uint32_t ready = 1;
  if (!write_at(fd, &h, sizeof h, 0) || !write_at(fd, tail, sizeof tail, kRingOffset) ||
      !write_at(fd, &ready, sizeof ready, offsetof(BusHeader, ready))) {
    return Error::from_errno(errno, "cannot write the bus " + path);
  }
  return {};
}

/// Opens a new file without a name in the directory of `path`. If that is not possible, the file
/// has a temporary name, which goes into `temporary`.
Result<UniqueFd> open_unnamed(const std::string& path, std::string& temporary) {
  const std::string directory = directory_of(path);
  // Nobody else can open the half-made file, whatever the umask. It gets its mode when it is
  // complete.
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd && access(proc_path(fd.get()).c_str(), F_OK) == 0) return fd;
  if (!fd && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return with_remedy(
        Error::from_errno(errno, "cannot create the bus " + path + " in directory " + directory),
        path);
  }
  temporary = path + ".XXXXXX";
  fd = UniqueFd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    const int error = errno;
    temporary.clear();
    return with_remedy(Error::from_errno(error, "cannot create the bus " + path), path);
  }
  return fd;
}

/// Gives a file the name `path`, which no file has yet. A rename is best: then the file never has
/// two names, and --create refuses a file with two. After a rename, `from` is empty: another file
/// may have that name by now. Result: 0, or -1 and errno.
int rename_or_link(std::string& from, const std::string& path) {
  const long renamed =
      syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE);
  if (renamed == 0) from.clear();
  if (renamed == 0 || (errno != EINVAL && errno != ENOSYS)) return static_cast<int>(renamed);
  return ::link(from.c_str(), path.c_str());
}

Error refuse_existing(const std::string& path) {
  return {Errc::exists,
          "cannot create the bus " + path +
              ": the path exists already (choose another; 'shmifctl destroy' removes a bus)"};
}

}  // namespace

const BusMaker kNativeMaker{check_native, fill_native};

Result<UniqueFd> create_file(const std::string& path, const CreateOptions& options,
                             const BusMaker& maker) {
  if (auto ok = maker.check(options); !ok) return ok.error();
  if (path.empty()) return Error(Errc::path_empty, "cannot create a bus: the path is empty");
  struct stat status{};
  if (stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode))
    return Error(Errc::exists,
                 "cannot create the bus " + path +
                     ": the path exists already, and is a directory (name a new file in it)");
  if (lstat(path.c_str(), &status) == 0) return refuse_existing(path);
  std::string temporary;
  auto fd = open_unnamed(path, temporary);
  if (!fd) return fd.error();
  auto made = fill(fd->get(), path, options, maker);
  int error = 0;
  if (made && fchmod(fd->get(), options.mode & 07777U) != 0) error = errno;
  if (made && error == 0) {
    const int linked = temporary.empty() ? linkat(AT_FDCWD, proc_path(fd->get()).c_str(), AT_FDCWD,
                                                  path.c_str(), AT_SYMLINK_FOLLOW)
                                         : rename_or_link(temporary, path);
    if (linked != 0) error = errno;
  }
  if (!temporary.empty()) unlink(temporary.c_str());
  if (!made) return made.error();
  if (error == EEXIST) return refuse_existing(path);
  if (error != 0)
    return with_remedy(Error::from_errno(error, "cannot create the bus " + path), path);
  return fd;
}

std::string warning_of_disk(int fd, const std::string& path) {
  const auto type = file_system_of(fd, path);
  if (!type || !writes_to_disk(*type)) return {};
  return "the bus " + path + " is on " + file_system_name(*type) +
         ", not on tmpfs: the kernel will write its pages to disk (better under /dev/shm)";
}

}  // namespace shmif::bus
