#include "tools/relay/await.hpp"

#include <poll.h>

#include <array>
#include <ctime>

#include "base/error.hpp"
#include "base/text.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

void await_descriptor(int descriptor, const StopSignals& stop, std::chrono::nanoseconds at_most,
                      int output) {
  std::array<pollfd, 3> entries{
      {{descriptor, POLLIN, 0}, {stop.descriptor(), POLLIN, 0}, {output, 0, 0}}};
  const auto ns = std::max<std::int64_t>(at_most.count(), 0);
  const timespec timeout{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  ppoll(entries.data(), entries.size(), &timeout,
        nullptr);  // no check of the result: the caller checks all three anyway
}

bool is_abandoned(int output) {
  pollfd entry{output, 0, 0};
  return poll(&entry, 1, 0) > 0 && (entry.revents & POLLERR) != 0;
}

bool Corruption::met(const std::error_code& error, const StopSignals& stop) {
  const bool lasted = lasts_;
  const bool is_held = error == Errc::lock_held;
  lasts_ = error == Errc::corrupt || is_held;
  if (!lasts_) return false;
  if (!lasted) {
    complain(is_held ? "cannot go on with " + path_ + ": " + error.message() + "; waiting"
                     : "cannot go on with " + path_ + ": the bus is corrupt (waiting until " +
                           base::quote_command("shmifctl repair", path_) + " has repaired it)");
  }
  stop.wait(50);
  return true;
}

}  // namespace shmif::tools
