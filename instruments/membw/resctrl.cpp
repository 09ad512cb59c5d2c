#include "instruments/membw/resctrl.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

Error not_a(std::string_view text, const char* what) {
  constexpr std::size_t kMaxShown = 80;
  return Error(Errc::bad_argument,
               '"' + std::string(text.substr(0, kMaxShown)) + "\" is not " + what);
}

/// /proc/mounts writes spaces, tabs, line ends and backslashes in octal: "\040".
std::string without_escapes(std::string_view text) {
  constexpr std::size_t kDigits = 3;
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto code = text[at] == '\\' ? base::read_digits(text.substr(at + 1, kDigits), 8)
                                       : std::optional<std::uint64_t>();
    const bool whole =
        code && *code <= std::numeric_limits<unsigned char>::max() && at + kDigits < text.size();
    out += whole ? static_cast<char>(*code) : text[at];
    if (whole) at += kDigits;
  }
  return out;
}

}  // namespace

Result<MbmValue> read_mbm_value(std::string_view text) {
  if (text.empty()) return Error(Errc::bad_argument, "the file is empty");
  if (!text.ends_with('\n')) return not_a(text, "a whole line");
  text.remove_suffix(1);
  using State = MbmValue::State;
  if (text == "Unavailable") return MbmValue{State::unavailable, 0};
  if (text == "Unassigned") return MbmValue{State::unassigned, 0};
  if (text == "Error") return MbmValue{State::failed, 0};
  const auto bytes = base::read_digits(text);
  if (!bytes) return not_a(text, "a number of bytes");
  return MbmValue{State::counted, *bytes};
}

std::optional<std::uint64_t> grown_by(std::uint64_t before, std::uint64_t after) noexcept {
  // No memory moves 2^62 bytes in a window. So a larger difference means a reset.
  constexpr std::uint64_t kMax = std::uint64_t{1} << 62U;
  const std::uint64_t difference = after - before;
  if (difference > kMax) return std::nullopt;
  return difference;
}

Result<std::string> read_assign_mode(std::string_view text) {
  std::string mode;
  for (const std::string_view line : base::lines_in(text)) {
    if (!line.starts_with('[') || !line.ends_with(']')) continue;
    if (!mode.empty() || line.size() <= 2)
      return not_a(text, "a list of modes with one in brackets");
    mode = line.substr(1, line.size() - 2);
  }
  if (mode.empty()) return not_a(text, "a list of modes with one in brackets");
  return mode;
}

Result<MbmAssignments> read_mbm_assignments(std::string_view text) {
  MbmAssignments assignments;
  for (const std::string_view line : base::lines_in(text)) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return not_a(line, "EVENT:DOMAIN=STATE");
    auto& domains = assignments[std::string(line.substr(0, colon))];
    for (const std::string_view each : base::split(line.substr(colon + 1), ';')) {
      const std::size_t equals = each.find('=');
      const auto domain = base::read_digits(each.substr(0, equals));
      if (equals == std::string_view::npos || !domain || each.size() == equals + 1 ||
          *domain > std::numeric_limits<unsigned>::max()) {
        return not_a(each, "DOMAIN=STATE");
      }
      domains[static_cast<unsigned>(*domain)] = each.substr(equals + 1);
    }
  }
  return assignments;
}

std::optional<unsigned> l3_domain_of(std::string_view name) {
  constexpr std::string_view kStem = "mon_L3_";
  if (!name.starts_with(kStem)) return std::nullopt;
  const auto number = base::read_digits(name.substr(kStem.size()));
  if (!number || *number > std::numeric_limits<unsigned>::max()) return std::nullopt;
  return static_cast<unsigned>(*number);
}

std::optional<std::string> resctrl_mount_in(std::string_view mounts) {
  constexpr std::size_t kPath = 1;
  constexpr std::size_t kType = 2;
  for (const std::string_view line : base::lines_in(mounts)) {
    const auto words = base::split(line, ' ');
    if (words.size() > kType && words[kType] == "resctrl" && words[kPath].starts_with('/')) {
      return without_escapes(words[kPath]);
    }
  }
  return std::nullopt;
}

Result<std::vector<int>> read_tasks(std::string_view text) {
  std::vector<int> tasks;
  for (const std::string_view line : base::lines_in(text)) {
    const auto number = base::read_digits(line);
    if (!number || *number == 0 || *number > std::numeric_limits<int>::max()) {
      return not_a(line, "the number of a task");
    }
    tasks.push_back(static_cast<int>(*number));
  }
  return tasks;
}

namespace {

Result<void> done_or(int result, const std::string& what) {
  if (result == 0) return {};
  const char* const advice = errno == EACCES || errno == EPERM ? "only root may change resctrl"
                             : errno == ENOSPC || errno == EBUSY
                                 ? "all monitoring identifiers are in use; delete groups"
                                 : "";
  return Error::from_errno(errno, what, advice);
}

class KernelGroups final : public GroupCalls {
 public:
  Result<void> mount(const std::string& path) override {
    return done_or(::mount("resctrl", path.c_str(), "resctrl", 0, nullptr),
                   "cannot mount resctrl on " + path);
  }
  Result<void> unmount(const std::string& path) override {
    return done_or(::umount(path.c_str()), "cannot unmount " + path);
  }
  Result<void> make(const std::string& path) override {
    return done_or(::mkdir(path.c_str(), 0755), "cannot make the group " + path);
  }
  Result<void> remove(const std::string& path) override {
    return done_or(::rmdir(path.c_str()), "cannot delete the group " + path);
  }
  Result<void> write(const KernelFiles& files, const std::string& name,
                     const std::string& text) override {
    return files.write(name, text);
  }
};

bool is_gone(const Error& error) {
  return error.code == std::errc::no_such_file_or_directory ||
         error.code == std::errc::no_such_device;
}
bool has_ended(const Error& error) {
  return error.code == std::errc::no_such_process;
}

void keep_first(Result<void>& first, const Result<void>& next) {
  if (first && !next) first = next;
}

/// The paths of all control groups. The first is the mount point itself. Errors: an errno.
Result<std::vector<std::string>> control_groups(const KernelFiles& files,
                                                const std::string& mount_point) {
  auto names = files.list(mount_point);
  if (!names) return std::move(names).error();
  std::vector<std::string> groups{mount_point};
  for (const std::string& name : *names) {
    std::string path = mount_point;
    path.append("/").append(name);
    if (name != "info" && name != "mon_groups" && name != "mon_data" &&
        files.has(path + "/tasks")) {
      groups.push_back(path);
    }
  }
  return groups;
}

}  // namespace

GroupCalls& kernel_groups() {
  static KernelGroups calls;
  return calls;
}

Result<void> ResctrlGroup::find_homes(const std::string& mount_point) {
  homes_.clear();
  const auto controls = control_groups(files_, mount_point);
  if (!controls) return controls.error();
  const auto add = [&](const std::string& path, const Home& home) -> Result<void> {
    const auto text = files_.read(path + "/tasks");
    if (!text) return is_gone(text.error()) ? Result<void>() : text.error();
    const auto tasks = read_tasks(*text);
    if (!tasks) return Error(tasks.error().code, path + "/tasks: " + tasks.error().message);
    for (const int task : *tasks) homes_[task] = home;
    return {};
  };
  // A control group also lists the tasks of its monitoring groups.
  for (const std::string& control : *controls) {
    auto added = add(control, {control, {}});
    const auto monitoring = files_.list(control + "/mon_groups");
    for (const std::string& name : monitoring ? *monitoring : std::vector<std::string>()) {
      std::string path = control;
      path.append("/mon_groups/").append(name);
      if (added) added = add(path, {control, path});
    }
    if (!added) return added;
  }
  return {};
}

Result<std::set<int>> ResctrlGroup::threads_of(const std::vector<pid_t>& processes) const {
  std::set<int> threads;
  for (const pid_t process : processes) {
    const auto names = files_.list("/proc/" + std::to_string(process) + "/task");
    if (!names && !is_gone(names.error())) return names.error();
    for (const std::string& name : names ? *names : std::vector<std::string>()) {
      if (const auto number = base::read_digits(name)) threads.insert(static_cast<int>(*number));
    }
  }
  if (!threads.empty()) return threads;
  return Error::from_errno(ESRCH, "cannot move the watched processes into a group of resctrl");
}

Result<void> ResctrlGroup::choose_control(const std::string& mount_point,
                                          const std::string& control,
                                          const std::set<int>& threads) {
  if (!control.empty()) {
    control_ = mount_point + '/' + control;
    if (files_.has(control_)) return {};
    const auto made = calls_.make(files_.path(control_));
    if (made) made_control_ = control_;
    return made;
  }
  for (const int thread : threads) {
    const auto home = homes_.find(thread);
    const std::string& found = home == homes_.end() ? mount_point : home->second.control;
    if (!control_.empty() && control_ != found) {
      return Error(Errc::busy,
                   "the watched threads are in the control groups " + control_ + " and " + found +
                       " of resctrl (give one group for all, or watch them one by one)");
    }
    control_ = found;
  }
  return {};
}

Result<void> ResctrlGroup::make(const std::string& mount_point, const std::string& name,
                                const std::vector<pid_t>& processes, const std::string& control) {
  auto done = undo();
  if (done) done = find_homes(mount_point);
  const auto threads = done ? threads_of(processes) : Result<std::set<int>>(done.error());
  if (!threads) return threads.error();
  done = choose_control(mount_point, control, *threads);
  if (done) {
    const std::string path = control_ + "/mon_groups/" + name;
    made_group_ = !files_.has(path);
    if (made_group_) done = calls_.make(files_.path(path));
    if (done) group_ = path;
  }
  if (done) {
    debug(Debug::membw, [&] {
      return (made_group_ ? "made " : "uses ") + group_ + " for " +
             std::to_string(threads->size()) + " threads";
    });
  }
  if (done) done = move_in(processes);
  homes_.clear();
  if (!done) static_cast<void>(undo());  // report only the first error
  return done;
}

Result<void> ResctrlGroup::move_in(const std::vector<pid_t>& processes) {
  constexpr int kMaxPasses = 32;
  // A thread that begins while others are moved may begin outside the group. So look again until
  // there is no new thread.
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const auto threads = threads_of(processes);
    if (!threads) return pass == 0 ? Result<void>(threads.error()) : Result<void>();
    bool all_known = true;
    for (const int thread : *threads) {
      if (moved_.contains(thread)) continue;
      all_known = false;
      const auto home = homes_.find(thread);
      const Home usual = moved_.empty() ? Home{control_, {}} : default_home_;
      Home from = home == homes_.end() ? usual : home->second;
      const auto done = move(thread, {control_, group_});
      if (!done && !has_ended(done.error())) return done;
      if (moved_.empty()) default_home_ = from;
      moved_.emplace(thread, std::move(from));
    }
    if (all_known) return {};
  }
  return Error(Errc::busy, "the watched processes start threads faster than they can be moved");
}

Result<void> ResctrlGroup::move(int task, const Home& to) const {
  // The kernel takes a task into a monitoring group only from the control group above it.
  const std::string number = std::to_string(task) + '\n';
  auto done = calls_.write(files_, to.control + "/tasks", number);
  if (done && !to.monitoring.empty()) done = calls_.write(files_, to.monitoring + "/tasks", number);
  return done;
}

Result<void> ResctrlGroup::put_back() {
  // If somebody deleted the group, its tasks are in the control group above.
  std::map<int, Home> tasks = moved_;
  if (const auto text = files_.read(group_ + "/tasks"); text && made_group_) {
    const auto inside = read_tasks(*text);
    if (!inside) return inside.error();
    for (const int task : *inside) tasks.emplace(task, default_home_);
  }
  Result<void> first;
  for (const auto& [task, home] : tasks) {
    if (!files_.has("/proc/" + std::to_string(task))) continue;
    auto done = move(task, home);
    // The task's former group may be gone by now.
    if (!done && is_gone(done.error())) done = move(task, {home.control, {}});
    if (!done && !has_ended(done.error())) keep_first(first, done);
  }
  return first;
}

Result<void> ResctrlGroup::undo() {
  Result<void> first;
  if (!group_.empty()) {
    first = put_back();
    debug(Debug::membw, [&] {
      return (made_group_ ? "removes " : "leaves ") + group_ + "; " +
             std::to_string(moved_.size()) + " threads are where they were";
    });
    const auto removed = made_group_ ? calls_.remove(files_.path(group_)) : Result<void>();
    if (!removed && !is_gone(removed.error())) keep_first(first, removed);
  }
  if (!made_control_.empty()) {
    const auto removed = calls_.remove(files_.path(made_control_));
    if (!removed && !is_gone(removed.error())) keep_first(first, removed);
  }
  group_.clear();
  control_.clear();
  made_control_.clear();
  moved_.clear();
  default_home_ = {};
  return first;
}

namespace {

constexpr const char* kUsualPlace = "/sys/fs/resctrl";
constexpr const char* kTotal = "mbm_total_bytes";
constexpr const char* kLocal = "mbm_local_bytes";
constexpr double kNanosecondsInSecond = 1e9;

bool kernel_has_resctrl(const KernelFiles& files) {
  const auto text = files.read("/proc/filesystems");
  if (!text) return false;
  return std::ranges::any_of(base::lines_in(*text),
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
  for (const std::string_view line : base::lines_in(text ? std::string_view(*text) : "")) {
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
