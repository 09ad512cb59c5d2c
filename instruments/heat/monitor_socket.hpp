#pragma once
// The control socket of the monitor (instruments/heat/monitor.hpp). It is in a directory that only
// its user may use: shmif-heat in $XDG_RUNTIME_DIR, otherwise /tmp/shmif-heat-UID. The monitor also
// checks who connects, and serves only its own user and root.

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/monitor.hpp"

namespace shmif::perf {

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
