#pragma once
// The skeleton of a link to a program that shares its memory: a virtual machine (vhost/), a packet
// processor (memif/). A protocol says what messages and buffers mean. What is the same for all is
// here: to answer messages, to send and receive batches, to count what is dropped, and to end the
// link when the program breaks the rules.
//
// It is a base class of the protocol's own class and calls it by static_cast, not by virtual
// functions: a frame of 60 bytes costs 600 to 1,000 instructions, and they show.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "shmif/foreign/foreign.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// Counts frames. Threads: one may add, any may read.
class ForeignCount {
 public:
  void add() noexcept { value_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Self has these members, which are called without a lock in the link's thread:
///
///   static constexpr const char* kProtocol, *kQueue;       for messages: "memif", "ring"
///   static constexpr std::size_t kFirstBuffers;            of one frame, at first
///   MessageStatus read_message();                          the next message
///   void answer_message();                                 if it is whole
///   void tell_end(const std::string& why);                 tells the program why it is cut off
///   const char* overdue();                                 why not to wait for a message; or null
///   Queue& to_program(), from_program();                   with `ring`, which has fault()
///   bool memory_lost();
///   void give_back();                                      shows the program what is its again
///   bool may_send();                                       whether the program has said where to
///   std::error_code refusal_of(const FrameView&);          before a frame is sent
///   Put put(const FrameView&);                             sends one frame
///   Got get(FrameBatch&);                                  receives one frame
///   void took_frames();                                    receive() returns frames
///
/// Threads: one at a time; drops() from any. Blocks: never, except as base::ForeignSocket says.
template <class Self>
class ForeignLink {
  friend Self;

 public:
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// Checks the queues and the memory, and ends the link if they are not valid. Result: whether the
  /// link goes on.
  bool is_sound() noexcept;

  bool has_ended() const noexcept { return connection_.has_ended(); }
  int descriptor() const noexcept { return connection_.epoll(); }
  std::size_t max_frame_bytes() const noexcept { return max_frame_bytes_; }
  const std::string& address() const noexcept { return connection_.address(); }
  const std::string& why() const noexcept { return connection_.why(); }
  ForeignDrops drops() const noexcept {
    return {.too_long = too_long_.get(),
            .too_short = too_short_.get(),
            .bad_header = bad_header_.get(),
            .discarded = discarded_.get(),
            .not_ready = not_ready_.get(),
            .no_room = no_room_.get()};
  }

 protected:
  /// What became of a frame for the program's buffers.
  enum class Put : std::uint8_t { done, full, no_room };
  enum class Got : std::uint8_t { frame, dropped, none, no_space };

  ~ForeignLink() = default;

  void end_corrupt(const std::string& reason) noexcept;
  /// Copies a frame of `length` bytes to the end of `into`, which has room for it, or for its
  /// beginning. The frame counts after into.keep().
  static FrameView& copy_frame(FrameBatch& into, BufferCursor& from, std::size_t length) noexcept;

  ForeignConnection connection_;
  std::size_t max_frame_bytes_;
  std::vector<Buffer> buffers_;  ///< of one frame
  ForeignCount too_long_, too_short_, bad_header_, discarded_, not_ready_, no_room_;

 private:
  ForeignLink(ForeignConnection connection, std::size_t max_frame_bytes)
      : connection_(std::move(connection)), max_frame_bytes_(max_frame_bytes) {
    buffers_.reserve(Self::kFirstBuffers);
  }

  /// receive() looks for messages after this many batches, even if there are always frames.
  static constexpr unsigned kBusyReceives = 16;
  /// One call takes at most this many frames, even if all of them are dropped.
  static constexpr unsigned kMaxFramesPerReceive = 1024;
  static constexpr unsigned kMaxMessages = 64;  ///< in one call
  /// More than the queue of any protocol holds. A program that has left can still fill its queue.
  static constexpr unsigned kMaxLeft = 1U << 16U;

  Self& self() noexcept { return static_cast<Self&>(*this); }
  void serve_socket() noexcept;
  bool serve_message();

  unsigned busy_ = 0;  ///< calls of receive() since it looked for messages
  /// Frames that receive() may still take from the queue of a program that has left.
  unsigned left_ = kMaxLeft;
};

template <class Self>
void ForeignLink<Self>::end_corrupt(const std::string& reason) noexcept {
  if (has_ended()) return;
  left_ = 0;
  self().tell_end(reason);
  connection_.end_corrupt(reason);
}

template <class Self>
bool ForeignLink<Self>::is_sound() noexcept {
  const auto check = [this](const auto& ring, const char* name) {
    if (const char* const fault = ring.fault(); fault != nullptr)
      end_corrupt(std::string(name) + ' ' + Self::kQueue + ": " + fault);
  };
  check(self().to_program().ring, "receive");
  check(self().from_program().ring, "send");
  if (self().memory_lost()) end_corrupt("its memory was truncated");
  return !has_ended();
}

/// Answers the messages that have arrived, and clears the events of wakeups.
template <class Self>
void ForeignLink<Self>::serve_socket() noexcept {
  busy_ = 0;
  self().give_back();  // a message may stop the queues
  if (!connection_.has_messages()) {
    if (const char* const why = self().overdue(); why != nullptr) end_corrupt(why);
    return;
  }
  try {
    for (unsigned i = 0; i < kMaxMessages && !has_ended() && serve_message(); ++i) continue;
  } catch (const std::bad_alloc&) {
    end_corrupt("there is no memory for its messages");
  }
}

/// Result: whether there was a message.
template <class Self>
bool ForeignLink<Self>::serve_message() {
  switch (self().read_message()) {
    case MessageStatus::none: return false;
    case MessageStatus::closed:
      connection_.end();
      connection_.tell("has closed");
      return false;
    case MessageStatus::malformed:
      end_corrupt(std::string("an invalid message of ") + Self::kProtocol);
      return false;
    case MessageStatus::refused: end_corrupt(connection_.socket().why()); return false;
    case MessageStatus::whole: break;
  }
  self().answer_message();
  return true;
}

template <class Self>
SendResult ForeignLink<Self>::send(std::span<const FrameView> frames) noexcept {
  SendResult result;
  if (frames.empty()) return result;
  if (left_ == 0) return {0, Errc::link_ended};
  for (const FrameView& frame : frames) {
    result.error = self().refusal_of(frame);
    if (result.error) break;
    if (has_ended() || !self().may_send()) {
      not_ready_.add();
    } else if (const Put put = self().put(frame); put != Put::done) {
      if (put == Put::full) break;
      no_room_.add();
    }
    ++result.taken;
  }
  self().give_back();
  // receive() reports why it ended.
  if (!is_sound() && result.taken < frames.size()) result.error = Errc::link_ended;
  return result;
}

template <class Self>
ReceiveResult ForeignLink<Self>::receive(FrameBatch& into) noexcept {
  ReceiveResult result;
  const std::size_t before = into.size();
  bool looked = false;
  for (unsigned frames = 0; left_ > 0 && !into.full() && frames < kMaxFramesPerReceive;) {
    const Got got = self().get(into);
    if (got == Got::frame || got == Got::dropped) {
      ++frames;
      if (has_ended()) --left_;
      continue;
    }
    if (got == Got::none && has_ended()) left_ = 0;
    if (got == Got::no_space || looked || into.size() > before) break;
    serve_socket();  // it may start the queues
    looked = true;
  }
  if (into.size() > before) self().took_frames();
  if (++busy_ > kBusyReceives) serve_socket();
  self().give_back();
  if (!is_sound() && self().memory_lost()) {
    into.drop(before, into.size());
    left_ = 0;
  }
  result.frames = into.size() - before;
  if (has_ended() && left_ == 0 && result.frames == 0 && !into.full())
    result.error = connection_.take_corrupt() ? Errc::corrupt : Errc::link_ended;
  return result;
}

template <class Self>
FrameView& ForeignLink<Self>::copy_frame(FrameBatch& into, BufferCursor& from,
                                         std::size_t length) noexcept {
  const std::span<std::byte> room = into.room();
  FrameView& frame = into.next();
  frame.bytes = room.first(std::min(length, room.size()));
  from.read(room.first(frame.size()));
  if (length > frame.size()) frame.true_bytes = static_cast<std::uint32_t>(length);
  return frame;
}

}  // namespace shmif
