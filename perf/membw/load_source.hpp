#pragma once
// The count of the built-in load, which knows how many bytes it reads and writes.

#include <optional>
#include <string>
#include <vector>

#include "perf/membw/fill_counts.hpp"
#include "perf/membw/source.hpp"

namespace shmif::perf {

/// Each thread of the load publishes its bytes and the time at the end of each phase. Its rate is
/// measured from the last phase that ended before the window began to the last phase that ended
/// before the window ended. The rates of all threads are added.
class LoadSource final : public MemorySource {
 public:
  /// `counts` must outlive it.
  explicit LoadSource(const FillCounts& counts, MonotonicClock clock = now_ns)
      : counts_(counts), clock_(std::move(clock)) {}

  std::string name() const override { return "software"; }
  std::string part() const override { return "load"; }
  std::string origin() const override { return "the load's own count"; }
  MemoryScope scope() const override { return MemoryScope::group; }
  MemoryLevel level() const override { return MemoryLevel::copied; }

  Result<void> open(const std::vector<pid_t>& /*processes*/) override { return {}; }
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override { return {}; }

 private:
  using Threads = std::vector<std::optional<FillProgress>>;

  const FillCounts& counts_;
  MonotonicClock clock_;
  std::uint64_t begin_ns_ = 0, end_ns_ = 0;
  Threads begin_, end_;
};

}  // namespace shmif::perf
