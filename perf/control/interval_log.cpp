#include "perf/control/interval_log.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "perf/result/progress.hpp"
#include "perf/worker/placement.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

Result<void> IntervalLogs::File::create(const std::vector<std::string>& inputs) {
  const std::string what = "cannot make the log " + path;
  auto opened = bus::OutputFile::open_stream(path, {.what = what, .inputs = inputs});
  if (!opened) {
    if (opened.error().code != std::errc::no_such_file_or_directory) return opened.error();
    return Error::from_errno(ENOENT, what,
                             "make the directory, or name another one with --aux-path");
  }
  output = *std::move(opened);
  debug(Debug::record, [&] { return "makes the log " + path; });
  if (auto started = output.start({}); !started) return started;
  file = {::fdopen(output.descriptor(), "w"), std::fclose};
  if (!file) return Error::from_errno(errno, what);
  output.release();  // the stream closes it
  return {};
}

namespace {

/// Whether a job may write to the log of another one.
Result<void> may_share(const std::string& path, const JobOptions& first, const JobOptions& job,
                       bool has_bins) {
  const auto refuse = [&](const std::string& what, const std::string& option) {
    return Error(Errc::bad_argument, "job \"" + first.name + "\" writes " + what + " to the log " +
                                         path + " (give both the same " + option +
                                         ", or another prefix)");
  };
  if (first.per_job_logs || job.per_job_logs) {
    return Error(Errc::bad_argument, "the log " + path + " is already that of job \"" + first.name +
                                         "\" (rename a job, or give it another prefix)");
  }
  if (first.agg_logs != job.agg_logs) return refuse("lines of another kind", "per_job_logs");
  if (has_bins && first.log_hist_coarseness != job.log_hist_coarseness) {
    return refuse("other bins", "log_hist_coarseness");
  }
  if (has_bins ? first.log_hist == job.log_hist : first.log_avg == job.log_avg) return {};
  return refuse("lines of other intervals", has_bins ? "log_hist_msec" : "log_avg_msec");
}

}  // namespace

Result<std::unique_ptr<IntervalLogs>> IntervalLogs::open(std::span<const PlannedJob> plan,
                                                         const RunOptions& options) {
  std::unique_ptr<IntervalLogs> logs(new IntervalLogs);
  logs->sources_.resize(plan.size());
  std::map<std::string, std::pair<const JobOptions*, File*>> made;  // by path
  const std::vector<std::string> inputs = inputs_of(plan, options);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const JobOptions& o = plan[i].options;
    // A peer has the prefixes of the job for which it was made.
    if (!plan[i].peer_of.empty()) continue;
    Log log;
    log.every_seconds = std::chrono::duration<double>(o.log_avg).count();
    log.is_shared = !o.per_job_logs;
    log.sends = o.rw != Role::rx;
    log.receives = o.rw != Role::tx;
    Result<void> done;
    const auto file = [&](const std::string& prefix, const char* kind, Value value) -> File* {
      if (!done) return nullptr;
      const std::string path = log_path(options, prefix, kind, o);
      if (const auto known = made.find(path); known != made.end()) {
        done = may_share(path, *known->second.first, o, value == Value::histogram);
        return known->second.second;
      }
      logs->files_.push_back(
          std::make_unique<File>(File{.value = value, .path = path, .has_sums = o.agg_logs}));
      File* const its = logs->files_.back().get();
      if (const auto user = AsJobUser::begin(o)) {
        done = its->create(inputs);
      } else {
        done = user.error();
      }
      made.emplace(path, std::pair(&o, its));
      return its;
    };
    const auto add = [&](const std::string& prefix, const char* kind, Value value) {
      if (!prefix.empty()) log.files.push_back(file(prefix, kind, value));
    };
    add(o.write_bw_log, kBandwidthLog, Value::kib_per_s);
    add(o.write_iops_log, kRateLog, Value::frames_per_s);
    add(o.write_lat_log, kLatencyLog, Value::latency_ns);
    std::size_t own = SIZE_MAX;
    std::size_t histogram = SIZE_MAX;
    if (!log.files.empty()) {
      own = logs->logs_.size();
      logs->logs_.push_back(std::move(log));
    }
    if (!o.write_hist_log.empty()) {
      histogram = logs->histogram_logs_.size();
      logs->histogram_logs_.push_back({std::chrono::duration<double>(o.log_hist).count(),
                                       !o.per_job_logs, o.log_hist_coarseness,
                                       file(o.write_hist_log, kHistogramLog, Value::histogram)});
    }
    if (!done) return Error(done.error().code, "job \"" + o.name + "\": " + done.error().message);
    for (std::size_t of = 0; of < plan.size(); ++of) {
      if (of != i && plan[of].peer_of != o.name) continue;
      logs->sources_[of].log = own;
      logs->sources_[of].histogram_log = histogram;
      logs->sources_[of].is_peer = of != i;
    }
  }
  return logs;
}

std::vector<std::size_t> IntervalLogs::with_histograms() const {
  std::vector<std::size_t> jobs;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].histogram_log != SIZE_MAX) jobs.push_back(i);
  }
  return jobs;
}

void IntervalLogs::File::add(double at_seconds, Way way, Sum line) {
  const std::int64_t at_ms = std::llround(at_seconds * 1000);
  if (!has_sums) return write(at_ms, way, line);
  Sum& sum = sums[{at_ms, way}];
  sum.figure += line.figure;
  sum.latencies += line.latencies;
  sum.frames += line.frames;
  sum.bytes += line.bytes;
  sum.bins.resize(line.bins.size());
  for (std::size_t i = 0; i < line.bins.size(); ++i) sum.bins[i] += line.bins[i];
}

void IntervalLogs::File::write(std::int64_t at_ms, Way way, const Sum& line) {
  if (failure != 0) return;
  const std::string direction = way == Way::sent ? ", 1, " : ", 0, ";
  std::string text = std::to_string(at_ms);
  if (value == Value::histogram) {
    text += direction + std::to_string(line.frames == 0 ? 0 : line.bytes / line.frames);
    for (const std::uint64_t count : line.bins) text += ", " + std::to_string(count);
  } else {
    const double figure = line.figure / (value == Value::latency_ns ? line.latencies : 1);
    text += ", " + std::to_string(std::llround(figure)) + direction + "0, 0";
  }
  const int written = std::fprintf(file.get(), "%s\n", text.c_str());
  // Flushes each line: programs may follow the file, and a full disk is noticed at once.
  if (written < 0 || std::fflush(file.get()) != 0) failure = errno == 0 ? EIO : errno;
}

void IntervalLogs::write(Source& source) {
  const IntervalResult& sum = source.sum;
  Log& log = logs_[source.log];
  for (File* const file : log.files) {
    if (file->value == Value::latency_ns) {
      const Way way = source.is_peer ? Way::sent : Way::received;
      if (!sum.latency_mean_ns) continue;
      const auto count = static_cast<double>(std::max<std::uint64_t>(sum.latency_count, 1));
      file->add(sum.at_seconds, way, {.figure = *sum.latency_mean_ns * count, .latencies = count});
      continue;
    }
    if (source.is_peer) continue;
    const bool bytes = file->value == Value::kib_per_s;
    // The sum over the jobs of a shared log is the rate of the whole interval, although some jobs
    // may have begun or ended in it.
    const double seconds = log.is_shared ? log.every_seconds : sum.seconds;
    const auto rate = [&](std::uint64_t count, std::uint64_t count_bytes) {
      return (bytes ? static_cast<double>(count_bytes) / 1024 : static_cast<double>(count)) /
             seconds;
    };
    const auto add = [&](Way way, double figure) {
      file->add(sum.at_seconds, way, {.figure = figure});
    };
    if (log.receives) add(Way::received, rate(sum.rx_frames, sum.rx_bytes));
    if (log.sends) add(Way::sent, rate(sum.tx_frames, sum.tx_bytes));
  }
  source.sum = {};
}

namespace {

/// Adds an interval. Result: whether `sum` is now a line of `every` seconds.
bool fills(IntervalResult& sum, const IntervalResult& interval, double every) {
  const double begun =
      sum.seconds > 0 ? sum.at_seconds - sum.seconds : interval.at_seconds - interval.seconds;
  extend(sum, interval);
  // A job may close its intervals a little late, but never early.
  constexpr double kSlack = 1e-3;
  return interval.ends_at_border ||
         sum.at_seconds >= (std::floor(begun / every + kSlack) + 1) * every;
}

std::int64_t ns_of(double seconds) {
  return std::llround(seconds * 1e9);
}
double seconds_of(std::int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

/// The times at which the lines of a shared log end, in ns.
class Borders {
 public:
  explicit Borders(double every_seconds) : every_(ns_of(every_seconds)) {}
  std::int64_t after(std::int64_t at) const { return (at / every_ + 1) * every_; }
  /// Where an interval ends. If it was closed only a little after a border, it ends at the border.
  std::int64_t snapped(std::int64_t at) const {
    constexpr std::int64_t kMoments = 50;  // in each line
    const std::int64_t late = at % every_;
    return late < every_ / kMoments ? at - late : at;
  }

 private:
  std::int64_t every_;
};

/// Takes this share out of the counts of `rest`.
IntervalResult take(IntervalResult& rest, double share) {
  IntervalResult part = rest;
  for (const auto count :
       {&IntervalResult::tx_frames, &IntervalResult::tx_bytes, &IntervalResult::rx_frames,
        &IntervalResult::rx_bytes, &IntervalResult::latency_count}) {
    part.*count =
        static_cast<std::uint64_t>(std::llround(static_cast<double>(rest.*count) * share));
    rest.*count -= part.*count;
  }
  return part;
}

}  // namespace

void IntervalLogs::add(std::size_t job, const IntervalResult& interval, double start_seconds,
                       const HistogramBlock* latencies) {
  Source& source = sources_[job];
  IntervalResult in_run = interval;
  in_run.at_seconds += start_seconds;
  if (source.log != SIZE_MAX) {
    const Log& log = logs_[source.log];
    if (log.is_shared) {
      divide(source, in_run);
    } else if (fills(source.sum, interval, log.every_seconds)) {
      write(source);
    }
  }
  if (source.histogram_log == SIZE_MAX) return;
  const bool is_shared = histogram_logs_[source.histogram_log].is_shared;
  add_histogram(source, is_shared ? in_run : interval, latencies);
}

void IntervalLogs::divide(Source& source, IntervalResult rest) {
  const Borders borders(logs_[source.log].every_seconds);
  const std::int64_t end = borders.snapped(ns_of(rest.at_seconds));
  std::int64_t at = std::min(borders.snapped(ns_of(rest.at_seconds - rest.seconds)), end);
  do {
    const std::int64_t border = borders.after(at);
    const std::int64_t next = std::min(border, end);
    // Counts of the moment after a border go into the next line.
    const std::int64_t length = end - at;
    IntervalResult part = take(rest, length == 0 ? 1 : seconds_of(next - at) / seconds_of(length));
    part.at_seconds = seconds_of(border);
    if (has_rest(source) && source.sum.at_seconds != part.at_seconds) write(source);
    extend(source.sum, part);
    if (next == border) write(source);
    at = next;
  } while (at < end);
}

/// The latencies of an interval cannot be divided. In a shared log, they go into the line that
/// contains the middle of the interval.
void IntervalLogs::add_histogram(Source& source, const IntervalResult& interval,
                                 const HistogramBlock* counts) {
  const HistogramLog& log = histogram_logs_[source.histogram_log];
  const std::int64_t end = ns_of(interval.at_seconds);
  const double line =
      seconds_of(Borders(log.every_seconds).after(end - ns_of(interval.seconds) / 2));
  IntervalResult& sum = source.histogram_sum;
  if (log.is_shared && sum.at_seconds != line) write_histogram(source);
  if (counts != nullptr && interval.latency_count != 0) {
    source.histogram.resize(kHistogramBins);
    for (std::size_t i = 0; i < kHistogramBins; ++i) {
      source.histogram[i] += (*counts)[i].load(std::memory_order_relaxed);
    }
  }
  bool is_whole = fills(sum, interval, log.every_seconds);
  if (log.is_shared) {
    sum.at_seconds = line;
    is_whole = end >= ns_of(line);
  }
  if (is_whole) write_histogram(source);
}

/// As in fio, an interval without latencies gets no line.
void IntervalLogs::write_histogram(Source& source) {
  const HistogramLog& log = histogram_logs_[source.histogram_log];
  const IntervalResult sum = std::exchange(source.histogram_sum, {});
  const std::vector<std::uint64_t> bins = std::exchange(source.histogram, {});
  if (bins.empty()) return;
  Sum line{.frames = sum.rx_frames, .bytes = sum.rx_bytes};
  const std::size_t step = std::size_t{1} << log.coarseness;
  for (std::size_t i = 0; i < bins.size(); i += step) {
    std::uint64_t count = 0;
    for (std::size_t at = i; at < std::min(i + step, bins.size()); ++at) count += bins[at];
    line.bins.push_back(count);
  }
  log.file->add(sum.at_seconds, source.is_peer ? Way::sent : Way::received, std::move(line));
}

/// In a shared log, a line without counts would add nothing to a sum.
bool IntervalLogs::has_rest(const Source& source) const {
  const IntervalResult& sum = source.sum;
  if (!logs_[source.log].is_shared) return sum.seconds > 0;
  return sum.tx_frames != 0 || sum.rx_frames != 0 || sum.latency_count != 0;
}

std::vector<std::string> IntervalLogs::finish() {
  for (Source& source : sources_) {
    if (source.log != SIZE_MAX && has_rest(source)) write(source);
    if (source.histogram_log != SIZE_MAX) write_histogram(source);
  }
  std::vector<std::string> lost;
  for (const std::unique_ptr<File>& file : files_) {
    if (!file->file) continue;
    for (const auto& [at, sum] : file->sums) file->write(at.first, at.second, sum);
    if (std::fclose(file->file.release()) != 0 && file->failure == 0) file->failure = errno;
    file->output.close(file->failure != 0);
    if (file->failure == 0) continue;
    lost.push_back("the log " + file->path + " is not complete: " + std::strerror(file->failure));
  }
  return lost;
}

}  // namespace shmif::perf
