#pragma once
// Many equal durations in a histogram.

#include <cstdint>

#include "perf/stats/latency_histogram.hpp"

namespace shmif::perf {

inline void record(LatencyHistogram& into, std::uint64_t ns, std::uint64_t times) {
  for (; times > 0; --times) into.record(ns);
}

}  // namespace shmif::perf
