#pragma once
// Causes that are known by a count of lost packets: requested faults, the IP stack, queues and
// interfaces. A cause explains at most as many losses as its count. Internal to instruments/why.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instruments/why/analysis.hpp"

namespace shmif::perf {

/// One interval of a counter; zeros if it was not read at both ends.
struct CountedStep {
  std::uint64_t lost = 0, passed = 0;
};

/// A counter that can explain losses of a job.
struct Counted {
  CauseKind kind{};
  std::size_t job = 0;
  std::size_t first = 0;
  std::vector<CountedStep> steps{};
  const void* source = nullptr;  ///< the series: its packets explain losses only once, of any job
  bool named_anyway = false;     ///< worth a sentence even if no losses are known
  /// "the interface tap0 dropped {} that were to be sent". The number and `thing` replace the "{}".
  std::string words{};
  std::string thing = "packet";
};

/// The counters of places that can have lost packets of the job. Losses are assigned to them in
/// this order: first the places on the way, last the receiver's own socket.
std::vector<Counted> counted_of(const WhySeries& series, std::size_t job);

/// A time in which a counter grew, with gaps shorter than kJoinSeconds.
struct CountedWindow {
  std::size_t begin = 0, end = 0;  ///< numbers of intervals; the end is not part of it
  std::uint64_t lost = 0, passed = 0;
  double share() const noexcept {
    return static_cast<double>(lost) / static_cast<double>(lost + passed);
  }
};
std::vector<CountedWindow> counted_windows(const WhySeries& series, const Counted& counted);

/// "11,932 datagrams were dropped because ... , 79 % of 0.0 s to 1.0 s".
std::string sentence_of(const WhySeries& series, const Counted& counted,
                        const CountedWindow& window);

}  // namespace shmif::perf
