#pragma once
// Holds a program in a child process right before it begins, so that instruments can be attached to
// it first.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

struct ChildOptions {
  std::vector<std::string> argv{};  ///< without a shell; PATH is searched for the program
  std::string output{};             ///< file for its output and errors, replaced; empty: ours
  bool no_input = false;            ///< its standard input is /dev/null
  /// It leads its own process group, so that kill() also reaches the processes that it starts. A
  /// terminal's Ctrl-C then does not reach it.
  bool own_group = false;
  std::optional<int> cpu{};  ///< the only CPU that it may use
};

/// Owns the child. The destructor kills the child if it has not ended, and waits for it, but not
/// for long: a process that waits in the kernel for a file system that does not answer ends only
/// when that does. The child also dies when the thread that started it ends. Threads: one at a
/// time.
class HeldChild {
 public:
  /// Forks. The child has everything that the program will have, except the program's code. Blocks:
  /// until the child is ready. Errors: those of fork(2); what could not be set up.
  static Result<HeldChild> start(const ChildOptions& options);

  HeldChild(HeldChild&& other) noexcept;
  HeldChild& operator=(HeldChild&&) = delete;
  ~HeldChild();

  /// What a user should know of a program that was killed and does not end.
  static constexpr const char* kStays =
      "the program was killed, but waits in the kernel, perhaps for a file system that does not "
      "answer: it ends when that answers";

  pid_t pid() const noexcept { return pid_; }
  /// Readable when the child has ended.
  int descriptor() const noexcept { return file_.get(); }

  /// Whether the file of the program gives it rights that this process may lack: set-user-ID,
  /// set-group-ID, or capabilities.
  bool gains_rights() const noexcept { return gains_rights_; }

  /// Lets the program begin. Blocks: until it has begun or failed. Errors: why the program cannot
  /// be executed. Then exit_code_of_failure() is what a shell would return, and the child has been
  /// waited for. `meanwhile`: called when the child has been told to begin.
  Result<void> release(const std::function<void()>& meanwhile = [] {});
  /// 127 if there is no such program, 126 if there is one but it cannot be executed. Otherwise 0.
  int exit_code_of_failure() const noexcept { return failure_; }

  /// Its wait status if it has ended. Blocks: never.
  std::optional<int> ended();
  /// Whether it has ended. Blocks: until then, for at most this long.
  bool ends_within(std::chrono::milliseconds at_most);
  /// Blocks: until it has ended. Result: its wait status, as for waitpid(2).
  int wait();
  /// Sends a signal to the child, and with own_group to its group. Does nothing if the child has
  /// ended.
  void kill(int signal) noexcept;

 private:
  HeldChild() = default;
  void give_up() noexcept;

  pid_t pid_ = -1;
  bool own_group_ = false;
  bool gains_rights_ = false;
  UniqueFd file_;
  UniqueFd gate_;  ///< a byte to it starts the program; if that fails, the reason comes back
  std::string name_;
  std::optional<int> status_;
  int failure_ = 0;
};

/// What a shell returns for this wait status: the exit status, or 128 plus the signal's number.
int shell_status(int wait_status) noexcept;

}  // namespace shmif::perf
