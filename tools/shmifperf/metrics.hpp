#pragma once
// --metrics: the figures of a run as Prometheus scrapes them, while it lasts.

#include <memory>
#include <string>

#include "bus/result.hpp"
#include "perf/run/progress.hpp"

namespace shmif::tools {

/// Answers HTTP GET /metrics with text of Prometheus, from a thread of its own. Nobody is asked who
/// he is: bind it to an address that only those reach who may read. The destructor closes it.
/// Threads: one.
class Metrics {
 public:
  /// `address` is "127.0.0.1:9400" or "[::1]:9400"; port 0 is any that is free. Errors: the
  /// system's, with the remedy, for an address that is in use or not of this machine.
  static Result<std::unique_ptr<Metrics>> serve(const std::string& address);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  /// Where it is, "http://127.0.0.1:9400/metrics".
  const std::string& url() const noexcept;
  /// Counts since the start, and states.
  void count(const perf::RunProgress& progress);
  /// Rates and latencies of the interval that has just ended.
  void measure(const perf::RunProgress& progress);

 private:
  struct Impl;
  explicit Metrics(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tools
