#include <algorithm>

#include "shmif/filter.hpp"
#include "shmif/ping.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/packets/decode.hpp"

namespace shmif::fuzz {
namespace {

const std::array<FrameFilter, 4>& filters() {
  static const std::array<FrameFilter, 4> all{
      FrameFilter::compile("").value(), FrameFilter::compile("arp or icmp6").value(),
      FrameFilter::compile("vlan and ip and tcp port 80").value(),
      FrameFilter::compile("ip6 and udp[8:4] = 7 or tcp[tcpflags] & tcp-syn != 0").value()};
  return all;
}

}  // namespace

void frame(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const std::uint64_t time_ns = (options & 1U) != 0 ? in.word() : 1;
  const Bytes content = in.rest();
  if (content.size() < kEthernetHeaderBytes || content.size() > kMaxFrameBytes) return;
  // A copy of exactly that size, so that AddressSanitizer sees what reads behind it.
  const std::vector<std::uint8_t> exact(content.begin(), content.end());
  FrameView view(exact.data(), exact.size());
  view.time_ns = time_ns;
  if ((options & 2U) != 0) view.true_bytes = static_cast<std::uint32_t>(exact.size() + 1000);

  const std::string line =
      tools::decode(view, {.link_header = (options & 4U) != 0, .hex_dump = (options & 8U) != 0});
  require(line.ends_with('\n'), "a line without an end");
  require((options & 8U) != 0 || std::ranges::count(line, '\n') == 1, "more than a line");
  require(std::ranges::all_of(
              line, [](char c) { return c == '\n' || c == '\t' || (c >= ' ' && c <= '~'); }),
          "what steers a terminal");

  const MacAddress self = MacAddress::from_u64(0x020000000001);
  std::array<std::byte, kPingFrameBytes> reply;
  if (const auto answer = answer_ping(view, self, reply)) {
    const auto ping = read_ping(*answer);
    require(ping && ping->type == PingType::reply && ping->source == self, "a bad answer");
    require(!answer_ping(*answer, ping->destination, reply), "an answer that is answered");
  }
  for (const FrameFilter& f : filters()) static_cast<void>(f.matches(view));
}

}  // namespace shmif::fuzz
