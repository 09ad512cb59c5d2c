#pragma once
// What held a job back, for how long, and what it cost.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shmif::perf {

enum class CauseKind : std::uint8_t {
  waited_for_cpu,  ///< ready to run, but another thread had the CPU
  stopped,         ///< by a signal or a debugger
  throttled,       ///< by the CPU quota of a control group
  migrated,        ///< moved between CPUs
  steal,           ///< the hypervisor ran somebody else on the CPU
  softirq,         ///< the kernel handled packets on the CPU, or dropped them because it could not
  device_queue,    ///< a network interface dropped packets
  memory,          ///< waited for pages, or was at its memory limit
  bus_lock,        ///< waited for the lock of the bus
  bus_pause,       ///< a sender waited for slow ports
};
constexpr const char* word_of(CauseKind kind) noexcept {
  switch (kind) {
    case CauseKind::waited_for_cpu: return "waited_for_cpu";
    case CauseKind::stopped: return "stopped";
    case CauseKind::throttled: return "throttled";
    case CauseKind::migrated: return "migrated";
    case CauseKind::steal: return "steal";
    case CauseKind::softirq: return "softirq";
    case CauseKind::device_queue: return "device_queue";
    case CauseKind::memory: return "memory";
    case CauseKind::bus_lock: return "bus_lock";
    case CauseKind::bus_pause: return "bus_pause";
  }
  return "";
}

struct Cause {
  std::string job;
  CauseKind cause = CauseKind::waited_for_cpu;
  double begin_s = 0, end_s = 0;  ///< since the begin of the watch or of the run
  /// 0 to 1: for which share of that time the job was held back. Of device_queue: which share of
  /// the packets the interface dropped.
  double share = 0;
  /// Which share of all frames that the job lost fell into that time; empty: its losses are not
  /// known, or it lost none.
  std::optional<double> of_losses_share;
  std::string sentence;  ///< all of that for people, with the evidence
};

/// The order of causes: by losses times share, then by the time that the job was held back.
inline bool weighs_more(const Cause& a, const Cause& b) noexcept {
  const double losses_a = a.of_losses_share.value_or(0) * a.share;
  const double losses_b = b.of_losses_share.value_or(0) * b.share;
  if (losses_a != losses_b) return losses_a > losses_b;
  return a.share * (a.end_s - a.begin_s) > b.share * (b.end_s - b.begin_s);
}

/// A source that could not be read.
struct MissingSource {
  std::string source{};  ///< "schedstat"
  std::string reason{};
};

/// What held the jobs of a run back. Times count from the start of the run's first jobs.
struct RunCauses {
  std::vector<Cause> causes{};  ///< the heaviest first; empty: nothing held them back
  /// Why the jobs were not watched; empty: they were.
  std::string why_unknown = "no job was watched";
  double seconds = 0;                    ///< for how long they were watched
  std::size_t looks = 0;                 ///< how often somebody looked, after the first time
  double own_share = 0;                  ///< CPU time of the looks, as a share of that of one CPU
  std::vector<MissingSource> missing{};  ///< what could not be seen
};

}  // namespace shmif::perf
