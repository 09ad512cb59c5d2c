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

/// What the runner of a container needs to know.
struct ContainerWish {
  std::string name;                     ///< for podman
  std::vector<std::string> options{};   ///< of `podman create`
  std::string text;                     ///< the rest of its command line, for a shell
  std::vector<std::string> interfaces;  ///< the paths of the buses, one for each
  /// Of `shmifctl tap`, for each interface, without --netns.
  std::vector<std::vector<std::string>> tap_words{};
  std::string port;      ///< its name on each bus
  std::string pid_file;  ///< gets the pid of its first process
  /// Its /etc/resolv.conf, as a file and what is in there; empty: that of podman.
  std::string resolver_file{};
  std::string resolver_text{};
};

/// The name that podman knows it by.
std::string container_name(const Lab& lab, const LabHost& host);

/// `environment`: of the host. `seed`: of --seed.
ContainerWish container_wish(const Lab& lab, const LabHost& host, std::optional<std::uint64_t> seed,
                             const std::vector<std::pair<std::string, std::string>>& environment,
                             const std::string& pid_file);

/// Makes the container, connects it, runs its program, and removes it. Errors are printed.
/// Threads: the only one of its process. Blocks: until the container has ended, or SIGTERM came.
/// `on_start`: is called when its program was started. Result: its exit code, or 1.
int run_container(const ContainerWish& wish, const std::function<void()>& on_start);

/// The first process of a container, by its file. Empty: not there yet.
std::optional<pid_t> pid_of_container(const std::string& pid_file);

}  // namespace shmif::tools
