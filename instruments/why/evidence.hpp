#pragma once
// Shows how much each cause held a job back in each interval, and joins the intervals in which
// something happened into windows of time. Internal to instruments/why.
//
// Threads: any. Blocks: never.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "instruments/why/analysis.hpp"
#include "instruments/why/series.hpp"

namespace shmif::perf {

struct CauseWindow {
  std::size_t begin = 0, end = 0;  ///< numbers of intervals; the end is not part of it
  double share = 0;   ///< mean of the known values, weighted by the lengths of the intervals
  double held_s = 0;  ///< share times the length of these intervals
};

/// Intervals that are closer to each other than this become one window, because a cause that pauses
/// for less time is the same cause. This is three samples at 10 Hz, so a missed sample does not cut
/// a window in two.
inline constexpr double kJoinSeconds = 0.35;

/// An unknown value. Its interval is left out of a share.
inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// The windows in which `values` reach `threshold`; values[i] belongs to interval first + i.
std::vector<CauseWindow> windows_of(const WhySeries& series, std::size_t first,
                                    std::span<const double> values, double threshold);

/// One cause of one job: its value in each interval, and what its sentence needs.
struct Evidence {
  CauseKind kind{};
  std::size_t job = 0;
  std::size_t first = 0;
  std::vector<double> values{};
  double threshold = 0;
  const TaskSeries* task = nullptr;        ///< the thread that it held back; null: the whole job
  const PortSeries* port = nullptr;        ///< for bus_lock and bus_pause
  const AffinityChange* change = nullptr;  ///< for migrated; always worth naming
};

/// The evidence of one thread: waits, stops, quotas, steal, softirqs, migrations, memory.
std::vector<Evidence> task_evidence(const WhySeries& series, const TaskSeries& task);
/// The evidence of a port of a watched job.
std::vector<Evidence> port_evidence(const WhySeries& series, const PortSeries& port);

/// The evidence in words, without what happened to the traffic: "rx was runnable but not running
/// for 61 % of 2.0 s to 4.0 s".
std::string sentence_of(const WhySeries& series, const Evidence& evidence,
                        const CauseWindow& window);
/// "11,932 datagrams", "1 datagram".
std::string counted_text(std::uint64_t count, const std::string& thing);
/// "61 %", "4.2 %", "100 %".
std::string percent_text(double share);
/// What a cause says of this share of the losses; empty if it is 0: "; that explains 61 % of its
/// lost frames" if packets were counted, "; 61 % of all lost frames fell there" if time was.
std::string explains_text(double of_losses_share);
std::string fell_text(double of_losses_share);
/// "2.0 s"
std::string second_text(double seconds);

}  // namespace shmif::perf
