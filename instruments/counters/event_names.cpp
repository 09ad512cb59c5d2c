// Names of events from libpfm4. No other file includes that library.

#include "instruments/counters/event_names.hpp"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <perfmon/pfmlib.h>
#include <perfmon/pfmlib_perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>

#include "base/nearest.hpp"
#include "base/quantity.hpp"
#include "base/unique_fd.hpp"
#include "instruments/counters/event_text.hpp"

namespace shmif::perf {
namespace {

struct Generic {
  const char* name;
  const char* other;  ///< a second name; may be empty
  std::uint64_t config;
};
constexpr std::array kSoftware = {
    Generic{"cpu-clock", "", PERF_COUNT_SW_CPU_CLOCK},
    Generic{"task-clock", "", PERF_COUNT_SW_TASK_CLOCK},
    Generic{"page-faults", "faults", PERF_COUNT_SW_PAGE_FAULTS},
    Generic{"context-switches", "cs", PERF_COUNT_SW_CONTEXT_SWITCHES},
    Generic{"cpu-migrations", "migrations", PERF_COUNT_SW_CPU_MIGRATIONS},
    Generic{"minor-faults", "", PERF_COUNT_SW_PAGE_FAULTS_MIN},
    Generic{"major-faults", "", PERF_COUNT_SW_PAGE_FAULTS_MAJ},
    Generic{"alignment-faults", "", PERF_COUNT_SW_ALIGNMENT_FAULTS},
    Generic{"emulation-faults", "", PERF_COUNT_SW_EMULATION_FAULTS},
    Generic{"dummy", "", PERF_COUNT_SW_DUMMY},
    Generic{"cgroup-switches", "", PERF_COUNT_SW_CGROUP_SWITCHES},
};
constexpr std::array kHardware = {
    Generic{"cycles", "cpu-cycles", PERF_COUNT_HW_CPU_CYCLES},
    Generic{"instructions", "", PERF_COUNT_HW_INSTRUCTIONS},
    Generic{"cache-references", "", PERF_COUNT_HW_CACHE_REFERENCES},
    Generic{"cache-misses", "", PERF_COUNT_HW_CACHE_MISSES},
    Generic{"branches", "branch-instructions", PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
    Generic{"branch-misses", "", PERF_COUNT_HW_BRANCH_MISSES},
    Generic{"bus-cycles", "", PERF_COUNT_HW_BUS_CYCLES},
    Generic{"stalled-cycles-frontend", "idle-cycles-frontend",
            PERF_COUNT_HW_STALLED_CYCLES_FRONTEND},
    Generic{"stalled-cycles-backend", "idle-cycles-backend", PERF_COUNT_HW_STALLED_CYCLES_BACKEND},
    Generic{"ref-cycles", "", PERF_COUNT_HW_REF_CPU_CYCLES},
};
constexpr std::array kCaches = {
    Generic{"L1-dcache", "", PERF_COUNT_HW_CACHE_L1D},
    Generic{"L1-icache", "", PERF_COUNT_HW_CACHE_L1I},
    Generic{"LLC", "", PERF_COUNT_HW_CACHE_LL},
    Generic{"dTLB", "", PERF_COUNT_HW_CACHE_DTLB},
    Generic{"iTLB", "", PERF_COUNT_HW_CACHE_ITLB},
    Generic{"branch", "", PERF_COUNT_HW_CACHE_BPU},
    Generic{"node", "", PERF_COUNT_HW_CACHE_NODE},
};
constexpr std::array kOperations = {
    Generic{"load", "", PERF_COUNT_HW_CACHE_OP_READ},
    Generic{"store", "", PERF_COUNT_HW_CACHE_OP_WRITE},
    Generic{"prefetch", "", PERF_COUNT_HW_CACHE_OP_PREFETCH},
};

using Events = std::map<std::string, CounterEvent, std::less<>>;

void add(Events& events, const std::string& name, std::uint32_t type, std::uint64_t config) {
  CounterEvent event;
  event.name = name;
  event.type = type;
  event.config = config;
  event.source = type == PERF_TYPE_SOFTWARE ? "kernel, software" : "kernel, generic hardware";
  if (name.ends_with("-clock")) event.unit = "ns";
  events.emplace(name, std::move(event));  // the first event with a name stays
}

Events all_events() {
  constexpr unsigned kOperationShift = 8;
  constexpr unsigned kResultShift = 16;
  Events events;
  for (const Generic& each : kSoftware) {
    add(events, each.name, PERF_TYPE_SOFTWARE, each.config);
    if (*each.other != '\0') add(events, each.other, PERF_TYPE_SOFTWARE, each.config);
  }
  for (const Generic& each : kHardware) {
    add(events, each.name, PERF_TYPE_HARDWARE, each.config);
    if (*each.other != '\0') add(events, each.other, PERF_TYPE_HARDWARE, each.config);
  }
  for (const Generic& cache : kCaches) {
    for (const Generic& operation : kOperations) {
      const std::string name = std::string(cache.name) + '-' + operation.name;
      const std::uint64_t config = cache.config | operation.config << kOperationShift;
      const std::string plural = std::string(operation.name) == "prefetch" ? "es" : "s";
      add(events, name + plural, PERF_TYPE_HW_CACHE,
          config | std::uint64_t{PERF_COUNT_HW_CACHE_RESULT_ACCESS} << kResultShift);
      add(events, name + "-misses", PERF_TYPE_HW_CACHE,
          config | std::uint64_t{PERF_COUNT_HW_CACHE_RESULT_MISS} << kResultShift);
    }
  }
  return events;
}

const Events& events_by_name() {
  static const Events events = all_events();
  return events;
}

}  // namespace

const CounterEvent* generic_event(std::string_view name) {
  const auto found = events_by_name().find(name);
  return found == events_by_name().end() ? nullptr : &found->second;
}

const std::vector<std::string>& generic_event_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, event] : events_by_name()) all.push_back(name);
    return all;
  }();
  return names;
}

namespace {

constexpr const char* kDevices = "/sys/bus/event_source/devices/";

/// Whether a text can be a file name here: a name from the user must not lead to another folder.
bool is_name(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !text.empty() && text.front() != '.' && std::ranges::all_of(text, allowed);
}

std::string first_line(std::string text) {
  text.resize(std::min(text.find('\n'), text.size()));
  return text;
}

std::optional<CounterEvent> raw_code(std::string_view name) {
  constexpr int kHexadecimal = 16;
  if (!name.starts_with('r')) return std::nullopt;
  const auto code = base::read_digits(name.substr(1), kHexadecimal);
  if (!code) return std::nullopt;
  CounterEvent event;
  event.type = PERF_TYPE_RAW;
  event.config = *code;
  event.source = "raw code";
  return event;
}

Error unknown(const std::string& name, const Error* library) {
  const std::size_t colon = std::min(name.find(':'), name.size());
  const bool modified =
      colon + 1 < name.size() && name.find_first_not_of("ukhGHp", colon + 1) == std::string::npos;
  const std::string modifiers = modified ? name.substr(colon) : "";
  const auto near = base::nearest(modified ? name.substr(0, colon) : name, generic_event_names());
  std::string advice = near ? "did you mean " + *near + modifiers + '?'
                            : "'shmifperf stat --help' shows the forms of names";
  if (!near && library != nullptr) advice = library->message;
  return {Errc::bad_argument, "there is no event \"" + name + "\" (" + advice + ')'};
}

}  // namespace

Result<void> EventNames::put_term(const std::string& folder, std::string_view term_name,
                                  std::uint64_t value, CounterEvent& event) const {
  FormatField field{0, {{0, 63}}};
  if (term_name == "config1") field.word = 1;
  if (term_name == "config2") field.word = 2;
  if (term_name == "config3") field.word = 3;
  if (field.word == 0 && term_name != "config") {
    const std::string file = folder + "format/" + std::string(term_name);
    const auto text = is_name(term_name) && files_.has(file) ? files_.read(file)
                                                             : Result<std::string>(std::string());
    if (!text) return text.error();
    if (text->empty()) {
      return Error(Errc::bad_argument, "the PMU has no term \"" + std::string(term_name) +
                                           "\" (see " + files_.path(folder + "format") + ')');
    }
    auto read = read_format(*text);
    if (!read) return Error(Errc::bad_argument, files_.path(file) + ": " + read.error().message);
    field = *std::move(read);
  }
  auto put = put_field(field, value, event);
  if (!put) {
    return Error(Errc::bad_argument,
                 "term \"" + std::string(term_name) + "\": " + put.error().message);
  }
  return {};
}

/// Sets the terms of an event for which the PMU has a file. The user's terms override the file's.
Result<void> EventNames::put_alias(const std::string& folder, const std::string& alias,
                                   const std::vector<std::string>& given,
                                   CounterEvent& event) const {
  const std::string file = folder + "events/" + alias;
  const auto text = files_.read(file);
  if (!text) return text.error();
  const auto terms = read_terms(*text);
  if (!terms) return Error(Errc::bad_argument, files_.path(file) + ": " + terms.error().message);
  for (const EventTerm& term : *terms) {
    if (std::ranges::find(given, term.name) != given.end()) continue;
    if (term.open) {
      std::string why = "event \"" + alias + "\" needs a value for \"" + term.name;
      why.append("\" (as in ").append(alias).append(",").append(term.name).append("=1)");
      return Error(Errc::bad_argument, why);
    }
    auto put = put_term(folder, term.name, term.value.value_or(1), event);
    if (!put) return put;
  }
  if (files_.has(file + ".unit")) {
    const auto unit = files_.read(file + ".unit");
    if (unit) event.unit = first_line(*unit);
  }
  if (!files_.has(file + ".scale")) return {};
  const auto scale = files_.read(file + ".scale");
  if (!scale) return scale.error();
  const auto factor = read_scale(*scale);
  if (!factor) {
    return Error(Errc::bad_argument,
                 files_.path(file + ".scale") + " has no number: \"" + first_line(*scale) + '"');
  }
  event.scale = *factor;
  return {};
}

Result<CounterEvent> EventNames::of_pmu(std::string_view pmu, std::string_view terms) const {
  const std::string name(pmu);
  const std::string folder = kDevices + name + '/';
  if (!is_name(pmu)) return Error(Errc::bad_argument, '"' + name + "\" is not the name of a PMU");
  if (!files_.has(folder + "type")) {
    return Error(Errc::not_supported,
                 "this machine has no PMU \"" + name + "\" (see " + files_.path(kDevices) + ')');
  }
  const auto type = files_.read_number(folder + "type");
  if (!type) return type.error();
  CounterEvent event;
  event.type = static_cast<std::uint32_t>(*type);
  event.source = files_.path(folder.substr(0, folder.size() - 1));
  if (files_.has(folder + "cpumask")) {
    const auto text = files_.read(folder + "cpumask");
    if (!text) return text.error();
    auto cpus = base::read_number_list(*text);
    if (!cpus) {
      return Error(Errc::bad_argument, files_.path(folder + "cpumask") + " has no list of CPUs");
    }
    event.cpus = *std::move(cpus);
  }
  if (terms.empty()) return event;
  const auto read = read_terms(terms);
  if (!read) return read.error();
  std::vector<std::string> given;
  for (const EventTerm& term : *read) given.push_back(term.name);
  for (const EventTerm& term : *read) {
    if (term.open) return Error(Errc::bad_argument, "\"" + term.name + "=?\" has no value");
    const bool alias =
        !term.value && is_name(term.name) && files_.has(folder + "events/" + term.name);
    auto put = alias ? put_alias(folder, term.name, given, event)
                     : put_term(folder, term.name, term.value.value_or(1), event);
    if (!put) return std::move(put).error();
  }
  return event;
}

Result<CounterEvent> EventNames::tracepoint(const std::string& system,
                                            const std::string& name) const {
  const auto id = tracepoint_id(files_, system, name);
  if (!id) return id.error();
  CounterEvent event;
  event.type = PERF_TYPE_TRACEPOINT;
  event.config = *id;
  event.source = "tracefs, events/" + system + '/' + name;
  return event;
}

Result<CounterEvent> EventNames::find(std::string_view name) const {
  const std::string whole(name);
  const auto with_modifiers = [&](Result<CounterEvent> event,
                                  std::string_view modifiers) -> Result<CounterEvent> {
    if (!event) return event;
    event->name = whole;
    if (modifiers.empty()) return event;
    auto applied = apply_modifiers(modifiers, *event);
    if (!applied) return Error(Errc::bad_argument, '"' + whole + "\": " + applied.error().message);
    return event;
  };
  const std::size_t slash = name.find('/');
  if (slash != std::string_view::npos) {
    const std::size_t second = name.find('/', slash + 1);
    if (second == std::string_view::npos) {
      return Error(Errc::bad_argument, '"' + whole + "\" lacks its second slash");
    }
    return with_modifiers(of_pmu(name.substr(0, slash), name.substr(slash + 1, second - slash - 1)),
                          name.substr(second + 1));
  }
  const std::size_t colon = std::min(name.find(':'), name.size());
  const std::string_view front = name.substr(0, colon);
  const std::string_view behind = name.substr(std::min(colon + 1, name.size()));
  if (colon < name.size() && behind.empty()) return unknown(whole, nullptr);
  if (const CounterEvent* const generic = generic_event(front)) {
    return with_modifiers(*generic, behind);
  }
  if (auto raw = raw_code(front)) return with_modifiers(*std::move(raw), behind);
  const std::size_t third = std::min(behind.find(':'), behind.size());
  const std::string_view second = behind.substr(0, third);
  const bool like_tracepoint = is_name(front) && is_name(second) && !behind.starts_with(':');
  auto point = like_tracepoint ? tracepoint(std::string(front), std::string(second))
                               : Result<CounterEvent>(unknown(whole, nullptr));
  if (point) {
    return with_modifiers(std::move(point), behind.substr(std::min(third + 1, behind.size())));
  }
  // libpfm4 also has names with colons, and modifiers of its own.
  auto library = library_ ? library_event(whole) : Result<CounterEvent>(unknown(whole, nullptr));
  if (library) return with_modifiers(std::move(library), {});
  const bool only_modifiers = second.find_first_not_of("ukhGHp") == std::string_view::npos;
  if (like_tracepoint && !only_modifiers) return point;
  return unknown(whole, library_ ? &library.error() : nullptr);
}

Result<std::vector<CounterEvent>> EventNames::find_all(std::string_view list) const {
  const auto words = split_events(list);
  if (!words) return words.error();
  std::vector<CounterEvent> events;
  for (const std::string& word : *words) {
    auto event = find(word);
    if (!event) return event.error();
    events.push_back(*std::move(event));
  }
  return events;
}

Result<CounterEvent> library_event(const std::string& name) {
  static std::mutex mutex;  // libpfm4 does not promise to be thread-safe
  const std::lock_guard lock(mutex);
  static const pfm_err_t ready = pfm_initialize();
  if (ready != PFM_SUCCESS) {
    return Error(Errc::bad_argument, std::string("libpfm4: ") + pfm_strerror(ready));
  }
  perf_event_attr attr{};
  attr.size = sizeof attr;
  pfm_perf_encode_arg_t argument{};
  argument.attr = &attr;
  argument.size = sizeof argument;
  const pfm_err_t found = pfm_get_os_event_encoding(name.c_str(), PFM_PLM0 | PFM_PLM3 | PFM_PLMH,
                                                    PFM_OS_PERF_EVENT_EXT, &argument);
  if (found != PFM_SUCCESS) {
    return Error(Errc::bad_argument, std::string("libpfm4: ") + pfm_strerror(found));
  }
  CounterEvent event;
  event.name = name;
  event.type = attr.type;
  event.config = attr.config;
  event.config1 = attr.config1;
  event.config2 = attr.config2;
  event.exclude_user = attr.exclude_user != 0;
  event.exclude_kernel = attr.exclude_kernel != 0;
  event.exclude_hypervisor = attr.exclude_hv != 0;
  event.exclude_host = attr.exclude_host != 0;
  event.exclude_guest = attr.exclude_guest != 0;
  event.precise = static_cast<std::uint8_t>(attr.precise_ip);
  event.source = "libpfm4";
  pfm_event_info_t info{};
  info.size = sizeof info;
  pfm_pmu_info_t pmu{};
  pmu.size = sizeof pmu;
  if (pfm_get_event_info(argument.idx, PFM_OS_PERF_EVENT_EXT, &info) == PFM_SUCCESS &&
      pfm_get_pmu_info(info.pmu, &pmu) == PFM_SUCCESS) {
    event.source += std::string(", PMU ") + pmu.name;
  }
  return event;
}

// The numbers of tracepoints.

namespace {

constexpr std::array kTraceRoots = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

/// From linux/mount.h, which conflicts with older headers of the C library.
constexpr unsigned kFsconfigCreate = 6;
constexpr unsigned kFsopenCloexec = 1;
constexpr unsigned kFsmountCloexec = 1;

/// Reads a file of tracefs if tracefs is not mounted. Only root can do this.
Result<std::string> read_unmounted(const std::string& name) {
  const auto failed = [&] { return Error::from_errno(errno, "cannot read tracefs, " + name); };
  const UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", kFsopenCloexec)));
  if (!context) return failed();
  if (::syscall(SYS_fsconfig, context.get(), kFsconfigCreate, nullptr, nullptr, 0) != 0) {
    return failed();
  }
  const UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), kFsmountCloexec, 0)));
  if (!mount) return failed();
  const UniqueFd file(::openat(mount.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failed();
  std::array<char, 64> text{};
  const ssize_t got = ::read(file.get(), text.data(), text.size());
  if (got < 0) return failed();
  return std::string(text.data(), static_cast<std::size_t>(got));
}

}  // namespace

Result<std::uint64_t> tracepoint_id(const KernelFiles& files, const std::string& system,
                                    const std::string& name) {
  const std::string file = "events/" + system + '/' + name + "/id";
  const std::string what = "the tracepoint " + system + ':' + name;
  for (const char* const root : kTraceRoots) {
    const std::string path = std::string(root) + '/' + file;
    const auto id = files.read_number(path);
    if (id) return *id;
    if (id.error().code == std::errc::permission_denied) {
      return Error(id.error().code, "cannot look up " + what + ": " + id.error().message +
                                        " (only root may read tracefs)");
    }
    if (files.has(std::string(root) + "/events")) {
      return Error(Errc::not_supported, "this kernel has no " + what.substr(4) + " (see " +
                                            files.path(std::string(root) + "/events") + ')');
    }
  }
  const bool this_machine = files.path("/proc") == "/proc";
  const auto text = this_machine ? read_unmounted(file)
                                 : Result<std::string>(Error(Errc::not_supported, "no tracefs"));
  if (text) {
    const auto id = base::read_digits(std::string_view(*text).substr(0, text->find('\n')));
    if (id) return *id;
  }
  if (!text && text.error().code == std::errc::operation_not_permitted) {
    return Error(std::make_error_code(std::errc::operation_not_permitted),
                 "cannot look up " + what + ": tracefs is not mounted, and only root may do that");
  }
  return Error(Errc::not_supported, "cannot look up " + what + ": this kernel has no such " +
                                        "tracepoint, or no tracefs (" +
                                        (text ? "no number" : text.error().message) + ')');
}

}  // namespace shmif::perf
