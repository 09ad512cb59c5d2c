#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/stream_link.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

constexpr std::size_t kMaxFrame = 300;
constexpr std::size_t kMaxRecord = 700;

/// What a link should make of the bytes of a peer.
struct Expected {
  std::vector<std::vector<std::uint8_t>> frames;
  std::uint64_t too_long = 0, too_short = 0;
  bool corrupt = false;
};

/// Reads the records in the plainest way.
Expected expected_of(Bytes bytes) {
  Expected all;
  while (bytes.size() >= 4) {
    const std::size_t length = static_cast<std::size_t>(bytes[0]) << 24U |
                               static_cast<std::size_t>(bytes[1]) << 16U |
                               static_cast<std::size_t>(bytes[2]) << 8U | bytes[3];
    bytes = bytes.subspan(4);
    if (length > kMaxRecord) {
      all.corrupt = true;
      break;
    }
    if (length < kEthernetHeaderBytes) ++all.too_short;
    if (length > kMaxFrame) ++all.too_long;
    if (bytes.size() < length) break;
    if (length >= kEthernetHeaderBytes && length <= kMaxFrame)
      all.frames.emplace_back(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    bytes = bytes.subspan(length);
  }
  return all;
}

}  // namespace

/// The first byte says in which pieces the others arrive. They come from a peer of a stream link.
void stream(Bytes bytes) {
  if (bytes.size() < 2) return;
  const std::size_t piece = std::size_t{bytes[0]} + 1;
  bytes = bytes.subspan(1);
  std::array<int, 2> pair{-1, -1};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0, "no sockets");
  UniqueFd peer(pair[1]);
  auto link = StreamLink::adopt(
      UniqueFd(pair[0]),
      {.max_frame_bytes = kMaxFrame, .max_record_bytes = kMaxRecord, .address = "fuzz"});
  const Expected expected = expected_of(bytes);
  FrameBatch batch(4, 1024);
  std::size_t frames = 0;
  bool corrupt = false;
  bool ended = false;
  const auto take = [&] {
    for (;;) {
      batch.clear();
      const ReceiveResult got = link.receive(batch);
      for (const FrameView& frame : batch.frames()) {
        require(
            frames < expected.frames.size() &&
                std::ranges::equal(frame.bytes, std::as_bytes(std::span(expected.frames[frames]))),
            "a frame that nobody sent");
        ++frames;
      }
      corrupt |= got.error == Errc::corrupt;
      ended |= got.error == Errc::link_ended;
      if (got.frames == 0) return;
    }
  };
  for (; !bytes.empty() && !corrupt; bytes = bytes.subspan(std::min(piece, bytes.size()))) {
    const std::size_t size = std::min(piece, bytes.size());
    require(::send(peer.get(), bytes.data(), size, MSG_NOSIGNAL) == static_cast<ssize_t>(size),
            "the link does not read");
    take();
  }
  peer.reset();
  for (unsigned tries = 0; !ended && tries < 4; ++tries) take();
  require(ended, "a link that does not end");
  require(corrupt == expected.corrupt, "a corrupt record that is not told, or told for nothing");
  require(frames == expected.frames.size(), "a frame that was lost");
  require(
      link.drops().too_long == expected.too_long && link.drops().too_short == expected.too_short,
      "drops that are not counted");
}

}  // namespace shmif::fuzz
