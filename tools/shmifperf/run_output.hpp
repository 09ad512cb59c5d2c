#pragma once
// The outputs of a run while it lasts:
//
//   standard error    progress lines (--eta), the status that SIGUSR1 asks for
//   standard output   one stream for programs: --json-stream or --format=influx; otherwise the
//                     status of each --status-interval
//   HTTP              --metrics
//
// The result comes last, to each place of --output. Standard output serves one reader with one kind
// of text: a stream, or the result, or, for people, the status of each interval and whether the run
// passed. Other texts that would go there go to standard error. If the result is for people, the
// screen gets a summary, unless --details asks for the whole text. A file always has the whole
// text.

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "perf/plan/plan.hpp"
#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/result/progress.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifperf/metrics.hpp"

namespace shmif::tools {

/// Which of the requested outputs contradict each other; empty if there is no contradiction.
/// `plan`: the jobs that write files on this machine.
std::string problem_of_outputs(const perf::RunOptions& options,
                               std::span<const perf::PlannedJob> plan);

/// Makes the forms of a result. Those for people are made from the text of its JSON, which is read
/// as from a file. So a run prints what `shmifperf report` later prints. Threads: one at a time.
class ResultForms {
 public:
  using Json = std::function<std::string(perf::Bins)>;
  /// For people; 0 columns if there is no terminal.
  using Text = std::function<std::string(std::size_t columns)>;
  /// `text`: empty if perf::to_text() makes it.
  explicit ResultForms(Json json, Text text = {});

  std::string json(perf::Bins bins) const { return json_(bins); }
  std::string text(std::size_t columns) const;
  /// The JSON, read once.
  const perf::Report& report() const;

 private:
  Json json_;
  Text text_;
  mutable std::optional<perf::Report> report_;
};

/// A result in a format. `text`: makes it for people.
std::string rendered(perf::OutputFormat format, const ResultForms& forms,
                     const std::function<std::string()>& text);

/// The places of a result with their formats: those of --output. If each of these is a file with a
/// format of its own, standard output is a place, too. problem_of_outputs() must be empty: each
/// place has one format.
struct FormattedPlace {
  std::string path;  ///< "-" is standard output
  perf::OutputFormat format = perf::OutputFormat::normal;
};
std::vector<FormattedPlace> places_of(const perf::RunOptions& options);

/// Threads: one at a time. Blocks: while the reader of standard output is slow.
class RunOutput final : public perf::RunObserver {
 public:
  /// Orders `control` to stop when the reader of the stream is gone. Errors: those of Metrics.
  static Result<std::unique_ptr<RunOutput>> open(const perf::RunOptions& options,
                                                 perf::RunControl& control);

  void on_run(const std::string& what) override;
  void on_notice(const std::string& what) override;
  void on_progress(const perf::RunProgress& progress) override;
  void on_interval(const perf::RunProgress& progress) override;
  void on_status(const perf::RunProgress& progress) override;

  /// Ends all outputs and removes progress lines from the terminal. Result: the outputs that were
  /// lost, each with its reason.
  std::vector<std::string> finish();
  /// Writes the result to its places. Call it after finish(). `files`: those that the run itself
  /// has written. Result: false if the result could not be written to one of its places. Each such
  /// error is reported, and the other places still get their formats. If standard output is not to
  /// get a result, it gets one that could not be written, or else whether the run passed.
  bool print_result(const ResultForms& forms, std::vector<std::string> files);
  /// Whether print_result() tells users why the run failed, not only programs.
  bool tells_failures() const;

 private:
  enum class Stream : std::uint8_t { none, json, influx };

  RunOutput(const perf::RunOptions& options, perf::RunControl& control);
  /// Prints to standard output; does nothing after the first failure.
  void print(const std::string& text);

  const perf::RunOptions& options_;
  perf::RunControl& control_;
  std::vector<FormattedPlace> places_;
  bool screen_for_people_ = true;  // standard output has no format that is meant for programs
  Stream stream_ = Stream::none;
  bool plain_lines_ = false;    // progress lines, one for each interval
  bool redrawn_lines_ = false;  // progress lines on the terminal, redrawn
  std::string run_;             // which run, if there are several
  std::set<std::string> notices_;
  perf::ProgressLines lines_;
  Progress terminal_;
  std::unique_ptr<Metrics> metrics_;  // destroyed first: closing its server takes a second or two
  int failure_ = 0;                   // errno of standard output
};

}  // namespace shmif::tools
