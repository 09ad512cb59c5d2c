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
/// Errors: exists, those of check_geometry, unsupported_file_system, or the system's.
Result<void> create_file(const std::string& path, const CreateOptions& options);

/// Whether who asks for a bus of `path`, to be made if need be, may take the file that is there. In
/// a sticky directory that everybody may write to, such as /dev/shm, a file of neither the caller
/// nor the directory's owner may have been put there to be mistaken for a bus of the caller's own
/// (as fs.protected_regular has it, see proc_sys_fs(5)). Errors: permission_denied, the system's.
Result<void> check_owner(const std::string& path);

/// Fills an existing empty file, whoever comes first; the others wait at most 10 s for it to be
/// ready. A file that is not empty is left alone.
Result<void> initialise_if_empty(const std::string& path, const CreateOptions& options);

/// An open bus file whose header was checked.
struct OpenFile {
  UniqueFd fd;
  BusHeader header;               ///< a private copy; only its (i) fields mean something
  std::string warning;            ///< why this file is a poor place for a bus; empty: it is not
  std::uint64_t file_system = 0;  ///< where it is now; see bus/file_system.hpp
};

/// Opens what may be a bus, never following a symbolic link: a regular file that one may read, or
/// write. Nothing is read of it; `header` is empty. `status`: of the file.
Result<OpenFile> open_unchecked(const std::string& path, bool writable, struct stat& status);

/// Opens a bus, never following a symbolic link. Checks file type, size, ready, magic, signature,
/// geometry, inode and file system, in this order. `tolerate_copies`: for read-only tools, a copied
/// file or a file system on which processes see different data becomes a warning. Errors name both
/// sides of what does not fit.
Result<OpenFile> open_file(const std::string& path, bool writable, bool tolerate_copies = false);

/// A further description of the file behind `fd`, which shares no locks with it. Falls back to
/// `path` where /proc is not mounted, and then makes sure that it is the same file.
Result<UniqueFd> reopen(int fd, const std::string& path, bool writable);

}  // namespace shmif::bus
