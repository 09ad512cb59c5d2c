#pragma once
// Which pages of a process have an entry in its page table, and which it has written: the ioctl
// PAGEMAP_SCAN of /proc/PID/pagemap (Linux 6.7), or on older kernels the file itself.

#include <cstdint>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/heat/regions.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// A pagemap that was opened for reading. Threads: one at a time. Blocks: never.
class PageScan {
 public:
  enum class Means : std::uint8_t {
    scan,  ///< PAGEMAP_SCAN
    file,  ///< eight bytes for each page; whether a page was written is not known
  };

  /// Finds out whether the kernel has PAGEMAP_SCAN. Errors: Errc::not_supported if `pagemap` is
  /// not a file of that kind.
  static Result<PageScan> over(UniqueFd pagemap);
  /// The pagemap of a process. Errors: EACCES or EPERM without the right to trace it (ptrace(2)).
  static Result<PageScan> of(pid_t pid);

  Means means() const noexcept { return means_; }

  /// The pages in `range` that have an entry in the page table, as ranges in order. `written` of
  /// each is set if the pages are write-protected asynchronously by userfaultfd, and the kernel
  /// therefore knows. Errors: the errno; ESRCH when the process has ended.
  Result<std::vector<SeenPages>> present(AddressRange range) const;
  /// Whether the page table knows the page: it is there, swapped out, or was dropped while it was
  /// write-protected. Means::scan only. Errors: as present().
  Result<bool> is_known(std::uint64_t page) const;
  /// The pages in `range` that were written since this was called last, as ranges in order. They
  /// are protected again in the same moment, so none is missed and none is told twice. Only pages
  /// of mappings that are registered for asynchronous write protection are told. Means::scan only.
  /// Errors: as present().
  Result<std::vector<SeenPages>> take_written(AddressRange range) const;
  /// Of single pages, in the same order as `pages`.
  Result<std::vector<Sighting>> present(const std::vector<std::uint64_t>& pages) const;

 private:
  explicit PageScan(UniqueFd file) : file_(std::move(file)) {}
  Result<void> expect_alive() const;
  Result<std::vector<SeenPages>> by_scan(AddressRange range) const;
  Result<std::vector<SeenPages>> by_file(AddressRange range) const;

  UniqueFd file_;
  Means means_ = Means::scan;
};

std::uint64_t page_bytes() noexcept;

}  // namespace shmif::perf
