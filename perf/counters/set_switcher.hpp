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
  /// What the thread does in each round: it looks whose turn it is, and adds the descriptors that
  /// it waits for. Result: for how many milliseconds at most, -1 without an end; none: the thread
  /// ends, because somebody asked it to.
  using Look =
      std::function<std::optional<int>(const std::stop_token& stop, std::vector<pollfd>& wakers)>;

  explicit SetSwitcher(Look look);
  SetSwitcher(const SetSwitcher&) = delete;
  SetSwitcher& operator=(const SetSwitcher&) = delete;
  /// Blocks: until the thread has ended.
  ~SetSwitcher();

  /// Looks again now. Threads: any.
  void wake() const noexcept;
  /// The thread ends with its next look. Threads: any.
  void request_stop() noexcept;

 private:
  void run(const std::stop_token& stop);

  Look look_;
  UniqueFd wake_;
  std::jthread thread_;
};

}  // namespace shmif::perf
