#pragma once
// Runs a lab: what `shmifctl up` does when the file is right.
//
//   controller (this process)
//     |-- guardian: waits for the controller's death, and then removes the buses and the state
//     |-- shmifctl dump, one for each bus of a capture
//     |-- shmifctl gateway
//     |-- shmifctl exec, one for each host   --  its namespaces, its program
//     |-- ssh, one for each other machine, with a controller at its other end
//     |-- shmifctl uplink, one for each bus of such a machine
//     `-- shmifctl enter, the test
//
// The kernel ends all children with the controller (PR_SET_PDEATHSIG), so a killed controller
// leaves no process of the lab. The guardian then removes the files. If it is killed, too, the
// buses and the state stay until the next `up` or `down` of that name. The folder of results always
// stays, except that of a controller on another machine, which is temporary.
//
// All or nothing: until every host is ready, the first failure takes everything down.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/unique_fd.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

class MachineLine;

/// The part of a lab that runs here for a controller on another machine.
struct LabFar {
  std::string machine;  ///< its hosts run here
  MachineLine& line;
};

struct LabRunOptions {
  std::optional<std::uint64_t> seed;
  std::string results;        ///< the folder of logs and captures; with `far`, a temporary one
  bool keep_results = false;  ///< also if the test passed
  std::string junit{};        ///< a file, or empty
  std::optional<std::chrono::nanoseconds> time_limit{};
  std::string time_limit_text{};  ///< as it was given, for messages
  /// Detached: what waits at the other end of this pipe gets a byte, the exit code, when the lab is
  /// ready or has failed. From then on, output goes to lab.log. Empty: in the foreground.
  UniqueFd* news = nullptr;
  LabFar* far = nullptr;  ///< null: the whole lab runs from here
};

/// Threads: the only one. Blocks: until the lab has ended. Result: the exit code. Errors are
/// printed.
int run_lab(const Lab& lab, const LabRunOptions& options, const StopSignals& stop);

/// The far end of a lab on several machines: runs what the controller at the other end of standard
/// input and output asks for. Threads: the only one. Blocks: until that line is closed. Result: the
/// exit code. Throws if it cannot begin.
int run_far_lab();

/// The name of the lab's part on a machine: for its state and its buses there.
std::string far_lab_name(const Lab& lab, const std::string& machine);
/// The path of a bus there.
std::string far_bus_path(const Lab& lab, const std::string& machine, const std::string& bus);

}  // namespace shmif::tools
