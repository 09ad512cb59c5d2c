#pragma once
// A bus file seen through its layout, for tests that put it into states that are rare or that only
// a broken process leaves behind.

#include <sys/stat.h>

#include <string>

#include "bus/file/file.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/mapping.hpp"
#include "bus/ring/lock.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::test {

/// A writable mapping without a port. Threads: one mapping may be used by many.
class RawBus {
 public:
  explicit RawBus(const std::string& path) {
    struct stat status{};
    file_ = bus::open_unchecked(path, Access::read_write, status).value();
    bus::check_file(file_, path, status, bus::Copies::refuse).value();
    mapping_ =
        bus::Mapping::map(file_.fd.get(), file_.header.ring_bytes, Access::read_write).value();
    ring_ = bus::Ring(mapping_, bus::max_frame_bytes(file_.header.mtu));
  }

  bus::BusHeader& header() const { return mapping_.header(); }
  bus::PortSlot& slot(unsigned i) const { return mapping_.slots()[i]; }
  const bus::Ring& ring() const { return ring_; }
  int fd() const { return file_.fd.get(); }

  /// Makes an unused bus begin at `position`, with frame `number` next.
  void begin_at(std::uint64_t position, std::uint64_t number) const {
    ring_.record(position).number = number;
    ring_.record(position).word = bus::word::empty(position);
    header().first = position;
    header().last = position;
  }
  /// Declares a claim for a slot, as a writer that was stopped in the middle leaves it.
  void claim(unsigned slot_number, std::uint64_t commit, std::uint64_t begin,
             std::uint64_t end) const {
    bus::PortSlot& s = slot(slot_number);
    if (header().slots_used <= slot_number) header().slots_used = slot_number + 1;
    s.claim_commit = commit;
    s.claim_begin = begin;
    s.claim_end = end;
    bus::store_seq_cst(s.claim_owner, bus::lock_word::next_held_by(header().lock, slot_number));
    bus::fetch_add(header().takeovers, std::uint64_t{1});  // as by whom it lost the lock to
  }
  /// A lock value that says that `slot_number` holds the lock.
  std::uint64_t lock_as(unsigned slot_number) const {
    const std::uint64_t word = bus::lock_word::next_held_by(header().lock, slot_number);
    bus::store_seq_cst(header().lock, word);
    return word;
  }

 private:
  bus::OpenFile file_;
  bus::Mapping mapping_;
  bus::Ring ring_;
};

/// Whether the bit of `slot` is set in one of the header's bitmaps.
inline bool is_set(const std::uint64_t* bits, unsigned slot) {
  return (bus::load_seq_cst(bits[slot / 64]) >> (slot % 64) & 1U) != 0;
}

/// Whether a port has gone to sleep deeply, and all it does before that is done: it neither looks
/// up nor changes its mind. The bit of the deep sleepers alone comes before its last looks at lock
/// and ring.
inline bool sleeps_deeply(const RawBus& raw, unsigned slot) {
  const auto bit = [&] { return is_set(raw.header().deep_sleepers, slot); };
  // Asked again: the last look may have been that of a sleep before this one.
  return bit() && bus::load_seq_cst(raw.slot(slot).rung_position) == bus::kAsleep && bit();
}

}  // namespace shmif::test
