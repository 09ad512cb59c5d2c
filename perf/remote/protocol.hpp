#pragma once
// The protocol between `shmifperf run --client` and `shmifperf server`.
//
//   client                                     server
//   hello  ------------------------------->
//          <-------------------------------   hello, or `busy` or `refused`
//   ping   <------------------------------>   pong: only if jobs send to other servers
//   jobs   ------------------------------->   checked, planned, every job initialised
//          <-------------------------------   prepared, or `refused`, or `finished` (not started)
//   ping   <------------------------------>   pong: both are alive; the server's clock
//   go     ------------------------------->   the jobs start at this time of the server's clock
//          <-------------------------------   started, run, progress..., triggered, state...,
//                                             finished
//   trigger ------------------------------>   the trigger fired elsewhere: fire yours
//   sender_ended ------------------------->   a job of another server sends no more: it has sent so
//                                             many frames to one of your jobs
//   stop   ------------------------------->   at any time; the second is a hard stop
//
// A message is a length of four bytes, most significant first, and that many bytes of JSON: an
// object whose `type` is the name above. A side that hears nothing for kSilence considers the other
// gone; therefore the client pings once a second, and the server answers.
//
// Both ends must have the same version of the program. All input is checked: sizes, depth, counts
// and types are checked before a value is used. A change of a message must change kRemoteProtocol.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "perf/result/progress.hpp"

namespace shmif::perf {

/// Splits a stream into messages. It stores what has arrived, and does not allocate memory because
/// of a length that is only announced. Threads: one at a time. Blocks: never.
class MessageReader {
 public:
  explicit MessageReader(std::size_t max_bytes) : max_bytes_(max_bytes) {}
  /// Sets the limit from the next length on.
  void allow(std::size_t max_bytes) { max_bytes_ = max_bytes; }

  void feed(std::string_view bytes);
  /// The next complete message; empty: more must arrive. Errors: bad_argument for a length of 0 or
  /// above the limit; the rest of the stream is then useless.
  Result<std::optional<std::string>> next();
  /// Whether bytes are left. After next() has returned empty, they are the beginning of a message.
  bool has_part() const noexcept { return read_ != buffer_.size(); }

 private:
  std::size_t max_bytes_;
  std::string buffer_;
  std::size_t read_ = 0;  ///< position in the buffer
};

/// `message`, preceded by its length.
std::string with_length(std::string_view message);

/// Six digits that follow from the figures that messages carry.
template <class... T>
consteval std::uint64_t folded_figures() {
  std::uint64_t folded = 0;
  const auto fold = [&](const auto& rows) {
    for (const auto& row : rows) {
      if (!row.is_in(kInMessages)) continue;
      for (const char c : std::string_view(row.key)) {
        folded = (folded * 31 + static_cast<unsigned char>(c)) % 1'000'000;
      }
    }
  };
  (fold(kRowsOf<T>), ...);
  return folded;
}

/// Raise the first digits for a change of a message that is not one of figures.
inline constexpr std::uint64_t kRemoteProtocol =
    10'000'000 + folded_figures<RunProgress, JobProgress, IntervalResult, TcpSample>();
/// Exit code of `shmifperf run` if the machine cannot do what was asked for.
inline constexpr int kNotSupportedCode = 77;
inline constexpr const char* kRemoteName = "shmifperf";
inline constexpr std::uint16_t kRemotePort = 18765;

inline constexpr std::chrono::seconds kSilence{8};
inline constexpr std::chrono::seconds kPingEvery{1};

/// The largest messages: before hello; with jobs; with results.
inline constexpr std::size_t kMaxHelloBytes = 4U << 10U;
inline constexpr std::size_t kMaxJobsBytes = 4U << 20U;
inline constexpr std::size_t kMaxResultBytes = 256U << 20U;
/// The largest verification state that comes back; larger ones stay on the server.
inline constexpr std::size_t kMaxStateBytes = 4U << 20U;
/// The most jobs in a message, options in a job, or elements in any other list. A plan has at most
/// half as many jobs, including peers.
inline constexpr std::size_t kMaxItems = 4096;

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

/// A set of jobs as text: the given options by full names, with files and variables resolved.
struct JobTexts {
  struct Job {
    std::string name;
    std::string where;  ///< on the client's machine, for messages
    OptionTexts options;
    /// What to add to the times in the frames that the job checks, to get times of the server's
    /// clock; empty: their clock is not known.
    std::optional<std::int64_t> clock_shift_ns{};
    /// The other end of its flow is a job on another server.
    bool other_end_elsewhere = false;
    std::vector<std::byte> state{};  ///< that it loads (verify_state_load=client); empty: none
  };
  OptionTexts run;
  std::vector<Job> jobs;
};

/// The marks of all halves of a message; further ones are left out.
inline constexpr std::size_t kMaxMarks = 32U << 10U;

struct HelloMessage {
  std::string name = kRemoteName;
  std::uint64_t protocol = kRemoteProtocol;
  std::string version;
  std::string host;  ///< the client's host; other clients are told it with "busy"
  /// Of a server: which clock it reads (identity_of_clock()). Two servers with the same text read
  /// one clock.
  std::string clock{};
};
struct JobsMessage {
  JobTexts set;
  std::vector<std::string> command;  ///< the client's command, for the report
};
struct PreparedMessage {
  std::uint64_t jobs = 0;  ///< including clones and peers
};
/// The server will not run the set, or could not. Each reason comes with advice.
struct RefusedMessage {
  std::vector<std::string> why;
  int exit_code = 1;  ///< that `shmifperf run` must return: kNotSupportedCode, or 1
};
struct BusyMessage {
  std::string by;     ///< "198.18.0.7:40112 (lab3)"
  std::string since;  ///< "2026-11-21T02:37:32Z"
};
struct GoMessage {
  std::uint64_t start_ns = 0;  ///< by the server's clock
};
struct StartedMessage {
  std::uint64_t start_ns = 0;
};
struct ProgressMessage {
  RunProgress progress;
  bool interval = false;  ///< RunObserver::on_interval; otherwise on_progress
};
/// Sent before each run of a campaign with several (RunObserver::on_run).
struct RunMessage {
  std::string what;
};
struct StopMessage {
  bool hard = false;
  int signal = 0;  ///< the signal that stopped the client; 0: another reason
};
/// What the server did that makes the run fail: "the server is ended by SIGTERM".
struct NoticeMessage {
  std::string what;
};
/// The trigger of the server's run has fired.
struct TriggeredMessage {
  std::string what;
};
struct TriggerMessage {};
/// The sender of a job's frames, on another server, has ended.
struct SenderEndedMessage {
  std::string job;           ///< the receiver
  std::uint64_t frames = 0;  ///< sent to it in all
};
/// A verification state that a job of the run has saved.
struct StateMessage {
  std::string job;
  std::vector<std::byte> state;  ///< the file; empty: it is too long, or cannot be read
};
struct FinishedMessage {
  std::string result;  ///< to_json(), with bins
  /// Of jobs with other_end_elsewhere, by name.
  std::vector<std::pair<std::string, HalfFlow>> halves{};
};
struct PingMessage {
  std::uint64_t sent_ns = 0;  ///< by the client's clock
};
struct PongMessage {
  std::uint64_t sent_ns = 0;   ///< copied from the ping
  std::uint64_t clock_ns = 0;  ///< by the server's clock, when it answered
};

using Message =
    std::variant<HelloMessage, JobsMessage, PreparedMessage, RefusedMessage, BusyMessage, GoMessage,
                 StartedMessage, ProgressMessage, RunMessage, StopMessage, NoticeMessage,
                 TriggeredMessage, TriggerMessage, SenderEndedMessage, StateMessage,
                 FinishedMessage, PingMessage, PongMessage>;

/// The JSON of a message, without its length. Bytes that are not UTF-8 become U+FFFD.
std::string encode(const Message& message);
/// Reads a message. `stop` may end it early (see JsonLimits). Threads: any. Blocks: never. Time and
/// memory are at most proportional to the text (perf/report/json_reader.hpp). Errors: bad_argument
/// if the text is not JSON, exceeds one of the limits above, lacks a key, or has a key of another
/// type, or if `stop` ended it.
Result<Message> decode(std::string_view json, const std::function<bool()>& stop = {});

/// "hello": the `type` of a message.
const char* type_of(const Message& message) noexcept;

/// Which clock now_ns() reads: the same text on one machine, in one time namespace, until it is
/// booted again. It tells nothing else about the machine. Empty if the kernel does not say.
std::string identity_of_clock();

/// Why the two sides cannot work together, with both versions; empty: they can. `here` and `there`
/// name the sides: "this client", "the server".
std::string mismatch(const HelloMessage& ours, const std::string& here, const HelloMessage& theirs,
                     const std::string& there);

}  // namespace shmif::perf
