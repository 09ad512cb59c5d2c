#include "perf/membw/memory_counters.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/quantity.hpp"
#include "perf/counters/cpu_list.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kPmus = "/sys/bus/event_source/devices";
constexpr double kLineBytes = 64;  // one CAS command, or one beat of the data fabric
using Counts = MemoryCounter::Counts;

/// An event of a PMU that counts bytes.
struct ByteEvent {
  std::string name;
  Counts counts;
  EventWords words;
  double bytes_per_count;
};

/// A PMU of a memory controller.
struct Pmu {
  std::string name;
  std::uint32_t type = 0;
  PmuFields fields;
  std::vector<int> cpus;
};

bool is_numbered(std::string_view name, std::string_view stem) {
  return name.starts_with(stem) && base::read_digits(name.substr(stem.size())).has_value();
}

std::string folder_of(std::string_view pmu) {
  return std::string(kPmus) + '/' + std::string(pmu) + '/';
}

Error broken(const KernelFiles& files, const std::string& name, const Error& why) {
  return Error(why.code, "cannot use " + files.path(name) + ": " + why.message);
}

Result<Pmu> describe(const KernelFiles& files, const std::string& name) {
  Pmu pmu;
  pmu.name = name;
  const std::string folder = folder_of(name);
  const auto type = files.read_number(folder + "type");
  if (!type) return type.error();
  if (*type > std::numeric_limits<std::uint32_t>::max()) {
    return Error(Errc::bad_argument, files.path(folder + "type") + " has too large a number");
  }
  pmu.type = static_cast<std::uint32_t>(*type);
  const auto fields = files.list(folder + "format");
  if (!fields) return fields.error();
  for (const std::string& field : *fields) {
    const auto text = files.read(folder + "format/" + field);
    if (!text) return text.error();
    auto bits = read_pmu_field(*text);
    // A field in a word that is not used here (config3) is an error when an event names it.
    if (bits) pmu.fields.emplace(field, *std::move(bits));
  }
  const auto list = files.read(folder + "cpumask");
  if (!list) return list.error();
  const std::string line = list->substr(0, list->find('\n'));
  auto cpus = read_cpu_list(line);
  if (!cpus || cpus->empty()) {
    return Error(Errc::bad_argument,
                 files.path(folder + "cpumask") + " names no CPUs: \"" + line + '"');
  }
  pmu.cpus = *std::move(cpus);
  return pmu;
}

/// The events of an Intel controller that begin with `stem`.
Result<void> add_described(const KernelFiles& files, const Pmu& pmu,
                           const std::vector<std::string>& names, std::string_view stem,
                           Counts counts, std::vector<ByteEvent>& events) {
  const std::string folder = folder_of(pmu.name) + "events/";
  const std::size_t before = events.size();
  for (const std::string& name : names) {
    const bool half = name.starts_with(stem) && is_numbered(name, std::string(stem) + "_sch");
    if (name != stem && !half) continue;
    const auto text = files.read(folder + name);
    if (!text) return text.error();
    const auto words = read_pmu_event(*text, pmu.fields);
    if (!words) return broken(files, folder + name, words.error());
    const auto scale = files.read(folder + name + ".scale");
    if (!scale) return scale.error();
    const auto unit = files.read(folder + name + ".unit");
    if (!unit) return unit.error();
    const auto bytes = read_bytes_per_count(*scale, *unit);
    if (!bytes) return broken(files, folder + name + ".scale and .unit", bytes.error());
    events.push_back({name, counts, *words, *bytes});
  }
  if (events.size() != before) return {};
  return Error(Errc::not_supported, files.path(folder) + " has no event " + std::string(stem));
}

Result<std::vector<ByteEvent>> intel_events(const KernelFiles& files, const Pmu& pmu) {
  const auto names = files.list(folder_of(pmu.name) + "events");
  if (!names) return names.error();
  std::vector<ByteEvent> events;
  auto added = add_described(files, pmu, *names, "cas_count_read", Counts::reads, events);
  if (added) added = add_described(files, pmu, *names, "cas_count_write", Counts::writes, events);
  if (!added) return added.error();
  return events;
}

/// Events whose numbers are not in sysfs: each text is as a file of `events` would be.
struct NumberedEvent {
  std::string name;
  Counts counts;
  std::string text;
};

Result<std::vector<ByteEvent>> numbered_events(const Pmu& pmu,
                                               const std::vector<NumberedEvent>& wanted) {
  std::vector<ByteEvent> events;
  for (const NumberedEvent& each : wanted) {
    const auto words = read_pmu_event(each.text, pmu.fields);
    if (!words) {
      return Error(words.error().code, "cannot use " + pmu.name + ": " + words.error().message);
    }
    events.push_back({each.name, each.counts, *words, kLineBytes});
  }
  return events;
}

Result<std::vector<ByteEvent>> umc_events(const KernelFiles& /*files*/, const Pmu& pmu) {
  return numbered_events(pmu, {{"umc_cas_cmd.rd", Counts::reads, "event=0x0a,rdwrmask=1"},
                               {"umc_cas_cmd.wr", Counts::writes, "event=0x0a,rdwrmask=2"}});
}

/// The family of the processor, from /proc/cpuinfo.
std::optional<std::uint64_t> cpu_family(const KernelFiles& files) {
  const auto text = files.read("/proc/cpuinfo");
  if (!text) return std::nullopt;
  const std::size_t line = text->find("cpu family");
  const std::size_t colon = text->find(':', line);
  if (line == std::string::npos || colon == std::string::npos) return std::nullopt;
  const std::size_t end = std::min(text->find('\n', colon), text->size());
  std::string_view value = std::string_view(*text).substr(colon + 1, end - colon - 1);
  while (value.starts_with(' ')) value.remove_prefix(1);
  return base::read_digits(value);
}

/// The number of a channel stands in bits 6 and up of the number of the event.
std::string fabric_event(unsigned channel, std::uint64_t first, unsigned mask) {
  constexpr unsigned kChannelBit = 6;
  return "event=" + std::to_string(first + (std::uint64_t{channel} << kChannelBit)) +
         ",umask=" + std::to_string(mask);
}

Result<std::vector<ByteEvent>> fabric_events(const KernelFiles& files, const Pmu& pmu) {
  constexpr std::uint64_t kZen1 = 0x17;
  constexpr std::uint64_t kZen3 = 0x19;
  constexpr std::uint64_t kZen5 = 0x1a;
  const auto family = cpu_family(files);
  // The second version of its counters has more bits for the mask.
  const auto mask = pmu.fields.find("umask");
  const bool second = mask != pmu.fields.end() && mask->second.bits.size() > 1;
  std::vector<NumberedEvent> wanted;
  if (family && !second && (*family == kZen1 || *family == kZen3)) {
    for (unsigned channel = 0; channel < 8; ++channel) {
      wanted.push_back({"dram_channel_data_controller_" + std::to_string(channel), Counts::both,
                        fabric_event(channel, 0x07, 0x38)});
    }
    return numbered_events(pmu, wanted);
  }
  if (!family || !second || (*family != kZen3 && *family != kZen5)) {
    return Error(Errc::not_supported,
                 "the events of " + pmu.name + " are not known for this processor");
  }
  for (unsigned channel = 0; channel < 12; ++channel) {
    const std::string number = std::to_string(channel);
    const auto add = [&](const char* name, Counts counts, unsigned bits) {
      wanted.push_back({name + number, counts, fabric_event(channel, 0x1f, bits)});
    };
    if (*family == kZen5) {
      add("local_or_remote_socket_read_data_beats_dram_", Counts::reads, 0xffe);
      add("local_or_remote_socket_write_data_beats_dram_", Counts::writes, 0xfff);
      continue;
    }
    add("local_processor_read_data_beats_cs", Counts::reads, 0x7fe);
    add("remote_processor_read_data_beats_cs", Counts::reads, 0xbfe);
    add("local_processor_write_data_beats_cs", Counts::writes, 0x7ff);
    add("remote_processor_write_data_beats_cs", Counts::writes, 0xbff);
  }
  return numbered_events(pmu, wanted);
}

/// Whether counters on this CPU count for the socket.
Result<bool> is_on(const KernelFiles& files, int cpu, std::optional<unsigned> socket) {
  if (!socket) return true;
  const auto package = files.read_number("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                                         "/topology/physical_package_id");
  if (!package) return package.error();
  return *package == *socket;
}

using EventsOf = Result<std::vector<ByteEvent>> (*)(const KernelFiles&, const Pmu&);

Result<std::vector<MemoryCounter>> counters_of(const KernelFiles& files,
                                               const std::vector<std::string>& names,
                                               EventsOf events_of, std::optional<unsigned> socket) {
  std::vector<MemoryCounter> counters;
  for (const std::string& name : names) {
    const auto pmu = describe(files, name);
    if (!pmu) return pmu.error();
    const auto events = events_of(files, *pmu);
    if (!events) return events.error();
    for (const int cpu : pmu->cpus) {
      const auto wanted = is_on(files, cpu, socket);
      if (!wanted) return wanted.error();
      if (!*wanted) continue;
      for (const ByteEvent& event : *events) {
        counters.push_back({name + '/' + event.name + "/ on CPU " + std::to_string(cpu),
                            event.counts, pmu->type, event.words, cpu, event.bytes_per_count});
      }
    }
  }
  if (!counters.empty()) return counters;
  return Error(Errc::not_supported,
               "no memory controller belongs to socket " + std::to_string(socket.value_or(0)));
}

}  // namespace

Result<std::vector<MemoryCounter>> find_memory_counters(const KernelFiles& files,
                                                        std::optional<unsigned> socket) {
  const auto names = files.list(kPmus);
  if (!names) {
    return Error(Errc::not_supported, "the kernel describes no PMUs: " + names.error().message);
  }
  const auto numbered = [&](std::string_view stem) {
    std::vector<std::string> found;
    std::ranges::copy_if(*names, std::back_inserter(found),
                         [&](const std::string& name) { return is_numbered(name, stem); });
    return found;
  };
  if (const auto found = numbered("uncore_imc_"); !found.empty()) {
    return counters_of(files, found, intel_events, socket);
  }
  if (const auto found = numbered("amd_umc_"); !found.empty()) {
    return counters_of(files, found, umc_events, socket);
  }
  if (std::ranges::find(*names, "amd_df") != names->end()) {
    return counters_of(files, {"amd_df"}, fabric_events, socket);
  }
  const bool free_running = std::ranges::any_of(
      *names, [](const std::string& name) { return name.starts_with("uncore_imc_free_running"); });
  return Error(Errc::not_supported,
               "no PMU of a memory controller in " + files.path(kPmus) +
                   (free_running ? " but free-running ones, which can be neither reset nor stopped"
                                 : " (uncore_imc_N, amd_umc_N or amd_df)"));
}

}  // namespace shmif::perf
