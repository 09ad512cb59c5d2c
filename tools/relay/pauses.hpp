#pragma once
// Pauses: how long a program that connected in vain must wait before it is served again, and how
// long to wait before a program is asked again. LineBudget: how much is written about them.

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

namespace shmif::tools {

/// The pause before the second try of a program, and the longest pause.
inline constexpr std::chrono::milliseconds kFirstPause{100};
inline constexpr std::chrono::milliseconds kLastPause{2000};

/// How long to wait between repeated tries to reach a program.
class Retries {
 public:
  /// The pause after a try that failed.
  std::chrono::milliseconds after_failure() {
    return std::exchange(pause_, std::min(2 * pause_, kLastPause));
  }
  /// The pause after a connection that lasted this long. If a program accepts and closes again and
  /// again, it is asked more and more rarely.
  std::chrono::milliseconds after_connection(std::chrono::steady_clock::duration lasted) {
    if (lasted > kLastPause) pause_ = kFirstPause;
    return after_failure();
  }

 private:
  std::chrono::milliseconds pause_ = kFirstPause;
};

/// Some programs that do not find what they want connect again at once, forever (QEMU with several
/// queues, 700 times a second). Such a program is served later and later; other programs do not
/// wait. Threads: one at a time.
class Pauses {
 public:
  using Clock = std::chrono::steady_clock;

  /// How long that process must wait now. `now` never goes back.
  std::chrono::milliseconds before(pid_t process, Clock::time_point now) {
    std::erase_if(all_, [now](const auto& each) { return now - each.second.at > kMemory; });
    const auto found = all_.find(process);
    return found == all_.end() ? std::chrono::milliseconds(0) : found->second.pause;
  }
  /// Notes that a program of that process has gone; `process` is 0 if it is not known.
  void note(pid_t process, bool was_in_vain, Clock::time_point now) {
    if (!was_in_vain || process == 0) {
      all_.erase(process);
      return;
    }
    Pause& pause = all_[process];
    pause.pause = std::clamp(2 * pause.pause, kFirstPause, kLastPause);
    pause.at = now;
  }

 private:
  static constexpr std::chrono::seconds kMemory{10};
  struct Pause {
    std::chrono::milliseconds pause{};
    Clock::time_point at;
  };
  std::map<pid_t, Pause> all_;
};

/// Limits how many lines a program that runs for days writes about what others do: allows kAtOnce
/// lines, and one more after each kEach. Threads: one at a time.
class LineBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kAtOnce = 20;
  static constexpr std::chrono::seconds kEach{1};

  /// Whether a line may be written now. If so, counts it. `now` never goes back.
  bool take(Clock::time_point now) noexcept {
    if (left(now) > Clock::duration(0)) return false;
    spent_until_ = std::max(spent_until_, now - kAtOnce * kEach) + kEach;
    return true;
  }
  /// How long until take() allows a line; 0 if it does so now.
  Clock::duration left(Clock::time_point now) const noexcept {
    return std::max(Clock::duration(0), spent_until_ + kEach - now);
  }

 private:
  /// The budget is used up until this time.
  Clock::time_point spent_until_{-(kAtOnce + 1) * kEach};  // the clock begins at 0
};

}  // namespace shmif::tools
