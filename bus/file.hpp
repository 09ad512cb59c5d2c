#pragma once
// The bus file as a file: made complete before it has a name, opened only after a look at
// everything.

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
};

/// Makes a bus at `path`: the disk space reserved, everything written, and only then the name.
/// Errors: exists, those of check_geometry, unsupported_file_system, or the system's.
Result<void> create_file(const std::string& path, const CreateOptions& options);

/// Fills an existing empty file, whoever comes first; the others wait at most 10 s for it to be
/// ready. A file that is not empty is left alone.
Result<void> initialise_if_empty(const std::string& path, const CreateOptions& options);

/// An open bus file whose header was checked.
struct OpenFile {
  UniqueFd fd;
  BusHeader header;     ///< a private copy; only its (i) fields mean something
  std::string warning;  ///< why this file is a poor place for a bus; empty: it is not
};

/// Opens a bus, never following a symbolic link. Checks file type, size, ready, magic, signature,
/// geometry, inode and file system, in this order. `tolerate_copies`: for read-only tools, a copied
/// file or a file system on which processes see different data becomes a warning. Errors name both
/// sides of what does not fit.
Result<OpenFile> open_file(const std::string& path, bool writable, bool tolerate_copies = false);

/// A further description of the file behind `fd`, which shares no locks with it. Falls back to
/// `path` where /proc is not mounted, and then makes sure that it is the same file.
Result<UniqueFd> reopen(int fd, const std::string& path, bool writable);

/// "tmpfs", "overlay", ... or the number in hexadecimal.
std::string file_system_name(std::uint64_t f_type);

}  // namespace shmif::bus
