#pragma once
// The first line that each end of an uplink over ssh sends: which version it speaks, and how long
// frames may be. Records of frames follow (shmif/stream_link.hpp).
//
//   shmif-uplink 1 mtu=1500 name=b

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/stream_link.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/pauses.hpp"
#include "tools/uplink/uplink_line.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {

struct Hello {
  static constexpr unsigned kVersion = 1;
  std::uint32_t mtu = 1500;  ///< of the bus
  std::string name = {};     ///< of the machine: letters, digits and "._-", at most 64

  std::string to_line() const;  ///< ends with '\n'
  /// Errors: bad_argument; the message says what is wrong with the line.
  static Result<Hello> parse(const std::string& line);
};

/// The name of this machine, with other characters replaced.
std::string machine_name();

/// Writes the line. Blocks: until `at_most` has passed. Errors: timed_out, an errno.
Result<void> send_hello(int out, const Hello& hello, std::chrono::milliseconds at_most);

/// What to serve while something else is awaited: `serve` is called when `descriptor` is readable.
struct Meanwhile {
  int descriptor = -1;
  std::function<void()> serve = {};
};

/// Reads until such a line has come, and not one byte more. Skips other lines, 64 KiB at most: a
/// login shell may greet. Blocks: until then, `at_most` has passed, or `stop` is readable. Errors:
/// interrupted, timed_out, link_ended, bad_argument, an errno.
Result<Hello> await_hello(int in, int stop, std::chrono::milliseconds at_most,
                          const Meanwhile& meanwhile = {});

// What the far end of an uplink over ssh has counted. It tells that in one line on its standard
// error when the line ends, and ssh brings it.

struct FarCounts {
  std::uint64_t sent_frames = 0;       ///< from its bus to the line
  std::uint64_t delivered_frames = 0;  ///< from the line to its bus
  std::uint64_t lost_frames = 0;       ///< either way, in overruns and by faults there
  std::uint64_t line_full_frames = 0;  ///< dropped because the line took none for too long
  std::uint64_t too_long_frames = 0;   ///< either way
  std::uint64_t refused_frames = 0;    ///< either way, for another reason
  std::uint64_t loops = 0;             ///< times it ended because frames went round

  void add(const FarCounts& more);
  /// "shmif-uplink-counts {...}", without a line end.
  std::string to_line() const;
  /// Empty if the line is something else, or does not have every number. It comes from another
  /// machine, and may say anything.
  static std::optional<FarCounts> parse(const std::string& line);
  Json to_json() const;
};

/// `ways`: from its bus, and to it. `end`: why the line ended.
FarCounts far_counts_of(const std::pair<BridgeWay, BridgeWay>& ways, const StreamDrops& drops,
                        const UplinkEnd& end);

// SshSession: ssh as a child process, whose standard input and output are one socket.

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
