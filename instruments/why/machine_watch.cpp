#include "instruments/why/machine_watch.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>

namespace shmif::perf {
namespace {

constexpr std::uint64_t kMicrosecondsPerSecond = 1'000'000;

}  // namespace

MachineWatch::MachineWatch(const KernelFiles& files, MachineSources sources)
    : stat_(files.path("/proc/stat")),
      softnet_(files.path("/proc/net/softnet_stat")),
      memory_{RepeatedFile(files.path("/proc/pressure/memory"))},
      cpu_{RepeatedFile(files.path("/proc/pressure/cpu"))},
      io_{RepeatedFile(files.path("/proc/pressure/io"))},
      tick_us_(kMicrosecondsPerSecond / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))),
      sources_(sources) {}

CpuStep& MachineWatch::step_of(MachineStep& step, unsigned cpu) {
  for (CpuStep& each : step.cpus) {
    if (each.cpu == cpu) return each;
  }
  return step.cpus.emplace_back(CpuStep{.cpu = static_cast<std::uint16_t>(cpu)});
}

MachineWatch::Cpu& MachineWatch::cpu_of(unsigned number) {
  if (number >= cpus_.size()) cpus_.resize(number + 1);
  return cpus_[number];
}

void MachineWatch::add_ticks(MachineStep& step, WhySeries& series) {
  const auto text = stat_.read(buffer_);
  const auto all = text ? read_cpu_ticks(*text) : std::vector<StolenTicks>();
  if (all.empty()) series.miss("/proc/stat", stat_.why());
  step.stolen_known = std::exchange(had_ticks_, !all.empty()) && had_ticks_;
  for (const StolenTicks& ticks : all) {
    if (ticks.cpu >= UINT16_MAX) continue;
    Cpu& before = cpu_of(ticks.cpu);
    const bool known = std::exchange(before.ticks_look, looks_) + 1 == looks_ && looks_ > 1;
    const std::uint32_t steal = difference(ticks.steal * tick_us_, before.steal);
    const std::uint32_t softirq = difference(ticks.softirq * tick_us_, before.softirq);
    if (!known || (steal == 0 && softirq == 0)) continue;
    CpuStep& cpu = step_of(step, ticks.cpu);
    cpu.steal_us = steal;
    cpu.softirq_us = softirq;
  }
}

void MachineWatch::add_softnet(MachineStep& step, WhySeries& series) {
  const auto text = softnet_.read(buffer_);
  const auto all = text ? read_softnet(*text) : std::vector<SoftnetCounts>();
  if (all.empty()) series.miss("/proc/net/softnet_stat", softnet_.why());
  step.queues_known = std::exchange(had_softnet_, !all.empty()) && had_softnet_;
  for (const SoftnetCounts& counts : all) {
    if (counts.cpu >= UINT16_MAX) continue;
    Cpu& before = cpu_of(counts.cpu);
    const bool known = std::exchange(before.softnet_look, looks_) + 1 == looks_ && looks_ > 1;
    const std::uint32_t packets =
        difference32(static_cast<std::uint32_t>(counts.packets), before.packets);
    const std::uint32_t drops =
        difference32(static_cast<std::uint32_t>(counts.drops), before.drops);
    const std::uint32_t squeezes =
        difference32(static_cast<std::uint32_t>(counts.squeezes), before.squeezes);
    if (!known || (packets == 0 && drops == 0 && squeezes == 0)) continue;
    CpuStep& cpu = step_of(step, counts.cpu);
    cpu.packets = packets;
    cpu.drops = drops;
    cpu.squeezes = squeezes;
  }
}

std::optional<std::uint32_t> MachineWatch::pressure(Pressure& of, const char* source,
                                                    WhySeries& series) {
  const auto text = of.file.read(buffer_);
  const auto now = text ? read_pressure(*text) : std::nullopt;
  if (!now) series.miss(source, of.file.why());
  auto before = std::exchange(of.total, now);
  if (!now || !before) return std::nullopt;
  return difference(*now, *before);
}

void MachineWatch::sample(WhySeries& series) {
  ++looks_;
  const bool all = sources_ == MachineSources::all;
  MachineStep step;
  step.queues_known = false;
  add_ticks(step, series);
  if (all || std::ranges::any_of(series.jobs, &WatchedJob::uses_network)) {
    add_softnet(step, series);
  }
  step.memory_us = pressure(memory_, "/proc/pressure/memory", series);
  if (all) {
    step.cpu_us = pressure(cpu_, "/proc/pressure/cpu", series);
    step.io_us = pressure(io_, "/proc/pressure/io", series);
  }
  if (looks_ > 1) series.machine.push_back(std::move(step));
}

namespace {

/// A sleep for the lock, a pause, an overrun or a takeover takes longer than a tenth of a
/// microsecond. So an interval cannot have more of them than this. The slack is for looks that are
/// not punctual.
constexpr double kMaxPerSecond = 1e7;
constexpr double kSlackSeconds = 1;

PortStep step_of(const PortInfo& now, PortCounters& before, std::uint64_t& stalls) {
  constexpr std::uint64_t kNsPerUs = 1000;
  PortStep step;
  step.lock_sleeps = difference(now.lock_sleeps, before.lock_sleeps);
  step.pauses = difference(now.pauses, before.pauses);
  step.stalls = difference(now.stalls, stalls);
  step.overruns = difference(now.overruns, before.overruns);
  step.paused_us = difference(now.paused_ns / kNsPerUs, before.paused_ns);
  step.lost_frames = difference(now.lost_frames, before.lost_frames);
  const std::uint32_t received = difference(now.rx_frames, before.rx_frames);
  step.frames = std::uint64_t{received} + difference(now.tx_frames, before.tx_frames);
  return step;
}

}  // namespace

Result<PortWatch> PortWatch::open(const std::string& path) {
  auto bus = Bus::open(path);
  if (!bus) return std::move(bus).error();
  if (auto tells = check_port_table(bus->info(), "watch the ports of"); !tells)
    return tells.error();
  return PortWatch(path, *std::move(bus));
}

namespace {

/// A job that is a thread of this process has a port of this process, with the job's name.
std::optional<std::size_t> thread_job_of(const WhySeries& series, const PortInfo& port,
                                         bus::PortOwners& owners, std::set<pid_t>& others) {
  if (port.pid != ::getpid() || others.contains(port.pid)) return std::nullopt;
  const auto at = std::ranges::find(series.jobs, port.name, &WatchedJob::name);
  if (at == series.jobs.end()) return std::nullopt;
  if (!owners.prove(port)) {
    others.insert(port.pid);
    return std::nullopt;
  }
  return static_cast<std::size_t>(at - series.jobs.begin());
}

}  // namespace

static bool is_file_of(const BusInfo& info, const struct stat& of) {
  return of.st_ino == info.inode && of.st_dev == info.device;
}

/// The size of the file; empty if its name no longer leads to it.
std::optional<off_t> PortWatch::size_now(const BusInfo& info) const {
  struct stat of{};
  if (::stat(path_.c_str(), &of) != 0 || !is_file_of(info, of)) return std::nullopt;
  return of.st_size;
}

/// Notes if the name no longer leads to the file. Ports that have the file open go on.
void PortWatch::note_deletion(const BusInfo& info, WhySeries& series) {
  struct stat of{};
  const bool is_there = ::stat(path_.c_str(), &of) == 0;
  if (is_there ? is_file_of(info, of) : errno != ENOENT) return;
  series.miss(path_, "bus " + path_ +
                         ": its file was deleted during the watch; the counters are those of the "
                         "deleted file" +
                         (is_there ? ", and the file that has the name now was not watched" : ""));
}

std::string PortWatch::trouble_of(const BusInfo& info, double seconds) const {
  const auto size = size_now(info);
  if (size && *size < bytes_) {
    return "its file was truncated from " + std::to_string(bytes_) + " to " +
           std::to_string(*size) + " bytes, so it cannot be read any more";
  }
  constexpr const char* kOverwritten =
      "its counters are not plausible: something has overwritten its file";
  if (info.epoch == epoch_ && info.last < last_) return kOverwritten;
  const double most = (seconds + kSlackSeconds) * kMaxPerSecond;
  const auto possible = [most](std::uint64_t now, std::uint64_t before) {
    return now >= before && static_cast<double>(now - before) <= most;
  };
  if (!possible(info.takeovers_dead, takeovers_dead_) ||
      !possible(info.takeovers_living, takeovers_living_)) {
    return kOverwritten;
  }
  for (const PortInfo& port : info.ports) {
    if (port.incarnation == 0) continue;  // it changed its owner while we read it
    const auto at = ports_.find({port.slot, port.incarnation});
    const PortCounters before = at == ports_.end() ? PortCounters{} : at->second.counts;
    const std::uint64_t stalls = at == ports_.end() ? 0 : at->second.stalls;
    if (!possible(port.lock_sleeps, before.lock_sleeps) || !possible(port.pauses, before.pauses) ||
        !possible(port.overruns, before.overruns) || !possible(port.stalls, stalls)) {
      return kOverwritten;
    }
  }
  return {};
}

/// Stops reading the bus. Keeps what was counted so far.
void PortWatch::give_up(WhySeries& series, const std::string& why) {
  given_up_ = true;
  series.buses[*number_].trouble = why;
  // A bus whose file was deleted before has a reason already, and there is no file to repair.
  const auto known = std::ranges::find(series.missing, path_, &MissingSource::source);
  if (known != series.missing.end()) {
    debug(Debug::why, [&] { return "does not see " + path_ + " any more: " + why; });
    known->reason += "; then " + why;
    return;
  }
  series.miss(path_, "bus " + path_ + ": " + why +
                         " (see 'shmifctl audit', and 'shmifctl repair'; a truncated bus must be "
                         "made anew)");
}

void PortWatch::sample(WhySeries& series, const TaskWatch& tasks) {
  if (given_up_) return;
  const BusInfo info = bus_.info();
  const bool first = !number_;
  if (first) {
    bytes_ = size_now(info).value_or(0);
  } else {
    const auto trouble = trouble_of(info, series.seconds_of(series.ends_s.size() - 1));
    if (!trouble.empty()) return give_up(series, trouble);
    if (bytes_ > 0 && !size_now(info)) note_deletion(info, series);
  }
  last_ = info.last;
  epoch_ = info.epoch;
  if (first) {
    number_ = series.buses.size();
    series.buses.push_back({.bus = path_, .first = series.ends_s.size()});
  }
  const std::uint32_t dead = difference(info.takeovers_dead, takeovers_dead_);
  const std::uint32_t living = difference(info.takeovers_living, takeovers_living_);
  if (!first) {
    series.buses[*number_].takeovers.push_back(dead + living);
    series.buses[*number_].takeovers_living.push_back(living);
  }
  bus::PortOwners owners(info);
  for (const PortInfo& port : info.ports) {
    if (port.incarnation == 0) continue;  // it changed its owner while we read it
    const auto [at, is_new] = ports_.try_emplace({port.slot, port.incarnation});
    Port& known = at->second;
    if (is_new) {
      known.number = series.ports.size();
      const std::size_t begin = series.ends_s.size() - (first ? 0 : 1);
      series.ports.push_back({.bus = path_, .name = port.name, .first = begin});
    }
    PortSeries& its = series.ports[known.number];
    if (!its.job) its.job = tasks.job_of(port, owners, known.others);
    if (!its.job) its.job = thread_job_of(series, port, owners, known.others);
    const PortStep step = step_of(port, known.counts, known.stalls);
    if (first) continue;
    // A failed look leaves an interval that is not known.
    while (its.first + its.steps.size() + 1 < series.ends_s.size()) its.steps.emplace_back();
    its.steps.push_back(step);
  }
}

}  // namespace shmif::perf
