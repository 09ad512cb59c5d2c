#pragma once
// The terminal that a guest shares with its supervisor, and how to stop with a guest that stopped.
// Internal to tap/guest.

#include <sys/types.h>
#include <termios.h>

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {

/// The terminal that the guest shares with us. A shell in the guest puts its own process group into
/// the foreground, and an editor changes the modes. If they are killed, nobody else restores what
/// they changed.
class Terminal {
 public:
  Terminal();

  bool is_there() const { return static_cast<bool>(file_); }
  /// Whether our process group is in the foreground.
  bool is_ours() const;
  /// Stores the modes for take_back(), the first time that we are in the foreground. Before that,
  /// the modes are those of another job.
  void note_modes();
  /// Whether the caller's standard streams are all this terminal, and nothing else.
  bool is_all_streams() const;
  /// Puts us into the foreground again, and restores the stored modes.
  void take_back() const;

 private:
  UniqueFd file_;
  bool has_modes_ = false;
  termios modes_{};
};

/// Stops this process by signal `number`, which is blocked otherwise, as SIGCONT is. `with_group`:
/// stops its process group, too. Takes the SIGCONT that ends the stop, so that it is no longer
/// pending. Blocks: while stopped. Result: false if the kernel did not stop the process, because no
/// shell looks after its process group.
bool stop_by(int number, bool with_group);

/// Gives a program that must not touch our terminal a terminal of its own. If our standard streams
/// are terminals, passes bytes and the window size between them and a pseudo-terminal. If a program
/// had our own terminal, it could type into it (TIOCSTI), and read it.
class TerminalRelay {
 public:
  /// Makes the pseudo-terminal, for user `owner`, if one of our standard streams is a terminal.
  /// Keeps duplicates of those streams. `foreground`: we are in the foreground of our terminal,
  /// so its modes are copied. Errors: an errno.
  Result<void> open(uid_t owner, bool foreground);

  /// The program's end; -1 if no stream is a terminal.
  int program_end() const noexcept { return slave_.get(); }
  /// An epoll descriptor that is readable when pass() has something to do; -1 if it never has.
  int descriptor() const noexcept { return events_.get(); }
  /// Passes on the bytes that are there. `foreground`: we may read our terminal, and set its modes.
  /// Blocks: while our terminal accepts no output.
  void pass(bool foreground);
  /// Gives the pseudo-terminal the size of our window.
  void take_size() const noexcept;
  /// Call it after we were stopped, because a shell had the terminal meanwhile.
  void note_continued() noexcept;

 private:
  void pass_output();
  void find_terminals();
  void pass_input(bool foreground);
  void make_input_raw() const;
  void read_input();
  void end_input();
  void lose_input();
  void watch_what_is_due(bool foreground);

  UniqueFd input_;   ///< our terminal, if standard input is one
  UniqueFd output_;  ///< our terminal
  UniqueFd master_;
  UniqueFd slave_;  ///< kept open: without a slave, the master is always ready
  UniqueFd events_;
  UniqueFd look_again_;  ///< a timer that runs while input waits for us to be in the foreground
  std::string pending_;  ///< input that the pseudo-terminal had no room for
  bool is_raw_ = false;
};

/// Clears the environment, except for what a terminal and a language need, and describes the user
/// `owner` in it.
void clean_environment(uid_t owner);

}  // namespace shmif::tap
