#pragma once
// Runs whose summaries are compared.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "tests/perf/stats/recorded.hpp"

namespace shmif::perf::summary_text {

inline std::shared_ptr<LatencyHistogram> times(std::uint64_t count, std::uint64_t ns) {
  auto all = std::make_shared<LatencyHistogram>();
  if (count != 0) record(*all, ns, count);
  return all;
}

inline JobResult job_named(const std::string& name, Role role) {
  JobResult job;
  job.name = name;
  job.group = "0";
  job.role = role;
  job.engine = EngineKind::bus;
  job.state = JobState::reaped;
  job.passed = true;
  job.latency = times(0, 0);
  job.service = times(0, 0);
  job.spacing_error = times(0, 0);
  return job;
}

inline void count_in(TrafficResult& traffic, std::uint64_t frames) {
  traffic.frames = frames;
  traffic.bytes = 100 * frames;
  traffic.seconds = 2;
}

/// `name` sent frames of 100 bytes for 2 s to its peer, which lost some of them.
inline void add_pair(RunResult& run, const std::string& name, std::uint64_t sent = 5000,
                     std::uint64_t lost = 0, std::uint64_t ns = 8192) {
  JobResult tx = job_named(name, Role::tx);
  count_in(tx.tx, sent);
  JobResult rx = job_named(name + ".sink", Role::rx);
  rx.peer_of = name;
  count_in(rx.rx, sent - lost);
  rx.latency = times(sent - lost, ns);
  FlowResult flow;
  flow.from = name;
  flow.to = rx.name;
  flow.sent = sent;
  flow.received = sent - lost;
  flow.lost = lost;
  rx.flows = {flow};
  run.jobs.push_back(std::move(tx));
  run.jobs.push_back(std::move(rx));
}

inline RunResult empty_run() {
  RunResult run;
  run.version = "0.1.0";
  run.command = {"shmifperf", "run", "a.job"};
  run.began = std::chrono::system_clock::time_point(std::chrono::seconds(1763700000));
  run.ended = run.began + std::chrono::milliseconds(2540);
  run.causes.why_unknown.clear();
  return run;
}

inline RunResult run_of(const std::string& name) {
  RunResult run = empty_run();
  add_pair(run, name);
  return run;
}

inline void fail(RunResult& run, std::size_t job, const std::string& why) {
  run.jobs[job].passed = false;
  run.jobs[job].errors = {why};
  run.failures.push_back("job \"" + run.jobs[job].name + "\": " + why);
  run.exit_code = 1;
}

inline Cause cause_of(const std::string& sentence, double share) {
  Cause cause;
  cause.share = share;
  cause.end_s = 1;
  cause.sentence = sentence;
  return cause;
}

inline Report report_of(const RunResult& run) {
  return Report::parse(to_json(run, Bins::without), "sample").value();
}
inline std::string summary_of(const RunResult& run, std::size_t width = 0,
                              const std::vector<std::string>& files = {}) {
  return to_summary(report_of(run), width, files);
}

}  // namespace shmif::perf::summary_text
