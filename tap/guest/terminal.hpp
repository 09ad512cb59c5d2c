#pragma once
// The terminal that a guest shares with its supervisor, and how to stop with a guest that stopped.
// Internal to tap/guest.

#include <termios.h>

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

}  // namespace shmif::tap
