#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kChunksPerCall = 64;
constexpr unsigned kOverrunsPerCall = 4;
constexpr unsigned kTries = 1000;      // while writers move on
constexpr unsigned kTriesInPeace = 4;  // if `last` does not move: the chain is broken
constexpr std::uint64_t kGroupBit =
    1ULL << 40U;  // I/G bit of an address with its first byte most significant

Offload offload_at(const std::byte* payload) noexcept {
  std::byte raw[kVnetBytes];
  copy_from_shared(raw, payload, sizeof raw);
  Offload offload;
  std::memcpy(&offload, raw, sizeof offload);
  return offload;
}

std::uint16_t more_segments_of(const FrameView& super_frame) noexcept {
  return static_cast<std::uint16_t>(segments_of_super_frame(super_frame) - 1);
}

std::uint64_t address_at(const std::byte* payload) noexcept {
  std::uint64_t raw = 0;
  copy_from_shared(reinterpret_cast<std::byte*>(&raw), payload, sizeof raw);
  return __builtin_bswap64(raw) >> 16U;
}

}  // namespace

bool AddressFilter::accepts(const PortSlot& slot, std::uint64_t mac) noexcept {
  if ((mac & kGroupBit) != 0 || mac == load_relaxed(slot.mac)) return true;
  if ((load_relaxed(slot.flags) & (kFlagPromiscuous | kFlagLearnedTooMany)) != 0) return true;
  for (const std::uint64_t& learned : slot.learned) {
    const std::uint64_t known = load_relaxed(learned);
    if (known == 0) return false;
    if (known == mac) return true;
  }
  return false;
}

RingReader::RingReader(Ring ring, const PortSlot* self, unsigned slot, std::uint32_t incarnation,
                       bool resume_newest, bool take_offloads)
    : ring_(ring),
      self_(self),
      slot_(slot),
      incarnation_(incarnation),
      resume_newest_(resume_newest),
      take_offloads_(take_offloads) {
  // Not zeroed: pages that no super-frame touches cost nothing.
  if (ring.carries_offloads() && !take_offloads)
    cutting_ = std::make_unique_for_overwrite<Cutting>();
}

bool RingReader::ready() const noexcept {
  if (cutting_ && !cutting_->segments.done()) return true;
  return load_seq_cst(ring_.record(position_).word) != word::empty(position_) ||
         load_seq_cst(ring_.header().first) > position_;
}

ReadStatus RingReader::read(FrameBatch& into, ReadTally& tally) noexcept {
  if (cutting_ && !cutting_->segments.done()) {
    deliver_segments(into);
    if (!cutting_->segments.done()) return ReadStatus::more;
  }
  Chunk chunk;
  const std::size_t before = into.size();
  follow<Place::copied>(into, chunk);
  std::size_t torn = 0;
  const ReadStatus status = pass(chunk, tally, torn);
  if (torn != 0) into.drop(before, before + torn);
  const bool passed = status == ReadStatus::more || status == ReadStatus::empty;
  return passed && chunk.super_frame ? take_super_frame(into, tally) : status;
}

ReadStatus RingReader::lend_chunk(FrameBatch& into, ReadTally& tally) noexcept {
  if (cutting_ && !cutting_->segments.done()) {
    deliver_segments(into);
    return ReadStatus::more;
  }
  lent_.own = lent_.filtered = lent_.refused = 0;
  lent_.super_frame = false;
  follow<Place::in_ring>(into, lent_);
  if (lent_.delivered() != 0) {
    has_lent_ = true;
    return ReadStatus::more;
  }
  std::size_t torn = 0;
  const ReadStatus status = pass(lent_, tally, torn);
  const bool passed = status == ReadStatus::more || status == ReadStatus::empty;
  return passed && lent_.super_frame ? take_super_frame(into, tally) : status;
}

ReadStatus RingReader::release(ReadTally& tally, std::size_t& torn) noexcept {
  torn = 0;
  if (!has_lent_) return ReadStatus::more;
  has_lent_ = false;
  return pass(lent_, tally, torn);
}

/// Moves past a chunk. `torn`: how many of its delivered frames, counted from the first, had been
/// overwritten.
ReadStatus RingReader::pass(Chunk& chunk, ReadTally& tally, std::size_t& torn) noexcept {
  fence_loads();  // I6: the copying, or the use of lent frames, came before this look
  const std::uint64_t first = load_acquire(ring_.header().first);
  std::size_t whole_from = 0;
  if (first > position_) {
    // Lapped. Records from `first` on are whole, if the walk met a record exactly at `first`.
    while (whole_from < chunk.count && chunk.entries[whole_from].position < first) ++whole_from;
    const bool met = whole_from < chunk.count && chunk.entries[whole_from].position == first;
    if (!met || resume_newest_) {
      torn = chunk.delivered();
      return resume_after_overrun(tally);
    }
    ++tally.overruns;
    tally.lost_bytes += first - position_;
    torn = chunk.forget_front(whole_from);
  }
  tally.own += chunk.own;
  tally.filtered += chunk.filtered;
  tally.frames += chunk.delivered();
  tally.bytes += chunk.bytes;
  tally.more_segments += chunk.more_segments;
  // Overwritten before they were read, or left out by repair behind a pad (I8).
  tally.lost_frames += chunk.next - next_number_ - chunk.count + chunk.refused;
  tally.corrupt += chunk.refused;
  position_ = chunk.end;
  next_number_ = chunk.next;
  behind_pad_ = chunk.behind_pad;
  return chunk.status == ReadStatus::corrupt ? resume_after_corruption(tally) : chunk.status;
}

/// Removes the first `torn` records from the counts. Result: how many of them had been delivered.
std::size_t RingReader::Chunk::forget_front(std::size_t torn) noexcept {
  std::size_t frames = 0;
  for (const ChunkEntry& e : std::span(entries).first(torn)) {
    switch (e.how) {
      case Passed::own: --own; break;
      case Passed::filtered: --filtered; break;
      case Passed::refused: --refused; break;
      case Passed::delivered:
        ++frames;
        bytes -= e.bytes;
        more_segments -= e.more_segments;
        break;
    }
  }
  count -= torn;
  return frames;
}

ReadStatus RingReader::read_all(FrameBatch& into, ReadTally& tally) noexcept {
  return read_chunks<Place::copied>(into, tally);
}

ReadStatus RingReader::lend(FrameBatch& into, ReadTally& tally) noexcept {
  return read_chunks<Place::in_ring>(into, tally);
}

template <RingReader::Place place>
ReadStatus RingReader::read_chunks(FrameBatch& into, ReadTally& tally) noexcept {
  ReadStatus status = ReadStatus::more;
  unsigned overruns = 0;
  const std::size_t had = into.size();
  // If no frame was found yet, the call goes on: its caller would otherwise believe that the bus is
  // empty. It goes on to where the chain ended when the call began, and at most once round the
  // ring.
  const std::uint64_t last = load_acquire(ring_.header().last);
  const std::uint64_t goal = std::min(last, position_ + ring_.bytes());
  for (unsigned i = 0; i < kChunksPerCall || (into.size() == had && position_ < goal); ++i) {
    const std::uint64_t before = position_;
    status = place == Place::in_ring ? lend_chunk(into, tally) : read(into, tally);
    // After corruption the reader is at the end of the chain.
    if (status != ReadStatus::more && status != ReadStatus::overrun) break;
    if (status == ReadStatus::overrun && ++overruns == kOverrunsPerCall) break;
    // Segments never share a call with lent frames: release() counts from the first lent one.
    if (place == Place::in_ring && into.size() != had) break;
    if (into.full() || (status == ReadStatus::more && position_ == before)) break;
  }
  return status;
}

template <RingReader::Place place>
void RingReader::follow(FrameBatch& into, Chunk& chunk) noexcept {
  const std::uint64_t limit = position_ + ring_.bytes() / 16;
  std::uint64_t p = position_;
  std::uint64_t next = next_number_;
  std::uint64_t bytes = 0;
  std::uint64_t more_segments = 0;
  std::size_t count = 0;
  bool behind_pad = behind_pad_;
  ReadStatus status = ReadStatus::more;
  while (count < kChunkRecords && p <= limit) {
    const std::uint64_t w = ring_.word_at(p);  // SYNC POINT COMMIT, the reader's side (I5)
    const std::uint64_t step = ring_.step(w, p);
    if (step == 0) {
      status = w == word::empty(p) ? ReadStatus::empty : ReadStatus::corrupt;
      break;
    }
    if (word::is_frame_at(w, p)) [[likely]] {
      const std::uint64_t number = ring_.number_at(p);
      const std::uint64_t max = behind_pad ? ring_.bytes() / kRecordAlign : 0;
      if (number - next > max) {  // also if it is less
        status = ReadStatus::corrupt;
        break;
      }
      ChunkEntry& entry = chunk.entries[count];
      const Took took = deliver<place>(p, w, number, into, entry);
      if (took != Took::yes) {
        chunk.super_frame = took == Took::super_frame;
        break;
      }
      ++count;
      switch (entry.how) {
        [[likely]] case Passed::delivered:
          bytes += entry.bytes;
          more_segments += entry.more_segments;
          break;
        case Passed::own: ++chunk.own; break;
        case Passed::filtered: ++chunk.filtered; break;
        case Passed::refused: ++chunk.refused; break;
      }
      next = number + 1;
      behind_pad = false;
    } else {
      behind_pad = true;
    }
    p += step;
  }
  chunk.count = count;
  chunk.bytes = bytes;
  chunk.more_segments = more_segments;
  chunk.end = p;
  chunk.next = next;
  chunk.behind_pad = behind_pad;
  chunk.status = status;
}

// Inlined into the loop above: the call alone took a fifth of the time of a 64-byte frame.
template <RingReader::Place place>
[[gnu::always_inline]] inline RingReader::Took RingReader::deliver(std::uint64_t position,
                                                                   std::uint64_t w,
                                                                   std::uint64_t number,
                                                                   FrameBatch& into,
                                                                   ChunkEntry& entry) noexcept {
  const RecordHeader& r = ring_.record(position);
  const std::byte* payload = ring_.payload(position);
  std::uint32_t bytes = word::frame_bytes(w);
  const bool vnet = word::has_vnet(w);
  Offload offload;
  if (vnet) [[unlikely]] {
    offload = offload_at(payload);
    payload += kVnetBytes;
    bytes -= kVnetBytes;
  }
  entry.position = position;
  entry.bytes = bytes;
  const std::uint16_t sender = load_relaxed(r.slot);
  const std::uint32_t incarnation = load_relaxed(r.incarnation);
  if (self_ != nullptr) {
    if (sender == slot_ && incarnation == incarnation_) {
      entry.how = Passed::own;
      return Took::yes;
    }
    if (!AddressFilter::accepts(*self_, address_at(payload))) {
      entry.how = Passed::filtered;
      return Took::yes;
    }
  }
  const bool super_frame = vnet && offload.is_super_frame();
  if (vnet && !super_frame && bytes > ring_.max_frame()) [[unlikely]] {
    entry.how = Passed::refused;
    return Took::yes;
  }
  entry.how = Passed::delivered;
  entry.more_segments = 0;
  if (into.full()) return Took::no_room;
  if (super_frame && !take_offloads_) [[unlikely]]
    return Took::super_frame;
  FrameView& view = into.next();
  view.number = number;
  view.time_ns = load_relaxed(r.time_ns);
  view.sender = sender;
  view.sender_incarnation = incarnation;
  const bool finish = vnet && offload.needs_checksum() && !take_offloads_;
  if (place == Place::in_ring && !finish) {
    view.bytes = {payload, bytes};
    view.offload = offload;
    if (super_frame) [[unlikely]] {
      if (!is_deliverable(view.bytes, offload, ring_.max_frame())) {
        entry.how = Passed::refused;
        return Took::yes;
      }
      entry.more_segments = more_segments_of(view);
    }
    into.keep_lent();
    return Took::yes;
  }
  const std::span<std::byte> room = into.room();
  if (room.size() < bytes && !into.empty())
    return Took::no_room;  // the next call has an empty batch
  const std::size_t take = std::min<std::size_t>(room.size(), bytes);
  copy_from_shared(room.data(), payload, take);
  // The check reads the copy, which nobody changes any more. A super-frame that is cut to at most
  // the size of a frame is passed on unchecked, since its headers may be incomplete.
  if (super_frame && (take == bytes || take > ring_.max_frame()) &&
      !is_deliverable(room.first(take), offload, ring_.max_frame())) [[unlikely]] {
    entry.how = Passed::refused;
    return Took::yes;
  }
  if (finish) [[unlikely]] {
    // If the checksum does not lie in the frame, or the frame is cut short, it is delivered as it
    // came.
    if (take == bytes) static_cast<void>(finish_checksum(room.first(take), offload));
    offload = {};
  }
  view.bytes = room.first(take);
  view.true_bytes = take < bytes ? bytes : 0;
  view.offload = offload;
  if (super_frame) [[unlikely]]
    entry.more_segments = more_segments_of(view);
  into.keep();
  return Took::yes;
}

/// Takes the super-frame at position_ as one record, and delivers as many segments as there is room
/// for.
ReadStatus RingReader::take_super_frame(FrameBatch& into, ReadTally& tally) noexcept {
  const std::uint64_t p = position_;
  const std::uint64_t w = ring_.word_at(p);
  const std::uint64_t step = ring_.step(w, p);
  // The record has changed since the walk: the next chunk finds out.
  if (step == 0 || !word::is_frame_at(w, p) || !word::has_vnet(w)) return ReadStatus::more;
  const RecordHeader& r = ring_.record(p);
  const std::byte* payload = ring_.payload(p);
  const Offload offload = offload_at(payload);
  const std::size_t bytes = word::frame_bytes(w) - kVnetBytes;
  Cutting& c = *cutting_;
  c.like = {};
  c.like.number = load_relaxed(r.number);
  c.like.time_ns = load_relaxed(r.time_ns);
  c.like.sender = load_relaxed(r.slot);
  c.like.sender_incarnation = load_relaxed(r.incarnation);
  copy_from_shared(c.frame.data(), payload + kVnetBytes, bytes);
  fence_loads();  // I6, for this record alone: it must be whole to be split
  if (load_acquire(ring_.header().first) > p) return resume_after_overrun(tally);
  if (c.like.number < next_number_ ||
      c.like.number - next_number_ > (behind_pad_ ? ring_.bytes() / kRecordAlign : 0)) {
    return resume_after_corruption(tally);
  }
  tally.lost_frames += c.like.number - next_number_;
  position_ = p + step;
  next_number_ = c.like.number + 1;
  behind_pad_ = false;
  const bool sound = is_deliverable({c.frame.data(), bytes}, offload, ring_.max_frame()) &&
                     c.segments.begin({c.frame.data(), bytes}, offload);
  if (!sound) {  // no correct sender sends it: see Attachment::send
    c.segments = {};
    ++tally.corrupt;
    ++tally.lost_frames;
    return ReadStatus::more;
  }
  ++tally.frames;
  tally.bytes += bytes;
  tally.more_segments += c.segments.remaining() - 1;
  deliver_segments(into);
  return ReadStatus::more;
}

void RingReader::deliver_segments(FrameBatch& into) noexcept {
  Cutting& c = *cutting_;
  while (!c.segments.done() && !into.full()) {
    const std::size_t size = c.segments.next_bytes();
    const std::span<std::byte> room = into.room();
    FrameView view = c.like;
    if (room.size() >= size) {
      view.bytes = room.first(c.segments.next(room));
    } else {
      if (!into.empty()) return;  // the next call has an empty batch
      static_cast<void>(c.segments.next(c.segment));
      std::memcpy(room.data(), c.segment.data(), room.size());
      view.bytes = room;
      view.true_bytes = static_cast<std::uint32_t>(size);
    }
    into.push(view);
  }
}

void RingReader::pass_over(std::uint64_t position, std::uint64_t number,
                           ReadTally& tally) noexcept {
  if (has_lent_) return;  // release() finds out
  if (load_acquire(ring_.header().first) <= position_)
    return;  // nothing was lapped: read() sees each frame
  if (position <= position_ || number <= next_number_) return;
  if (position > load_acquire(ring_.header().first)) return;  // overwritten; read() sees the rest
  // The numbers come from shared memory: accept no more frames than fit between the positions.
  if (!ring_.fits_alignment(position) ||
      number - next_number_ > (position - position_) / kRecordAlign)
    return;
  tally.filtered += number - next_number_;
  position_ = position;
  next_number_ = number;
  behind_pad_ = false;
}

bool RingReader::adopt(std::uint64_t position) noexcept {
  if (!ring_.fits_alignment(position)) return false;
  const std::uint64_t w = ring_.word_at(position);
  if (w != word::empty(position) && ring_.step(w, position) == 0) return false;
  const std::uint64_t number = ring_.number_at(position);  // commits do not change it (I8)
  fence_loads();
  if (load_acquire(ring_.header().first) > position) return false;
  position_ = position;
  next_number_ = number;
  behind_pad_ = false;
  if (cutting_) cutting_->segments = {};
  return true;
}

bool RingReader::seek_to(std::uint64_t position) noexcept {
  // A repair may have started the positions again at 0. Then a word at an old position may still
  // name it, but is not part of the chain. `last` may lag, but not by a ring.
  const std::uint64_t last = load_acquire(ring_.header().last);
  return (position <= last || position - last <= ring_.bytes()) && adopt(position);
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

/// Whether the reader waits at an end that is no end any more. A commit replaces EMPTY before
/// `last` passes its place (I7). So an EMPTY in front of `last` was left by a chain that a repair
/// has replaced, and nobody will commit there.
bool RingReader::is_stranded() const noexcept {
  const std::uint64_t last = load_acquire(ring_.header().last);
  return last > position_ && ring_.fits_alignment(position_) &&
         ring_.word_at(position_) == word::empty(position_);
}

/// Goes to the first record that begins at `position` or behind it.
bool RingReader::seek_behind(std::uint64_t position) noexcept {
  std::uint64_t p = load_acquire(ring_.header().first);
  for (std::uint64_t steps = ring_.walk_limit(); p < position && steps > 0; --steps) {
    const std::uint64_t step = ring_.fits_alignment(p) ? ring_.step(ring_.word_at(p), p) : 0;
    if (step == 0) break;
    p += step;
  }
  return p >= position ? adopt(p) || seek_end() : seek_end();
}

bool RingReader::find_place_again(ReadTally& tally) noexcept {
  const std::uint64_t position = position_;
  const std::uint64_t number = next_number_;
  const bool stranded = is_stranded();
  if (!stranded && seek_to(position)) return true;
  if (stranded ? !seek_behind(position) : !seek_oldest()) return false;
  // Accept no more frames than fit between the positions, or in the ring if the positions started
  // again: the number may have been overwritten.
  const std::uint64_t lost = next_number_ - number;
  const std::uint64_t passed = position_ > position ? position_ - position : 0;
  if (lost != 0 && lost <= (passed != 0 ? passed : ring_.bytes()) / kRecordAlign) {
    ++tally.overruns;
    tally.lost_frames += lost;
    tally.lost_bytes += passed;
  } else if (lost != 0) {
    ++tally.corrupt;  // lost_frames is a lower bound now
  }
  return true;
}

ReadStatus RingReader::resume_after_overrun(ReadTally& tally) noexcept {
  const std::uint64_t position = position_;
  const std::uint64_t number = next_number_;
  if (!(resume_newest_ ? seek_end() : seek_oldest())) {
    ++tally.corrupt;
    return ReadStatus::broken;
  }
  // Positions and numbers come from shared memory: accept no more frames than fit between the
  // positions.
  if (position_ < position || next_number_ - number > (position_ - position) / kRecordAlign) {
    ++tally.corrupt;
    return ReadStatus::corrupt;
  }
  ++tally.overruns;
  tally.lost_frames += next_number_ - number;
  tally.lost_bytes += position_ - position;
  return ReadStatus::overrun;
}

ReadStatus RingReader::resume_after_corruption(ReadTally& tally) noexcept {
  ++tally.corrupt;
  const std::uint64_t position = position_;
  const std::uint64_t number = next_number_;
  if (!seek_end()) return ReadStatus::broken;
  // lost_frames is a lower bound from here on: the number may have been overwritten, too.
  if (next_number_ > number && position_ > position &&
      next_number_ - number <= (position_ - position) / kRecordAlign) {
    tally.lost_frames += next_number_ - number;
    tally.lost_bytes += position_ - position;
  }
  return ReadStatus::corrupt;
}

}  // namespace shmif::bus
