#pragma once
// Finds which pages of a process have an entry in its page table, and which it has written. Uses
// the ioctl PAGEMAP_SCAN of /proc/PID/pagemap (Linux 6.7), or on older kernels the file itself.

#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// Reads an open pagemap. Threads: one at a time. Blocks: never.
class PageScan {
 public:
  enum class Means : std::uint8_t {
    scan,  ///< PAGEMAP_SCAN
    file,  ///< eight bytes for each page; does not tell whether a page was written
  };

  /// Finds out whether the kernel has PAGEMAP_SCAN. Errors: Errc::not_supported if `pagemap` is
  /// not a file of that kind.
  static Result<PageScan> over(UniqueFd pagemap);
  /// Opens the pagemap of a process. Errors: EACCES or EPERM without the right to trace it
  /// (ptrace(2)).
  static Result<PageScan> of(pid_t pid);

  Means means() const noexcept { return means_; }

  /// The pages in `range` that have an entry in the page table, as ranges in order. `written` is
  /// set only if userfaultfd write-protects the pages asynchronously, because only then does the
  /// kernel know. Errors: the errno; ESRCH when the process has ended.
  Result<std::vector<SeenPages>> present(AddressRange range) const;
  /// Whether the page table has an entry for the page: the page is present, swapped out, or was
  /// dropped while it was write-protected. Means::scan only. Errors: as present().
  Result<bool> is_known(std::uint64_t page) const;
  /// The pages in `range` that were written since the last call, as ranges in order. The kernel
  /// protects them again in the same step, so each write is reported exactly once. Reports only
  /// mappings that are registered for asynchronous write protection. Means::scan only. Errors: as
  /// present().
  Result<std::vector<SeenPages>> take_written(AddressRange range) const;
  /// The same for single pages, in the order of `pages`.
  Result<std::vector<Sighting>> present(const std::vector<std::uint64_t>& pages) const;

 private:
  explicit PageScan(UniqueFd file) : file_(std::move(file)) {}
  Result<std::vector<SeenPages>> by_scan(AddressRange range) const;
  Result<std::vector<SeenPages>> by_file(AddressRange range) const;

  UniqueFd file_;
  Means means_ = Means::scan;
};

std::uint64_t page_bytes() noexcept;

}  // namespace shmif::perf
