#pragma once
// Results as runs could bring them, made from seeds: figures that belong together, so that reports
// can be looked at.

#include <cstdint>
#include <string>
#include <vector>

#include "perf/result/progress.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::test {

/// A call over a bus that loses some frames to overruns and passes no check, and a bulk transfer
/// beside it; 30 s.
perf::RunResult failed_sample();
/// A quiet run of one job; `seed` is another run, `slower` a share of its rate that is missing and
/// by which its latencies are longer.
perf::RunResult quiet_sample(std::uint64_t seed = 1, double slower = 0);
/// The same load over four engines.
perf::RunResult engines_sample();
/// RFC 2544: the highest rate for each frame size; --repeat 5.
perf::RunResult search_sample();
/// The same load over four engines, one after the other.
perf::RunResult apart_sample();
/// A job that never started: nothing was measured.
perf::RunResult unstarted_sample();
/// Names, messages and options with what HTML, terminals and JSON take for their own.
perf::RunResult hostile_sample();
/// The quiet run whose first job sent 2,000 frames and received none. It counted events: one for
/// half of the time, and one not at all.
perf::RunResult counted_sample();
/// Two windows of the memory bandwidth of a bus, and a source that is not there. 1,000 frames a
/// second arrive.
perf::RunResult measured_sample();
/// The sender used and wrote a fourth of a ring of 1 MiB up to second 2, and all of it later, until
/// second 4; after that it was not looked at. Of the receiver, only the reason is known.
perf::RunResult heated_sample();
/// What observers see of the failed sample after `seconds`.
perf::RunProgress sample_progress(double seconds);

/// The samples' names: "failed", "quiet", "engines", "search", "unstarted", "hostile", and
/// "distinct" (see distinct_sample.hpp).
const std::vector<std::string>& sample_names();
perf::RunResult sample_named(const std::string& name);

}  // namespace shmif::test
