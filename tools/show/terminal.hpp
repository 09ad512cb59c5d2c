#pragma once
// Uses the terminal as a full screen, and restores it afterwards.

#include <termios.h>

#include <string>

namespace shmif::tools {

/// Whether the locale of the user has characters beyond ASCII (UTF-8).
bool shows_unicode();

/// The alternate screen of the terminal on standard output. Standard input delivers single keys
/// without echo. The destructor restores both. Only one may exist at a time. Threads: one at a
/// time.
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
  /// Replaces the screen by `lines`, and cuts lines that do not fit. It writes all at once, to
  /// avoid flicker. `lines` may contain only colours as escape sequences.
  void show(const std::string& lines);
  /// Returns the screen to the shell, stops the process, and takes the screen again when it
  /// continues.
  void suspend();
  /// Readable when a terminal signal is pending: a change of size, or a request to suspend.
  int signal_descriptor() const noexcept { return signals_; }
  /// The pending signal (SIGWINCH, SIGTSTP), or 0.
  int next_signal() noexcept;

 private:
  void enter();
  void leave() noexcept;

  termios before_{};
  bool have_keys_ = false;
  int signals_ = -1;
};

}  // namespace shmif::tools
