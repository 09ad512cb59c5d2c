// The controller of a lab: watches everything, and takes output and ends.

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.hpp"
#include "base/wall_clock.hpp"
#include "tools/common/command.hpp"
#include "tools/common/output.hpp"
#include "tools/lab/lab_run.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kLastLines = 10;
constexpr std::size_t kLongestLine = 64U << 10U;
constexpr std::chrono::seconds kTimeForReaders{2};

const char* colour_of(std::string_view name) {
  static constexpr const char* kColours[] = {"\033[32m", "\033[33m", "\033[34m",
                                             "\033[35m", "\033[36m", "\033[31m"};
  std::size_t sum = 0;
  for (const char c : name) sum = sum * 31 + static_cast<unsigned char>(c);
  return kColours[sum % std::size(kColours)];
}

/// Where the sequence that sets colours (SGR) at `at` ends; `at` if there is none.
std::size_t end_of_colours(std::string_view line, std::size_t at) {
  if (!line.substr(at).starts_with("\033[")) return at;
  const std::size_t end = line.find_first_not_of("0123456789;", at + 2);
  return end != std::string_view::npos && line[end] == 'm' ? end + 1 : at;
}

/// A line of output without what a terminal obeys, except tabs and colours: a host could write
/// lines of other hosts, or let the terminal type an answer.
std::string for_terminal(std::string_view line, bool may_colour) {
  std::string made;
  bool coloured = false;
  std::size_t from = 0;
  for (std::size_t at = 0; at < line.size();) {
    const bool is_tab = line[at] == '\t';
    const std::size_t end = is_tab ? at + 1 : may_colour ? end_of_colours(line, at) : at;
    if (end == at) {
      ++at;
      continue;
    }
    made += base::printable(line.substr(from, at - from));
    made += line.substr(at, end - at);
    coloured = coloured || !is_tab;
    from = at = end;
  }
  made += base::printable(line.substr(from));
  return coloured ? made + "\033[0m" : made;
}

}  // namespace

bool LabRun::is_over() const {
  if (!start_failure_.empty() || stop_.stopped() || timed_out_) return true;
  if (output_lost_ != 0 && !decides()) return true;
  if (options_.far != nullptr) return !options_.far->line.is_open();
  if (!ready_) return false;
  if (test_status_) return *test_status_ != 0 || perfs_are_over();
  if (!perfs_are_over()) return false;
  if (lab_.test || !changes_.empty() || change_ || far_change_) return false;
  // With runs of shmifperf and no test, these decide. What is due by their end still happens.
  const auto none_is_due = [this](Clock::time_point by) {
    return std::ranges::none_of(events_, [by](const Event& each) {
      return each.triggered && !each.done && each.due <= by;
    });
  };
  if (!perfs_.empty() && options_.news == nullptr) return none_is_due(Clock::now());
  // Any other lab is over when all of its programs are.
  return none_is_due(Clock::time_point::max()) && std::ranges::all_of(hosts_, [](const Host& each) {
           return each.phase == Phase::ended && !each.again;
         });
}

LabRun::Clock::time_point LabRun::next_time() const {
  const Clock::time_point now = Clock::now();
  Clock::time_point next = now + std::chrono::hours(1);
  if (limit_) next = std::min(next, *limit_);
  if (machines_run()) next = std::min(next, alive_due_);
  if (options_.far != nullptr) next = std::min(next, heard_ + kFarPatience);
  const bool starts = std::ranges::any_of(hosts_, [](const Host& each) {
    return (each.phase == Phase::starting || each.phase == Phase::up) && each.child;
  });
  if ((!ready_ && options_.far == nullptr) || starts) next = std::min(next, now + kStartLook);
  if (far_change_) next = std::min(next, far_change_->until);
  if (test_signalled_) next = std::min(next, test_patience_);
  for (const Host& host : hosts_) {
    if (host.again) next = std::min(next, *host.again);
    if (host.kill) next = std::min(next, *host.kill);
  }
  for (const Perf& each : perfs_) {
    if (each.kill) next = std::min(next, *each.kill);
  }
  if (ready_) {
    for (const Event& event : events_) {
      if (event.triggered && !event.queued) next = std::min(next, std::max(event.due, now));
    }
  }
  return next;
}

std::vector<pollfd> LabRun::wanted_polls() const {
  std::vector<pollfd> wanted;
  wanted.reserve(2 * hosts_.size() + 2 * helpers_.size() + 2 * perfs_.size() + 8);
  wanted.push_back({stop_.signal() == 0 ? stop_.descriptor() : -1, POLLIN, 0});
  const bool reads = reads_hosts();
  const auto add = [&](const std::optional<LabChild>& child) {
    if (!child) return;
    if (child->output() >= 0 && reads) wanted.push_back({child->output(), POLLIN, 0});
    if (child->process() >= 0) wanted.push_back({child->process(), POLLIN, 0});
  };
  for (const Host& each : hosts_) add(each.child);
  for (const Helper& each : helpers_) add(each.child);
  for (const Perf& each : perfs_) add(each.child);
  add(change_);
  add(test_);
  const auto add_line = [&](const MachineLine& line) {
    if (line.is_open()) wanted.push_back({line.in(), POLLIN, 0});
    if (line.wanted_out() >= 0) wanted.push_back({line.wanted_out(), POLLOUT, 0});
  };
  for (const Machine& each : machines_) {
    add(each.child);
    if (each.line) add_line(*each.line);
  }
  if (options_.far != nullptr) add_line(options_.far->line);
  for (const PatientOutput* const each : {&out_, errors_ ? &*errors_ : nullptr}) {
    if (each != nullptr && each->wanted() >= 0) wanted.push_back({each->wanted(), POLLOUT, 0});
  }
  // The one who waits for a detached lab may give up before it is ready.
  if (options_.news != nullptr && *options_.news) wanted.push_back({options_.news->get(), 0, 0});
  return wanted;
}

void LabRun::watch(Clock::time_point until) {
  std::vector<pollfd> wanted = wanted_polls();
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  ::poll(wanted.data(), wanted.size(),
         static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000)));
  if (options_.news != nullptr && *options_.news && !ready_ && wanted.back().revents != 0) {
    fail_start("the command that waited for it was ended", nullptr);
  }
  flush_streams();
  for (Host& each : hosts_) {
    if (each.child && reads_hosts()) take_output(each.output, *each.child);
  }
  for (Helper& each : helpers_) {
    if (each.child) take_output(each.output, *each.child);
  }
  for (Perf& each : perfs_) {
    if (each.child) take_output(each.output, *each.child);
  }
  if (test_) take_output(test_output_, *test_);
  if (!machines_.empty()) take_machines();
  if (options_.far != nullptr) take_requests();
  take_ends();
  settle_test();
  const Clock::time_point now = Clock::now();
  for (Host& each : hosts_) {
    if (each.again && now >= *each.again && !ending_) start_host(each);
    if (each.kill && now >= *each.kill && each.runs()) {
      signal_host(each, SIGKILL);
      each.kill.reset();
    }
  }
  for (Perf& each : perfs_) {
    if (!each.kill || now < *each.kill) continue;
    if (each.child) each.child->signal(SIGKILL);
    each.kill.reset();
  }
  if (ready_ && !ending_) look_at_starting();
  if (limit_ && now >= *limit_ && !ending_) timed_out_ = true;
}

void LabRun::take_output(LabOutput& output, LabChild& child) {
  if (child.output() < 0) return;
  std::string text;
  child.read_output(text);
  if (!text.empty()) take_text(output, text);
}

/// Of a program that has ended, also takes a last line without an end.
void LabRun::take_rest(LabOutput& output, LabChild& child) {
  take_output(output, child);
  if (!output.pending.empty()) take_line(output, std::exchange(output.pending, {}));
}

void LabRun::take_text(LabOutput& output, const std::string& text) {
  if (options_.far == nullptr) {
    results_.log(output.name, text);
  } else {
    tell_output(output.name, text);
  }
  output.pending += text;
  std::size_t at = 0;
  for (std::size_t end = 0; (end = output.pending.find('\n', at)) != std::string::npos;
       at = end + 1) {
    take_line(output, output.pending.substr(at, end - at));
  }
  output.pending.erase(0, at);
  while (output.pending.size() > kLongestLine) {  // in pieces that do not depend on the reads
    take_line(output, output.pending.substr(0, kLongestLine));
    output.pending.erase(0, kLongestLine);
  }
}

void LabRun::take_line(LabOutput& output, std::string line) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (output.on_terminal) print_line(output, line);
  for (Host& host : hosts_) {
    if (&host.output != &output) continue;
    const LabReady& ready = host.spec->ready;
    if (ready.when == LabReady::When::log && line.find(ready.text) != std::string::npos) {
      host.saw_text = true;
    }
    trigger(LabTrigger::What::log, host.spec->name, line);
  }
  for (const Perf& perf : perfs_) {
    if (&perf.output == &output) trigger(LabTrigger::What::log, perf.spec->name, line);
  }
  output.last.push_back(std::move(line));
  if (output.last.size() > kLastLines) output.last.pop_front();
}

void LabRun::print_line(const LabOutput& output, std::string_view line) {
  if (options_.news != nullptr) return;  // detached: it is in the logs
  if (options_.far != nullptr) return;   // the other controller does
  progress_.clear();
  const std::string name = base::shortened(output.name, kWidestName);
  std::string text = colours_ ? colour_of(output.name) : "";
  text += name + std::string(name_width_ > name.size() ? name_width_ - name.size() : 0, ' ');
  text += colours_ ? " |\033[0m " : " | ";
  text += for_terminal(line, output.may_colour);
  out_.write(text);
  note_lost_output();
}

void LabRun::take_ends() {
  for (Host& host : hosts_) {
    if (!host.child) continue;
    if (const auto status = host.child->take_end()) host_ended(host, *status);
  }
  for (Helper& helper : helpers_) {
    if (!helper.child) continue;
    const auto status = helper.child->take_end();
    if (!status) continue;
    take_output(helper.output, *helper.child);
    helper.child.reset();
    if (helper.event && *status == 0) {
      helper.works = true;
      arm(events_[*helper.event], Clock::now());
    } else if (ready_ && !ending_) {
      helper.failure = end_text(*status);
      // A full disk has no room for its log either.
      const std::string last = helper.output.last.empty() ? "" : ": " + helper.output.last.back();
      say(name_of(helper) + ' ' + helper.failure + last + "; the lab goes on without it");
    } else if (!ending_) {
      fail_start(name_of(helper) + ' ' + end_text(*status), &helper.output,
                 *status == kNotSupported ? kNotSupported : kFailed);
    }
  }
  for (Perf& perf : perfs_) {
    if (!perf.child) continue;
    if (const auto status = perf.child->take_end()) perf_ended(perf, *status);
  }
  if (change_) change_->read_output(change_text_);
  if (options_.far == nullptr && (change_ || far_change_)) go_on_with_events();
  if (test_) take_test();
}

void LabRun::take_test() {
  const auto status = test_->take_end();
  if (!status) return;
  take_rest(test_output_, *test_);
  test_.reset();
  test_seconds_ = std::chrono::duration<double>(Clock::now() - test_begun_).count();
  if (ending_) return;
  const Host* const host = host_of_test();
  if (*status > kEndedBySignal && host != nullptr && !host->spec->run.empty()) {
    test_signalled_ = status;
    test_patience_ = Clock::now() + kTimeForTestsHost;
  } else {
    test_status_ = status;
  }
}

LabRun::Host* LabRun::host_of_test() {
  const LabHost* const spec = lab_.find_hosts(lab_.test->host.value).front();
  const auto found = std::ranges::find(hosts_, spec, &Host::spec);
  return found == hosts_.end() ? nullptr : &*found;
}

/// Of a test that a signal has ended: finds out whether that came from the end of its host.
void LabRun::settle_test() {
  if (!test_signalled_) return;
  const Host& host = *host_of_test();
  if (host.runs() && Clock::now() < test_patience_ && !ending_) return;
  if (!host.runs()) {
    test_failure_ = end_text(*test_signalled_) + " with its host " + host.spec->name +
                    (host.told_to_end ? ", which was stopped"
                                      : ", whose program " + end_text(host.status) +
                                            " (a host ends with its `run`)");
  }
  test_status_ = std::exchange(test_signalled_, std::nullopt);
}

void LabRun::host_ended(Host& host, int status) {
  if (host.child) take_output(host.output, *host.child);
  if (!host.output.pending.empty()) take_line(host.output, std::exchange(host.output.pending, {}));
  host.child.reset();
  host.runs_far = false;
  host.kill.reset();
  host.status = status;
  const bool was_starting = host.phase != Phase::ready;
  host.phase = Phase::ended;
  const bool ran = was_starting && host.spec->ready.when == LabReady::When::up && is_set_up(host);
  if (options_.far != nullptr) {
    if (ran && !host.was_ready) become_ready(host);
    host.phase = Phase::ended;
    tell_near({{"ended", host.spec->name}, {"status", status}, {"saw", host.saw_text}});
    return;  // the other controller decides
  }
  if (ending_) return;
  const LabHost& spec = *host.spec;
  const bool again = !host.told_to_end && host.restarts < spec.restarts &&
                     (spec.restart == LabRestart::always ||
                      (spec.restart == LabRestart::on_failure && status != 0));
  if (was_starting && !host.was_ready && !host.told_to_end) {
    // Without a condition, a host is ready when its program was started, however that ends.
    const bool done = host.saw_text || ran;
    if (!done && !again) {
      host.failure = end_text(status);
      fail_start("host " + spec.name + ' ' + end_text(status) + " before it was ready",
                 &host.output, status == kNotSupported ? kNotSupported : kFailed);
      return;
    }
    if (done) become_ready(host);
    host.phase = Phase::ended;
  }
  trigger(LabTrigger::What::host_ended, spec.name);
  if (again) {
    // 0.1 s, 0.2 s, ... 3.2 s: a program that cannot run does not take all of a CPU.
    host.again = Clock::now() + std::chrono::milliseconds(100U << std::min(host.restarts, 5U));
    ++host.restarts;
    say("host " + spec.name + ' ' + end_text(status) + "; it is started again");
  } else if (host.told_to_end) {
    say("host " + spec.name + " is stopped");
  } else {
    if (status != 0 && !spec.may_fail) host.failure = end_text(status);
    if (status != 0) say("host " + spec.name + ' ' + end_text(status));
  }
}

/// Adds a line to the timeline.
void LabRun::note(const std::string& what, bool applied, const std::string& result) {
  const std::chrono::nanoseconds since = Clock::now() - *ready_;
  results_.note(since, base::wall_clock_ns(), what, applied, result);
}

// ---- The terminal ----

void LabRun::say(const std::string& text) {
  progress_.clear();
  std::string line = std::string(program_name()) + ": " + text;
  std::ranges::replace_if(line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  errors().write(base::printable(line));
}

/// Begins to write to the standard streams as they are now.
void LabRun::open_streams() {
  struct stat output{};
  struct stat error{};
  const bool same = ::fstat(STDOUT_FILENO, &output) == 0 && ::fstat(STDERR_FILENO, &error) == 0 &&
                    output.st_dev == error.st_dev && output.st_ino == error.st_ino;
  out_ = PatientOutput(STDOUT_FILENO, " (the log of each host has all of its lines)");
  errors_.reset();  // one queue for one reader: the order of lines stays
  if (!same) errors_.emplace(STDERR_FILENO);
}

void LabRun::flush_streams() {
  out_.flush();
  note_lost_output();
  if (errors_) errors_->flush();
}

/// Waits for readers that are slow, at the end: until a signal comes, or the time limit is up.
void LabRun::finish_streams() {
  const Clock::time_point soon = Clock::now() + kTimeForReaders;
  const bool hurries =
      stop_.stopped() || timed_out_ || options_.news != nullptr || options_.far != nullptr;
  const Clock::time_point until = hurries  ? soon
                                  : limit_ ? std::max(*limit_, soon)
                                           : Clock::time_point::max();
  const auto is_enough = [&, was_stopped = stop_.stopped()] {
    return Clock::now() >= until || stop_.urged() || (stop_.stopped() && !was_stopped);
  };
  if (errors_) errors_->flush_until(is_enough);
  out_.flush_until(is_enough);
  const bool was_lost = output_lost_ != 0;
  note_lost_output();
  if (!was_lost && output_lost_ != 0 && !decides()) say(lost_output_text(output_lost_));
  if (const std::uint64_t lost = out_.give_up(); lost > 0 && errors_) {
    say("nobody read the last " + base::counted(lost, "line") +
        " of standard output (the log of each host has all of its lines)");
    errors_->flush();
  }
}

/// Notices when nobody can read standard output any more.
void LabRun::note_lost_output() {
  if (out_.failure() == 0 || output_lost_ != 0) return;
  output_lost_ = out_.failure();
  // A lab without an end of its own ends, as a program that only shows something does.
  if (decides())
    say(lost_output_text(output_lost_) + "; the lab goes on, and its logs have all of it");
}

/// "capture-all", or "capture-all on left" if there is one of the name on several buses.
std::string LabRun::name_of(const Helper& helper) const {
  const auto same = std::ranges::count(helpers_, helper.output.name,
                                       [](const Helper& each) { return each.output.name; });
  return helper.output.name + (same > 1 ? " on " + helper.bus : "");
}

/// What has to come before the lab is ready: "host a (tcp 80), host b (log started)". A host that
/// waits for another one is not named.
std::string LabRun::awaited() const {
  constexpr std::size_t kMaxNamed = 4;
  std::vector<std::string> all;
  all.reserve(machines_.size() + helpers_.size() + hosts_.size());
  for (const Machine& each : machines_) {
    if (!each.up) all.push_back("machine " + each.spec->name);
  }
  for (const Helper& each : helpers_) {
    if (!each.works) all.push_back(name_of(each));
  }
  for (const Host& each : hosts_) {
    if (each.was_ready || each.phase == Phase::waiting) continue;
    all.push_back("host " + each.spec->name + " (" + each.spec->ready.to_string() + ')');
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kMaxNamed); ++i) {
    text += (i == 0 ? "" : ", ") + all[i];
  }
  if (all.size() > kMaxNamed) text += " and " + std::to_string(all.size() - kMaxNamed) + " more";
  return text;
}

void LabRun::show_progress() {
  if (ready_) return;
  if (const Clock::time_point now = Clock::now(); now >= tell_awaited_) {
    tell_again_ *= 2;
    tell_awaited_ = now + tell_again_;
    if (const std::string text = awaited(); !text.empty()) {
      say("the lab " + lab_.name + " is not ready yet: it waits for " + text);
    }
  }
  if (!progress_.due()) return;
  const auto ready = std::ranges::count(hosts_, true, &Host::was_ready);
  std::string waits;
  for (const Host& host : hosts_) {
    if (host.was_ready || host.phase == Phase::waiting) continue;
    if (waits.size() > 60) {
      waits += ", ...";
      break;
    }
    waits += (waits.empty() ? "; waiting for " : ", ") + host.spec->name;
  }
  progress_.show("lab " + lab_.name + ": " + std::to_string(ready) + " of " +
                 std::to_string(hosts_.size()) + " hosts are ready" + waits);
}

}  // namespace shmif::tools
