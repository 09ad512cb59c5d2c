#pragma once
// The formats of bus files, and which format a file has. Folders above bus/ open buses by these
// functions, so they do not know any layout.
//
// A format is a row of functions (struct Format). Each file is opened once, without a look inside.
// Then its first bytes choose the row, and the row's `check` decides whether the file is sound.

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/attachment.hpp"
#include "bus/file/parts.hpp"
#include "bus/info.hpp"
#include "bus/port_options.hpp"

namespace shmif::bus {

struct BusMaker;
struct OpenFile;
enum class Copies : std::uint8_t;

struct Format {
  BusFormat kind;
  /// Whether a file that begins like this is of the format.
  bool (*begins)(std::span<const std::byte> beginning, std::uint64_t file_bytes) noexcept;
  const BusMaker* maker;
  /// As check_file().
  Result<void> (*check)(OpenFile& file, const std::string& path, const struct stat& status,
                        Copies copies);
  // The next three take a file that was checked.
  Result<std::unique_ptr<Attachment>> (*attach)(OpenFile file, const std::string& path,
                                                const PortOptions& options);
  Result<std::unique_ptr<Follower>> (*follow)(OpenFile file, const std::string& path, Start start,
                                              Resume resume, bool take_offloads);
  Result<std::unique_ptr<Inspector>> (*inspect)(OpenFile file, const std::string& path,
                                                Access access);
  /// Repairs a bus that may no longer pass the check.
  Result<RepairReport> (*repair)(const std::string& path, const RepairOptions& options);
};

/// Makes a bus at `path`, as create_file().
Result<UniqueFd> create_bus(const std::string& path, BusFormat format,
                            const CreateOptions& options);

Result<std::unique_ptr<Attachment>> attach_to_bus(const std::string& path,
                                                  const PortOptions& options);
/// Attaches to the bus that is open as `descriptor`, whatever its path names by now.
Result<std::unique_ptr<Attachment>> attach_to_bus(int descriptor, const std::string& path,
                                                  const PortOptions& options);

Result<std::unique_ptr<Follower>> follow_bus(const std::string& path, Start start, Resume resume,
                                             bool take_offloads);

/// Repair needs read_write. With read_only, a copied file or one on a refused file system is opened
/// with a warning.
Result<std::unique_ptr<Inspector>> inspect_bus(const std::string& path, Access access);

/// A bus that was opened, or made first.
struct ProvidedBus {
  std::unique_ptr<Inspector> inspector;
  std::string warning;  ///< why a bus that was just made may be slow
};
/// Opens the bus at `path`, whatever its format. If it is missing, makes one of `format` first. As
/// open_or_create_unchecked().
Result<ProvidedBus> provide_bus(const std::string& path, BusFormat format,
                                const CreateOptions& options);

Result<RepairReport> repair_bus_at(const std::string& path, const RepairOptions& options);

/// Removes a bus, but never another file that took its name meanwhile. Removes the file at `path`,
/// which must be a bus. Result: a warning if the file has another name, otherwise empty. Errors:
/// busy while live ports are attached; EOPNOTSUPP if the format does not tell whether ports are
/// attached; unsupported_file_system where live ports may look dead. `force` ignores these three,
/// and also removes a bus that is damaged or of another format. copied_file if the path names
/// another file than the one that was checked; that file is left alone.
Result<std::string> destroy(const std::string& path, bool force);

}  // namespace shmif::bus
