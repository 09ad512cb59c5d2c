// Sending: batches under the lock, one doorbell for each. On a bus that pauses, a sender waits for
// slow ports.

#include <time.h>

#include <algorithm>

#include "base/wall_clock.hpp"
#include "bus/file/liveness.hpp"
#include "bus/learned_word.hpp"
#include "bus/port/attachment_state.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

/// Limits the tries with a lock that is lost again and again. Only a peer that breaks the rules
/// causes that: a sender that was merely stopped loses the lock once per stop.
class Patience {
 public:
  bool is_over() noexcept {
    using Clock = std::chrono::steady_clock;
    if (++rounds_ == 2) since_ = Clock::now();
    return rounds_ > kRounds && Clock::now() - since_ > kTime;
  }

 private:
  static constexpr unsigned kRounds = 16;
  static constexpr std::chrono::seconds kTime{5};
  unsigned rounds_ = 0;
  std::chrono::steady_clock::time_point since_;
};

/// The frames at the front of a send() that one lock hold covers.
struct Front {
  Batch batch;
  std::uint64_t payload = 0;        // bytes of the frames
  std::uint64_t more_segments = 0;  // beyond one for each frame
  std::error_code refused;          // why the next frame cannot be sent at all
};

/// Checks that every receiver can do the work that `frame` leaves to it, and that no resulting
/// frame is too long. Adds the segments of a super-frame beyond the first to `more`.
std::error_code check_offload(const FrameView& frame, const Ring& ring,
                              std::uint64_t& more) noexcept {
  const Offload& o = frame.offload;
  if (!ring.carries_offloads()) return Errc::not_supported;
  if (!o.is_super_frame()) {
    if (frame.size() > ring.max_frame()) return Errc::frame_too_long;
    const bool fits = std::size_t{o.csum_start} + o.csum_offset + 2 <= frame.size();
    return fits ? std::error_code{} : Errc::bad_argument;
  }
  if (frame.size() > kMaxSuperFrameBytes) return Errc::frame_too_long;
  Segmenter segments;
  if (!segments.begin(frame.bytes, o)) return Errc::bad_argument;
  if (segments.next_bytes() > ring.max_frame()) return Errc::frame_too_long;
  more += segments.remaining() - 1;
  return {};
}

/// Whether long frames of one length are in front, enough of them to gain by being alike (I10).
/// Where sizes are mixed, looking further costs more than that.
bool begins_alike(std::span<const FrameView> frames) noexcept {
  constexpr std::size_t kFew = 4;
  if (frames.size() < kFew) return false;
  const std::size_t size = frames.front().size();
  return size > RecordPlan::kLongestThatShares && frames[1].size() == size &&
         frames[kFew - 1].size() == size;
}

/// `max`: bytes of the ring, the tail included.
Front front_of(std::span<const FrameView> frames, const Ring& ring, std::uint64_t max) noexcept {
  BatchPlan plan;
  std::uint64_t payload = 0;
  std::uint64_t more_segments = 0;
  std::error_code refused;
  for (std::span<const FrameView> rest = frames;; rest = rest.subspan(1)) {
    const RecordPlan::Joined joined = plan.add_all_that_join(rest, ring.max_frame(), max);
    payload += joined.bytes;
    rest = rest.subspan(joined.frames);
    if (rest.empty()) break;
    if (begins_alike(rest)) {
      const RecordPlan::Joined alone = plan.add_all_alone(rest, ring.max_frame(), max);
      if (alone.frames != 0) {
        payload += alone.bytes;
        rest = rest.subspan(alone.frames - 1);
        continue;
      }
    }
    const FrameView& frame = rest.front();
    const std::size_t size = frame.size();
    std::uint64_t more = 0;
    if (size < kMinFrameBytes) {
      refused = Errc::frame_too_short;
    } else if (frame.offload.pending()) {
      refused = check_offload(frame, ring, more);
    } else if (size > ring.max_frame()) {
      refused = Errc::frame_too_long;
    }
    if (refused || !plan.add(frame, max)) break;
    payload += size;
    more_segments += more;
  }
  return {plan.of(frames), payload, more_segments, refused};
}

/// Whether the frame itself caused `error`. A frame that is too long has its own counter.
bool is_refusal(std::error_code error) noexcept {
  return error == Errc::frame_too_short || error == Errc::bad_argument ||
         error == Errc::not_supported;
}

}  // namespace

SendResult NativeAttachment::send(std::span<const FrameView> frames, WhenFull when_full) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return {0, Errc::forked};
  const std::uint32_t interrupts = a.interrupts.load();
  Impl::Sending sending{when_full, std::unique_lock(a.send_mutex), interrupts};
  if (!a.up()) return {0, a.mapping.lost() ? Errc::bus_lost : Errc::port_down};
  if (const std::uint64_t now = load_acquire(a.ring.header().epoch); now != a.epoch_sent_in) {
    a.epoch_sent_in = now;
    a.bell.forget();
    if (a.flow) a.flow->forget_positions();
    a.tidy_up_after_repair();
  }
  SendResult sent;
  while (sent.taken < frames.size() && !sent.error) {
    const SendResult batch = a.send_batch(frames.subspan(sent.taken), sending);
    sent.taken += batch.taken;
    sent.error = batch.error;
    if (batch.taken == 0 && !batch.error && when_full == WhenFull::give_up) break;
  }
  if (is_refusal(sent.error)) a.counts.refused.add(1, a.slot().refused_frames);
  return sent;
}

/// Sends as many frames from the front as one lock hold may cover. If other senders took the room,
/// it sends no frame and returns no error.
SendResult NativeAttachment::Impl::send_batch(std::span<const FrameView> frames,
                                              Sending& sending) noexcept {
  Front front = front_of(frames, ring, writer.max_batch_bytes());
  if (front.batch.frames.empty()) {
    if (front.refused == Errc::frame_too_long) counts.too_long.add(1, slot().too_long_frames);
    return {0, front.refused};
  }
  if (flow) {
    const std::uint64_t wanted = front.batch.bytes + kTailBytes;
    const std::uint64_t min = record_bytes(body_bytes(frames.front())) + kTailBytes;
    std::error_code ended;
    const std::uint64_t room = room_for(sending, min, wanted, ended);
    if (room == 0) return {0, ended};
    if (room < wanted) front = front_of(frames, ring, room);
    if (front.batch.frames.empty()) return {};
  }
  if (options.learn) learn(front.batch.frames);
  AppendStatus status = append(front.batch);
  if (status == AppendStatus::no_room && front.batch.frames.size() > 1) {
    // Between the claims of stopped writers, one frame may fit where a batch does not.
    front = front_of(frames.first(1), ring, writer.max_batch_bytes());
    status = append(front.batch);
  }
  switch (status) {
    case AppendStatus::done: break;
    case AppendStatus::full: return {0, wait_after_full(sending)};
    case AppendStatus::no_room: return {0, Errc::no_room};
    case AppendStatus::lost_lock:
    case AppendStatus::corrupt: counts.corrupt.add(1, slot().corrupt); return {0, broken()};
  }
  if (flow) flow->found_room();
  awaits_answer.store(true, std::memory_order_relaxed);
  counts.tx_frames.add(front.batch.frames.size(), slot().tx_frames);
  counts.tx_bytes.add(front.payload, slot().tx_bytes);
  counts.tx_more_segments.add(front.more_segments, slot().tx_more_segments);
  if (front.refused == Errc::frame_too_long) counts.too_long.add(1, slot().too_long_frames);
  return {front.batch.frames.size(), front.refused};
}

/// How many of `wanted` bytes a batch may take now on a bus that pauses. If there is no room for
/// all of them, waits for room if the sender may. 0 if there is no room for `min` bytes; `ended`:
/// why the wait ended without room.
std::uint64_t NativeAttachment::Impl::room_for(Sending& sending, std::uint64_t min,
                                               std::uint64_t wanted,
                                               std::error_code& ended) noexcept {
  if (flow->room(wanted) >= wanted) return wanted;
  const bool may_wait = sending.when_full == WhenFull::wait;
  if (may_wait) ended = wait_for_room(sending, min, wanted);
  const bool admitted = may_wait || flow->admits(min);
  show_pauses();
  return ended || !admitted ? 0 : std::min(wanted, flow->room(min));
}

/// The batch must step around claims, and needs more room than its own size. This wait also ends
/// (W3). Result: why it ended without room.
std::error_code NativeAttachment::Impl::wait_after_full(Sending& sending) noexcept {
  const std::uint64_t needed = writer.needed_bytes();
  std::error_code ended;
  if (sending.when_full == WhenFull::wait) {
    ended = wait_for_room(sending, needed, needed);
  } else {
    static_cast<void>(flow->admits(needed));
  }
  show_pauses();
  return ended;
}

/// Waits until there is room for `wanted` bytes. After a tenth of the patience, room for `min` is
/// enough. (Batches that fill the last gaps would cost a lock hold each.) Holds send_mutex only
/// while it looks. Result: why the wait ended without room.
std::error_code NativeAttachment::Impl::wait_for_room(Sending& sending, std::uint64_t min,
                                                      std::uint64_t wanted) noexcept {
  const nanoseconds before = flow->paused();
  std::error_code ended;
  flow->begin_wait();
  ++threads_waiting_for_room;
  for (unsigned looks = 0;  // ends when the patience is over (W3)
       !ended && !flow->admits(flow->paused() - before < patience / 10 ? wanted : min); ++looks) {
    sending.lock.unlock();
    if (const nanoseconds pause = flow->pause_after(looks); pause == nanoseconds(0)) {
      cpu_relax();
    } else {
      const timespec t{0, static_cast<long>(pause.count())};
      nanosleep(&t, nullptr);
    }
    sending.lock.lock();
    ended = end_of_wait(sending);
  }
  flow->end_wait();
  if (--threads_waiting_for_room == 0) nobody_waits.notify_all();
  return ended;
}

/// Why a wait for room must end; no error if it goes on.
std::error_code NativeAttachment::Impl::end_of_wait(const Sending& sending) const noexcept {
  if (mapping.lost()) return Errc::bus_lost;
  if (!up()) return Errc::port_down;
  return interrupts.load() != sending.interrupts ? Errc::interrupted : std::error_code{};
}

/// Copies what the flow control counted into the port's counters.
void NativeAttachment::Impl::show_pauses() noexcept {
  const auto paused = static_cast<std::uint64_t>(flow->paused().count());
  counts.pauses.add(flow->pauses() - counts.pauses.get(), slot().pauses);
  counts.paused_ns.add(paused - counts.paused_ns.get(), slot().paused_ns);
}

AppendStatus NativeAttachment::Impl::append(const Batch& batch) noexcept {
  const std::span<const FrameView> frames = batch.frames;
  const std::uint64_t limit = flow ? flow->limit() : RingWriter::kNoLimit;
  const std::uint64_t sleeps = lock->sleeps();
  lock->prefetch();
  // Read outside the lock: before a CPU reads the clock, it finishes all that it has begun. Under
  // the lock, that would keep it from fetching the next cache lines meanwhile.
  std::uint64_t time_ns = base::wall_clock_ns();
  AppendStatus status = AppendStatus::lost_lock;
  bool rang = bell.wake_deep(frames);  // D3
  Wanted wanted;
  // In each round another sender made progress, or a dead port's claim was cleared. The exception
  // is a peer that keeps taking the lock from everybody.
  Patience patience_with_peers;
  while (
      (status == AppendStatus::lost_lock && !patience_with_peers.is_over()) ||
      ((status == AppendStatus::no_room || (status == AppendStatus::full && writer.met_claims())) &&
       bury_dead_claims())) {
    const std::uint64_t mine = lock->acquire();
    if (lock->waited()) time_ns = base::wall_clock_ns();
    rang |= bell.wake_deep(frames);  // D3: a port that goes deep from here on sees the lock held
    status = writer.append(mine, batch, time_ns, limit);
    if (status == AppendStatus::done) {
      wanted = bell.collect(frames, writer.batch_position(), writer.batch_number());  // D4
    }
    lock->release(mine);
  }
  bell.wake(wanted);
  rang |= wanted.any;
  if (status == AppendStatus::done && writer.met_claims()) bury_dead_claims();
  counts.doorbells.add(rang ? 1 : 0, slot().doorbells);
  counts.lock_sleeps.add(lock->sleeps() - sleeps, slot().lock_sleeps);
  return status;
}

/// Frees the room of writers that were killed in the middle of a batch. Called only when a claim
/// was in the way, so at most once per claim and lap. Result: whether it freed any.
bool NativeAttachment::Impl::bury_dead_claims() noexcept {
  if (!same_file(fd.get(), ring.file())) return false;
  bool any = false;
  for (const std::uint16_t slot : writer.standing_slots()) {
    any |= reap_if_dead(ring, slot, fd.get()).claim;
  }
  return any;
}

/// Restores the slot: where a repair was needed, it may have been overwritten, too. Call it only
/// while this port does not send: then a claim in the slot is not a real one (I4).
void NativeAttachment::Impl::tidy_up_after_repair() noexcept {
  show_slot();
  show_listed();
  store_release(slot().claim_owner, std::uint64_t{0});
}

/// Where an address is in the slot, or where it can be put; nullptr if there is no room.
std::uint64_t* NativeAttachment::Impl::place_of(std::uint64_t word) const noexcept {
  std::uint64_t* vacant = nullptr;
  for (std::uint64_t& each : slot().learned) {
    const std::uint64_t known = load_relaxed(each);
    if (known == word) return &each;
    if ((known == 0 || known == kVacantWord) && vacant == nullptr) vacant = &each;
    if (known == 0) break;
  }
  return vacant;
}

/// Remembers source addresses, so that this port accepts frames to them.
void NativeAttachment::Impl::learn(std::span<const FrameView> frames) noexcept {
  for (const FrameView& frame : frames) {
    const MacAddress source = frame.source();
    const std::uint64_t mac = source.to_u64();
    const std::uint64_t word = learned_word(mac);
    if (word == last_learned || source.is_group() || mac == own_mac) continue;
    last_learned = word;
    std::uint64_t* const place = place_of(word);
    if (place == nullptr) {
      if (listed_too_many || learned_too_many) continue;  // it hears all
      learned_too_many = true;
      show_too_many();
    } else if (load_relaxed(*place) != word) {
      store_relaxed(*place, word);
      tell_filter_change(ring);
    }
  }
}

/// Removes an address from the slot, but does not tell the senders.
void NativeAttachment::Impl::forget(MacAddress mac) noexcept {
  const std::uint64_t word = learned_word(mac.to_u64());
  std::uint64_t* const place = place_of(word);
  if (place != nullptr && load_relaxed(*place) == word) store_relaxed(*place, kVacantWord);
  last_learned = 0;
}

/// Accepts frames to `macs`, in place of those of the last call. An address of that call that is
/// missing now is forgotten, even if it was learned, too: the host that it belonged to is gone.
void NativeAttachment::Impl::list(std::span<const MacAddress> macs) noexcept {
  for (const MacAddress before : std::span(listed).first(listed_count)) {
    if (std::ranges::find(macs, before) == macs.end()) forget(before);
  }
  listed_count = std::min(macs.size(), listed.size());
  std::ranges::copy(macs.first(listed_count), listed.begin());
  listed_too_many = macs.size() > listed.size();
  show_listed();
}

/// Writes the listed addresses into the slot. Also call it if somebody else may have written there.
void NativeAttachment::Impl::show_listed() noexcept {
  last_learned = 0;  // it may no longer be there
  for (const MacAddress mac : std::span(listed).first(listed_count)) {
    const std::uint64_t word = learned_word(mac.to_u64());
    std::uint64_t* const place = place_of(word);
    if (place == nullptr) {
      listed_too_many = true;
      break;
    }
    store_relaxed(*place, word);
  }
  tell_filter_change(ring);
  show_too_many();
}

void NativeAttachment::Impl::show_too_many() noexcept {
  const bool is = listed_too_many || learned_too_many;
  if (((own_flags & kFlagLearnedTooMany) != 0) != is) set_flag(kFlagLearnedTooMany, is);
}

}  // namespace shmif::bus
