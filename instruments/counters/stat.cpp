#include "instruments/counters/stat.hpp"

#include <linux/perf_event.h>
#include <algorithm>
#include <array>
#include <cerrno>

#include "base/quantity.hpp"
#include "instruments/counters/event_text.hpp"
#include "instruments/counters/sample.hpp"

namespace shmif::perf {
namespace {

void refuse(StatEvent& event, const Refusal& refusal) {
  switch (refusal.state) {
    case Refusal::State::not_supported: event.state = "not supported"; break;
    case Refusal::State::not_permitted: event.state = "not permitted"; break;
    case Refusal::State::failed: event.state = "failed"; break;
  }
  event.reason = refusal.reason;
  event.enable_with = refusal.enable_with;
}

/// Whether the kernel refused because of the event itself. Other reasons: the target has ended, or
/// this process has run out of descriptors.
bool is_of_event(const VectorFault& fault) {
  return fault.number != ESRCH && fault.number != EMFILE;
}

const StatEvent* measured(const StatResult& result, std::string_view name) {
  const auto found = std::ranges::find_if(result.events, [&](const StatEvent& each) {
    return std::string_view(each.name).substr(0, each.name.find(':')) == name && each.value;
  });
  return found == result.events.end() ? nullptr : &*found;
}

Result<StatEvent> found_event(const EventNames& names, const std::string& word, unsigned set) {
  StatEvent event{word, set};
  auto found = names.find(word);
  if (found) {
    event.unit = found->unit;
    event.source = found->source;
    event.event = *std::move(found);
    return event;
  }
  const std::error_code code = found.error().code;
  const bool refused =
      code == std::errc::permission_denied || code == std::errc::operation_not_permitted;
  if (!refused && code != make_error_code(Errc::not_supported)) return std::move(found).error();
  event.state = refused ? "not permitted" : "not supported";
  event.reason = found.error().message;
  if (refused) event.enable_with = "root";
  return event;
}

}  // namespace

Result<std::vector<StatEvent>> find_stat_events(const EventNames& names,
                                                std::span<const std::string> lists) {
  std::vector<StatEvent> events;
  unsigned set = 0;
  for (const std::string& list : lists) {
    const auto sets = split_event_sets(list);
    if (!sets) return sets.error();
    for (const std::vector<std::string>& words : *sets) {
      for (const std::string& word : words) {
        auto each = found_event(names, word, set);
        if (!each) return std::move(each).error();
        events.push_back(*std::move(each));
      }
      ++set;
    }
  }
  return events;
}

/// Adds all events that were not refused to `session`, which is empty.
Result<void> StatRun::program(CounterSession& session) {
  std::vector<EventSetup> setups;
  std::vector<SetSetup> sets;
  counted_.clear();
  set_ids_.clear();
  for (std::size_t at = 0; at < events_.size(); ++at) {
    const StatEvent& each = events_[at];
    if (!each.event || !each.state.empty()) continue;
    if (set_ids_.empty() || set_ids_.back() != each.set) {
      sets.push_back({static_cast<unsigned>(set_ids_.size()), options_.turn});
      set_ids_.push_back(each.set);
    }
    setups.push_back({*each.event, sets.back().id});
    counted_.push_back(at);
  }
  // A single set has no set to switch to, and the kernel would stop it at each overflow.
  for (const SetSetup& each : sets) {
    if (!options_.switch_event || sets.size() == 1) break;
    const Sampling at_overflow{.period = options_.switch_period, .switch_set = true};
    setups.push_back({*options_.switch_event, each.id, at_overflow});
  }
  if (auto made = session.create_sets(sets); !made) return made;
  auto programmed = session.program(setups);
  return programmed ? Result<void>() : Result<void>(programmed.error());
}

/// The error if the kernel refuses the event that switches sets.
Error StatRun::cannot_switch(const VectorFault& fault) {
  return {Errc::not_supported, "cannot switch event sets at " + options_.switch_event->name + ": " +
                                   fault.refusal.reason +
                                   (fault.refusal.enable_with.empty()
                                        ? ""
                                        : " (to change that: " + fault.refusal.enable_with + ')')};
}

/// Records a failed load as the reason of the refused events. Result: whether to try again without
/// them.
bool StatRun::take_refusal(const CounterTarget& target, const Error& error,
                           const std::optional<VectorFault>& fault) {
  const int number = fault ? fault->number : error.code.value();
  const bool denied = number == EACCES || number == EPERM;
  const bool cpus = target.kind == CounterTarget::Kind::cpu;
  const auto owner = denied && !cpus ? kernel_->other_owner(target.task.number) : std::nullopt;
  if (!fault) {
    // The kernel refused even the session's own clock: a container may forbid all events.
    const bool all = error.code.category() == std::generic_category() &&
                     (denied || number == ENOSYS) && !counted_.empty();
    for (const std::size_t at : counted_) {
      if (!all) continue;
      refuse(events_[at], owner ? foreign_refusal(*owner)
                                : explain_refusal(number, *events_[at].event, {.whole_cpu = cpus}));
    }
    return all;
  }
  if (!is_of_event(*fault)) return false;
  if (fault->element >= counted_.size()) {
    CounterEvent& event = *options_.switch_event;
    if (!denied || owner || cpus || event.exclude_kernel || !happens_in_user_space(event)) {
      return false;
    }
    event.exclude_kernel = true;
    event.exclude_hypervisor = true;
    return true;
  }
  StatEvent& refused = events_[counted_[fault->element]];
  // For whole CPUs, asking for user space only does not help: the kernel requires the same right.
  const bool whole_cpu = cpus || !refused.event->cpus.empty();
  if (denied && !owner && !whole_cpu && !refused.event->exclude_kernel &&
      happens_in_user_space(*refused.event)) {
    refused.event->exclude_kernel = true;
    refused.event->exclude_hypervisor = true;
    if (!is_software_clock(*refused.event)) {
      refused.note = user_space_note(*refused.event);
      refused.source += user_space_source(*refused.event);
    }
  } else {
    refuse(refused, fault->refusal);
  }
  return true;
}

/// Result: false if events were refused; then try again without them.
Result<bool> StatRun::load_one(const CounterTarget& target, KernelCounters& kernel) {
  // Small rings suffice because they are emptied often. There is one for each set, thread and CPU.
  constexpr std::uint32_t kRingPages = 1;
  CounterSession session =
      session_over({.group = options_.group, .ring_pages = kRingPages}, kernel);
  if (auto programmed = program(session); !programmed) return std::move(programmed).error();
  if (counted_.empty()) return true;
  std::optional<VectorFault> fault;
  if (auto loaded = session.load(target, &fault); !loaded) {
    if (take_refusal(target, loaded.error(), fault)) return false;
    if (fault && is_of_event(*fault) && fault->element >= counted_.size()) {
      return cannot_switch(*fault);
    }
    return std::move(loaded).error();
  }
  sessions_.push_back(std::move(session));
  return true;
}

Result<void> StatRun::load(std::span<const CounterTarget> targets, KernelCounters& kernel) {
  for (std::size_t at = 0; at < targets.size();) {
    auto loaded = load_one(targets[at], kernel);
    if (!loaded) return std::move(loaded).error();
    if (*loaded) {
      ++at;
      continue;
    }
    // All sessions must have the same events, so start again with the first.
    sessions_.clear();
    at = 0;
  }
  return {};
}

/// Leaves out events that count whole CPUs if there are several processes, or if the user asked for
/// other CPUs.
void StatRun::leave_out_foreign(std::size_t processes) {
  const auto is_ours = [&](int cpu) {
    return options_.cpus.empty() || std::ranges::find(options_.cpus, cpu) != options_.cpus.end();
  };
  for (StatEvent& each : events_) {
    if (!each.event || each.event->cpus.empty()) continue;
    const int first = each.event->cpus.front();
    if (options_.cpus.empty() && processes > 1) {
      each.reason = "it counts whole CPUs: give one process, not several";
    } else if (std::ranges::none_of(each.event->cpus, is_ours)) {
      each.reason = "it cannot be counted on the given CPUs, but on CPU " + std::to_string(first);
    } else {
      continue;
    }
    each.state = "not supported";
  }
}

Result<StatRun> StatRun::start(std::vector<StatEvent> events, std::span<const TaskId> processes,
                               const StatOptions& options, KernelCounters& kernel) {
  StatRun run;
  run.kernel_ = &kernel;
  run.options_ = options;
  run.events_ = std::move(events);
  run.leave_out_foreign(processes.size());
  const auto targets = target_list(processes, options.cpus, options.on_exec);
  if (auto loaded = run.load(targets, kernel); !loaded) return std::move(loaded).error();
  run.begin_ = std::chrono::steady_clock::now();
  for (CounterSession& session : run.sessions_) {
    auto started = session.start();
    // If a target has already ended, that is noticed at the end of the run.
    if (!started && session.state() != SessionState::ended) return std::move(started).error();
  }
  return run;
}

Result<void> StatRun::add_values(CounterSession& session, StatResult& result) {
  std::vector<Reading> readings(counted_.size());
  for (std::size_t at = 0; at < readings.size(); ++at) readings[at].event = at;
  const bool stop = options_.stop_target && session.state() == SessionState::started;
  if (auto read = session.read(readings, stop); !read) return read;
  const auto clock = session.clock_ns();
  if (!clock) return clock.error();
  result.clock_ns += *clock;
  for (std::size_t at = 0; at < counted_.size(); ++at) {
    StatEvent& each = result.events[counted_[at]];
    const Reading& reading = readings[at];
    result.one_instant = result.one_instant && reading.one_instant;
    // With several sets, an event should count all the time, but counts only in its set's turns.
    const std::uint64_t enabled = set_ids_.size() > 1 ? *clock : reading.enabled_ns;
    each.enabled_ns = each.enabled_ns.value_or(0) + enabled;
    each.running_ns = each.running_ns.value_or(0) + reading.running_ns;
    if (!reading.scaled) continue;
    each.scaled = each.scaled || reading.running_ns < enabled;
    each.value = each.value.value_or(0) + *reading.scaled * each.event->scale;
  }
  return {};
}

/// Leaves out events of a CPU that went offline meanwhile: their counts are incomplete.
void StatRun::leave_out_offline(StatResult& result) const {
  const std::vector<int> online = kernel_->online_cpus();
  if (online.empty()) return;
  for (StatEvent& each : result.events) {
    if (!each.event || !each.state.empty()) continue;
    const std::vector<int>& cpus = each.event->cpus.empty() ? options_.cpus : each.event->cpus;
    const auto gone = std::ranges::find_if(
        cpus, [&](int cpu) { return std::ranges::find(online, cpu) == online.end(); });
    if (gone == cpus.end()) continue;
    each.value.reset();
    each.state = "not counted";
    each.reason =
        "CPU " + std::to_string(*gone) + " went offline while the event was counted there";
  }
}

/// Adds how often each set had its turn, and for how long, over all sessions.
void StatRun::add_sets(StatResult& result) {
  if (set_ids_.size() < 2) return;
  for (const unsigned id : set_ids_) result.sets.push_back({id});
  for (CounterSession& session : sessions_) {
    std::vector<SetQuery> queries(set_ids_.size());
    for (unsigned id = 0; id < queries.size(); ++id) queries[id].id = id;
    if (!session.query_sets(queries)) continue;
    for (std::size_t at = 0; at < queries.size(); ++at) {
      result.sets[at].events = queries[at].events;
      result.sets[at].activations += queries[at].activations;
      result.sets[at].active_ns += queries[at].active_ns;
    }
  }
}

void StatRun::look() {
  class Nobody final : public SampleSink {
    void sample(const Sample& /*sample*/) override {}
  } nobody;
  if (!options_.switch_event) return;
  for (CounterSession& session : sessions_) (void)session.read_samples(nobody);
}

Result<StatResult> StatRun::finish() {
  StatResult result;
  result.events = events_;
  result.cpus = options_.cpus;
  result.one_instant = true;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  result.elapsed_s = elapsed.count();
  for (CounterSession& session : sessions_) {
    if (!options_.stop_target && session.state() == SessionState::started) (void)session.stop();
    if (auto added = add_values(session, result); !added) return std::move(added).error();
  }
  add_sets(result);
  leave_out_offline(result);
  for (StatEvent& each : result.events) {
    if (each.value || !each.state.empty()) continue;
    each.state = "not counted";
    each.reason = each.enabled_ns.value_or(0) == 0
                      ? "the target did not run while the event was to count"
                  : set_ids_.size() > 1 ? "its event set had no turn while the target ran"
                                        : "other events had the counters all the time";
  }
  result.derived = derived_figures(result);
  return result;
}

std::vector<DerivedFigure> derived_figures(const StatResult& result) {
  struct Ratio {
    const char* name;
    const char* above;
    const char* below;
    double factor;
    const char* unit;
  };
  constexpr double kPercent = 100;
  constexpr std::array kRatios = {
      Ratio{"instructions per cycle", "instructions", "cycles", 1, ""},
      Ratio{"cache misses of references", "cache-misses", "cache-references", kPercent, "%"},
      Ratio{"branch misses of branches", "branch-misses", "branches", kPercent, "%"},
      Ratio{"stalled cycles, front end", "stalled-cycles-frontend", "cycles", kPercent, "%"},
      Ratio{"stalled cycles, back end", "stalled-cycles-backend", "cycles", kPercent, "%"},
  };
  std::vector<DerivedFigure> figures;
  constexpr double kNsPerS = 1e9;
  const StatEvent* const clock = measured(result, "task-clock");
  if (clock != nullptr && result.elapsed_s > 0) {
    figures.push_back({"CPUs used", *clock->value / kNsPerS / result.elapsed_s, ""});
  }
  for (const Ratio& ratio : kRatios) {
    const StatEvent* const above = measured(result, ratio.above);
    const StatEvent* const below = measured(result, ratio.below);
    if (above == nullptr || below == nullptr || *below->value <= 0) continue;
    figures.push_back({ratio.name, *above->value / *below->value * ratio.factor, ratio.unit});
  }
  const StatEvent* const cycles = measured(result, "cycles");
  if (cycles != nullptr && clock != nullptr && *clock->value > 0) {
    figures.push_back({"cycles per ns", *cycles->value / *clock->value, "GHz"});
  }
  return figures;
}

namespace {

constexpr const char* kParanoid = "/proc/sys/kernel/perf_event_paranoid";
constexpr const char* kSymbols = "/proc/kallsyms";
constexpr const char* kCorePmu = "/sys/bus/event_source/devices/cpu";

CounterEvent event_of(std::uint32_t type, std::uint64_t config) {
  CounterEvent event;
  event.type = type;
  event.config = config;
  event.exclude_kernel = true;
  event.exclude_hypervisor = true;
  return event;
}

void apply(const Refusal& refusal, Capability& capability) {
  const bool permitted = refusal.state != Refusal::State::not_permitted;
  capability.state = permitted ? Support::not_supported : Support::not_permitted;
  capability.reason = "perf_event_open: " + refusal.reason;
  capability.enable_with = refusal.enable_with;
}

/// Asks the kernel for this event on the calling thread.
Capability asked(const std::string& name, CounterEvent event, const Sampling& sampling,
                 KernelCounters& kernel) {
  Capability capability{name, Support::supported, {}, {}};
  for (const bool with_kernel : {true, false}) {
    // A tracepoint lies in the kernel: user space never reaches it.
    if (!with_kernel && event.type == PERF_TYPE_TRACEPOINT) break;
    event.exclude_kernel = !with_kernel;
    CounterSession session = session_over({.ring_pages = 1}, kernel);
    const std::array setup{EventSetup{event, 0, sampling}};
    std::optional<VectorFault> fault;
    const auto programmed = session.program(setup);
    const auto loaded = session.load(CounterTarget::thread({}), &fault);
    if (programmed && loaded) {
      if (with_kernel) return capability;
      capability = {
          name,
          Support::supported,
          "in user space only (with the modifier u, as in page-faults:u), so without context "
          "switches and migrations: kernel.perf_event_paranoid is above 1",
          {}};
      capability.enable_with = "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
      return capability;
    }
    if (fault) {
      apply(fault->refusal, capability);
    } else if (!loaded) {
      capability.state =
          is_refusal(loaded.error().code.value()) ? Support::not_permitted : Support::not_supported;
      capability.reason = loaded.error().message;
    }
    if (capability.state != Support::not_permitted) return capability;
  }
  return capability;
}

Capability tracepoints(const KernelFiles& files, KernelCounters* kernel) {
  Capability capability{"counters.tracepoints", Support::supported, {}, {}};
  const auto id = tracepoint_id(files, "sched", "sched_switch");
  if (!id) {
    const bool refused = is_refusal(id.error().code.value()) &&
                         id.error().code.category() == std::generic_category();
    capability.state = refused ? Support::not_permitted : Support::not_supported;
    capability.reason = id.error().message;
    if (refused) capability.enable_with = "root";
    return capability;
  }
  if (kernel == nullptr) return capability;
  capability = asked(capability.name, event_of(PERF_TYPE_TRACEPOINT, *id), {}, *kernel);
  return capability;
}

/// "ffffffff81000000 T _stext".
bool begins_with_symbol(const std::string& text) {
  constexpr std::size_t kHex = 16;
  const std::size_t blank = std::min(text.find(' '), text.size());
  const std::size_t name = blank + 3;
  return base::read_digits(text.substr(0, blank), kHex) && name < text.size() &&
         text[name - 1] == ' ' && text[name] != '\n';
}

Capability kernel_symbols(const KernelFiles& files) {
  Capability capability{"counters.kernel_symbols", Support::supported, {}, {}};
  const auto text = files.read(kSymbols);
  const std::string path = files.path(kSymbols);
  if (!text) {
    capability.state = Support::not_supported;
    capability.reason = text.error().message;
  } else if (!begins_with_symbol(*text)) {
    capability.state = Support::not_supported;
    capability.reason = path + " is empty or has another form than \"ADDRESS TYPE NAME\"";
  } else if (text->find_first_not_of('0') == text->find(' ')) {
    capability.state = Support::not_permitted;
    capability.reason = path + " has zeros for addresses";
    // The kernel checks both settings (kernel/ksyms_common.c).
    const auto restricted = files.read_number("/proc/sys/kernel/kptr_restrict");
    const bool is_open = restricted && *restricted == 0;
    capability.enable_with =
        is_open ? "sysctl kernel.perf_event_paranoid=1, or root"
                : "sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1, or root";
  }
  return capability;
}

/// For a recorded tree (--sysroot): what its files tell.
std::vector<Capability> recorded(const KernelFiles& files) {
  const auto paranoid = files.read_signed(kParanoid);
  const std::string path = files.path(kParanoid);
  Capability software{"counters.software", Support::supported, {}, {}};
  if (!paranoid) {
    software.state = Support::not_supported;
    software.reason = paranoid.error().message + ": it does not tell what the kernel permits";
  } else if (*paranoid > 1) {
    software.reason = path + " is " + std::to_string(*paranoid) +
                      ": without CAP_PERFMON, in user space only (as page-faults:u)" +
                      (*paranoid > 2 ? ", or not at all" : "");
    software.enable_with = "sysctl kernel.perf_event_paranoid=1, or the capability CAP_PERFMON";
  }
  Capability hardware = software;
  hardware.name = "counters.hardware";
  if (const auto type = files.read_number(std::string(kCorePmu) + "/type"); paranoid && !type) {
    const bool there = files.has(kCorePmu);
    hardware = {
        "counters.hardware",
        Support::not_supported,
        there ? type.error().message : files.path(kCorePmu) + " is not there: no PMU of the CPU",
        {}};
  }
  Capability sampling = software;
  sampling.name = "counters.sampling";
  return {software, hardware, tracepoints(files, nullptr), sampling, kernel_symbols(files)};
}

}  // namespace

std::vector<Capability> counters_capabilities_by(const KernelFiles& files, KernelCounters& kernel) {
  constexpr std::uint64_t kPeriodNs = 1'000'000'000;
  const CounterEvent clock = event_of(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK);
  return {asked("counters.software", event_of(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES),
                {}, kernel),
          asked("counters.hardware", event_of(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES), {},
                kernel),
          tracepoints(files, &kernel),
          asked("counters.sampling", clock, {.period = kPeriodNs}, kernel), kernel_symbols(files)};
}

std::vector<Capability> counters_capabilities(const KernelFiles& files) {
  const bool this_machine = files.path("/proc") == "/proc";
  return this_machine ? counters_capabilities_by(files, kernel_counters()) : recorded(files);
}

}  // namespace shmif::perf
