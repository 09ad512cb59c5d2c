#include "tools/shmifperf/run_jobs.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>

#include "perf/job/plan.hpp"
#include "perf/report/json.hpp"
#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "perf/run/campaign.hpp"
#include "tools/command.hpp"
#include "tools/shmifperf/run_remote.hpp"
#include "tools/shmifperf/write_file.hpp"
#include "tools/version.hpp"

namespace shmif::tools {

namespace {

using perf::OutputFormat;
using perf::RunControl;

/// Where the handlers put what they heard. They do nothing else.
std::atomic<RunControl*> heard{nullptr};

extern "C" void on_signal(int number) {
  RunControl* const control = heard.load();
  if (control == nullptr) return;
  if (number == SIGUSR1) {
    control->status.store(true);
    return;
  }
  int none = 0;
  control->signal.compare_exchange_strong(none, number);
  control->stops.fetch_add(1);
}

/// While it lives, SIGINT, SIGTERM and SIGHUP stop the run, twice stop it hard, and SIGUSR1 asks
/// for its status.
class RunSignals {
 public:
  explicit RunSignals(RunControl& control) {
    heard.store(&control);
    struct sigaction action{};
    action.sa_handler = on_signal;
    ::sigemptyset(&action.sa_mask);
    for (const int number : kNumbers) ::sigaction(number, &action, nullptr);
  }
  RunSignals(const RunSignals&) = delete;
  RunSignals& operator=(const RunSignals&) = delete;
  ~RunSignals() {
    heard.store(nullptr);
    for (const int number : kNumbers) std::signal(number, SIG_DFL);
  }

 private:
  static constexpr int kNumbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
};

std::string rendered(const perf::RunResult& result, OutputFormat format) {
  const auto bins = format == OutputFormat::json_plus ? perf::Bins::with : perf::Bins::without;
  std::string json = perf::to_json(result, bins);
  if (format == OutputFormat::json || format == OutputFormat::json_plus) return json;
  const perf::Report report = perf::Report::parse(json, "result").value();
  return format == OutputFormat::terse ? perf::to_terse(report) : perf::to_text(report);
}

/// Result: whether all of it arrived.
bool print(const perf::RunResult& result, const perf::RunOptions& options) {
  std::string text;
  for (const OutputFormat format : options.output_format) text += rendered(result, format);
  const auto done = write_file(options.output.empty() ? "-" : options.output, text);
  if (done) return true;
  complain(done.error().message + " (the result follows on standard output)");
  std::fwrite(text.data(), 1, text.size(), stdout);
  return false;
}

}  // namespace

int run_jobs(const perf::JobSet& set, const std::vector<std::string>& argv,
             const std::vector<std::string>& servers) {
  const std::vector<perf::PlannedJob> plan = perf::expand(set).value();
  RunControl control;
  const RunSignals signals(control);
  if (!servers.empty()) return run_remotely(set, servers, argv, nullptr, control);
  bool stuck = false;
  auto result = perf::run_campaign(set.run, plan, nullptr, control, stuck);
  if (!result) return fail(result.error());
  result->version = version_number();
  result->command = argv;
  int code = result->exit_code;
  if (!print(*result, set.run) && code == kDone) code = kFailed;
  if (stuck) {
    // Its thread still uses what destructors would take away.
    std::fflush(nullptr);
    ::_exit(code);
  }
  return code;
}

}  // namespace shmif::tools
