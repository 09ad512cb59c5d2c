#include "perf/heat/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/nearest_rank.hpp"
#include "perf/heat/damon.hpp"
#include "perf/heat/page_scan.hpp"

namespace shmif::perf {

using std::chrono::microseconds;

namespace {

bool is_alive(const TaskId& process, const KernelFiles& files) {
  const auto text = files.read("/proc/" + std::to_string(process.number) + "/stat");
  if (!text) return false;
  const auto stat = read_task_stat(*text);
  return stat && stat->start_ticks == process.start_ticks && stat->state != 'Z';
}

std::uint64_t accessed_bytes(const std::vector<Region>& regions) {
  std::uint64_t bytes = 0;
  for (const Region& region : regions) bytes += region.accesses > 0 ? region.bytes() : 0;
  return bytes;
}

}  // namespace

struct HeatSession::Target {
  explicit Target(const TaskId& watched) : process(watched) { result.process = watched; }

  /// It may have been started just now: it executes its program, maps files, attaches to a bus.
  bool is_young() const noexcept { return Clock::now() - added < std::chrono::seconds(1); }

  TaskId process;
  std::unique_ptr<HeatSource> source;
  std::optional<Regions> regions;
  HeatResult result;
  std::string clients;             ///< where it shares its access heat; empty: nowhere
  bool may_take_part_yet = false;  ///< it is looked for among the clients again
  bool is_sampling = false;        ///< forget() was called
  std::uint32_t samples = 0;
  std::size_t windows = 0;
  Clock::time_point added = Clock::now();
  Clock::time_point window_begun, next_sample, next_update, next_search;
};

HeatSession::HeatSession(HeatOptions options)
    : options_(std::move(options)), begun_(Clock::now()) {}
HeatSession::~HeatSession() = default;
HeatSession::HeatSession(HeatSession&&) noexcept = default;
HeatSession& HeatSession::operator=(HeatSession&&) noexcept = default;

double HeatSession::seconds(Clock::time_point then) const noexcept {
  return std::chrono::duration<double>(then - begun_).count();
}

void HeatSession::add(const Process& process) {
  auto target = std::make_unique<Target>(process.id());
  connect(*target);
  targets_.push_back(std::move(target));
}

void HeatSession::add(const Process& process, std::unique_ptr<HeatSource> source) {
  auto target = std::make_unique<Target>(process.id());
  begin(*target, std::move(source));
  targets_.push_back(std::move(target));
}

void HeatSession::add_unwatched(const TaskId& process, const std::string& name,
                                const std::string& reason) {
  ++changes_;
  auto target = std::make_unique<Target>(process);
  target->result.name = name;
  target->result.reason = reason;
  targets_.push_back(std::move(target));
}

/// Finds the best source.
void HeatSession::connect(Target& target) {
  const pid_t pid = target.process.number;
  std::string reason;
  if (options_.backend == HeatBackend::damon) {
    auto kernel = watch_by_damon(target.process, options_.attributes, options_.files);
    if (kernel) return begin(target, *std::move(kernel));
    ++changes_;
    target.result.reason = kernel.error().message;
    return;
  }
  if (options_.backend != HeatBackend::clear_refs) {
    target.clients = options_.clients;
    if (target.clients.empty()) {
      const auto own = heat_folder_of(pid, options_.files);
      if (own) target.clients = *own;
    }
    auto client = watch_by_client(pid, target.clients);
    if (client) return begin(target, *std::move(client));
    reason = client.error().message;
    // It may not have come to its first port yet.
    target.may_take_part_yet = !target.clients.empty();
  }
  if (options_.backend != HeatBackend::client) {
    auto any = watch_by_clear_refs(target.process, options_.files);
    if (any) return begin(target, *std::move(any));
    reason = any.error().message;
  }
  ++changes_;
  target.result.reason = reason;
}

void HeatSession::begin(Target& target, std::unique_ptr<HeatSource> source) {
  ++changes_;
  target.source = std::move(source);
  target.result.provenance = target.source->provenance();
  target.result.reason.clear();
  if (target.source->looking() != Looking::whole_ranges) target.may_take_part_yet = false;
  const auto seed = static_cast<std::uint64_t>(target.process.number);
  target.regions.emplace(options_.attributes, target.source->looking(), page_bytes(), seed);
  target.samples = 0;
  target.windows = 0;
  target.is_sampling = false;
  const auto now = Clock::now();
  target.window_begun = target.next_sample = now;
  target.next_update = now;
  target.result.windows.clear();
}

void HeatSession::stop(Target& target, const Error& why) {
  ++changes_;
  target.source.reset();
  target.result.reason = why.message;
  target.result.has_ended = why.code == std::errc::no_such_process;
  if (target.result.has_ended) target.result.reason = "the process has ended";
  // What was seen of an unfinished window is the last that is known.
  if (target.samples > 0) end_window(target);
  target.may_take_part_yet = false;
}

void HeatSession::update(Target& target) {
  target.next_update = Clock::now() + options_.attributes.update;
  const std::string pid = std::to_string(target.process.number);
  if (const auto name = options_.files.read("/proc/" + pid + "/comm")) {
    target.result.name = name->substr(0, name->find('\n'));
  }
  auto ranges = target.source->ranges();
  if (!ranges) return stop(target, ranges.error());
  target.result.ranges = *std::move(ranges);
  std::vector<AddressRange> addresses;
  addresses.reserve(target.result.ranges.size());
  for (const NamedRange& each : target.result.ranges) addresses.push_back(each.range);
  target.regions->set_target(std::move(addresses));
}

void HeatSession::end_window(Target& target) {
  ++changes_;
  const auto now = Clock::now();
  HeatWindow window;
  window.begin_s = seconds(target.window_begun);
  window.end_s = seconds(now);
  window.samples = std::exchange(target.samples, 0);
  window.regions = target.regions->aggregate();
  window.working_set_bytes = target.regions->working_set_bytes();
  if (target.source && target.source->keeps_regions()) {
    window.regions = target.source->take_regions();
    window.samples = options_.attributes.samples_per_window();
    window.working_set_bytes = accessed_bytes(window.regions);
  }
  if (target.source) {
    if (const auto known = target.source->take_working_set()) window.working_set_bytes = *known;
  }
  target.window_begun = now;
  std::vector<HeatWindow>& windows = target.result.windows;
  if (windows.size() >= std::max<std::size_t>(options_.keep_windows, 1)) {
    windows.erase(windows.begin());
  }
  windows.push_back(std::move(window));
  ++target.windows;
}

void HeatSession::sample(Target& target) {
  const auto begun = Clock::now();
  if (target.is_sampling) {
    target.is_sampling = false;
    if (auto looked = target.source->look(*target.regions); !looked) {
      return stop(target, looked.error());
    }
    ++target.samples;
    if (target.source->keeps_regions() ||
        Clock::now() - target.window_begun >= options_.attributes.aggregation)
      end_window(target);
  }
  // Between windows only: samples of a window are of the same addresses.
  if (target.samples == 0 && (begun >= target.next_update || target.is_young())) {
    update(target);
    if (!target.source) return;
  }
  if (auto forgot = target.source->forget(*target.regions); !forgot) {
    return stop(target, forgot.error());
  }
  target.is_sampling = true;
  const auto now = Clock::now();
  // One part of 100, at most.
  constexpr int kShare = 100;
  const auto rest =
      target.source->grows_with_target() ? (now - begun) * kShare : Clock::duration::zero();
  const auto step = target.source->keeps_regions() ? options_.attributes.aggregation
                                                   : options_.attributes.sampling;
  target.next_sample = std::max<Clock::time_point>(begun + step, now + rest);
}

/// Looks whether the process takes part by now.
void HeatSession::search(Target& target) {
  constexpr std::chrono::milliseconds kSoon(10);
  target.next_search = Clock::now() + (target.is_young() ? kSoon : options_.attributes.update);
  auto client = watch_by_client(target.process.number, target.clients);
  if (client) {
    begin(target, *std::move(client));
  } else if (!is_alive(target.process, options_.files)) {
    stop(target, Error::from_errno(ESRCH, "cannot watch it"));
  }
}

HeatSession::Clock::time_point HeatSession::step() {
  // A costly look is followed by a long rest, in which the process can end.
  constexpr std::chrono::milliseconds kEndCheck(100);
  auto next = Clock::time_point::max();
  for (const auto& target : targets_) {
    if (target->may_take_part_yet && Clock::now() >= target->next_search) search(*target);
    if (target->source && Clock::now() >= target->next_sample) sample(*target);
    if (target->source && target->next_sample > Clock::now() + kEndCheck) {
      if (!is_alive(target->process, options_.files)) {
        stop(*target, Error::from_errno(ESRCH, "cannot watch it"));
      } else {
        next = std::min(next, Clock::now() + kEndCheck);
      }
    }
    if (target->source) next = std::min(next, target->next_sample);
    if (target->may_take_part_yet) next = std::min(next, target->next_search);
  }
  return next;
}

void HeatSession::finish() {
  for (const auto& target : targets_) {
    if (target->source && !is_alive(target->process, options_.files)) {
      stop(*target, Error::from_errno(ESRCH, "cannot watch it"));
    }
    if (target->source && target->samples > 0) end_window(*target);
    target->source.reset();
  }
}

bool HeatSession::is_watching() const noexcept {
  return std::ranges::any_of(
      targets_, [](const auto& target) { return target->source || target->may_take_part_yet; });
}

std::size_t HeatSession::windows() const noexcept {
  std::size_t most = 0;
  for (const auto& target : targets_) most = std::max(most, target->windows);
  return most;
}

std::vector<HeatResult> HeatSession::results() const {
  std::vector<HeatResult> results;
  results.reserve(targets_.size());
  for (const auto& target : targets_) results.push_back(target->result);
  return results;
}

std::vector<std::uint64_t> working_set_percentiles(const std::vector<HeatWindow>& windows) {
  std::vector<std::uint64_t> bytes;
  bytes.reserve(windows.size());
  for (const HeatWindow& window : windows) bytes.push_back(window.working_set_bytes);
  std::ranges::sort(bytes);
  std::vector<std::uint64_t> found;
  if (bytes.empty()) return found;
  for (const double per_cent : {0.0, 25.0, 50.0, 75.0, 100.0}) {
    found.push_back(bytes[base::nearest_rank(bytes.size(), per_cent) - 1]);
  }
  return found;
}

}  // namespace shmif::perf
