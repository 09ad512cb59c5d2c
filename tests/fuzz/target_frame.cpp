#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "bus/fragmenter.hpp"
#include "bus/offload.hpp"
#include "shmif/filter.hpp"
#include "shmif/ping.hpp"
#include "tap/tap_writing.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::fuzz {
namespace {

const std::array<FrameFilter, 4>& filters() {
  static const std::array<FrameFilter, 4> all{
      FrameFilter::compile("").value(), FrameFilter::compile("arp or icmp6").value(),
      FrameFilter::compile("vlan and ip and tcp port 80").value(),
      FrameFilter::compile("ip6 and udp[8:4] = 7 or tcp[tcpflags] & tcp-syn != 0").value()};
  return all;
}

/// Three frames like this one, as they come from the TAP device of another guest.
void merge(FrameView view, std::uint8_t options) {
  view.true_bytes = 0;
  view.offload.flags = Offload::kNeedsChecksum;
  view.offload.csum_start = (options & 16U) != 0 ? 54 : 34;
  view.offload.csum_offset = 6;
  const std::array frames{view, view, view};
  tap::MergedHead head;
  if (tap::merge_datagrams(frames, head) == 1) return;
  std::vector<std::byte> whole(head.bytes.begin() + sizeof(Offload),
                               head.bytes.begin() + static_cast<std::ptrdiff_t>(head.size));
  for (const FrameView& f : frames) {
    const auto payload = f.bytes.subspan(head.payload_at());
    whole.insert(whole.end(), payload.begin(), payload.end());
  }
  Offload offload;
  std::memcpy(&offload, head.bytes.data(), sizeof offload);
  bus::Segmenter pieces;
  require(pieces.begin(whole, offload) && pieces.remaining() == 3, "a run that is none");
  require(pieces.next_bytes() == view.size(), "datagrams that are not as long as they were");
}

/// The same frame, as a bridge has put it together.
void fragment(FrameView view, std::uint8_t options) {
  const std::size_t mtu = (options & 32U) != 0 ? 1500 : 68;
  bus::Fragmenter pieces;
  if (!pieces.begin(view.bytes, mtu)) return;
  std::size_t count = 0;
  while (!pieces.done()) {
    std::vector<std::byte> exact(pieces.next_bytes());
    require(pieces.next(exact) == exact.size(), "a fragment of another length");
    require(exact.size() <= kEthernetHeaderBytes + 2 * kVlanTagBytes + mtu, "a long fragment");
    require(++count <= view.size() / 8, "more fragments than there are offsets");
  }
  require(count >= 2, "a packet that was not too long");
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
  merge(view, options);
  fragment(view, options);
  for (const FrameFilter& f : filters()) static_cast<void>(f.matches(view));
}

}  // namespace shmif::fuzz
