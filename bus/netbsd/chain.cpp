#include "bus/netbsd/chain.hpp"

namespace shmif::bus {
namespace {

std::string netbsd_place(std::uint64_t position) {
  return "the header at offset " + std::to_string(position % kNetbsdDataBytes);
}

/// Writes a header without a frame, which NetBSD's kernels pass over.
void write_pad(const NetbsdRing& ring, std::uint64_t position) noexcept {
  const NetbsdPacketHeader none;
  ring.write(position, reinterpret_cast<const std::byte*>(&none), ring.header_bytes());
}

}  // namespace

NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state) {
  NetbsdChain chain;
  std::uint64_t position = state.first;
  bool met_last = false;
  while (position < state.end) {
    NetbsdRecord record;
    if (!ring.read_header(position, state.end, record)) {
      chain.broken = netbsd_place(position) + " says that its frame has " +
                     std::to_string(record.header.bytes) + " bytes, and " +
                     std::to_string(state.end - position) + " bytes are left to the end";
      return chain;
    }
    met_last = met_last || position == state.last;
    const std::uint32_t bytes = record.header.bytes;
    if (bytes < kNetbsdMinFrame) {
      ++chain.pads;
    } else {
      ++chain.frames;
      chain.bytes += bytes;
    }
    if (bytes > kNetbsdMaxFrame && chain.wrong_frames.empty()) {
      chain.wrong_frames = netbsd_place(position) + " is that of a frame of " +
                           std::to_string(bytes) + " bytes, where " +
                           std::to_string(kNetbsdMaxFrame) + " are possible";
    }
    position = record.next;
  }
  if (!met_last) chain.broken = "the headers do not lead to " + netbsd_place(state.last);
  return chain;
}

void rebuild_netbsd_chain(const NetbsdRing& ring) noexcept {
  constexpr std::uint64_t kData = kNetbsdDataBytes;
  const std::uint64_t header = ring.header_bytes();
  NetbsdHeader& h = ring.header();
  const NetbsdWords words = ring.words();
  // The positions here are those of a ring whose first round begins before `first`.
  std::uint64_t first = words.first % kData;
  const bool is_known = words.first <= kData && words.last < kData;
  const std::uint64_t last = !is_known            ? first
                             : words.last < first ? words.last + kData
                                                  : words.last;
  NetbsdRecord record;
  std::uint64_t end = first;
  while (end < last && ring.read_header(end, last, record) &&
         record.header.bytes <= kNetbsdMaxFrame)
    end = record.next;

  // A pad stands for the frame that was dropped. If it touches the end of the data, another one
  // follows.
  const bool needs_two = (end + header) / kData != end / kData;
  const std::uint64_t newest = needs_two ? end + header : end;
  while (newest + header - first > kData && ring.read_header(first, end, record))  // N4
    first = record.next;
  const std::uint64_t generation = words.generation <= UINT32_MAX ? words.generation : 0;
  if (first == end) {  // no frame is left: as a new bus (N2)
    write_pad(ring, 0);
    store_release(h.first, kNetbsdDataBytes);
    store_release(h.last, std::uint32_t{0});
  } else {
    write_pad(ring, end);
    write_pad(ring, newest);
    // A new bus stays one until its first round is over.
    const bool is_new = words.first == kData && first == 0 && newest < kData;
    if (!is_new) store_release(h.first, static_cast<std::uint32_t>(first % kData));
    store_release(h.last, static_cast<std::uint32_t>(newest % kData));
  }
  store_release(h.generation, generation + 2);
  store_release(h.repairs, load_relaxed(h.repairs) + 1);
}

}  // namespace shmif::bus
