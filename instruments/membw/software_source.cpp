#include "instruments/membw/software_source.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <set>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/membw/resctrl.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/watch/process.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {
namespace {

std::vector<std::string_view> words_in(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {  // until the end of the line
    const std::string_view word = base::take_word(line);
    if (word.empty()) return words;
    words.push_back(word);
  }
}

/// The processes and all of their descendants. When a parent has waited for a process that ended,
/// the kernel adds the bytes of that process to the parent's.
std::set<pid_t> with_descendants(const KernelFiles& files, const std::vector<pid_t>& processes) {
  std::set<pid_t> all;
  std::vector<pid_t> next(processes);
  while (!next.empty()) {
    const pid_t process = next.back();
    next.pop_back();
    if (!all.insert(process).second) continue;
    const std::string tasks = "/proc/" + std::to_string(process) + "/task/";
    const auto threads = files.list(tasks);
    for (const std::string& thread : threads ? *threads : std::vector<std::string>()) {
      const auto children = files.read(tasks + thread + "/children");
      if (!children) continue;
      for (const std::string_view word : words_in(*children)) {
        if (const auto pid = base::read_digits(word)) next.push_back(static_cast<pid_t>(*pid));
      }
    }
  }
  return all;
}

/// How much all counters grew together, or why this is not known.
struct Growth {
  double bytes = 0;
  std::string missing;
};

void add_growth(Growth& growth, std::uint64_t before, std::uint64_t after,
                const std::string& name) {
  const auto grown = grown_by(before, after);
  if (grown) {
    growth.bytes += static_cast<double>(*grown);
  } else if (growth.missing.empty()) {
    growth.missing = name + " was set back during the window";
  }
}

}  // namespace

Result<CopiedBytes> read_process_io(std::string_view text) {
  CopiedBytes bytes;
  std::size_t found = 0;
  for (const std::string_view line : base::lines_in(text)) {
    const std::size_t colon = line.find(": ");
    const std::string_view name = line.substr(0, colon);
    if (name != "rchar" && name != "wchar") continue;
    const auto number = colon == std::string_view::npos ? std::optional<std::uint64_t>()
                                                        : base::read_digits(line.substr(colon + 2));
    if (!number) return Error(Errc::bad_argument, "not as proc_pid_io(5) describes it");
    (name == "rchar" ? bytes.read : bytes.written) = *number;
    ++found;
  }
  if (found == 2) return bytes;
  return Error(Errc::bad_argument, "not as proc_pid_io(5) describes it");
}

Result<std::map<std::string, CopiedBytes>> read_net_devices(std::string_view text) {
  constexpr std::size_t kHeadLines = 2;
  constexpr std::size_t kColumns = 16;
  constexpr std::size_t kSent = 8;
  const Error other(Errc::bad_argument, "not as proc_pid_net(5) describes it");
  const auto lines = base::lines_in(text);
  if (lines.size() < kHeadLines || !text.ends_with('\n')) return other;
  std::map<std::string, CopiedBytes> devices;
  for (std::size_t at = kHeadLines; at < lines.size(); ++at) {
    const std::size_t colon = lines[at].rfind(':');  // a device's name may have a colon
    if (colon == std::string_view::npos) return other;
    const auto name = words_in(lines[at].substr(0, colon));
    const auto columns = words_in(lines[at].substr(colon + 1));
    if (name.size() != 1 || columns.size() < kColumns) return other;
    const auto received = base::read_digits(columns[0]);
    const auto sent = base::read_digits(columns[kSent]);
    if (!received || !sent) return other;
    devices[std::string(name[0])] = {*received, *sent};
  }
  return devices;
}

Result<void> CountedSource::open(const std::vector<pid_t>& processes) {
  processes_ = processes;
  Snapshot first = take();
  if (first.failure.empty()) return {};
  return Error(Errc::not_supported, std::move(first.failure));
}

CountedSource::Snapshot CountedSource::take() {
  Snapshot snapshot;
  const auto looked = look(snapshot);
  if (!looked) snapshot.failure = looked.error().message;
  snapshot.time_ns = clock_();
  return snapshot;
}

Result<void> CountedSource::enable() {
  begin_ = take();
  return {};
}

Result<void> CountedSource::disable() {
  end_ = take();
  return {};
}

MemoryReading CountedSource::read() {
  MemoryReading reading;
  reading.begin_ns = begin_.time_ns;
  reading.end_ns = end_.time_ns;
  reading.reason = !begin_.failure.empty() ? begin_.failure : end_.failure;
  if (!reading.reason.empty()) return reading;
  Growth reads;
  Growth writes;
  for (const auto& [name, end] : end_.counters) {
    const auto begin = begin_.counters.find(name);
    // A counter that appeared during the window began at 0.
    const CopiedBytes before = begin == begin_.counters.end() ? CopiedBytes{} : begin->second;
    add_growth(reads, before.read, end.read, name);
    add_growth(writes, before.written, end.written, name);
  }
  for (const auto& [name, begin] : begin_.counters) {
    if (end_.counters.contains(name)) continue;
    const auto ended = end_.ended.find(name);
    if (ended != end_.ended.end()) add_growth(writes, begin.written, ended->second.written, name);
    if (reads.missing.empty()) reads.missing = name + " went away during the window";
    if (ended == end_.ended.end() && writes.missing.empty()) writes.missing = reads.missing;
  }
  const double seconds = reading.window_s();
  if (seconds <= 0) reads.missing = writes.missing = "the window had no length";
  if (reads.missing.empty()) reading.reads = reads.bytes / seconds;
  if (writes.missing.empty()) reading.writes = writes.bytes / seconds;
  if (reading.reads && reading.writes) reading.total = *reading.reads + *reading.writes;
  reading.reason = reads.missing.empty() ? writes.missing : reads.missing;
  return reading;
}

Result<void> ProcessIoSource::open(const std::vector<pid_t>& processes) {
  if (!misses_all_.empty()) return Error(Errc::not_supported, misses_all_);
  if (!processes.empty()) return CountedSource::open(processes);
  return Error(Errc::not_supported, "no process is watched (give -p PID, or -- PROGRAM)");
}

/// Adds the bytes of one process. Result: false if it has ended.
Result<bool> ProcessIoSource::add(pid_t process, CopiedBytes& sum) const {
  const std::string file = "/proc/" + std::to_string(process) + "/io";
  const auto text = files_.read(file);
  if (!text && !is_refusal(text.error().code.value())) return false;
  if (!text) return text.error();
  const auto bytes = read_process_io(*text);
  if (!bytes) {
    return Error(bytes.error().code, files_.path(file) + " is " + bytes.error().message);
  }
  sum.read += bytes->read;
  sum.written += bytes->written;
  return true;
}

/// Each watched process and its descendants are one counter. When the watched process ends, its
/// bytes are lost, but the other counters go on. A watched process that descends from another one
/// belongs to that one's counter.
Result<void> ProcessIoSource::look(Snapshot& snapshot) {
  if (const auto checked = check_numbers(files_); !checked) return checked.error();
  std::map<pid_t, std::set<pid_t>> families;
  for (const pid_t watched : processes()) families[watched] = with_descendants(files_, {watched});
  const auto belongs_to_another = [&](pid_t process) {
    return std::ranges::any_of(families, [&](const auto& family) {
      return family.first != process && family.second.contains(process) &&
             !families.at(process).contains(family.first);
    });
  };
  for (const auto& [watched, family] : families) {
    if (belongs_to_another(watched)) continue;
    CopiedBytes sum;
    const auto there = add(watched, sum);
    if (!there) return there.error();
    if (!*there) continue;
    for (const pid_t process : family) {
      // A descendant may have ended since it was listed.
      const auto added = process == watched ? Result<bool>(true) : add(process, sum);
      if (!added) return added.error();
    }
    snapshot.counters["process " + std::to_string(watched)] = sum;
  }
  if (!snapshot.counters.empty()) return {};
  const std::string first = "/proc/" + std::to_string(processes().front()) + "/io";
  return Error::from_errno(ENOENT, files_.path(first),
                           "the processes that were watched have ended");
}

Result<void> SocketSource::look(Snapshot& snapshot) {
  snapshot.counters = counts_();
  return {};
}

std::string DeviceSource::origin() const {
  return files_.path(is_own() ? "/proc/net/dev" : "/proc/PID/net/dev");
}

Result<void> DeviceSource::look(Snapshot& snapshot) {
  if (const auto checked = check_numbers(files_); !is_own() && !checked) return checked.error();
  const std::string file =
      is_own() ? "/proc/net/dev" : "/proc/" + std::to_string(processes().front()) + "/net/dev";
  const auto text = files_.read(file);
  if (!text) return text.error();
  auto devices = read_net_devices(*text);
  if (!devices) {
    return Error(devices.error().code, files_.path(file) + " is " + devices.error().message);
  }
  snapshot.counters = *std::move(devices);
  return {};
}

Result<void> BusSource::look(Snapshot& snapshot) {
  const auto bus = Bus::open(path_);
  if (!bus) return bus.error();
  const BusInfo info = bus->info();
  if (auto tells = check_port_table(info, "count the bytes of the ports of"); !tells) return tells;
  const auto name_of = [](unsigned slot, std::uint32_t incarnation, const std::string& name) {
    return "port " + std::to_string(slot) + '.' + std::to_string(incarnation) + " (" + name + ')';
  };
  for (const PortInfo& port : info.ports) {
    snapshot.counters[name_of(port.slot, port.incarnation, port.name)] = {port.rx_bytes,
                                                                          port.tx_bytes};
  }
  // For a port that left, the bus keeps only the bytes that it sent.
  for (const FormerPort& port : info.former_ports) {
    snapshot.ended[name_of(port.slot, port.incarnation, port.name)] = {0, port.tx_bytes};
  }
  return {};
}

}  // namespace shmif::perf
