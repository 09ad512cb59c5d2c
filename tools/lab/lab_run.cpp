// The controller of a lab: starts everything, and watches it.

#include "tools/lab/lab_run.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/text.hpp"
#include "base/wall_clock.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"
#include "tools/lab/host_words.hpp"

namespace shmif::tools {

namespace {

constexpr std::chrono::milliseconds kLongestReadyLook{100};

/// How many hosts may start at the same time. Each needs some 20 ms of a CPU; more at a time would
/// only wait for each other, and for the kernel's locks.
std::size_t starts_at_a_time() {
  return std::size_t{4} * std::max(2U, std::thread::hardware_concurrency());
}

/// What is in the place of a bus, and what to do about it.
std::string why_bus_is_there(const std::string& path, const std::string& lab) {
  const Result<Bus> bus = Bus::open(path);
  const BusInfo info = bus ? bus->info() : BusInfo{};
  const auto port = std::ranges::find_if(info.ports, &PortInfo::live);
  if (port != info.ports.end()) {
    return path + " is a bus that is in use, by the port \"" + port->name +
           "\" and perhaps others (another lab \"" + lab +
           "\" may run, of another user or with another XDG_RUNTIME_DIR: end it, or give this "
           "file another name = \"...\")";
  }
  return "there is a file " + path + " already (if nobody needs it, " +
         base::quote_command(bus ? "shmifctl destroy" : "rm", path) +
         "; or give the bus another path)";
}

/// S1: the controller of a lab has died.
void remove_remains(const std::string& folder, const LabState& state) {
  const Result<LabLock> lock = LabLock::wait(folder, state.name);
  const auto left = lock ? read_lab_state(folder, state.name) : std::nullopt;
  const bool ours = left && left->pid == state.pid && left->started == state.started;
  if (lock && (ours || !left)) remove_lab(folder, left ? *left : LabState{state.name, {}, {}});
}

}  // namespace

LabRun::LabRun(const Lab& lab, const LabRunOptions& options, const StopSignals& stop,
               LabResults results, std::string folder)
    : lab_(lab),
      options_(options),
      stop_(stop),
      results_(std::move(results)),
      folder_(std::move(folder)),
      out_(STDOUT_FILENO),
      colours_(shows_colours()),
      marks_(lab.hosts.size()) {
  open_streams();
  hosts_.reserve(lab.hosts.size());
  for (const LabHost& each : lab.hosts) {
    if (options.far != nullptr && each.machine.value != options.far->machine) continue;
    Host& host = hosts_.emplace_back();
    host.spec = &each;
    host.output.name = each.name;
    host.output.on_terminal = each.output_on_terminal;
    name_width_ = std::max(name_width_, std::min(each.name.size(), kWidestName));
  }
  if (options.far == nullptr) {
    events_.reserve(lab.events.size());
    for (const LabEvent& each : lab.events) events_.emplace_back().spec = &each;
    prepare_perfs();
  }
  test_output_.name = "test";
  if (options.time_limit) limit_ = begun_ + *options.time_limit;
  tell_awaited_ = begun_ + tell_again_;
}

int LabRun::run() {
  allow_all_descriptors();  // it needs three for each host
  const LabKeeper guardian("shmif-guardian", "the guardian of the lab", LabKeeper::Works::if_killed,
                           [this, state = state_now(false)] { remove_remains(folder_, state); });
  try {
    write_lab_state(folder_, state_now(false)).value();
    make_buses();
    if (options_.far == nullptr) {
      start_machines();
      start_helpers();
    } else {
      write_lab_state(folder_, state_now(true)).value();
      tell_near({{"up", true}});
    }
    while (!is_over()) {
      if (!ready_) {
        look_at_helpers();
        start_hosts_that_may();
        look_at_starting();
        if (all_ready()) {
          begin_ready();
          continue;  // a test that cannot run is over
        }
        show_progress();
      }
      do_due_events();
      watch(next_time());
    }
  } catch (const Exception& error) {
    const int code = exit_code_of(error.code());  // the command line is right: the lab is not
    fail_start(error.what(), nullptr, code == kWrongUsage ? kFailed : code);
  } catch (const std::exception& error) {
    fail_start(error.what(), nullptr, kFailed);
  }
  progress_.clear();
  if (!ready_) awaited_ = awaited();
  take_down();
  return report();
}

// ---- Starting ----

LabState LabRun::state_now(bool ready) const {
  LabState state;
  state.name = lab_.name;
  std::error_code ignored;
  state.file = std::filesystem::absolute(lab_.file, ignored).lexically_normal().string();
  state.results = results_.folder();
  state.results_are_temporary = options_.far != nullptr;
  state.pid = ::getpid();
  state.started = start_of_process(state.pid);
  state.ready = ready;
  state.buses = made_;
  state.groups = groups_;
  state.hosts.reserve(lab_.hosts.size());
  for (const LabHost& host : lab_.hosts) {
    if (!runs_here(host)) {
      if (options_.far == nullptr) state.far_hosts.push_back(host.name);
      continue;
    }
    LabStateHost& each = state.hosts.emplace_back();
    each.name = host.name;
    for (const LabInterface& interface : host.interfaces) each.buses.push_back(interface.bus.value);
  }
  return state;
}

/// A bus that is there already belongs to somebody else, even if a lab of this name made it: then
/// it was made again after that.
void LabRun::make_buses() {
  views_.resize(lab_.buses.size());
  for (std::size_t i = 0; i < lab_.buses.size(); ++i) {
    const LabBus& bus = lab_.buses[i];
    if (!needs_bus(bus)) continue;
    struct stat info{};
    if (::lstat(bus.path.c_str(), &info) == 0) {
      throw Exception(Error(Errc::exists, "cannot make bus." + bus.name + ": " +
                                              why_bus_is_there(bus.path, lab_.name)));
    }
    made_.push_back({bus.name, bus.path});
    write_lab_state(folder_, state_now(false)).value();
    const Result<void> made = Bus::create(bus.path, bus.options);
    if (!made) {
      if (made.error().code == Errc::exists) made_.pop_back();
      throw Exception(Error(made.error().code, "cannot make bus." + bus.name + ", " + bus.path +
                                                   ": " + made.error().message));
    }
    made_.back().file_id = file_id_of(bus.path);
    write_lab_state(folder_, state_now(false)).value();
    views_[i].emplace(Bus::open(bus.path).value());
  }
}

void LabRun::start_helper(Helper helper, std::vector<std::string> words, int on_death) {
  const ChildWish wish{.words = std::move(words), .folder = lab_.folder, .on_death = on_death};
  helper.child.emplace(LabChild::start(wish).value());
  helpers_.push_back(std::move(helper));
}

void LabRun::start_helpers() {
  for (const LabCapture& capture : lab_.captures) {
    const std::string name = "capture-" + capture.name;
    for (const LabName& bus : capture.buses) {
      const std::string file =
          capture.buses.size() > 1 ? lab_file_for_bus(capture.file, bus.value) : capture.file;
      std::vector<std::string> words{
          "dump", lab_.find_bus(bus.value)->path, "--name", name, "-w", results_.file(file)};
      if (!capture.filter.empty()) words.push_back(capture.filter);
      start_helper({.output = {.name = name, .on_terminal = false}, .bus = bus.value, .port = name},
                   std::move(words), SIGTERM);
    }
  }
  for (const LabGateway& gateway : lab_.gateways) {
    std::vector<std::string> words{"gateway", lab_.find_bus(gateway.bus.value)->path, "--port-name",
                                   gateway.name};
    if (!gateway.network.empty()) words.insert(words.end(), {"--network", gateway.network});
    start_helper({.output = {.name = gateway.name}, .bus = gateway.bus.value, .port = gateway.name},
                 std::move(words), SIGTERM);
  }
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const LabTrigger& wanted = events_[i].spec->trigger;
    if (wanted.what != LabTrigger::What::frame) continue;
    const std::string name = "at-" + std::to_string(i + 1);
    const std::string& bus = wanted.of.value;
    start_helper(
        {.output = {.name = name, .on_terminal = false}, .bus = bus, .port = name, .event = i},
        {"dump", lab_.find_bus(bus)->path, "--name", name, "-c", "1", wanted.text}, SIGKILL);
  }
}

/// The helpers come first, so a capture has every frame of the hosts.
void LabRun::look_at_helpers() {
  for (std::size_t i = 0; i < views_.size(); ++i) {
    const std::string& name = lab_.buses[i].name;
    const auto waits = [&](const Helper& each) { return !each.works && each.bus == name; };
    if (std::ranges::none_of(helpers_, waits)) continue;
    const BusInfo info = views_[i]->info();
    for (Helper& helper : helpers_) {
      if (!waits(helper)) continue;
      helper.works = std::ranges::any_of(info.ports, [&](const PortInfo& port) {
        return port.name == helper.port && port.live && port.up;
      });
    }
  }
}

bool LabRun::may_start(const Host& host) const {
  if (host.phase != Phase::waiting) return false;
  return std::ranges::all_of(host.spec->after, [&](const LabName& name) {
    return std::ranges::all_of(
        hosts_, [&](const Host& other) { return !other.is_named(name.value) || other.was_ready; });
  });
}

void LabRun::start_hosts_that_may() {
  if (options_.far != nullptr) return;  // the other controller says when
  if (!std::ranges::all_of(machines_, &Machine::up)) return;
  if (!std::ranges::all_of(helpers_, &Helper::works)) return;
  auto starting =
      static_cast<std::size_t>(std::ranges::count(hosts_, Phase::starting, &Host::phase));
  for (Host& host : hosts_) {
    if (starting >= starts_at_a_time()) return;
    if (!may_start(host)) continue;
    start_host(host);
    ++starting;
  }
}

LabRun::Environment LabRun::environment() const {
  return {{"SHMIF_LAB", lab_.name}, {"SHMIF_RESULTS", results_.folder()}};
}

LabRun::Environment LabRun::environment_of(const LabHost& host) const {
  Environment all = environment();
  all.emplace_back("SHMIF_HOST", host.name);
  all.insert(all.end(), host.environment.begin(), host.environment.end());
  return all;
}

/// The words that run a program in a host; those of the program follow.
std::vector<std::string> LabRun::enter_words(const LabHost& host) const {
  return {"enter", lab_.find_bus(host.interfaces.front().bus.value)->path, host.name, "--"};
}

void LabRun::start_host(Host& host) {
  host.phase = Phase::starting;
  host.told_to_end = false;
  host.saw_text = false;
  host.again.reset();
  host.kill.reset();
  host.begun = Clock::now();
  host.next_look = host.begun;
  if (!runs_here(*host.spec)) {
    host.runs_far = true;
    Json lines = Json::object();
    for (const LabInterface& each : host.spec->interfaces) {
      const auto line = lines_.find(host.spec->name + '.' + each.bus.value);
      if (line == lines_.end()) continue;
      lines[each.bus.value] = {{"down", line->second.link_down}, {"on", line->second.moved_to}};
      if (line->second.fault) lines[each.bus.value]["fault"] = *line->second.fault;
    }
    tell_machine(host.spec->machine.value, {{"start", host.spec->name}, {"lines", lines}});
    return;
  }
  const LabHost now = host_now(host);
  const std::size_t number = number_of(host);
  marks_.clear(number);
  ChildWish wish{.folder = lab_.folder};
  Environment own = environment_of(*host.spec);
  const bool is_container = host.spec->kind == LabHostKind::container;
  if (is_container) {
    wish.body = [this, now, number, own = std::move(own),
                 pid_file = results_.file(now.name + ".pid")] {
      return run_container(lab_, now, options_.seed, own, pid_file,
                           [this, number] { marks_.set(number); });
    };
    wish.on_death = SIGTERM;
  } else {
    wish.words = exec_words(lab_, now, options_.seed);
    const auto first = std::ranges::find_if(hosts_, [](const Host& each) {
      return each.spec->kind != LabHostKind::container && !each.is_far();
    });
    wish.in_host.tells_notes = options_.far != nullptr ? number == 0 : &*first == &host;
    wish.in_host.prepare = [this, now, number] {
      if (!make_lab_files(lab_, now) || !can_run_program(now, lab_.folder)) return false;
      marks_.set(number);
      return true;
    };
    wish.environment = std::move(own);
  }
  if (!is_container && (host.spec->memory_bytes || host.spec->cpus)) {
    Result<std::vector<std::string>> groups = make_lab_groups(lab_.name, *host.spec);
    if (groups) {
      wish.groups = *std::move(groups);
      for (const std::string& each : wish.groups) {
        if (std::ranges::find(groups_, each) == groups_.end()) groups_.push_back(each);
      }
      write_lab_state(folder_, state_now(ready_.has_value())).value();
    } else {
      say("warning: " + groups.error().message);
    }
  }
  host.child.emplace(LabChild::start(wish).value());
}

/// Whether this controller runs the host itself.
bool LabRun::runs_here(const LabHost& host) const noexcept {
  return host.machine.value == (options_.far == nullptr ? "" : options_.far->machine);
}

bool LabRun::needs_bus(const LabBus& bus) const {
  return options_.far == nullptr || lab_.spans(bus, *lab_.find_machine(options_.far->machine));
}

void LabRun::signal_host(const Host& host, int number) {
  if (host.child) host.child->signal(number);
  if (host.runs_far) {
    tell_machine(host.spec->machine.value, {{"signal", host.spec->name}, {"number", number}});
  }
}

/// Finds out which hosts are up, and which of these are ready.
void LabRun::look_at_starting() {
  const Clock::time_point now = Clock::now();
  const auto is_starting = [](const Host& host) {
    return host.phase == Phase::starting && host.child;
  };
  if (std::ranges::any_of(hosts_, is_starting)) {
    std::vector<std::map<std::string, bool>> up(views_.size());  // with or without carrier
    for (std::size_t i = 0; i < views_.size(); ++i) {
      if (!views_[i]) continue;
      for (const PortInfo& port : views_[i]->info().ports) {
        if (port.live && port.up) up[i].emplace(port.name, port.carrier);
      }
    }
    for (Host& host : hosts_) {
      if (!is_starting(host)) continue;
      const bool all = std::ranges::all_of(host.spec->interfaces, [&](const LabInterface& each) {
        const LineNow last = line_of(*host.spec, each.bus.value);
        const auto& ports = up[bus_of(last, each.bus.value)];
        const auto port = ports.find(host.spec->name);
        return port != ports.end() && (port->second || last.link_down);
      });
      if (all && is_set_up(host)) host.phase = Phase::up;
    }
  }
  for (Host& host : hosts_) {
    if (host.phase != Phase::up || now < host.next_look) continue;
    const std::chrono::nanoseconds since = now - host.begun;
    host.next_look =
        now + std::clamp<std::chrono::nanoseconds>(since / 8, kStartLook, kLongestReadyLook);
    const LabReady& ready = host.spec->ready;
    if (ready.when == LabReady::When::log && !host.saw_text) continue;
    if (ready.when != LabReady::When::up && ready.when != LabReady::When::log) {
      const auto init = init_of(host);
      if (!init || !is_lab_host_ready(*host.spec, *init)) continue;
    }
    become_ready(host);
  }
}

/// The first process of a host, which sees its files and its network.
std::optional<pid_t> LabRun::init_of(const Host& host) {
  if (!host.child) return std::nullopt;
  if (host.spec->kind != LabHostKind::container) return init_of_lab_host(host.child->pid());
  return pid_of_container(results_.file(host.spec->name + ".pid"));
}

void LabRun::become_ready(Host& host) {
  host.phase = Phase::ready;
  if (!host.was_ready) {
    host.seconds_to_ready = std::chrono::duration<double>(Clock::now() - host.begun).count();
  }
  host.was_ready = true;
  if (options_.far != nullptr) tell_near({{"ready", host.spec->name}});
  trigger(LabTrigger::What::host_ready, host.spec->name);
}

bool LabRun::all_ready() const {
  return options_.far == nullptr && std::ranges::all_of(helpers_, &Helper::works) &&
         std::ranges::all_of(hosts_, &Host::was_ready);
}

void LabRun::begin_ready() {
  ready_ = Clock::now();
  const std::uint64_t wall_ns = base::wall_clock_ns();
  progress_.clear();
  write_lab_state(folder_, state_now(true)).value();
  const double seconds = std::chrono::duration<double>(*ready_ - begun_).count();
  char time[32];
  std::snprintf(time, sizeof time, "%.2f s", seconds);
  say("lab " + lab_.name + " is up after " + time + ": " + base::counted(hosts_.size(), "host") +
      " on " + base::counted(lab_.buses.size(), "bus", "buses"));
  results_.note(std::chrono::nanoseconds(0), wall_ns, "ready", true, std::string("after ") + time);
  for (Event& event : events_) {
    if (event.spec->trigger.what == LabTrigger::What::ready) {
      event.triggered = true;
      event.delay = event.spec->trigger.then;
    }
    if (event.triggered) event.due = *ready_ + event.delay;
  }
  for (Perf& each : perfs_) {
    if (!each.is_of_event) start_perf(each);
  }
  if (options_.news != nullptr) {
    tell_news(0);
  } else if (lab_.test) {
    start_test();
  }
}

void LabRun::start_test() {
  const LabHost* const host = lab_.find_hosts(lab_.test->host.value).front();
  const Host* const runs_it = host_of_test();
  if (runs_it != nullptr && !runs_it->runs() && !runs_it->again) {
    test_failure_ =
        "cannot run: its host " + host->name + ' ' + end_text(runs_it->status) + " before it";
    test_status_ = kOwnFailure;
    return;
  }
  ChildWish wish{
      .words = enter_words(*host), .folder = lab_.folder, .environment = environment_of(*host)};
  wish.words.insert(wish.words.end(),
                    {"sh", "-c", R"(cd "$0" && exec sh -c "$1")", lab_.folder, lab_.test->run});
  test_begun_ = Clock::now();
  test_.emplace(LabChild::start(wish).value());
}

void LabRun::fail_start(const std::string& why, const LabOutput* output, int code) {
  if (!start_failure_.empty()) return;
  progress_.clear();
  start_failure_ = why;
  start_code_ = code;
  std::string text = "cannot start the lab " + lab_.name + ": " + why;
  if (ready_) text = "the lab " + lab_.name + " ends: " + why;
  say(text);
  if (output == nullptr) return;
  for (const std::string& line : output->last) {
    errors().write("  " + output->name + " | " + base::printable(line));
  }
}

}  // namespace shmif::tools
