#include "bus/repair/salvage.hpp"

#include <algorithm>
#include <cstddef>
#include <span>

#include "bus/file/liveness.hpp"

namespace shmif::bus {
namespace {

/// No bus gets there by itself (73 years at 4 GB/s). A `first` or `last` beyond this was
/// overwritten, unless the ring says the same.
constexpr std::uint64_t kUnheardOf = std::uint64_t{1} << 63U;

/// The result of a look at the whole ring. The positions of runs are right in the bits that a
/// frame's word has; the bits above are guessed.
struct Found {
  std::vector<Run> runs;            // as found, so nearly sorted
  std::vector<std::uint64_t> ends;  // EMPTY words right behind a record: these have all their bits
};

/// The position nearest to `reference` whose low `bits` bits, in units of 16 bytes, are those in
/// `w`.
std::uint64_t full_position(std::uint64_t w, unsigned bits, std::uint64_t reference) noexcept {
  const std::uint64_t low = word::low_bits(w, bits) << word::kUnitShift;
  const std::uint64_t span = 1ULL << (bits + word::kUnitShift);
  std::uint64_t p = (reference & ~(span - 1)) | low;
  if (p > reference && p - reference > span / 2 && p >= span) p -= span;
  if (p < reference && reference - p > span / 2) p += span;
  return p;
}

/// The position that a commit word names.
std::uint64_t position_of(std::uint64_t w, std::uint64_t reference) noexcept {
  switch (w & word::kKindMask) {
    case word::kFrame: return full_position(w, word::kFramePositionBits, reference);
    case word::kPad: return full_position(w, word::kPadPositionBits, reference);
    default: return (w & ~word::kKindMask) << word::kUnitShift;
  }
}

/// Whether two positions agree in the bits that every kind of word has.
bool same_place(std::uint64_t a, std::uint64_t b) noexcept {
  return word::low_bits((a ^ b) >> word::kUnitShift, word::kPadPositionBits) == 0;
}

void add_claim(const Ring& ring, unsigned slot, std::vector<Stretch>& claims) {
  const PortSlot& s = ring.slot(slot);
  if (load_seq_cst(s.claim_owner) == 0) return;
  const std::uint64_t commit = load_relaxed(s.claim_commit);
  const std::uint64_t begin = load_relaxed(s.claim_begin);
  const std::uint64_t end = load_relaxed(s.claim_end);
  if (begin < end && end - begin <= ring.bytes() / 4 + kTailBytes)
    claims.push_back({begin, end - begin, commit});
  claims.push_back({commit, kTailBytes, commit});
}

/// Whether a late writer may still write over a frame, or over the pad behind it. It may not if
/// that pad is the word that would commit the writer's own batch: it changes that word by CAS
/// alone, and fails (I5).
bool may_be_overwritten(const Ring& ring, const std::vector<Stretch>& claims,
                        std::uint64_t position, std::uint64_t bytes) noexcept {
  if (claim_in(ring, claims, position, bytes) != nullptr) return true;
  const std::uint64_t behind = position + bytes;
  const bool commits = std::any_of(claims.begin(), claims.end(), [&](const Stretch& c) {
    return ((c.commit - behind) & (ring.bytes() - 1)) == 0;
  });
  return !commits && claim_in(ring, claims, behind, kTailBytes) != nullptr;
}

bool ends_chain(const Ring& ring, std::uint64_t p) noexcept {
  return ring.fits_alignment(p) && ring.word_at(p) == word::empty(p);
}

bool is_named(const Ring& ring, std::uint64_t p) noexcept {
  return ends_chain(ring, p) || (ring.fits_alignment(p) && ring.step(ring.word_at(p), p) != 0);
}

/// Where the chain may have ended, according to the header. A place that its own word names is
/// better than one that is only possible. A place that no bus reaches is ignored.
std::uint64_t guess_place(const Ring& ring) noexcept {
  const std::uint64_t told[] = {load_acquire(ring.header().last),
                                load_acquire(ring.header().first)};
  for (const std::uint64_t p : told) {
    if (is_named(ring, p)) return p;
  }
  for (const std::uint64_t p : told) {
    if (ring.fits_alignment(p) && p < kUnheardOf) return p;
  }
  return 0;
}

void add_record(std::vector<Run>& runs, const Run& record) {
  if (!runs.empty() && runs.back().end == record.begin &&
      runs.back().next_number() == record.number) {
    runs.back().end = record.end;
    runs.back().frames += record.frames;
    ++runs.back().records;
    return;
  }
  if (runs.size() == kMaxRuns) {
    runs.erase(runs.begin(), runs.begin() + std::ptrdiff_t{kMaxRuns / 2});
  }
  runs.push_back(record);
}

/// Takes away what the record at `p`, whose word is `w`, says about those behind it (I10): repair
/// may leave them out. If repair was stopped and has lost the lock, senders may write a frame over
/// the record, of which it must change nothing.
void forget_alike(const Ring& ring, std::uint64_t p, std::uint64_t w) noexcept {
  static_assert(offsetof(RecordHeader, frames) == offsetof(RecordHeader, slot) + 2);
  constexpr std::uint64_t kFrames = 0xffff0000;  // of slot, frames and incarnation, as one word
  auto& sender = *reinterpret_cast<std::uint64_t*>(ring.byte_at(p) + offsetof(RecordHeader, slot));
  const std::uint64_t seen = load_relaxed(sender);
  fence_loads();
  if ((seen & kFrames) != 0 && ring.word_at(p) == w)
    compare_and_swap(sender, seen, seen & ~kFrames);
}

/// Looks at the whole ring, from `first` on. It skips the inside of records, so bytes of a payload
/// can pose as a record only where a header was overwritten. `is_sound` says which frames to keep.
/// Result: empty if the lock was lost.
template <class IsSound>
std::optional<Found> look_for_records(const Ring& ring, std::uint64_t reference, RepairLock& lock,
                                      IsSound is_sound) {
  constexpr std::uint64_t kProgressBytes = 1U << 20U;
  const std::uint64_t mask = ring.bytes() - 1;
  const std::uint64_t first = load_acquire(ring.header().first);
  const std::uint64_t start = ring.fits_alignment(first) ? first & mask : 0;
  Found found;
  bool behind_record = false;
  std::uint64_t record_ended = 0;
  std::uint64_t progress = 0;
  for (std::uint64_t looked = 0; looked < ring.bytes();) {
    if (looked >= progress) {
      if (!lock.keep()) return std::nullopt;
      progress += kProgressBytes;
    }
    const std::uint64_t offset = (start + looked) & mask;
    const std::uint64_t w = ring.word_at(offset);
    const std::uint64_t p = position_of(w, reference);
    const bool here = (p & mask) == offset && ring.fits_alignment(p);
    const std::uint64_t step = here ? ring.step(w, p) : 0;
    if (step != 0) {
      const Ring::Contents in = word::is_frame_at(w, p) ? ring.contents_of(w, p) : Ring::Contents{};
      if (in.longest != 0 && is_sound(p, step)) {
        add_record(found.runs, {p, p + step, ring.number_at(p), in.frames, 1});
        if (!word::is_shared(w)) forget_alike(ring, p, w);
      }
      behind_record = true;
      record_ended = p + step;
      looked += step;
    } else {
      const bool end = here && w == word::empty(p) && behind_record && same_place(p, record_ended);
      if (end && found.ends.size() < kMaxRuns) found.ends.push_back(p);
      behind_record = false;
      looked += kRecordAlign;
    }
  }
  return found;
}

/// Completes the upper bits of the runs' positions, and sorts the runs.
void settle(const Ring& ring, std::vector<Run>& runs, std::uint64_t reference) {
  for (Run& run : runs) {
    const std::uint64_t bytes = run.end - run.begin;
    run.begin = full_position(run.begin >> word::kUnitShift, word::kFramePositionBits, reference);
    run.end = run.begin + bytes;
  }
  std::erase_if(runs, [&](const Run& r) { return r.end < r.begin || !ring.fits_alignment(r.end); });
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.begin < b.begin; });
}

/// Where the chain ended if `last` does not tell: the place of a living port that has read
/// everything and waits. EMPTY of that place is there, and all frames lie before it.
std::optional<std::uint64_t> end_where_ports_wait(const Ring& ring, const Found& found) {
  const std::uint64_t newest = found.runs.empty() ? 0 : found.runs.back().end;
  std::optional<std::uint64_t> end;
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = ring.slot(i);
    const std::uint64_t position = load_relaxed(s.position);
    const bool lives = state_of(load_acquire(s.state)) == SlotState::live;
    // Frames may be missing in front of the port, but no whole lap.
    const bool far = newest != 0 && position - newest > ring.bytes();
    if (!lives || position < newest || far || !ends_chain(ring, position)) continue;
    end = std::max(position, end.value_or(0));
  }
  return end;
}

/// Where the chain ended if neither `last` nor a port tells: the nearest EMPTY of the newest lap.
/// An EMPTY further on ends a batch whose writer died before it committed.
std::optional<std::uint64_t> nearest_end(const Ring& ring, const Found& found) {
  const std::uint64_t newest = found.runs.empty() ? 0 : found.runs.back().end;
  std::optional<std::uint64_t> end;
  for (const std::uint64_t e : found.ends) {
    if (e + ring.bytes() > newest) end = std::min(e, end.value_or(e));
  }
  return end;
}

/// Whether the numbers of two runs can both be right: no more are missing than fit between them.
bool agree(const Run& older, const Run& newer) noexcept {
  const std::uint64_t missing = newer.number - older.next_number();  // huge if it does not grow
  return newer.begin >= older.end && missing <= frames_in(newer.begin - older.end);
}

/// Drops a single record if its number fits neither the record kept before it nor one of the two
/// behind it (one of which may be overwritten): its number was overwritten, and the rest of it may
/// be, too.
void drop_loners(std::vector<Run>& runs) {
  std::vector<Run> kept;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::span<const Run> newer = std::span(runs).subspan(i + 1);
    const bool agrees = (!kept.empty() && agree(kept.back(), runs[i])) ||
                        std::ranges::any_of(newer.first(std::min<std::size_t>(newer.size(), 2)),
                                            [&](const Run& run) { return agree(runs[i], run); });
    if (runs[i].records > 1 || agrees || runs.size() == 1) kept.push_back(runs[i]);
  }
  runs = std::move(kept);
}

/// Selects from runs that are sorted by position: the runs of the newest lap that do not overlap,
/// and whose numbers grow.
std::vector<Run> newest_lap(const Ring& ring, const std::vector<Run>& runs) {
  std::vector<Run> kept;
  std::uint64_t oldest = 0;
  for (auto it = runs.rbegin(); it != runs.rend() && it->end > oldest; ++it) {
    if (kept.empty()) {
      // Room for the tail behind the newest run, one alignment further on than its end.
      const std::uint64_t end = it->end + std::uint64_t{2} * kRecordAlign;
      oldest = end > ring.bytes() ? end - ring.bytes() : 0;
    } else if (!agree(*it, kept.back())) {
      continue;
    }
    Run run = *it;
    cut(ring, run, oldest, UINT64_MAX);
    if (run.frames != 0) kept.push_back(run);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

}  // namespace

std::vector<Stretch> standing_claims(const Ring& ring) {
  std::vector<Stretch> claims;
  for (unsigned i = 0; i < kSlots; ++i) add_claim(ring, i, claims);
  return claims;
}

std::vector<Stretch> unfinished_batches(const Ring& ring, int fd) {
  std::vector<Stretch> claims;
  for (unsigned i = 0; i < kSlots; ++i) {
    if (load_seq_cst(ring.slot(i).claim_owner) == 0) continue;
    const std::uint64_t commit = load_relaxed(ring.slot(i).claim_commit);
    const bool committed =
        ring.fits_alignment(commit) && ring.step(ring.word_at(commit), commit) != 0;
    if (!committed && !is_alive(fd, i)) add_claim(ring, i, claims);
  }
  return claims;
}

const Stretch* claim_in(const Ring& ring, const std::vector<Stretch>& claims,
                        std::uint64_t position, std::uint64_t bytes) noexcept {
  const std::uint64_t mask = ring.bytes() - 1;
  for (const Stretch& c : claims) {
    if (((c.begin - position) & mask) < bytes || ((position - c.begin) & mask) < c.bytes) return &c;
  }
  return nullptr;
}

void cut(const Ring& ring, Run& run, std::uint64_t from, std::uint64_t to) noexcept {
  Run left{};
  std::uint64_t p = run.begin;
  std::uint64_t number = run.number;
  for (std::uint64_t i = 0; i < run.records; ++i) {
    if (p >= from && run.end <= to) {  // and so are all the rest
      left = {p, run.end, number, run.next_number() - number, run.records - i};
      break;
    }
    const std::uint64_t w = ring.word_at(p);
    const std::uint64_t step = word::is_frame_at(w, p) ? ring.step(w, p) : 0;
    const std::uint64_t frames = step == 0 ? 0 : ring.frames_of(w, p);
    if (frames == 0) left.frames = 0;
    if (frames == 0 || p + step > to || number + frames > run.next_number()) break;
    if (p >= from) {
      if (left.frames == 0) left = {p, p, number, 0, 0};
      left.frames += frames;
      ++left.records;
      left.end = p + step;
    }
    p += step;
    number += frames;
  }
  run = left;
}

std::optional<Salvage> salvage(const Ring& ring, const std::vector<Stretch>& claims,
                               const std::vector<Stretch>& unfinished, RepairLock& lock) {
  const std::uint64_t guess = guess_place(ring);
  Salvage result;
  if (guess == load_acquire(ring.header().last) && ends_chain(ring, guess)) result.end = guess;
  auto found = look_for_records(ring, guess, lock, [&](std::uint64_t p, std::uint64_t bytes) {
    return (!result.end || p < *result.end) && !may_be_overwritten(ring, claims, p, bytes) &&
           claim_in(ring, unfinished, p, bytes) == nullptr;
  });
  if (!found || !lock.keep()) return std::nullopt;
  const bool guess_holds = result.end || found->ends.empty();
  settle(ring, found->runs, guess_holds ? guess : found->ends.back());
  if (!lock.keep()) return std::nullopt;
  if (!result.end) result.end = end_where_ports_wait(ring, *found);
  if (!result.end) result.end = nearest_end(ring, *found);
  if (result.end) {
    for (Run& run : found->runs) cut(ring, run, 0, *result.end);
    std::erase_if(found->runs, [](const Run& run) { return run.frames == 0; });
  }
  drop_loners(found->runs);
  if (!lock.keep()) return std::nullopt;
  result.runs = newest_lap(ring, found->runs);
  // Positions do not go back (I2), unless `last` was overwritten and is far from any frame.
  const std::uint64_t newest = result.runs.empty() ? 0 : result.runs.back().end;
  const bool near = newest == 0 || guess - newest < ring.bytes() / 2;  // not before it either
  result.place = near ? guess : newest;
  if (!lock.keep()) return std::nullopt;
  return result;
}

}  // namespace shmif::bus
