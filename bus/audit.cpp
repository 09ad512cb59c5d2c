#include "bus/audit.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "bus/liveness.hpp"
#include "bus/port_table.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kLooks = 50;  // on a bus in use, so often may the walk be overtaken

std::string at(std::uint64_t position) {
  return "position " + std::to_string(position);
}
std::string hex(std::uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

struct Walk {
  bool broken = false;
  AuditFinding finding;
  std::uint64_t end = 0;
  std::uint64_t records = 0, frames = 0, pads = 0;
  bool met_last = false;
};

/// Follows the chain from `first` once.
Walk walk_chain(const Ring& ring, std::uint64_t first, std::uint64_t last) {
  Walk w;
  const auto fail = [&](const char* invariant, std::string what) {
    w.broken = true;
    w.finding = {invariant, std::move(what)};
    return w;
  };
  std::uint64_t p = first;
  std::uint64_t number = ring.number_at(p);
  bool behind_pad = false;
  for (;;) {  // bounded: every step moves on, and a chain is no longer than the ring
    if (p == last) w.met_last = true;
    w.end = p;
    const std::uint64_t word = ring.word_at(p);
    if (behind_pad && ring.number_at(p) > number) number = ring.number_at(p);
    if (ring.number_at(p) != number) {
      return fail("I8", "at " + at(p) + " the frame number is " +
                            std::to_string(ring.number_at(p)) + ", expected " +
                            std::to_string(number));
    }
    if (word == word::empty(p)) break;
    const std::uint64_t step = ring.step(word, p);
    if (step == 0)
      return fail("I5",
                  "at " + at(p) + " the header word " + hex(word) + " is no record of this place");
    if (p + step - first > ring.bytes())
      return fail("I6", "the chain from " + at(first) + " is longer than the ring");
    ++w.records;
    if (word::is_frame_at(word, p)) {
      ++w.frames;
      ++number;
    } else {
      ++w.pads;
    }
    behind_pad = !word::is_frame_at(word, p);
    p += step;
  }
  if (last > w.end)
    return fail("I7", "last (" + std::to_string(last) + ") is past the end of the chain, " +
                          std::to_string(w.end));
  if (!w.met_last && last >= first)
    return fail("I7", "last (" + std::to_string(last) + ") is not the beginning of a record");
  return w;
}

/// Walks until a walk was not overtaken by `first`.
Walk audit_chain(const Ring& ring) {
  const BusHeader& h = ring.header();
  Walk w;
  for (unsigned look = 0; look < kLooks; ++look) {
    const std::uint64_t last = load_acquire(h.last);
    const std::uint64_t first = load_acquire(h.first);
    if (!ring.fits_alignment(first) || !ring.fits_alignment(last)) {
      w = {};
      w.broken = true;
      w.finding = {"I2", "first (" + std::to_string(first) + ") or last (" + std::to_string(last) +
                             ") is not where a record can begin"};
    } else {
      w = walk_chain(ring, first, last);
    }
    if (!w.broken) return w;
    fence_loads();
    // Broken and nobody moved: so it is. Lapped in the meantime: look again.
    if (load_acquire(h.first) == first && load_acquire(h.last) == last && look > 2) return w;
  }
  return w;
}

void audit_lock(const Ring& ring, int fd, AuditReport& report) {
  const std::uint64_t lock = load_acquire(ring.header().lock);
  if (lock_word::is_free(lock)) return;
  const unsigned holder = lock_word::holder(lock);
  if (holder >= kSlots && holder != lock_word::kRepairSlot) {
    report.findings.push_back(
        {"L1", "the lock is held by slot " + std::to_string(holder) + ", which no port can have"});
  } else if (holder < kSlots && !is_alive(fd, holder)) {
    report.notes.push_back("the lock is held by slot " + std::to_string(holder) +
                           ", whose process is dead; the next sender takes it over");
  }
}

void audit_claim(const Ring& ring, unsigned slot, bool alive, AuditReport& report) {
  const PortSlot& s = ring.slot(slot);
  const std::uint64_t owner = load_acquire(s.claim_owner);
  const std::uint64_t begin = load_relaxed(s.claim_begin);
  const std::uint64_t end = load_relaxed(s.claim_end);
  if (owner == 0 || owner == load_acquire(ring.header().lock)) return;  // none, or a writer at work
  const std::string who = "slot " + std::to_string(slot);
  if (load_acquire(s.claim_owner) != owner) return;
  if (begin >= end || end - begin > ring.bytes() / 4 + kTailBytes) {
    report.findings.push_back({"I3", "the claim of " + who + " from " + std::to_string(begin) +
                                         " to " + std::to_string(end) + " is none a writer makes"});
  } else {
    report.notes.push_back(who + (alive ? " (stopped or slow)" : " (dead)") + " claims " +
                           std::to_string(end - begin) + " bytes, which others step around");
  }
}

void audit_ports(const Ring& ring, std::uint64_t chain_end, bool chain_known, int fd,
                 AuditReport& report) {
  const std::uint64_t used =
      std::min<std::uint64_t>(load_acquire(ring.header().slots_used), kSlots);
  std::map<std::string, unsigned> names;
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = ring.slot(i);
    const std::uint64_t state = load_acquire(s.state);
    const std::string who = "slot " + std::to_string(i);
    if (static_cast<std::uint8_t>(state_of(state)) > static_cast<std::uint8_t>(SlotState::live)) {
      report.findings.push_back(
          {"P1", who + " has the state " + hex(state & 0xffU) + ", which is none"});
      continue;
    }
    const bool alive = is_alive(fd, i);
    audit_claim(ring, i, alive, report);
    if (state_of(state) != SlotState::live) continue;
    if (i >= used)
      report.findings.push_back(
          {"P1", who + " is in use, but only " + std::to_string(used) + " slots were ever"});
    if (!alive) {
      report.notes.push_back(who + " (\"" + slot_name(s) +
                             "\") belongs to a dead process; it is free to be taken");
      continue;
    }
    if (const auto [it, fresh] = names.emplace(slot_name(s), i); !fresh) {
      report.findings.push_back({"P3", who + " and slot " + std::to_string(it->second) +
                                           " both have the name \"" + it->first + "\""});
    }
    const std::uint64_t position = load_relaxed(s.position);
    if (chain_known && (position > chain_end || !ring.fits_alignment(position)) &&
        position > load_acquire(ring.header().last)) {
      report.findings.push_back(
          {"I2", who + " reads at " + at(position) + ", past the end of the chain"});
    }
  }
}

/// A frame that proves itself: its word names this very place, and its number fits its neighbours'.
struct Survivor {
  std::uint64_t position, number, bytes;
};

/// The position whose low bits a frame word names, nearest to `reference`.
std::uint64_t full_position(std::uint64_t w, std::uint64_t reference) noexcept {
  constexpr unsigned kBits = word::kFramePositionBits + word::kUnitShift;
  const std::uint64_t low = word::low_bits(w, word::kFramePositionBits) << word::kUnitShift;
  const std::uint64_t span = 1ULL << kBits;
  std::uint64_t p = (reference & ~(span - 1)) | low;
  if (p > reference && p - reference > span / 2 && p >= span) p -= span;
  if (p < reference && reference - p > span / 2) p += span;
  return p;
}

/// Holds the lock in the name of `repair`, and shows progress so that nobody loses patience.
class RepairLock {
 public:
  explicit RepairLock(BusHeader& header) noexcept : header_(header) {
    std::uint64_t seen = 0;
    do {  // L2: the count grows first, then the lock is taken from whoever has it
      fetch_add(header_.takeovers, std::uint64_t{1});
      seen = load_acquire(header_.lock);
      mine_ = lock_word::next_held_by(seen, lock_word::kRepairSlot);
    } while (!compare_and_swap(header_.lock, seen, mine_));
  }
  RepairLock(const RepairLock&) = delete;
  RepairLock& operator=(const RepairLock&) = delete;
  ~RepairLock() { compare_and_swap(header_.lock, mine_, lock_word::freed(mine_)); }

  /// Result: false when somebody took the lock over all the same.
  bool keep() noexcept {
    const std::uint64_t next = lock_word::next_held_by(mine_, lock_word::kRepairSlot);
    if (!compare_and_swap(header_.lock, mine_, next)) return false;
    mine_ = next;
    return true;
  }

 private:
  BusHeader& header_;
  std::uint64_t mine_ = 0;
};

/// What writers that may still go on may write, as offsets in the ring.
struct Stretch {
  std::uint64_t begin, bytes;
  std::uint64_t commit;  // of the claim it belongs to
};

std::vector<Stretch> standing_claims(const Ring& ring) {
  std::vector<Stretch> claims;
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = ring.slot(i);
    if (load_seq_cst(s.claim_owner) == 0) continue;
    const std::uint64_t commit = load_relaxed(s.claim_commit);
    const std::uint64_t begin = load_relaxed(s.claim_begin);
    const std::uint64_t end = load_relaxed(s.claim_end);
    if (begin < end && end - begin <= ring.bytes() / 4 + kTailBytes)
      claims.push_back({begin, end - begin, commit});
    claims.push_back({commit, kTailBytes, commit});
  }
  return claims;
}

/// The claim that [position, position + bytes) meets in the ring, if any.
const Stretch* claim_in(const Ring& ring, const std::vector<Stretch>& claims,
                        std::uint64_t position, std::uint64_t bytes) noexcept {
  const std::uint64_t mask = ring.bytes() - 1;
  for (const Stretch& c : claims) {
    if (((c.begin - position) & mask) < bytes || ((position - c.begin) & mask) < c.bytes) return &c;
  }
  return nullptr;
}

/// Whether a late writer may still write over a survivor, or over the pad behind it. Not so where
/// that pad is the word that would commit the writer's own batch: it changes that by CAS alone, and
/// fails (I5).
bool may_be_overwritten(const Ring& ring, const std::vector<Stretch>& claims,
                        const Survivor& s) noexcept {
  if (claim_in(ring, claims, s.position, s.bytes) != nullptr) return true;
  const std::uint64_t behind = s.position + s.bytes;
  const bool commits = std::any_of(claims.begin(), claims.end(), [&](const Stretch& c) {
    return ((c.commit - behind) & (ring.bytes() - 1)) == 0;
  });
  return !commits && claim_in(ring, claims, behind, kTailBytes) != nullptr;
}

std::vector<Survivor> find_survivors(const Ring& ring, std::uint64_t reference, RepairLock& lock) {
  constexpr std::uint64_t kProgressBytes = 1U << 20U;
  std::vector<Survivor> found;
  for (std::uint64_t offset = 0; offset < ring.bytes(); offset += kRecordAlign) {
    if (offset % kProgressBytes == 0 && !lock.keep()) return {};
    const std::uint64_t w = ring.word_at(offset);
    if ((w & word::kKindMask) != word::kFrame) continue;
    const std::uint64_t p = full_position(w, reference);
    if (p % ring.bytes() != offset || !ring.fits_alignment(p)) continue;
    const std::uint64_t step = ring.step(w, p);
    if (step != 0) found.push_back({p, ring.number_at(p), step});
  }
  std::sort(found.begin(), found.end(),
            [](const Survivor& a, const Survivor& b) { return a.position < b.position; });
  return found;
}

/// Of frames sorted by position: those of the newest lap that do not overlap and whose numbers
/// grow.
std::vector<Survivor> newest_lap(const Ring& ring, const std::vector<Survivor>& found) {
  std::vector<Survivor> kept;
  for (auto it = found.rbegin(); it != found.rend(); ++it) {
    if (!kept.empty()) {
      const Survivor& next = kept.back();
      const Survivor& newest = kept.front();
      if (it->position + it->bytes > next.position || it->number >= next.number) continue;
      // Room for the tail behind the newest, one alignment further on than its end.
      if (it->position + ring.bytes() <
          newest.position + newest.bytes + std::uint64_t{2} * kRecordAlign)
        break;
    }
    kept.push_back(*it);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

void write_pad(const Ring& ring, std::uint64_t from, std::uint64_t to,
               std::uint64_t number) noexcept {
  if (from == to) return;
  store_relaxed(ring.record(from).number, number);
  store_release(ring.record(from).word, word::pad(from, to - from));
}

/// The end of the new chain: at a fresh place, so that whoever was about to commit at the old one
/// fails (I5), and where no late writer writes.
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

/// The highest number that a living port expects: where no frame is left to tell, numbers go on
/// from there.
std::uint64_t next_number_of_ports(const Ring& ring) noexcept {
  std::uint64_t next = 0;
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = ring.slot(i);
    if (state_of(load_acquire(s.state)) == SlotState::live) {
      next = std::max(next, load_relaxed(s.next_number));
    }
  }
  return next;
}

/// Joins what survived into a chain. Result: how many frames, nothing when the lock was lost.
std::optional<std::uint64_t> rebuild_chain(const Ring& ring, RepairLock& lock) {
  BusHeader& h = ring.header();
  const std::uint64_t first = load_acquire(h.first);
  const std::uint64_t last = load_acquire(h.last);
  const std::uint64_t reference = ring.fits_alignment(last)    ? last
                                  : ring.fits_alignment(first) ? first
                                                               : 0;
  // Where the end of the chain still stands, what lies behind it was never sent.
  const bool end_stands = ring.word_at(reference) == word::empty(reference);
  const std::vector<Stretch> claims = standing_claims(ring);
  std::vector<Survivor> found = find_survivors(ring, reference, lock);
  if (end_stands) std::erase_if(found, [&](const Survivor& s) { return s.position >= reference; });
  std::erase_if(found, [&](const Survivor& s) { return may_be_overwritten(ring, claims, s); });
  std::vector<Survivor> kept = newest_lap(ring, found);
  const std::uint64_t newest = kept.empty() ? reference : kept.back().position + kept.back().bytes;
  // Positions do not go back (I2), unless `last` is a scribble far from any frame.
  const bool near = kept.empty() || (reference >= newest && reference - newest < ring.bytes() / 2);
  const std::uint64_t end = new_end(ring, claims, near ? reference : newest);
  std::erase_if(kept,
                [&](const Survivor& s) { return end + kTailBytes > s.position + ring.bytes(); });
  if (!lock.keep()) return std::nullopt;

  std::uint64_t number = kept.empty() ? next_number_of_ports(ring) : kept.back().number + 1;
  if (end_stands) number = std::max(number, ring.number_at(reference));
  for (std::size_t i = 0; i + 1 < kept.size(); ++i) {  // numbers jump behind these pads (I8)
    write_pad(ring, kept[i].position + kept[i].bytes, kept[i + 1].position, kept[i].number + 1);
  }
  if (!kept.empty()) {
    write_pad(ring, kept.back().position + kept.back().bytes, end, kept.back().number + 1);
  }
  store_relaxed(ring.record(end).number, number);
  store_seq_cst(ring.record(end).word, word::empty(end));
  store_seq_cst(h.first, kept.empty() ? end : kept.front().position);
  store_seq_cst(h.last, end);
  return kept.size();
}

}  // namespace

AuditReport audit_bus(const Ring& ring, const BusHeader& fixed, int fd) {
  AuditReport report;
  const BusHeader& h = ring.header();
  if (h.magic != fixed.magic || h.layout_signature != fixed.layout_signature ||
      h.ring_bytes != fixed.ring_bytes || h.mtu != fixed.mtu || h.inode != fixed.inode) {
    report.findings.push_back(
        {"I1", "the fixed part of the header changed while the bus was open"});
  }
  const Walk w = audit_chain(ring);
  if (w.broken) report.findings.push_back(w.finding);
  report.records = w.records;
  report.frames = w.frames;
  report.pads = w.pads;
  audit_lock(ring, fd, report);
  audit_ports(ring, w.end, !w.broken, fd, report);
  return report;
}

Result<RepairReport> repair_bus(const Ring& ring, const BusHeader& fixed, int fd) {
  BusHeader& h = ring.header();
  RepairReport done;
  for (unsigned i = 0; i < kSlots; ++i) {
    const Reaped reaped = reap_if_dead(ring, i, fd);
    done.ports_freed += reaped.slot ? 1U : 0U;
    done.claims_cleared += reaped.claim ? 1U : 0U;
  }
  const std::uint64_t lock = load_acquire(h.lock);
  const bool broken = audit_chain(ring).broken;
  const bool stale = !lock_word::is_free(lock) &&
                     (lock_word::holder(lock) >= kSlots || !is_alive(fd, lock_word::holder(lock)));
  for (unsigned tries = 0; (broken || stale) && tries < 10; ++tries) {
    RepairLock mine(h);
    done.lock_released = stale;
    if (!broken) break;
    const auto kept = rebuild_chain(ring, mine);
    if (!kept) continue;
    done.frames_kept = *kept;
    done.ring_rebuilt = true;
    fetch_add(h.epoch, std::uint64_t{1});
    break;
  }
  fetch_add(h.repairs, std::uint64_t{1});
  done.epoch = load_acquire(h.epoch);
  if (audit_chain(ring).broken) {
    return Error(Errc::corrupt, "the ring of inode " + std::to_string(fixed.inode) +
                                    " is still corrupt after the repair: somebody goes on writing "
                                    "over it (stop its processes)");
  }
  return done;
}

}  // namespace shmif::bus
