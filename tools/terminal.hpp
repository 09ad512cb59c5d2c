#pragma once
// The terminal as a full screen, given back as it was found.

#include <termios.h>

#include <string>

namespace shmif::tools {

/// The alternate screen of the terminal on standard output, with keys arriving singly and unechoed
/// on standard input. The destructor gives everything back. One at a time. Threads: one.
class Screen {
 public:
  struct Size {
    unsigned columns = 80;
    unsigned rows = 24;
  };

  Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen();

  Size size() const noexcept;
  /// Shows `lines` in place of what is there, cut where they do not fit; written in one go, so that
  /// nothing flickers. The only escape sequences in them are colours.
  void show(const std::string& lines);
  /// Leaves the screen to the shell, stops the process, and takes the screen again when it goes on.
  void suspend();
  /// Readable when a signal of the terminal waits: its size changed, or it is to be suspended.
  int signal_descriptor() const noexcept { return signals_; }
  /// The signal that waits (SIGWINCH, SIGTSTP), or 0.
  int next_signal() noexcept;

 private:
  void enter();
  void leave() noexcept;

  termios before_{};
  bool have_keys_ = false;
  int signals_ = -1;
};

}  // namespace shmif::tools
