#pragma once
// A signal that hits a sender in the middle of a burst. The sender's own timer sends it, because
// another process would seldom hit so short a time.

#include <time.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <random>
#include <stdexcept>

namespace shmif::test {

/// Nanoseconds of the monotonic clock, which all processes share.
inline std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// Lies in memory that a test shares with a sender. The sender makes batches, and sends them in a
/// burst, by burst(). When the test has called set(), a timer in the sender's process sends it the
/// signal at a random moment of its next burst.
class Fuse {
 public:
  void set(int signal, std::mt19937_64& random) {
    signal_ = signal;
    fuse_ns_ = 1 + random() % std::clamp<std::uint64_t>(burst_ns_, 1000, 10'000'000);
  }
  template <class Send>
  void burst(Send send) {
    const std::uint64_t began = now_ns();
    light();
    send();
    burst_ns_ = now_ns() - began;
  }
  bool has_burst() const { return burst_ns_ != 0; }  ///< since the start, or since forget()
  std::uint64_t due_ns() const { return due_ns_; }   ///< when the signal is, or was, due
  void forget() {
    fuse_ns_ = 0;
    burst_ns_ = 0;
  }

 private:
  void light() {
    const std::uint64_t fuse = fuse_ns_.exchange(0);
    if (fuse == 0) return;
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal_;
    timer_t timer{};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) throw std::runtime_error("no timer");
    due_ns_ = now_ns() + fuse;
    const itimerspec once{.it_interval = {}, .it_value = {0, static_cast<long>(fuse)}};
    timer_settime(timer, 0, &once, nullptr);
  }

  std::atomic<std::uint64_t> fuse_ns_{0};
  std::atomic<int> signal_{0};
  std::atomic<std::uint64_t> due_ns_{0};
  std::atomic<std::uint64_t> burst_ns_{0};  ///< how long the last burst took; 0: none yet
};

}  // namespace shmif::test
