#include <vector>

#include "tap/guest/link_news.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {

void netlink(Bytes bytes) {
  // A copy in allocated memory of the very size: the sanitizer sees each byte that is read beyond.
  const std::vector<std::uint8_t> datagram(bytes.begin(), bytes.end());
  const tap::LinkNewsBatch batch = tap::read_link_news(std::as_bytes(std::span(datagram)));
  // Each message with news has two headers.
  require(batch.links.size() * 32 <= datagram.size(), "more news than messages");
  tap::UnicastList list;
  for (const std::uint32_t question : {0U, 1U}) {
    tap::read_unicast_list(std::as_bytes(std::span(datagram)), question, 1, list);
  }
  require(list.macs.size() <= tap::UnicastList::kMaxMacs + 1, "a list without a bound");
}

}  // namespace shmif::fuzz
