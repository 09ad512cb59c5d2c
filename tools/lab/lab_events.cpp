// The controller of a lab: what `at` says.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/text.hpp"
#include "shmif/control/change.hpp"
#include "shmif/control/change_text.hpp"
#include "tools/common/command.hpp"
#include "tools/lab/keys.hpp"
#include "tools/lab/lab_run.hpp"

namespace shmif::tools {

namespace {

constexpr std::chrono::seconds kTimeToEnd{2};
constexpr std::chrono::seconds kTimeForContainer{20};  // podman is slow

/// The first line of what a command said, without the name of the program.
std::string first_line_of(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  const std::string prefix = std::string(program_name()) + ": ";
  if (line.starts_with(prefix)) line.erase(0, prefix.size());
  return line;
}

}  // namespace

// ---- When ----

/// Something has happened: events that wait for it are due.
void LabRun::trigger(LabTrigger::What what, const std::string& name, std::string_view line) {
  for (Event& event : events_) {
    const LabTrigger& wanted = event.spec->trigger;
    if (event.triggered || wanted.what != what || ending_) continue;
    const std::vector<const LabHost*> hosts = lab_.find_hosts(wanted.of.value);
    const bool named =
        wanted.of.value == name ||
        std::ranges::any_of(hosts, [&](const LabHost* const each) { return each->name == name; });
    if (!named) continue;
    if (what == LabTrigger::What::log && line.find(wanted.text) == std::string_view::npos) continue;
    arm(event, Clock::now());
  }
}

/// What happens before the lab is ready takes effect when it is.
void LabRun::arm(Event& event, Clock::time_point now) {
  event.triggered = true;
  event.delay = event.spec->trigger.then;
  event.due = now + event.delay;
}

/// Events happen in the order in which they are due, each when those before it are finished: a host
/// is not stopped while an earlier change of its line is under way.
void LabRun::do_due_events() {
  if (!ready_ || ending_) return;
  const Clock::time_point now = Clock::now();
  std::vector<std::size_t> due;
  due.reserve(events_.size());
  for (std::size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].triggered && !events_[i].queued && now >= events_[i].due) due.push_back(i);
  }
  std::ranges::sort(due, {}, [this](std::size_t i) { return std::pair(events_[i].due, i); });
  for (const std::size_t i : due) {
    events_[i].queued = true;
    due_events_.push_back(i);
  }
  go_on_with_events();
}

/// Takes the result of the change under way, and begins what comes next.
void LabRun::go_on_with_events() {
  for (;;) {  // each turn ends a change, or begins a change or an event
    if ((change_ || far_change_) && !take_change()) return;
    if (!changes_.empty()) {
      begin_change();
    } else if (!due_events_.empty()) {
      const std::size_t index = due_events_.front();
      due_events_.pop_front();
      do_event(index);
    } else {
      return;
    }
  }
}

// ---- What ----

void LabRun::do_event(std::size_t index) {
  events_[index].done = true;
  events_[index].begun = Clock::now();
  const LabEvent& event = *events_[index].spec;
  if (start_or_stop_perf(index, event)) return;
  if (event.what == LabEvent::What::stop) return stop_host(index, event.host.value);
  if (event.what == LabEvent::What::start) return start_again(index, event.host.value);
  std::vector<std::vector<std::string>> commands = changes_for(event);
  const std::string machine = machine_of(event);
  for (std::size_t i = 0; i < commands.size(); ++i) {
    changes_.push_back({index, std::move(commands[i]), machine, i + 1 == commands.size()});
  }
}

/// Where the host of a line is.
std::string LabRun::machine_of(const LabEvent& event) const {
  const std::vector<const LabHost*> hosts = lab_.find_hosts(event.host.value);
  return hosts.empty() ? "" : hosts.front()->machine.value;
}

/// The commands of shmifctl that make the change. They are asked one after the other, so that
/// changes take effect in their order.
std::vector<std::vector<std::string>> LabRun::changes_for(const LabEvent& event) const {
  std::vector<std::vector<std::string>> commands;
  const auto path = [this, machine = machine_of(event)](const std::string& bus) {
    if (!machine.empty()) return far_bus_path(lab_, machine, bus);
    return bus.empty() ? lab_.buses.front().path : lab_.find_bus(bus)->path;
  };
  if (event.what == LabEvent::What::heal) return {{"heal", path(event.bus.value)}};
  if (event.what == LabEvent::What::partition) {
    std::vector<std::string> words{"partition", path(event.bus.value)};
    for (const std::vector<std::string>& group : event.groups()) {
      if (words.size() > 2) words.emplace_back("/");
      std::string& names = words.emplace_back();
      for (const std::string& name : group) {
        for (const LabHost* const host : lab_.find_hosts(name))
          names += (names.empty() ? "" : ",") + host->name;
      }
    }
    return {std::move(words)};
  }
  for (const LabHost* const host : lab_.find_hosts(event.host.value)) {
    const std::string bus =
        event.bus.value.empty() ? host->interfaces.front().bus.value : event.bus.value;
    const std::string moved_to = line_of(*host, bus).moved_to;
    const std::string at = path(moved_to.empty() ? bus : moved_to);
    switch (event.what) {
      case LabEvent::What::down: commands.push_back({"link", at, host->name, "--down"}); break;
      case LabEvent::What::up: commands.push_back({"link", at, host->name, "--up"}); break;
      case LabEvent::What::fault:
        commands.push_back({"fault", at, host->name,
                            options_.seed
                                ? with_seed(event.text, *options_.seed, host->name + "." + bus)
                                : event.text});
        break;
      case LabEvent::What::move:
        commands.push_back({"move", at, host->name, path(event.text)});
        break;
      default: break;
    }
  }
  return commands;
}

LabRun::LineNow LabRun::line_of(const LabHost& host, const std::string& bus) const {
  const auto line = lines_.find(host.name + '.' + bus);
  return line == lines_.end() ? LineNow() : line->second;
}

/// The number of the bus that a line is on.
std::size_t LabRun::bus_of(const LineNow& line, const std::string& bus) const {
  const std::string& now = line.moved_to.empty() ? bus : line.moved_to;
  return static_cast<std::size_t>(lab_.find_bus(now) - lab_.buses.data());
}

/// Keeps what a change has made of a line.
void LabRun::note_line(const Change& change) {
  const LabEvent& event = *events_[change.event].spec;
  for (const LabHost* const host : lab_.find_hosts(event.host.value)) {
    if (host->name != change.words.at(2)) continue;
    const std::string& bus =
        event.bus.value.empty() ? host->interfaces.front().bus.value : event.bus.value;
    LineNow& line = lines_[host->name + '.' + bus];
    switch (event.what) {
      case LabEvent::What::down:
      case LabEvent::What::up: line.link_down = event.what == LabEvent::What::down; break;
      case LabEvent::What::fault: line.fault = change.words.at(3); break;
      case LabEvent::What::move: line.moved_to = event.text; break;
      default: break;
    }
  }
}

/// The journal of the bus also has what others have changed. An entry that is too long for it ends
/// in "...": then the line stays as an event has made it.
void LabRun::take_changes_by_hand(const LabInterface& interface, const std::string& host) {
  LineNow& line = lines_[host + '.' + interface.bus.value];
  const auto& view = views_[bus_of(line, interface.bus.value)];
  if (!view) return;
  for (const BusChange& each : changes(*view)) {
    if (each.port != host || each.text.ends_with("...")) continue;
    const auto change = parse_change(each.text);
    if (!change) continue;
    if (change->kind == shmif::Change::Kind::fault) line.fault = change->value;
    if (change->kind == shmif::Change::Kind::link) line.link_down = !change->up;
  }
}

/// The host as it is started now: with the lines that it had when it ended.
LabHost LabRun::host_now(const Host& host) {
  LabHost now = *host.spec;
  for (LabInterface& interface : now.interfaces) {
    if (host.was_ready) take_changes_by_hand(interface, now.name);
    const LineNow& line = lines_[now.name + '.' + interface.bus.value];
    if (line.fault) interface.fault = *line.fault;
    interface.link_down = line.link_down;
    interface.moved_to = line.moved_to;
  }
  return now;
}

/// Result: false if the change under way has not ended.
bool LabRun::take_change() {
  const auto status = change_ ? change_->take_end() : far_change_->status;
  if (!status) return false;
  if (change_) change_->read_output(change_text_);
  change_.reset();
  far_change_.reset();
  const Change done = std::move(changes_.front());
  changes_.pop_front();
  const bool applied = *status == 0;
  if (applied) note_line(done);
  std::string& result = events_[done.event].result;
  if (!applied || result.empty()) result = first_line_of(change_text_);
  if (!applied) changes_.clear();  // the rest of an event that has failed does not happen
  if (applied && done.is_last) {
    // The answer is about one line; the event is about those of a whole `count`.
    const LabEvent& event = *events_[done.event].spec;
    if (const std::size_t all = lab_.find_hosts(event.host.value).size(); all > 1)
      result += ", and " + base::counted(all - 1, "more line");
  }
  if (!applied || done.is_last) finish_event(done.event, applied, result);
  return true;
}

void LabRun::begin_change() {
  change_text_.clear();
  if (const std::string& machine = changes_.front().machine; !machine.empty()) {
    change_on(machine);
    return;
  }
  change_.emplace(
      LabChild::start({.words = changes_.front().words, .folder = lab_.folder}).value());
}

void LabRun::finish_event(std::size_t index, bool applied, const std::string& result) {
  Event& event = events_[index];
  event.finished = true;
  event.seconds = std::chrono::duration<double>(Clock::now() - event.begun).count();
  event.applied = applied;
  event.result = result;
  const std::string what = event.spec->to_string();
  note(what, applied, result);
  say("at " + std::to_string(index + 1) + ": " + what + (applied ? "" : " failed: " + result));
}

void LabRun::stop_host(std::size_t index, const std::string& name) {
  bool any = false;
  bool cancelled = false;  // the restart of one that waits for it
  for (Host& host : hosts_) {
    if (!host.is_named(name)) continue;
    if (std::exchange(host.again, std::nullopt)) cancelled = true;
    if (!host.runs()) continue;
    host.told_to_end = true;
    signal_host(host, SIGTERM);
    host.kill =
        Clock::now() + (host.spec->kind == LabHostKind::container ? kTimeForContainer : kTimeToEnd);
    any = true;
  }
  finish_event(index, any || cancelled,
               any         ? "it was told to end"
               : cancelled ? "it is not started again"
                           : "the host does not run");
}

void LabRun::start_again(std::size_t index, const std::string& name) {
  std::string runs;
  for (Host& host : hosts_) {
    if (!host.is_named(name)) continue;
    if (host.runs()) {
      runs = host.spec->name;
    } else {
      start_host(host);
    }
  }
  finish_event(index, runs.empty(), runs.empty() ? "started" : "host " + runs + " runs already");
}

// The controller of a lab: its runs of shmifperf.

void LabRun::prepare_perfs() {
  perfs_.reserve(lab_.perfs.size());
  for (const LabPerf& each : lab_.perfs) {
    Perf& perf = perfs_.emplace_back();
    perf.spec = &each;
    perf.output.name = each.name;
    name_width_ = std::max(name_width_, std::min(each.name.size(), kWidestName));
    perf.is_of_event = std::ranges::any_of(lab_.events, [&](const LabEvent& event) {
      return event.what == LabEvent::What::start && event.host.value == each.name;
    });
  }
}

void LabRun::start_perf(Perf& perf) {
  const LabPerf& spec = *perf.spec;
  ChildWish wish{.folder = lab_.folder};
  const std::string program = find_shmifperf().value();
  std::vector<std::string> words = perf_words(lab_, spec, results_.folder());
  results_.file(spec.name + ".json");  // remove() removes these, too
  results_.file(spec.name + ".html");
  if (spec.host.value.empty()) {
    wish.program = program;
    wish.words = std::move(words);
    wish.environment = environment();
  } else {
    const LabHost& host = *lab_.find_hosts(spec.host.value).front();
    wish.words = enter_words(host);
    wish.words.push_back(program);
    wish.words.insert(wish.words.end(), words.begin(), words.end());
    wish.environment = environment_of(host);
  }
  perf.begun = Clock::now();
  perf.has_begun = true;
  perf.makes_page = false;
  perf.told_to_end = false;
  perf.status.reset();
  perf.kill.reset();
  perf.child.emplace(LabChild::start(wish).value());
}

/// After a run, makes its page. That this fails fails the run only if the run itself did not.
void LabRun::perf_ended(Perf& perf, int status) {
  take_rest(perf.output, *perf.child);
  perf.child.reset();
  perf.kill.reset();
  const std::string json = results_.file(perf.spec->name + ".json");
  if (!perf.makes_page) {
    if (status == 0 || !ending_) perf.status = status;
    perf.seconds = std::chrono::duration<double>(Clock::now() - perf.begun).count();
    const bool counts = !ending_ && !perf.told_to_end;
    if (status != 0 && counts && perf.failure.empty()) perf.failure = end_text(status);
    note("perf " + perf.spec->name, status == 0 || !counts, end_text(status));
    if (status != 0 && counts) say("perf " + perf.spec->name + ' ' + end_text(status));
    if (::access(json.c_str(), R_OK) == 0) {
      const std::string page = results_.file(perf.spec->name + ".html");
      const ChildWish wish{.program = find_shmifperf().value(),
                           .words = {"report", json, "-o", page},
                           .folder = lab_.folder};
      perf.makes_page = true;
      perf.child.emplace(LabChild::start(wish).value());
      return;
    }
  } else if (status != 0 && perf.failure.empty()) {
    perf.failure = "has no page: shmifperf report " + end_text(status);
  }
  trigger(LabTrigger::What::host_ended, perf.spec->name);
}

/// Whether no run of shmifperf is left to wait for. With a test, an event that has not come need
/// not come any more.
bool LabRun::perfs_are_over() const {
  return std::ranges::all_of(perfs_, [this](const Perf& perf) {
    if (perf.child) return false;
    if (perf.has_begun) return true;
    const auto may_start = [&](const Event& event) {
      return event.spec->what == LabEvent::What::start &&
             event.spec->host.value == perf.spec->name && !event.done &&
             (event.triggered || !lab_.test);
    };
    return std::ranges::none_of(events_, may_start);
  });
}

/// Does what an event wants of a run of shmifperf. Result: false if it wants something else.
bool LabRun::start_or_stop_perf(std::size_t index, const LabEvent& event) {
  const auto found = std::ranges::find_if(
      perfs_, [&](const Perf& each) { return each.spec->name == event.host.value; });
  if (found == perfs_.end()) return false;
  Perf& perf = *found;
  const bool runs = perf.child.has_value();
  if (event.what == LabEvent::What::start) {
    if (!runs) start_perf(perf);
    finish_event(index, !runs, runs ? "perf " + event.host.value + " runs already" : "started");
    return true;
  }
  if (runs && !perf.makes_page) {
    perf.told_to_end = true;
    perf.child->signal(SIGTERM);
    perf.kill = Clock::now() + kTimeForPerfs;
  }
  finish_event(index, runs,
               runs ? "it was told to end" : "perf " + event.host.value + " does not run");
  return true;
}

LabCase LabRun::case_of(const Perf& perf) const {
  LabCase row{"perf " + perf.spec->name, perf.failure, perf.seconds};
  row.output = perf.output.last_lines();
  if (row.failure.empty() && !perf.status) {
    (perf.has_begun && timed_out_ ? row.failure : row.skipped) =
        perf.has_begun ? "the lab ended before it" : "it was not started";
  }
  return row;
}

}  // namespace shmif::tools
