#include "tools/page/lab_watch.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/signals.hpp"
#include "tools/lab/state.hpp"

namespace shmif::tools {

LabWatch::LabWatch(PageSubject subject, std::chrono::milliseconds interval)
    : subject_(std::move(subject)),
      interval_(interval),
      lab_hosts_(std::make_unique<Json>(Json::array())) {
  feeds_.reserve(subject_.buses.size());
  for (const NamedBus& bus : subject_.buses) feeds_.emplace_back(bus);
  thread_ = base::quiet_thread<std::thread>([this] { run(); });
}

LabWatch::~LabWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

const NamedBus* LabWatch::bus(const std::string& name) const noexcept {
  const auto found = std::ranges::find_if(
      subject_.buses, [&](const NamedBus& each) { return each.name == name || each.path == name; });
  return found == subject_.buses.end() ? nullptr : &*found;
}

std::string LabWatch::look(std::uint64_t number) {
  const std::lock_guard lock(feeds_mutex_);
  last_look_ = number;
  Json buses = Json::array();
  for (BusFeed& feed : feeds_) buses.push_back(feed.look());
  const Json lab = subject_.lab ? look_at_lab() : Json(nullptr);
  return json_line({{"look", number}, {"lab", lab}, {"buses", buses}});
}

/// Whether the lab runs, and the hosts of its file, whether or not they are up: what docs/page.md
/// calls the lab of the state.
Json LabWatch::look_at_lab() {
  const ServedLab& lab = *subject_.lab;
  // Read each time, because `down` and `up` may have made the lab anew.
  const std::optional<LabState> state = read_lab_state(lab.folder, lab.name);
  const bool alive = state && runs(lab.folder, *state);
  if (state) {
    *lab_hosts_ = Json::array();
    for (const LabStateHost& host : state->hosts)
      lab_hosts_->push_back({{"name", host.name}, {"buses", host.buses}});
  }
  return {{"name", lab.name},
          {"file", lab.file},
          {"state", !alive         ? "down"
                    : state->ready ? "up"
                                   : "starting"},
          {"hosts", *lab_hosts_}};
}

void LabWatch::count(std::uint64_t number) {
  const std::lock_guard lock(feeds_mutex_);
  last_look_ = number;
  // A bus that cannot be read is noted as such.
  for (BusFeed& feed : feeds_) static_cast<void>(feed.count());
}

void LabWatch::run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const auto now = Clock::now();
    // The first look is for whoever comes first.
    const bool is_watched = wanted_ || looks_ == 0 || now - asked_ < kForgotten;
    wanted_ = false;
    const std::uint64_t number = looks_ + 1;
    lock.unlock();
    std::string state;
    if (is_watched) {
      state = look(number);
    } else {
      count(number);
    }
    lock.lock();
    looks_ = number;
    if (is_watched) {
      state_ = std::move(state);
      state_look_ = number;
    }
    changed_.notify_all();
    changed_.wait_until(lock, now + interval_, [&] { return ending_ || wanted_; });
  }
  changed_.notify_all();
}

std::string LabWatch::state_from(std::uint64_t number, std::unique_lock<std::mutex>& lock) {
  while (!ending_ && state_look_ < number) {
    wanted_ = true;
    changed_.notify_all();
    changed_.wait(lock);
  }
  return state_;
}

std::string LabWatch::state() {
  std::unique_lock lock(mutex_);
  const auto now = Clock::now();
  const bool is_old = now - asked_ >= kForgotten;
  asked_ = now;
  return state_from(is_old ? looks_ + 1 : 1, lock);
}

std::string LabWatch::state_from_now() {
  std::unique_lock lock(mutex_);
  asked_ = Clock::now();
  // A look may be under way, and may have passed what was changed.
  return state_from(looks_ + 2, lock);
}

std::string LabWatch::histories(const NamedBus* bus) {
  const std::lock_guard lock(feeds_mutex_);
  Json buses = Json::array();
  for (const BusFeed& feed : feeds_) {
    if (bus == nullptr || feed.bus().path == bus->path) buses.push_back(feed.history());
  }
  return json_line({{"interval_ms", interval_.count()}, {"look", last_look_}, {"buses", buses}});
}

std::optional<std::string> LabWatch::history(const NamedBus& bus, unsigned slot,
                                             std::uint32_t incarnation) {
  const std::lock_guard lock(feeds_mutex_);
  for (const BusFeed& feed : feeds_) {
    if (feed.bus().path != bus.path || feed.bus().name != bus.name) continue;
    const std::optional<Json> found = feed.history(slot, incarnation);
    if (found) return json_line(*found);
  }
  return std::nullopt;
}

}  // namespace shmif::tools
