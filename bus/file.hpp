#pragma once
// The bus file as a file: made complete before it has a name, opened only after a look at
// everything.

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "bus/layout.hpp"
#include "bus/result.hpp"
#include "bus/unique_fd.hpp"

namespace shmif::bus {

struct CreateOptions {
  std::uint64_t ring_bytes = kDefaultRingBytes;
  std::uint32_t mtu = 1500;
  std::uint32_t mode = 0600;
  std::uint32_t flow = kFlowEthernet;
  std::uint64_t patience_ns = 0;
};

/// Makes a bus at `path`: the disk space reserved, everything written, and only then the name.
/// Result: the file that was made, whatever the path names by now. Errors: exists, those of
/// check_geometry, unsupported_file_system, or the system's.
Result<UniqueFd> create_file(const std::string& path, const CreateOptions& options);

/// Why the file behind `fd` is a slow place for a bus; empty where it is not.
std::string warning_of_disk(int fd, const std::string& path);

/// An open bus file whose header was checked.
struct OpenFile {
  UniqueFd fd;
  BusHeader header;  ///< a private copy; only its (i) fields mean something
  /// Why what is seen may not be what the ports see; of a bus that was just made, why it may be
  /// slow. Else empty.
  std::string warning;
  std::uint64_t file_system = 0;  ///< where it is now; see bus/file_system.hpp
};

/// Opens what may be a bus, never following a symbolic link: a regular file that one may read, or
/// write. Nothing is read of it; `header` is empty. `status`: of the file.
Result<OpenFile> open_unchecked(const std::string& path, bool writable, struct stat& status);

/// Looks at what open_unchecked() opened: size, ready, magic, signature, geometry, inode and file
/// system, in this order, and fills in `header`. `tolerate_copies`: for read-only tools, a copied
/// file or a file system on which processes see different data becomes a warning. Errors name both
/// sides of what does not fit.
Result<void> check_file(OpenFile& file, const std::string& path, const struct stat& status,
                        bool tolerate_copies);

/// open_unchecked() and check_file() in one.
Result<OpenFile> open_file(const std::string& path, bool writable, bool tolerate_copies = false);

/// Opens the bus at `path` for writing, and makes it first where it is missing. An existing empty
/// file is filled by whoever comes first; the others wait at most 10 s until it is ready.
///
/// The path is opened once, and what is looked at is the file behind that descriptor. In a sticky
/// directory that everybody may write to, such as /dev/shm, a file of neither the caller nor the
/// directory's owner may have been put there to be mistaken for a bus of the caller's own (as
/// fs.protected_regular has it, see proc_sys_fs(5)); and where others than root may write to the
/// directory (its group, everybody, another owner), a file with more than one name may be a hard
/// link to another bus. Errors: permission_denied for such files, those of create_file() and
/// open_file().
Result<OpenFile> open_or_create_file(const std::string& path, const CreateOptions& options);

/// A further description of the file behind `fd`, which shares no locks with it. Falls back to
/// `path` where /proc is not mounted, and then makes sure that it is the same file.
Result<UniqueFd> reopen(int fd, const std::string& path, bool writable);

/// The bus behind `fd` once more, through a description of its own, and checked anew.
Result<OpenFile> reopen_file(int fd, const std::string& path, bool writable);

}  // namespace shmif::bus
