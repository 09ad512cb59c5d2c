// Where a reader goes on: at a place that it is given, and after an overrun, a corruption or a
// repair. ring_reader.cpp follows the chain from there.

#include <algorithm>

#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kTries = 1000;      // while writers move on
constexpr unsigned kTriesInPeace = 4;  // if `last` does not move: the chain is broken

}  // namespace

/// A reader that is lapped again within this many bytes skips as many. In a large ring, a walk over
/// an eighth would take long.
std::uint64_t RingReader::head_start() const noexcept {
  return std::min(ring_.bytes() / 8, std::uint64_t{1} << 20U);
}

void RingReader::pass_over(std::uint64_t position, std::uint64_t number,
                           ReadTally& tally) noexcept {
  if (lent_frames_ != 0) return;  // release() finds out
  if (load_acquire(ring_.header().first) <= place_.position)
    return;  // no frame was lapped: read() sees each one
  if (position <= place_.position || number <= place_.number) return;
  if (position > load_acquire(ring_.header().first)) return;  // overwritten; read() sees the rest
  // The numbers come from shared memory: accept no more frames than fit between the positions.
  if (!ring_.fits_alignment(position) ||
      number - place_.number > frames_in(position - place_.position))
    return;
  tally.filtered += number - place_.number;
  go_to({position, number});
}

bool RingReader::adopt(std::uint64_t position) noexcept {
  if (!ring_.fits_alignment(position)) return false;
  const std::uint64_t w = ring_.word_at(position);
  if (w != word::empty(position) && ring_.step(w, position) == 0) return false;
  const std::uint64_t number = ring_.number_at(position);  // commits do not change it (I8)
  fence_loads();
  if (load_acquire(ring_.header().first) > position) return false;
  if (position < place_.position) {  // the positions may have begun again
    lapped_until_ = 0;
    known_end_ = 0;
  }
  go_to({position, number});
  if (cutting_) cutting_->segments = {};
  return true;
}

bool RingReader::seek_to(const Place& place) noexcept {
  // A repair may have started the positions again at 0. Then a word at an old position may still
  // name it, but is not part of the chain. `last` may lag, but not by a ring.
  const std::uint64_t last = load_acquire(ring_.header().last);
  if (place.position > last && place.position - last > ring_.bytes()) return false;
  if (!adopt(place.position)) return false;
  if (place_.number + place.entries == place.number) place_ = place;  // the same record
  return true;
}

bool RingReader::seek_end() noexcept {
  std::uint64_t steps = ring_.walk_limit();  // for all tries together
  std::uint64_t start_before = UINT64_MAX;
  unsigned in_peace = 0;
  for (unsigned tries = 0; tries < kTries && steps > 0; ++tries) {
    // `last` may lag (I7), so follow the chain from there: a reader that is ahead of `last` must
    // not go back.
    const std::uint64_t start = load_acquire(ring_.header().last);
    in_peace = start == start_before ? in_peace + 1 : 0;
    if (in_peace == kTriesInPeace) return false;
    start_before = start;
    if (!ring_.fits_alignment(start)) continue;
    std::uint64_t p = start;
    for (; steps > 0; --steps) {
      const std::uint64_t step = ring_.step(ring_.word_at(p), p);
      if (step == 0) break;  // EMPTY, or not a record: adopt() decides
      p += step;
    }
    // Never stop in the middle of a chain without an end: the reader would fail again and again.
    if (steps > 0 && adopt(p)) return true;
  }
  return false;
}

bool RingReader::seek_oldest() noexcept {
  for (unsigned tries = 0; tries < kTries; ++tries) {
    if (adopt(load_acquire(ring_.header().first))) return true;
  }
  return seek_end();
}

/// Whether the reader waits at a place that is no longer the end. A commit replaces EMPTY before
/// `last` passes its place (I7). So an EMPTY in front of `last` was left by a chain that a repair
/// has replaced, and nobody will commit there.
bool RingReader::is_stranded() const noexcept {
  const std::uint64_t last = load_acquire(ring_.header().last);
  const std::uint64_t p = place_.position;
  return last > p && ring_.fits_alignment(p) && ring_.word_at(p) == word::empty(p);
}

bool RingReader::leave_place_past_end(ReadTally& tally) noexcept {
  const Place before = place_;
  const bool behind_pad = behind_pad_;
  if (load_acquire(ring_.header().last) >= before.position) return false;
  // `last` may lag (I7). Only the chain shows whether it leads to this place.
  if (!seek_end()) return false;
  if (place_.position >= before.position) {  // it does, and may have grown since
    go_to(before, behind_pad);
    return false;
  }
  ++tally.corrupt;
  return true;
}

/// Goes to the first record that begins at `position` or behind it; to the end if no such record is
/// found within so many `steps`.
bool RingReader::seek_behind(std::uint64_t position, std::uint64_t steps) noexcept {
  std::uint64_t p = load_acquire(ring_.header().first);
  for (; p < position && steps > 0; --steps) {
    const std::uint64_t step = ring_.fits_alignment(p) ? ring_.step(ring_.word_at(p), p) : 0;
    fence_loads();  // I6: a word in front of `first` may be anything
    if (const std::uint64_t first = load_acquire(ring_.header().first); first > p) {
      p = first;
      continue;
    }
    if (step == 0) break;
    p += step;
  }
  if (p >= position && adopt(p)) return true;
  return load_acquire(ring_.header().first) > position ? seek_oldest() : seek_end();
}

bool RingReader::find_place_again(ReadTally& tally) noexcept {
  const Place before = place_;
  lapped_until_ = 0;
  const bool stranded = is_stranded();
  if (!stranded && seek_to(before)) return true;
  if (stranded ? !seek_behind(before.position, ring_.walk_limit()) : !seek_oldest()) return false;
  // Accept no more frames than fit between the positions, or in the ring if the positions started
  // again: the number may have been overwritten.
  const std::uint64_t lost = place_.number - before.number;
  const std::uint64_t passed = bytes_since(before, place_.position);
  if (lost != 0 && lost <= frames_in(passed != 0 ? passed : ring_.bytes())) {
    ++tally.overruns;
    tally.lost_frames += lost;
    tally.lost_bytes += passed;
  } else if (lost != 0) {
    ++tally.corrupt;  // lost_frames is a lower bound now
  }
  return true;
}

ReadStatus RingReader::resume_after_overrun(ReadTally& tally) noexcept {
  const Place before = place_;
  // Writers are at work right behind `first`. A reader that was lapped there just now would be
  // lapped there again and again.
  const std::uint64_t part = head_start();
  const bool again = before.position < lapped_until_;
  const bool found =
      resume_newest_ ? seek_end()
      : again        ? seek_behind(load_acquire(ring_.header().first) + part, part / kRecordAlign)
                     : seek_oldest();
  if (!found) {
    ++tally.corrupt;
    return ReadStatus::broken;
  }
  lapped_until_ = place_.position + part;
  // Positions and numbers come from shared memory: accept no more frames than fit between the
  // positions.
  const std::uint64_t passed = bytes_since(before, place_.position);
  if (passed == 0 || place_.number - before.number > frames_in(passed)) {
    ++tally.corrupt;
    return ReadStatus::corrupt;
  }
  ++tally.overruns;
  tally.lost_frames += place_.number - before.number;
  tally.lost_bytes += passed;
  return ReadStatus::overrun;
}

ReadStatus RingReader::resume_after_corruption(ReadTally& tally) noexcept {
  ++tally.corrupt;
  const Place before = place_;
  if (!seek_end()) return ReadStatus::broken;
  // lost_frames is a lower bound from here on: the number may have been overwritten, too.
  const std::uint64_t passed = bytes_since(before, place_.position);
  if (place_.number > before.number && place_.number - before.number <= frames_in(passed)) {
    tally.lost_frames += place_.number - before.number;
    tally.lost_bytes += passed;
  }
  return ReadStatus::corrupt;
}

}  // namespace shmif::bus
