#include "memif/memif_link.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <new>
#include <utility>
#include <vector>

#include "memif/message.hpp"
#include "memif/ring.hpp"
#include "memif/session.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::memif {
namespace {

/// receive() looks for messages after this many batches, even if the client always has frames.
constexpr unsigned kBusyReceives = 16;
/// One call takes at most this many frames, even if all of them are dropped.
constexpr unsigned kMaxFramesPerReceive = 1024;
constexpr unsigned kMaxMessages = 64;  // in one call
/// When to look again after the mask of interrupts was cleared (M6).
constexpr std::chrono::milliseconds kLookAgain{1};

/// Only the thread of the link counts; any thread may read.
class Count {
 public:
  void add() noexcept { value_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

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

struct MemifLink::Impl {
  MemifOptions options;
  base::ForeignSocket socket;
  UniqueFd epoll;  ///< watches the socket, and the interrupts of the ring that we receive from
  Message message;
  Session session;
  bool ended = false;
  bool corrupt = false;  ///< receive() must report it
  std::string why;
  unsigned busy = 0;            ///< calls of receive() since it looked for messages
  std::vector<Buffer> buffers;  ///< of one frame
  Count too_long, too_short, not_ready, no_room;

  Impl(base::ForeignSocket connected, UniqueFd waited_for, MemifOptions o)
      : options(std::move(o)),
        socket(std::move(connected)),
        epoll(std::move(waited_for)),
        session(epoll.get(), options.max_memory_bytes) {
    buffers.reserve(Ring::kMaxBuffers);
  }

  Session::Lane& to_client() noexcept { return session.lane(Session::kToClient); }
  Session::Lane& from_client() noexcept { return session.lane(Session::kFromClient); }

  void end_corrupt(std::string reason) noexcept;
  bool is_sound() noexcept;
  void give_back() noexcept;
  void serve_socket() noexcept;
  bool answer_message();

  std::error_code refusal_of(const FrameView& frame) const noexcept;
  /// What became of a frame for the client's buffers.
  enum class Put : std::uint8_t { done, full };
  Put put(std::span<const std::byte> bytes) noexcept;
  enum class Got : std::uint8_t { frame, dropped, none, no_space };
  Got get(FrameBatch& into) noexcept;
};

MemifLink::MemifLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MemifLink::MemifLink(MemifLink&&) noexcept = default;
MemifLink& MemifLink::operator=(MemifLink&&) noexcept = default;
MemifLink::~MemifLink() = default;

Result<MemifLink> MemifLink::adopt(UniqueFd connected, MemifOptions options) {
  base::ForeignSocket socket(std::move(connected));
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!epoll || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0)
    return Error::from_errno(errno, "cannot wait for " + options.address);
  debug(Debug::link, [&] {
    return options.address + ": a client connects; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes";
  });
  MemifLink link(std::make_unique<Impl>(std::move(socket), std::move(epoll), std::move(options)));
  Hello hello;
  hello.name = field_of<kNameBytes>("shmif");
  // If the client has gone already, receive() finds that out.
  (void)send_message(link.impl_->socket.get(), make_message(MessageType::hello, hello));
  return link;
}

// The client and its messages.

void MemifLink::Impl::end_corrupt(std::string reason) noexcept {
  if (ended) return;
  ended = corrupt = true;
  Disconnect said;
  said.reason = field_of<sizeof said.reason>(reason);
  (void)send_message(socket.get(), make_message(MessageType::disconnect, said));
  why = std::move(reason);
  debug(Debug::link, [this] { return options.address + ": the client is cut off: " + why; });
}

/// Checks the rings and the memory, and ends the link if they are not valid. Result: whether the
/// link goes on.
bool MemifLink::Impl::is_sound() noexcept {
  for (Session::Lane* lane : {&to_client(), &from_client()}) {
    if (const char* const fault = lane->ring.fault(); fault != nullptr)
      end_corrupt(std::string(lane == &to_client() ? "receive ring: " : "send ring: ") + fault);
  }
  if (session.memory().lost()) end_corrupt("its memory was truncated");
  return !ended;
}

/// Shows the client which buffers it owns again.
void MemifLink::Impl::give_back() noexcept {
  if (to_client().ring.publish()) to_client().notify();
  (void)from_client().ring.publish();
}

/// Answers the messages that have arrived, and clears the events of interrupts.
void MemifLink::Impl::serve_socket() noexcept {
  busy = 0;
  std::array<epoll_event, 2> events{};
  const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 0);
  const bool any =
      std::any_of(events.begin(), events.begin() + std::max(count, 0),
                  [](const epoll_event& e) { return e.data.u64 != Session::kInterruptTag; });
  if (!any) return;
  try {
    for (unsigned i = 0; i < kMaxMessages && !ended && answer_message(); ++i) continue;
  } catch (const std::bad_alloc&) {
    end_corrupt("there is no memory for its messages");
  }
}

/// Result: whether there was a message.
bool MemifLink::Impl::answer_message() {
  switch (read_message(socket, message)) {
    case ReadStatus::none: return false;
    case ReadStatus::closed:
      ended = true;
      debug(Debug::link, [this] { return options.address + ": the client has closed"; });
      return false;
    case ReadStatus::malformed: end_corrupt("what is no message of memif"); return false;
    case ReadStatus::refused: end_corrupt(socket.why()); return false;
    case ReadStatus::whole: break;
  }
  bool told_client = true;
  const Session::Answer answer = session.handle(message);
  if (answer != Session::Answer::refused && debugs(Debug::link)) {
    if (const std::string what = told(message); !what.empty())
      debug(Debug::link, [&] { return options.address + ": the client " + what; });
  }
  switch (answer) {
    case Session::Answer::none: break;
    case Session::Answer::ack:
      told_client = send_message(socket.get(), make_message(MessageType::ack));
      break;
    case Session::Answer::connected:
      told_client = send_message(
          socket.get(), make_message(MessageType::connected, field_of<kNameBytes>("shmif")));
      break;
    case Session::Answer::gone: ended = true; break;
    case Session::Answer::refused: end_corrupt(session.why()); break;
  }
  if (!told_client) end_corrupt("it reads no replies");
  return true;
}

// Frames to the client.

std::error_code MemifLink::Impl::refusal_of(const FrameView& frame) const noexcept {
  if (frame.size() < kEthernetHeaderBytes) return Errc::frame_too_short;
  if (frame.offload.pending()) return Errc::not_supported;
  if (frame.size() > options.max_frame_bytes) return Errc::frame_too_long;
  return {};
}

/// Puts one frame into the client's buffers.
MemifLink::Impl::Put MemifLink::Impl::put(std::span<const std::byte> bytes) noexcept {
  Ring& ring = to_client().ring;
  buffers.clear();
  for (std::size_t held = 0; held < bytes.size();) {
    if (buffers.size() == std::min(ring.size(), Ring::kMaxBuffers)) {
      no_room.add();  // a frame can have no more buffers
      return Put::done;
    }
    if (!ring.has(buffers.size() + 1)) return Put::full;
    Buffer buffer;
    (void)ring.read(buffers.size(), buffer);
    if (!ring.is_running()) return Put::full;
    held += buffer.bytes;
    buffers.push_back(buffer);
  }
  BufferCursor(buffers).write(bytes);
  std::size_t left = bytes.size();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const std::size_t filled = std::min(left, buffers[i].bytes);
    left -= filled;
    ring.fill(i, static_cast<std::uint32_t>(filled), i + 1 < buffers.size());
  }
  ring.pass(buffers.size());
  return Put::done;
}

SendResult MemifLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  SendResult result;
  if (frames.empty()) return result;
  if (self.ended) return {0, Errc::link_ended};
  for (const FrameView& frame : frames) {
    result.error = self.refusal_of(frame);
    if (result.error) break;
    if (!self.session.is_connected()) {
      self.not_ready.add();
    } else if (self.put(frame.bytes) == Impl::Put::full) {
      break;
    }
    ++result.taken;
  }
  self.give_back();
  // receive() reports why it ended.
  if (!self.is_sound() && result.taken < frames.size()) result.error = Errc::link_ended;
  return result;
}

// Frames from the client.

/// Takes the next frame of the client.
MemifLink::Impl::Got MemifLink::Impl::get(FrameBatch& into) noexcept {
  Ring& ring = from_client().ring;
  buffers.clear();
  const std::size_t count = ring.next_frame(buffers);
  if (count == 0) return Got::none;
  std::size_t length = 0;
  for (const Buffer& buffer : buffers) length += buffer.bytes;
  if (length < kEthernetHeaderBytes || length > options.max_frame_bytes) {
    (length < kEthernetHeaderBytes ? too_short : too_long).add();
    ring.pass(count);
    return Got::dropped;
  }
  if (!into.has_room_for(length)) return Got::no_space;
  const std::span<std::byte> room = into.room();
  FrameView& frame = into.next();
  frame.bytes = room.first(std::min(length, room.size()));
  BufferCursor(buffers).read(room.first(frame.size()));
  if (length > frame.size()) frame.true_bytes = static_cast<std::uint32_t>(length);
  into.keep();
  ring.pass(count);
  return Got::frame;
}

ReceiveResult MemifLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  const std::size_t before = into.size();
  bool looked = false;
  for (unsigned frames = 0; !self.ended && !into.full() && frames < kMaxFramesPerReceive;) {
    const Impl::Got got = self.get(into);
    if (got == Impl::Got::frame || got == Impl::Got::dropped) {
      ++frames;
      continue;
    }
    if (got == Impl::Got::no_space || looked || frames > 0) break;
    self.serve_socket();  // it may start the rings
    looked = true;
  }
  if (into.size() > before) self.from_client().ring.mask();
  if (++self.busy > kBusyReceives) self.serve_socket();
  self.give_back();
  if (!self.is_sound() && self.session.memory().lost()) into.drop(before, into.size());
  result.frames = into.size() - before;
  if (self.ended && result.frames == 0 && !into.full()) {
    result.error = std::exchange(self.corrupt, false) ? Errc::corrupt : Errc::link_ended;
  }
  return result;
}

int MemifLink::descriptor() noexcept {
  return impl_->epoll.get();
}

WaitHint MemifLink::prepare_wait() noexcept {
  WaitHint hint{.ready = !impl_->is_sound()};
  switch (impl_->from_client().ring.prepare_wait()) {
    case Ring::Wait::ready: hint.ready = true; break;
    case Ring::Wait::look_again: hint.at_most = kLookAgain; break;
    case Ring::Wait::sleep: break;
  }
  return hint;
}

void MemifLink::finish_wait() noexcept {}  // the next frames mask the interrupts

std::size_t MemifLink::max_frame_bytes() noexcept {
  return impl_->options.max_frame_bytes;
}
std::string MemifLink::address() {
  return impl_->options.address;
}
bool MemifLink::was_set_up() const noexcept {
  return impl_->session.is_connected();
}
std::string MemifLink::why() const {
  return impl_->why;
}
MemifDrops MemifLink::drops() const noexcept {
  return {.too_long = impl_->too_long.get(),
          .too_short = impl_->too_short.get(),
          .not_ready = impl_->not_ready.get(),
          .no_room = impl_->no_room.get()};
}

}  // namespace shmif::memif
