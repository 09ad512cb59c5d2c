#include "tools/shmifperf/run_jobs.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>

#include "perf/control/campaign.hpp"
#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/table.hpp"
#include "perf/verify/verify_state.hpp"
#include "tools/common/command.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/version.hpp"
#include "tools/shmifperf/run_output.hpp"
#include "tools/shmifperf/run_remote.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

using perf::RunControl;

/// The signal handlers store the signals here, and do no other work.
std::atomic<RunControl*> heard{nullptr};

extern "C" void on_signal(int number) {
  RunControl* const control = heard.load();
  if (control == nullptr || number == SIGPIPE) return;
  if (number == SIGUSR1) {
    control->status.store(true);
    return;
  }
  int none = 0;
  control->signal.compare_exchange_strong(none, number);
  control->stops.fetch_add(1);
}

/// While this exists, SIGINT, SIGTERM and SIGHUP stop the run; a second one stops it hard. SIGHUP
/// stays ignored if nohup ignores it. SIGUSR1 asks for the run's status. This process ignores
/// SIGPIPE, so its writers get an error. In programs that jobs run, SIGPIPE has its default effect.
class RunSignals {
 public:
  explicit RunSignals(RunControl& control) {
    heard.store(&control);
    install();
  }
  /// Installs the handlers again, after a library replaced them.
  static void install() { handle(on_signal); }
  RunSignals(const RunSignals&) = delete;
  RunSignals& operator=(const RunSignals&) = delete;
  ~RunSignals() {
    heard.store(nullptr);
    handle(SIG_DFL);
  }

 private:
  static void handle(void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    ::sigemptyset(&action.sa_mask);
    for (const int number : kNumbers) {
      struct sigaction before{};
      ::sigaction(number, nullptr, &before);
      if (number == SIGHUP && before.sa_handler == SIG_IGN) continue;
      ::sigaction(number, &action, nullptr);
    }
  }

  static constexpr int kNumbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE};
};

/// Says how long a search will take, if it takes long.
void say_how_long(const perf::RunOptions& options, const std::vector<perf::PlannedJob>& plan) {
  constexpr double kWorthSaying = 10;
  const auto time = perf::search_time(options, plan);
  if (!time || time->max_seconds < kWorthSaying) return;
  complain(std::to_string(time->searches) + (time->searches == 1 ? " search" : " searches") +
           " with trials of " + perf::format_seconds(time->trial_seconds) + ": " +
           perf::format_eta(time->min_seconds) + " to " + perf::format_eta(time->max_seconds) +
           (time->bounded ? "" : ", or longer on a busy machine, where trials are repeated"));
}

/// The files that the jobs of a run will write.
class JobFiles {
 public:
  /// Call it before the run.
  JobFiles(const std::vector<perf::PlannedJob>& plan, const perf::RunOptions& options)
      : paths_(perf::outputs_of(plan, options)) {
    for (const perf::PlannedJob& job : plan) {
      if (!job.options.verify_state_save) continue;
      paths_.push_back(perf::verify_state_path(options.aux_path, job.options.name));
    }
    for (const std::string& path : paths_) before_.push_back(state_of(path));
  }

  /// The files that the run has written. Leaves out those that a message in `lost` calls
  /// incomplete.
  std::vector<std::string> written(const std::vector<std::string>& lost) const {
    std::vector<std::string> files;
    for (std::size_t i = 0; i < paths_.size(); ++i) {
      const std::optional<State> now = state_of(paths_[i]);
      const std::string begin = "the log " + paths_[i] + " is not complete: ";
      const auto is_of_it = [&](const std::string& text) { return text.starts_with(begin); };
      if (now && now != before_[i] && std::ranges::none_of(lost, is_of_it)) {
        files.push_back(paths_[i]);
      }
    }
    return files;
  }

 private:
  /// The properties that change when a file is written or made anew.
  using State = std::tuple<dev_t, ino_t, off_t, std::int64_t, std::int64_t>;

  static std::optional<State> state_of(const std::string& path) {
    struct stat file{};
    if (::stat(path.c_str(), &file) != 0) return std::nullopt;
    return State(file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
  }

  std::vector<std::string> paths_;
  std::vector<std::optional<State>> before_;
};

}  // namespace

int run_jobs(const RunLine& wanted, const std::vector<std::string>& argv) {
  const perf::JobSet& set = wanted.set;
  // This is checked before the run, so that the result of an hour is not lost.
  const std::vector<std::string> inputs = perf::inputs_of(wanted.plan, set.run);
  for (const perf::OutputPlace& place : set.run.outputs) {
    if (auto may = check_file(place.path, inputs); !may) return fail(may.error());
  }
  RunControl control;
  const RunSignals signals(control);
  auto output = RunOutput::open(set.run, control);
  if (!output) return fail(output.error());
  RunSignals::install();
  if (!wanted.servers.empty()) {
    return run_remotely(set, wanted.servers, argv, **output, control);
  }
  say_how_long(set.run, wanted.plan);
  const JobFiles job_files(wanted.plan, set.run);
  bool stuck = false;
  auto result = perf::run_campaign(set.run, wanted.plan, output->get(), control, stuck);
  std::vector<std::string> lost = (*output)->finish();
  if (!result) return fail(result.error());
  for (const std::string& log : result->lost_outputs) complain(log);
  std::ranges::move(lost, std::back_inserter(result->lost_outputs));
  if (!result->lost_outputs.empty() && result->exit_code == kDone) result->exit_code = kFailed;
  result->version = version_number();
  result->command = argv;
  const ResultForms forms([&](perf::Bins bins) { return perf::to_json(*result, bins); });
  int code = result->exit_code;
  if (!(*output)->print_result(forms, job_files.written(result->lost_outputs)) && code == kDone) {
    code = kFailed;
  }
  if (stuck) {
    // Destructors would destroy objects that the stuck thread still uses.
    std::fflush(nullptr);
    ::_exit(code);
  }
  return code;
}

}  // namespace shmif::tools
