#include "bus/netbsd/chain.hpp"

namespace shmif::bus {
namespace {

std::string netbsd_place(std::uint64_t position) {
  return "the header at offset " + std::to_string(position % kNetbsdDataBytes);
}

/// Writes a header without a frame, which NetBSD's kernels pass over.
void write_pad(const NetbsdRing& ring, std::uint64_t position) noexcept {
  const NetbsdPacketHeader none;
  ring.write(position, reinterpret_cast<const std::byte*>(&none), sizeof none);
}

}  // namespace

NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state) {
  NetbsdChain chain;
  chain.good_end = state.first;
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
    if (bytes == 0) {
      ++chain.pads;
    } else {
      ++chain.frames;
      chain.bytes += bytes;
    }
    if (bytes != 0 && (bytes < kNetbsdMinFrame || bytes > kNetbsdMaxFrame) &&
        chain.wrong_frames.empty()) {
      chain.wrong_frames = netbsd_place(position) + " is that of a frame of " +
                           std::to_string(bytes) + " bytes, where " +
                           std::to_string(kNetbsdMinFrame) + " to " +
                           std::to_string(kNetbsdMaxFrame) + " are possible";
    }
    position = record.next;
    if (position <= state.last) chain.good_end = position;
  }
  if (!met_last) chain.broken = "the headers do not lead to " + netbsd_place(state.last);
  return chain;
}

void rebuild_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state, std::uint64_t end,
                          std::uint64_t generation) noexcept {
  NetbsdHeader& h = ring.header();
  std::uint64_t first = state.first;
  const std::uint64_t new_end = end + kNetbsdPacketHeaderBytes;
  while (new_end - first > kNetbsdDataBytes && first < end) {  // N4
    NetbsdRecord record;
    if (!ring.read_header(first, end, record)) break;
    first = record.next;
  }
  if (first >= end || new_end - first > kNetbsdDataBytes) {  // no frame is left: as a new bus (N2)
    write_pad(ring, 0);
    store_release(h.first, kNetbsdDataBytes);
    store_release(h.last, std::uint32_t{0});
    store_release(h.generation, generation + 2);
    return;
  }
  // A new bus stays one until its first round is over.
  const bool is_new = load_relaxed(h.first) == kNetbsdDataBytes && first == state.first &&
                      new_end / kNetbsdDataBytes == first / kNetbsdDataBytes;
  if (!is_new) store_release(h.first, static_cast<std::uint32_t>(first % kNetbsdDataBytes));
  write_pad(ring, end);
  store_release(h.last, static_cast<std::uint32_t>(end % kNetbsdDataBytes));
  store_release(h.generation, new_end / kNetbsdDataBytes + 2);
}

}  // namespace shmif::bus
