#pragma once
// Lines on the terminal that say how far a command is.

#include <chrono>
#include <string>

namespace shmif::tools {

/// The width that COLUMNS in the environment gives, or else that of the terminal on standard
/// output; 0 when standard output is none: in a file or a pipe a row of a table stays a line.
unsigned terminal_columns() noexcept;

/// A line on standard error that replaces itself, or several, where that is a terminal; else
/// nothing at all. The destructor takes them away. Threads: one.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  bool on_terminal() const noexcept { return terminal_; }
  /// Whether it is time to show() something new: a few times per second. Cheap.
  bool due() noexcept;
  /// In place of what stands there. Lines are cut at the width of the terminal, and those that it
  /// has no room for are left out.
  void show(const std::string& text);
  /// Takes it away, before something else is printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string to_first_line() const;

  bool terminal_;
  unsigned shown_ = 0;  // lines
  Clock::time_point next_;
};

}  // namespace shmif::tools
