#include "bus/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "bus/file_system.hpp"
#include "bus/geometry.hpp"
#include "bus/hex.hpp"
#include "bus/huge_pages.hpp"
#include "bus/signal_guard.hpp"
#include "bus/wall_clock.hpp"

namespace shmif::bus {
namespace {

/// `doing`: "create", "open".
Error refuse_file_system(const char* doing, const std::string& path, std::uint64_t type) {
  return {Errc::unsupported_file_system, std::string("cannot ") + doing + " the bus " + path +
                                             " on " + file_system_name(type) + ": " +
                                             harm_on_file_system(type) +
                                             " (use a tmpfs such as /dev/shm, or a local disk)"};
}

/// Refuses a file system by the file's path alone: to open for writing is enough for an overlay to
/// put a copy of the file into its upper layer, which hides the bus for good. What else is wrong
/// with the path, opening it tells.
Result<void> check_home(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return {};
  const auto type = file_system_of(fd.get(), path);
  if (!type || harm_on_file_system(*type) == nullptr) return {};
  return refuse_file_system("open", path, *type);
}

std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// `size` bytes, the first of a file, in quotation marks; '.' for what cannot be printed.
std::string quoted_bytes(const void* bytes, std::size_t size) {
  std::string text(static_cast<const char*>(bytes), size);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '.');
  return '"' + text + '"';
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

/// What to do about a bus that could not be made; nothing where that is not known.
const char* remedy_for(const std::error_code& why) noexcept {
  if (why.category() != std::generic_category()) return "";
  switch (why.value()) {
    case ENOENT: return " (make the directory first)";
    case EACCES: return " (ask for write permission in the directory, or choose another)";
    case EROFS: return " (choose a place that may be written to, such as /dev/shm)";
    case ENOSPC: return " (free some space, or use a smaller --size)";
    case EDQUOT: return " (ask for a larger quota, or use a smaller --size)";
    case EFBIG: return " (raise the limit, see 'ulimit -f', or use a smaller --size)";
    default: return "";
  }
}

Error with_remedy(Error error) {
  error.message += remedy_for(error.code);
  return error;
}

/// Reserves every block, so that a full disk is an error here and never a SIGBUS later.
int reserve(int fd, std::uint64_t bytes) noexcept {
  const SignalGuard guard(SIGXFSZ);  // above RLIMIT_FSIZE: EFBIG, and no signal
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
  if (harm_on_file_system(*type) != nullptr) return refuse_file_system("create", path, *type);
  struct stat status{};
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  const std::uint64_t bytes = file_bytes(options.ring_bytes);
  if (const int error = reserve(fd, bytes); error != 0) {
    const std::string what =
        "cannot reserve " + std::to_string(bytes) + " bytes for the bus " + path;
    return with_remedy(Error::from_errno(error, what));
  }
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
  h.flow = options.flow;
  h.patience_ns = options.patience_ns;
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
  // Nobody else opens it half made, whatever the umask: its mode comes when it is whole.
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd && access(proc_path(fd.get()).c_str(), F_OK) == 0) return fd;
  if (!fd && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return with_remedy(
        Error::from_errno(errno, "cannot create the bus " + path + " in directory " + directory));
  }
  temporary = path + ".XXXXXX";
  fd = UniqueFd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    const int error = errno;
    temporary.clear();
    return with_remedy(Error::from_errno(error, "cannot create the bus " + path));
  }
  return fd;
}

Error refuse_existing(const std::string& path) {
  return {Errc::exists,
          "cannot create the bus " + path +
              ": the path exists already (choose another; 'shmifctl destroy' removes a bus)"};
}

}  // namespace

Result<void> create_file(const std::string& path, const CreateOptions& options) {
  if (auto ok = check_geometry(options.ring_bytes, options.mtu); !ok) return ok;
  if (auto ok = check_flow(options.flow, options.patience_ns); !ok) return ok;
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
  if (error != 0) return with_remedy(Error::from_errno(error, "cannot create the bus " + path));
  return {};
}

Result<void> check_owner(const std::string& path) {
  struct stat file{};
  struct stat directory{};
  // Whatever is wrong with the path, open_file says it better.
  if (lstat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return {};
  if (stat(directory_of(path).c_str(), &directory) != 0) return {};
  constexpr mode_t kOpenToAll = S_ISVTX | S_IWOTH;
  if ((directory.st_mode & kOpenToAll) != kOpenToAll) return {};
  if (file.st_uid == geteuid() || file.st_uid == directory.st_uid) return {};
  return Error(std::error_code(EACCES, std::generic_category()),
               "cannot take " + path + " for the bus: it belongs to user " +
                   std::to_string(file.st_uid) + ", in a directory where everybody may put files" +
                   " (to use theirs all the same, do without --create)");
}

Result<void> initialise_if_empty(const std::string& path, const CreateOptions& options) {
  if (auto ok = check_home(path); !ok) return ok;
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
  if (auto ok = check_flow(options.flow, options.patience_ns); !ok) return ok;
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

constexpr const char* kMendHeader =
    " ('shmifctl repair' restores it; or delete it and create a new bus)";

/// Whether the file is where a bus can live, and the one that was made. `tolerate`: what is wrong
/// becomes a warning.
Result<void> check_place(const std::string& path, const struct stat& status, bool tolerate,
                         OpenFile& file) {
  const std::uint64_t type = file.file_system;
  const BusHeader& h = file.header;
  const std::string on = file_system_name(type);
  if (const char* harm = harm_on_file_system(type); harm != nullptr) {
    if (!tolerate) return refuse_file_system("open", path, type);
    file.warning = "the bus " + path + " is on " + on + ": " + harm +
                   ", so what is shown may be old, and live ports may look dead";
  } else if (h.inode != status.st_ino || h.file_system != type) {
    Error copied(Errc::copied_file, path + " is a copy: the bus was made as inode " +
                                        std::to_string(h.inode) + " on " +
                                        file_system_name(h.file_system) + ", this is inode " +
                                        std::to_string(status.st_ino) + " on " + on +
                                        " (create a bus of its own with 'shmifctl create')");
    if (!tolerate) return copied;
    file.warning = std::move(copied.message);
  } else if (writes_to_disk(type) && !tolerate) {  // who only looks makes no page dirty
    file.warning =
        "the bus " + path + " is on " + on +
        ", not on tmpfs: the kernel will write its pages to disk (better under /dev/shm)";
  }
  return {};
}

/// What to do about a bus that may not be opened.
std::string who_may_open(const std::string& path, bool writable) {
  const std::string permission = writable ? "read and write permission" : "read permission";
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) return "ask for search permission in its directory";
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", status.st_mode & 07777U);
  return "it belongs to user " + std::to_string(status.st_uid) + " and group " +
         std::to_string(status.st_gid) + ", and has mode " + mode + ": its owner gives " +
         permission + " by chmod, or makes a bus with --mode 0660 for the group";
}

}  // namespace

Result<OpenFile> open_unchecked(const std::string& path, bool writable, struct stat& status) {
  if (path.empty()) return Error(Errc::path_empty, "cannot open a bus: the path is empty");
  if (writable) {
    if (auto ok = check_home(path); !ok) return ok.error();
  }
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
    const int number = errno;
    auto e = Error::from_errno(number, "cannot open the bus " + path);
    if (number == ENOENT) e.message += " (make one with 'shmifctl create')";
    if (number == EROFS) e.message += " (who attaches must write; 'stat' and 'dump' need not)";
    if (number == EACCES) e.message += " (" + who_may_open(path, writable) + ')';
    return e;
  }
  if (fstat(file.fd.get(), &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  if (!S_ISREG(status.st_mode)) {
    return Error(Errc::not_a_regular_file,
                 "cannot open the bus " + path + ": not a regular file (give the file of a bus)");
  }
  std::memset(&file.header, 0, sizeof file.header);
  const auto type = file_system_of(file.fd.get(), path);
  if (!type) return type.error();
  file.file_system = *type;
  return file;
}

Result<OpenFile> open_file(const std::string& path, bool writable, bool tolerate_copies) {
  struct stat status{};
  auto opened = open_unchecked(path, writable, status);
  if (!opened) return opened.error();
  OpenFile file = *std::move(opened);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  BusHeader& h = file.header;
  if (size == 0) {
    return Error(Errc::not_ready, "cannot open the bus " + path +
                                      ": it is an empty file (attach with --create, or delete it)");
  }
  const ssize_t got = pread(file.fd.get(), &h, sizeof h, 0);
  if (got < 0) return Error::from_errno(errno, "cannot read the bus " + path);
  if (static_cast<std::size_t>(got) < sizeof h.magic || h.magic != kMagic) {
    const auto length = std::min<std::size_t>(static_cast<std::size_t>(got), sizeof h.magic);
    return Error(Errc::not_a_bus, "cannot open the bus " + path +
                                      ": it is not a shmif bus: it begins with " +
                                      quoted_bytes(&h.magic, length) + " where a bus has " +
                                      quoted_bytes(&kMagic, sizeof kMagic) +
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
                 "cannot open the bus " + path + ": it has " + std::to_string(size) +
                     " bytes, its header says " + std::to_string(file_bytes(h.ring_bytes)) +
                     " (it was truncated or extended; 'shmifctl destroy --force' removes it, "
                     "then create a new one)");
  }
  if (auto ok = check_geometry(h.ring_bytes, h.mtu); !ok) {
    return Error(Errc::corrupt,
                 "bus " + path + " has a damaged header: " + ok.error().message + kMendHeader);
  }
  if (h.ring_offset != kRingOffset || h.slot_count != kSlots || h.record_align != kRecordAlign ||
      h.max_record != max_record_of(h.ring_bytes, h.mtu) || !check_flow(h.flow, h.patience_ns)) {
    return Error(Errc::corrupt, "bus " + path + " has a damaged header" + kMendHeader);
  }
  if (auto ok = check_place(path, status, tolerate_copies, file); !ok) return ok.error();
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
