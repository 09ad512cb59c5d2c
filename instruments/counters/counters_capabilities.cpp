#include "instruments/counters/stat.hpp"

#include <linux/perf_event.h>

#include <algorithm>
#include <optional>
#include <string>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf {
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
