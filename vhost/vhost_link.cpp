#include "vhost/vhost_link.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "bus/datagram.hpp"
#include "bus/offload.hpp"
#include "shmif/debug/debug.hpp"
#include "vhost/backend.hpp"
#include "vhost/message.hpp"
#include "vhost/split_queue.hpp"
#include "vhost/told.hpp"

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

/// receive() looks for messages after this many batches, even if the driver always has frames.
constexpr unsigned kBusyReceives = 16;
/// One call takes at most this many chains, even if all of them are dropped.
constexpr unsigned kMaxChainsPerReceive = 1024;
constexpr unsigned kMaxMessages = 64;  // in one call
/// How often to look at a queue whose driver does not notify us.
constexpr std::chrono::milliseconds kLookAgain{1};

class Count {
 public:
  void add() noexcept { value_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// The feature that a side needs to pass on a super-frame of this type; 0 if there is no such
/// feature.
std::uint64_t feature_for(std::uint8_t gso_type, bool to_driver) noexcept {
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

struct VhostLink::Impl {
  VhostOptions options;
  base::ForeignSocket socket;
  UniqueFd epoll;  ///< watches the socket, and the kick descriptor of kSendQueue
  MessageReader reader;
  Backend backend;
  bool ended = false;
  bool corrupt = false;  ///< receive() must report it
  std::string why;
  unsigned busy = 0;  ///< calls of receive() since it looked for messages
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> silent_until;  ///< the first message must come before this time

  std::vector<Buffer> buffers;            ///< of one frame
  std::vector<SplitQueue::Chain> chains;  ///< the chains that it fills
  std::vector<std::byte> segment;         ///< one, of a super-frame that the driver does not take
  Count too_long, too_short, bad_header, discarded, not_ready, no_room;

  Impl(base::ForeignSocket connected, UniqueFd waited_for, VhostOptions o)
      : options(std::move(o)),
        socket(std::move(connected)),
        epoll(std::move(waited_for)),
        backend(Features::kAlways | (options.offload ? Features::kOffloads : 0), epoll.get(),
                options.max_memory_bytes),
        silent_until(Clock::now() + options.first_message),
        segment(kMaxSuperFrameBytes) {
    buffers.reserve(SplitQueue::kMaxBuffers);
    chains.reserve(SplitQueue::kMaxBuffers);
  }

  /// What became of a frame for the driver's buffers.
  enum class Put : std::uint8_t { done, full, no_room };

  Backend::Queue& to_driver() noexcept { return backend.queue(Number::kReceiveQueue); }
  Backend::Queue& from_driver() noexcept { return backend.queue(Number::kSendQueue); }
  /// How many chains a frame may fill.
  std::size_t max_chains() noexcept {
    if (!backend.has(Features::kMergeable)) return 1;
    return std::min<std::size_t>(to_driver().ring.size(), SplitQueue::kMaxBuffers);
  }
  bool may_send() noexcept { return to_driver().enabled && to_driver().ring.is_running(); }

  void end_corrupt(std::string reason) noexcept;
  bool is_sound() noexcept;
  Clock::duration patience_left() const noexcept;
  void give_back() noexcept;
  void serve_socket() noexcept;
  bool answer_message();

  std::error_code refusal_of(const FrameView& frame) const noexcept;
  bool takes(const Offload& offload) const noexcept;
  Put put(const FrameView& frame) noexcept;
  Put put_segments(const FrameView& frame) noexcept;
  Put put_bytes(std::span<const std::byte> bytes, const Offload& offload) noexcept;
  bool gather(std::size_t bytes) noexcept;

  enum class Got : std::uint8_t { frame, dropped, none, no_space };
  Got get(FrameBatch& into) noexcept;
  bool allows(const Offload& offload) const noexcept;
};

VhostLink::VhostLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VhostLink::VhostLink(VhostLink&&) noexcept = default;
VhostLink& VhostLink::operator=(VhostLink&&) noexcept = default;
VhostLink::~VhostLink() = default;

Result<VhostLink> VhostLink::adopt(UniqueFd connected, VhostOptions options) {
  base::ForeignSocket socket(std::move(connected));
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!epoll || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0)
    return Error::from_errno(errno, "cannot wait for " + options.address);
  debug(Debug::link, [&] {
    return options.address + ": a front-end connects; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes, offloads are " +
           (options.offload ? "offered" : "not offered");
  });
  return VhostLink(std::make_unique<Impl>(std::move(socket), std::move(epoll), std::move(options)));
}

// The front-end and its messages.

void VhostLink::Impl::end_corrupt(std::string reason) noexcept {
  if (ended) return;
  ended = corrupt = true;
  why = std::move(reason);
  debug(Debug::link, [this] { return options.address + ": the front-end is cut off: " + why; });
}

/// Checks the queues and the memory, and ends the link if they are not valid. Result: whether the
/// link goes on.
bool VhostLink::Impl::is_sound() noexcept {
  for (Backend::Queue* queue : {&to_driver(), &from_driver()}) {
    if (const char* const fault = queue->ring.fault(); fault != nullptr) {
      end_corrupt(std::string(queue == &to_driver() ? "receive" : "send") + " queue: " + fault);
    }
  }
  if (backend.memory().lost()) end_corrupt("its memory was truncated");
  return !ended;
}

/// Shows the driver which buffers it owns again.
void VhostLink::Impl::give_back() noexcept {
  for (Backend::Queue* queue : {&to_driver(), &from_driver()}) {
    if (queue->ring.publish()) queue->notify();
  }
}

/// How long the front-end may still be silent.
VhostLink::Impl::Clock::duration VhostLink::Impl::patience_left() const noexcept {
  return silent_until ? *silent_until - Clock::now() : Clock::duration::max();
}

/// Answers the messages that have arrived, and clears the events of kicks.
void VhostLink::Impl::serve_socket() noexcept {
  busy = 0;
  give_back();  // a message may stop the queues
  std::array<epoll_event, 2> events{};
  const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 0);
  const bool any =
      std::any_of(events.begin(), events.begin() + std::max(count, 0),
                  [](const epoll_event& e) { return e.data.u64 != Backend::kKickTag; });
  if (!any && patience_left() <= Clock::duration(0)) end_corrupt("it sent no message");
  if (!any) return;
  try {
    for (unsigned i = 0; i < kMaxMessages && !ended && answer_message(); ++i) continue;
  } catch (const std::bad_alloc&) {
    end_corrupt("there is no memory for its messages");
  }
}

/// Result: whether there was a message.
bool VhostLink::Impl::answer_message() {
  switch (reader.read(socket)) {
    case MessageReader::Status::none: return false;
    case MessageReader::Status::closed:
      ended = true;
      debug(Debug::link, [this] { return options.address + ": the front-end has closed"; });
      return false;
    case MessageReader::Status::refused: end_corrupt(socket.why()); return false;
    case MessageReader::Status::malformed:
      end_corrupt("what is no message of vhost-user");
      return false;
    case MessageReader::Status::whole: break;
  }
  Message& message = reader.message();
  const Backend::Answer answer = backend.handle(message);
  if (answer.reply &&
      !send_message(socket.get(), message.request(), MessageHeader::kReply, answer.value)) {
    end_corrupt("it reads no replies");
  }
  if (!answer.accepted) end_corrupt(backend.why());
  if (answer.accepted && debugs(Debug::link)) {
    if (const std::string what = told(message, backend); !what.empty())
      debug(Debug::link, [&] { return options.address + ": the front-end " + what; });
  }
  silent_until.reset();
  return true;
}

// Frames to the driver.

std::error_code VhostLink::Impl::refusal_of(const FrameView& frame) const noexcept {
  if (frame.size() < kEthernetHeaderBytes) return Errc::frame_too_short;
  const bool super = frame.offload.is_super_frame() && options.offload;
  if (frame.size() > (super ? kMaxSuperFrameBytes : options.max_frame_bytes))
    return Errc::frame_too_long;
  if (frame.offload.pending() && !options.offload) return Errc::not_supported;
  return {};
}

/// Whether the driver takes a frame with this unfinished work.
bool VhostLink::Impl::takes(const Offload& offload) const noexcept {
  if (offload.needs_checksum() && !backend.has(Features::kGuestCsum)) return false;
  if (!offload.is_super_frame()) return true;
  const std::uint64_t need = feature_for(offload.gso_type, true);
  return need != 0 && backend.has_all(need);
}

/// Collects chains of the driver until they hold `bytes`. Result: false if there are too few.
bool VhostLink::Impl::gather(std::size_t bytes) noexcept {
  SplitQueue& ring = to_driver().ring;
  buffers.clear();
  chains.clear();
  for (std::size_t held = 0; held < bytes;) {
    const auto ahead = static_cast<unsigned>(chains.size());
    if (ahead == max_chains()) return false;
    if (!ring.has(ahead + 1)) return false;
    SplitQueue::Chain chain;
    if (!ring.read_chain(ahead, Direction::to_driver, bytes - held, buffers, chain)) return false;
    held += chain.bytes;
    chains.push_back(chain);
  }
  return true;
}

/// Puts one frame into the driver's buffers.
VhostLink::Impl::Put VhostLink::Impl::put_bytes(std::span<const std::byte> bytes,
                                                const Offload& offload) noexcept {
  SplitQueue& ring = to_driver().ring;
  const std::size_t header_bytes = backend.header_bytes();
  if (!gather(header_bytes + bytes.size())) {
    // The frame may fit when the driver lends more buffers, unless these are the most that one
    // frame may have. (If a chain has a fault, it is not among them; receive() reports it.)
    return chains.size() < max_chains() ? Put::full : Put::no_room;
  }
  const NetHeader header{.offload = offload,
                         .num_buffers = static_cast<std::uint16_t>(chains.size())};
  BufferCursor cursor(buffers);
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
  SplitQueue& ring = to_driver().ring;
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
  Offload offload = frame.offload;
  offload.flags &= Offload::kNeedsChecksum;
  return put_bytes(frame.bytes, offload);
}

SendResult VhostLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  SendResult result;
  if (frames.empty()) return result;
  if (self.ended) return {0, Errc::link_ended};
  for (const FrameView& frame : frames) {
    result.error = self.refusal_of(frame);
    if (result.error) break;
    if (!self.may_send()) {
      self.not_ready.add();
    } else if (const Impl::Put put = self.put(frame); put != Impl::Put::done) {
      if (put == Impl::Put::full) break;
      self.no_room.add();
    }
    ++result.taken;
  }
  self.give_back();
  // receive() reports why it ended.
  if (!self.is_sound() && result.taken < frames.size()) result.error = Errc::link_ended;
  return result;
}

// Frames from the driver.

/// Whether the driver may leave this work to us. A super-frame always has an unfinished checksum
/// (virtio 1.1, section 5.1.6.2).
bool VhostLink::Impl::allows(const Offload& offload) const noexcept {
  if (offload.needs_checksum() && !backend.has(Features::kCsum)) return false;
  if (!offload.is_super_frame()) return true;
  const std::uint64_t need = feature_for(offload.gso_type, false);
  return offload.needs_checksum() && need != 0 && backend.has_all(need);
}

/// Takes the next chain of the driver, with the frame in it.
VhostLink::Impl::Got VhostLink::Impl::get(FrameBatch& into) noexcept {
  SplitQueue& ring = from_driver().ring;
  if (!ring.has(1)) return Got::none;
  buffers.clear();
  SplitQueue::Chain chain;
  constexpr std::size_t kAll = ~std::size_t{0};
  if (!ring.read_chain(0, Direction::from_driver, kAll, buffers, chain)) return Got::none;
  const std::size_t header_bytes = backend.header_bytes();
  const std::size_t length = chain.bytes - std::min(chain.bytes, header_bytes);
  const auto drop = [&](Count& why_dropped) {
    why_dropped.add();
    ring.give_back(chain.head, 0);
    return Got::dropped;
  };
  if (!from_driver().enabled) return drop(discarded);
  if (length < kEthernetHeaderBytes) return drop(too_short);
  BufferCursor cursor(buffers);
  NetHeader header;
  cursor.read(std::as_writable_bytes(std::span(&header, 1)).first(header_bytes));
  Offload& offload = header.offload;
  offload.flags &= Offload::kNeedsChecksum;
  if (!allows(offload)) return drop(bad_header);
  if (length > (offload.is_super_frame() ? kMaxSuperFrameBytes : options.max_frame_bytes))
    return drop(too_long);
  if (!into.has_room_for(length)) return Got::no_space;
  const std::span<std::byte> room = into.room();
  FrameView& frame = into.next();
  frame.bytes = room.first(std::min(length, room.size()));
  cursor.read(room.first(frame.size()));
  if (length > frame.size()) frame.true_bytes = static_cast<std::uint32_t>(length);
  if (offload.pending()) frame.offload = offload;
  into.keep();
  ring.give_back(chain.head, 0);
  return Got::frame;
}

ReceiveResult VhostLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  const std::size_t before = into.size();
  bool looked = false;
  for (unsigned chains = 0; !self.ended && !into.full() && chains < kMaxChainsPerReceive;) {
    const Impl::Got got = self.get(into);
    if (got == Impl::Got::frame || got == Impl::Got::dropped) {
      ++chains;
      continue;
    }
    if (got == Impl::Got::no_space || looked || into.size() > before) break;
    self.serve_socket();  // it may start the queue
    looked = true;
  }
  if (++self.busy > kBusyReceives) self.serve_socket();
  self.give_back();
  if (!self.is_sound() && self.backend.memory().lost()) into.drop(before, into.size());
  result.frames = into.size() - before;
  if (self.ended && result.frames == 0 && !into.full()) {
    result.error = std::exchange(self.corrupt, false) ? Errc::corrupt : Errc::link_ended;
  }
  return result;
}

int VhostLink::descriptor() noexcept {
  return impl_->epoll.get();
}

WaitHint VhostLink::prepare_wait() noexcept {
  Backend::Queue& queue = impl_->from_driver();
  WaitHint hint{.ready = queue.ring.prepare_wait() || !impl_->is_sound()};
  if (queue.polled) hint.at_most = kLookAgain;
  if (impl_->silent_until)
    hint.at_most = std::max<std::chrono::nanoseconds>(kLookAgain, impl_->patience_left());
  return hint;
}

void VhostLink::finish_wait() noexcept {
  impl_->from_driver().ring.finish_wait();
}

std::size_t VhostLink::max_frame_bytes() noexcept {
  return impl_->options.max_frame_bytes;
}
std::string VhostLink::address() {
  return impl_->options.address;
}
bool VhostLink::takes_offloads() const noexcept {
  return impl_->options.offload;
}
bool VhostLink::is_ready() const noexcept {
  return !impl_->ended && impl_->may_send() && impl_->from_driver().enabled &&
         impl_->from_driver().ring.is_running();
}
bool VhostLink::was_set_up() const noexcept {
  return impl_->backend.was_given_memory();
}
std::string VhostLink::why() const {
  return impl_->why;
}
VhostDrops VhostLink::drops() const noexcept {
  return {.too_long = impl_->too_long.get(),
          .too_short = impl_->too_short.get(),
          .bad_header = impl_->bad_header.get(),
          .discarded = impl_->discarded.get(),
          .not_ready = impl_->not_ready.get(),
          .no_room = impl_->no_room.get()};
}

}  // namespace shmif::vhost
