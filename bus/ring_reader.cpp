#include <array>
#include <bit>

#include "bus/ring.hpp"

namespace shmif::bus {
namespace {

constexpr std::size_t kChunkRecords = 32;
constexpr unsigned kChunksPerCall = 64;
constexpr std::uint64_t kGroupBit =
    1ULL << 40U;  // I/G bit of an address with its first byte most significant

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

/// What one pass along the chain met, kept until `first` tells how much of it was whole.
struct RingReader::Chunk {
  struct Entry {
    std::uint64_t position;
    std::uint64_t number;
    std::uint32_t bytes;
    Passed how;
  };
  std::array<Entry, kChunkRecords> entries;
  std::size_t count = 0;
  std::uint64_t end = 0;   // position behind the last entry and its pads
  std::uint64_t next = 0;  // number expected there
  bool behind_pad = false;
};

bool RingReader::ready() const noexcept {
  return load_seq_cst(ring_.record(position_).word) != word::empty(position_) ||
         load_seq_cst(ring_.header().first) > position_;
}

ReadStatus RingReader::read(FrameBatch& into, ReadTally& tally) noexcept {
  Chunk chunk;
  const std::size_t before = into.size();
  const std::uint64_t start = position_;
  const ReadStatus status = follow(into, chunk);
  fence_loads();  // I6: the copies above were made before this look
  const std::uint64_t first = load_acquire(ring_.header().first);
  std::size_t whole_from = 0;
  if (first > start) {
    // Lapped. What was copied from `first` on is whole, if the walk came through there.
    while (whole_from < chunk.count && chunk.entries[whole_from].position < first) ++whole_from;
    const bool met = whole_from < chunk.count && chunk.entries[whole_from].position == first;
    if (!met || resume_newest_) {
      into.drop(before, into.size());
      return resume_after_overrun(tally);
    }
    ++tally.overruns;
    tally.lost_bytes += first - start;
  }
  std::size_t torn = 0;
  for (std::size_t i = 0; i < chunk.count; ++i) {
    const Chunk::Entry& e = chunk.entries[i];
    if (i < whole_from) {
      torn += e.how == Passed::delivered ? 1U : 0U;
      continue;
    }
    if (e.how == Passed::own) {
      ++tally.own;
    } else if (e.how == Passed::filtered) {
      ++tally.filtered;
    } else {
      ++tally.frames;
      tally.bytes += e.bytes;
    }
  }
  if (torn != 0) into.drop(before, before + torn);
  // Lapped, or behind a pad where repair could not save them (I8).
  tally.lost_frames += chunk.next - next_number_ - (chunk.count - whole_from);
  position_ = chunk.end;
  next_number_ = chunk.next;
  behind_pad_ = chunk.behind_pad;
  return status == ReadStatus::corrupt ? resume_after_corruption(tally) : status;
}

ReadStatus RingReader::read_all(FrameBatch& into, ReadTally& tally) noexcept {
  ReadStatus status = ReadStatus::more;
  for (unsigned i = 0; i < kChunksPerCall; ++i) {
    const std::uint64_t before = position_;
    status = read(into, tally);
    if (status == ReadStatus::empty || status == ReadStatus::broken) break;
    if (into.full() || (status == ReadStatus::more && position_ == before)) break;
  }
  return status;
}

ReadStatus RingReader::follow(FrameBatch& into, Chunk& chunk) noexcept {
  const std::uint64_t limit = position_ + ring_.bytes() / 16;
  chunk.end = position_;
  chunk.next = next_number_;
  chunk.behind_pad = behind_pad_;
  while (chunk.count < kChunkRecords && chunk.end <= limit) {
    const std::uint64_t p = chunk.end;
    const std::uint64_t w = ring_.word_at(p);  // SYNC POINT COMMIT, the reader's side (I5)
    if (w == word::empty(p)) return ReadStatus::empty;
    const std::uint64_t step = ring_.step(w, p);
    if (step == 0) return ReadStatus::corrupt;
    if (word::is_frame_at(w, p)) {
      const std::uint64_t number = ring_.number_at(p);
      const std::uint64_t most = chunk.behind_pad ? ring_.bytes() / kRecordAlign : 0;
      if (number - chunk.next > most) return ReadStatus::corrupt;  // also when it is less
      Passed how = Passed::delivered;
      const std::uint32_t bytes = word::frame_bytes(w);
      if (!deliver(p, bytes, into, how)) return ReadStatus::more;
      chunk.entries[chunk.count++] = {p, number, bytes, how};
      chunk.next = number + 1;
      chunk.behind_pad = false;
    } else {
      chunk.behind_pad = true;
    }
    chunk.end = p + step;
  }
  return ReadStatus::more;
}

bool RingReader::deliver(std::uint64_t position, std::uint32_t bytes, FrameBatch& into,
                         Passed& how) noexcept {
  const RecordHeader& r = ring_.record(position);
  const std::byte* payload = ring_.payload(position);
  FrameView view;
  view.sender = load_relaxed(r.slot);
  if (self_ != nullptr) {
    if (view.sender == slot_ && load_relaxed(r.incarnation) == incarnation_) {
      how = Passed::own;
      return true;
    }
    if (!AddressFilter::accepts(*self_, address_at(payload))) {
      how = Passed::filtered;
      return true;
    }
  }
  if (into.full()) return false;
  const std::span<std::byte> room = into.room();
  std::size_t take = bytes;
  if (room.size() < take) {
    if (!into.empty()) return false;  // the next call has an empty batch
    take = room.size();
    view.true_bytes = bytes;
  }
  view.number = load_relaxed(r.number);
  view.time_ns = load_relaxed(r.time_ns);
  copy_from_shared(room.data(), payload, take);
  view.bytes = {room.data(), take};
  into.push(view);
  return true;
}

void RingReader::pass_over(std::uint64_t position, std::uint64_t number,
                           ReadTally& tally) noexcept {
  if (load_acquire(ring_.header().first) <= position_)
    return;  // nothing was lapped: read() sees each frame
  if (position <= position_ || number <= next_number_) return;
  // The numbers come from shared memory: no more frames than fit between the positions.
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
  const std::uint64_t number = ring_.number_at(position);  // stands before and after a commit (I8)
  fence_loads();
  if (load_acquire(ring_.header().first) > position) return false;
  position_ = position;
  next_number_ = number;
  behind_pad_ = false;
  return true;
}

bool RingReader::seek_end() noexcept {
  for (unsigned tries = 0; tries < 1000; ++tries) {
    // `last` may lag (I7): from there along the chain, else a reader that knew more would go back.
    std::uint64_t p = load_acquire(ring_.header().last);
    if (!ring_.fits_alignment(p)) continue;
    for (std::uint64_t steps = ring_.bytes() / kRecordAlign; steps > 0; --steps) {
      const std::uint64_t step = ring_.step(ring_.word_at(p), p);
      if (step == 0) break;  // EMPTY, or no record at all: adopt() tells
      p += step;
    }
    if (adopt(p)) return true;
  }
  return false;
}

bool RingReader::seek_oldest() noexcept {
  for (unsigned tries = 0; tries < 1000; ++tries) {
    if (adopt(load_acquire(ring_.header().first))) return true;
  }
  return seek_end();
}

ReadStatus RingReader::resume_after_overrun(ReadTally& tally) noexcept {
  const std::uint64_t position = position_;
  const std::uint64_t number = next_number_;
  if (!(resume_newest_ ? seek_end() : seek_oldest()) || position_ < position ||
      next_number_ < number) {
    ++tally.corrupt;
    return ReadStatus::broken;
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
  // A lower bound from here on: the number may be a scribble too.
  if (next_number_ > number && position_ > position &&
      next_number_ - number <= (position_ - position) / kRecordAlign) {
    tally.lost_frames += next_number_ - number;
    tally.lost_bytes += position_ - position;
  }
  return ReadStatus::corrupt;
}

}  // namespace shmif::bus
