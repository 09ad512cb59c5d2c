#pragma once
// Reads the regions of DAMON on kernels before 6.2, which show them only by the tracepoint
// damon:damon_aggregated. Each kernel thread is traced in its own instance of tracefs. The
// destructor removes that instance.

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
/// Reads a line. Errors: Errc::bad_argument for a line of another form.
Result<DamonTraced> read_damon_trace(std::string_view line);

/// Threads: one at a time. Blocks: while the kernel answers.
class DamonTrace {
 public:
  /// Makes the instance. `index`: different for each instance of this process. Errors: the errno,
  /// with what would help.
  static Result<DamonTrace> open(std::size_t index, const KernelFiles& files);
  DamonTrace(DamonTrace&& other) noexcept;
  DamonTrace& operator=(DamonTrace&&) = delete;
  ~DamonTrace();

  /// From now on, traces only this thread.
  Result<void> begin(pid_t thread) const;
  /// The last complete window that was traced since the last call; empty if there was none.
  std::vector<Region> regions();

 private:
  DamonTrace(KernelFiles files, std::string folder)
      : files_(std::move(files)), folder_(std::move(folder)) {}

  KernelFiles files_;
  std::string folder_;  ///< of the instance; empty if there is no instance
  UniqueFd pipe_;
  std::string unread_;
};

}  // namespace shmif::perf
