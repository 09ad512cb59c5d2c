#include "shmif/loopback_link.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

#include "base/unique_fd.hpp"
#include "base/wall_clock.hpp"

namespace shmif {

/// Frames on their way to one end: a ring of bytes and a ring of their descriptions. Both have a
/// fixed size, so that sending never allocates. The eventfd is rung only for a receiver that
/// announced itself in prepare_wait(). Looking and announcing happen under one lock, so no arrival
/// is missed.
class LoopbackLink::Queue {
 public:
  Queue(const LoopbackOptions& options, UniqueFd event)
      : event_(std::move(event)),
        bytes_(options.queue_bytes),
        entries_(options.queue_frames),
        max_frame_bytes_(options.max_frame_bytes) {}

  SendResult send(std::span<const FrameView> frames) noexcept {
    const std::lock_guard lock(mutex_);
    SendResult result;
    for (const FrameView& frame : frames) {
      if (closed_)
        result.error = Errc::link_ended;
      else if (frame.size() < kEthernetHeaderBytes)
        result.error = Errc::frame_too_short;
      else if (frame.size() > max_frame_bytes_)
        result.error = Errc::frame_too_long;
      if (result.error) break;
      put(frame);
      ++result.taken;
    }
    if (frames.empty() && closed_) result.error = Errc::link_ended;
    if (count_ > 0) ring();
    return result;
  }

  ReceiveResult receive(FrameBatch& into) noexcept {
    const std::lock_guard lock(mutex_);
    ReceiveResult result;
    while (count_ > 0 && !into.full()) {
      const Entry& entry = entries_[head_];
      if (!into.has_room_for(entry.size)) break;
      take(entry, into);
      ++result.frames;
    }
    if (result.frames == 0 && count_ == 0 && closed_) result.error = Errc::link_ended;
    return result;
  }

  WaitHint prepare_wait() noexcept {
    const std::lock_guard lock(mutex_);
    waiting_ = true;
    return {.ready = count_ > 0 || closed_};
  }

  void finish_wait() noexcept {
    const std::lock_guard lock(mutex_);
    waiting_ = false;
    eventfd_t ignored = 0;
    eventfd_read(event_.get(), &ignored);  // non-blocking: it fails if nobody rang, which is fine
  }

  void close() noexcept {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    ring();
  }

  int descriptor() const noexcept { return event_.get(); }
  std::size_t max_frame_bytes() const noexcept { return max_frame_bytes_; }
  std::uint64_t dropped() const noexcept {
    const std::lock_guard lock(mutex_);
    return dropped_;
  }

 private:
  struct Entry {
    std::size_t offset = 0;  // of its first byte in bytes_; the frame may wrap
    std::size_t size = 0;
    std::uint64_t time_ns = 0;
    std::uint32_t true_bytes = 0;
  };

  void put(const FrameView& frame) noexcept {
    if (count_ == entries_.size() || frame.size() > bytes_.size() - used_) {
      ++dropped_;
      return;
    }
    const std::size_t offset = (begin_ + used_) % bytes_.size();
    const std::size_t before_edge = std::min(frame.size(), bytes_.size() - offset);
    std::memcpy(&bytes_[offset], frame.bytes.data(), before_edge);
    std::memcpy(bytes_.data(), frame.bytes.data() + before_edge, frame.size() - before_edge);
    entries_[(head_ + count_) % entries_.size()] = {
        .offset = offset,
        .size = frame.size(),
        .time_ns = frame.time_ns != 0 ? frame.time_ns : base::wall_clock_ns(),
        .true_bytes = frame.truncated() ? frame.true_bytes : 0};
    ++count_;
    used_ += frame.size();
  }

  void take(const Entry& entry, FrameBatch& into) noexcept {
    const std::span<std::byte> room = into.room();
    const std::size_t size = std::min(entry.size, room.size());
    const std::size_t before_edge = std::min(size, bytes_.size() - entry.offset);
    std::memcpy(room.data(), &bytes_[entry.offset], before_edge);
    std::memcpy(room.data() + before_edge, bytes_.data(), size - before_edge);
    FrameView view(room.data(), size);
    view.time_ns = entry.time_ns;
    view.true_bytes = entry.true_bytes;
    if (size < entry.size && view.true_bytes == 0) {
      view.true_bytes = static_cast<std::uint32_t>(entry.size);
    }
    begin_ = (begin_ + entry.size) % bytes_.size();
    used_ -= entry.size;
    head_ = (head_ + 1) % entries_.size();
    --count_;
    into.push(view);
  }

  void ring() noexcept {
    if (waiting_) eventfd_write(event_.get(), 1);
  }

  mutable std::mutex mutex_;
  UniqueFd event_;
  std::vector<std::byte> bytes_;
  std::vector<Entry> entries_;
  std::size_t max_frame_bytes_;
  std::size_t begin_ = 0, used_ = 0;  // of bytes_
  std::size_t head_ = 0, count_ = 0;  // of entries_
  std::uint64_t dropped_ = 0;
  bool waiting_ = false;
  bool closed_ = false;
};

namespace {

Result<UniqueFd> make_event() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return Error::from_errno(errno, "cannot make an eventfd for a loopback link");
  return event;
}

Result<void> check(const LoopbackOptions& o) {
  if (o.max_frame_bytes < kEthernetHeaderBytes || o.max_frame_bytes > kMaxFrameBytes) {
    return Error(Errc::bad_argument, "loopback link: max_frame_bytes must lie between 14 and " +
                                         std::to_string(kMaxFrameBytes));
  }
  if (o.queue_frames == 0 || o.queue_bytes < o.max_frame_bytes) {
    return Error(Errc::bad_argument, "loopback link: the queue must hold one frame at least");
  }
  return {};
}

}  // namespace

Result<LoopbackLink> LoopbackLink::self(const LoopbackOptions& options) {
  if (auto ok = check(options); !ok) return ok.error();
  auto event = make_event();
  if (!event) return event.error();
  auto queue = std::make_shared<Queue>(options, *std::move(event));
  return LoopbackLink(queue, queue);
}

Result<std::pair<LoopbackLink, LoopbackLink>> LoopbackLink::pair(const LoopbackOptions& options) {
  if (auto ok = check(options); !ok) return ok.error();
  auto first = make_event();
  if (!first) return first.error();
  auto second = make_event();
  if (!second) return second.error();
  auto left = std::make_shared<Queue>(options, *std::move(first));
  auto right = std::make_shared<Queue>(options, *std::move(second));
  return std::pair(LoopbackLink(left, right), LoopbackLink(right, left));
}

LoopbackLink::LoopbackLink(std::shared_ptr<Queue> in, std::shared_ptr<Queue> out) noexcept
    : in_(std::move(in)), out_(std::move(out)) {}
LoopbackLink::LoopbackLink(LoopbackLink&&) noexcept = default;
LoopbackLink& LoopbackLink::operator=(LoopbackLink&& other) noexcept {
  if (this != &other) {
    close();
    in_ = std::move(other.in_);
    out_ = std::move(other.out_);
  }
  return *this;
}
LoopbackLink::~LoopbackLink() {
  close();
}

void LoopbackLink::close() noexcept {
  if (in_) in_->close();
  if (out_) out_->close();
}

SendResult LoopbackLink::send(std::span<const FrameView> frames) noexcept {
  return out_->send(frames);
}
ReceiveResult LoopbackLink::receive(FrameBatch& into) noexcept {
  return in_->receive(into);
}
int LoopbackLink::descriptor() noexcept {
  return in_->descriptor();
}
WaitHint LoopbackLink::prepare_wait() noexcept {
  return in_->prepare_wait();
}
void LoopbackLink::finish_wait() noexcept {
  in_->finish_wait();
}
std::size_t LoopbackLink::max_frame_bytes() noexcept {
  return out_->max_frame_bytes();
}
std::string LoopbackLink::address() {
  return "loopback:";
}
std::uint64_t LoopbackLink::dropped() const noexcept {
  return out_->dropped();
}

}  // namespace shmif
