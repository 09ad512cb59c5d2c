#include "bench/frame.hpp"

#include <algorithm>

namespace shmif::bench {

std::vector<std::byte> make_frame(std::size_t bytes) {
  std::vector<std::byte> frame(bytes, std::byte{0x55});
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{0x02};
  frame[12] = std::byte{0x88};  // EtherType 0x88b5, for experiments
  frame[13] = std::byte{0xb5};
  return frame;
}

}  // namespace shmif::bench
