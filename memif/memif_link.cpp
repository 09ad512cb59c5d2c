#include "memif/memif_link.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "memif/ring.hpp"
#include "memif/session.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/foreign/foreign_link.hpp"

namespace shmif::memif {
namespace {

/// When to look again after the mask of interrupts was cleared (M6).
constexpr std::chrono::milliseconds kLookAgain{1};

/// A text in a message, which need not end with a zero byte.
template <std::size_t kBytes>
std::string text_of(const std::array<char, kBytes>& field) {
  return {field.begin(), std::find(field.begin(), field.end(), '\0')};
}

/// For debug lines: describes what an accepted message did. Empty for an ACK.
std::string told(const Message& message) {
  switch (message.type()) {
    case MessageType::init: {
      const auto fields = message.as<Init>();
      return "calls itself \"" + text_of(fields.name) + "\", interface " +
             std::to_string(fields.id);
    }
    case MessageType::add_region: {
      const auto fields = message.as<AddRegion>();
      return "shares memory region " + std::to_string(fields.index) + ": " +
             std::to_string(fields.bytes) + " bytes";
    }
    case MessageType::add_ring: {
      const auto fields = message.as<AddRing>();
      return std::string("adds its ") +
             ((fields.flags & AddRing::kFromClient) != 0 ? "send" : "receive") +
             " ring: " + std::to_string(1U << fields.size_log2) + " buffers";
    }
    case MessageType::connect: return "is connected";
    case MessageType::disconnect:
      return "takes its leave: \"" + text_of(message.as<Disconnect>().reason) + '"';
    default: return {};
  }
}

}  // namespace

struct MemifLink::Impl final : ForeignLink<MemifLink::Impl> {
  static constexpr const char* kProtocol = "memif";
  static constexpr const char* kQueue = "ring";
  static constexpr std::size_t kFirstBuffers = Ring::kMaxBuffers;

  Message message;
  Session session;

  Impl(ForeignConnection connection, const MemifOptions& options)
      : ForeignLink(std::move(connection), options.max_frame_bytes),
        session(descriptor(), options.max_memory_bytes) {}

  Session::Lane& to_program() noexcept { return session.lane(Session::kToClient); }
  Session::Lane& from_program() noexcept { return session.lane(Session::kFromClient); }
  bool may_send() const noexcept { return session.is_connected(); }

  /// Result: whether the socket took the message.
  bool tell(const std::array<std::byte, kMessageBytes>& bytes) noexcept {
    return send_message(connection_.socket().get(), bytes);
  }
  MessageStatus read_message() { return memif::read_message(connection_.socket(), message); }
  void answer_message();
  void tell_end(const std::string& reason) noexcept;
  const char* overdue() const noexcept { return nullptr; }
  bool memory_lost() const noexcept { return session.memory().lost(); }
  void give_back() noexcept;

  std::error_code refusal_of(const FrameView& frame) const noexcept;
  Put put(const FrameView& frame) noexcept;
  Got get(FrameBatch& into) noexcept;
  void took_frames() noexcept { from_program().ring.mask(); }
};

MemifLink::MemifLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MemifLink::MemifLink(MemifLink&&) noexcept = default;
MemifLink::~MemifLink() = default;

Result<MemifLink> MemifLink::adopt(UniqueFd connected, MemifOptions options) {
  auto connection =
      ForeignConnection::adopt(std::move(connected), std::move(options.address), "client");
  if (!connection) return std::move(connection).error();
  debug(Debug::link, [&] {
    return connection->address() + ": a client connects; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes";
  });
  MemifLink link(std::make_unique<Impl>(*std::move(connection), options));
  Hello hello;
  hello.name = field_of<kNameBytes>("shmif");
  // If the client has gone already, receive() finds that out.
  (void)link.impl_->tell(make_message(MessageType::hello, hello));
  return link;
}

// The client and its messages.

void MemifLink::Impl::tell_end(const std::string& reason) noexcept {
  Disconnect said;
  said.reason = field_of<sizeof said.reason>(reason);
  (void)tell(make_message(MessageType::disconnect, said));
}

/// Shows the client which buffers it owns again.
void MemifLink::Impl::give_back() noexcept {
  if (to_program().ring.publish()) to_program().notify();
  (void)from_program().ring.publish();
}

void MemifLink::Impl::answer_message() {
  bool told_client = true;
  const Session::Answer answer = session.handle(message);
  if (answer != Session::Answer::refused && debugs(Debug::link)) {
    if (const std::string what = told(message); !what.empty()) connection_.tell(what);
  }
  switch (answer) {
    case Session::Answer::none: break;
    case Session::Answer::ack: told_client = tell(make_message(MessageType::ack)); break;
    case Session::Answer::connected:
      told_client = tell(make_message(MessageType::connected, field_of<kNameBytes>("shmif")));
      break;
    case Session::Answer::gone: connection_.end(); break;
    case Session::Answer::refused: end_corrupt(session.why()); break;
  }
  if (!told_client) end_corrupt("it reads no replies");
}

// Frames to the client.

std::error_code MemifLink::Impl::refusal_of(const FrameView& frame) const noexcept {
  if (frame.size() < kEthernetHeaderBytes) return Errc::frame_too_short;
  if (frame.offload.pending()) return Errc::not_supported;
  if (frame.size() > max_frame_bytes()) return Errc::frame_too_long;
  return {};
}

/// Puts one frame into the client's buffers_.
MemifLink::Impl::Put MemifLink::Impl::put(const FrameView& frame) noexcept {
  const std::span<const std::byte> bytes = frame.bytes;
  Ring& ring = to_program().ring;
  buffers_.clear();
  for (std::size_t held = 0; held < bytes.size();) {
    if (buffers_.size() == std::min(ring.size(), Ring::kMaxBuffers))
      return Put::no_room;  // a frame can have no more buffers
    if (!ring.has(buffers_.size() + 1)) return Put::full;
    Buffer buffer;
    (void)ring.read(buffers_.size(), buffer);
    if (!ring.is_running()) return Put::full;
    held += buffer.bytes;
    buffers_.push_back(buffer);
  }
  BufferCursor(buffers_).write(bytes);
  std::size_t left = bytes.size();
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const std::size_t filled = std::min(left, buffers_[i].bytes);
    left -= filled;
    ring.fill(i, static_cast<std::uint32_t>(filled), i + 1 < buffers_.size());
  }
  ring.pass(buffers_.size());
  return Put::done;
}

// Frames from the client.

/// Takes the next frame of the client.
MemifLink::Impl::Got MemifLink::Impl::get(FrameBatch& into) noexcept {
  Ring& ring = from_program().ring;
  buffers_.clear();
  const std::size_t count = ring.next_frame(buffers_);
  if (count == 0) return Got::none;
  std::size_t length = 0;
  for (const Buffer& buffer : buffers_) length += buffer.bytes;
  if (length < kEthernetHeaderBytes || length > max_frame_bytes()) {
    (length < kEthernetHeaderBytes ? too_short_ : too_long_).add();
    ring.pass(count);
    return Got::dropped;
  }
  if (!into.has_room_for(length)) return Got::no_space;
  BufferCursor cursor(buffers_);
  (void)copy_frame(into, cursor, length);
  into.keep();
  ring.pass(count);
  return Got::frame;
}

SendResult MemifLink::send(std::span<const FrameView> frames) noexcept {
  return impl_->send(frames);
}
ReceiveResult MemifLink::receive(FrameBatch& into) noexcept {
  return impl_->receive(into);
}

int MemifLink::descriptor() noexcept {
  return impl_->descriptor();
}

WaitHint MemifLink::prepare_wait() noexcept {
  WaitHint hint{.ready = !impl_->is_sound()};
  switch (impl_->from_program().ring.prepare_wait()) {
    case Ring::Wait::ready: hint.ready = true; break;
    case Ring::Wait::look_again: hint.at_most = kLookAgain; break;
    case Ring::Wait::sleep: break;
  }
  return hint;
}

void MemifLink::finish_wait() noexcept {}  // the next frames mask the interrupts

std::size_t MemifLink::max_frame_bytes() noexcept {
  return impl_->max_frame_bytes();
}
std::string MemifLink::address() {
  return impl_->address();
}
bool MemifLink::was_set_up() const noexcept {
  return impl_->session.is_connected();
}
std::string MemifLink::why() const {
  return impl_->why();
}
MemifDrops MemifLink::drops() const noexcept {
  return impl_->drops();
}

}  // namespace shmif::memif
