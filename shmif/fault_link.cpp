#include "shmif/fault_link.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/offload.hpp"

namespace shmif {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

/// How long to wait before asking again a link that took no frame.
constexpr std::chrono::milliseconds kRetry{1};
constexpr std::size_t kBatch = 64;
/// Room for several super-frames in a batch. Unused pages cost nothing.
constexpr std::size_t kArenaBytes = 8 * kMaxSuperFrameBytes;

}  // namespace

struct FaultLink::Impl {
  AnyLink link;
  Faults in;
  Faults out;
  UniqueFd epoll;  ///< watches the timer, and the link's descriptor until the link ends
  UniqueFd timer;
  int watched = -1;  ///< the link's descriptor in epoll; -1 if it is not there
  Clock::time_point armed{};
  FrameBatch fresh{kBatch, kArenaBytes};
  std::vector<std::byte> finished;  ///< the frame that is put next, if it had to be finished
  std::uint64_t lost = 0;           ///< reported by the link, not yet by receive()
  std::uint64_t segments_more = 0;  ///< more frames were sent than taken, by so many
  std::uint64_t refused = 0;        ///< frames that the link refused
  std::error_code in_error;         ///< of the link's receive(), reported when `in` is empty
  std::error_code out_error;        ///< of the link, when it takes no more frames
  bool full = false;                ///< the link took fewer frames than it was given
  bool prepared = false;            ///< the link's prepare_wait() was called

  Impl(AnyLink l, const FaultOptions& received, const FaultOptions& sent)
      : link(std::move(l)), in(received), out(sent), finished(kMaxSuperFrameBytes) {}

  std::error_code watch() noexcept;
  void unwatch() noexcept;
  std::size_t enter(Faults& way, const FrameView& frame, Clock::time_point now) noexcept;
  void pull(Clock::time_point now) noexcept;
  std::size_t deliver(FrameBatch& into, Clock::time_point now) noexcept;
  void flush(Clock::time_point now) noexcept;
  void arm() noexcept;
};

Result<FaultLink> FaultLink::wrap(AnyLink link, const FaultOptions& received,
                                  const FaultOptions& sent) {
  auto impl = std::make_unique<Impl>(std::move(link), received, sent);
  impl->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  impl->timer.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!impl->epoll || !impl->timer) {
    return Error::from_errno(errno, "cannot make the descriptors of a link with faults");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, impl->timer.get(), &event) != 0) {
    return Error::from_errno(errno, "cannot watch the timer of a link with faults");
  }
  if (const std::error_code error = impl->watch()) {
    return Error(error, "cannot wait for " + impl->link.address() + ": " + error.message());
  }
  return FaultLink(std::move(impl));
}

FaultLink::FaultLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FaultLink::FaultLink(FaultLink&&) noexcept = default;
FaultLink& FaultLink::operator=(FaultLink&&) noexcept = default;
FaultLink::~FaultLink() = default;

std::error_code FaultLink::Impl::watch() noexcept {
  const int descriptor = link.descriptor();
  if (descriptor < 0 || descriptor == watched) return {};
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
    if (errno == EPERM) return {};  // a regular file is always ready, and its link says so
    return {errno, std::generic_category()};
  }
  watched = descriptor;
  return {};
}

/// A link that has ended stays readable. A caller that waits for frames under way would spin.
void FaultLink::Impl::unwatch() noexcept {
  if (watched >= 0) (void)::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, watched, nullptr);
  watched = -1;
}

/// Puts a frame on its way as a wire would carry it. Result: how many frames it stands for; 0 if it
/// cannot be finished, because its bytes do not match its offload header.
std::size_t FaultLink::Impl::enter(Faults& way, const FrameView& frame,
                                   Clock::time_point now) noexcept {
  if (!frame.offload.pending()) {
    way.put(frame, now);
    return 1;
  }
  if (frame.truncated() || frame.size() > finished.size()) return 0;
  FrameView one = frame;
  one.offload = {};
  if (!frame.offload.is_super_frame()) {
    one.bytes = std::span(finished).first(frame.size());
    std::memcpy(finished.data(), frame.bytes.data(), frame.size());
    if (!bus::finish_checksum(std::span(finished).first(frame.size()), frame.offload)) return 0;
    way.put(one, now);
    return 1;
  }
  bus::Segmenter segments;
  if (!segments.begin(frame.bytes, frame.offload)) return 0;
  std::size_t count = 0;
  while (!segments.done()) {
    one.bytes = std::span(finished).first(segments.next(finished));
    way.put(one, now);
    if (++count % kBatch == 0 && &way == &out) flush(now);  // as in send()
  }
  return count;
}

/// Takes the frames that have come from the link.
void FaultLink::Impl::pull(Clock::time_point now) noexcept {
  if (in_error) return;
  fresh.clear();
  const ReceiveResult got = link.receive(fresh);
  lost += got.lost;
  for (const FrameView& frame : fresh.frames()) {
    if (enter(in, frame, now) == 0) ++lost;
  }
  in_error = got.error;
  if (!is_final(in_error)) return;
  out_error = in_error;
  unwatch();
}

/// Result: how many frames were due and had room in `into`.
std::size_t FaultLink::Impl::deliver(FrameBatch& into, Clock::time_point now) noexcept {
  std::size_t count = 0;
  FrameView due;
  while (!into.full() && in.ready({&due, 1}, now) == 1) {
    if (!into.has_room_for(due.size())) break;  // the next call has an empty batch
    const std::span<std::byte> room = into.room();
    if (room.size() < due.size()) {
      due.true_bytes = std::max(due.true_bytes, static_cast<std::uint32_t>(due.size()));
      due.bytes = due.bytes.first(room.size());
    }
    std::copy(due.bytes.begin(), due.bytes.end(), room.begin());
    into.push(due);
    in.pop(1);
    ++count;
  }
  return count;
}

/// Sends the frames that are due to the link.
void FaultLink::Impl::flush(Clock::time_point now) noexcept {
  full = false;
  std::array<FrameView, kBatch> due;
  while (!full && !out_error) {
    const std::size_t count = out.ready(due, now);
    if (count == 0) break;
    const SendResult result = link.send(std::span(due).first(count));
    out.pop(result.taken);
    if (is_final(result.error)) {
      out_error = result.error;
    } else if (result.error) {
      out.pop(1);
      ++refused;
    } else {
      full = result.taken < count;
    }
  }
}

SendResult FaultLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  const Clock::time_point now = Clock::now();
  self.flush(now);
  std::size_t taken = 0;
  std::size_t put = 0;  // since the last flush
  std::error_code error;
  const std::size_t largest = self.link.max_frame_bytes();
  for (const FrameView& frame : frames) {
    if (self.full || self.out_error) break;
    if (frame.size() < kEthernetHeaderBytes) {
      error = Errc::frame_too_short;
    } else if (!frame.offload.is_super_frame() && frame.size() > largest) {
      error = Errc::frame_too_long;
    } else if (frame.offload.is_super_frame() &&
               !bus::is_deliverable(frame.bytes, frame.offload, largest)) {
      error = Errc::bad_argument;
    }
    if (error) break;
    const std::size_t count = bus::segments_of(frame);
    if (put + count > kBatch) {  // a short queue may not hold them all
      self.flush(now);
      put = 0;
      if (self.full || self.out_error) break;
    }
    if (self.enter(self.out, frame, now) == 0) {
      error = Errc::bad_argument;
      break;
    }
    self.segments_more += count - 1;
    ++taken;
    put += count;
  }
  self.flush(now);
  if (!self.out_error) return {taken, error};
  return {taken - std::min(taken, self.out.waiting()), self.out_error};
}

ReceiveResult FaultLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  const Clock::time_point now = Clock::now();
  self.flush(now);
  ReceiveResult result;
  result.frames = self.deliver(into, now);
  if (!into.full()) {
    self.pull(now);
    result.frames += self.deliver(into, now);
  }
  result.lost = std::exchange(self.lost, 0);
  if (self.in_error && result.frames == 0 && self.in.waiting() == 0) {
    result.error = self.in_error;
    if (!is_final(self.in_error)) self.in_error = {};
  }
  return result;
}

int FaultLink::descriptor() noexcept {
  return impl_->epoll.get();
}

/// Sets the timer to the time when the next frame is due, in either direction.
void FaultLink::Impl::arm() noexcept {
  Clock::time_point next = Clock::time_point::max();
  for (const Faults* way : {&in, &out}) {
    if (way == &out && (full || out_error)) continue;
    if (const auto due = way->due()) next = std::min(next, *due);
  }
  if (next == armed) return;
  armed = next;
  itimerspec at{};
  if (next != Clock::time_point::max()) {
    const auto ns = std::max<std::int64_t>(1, nanoseconds(next.time_since_epoch()).count());
    at.it_value = {ns / 1'000'000'000, ns % 1'000'000'000};
  }
  (void)::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &at, nullptr);
}

WaitHint FaultLink::prepare_wait() noexcept {
  Impl& self = *impl_;
  const Clock::time_point now = Clock::now();
  self.flush(now);
  const auto due = self.in.due();
  if (due && *due <= now) return {.ready = true};
  self.arm();
  if (self.in_error) return {.ready = self.in.waiting() == 0};
  if (self.watch()) return {.ready = false, .at_most = kRetry};
  WaitHint hint = self.link.prepare_wait();
  self.prepared = true;
  if (self.full) hint.at_most = std::min<nanoseconds>(hint.at_most, kRetry);
  return hint;
}

void FaultLink::finish_wait() noexcept {
  Impl& self = *impl_;
  if (std::exchange(self.prepared, false)) self.link.finish_wait();
  std::uint64_t expirations = 0;
  if (::read(self.timer.get(), &expirations, sizeof expirations) > 0) self.armed = {};
}

std::chrono::nanoseconds FaultLink::patience() noexcept {
  return impl_->link.patience();
}
std::uint64_t FaultLink::bus_frames() noexcept {
  return impl_->link.bus_frames();
}
std::size_t FaultLink::max_frame_bytes() noexcept {
  return impl_->link.max_frame_bytes();
}
std::string FaultLink::address() {
  return impl_->link.address();
}
void FaultLink::set_faults(const FaultOptions& received, const FaultOptions& sent) {
  impl_->in.change(received);
  impl_->out.change(sent);
}
void FaultLink::hurry(bool received, bool sent) noexcept {
  const Clock::time_point now = Clock::now();
  if (received) impl_->in.hurry(now);
  if (sent) impl_->out.hurry(now);
}
std::size_t FaultLink::discard() noexcept {
  return impl_->in.discard() + impl_->out.discard();
}
const FaultCounters& FaultLink::received() const noexcept {
  return impl_->in.counters();
}
const FaultCounters& FaultLink::sent() const noexcept {
  return impl_->out.counters();
}
std::uint64_t FaultLink::refused() const noexcept {
  return impl_->refused;
}
std::uint64_t FaultLink::segments_made() const noexcept {
  return impl_->segments_more;
}
std::size_t FaultLink::under_way() const noexcept {
  return impl_->in.waiting() + impl_->out.waiting();
}
std::size_t FaultLink::to_receive() const noexcept {
  return impl_->in.waiting();
}

}  // namespace shmif
