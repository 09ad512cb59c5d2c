#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "memif/memif_link.hpp"
#include "memif/ring.hpp"
#include "memif/session.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/fuzz/trapped_memory.hpp"

namespace shmif::fuzz {
namespace {

/// Fewer than the sanitizer's allocator maps at once, so that it does not fill the hole before the
/// trap.
constexpr std::size_t kClientBytes = std::size_t{24} << 10U;
constexpr std::uint8_t kClientRingLog2 = 3;
constexpr std::size_t kClientRingBytes = 1024, kBuffersAt = 4096, kBufferBytes = 512;
constexpr std::size_t kMaxClientFrame = 2000;
/// More than any call makes: 1,024 frames of 1,024 buffers, five accesses for each.
constexpr std::uint64_t kMaxClientAccesses = 8'000'000;

/// Ring 0 is the one from the client.
TrappedMemory<kClientBytes>& client_memory() {
  static TrappedMemory<kClientBytes> memory;
  return memory;
}
memif::RingHeader& header_of(std::size_t ring) {
  return *reinterpret_cast<memif::RingHeader*>(client_memory().base + ring * kClientRingBytes);
}
memif::Descriptor& descriptor_of(std::size_t ring, std::size_t i) {
  auto* const first = reinterpret_cast<memif::Descriptor*>(&header_of(ring) + 1);
  return first[i % (1U << kClientRingLog2)];
}

/// Overwrites some of the memory: most often where the rings are.
void scribble_client(Input& input) {
  const std::uint8_t how = input.byte();
  std::size_t at = input.word(2) % kClientBytes;
  if (how < 192) at = at % 512 + (how % 2U) * kClientRingBytes;
  for (unsigned n = how % 16U + 1U; n > 0; --n)
    client_memory().base[at++ % kClientBytes] = static_cast<std::byte>(input.byte());
}

class FuzzedClient {
 public:
  explicit FuzzedClient(UniqueFd socket) : socket_(std::move(socket)) {}

  void tell(const std::array<std::byte, memif::kMessageBytes>& bytes, int descriptor = -1) const {
    (void)memif::send_message(socket_.get(), bytes, descriptor);
  }
  /// What a correct one says, and its rings. `first`: where their numbers begin.
  void start(std::uint16_t first) const {
    using memif::MessageType;
    tell(memif::make_message(MessageType::init, memif::Init{}));
    tell(memif::make_message(MessageType::add_region, memif::AddRegion{0, kClientBytes}),
         client_memory().file.get());
    for (std::uint16_t ring = 0; ring < 2; ++ring) {
      header_of(ring) = {.cookie = memif::RingHeader::kCookie, .head = first, .tail = first};
      for (std::size_t i = 0; i < 1U << kClientRingLog2; ++i) {
        const std::size_t at = kBuffersAt + (std::size_t{ring} * 8 + i) * kBufferBytes;
        descriptor_of(ring, i) = {.bytes = kBufferBytes, .offset = static_cast<std::uint32_t>(at)};
      }
      const memif::AddRing fields{
          .flags = ring == 0 ? memif::AddRing::kFromClient : std::uint16_t{0},
          .offset = static_cast<std::uint32_t>(ring * kClientRingBytes),
          .size_log2 = kClientRingLog2};
      tell(memif::make_message(MessageType::add_ring, fields), event_.get());
    }
    tell(memif::make_message(MessageType::connect));
  }
  /// Any message, most often one that is nearly right.
  void any(Input& input) const {
    const std::uint8_t how = input.byte();
    std::array<std::byte, memif::kMessageBytes> bytes{};
    const auto type = static_cast<std::uint16_t>(input.below(11));
    std::memcpy(bytes.data(), &type, sizeof type);
    const auto fields = input.take(input.below(24));
    std::ranges::copy(std::as_bytes(fields), bytes.begin() + sizeof type);
    const int descriptor = (how & 1U) != 0 ? client_memory().file.get() : event_.get();
    if ((how & 6U) == 6U) {
      (void)!::send(socket_.get(), bytes.data(), fields.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      tell(bytes, (how & 2U) != 0 ? -1 : descriptor);
    }
  }
  void read_replies() const {
    std::array<std::byte, memif::kMessageBytes> bytes;
    while (::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) continue;
  }

 private:
  UniqueFd socket_;
  UniqueFd event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

/// Gives the next buffers of a ring, mostly right ones.
void give(Input& input, std::size_t ring) {
  std::uint16_t head = header_of(ring).head;
  for (unsigned left = static_cast<unsigned>(input.below(3)) + 1; left > 0; --left) {
    const std::uint8_t how = input.byte();
    descriptor_of(ring, head++) = {
        .flags = left > 1 && (how & 1U) != 0 ? memif::Descriptor::kNext : std::uint16_t{0},
        .region = static_cast<std::uint16_t>(how >= 250 ? how : 0),
        .bytes = static_cast<std::uint32_t>(input.word(2) % 1024),
        .offset = static_cast<std::uint32_t>(kBuffersAt + input.word(2) % (kClientBytes - 4096))};
  }
  header_of(ring).head = head;
}

/// What every receive() promises.
void check_frames(const FrameBatch& batch, const ReceiveResult& got, bool& ended) {
  require(batch.size() == got.frames, "another number of frames than it says");
  require(!ended || got.frames == 0, "frames behind the end");
  for (const FrameView& frame : batch.frames()) {
    require(frame.size() >= kEthernetHeaderBytes, "a frame that is too short");
    require(frame.size() <= kMaxClientFrame, "a frame that is too long");
  }
  if (!got.error) return;
  require(got.error == Errc::corrupt || got.error == Errc::link_ended, "an unknown end");
  require(!ended || got.error == Errc::link_ended, "corrupt twice");
  ended = true;
}

void send_frames(Input& input, memif::MemifLink& link) {
  static const std::vector<std::byte> bytes(4096);
  const std::array<FrameView, 2> frames{FrameView(bytes.data(), input.below(bytes.size())),
                                        FrameView(bytes.data(), 60)};
  const SendResult sent = link.send(frames);
  require(sent.taken <= 2 && (sent.taken < 2 || !sent.error), "taken and refused");
}

}  // namespace

/// The first byte says whether the client has introduced itself. Then come steps of the client and
/// of the link; the memory changes also between two accesses of the link.
void memif(Bytes bytes) {
  if (bytes.empty()) return;
  Input input(bytes);
  const std::uint8_t how = input.byte();
  client_memory().clear();
  std::array<int, 2> pair{-1, -1};
  require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) == 0, "no sockets");
  const FuzzedClient client{UniqueFd(pair[1])};
  auto link = memif::MemifLink::adopt(UniqueFd(pair[0]),
                                      {.max_frame_bytes = kMaxClientFrame, .address = "fuzz"})
                  .value();
  FrameBatch batch(8, std::size_t{16} << 10U);
  bool ended = false;
  if ((how & 1U) != 0) {
    client.start((how & 2U) != 0 ? 0xfffc : 0);
    check_frames(batch, link.receive(batch), ended);
    require(link.was_set_up() && !ended, "a correct client is refused");
  }
  const Ambush ambush(input, scribble_client);
  while (!input.empty()) {
    const AccessLimit limit(kMaxClientAccesses);
    switch (input.byte() % 8) {
      case 0: client.any(input); break;
      case 1: scribble_client(input); break;
      case 2:
      case 3: give(input, 0); break;
      case 4: give(input, 1); break;
      case 5: send_frames(input, link); break;
      case 6:
        (void)link.prepare_wait();
        link.finish_wait();
        client.read_replies();
        break;
      default: batch.clear(); check_frames(batch, link.receive(batch), ended);
    }
  }
  batch.clear();
  check_frames(batch, link.receive(batch), ended);
  require(!ended || link.prepare_wait().ready,
          "who waits for a link that has ended waits for ever");
}

}  // namespace shmif::fuzz
