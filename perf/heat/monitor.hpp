#pragma once
// The monitor of access heat: settings, targets, state and last result of one user, which outlive
// the programs that give them. perf/heat/monitor_socket.hpp is how these reach it.
//
//   off --on--> on --off, or all targets have ended--> off
//
// Settings and targets are refused while it is on, always with Errc::busy. They are kept when it
// goes off, and so is the result. A thread of its own samples, so that no other call waits for it.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/heat/control_text.hpp"
#include "perf/heat/damon.hpp"
#include "perf/heat/session.hpp"

namespace shmif::perf {

struct HeatTarget {
  TaskId process;
  std::string name;
  bool is_alive = false;
  std::string reason;  ///< why it is not measured, or no more; empty: none
  std::size_t windows = 0;
};

struct HeatStatus {
  bool is_on = false;
  HeatAttributes attributes;
  HeatBackend backend = HeatBackend::automatic;
  std::string clients;
  DamonMemory damon;
  std::vector<HeatTarget> targets;
  /// Contexts of DAMON in the kernel: of this monitor, and of others. Empty: not known.
  std::optional<DamonContexts> contexts;
  std::string contexts_reason;  ///< why it is not known
};

/// Adds what is known of targets now to what was known of them before. At most
/// HeatMonitor::kKeptWindows windows of each target are kept: the last ones.
void merge_heat_results(std::vector<HeatResult>& known, std::vector<HeatResult> now);

class HeatMonitor {
 public:
  explicit HeatMonitor(KernelFiles files = KernelFiles());
  HeatMonitor(const HeatMonitor&) = delete;
  HeatMonitor& operator=(const HeatMonitor&) = delete;
  /// Ends the sampling. Blocks: a second at most, for a target that does not answer.
  ~HeatMonitor();

  /// All of the request's settings, or none. Errors: Errc::busy while on; ESRCH for a target that
  /// does not exist. Threads: one at a time, as for all calls. Blocks: never.
  Result<void> set(const HeatRequest& request);
  /// Takes the settings of the request, and begins. Errors: as set(); Errc::busy while on, or while
  /// the sampling that was ended last still waits for a target; Errc::bad_argument without targets;
  /// ESRCH if none of them lives. Nothing has changed then.
  Result<void> start(const HeatRequest& request);
  /// No error if it is off.
  void stop();

  HeatStatus status() const;
  /// Of the run that goes on, or of the last one. At most kKeptWindows windows of each target.
  std::vector<HeatResult> results() const;
  /// Those of the results.
  HeatAttributes attributes() const;
  static constexpr std::size_t kKeptWindows = 100;

 private:
  struct Settings {
    HeatAttributes attributes;
    HeatBackend backend = HeatBackend::automatic;
    DamonMemory damon;
    std::string clients;
    std::vector<TaskId> targets;
  };
  class Run;
  Result<Settings> with(const HeatRequest& request) const;
  bool is_on() const;

  KernelFiles files_;
  Settings settings_;
  std::shared_ptr<DamonRecord> damon_record_ = std::make_shared<DamonRecord>();
  std::unique_ptr<Run> run_;  ///< the last one; none before the first
};

std::string heat_status_text(const HeatStatus& status);
/// An object with `state` ("on" or "off"), `attrs`, `backend`, `damon`, `clients`, `targets`,
/// `own_contexts`, `foreign_contexts`.
std::string heat_status_json(const HeatStatus& status);

/// The answer to a request. `ends`: set if the monitor is to end.
Result<std::string> answer_heat(HeatMonitor& monitor, const HeatRequest& request, bool& ends);

}  // namespace shmif::perf
