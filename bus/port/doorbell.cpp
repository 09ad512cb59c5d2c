#include "bus/port/doorbell.hpp"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "bus/file/file_id.hpp"
#include "bus/file/liveness.hpp"

namespace shmif::bus {
namespace {

// Shared futexes (no FUTEX_PRIVATE_FLAG): the key is the file's inode and offset.
void futex_wake(std::uint32_t& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
void futex_wait(std::uint32_t& word, std::uint32_t expected,
                std::chrono::nanoseconds timeout) noexcept {
  timespec t{};
  const bool forever = timeout == std::chrono::nanoseconds::max();
  t.tv_sec = static_cast<time_t>(timeout.count() / 1'000'000'000);
  t.tv_nsec = static_cast<long>(timeout.count() % 1'000'000'000);
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, forever ? nullptr : &t, nullptr, 0);
}

/// Calls `visitor(slot)` for each bit.
template <class Visitor>
void for_each(const SlotSet& slots, Visitor&& visitor) noexcept {
  for (unsigned w = 0; w < kBitmapWords; ++w) {
    for (std::uint64_t bits = slots[w]; bits != 0; bits &= bits - 1) {
      visitor(w * 64 + static_cast<unsigned>(__builtin_ctzll(bits)));
    }
  }
}

bool nobody_in(const std::uint64_t (&bitmap)[kBitmapWords]) noexcept {
  std::uint64_t bits = 0;
  for (const std::uint64_t& word : bitmap) bits |= load_seq_cst(word);  // D1
  return bits == 0;
}

/// Whether a writer may have looked for deep sleepers already and commit later: the lock's holder,
/// or a writer that lost the lock to a takeover and still has a claim.
bool writer_may_be_past_its_look(const Ring& ring) noexcept {
  const BusHeader& h = ring.header();
  if (!lock_word::is_free(load_seq_cst(h.lock))) return true;
  const std::uint64_t used = load_acquire(h.slots_used);
  for (unsigned i = 0; i < kSlots && i < used; ++i) {
    if (load_seq_cst(ring.slot(i).claim_owner) != 0) return true;
  }
  return false;
}

struct Place {
  std::uint64_t position = 0;
  std::uint64_t number = 0;
};

/// The position `first`, and the number of the frame there; zeros if `first` moves too fast.
Place oldest_record(const Ring& ring) noexcept {
  const std::uint64_t& first = ring.header().first;
  for (unsigned tries = 0; tries < 8; ++tries) {
    const std::uint64_t position = load_seq_cst(first);
    if (!ring.fits_alignment(position)) return {};  // overwritten: receive() reports it
    const std::uint64_t number = ring.number_at(position);
    fence_loads();
    if (load_acquire(first) == position) return {position, number};
  }
  return {};
}

}  // namespace

void tell_filter_change(const Ring& ring) noexcept {
  fetch_add(ring.header().filter_changes, std::uint64_t{1});
}

SlotSet Audience::of(std::span<const FrameView> frames) noexcept {
  SlotSet all{};
  std::uint64_t before = UINT64_MAX;
  for (const FrameView& frame : frames) {
    const std::uint64_t mac = frame.destination().to_u64();
    if (mac == before) continue;
    before = mac;
    const SlotSet& slots = of(mac);
    for (unsigned w = 0; w < kBitmapWords; ++w) all[w] |= slots[w];
  }
  return all;
}

const SlotSet& Audience::of(std::uint64_t mac) noexcept {
  Answer& answer = answers_[(mac ^ mac >> 8U ^ mac >> 16U) % answers_.size()];
  // Read before the slots: a change while they are looked at makes this answer outdated.
  const std::uint64_t changes = load_seq_cst(ring_.header().filter_changes);
  if (answer.mac == mac && answer.changes == changes) return answer.slots;
  answer = {mac, changes, {}};
  const std::uint64_t used = load_acquire(ring_.header().slots_used);
  for (unsigned i = 0; i < kSlots && i < used; ++i) {
    if (AddressFilter::accepts(ring_.slot(i), mac)) answer.slots[i / 64] |= 1ULL << (i % 64);
  }
  return answer.slots;
}

void wake_futex(PortSlot& slot) noexcept {
  fetch_add(slot.futex, std::uint32_t{1});
  futex_wake(slot.futex);
}

/// Calls `visitor(slot)` for each sleeper in `bitmap`, except this port, that wants one of the
/// frames. Bits of a dead port stay until the slot's next owner clears them. If writers cleared
/// them, a writer that was stopped just before that would later clear the bits of that next owner.
template <class Visitor>
void Bell::visit(const std::uint64_t (&bitmap)[kBitmapWords], std::span<const FrameView> frames,
                 Visitor&& visitor) noexcept {
  SlotSet asleep;
  for (unsigned w = 0; w < kBitmapWords; ++w) asleep[w] = load_seq_cst(bitmap[w]);  // D1
  const SlotSet wanting = audience_.of(frames);  // D5: asked after the look
  for (unsigned w = 0; w < kBitmapWords; ++w) asleep[w] &= wanting[w];
  for_each(asleep, [&](unsigned slot) {
    const bool live = state_of(load_relaxed(ring_.slot(slot).state)) == SlotState::live;
    if (live && slot != slot_) visitor(slot);
  });
}

Wanted Bell::collect(std::span<const FrameView> frames, std::uint64_t position,
                     std::uint64_t number) noexcept {
  BusHeader& h = ring_.header();
  Wanted found;
  if (nobody_in(h.sleepers)) return found;
  visit(h.sleepers, frames, [&](unsigned slot) {
    PortSlot& s = ring_.slot(slot);
    // D4: written before the bit is cleared. It also says how far the port has read, but only if
    // the port was asleep (W2).
    if (!compare_and_swap(s.rung_position, kAsleep, position)) {
      store_relaxed(s.rung_position, position | kRungEarly);
    }
    store_relaxed(s.rung_number, number);
    // The writer that clears the bit must wake the port. If it dies first, the sleeper looks again
    // (D2).
    const std::uint64_t mask = 1ULL << (slot % 64);
    if ((fetch_and(h.sleepers[slot / 64], ~mask) & mask) == 0) return;
    found.slots[slot / 64] |= mask;
    found.any = true;
  });
  return found;
}

void wake_port(const Ring& ring, unsigned slot, int fd) noexcept {
  wake_futex(ring.slot(slot));
  set_off_watches(fd, ring.file(), offsetof(BusHeader, doorbell), slot);
}

void wake_everybody(const Ring& ring, int fd) noexcept {
  for (unsigned slot = 0; slot < kSlots; ++slot) wake_futex(ring.slot(slot));
  set_off_watches(fd, ring.file(), offsetof(BusHeader, doorbell), 0);
}

void Bell::wake(const Wanted& wanted) noexcept {
  if (!wanted.any) return;
  bool write_file = false;
  for_each(wanted.slots, [&](unsigned slot) {
    PortSlot& s = ring_.slot(slot);
    if (load_relaxed(s.bell) == kBellInotify) {
      fetch_add(s.futex, std::uint32_t{1});
      write_file = true;
    } else {
      wake_futex(s);
    }
  });
  if (write_file) set_off_watches(fd_, ring_.file(), offsetof(BusHeader, doorbell), slot_);
}

bool Bell::wake_deep(std::span<const FrameView> frames) noexcept {
  if (nobody_in(ring_.header().deep_sleepers)) return false;
  // The bits stay until the sleeper clears them itself. If this writer dies before the wake, the
  // next one must still find the sleeper, since a deep sleeper does not look by itself. If a
  // sleeper is stopped or dead, and so cannot clear its bits, each writer wakes it once, and then
  // knows it by its ticket.
  Wanted found;
  visit(ring_.header().deep_sleepers, frames, [&](unsigned slot) {
    const std::uint64_t ticket = std::uint64_t{load_relaxed(ring_.slot(slot).deep_ticket)} + 1;
    if (tickets_served_[slot] == ticket) return;
    tickets_served_[slot] = ticket;
    found.slots[slot / 64] |= 1ULL << (slot % 64);
    found.any = true;
  });
  wake(found);
  return found.any;
}

/// Turns rings of the futex into an eventfd, for a port that has no other descriptor.
struct Sleeper::Helper {
  explicit Helper(PortSlot& s)
      : slot(s), thread([this](const std::stop_token& stop) { run(stop); }) {}
  ~Helper() {
    thread.request_stop();
    armed.fetch_add(1);
    armed.notify_one();
    wake_futex(slot);
    thread.join();
  }
  void arm(std::uint32_t seen) noexcept {
    if (is_waiting.exchange(true) && expected.load() == seen) return;
    expected.store(seen);
    armed.fetch_add(1);
    armed.notify_one();
  }
  void run(const std::stop_token& stop) noexcept {
    unsigned served = 0;
    while (!stop.stop_requested()) {
      armed.wait(served);
      served = armed.load();
      while (!stop.stop_requested() && load_seq_cst(slot.futex) == expected.load()) {
        // This wait is bounded: when the file is truncated, the guard puts other memory in the
        // futex's place. A wake there, by our destructor, does not reach a thread that waits on the
        // file.
        futex_wait(slot.futex, expected.load(), std::chrono::seconds(10));
      }
      is_waiting.store(false);
      ring();
    }
  }
  void ring() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(write(event.get(), &one, sizeof one) == sizeof one);
  }

  PortSlot& slot;
  UniqueFd event{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<unsigned> armed{0};
  std::atomic<std::uint32_t> expected{0};
  std::atomic<bool> is_waiting{false};  // for `expected`
  std::jthread thread;
};

Sleeper::Sleeper() noexcept = default;
Sleeper::Sleeper(Ring ring, unsigned slot) noexcept : ring_(ring), slot_(slot) {}
Sleeper::Sleeper(Sleeper&&) noexcept = default;
Sleeper& Sleeper::operator=(Sleeper&&) noexcept = default;
Sleeper::~Sleeper() = default;

void Sleeper::forget() noexcept {
  static_cast<void>(helper_.release());
}

std::chrono::nanoseconds Sleeper::announce(bool by_descriptor) noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  const bool inotify = by_descriptor && inotify_ && !level_;
  store_relaxed(self().bell, inotify ? kBellInotify : kBellFutex);
  futex_seen_ = load_seq_cst(self().futex);
  const bool will_hear = !by_descriptor || arm_descriptor();
  const auto now = std::chrono::steady_clock::now();
  if (idle_since_ == std::chrono::steady_clock::time_point{}) idle_since_ = now;
  bool deep = will_hear && now - idle_since_ >= kIdleUntilDeep;
  if (deep) {
    store_relaxed(self().deep_ticket, futex_seen_);  // each ring changes the next ticket
    fetch_or(h.deep_sleepers[slot_ / 64], mask);
  }
  store_relaxed(self().rung_position, kLooksForFrames);  // before others see the bit
  fetch_or(h.sleepers[slot_ / 64], mask);                // D1: before the last look at the ring
  // D4: also before the last look at the ring. The count is read first: if the lock is free after
  // that, the takeovers that it counts are over, and a writer that lost the lock and may still
  // commit has a claim.
  const std::uint64_t takeovers = load_seq_cst(h.takeovers);
  if (takeovers != settled_takeovers_ && !writer_may_be_past_its_look(ring_)) {
    settled_takeovers_ = takeovers;
  }
  if (deep && writer_may_be_past_its_look(ring_)) {
    // D3: that writer may commit without having seen that we sleep deep.
    fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
    deep = false;
  }
  announced_ = true;
  return deep ? std::chrono::nanoseconds::max() : std::chrono::nanoseconds(kLookUp);
}

/// Makes the descriptor readable when the futex changes from `futex_seen_`, or at once if it has
/// changed already. Result: false if that is not possible.
bool Sleeper::arm_descriptor() noexcept {
  if (futex_poll_.is_open()) return futex_poll_.arm(self().futex, futex_seen_);
  if (helper_) helper_->arm(futex_seen_);
  return inotify_ || helper_;
}

void Sleeper::found_nothing() noexcept {
  // Fails if somebody rang: then there is something to read, and the port is not asleep (W2).
  compare_and_swap(self().rung_position, kLooksForFrames, kAsleep);
}

Woken Sleeper::withdraw() noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  Woken woken;
  if (!announced_) return woken;
  announced_ = false;
  compare_and_swap(self().rung_position, kAsleep, kLooksForFrames);  // W2: before it reads on
  const Place oldest = oldest_record(ring_);  // D4: read while the bit is set
  fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
  const bool collected = (fetch_and(h.sleepers[slot_ / 64], ~mask) & mask) == 0;
  woken.rung = load_relaxed(self().futex) != futex_seen_;
  Place known = oldest;
  // read() sees for itself what is still in the ring, so never pass more than what is before
  // `first`: a writer that died between its commit and its look at us has rung nobody.
  const Place rung{load_relaxed(self().rung_position) & ~kRungEarly,
                   load_relaxed(self().rung_number)};
  if (collected && rung.position < oldest.position && rung.number <= oldest.number) {
    known = rung;
  }
  // D4. Read last: a writer that wrote any of the above under a lock that it took over increased
  // the count before.
  if (load_seq_cst(h.takeovers) == settled_takeovers_) {
    woken.position = known.position;
    woken.number = known.number;
  }
  return woken;
}

void Sleeper::sleep(std::chrono::nanoseconds timeout) noexcept {
  futex_wait(self().futex, futex_seen_, timeout);
}

int Sleeper::descriptor(int fd) noexcept {
  if (futex_poll_.is_open()) return futex_poll_.descriptor();
  if (inotify_) return inotify_.get();
  if (helper_) return helper_->event.get();
  if (futex_poll_.open()) return futex_poll_.descriptor();
  inotify_ = UniqueFd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_) {
    char path[32];  // not a string, which would need memory
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (inotify_add_watch(inotify_.get(), path, IN_MODIFY) >= 0) return inotify_.get();
  }
  descriptor_error_ = {errno, std::generic_category()};
  inotify_.reset();
  return start_helper() ? helper_->event.get() : -1;
}

/// Result: false, and errno, if there is no descriptor, thread or memory.
bool Sleeper::start_helper() noexcept {
  try {
    auto helper = std::make_unique<Helper>(self());
    if (!helper->event) return false;
    helper_ = std::move(helper);
    return true;
  } catch (const std::exception&) {
    errno = EAGAIN;
    return false;
  }
}

int Sleeper::level_descriptor() noexcept {
  if (!futex_poll_.is_open() && !helper_ && !futex_poll_.open() && !start_helper()) return -1;
  return futex_poll_.is_open() ? futex_poll_.descriptor() : helper_->event.get();
}

void Sleeper::ring_itself() noexcept {
  if (futex_poll_.is_open()) {
    futex_poll_.ring_itself();
  } else {
    helper_->ring();
  }
}

void Sleeper::drain() noexcept {
  if (futex_poll_.is_open()) {
    futex_poll_.drain();
    return;
  }
  if (inotify_) {
    alignas(inotify_event) char events[512];
    while (read(inotify_.get(), events, sizeof events) == static_cast<ssize_t>(sizeof events)) {
    }
  }
  if (helper_) {
    std::uint64_t count = 0;
    static_cast<void>(read(helper_->event.get(), &count, sizeof count) == sizeof count);
  }
}

}  // namespace shmif::bus
