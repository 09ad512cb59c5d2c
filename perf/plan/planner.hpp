#pragma once
// The planner, which implements plan_of(). Only its own files include this: plan.cpp (engines,
// clones and peers), plan_wires.cpp (who shares a medium, which files are written, who sends to
// whom, and who waits for whom), plan_checks.cpp (checks of one job, and of
// options that no job uses).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"

namespace shmif::perf {

/// Adds to `problems` the options of `job` that contradict each other, each as "OPTION: why (what
/// to do)".
void check_alone(const JobOptions& job, std::vector<std::string>& problems);

/// Options that have no meaning in the job they were given to: the index of the job, and "OPTION:
/// why (what to do)". An option is not listed if another job uses it with the same value, because
/// [global], a list of engines and the command line set options of many jobs. Nor is it if the
/// command line took away its use: it overrides what the file says.
std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs);

/// Takes from a job what [global], a list of engines or the command line gave it for others: frames
/// to replay if it only receives, a weight among senders, and so on.
void drop_unused(JobOptions& job);

/// Divides the sum of both directions, each `rate`: `percent` per cent are tx, the rest is rx.
PerDirection<std::uint64_t> mixed(std::uint64_t rate, std::uint32_t percent) noexcept;
/// With rw=txrx and one rate for both directions: divides their sum by rwmixtx.
void mix_rates(JobOptions& job);

/// Gives the job its own random numbers. Those of number 0 are as they were given.
void give_seeds(JobOptions& job, std::uint64_t which);

/// The peer that receives what `job` sends, and with rw=txrx also sends to it: on the same wire, on
/// peer_cpus_allowed. It gets the options that this function copies, and defaults otherwise.
JobOptions made_peer(const JobOptions& job);

/// A job as it was written, for one engine, before its clones are made.
struct Draft {
  JobOptions options;
  std::string written_name;           // without the engine
  bool listed = false;                // made from a list of engines
  std::vector<std::size_t> clones{};  // their indexes in the plan
  std::vector<std::size_t> peers{};   // indexes of the peers made for them
};

/// Whether a wire of this engine has room for only one job.
inline bool alone_on_its_wire(EngineKind engine) noexcept {
  return engine_of(engine).capabilities.max_ends == 1;
}

/// Whether `filename` is a file that the job writes.
bool writes_capture(const JobOptions& job) noexcept;

/// The constructor makes the plan. Afterwards there are either problems or a plan.
class Planner {
 public:
  explicit Planner(const JobSet& set);

  const std::vector<std::string>& problems() const { return problems_; }
  std::vector<PlannedJob> plan() && { return std::move(plan_); }

 private:
  void problem(const JobOptions& job, const std::string& what);

  void multiply_engines(const std::vector<JobOptions>& jobs);
  void check_each();
  void check_used();
  void make_clones();
  std::size_t add(const JobOptions& options, std::uint32_t clone);
  void add_peer(std::size_t job);
  bool wants_peer(const Draft& draft) const;
  void check_names();
  std::vector<std::size_t> drafts_named(const std::string& name, const Draft& by) const;
  std::string unknown(const std::string& option, const std::string& name) const;
  void connect();
  void connect(const Draft& from, const Draft& to);
  void check_receivers();
  void name_wires();
  void differ_in_address(const std::vector<std::size_t>& jobs);
  void agree_on_wires();
  void size_ring(const std::vector<std::size_t>& jobs);
  template <class T>
  void agree(const std::vector<std::size_t>& jobs, const char* name, T JobOptions::* member);
  void check_files(const RunOptions& run);
  void drop_idle_minimums();
  void check_weights();
  void check_searches();
  void order();
  std::vector<std::size_t> before(std::size_t draft) const;
  void check_order();
  std::vector<std::vector<std::size_t>> needs() const;
  void report_cycle(const std::vector<std::vector<std::size_t>>& needs_of,
                    const std::vector<bool>& ends);

  std::vector<Draft> drafts_;
  std::vector<PlannedJob> plan_;
  std::vector<std::size_t> draft_of_;  // of each planned job
  std::vector<std::string> problems_;
};

}  // namespace shmif::perf
