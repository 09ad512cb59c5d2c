#include "tap/bridge.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/offload.hpp"
#include "shmif/debug/debug.hpp"
#include "tap/device_counters.hpp"
#include "tap/expectation.hpp"

// How the loop works
//
// Each link is a Side: the source of one direction and the sink of the other. A round pumps every
// side that may have frames (`look`): it receives one batch and sends it to the peer. If a batch
// has frames, `look` stays set, so rounds follow each other without a system call for waiting. If
// no side has `look` set, the loop prepares all links to wait, sleeps in epoll (level-triggered),
// and then looks at the sides that epoll named.
//
// While a sink refuses frames, the loop does not receive from its source. It also takes the
// source's descriptor out of epoll, because a level-triggered descriptor that nobody reads would
// make the loop spin. If the sink has a descriptor for room (AnyLink::room_descriptor()), epoll
// wakes the loop when there is room, and after 1 ms in any case. Otherwise the loop wakes to try
// again: first after 50 us, the time in which a program empties a queue of ten datagrams, and then
// less and less often. It also does so if the descriptor announced room in vain.

namespace shmif::tap {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr std::chrono::microseconds kFirstRetry{50};
constexpr milliseconds kRetry{1};  // the longest time between two tries
/// If receiving from a link fails and the link has not ended (for example a bus that is corrupt
/// until somebody repairs it), the loop asks it again after this time.
constexpr milliseconds kErrorPause{50};
/// After this many rounds without waiting, the loop looks at its control descriptors in any case.
constexpr unsigned kBusyRounds = 16;
/// After stop, at most this many frames are received from a link. From a bus it may be as many as
/// the largest ring can hold, whatever number its memory names as the last one. If a link takes no
/// frames, the loop waits for it no longer than kPatienceAfterStop.
constexpr std::uint64_t kMaxAfterStop = 1U << 16U;
constexpr std::uint64_t kMaxOfBusAfterStop = 1U << 24U;
constexpr milliseconds kPatienceAfterStop{500};
constexpr std::size_t kArenaBytesPerFrame = 2048;
/// Sixteen super-frames. Unused pages cost nothing.
constexpr std::size_t kMinArenaBytes = std::size_t{16} * 65600;
constexpr int kMaxEvents = 32;
/// How long to look for an answer: twice the time of a round trip if neither host sleeps.
constexpr std::chrono::microseconds kLookForAnswer{50};
/// A longer frame, or several frames at once, are a stream, and not a question or an answer.
constexpr std::size_t kLongestQuestion = 1600;

struct DirectionCounts {
  Counter received, frames, bytes, segments, batches, consumed, lost, dropped_full,
      dropped_too_long, dropped_error;
  DirectionCounters snapshot() const noexcept {
    return {.received = received.get(),
            .frames = frames.get(),
            .bytes = bytes.get(),
            .segments = segments.get(),
            .batches = batches.get(),
            .consumed = consumed.get(),
            .lost = lost.get(),
            .dropped_full = dropped_full.get(),
            .dropped_too_long = dropped_too_long.get(),
            .dropped_error = dropped_error.get()};
  }
};

/// One link, as the source of its direction.
struct Side {
  Side(std::size_t pair_number, AnyLink& l, Interceptor i, std::size_t frames)
      : pair(pair_number),
        link(&l),
        interceptor(std::move(i)),
        batch(frames, std::max(kMinArenaBytes, frames * kArenaBytesPerFrame)) {}

  std::size_t pair;
  AnyLink* link;
  Side* peer = nullptr;
  Interceptor interceptor;
  FrameBatch batch;
  std::vector<FrameView> kept;         // what the interceptor left of the batch
  std::span<const FrameView> pending;  // received, not yet taken by the peer's link
  Clock::time_point give_up{};         // when to drop `pending`; valid while it is not empty
  nanoseconds next_retry{};            // from now on; valid as above
  Clock::time_point quiet_until{};     // after an error: no receive before then
  int descriptor = -1;                 // in epoll; -1: no descriptor that can be polled
  bool watched = false;                // in epoll at present
  int room = -1;                       // of the peer's link, in epoll; -1: there is none
  bool woken_by_room = false;
  bool room_in_vain = false;  // it announced room in vain, so wait for some time
  bool look = true;
  bool prepared = false;
  bool in_trouble = false;  // the last receive failed
  bool is_bus = false;      // a look at it costs no system call
  bool may_answer = false;  // it was sent a question since the loop last slept
  Expectation answers;
  DirectionCounts counts;

  bool stalled() const noexcept { return !pending.empty(); }
  /// Whether the last batch can be a question or an answer.
  bool brought_one_small() const noexcept {
    return batch.size() == 1 && batch[0].size() <= kLongestQuestion;
  }
};

struct Watch {
  int descriptor;
  std::function<bool()> on_ready;
};

}  // namespace

struct Bridge::Impl {
  BridgeOptions options;
  UniqueFd epoll;
  UniqueFd stop_event;
  // In the order left, right, left, right. A deque, because epoll points to the elements.
  std::deque<Side> sides;
  std::deque<Watch> watches;
  std::optional<BridgeEnd> end;
  char stop_marker = 0;  // its address stands for run()'s stop descriptor in epoll

  std::error_code watch_side(Side& e) noexcept;
  bool watch_room(Side& source) noexcept;
  void unwatch(Side& e) noexcept;
  void follow_descriptors() noexcept;
  void finish(const Side& e, std::error_code error);
  bool retry(Side& source);
  bool is_quiet(Side& source) noexcept;
  void pass_on(Side& source);
  void begin_stall(Side& source) noexcept;
  void note(Side& source, std::error_code error);
  bool pump(Side& source);
  void flush(Side& source);
  void intercept(Side& source);
  bool round();
  bool look_for_answers();
  nanoseconds prepare_waits();
  Side* with_room(const void* who) noexcept;
  void wait(nanoseconds at_most);
  void settle();
  void drain(Side& source, Clock::time_point latest);
  void drain_stop_event() noexcept;
};

Bridge::Bridge(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bridge::Bridge(Bridge&&) noexcept = default;
Bridge& Bridge::operator=(Bridge&&) noexcept = default;
Bridge::~Bridge() = default;

Result<Bridge> Bridge::create(const BridgeOptions& options) {
  if (options.batch_frames == 0 || options.patience.count() < 0) {
    return Error(Errc::bad_argument,
                 "a bridge needs batches of at least one frame, and patience that is not negative");
  }
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  impl->stop_event.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->epoll || !impl->stop_event) {
    return Error::from_errno(errno, "cannot make the descriptors of a bridge");
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &impl->stop_event;
  if (::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, impl->stop_event.get(), &event) != 0) {
    return Error::from_errno(errno, "cannot watch the stop event of a bridge");
  }
  return Bridge(std::move(impl));
}

Result<std::size_t> Bridge::add(AnyLink& left, AnyLink& right, Interceptor on_to_right,
                                Interceptor on_to_left) {
  Impl& self = *impl_;
  const std::size_t pair = self.sides.size() / 2;
  Side& l = self.sides.emplace_back(pair, left, std::move(on_to_right), self.options.batch_frames);
  Side& r = self.sides.emplace_back(pair, right, std::move(on_to_left), self.options.batch_frames);
  l.peer = &r;
  r.peer = &l;
  debug(Debug::relay, [&] {
    return "pair " + std::to_string(pair) + " of the bridge: " + left.address() + " and " +
           right.address();
  });
  l.is_bus = left.address().starts_with("bus:");
  r.is_bus = right.address().starts_with("bus:");
  for (Side* e : {&l, &r}) {
    if (const std::error_code error = self.watch_side(*e)) {
      Error failed(error, "cannot wait for " + e->link->address() + ": " + error.message());
      self.unwatch(l);
      self.unwatch(r);
      self.sides.pop_back();
      self.sides.pop_back();
      return failed;
    }
  }
  return pair;
}

Result<void> Bridge::watch(int descriptor, std::function<bool()> on_ready) {
  Watch& w = impl_->watches.emplace_back(Watch{descriptor, std::move(on_ready)});
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &w;
  if (::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, descriptor, &event) == 0) return {};
  const int number = errno;
  impl_->watches.pop_back();
  return Error::from_errno(number, "cannot watch descriptor " + std::to_string(descriptor));
}

void Bridge::stop() noexcept {
  const std::uint64_t one = 1;
  (void)!::write(impl_->stop_event.get(), &one, sizeof one);
}

PairCounters Bridge::counters(std::size_t pair) const noexcept {
  return {.to_right = impl_->sides[2 * pair].counts.snapshot(),
          .to_left = impl_->sides[2 * pair + 1].counts.snapshot()};
}

std::error_code Bridge::Impl::watch_side(Side& e) noexcept {
  if (e.watched) return {};
  e.descriptor = e.link->descriptor();
  if (e.descriptor < 0) return {};
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &e;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, e.descriptor, &event) != 0) {
    if (errno == EPERM) return {};  // a regular file is always ready, and its link says so
    return {errno, std::generic_category()};
  }
  e.watched = true;
  return {};
}

void Bridge::Impl::unwatch(Side& e) noexcept {
  if (!e.watched) return;
  (void)::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, e.descriptor, nullptr);
  e.watched = false;
}

/// A watch may have changed a link so that it has another descriptor.
void Bridge::Impl::follow_descriptors() noexcept {
  for (Side& e : sides) {
    if (!e.watched || e.link->descriptor() == e.descriptor) continue;
    unwatch(e);  // the next sleep watches the new one
    e.look = true;
  }
}

/// Makes the next sleep end when the peer's link has room. Result: whether that is possible.
bool Bridge::Impl::watch_room(Side& source) noexcept {
  if (source.room_in_vain) return false;
  const int descriptor = source.peer->link->room_descriptor();
  if (descriptor < 0) return false;
  epoll_event event{};
  event.events = EPOLLOUT | EPOLLONESHOT;
  event.data.ptr = &source.room;
  const int what = descriptor == source.room ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (::epoll_ctl(epoll.get(), what, descriptor, &event) != 0) return false;
  source.room = descriptor;
  return true;
}

/// Notes the first link that ended.
void Bridge::Impl::finish(const Side& e, std::error_code error) {
  debug(Debug::relay, [&] { return e.link->address() + " has ended: " + error.message(); });
  if (end) return;
  end = BridgeEnd{BridgeEnd::Why::link_ended, e.pair, e.link->address(), error};
}

/// Offers `pending` to the peer's link, and drops the frames that it refuses with an error.
void Bridge::Impl::flush(Side& source) {
  while (source.stalled()) {
    const SendResult sent = source.peer->link->send(source.pending);
    const auto taken = source.pending.first(sent.taken);
    for (const FrameView& f : taken) {
      source.counts.bytes.add(f.size());
      source.counts.segments.add(bus::segments_of(f));
    }
    source.counts.frames.add(taken.size());
    source.pending = source.pending.subspan(sent.taken);
    if (!sent.error) {
      if (sent.taken == 0) break;  // full for now
      continue;
    }
    if (is_final(sent.error)) {
      source.pending = {};
      finish(*source.peer, sent.error);
      return;
    }
    // The error is about the frame at the front. That frame cannot go, but the others may.
    if (sent.error == Errc::frame_too_long) {
      source.counts.dropped_too_long.add();
      if (options.on_too_long)
        options.on_too_long(source.pending.front(), *source.link, *source.peer->link);
    } else {
      source.counts.dropped_error.add();
    }
    source.pending = source.pending.subspan(1);
  }
}

/// Offers again the frames that the peer did not take, and drops them when the patience is over.
/// Result: true if no frames are pending any more.
bool Bridge::Impl::retry(Side& source) {
  const std::size_t before = source.pending.size();
  flush(source);
  const bool woken = std::exchange(source.woken_by_room, false);
  if (source.pending.size() < before) {
    source.room_in_vain = false;
  } else if (woken) {
    source.room_in_vain = true;
  }
  if (source.stalled() && Clock::now() >= source.give_up) {
    debug(Debug::relay, [&] {
      return source.peer->link->address() + " had no room in time: drops " +
             std::to_string(source.pending.size()) + " frames from " + source.link->address();
    });
    source.counts.dropped_full.add(source.pending.size());
    source.pending = {};
  }
  return !source.stalled();
}

/// Shows the batch to the interceptor; frames that it does not consume become `pending`.
void Bridge::Impl::intercept(Side& source) {
  source.pending = source.batch.frames();
  if (!source.interceptor) return;
  source.kept.clear();
  for (const FrameView& f : source.batch.frames()) {
    if (source.interceptor(f, *source.link)) {
      source.counts.consumed.add();
    } else {
      source.kept.push_back(f);
    }
  }
  source.pending = source.kept;
}

/// After an error, a link is left alone for some time. Result: whether that is so now.
bool Bridge::Impl::is_quiet(Side& source) noexcept {
  if (source.quiet_until == Clock::time_point{}) return false;
  if (Clock::now() < source.quiet_until) return true;
  source.quiet_until = {};
  return false;
}

/// Sends a batch that was received to the peer.
void Bridge::Impl::pass_on(Side& source) {
  source.counts.batches.add();
  source.counts.received.add(source.batch.size());
  intercept(source);
  flush(source);
  source.peer->may_answer = source.peer->is_bus && source.brought_one_small();
}

/// The peer did not take all frames: waits for it.
void Bridge::Impl::begin_stall(Side& source) noexcept {
  // Wait longer than the sink's own patience. Then the sink decides, which is better than a drop
  // here.
  source.give_up =
      Clock::now() + std::max<nanoseconds>(options.patience, 2 * source.peer->link->patience());
  source.next_retry = kFirstRetry;
  source.woken_by_room = source.room_in_vain = false;
  unwatch(source);
}

/// Reports the first error of a link, and the first success after it; ends the loop if the link has
/// ended, and otherwise leaves it alone for some time.
void Bridge::Impl::note(Side& source, std::error_code error) {
  if (!error && !source.in_trouble) return;
  if (is_final(error)) return finish(source, error);
  if (static_cast<bool>(error) != source.in_trouble) {
    source.in_trouble = static_cast<bool>(error);
    if (options.on_trouble) options.on_trouble(*source.link, error);
  }
  if (!error) return;
  source.quiet_until = Clock::now() + kErrorPause;
  unwatch(source);
}

/// Carries one batch from `source` to its peer. Result: true if more frames are likely.
bool Bridge::Impl::pump(Side& source) {
  if ((source.stalled() && !retry(source)) || is_quiet(source)) return false;
  source.batch.clear();
  const ReceiveResult got = source.link->receive(source.batch);
  if (got.lost > 0) source.counts.lost.add(got.lost);
  if (got.frames > 0) pass_on(source);
  if (source.stalled()) begin_stall(source);
  note(source, got.error);
  // After frames, more are likely. Asking once more costs less than a sleep and a wakeup (measured
  // between two hosts on a bus, on a busy machine: TCP 1.8-2.0 Gbit/s instead of 1.2-1.7, ping no
  // slower). The first answer without frames ends this, so the loop does not spin.
  return got.frames > 0 && !got.error && !source.stalled();
}

/// Pumps every side that may have frames. Result: true if a side likely has more.
bool Bridge::Impl::round() {
  bool more = false;
  for (Side& e : sides) {
    if (!e.look) continue;
    e.look = pump(e);
    more = more || e.look;
    if (end) break;
  }
  return more;
}

/// Looks for answers to the frames that were sent last, if that is likely to save a sleep. Result:
/// true if an answer came.
bool Bridge::Impl::look_for_answers() {
  bool more = false;
  for (Side& e : sides) {
    if (!std::exchange(e.may_answer, false) || e.stalled() || !e.answers.is_worth_a_look())
      continue;
    const Clock::time_point until = Clock::now() + kLookForAnswer;
    bool came = false;
    while (!came && !end && Clock::now() < until) came = pump(e);
    e.answers.learn(came && e.brought_one_small());
    more = more || came;
  }
  return more;
}

/// Prepares all links to wait. Result: how long epoll may sleep; max: without limit.
nanoseconds Bridge::Impl::prepare_waits() {
  nanoseconds at_most = nanoseconds::max();
  const Clock::time_point now = Clock::now();
  for (Side& e : sides) {
    if (e.stalled() && watch_room(e)) {
      at_most = std::min<nanoseconds>(at_most, kRetry);
      continue;
    }
    if (e.stalled()) {
      at_most = std::min(at_most, e.next_retry);
      e.next_retry = std::min<nanoseconds>(2 * e.next_retry, kRetry);
      continue;
    }
    if (e.quiet_until > now) {
      at_most = std::min<nanoseconds>(at_most, e.quiet_until - now);
      continue;
    }
    if (watch_side(e)) at_most = std::min<nanoseconds>(at_most, kErrorPause);  // then poll it
    const WaitHint hint = e.link->prepare_wait();
    e.prepared = true;
    if (hint.ready) {
      e.look = true;
      return nanoseconds(0);
    }
    at_most = std::min(at_most, hint.at_most);
  }
  return std::max(at_most, nanoseconds(0));
}

/// epoll_wait() with a limit in nanoseconds; max: no limit.
int wait_for_events(int epoll, std::span<epoll_event> events, nanoseconds at_most) noexcept {
  const int count = static_cast<int>(events.size());
  if (at_most == nanoseconds::max()) return ::epoll_wait(epoll, events.data(), count, -1);
  const timespec limit{.tv_sec = static_cast<time_t>(at_most.count() / 1'000'000'000),
                       .tv_nsec = static_cast<long>(at_most.count() % 1'000'000'000)};
  const int n = ::epoll_pwait2(epoll, events.data(), count, &limit, nullptr);
  if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
  // A kernel before 5.11, or a sandbox. Round up: rounding down would turn the last millisecond
  // into a busy loop.
  const auto ms = std::chrono::ceil<milliseconds>(at_most).count();
  return ::epoll_wait(epoll, events.data(), count, static_cast<int>(std::min<long>(ms, 60'000)));
}

/// The source whose peer's link has room, if epoll reported that by `who`; otherwise null.
Side* Bridge::Impl::with_room(const void* who) noexcept {
  const auto at =
      std::find_if(sides.begin(), sides.end(), [&](const Side& e) { return &e.room == who; });
  return at == sides.end() ? nullptr : &*at;
}

/// Sleeps, and marks the sides to look at.
void Bridge::Impl::wait(nanoseconds at_most) {
  std::array<epoll_event, kMaxEvents> events{};
  const int n = wait_for_events(epoll.get(), events, at_most);
  for (Side& e : sides) {
    if (std::exchange(e.prepared, false)) e.link->finish_wait();
    if (n == 0 && at_most > nanoseconds(0)) e.look = true;  // a side wanted to be looked at by now
  }
  for (int i = 0; i < n; ++i) {
    void* const who = events[static_cast<std::size_t>(i)].data.ptr;
    const auto watch =
        std::find_if(watches.begin(), watches.end(), [&](const Watch& w) { return &w == who; });
    bool stop = false;
    if (who == &stop_event || who == &stop_marker) {
      if (who == &stop_event) drain_stop_event();
      stop = true;
    } else if (watch != watches.end()) {
      stop = !watch->on_ready();
      follow_descriptors();
    } else if (Side* const source = with_room(who); source != nullptr) {
      source->look = source->woken_by_room = true;
    } else {
      static_cast<Side*>(who)->look = true;
    }
    if (stop && !end) end = BridgeEnd{};
  }
}

/// After a link has ended: frames received before still go to their destinations, within their
/// patience.
void Bridge::Impl::settle() {
  const auto waits = [](const Side& e) { return e.stalled(); };
  while (std::any_of(sides.begin(), sides.end(), waits)) {
    for (Side& e : sides) (void)retry(e);
    ::poll(nullptr, 0, static_cast<int>(kRetry.count()));
  }
}

/// After the loop was told to stop: the frames that were there by then still go on. Frames that
/// came later do not count, so a flood does not keep the loop running.
void Bridge::Impl::drain(Side& source, Clock::time_point latest) {
  const std::uint64_t until = source.link->bus_frames();
  const std::uint64_t dropped = source.counts.dropped_full.get();
  bool more = true;
  for (std::uint64_t frames = 0; more || source.stalled();) {
    source.give_up = std::min(source.give_up, latest);
    while (!retry(source)) ::poll(nullptr, 0, static_cast<int>(kRetry.count()));
    if (!more || source.counts.dropped_full.get() != dropped) break;  // the other side is full
    more = pump(source) || source.stalled();
    if (!more) break;
    frames += source.batch.size();
    more = until != 0
               ? source.batch.frames().back().number + 1 < until && frames < kMaxOfBusAfterStop
               : frames < kMaxAfterStop;
  }
}

void Bridge::Impl::drain_stop_event() noexcept {
  std::uint64_t count = 0;
  (void)!::read(stop_event.get(), &count, sizeof count);
}

BridgeEnd Bridge::run(int stop_descriptor) {
  Impl& self = *impl_;
  self.end.reset();
  if (stop_descriptor >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &self.stop_marker;
    if (::epoll_ctl(self.epoll.get(), EPOLL_CTL_ADD, stop_descriptor, &event) != 0) {
      BridgeEnd failed;
      failed.error = std::error_code(errno, std::generic_category());
      return failed;
    }
  }
  for (Side& e : self.sides) e.look = true;
  unsigned busy_rounds = 0;
  while (!self.end) {  // runs until stopped
    const bool more = self.round() || self.look_for_answers();
    if (self.end) break;
    if (more && ++busy_rounds % kBusyRounds != 0) {
      // Other sides may have received frames meanwhile, and a look is cheaper than asking epoll.
      for (Side& e : self.sides) e.look = true;
    } else {
      self.wait(more ? nanoseconds(0) : self.prepare_waits());
    }
  }
  if (self.end->why == BridgeEnd::Why::link_ended) {
    self.settle();
  } else {
    const Clock::time_point latest = Clock::now() + kPatienceAfterStop;
    for (Side& e : self.sides) self.drain(e, latest);
  }
  if (stop_descriptor >= 0) {
    (void)::epoll_ctl(self.epoll.get(), EPOLL_CTL_DEL, stop_descriptor, nullptr);
  }
  return *self.end;
}

}  // namespace shmif::tap
