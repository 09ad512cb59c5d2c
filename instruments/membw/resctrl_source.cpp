#include "instruments/membw/resctrl_source.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "instruments/watch/lines.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kUsualPlace = "/sys/fs/resctrl";
constexpr const char* kTotal = "mbm_total_bytes";
constexpr const char* kLocal = "mbm_local_bytes";
constexpr double kNanosecondsInSecond = 1e9;

bool kernel_has_resctrl(const KernelFiles& files) {
  const auto text = files.read("/proc/filesystems");
  if (!text) return false;
  return std::ranges::any_of(lines_in(*text),
                             [](std::string_view line) { return line.ends_with("\tresctrl"); });
}

/// Why a value is not a number of bytes, and what to do.
std::string why_not(const std::string& file, const MbmValue& value) {
  switch (value.state) {
    case MbmValue::State::counted: return {};
    case MbmValue::State::unavailable:
      return file + " was Unavailable (the hardware had no value; a longer window may help)";
    case MbmValue::State::unassigned:
      return file +
             " was Unassigned (assign a counter: echo 'mbm_total_bytes:*=e' > the group's "
             "mbm_L3_assignments)";
    case MbmValue::State::failed: return file + " was Error (the hardware refused the event)";
  }
  return {};
}

}  // namespace

ResctrlSource::ResctrlSource(KernelFiles files, ResctrlOptions options, GroupCalls& calls,
                             MonotonicClock clock)
    : files_(std::move(files)),
      options_(std::move(options)),
      calls_(calls),
      clock_(std::move(clock)) {}

ResctrlSource::~ResctrlSource() {
  static_cast<void>(close());
}

std::string ResctrlSource::origin() const {
  return mount_point_.empty() ? kUsualPlace
                              : (group_ ? group_->path() : mount_point_) + "/mon_data";
}

Result<std::string> ResctrlSource::find_mount(const KernelFiles& files) {
  const auto mounts = files.read("/proc/mounts");
  if (!mounts) return mounts.error();
  if (const auto place = resctrl_mount_in(*mounts)) return *place;
  if (!kernel_has_resctrl(files)) {
    return Error(Errc::not_supported,
                 "no resctrl in " + files.path("/proc/filesystems") +
                     ": the kernel was built without it, or the processor monitors no bandwidth");
  }
  return Error::from_errno(ENODEV, "resctrl is not mounted",
                           std::string("mount -t resctrl resctrl ") + kUsualPlace);
}

Result<std::vector<std::string>> ResctrlSource::find_events(const KernelFiles& files,
                                                            const std::string& mount_point) {
  const std::string file = mount_point + "/info/L3_MON/mon_features";
  const auto text = files.read(file);
  std::vector<std::string> events;
  for (const std::string_view line : lines_in(text ? std::string_view(*text) : "")) {
    if (line == kTotal || line == kLocal) events.emplace_back(line);
  }
  if (!events.empty()) return events;
  return Error(Errc::not_supported,
               "the hardware counts no memory bandwidth: " +
                   (text ? files.path(file) + " names no mbm_total_bytes" : text.error().message));
}

Result<void> ResctrlSource::prepare() {
  if (!mount_point_.empty()) return {};
  auto place = find_mount(files_);
  if (!place && options_.mount && place.error().code == std::errc::no_such_device) {
    auto done = calls_.mount(files_.path(kUsualPlace));
    if (!done) return done;
    mounted_ = kUsualPlace;
    place = std::string(kUsualPlace);
  }
  if (!place) return std::move(place).error();
  mount_point_ = *std::move(place);
  return {};
}

Result<void> ResctrlSource::open_there(const std::vector<pid_t>& processes) {
  auto events = find_events(files_, mount_point_);
  if (!events) return std::move(events).error();
  events_ = *std::move(events);
  if (options_.local_domain) {
    if (std::ranges::find(events_, kLocal) == events_.end()) {
      return Error(Errc::not_supported, std::string("the hardware does not count ") + kLocal);
    }
    events_ = {kLocal};
  }
  if (processes.empty()) {
    auto controls = control_groups(files_, mount_point_);
    if (!controls) return std::move(controls).error();
    groups_ = *std::move(controls);
    return {};
  }
  group_ = std::make_unique<ResctrlGroup>(files_, calls_);
  const std::string own = "shmifperf-" + std::to_string(::getpid());
  auto made = group_->make(mount_point_,
                           options_.monitoring_group.empty() ? own : options_.monitoring_group,
                           processes, options_.control_group);
  if (!made) return made;
  groups_ = {group_->path()};
  assign_counters();
  const Snapshot first = take(IfUnavailable::leave);
  return first.failure.empty() ? Result<void>() : Error(Errc::not_supported, first.failure);
}

Result<void> ResctrlSource::open(const std::vector<pid_t>& processes) {
  if (group_ || !groups_.empty()) {
    auto closed = close();
    if (!closed) return closed;
  }
  scope_ = processes.empty() ? MemoryScope::machine : MemoryScope::group;

  auto opened = prepare();
  if (opened) opened = open_there(processes);
  failure_ = opened ? std::string() : opened.error().message;
  if (!opened) static_cast<void>(close());  // report only the first error
  return opened;
}

/// In the mode mbm_event, a group counts only while it has a counter. Usually the kernel assigns
/// one when the group is made. If the group does not get one here either, read() explains why there
/// is no value.
void ResctrlSource::assign_counters() const {
  const auto modes = files_.read(mount_point_ + "/info/L3_MON/mbm_assign_mode");
  const auto mode = modes ? read_assign_mode(*modes) : Result<std::string>(modes.error());
  if (!mode || *mode != "mbm_event") return;
  const std::string file = group_->path() + "/mbm_L3_assignments";
  const auto text = files_.read(file);
  const auto assignments =
      text ? read_mbm_assignments(*text) : Result<MbmAssignments>(text.error());
  if (!assignments) return;
  for (const auto& [event, domains] : *assignments) {
    const bool missing =
        std::ranges::any_of(domains, [](const auto& each) { return each.second == "_"; });
    if (missing) static_cast<void>(calls_.write(files_, file, event + ":*=e\n"));
  }
}

Result<ResctrlSource::Values> ResctrlSource::values_of(const std::string& event,
                                                       IfUnavailable if_unavailable) const {
  Values values;
  for (const std::string& group : groups_) {
    const auto folders = files_.list(group + "/mon_data");
    if (!folders) return folders.error();
    for (const std::string& folder : *folders) {
      const auto domain = l3_domain_of(folder);
      if (!domain || *domain != options_.local_domain.value_or(*domain)) continue;
      std::string file = group;
      file.append("/mon_data/").append(folder).append("/").append(event);
      // After a change of its settings, the hardware gives a value only at the second read.
      for (int attempt = if_unavailable == IfUnavailable::read_again ? 0 : 1; attempt < 2;
           ++attempt) {
        const auto text = calls_.read(files_, file);
        if (!text) return text.error();
        const auto value = read_mbm_value(*text);
        if (!value) {
          return Error(value.error().code, files_.path(file) + ": " + value.error().message);
        }
        values[file] = *value;
        if (value->state != MbmValue::State::unavailable) break;
      }
    }
  }
  if (!values.empty()) return values;
  std::string domain = "NN";
  if (options_.local_domain) {
    domain = std::to_string(*options_.local_domain);
    if (domain.size() < 2) domain.insert(0, "0");
  }
  return Error(Errc::not_supported,
               files_.path(groups_.front()) + "/mon_data has no mon_L3_" + domain);
}

ResctrlSource::Snapshot ResctrlSource::take(IfUnavailable if_unavailable) const {
  Snapshot snapshot;
  for (const std::string& event : events_) {
    auto values = values_of(event, if_unavailable);
    if (values) {
      snapshot.events.emplace(event, *std::move(values));
      continue;
    }
    const bool deleted = group_ && !files_.has(group_->path());
    snapshot.failure = deleted ? "somebody deleted the group " + files_.path(group_->path())
                               : values.error().message;
    break;
  }
  snapshot.time_ns = clock_();
  return snapshot;
}

Result<void> ResctrlSource::enable() {
  begin_ = take(IfUnavailable::read_again);
  return {};
}

Result<void> ResctrlSource::disable() {
  end_ = take(IfUnavailable::leave);
  return {};
}

/// Bytes per second, summed over all domains and groups.
std::optional<double> ResctrlSource::rate_of(const std::string& event, std::string& reason) const {
  const auto before = begin_.events.find(event);
  const auto after = end_.events.find(event);
  if (before == begin_.events.end() || after == end_.events.end()) {
    reason = event + " is not counted by this hardware";
    if (event == kTotal) reason += " (use --local to compare local bytes)";
    return std::nullopt;
  }
  double bytes = 0;
  for (const auto& [file, end] : after->second) {
    const auto begin = before->second.find(file);
    if (begin == before->second.end()) {
      reason = files_.path(file) + " appeared during the window";
      return std::nullopt;
    }
    reason = why_not(files_.path(file), begin->second);
    if (reason.empty()) reason = why_not(files_.path(file), end);
    if (!reason.empty()) return std::nullopt;
    const auto grown = grown_by(begin->second.bytes, end.bytes);
    if (!grown) {
      reason = files_.path(file) + " was set back during the window";
      return std::nullopt;
    }
    bytes += static_cast<double>(*grown);
  }
  if (after->second.size() < before->second.size()) {
    reason = "a domain of the last-level caches went away during the window";
    return std::nullopt;
  }
  if (end_.time_ns <= begin_.time_ns) {
    reason = "the window had no length";
    return std::nullopt;
  }
  return bytes * kNanosecondsInSecond / static_cast<double>(end_.time_ns - begin_.time_ns);
}

MemoryReading ResctrlSource::read() {
  MemoryReading reading;
  reading.begin_ns = begin_.time_ns;
  reading.end_ns = end_.time_ns;
  reading.reason = !begin_.failure.empty() ? begin_.failure : end_.failure;
  if (!reading.reason.empty()) return reading;
  std::string of_local;
  reading.local = rate_of(kLocal, of_local);
  if (options_.local_domain) {
    reading.total = reading.local;
    reading.reason = of_local;
  } else {
    reading.total = rate_of(kTotal, reading.reason);
  }
  if (reading.total) reading.reason = "resctrl does not tell reads from writes";
  return reading;
}

Result<void> ResctrlSource::close() {
  Result<void> first;
  if (group_) first = group_->undo();
  group_.reset();
  groups_.clear();
  if (!mounted_.empty()) {
    const auto unmounted = calls_.unmount(files_.path(mounted_));
    if (first && !unmounted) first = unmounted;
  }
  mounted_.clear();
  mount_point_.clear();
  return first;
}

}  // namespace shmif::perf
