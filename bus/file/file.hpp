#pragma once
// The bus file as a file: it gets its name only when it is complete, and is opened only after every
// check.

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/parts.hpp"
#include "bus/info.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

/// The steps that differ between formats when a bus is made.
struct BusMaker {
  Result<void> (*check)(const CreateOptions& options);
  /// Turns an empty file into a bus, on a file system where one can live.
  Result<void> (*fill)(int fd, const std::string& path, const CreateOptions& options);
};
/// Makes buses of our own format. Errors of its check: those of check_geometry and check_flow.
extern const BusMaker kNativeMaker;

/// Makes a bus at `path`: reserves the disk space, writes everything, and only then gives it the
/// name. Result: the file that was made, whatever the path names by now. Errors: exists, those of
/// the maker's check, path_empty, unsupported_file_system, or an errno.
Result<UniqueFd> create_file(const std::string& path, const CreateOptions& options,
                             const BusMaker& maker = kNativeMaker);

/// An open bus file whose header was checked.
struct OpenFile {
  UniqueFd fd;
  BusHeader header;  ///< a private copy; only its (i) fields are meaningful
  /// Why the program may see other data than the ports do; for a bus that was just made, why it may
  /// be slow. Otherwise empty.
  std::string warning;
  std::string disk_warning;       ///< for a port: why the bus may be slow; otherwise empty
  std::uint64_t file_system = 0;  ///< where the file is now; see bus/file/file_system.hpp
};

/// What a check does about a copied file, or a file system on which processes see different data.
enum class Copies : std::uint8_t {
  refuse,
  tolerate,  ///< for tools that only read: it becomes a warning
};

/// Opens a file that may be a bus, for reading or writing. It must be a regular file; a symbolic
/// link is never followed. Does not read the file, and `header` is empty. `status` receives
/// the status of the file.
Result<OpenFile> open_unchecked(const std::string& path, Access access, struct stat& status);

/// Checks what open_unchecked() opened: magic, ready, signature, size, geometry, file system and
/// inode, in this order; and fills in `header`. If two values do not fit, the error names both.
Result<void> check_file(OpenFile& file, const std::string& path, const struct stat& status,
                        Copies copies);

/// Opens the file at `path` for writing, and makes a bus there first if it is missing. Checks
/// nothing in the file: call the check of its format next. `status` receives the status of the
/// file. OpenFile::warning: why a bus that was just made may be slow. If there is an empty file,
/// the first process that comes fills it; the others wait at most 10 s until it is ready.
///
/// The path is opened once, and every check looks at the file behind that descriptor. Two kinds of
/// files are refused, because somebody may have put them there to be mistaken for the caller's own
/// bus. In a sticky directory that everybody may write to, such as /dev/shm: a file that belongs
/// neither to the caller nor to the directory's owner (as with fs.protected_regular, see
/// proc_sys_fs(5)). In a directory that others than the caller and root may write to (its group,
/// everybody, another owner): a file with more than one name, which may be a hard link to another
/// bus. Errors: permission_denied for such files, those of create_file() and open_unchecked().
Result<OpenFile> open_or_create_unchecked(const std::string& path, const CreateOptions& options,
                                          const BusMaker& maker, struct stat& status);

/// Opens another description of the file behind `fd`, which shares no locks with it. If /proc is
/// not mounted, opens `path` and makes sure that it is the same file.
Result<UniqueFd> reopen(int fd, const std::string& path, Access access);

/// As open_unchecked(), but opens the file behind `fd` again, with a description of its own.
Result<OpenFile> reopen_unchecked(int fd, const std::string& path, Access access,
                                  struct stat& status);

// What creating, opening and removing a bus file share. Internal to bus/.

/// The error for a file system on which a bus cannot live. `doing`: "create" or "open".
Error refuse_file_system(const char* doing, const std::string& path, std::uint64_t type);

std::string directory_of(const std::string& path);

/// A path to the open file behind `fd`, as long as /proc is mounted.
std::string proc_path(int fd);

/// Reserves every block, so that a full disk is an error here and never a SIGBUS later. Errors: the
/// system's, with the remedy.
Result<void> reserve_space(int fd, const std::string& path, std::uint64_t bytes);

/// Turns an empty file into a bus, on a file system where one can live.
Result<void> fill(int fd, const std::string& path, const CreateOptions& options,
                  const BusMaker& maker);

}  // namespace shmif::bus
