#pragma once
// The terminal that a guest shares with its supervisor, and stopping with a guest that stopped.
// Internal to tap/guest.

#include <termios.h>

#include "bus/unique_fd.hpp"

namespace shmif::tap {

/// The terminal that the guest shares with us. A shell in the guest makes a process group of its
/// own the foreground one, an editor changes the modes, and when they are killed nobody gives back
/// what they took.
class Terminal {
 public:
  Terminal();

  bool is_there() const { return static_cast<bool>(file_); }
  /// Whether our process group is in the foreground.
  bool is_ours() const;
  /// Keeps the modes for take_back(), the first time that we are in the foreground: those of before
  /// are of whoever is there.
  void note_modes();
  /// Whether the caller's standard streams are all this terminal, and nothing else.
  bool is_all_streams() const;
  /// Makes us the foreground again, with the modes that we found.
  void take_back() const;

 private:
  UniqueFd file_;
  bool has_modes_ = false;
  termios modes_{};
};

/// Stops this process by signal `number`, which is blocked otherwise as SIGCONT is, with its
/// process group when `with_group`. Takes the SIGCONT that ends the stop: it is not pending any
/// more. Blocks: while stopped. Result: false when the kernel did not stop it, because no shell
/// looks after its process group.
bool stop_by(int number, bool with_group);

}  // namespace shmif::tap
