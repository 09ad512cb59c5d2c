#include "tools/await.hpp"

#include <poll.h>

#include <array>
#include <ctime>

namespace shmif::tools {

void await_descriptor(int descriptor, const StopSignals& stop, std::chrono::nanoseconds at_most) {
  std::array<pollfd, 2> entries{{{descriptor, POLLIN, 0}, {stop.descriptor(), POLLIN, 0}}};
  const auto ns = std::max<std::int64_t>(at_most.count(), 0);
  const timespec timeout{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  ppoll(entries.data(), entries.size(), &timeout,
        nullptr);  // the caller looks at everything anyway
}

}  // namespace shmif::tools
