#pragma once
// What a run says while it lasts, and to whom:
//
//   standard error    lines of progress (--eta), the status that SIGUSR1 asks for
//   standard output   one stream, for programs: --json-stream or --format=influx; else the status
//                     of each --status-interval
//   HTTP              --metrics
//
// The result comes last: to --output, else to standard output; behind a stream, whose reader it
// would confuse, to standard error.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/report/json.hpp"
#include "perf/report/progress_lines.hpp"
#include "perf/run/progress.hpp"
#include "perf/run/runner.hpp"
#include "tools/progress.hpp"
#include "tools/shmifperf/metrics.hpp"

namespace shmif::tools {

/// What contradicts itself among the outputs that were asked for; empty: nothing.
std::string problem_of_outputs(const perf::RunOptions& options);

/// A result in each of the formats, one behind the other: `json` makes its JSON, `text` what people
/// read.
std::string rendered(const std::vector<perf::OutputFormat>& formats,
                     const std::function<std::string(perf::Bins)>& json,
                     const std::function<std::string()>& text);

/// Threads: one. Blocks: where the reader of standard output lets it wait.
class RunOutput final : public perf::RunObserver {
 public:
  /// `control` is told to stop when the reader of the stream has gone. Errors: those of Metrics.
  static Result<std::unique_ptr<RunOutput>> open(const perf::RunOptions& options,
                                                 perf::RunControl& control);

  void on_run(const std::string& what) override;
  void on_progress(const perf::RunProgress& progress) override;
  void on_interval(const perf::RunProgress& progress) override;
  void on_status(const perf::RunProgress& progress) override;

  /// Ends it all: no line of progress is left on the terminal. Result: outputs that were lost, each
  /// with the reason.
  std::vector<std::string> finish();
  /// The result, after finish(). Result: false when it could not be written where it belongs; then
  /// all is said, and it is on a standard stream instead.
  bool print_result(const std::string& text);

 private:
  enum class Stream : std::uint8_t { none, json, influx };

  RunOutput(const perf::RunOptions& options, perf::RunControl& control);
  /// To standard output, once it has failed never again.
  void print(const std::string& text);

  const perf::RunOptions& options_;
  perf::RunControl& control_;
  Stream stream_ = Stream::none;
  bool plain_lines_ = false;    // of progress, one an interval
  bool redrawn_lines_ = false;  // on the terminal
  std::string run_;             // which of several
  perf::ProgressLines lines_;
  Progress terminal_;
  std::unique_ptr<Metrics> metrics_;  // closed last: its server takes a second or two for that
  int failure_ = 0;                   // errno of standard output
};

}  // namespace shmif::tools
