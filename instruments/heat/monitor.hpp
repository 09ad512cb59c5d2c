#pragma once
// The monitor of access heat keeps the settings, targets, state and last result of one user. They
// outlive the programs that give them. These programs reach it through
// instruments/heat/monitor_socket.hpp.
//
//   off --on--> on --off, or all targets have ended--> off
//
// While the monitor is on, it refuses settings and targets, always with Errc::busy. When it goes
// off, it keeps them and the result. Its own thread takes the samples, so no other call waits for
// them.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/heat/control_text.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {

struct HeatTarget {
  TaskId process;
  std::string name;
  bool is_alive = false;
  std::string reason;  ///< why it is not, or no longer, measured; empty if it is
  std::size_t windows = 0;
};

struct HeatStatus : HeatSettings {
  bool is_on = false;
  std::vector<HeatTarget> targets;
  /// Contexts of DAMON in the kernel: of this monitor, and of others. Empty if not known.
  std::optional<DamonContexts> contexts;
  std::string contexts_reason;  ///< why `contexts` is empty
};

/// Adds new results to what was known of the targets before. Keeps at most the last
/// HeatMonitor::kKeptWindows windows of each target.
void merge_heat_results(std::vector<HeatResult>& known, std::vector<HeatResult> now);

class HeatMonitor {
 public:
  explicit HeatMonitor(KernelFiles files = KernelFiles());
  HeatMonitor(const HeatMonitor&) = delete;
  HeatMonitor& operator=(const HeatMonitor&) = delete;
  /// Ends the sampling. Blocks: at most a second, for a target that does not answer.
  ~HeatMonitor();

  /// Takes all of the request's settings. After an error, changes no setting. Errors: Errc::busy
  /// while on; ESRCH for a target that does not exist. Threads: one at a time, as for all calls.
  /// Blocks: never.
  Result<void> set(const HeatRequest& request);
  /// Takes the settings of the request, and begins. After an error, changes no setting. Errors: as
  /// set(); Errc::busy while on, or while the previous run still waits for a target;
  /// Errc::bad_argument without targets; ESRCH if all targets have ended.
  Result<void> start(const HeatRequest& request);
  /// Ends the run. Does nothing if the monitor is off.
  void stop();

  HeatStatus status() const;
  /// The results of the current run, or of the last one. At most kKeptWindows windows of each
  /// target.
  std::vector<HeatResult> results() const;
  /// The attributes with which the results were measured.
  HeatAttributes attributes() const;
  static constexpr std::size_t kKeptWindows = 100;

 private:
  struct Settings : HeatSettings {
    std::vector<TaskId> targets;
  };
  class Run;
  Result<Settings> with(const HeatRequest& request) const;
  bool is_on() const;

  KernelFiles files_;
  Settings settings_;
  std::shared_ptr<DamonRecord> damon_record_ = std::make_shared<DamonRecord>();
  std::unique_ptr<Run> run_;  ///< the current or last run; null before the first
};

std::string heat_status_text(const HeatStatus& status);
/// A JSON object with `state` ("on" or "off"), `attrs`, `backend`, `damon`, `clients`, `targets`,
/// `own_contexts`, `foreign_contexts`.
std::string heat_status_json(const HeatStatus& status);

/// Answers a request. Sets `ends` if the monitor must end.
Result<std::string> answer_heat(HeatMonitor& monitor, const HeatRequest& request, bool& ends);

}  // namespace shmif::perf
