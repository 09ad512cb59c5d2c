#pragma once
// Describes what held a job back, for how long, and what it cost.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
  requested_faults,  ///< faults that the job's options request took the packets
  fault_queue,       ///< too many waited for a requested delay or rate
  receive_buffer,    ///< the receiver did not read its UDP socket fast enough
  socket_memory,     ///< the kernel's memory for UDP was used up
  reassembly,        ///< fragments of a packet were missing
  listen_queue,      ///< a program did not accept its TCP connections fast enough
  retransmits,       ///< TCP sent segments again
  no_route,          ///< no route led to the address
  neighbour,         ///< nobody answered for the address (ARP, neighbour discovery)
  qdisc,             ///< the queue of an interface dropped packets
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
    case CauseKind::requested_faults: return "requested_faults";
    case CauseKind::fault_queue: return "fault_queue";
    case CauseKind::receive_buffer: return "receive_buffer";
    case CauseKind::socket_memory: return "socket_memory";
    case CauseKind::reassembly: return "reassembly";
    case CauseKind::listen_queue: return "listen_queue";
    case CauseKind::retransmits: return "retransmits";
    case CauseKind::no_route: return "no_route";
    case CauseKind::neighbour: return "neighbour";
    case CauseKind::qdisc: return "qdisc";
  }
  return "";
}

/// The kind with this word; empty for another word.
constexpr std::optional<CauseKind> cause_kind_of(std::string_view word) noexcept {
  for (auto kind = CauseKind::waited_for_cpu; kind <= CauseKind::qdisc;
       kind = static_cast<CauseKind>(static_cast<int>(kind) + 1)) {
    if (word == word_of(kind)) return kind;
  }
  return std::nullopt;
}

/// Whether the user asked for this. Such causes come before all others.
constexpr bool is_requested(CauseKind kind) noexcept {
  return kind == CauseKind::requested_faults;
}

struct Cause {
  std::string job;
  CauseKind cause = CauseKind::waited_for_cpu;
  double begin_s = 0, end_s = 0;  ///< since the begin of the watch or of the run
  /// 0 to 1: the share of that time for which the job was held back. For counted packets: the share
  /// of the packets that was lost.
  double share = 0;
  /// The share of all frames lost by the job that this cause explains. These losses fell into that
  /// time, and no other cause explains them. They are no more than were counted, or than could come
  /// while the job was held back. Empty if the job lost no frames, or its losses are not known.
  std::optional<double> of_losses_share;
  /// Whether it is known by a count of packets, and not by the time for which it held the job back.
  bool counted = false;
  std::string sentence;  ///< all of this as text, with the evidence
};

/// The losses that a cause explains, for the order of causes. A cause that held a job back for a
/// small part of a time may have little to do with the losses of that time, so its share counts.
/// Counted packets are certain.
inline double loss_weight(const Cause& cause) noexcept {
  return cause.of_losses_share.value_or(0) * (cause.counted ? 1 : cause.share);
}

/// The order of causes: requested faults first, then by losses, then by the time that the job was
/// held back.
inline bool weighs_more(const Cause& a, const Cause& b) noexcept {
  if (is_requested(a.cause) != is_requested(b.cause)) return is_requested(a.cause);
  const double losses_a = loss_weight(a);
  const double losses_b = loss_weight(b);
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
  std::vector<Cause> causes{};  ///< the heaviest first; empty if no job was held back
  /// Why the jobs were not watched; empty if they were.
  std::string why_unknown = "no job was watched";
  double seconds = 0;                    ///< how long they were watched
  std::size_t looks = 0;                 ///< how many looks there were, without the first
  double own_share = 0;                  ///< CPU time of the looks, as a share of one CPU
  std::vector<MissingSource> missing{};  ///< sources that could not be read
};

}  // namespace shmif::perf
