#pragma once
// Measures memory bandwidth with the counters of the memory controllers.

#include <string>
#include <vector>

#include "perf/counters/kernel_counters.hpp"
#include "perf/membw/memory_counters.hpp"
#include "perf/membw/source.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

/// Counts the traffic of all programs, on the machine or on one socket. Each counter is scaled by
/// its own times, because a counter that shared its register with others ran only in a part of the
/// window.
class PmuSource final : public MemorySource {
 public:
  explicit PmuSource(KernelFiles files, std::optional<unsigned> socket = {},
                     KernelCounters& kernel = kernel_counters(), MonotonicClock clock = now_ns);
  ~PmuSource() override;

  std::string name() const override { return "pmu"; }
  std::string origin() const override;
  MemoryScope scope() const override {
    return socket_ ? MemoryScope::socket : MemoryScope::machine;
  }
  MemoryLevel level() const override { return MemoryLevel::dram; }

  Result<void> open(const std::vector<pid_t>& processes) override;
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override;

 private:
  /// What the kernel returns. A reset does not change the times.
  struct RawCount {
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0;
  };
  struct Open {
    MemoryCounter counter;
    int file;
    RawCount before{};
  };
  Result<int> open_one(const MemoryCounter& counter) const;
  Result<void> control(const Open& each, unsigned long request, const char* what) const;
  Result<RawCount> count_of(const Open& each) const;
  void release() noexcept;

  KernelFiles files_;
  std::optional<unsigned> socket_;
  KernelCounters& kernel_;
  MonotonicClock clock_;
  std::vector<Open> open_;
  std::uint64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace shmif::perf
