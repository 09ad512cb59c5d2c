#pragma once
// The ring: a chain of records at ever growing positions, written under the lock, read without it.
//
//        first                        claim of a writer            last
//   ------+--------+-----+--------+- - - - - - - - - - - - -+-------+-------------
//         | FRAME  | PAD>|  ...   |                          | FRAME | EMPTY(last)
//   ------+--------+-----+--------+- - - - - - - - - - - - -+-------+-------------
//
// I1  A bus is ready only when everything else in it is written.
//
// I2  Positions never go back. The word at the end e of the chain reads EMPTY(e), which no other
// word ever does.
//
// I3  A writer writes only inside its claim, except by CAS on the word that commits its batch. It
// declares the claim under the lock, and then looks again that the lock is still its own and the
// end of the chain where it was; so whoever takes the lock after that sees the claim and keeps out
// of it.
//
// I4  Only the claim's owner clears it (or who found the owner dead), and only after its last
// write.
//
// I5  A batch becomes visible by one CAS of the word at the end of the chain. A late writer's CAS
// fails, since by I2 the value it expects never comes back: nobody overwrites that word's bytes
// while the claim stands.
//
// I6  `first` passes a record before a byte of it is overwritten, by a CAS that fails when it moved
// meanwhile. A reader copies, then looks at `first`: what it copied from there on is whole.
//
// I7  `last` may lag behind the end of the chain, never run ahead; whoever writes next helps it
// forward.
//
// I8  Frame numbers grow by one along the chain; the number of the next frame stands behind its
//     EMPTY. Behind a pad they may grow by more: there repair left out what it could not save.
//
// A process that dies or stops: before its claim, nothing happened. With a claim, before the
// commit: others pad around the claim until its owner clears it or is found dead; the oldest frames
// it made room over are gone. After the commit: the batch is sent, the next writer helps `last`.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bus/atomics.hpp"
#include "bus/frame.hpp"
#include "bus/layout.hpp"
#include "bus/mapping.hpp"
#include "bus/offload.hpp"

namespace shmif::bus {

/// The ring's geometry and words. Trivially cheap to copy; owns nothing.
class Ring {
 public:
  Ring() = default;
  explicit Ring(const Mapping& mapping, std::uint32_t max_frame) noexcept
      : header_(&mapping.header()),
        slots_(mapping.slots()),
        ring_(mapping.ring()),
        ring_bytes_(mapping.ring_bytes()),
        inode_(mapping.inode()),
        max_frame_(max_frame),
        max_super_(kRecordsPerRing * record_bytes(kSuperFrameRecord) <= ring_bytes_
                       ? kSuperFrameRecord
                       : 0) {}

  BusHeader& header() const noexcept { return *header_; }
  PortSlot& slot(unsigned i) const noexcept { return slots_[i]; }
  std::uint64_t bytes() const noexcept { return ring_bytes_; }
  std::uint32_t max_frame() const noexcept { return max_frame_; }
  /// Whether records may leave work to their receivers (bus/frame.hpp, Offload).
  bool carries_offloads() const noexcept { return max_super_ != 0; }
  std::uint64_t inode() const noexcept { return inode_; }  ///< of the file, not of its header
  /// A bound for walks: more records than one call has to follow. (The smallest frames take twice
  /// the alignment, a pad stands between two of them.) So a peer that writes over the chain can
  /// make a call slow, by the ring's size, but not endless.
  std::uint64_t walk_limit() const noexcept { return ring_bytes_ / kRecordAlign; }
  /// The record at a position that fits_alignment(), of which at least ring_bytes() lie contiguous.
  RecordHeader& record(std::uint64_t position) const noexcept {
    return *reinterpret_cast<RecordHeader*>(ring_ + (position & (ring_bytes_ - 1)));
  }
  std::uint64_t word_at(std::uint64_t position) const noexcept {
    return load_acquire(record(position).word);
  }
  std::uint64_t number_at(std::uint64_t position) const noexcept {
    return load_relaxed(record(position).number);
  }
  std::byte* payload(std::uint64_t position) const noexcept {
    return reinterpret_cast<std::byte*>(&record(position)) + kRecordHeaderBytes;
  }
  bool fits_alignment(std::uint64_t position) const noexcept {
    return position % kRecordAlign == 0 && position <= UINT64_MAX - 2 * kMaxRingBytes;
  }
  /// Bytes from the record at `position`, whose word is `w`, to the next one; 0 when `w` is neither
  /// a frame nor a pad of that position, or does not fit the bus.
  std::uint64_t step(std::uint64_t w, std::uint64_t position) const noexcept {
    if (word::is_frame_at(w, position)) {
      // With the mark of something left to do a length looks longer than any frame.
      const std::uint32_t length = word::length_and_mark(w);
      if (length <= max_frame_) return length >= kMinFrameBytes ? record_bytes(length) : 0;
      const std::uint32_t bytes = word::frame_bytes(w);
      return word::has_vnet(w) && bytes >= kMinFrameBytes + kVnetBytes && bytes <= max_super_
                 ? record_bytes(bytes)
                 : 0;
    }
    if (word::is_pad_at(w, position)) {
      const std::uint64_t bytes = word::pad_bytes(w);
      return bytes % kRecordAlign == 0 && bytes < ring_bytes_ ? bytes : 0;
    }
    return 0;
  }

 private:
  BusHeader* header_ = nullptr;
  PortSlot* slots_ = nullptr;
  std::byte* ring_ = nullptr;
  std::uint64_t ring_bytes_ = 0;
  std::uint64_t inode_ = 0;
  std::uint32_t max_frame_ = 0;
  std::uint32_t max_super_ = 0;
};

/// What stands behind the header of a frame's record.
inline std::uint64_t body_bytes(const FrameView& frame) noexcept {
  return frame.size() + (frame.offload.pending() ? kVnetBytes : 0);
}

enum class AppendStatus : std::uint8_t {
  done,
  lost_lock,  ///< somebody took the lock over: nothing was sent, send again
  no_room,    ///< claims stand everywhere the batch would fit
  full,       ///< the batch would overrun a port that is waited for (W1)
  corrupt,    ///< the chain does not hold what it should
};

/// Appends batches under the lock. Threads: one at a time.
class RingWriter {
 public:
  RingWriter() = default;
  RingWriter(Ring ring, unsigned slot, std::uint32_t incarnation) noexcept
      : ring_(ring), slot_(slot), incarnation_(incarnation) {}

  /// Where no port is waited for.
  static constexpr std::uint64_t kNoLimit = UINT64_MAX;

  /// Bytes of the ring that one batch may take (a quarter), its tail included.
  std::uint64_t max_batch_bytes() const noexcept { return ring_.bytes() / 4; }
  /// Appends all of `frames`, whose records take `bytes`, or nothing. `lock` is the word that says
  /// the lock is held; `limit` is how far `first` may be moved (W1).
  AppendStatus append(std::uint64_t lock, std::span<const FrameView> frames, std::uint64_t bytes,
                      std::uint64_t time_ns, std::uint64_t limit = kNoLimit) noexcept;

  /// Where the batch that was appended last begins in the chain, and the number of its first frame.
  std::uint64_t batch_position() const noexcept { return batch_position_; }
  std::uint64_t batch_number() const noexcept { return batch_number_; }
  /// Bytes of the ring that the last append needed: the batch, its tail, and the claims before it.
  std::uint64_t needed_bytes() const noexcept { return needed_bytes_; }
  /// Whether the last append met claims in its way, and the slots that may hold them. Their owners
  /// are stopped or dead.
  bool met_claims() const noexcept { return met_claims_; }
  std::span<const std::uint16_t> standing_slots() const noexcept {
    return {standing_slots_.data(), standing_count_};
  }

  /// The end of the chain, helping `last` forward (I7). Result: false when the chain is broken.
  bool find_end(std::uint64_t& end) noexcept;

 private:
  struct Claim {
    std::uint64_t commit, begin, end;
  };
  void look_for_claims(std::uint64_t takeovers) noexcept;
  bool read_claim(unsigned slot, Claim& claim) const noexcept;
  bool place(std::uint64_t chain_end, std::uint64_t need, std::uint64_t& begin) const noexcept;
  AppendStatus make_room(std::uint64_t lock, std::uint64_t end, std::uint64_t limit) noexcept;
  void write_records(std::uint64_t chain_end, std::uint64_t begin,
                     std::span<const FrameView> frames, std::uint64_t time_ns) noexcept;
  AppendStatus fill_claim(std::uint64_t lock, std::uint64_t chain_end, const Claim& claim,
                          std::span<const FrameView> frames, std::uint64_t time_ns,
                          std::uint64_t limit) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  std::uint32_t incarnation_ = 0;
  // Claims can outlive their lock only through a takeover, which grows `takeovers` first (L2). So a
  // scan that found the lock still held afterwards is good until that count grows.
  std::uint64_t scanned_takeovers_ = UINT64_MAX;
  std::array<std::uint16_t, kSlots> standing_slots_{};  // that had a claim at the last scan
  std::size_t standing_count_ = 0;
  std::array<Claim, kSlots> claims_{};  // of those, now
  std::size_t claim_count_ = 0;
  bool met_claims_ = false;
  std::uint64_t needed_bytes_ = 0;
  std::uint64_t batch_position_ = 0;
  std::uint64_t batch_number_ = 0;
};

/// What a port lets through. Read by the port itself, and by senders that wonder whom to wake.
struct AddressFilter {
  /// Whether a frame to `mac` (first byte most significant) is for the port behind `slot`.
  static bool accepts(const PortSlot& slot, std::uint64_t mac) noexcept;
};

enum class ReadStatus : std::uint8_t {
  more,     ///< the chunk or the batch is full
  empty,    ///< the end of the chain
  overrun,  ///< writers lapped this reader; it goes on from the oldest record, or the newest
  corrupt,  ///< a record is not what a correct writer writes; it goes on at the end of the chain
  broken,   ///< as corrupt, and the end of the chain is not to be found either
};

/// What passed by in one call.
struct ReadTally {
  std::uint64_t frames = 0, bytes = 0, own = 0, filtered = 0;
  std::uint64_t overruns = 0, lost_frames = 0, lost_bytes = 0, corrupt = 0;
  std::uint64_t more_segments = 0;  // that super-frames stand for, beyond one each
};

/// Follows the chain without the lock. Threads: one at a time.
class RingReader {
 public:
  RingReader() = default;
  /// `self`: the slot whose own frames are not delivered and whose filter holds; nullptr: a
  /// follower, hears all. `take_offloads`: deliver super-frames and unfinished checksums as they
  /// are; else they are made whole.
  RingReader(Ring ring, const PortSlot* self, unsigned slot, std::uint32_t incarnation,
             bool resume_newest, bool take_offloads = false);

  std::uint64_t position() const noexcept { return position_; }
  std::uint64_t next_number() const noexcept { return next_number_; }
  /// Goes to the end of the chain, or the oldest record. Result: false when neither can be found.
  bool seek_end() noexcept;
  bool seek_oldest() noexcept;
  /// Goes to a position of before. Result: false when no record, nor the end, is there any more.
  bool seek_to(std::uint64_t position) noexcept;

  /// After a repair: stays at its place, or goes on with the oldest record where that is gone.
  /// Result: false when neither can be found.
  bool find_place_again(ReadTally& tally) noexcept;

  /// Tells that no frame before `position`, where the frame `number` is, was for this port: its
  /// senders would have rung. Of those, what was lapped while the port slept counts as filtered,
  /// not as lost.
  void pass_over(std::uint64_t position, std::uint64_t number, ReadTally& tally) noexcept;

  /// Whether read() would do more than answer `empty`. Sequentially consistent with a commit, as a
  /// sleeper needs.
  bool ready() const noexcept;
  /// Reads one chunk of the chain into `into`.
  ReadStatus read(FrameBatch& into, ReadTally& tally) noexcept;
  /// Passes the frames that were lent. `torn`: so many, from the first on, were overwritten
  /// meanwhile; all of them where the chain went on elsewhere. Result: as of a read that copies.
  ReadStatus release(ReadTally& tally, std::size_t& torn) noexcept;
  /// Forgets that any were lent: they come again, if they are still there.
  void forget_lent() noexcept { has_lent_ = false; }
  /// Reads chunks until the batch is full, nothing is left, or enough passed by for one call.
  ReadStatus read_all(FrameBatch& into, ReadTally& tally) noexcept;
  /// Lends the frames of one chunk instead: they stay where they are, and `into` has views of them.
  /// Until release(), position() stays before them, and nothing else is to be read or sought. What
  /// must be finished is copied, and lent as the others are; what must be cut up comes by itself,
  /// and is not lent.
  ReadStatus lend(FrameBatch& into, ReadTally& tally) noexcept;
  /// How many are lent.
  std::size_t lent() const noexcept { return has_lent_ ? lent_.delivered() : 0; }

 private:
  static constexpr std::size_t kChunkRecords = 32;
  enum class Passed : std::uint8_t { delivered, own, filtered, refused };
  struct ChunkEntry {
    std::uint64_t position;
    std::uint32_t bytes;  // of the frame, without what it leaves to do
    std::uint16_t more_segments;
    Passed how;
  };
  /// What one pass along the chain met, kept until `first` tells how much of it was whole.
  struct Chunk {
    std::array<ChunkEntry, kChunkRecords> entries;
    std::size_t count = 0;
    // Of the entries:
    std::uint64_t own = 0;
    std::uint64_t filtered = 0;
    std::uint64_t refused = 0;  // no correct writer writes them: longer than the bus allows
    std::uint64_t bytes = 0;    // of those delivered
    std::uint64_t more_segments = 0;
    std::uint64_t end = 0;   // position behind the last entry and its pads
    std::uint64_t next = 0;  // number expected there
    bool behind_pad = false;
    bool super_frame = false;  // it ended in front of one that is to be cut up
    ReadStatus status = ReadStatus::more;

    std::size_t delivered() const noexcept { return count - own - filtered - refused; }
    std::size_t forget_front(std::size_t torn) noexcept;
  };
  enum class Place : bool { copied, in_ring };
  template <Place place>
  ReadStatus read_chunks(FrameBatch& into, ReadTally& tally) noexcept;
  ReadStatus lend_chunk(FrameBatch& into, ReadTally& tally) noexcept;

  bool adopt(std::uint64_t position) noexcept;
  template <Place place>
  void follow(FrameBatch& into, Chunk& chunk) noexcept;
  enum class Took : std::uint8_t { yes, no_room, super_frame };
  template <Place place>
  Took deliver(std::uint64_t position, std::uint64_t w, std::uint64_t number, FrameBatch& into,
               ChunkEntry& entry) noexcept;
  ReadStatus pass(Chunk& chunk, ReadTally& tally, std::size_t& torn) noexcept;
  ReadStatus take_super_frame(FrameBatch& into, ReadTally& tally) noexcept;
  void deliver_segments(FrameBatch& into) noexcept;
  ReadStatus resume_after_overrun(ReadTally& tally) noexcept;
  ReadStatus resume_after_corruption(ReadTally& tally) noexcept;

  Ring ring_;
  const PortSlot* self_ = nullptr;
  unsigned slot_ = 0;
  std::uint32_t incarnation_ = 0;
  bool resume_newest_ = false;
  bool take_offloads_ = false;
  std::uint64_t position_ = 0;
  std::uint64_t next_number_ = 0;
  bool behind_pad_ = false;  // the record before position_ was a pad
  bool has_lent_ = false;
  Chunk lent_;  // meaningful while has_lent_

  /// A super-frame that is being cut up for a reader that takes none: a private copy, which goes
  /// out as room comes.
  struct Cutting {
    Segmenter segments;
    FrameView like;  // number, time and sender of each
    std::array<std::byte, kMaxSuperFrameBytes> frame;
    std::array<std::byte, kMaxSuperFrameBytes> segment;  // one that is to be cut short
  };
  std::unique_ptr<Cutting> cutting_;  // nothing where no record is a super-frame, or all are taken
};

}  // namespace shmif::bus
