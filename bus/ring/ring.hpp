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
// I4  Only the claim's owner clears it, or somebody who found the owner dead; and only after the
// owner's last write.
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
// I8  Frame numbers grow by one along the chain; the number of the next frame stands after its
//     EMPTY. After a pad they may grow by more: there repair left out what it could not save.
//
// I9  Short frames that stand next to each other in a batch share a record. It is one record for
//     all the rules above: it is committed and passed by `first` as a whole. Its header has the
//     number of its first frame and the count of frames; their entries fill its body exactly. Audit
//     and repair check that. Readers check each length by itself, and may stop between two entries.
//
// I10 A record with one frame and no offload may say how many records are alike, counted from
//     itself: they are of one batch, stand next to each other without pads, and hold one frame
//     each, all of one length for one address. The batch was committed as a whole, so whoever has
//     read the first header need not read the others: readers take all these frames, and senders
//     that make room go on behind them. A reader first looks whether `first` has left that header
//     alone (I6): else it says nothing. Each of the records has a header all the same, and may be
//     the first that is left (I6). Repair takes the counts away, since it may leave out records.
//
// If a process dies or stops before its claim, the ring has not changed. If it does so between
// claim and commit, others pad around the claim until its owner clears it or is found dead; the
// oldest frames, over which it made room, are gone. If it does so after the commit, the batch is
// sent, and the next writer helps `last`.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bus/atomics.hpp"
#include "bus/file/mapping.hpp"
#include "bus/frame.hpp"
#include "bus/layout.hpp"
#include "bus/offload.hpp"
#include "bus/ring/batch.hpp"

namespace shmif::bus {

/// Requests for the lines of large records leave every second line to the hardware, which fetches
/// lines in pairs.
inline constexpr std::uint64_t kPairBytes = 2 * kLineBytes;

/// The ring's geometry and words. Cheap to copy; owns no memory.
class Ring {
 public:
  Ring() = default;
  explicit Ring(const Mapping& mapping, std::uint32_t max_frame) noexcept
      : header_(&mapping.header()),
        slots_(mapping.slots()),
        ring_(mapping.ring()),
        ring_bytes_(mapping.ring_bytes()),
        file_(mapping.file()),
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
  const FileId& file() const noexcept { return file_; }  ///< from the kernel, not from its header
  /// A bound for walks: no call has to follow this many records. (The smallest record takes twice
  /// the alignment, and a pad can stand between two of them.) So a peer that overwrites the chain
  /// can make a call slow, in proportion to the ring's size, but not endless.
  std::uint64_t walk_limit() const noexcept { return ring_bytes_ / kRecordAlign; }
  /// The record at `position`, which must pass fits_alignment(). At least bytes() contiguous bytes
  /// begin there.
  RecordHeader& record(std::uint64_t position) const noexcept {
    return *reinterpret_cast<RecordHeader*>(byte_at(position));
  }
  std::byte* byte_at(std::uint64_t position) const noexcept {
    return ring_ + (position & (ring_bytes_ - 1));
  }
  std::uint64_t word_at(std::uint64_t position) const noexcept {
    return load_acquire(record(position).word);
  }
  std::uint64_t number_at(std::uint64_t position) const noexcept {
    return load_relaxed(record(position).number);
  }
  /// How many frames were sent on this bus. Each of them has a smaller number. 0 if the chain is
  /// broken. Bounded, though writers may be fast: if they lap it again and again, it gives up with
  /// 0.
  std::uint64_t frames() const noexcept {
    constexpr unsigned kMaxTries = 100;
    for (unsigned tries = 0; tries < kMaxTries; ++tries) {
      const std::uint64_t last = load_acquire(header_->last);
      if (!fits_alignment(last)) return 0;
      const std::uint64_t number = load_acquire(record(last).number);
      // The words at `last` were not overwritten before the number was read.
      if (load_acquire(header_->last) - last < ring_bytes_ / 2) return number;
    }
    return 0;
  }
  std::byte* payload(std::uint64_t position) const noexcept {
    return byte_at(position) + kRecordHeaderBytes;
  }
  bool fits_alignment(std::uint64_t position) const noexcept {
    return position % kRecordAlign == 0 && position <= UINT64_MAX - 2 * kMaxRingBytes;
  }
  /// Bytes from the record at `position`, whose word is `w`, to the next one. 0 if `w` is not a
  /// frame or pad of that position, or has a length that this bus does not allow.
  std::uint64_t step(std::uint64_t w, std::uint64_t position) const noexcept {
    if (word::is_frame_at(w, position)) {
      // With a mark, a length is greater than the length of any frame.
      const std::uint32_t length = word::length_and_marks(w);
      if (length <= max_frame_) return length >= kMinFrameBytes ? record_bytes(length) : 0;
      const std::uint32_t bytes = word::body_bytes(w);
      const bool shared = word::is_shared(w);
      if (shared == word::has_vnet(w)) return 0;
      const std::uint64_t min =
          shared ? 2 * entry_bytes(kMinFrameBytes) : std::uint64_t{kMinFrameBytes} + kVnetBytes;
      const std::uint64_t max = shared ? kMaxSharedBytes : max_super_;
      return bytes >= min && bytes <= max ? record_bytes(bytes) : 0;
    }
    if (word::is_pad_at(w, position)) {
      const std::uint64_t bytes = word::pad_bytes(w);
      return bytes % kRecordAlign == 0 && bytes < ring_bytes_ ? bytes : 0;
    }
    return 0;
  }
  /// How many frames the record at `position` holds, whose word is the FRAME word `w`: 1, or the
  /// number in the header of a shared record. 0 if that number is impossible.
  std::uint64_t frames_of(std::uint64_t w, std::uint64_t position) const noexcept {
    if (!word::is_shared(w)) return 1;
    const std::uint64_t frames = load_relaxed(record(position).frames);
    return frames >= 2 && frames <= frames_in(word::body_bytes(w)) ? frames : 0;
  }
  /// How many records are alike from the one at `position` on (I10), whose word is the FRAME word
  /// `w`, and which takes `step` bytes. 1 if the record says nothing about that, or says what no
  /// writer can mean: a batch takes at most a quarter of the ring.
  std::uint64_t alike_from(std::uint64_t w, std::uint64_t position,
                           std::uint64_t step) const noexcept {
    if (word::is_shared(w) || word::has_vnet(w)) return 1;
    const std::uint64_t records = load_relaxed(record(position).frames);
    return records >= 2 && records * step <= ring_bytes_ / 4 ? records : 1;
  }
  /// The length of the frame whose entry begins `offset` bytes into the body of a shared record. 0
  /// if no frame of this bus can have that length, or if the entry does not end within the
  /// `body_bytes`. An `offset` from an earlier look may be beyond a body that was overwritten
  /// meanwhile.
  std::uint32_t entry_at(std::uint64_t position, std::uint32_t offset,
                         std::uint32_t body_bytes) const noexcept {
    if (offset > body_bytes || body_bytes - offset < kEntryHeaderBytes + kMinFrameBytes) return 0;
    const std::uint32_t bytes =
        load_relaxed(*reinterpret_cast<const std::uint32_t*>(payload(position) + offset));
    return bytes >= kMinFrameBytes && bytes <= max_frame_ &&
                   entry_bytes(bytes) <= body_bytes - offset
               ? bytes
               : 0;
  }
  /// The contents of a record.
  struct Contents {
    std::uint64_t frames = 0;
    std::uint32_t longest = 0;  // frame, with the virtio_net_hdr before it; 0: I9 does not hold
  };
  /// The contents of the record at `position`, whose word is the FRAME word `w`.
  Contents contents_of(std::uint64_t w, std::uint64_t position) const noexcept {
    const std::uint32_t body = word::body_bytes(w);
    Contents found{frames_of(w, position), 0};
    if (!word::is_shared(w)) return {found.frames, body};
    std::uint32_t offset = 0;
    for (std::uint64_t left = found.frames; left > 0; --left) {
      const std::uint32_t bytes = entry_at(position, offset, body);
      if (bytes == 0) return {found.frames, 0};
      found.longest = std::max(found.longest, bytes);
      offset += static_cast<std::uint32_t>(entry_bytes(bytes));
    }
    if (offset != body) found.longest = 0;
    return found;
  }

 private:
  BusHeader* header_ = nullptr;
  PortSlot* slots_ = nullptr;
  std::byte* ring_ = nullptr;
  std::uint64_t ring_bytes_ = 0;
  FileId file_;
  std::uint32_t max_frame_ = 0;
  std::uint32_t max_super_ = 0;
};

enum class AppendStatus : std::uint8_t {
  done,
  lost_lock,  ///< another port took the lock over: nothing was sent, send again
  no_room,    ///< claims leave no room for the batch
  full,       ///< the batch would overrun a port that senders wait for (W1)
  corrupt,    ///< no correct writer writes such a chain
};

/// Appends batches under the lock. Threads: one at a time.
class RingWriter {
 public:
  RingWriter() = default;
  RingWriter(Ring ring, unsigned slot, std::uint32_t incarnation) noexcept
      : ring_(ring), slot_(slot), incarnation_(incarnation) {}

  /// The `limit` if senders wait for no port.
  static constexpr std::uint64_t kNoLimit = UINT64_MAX;

  /// Bytes of the ring that one batch may take (a quarter), its tail included.
  std::uint64_t max_batch_bytes() const noexcept { return ring_.bytes() / 4; }
  /// Appends all frames of `batch`, or none. `lock` is the lock word while this port holds the
  /// lock; `limit` is how far `first` may be moved (W1).
  AppendStatus append(std::uint64_t lock, const Batch& batch, std::uint64_t time_ns,
                      std::uint64_t limit = kNoLimit) noexcept;

  /// Where the batch that was appended last begins in the chain, and the number of its first frame.
  std::uint64_t batch_position() const noexcept { return batch_position_; }
  std::uint64_t batch_number() const noexcept { return batch_number_; }
  /// Bytes of the ring that the last append needed: the batch, its tail, and the claims before it.
  std::uint64_t needed_bytes() const noexcept { return needed_bytes_; }
  /// Whether claims were in the way of the last append, and the slots that may hold them. The
  /// owners of these claims are stopped or dead.
  bool met_claims() const noexcept { return met_claims_; }
  std::span<const std::uint16_t> standing_slots() const noexcept {
    return {standing_slots_.data(), standing_count_};
  }

  /// Finds the end of the chain and helps `last` forward (I7). Result: false if the chain is
  /// broken.
  bool find_end(std::uint64_t& end) noexcept;

 private:
  struct Claim {
    std::uint64_t commit, begin, end;
  };
  void look_for_claims(std::uint64_t takeovers) noexcept;
  bool read_claim(unsigned slot, Claim& claim) const noexcept;
  bool place(std::uint64_t chain_end, std::uint64_t need, std::uint64_t& begin) const noexcept;
  AppendStatus make_room(std::uint64_t lock, std::uint64_t end, std::uint64_t limit) noexcept;
  std::uint64_t step_over_alike(std::uint64_t w, std::uint64_t position, std::uint64_t step,
                                std::uint64_t goal) const noexcept;
  void request_for_writing(std::uint64_t position, std::uint64_t bytes,
                           std::uint64_t stride) const noexcept;
  std::uint64_t write_records(std::uint64_t chain_end, std::uint64_t begin, const Batch& batch,
                              std::uint64_t time_ns) noexcept;
  std::uint64_t write_alike(std::uint64_t chain_end, std::uint64_t p, std::uint64_t number,
                            std::span<const FrameView> frames,
                            std::uint64_t time_ns) const noexcept;
  void write_alone(std::uint64_t position, const FrameView& frame) const noexcept;
  void write_shared(std::uint64_t position, std::span<const FrameView> frames) const noexcept;
  AppendStatus fill_claim(std::uint64_t lock, std::uint64_t chain_end, const Claim& claim,
                          const Batch& batch, std::uint64_t time_ns, std::uint64_t limit) noexcept;

  Ring ring_;
  unsigned slot_ = 0;
  std::uint32_t incarnation_ = 0;
  // A claim can outlive its lock only through a takeover, which first increases `takeovers` (L2).
  // So if a scan found the lock still held afterwards, its result stays good until that count
  // grows.
  std::uint64_t scanned_takeovers_ = UINT64_MAX;
  std::array<std::uint16_t, kSlots> standing_slots_{};  // slots that had a claim at the last scan
  std::size_t standing_count_ = 0;
  std::array<Claim, kSlots> claims_{};  // the claims that these slots have now
  std::size_t claim_count_ = 0;
  bool met_claims_ = false;
  std::uint64_t needed_bytes_ = 0;
  std::uint64_t batch_position_ = 0;
  std::uint64_t batch_number_ = 0;
};

/// Which frames a port accepts. The port asks, and so do senders, to find the ports to wake.
struct AddressFilter {
  /// Whether the port behind `slot` accepts frames to `mac` (first byte most significant).
  static bool accepts(const PortSlot& slot, std::uint64_t mac) noexcept;
};

enum class ReadStatus : std::uint8_t {
  more,     ///< the chunk or the batch is full
  empty,    ///< the end of the chain
  overrun,  ///< writers lapped this reader; it continues where Resume says
  corrupt,  ///< a record is not what a correct writer writes; the reader continues at the end of
            ///< the chain
  broken,   ///< as corrupt, and the end of the chain cannot be found either
};

/// The frames that one call read or passed.
struct ReadTally {
  std::uint64_t frames = 0, bytes = 0, own = 0, filtered = 0;
  std::uint64_t overruns = 0, lost_frames = 0, lost_bytes = 0, corrupt = 0;
  std::uint64_t more_segments = 0;  // segments of super-frames, beyond one for each
};

/// Follows the chain without the lock. Threads: one at a time.
class RingReader {
 public:
  RingReader() = default;
  /// `self`: this port's slot. The reader does not deliver the port's own frames, nor those that
  /// its filter does not accept. nullptr: a follower, which hears everything. `take_offloads`:
  /// deliver super-frames and unfinished checksums as they are; otherwise the reader splits and
  /// finishes them.
  RingReader(Ring ring, const PortSlot* self, unsigned slot, std::uint32_t incarnation,
             bool resume_newest, bool take_offloads = false);

  /// Where a reader is: in front of a record, or in front of an entry of a shared one.
  struct Place {
    std::uint64_t position = 0;  // of the record
    std::uint64_t number = 0;    // of the next frame
    std::uint32_t entries = 0;   // entries of the record that were passed
    std::uint32_t offset = 0;    // of the next entry in the record's body

    bool operator==(const Place&) const = default;
    /// Bytes of the record that were passed, its header included.
    std::uint64_t passed() const noexcept { return entries == 0 ? 0 : kRecordHeaderBytes + offset; }
  };
  const Place& place() const noexcept { return place_; }
  /// The position of the record that holds the next frame. `first` must not pass it if senders wait
  /// for this reader.
  std::uint64_t position() const noexcept { return place_.position; }
  std::uint64_t next_number() const noexcept { return place_.number; }
  /// Goes to the end of the chain; or to the oldest record, or to the end if that record cannot be
  /// found. Result: false if the end cannot be found.
  bool seek_end() noexcept;
  bool seek_oldest() noexcept;
  /// Goes back to a place where the reader was. Result: false if that place is no longer in the
  /// chain. If another record is at its position now, goes to the beginning of that record.
  bool seek_to(const Place& place) noexcept;

  /// After a repair: stays where it is, or goes to the oldest record if its place is gone. Result:
  /// false if neither can be found.
  bool find_place_again(ReadTally& tally) noexcept;

  /// Learns that no frame before `position`, where frame `number` begins, was for this port: the
  /// senders of such frames would have rung it. Frames among them that were overwritten while the
  /// port slept count as filtered, not as lost (D4).
  void pass_over(std::uint64_t position, std::uint64_t number, ReadTally& tally) noexcept;

  /// Goes back to the end of the chain if the reader waits past it, where nobody will commit: a
  /// peer has overwritten the ring or its header. Call it after ready() has returned false.
  /// Result: whether the reader was past the end; that is counted as corrupt.
  bool leave_place_past_end(ReadTally& tally) noexcept;

  /// Whether read() would return something other than `empty`. Sequentially consistent with a
  /// commit, as a sleeper needs (D1).
  bool ready() const noexcept;
  /// Reads one chunk of the chain into `into`.
  ReadStatus read(FrameBatch& into, ReadTally& tally) noexcept;
  /// Ends the loan and passes the lent frames. `torn`: how many of them, counted from the first,
  /// were overwritten meanwhile; all of them if the reader continues elsewhere. Result: as read().
  ReadStatus release(ReadTally& tally, std::size_t& torn) noexcept;
  /// Forgets the loan: the lent frames are read again, if they are still there.
  void forget_lent() noexcept { lent_frames_ = 0; }
  /// Reads chunks until the batch is full, the chain ends, or one call has passed enough records.
  ReadStatus read_all(FrameBatch& into, ReadTally& tally) noexcept;
  /// As read_all(), but lends the frames of one chunk: they stay in the ring, and `into` gets views
  /// of them. Until release(), position() stays in front of them, and the reader must not read or
  /// seek. A frame whose checksum must be finished is copied, and is lent like the others. The
  /// segments of a super-frame that must be split come in a call of their own, and are not lent.
  ReadStatus lend(FrameBatch& into, ReadTally& tally) noexcept;
  /// How many frames are lent.
  std::size_t lent() const noexcept { return lent_frames_; }

 private:
  static constexpr std::size_t kChunkRecords = 32;
  enum class Passed : std::uint8_t { delivered, own, filtered, refused };
  /// Successive frames of one record, or of records that are alike, that were passed in the same
  /// way. `refused`: the frame is not deliverable, or the rest of a shared record is not; no
  /// correct writer writes such frames. No member has a default, for each read() makes a Chunk.
  struct ChunkEntry {
    std::uint64_t position;  // of the first record
    std::uint32_t bytes;     // of the frames, without their Offload
    std::uint16_t frames;
    std::uint16_t more_segments;
    Passed how;
    std::uint32_t step;  // from one record to the next, if they are alike; else 0
  };
  /// The result of one walk along the chain, kept until `first` tells how much of it was whole.
  struct Chunk {
    std::array<ChunkEntry, kChunkRecords + 1> room;
    std::size_t count = 0;
    Place end;  // behind the last entry and its pads
    bool behind_pad = false;
    bool super_frame = false;  // the walk stopped in front of one that must be split
    ReadStatus status = ReadStatus::more;

    std::span<const ChunkEntry> entries() const noexcept { return std::span(room).first(count); }
    /// Whether there is room for two more entries: one that a record has begun, and another.
    bool has_room() const noexcept { return count < kChunkRecords; }
    void add(const ChunkEntry& entry) noexcept { room[count++] = entry; }
  };
  /// The values in the header of a record that apply to all its frames.
  struct Origin {
    std::uint64_t time_ns;
    std::uint32_t incarnation;
    std::uint16_t slot;
  };
  enum class InRing : bool { no, yes };
  template <InRing in_ring>
  std::uint64_t chunk_bytes() const noexcept;
  template <InRing in_ring>
  ReadStatus read_chunks(FrameBatch& into, ReadTally& tally) noexcept;
  ReadStatus lend_chunk(FrameBatch& into, ReadTally& tally) noexcept;

  void go_to(const Place& place, bool behind_pad = false) noexcept;
  bool adopt(std::uint64_t position) noexcept;
  bool is_stranded() const noexcept;
  bool seek_behind(std::uint64_t position, std::uint64_t steps) noexcept;
  template <InRing in_ring>
  void follow(FrameBatch& into, Chunk& chunk) noexcept;
  enum class Took : std::uint8_t { yes, no_room, super_frame };
  /// A record of frames, as the walk found it, or several that are alike.
  struct Record {
    std::uint64_t word, step, number, frames;
  };
  bool continues(const Record& record, const Place& at, bool behind_pad) const noexcept;
  bool was_whole(std::uint64_t position) const noexcept;
  template <InRing in_ring>
  Took take_record(Record& record, Place& at, FrameBatch& into, Chunk& chunk,
                   std::uint64_t most) noexcept;
  template <InRing in_ring>
  bool take_alike(const Origin& from, std::uint64_t records, Record& record, const Place& at,
                  FrameBatch& into, Chunk& chunk) const noexcept;
  template <InRing in_ring>
  Took take_plain(const Origin& from, std::uint64_t number, const std::byte* frame,
                  std::uint32_t bytes, FrameBatch& into, Passed& how) noexcept;
  template <InRing in_ring>
  Took take_with_offload(const Origin& from, std::uint64_t number, FrameBatch& into,
                         ChunkEntry& entry) noexcept;
  template <InRing in_ring>
  Took take_shared(const Origin& from, std::uint32_t body_bytes, std::uint64_t frames, Place& at,
                   FrameBatch& into, Chunk& chunk) noexcept;
  /// Frames of a shared record, one behind the other, that were all passed in one way.
  struct Run {
    Passed how = Passed::delivered;
    std::uint32_t frames = 0, bytes = 0;
  };
  template <InRing in_ring>
  Run take_run(const Origin& from, std::uint32_t body_bytes, std::uint64_t frames, Place& at,
               FrameBatch& into) const noexcept;
  static void copy_to(std::span<std::byte> room, const std::byte* frame, std::uint32_t bytes,
                      FrameView& view) noexcept;
  static FrameView& next_view(FrameBatch& into, const Origin& from, std::uint64_t number) noexcept;
  bool worth_requesting(std::uint64_t position) const noexcept;
  void request(std::uint64_t position, std::uint64_t bytes) const noexcept;
  ReadStatus pass(const Chunk& chunk, ReadTally& tally, std::size_t& torn) noexcept;
  static std::uint64_t bytes_since(const Place& place, std::uint64_t position) noexcept;
  static std::size_t delivered_in(std::span<const ChunkEntry> entries) noexcept;
  static ChunkEntry rest_of(const ChunkEntry& entry, std::uint64_t first) noexcept;
  ReadStatus take_super_frame(FrameBatch& into, ReadTally& tally) noexcept;
  void deliver_segments(FrameBatch& into) noexcept;
  std::uint64_t head_start() const noexcept;
  ReadStatus resume_after_overrun(ReadTally& tally) noexcept;
  ReadStatus resume_after_corruption(ReadTally& tally) noexcept;

  Ring ring_;
  const PortSlot* self_ = nullptr;
  unsigned slot_ = 0;
  std::uint32_t incarnation_ = 0;
  bool resume_newest_ = false;
  bool take_offloads_ = false;
  Place place_;
  bool behind_pad_ = false;         // the record before place_ was a pad
  std::uint64_t known_end_ = 0;     // of the chain, at the last look
  std::uint64_t lapped_until_ = 0;  // an overrun before here follows too soon on the last
  std::size_t lent_frames_ = 0;
  Chunk lent_;  // valid while frames are lent

  /// A super-frame that is being split, for a reader that does not take super-frames. It is a
  /// private copy, whose segments are delivered as room comes.
  struct Cutting {
    Segmenter segments;
    FrameView like;  // number, time and sender of every segment
    std::array<std::byte, kMaxSuperFrameBytes> frame;
    std::array<std::byte, kMaxSuperFrameBytes> segment;  // a segment that must be cut short
  };
  std::unique_ptr<Cutting> cutting_;  // null if no super-frame needs splitting
};

}  // namespace shmif::bus
