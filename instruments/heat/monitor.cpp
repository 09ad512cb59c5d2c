#include "instruments/heat/monitor.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/printable.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

Error is_busy(const char* what) {
  return {Errc::busy, std::string("cannot ") + what +
                          ": the monitor of access heat is on (end it with --off first)"};
}

/// The process of a target. An error if another process has its number now.
Result<Process> reopen(const TaskId& target, const KernelFiles& files) {
  auto process = Process::open(target.number, files);
  if (!process || process->id() == target) return process;
  return Error::from_errno(ESRCH, "cannot watch process " + std::to_string(target.number));
}

const HeatResult* result_for(const std::vector<HeatResult>& results, const TaskId& target) {
  const auto found = std::ranges::find(results, target, &HeatResult::process);
  return found == results.end() ? nullptr : &*found;
}

}  // namespace

void merge_heat_results(std::vector<HeatResult>& known, std::vector<HeatResult> now) {
  for (HeatResult& each : now) {
    const auto before = std::ranges::find(known, each.process, &HeatResult::process);
    if (before == known.end()) {
      known.push_back(std::move(each));
      continue;
    }
    std::vector<HeatWindow> windows = std::move(before->windows);
    const double last = windows.empty() ? -1 : windows.back().begin_s;
    for (HeatWindow& window : each.windows) {
      if (window.begin_s > last) windows.push_back(std::move(window));
    }
    // After a change of the source, drop what the first one saw, because its addresses differ.
    const bool begins_anew = before->provenance.source != each.provenance.source;
    if (begins_anew) std::erase_if(windows, [&](const auto& w) { return w.begin_s <= last; });
    if (windows.size() > HeatMonitor::kKeptWindows) {
      windows.erase(windows.begin(), windows.end() - HeatMonitor::kKeptWindows);
    }
    *before = std::move(each);
    before->windows = std::move(windows);
  }
}

/// A run, from on to off. Only its thread uses the session.
class HeatMonitor::Run {
 public:
  Run(const Settings& settings, const KernelFiles& files,
      const std::shared_ptr<DamonRecord>& record, std::vector<HeatResult> before)
      : attributes_(settings.attributes),
        results_(std::move(before)),
        thread_([this, settings, files, record](const std::stop_token& stop) {
          HeatOptions options;
          static_cast<HeatSettings&>(options) = settings;
          options.damon_record = record;
          options.files = files;
          watch(std::move(options), settings.targets, stop);
        }) {}

  void end() { thread_.request_stop(); }
  bool was_told_to_end() const { return thread_.get_stop_token().stop_requested(); }
  bool is_over() const {
    const std::lock_guard guard(mutex_);
    return is_over_;
  }
  const HeatAttributes& attributes() const { return attributes_; }
  std::vector<HeatResult> results() const {
    const std::lock_guard guard(mutex_);
    return results_;
  }

 private:
  void watch(HeatOptions options, const std::vector<TaskId>& targets, const std::stop_token& stop) {
    constexpr std::size_t kFew = 4;  // results_ has the others
    options.keep_windows = kFew;
    options.stops = [&stop] { return stop.stop_requested(); };
    HeatSession session(options);
    std::vector<Process> processes;
    for (const TaskId& target : targets) {
      auto process = reopen(target, options.files);
      if (process) processes.push_back(*std::move(process));
    }
    session.add_all(processes);
    std::uint64_t known = 0;
    while (!stop.stop_requested() && session.is_watching() &&
           !std::ranges::all_of(processes, &Process::has_ended)) {
      const auto next = session.step();
      if (session.changes() != known) publish(session);
      known = session.changes();
      wait_until(next, stop);
    }
    session.finish();
    publish(session);
    const std::lock_guard guard(mutex_);
    is_over_ = true;
  }

  void publish(const HeatSession& session) {
    auto now = session.results();
    const std::lock_guard guard(mutex_);
    merge_heat_results(results_, std::move(now));
  }

  void wait_until(HeatSession::Clock::time_point then, const std::stop_token& stop) {
    // So that the end of all targets is noticed within this time.
    const auto latest = HeatSession::Clock::now() + std::chrono::milliseconds(100);
    std::unique_lock lock(sleep_);
    bell_.wait_until(lock, stop, std::min(then, latest), [] { return false; });
  }

  const HeatAttributes attributes_;
  mutable std::mutex mutex_;
  std::vector<HeatResult> results_;
  bool is_over_ = false;
  std::mutex sleep_;
  std::condition_variable_any bell_;
  std::jthread thread_;  ///< the last member: it uses the others
};

HeatMonitor::HeatMonitor(KernelFiles files) : files_(std::move(files)) {}
HeatMonitor::~HeatMonitor() = default;

bool HeatMonitor::is_on() const {
  return run_ && !run_->was_told_to_end() && !run_->is_over();
}

/// The settings that the request would make.
Result<HeatMonitor::Settings> HeatMonitor::with(const HeatRequest& request) const {
  Settings settings = settings_;
  settings.attributes = request.attributes.value_or(settings.attributes);
  settings.backend = request.backend.value_or(settings.backend);
  settings.damon = request.damon.value_or(settings.damon);
  settings.clients = request.clients.value_or(settings.clients);
  if (!request.targets) return settings;
  settings.targets.clear();
  for (const pid_t pid : *request.targets) {
    const auto process = Process::open(pid, files_);
    if (!process) return process.error();
    settings.targets.push_back(process->id());
  }
  return settings;
}

Result<void> HeatMonitor::set(const HeatRequest& request) {
  if (is_on()) return is_busy("change settings");
  auto settings = with(request);
  if (!settings) return std::move(settings).error();
  settings_ = *std::move(settings);
  return {};
}

Result<void> HeatMonitor::start(const HeatRequest& request) {
  if (is_on()) return is_busy("begin");
  if (run_ && !run_->is_over()) {
    return Error(Errc::busy, "cannot begin: the last watch still waits for a target (try again)");
  }
  auto settings = with(request);
  if (!settings) return std::move(settings).error();
  if (settings->targets.empty()) {
    return Error(Errc::bad_argument, "cannot begin: there is no target (give -p or --bus)");
  }
  const bool lives = std::ranges::any_of(
      settings->targets, [&](const TaskId& target) { return reopen(target, files_).has_value(); });
  if (!lives) return Error::from_errno(ESRCH, "cannot begin: all targets have ended");
  settings_ = *std::move(settings);
  // A target that has ended keeps its last map.
  std::vector<HeatResult> kept;
  const auto last = results();
  for (const TaskId& target : settings_.targets) {
    const HeatResult* const known = result_for(last, target);
    if (reopen(target, files_)) {
      HeatResult& none = kept.emplace_back();
      none.process = target;
      none.reason = "no look at it has ended yet";
    } else if (known != nullptr) {
      kept.push_back(*known);
    }
  }
  debug(Debug::heat, [&] {
    return "a watch begins, as a request said: " + std::to_string(settings_.targets.size()) +
           " targets";
  });
  run_ = std::make_unique<Run>(settings_, files_, damon_record_, std::move(kept));
  return {};
}

void HeatMonitor::stop() {
  debug(Debug::heat, [] { return "the watch ends, as a request said"; });
  if (run_) run_->end();
}

std::vector<HeatResult> HeatMonitor::results() const {
  return run_ ? run_->results() : std::vector<HeatResult>();
}

HeatAttributes HeatMonitor::attributes() const {
  return run_ ? run_->attributes() : settings_.attributes;
}

HeatStatus HeatMonitor::status() const {
  HeatStatus status;
  static_cast<HeatSettings&>(status) = settings_;
  status.is_on = is_on();
  const auto results = this->results();
  for (const TaskId& target : settings_.targets) {
    HeatTarget told;
    told.process = target;
    told.is_alive = reopen(target, files_).has_value();
    if (const HeatResult* const known = result_for(results, target)) {
      told.name = known->name;
      told.reason = known->reason;
      told.windows = known->windows.size();
    }
    if (!told.is_alive && told.reason.empty()) told.reason = "the process has ended";
    status.targets.push_back(std::move(told));
  }
  const auto contexts = count_damon_contexts(damon_record_->threads(), files_);
  if (contexts) {
    status.contexts = *contexts;
  } else {
    status.contexts_reason = contexts.error().message;
  }
  return status;
}

Result<std::string> answer_heat(HeatMonitor& monitor, const HeatRequest& request, bool& ends) {
  const auto done = [](const Result<void>& result) {
    return result ? Result<std::string>(std::string()) : Result<std::string>(result.error());
  };
  switch (request.verb) {
    case HeatVerb::set: return done(monitor.set(request));
    case HeatVerb::on: return done(monitor.start(request));
    case HeatVerb::off: monitor.stop(); return std::string();
    case HeatVerb::forget: ends = true; return std::string();
    case HeatVerb::status: {
      const HeatStatus status = monitor.status();
      return request.as_json ? heat_status_json(status) : heat_status_text(status);
    }
    case HeatVerb::show: {
      const auto results = monitor.results();
      return request.as_json
                 ? heat_json(results, monitor.attributes(), monitor.status().is_on)
                 : heat_text(results, monitor.attributes(), request.columns, request.in_colour);
    }
  }
  return Error(Errc::bad_argument, "the monitor of access heat does not know this request");
}

namespace {

using Json = nlohmann::ordered_json;

std::string contexts_line(const HeatStatus& status) {
  if (!status.contexts) return "kernel DAMON: " + status.contexts_reason;
  const auto [own, foreign] = *status.contexts;
  if (own + foreign == 0) return "kernel DAMON: nobody uses it";
  std::string text = "kernel DAMON: ";
  if (own > 0) text += "this monitor uses " + std::to_string(own) + " contexts";
  if (own > 0 && foreign > 0) text += "; ";
  if (foreign == 0) return text;
  return text + "others use " + std::to_string(foreign) +
         " contexts, which the monitor does not touch";
}

Json null_if_empty(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

}  // namespace

std::string heat_status_text(const HeatStatus& status) {
  std::string text = status.is_on ? "on" : "off";
  text += "\nattrs " + attributes_text(status.attributes) + "\nbackend " + to_word(status.backend) +
          '\n';
  if (status.backend == HeatBackend::damon) {
    text += std::string("damon ") + to_word(status.damon.space);
    if (!status.damon.ranges.empty()) text += ' ' + address_ranges_text(status.damon.ranges);
    text += '\n';
  }
  if (!status.clients.empty()) text += "clients " + base::printable(status.clients) + '\n';
  if (status.targets.empty()) text += "no targets\n";
  for (const HeatTarget& each : status.targets) {
    text += "target " + std::to_string(each.process.number);
    if (!each.name.empty()) text += " (" + base::printable(each.name) + ')';
    text += each.is_alive ? "" : ", ended";
    text += ", " + std::to_string(each.windows) + " windows";
    if (!each.reason.empty()) text += ": " + base::printable(each.reason);
    text += '\n';
  }
  return text + base::printable(contexts_line(status)) + '\n';
}

std::string heat_status_json(const HeatStatus& status) {
  auto targets = Json::array();
  for (const HeatTarget& each : status.targets) {
    targets.push_back({{"pid", each.process.number},
                       {"start_ticks", each.process.start_ticks},
                       {"name", null_if_empty(each.name)},
                       {"is_alive", each.is_alive},
                       {"windows", each.windows},
                       {"reason", null_if_empty(each.reason)}});
  }
  const auto& contexts = status.contexts;
  const Json whole{{"state", status.is_on ? "on" : "off"},
                   {"attrs", attributes_text(status.attributes)},
                   {"backend", to_word(status.backend)},
                   {"damon", to_word(status.damon.space)},
                   {"ranges", null_if_empty(address_ranges_text(status.damon.ranges))},
                   {"clients", null_if_empty(status.clients)},
                   {"targets", std::move(targets)},
                   {"own_contexts", contexts ? Json(contexts->own) : Json(nullptr)},
                   {"foreign_contexts", contexts ? Json(contexts->foreign) : Json(nullptr)},
                   {"foreign_reason", null_if_empty(status.contexts_reason)}};
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
