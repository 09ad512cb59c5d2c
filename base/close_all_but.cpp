#include "base/close_all_but.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace shmif::base {

void close_all_but(std::initializer_list<int> kept, int first) noexcept {
  std::array<int, 8> room{};
  const std::size_t count = std::min(kept.size(), room.size());
  std::copy_n(kept.begin(), count, room.begin());
  const std::span<int> sorted = std::span(room).first(count);
  std::ranges::sort(sorted);
  for (const int fd : sorted) {
    if (fd < first) continue;
    if (fd > first) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(fd - 1), 0);
    first = fd + 1;
  }
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
}

}  // namespace shmif::base
