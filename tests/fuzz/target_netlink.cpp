#include <vector>

#include "tap/guest/watch.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {

void netlink(Bytes bytes) {
  // A copy in allocated memory of the very size: the sanitizer sees each byte that is read beyond.
  const std::vector<std::uint8_t> datagram(bytes.begin(), bytes.end());
  const tap::LinkNewsBatch batch = tap::read_link_news(std::as_bytes(std::span(datagram)));
  // Each message with news has two headers and an attribute of four bytes.
  require(batch.news.size() * 40 <= datagram.size(), "more news than messages");
}

}  // namespace shmif::fuzz
