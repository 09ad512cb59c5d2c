#include "perf/worker/command.hpp"

#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <optional>

#include "instruments/watch/held_child.hpp"

namespace shmif::perf {
namespace {

/// Result: the child's wait status; empty if it was killed.
std::optional<int> await_end(HeldChild& child, const std::function<bool()>& ended_early) {
  constexpr int kLookEveryMs = 20;
  for (;;) {  // runs until the child has ended or was killed
    if (const auto status = child.ended()) return status;
    if (ended_early()) {
      child.kill(SIGKILL);
      return std::nullopt;
    }
    pollfd end{child.descriptor(), POLLIN, 0};
    ::poll(&end, 1, kLookEveryMs);
  }
}

}  // namespace

Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early) {
  auto child =
      HeldChild::start({.argv = argv, .output = output, .no_input = true, .own_group = true});
  if (!child) return std::move(child).error();
  if (auto begun = child->release(); !begun) return begun;
  const auto status = await_end(*child, ended_early);
  if (!status) {
    return Error(Errc::bad_argument, argv[0] + " did not end in time, and was killed");
  }
  if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return {};
  const std::string how = WIFEXITED(*status) ? "status " + std::to_string(WEXITSTATUS(*status))
                                             : "signal " + std::to_string(WTERMSIG(*status));
  return Error(Errc::bad_argument,
               argv[0] + " ended with " + how +
                   (output.empty() ? "" : " (its output is in " + output + ')'));
}

}  // namespace shmif::perf
