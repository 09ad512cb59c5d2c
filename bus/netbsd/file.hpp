#pragma once
// The file of a NetBSD bus: making it, checking it, mapping it.

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"
#include "bus/file/file.hpp"
#include "bus/file/sigbus_guard.hpp"
#include "bus/netbsd/layout.hpp"

namespace shmif::bus {

/// A warning that users should get once for each bus of this format on which they send or listen.
std::string netbsd_warning(const std::string& path);

/// Whether a file with these first bytes is a NetBSD bus, or is about to become one.
bool is_netbsd_bus(std::span<const std::byte> beginning, std::uint64_t file_bytes) noexcept;

/// Errors: bad_size, bad_mtu, bad_patience for options that this format cannot have.
Result<void> check_netbsd_options(const CreateOptions& options);

/// Whether attaching to the file makes a bus there, as it does in a kernel: it is empty, or has the
/// length of a bus and only zeros. An empty file that somebody has locked is a bus of our own
/// format that was truncated, or that is just being made.
bool is_blank_for_netbsd(int fd, std::uint64_t file_bytes);

/// Makes a bus in such a file, as a kernel that attaches first: under the lock, unless another
/// process has done it meanwhile. The version stays 0. Blocks: as NetbsdLock::acquire().
Result<void> fill_netbsd(int fd, const std::string& path, const CreateOptions& options);

/// Checks what open_unchecked() opened: size, magic, version, and whether the file system shows all
/// processes the same data; that is a warning with Copies::tolerate. If two values do not fit, the
/// error names both.
Result<void> check_netbsd(OpenFile& file, const std::string& path, const struct stat& status,
                          Copies copies);

/// The file, mapped once: frames are copied out, so they need not be in one piece.
class NetbsdMapping {
 public:
  NetbsdMapping() = default;
  /// As Mapping::map().
  static Result<NetbsdMapping> map(int fd, Access access, bool lock_memory = false);
  NetbsdMapping(NetbsdMapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), guard_(std::move(other.guard_)) {}
  NetbsdMapping& operator=(NetbsdMapping&&) = delete;
  ~NetbsdMapping();

  std::span<std::byte> bytes() const noexcept {
    return {base_, base_ == nullptr ? 0 : kNetbsdFileBytes};
  }
  /// As Mapping::lost().
  bool lost() const noexcept { return guard_ && guard_->lost(); }
  void look_whether_lost() const noexcept;
  /// In the child of a fork: forgets the mapping, which does not exist there.
  void forget() noexcept { base_ = nullptr; }

 private:
  std::byte* base_ = nullptr;
  std::unique_ptr<GuardedRange> guard_;
};

}  // namespace shmif::bus
