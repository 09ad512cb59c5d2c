#include "bus/port/lookout.hpp"

#include <utility>

#include "base/signals.hpp"
#include "bus/port/doorbell.hpp"

namespace shmif::bus {

Lookout::Lookout(Look look) : look_(std::move(look)) {
  thread_ = base::quiet_thread<std::jthread>([this](const std::stop_token& stop) { run(stop); });
}

void Lookout::look_soon() noexcept {
  if (soon_.load()) return;
  {
    const std::lock_guard guard(mutex_);
    soon_.store(true);
  }
  changed_.notify_one();
}

void Lookout::run(const std::stop_token& stop) {
  std::chrono::nanoseconds next = std::chrono::nanoseconds::max();
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto is_wanted = [this] { return soon_.load(); };
    if (next == std::chrono::nanoseconds::max()) {
      changed_.wait(lock, stop, is_wanted);
    } else if (next > kLookUp) {
      changed_.wait_for(lock, stop, next, is_wanted);
    }
    // A port that falls asleep meanwhile is looked at sooner than it needs, and once more later.
    if (next < kLookUp) {
      soon_.store(false);  // what was asked for before is done then
      changed_.wait_for(lock, stop, next, [] { return false; });
    } else if (soon_.exchange(false) || next == kLookUp) {
      changed_.wait_for(lock, stop, kLookUp, [] { return false; });
    }
    if (stop.stop_requested()) return;
    lock.unlock();
    next = look_();
    lock.lock();
  }
}

}  // namespace shmif::bus
