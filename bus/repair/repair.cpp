#include <algorithm>
#include <optional>
#include <vector>

#include "base/wall_clock.hpp"
#include "bus/file/liveness.hpp"
#include "bus/port/doorbell.hpp"
#include "bus/port/port_table.hpp"
#include "bus/repair/audit.hpp"
#include "bus/repair/salvage.hpp"

namespace shmif::bus {
namespace {

/// Positions end where sums of a few lengths could overflow (Ring::fits_alignment). A chain that
/// ends behind this is too near to that point to go on.
std::uint64_t farthest_end(const Ring& ring) noexcept {
  return UINT64_MAX - 2 * kMaxRingBytes - 8 * ring.bytes();
}

void write_pad(const Ring& ring, std::uint64_t from, std::uint64_t to,
               std::uint64_t number) noexcept {
  if (from == to) return;
  store_relaxed(ring.record(from).number, number);
  store_release(ring.record(from).word, word::pad(from, to - from));
}

/// The end of the new chain. It is at a fresh place, so that a writer that was about to commit at
/// the old one fails (I5), and outside of what late writers may write.
std::uint64_t new_end(const Ring& ring, const std::vector<Stretch>& claims,
                      std::uint64_t at_least) noexcept {
  std::uint64_t end = at_least + kRecordAlign;
  for (std::size_t tries = 0; tries <= claims.size(); ++tries) {
    const Stretch* claim = claim_in(ring, claims, end, kRecordAlign);
    if (claim == nullptr) break;
    end += (claim->begin + claim->bytes - end) & (ring.bytes() - 1);
    end = (end + kRecordAlign - 1) & ~std::uint64_t{kRecordAlign - 1};
  }
  return end;
}

/// The highest number that a living port expects. If no frame is left, numbers continue from there.
std::uint64_t next_number_of_ports(const Ring& ring) noexcept {
  std::uint64_t next = 0;
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = ring.slot(i);
    const std::uint64_t number = load_relaxed(s.next_number);
    // At most this many frames fit in front of a position, and in the record there that the port
    // may have read in part; otherwise one of the two was overwritten.
    const bool possible = number <= frames_in(load_relaxed(s.position) + kMaxSharedBytes);
    if (possible && state_of(load_acquire(s.state)) == SlotState::live) {
      next = std::max(next, number);
    }
  }
  return next;
}

/// Whether a pad may begin where the chain ended. The word there may be the one that commits a late
/// writer's batch: it changes that word by CAS alone, and fails (I5).
bool may_pad_from(const Ring& ring, const std::vector<Stretch>& claims, std::uint64_t former_end) {
  return std::none_of(claims.begin(), claims.end(), [&](const Stretch& c) {
    return c.commit != former_end && claim_in(ring, {c}, former_end, kTailBytes) != nullptr;
  });
}

/// Makes a chain of the runs: writes the pads between them, its end, `first` and `last`.
/// `former_end`: has EMPTY of that place, and readers that had read everything may wait there. If
/// the newest frame is not kept, this is in the middle of the last pad. So a separate pad begins
/// there (I2): otherwise these readers would wait there for a whole lap.
void link_runs(const Ring& ring, const std::vector<Run>& kept,
               std::optional<std::uint64_t> former_end, std::uint64_t end,
               std::uint64_t number) noexcept {
  for (std::size_t i = 0; i < kept.size(); ++i) {  // numbers jump behind these pads (I8)
    const std::uint64_t next = i + 1 < kept.size() ? kept[i + 1].begin : end;
    const bool split = i + 1 == kept.size() && former_end && *former_end > kept[i].end;
    if (split) write_pad(ring, *former_end, next, number);
    write_pad(ring, kept[i].end, split ? *former_end : next, kept[i].next_number());
  }
  BusHeader& h = ring.header();
  store_relaxed(ring.record(end).number, number);
  store_seq_cst(ring.record(end).word, word::empty(end));
  store_seq_cst(h.first, kept.empty() ? end : kept.front().begin);
  store_seq_cst(h.last, end);
}

/// Joins what survived into a chain. Result: how many frames; empty if the lock was lost.
std::optional<std::uint64_t> rebuild_chain(const Ring& ring, const std::vector<Stretch>& unfinished,
                                           RepairLock& lock) {
  const std::vector<Stretch> claims = standing_claims(ring);
  auto found = salvage(ring, claims, unfinished, lock);
  if (!found) return std::nullopt;
  std::vector<Run>& kept = found->runs;
  std::uint64_t number = kept.empty() ? next_number_of_ports(ring) : kept.back().next_number();
  // The number behind the end may have been overwritten. Accept it only if the missing frames can
  // fit.
  if (found->end && ring.number_at(*found->end) - number <= frames_in(ring.bytes())) {
    number = ring.number_at(*found->end);
  }
  std::uint64_t end = new_end(ring, claims, found->end.value_or(found->place));
  if (end > farthest_end(ring)) {  // the positions are used up: start again at 0
    kept.clear();
    end = new_end(ring, claims, 0);
  }
  if (end + kTailBytes > ring.bytes()) {
    for (Run& run : kept) cut(ring, run, end + kTailBytes - ring.bytes(), UINT64_MAX);
    std::erase_if(kept, [](const Run& run) { return run.frames == 0; });
  }
  if (!lock.keep()) return std::nullopt;
  const bool splits = found->end && *found->end < end && may_pad_from(ring, claims, *found->end);
  link_runs(ring, kept, splits ? found->end : std::nullopt, end, number);
  std::uint64_t frames = 0;
  for (const Run& run : kept) frames += run.frames;
  return frames;
}

/// Clears claims that no correct writer makes: no owner can have meant them. A port that declares a
/// claim just now writes another owner word, and keeps its claim. Result: how many.
unsigned clear_impossible_claims(const Ring& ring) noexcept {
  unsigned cleared = 0;
  for (unsigned i = 0; i < kSlots; ++i) {
    PortSlot& s = ring.slot(i);
    const std::uint64_t owner = load_seq_cst(s.claim_owner);
    const std::uint64_t begin = load_relaxed(s.claim_begin);
    const std::uint64_t end = load_relaxed(s.claim_end);
    if (owner == 0 || (begin < end && end - begin <= ring.bytes() / 4 + kTailBytes)) continue;
    cleared += compare_and_swap(s.claim_owner, owner, std::uint64_t{0}) ? 1U : 0U;
  }
  return cleared;
}

/// Whether a claim stands, after those of dead ports were cleared. It may be a stopped writer's, or
/// overwritten memory; only the port itself knows.
bool a_claim_stands(const Ring& ring) noexcept {
  for (unsigned i = 0; i < kSlots; ++i) {
    if (load_seq_cst(ring.slot(i).claim_owner) != 0) return true;
  }
  return false;
}

/// The position in a slot is only shown. A port that only sends would never correct a wrong one.
void show_possible_positions(const Ring& ring) noexcept {
  const std::uint64_t last = load_acquire(ring.header().last);
  for (unsigned i = 0; i < kSlots; ++i) {
    PortSlot& s = ring.slot(i);
    const std::uint64_t position = load_relaxed(s.position);
    if (position > last || !ring.fits_alignment(position)) store_relaxed(s.position, last);
  }
}

/// Whether a slot that is marked as free has a living owner: either the slot was overwritten, or
/// its owner attaches or detaches just now.
bool a_live_slot_looks_free(const Ring& ring, int fd) noexcept {
  for (unsigned i = 0; i < kSlots; ++i) {
    if (state_of(load_acquire(ring.slot(i).state)) == SlotState::free && is_alive(fd, i))
      return true;
  }
  return false;
}

/// A new epoch: every attached port finds its place again, writes its slot again, and drops a claim
/// that is not real. The number may have been overwritten, and a port that already has the next one
/// would not notice. So it grows by a step that nobody can know.
void begin_epoch(const Ring& ring) noexcept {
  constexpr std::uint64_t kSteps = 1U << 24U;
  const std::uint64_t step = 1 + base::wall_clock_ns() / 1000 % kSteps;
  fetch_add(ring.header().epoch, step);
}

}  // namespace

Result<RepairReport> repair_bus(const Ring& ring, const BusHeader& fixed, int fd) {
  BusHeader& h = ring.header();
  RepairReport done;
  const bool sound = audit_bus(ring, fixed, fd).clean() && !a_live_slot_looks_free(ring, fd);
  if (fixed_part_differs(ring, fixed)) {
    copy_to_shared(reinterpret_cast<std::byte*>(&h), reinterpret_cast<const std::byte*>(&fixed),
                   kFixedBytes);
  }
  const std::vector<Stretch> unfinished = unfinished_batches(ring, fd);
  for (unsigned i = 0; i < kSlots; ++i) {
    const Reaped reaped = reap_if_dead(ring, i, fd);
    done.ports_freed += reaped.slot ? 1U : 0U;
    done.claims_cleared += reaped.claim ? 1U : 0U;
  }
  done.claims_cleared += clear_impossible_claims(ring);
  const std::uint64_t lock = load_acquire(h.lock);
  const Walk chain = walk_chain(ring);
  const bool broken = chain.broken || chain.end > farthest_end(ring);
  const bool stale = !lock_word::is_free(lock) &&
                     (lock_word::holder(lock) >= kSlots || !is_alive(fd, lock_word::holder(lock)));
  for (unsigned tries = 0; (broken || stale) && tries < 10; ++tries) {
    RepairLock mine(h);
    done.lock_released = stale;
    if (!broken) break;
    const auto kept = rebuild_chain(ring, unfinished, mine);
    if (!kept) continue;
    done.frames_kept = *kept;
    done.ring_rebuilt = true;
    break;
  }
  if (!sound) show_possible_positions(ring);
  if (!sound || done.ring_rebuilt || a_claim_stands(ring)) begin_epoch(ring);
  // Do this even if the bus looks sound: the bits of the sleepers may have been overwritten.
  wake_everybody(ring, fd);
  fetch_add(h.repairs, std::uint64_t{1});
  done.epoch = load_acquire(h.epoch);
  if (walk_chain(ring).broken) {
    return Error(Errc::corrupt, "the ring of inode " + std::to_string(fixed.inode) +
                                    " is still corrupt after the repair: a process keeps "
                                    "overwriting it (stop the processes that use the bus)");
  }
  return done;
}

}  // namespace shmif::bus
