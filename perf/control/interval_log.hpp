#pragma once
// IntervalLogs: the files of write_bw_log, write_iops_log, write_lat_log and write_hist_log, in
// fio's format:
//
//   msec, value, direction, 0, 0      a line each log_avg_msec; direction 0 received, 1 sent
//   msec, direction, bytes, counts    of a histogram, each log_hist_msec: mean size, and each bin
//
// As in fio, the value is KiB/s, frames per second, or the mean latency in ns, so tools that plot
// fio's logs can plot these. A latency of direction 1 belongs to frames that the job sent; the peer
// that was made for the job measured it.

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "bus/file/output_file.hpp"
#include "perf/plan/plan.hpp"
#include "perf/result/run_result.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: for the disk.
class IntervalLogs {
 public:
  /// Creates the files, PREFIX_bw.NAME.log and so on, or PREFIX_bw.log for all jobs with
  /// per_job_logs=0, below aux_path. Errors: an errno, with the path and advice; exists for a
  /// bus, and for a file that the run reads.
  static Result<std::unique_ptr<IntervalLogs>> open(std::span<const PlannedJob> plan,
                                                    const RunOptions& options);

  /// Adds the next interval of a job. It is as long as interval_of() says. Its time counts from the
  /// job's start, which was at `start_seconds` of the run. `latencies` is null if they are not
  /// logged or were overwritten.
  void add(std::size_t job, const IntervalResult& interval, double start_seconds,
           const HistogramBlock* latencies);
  /// The jobs whose latencies are logged: those with write_hist_log, and peers that measure them.
  std::vector<std::size_t> with_histograms() const;
  /// Writes the rest. Result: the logs that could not be written, each with its reason.
  std::vector<std::string> finish();

 private:
  enum class Value : std::uint8_t { kib_per_s, frames_per_s, latency_ns, histogram };
  enum class Way : std::uint8_t { received, sent };
  /// A line of a log that has the sums of its jobs.
  struct Sum {
    double figure = 0;     ///< a rate, or the sum of latencies
    double latencies = 0;  ///< how many
    std::uint64_t frames = 0, bytes = 0;
    std::vector<std::uint64_t> bins{};
  };
  struct File {
    Value value{};
    std::string path;
    bool has_sums = false;
    std::map<std::pair<std::int64_t, Way>, Sum> sums{};  // by time in ms, until the end
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{nullptr, nullptr};
    bus::OutputFile output{};
    int failure = 0;  // errno of the first failed write; later lines are left out

    Result<void> create(const std::vector<std::string>& inputs);
    /// Writes a line, or adds it to that of the same time. `line`: of one job.
    void add(double at_seconds, Way way, Sum line);
    void write(std::int64_t at_ms, Way way, const Sum& line);
  };
  /// The logs of a job.
  struct Log {
    double every_seconds = 0;
    bool is_shared = false;
    bool sends = false, receives = false;
    std::vector<File*> files;
  };
  /// The histogram log of a job.
  struct HistogramLog {
    double every_seconds = 0;
    bool is_shared = false;
    unsigned coarseness = 0;
    File* file = nullptr;
  };
  /// What a job did since its last line, and the logs for it.
  struct Source {
    std::size_t log = SIZE_MAX;  // SIZE_MAX: no log
    std::size_t histogram_log = SIZE_MAX;
    bool is_peer = false;
    IntervalResult sum;
    IntervalResult histogram_sum;
    std::vector<std::uint64_t> histogram;  // its bins; empty if it has no such log
  };

  IntervalLogs() = default;
  void write(Source& source);
  void divide(Source& source, IntervalResult rest);
  bool has_rest(const Source& source) const;
  void add_histogram(Source& source, const IntervalResult& interval, const HistogramBlock* counts);
  void write_histogram(Source& source);

  std::vector<std::unique_ptr<File>> files_;  // several jobs may share one (per_job_logs=0)
  std::vector<Log> logs_;
  std::vector<HistogramLog> histogram_logs_;
  std::vector<Source> sources_;  // indexed like the jobs
};

}  // namespace shmif::perf
