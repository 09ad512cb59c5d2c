#pragma once
// Counters of memory controllers that a test sets, in place of the kernel's.

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "instruments/counters/kernel_counters.hpp"

namespace shmif::perf::test {

class FakeCounters final : public KernelCounters {
 public:
  struct Raw {
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0;
  };
  struct One {
    EventAttr event;
    bool open = true, enabled = false;
    Raw raw;
    /// Of the trees of Intel: umask 0x0c.
    bool is_write() const { return event.base.config >> 8U == 0x0c; }
  };

  int open(const EventAttr& event, pid_t task, int cpu, int group) noexcept override {
    if (static_cast<int>(all.size()) == fail_open) return -fail_with;
    if (task != -1 || group != -1 || cpu < 0 || event.base.disabled == 0) return -EINVAL;
    all.push_back({event, true, false, start});
    return static_cast<int>(all.size()) - 1;
  }
  int control(int file, unsigned long request, std::uintptr_t /*argument*/) noexcept override {
    One& one = at(file);
    const bool fails = (request == PERF_EVENT_IOC_RESET && file == fail_reset) ||
                       (request == PERF_EVENT_IOC_ENABLE && file == fail_enable) ||
                       (request == PERF_EVENT_IOC_DISABLE && file == fail_disable);
    if (fails) return -EBADF;
    if (request == PERF_EVENT_IOC_RESET) one.raw.value = 0;  // the times stay as they are
    if (request == PERF_EVENT_IOC_ENABLE) one.enabled = true;
    if (request == PERF_EVENT_IOC_DISABLE) one.enabled = false;
    return 0;
  }
  ssize_t read(int file, void* to, std::size_t bytes) noexcept override {
    if (file == fail_read) return 8;  // a part of it
    if (bytes != sizeof(Raw)) return -ENOSPC;
    std::memcpy(to, &at(file).raw, sizeof(Raw));
    return sizeof(Raw);
  }
  void close(int file) noexcept override { at(file).open = false; }

  int map(int, std::size_t, void**) noexcept override { return -ENOSYS; }
  void unmap(void*, std::size_t) noexcept override {}
  int open_task(pid_t, bool) noexcept override { return -ENOSYS; }
  bool has_ended(int, pid_t) noexcept override { return false; }
  std::uint64_t start_ticks(pid_t) override { return 0; }
  std::vector<pid_t> threads(pid_t) override { return {}; }
  std::vector<int> online_cpus() override { return {}; }
  int hold(pid_t) noexcept override { return -ENOSYS; }
  void release(pid_t, int) noexcept override {}

  /// Time passes: each enabled counter ran for `share` of it, and counted `value` meanwhile.
  void pass(std::uint64_t ns, std::uint64_t value, double share = 1) {
    for (One& one : all) {
      if (!one.enabled) continue;
      one.raw.value += value;
      one.raw.enabled_ns += ns;
      one.raw.running_ns += static_cast<std::uint64_t>(static_cast<double>(ns) * share);
    }
  }
  One& at(int file) noexcept { return all[static_cast<std::size_t>(file)]; }
  std::size_t open_now() const {
    std::size_t count = 0;
    for (const One& one : all) count += one.open ? 1U : 0U;
    return count;
  }
  std::size_t enabled_now() const {
    std::size_t count = 0;
    for (const One& one : all) count += one.enabled ? 1U : 0U;
    return count;
  }

  std::vector<One> all;
  Raw start{1234, 5'000'000, 3'000'000};  ///< what a counter has before its first window
  int fail_open = -1, fail_with = EACCES, fail_reset = -1, fail_enable = -1, fail_disable = -1;
  int fail_read = -1;
};

}  // namespace shmif::perf::test
