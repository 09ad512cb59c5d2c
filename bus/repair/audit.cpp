#include "bus/repair/audit.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/text.hpp"
#include "bus/file/liveness.hpp"
#include "bus/port/port_table.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kLooks = 50;  // on a bus in use: how often writers may overtake the walk

/// Whether the record at `p` is as I10 wants it behind that at `before`.
bool are_alike(const Ring& ring, std::uint64_t before, std::uint64_t p) noexcept {
  const RecordHeader& a = ring.record(before);
  const RecordHeader& b = ring.record(p);
  const auto address_at = [&](std::uint64_t position) {
    std::array<std::byte, 6> address;
    copy_from_shared(address.data(), ring.payload(position), address.size());
    return address;
  };
  return word::is_frame_at(ring.word_at(p), p) &&
         word::length_and_marks(ring.word_at(before)) == word::length_and_marks(ring.word_at(p)) &&
         load_relaxed(a.time_ns) == load_relaxed(b.time_ns) &&
         load_relaxed(a.slot) == load_relaxed(b.slot) &&
         load_relaxed(a.incarnation) == load_relaxed(b.incarnation) &&
         address_at(before) == address_at(p);
}

/// Follows the chain from `first` once.
Walk walk_once(const Ring& ring, std::uint64_t first, std::uint64_t last) {
  Walk w;
  const auto fail = [&](const char* invariant, std::string what) {
    w.broken = true;
    w.finding = {invariant, std::move(what)};
    return w;
  };
  std::uint64_t p = first;
  std::uint64_t number = ring.number_at(p);
  bool behind_pad = false;
  std::uint64_t before = 0;   // the record before p
  std::uint64_t like_it = 0;  // how many records from p on are to be like it (I10)
  for (;;) {  // bounded: every step moves on, and a chain is no longer than the ring
    if (p == last) w.met_last = true;
    w.end = p;
    // Writers may lap the walk for ever. Every record that was there when it began has been
    // checked.
    if (w.met_last && load_acquire(ring.header().last) != last) break;
    const std::uint64_t word = ring.word_at(p);
    // I8: behind a pad, no more numbers are missing than could have stood there. Readers check the
    // same.
    const std::uint64_t missing = ring.number_at(p) - number;
    if (behind_pad && missing <= frames_in(ring.bytes())) number += missing;
    if (ring.number_at(p) != number) {
      return fail("I8", "at " + at(p) + " the frame number is " +
                            std::to_string(ring.number_at(p)) + ", expected " +
                            std::to_string(number));
    }
    const bool ends = word == word::empty(p);
    const std::uint64_t step = ring.step(word, p);
    if (step == 0 && !ends)
      return fail("I5", "at " + at(p) + " the header word " + base::hex(word) +
                            " is not a record of this place");
    if (like_it != 0 && !are_alike(ring, before, p))
      return fail("I10", "the record at " + at(p) + " is not like the one before it");
    if (ends) break;
    if (p + step - first > ring.bytes())
      return fail("I6", "the chain from " + at(first) + " is longer than the ring");
    ++w.records;
    behind_pad = !word::is_frame_at(word, p);
    if (behind_pad) {
      ++w.pads;
    } else {
      const Ring::Contents found = ring.contents_of(word, p);
      if (found.longest == 0)
        return fail("I9", "the frames that share the record at " + at(p) + " do not fill it");
      w.frames += found.frames;
      number += found.frames;
    }
    const std::uint64_t alike = behind_pad ? 1 : ring.alike_from(word, p, step);
    like_it = std::max(like_it, alike) - 1;  // of those behind this record
    before = p;
    p += step;
  }
  if (last > w.end)
    return fail("I7", "last (" + std::to_string(last) + ") is past the end of the chain, " +
                          std::to_string(w.end));
  // A writer that moves `first` has moved `last` to the end before, and moves `first` no further.
  if (last < first)
    return fail("I7", "last (" + std::to_string(last) + ") is before first (" +
                          std::to_string(first) + "), and no record leads on from there");
  if (!w.met_last)
    return fail("I7", "last (" + std::to_string(last) + ") is not the beginning of a record");
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
  if (owner == 0 || owner == load_acquire(ring.header().lock)) return;  // no claim, or it is in use
  const std::string who = "slot " + std::to_string(slot);
  fence_loads();  // as in RingWriter::read_claim()
  if (load_acquire(s.claim_owner) != owner) return;
  if (begin >= end || end - begin > ring.bytes() / 4 + kTailBytes) {
    report.findings.push_back({"I3", "the claim of " + who + " from " + std::to_string(begin) +
                                         " to " + std::to_string(end) +
                                         " is not one that a writer makes"});
  } else {
    report.notes.push_back(who + (alive ? " (stopped or slow)" : " (dead)") + " claims " +
                           std::to_string(end - begin) + " bytes, which others skip");
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
          {"P1", who + " has the state " + base::hex(state & 0xffU) + ", which does not exist"});
      continue;
    }
    if (state_of(state) != SlotState::live && load_acquire(s.claim_owner) == 0) continue;
    const bool alive = is_alive(fd, i);
    audit_claim(ring, i, alive, report);
    if (state_of(state) != SlotState::live) continue;
    if (i >= used)
      report.findings.push_back(
          {"P1", who + " is in use, but only " + std::to_string(used) + " slots were ever used"});
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

}  // namespace

std::string at(std::uint64_t position) {
  return "position " + std::to_string(position);
}

Walk walk_chain(const Ring& ring) {
  const BusHeader& h = ring.header();
  Walk w;
  for (unsigned look = 0; look < kLooks; ++look) {
    const std::uint64_t last = load_acquire(h.last);
    const std::uint64_t first = load_acquire(h.first);
    if (!ring.fits_alignment(first) || !ring.fits_alignment(last)) {
      w = {};
      w.broken = true;
      w.finding = {"I2", "first (" + std::to_string(first) + ") or last (" + std::to_string(last) +
                             ") cannot be the beginning of a record"};
    } else {
      w = walk_once(ring, first, last);
    }
    if (!w.broken) return w;
    fence_loads();
    // The chain is broken although no writer moved: the finding stands. Otherwise writers lapped
    // the walk: look again.
    if (load_acquire(h.first) == first && load_acquire(h.last) == last && look > 2) return w;
  }
  return w;
}

bool fixed_part_differs(const Ring& ring, const BusHeader& fixed) noexcept {
  std::array<std::byte, kFixedBytes> now;
  copy_from_shared(now.data(), reinterpret_cast<const std::byte*>(&ring.header()), now.size());
  return std::memcmp(now.data(), &fixed, now.size()) != 0;
}

AuditReport audit_bus(const Ring& ring, const BusHeader& fixed, int fd) {
  AuditReport report;
  if (fixed_part_differs(ring, fixed)) {
    report.findings.push_back(
        {"I1", "the fixed part of the header changed while the bus was open"});
  }
  const Walk w = walk_chain(ring);
  if (w.broken) report.findings.push_back(w.finding);
  report.records = w.records;
  report.frames = w.frames;
  report.pads = w.pads;
  audit_lock(ring, fd, report);
  audit_ports(ring, w.end, !w.broken, fd, report);
  return report;
}

}  // namespace shmif::bus
