// Opening a bus file.
//
// A user who may write to a directory can make a path name another file at any moment. So the path
// is opened once, with O_PATH, only to hold the file. Everything that is checked, opened for
// reading or writing, and mapped is the file behind that descriptor.

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/text.hpp"
#include "bus/file/file.hpp"
#include "bus/file/file_common.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"

namespace shmif::bus {
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
