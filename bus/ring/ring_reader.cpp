#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "bus/learned_word.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kChunksPerCall = 64;
constexpr unsigned kOverrunsPerCall = 4;
/// How far ahead a reader requests cache lines, and how many bytes must be there to do so.
constexpr std::uint64_t kReadAhead = 4096;  // within a larger frame, the hardware does that itself
constexpr std::uint64_t kWorthwhile = 512;
constexpr std::uint64_t kSmallRecord = 512;  // in place, requests only smaller records

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

/// The address at `payload`, of which 8 bytes can be read: an address and two more.
std::uint64_t address_at(const std::byte* payload) noexcept {
  std::uint64_t raw = 0;
  copy_from_shared(reinterpret_cast<std::byte*>(&raw), payload, sizeof raw);
  return __builtin_bswap64(raw) >> 16U;
}

}  // namespace

bool AddressFilter::accepts(const PortSlot& slot, std::uint64_t mac) noexcept {
  if ((mac & kGroupBit) != 0 || mac == load_relaxed(slot.mac)) return true;
  if ((load_relaxed(slot.flags) & (kFlagPromiscuous | kFlagLearnedTooMany)) != 0) return true;
  const std::uint64_t wanted = learned_word(mac);
  for (const std::uint64_t& learned : slot.learned) {
    const std::uint64_t known = load_relaxed(learned);
    if (known == 0) return false;
    if (known == wanted) return true;
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
  const std::uint64_t position = place_.position;
  return load_seq_cst(ring_.record(position).word) != word::empty(position) ||
         load_seq_cst(ring_.header().first) > position;
}

ReadStatus RingReader::read(FrameBatch& into, ReadTally& tally) noexcept {
  if (cutting_ && !cutting_->segments.done()) {
    deliver_segments(into);
    if (!cutting_->segments.done()) return ReadStatus::more;
  }
  Chunk chunk;
  const std::size_t before = into.size();
  follow<InRing::no>(into, chunk);
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
  follow<InRing::yes>(into, lent_);
  lent_frames_ = delivered_in(lent_.entries());
  if (lent_frames_ != 0) return ReadStatus::more;
  std::size_t torn = 0;
  const ReadStatus status = pass(lent_, tally, torn);
  const bool passed = status == ReadStatus::more || status == ReadStatus::empty;
  return passed && lent_.super_frame ? take_super_frame(into, tally) : status;
}

ReadStatus RingReader::release(ReadTally& tally, std::size_t& torn) noexcept {
  torn = 0;
  if (lent_frames_ == 0) return ReadStatus::more;
  lent_frames_ = 0;
  return pass(lent_, tally, torn);
}

/// Moves past a chunk. `torn`: how many of its delivered frames, counted from the first, had been
/// overwritten.
ReadStatus RingReader::pass(const Chunk& chunk, ReadTally& tally, std::size_t& torn) noexcept {
  fence_loads();  // I6: first the copying, or the use of lent frames; then this look
  const std::uint64_t first = load_acquire(ring_.header().first);
  std::span<const ChunkEntry> whole = chunk.entries();
  ChunkEntry rest{};  // what is whole of records that are alike (I10)
  if (first > place_.position) {
    // Lapped. Records from `first` on are whole, if the walk met a record exactly at `first`.
    std::size_t lapped = 0;
    while (lapped < whole.size() && whole[lapped].position < first) ++lapped;
    const bool met = lapped < whole.size() && whole[lapped].position == first;
    if (!met && lapped != 0) rest = rest_of(whole[lapped - 1], first);
    if ((!met && rest.frames == 0) || resume_newest_) {
      torn = delivered_in(whole);
      return resume_after_overrun(tally);
    }
    ++tally.overruns;
    tally.lost_bytes += bytes_since(place_, first);
    torn = delivered_in(whole.first(lapped)) - delivered_in({&rest, 1});
    whole = whole.subspan(lapped);
    lapped_until_ = first + head_start();
  }
  std::uint64_t passed = 0;
  const auto count = [&](const ChunkEntry& e) {
    switch (e.how) {
      [[likely]] case Passed::delivered:
        tally.frames += e.frames;
        tally.bytes += e.bytes;
        tally.more_segments += e.more_segments;
        break;
      case Passed::own: tally.own += e.frames; break;
      case Passed::filtered: tally.filtered += e.frames; break;
      case Passed::refused: ++tally.corrupt; return;
    }
    passed += e.frames;
  };
  if (rest.frames != 0) [[unlikely]]
    count(rest);
  for (const ChunkEntry& e : whole) count(e);
  // These frames were overwritten before they were read, left out by repair behind a pad (I8), or
  // refused.
  tally.lost_frames += chunk.end.number - place_.number - passed;
  go_to(chunk.end, chunk.behind_pad);
  return chunk.status == ReadStatus::corrupt ? resume_after_corruption(tally) : chunk.status;
}

std::size_t RingReader::delivered_in(std::span<const ChunkEntry> entries) noexcept {
  std::size_t frames = 0;
  for (const ChunkEntry& e : entries) frames += e.how == Passed::delivered ? e.frames : 0U;
  return frames;
}

/// The part of an entry from `first` on, if it is of records that are alike, and one of them begins
/// there. Else an entry without frames.
RingReader::ChunkEntry RingReader::rest_of(const ChunkEntry& entry, std::uint64_t first) noexcept {
  const std::uint64_t lapped = entry.step == 0 ? 0 : (first - entry.position) / entry.step;
  if (lapped == 0 || lapped >= entry.frames || entry.position + lapped * entry.step != first)
    return {};
  ChunkEntry rest = entry;
  rest.position = first;
  rest.frames = static_cast<std::uint16_t>(entry.frames - lapped);
  rest.bytes = entry.bytes / entry.frames * rest.frames;
  return rest;
}

/// Bytes from a place to a record; 0 if the record is not behind the place.
std::uint64_t RingReader::bytes_since(const Place& place, std::uint64_t position) noexcept {
  const std::uint64_t from = place.position + place.passed();
  return position > from ? position - from : 0;
}

void RingReader::go_to(const Place& place, bool behind_pad) noexcept {
  place_ = place;
  behind_pad_ = behind_pad;
}

ReadStatus RingReader::read_all(FrameBatch& into, ReadTally& tally) noexcept {
  return read_chunks<InRing::no>(into, tally);
}

ReadStatus RingReader::lend(FrameBatch& into, ReadTally& tally) noexcept {
  return read_chunks<InRing::yes>(into, tally);
}

template <RingReader::InRing in_ring>
ReadStatus RingReader::read_chunks(FrameBatch& into, ReadTally& tally) noexcept {
  ReadStatus status = ReadStatus::more;
  unsigned overruns = 0;
  const std::size_t had = into.size();
  // If no frame was found yet, the call goes on: its caller would otherwise believe that the bus is
  // empty. It goes on to where the chain ended when its first chunk was read, and at most once
  // round the ring after each overrun.
  std::uint64_t goal = 0;
  for (unsigned i = 0; i < kChunksPerCall || (into.size() == had && place_.position < goal); ++i) {
    const Place before = place_;
    status = in_ring == InRing::yes ? lend_chunk(into, tally) : read(into, tally);
    // After corruption the reader is at the end of the chain.
    if (status != ReadStatus::more && status != ReadStatus::overrun) break;
    if (status == ReadStatus::overrun && ++overruns == kOverrunsPerCall) break;
    // Senders write the line of `last` with each batch, so a reader that keeps up leaves it alone.
    const bool lent_all = in_ring == InRing::yes && lent_.status == ReadStatus::empty;
    const bool knows_enough = lent_all || known_end_ >= place_.position + chunk_bytes<in_ring>();
    if (into.size() == had || !knows_enough)
      known_end_ = std::min(load_acquire(ring_.header().last), place_.position + ring_.bytes());
    if (i == 0 || status == ReadStatus::overrun) goal = known_end_;
    // Segments never share a call with lent frames: release() counts from the first lent one.
    if (in_ring == InRing::yes && into.size() != had) break;
    // The number does not show that: behind a pad, a peer can raise it while the reader stands
    // still.
    const bool stands = place_.position == before.position && place_.entries == before.entries;
    if (into.full() || (status == ReadStatus::more && stands)) break;
  }
  return status;
}

/// How many bytes of the ring a chunk may take before its last record. A reader that was lapped
/// continues at `first`, which writers move by 1/64 of the ring at a time (kRoomShare). If it
/// copied that much before it looks at `first`, it would be lapped again and again. Lent frames are
/// not copied.
template <RingReader::InRing in_ring>
std::uint64_t RingReader::chunk_bytes() const noexcept {
  return in_ring == InRing::yes ? ring_.bytes() / 16 : ring_.bytes() / 128 + 4096;
}

/// Whether a reader at `at` may find this record there. Frames are missing only behind a pad. If
/// the reader is inside of a record, it has passed `entries` of its frames, so the record must have
/// more.
inline bool RingReader::continues(const Record& record, const Place& at,
                                  bool behind_pad) const noexcept {
  const std::uint64_t most = behind_pad && at.entries == 0 ? frames_in(ring_.bytes()) : 0;
  const std::uint64_t missing = record.number + at.entries - at.number;  // a smaller number wraps
  return missing <= most && at.entries < record.frames;
}

// Inlined into the loop below, as the functions that it calls are.
/// Takes what the port is to have of the record at `at`. If there is not room for all frames of a
/// shared record, `at` moves to the first that is left. `record` becomes all that was taken, if
/// records behind it are alike; they end at most `most` bytes further on, or one record more.
template <RingReader::InRing in_ring>
[[gnu::always_inline]] inline RingReader::Took RingReader::take_record(
    Record& record, Place& at, FrameBatch& into, Chunk& chunk, std::uint64_t most) noexcept {
  const std::uint64_t p = at.position;
  const RecordHeader& r = ring_.record(p);
  const Origin from{load_relaxed(r.time_ns), load_relaxed(r.incarnation), load_relaxed(r.slot)};
  std::uint64_t records = 1;
  if (record.step > RecordPlan::kLongestThatShares) {  // shorter ones are not alike
    const std::uint64_t alike = ring_.alike_from(record.word, p, record.step);
    if (alike > 1) records = std::min(alike, most / record.step + 1);
  }
  if (self_ != nullptr && from.slot == slot_ && from.incarnation == incarnation_) {
    if (records > 1 && !was_whole(p)) records = 1;
    record.frames *= records;
    const auto frames = static_cast<std::uint16_t>(record.frames - at.entries);
    const auto step = static_cast<std::uint32_t>(records > 1 ? record.step : 0);
    chunk.add({p, 0, frames, 0, Passed::own, step});
    record.step *= records;
    return Took::yes;
  }
  const std::uint32_t body_bytes = word::body_bytes(record.word);
  if (word::is_shared(record.word)) {
    return take_shared<in_ring>(from, body_bytes, record.frames, at, into, chunk);
  }
  if (records > 1 && take_alike<in_ring>(from, records, record, at, into, chunk)) return Took::yes;
  // In place, only the program knows how much of a larger frame it will read.
  const std::uint64_t small = in_ring == InRing::yes ? kSmallRecord : kReadAhead;
  if (record.step < small) request(p, record.step);
  ChunkEntry& entry = chunk.room[chunk.count] = {p, body_bytes, 1, 0, Passed::delivered, 0};
  const Took took =
      word::has_vnet(record.word)
          ? take_with_offload<in_ring>(from, record.number, into, entry)
          : take_plain<in_ring>(from, record.number, ring_.payload(p), body_bytes, into, entry.how);
  if (took == Took::yes) [[likely]]
    ++chunk.count;
  return took;
}

/// Whether what was read of the record at `position` before this call was whole (I6). pass() asks
/// too late for records that only another record tells of: it believes what lies behind `first`.
bool RingReader::was_whole(std::uint64_t position) const noexcept {
  fence_loads();
  return load_acquire(ring_.header().first) <= position;
}

// The headers behind the first one are not touched: their lines would stay in this CPU's cache for
// a lap, and the sender would have to take each of them back. In place, that costs half the rate of
// long frames (docs/lab/measurements.md).
/// Takes the frames of up to `records` records that are alike (I10), as many as there is room for.
/// `record` becomes all of them. Result: false if there is no room for a whole frame, of which
/// take_plain() takes a part, or if the header may have been overwritten.
template <RingReader::InRing in_ring>
bool RingReader::take_alike(const Origin& from, std::uint64_t records, Record& record,
                            const Place& at, FrameBatch& into, Chunk& chunk) const noexcept {
  const std::uint32_t bytes = word::body_bytes(record.word);
  const std::uint64_t step = record.step;
  const std::byte* frame = ring_.payload(at.position);
  const bool delivers = self_ == nullptr || AddressFilter::accepts(*self_, address_at(frame));
  if (!was_whole(at.position)) return false;
  if (delivers) {
    const std::span<FrameView> views = into.unfilled();
    const std::span<std::byte> room = into.room();
    const std::size_t aligned = FrameBatch::aligned(bytes);
    records = std::min<std::uint64_t>(records, views.size());
    if (in_ring == InRing::no)
      records = std::min<std::uint64_t>(records, (room.size() + aligned - bytes) / aligned);
    if (records == 0) return false;
    FrameView like;
    like.time_ns = from.time_ns;
    like.sender = from.slot;
    like.sender_incarnation = from.incarnation;
    asm("" : "+m"(like));  // as in take_run()
    std::uint64_t number = record.number;
    std::byte* to = room.data();
    const bool requests =
        in_ring == InRing::no && step < kReadAhead && worth_requesting(at.position);
    for (FrameView& view : views.first(records)) {
      view = like;
      view.number = number++;
      if (in_ring == InRing::yes) {
        view.bytes = {frame, bytes};
      } else {
        const std::byte* line = frame + kReadAhead;
        const std::byte* const end = requests ? line + step : line;
        for (; line < end; line += kPairBytes) prefetch_to_read(line);
        view.bytes = {to, bytes};
        copy_from_shared(to, frame, bytes);
        to += aligned;
      }
      frame += step;
    }
    into.keep_filled(records, in_ring == InRing::no ? records * aligned : 0);
  }
  chunk.add({at.position, static_cast<std::uint32_t>(records * bytes),
             static_cast<std::uint16_t>(records), 0,
             delivers ? Passed::delivered : Passed::filtered, static_cast<std::uint32_t>(step)});
  record.step = records * step;
  record.frames = records;
  return true;
}

template <RingReader::InRing in_ring>
void RingReader::follow(FrameBatch& into, Chunk& chunk) noexcept {
  chunk.count = 0;
  chunk.super_frame = false;
  Place at = place_;
  const std::uint64_t begin = at.position;
  const std::uint64_t most = chunk_bytes<in_ring>();
  bool behind_pad = behind_pad_;
  ReadStatus status = ReadStatus::more;
  while (chunk.has_room() && at.position - begin <= most) {  // hostile pads cannot make it wrap
    const std::uint64_t p = at.position;
    const std::uint64_t w = ring_.word_at(p);  // SYNC POINT COMMIT, the reader's side (I5)
    const std::uint64_t step = ring_.step(w, p);
    if (step == 0) {
      status = w == word::empty(p) ? ReadStatus::empty : ReadStatus::corrupt;
      break;
    }
    if (!word::is_frame_at(w, p)) [[unlikely]] {
      behind_pad = true;
      at = {p + step, at.number};
      continue;
    }
    Record record{w, step, ring_.number_at(p), ring_.frames_of(w, p)};
    if (!continues(record, at, behind_pad)) [[unlikely]] {
      status = ReadStatus::corrupt;
      break;
    }
    at.number = record.number + at.entries;
    const Took took = take_record<in_ring>(record, at, into, chunk, begin + most - p);
    if (took != Took::yes) {
      chunk.super_frame = took == Took::super_frame;
      break;
    }
    at = {p + record.step, record.number + record.frames};
    behind_pad = false;
  }
  chunk.end = at;
  chunk.behind_pad = behind_pad;
  chunk.status = status;
}

// The lines are in the cache of a sender's CPU, or where they went from there. They travel while
// the reader reads the frames before them. Behind the known end, this requests the lines of a batch
// that is being written, too: the sender is done with most of them. If frames come one by one, the
// sender would have to take the lines back, so then it requests nothing.
bool RingReader::worth_requesting(std::uint64_t position) const noexcept {
  return known_end_ >= position + kWorthwhile;
}

/// Requests the lines that are kReadAhead of `bytes` at `position`.
[[gnu::always_inline]] inline void RingReader::request(std::uint64_t position,
                                                       std::uint64_t bytes) const noexcept {
  if (!worth_requesting(position)) return;
  const std::byte* line = ring_.byte_at(position + kReadAhead);
  const std::byte* const end = line + bytes;  // the ring is mapped twice, so that is in the mapping
  for (; line < end; line += kLineBytes) prefetch_to_read(line);
}

// Nearly all frames of a shared record take this loop. What it needs is in registers, and it asks
// the filter once for frames that follow each other to one address.
/// Takes frames of the shared record at `at`, as long as they pass in the same way: they are all
/// delivered or all filtered. It stops in front of a frame that has an impossible length, or for
/// which there is no room. Moves `at` behind them.
template <RingReader::InRing in_ring>
RingReader::Run RingReader::take_run(const Origin& from, std::uint32_t body_bytes,
                                     std::uint64_t frames, Place& at,
                                     FrameBatch& into) const noexcept {
  const std::byte* const body = ring_.payload(at.position);
  const std::byte* const end = body + body_bytes;
  const std::byte* entry = body + at.offset;
  const std::span<FrameView> views = into.unfilled();
  const std::span<std::byte> room = into.room();
  const std::uint32_t longest = ring_.max_frame();
  FrameView like;
  like.time_ns = from.time_ns;
  like.sender = from.slot;
  like.sender_incarnation = from.incarnation;
  // From here on, it is in memory. If it were put together anew for each frame, the copy would wait
  // for stores of other sizes: 18 ns for a frame of 64 bytes instead of 5.
  asm("" : "+m"(like));
  std::uint64_t asked = UINT64_MAX;  // the address that the filter decided last
  bool delivers = true;
  std::size_t used = 0;
  std::uint64_t left = frames - at.entries;
  const bool requests = worth_requesting(at.position + at.offset);
  const std::byte* line = requests ? entry : end;
  Run run;
  for (; left > 0; --left) {
    const std::uint32_t bytes = load_relaxed(*reinterpret_cast<const std::uint32_t*>(entry));
    const auto step = static_cast<std::ptrdiff_t>(entry_bytes(bytes));
    if (bytes < kMinFrameBytes || bytes > longest || step > end - entry) break;
    for (; line < entry + step; line += kLineBytes) prefetch_to_read(line + kReadAhead);
    const std::byte* const frame = entry + kEntryHeaderBytes;
    if (self_ != nullptr) {
      const std::uint64_t mac = address_at(frame);
      if (mac != asked) {
        const bool accepts = AddressFilter::accepts(*self_, mac);
        if (run.frames != 0 && accepts != delivers) break;
        delivers = accepts;
        asked = mac;
      }
    }
    if (delivers) {
      if (run.frames == views.size()) break;
      FrameView& view = views[run.frames];
      if (in_ring == InRing::yes) {
        view = like;
        view.bytes = {frame, bytes};
      } else {
        if (room.size() < used + bytes) break;
        view = like;
        view.bytes = {room.data() + used, bytes};
        copy_from_shared(room.data() + used, frame, bytes);
        used += FrameBatch::aligned(bytes);
      }
      view.number = at.number + run.frames;
    }
    ++run.frames;
    run.bytes += bytes;
    entry += step;
  }
  if (delivers) into.keep_filled(run.frames, used);
  run.how = delivers ? Passed::delivered : Passed::filtered;
  at.entries += run.frames;
  at.number += run.frames;
  at.offset = static_cast<std::uint32_t>(entry - body);
  return run;
}

/// Takes frames of the shared record at `at`, which has `frames` of them in all. If there is not
/// room for all, `at` moves to the first that is left.
template <RingReader::InRing in_ring>
RingReader::Took RingReader::take_shared(const Origin& from, std::uint32_t body_bytes,
                                         std::uint64_t frames, Place& at, FrameBatch& into,
                                         Chunk& chunk) noexcept {
  const std::uint64_t p = at.position;
  while (at.entries < frames) {
    if (!chunk.has_room()) return Took::no_room;
    if (at.offset < body_bytes) {
      const Run run = take_run<in_ring>(from, body_bytes, frames, at, into);
      if (run.frames != 0) {
        chunk.add({p, run.bytes, static_cast<std::uint16_t>(run.frames), 0, run.how, 0});
        continue;
      }
    }
    // A frame that stops a run at once has an impossible length, or no room.
    const std::uint32_t bytes = ring_.entry_at(p, at.offset, body_bytes);
    if (bytes == 0) [[unlikely]] {  // I9: no frame can be found behind it
      const auto rest = static_cast<std::uint16_t>(frames - at.entries);
      chunk.add({p, 0, rest, 0, Passed::refused, 0});
      at.entries += rest;
      at.number += rest;
      break;
    }
    ChunkEntry& alone = chunk.room[chunk.count] = {p, bytes, 1, 0, Passed::delivered, 0};
    const std::byte* const frame = ring_.payload(p) + at.offset + kEntryHeaderBytes;
    const Took took = take_plain<in_ring>(from, at.number, frame, bytes, into, alone.how);
    if (took != Took::yes) return took;
    ++chunk.count;
    ++at.entries;
    ++at.number;
    at.offset += static_cast<std::uint32_t>(entry_bytes(bytes));
  }
  return Took::yes;
}

/// The next view of the batch, filled with the values that a record has for each of its frames.
[[gnu::always_inline]] inline FrameView& RingReader::next_view(FrameBatch& into, const Origin& from,
                                                               std::uint64_t number) noexcept {
  FrameView& view = into.next();
  view.number = number;
  view.time_ns = from.time_ns;
  view.sender = from.slot;
  view.sender_incarnation = from.incarnation;
  return view;
}

/// Copies a frame into `room`, as much of it as fits, and makes `view` one of the copy.
[[gnu::always_inline]] inline void RingReader::copy_to(std::span<std::byte> room,
                                                       const std::byte* frame, std::uint32_t bytes,
                                                       FrameView& view) noexcept {
  const std::size_t take = std::min<std::size_t>(room.size(), bytes);
  copy_from_shared(room.data(), frame, take);
  view.bytes = room.first(take);
  view.true_bytes = take < bytes ? bytes : 0;
}

// Inlined into the loops above: the call alone took a fifth of the time of a 64-byte frame.
/// Takes a frame that leaves no work to its receiver.
template <RingReader::InRing in_ring>
[[gnu::always_inline]] inline RingReader::Took RingReader::take_plain(
    const Origin& from, std::uint64_t number, const std::byte* frame, std::uint32_t bytes,
    FrameBatch& into, Passed& how) noexcept {
  if (self_ != nullptr && !AddressFilter::accepts(*self_, address_at(frame))) {
    how = Passed::filtered;
    return Took::yes;
  }
  if (into.full()) return Took::no_room;
  FrameView& view = next_view(into, from, number);
  if (in_ring == InRing::yes) {
    view.bytes = {frame, bytes};
    into.keep_lent();
    return Took::yes;
  }
  if (!into.has_room_for(bytes)) return Took::no_room;  // the next call has an empty batch
  copy_to(into.room(), frame, bytes, view);
  into.keep();
  return Took::yes;
}

/// Takes the frame of the record at `entry`, which leaves work to its receiver.
template <RingReader::InRing in_ring>
RingReader::Took RingReader::take_with_offload(const Origin& from, std::uint64_t number,
                                               FrameBatch& into, ChunkEntry& entry) noexcept {
  const Offload offload = offload_at(ring_.payload(entry.position));
  const std::byte* const frame = ring_.payload(entry.position) + kVnetBytes;
  const std::uint32_t bytes = entry.bytes - kVnetBytes;
  entry.bytes = bytes;
  if (self_ != nullptr && !AddressFilter::accepts(*self_, address_at(frame))) {
    entry.how = Passed::filtered;
    return Took::yes;
  }
  const bool super_frame = offload.is_super_frame();
  if (!super_frame && bytes > ring_.max_frame()) [[unlikely]] {
    entry.how = Passed::refused;
    return Took::yes;
  }
  if (into.full()) return Took::no_room;
  if (super_frame && !take_offloads_) return Took::super_frame;
  FrameView& view = next_view(into, from, number);
  const bool finish = offload.needs_checksum() && !take_offloads_;
  const bool lent = in_ring == InRing::yes && !finish;
  if (lent) {
    view.bytes = {frame, bytes};
  } else {
    if (!into.has_room_for(bytes)) return Took::no_room;  // the next call has an empty batch
    copy_to(into.room(), frame, bytes, view);
  }
  // The check of a copy reads what no other process can change. A super-frame that is cut to at
  // most the size of a frame is passed on unchecked, since its headers may be incomplete.
  const bool cut = view.true_bytes != 0;
  if (super_frame && (!cut || view.size() > ring_.max_frame()) &&
      !is_deliverable(view.bytes, offload, ring_.max_frame())) [[unlikely]] {
    entry.how = Passed::refused;
    return Took::yes;
  }
  if (!finish) {
    view.offload = offload;
  } else if (!cut) {
    // If the checksum does not lie in the frame, it is delivered as it came.
    static_cast<void>(finish_checksum(into.room().first(bytes), offload));
  }
  if (super_frame) entry.more_segments = more_segments_of(view);
  if (lent) {
    into.keep_lent();
  } else {
    into.keep();
  }
  return Took::yes;
}

/// Takes the super-frame at place_ as one record, and delivers as many segments as there is room
/// for.
ReadStatus RingReader::take_super_frame(FrameBatch& into, ReadTally& tally) noexcept {
  const std::uint64_t p = place_.position;
  const std::uint64_t w = ring_.word_at(p);
  const std::uint64_t step = ring_.step(w, p);
  // The record has changed since the walk: the next chunk finds out.
  if (step == 0 || !word::is_frame_at(w, p) || !word::has_vnet(w)) return ReadStatus::more;
  const RecordHeader& r = ring_.record(p);
  const std::byte* payload = ring_.payload(p);
  const Offload offload = offload_at(payload);
  const std::size_t bytes = word::body_bytes(w) - kVnetBytes;
  Cutting& c = *cutting_;
  c.like = {};
  c.like.number = load_relaxed(r.number);
  c.like.time_ns = load_relaxed(r.time_ns);
  c.like.sender = load_relaxed(r.slot);
  c.like.sender_incarnation = load_relaxed(r.incarnation);
  copy_from_shared(c.frame.data(), payload + kVnetBytes, bytes);
  fence_loads();  // I6, for this record alone: it must be whole to be split
  if (load_acquire(ring_.header().first) > p) return resume_after_overrun(tally);
  // The walk has counted the frames that are missing in front of it.
  if (c.like.number != place_.number) return resume_after_corruption(tally);
  go_to({p + step, c.like.number + 1});
  const bool sound = is_deliverable({c.frame.data(), bytes}, offload, ring_.max_frame()) &&
                     c.segments.begin({c.frame.data(), bytes}, offload);
  if (!sound) {  // no correct sender sends such a frame: see Attachment::send
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
    if (!into.has_room_for(size)) return;  // the next call has an empty batch
    const std::span<std::byte> room = into.room();
    FrameView view = c.like;
    if (room.size() >= size) {
      view.bytes = room.first(c.segments.next(room));
    } else {
      static_cast<void>(c.segments.next(c.segment));
      std::memcpy(room.data(), c.segment.data(), room.size());
      view.bytes = room;
      view.true_bytes = static_cast<std::uint32_t>(size);
    }
    into.push(view);
  }
}

}  // namespace shmif::bus
