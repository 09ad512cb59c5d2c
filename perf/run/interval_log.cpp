#include "perf/run/interval_log.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "perf/run/progress.hpp"

namespace shmif::perf {
namespace {

/// A name that is no path, whatever the job is called.
std::string as_file_name(std::string name) {
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

std::string log_path(const RunOptions& options, const std::string& prefix, const char* kind,
                     const std::string& job) {
  const bool relative = !prefix.starts_with('/') && !options.aux_path.empty();
  return (relative ? options.aux_path + '/' : "") + prefix + '_' + kind + '.' + as_file_name(job) +
         ".log";
}

}  // namespace

Result<std::unique_ptr<IntervalLogs>> IntervalLogs::open(std::span<const PlannedJob> plan,
                                                         const RunOptions& options) {
  std::unique_ptr<IntervalLogs> logs(new IntervalLogs);
  logs->sources_.resize(plan.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const JobOptions& o = plan[i].options;
    if (!plan[i].peer_of.empty()) continue;  // its prefixes are those of whom it was made for
    Log log;
    log.every_seconds = std::chrono::duration<double>(o.log_avg).count();
    log.sends = o.rw != Role::rx;
    log.receives = o.rw != Role::tx;
    const auto add = [&](const std::string& prefix, const char* kind, Value value) {
      if (prefix.empty()) return;
      log.files.push_back({value, log_path(options, prefix, kind, o.name), {nullptr, nullptr}, 0});
    };
    add(o.write_bw_log, "bw", Value::kib_per_s);
    add(o.write_iops_log, "iops", Value::frames_per_s);
    add(o.write_lat_log, "lat", Value::latency_ns);
    if (log.files.empty()) continue;
    for (File& file : log.files) {
      file.file = {std::fopen(file.path.c_str(), "we"), std::fclose};
      if (file.file) continue;
      Error error =
          Error::from_errno(errno, "job \"" + o.name + "\": cannot make the log " + file.path);
      if (errno == ENOENT) error.message += " (make the directory, or name another: --aux-path)";
      return error;
    }
    logs->sources_[i].log = logs->logs_.size();
    for (std::size_t peer = 0; peer < plan.size(); ++peer) {
      if (plan[peer].peer_of != o.name) continue;
      logs->sources_[peer].log = logs->logs_.size();
      logs->sources_[peer].is_peer = true;
    }
    logs->logs_.push_back(std::move(log));
  }
  return logs;
}

std::uint64_t IntervalLogs::interval_ns(std::size_t job, std::uint64_t longest_ns) const noexcept {
  const std::size_t log = sources_[job].log;
  if (log == SIZE_MAX) return longest_ns;
  const auto every = static_cast<std::uint64_t>(std::llround(logs_[log].every_seconds * 1e9));
  const std::uint64_t parts = (every + longest_ns - 1) / longest_ns;
  return every / std::max<std::uint64_t>(parts, 1);
}

void IntervalLogs::File::line(const IntervalResult& sum, bool sent, double figure) {
  if (failure != 0) return;
  const auto written =
      std::fprintf(file.get(), "%lld, %lld, %d, 0, 0\n", std::llround(sum.at_seconds * 1000),
                   std::llround(figure), sent ? 1 : 0);
  // At once, for who follows the file, and so that a full disk is noticed when it is full.
  if (written < 0 || std::fflush(file.get()) != 0) failure = errno == 0 ? EIO : errno;
}

void IntervalLogs::write(Source& source) {
  const IntervalResult& sum = source.sum;
  if (sum.seconds <= 0) return;
  Log& log = logs_[source.log];
  for (File& file : log.files) {
    if (file.value == Value::latency_ns) {
      if (sum.latency_mean_ns) file.line(sum, source.is_peer, *sum.latency_mean_ns);
      continue;
    }
    if (source.is_peer) continue;
    const bool bytes = file.value == Value::kib_per_s;
    const auto rate = [&](std::uint64_t count, std::uint64_t count_bytes) {
      return (bytes ? static_cast<double>(count_bytes) / 1024 : static_cast<double>(count)) /
             sum.seconds;
    };
    if (log.receives) file.line(sum, false, rate(sum.rx_frames, sum.rx_bytes));
    if (log.sends) file.line(sum, true, rate(sum.tx_frames, sum.tx_bytes));
  }
  source.sum = {};
}

void IntervalLogs::add(std::size_t job, const IntervalResult& interval) {
  Source& source = sources_[job];
  if (source.log == SIZE_MAX) return;
  const double every = logs_[source.log].every_seconds;
  const double begun = source.sum.seconds > 0 ? source.sum.at_seconds - source.sum.seconds
                                              : interval.at_seconds - interval.seconds;
  extend(source.sum, interval);
  // A job closes its intervals a little after their time, never before.
  constexpr double kSlack = 1e-3;
  if (source.sum.at_seconds >= (std::floor(begun / every + kSlack) + 1) * every) write(source);
}

std::vector<std::string> IntervalLogs::finish() {
  for (Source& source : sources_) {
    if (source.log != SIZE_MAX) write(source);
  }
  std::vector<std::string> lost;
  for (Log& log : logs_) {
    for (File& file : log.files) {
      if (!file.file) continue;
      if (std::fclose(file.file.release()) != 0 && file.failure == 0) file.failure = errno;
      if (file.failure == 0) continue;
      lost.push_back("the log " + file.path + " is not whole: " + std::strerror(file.failure));
    }
  }
  return lost;
}

}  // namespace shmif::perf
