#include "bus/doorbell.hpp"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>

#include "bus/liveness.hpp"

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

bool is_wanted(const PortSlot& slot, std::span<const FrameView> frames) noexcept {
  for (const FrameView& f : frames) {
    if (AddressFilter::accepts(slot, f.destination().to_u64())) return true;
  }
  return false;
}

}  // namespace

void wake_futex(PortSlot& slot) noexcept {
  fetch_add(slot.futex, std::uint32_t{1});
  futex_wake(slot.futex);
}

/// Calls `visitor(slot)` for each sleeper in `bitmap` but ourselves that wants one of the frames,
/// and tidies up after dead ones.
template <class Visitor>
void Bell::visit(const std::uint64_t (&bitmap)[kBitmapWords], std::span<const FrameView> frames,
                 Visitor&& visitor) noexcept {
  BusHeader& h = ring_.header();
  for (unsigned w = 0; w < kBitmapWords; ++w) {
    std::uint64_t bits = load_seq_cst(bitmap[w]);  // D1
    while (bits != 0) {
      const unsigned slot = w * 64 + static_cast<unsigned>(__builtin_ctzll(bits));
      const std::uint64_t mask = bits & (~bits + 1);
      bits &= bits - 1;
      if (slot == slot_) continue;
      if (state_of(load_relaxed(ring_.slot(slot).state)) != SlotState::live) {
        fetch_and(h.deep_sleepers[w], ~mask);
        fetch_and(h.sleepers[w], ~mask);
      } else if (is_wanted(ring_.slot(slot), frames)) {
        visitor(slot);
      }
    }
  }
}

Wanted Bell::collect(std::span<const FrameView> frames, std::uint64_t position,
                     std::uint64_t number) noexcept {
  BusHeader& h = ring_.header();
  Wanted found;
  visit(h.sleepers, frames, [&](unsigned slot) {
    PortSlot& s = ring_.slot(slot);
    store_relaxed(s.rung_position, position);  // D4: before the bit goes
    store_relaxed(s.rung_number, number);
    // Who clears the bit owes the wake; were it to die before that, the sleeper looks up (D2).
    const std::uint64_t mask = 1ULL << (slot % 64);
    if ((fetch_and(h.sleepers[slot / 64], ~mask) & mask) == 0) return;
    found.slots[slot / 64] |= mask;
    found.any = true;
  });
  return found;
}

void Bell::wake(const Wanted& wanted) noexcept {
  bool write_file = false;
  for (unsigned slot = 0; wanted.any && slot < kSlots; ++slot) {
    if ((wanted.slots[slot / 64] >> (slot % 64) & 1U) == 0) continue;
    PortSlot& s = ring_.slot(slot);
    if (load_relaxed(s.bell) == kBellInotify) {
      fetch_add(s.futex, std::uint32_t{1});
      write_file = true;
    } else {
      wake_futex(s);
    }
  }
  if (write_file && same_file(fd_, ring_.header().inode)) {
    // The value means nothing; every watcher of the file wakes.
    const std::uint32_t value = slot_;
    static_cast<void>(pwrite(fd_, &value, sizeof value, offsetof(BusHeader, doorbell)));
  }
}

bool Bell::wake_deep(std::span<const FrameView> frames) noexcept {
  // The bits stay until the sleeper clears them itself: were we to die before the wake, the next
  // writer must still find it, since it does not look up. One that cannot, stopped or dead, is
  // woken once by each writer, known by its ticket.
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

/// Turns rings of the futex into an eventfd, for a port that finds no inotify instance.
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
        futex_wait(slot.futex, expected.load(), std::chrono::nanoseconds::max());
      }
      const std::uint64_t one = 1;
      static_cast<void>(write(event.get(), &one, sizeof one) == sizeof one);
    }
  }

  PortSlot& slot;
  UniqueFd event{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<unsigned> armed{0};
  std::atomic<std::uint32_t> expected{0};
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

namespace {

/// Whether a writer may have looked for deep sleepers already and commit later: the lock's holder,
/// or one that lost the lock to a takeover and still has a claim.
bool writer_may_be_past_its_look(const Ring& ring) noexcept {
  const BusHeader& h = ring.header();
  if (!lock_word::is_free(load_seq_cst(h.lock))) return true;
  const std::uint64_t used = load_acquire(h.slots_used);
  for (unsigned i = 0; i < kSlots && i < used; ++i) {
    if (load_seq_cst(ring.slot(i).claim_owner) != 0) return true;
  }
  return false;
}

}  // namespace

std::chrono::nanoseconds Sleeper::announce(bool by_descriptor) noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  const bool inotify = by_descriptor && inotify_;
  store_relaxed(self().bell, inotify ? kBellInotify : kBellFutex);
  futex_seen_ = load_seq_cst(self().futex);
  const auto now = std::chrono::steady_clock::now();
  if (idle_since_ == std::chrono::steady_clock::time_point{}) idle_since_ = now;
  bool deep = now - idle_since_ >= kIdleUntilDeep;
  if (deep) {
    store_relaxed(self().deep_ticket, futex_seen_);  // the next ring makes the next ticket another
    fetch_or(h.deep_sleepers[slot_ / 64], mask);
  }
  fetch_or(h.sleepers[slot_ / 64], mask);  // D1: before the last look at the ring
  if (deep && writer_may_be_past_its_look(ring_)) {
    // D3: it may commit without having seen that we sleep deep.
    fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
    deep = false;
  }
  announced_ = true;
  if (by_descriptor && helper_) helper_->arm(futex_seen_);
  return deep ? std::chrono::nanoseconds::max() : std::chrono::nanoseconds(kLookUp);
}

namespace {

struct Place {
  std::uint64_t position = 0;
  std::uint64_t number = 0;
};

/// Where `first` is, and the number of the frame there; zeros when it moves too fast to tell.
Place oldest_record(const Ring& ring) noexcept {
  const std::uint64_t& first = ring.header().first;
  for (unsigned tries = 0; tries < 8; ++tries) {
    const std::uint64_t position = load_seq_cst(first);
    const std::uint64_t number = ring.number_at(position);
    fence_loads();
    if (load_acquire(first) == position) return {position, number};
  }
  return {};
}

}  // namespace

Woken Sleeper::withdraw() noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  Woken woken;
  if (!announced_) return woken;
  announced_ = false;
  const Place oldest = oldest_record(ring_);  // D4: read while the bit stands
  fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
  const bool collected = (fetch_and(h.sleepers[slot_ / 64], ~mask) & mask) == 0;
  woken.position = oldest.position;
  woken.number = oldest.number;
  // What is still in the ring read() sees for itself, so never further than to `first`: a writer
  // that died between its commit and its look at us has rung nobody.
  const Place rung{load_relaxed(self().rung_position), load_relaxed(self().rung_number)};
  if (collected && rung.position < oldest.position && rung.number <= oldest.number) {
    woken.position = rung.position;
    woken.number = rung.number;
  }
  woken.rung = load_relaxed(self().futex) != futex_seen_;
  return woken;
}

void Sleeper::sleep(std::chrono::nanoseconds timeout) noexcept {
  futex_wait(self().futex, futex_seen_, timeout);
}

int Sleeper::descriptor(int fd) noexcept {
  if (inotify_) return inotify_.get();
  if (helper_) return helper_->event.get();
  inotify_ = UniqueFd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    if (inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY) >= 0) return inotify_.get();
  }
  descriptor_error_ = {errno, std::generic_category()};
  inotify_.reset();
  try {
    auto helper = std::make_unique<Helper>(self());
    if (!helper->event) return -1;
    helper_ = std::move(helper);
    return helper_->event.get();
  } catch (const std::exception&) {  // no thread, no memory
    return -1;
  }
}

void Sleeper::drain() noexcept {
  if (inotify_) {
    alignas(inotify_event) char events[512];
    while (read(inotify_.get(), events, sizeof events) == static_cast<ssize_t>(sizeof events)) {
    }
  } else if (helper_) {
    std::uint64_t count = 0;
    static_cast<void>(read(helper_->event.get(), &count, sizeof count) == sizeof count);
  }
}

}  // namespace shmif::bus
