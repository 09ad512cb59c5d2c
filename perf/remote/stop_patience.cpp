#include "perf/remote/stop_patience.hpp"

namespace shmif::perf {

void StopPatience::note_signals(int signals, Clock::time_point now) noexcept {
  signals_ = signals;
  if (signals != 0 && !stopped_) stopped_ = now;
}

void StopPatience::note_failure(Clock::time_point now) noexcept {
  if (!stopped_) stopped_ = now;
}

bool StopPatience::take_hard(Clock::time_point now) noexcept {
  if (hard_ || !stopped_) return false;
  if (signals_ < 2 && now <= *stopped_ + drain_ + kSoftTime) return false;
  hard_ = now;
  return true;
}

std::string StopPatience::why_given_up(bool has_started, Clock::time_point now) const {
  if (!stopped_) return {};
  if (!has_started) {
    if (signals_ >= 2) return "a second signal ended the wait for it: its jobs had not started";
    if (now < *stopped_ + kUnstartedTime) return {};
    return "it neither started its jobs nor ended within 8 s of a stop";
  }
  if (signals_ >= 3) return "a third signal ended the wait for its result";
  if (hard_ && now >= *hard_ + kHardTime) return "it did not end within 10 s of a hard stop";
  return {};
}

}  // namespace shmif::perf
