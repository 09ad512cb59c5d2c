#include "bus/file/file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/signals.hpp"
#include "base/text.hpp"
#include "base/wall_clock.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/memory.hpp"

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

// ---- Opening ----
//
// A user who may write to a directory can make a path name another file at any moment. So the path
// is opened once, with O_PATH, only to hold the file. Everything that is checked, opened for
// reading or writing, and mapped is the file behind that descriptor.

namespace {

/// The first `size` bytes of a file, in quotation marks; '.' replaces bytes that cannot be printed.
std::string quoted_bytes(const void* bytes, std::size_t size) {
  std::string text(static_cast<const char*>(bytes), size);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '.');
  return '"' + text + '"';
}

constexpr const char* kMendHeader =
    " ('shmifctl repair' restores the header; or delete the file and create a new bus)";

bool is_same_file(int a, int b) noexcept {
  struct stat of_a{};
  struct stat of_b{};
  return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_ino == of_b.st_ino &&
         of_a.st_dev == of_b.st_dev;
}

/// Opens the file behind `fd`, which may be an O_PATH descriptor. Result: empty, and errno; ESTALE
/// if /proc does not help and `path` names another file by now.
UniqueFd open_behind(int fd, const std::string& path, Access access) {
  const int flags = (access == Access::read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  UniqueFd again(::open(proc_path(fd).c_str(), flags));
  if (again) return again;
  again = UniqueFd(::open(path.c_str(), flags | O_NOFOLLOW));
  if (again && !is_same_file(fd, again.get())) {
    again.reset();
    errno = ESTALE;
  }
  return again;
}

/// What the user can do if the caller may not open a bus. `status`: of its file, if known.
std::string who_may_open(const struct stat* status, Access access) {
  // Commands that attach ports may look at the bus first, for reading.
  const std::string permission = access == Access::read_write
                                     ? "read and write permission"
                                     : "read permission, and for ports write permission, too,";
  if (status == nullptr) return "ask for search permission in its directory";
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", status->st_mode & 07777U);
  return "it belongs to user " + std::to_string(status->st_uid) + " and group " +
         std::to_string(status->st_gid) + ", and has mode " + mode + ": its owner can give " +
         permission + " with chmod, or make a bus with --mode 0660 for the group";
}

/// Whether the caller could open the bus, if it did not want to write.
bool may_read(const std::string& path, const struct stat* status, Access access) noexcept {
  return access == Access::read_write && status != nullptr &&
         ::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) == 0;
}

/// Whether the path has the prefix that links of 'shmifctl bridge' have.
bool has_kind(const std::string& path) noexcept {
  return path.starts_with("bus:");
}

Error cannot_open(const std::string& path, Access access, int number,
                  const struct stat* status = nullptr) {
  if (number == ESTALE)
    return {Errc::copied_file,
            "cannot open the bus " + path + ": another file took its place meanwhile (try again)"};
  std::string remedy;
  if (number == ENOENT)
    remedy = has_kind(path) ? "write the path without \"bus:\"" : "make one with 'shmifctl create'";
  if (number == EROFS) remedy = "this must write to the bus; 'stat' and 'dump' need not";
  if (number == EACCES) remedy = who_may_open(status, access);
  if (number == EACCES && may_read(path, status, access)) {
    remedy += "; 'stat' and 'dump' only read, and need no write permission";
  }
  return Error::from_errno(number, "cannot open the bus " + path, remedy);
}

UniqueFd hold(int directory, const char* path) noexcept {
  return UniqueFd(::openat(directory, path, O_PATH | O_CLOEXEC | O_NOFOLLOW));
}

/// Opens the file that `node` holds. For writing, its file system is checked before it is opened:
/// on an overlay, opening for writing is enough to put a copy of the file into the upper layer,
/// which hides the bus for good.
Result<OpenFile> open_node(int node, const std::string& path, Access access, struct stat& status) {
  if (fstat(node, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  if (S_ISLNK(status.st_mode)) {
    return Error(Errc::not_a_regular_file,
                 "cannot open the bus " + path +
                     ": it is a symbolic link, which is never followed (give the file itself)");
  }
  if (!S_ISREG(status.st_mode)) {
    return Error(Errc::not_a_regular_file,
                 "cannot open the bus " + path + ": not a regular file (give the file of a bus)");
  }
  OpenFile file;
  std::memset(&file.header, 0, sizeof file.header);
  const auto type = file_system_of(node, path);
  if (!type) return type.error();
  file.file_system = *type;
  if (access == Access::read_write && harm_on_file_system(*type) != nullptr)
    return refuse_file_system("open", path, *type);
  file.fd = open_behind(node, path, access);
  if (!file.fd) return cannot_open(path, access, errno, &status);
  return file;
}

/// Whether a bus can live where the file is, and whether the file is the one that was made.
Result<void> check_place(const std::string& path, const struct stat& status, Copies copies,
                         OpenFile& file) {
  const std::uint64_t type = file.file_system;
  const BusHeader& h = file.header;
  const std::string on = file_system_name(type);
  if (const char* harm = harm_on_file_system(type); harm != nullptr) {
    if (copies == Copies::refuse) return refuse_file_system("open", path, type);
    file.warning = "the bus " + path + " is on " + on + ": " + harm +
                   ", so what is shown may be old, and live ports may look dead";
  } else if (h.inode != status.st_ino || h.file_system != type) {
    Error copied(Errc::copied_file, path + " is a copy: the bus was made as inode " +
                                        std::to_string(h.inode) + " on " +
                                        file_system_name(h.file_system) + ", this is inode " +
                                        std::to_string(status.st_ino) + " on " + on +
                                        " (create a new bus with 'shmifctl create')");
    if (copies == Copies::refuse) return copied;
    file.warning = std::move(copied.message);
  }
  return {};
}

}  // namespace

Result<OpenFile> open_unchecked(const std::string& path, Access access, struct stat& status) {
  if (path.empty()) return Error(Errc::path_empty, "cannot open a bus: the path is empty");
  const UniqueFd node = hold(AT_FDCWD, path.c_str());
  if (!node) return cannot_open(path, access, errno);
  return open_node(node.get(), path, access, status);
}

Result<void> check_file(OpenFile& file, const std::string& path, const struct stat& status,
                        Copies copies) {
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
    return Error(Errc::not_a_bus,
                 "cannot open the bus " + path + ": it is not a shmif bus: it begins with " +
                     quoted_bytes(&h.magic, length) + " where a bus has " +
                     quoted_bytes(&kMagic, sizeof kMagic) +
                     " (give the file of a bus; if this file was one, 'shmifctl repair' restores "
                     "its header; 'shmifctl create' makes a new bus)");
  }
  if (h.ready != 1) {
    return Error(Errc::not_ready, "cannot open the bus " + path +
                                      ": it was never completed (delete it and create a new bus)");
  }
  if (h.layout_signature != kLayoutSignature) {
    return Error(Errc::wrong_layout,
                 "bus " + path + " has layout " + base::hex(h.layout_signature) +
                     ", this build speaks " + base::hex(kLayoutSignature) +
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
  return check_place(path, status, copies, file);
}

Result<UniqueFd> reopen(int fd, const std::string& path, Access access) {
  UniqueFd again = open_behind(fd, path, access);
  if (!again) return cannot_open(path, access, errno);
  return again;
}

Result<OpenFile> reopen_unchecked(int fd, const std::string& path, Access access,
                                  struct stat& status) {
  return open_node(fd, path, access, status);
}

// ---- Opening, or making first ----

namespace {

/// The file at a path and the directory that it is in, both held by descriptors.
struct HeldPath {
  UniqueFd directory;
  UniqueFd node;

  /// `node` is empty, and errno set, if `path` names no file.
  explicit HeldPath(const std::string& path)
      : directory(::open(directory_of(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!directory) return;
    const std::string base = path.substr(path.find_last_of('/') + 1);  // npos + 1 is 0
    node = hold(directory.get(), base.empty() ? "." : base.c_str());
  }
};

/// Whether others than the caller and root may make names in a directory. Its mode covers access
/// control lists: if there is one, the bits of the group are its mask.
bool others_may_write(const struct stat& directory) noexcept {
  return (directory.st_mode & (S_IWGRP | S_IWOTH)) != 0 ||
         (directory.st_uid != 0 && directory.st_uid != geteuid());
}

/// Checks that the caller may take the file as its own. In a directory where others may make files,
/// too, somebody may have put a file of his own there, or a hard link to another bus, so that the
/// caller mistakes it for the bus that it means.
Result<void> check_owner(const HeldPath& held, const std::string& path) {
  struct stat file{};
  struct stat directory{};
  if (fstat(held.node.get(), &file) != 0 || fstat(held.directory.get(), &directory) != 0)
    return Error::from_errno(errno, "cannot query " + path);
  if (!S_ISREG(file.st_mode)) return {};
  if (file.st_nlink > 1 && others_may_write(directory)) {
    return Error(std::error_code(EACCES, std::generic_category()),
                 "cannot use " + path + " as the bus: the file has " +
                     std::to_string(file.st_nlink) +
                     " names, and others may write to this directory: somebody else may have made "
                     "one of them as a hard link (\"find " +
                     base::quote_word(directory_of(path)) + " -samefile " + base::quote_word(path) +
                     "\" lists the names; remove this one with 'shmifctl destroy' and create a new "
                     "bus, or use the file without --create)");
  }
  constexpr mode_t kOpenToAll = S_ISVTX | S_IWOTH;
  if ((directory.st_mode & kOpenToAll) != kOpenToAll) return {};
  if (file.st_uid == geteuid() || file.st_uid == directory.st_uid) return {};
  return Error(std::error_code(EACCES, std::generic_category()),
               "cannot use " + path + " as the bus: it belongs to user " +
                   std::to_string(file.st_uid) + ", in a directory where everybody may put files" +
                   " (leave out --create to use it all the same)");
}

bool is_ready(int fd) noexcept {
  std::uint32_t ready = 0;
  return pread(fd, &ready, sizeof ready, offsetof(BusHeader, ready)) ==
             static_cast<ssize_t>(sizeof ready) &&
         ready != 0;
}

/// Fills an empty file, unless another process was first. Leaves a file that is not empty alone.
/// Result: whether this call filled the file.
Result<bool> fill_if_empty(int fd, const std::string& path, const CreateOptions& options,
                           const BusMaker& maker) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  if (status.st_size != 0 && is_ready(fd)) return false;
  if (auto ok = maker.check(options); !ok) return ok.error();
  // A byte that no port's lock covers serves as the creators' lock. The kernel frees it when a
  // creator dies.
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(1) << 40U;
  lock.l_len = 1;
  for (int tries = 0; fcntl(fd, F_OFD_SETLK, &lock) != 0; ++tries) {
    if ((errno != EAGAIN && errno != EACCES) || tries == 1000) {
      return Error(Errc::not_ready,
                   "the bus " + path + " was not made ready by its creator in time");
    }
    const timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  bool filled = false;
  if (status.st_size == 0) {
    if (auto made = fill(fd, path, options, maker); !made) {
      static_cast<void>(ftruncate(fd, 0) == 0);  // empty again, as it was found
      return made.error();
    }
    filled = true;
  }
  lock.l_type = F_UNLCK;  // the descriptor stays open for the caller
  static_cast<void>(fcntl(fd, F_OFD_SETLK, &lock));
  return filled;
}

/// How often a bus may vanish right after it was found or made.
constexpr unsigned kMaxOpens = 10;

}  // namespace

Result<OpenFile> open_or_create_unchecked(const std::string& path, const CreateOptions& options,
                                          const BusMaker& maker, struct stat& status) {
  bool made = false;
  for (unsigned tries = 0;; ++tries) {
    const HeldPath held(path);
    if (!held.node) {
      const int number = errno;
      if (tries == kMaxOpens) return cannot_open(path, Access::read_write, number);
      const auto fresh = create_file(path, options, maker);
      // Another process may have been first. Its file was complete before it had this name.
      if (!fresh && fresh.error().code != Errc::exists) return fresh.error();
      made = made || fresh;
      continue;  // whatever the path names now is checked like any other file
    }
    if (auto ok = check_owner(held, path); !ok) return ok.error();
    auto file = open_node(held.node.get(), path, Access::read_write, status);
    if (!file) return file;
    const auto filled = fill_if_empty(file->fd.get(), path, options, maker);
    if (!filled) return filled.error();
    if (fstat(file->fd.get(), &status) != 0)
      return Error::from_errno(errno, "cannot query " + path);
    if (made || *filled) file->warning = warning_of_disk(file->fd.get(), path);
    return file;
  }
}

}  // namespace shmif::bus
