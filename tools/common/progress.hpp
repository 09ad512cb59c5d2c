#pragma once
// Lines on the terminal that show the progress of a command.

#include <chrono>
#include <string>

namespace shmif::tools {

/// The width from COLUMNS in the environment, otherwise that of the terminal at `output`, where the
/// text will be written. 0 if no terminal is there: in a file or a pipe, each row of a table stays
/// one line.
unsigned terminal_columns(int output = 1) noexcept;

/// Whether standard output is a terminal that shows colours, and the user wants them (NO_COLOR,
/// https://no-color.org).
bool shows_colours() noexcept;

/// One or more lines on standard error that replace themselves. Does nothing if standard error is
/// not a terminal. The destructor removes the lines. Threads: one at a time.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  bool on_terminal() const noexcept { return terminal_; }
  /// Whether it is time for a new show(): a few times per second. Cheap.
  bool due() noexcept;
  /// Replaces the shown lines. Lines are cut at the terminal's width; lines that do not fit on it
  /// are left out.
  void show(const std::string& text);
  /// Removes the lines, before other output is printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string to_first_line() const;

  bool terminal_;
  unsigned shown_ = 0;  // number of lines on the terminal
  Clock::time_point next_;
};

}  // namespace shmif::tools
