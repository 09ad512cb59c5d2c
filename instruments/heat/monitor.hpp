#pragma once
// The monitor of access heat keeps the settings, targets, state and last result of one user. They
// outlive the programs that give them. These programs reach it through HeatListener.
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
#include "base/unique_fd.hpp"
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

// The control socket of the monitor. It is in a directory that only
// its user may use: shmif-heat in $XDG_RUNTIME_DIR, otherwise /tmp/shmif-heat-UID. The monitor also
// checks who connects, and serves only its own user and root.

/// The directory's path. Threads: any, while no thread changes the environment.
std::string heat_control_path();
/// Makes the directory if it is missing. Result: its path. Errors: EPERM if the directory exists
/// and others own it or may use it; the errno of mkdir(2).
Result<std::string> heat_control_folder();
/// The same for the directory `path`. Threads: any.
Result<void> make_private_folder(const std::string& path);

/// Sends a request to the monitor. Result: its answer. Errors: Errc::link_ended if there is no
/// monitor, or it has died; Errc::timed_out if it does not answer within ten seconds; those that it
/// sends. Blocks: until the answer comes.
Result<std::string> ask_heat_monitor(const std::string& folder, const HeatRequest& request);

/// Where a monitor listens. Only one monitor has a folder at a time. A new one replaces what a dead
/// one left.
class HeatListener {
 public:
  /// Errors: Errc::busy if another monitor has the folder.
  static Result<HeatListener> open(const std::string& folder);
  HeatListener(HeatListener&&) noexcept = default;
  HeatListener& operator=(HeatListener&&) noexcept = default;
  /// Removes the socket and the file of the lock.
  ~HeatListener();

  /// Answers requests until one of them ends the monitor. A caller that sends nothing, does not
  /// read, or sends an invalid request does not delay others. It is dropped after a while, or when
  /// many others call. Blocks: until then.
  void serve(HeatMonitor& monitor);

 private:
  HeatListener() = default;
  UniqueFd lock_;  ///< locked with flock(2) while the monitor lives
  UniqueFd socket_;
  std::string path_;
};

}  // namespace shmif::perf
