#pragma once
// The control socket of the monitor (perf/heat/monitor.hpp). It is in a directory that only its
// user may use: shmif-heat in $XDG_RUNTIME_DIR, or else /tmp/shmif-heat-UID. The monitor also looks
// who connects, and serves its own user and root.

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "perf/heat/monitor.hpp"

namespace shmif::perf {

/// The directory's path. Threads: any, while none changes the environment.
std::string heat_control_path();
/// The directory, which is made if it is missing. Errors: EPERM if there is one that others own or
/// may use; the errno of mkdir(2).
Result<std::string> heat_control_folder();
/// The same for a directory of that name. Threads: any.
Result<void> make_private_folder(const std::string& path);

/// Sends a request to the monitor. Errors: Errc::link_ended if there is none, or it has died;
/// Errc::timed_out if it does not answer within ten seconds; those that it tells. Blocks: for the
/// answer.
Result<std::string> ask_heat_monitor(const std::string& folder, const HeatRequest& request);

/// Where a monitor listens. Only one has a folder at a time; what a dead one left is replaced.
class HeatListener {
 public:
  /// Errors: Errc::busy if another monitor has the folder.
  static Result<HeatListener> open(const std::string& folder);
  HeatListener(HeatListener&&) noexcept = default;
  HeatListener& operator=(HeatListener&&) noexcept = default;
  /// Removes the socket and the file of the lock.
  ~HeatListener();

  /// Answers requests until one ends it, or `stop` is readable (-1: none). A caller that says
  /// nothing, does not listen, or talks nonsense delays no others. It is dropped after a while, or
  /// when many others call.
  /// Blocks: until then.
  void serve(HeatMonitor& monitor, int stop);

 private:
  HeatListener() = default;
  UniqueFd lock_;  ///< locked with flock(2) while the monitor lives
  UniqueFd socket_;
  std::string path_;
};

}  // namespace shmif::perf
