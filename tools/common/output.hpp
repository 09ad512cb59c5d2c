#pragma once
// Standard output of a command: whether a path leads there, and what is said if a write fails.
//
// A command that only shows something ends by SIGPIPE when its reader has gone, as other programs
// do: `shmifctl stat PATH | head -1`. A command that has done work (create, repair, inject, dump,
// bridge between links) prints a report of it. If that fails, the user must learn that the work is
// done, so that it is not done again: note_done(). Gateways and bridges to programs leave no
// result that the message could name.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

/// Call it when the work of the command is done, before the report is printed. From now on, this
/// process gets no SIGPIPE. If standard output cannot be written, main() says so, with `what` in
/// parentheses, and the exit code is 1: "cannot write to standard output: Broken pipe (7 frames
/// were sent)". `what`: a clause, or empty. Threads: the main thread. Blocks: never.
void note_done(std::string what);

/// Flushes standard output. Result: 0, or the errno of the first failure to write there since
/// begin_output(). Threads: the main thread. Blocks: while the reader is slow.
int flush_output() noexcept;

/// The message about standard output that could not be written. `number`: what flush_output()
/// returned. Threads: the main thread. Blocks: never.
std::string lost_output_text(int number);

/// Forgets what was noted. main() calls it first. Threads: the main thread. Blocks: never.
void begin_output();

/// Whether `path` is "-", or leads to the file that standard output is, under any name:
/// /dev/stdout, /proc/self/fd/1, /dev/tty on a terminal, or x.pcap in `... -w x.pcap >x.pcap`. Not
/// /dev/null, which takes any number of outputs. Threads: safe. Blocks: for the disk.
bool is_standard_output(const std::string& path);

// Text for a standard stream whose reader may be slow, or stand still: a pager that shows its first
// page, a terminal that Ctrl-S has stopped. The writer has more to do than to wait for it.

/// Lines on their way to one of the standard streams. What the reader does not take waits here, up
/// to kMaxWaiting bytes. Later lines are left out; when there is room again, a line in their place
/// says how many. Other users of the stream are not affected: it does not become non-blocking for
/// them. Threads: one at a time.
class PatientOutput {
 public:
  static constexpr std::size_t kMaxWaiting = std::size_t{1} << 20U;

  /// `stream`: a descriptor, which stays open. `hint`: what the line about lines that were left out
  /// says in the end, such as " (the logs have them)".
  explicit PatientOutput(int stream, std::string hint = {});

  /// Writes a line (without its end), now or in flush(). Blocks: for a disk only.
  void write(std::string_view line);
  /// Writes what write() could not. Blocks: for a disk only.
  void flush();
  /// Flushes until everything is written, or `is_enough` says so, which is asked every 50 ms.
  template <typename IsEnough>
  void flush_until(IsEnough is_enough) {
    while (wanted() >= 0 && !is_enough()) {
      wait_a_moment();
      flush();
    }
  }
  /// Leaves out what still waits. Result: how many lines nobody will read or be told of.
  std::uint64_t give_up();
  /// What to poll(2) for POLLOUT; -1 if nothing waits.
  int wanted() const noexcept;
  /// The errno of the first write that failed; 0 if none has. From then on, text vanishes.
  int failure() const noexcept { return failure_; }

 private:
  /// How a write that must not wait is made.
  enum class Way : std::uint8_t { direct, own, socket, polled };

  void tell_left_out();
  void wait_a_moment() const;
  std::size_t write_some(std::string_view text);

  int stream_;
  std::string hint_;
  Way way_ = Way::direct;
  UniqueFd own_;  ///< the same pipe or terminal, opened again
  std::string waiting_;
  std::uint64_t left_out_ = 0;
  int failure_ = 0;
};

// Lines on the terminal that show the progress of a command.

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

// Writes results and pages to files.

/// Whether write_file() will be able to make `path`. Call it before a measurement, so that the
/// result is not lost. Blocks: for the disk. Errors: exists for a bus and for one of `inputs`, the
/// paths of files that the command reads; those of the system.
Result<void> check_file(const std::string& path, const std::vector<std::string>& inputs = {});

/// Makes `path` a file that contains `text`. It appears there only once all of it is written
/// (bus/file/output_file.hpp). "-" is standard output. Blocks: for the disk. Errors: those of
/// check_file(); a full disk is one.
Result<void> write_file(const std::string& path, const std::string& text,
                        const std::vector<std::string>& inputs = {});

}  // namespace shmif::tools
