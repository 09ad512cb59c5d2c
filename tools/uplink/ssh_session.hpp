#pragma once
// SshSession: ssh as a child process, whose standard input and output are one socket.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tools/relay/pauses.hpp"
#include "tools/uplink/far_counts.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {

/// The words that run a command on another machine, without a terminal. The user's options come
/// first, because ssh takes the first one of a kind. `command`: for the shell there.
std::vector<std::string> ssh_command(const std::vector<std::string>& options,
                                     const std::string& host, const std::string& command);

/// The words that start the far end: ssh, its options, the host, and one word for the shell there.
std::vector<std::string> ssh_words(const UplinkWish& wish);

/// Threads: one at a time.
class SshSession {
 public:
  /// Starts ssh. Throws: not_supported if it is not installed; an errno. Blocks: no longer than a
  /// fork does.
  SshSession(const std::vector<std::string>& words, std::string host);
  SshSession(const SshSession&) = delete;
  SshSession& operator=(const SshSession&) = delete;
  /// Kills ssh if it runs. Blocks: until it has ended.
  ~SshSession();

  /// The line to the far end.
  int line() const noexcept { return line_.get(); }
  UniqueFd take_line() noexcept { return std::move(line_); }
  /// Readable when ssh or the far end has written on standard error, or has closed it.
  int errors() const noexcept { return errors_.get(); }
  /// Reads that, and passes it on to this process's standard error. Result: false if it is closed.
  bool read_errors();
  /// Lets ssh end, and reads what it still has to say. Call it when the line is closed. Blocks:
  /// until it has ended, at most `at_most`; then it kills ssh.
  void end(std::chrono::milliseconds at_most);
  /// What the far end has counted; empty if it did not tell.
  const std::optional<FarCounts>& far_counts() const noexcept { return far_counts_; }
  /// Why the session ended, for messages, after end(): the signal that ended ssh, or the last line
  /// that ssh or the failed far end wrote. Empty: not known. Warnings are no reason.
  std::string why_ended() const;
  /// Says nothing from now on: the caller tells of why_ended() itself.
  void be_quiet() noexcept { is_quiet_ = true; }
  /// Passes on what was written, from now on.
  void speak() noexcept {
    is_quiet_ = false;
    last_line_.clear();
  }

 private:
  void take_error_line(const std::string& line);

  std::string host_;
  pid_t pid_ = -1;
  UniqueFd line_, errors_;
  std::string begun_;  ///< of a line that has not yet ended
  std::string last_line_;
  std::optional<int> status_;  ///< of ssh, as of waitpid(2), if it ended by itself
  std::optional<FarCounts> far_counts_;
  LineBudget lines_;
  bool is_quiet_ = false;
};

}  // namespace shmif::tools
