#include "tools/shmifperf/run_output.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/text.hpp"
#include "tools/common/command.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

using perf::RunOptions;
using perf::RunProgress;

std::string problem_of_outputs(const RunOptions& options) {
  if (options.json_stream && !options.metrics_format.empty()) {
    return "give only one of --json-stream and --format: both use standard output";
  }
  return {};
}

std::string rendered(const std::vector<perf::OutputFormat>& formats,
                     const std::function<std::string(perf::Bins)>& json,
                     const std::function<std::string()>& text) {
  using perf::Bins;
  std::string all;
  for (const perf::OutputFormat format : formats) {
    switch (format) {
      case perf::OutputFormat::normal: all += text(); break;
      case perf::OutputFormat::json: all += json(Bins::without); break;
      case perf::OutputFormat::json_plus: all += json(Bins::with); break;
      case perf::OutputFormat::terse:
        all += perf::to_terse(perf::Report::parse(json(Bins::without), "result").value());
        break;
    }
  }
  return all;
}

namespace {

/// Whether the run is over: then the result follows, which says more.
bool is_over(const RunProgress& progress) {
  return std::ranges::all_of(progress.jobs, [](const perf::JobProgress& job) {
    return job.state == perf::JobState::reaped;
  });
}

}  // namespace

RunOutput::RunOutput(const RunOptions& options, perf::RunControl& control)
    : options_(options), control_(control) {
  if (options.json_stream) stream_ = Stream::json;
  if (options.metrics_format == "influx") stream_ = Stream::influx;
  redrawn_lines_ = terminal_.on_terminal() && options.eta != RunOptions::Eta::never;
  plain_lines_ = !terminal_.on_terminal() && options.eta == RunOptions::Eta::always;
}

Result<std::unique_ptr<RunOutput>> RunOutput::open(const RunOptions& options,
                                                   perf::RunControl& control) {
  std::unique_ptr<RunOutput> output(new RunOutput(options, control));
  if (!options.metrics_address.empty()) {
    auto metrics = Metrics::serve(options.metrics_address);
    if (!metrics) return std::move(metrics).error();
    output->metrics_ = *std::move(metrics);
    complain("metrics are at " + output->metrics_->url());
  }
  return output;
}

void RunOutput::on_run(const std::string& what) {
  run_ = what;
}

void RunOutput::on_progress(const RunProgress& progress) {
  if (metrics_) metrics_->count(progress);
  if (!redrawn_lines_ && !plain_lines_) return;
  std::string text = run_;
  for (const std::string& line : lines_.lines(progress)) text += (text.empty() ? "" : "\n") + line;
  if (terminal_.due()) terminal_.show(text);
}

void RunOutput::on_interval(const RunProgress& progress) {
  if (metrics_) {
    metrics_->count(progress);
    metrics_->measure(progress);
  }
  if (plain_lines_) {
    const std::string prefix = run_.empty() ? "" : run_ + ": ";
    for (const std::string& line : lines_.lines(progress)) {
      std::fputs((prefix + line + '\n').c_str(), stderr);
    }
  }
  const bool as_json = options_.output_format.front() == perf::OutputFormat::json ||
                       options_.output_format.front() == perf::OutputFormat::json_plus;
  if (stream_ == Stream::influx) {
    print(perf::to_influx(progress, std::chrono::system_clock::now()));
  } else if (stream_ == Stream::json) {
    print(perf::to_json_line(progress));
  } else if (options_.status_interval.count() > 0 && !is_over(progress)) {
    print(as_json ? perf::to_json_line(progress) : perf::to_status(progress, terminal_columns()));
  }
}

void RunOutput::on_status(const RunProgress& progress) {
  terminal_.clear();
  std::fputs(perf::to_status(progress, terminal_columns()).c_str(), stderr);
}

void RunOutput::print(const std::string& text) {
  if (failure_ != 0) return;
  terminal_.clear();
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return;
  failure_ = errno == 0 ? EIO : errno;
  std::clearerr(stdout);  // reported once, here
  if (failure_ != EPIPE) {
    complain(std::string("cannot write to standard output: ") + std::strerror(failure_) +
             " (the run goes on without it)");
    return;
  }
  // The reader is gone. As SIGPIPE would end another program, this stops the run in good order.
  int none = 0;
  control_.signal.compare_exchange_strong(none, SIGPIPE);
  control_.stops.fetch_add(1);
}

std::vector<std::string> RunOutput::finish() {
  terminal_.clear();
  redrawn_lines_ = false;
  std::vector<std::string> lost;
  if (failure_ != 0 && failure_ != EPIPE) {
    lost.push_back(std::string("the output during the run is not complete: ") +
                   std::strerror(failure_));
  }
  return lost;
}

bool RunOutput::print_result(const std::string& text) {
  const bool streamed = stream_ != Stream::none;
  bool written = true;
  if (!options_.output.empty()) {
    const auto done = write_file(options_.output, text);
    if (done) return true;
    complain(done.error().message + " (printing the result instead)");
    written = false;
  }
  std::FILE* const file = streamed ? stderr : stdout;
  return std::fwrite(text.data(), 1, text.size(), file) == text.size() && written;
}

}  // namespace shmif::tools
