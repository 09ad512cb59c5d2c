#include "bus/ring/flow.hpp"

#include <algorithm>
#include <span>

#include "bus/atomics.hpp"
#include "bus/file/liveness.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

constexpr unsigned kNobody = kSlots;
/// A wait may end after a moment, so this many looks come before the first sleep.
constexpr unsigned kLooksBeforeSleep = 64;
constexpr nanoseconds kSleep = std::chrono::microseconds(20);
/// W3: the window, in units of the patience, and the part of the ring that a port must read in it.
constexpr int kWindow = FlowControl::kRest + 1;
constexpr std::uint64_t kGoodPart = 256;

}  // namespace

std::uint64_t FlowControl::known_room() const noexcept {
  const std::uint64_t last = load_acquire(ring_.header().last);
  // If the limit is from before a repair that started the positions again, the difference wraps.
  const std::uint64_t used = last - limit_;
  return used < ring_.bytes() ? ring_.bytes() - used : 0;
}

std::uint64_t FlowControl::room(std::uint64_t wanted) noexcept {
  if (const std::uint64_t known = known_room(); known >= wanted) return known;
  look(wanted);
  return known_room();
}

/// Finds the limit (W2), the slot that sets it, and all ports that are so far behind that a wait is
/// charged to them.
void FlowControl::look(std::uint64_t wanted) noexcept {
  const BusHeader& h = ring_.header();
  const std::uint64_t last = load_acquire(h.last);
  const std::uint64_t keep = std::min(ring_.bytes() / 2, ring_.bytes() - wanted);
  const std::uint64_t keep_from = last > keep ? last - keep : 0;
  limit_ = keep_from;
  slowest_ = kNobody;
  behind_count_ = 0;
  const std::uint64_t used = std::min<std::uint64_t>(load_acquire(h.slots_used), kSlots);
  const std::uint64_t first = load_acquire(h.first);
  for (unsigned i = 0; i < used; ++i) {
    Behind& port = behind_[behind_count_];
    if (!is_waited_for(i, port)) continue;
    port.position = std::max(port.position, first);  // a port that was lapped continues there
    port.read_to = std::max(port.position, port.read_to);
    if (port.position >= keep_from) continue;
    ++behind_count_;
    if (port.position >= limit_) continue;
    limit_ = port.position;
    slowest_ = i;
  }
}

bool FlowControl::is_waited_for(unsigned slot, Behind& port) const noexcept {
  constexpr std::uint32_t kListens = kFlagUp | kFlagPause;
  const PortSlot& s = ring_.slot(slot);
  if (state_of(load_acquire(s.state)) != SlotState::live) return false;
  if ((load_relaxed(s.flags) & kListens) != kListens) return false;
  const std::uint64_t rung = load_seq_cst(s.rung_position);
  if (rung == kAsleep || rests(slot)) return false;
  port = {slot, load_relaxed(s.position), load_relaxed(s.read_inside)};
  // A port has read at most one shared record in part. Without this bound, a slot that somebody
  // writes again and again would look like progress for ever (W4).
  port.read_to =
      port.position + std::min<std::uint64_t>(port.read_to, kRecordHeaderBytes + kMaxSharedBytes);
  if ((rung & kRungEarly) == 0) port.position = std::max(port.position, rung);
  return true;
}

/// Whether senders do not wait for this port, after a wait in vain (W3).
bool FlowControl::rests(unsigned slot) const noexcept {
  const Clock::time_point not_before = accounts_[slot].not_before;
  return not_before != Clock::time_point{} && Clock::now() < not_before;
}

bool FlowControl::admits(std::uint64_t min) noexcept {
  bool fits = room(min) >= min;
  if (!fits) {
    const Clock::time_point now = Clock::now();
    if (!pausing_) {
      pausing_ = true;
      looked_ = now;
      ++pauses_;
    }
    // If this process was stopped for a while, that time must not count against the others.
    const nanoseconds cost = std::min<nanoseconds>(now - looked_, patience_ / 4);
    looked_ = now;
    paused_ += cost;
    if (overrun_stalled(now, cost, min)) look(min);
    fits = slowest_ == kNobody || known_room() >= min;
  }
  if (!fits) {
    store_relaxed(ring_.slot(slot_).waits_for, slowest_ + 1);
  } else {
    found_room();
  }
  return fits;
}

/// Charges `cost` to all ports that are behind. Takes the flag from those that are in the way and
/// have used up the patience. Result: whether it took a flag.
bool FlowControl::overrun_stalled(Clock::time_point now, nanoseconds cost,
                                  std::uint64_t min) noexcept {
  const std::uint64_t last = load_acquire(ring_.header().last);
  bool any = false;
  for (const Behind& port : std::span(behind_).first(behind_count_)) {
    Account& a = accounts_[port.slot];
    charge(a, port.read_to, now, cost, min);
    const bool in_the_way = last > port.position && last - port.position > ring_.bytes() - min;
    if (!in_the_way || !is_stalled(a, port, cost)) continue;
    a.not_before = now + kRest * patience_;
    PortSlot& s = ring_.slot(port.slot);
    fetch_and(s.flags, ~kFlagPause);
    fetch_add(s.stalls, std::uint64_t{1});
    any = true;
  }
  return any;
}

void FlowControl::charge(Account& a, std::uint64_t read_to, Clock::time_point now, nanoseconds cost,
                         std::uint64_t min) noexcept {
  if (now - a.begin >= kWindow * patience_) {
    a.begin = now;
    a.read_to = read_to;
    a.waited = nanoseconds(0);
  }
  a.waited += cost;
  // A port that shows an older place than before has not read, or its slot was overwritten.
  const bool has_moved = read_to > a.furthest;
  const bool read_enough = read_to > a.run_from && read_to - a.run_from >= min;
  if (read_enough || (has_moved && a.pause != pauses_)) {
    a.run_from = read_to;
    a.run = nanoseconds(0);
  } else {
    a.run += cost;
  }
  a.furthest = std::max(a.furthest, read_to);
  a.pause = pauses_;
}

/// Whether senders stop waiting for a port (W3).
bool FlowControl::is_stalled(const Account& a, const Behind& port,
                             nanoseconds cost) const noexcept {
  const bool read_much =
      port.read_to > a.read_to && port.read_to - a.read_to >= ring_.bytes() / kGoodPart;
  if (a.run >= patience_ || (a.waited >= patience_ && !read_much)) return true;
  // Ask only a few times per patience: it takes a system call for each port, and there may be many
  // ports.
  const nanoseconds part = std::max(patience_ / 8, nanoseconds(1));
  const bool time_to_ask = a.run / part != (a.run - std::min(a.run, cost)) / part;
  return time_to_ask && !is_alive(fd_, port.slot);
}

void FlowControl::end_pause() noexcept {
  if (!pausing_) return;
  pausing_ = false;
  store_relaxed(ring_.slot(slot_).waits_for, 0U);
}

void FlowControl::found_room() noexcept {
  if (waiting_threads_ == 0) end_pause();
}

void FlowControl::end_wait() noexcept {
  --waiting_threads_;
  found_room();
}

nanoseconds FlowControl::pause_after(unsigned looks) const noexcept {
  return looks < kLooksBeforeSleep ? nanoseconds(0) : kSleep;
}

void FlowControl::forget_positions() noexcept {
  for (Account& a : accounts_) a = Account{.not_before = a.not_before};
}

}  // namespace shmif::bus
