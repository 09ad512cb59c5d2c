#pragma once
// Runs of job files, for tests: what a user writes, and what became of it.

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bus/frame.hpp"
#include "perf/frame/probe.hpp"
#include "perf/option/job_file.hpp"
#include "shmif/port.hpp"
#include "tests/perf/control/run_rig.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {

/// The jobs of a job file.
inline perf::JobSet set_of(const std::string& text) {
  perf::JobSet set;
  const auto errors = perf::read_job_text("test.job", text, set);
  if (!errors.empty()) throw std::runtime_error(errors.front());
  return set;
}

/// Runs a job file, which must be without errors.
inline perf::RunResult run_text(
    const std::string& text, const Meddler::Deed& deed = [](const auto&) {}) {
  const perf::JobSet set = set_of(text);
  return run(perf::expand(set).value(), set.run, deed);
}

inline const perf::JobResult& job_of(const perf::RunResult& result, const std::string& name) {
  for (const perf::JobResult& job : result.jobs) {
    if (job.name == name) return job;
  }
  throw std::runtime_error("no job " + name);
}

/// The only flow that `name` receives.
inline const perf::FlowResult& flow_to(const perf::RunResult& result, const std::string& name) {
  return job_of(result, name).flows.at(0);
}

/// A frame as somebody saw it who has no part in the run.
struct Witnessed {
  std::vector<std::byte> bytes;
  std::uint64_t time_ns = 0;  ///< of the wall clock, when it was put on the bus
  perf::ProbeReading reading;
  const perf::Probe& probe() const { return reading.probe; }
};

/// All that is on a bus yet, read by one who is no port of it: a capture that is independent of the
/// run. Make the bus large enough for all.
inline std::vector<Witnessed> witnessed(const std::string& bus) {
  Follower follower = Follower::open(bus, Start::oldest).value();
  std::vector<Witnessed> all;
  FrameBatch batch(256, 1U << 20U);
  while (follower.receive(batch).frames != 0) {
    for (const FrameView& frame : batch.frames()) {
      all.push_back({std::vector<std::byte>(frame.bytes.begin(), frame.bytes.end()), frame.time_ns,
                     perf::read_probe(frame.bytes, perf::probe_offset(frame.bytes))});
    }
    batch.clear();
  }
  return all;
}

/// A bus that keeps so much.
inline BusOptions roomy(std::uint64_t mib) {
  BusOptions options;
  options.ring_bytes = mib << 20U;
  return options;
}

}  // namespace shmif::test
