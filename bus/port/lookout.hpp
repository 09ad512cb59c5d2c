#pragma once
// Lookout: a thread that looks at the ring for a port whose program sleeps on its level-triggered
// descriptor. Such a program makes no call before it sleeps, so it does not know for how long it
// may sleep (D2 in bus/port/doorbell.hpp). The thread itself sleeps without a time limit while the
// port reads, is down, or sleeps deep.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace shmif::bus {

class Lookout {
 public:
  /// Looks at the port. Result: the time until the next look; max: no look before look_soon().
  using Look = std::function<std::chrono::nanoseconds()>;

  /// Starts the thread, which takes no signals. Errors: throws what std::thread throws.
  explicit Lookout(Look look);
  Lookout(const Lookout&) = delete;
  Lookout& operator=(const Lookout&) = delete;
  /// Blocks: until a look that has begun is over.
  ~Lookout() = default;

  /// Has the thread look within kLookUp. Threads: any. Blocks: never for long.
  void look_soon() noexcept;

 private:
  void run(const std::stop_token& stop);

  Look look_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::atomic<bool> soon_{false};
  std::jthread thread_;  // last: it uses the others
};

}  // namespace shmif::bus
