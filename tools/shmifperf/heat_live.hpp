#pragma once
// shmifperf heat --live: the newest windows on the terminal, drawn again for each window.

#include <chrono>
#include <cstdint>
#include <vector>

#include "instruments/heat/session.hpp"
#include "tools/show/terminal.hpp"

namespace shmif::tools {

/// Takes over the terminal while it exists (Screen). Threads: one at a time.
class LiveHeat {
 public:
  /// `keys`: whether keys are for this command. They are not if a program shares the terminal.
  LiveHeat(const perf::HeatAttributes& attributes, bool keys);

  /// Wait for these, too: one is readable when a key or a signal has come.
  std::vector<int> descriptors() const;
  /// Draws the session, if it has changed or the terminal has another size. It draws at most 20
  /// times per second. Result: false if the user typed q. Blocks: while the terminal stands still.
  bool look(const perf::HeatSession& session);

 private:
  using Clock = std::chrono::steady_clock;
  bool quits();

  perf::HeatAttributes attributes_;
  bool keys_;
  bool is_stale_ = true;  ///< must be drawn, also without new windows
  std::uint64_t drawn_ = 0;
  Clock::time_point next_{};
  Screen screen_;
};

}  // namespace shmif::tools
