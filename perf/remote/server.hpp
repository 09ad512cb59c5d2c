#pragma once
// Server: runs the jobs of others, one client at a time.
//
// It is one loop that does not block: it reads what clients have sent, within the limits of
// perf/remote/protocol.hpp. A separate process (perf/remote/served_run.hpp) checks, plans and runs
// the jobs, so neither can disturb the other.
//
//   S1 A visitor that has not said hello by kHelloTime is dropped; if there are too many, the one
//      that has waited longest. Bytes that are not a message end only their own connection. A
//      visitor that does not read its answers is dropped before they fill the memory.
//   S2 The run belongs to one connection, from its `jobs` message on. If that closes, is silent for
//      kSilence, or sends an invalid message, the run is stopped hard and, kHardStopTime later,
//      killed.
//   S3 The run ends max_runtime after `go` at the latest: by a stop, then a hard stop, then a kill.
//      Without `go` it ends kHeldTime after its jobs were ready. A process that has not planned the
//      client's jobs in time is killed at once. The log has the reason.
//   S4 A result is kept until it is sent, its client is gone, or kLongestFarewell has passed; if
//      the server is ending, kEndingTime, or kEndingSilence without a byte. Progress that a client
//      does not read is dropped.
//   S5 A server that is ending stops its run hard kEndingSoftTime later, whatever the jobs' runtime
//      is.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/limits.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::perf {

// Visitor: a client connected to the server, and how long it may stay. Internal to perf/remote.

struct Visitor {
  using Clock = Connection::Clock;
  enum class Stage : std::uint8_t {
    stranger,  ///< has not said hello
    known,     ///< may send its jobs
    owner,     ///< owns the run
    leaving,   ///< was sent its last message
    gone,
  };
  Visitor(UniqueFd socket, std::string address);

  /// To be called when it has said hello. It may then send its jobs.
  void welcome();
  /// To be called after its last message. It gets time to read that message; a result may take
  /// longer while it makes progress.
  void leave(bool with_result);
  /// Checks deadlines and the waiting bytes. Result: why the visitor must be dropped, or empty. A
  /// leaving visitor is dropped without a reason: it becomes `gone`. `ending`: since when the
  /// server has been ending.
  std::optional<std::string> look(Clock::time_point now, std::optional<Clock::time_point> ending);
  /// Whether it may be dropped for others: it neither owns the run nor reads its result.
  bool may_be_dropped() const noexcept;

  Connection connection;
  std::string name;  ///< "198.18.0.7:40112 (lab3)"
  Stage stage = Stage::stranger;

 private:
  bool has_left(Clock::time_point now, std::optional<Clock::time_point> ending) const;

  Clock::time_point deadline_;
  Clock::time_point left_{};
  bool has_result_ = false;
};

using Visitors = std::vector<std::unique_ptr<Visitor>>;

struct ServerOptions {
  SocketAddress address;
  ServerLimits limits;
  std::string version;  ///< of the program
  bool once = false;    ///< end after one run
  /// Writes a line of the log; the text has no line end. Threads: the server's thread.
  std::function<void(const std::string&)> log;
};

/// Threads: one at a time.
class Server {
 public:
  /// Binds and listens. Errors: an errno, with advice.
  static Result<std::unique_ptr<Server>> create(ServerOptions options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// Its address, with the real port.
  const SocketAddress& address() const noexcept;
  /// Serves until `stop_descriptor` is readable. Then it stops the run with the signal that
  /// `stop_signal` returns, and sends the client the reason and the result so far. Call it while
  /// the process has no other threads.
  void serve(int stop_descriptor, const std::function<int()>& stop_signal);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
