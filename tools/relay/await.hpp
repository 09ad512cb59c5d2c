#pragma once
// Sleeping until a link has frames or the program must stop.

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

#include "shmif/link.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

/// Sleeps until `descriptor` is readable, a stopping signal comes, the reader of `output` is gone,
/// or `at_most` has passed. It ignores a descriptor of -1.
void await_descriptor(int descriptor, const StopSignals& stop, std::chrono::nanoseconds at_most,
                      int output = -1);

/// Whether `output` is a pipe whose reader is gone, so that further output would be lost.
bool is_abandoned(int output);

/// For commands that listen on a bus. Reports once that a bus is corrupt, or that somebody keeps
/// its lock. The command then waits, because `repair` mends the bus while ports stay attached.
class Corruption {
 public:
  explicit Corruption(std::string path) : path_(std::move(path)) {}

  /// Call it after each receive. Result: whether the bus is unusable now. If it is, this call has
  /// slept a while, or until a stopping signal came.
  bool met(const std::error_code& error, const StopSignals& stop);
  bool lasts() const noexcept { return lasts_; }

 private:
  std::string path_;
  bool lasts_ = false;
};

/// Sleeps until `link` has something to receive, a stopping signal comes, the reader of `output` is
/// gone, or `at_most` has passed. Threads: the link's receiving thread.
template <Link L>
void await(L& link, const StopSignals& stop, std::chrono::nanoseconds at_most, int output = -1) {
  const WaitHint hint = link.prepare_wait();
  if (!hint.ready) {
    const int descriptor = link.descriptor();
    // Without a descriptor, only time can wake this thread.
    constexpr std::chrono::nanoseconds kBlind = std::chrono::milliseconds(2);
    const auto longest = descriptor < 0 ? std::min(kBlind, hint.at_most) : hint.at_most;
    await_descriptor(descriptor, stop, std::min(at_most, longest), output);
  }
  link.finish_wait();
}

}  // namespace shmif::tools
