#include "tools/shmifperf/run_output.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "tools/common/command.hpp"
#include "tools/common/output.hpp"

namespace shmif::tools {

using perf::RunOptions;
using perf::RunProgress;

namespace {

/// Whether two places are the same file, under any names. Standard output does not count as a file.
bool is_same(const perf::OutputPlace& one, const perf::OutputPlace& other) {
  namespace fs = std::filesystem;
  if (is_standard_output(one.path) || is_standard_output(other.path))
    return is_standard_output(one.path) == is_standard_output(other.path);
  std::error_code ignored;
  if (fs::equivalent(one.path, other.path, ignored)) return true;
  const auto whole = [&](const std::string& path) {
    return fs::weakly_canonical(fs::absolute(path, ignored), ignored);
  };
  return one.path == other.path || whole(one.path) == whole(other.path);
}

/// Whether each place is a file with a format of its own. Then the result goes to standard output,
/// too.
bool screen_is_free(const RunOptions& options) {
  return std::ranges::all_of(options.outputs, [](const perf::OutputPlace& place) {
    return place.format && !is_standard_output(place.path);
  });
}

/// The first file of a job that is standard output, where this program prints, too.
std::string problem_of_files(const RunOptions& options, std::span<const perf::PlannedJob> plan) {
  for (const perf::PlannedJob& job : plan) {
    // outputs_of() leaves "-" out.
    std::vector<std::string> paths = perf::outputs_of({&job, 1}, options);
    paths.push_back(job.options.write_pcap);
    if (job.options.engine == perf::EngineKind::pcap && job.options.rw == perf::Role::tx) {
      paths.push_back(job.options.filename);
    }
    for (const std::string& path : paths) {
      if (path.empty() || !is_standard_output(path)) continue;
      return "job \"" + job.options.name + "\": \"" + path +
             "\" is standard output, where the run is reported (name another file or a FIFO)";
    }
  }
  return {};
}

}  // namespace

std::string problem_of_outputs(const RunOptions& options, std::span<const perf::PlannedJob> plan) {
  if (std::string problem = problem_of_files(options, plan); !problem.empty()) return problem;
  if (options.json_stream && !options.metrics_format.empty()) {
    return "give only one of --json-stream and --format: both use standard output";
  }
  for (auto place = options.outputs.begin(); place != options.outputs.end(); ++place) {
    const auto same = [&](const perf::OutputPlace& other) { return is_same(other, *place); };
    if (std::none_of(options.outputs.begin(), place, same)) continue;
    return is_standard_output(place->path)
               ? "--output is given more than once for standard output, which holds one result"
               : "--output=" + place->path +
                     " is given more than once, and each result would overwrite the one before "
                     "(give each a file of its own)";
  }
  const auto has_no_format = [](const perf::OutputPlace& place) { return !place.format; };
  if (options.output_format.size() > 1 &&
      (std::ranges::any_of(options.outputs, has_no_format) || screen_is_free(options))) {
    return "--output-format names several formats, and each place holds one (name one, and write "
           "each of the others to a file of its own: --output=json:FILE, which may be repeated)";
  }
  return {};
}

ResultForms::ResultForms(Json json, Text text) : json_(std::move(json)), text_(std::move(text)) {}

std::string ResultForms::text(std::size_t columns) const {
  return text_ ? text_(columns) : perf::to_text(report(), columns);
}

const perf::Report& ResultForms::report() const {
  if (!report_) report_ = perf::Report::parse(json_(perf::Bins::without), "result").value();
  return *report_;
}

std::string rendered(perf::OutputFormat format, const ResultForms& forms,
                     const std::function<std::string()>& text) {
  using perf::Bins;
  switch (format) {
    case perf::OutputFormat::normal: return text();
    case perf::OutputFormat::json: return forms.json(Bins::without);
    case perf::OutputFormat::json_plus: return forms.json(Bins::with);
    case perf::OutputFormat::terse: break;
  }
  return perf::to_terse(forms.report());
}

std::vector<FormattedPlace> places_of(const RunOptions& options) {
  std::vector<FormattedPlace> places;
  places.reserve(options.outputs.size() + 1);
  const bool by_name = options.output_format.empty();
  const perf::OutputFormat other =
      by_name ? perf::OutputFormat::normal : options.output_format.front();
  for (const perf::OutputPlace& place : options.outputs) {
    const bool json = by_name && place.path.ends_with(".json");
    places.push_back({is_standard_output(place.path) ? "-" : place.path,
                      place.format.value_or(json ? perf::OutputFormat::json : other)});
  }
  if (screen_is_free(options)) places.push_back({"-", other});
  return places;
}

namespace {

/// Whether the run is over. Then the result follows, and says more.
bool is_over(const RunProgress& progress) {
  return std::ranges::all_of(progress.jobs, [](const perf::JobProgress& job) {
    return job.state == perf::JobState::reaped;
  });
}

}  // namespace

RunOutput::RunOutput(const RunOptions& options, perf::RunControl& control)
    : options_(options), control_(control), places_(places_of(options)) {
  if (options.json_stream) stream_ = Stream::json;
  if (options.metrics_format == "influx") stream_ = Stream::influx;
  for (const FormattedPlace& place : places_) {
    if (place.path != "-") continue;
    screen_for_people_ = place.format == perf::OutputFormat::normal;
  }
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

/// Shows it once, and not in each of several runs.
void RunOutput::on_notice(const std::string& what) {
  if (!notices_.insert(what).second) return;
  terminal_.clear();
  complain(what);
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
  if (stream_ == Stream::influx) {
    print(perf::to_influx(progress, std::chrono::system_clock::now()));
  } else if (stream_ == Stream::json) {
    print(perf::to_json_line(progress));
  } else if (options_.status_interval.count() > 0 && !is_over(progress)) {
    if (screen_for_people_) {
      print(perf::to_status(progress, terminal_columns()));
    } else {
      on_status(progress);
    }
  }
}

void RunOutput::on_status(const RunProgress& progress) {
  terminal_.clear();
  std::fputs(perf::to_status(progress, terminal_columns(STDERR_FILENO)).c_str(), stderr);
}

void RunOutput::print(const std::string& text) {
  if (failure_ != 0) return;
  terminal_.clear();
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return;
  failure_ = errno == 0 ? EIO : errno;
  std::clearerr(stdout);  // the failure is reported once, here
  if (failure_ != EPIPE) {
    complain(std::string("cannot write to standard output: ") + std::strerror(failure_) +
             " (the run goes on without it)");
    return;
  }
  // The reader is gone. SIGPIPE would end another program; here it stops the run in good order.
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

bool RunOutput::tells_failures() const {
  return std::ranges::none_of(places_, [](const FormattedPlace& place) {
    return place.path == "-" && place.format != perf::OutputFormat::normal;
  });
}

bool RunOutput::print_result(const ResultForms& forms, std::vector<std::string> files) {
  std::FILE* const screen = stream_ != Stream::none ? stderr : stdout;
  bool written = true;
  const auto print_there = [&](const std::string& text) {
    written = std::fwrite(text.data(), 1, text.size(), screen) == text.size() && written;
  };
  const auto shown = std::ranges::find(places_, "-", &FormattedPlace::path);
  std::optional<std::string> homeless;  // a result that could not be written to its file
  for (const FormattedPlace& place : places_) {
    if (place.path == "-") continue;
    std::string text = rendered(place.format, forms, [&] { return forms.text(0); });
    const auto done = write_file(place.path, text);
    if (done) {
      files.push_back(place.path);
      continue;
    }
    const bool instead = shown == places_.end() && !homeless;
    complain(done.error().message + (instead ? " (printing the result instead)" : ""));
    written = false;
    if (instead) homeless = std::move(text);
  }
  if (shown != places_.end()) {
    print_there(rendered(shown->format, forms, [&] {
      return options_.details ? forms.text(terminal_columns())
                              : perf::to_summary(forms.report(), terminal_columns(), files);
    }));
  } else if (homeless) {
    print_there(*homeless);
  } else if (failure_ != 0) {  // standard output could not be written
    std::fputs(perf::to_verdict(forms.report()).c_str(), stderr);
  } else {
    print_there(perf::to_verdict(forms.report()));
  }
  return written;
}

}  // namespace shmif::tools
