#pragma once
// The regions of DAMON on kernels that tell them only by the tracepoint damon:damon_aggregated
// (before 6.2). Each of the kernel's threads is traced in an instance of tracefs of its own, which
// disappears when its owner goes.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/heat/regions.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// A line of the tracepoint: one region of a target.
struct DamonTraced {
  std::uint64_t target = 0;
  std::uint64_t regions = 0;  ///< of this target in this window
  Region region;
};
/// Errors: Errc::bad_argument for a line of another form.
Result<DamonTraced> read_damon_trace(std::string_view line);

/// Threads: one at a time. Blocks: while the kernel answers.
class DamonTrace {
 public:
  /// Makes the instance. `index`: tells instances of this process apart. Errors: the errno, with
  /// what would help.
  static Result<DamonTrace> open(std::size_t index, const KernelFiles& files);
  DamonTrace(DamonTrace&& other) noexcept;
  DamonTrace& operator=(DamonTrace&&) = delete;
  ~DamonTrace();

  /// Traces this thread alone from now on.
  Result<void> begin(pid_t thread) const;
  /// The last whole window that was traced since the last call; empty if there was none.
  std::vector<Region> regions();

 private:
  DamonTrace(KernelFiles files, std::string folder)
      : files_(std::move(files)), folder_(std::move(folder)) {}

  KernelFiles files_;
  std::string folder_;  ///< of the instance; empty: none
  UniqueFd pipe_;
  std::string unread_;
};

}  // namespace shmif::perf
