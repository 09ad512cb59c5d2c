#include "bus/repair/audit.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/text.hpp"
#include "bus/file/liveness.hpp"
#include "bus/port/port_table.hpp"
#include "bus/repair/chain_walk.hpp"

namespace shmif::bus {
namespace {

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
