#pragma once
// Server: runs the jobs of others, one client's at a time.
//
// It is one loop that waits for nobody: a client is bytes that may come or not, and what it sends
// is read through bounds (perf/remote/protocol.hpp). The run is a process of its own
// (perf/remote/run_child.hpp), so that neither can disturb the other.
//
//   S1 Whoever has not said who it is by kHelloTime is dropped; of many, the one that waited
//      longest. What is no message ends the connection that it came on, and nothing else. Who does
//      not read its answers is dropped, too, before they fill the memory.
//   S2 The run belongs to one connection, from its `jobs` on. When that closes, is silent for
//      kSilence, or says what makes no sense, the run is stopped hard and, kHardStopTime later,
//      killed.
//   S3 The run ends max_runtime after `go` at the latest: by a stop, then a hard stop, then a kill.
//   S4 A result is kept until it is sent, its client is gone, or kLongestFarewell has passed; of a
//      server that ends, kEndingTime. Progress that a client does not read is dropped.

#include <functional>
#include <memory>
#include <string>

#include "bus/result.hpp"
#include "perf/engine/socket_address.hpp"
#include "perf/remote/limits.hpp"

namespace shmif::perf {

struct ServerOptions {
  SocketAddress address;
  ServerLimits limits;
  std::string version;  ///< of the program
  bool once = false;    ///< ends after one run
  /// A line without its end, for a log that people read. Threads: the server's.
  std::function<void(const std::string&)> log;
};

/// Threads: one at a time.
class Server {
 public:
  /// Binds and listens. Errors: the system's, with what to do.
  static Result<std::unique_ptr<Server>> create(ServerOptions options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// With the port that it got.
  const SocketAddress& address() const noexcept;
  /// Serves until `stop_descriptor` is readable: then the run is stopped with the signal that
  /// `stop_signal` tells, its client hears why and gets what it found out. Call while the process
  /// has no other threads.
  void serve(int stop_descriptor, const std::function<int()>& stop_signal);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
