#pragma once
// Hosts of a lab that are containers of podman.
//
//   controller
//     `-- runner, one for each container (this code)
//           |-- keeper: waits for the runner's end, and then removes the container
//           |-- shmifctl tap, one for each interface
//           `-- podman start --attach: the output of the container
//
// podman's containers are not children of the process that starts them, so the kernel cannot end
// them with the controller. K1: the keeper removes the container, in whatever way the runner ended.
// If somebody kills the keeper, too, the container stays until the next start of this host, or
// `podman rm`.

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// Makes the container, connects it, runs its program, and removes it. Errors are printed. `seed`:
/// of --seed. `environment`: of the host. `pid_file`: gets the pid of its first process.
/// `on_start`: is called when its program was started. Threads: the only one of its process.
/// Blocks: until the container has ended, or SIGTERM came. Result: its exit code, or 1.
int run_container(const Lab& lab, const LabHost& host, std::optional<std::uint64_t> seed,
                  const std::vector<std::pair<std::string, std::string>>& environment,
                  const std::string& pid_file, const std::function<void()>& on_start);

/// The first process of a container, by its file. Empty: not there yet.
std::optional<pid_t> pid_of_container(const std::string& pid_file);

}  // namespace shmif::tools
