// The controller of a lab: takes it down, and reports.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>

#include "base/text.hpp"
#include "tools/common/command.hpp"
#include "tools/common/output.hpp"
#include "tools/lab/lab_run.hpp"
#include "tools/lab/results.hpp"
#include "tools/lab/state.hpp"

namespace shmif::tools {

namespace {

/// How long programs may take to end after a SIGTERM.
constexpr std::chrono::seconds kTimeForHosts{2};
/// podman removes a container in a second, or more on a busy machine, after the container's time.
constexpr std::chrono::seconds kTimeForContainers{20};
/// Another machine does the same, and then says so.
constexpr std::chrono::seconds kTimeForMachines{8};
/// Captures write what they have. A disk may be slow.
constexpr std::chrono::seconds kTimeForCaptures{5};
constexpr int kTimeLimitCode = 124;  // as of timeout(1)

/// " by SIGTERM".
std::string by_signal(const StopSignals& stop) {
  const char* const name = ::sigabbrev_np(stop.signal());
  return name == nullptr ? "" : std::string(" by SIG") + name;
}

}  // namespace

/// Goes on taking output as long as `some_run` says so. Result: false if the time was up, or a
/// second signal came.
bool LabRun::watch_while(const std::function<bool()>& some_run, std::chrono::milliseconds at_most) {
  const Clock::time_point end = Clock::now() + at_most;
  while (some_run()) {
    const Clock::time_point now = Clock::now();
    if (now >= end || stop_.urged()) return false;
    watch(std::min(end, now + std::chrono::milliseconds(50)));
  }
  return true;
}

std::chrono::seconds LabRun::time_to_end() const {
  const bool containers = std::ranges::any_of(hosts_, [](const Host& each) {
    return each.runs() && each.spec->kind == LabHostKind::container;
  });
  // A machine needs twice the time for its own hosts, if they have to be killed.
  return (containers ? kTimeForContainers : kTimeForHosts) +
         (machines_run() ? kTimeForMachines : std::chrono::seconds(0));
}

/// First the load, so that its report is complete, then the programs, then the captures, so that
/// these have the last frames, too; then the buses.
void LabRun::take_down() {
  ending_ = true;
  settle_test();
  due_events_.clear();
  changes_.clear();
  change_.reset();
  far_change_.reset();
  const auto has_child = [](const auto& each) { return each.child.has_value(); };
  for (Perf& each : perfs_) {
    if (each.child && !each.makes_page) each.child->signal(SIGTERM);
  }
  watch_while([&] { return std::ranges::any_of(perfs_, has_child); }, kTimeForPerfs);
  for (Perf& each : perfs_) each.child.reset();  // kills what is still there
  for (Host& each : hosts_) {
    if (each.child) each.child->signal(SIGTERM);
  }
  if (test_) test_->signal(SIGTERM);
  for (Machine& each : machines_) {
    if (each.line) each.line->finish_sending();
  }
  watch_while(
      [&] { return test_.has_value() || machines_run() || std::ranges::any_of(hosts_, has_child); },
      time_to_end());
  for (Host& each : hosts_) each.child.reset();
  for (Machine& each : machines_) each.child.reset();
  test_.reset();
  for (Helper& each : helpers_) {
    if (each.child) each.child->signal(SIGTERM);
  }
  watch_while([&] { return std::ranges::any_of(helpers_, has_child); }, kTimeForCaptures);
  for (Helper& each : helpers_) each.child.reset();
  join_captures();
  views_.clear();
  for (const std::string& each : remove_lab(folder_, state_now(false))) say(each);
}

/// Of a capture of several buses, makes one file. If that fails, its parts stay.
void LabRun::join_captures() {
  for (const LabCapture& capture : lab_.captures) {
    if (capture.buses.size() < 2 || !capture.file.ends_with(".pcapng")) continue;
    std::vector<BusCapture> parts;
    parts.reserve(capture.buses.size());
    for (const LabName& bus : capture.buses) {
      const std::string part = lab_file_for_bus(capture.file, bus.value);
      parts.push_back({results_.folder() + '/' + part, bus.value});
    }
    const auto is_there = [](const BusCapture& each) {
      return ::access(each.file.c_str(), F_OK) == 0;
    };
    if (!std::ranges::all_of(parts, is_there)) continue;  // the lab ended before it began
    if (const auto joined = merge_captures(parts, results_.file(capture.file)); !joined) {
      say(joined.error().message);
      continue;
    }
    for (const BusCapture& each : parts) ::unlink(each.file.c_str());
  }
}

/// Why a lab that did not start has ended; empty if it started, or said already why not.
std::string LabRun::end_before_ready() const {
  if (ready_ || !start_failure_.empty()) return {};
  if (timed_out_) {
    return "the time limit of " + options_.time_limit_text + " was up before the lab was ready" +
           (awaited_.empty() ? "" : ": it waited for " + awaited_);
  }
  return "it was ended" + by_signal(stop_) + " before it was ready";
}

std::vector<LabCase> LabRun::cases() const {
  std::vector<LabCase> all;
  all.reserve(hosts_.size() + perfs_.size() + events_.size() + 2);
  const std::string not_up = start_failure_.empty() ? end_before_ready() : start_failure_;
  if (!not_up.empty()) all.push_back({"up", not_up, 0});
  for (const Host& host : hosts_) {
    LabCase row{"host " + host.spec->name, host.failure, host.seconds_to_ready};
    if (!host.was_ready && row.failure.empty()) row.skipped = "it was not ready when the lab ended";
    if (!row.failure.empty()) row.output = host.output.last_lines();
    all.push_back(std::move(row));
  }
  for (const Machine& machine : machines_) {
    if (machine.failure.empty()) continue;
    all.push_back(
        {"machine " + machine.spec->name, machine.failure, {}, machine.output.last_lines()});
  }
  for (const Helper& helper : helpers_) {
    if (helper.failure.empty()) continue;
    all.push_back({name_of(helper), helper.failure, {}, helper.output.last_lines()});
  }
  for (const Perf& perf : perfs_) all.push_back(case_of(perf));
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    LabCase row{"at " + std::to_string(i + 1) + ": " + event.spec->to_string(), {}, event.seconds};
    if (!event.finished) {
      row.skipped = "the lab ended before it";
    } else if (!event.applied) {
      row.failure = event.result.empty() ? "it could not be applied" : event.result;
    }
    all.push_back(std::move(row));
  }
  if (lab_.test && options_.news == nullptr) {
    LabCase row{"test", {}, test_seconds_};
    if (!test_status_) {
      row.failure = timed_out_ ? "the time limit of " + options_.time_limit_text + " was up"
                               : "the lab ended before it";
    } else if (*test_status_ != 0) {
      row.failure = test_failure_.empty() ? end_text(*test_status_) : test_failure_;
    }
    row.output = test_output_.last_lines();
    all.push_back(std::move(row));
  } else if (timed_out_ && ready_) {
    all.push_back({"time limit", "the time limit of " + options_.time_limit_text + " was up", 0});
  }
  return all;
}

/// Says which events the lab did not live to see: a test that passed without them proves less than
/// its author thinks.
void LabRun::tell_missed_events() {
  constexpr std::size_t kMaxNamed = 6;
  if (!ready_) return;
  std::string names;
  std::size_t missed = 0;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].finished) continue;
    const std::string what = events_[i].spec->to_string();
    note(what, false, "the lab ended before it");
    if (++missed > kMaxNamed) continue;
    names += (missed == 1 ? "at " : ", at ") + std::to_string(i + 1) + " (" + what + ')';
  }
  if (missed == 0) return;
  if (missed > kMaxNamed) names += " and " + std::to_string(missed - kMaxNamed) + " more";
  const char* const with = test_status_                          ? " with its test"
                           : timed_out_                          ? " by its time limit"
                           : stop_.stopped() || output_lost_ > 0 ? ""
                           : !perfs_.empty()                     ? " with its runs of shmifperf"
                                                                 : " with its programs";
  say("the lab " + lab_.name + " ended" + with + ", before " + base::counted(missed, "event") +
      ": " + names);
}

/// Says what failed, and writes the report. Result: the exit code.
int LabRun::report() {
  if (options_.far != nullptr) {
    results_.remove();
    tell_last();
    finish_streams();
    return start_failure_.empty() ? kDone : start_code_;
  }
  const std::vector<LabCase> rows = cases();
  int code = kDone;
  const bool rows_failed =
      std::ranges::any_of(rows, [](const LabCase& each) { return !each.failure.empty(); });
  if (!start_failure_.empty()) {
    code = start_code_;
  } else if (timed_out_) {
    code = kTimeLimitCode;
    say("the lab " + lab_.name + " was ended by the time limit of " + options_.time_limit_text +
        (ready_ ? "" : ", before it was ready") +
        (awaited_.empty() ? "" : ": it waited for " + awaited_));
  } else if (test_status_) {
    code = *test_status_;
    if (code != kDone) {
      say("the test of the lab " + lab_.name + ' ' +
          (test_failure_.empty() ? end_text(code) : test_failure_));
    }
  } else if (stop_.stopped() && (!ready_ || (decides() && options_.news == nullptr))) {
    code = kEndedBySignal + stop_.signal();
    if (!ready_) {
      say("the lab " + lab_.name + " was ended before it was ready," + by_signal(stop_) +
          (awaited_.empty() ? "" : ": it waited for " + awaited_));
    }
  }
  if (ready_ && start_failure_.empty() && !timed_out_ && !test_status_ && stop_.stopped())
    say("the lab " + lab_.name + " was ended" + by_signal(stop_));
  tell_missed_events();
  if (output_lost_ != 0 && !decides()) say(lost_output_text(output_lost_));
  if (code == kDone && output_lost_ != 0) code = kFailed;
  if (code == kDone && rows_failed) {
    code = kFailed;
    for (const LabCase& each : rows) {
      if (!each.failure.empty()) {
        say("the lab " + lab_.name + " failed: " + each.name +
            (each.name.starts_with("at ") ? ": " : " ") + each.failure);
      }
    }
  }
  if (!options_.junit.empty()) {
    const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
    if (const auto written = write_junit(options_.junit, lab_.name, rows, seconds,
                                         files_of_lab(lab_, results_.folder()));
        !written) {
      say(written.error().message);
      if (code == kDone) code = kFailed;
    }
  }
  results_.flush();
  if (!results_.why_incomplete().empty()) {
    say("the logs in " + results_.folder() + " are not complete: " + results_.why_incomplete());
  }
  // A detached lab has run no test, so it keeps what it has.
  if (test_status_ && code == kDone && !options_.keep_results) {
    results_.remove();
  } else {
    say("logs and captures are in " + results_.folder());
  }
  results_.unlock();  // a slow reader may keep this process
  if (options_.news != nullptr && *options_.news) {
    tell_news(code);
  } else {
    finish_streams();
  }
  return output_lost_ != 0 && code == kDone ? kFailed : code;
}

/// Detached: tells the command that waits. After that, this process has no terminal.
void LabRun::tell_news(int code) {
  finish_streams();
  if (code == kDone) {
    const Result<UniqueFd> log = make_plain_file(results_.file("lab.log"), 0666);
    const UniqueFd none(log ? -1 : ::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (!log) say(log.error().message);
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      ::dup2(log ? log->get() : none.get(), stream);
    }
    open_streams();
  }
  const char word = static_cast<char>(code);
  [[maybe_unused]] const ssize_t written = ::write(options_.news->get(), &word, 1);
  options_.news->reset();
}

int run_lab(const Lab& lab, const LabRunOptions& options, const StopSignals& stop) {
  const std::string folder = lab_state_folder().value();
  Result<std::optional<LabLock>> lock = LabLock::take(folder, lab.name);
  if (!lock) throw Exception(std::move(lock).error());
  if (!*lock) {
    const auto other = read_lab_state(folder, lab.name);
    return fail(
        "the lab " + lab.name + " is up already" +
        (other ? ", from " + other->file + " by process " + std::to_string(other->pid) : "") +
        " (end it with 'shmifctl down " + lab.name +
        "', or give this file another name = \"...\")");
  }
  // S1: its controller has died, and the guardian, too.
  if (const auto left = read_lab_state(folder, lab.name)) remove_lab_but_lock(folder, *left);
  Result<LabResults> results = options.far == nullptr ? LabResults::open(options.results, lab.name)
                                                      : LabResults::make_temporary(lab.name);
  const Result<void> report =
      options.junit.empty() || !results
          ? Result<void>()
          : check_junit_path(options.junit, files_of_lab(lab, results->folder()));
  if (!results || !report) {
    if (results) results->remove();
    remove_lab(folder, {lab.name, {}, {}});
    throw Exception(results ? report.error() : std::move(results).error());
  }
  return LabRun(lab, options, stop, *std::move(results), folder).run();
}

}  // namespace shmif::tools
