#pragma once
// --metrics: serves the figures of a running run in the format of Prometheus.

#include <memory>
#include <string>

#include "base/result.hpp"
#include "perf/result/progress.hpp"

namespace shmif::tools {

/// Answers HTTP GET and HEAD of /metrics with Prometheus text, in a separate thread. There is no
/// authentication: bind it to an address that only permitted clients can reach. The destructor
/// closes it. Threads: one at a time.
class Metrics {
 public:
  /// `address`: "127.0.0.1:9400" or "[::1]:9400"; port 0 means any free port. Errors: an errno,
  /// with advice, if the address is in use or does not belong to this machine.
  static Result<std::unique_ptr<Metrics>> serve(const std::string& address);
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  /// Its URL, "http://127.0.0.1:9400/metrics".
  const std::string& url() const noexcept;
  /// Updates the counts since the start, and the states.
  void count(const perf::RunProgress& progress);
  /// Updates the rates and latencies of the interval that has just ended.
  void measure(const perf::RunProgress& progress);

 private:
  struct Impl;
  explicit Metrics(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tools
