#pragma once
// The thread that gives each event set of a session its turn.

#include <poll.h>

#include <functional>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::perf {

/// Threads: one at a time, unless a function says otherwise.
class SetSwitcher {
 public:
  /// What the thread does in each round: checks which set has its turn, and adds the descriptors to
  /// wait for. Result: how many milliseconds to wait at most, -1: without a limit; empty: the
  /// thread must end, because it was asked to.
  using Look =
      std::function<std::optional<int>(const std::stop_token& stop, std::vector<pollfd>& wakers)>;

  explicit SetSwitcher(Look look);
  SetSwitcher(const SetSwitcher&) = delete;
  SetSwitcher& operator=(const SetSwitcher&) = delete;
  /// Blocks: until the thread has ended.
  ~SetSwitcher();

  /// Makes the thread begin the next round now. Threads: any.
  void wake() const noexcept;
  /// Asks the thread to end in its next round. Threads: any.
  void request_stop() noexcept;

 private:
  void run(const std::stop_token& stop);

  Look look_;
  UniqueFd wake_;
  std::jthread thread_;
};

}  // namespace shmif::perf
