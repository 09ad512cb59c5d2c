#pragma once
// A program in a child process that is held right before it begins, so that instruments can be
// attached to it, and let go when they are.

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

struct ChildOptions {
  std::vector<std::string> argv{};  ///< no shell; the program is looked for in PATH
  std::string output{};             ///< file for its output and errors, replaced; empty: as ours
  bool no_input = false;            ///< its standard input is /dev/null
  /// It leads a process group of its own, so that kill() reaches what it starts. A terminal's
  /// Ctrl-C then does not reach it.
  bool own_group = false;
  std::optional<int> cpu{};  ///< the only CPU that it may use
};

/// Owns the child: it is killed, if it has not ended, and waited for when its owner goes. It also
/// dies when the thread that started it ends. Threads: one at a time.
class HeldChild {
 public:
  /// Forks. The child has everything that the program will have, but its code. Blocks: until it is
  /// ready. Errors: as fork(2); what could not be set up.
  static Result<HeldChild> start(const ChildOptions& options);

  HeldChild(HeldChild&& other) noexcept;
  HeldChild& operator=(HeldChild&& other) noexcept;
  ~HeldChild();

  pid_t pid() const noexcept { return pid_; }
  /// Readable when the child has ended.
  int descriptor() const noexcept { return file_.get(); }

  /// Lets the program begin. Blocks: until it has, or could not. Errors: why the program cannot be
  /// executed; exit_code() then says what a shell would return, and the child has been waited for.
  Result<void> release();
  /// 127 if there is no such program, 126 if there is but it cannot be executed. 0 otherwise.
  int exit_code_of_failure() const noexcept { return failure_; }

  /// Its wait status if it has ended. Blocks: never.
  std::optional<int> ended();
  /// Blocks: until it has ended. Result: its wait status, as for waitpid(2).
  int wait();
  /// Sends a signal to the child, and with own_group to its group. No error if it has ended.
  void kill(int signal) noexcept;

 private:
  HeldChild() = default;
  void give_up() noexcept;

  pid_t pid_ = -1;
  bool own_group_ = false;
  UniqueFd file_;
  UniqueFd gate_;  ///< a byte lets the program begin; then the reason why it did not comes back
  std::string name_;
  std::optional<int> status_;
  int failure_ = 0;
};

/// What a shell returns for a wait status: the exit status, or 128 plus the number of the signal.
int shell_status(int wait_status) noexcept;

}  // namespace shmif::perf
