#pragma once
// The outputs of a run while it lasts:
//
//   standard error    progress lines (--eta), the status that SIGUSR1 asks for
//   standard output   one stream for programs: --json-stream or --format=influx; otherwise the
//                     status of each --status-interval
//   HTTP              --metrics
//
// The result comes last: to --output, otherwise to standard output. If a stream is on standard
// output, the result goes to standard error, because it would confuse the stream's reader.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "perf/report/json.hpp"
#include "perf/report/progress_lines.hpp"
#include "perf/result/progress.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifperf/metrics.hpp"

namespace shmif::tools {

/// Which of the requested outputs contradict each other; empty: none do.
std::string problem_of_outputs(const perf::RunOptions& options);

/// A result in each of the formats, one after the other: `json` makes the JSON, `text` the readable
/// text.
std::string rendered(const std::vector<perf::OutputFormat>& formats,
                     const std::function<std::string(perf::Bins)>& json,
                     const std::function<std::string()>& text);

/// Threads: one at a time. Blocks: while the reader of standard output is slow.
class RunOutput final : public perf::RunObserver {
 public:
  /// Orders `control` to stop when the reader of the stream is gone. Errors: those of Metrics.
  static Result<std::unique_ptr<RunOutput>> open(const perf::RunOptions& options,
                                                 perf::RunControl& control);

  void on_run(const std::string& what) override;
  void on_progress(const perf::RunProgress& progress) override;
  void on_interval(const perf::RunProgress& progress) override;
  void on_status(const perf::RunProgress& progress) override;

  /// Ends all outputs and removes progress lines from the terminal. Result: outputs that were lost,
  /// each with the reason.
  std::vector<std::string> finish();
  /// Prints the result; call it after finish(). Result: false if it could not be written to its
  /// place. The error was then reported, and the result is on a standard stream instead.
  bool print_result(const std::string& text);

 private:
  enum class Stream : std::uint8_t { none, json, influx };

  RunOutput(const perf::RunOptions& options, perf::RunControl& control);
  /// Prints to standard output; does nothing after the first failure.
  void print(const std::string& text);

  const perf::RunOptions& options_;
  perf::RunControl& control_;
  Stream stream_ = Stream::none;
  bool plain_lines_ = false;    // progress lines, one per interval
  bool redrawn_lines_ = false;  // progress lines on the terminal
  std::string run_;             // which of several runs
  perf::ProgressLines lines_;
  Progress terminal_;
  std::unique_ptr<Metrics> metrics_;  // destroyed first: closing its server takes a second or two
  int failure_ = 0;                   // errno of standard output
};

}  // namespace shmif::tools
