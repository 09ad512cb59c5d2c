#include "vhost/vhost_link.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "bus/offload.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/foreign/foreign_link.hpp"
#include "vhost/backend.hpp"
#include "vhost/message.hpp"
#include "vhost/split_queue.hpp"

namespace shmif::vhost {
namespace {

using Number = Backend::QueueNumber;
using Direction = SplitQueue::Direction;

/// The header before each frame (virtio 1.1, section 5.1.6).
struct NetHeader {
  Offload offload;
  std::uint16_t num_buffers = 0;  ///< chains that the frame fills; only towards the driver
};
static_assert(sizeof(NetHeader) == 12);

/// How often to look at a queue whose driver does not notify us.
constexpr std::chrono::milliseconds kLookAgain{1};

enum class Towards : std::uint8_t { driver, device };

/// The feature that a side needs to pass on a super-frame of this type; 0 if there is no such
/// feature.
std::uint64_t feature_for(std::uint8_t gso_type, Towards side) noexcept {
  const bool to_driver = side == Towards::driver;
  const auto with_ecn = [&](std::uint64_t feature, std::uint64_t ecn) {
    return (gso_type & Offload::kGsoEcn) != 0 ? feature | ecn : feature;
  };
  const std::uint64_t ecn = to_driver ? Features::kGuestEcn : Features::kHostEcn;
  switch (gso_type & static_cast<std::uint8_t>(~Offload::kGsoEcn)) {
    case Offload::kGsoTcp4:
      return with_ecn(to_driver ? Features::kGuestTso4 : Features::kHostTso4, ecn);
    case Offload::kGsoTcp6:
      return with_ecn(to_driver ? Features::kGuestTso6 : Features::kHostTso6, ecn);
    default: return 0;
  }
}

}  // namespace

struct VhostLink::Impl final : ForeignLink<VhostLink::Impl> {
  static constexpr const char* kProtocol = "vhost-user";
  static constexpr const char* kQueue = "queue";
  static constexpr std::size_t kFirstBuffers = SplitQueue::kMinMaxBuffers;

  bool offload;
  MessageReader reader;
  Backend backend;
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> silent_until;  ///< the first message must come before this time

  std::vector<SplitQueue::Chain> chains;  ///< those that one frame fills
  std::vector<std::byte> segment;         ///< one, of a super-frame that the driver does not take

  Impl(ForeignConnection connection, const VhostOptions& options)
      : ForeignLink(std::move(connection), options.max_frame_bytes),
        offload(options.offload),
        backend(Features::kAlways | (offload ? Features::kOffloads : 0), descriptor(),
                options.max_memory_bytes),
        silent_until(Clock::now() + options.first_message),
        segment(kMaxSuperFrameBytes) {
    chains.reserve(kFirstBuffers);
  }

  Backend::Queue& to_program() noexcept { return backend.queue(Number::kReceiveQueue); }
  Backend::Queue& from_program() noexcept { return backend.queue(Number::kSendQueue); }
  /// How many chains a frame may fill.
  std::size_t max_chains() noexcept {
    if (!backend.has(Features::kMergeable)) return 1;
    return std::min<std::size_t>(to_program().ring.size(), kFirstBuffers);
  }
  bool may_send() noexcept { return to_program().enabled && to_program().ring.is_running(); }

  MessageStatus read_message() { return reader.read(connection_.socket()); }
  void answer_message();
  void tell_end(const std::string&) noexcept {}  // vhost-user has no message for it
  Clock::duration patience_left() const noexcept;
  const char* overdue() const noexcept {
    return patience_left() <= Clock::duration(0) ? "it sent no message" : nullptr;
  }
  bool memory_lost() const noexcept { return backend.memory().lost(); }
  void give_back() noexcept;

  std::error_code refusal_of(const FrameView& frame) const noexcept;
  bool takes(const Offload& work) const noexcept;
  Put put(const FrameView& frame) noexcept;
  Put put_segments(const FrameView& frame) noexcept;
  Put put_bytes(std::span<const std::byte> bytes, const Offload& work) noexcept;
  bool gather(std::size_t bytes) noexcept;

  Got get(FrameBatch& into) noexcept;
  void took_frames() noexcept {}
  bool allows(const Offload& work) const noexcept;
};

VhostLink::VhostLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VhostLink::VhostLink(VhostLink&&) noexcept = default;
VhostLink::~VhostLink() = default;

Result<VhostLink> VhostLink::adopt(UniqueFd connected, VhostOptions options) {
  auto connection =
      ForeignConnection::adopt(std::move(connected), std::move(options.address), "front-end");
  if (!connection) return std::move(connection).error();
  debug(Debug::link, [&] {
    return connection->address() + ": a front-end connects; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes, offloads are " +
           (options.offload ? "offered" : "not offered");
  });
  return VhostLink(std::make_unique<Impl>(*std::move(connection), options));
}

// The front-end and its messages.

/// Shows the driver which buffers it owns again.
void VhostLink::Impl::give_back() noexcept {
  for (Backend::Queue* queue : {&to_program(), &from_program()}) {
    if (queue->ring.publish()) queue->notify();
  }
}

/// How long the front-end may still be silent.
VhostLink::Impl::Clock::duration VhostLink::Impl::patience_left() const noexcept {
  return silent_until ? *silent_until - Clock::now() : Clock::duration::max();
}

void VhostLink::Impl::answer_message() {
  Message& message = reader.message();
  const Backend::Answer answer = backend.handle(message);
  // The message may have started a longer queue.
  buffers_.reserve(std::max(to_program().ring.max_buffers(), from_program().ring.max_buffers()));
  if (answer.reply && !send_message(connection_.socket().get(), message.request(),
                                    MessageHeader::kReply, answer.value)) {
    end_corrupt("it reads no replies");
  }
  if (!answer.accepted) end_corrupt(backend.why());
  if (answer.accepted && debugs(Debug::link)) {
    if (const std::string what = told(message, backend); !what.empty()) connection_.tell(what);
  }
  silent_until.reset();
}

// Frames to the driver.

std::error_code VhostLink::Impl::refusal_of(const FrameView& frame) const noexcept {
  if (frame.size() < kEthernetHeaderBytes) return Errc::frame_too_short;
  const bool super = frame.offload.is_super_frame() && offload;
  if (frame.size() > (super ? kMaxSuperFrameBytes : max_frame_bytes())) return Errc::frame_too_long;
  if (frame.offload.pending() && !offload) return Errc::not_supported;
  return {};
}

/// Whether the driver takes a frame with this unfinished work.
bool VhostLink::Impl::takes(const Offload& work) const noexcept {
  if (work.needs_checksum() && !backend.has(Features::kGuestCsum)) return false;
  if (!work.is_super_frame()) return true;
  const std::uint64_t need = feature_for(work.gso_type, Towards::driver);
  return need != 0 && backend.has_all(need);
}

/// Collects chains of the driver until they hold `bytes`. Result: false if there are too few.
bool VhostLink::Impl::gather(std::size_t bytes) noexcept {
  SplitQueue& ring = to_program().ring;
  buffers_.clear();
  chains.clear();
  for (std::size_t held = 0; held < bytes;) {
    const auto ahead = static_cast<unsigned>(chains.size());
    if (ahead == max_chains()) return false;
    if (!ring.has(ahead + 1)) return false;
    SplitQueue::Chain chain;
    if (!ring.read_chain(ahead, Direction::to_driver, bytes - held, buffers_, chain)) return false;
    held += chain.bytes;
    chains.push_back(chain);
  }
  return true;
}

/// Puts one frame into the driver's buffers_.
VhostLink::Impl::Put VhostLink::Impl::put_bytes(std::span<const std::byte> bytes,
                                                const Offload& work) noexcept {
  SplitQueue& ring = to_program().ring;
  const std::size_t header_bytes = backend.header_bytes();
  if (!gather(header_bytes + bytes.size())) {
    // The frame may fit when the driver lends more buffers, unless these are the most that one
    // frame may have. (If a chain has a fault, it is not among them; receive() reports it.)
    return chains.size() < max_chains() ? Put::full : Put::no_room;
  }
  const NetHeader header{.offload = work, .num_buffers = static_cast<std::uint16_t>(chains.size())};
  BufferCursor cursor(buffers_);
  cursor.write(std::as_bytes(std::span(&header, 1)).first(header_bytes));
  cursor.write(bytes);
  std::size_t left = header_bytes + bytes.size();
  for (const SplitQueue::Chain& chain : chains) {
    const std::size_t written = std::min(left, chain.bytes);
    ring.give_back(chain.head, static_cast<std::uint32_t>(written));
    left -= written;
  }
  return Put::done;
}

/// Finishes the checksum or splits the super-frame, because the driver does not.
VhostLink::Impl::Put VhostLink::Impl::put_segments(const FrameView& frame) noexcept {
  if (!frame.offload.is_super_frame()) {
    const std::span<std::byte> copy = std::span(segment).first(frame.size());
    std::memcpy(copy.data(), frame.bytes.data(), copy.size());
    (void)bus::finish_checksum(copy, frame.offload);
    return put_bytes(copy, {});
  }
  bus::Segmenter segments;
  if (!segments.begin(frame.bytes, frame.offload)) return Put::no_room;
  SplitQueue& ring = to_program().ring;
  // Drivers lend fewer chains than the queue has entries: they lend more only when many came back,
  // and without mergeable buffers a chain may take several entries.
  const std::size_t lent =
      backend.has(Features::kMergeable) ? ring.size() * 3 / 4 : ring.size() / 4;
  if (segments.remaining() > lent) return Put::no_room;
  // Sends either all segments or no segment, so that the caller can try again.
  if (!ring.has(static_cast<unsigned>(segments.remaining()))) return Put::full;
  Put all = Put::done;
  while (!segments.done()) {
    const std::size_t size = segments.next(segment);
    if (put_bytes(std::span(segment).first(size), {}) != Put::done) all = Put::no_room;
  }
  return all;
}

VhostLink::Impl::Put VhostLink::Impl::put(const FrameView& frame) noexcept {
  if (!frame.offload.pending()) return put_bytes(frame.bytes, {});
  if (!takes(frame.offload) || bus::is_unfinished_datagram(frame)) return put_segments(frame);
  Offload work = frame.offload;
  work.flags &= Offload::kNeedsChecksum;
  return put_bytes(frame.bytes, work);
}

// Frames from the driver.

/// Whether the driver may leave this work to us. A super-frame always has an unfinished checksum
/// (virtio 1.1, section 5.1.6.2).
bool VhostLink::Impl::allows(const Offload& work) const noexcept {
  if (work.needs_checksum() && !backend.has(Features::kCsum)) return false;
  if (!work.is_super_frame()) return true;
  const std::uint64_t need = feature_for(work.gso_type, Towards::device);
  return work.needs_checksum() && need != 0 && backend.has_all(need);
}

/// Takes the next chain of the driver, with the frame in it.
VhostLink::Impl::Got VhostLink::Impl::get(FrameBatch& into) noexcept {
  SplitQueue& ring = from_program().ring;
  if (!ring.has(1)) return Got::none;
  buffers_.clear();
  SplitQueue::Chain chain;
  constexpr std::size_t kAll = ~std::size_t{0};
  if (!ring.read_chain(0, Direction::from_driver, kAll, buffers_, chain)) return Got::none;
  const std::size_t header_bytes = backend.header_bytes();
  const std::size_t length = chain.bytes - std::min(chain.bytes, header_bytes);
  const auto drop = [&](ForeignCount& why_dropped) {
    why_dropped.add();
    ring.give_back(chain.head, 0);
    return Got::dropped;
  };
  if (!from_program().enabled) return drop(discarded_);
  if (length < kEthernetHeaderBytes) return drop(too_short_);
  BufferCursor cursor(buffers_);
  NetHeader header;
  cursor.read(std::as_writable_bytes(std::span(&header, 1)).first(header_bytes));
  Offload& work = header.offload;
  work.flags &= Offload::kNeedsChecksum;
  if (!allows(work)) return drop(bad_header_);
  if (length > (work.is_super_frame() ? kMaxSuperFrameBytes : max_frame_bytes()))
    return drop(too_long_);
  if (!into.has_room_for(length)) return Got::no_space;
  FrameView& frame = copy_frame(into, cursor, length);
  if (work.pending()) frame.offload = work;
  into.keep();
  ring.give_back(chain.head, 0);
  return Got::frame;
}

SendResult VhostLink::send(std::span<const FrameView> frames) noexcept {
  return impl_->send(frames);
}
ReceiveResult VhostLink::receive(FrameBatch& into) noexcept {
  return impl_->receive(into);
}

int VhostLink::descriptor() noexcept {
  return impl_->descriptor();
}

WaitHint VhostLink::prepare_wait() noexcept {
  Backend::Queue& queue = impl_->from_program();
  WaitHint hint{.ready = queue.ring.prepare_wait() || !impl_->is_sound()};
  if (queue.polled) hint.at_most = kLookAgain;
  if (impl_->silent_until)
    hint.at_most = std::max<std::chrono::nanoseconds>(kLookAgain, impl_->patience_left());
  return hint;
}

void VhostLink::finish_wait() noexcept {
  impl_->from_program().ring.finish_wait();
}

std::size_t VhostLink::max_frame_bytes() noexcept {
  return impl_->max_frame_bytes();
}
std::string VhostLink::address() {
  return impl_->address();
}
bool VhostLink::takes_offloads() const noexcept {
  return impl_->offload;
}
bool VhostLink::was_set_up() const noexcept {
  return impl_->backend.was_given_memory();
}
std::string VhostLink::why() const {
  return impl_->why();
}
VhostDrops VhostLink::drops() const noexcept {
  return impl_->drops();
}

}  // namespace shmif::vhost
