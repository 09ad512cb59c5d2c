#include <algorithm>
#include <cstring>

#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

/// How much of the ring is freed beyond what a batch needs. At 1/64 of the history, nearly every
/// batch saves a CAS.
constexpr std::uint64_t kRoomShare = 64;

/// How far ahead of the walk over the oldest records their cache lines are requested, if they are
/// of one size.
constexpr std::uint64_t kRecordsAhead = 16;
constexpr std::uint64_t kMaxAlike = UINT16_MAX;  // records that a header can tell of (I10)
// Shared records, and others of at least kLargeRecord bytes, are requested kWriteAhead before they
// are written; records of different sizes, as long before they are walked.
constexpr std::uint64_t kLargeRecord = 1000;
constexpr std::uint64_t kWriteAhead = 2048;

/// Whether [a, a + a_bytes) and [b, b + b_bytes) overlap in a ring of `ring` bytes, a power of two.
constexpr bool overlap(std::uint64_t a, std::uint64_t a_bytes, std::uint64_t b,
                       std::uint64_t b_bytes, std::uint64_t ring) noexcept {
  return ((b - a) & (ring - 1)) < a_bytes || ((a - b) & (ring - 1)) < b_bytes;
}

/// Whether `w` is what a word of the chain at `position` can be.
constexpr bool is_in_chain(std::uint64_t w, std::uint64_t position) noexcept {
  return word::is_frame_at(w, position) || word::is_pad_at(w, position) ||
         w == word::empty(position);
}

constexpr std::uint64_t align_up(std::uint64_t v) noexcept {
  return (v + kRecordAlign - 1) & ~std::uint64_t{kRecordAlign - 1};
}

}  // namespace

bool RingWriter::find_end(std::uint64_t& end) noexcept {
  BusHeader& h = ring_.header();
  std::uint64_t steps = ring_.walk_limit();  // for all tries together
  for (unsigned tries = 0; tries < 64; ++tries) {
    const std::uint64_t start = load_acquire(h.last);
    if (!ring_.fits_alignment(start)) return false;
    std::uint64_t p = start;
    for (; steps > 0; --steps) {
      const std::uint64_t w = ring_.word_at(p);
      if (w == word::empty(p)) {
        // I7. It fails if somebody else helped, perhaps to a nearer place: then start from there.
        if (!ring_.fits_alignment(p)) return false;  // pads led it to where positions end
        if (p != start && !compare_and_swap(h.last, start, p)) break;
        end = p;
        return true;
      }
      const std::uint64_t step = ring_.step(w, p);
      if (step == 0) break;
      p += step;
    }
    if (load_acquire(h.last) == start) return false;  // no writer moved on: the chain is broken
  }
  return false;
}

AppendStatus RingWriter::append(std::uint64_t lock, const Batch& batch, std::uint64_t time_ns,
                                std::uint64_t limit) noexcept {
  BusHeader& h = ring_.header();
  PortSlot& self = ring_.slot(slot_);
  std::uint64_t chain_end = 0;
  if (!find_end(chain_end)) {
    return load_seq_cst(h.lock) == lock ? AppendStatus::corrupt : AppendStatus::lost_lock;
  }
  const std::uint64_t takeovers = load_seq_cst(h.takeovers);
  look_for_claims(takeovers);
  Claim claim{chain_end, 0, 0};
  const bool placed = place(chain_end, batch.bytes + kTailBytes, claim.begin);
  met_claims_ = claim.begin != chain_end;
  if (!placed) {
    // Without the lock, the claims were read at different moments, and do not count.
    return load_seq_cst(h.lock) == lock ? AppendStatus::no_room : AppendStatus::lost_lock;
  }
  claim.end = claim.begin + batch.bytes + kTailBytes;
  needed_bytes_ = claim.end - chain_end;

  // I3: declare, then look again. Either the next holder of the lock sees the claim, or we see that
  // we lost it.
  fence_stores();  // the previous claim is seen to be gone before these stores: see read_claim()
  store_relaxed(self.claim_commit, claim.commit);
  store_relaxed(self.claim_begin, claim.begin);
  store_relaxed(self.claim_end, claim.end);
  store_seq_cst(self.claim_owner, lock);
  AppendStatus status = AppendStatus::lost_lock;
  if (load_seq_cst(h.lock) == lock) {
    scanned_takeovers_ = takeovers;  // the lock was held throughout the scan: it stays good
    if (ring_.word_at(chain_end) == word::empty(chain_end)) {
      status = fill_claim(lock, chain_end, claim, batch, time_ns, limit);
    }
  }
  batch_position_ = chain_end;
  batch_number_ = ring_.number_at(chain_end);
  store_release(self.claim_owner, std::uint64_t{0});  // I4: no write into the ring comes after this
  if (status == AppendStatus::done) compare_and_swap(h.last, chain_end, claim.end - kTailBytes);
  return status;
}

AppendStatus RingWriter::fill_claim(std::uint64_t lock, std::uint64_t chain_end, const Claim& claim,
                                    const Batch& batch, std::uint64_t time_ns,
                                    std::uint64_t limit) noexcept {
  const AppendStatus room = make_room(lock, claim.end, limit);
  if (room != AppendStatus::done) return room;
  fence_stores();  // I6: `first` is seen to have passed before any byte changes
  const std::uint64_t first_word = write_records(chain_end, claim.begin, batch, time_ns);
  // I5: the commit. SYNC POINT COMMIT: whoever reads this word sees everything written above.
  const std::uint64_t commit =
      claim.begin == chain_end ? first_word : word::pad(chain_end, claim.begin - chain_end);
  return compare_and_swap(ring_.record(chain_end).word, word::empty(chain_end), commit)
             ? AppendStatus::done
             : AppendStatus::lost_lock;
}

// Readers hold these lines from the last lap, and a CPU that shares no cache with theirs waits for
// each of them. So they are requested early, and travel while the records before them are written.
// Lines beyond the claim are only fetched, not written: the next batch will need them.
void RingWriter::request_for_writing(std::uint64_t position, std::uint64_t bytes,
                                     std::uint64_t stride) const noexcept {
  // The ring is mapped twice, so the lines are in the mapping.
  const std::byte* line = ring_.byte_at(position);
  const std::byte* const end = line + bytes;
  for (; line < end; line += stride)
    prefetch_to_write(*reinterpret_cast<const std::uint64_t*>(line));
}

// Inlined, as the copy in it is, for single frames.
[[gnu::always_inline]] inline void RingWriter::write_alone(std::uint64_t position,
                                                           const FrameView& frame) const noexcept {
  std::byte* body = ring_.payload(position);
  if (frame.offload.pending()) [[unlikely]] {
    std::byte header[kVnetBytes] = {};
    std::memcpy(header, &frame.offload, sizeof frame.offload);
    copy_to_shared(body, header, sizeof header);
    body += sizeof header;
  }
  copy_to_shared(body, frame.bytes.data(), frame.size());
}

// The beginning of each record is written last. Readers poll the line where the first one begins:
// each store to it takes the line back from them, and the stores behind it would wait for that.
/// Writes all records of a batch, and EMPTY behind them. Result: the word of the first record.
std::uint64_t RingWriter::write_records(std::uint64_t chain_end, std::uint64_t begin,
                                        const Batch& batch, std::uint64_t time_ns) noexcept {
  std::uint64_t number = ring_.number_at(chain_end);  // I8
  std::uint64_t first_word = 0;
  std::uint64_t p = begin;
  std::span<const FrameView> frames = batch.frames;
  RecordPlan plan = batch.first;
  const Alike& alike = batch.alike;
  while (!frames.empty()) {
    if (alike.frames != 0 && frames.size() == batch.frames.size() - alike.first) {
      if (p == begin) first_word = word::frame(p, plan.body(), false);
      p = write_alike(chain_end, p, number, frames.first(alike.frames), time_ns);
      number += alike.frames;
      frames = frames.subspan(alike.frames);
      plan = plan_record(frames);
      continue;
    }
    const std::uint64_t body = plan.body();
    const bool shared = plan.frames() > 1;
    const std::uint64_t w =
        shared ? word::shared(p, body) : word::frame(p, body, frames.front().offload.pending());
    RecordHeader& r = ring_.record(p);
    if (p == begin) first_word = w;
    const std::uint64_t step = record_bytes(body);
    if (shared || step >= kLargeRecord) request_for_writing(p + kWriteAhead, step, kLineBytes);
    if (shared) {
      write_shared(p, frames.first(plan.frames()));
    } else {
      write_alone(p, frames.front());
    }
    if (p != chain_end) {  // the commit writes the word at chain_end; its number is there already
      store_relaxed(r.word, w);
      store_relaxed(r.number, number);
    }
    store_relaxed(r.time_ns, time_ns);
    store_relaxed(r.slot, static_cast<std::uint16_t>(slot_));
    store_relaxed(r.frames, shared ? plan.frames() : std::uint16_t{0});
    store_relaxed(r.incarnation, incarnation_);
    p += step;
    number += plan.frames();
    frames = frames.subspan(plan.frames());
    plan = plan_record(frames);
  }
  store_relaxed(ring_.record(p).number, number);
  store_relaxed(ring_.record(p).word, word::empty(p));
  return first_word;
}

// Not inlined, so that the loop above keeps its registers.
/// Writes the records of frames that are alike (I10), the first at `p` with that number. Result:
/// the position behind them.
[[gnu::noinline]] std::uint64_t RingWriter::write_alike(std::uint64_t chain_end, std::uint64_t p,
                                                        std::uint64_t number,
                                                        std::span<const FrameView> frames,
                                                        std::uint64_t time_ns) const noexcept {
  const std::uint64_t body = frames.front().size();
  const std::uint64_t step = record_bytes(body);
  for (; !frames.empty(); frames = frames.subspan(1), p += step, ++number) {
    request_for_writing(p + kWriteAhead, step, kPairBytes);
    copy_to_shared(ring_.payload(p), frames.front().bytes.data(), body);
    RecordHeader& r = ring_.record(p);
    if (p != chain_end) {
      store_relaxed(r.word, word::frame(p, body, false));
      store_relaxed(r.number, number);
    }
    store_relaxed(r.time_ns, time_ns);
    store_relaxed(r.slot, static_cast<std::uint16_t>(slot_));
    store_relaxed(r.frames, static_cast<std::uint16_t>(std::min(frames.size(), kMaxAlike)));
    store_relaxed(r.incarnation, incarnation_);
  }
  return p;
}

void RingWriter::write_shared(std::uint64_t position,
                              std::span<const FrameView> frames) const noexcept {
  std::byte* const first = ring_.payload(position);
  const auto write = [](std::byte* entry, const FrameView& frame) {
    store_relaxed(*reinterpret_cast<std::uint32_t*>(entry),
                  static_cast<std::uint32_t>(frame.size()));
    copy_to_shared(entry + kEntryHeaderBytes, frame.bytes.data(), frame.size());
  };
  std::byte* entry = first + entry_bytes(frames.front().size());
  for (const FrameView& frame : frames.subspan(1)) {
    write(entry, frame);
    entry += entry_bytes(frame.size());
  }
  write(first, frames.front());
}

/// Bytes from the record at `position`, whose word is `w`, over records that are alike (I10), to
/// the first that begins at `goal` or behind it. 0 if there are no such records, or if the chain
/// does not go on behind them: then the header is not what a writer wrote, or is no longer.
std::uint64_t RingWriter::step_over_alike(std::uint64_t w, std::uint64_t position,
                                          std::uint64_t step, std::uint64_t goal) const noexcept {
  if (step == 0 || !word::is_frame_at(w, position)) return 0;
  const std::uint64_t alike = ring_.alike_from(w, position, step);
  const std::uint64_t records = std::min(alike, (goal - position + step - 1) / step);
  const std::uint64_t behind = position + records * step;
  if (records < 2 || !is_in_chain(ring_.word_at(behind), behind)) return 0;
  prefetch_to_write(ring_.record(position + 2 * alike * step).word);  // behind as many more
  return records * step;
}

AppendStatus RingWriter::make_room(std::uint64_t lock, std::uint64_t end,
                                   std::uint64_t limit) noexcept {
  BusHeader& h = ring_.header();
  if (end <= ring_.bytes()) return AppendStatus::done;
  const std::uint64_t target = end - ring_.bytes();
  std::uint64_t steps = 2 * ring_.walk_limit();  // for all tries together
  for (unsigned tries = 0; tries < 64; ++tries) {
    const std::uint64_t first = load_acquire(h.first);
    if (first >= target) return AppendStatus::done;
    if (target > limit) return AppendStatus::full;
    // Free more than needed, so that the cache line of `first`, which every reader looks at,
    // changes seldom.
    const std::uint64_t generous = std::min(target + ring_.bytes() / kRoomShare, limit);
    // Whole records only, and never beyond the end of the chain: EMPTY has no step.
    std::uint64_t p = first;
    std::uint64_t step = ring_.fits_alignment(first) ? 1 : 0;
    std::uint64_t step_before = 0;
    while (p < generous && step != 0 && steps > 0) {
      --steps;
      const std::uint64_t w = ring_.word_at(p);
      step = ring_.step(w, p);
      if (step > RecordPlan::kLongestThatShares && ring_.alike_from(w, p, step) > 1) {
        if (const std::uint64_t over = step_over_alike(w, p, step, generous); over != 0) {
          p += over;
          step_before = 0;
          continue;
        }
      }
      // Readers may have its cache line, which comes while other records are walked. If records
      // differ in size, nobody knows where the next ones begin, so all lines are requested: they
      // are written soon.
      if (step == step_before) {
        prefetch_to_write(ring_.record(p + kRecordsAhead * step).word);
      } else {
        request_for_writing(p + kWriteAhead, std::min(step, kWriteAhead), kLineBytes);
      }
      step_before = step;
      p += step;
    }
    // One CAS for the whole batch. It succeeds only if `first` did not move, so the walked records
    // were whole.
    if (p >= target && compare_and_swap(h.first, first, p)) return AppendStatus::done;
    if (load_seq_cst(h.lock) != lock) return AppendStatus::lost_lock;
    if (p < target && load_acquire(h.first) == first) return AppendStatus::corrupt;
  }
  return AppendStatus::corrupt;
}

bool RingWriter::place(std::uint64_t chain_end, std::uint64_t need,
                       std::uint64_t& begin) const noexcept {
  begin = chain_end;
  // Steps over claims until no claim is in the way. The batch and its pad must not reach round to
  // the end of the chain.
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < claim_count_; ++i) {
      const Claim& c = claims_[i];
      const Claim parts[] = {{0, c.begin, c.end}, {0, c.commit, c.commit + kTailBytes}};
      for (const Claim& part : parts) {
        if (!overlap(begin, need, part.begin, part.end - part.begin, ring_.bytes())) continue;
        const std::uint64_t skip = (part.end - begin) & (ring_.bytes() - 1);
        begin = align_up(begin + skip);
        moved = true;
      }
    }
    if (begin + need > chain_end + ring_.bytes()) return false;
  }
  return true;
}

void RingWriter::look_for_claims(std::uint64_t takeovers) noexcept {
  if (takeovers != scanned_takeovers_) {
    standing_count_ = 0;
    const std::uint64_t used = load_acquire(ring_.header().slots_used);
    for (unsigned i = 0; i < kSlots && i < used; ++i) {
      if (i != slot_ && load_seq_cst(ring_.slot(i).claim_owner) != 0) {
        standing_slots_[standing_count_++] = static_cast<std::uint16_t>(i);
      }
    }
  }
  claim_count_ = 0;
  for (std::size_t i = 0; i < standing_count_; ++i) {
    if (read_claim(standing_slots_[i], claims_[claim_count_])) ++claim_count_;
  }
}

/// Pairs with fence_stores() in append(): if we see a word of the owner's next claim, we see
/// another owner below. (Without that fence no harm is done: a port that makes another claim has
/// the lock, so we lost it and send nothing (I3). tests/model/ring.pml leaves the fence out, and
/// its assertions hold.)
bool RingWriter::read_claim(unsigned slot, Claim& claim) const noexcept {
  const PortSlot& s = ring_.slot(slot);
  for (unsigned tries = 0; tries < 8; ++tries) {
    const std::uint64_t owner = load_seq_cst(s.claim_owner);
    if (owner == 0) return false;
    claim = {load_relaxed(s.claim_commit), load_relaxed(s.claim_begin), load_relaxed(s.claim_end)};
    fence_loads();
    if (load_seq_cst(s.claim_owner) != owner) continue;  // the owner is at work: look again
    // A claim is never more than a quarter of the ring. Anything else is overwritten memory and is
    // ignored.
    return claim.begin < claim.end && claim.end - claim.begin <= max_batch_bytes() + kTailBytes;
  }
  return false;  // each change took an acquisition, so we lost the lock, and will see that (I3)
}

}  // namespace shmif::bus
