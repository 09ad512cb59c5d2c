#pragma once
// A line on the terminal that says how far a command is.

#include <chrono>
#include <string>

namespace shmif::tools {

/// A line on standard error that replaces itself, where that is a terminal; else nothing at all.
/// The destructor takes it away. Threads: one.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// Whether it is time to show() something new: a few times per second. Cheap.
  bool due() noexcept;
  void show(const std::string& text);
  /// Takes the line away, before something else is printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

}  // namespace shmif::tools
