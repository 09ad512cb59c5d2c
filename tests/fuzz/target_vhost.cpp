#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/fuzz/trapped_memory.hpp"
#include "vhost/backend.hpp"
#include "vhost/message.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::fuzz {
namespace {

using vhost::Request;

constexpr std::size_t kMemoryBytes = std::size_t{64} << 10U;
constexpr std::uint64_t kGuestBase = 0x10000, kUserBase = 0x7000'0000'0000;
constexpr std::uint32_t kEntries = 8;
constexpr std::size_t kMaxGuestFrame = 2000;
/// More than any call makes: 1,024 chains of 1,024 buffers, four accesses for each.
constexpr std::uint64_t kMaxAccesses = 8'000'000;

/// The parts of a queue begin here, for the queue of number 0.
constexpr std::size_t kQueueBytes = 1024, kAvailableAt = 256, kUsedAt = 512;

/// Its memory is cleared before each run.
TrappedMemory<kMemoryBytes>& machine_memory() {
  static TrappedMemory<kMemoryBytes> memory;
  return memory;
}

/// Overwrites some of the memory: most often where the queues are.
void scribble_guest(Input& input) {
  const std::uint8_t how = input.byte();
  std::size_t at = input.word(2) % kMemoryBytes;
  if (how < 192) at %= 2 * kQueueBytes;
  for (unsigned n = how % 16U + 1U; n > 0; --n)
    machine_memory().base[at++ % kMemoryBytes] = static_cast<std::byte>(input.byte());
}

class FuzzedFrontEnd {
 public:
  explicit FuzzedFrontEnd(UniqueFd socket) : socket_(std::move(socket)) {}

  void tell(Request request, std::span<const std::byte> payload, std::span<const int> descriptors,
            std::uint32_t flags = 0) const {
    (void)vhost::send_message(socket_.get(), request, flags, payload, descriptors);
  }
  template <class T>
  void tell(Request request, const T& payload, std::span<const int> descriptors = {}) const {
    tell(request, std::as_bytes(std::span(&payload, 1)), descriptors);
  }
  void raw(std::span<const std::uint8_t> bytes) const {
    (void)!::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  /// What a correct one says.
  void start(std::uint64_t features) const {
    tell(Request::set_features, features);
    vhost::MemoryTable table{.count = 1};
    table.regions[0] = {kGuestBase, kMemoryBytes, kUserBase, 0};
    const int memory = machine_memory().file.get();
    tell(Request::set_mem_table, table, {&memory, 1});
    for (std::uint32_t i = 0; i < 2; ++i) {
      tell(Request::set_vring_num, vhost::VringState{i, kEntries});
      const std::uint64_t at = kUserBase + i * kQueueBytes;
      tell(
          Request::set_vring_addr,
          vhost::VringAddresses{
              .index = i, .descriptors = at, .used = at + kUsedAt, .available = at + kAvailableAt});
      const int event = event_.get();
      tell(Request::set_vring_call, std::uint64_t{i}, {&event, 1});
      tell(Request::set_vring_kick, std::uint64_t{i}, {&event, 1});
      tell(Request::set_vring_enable, vhost::VringState{i, 1});
    }
  }
  /// Any message.
  void any(Input& input) const {
    const auto request = static_cast<Request>(input.below(22));
    const std::uint8_t how = input.byte();
    const std::array<int, 2> fds{(how & 1U) != 0 ? machine_memory().file.get() : event_.get(),
                                 event_.get()};
    const auto payload = input.take(input.below(80));
    tell(request, std::as_bytes(payload), std::span(fds).first((how >> 1U) % 3),
         (how & 64U) != 0 ? vhost::MessageHeader::kNeedReply : 0);
  }
  void read_replies() const {
    std::array<std::byte, 4096> bytes;
    (void)!::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  }

 private:
  UniqueFd socket_;
  UniqueFd event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

/// Lends the driver's next buffer: a chain of some descriptors, mostly right.
void lend(Input& input, std::uint32_t queue) {
  std::byte* const base = machine_memory().base + queue * kQueueBytes;
  auto* const entries = reinterpret_cast<vhost::Descriptor*>(base);
  auto* const ring = reinterpret_cast<std::uint16_t*>(base + kAvailableAt);  // flags, idx, heads
  const auto first = static_cast<std::uint16_t>(input.below(kEntries));
  auto i = first;
  for (unsigned left = static_cast<unsigned>(input.below(3)) + 1; left > 0; --left) {
    const auto next = static_cast<std::uint16_t>((i + 1U) % kEntries);
    entries[i] = {kGuestBase + 4096 + input.word(2) % 32768,
                  static_cast<std::uint32_t>(input.word(2) % 4096),
                  static_cast<std::uint16_t>((queue == 0 ? vhost::Descriptor::kWrite : 0) |
                                             (left > 1 ? vhost::Descriptor::kNext : 0)),
                  next};
    i = next;
  }
  ring[2 + ring[1] % kEntries] = first;
  ++ring[1];
}

/// What every receive() promises.
void check_received(const FrameBatch& batch, const ReceiveResult& got, bool& ended) {
  require(batch.size() == got.frames, "another number of frames than it says");
  require(!ended || got.frames == 0, "frames behind the end");
  for (const FrameView& frame : batch.frames()) {
    require(frame.size() >= kEthernetHeaderBytes, "a frame that is too short");
    require(frame.size() <= (frame.offload.is_super_frame() ? kMaxSuperFrameBytes : kMaxGuestFrame),
            "a frame that is too long");
  }
  if (!got.error) return;
  require(got.error == Errc::corrupt || got.error == Errc::link_ended, "an unknown end");
  require(!ended || got.error == Errc::link_ended, "corrupt twice");
  ended = true;
}

void put_frame(Input& input, vhost::VhostLink& link) {
  static const std::vector<std::byte> bytes(4096);
  FrameView frame(bytes.data(), input.below(bytes.size()));
  const auto offload = input.take(sizeof(Offload));
  std::memcpy(static_cast<void*>(&frame.offload), offload.data(), offload.size());
  const SendResult sent = link.send({&frame, 1});
  require(sent.taken <= 1 && (sent.taken == 0 || !sent.error), "taken and refused");
}

}  // namespace

/// The first byte says what is offered and agreed on. Then come steps of the front-end, of the
/// driver and of the link; the memory changes also between two accesses of the link.
void vhost(Bytes bytes) {
  if (bytes.empty()) return;
  Input input(bytes);
  const std::uint8_t how = input.byte();
  machine_memory().clear();
  std::array<int, 2> pair{-1, -1};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0, "no sockets");
  const FuzzedFrontEnd front{UniqueFd(pair[1])};
  auto link = vhost::VhostLink::adopt(UniqueFd(pair[0]), {.max_frame_bytes = kMaxGuestFrame,
                                                          .offload = (how & 1U) != 0,
                                                          .address = "fuzz"})
                  .value();
  using vhost::Features;
  if ((how & 2U) != 0)
    front.start(((how & 4U) != 0 ? Features::kMergeable | Features::kVersion1 : 0) |
                ((how & 8U) != 0 ? Features::kEventIndex : 0) |
                ((how & 16U) != 0 ? Features::kIndirect : 0) |
                ((how & 1U) != 0 && (how & 32U) != 0 ? Features::kOffloads : 0));
  const Ambush ambush(input, scribble_guest);
  FrameBatch batch(8, std::size_t{140} << 10U);
  bool ended = false;
  while (!input.empty()) {
    const AccessLimit limit(kMaxAccesses);
    switch (input.byte() % 8) {
      case 0: front.raw(input.take(input.below(64))); break;
      case 1: front.any(input); break;
      case 2: scribble_guest(input); break;
      case 3: lend(input, 0); break;
      case 4: lend(input, 1); break;
      case 5: put_frame(input, link); break;
      case 6:
        (void)link.prepare_wait();
        link.finish_wait();
        front.read_replies();
        break;
      default: batch.clear(); check_received(batch, link.receive(batch), ended);
    }
  }
  batch.clear();
  check_received(batch, link.receive(batch), ended);
  require(!ended || link.prepare_wait().ready,
          "who waits for a link that has ended waits for ever");
}

}  // namespace shmif::fuzz
