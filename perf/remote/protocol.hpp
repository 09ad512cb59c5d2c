#pragma once
// What `shmifperf run --client` and `shmifperf server` say to each other.
//
//   client                                     server
//   hello  ------------------------------->
//          <-------------------------------   hello, and `busy` or `refused` where it is so
//   jobs   ------------------------------->   checked, planned, every job initialised
//          <-------------------------------   prepared, or `refused`, or `finished` (none started)
//   ping   <------------------------------>   pong: is the other there, and what is its clock
//   go     ------------------------------->   the jobs begin at that time of the server's clock
//          <-------------------------------   started, run, progress..., finished
//   stop   ------------------------------->   at any time; twice is a hard stop
//
// A message is four bytes of length, the most significant first, and so many bytes of JSON: an
// object whose `type` is the name above. Whoever hears nothing for kSilence takes the other for
// gone: so the client pings once a second, and the server answers.
//
// Both ends are the same version of the program. Nothing in a message is taken for granted: sizes,
// depth, counts and types are checked before a value is used. Whoever changes a message raises
// kRemoteProtocol.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bus/result.hpp"
#include "perf/run/progress.hpp"

namespace shmif::perf {

inline constexpr std::uint64_t kRemoteProtocol = 2;
/// What `shmifperf run` exits with where the machine cannot do what it is asked for.
inline constexpr int kNotSupportedCode = 77;
inline constexpr const char* kRemoteName = "shmifperf";
inline constexpr std::uint16_t kRemotePort = 18765;

inline constexpr std::chrono::seconds kSilence{8};
inline constexpr std::chrono::seconds kPingEvery{1};

/// The largest messages: before anything is known of the other side; of jobs; of results.
inline constexpr std::size_t kMostHelloBytes = 4U << 10U;
inline constexpr std::size_t kMostJobsBytes = 4U << 20U;
inline constexpr std::size_t kMostResultBytes = 256U << 20U;
/// Of jobs in a message, of options in a job, of anything else in a list. A plan has no more than
/// half as many jobs, peers counted.
inline constexpr std::size_t kMostItems = 4096;

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

/// A set of jobs as text: what was given, by full names, files and variables being read.
struct JobTexts {
  struct Job {
    std::string name;
    std::string where;  ///< on the client's machine, for messages
    OptionTexts options;
  };
  OptionTexts run;
  std::vector<Job> jobs;
};

struct HelloMessage {
  std::string name = kRemoteName;
  std::uint64_t protocol = kRemoteProtocol;
  std::string version;
  std::string host;  ///< of the client: who asks, for the next who is told "busy"
};
struct JobsMessage {
  JobTexts set;
  std::vector<std::string> command;  ///< of the client, for the report
};
struct PreparedMessage {
  std::uint64_t jobs = 0;  ///< clones and peers counted
};
/// The server will not run it, or could not: each reason with its remedy.
struct RefusedMessage {
  std::vector<std::string> why;
  int exit_code = 1;  ///< of `shmifperf run` in its place: kNotSupportedCode, or 1
};
struct BusyMessage {
  std::string by;     ///< "198.18.0.7:40112 (lab3)"
  std::string since;  ///< "2026-11-21T02:37:32Z"
};
struct GoMessage {
  std::uint64_t start_ns = 0;  ///< of the server's clock
};
struct StartedMessage {
  std::uint64_t start_ns = 0;
};
struct ProgressMessage {
  RunProgress progress;
  bool interval = false;  ///< RunObserver::on_interval, else on_progress
};
/// Of several runs in one campaign, before each (RunObserver::on_run).
struct RunMessage {
  std::string what;
};
struct StopMessage {
  bool hard = false;
  int signal = 0;  ///< that made the client stop; 0: none did
};
/// What the server did to the run, which fails it: "the server is ended by SIGTERM".
struct NoticeMessage {
  std::string what;
};
struct FinishedMessage {
  std::string result;  ///< to_json(), with bins
};
struct PingMessage {
  std::uint64_t sent_ns = 0;  ///< of the client's clock
};
struct PongMessage {
  std::uint64_t sent_ns = 0;   ///< of the ping
  std::uint64_t clock_ns = 0;  ///< of the server, when it answered
};

using Message = std::variant<HelloMessage, JobsMessage, PreparedMessage, RefusedMessage,
                             BusyMessage, GoMessage, StartedMessage, ProgressMessage, RunMessage,
                             StopMessage, NoticeMessage, FinishedMessage, PingMessage, PongMessage>;

/// The JSON of a message, without its length. Bytes that are no UTF-8 become U+FFFD.
std::string encode(const Message& message);
/// Reads it back. Threads: any. Blocks: never. Errors: bad_argument, for what is no JSON, has more
/// of anything than the bounds above, lacks a key or has one of another type. Never throws.
Result<Message> decode(std::string_view json);

/// "hello", as `type` has it.
const char* type_of(const Message& message) noexcept;

/// Why these two cannot work together, naming both sides; empty: they can. `here` and `there` say
/// who is who: "this client", "the server".
std::string mismatch(const HelloMessage& ours, const std::string& here, const HelloMessage& theirs,
                     const std::string& there);

}  // namespace shmif::perf
