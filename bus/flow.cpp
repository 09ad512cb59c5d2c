#include "bus/flow.hpp"

#include <time.h>

#include <algorithm>

#include "bus/atomics.hpp"
#include "bus/liveness.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

constexpr unsigned kNobody = kSlots;
/// A wait that a moment ends is not worth a sleep: so often it looks before the first one.
constexpr unsigned kLooksBeforeSleep = 64;
constexpr nanoseconds kSleep = std::chrono::microseconds(20);
/// A window of waiting, and how much of the ring a port must have read in it, W3.
constexpr int kWindow = FlowControl::kRest + 1;
constexpr std::uint64_t kGoodPart = 256;

}  // namespace

std::uint64_t FlowControl::known_room() const noexcept {
  const std::uint64_t last = load_acquire(ring_.header().last);
  if (limit_ > last) return 0;  // from before a repair that began the positions anew
  const std::uint64_t used = last - limit_;
  return used < ring_.bytes() ? ring_.bytes() - used : 0;
}

std::uint64_t FlowControl::room(std::uint64_t wanted) noexcept {
  if (const std::uint64_t known = known_room(); known >= wanted) return known;
  look(wanted);
  return known_room();
}

/// Finds the limit (W2), and whose it is.
void FlowControl::look(std::uint64_t wanted) noexcept {
  const BusHeader& h = ring_.header();
  const std::uint64_t last = load_acquire(h.last);
  const std::uint64_t keep = std::min(ring_.bytes() / 2, ring_.bytes() - wanted);
  limit_ = last > keep ? last - keep : 0;
  slowest_ = kNobody;
  const std::uint64_t used = std::min<std::uint64_t>(load_acquire(h.slots_used), kSlots);
  const std::uint64_t first = load_acquire(h.first);
  for (unsigned i = 0; i < used; ++i) {
    std::uint64_t position = 0;
    if (!is_waited_for(i, position)) continue;
    position = std::max(position, first);  // a port that was lapped goes on from there
    if (position >= limit_) continue;
    limit_ = position;
    slowest_ = i;
  }
}

bool FlowControl::is_waited_for(unsigned slot, std::uint64_t& position) const noexcept {
  constexpr std::uint32_t kListens = kFlagUp | kFlagPause;
  const PortSlot& s = ring_.slot(slot);
  if (state_of(load_acquire(s.state)) != SlotState::live) return false;
  if ((load_relaxed(s.flags) & kListens) != kListens) return false;
  const std::uint64_t rung = load_seq_cst(s.rung_position);
  if (rung == kAsleep || rests(slot)) return false;
  position = std::max(load_relaxed(s.position), rung);
  return true;
}

/// Whether a wait for it was in vain lately (W3).
bool FlowControl::rests(unsigned slot) const noexcept {
  const Clock::time_point not_before = accounts_[slot].not_before;
  return not_before != Clock::time_point{} && Clock::now() < not_before;
}

bool FlowControl::admits(std::uint64_t least) noexcept {
  if (room(least) >= least) {
    end_pause();
    return true;
  }
  const Clock::time_point now = Clock::now();
  if (!waiting_) {
    waiting_ = true;
    waits_for_ = kNobody;
    looked_ = now;
    ++pauses_;
  }
  // Who was stopped for a while must not hold that against the others.
  const nanoseconds cost = std::min<nanoseconds>(now - looked_, patience_ / 4);
  looked_ = now;
  paused_ += cost;
  while (slowest_ != kNobody && is_stalled(now, cost)) {
    overrun(slowest_);
    look(least);
    if (known_room() >= least) break;
  }
  if (slowest_ != kNobody && known_room() < least) return false;
  end_pause();
  return true;
}

/// Charges the slowest port with `cost`. Result: whether it is waited for no longer (W3).
bool FlowControl::is_stalled(Clock::time_point now, nanoseconds cost) noexcept {
  const std::uint64_t position =
      std::max(load_relaxed(ring_.slot(slowest_).position), load_relaxed(ring_.header().first));
  if (slowest_ != waits_for_) {
    waits_for_ = slowest_;
    waited_ = nanoseconds(0);
    store_relaxed(ring_.slot(slot_).waits_for, slowest_ + 1);
  } else {
    waited_ += cost;
  }
  Account& a = accounts_[slowest_];
  if (now - a.begin >= kWindow * patience_) a = {now, position, nanoseconds(0), a.not_before};
  a.waited += cost;
  // One that shows an older place than before has read nothing, or scribbles.
  const bool read_much =
      position > a.position && position - a.position >= ring_.bytes() / kGoodPart;
  const bool crawls = a.waited >= patience_ && !read_much;
  const bool dead = waited_ >= patience_ / 8 && !is_alive(fd_, slowest_);
  if (waited_ < patience_ && !crawls && !dead) return false;
  a.not_before = now + kRest * patience_;
  return true;
}

void FlowControl::overrun(unsigned slot) noexcept {
  PortSlot& s = ring_.slot(slot);
  fetch_and(s.flags, ~kFlagPause);
  fetch_add(s.stalls, std::uint64_t{1});
}

void FlowControl::end_pause() noexcept {
  if (!waiting_) return;
  waiting_ = false;
  store_relaxed(ring_.slot(slot_).waits_for, 0U);
}

void FlowControl::wait_for_room(std::uint64_t least, std::uint64_t wanted) noexcept {
  const nanoseconds before = paused_;
  for (unsigned looks = 0; !admits(paused_ - before < patience_ / 10 ? wanted : least); ++looks) {
    if (looks < kLooksBeforeSleep) {
      cpu_relax();
      continue;
    }
    const timespec t{0, static_cast<long>(kSleep.count())};
    nanosleep(&t, nullptr);
  }
}

}  // namespace shmif::bus
