#pragma once
// The bus file, byte by byte. docs/bus-format.md says the same in prose; a test compares the two.
//
//   0 KiB   BusHeader
//   4 KiB   PortSlot[kSlots]
// 192 KiB   the ring, ring_bytes long (mapped twice in a row, so that every record is contiguous)
//
// Little-endian throughout. Marks say who writes a field:
//   (i) fixed before `ready`;  (L) the lock's holder;  (A) anyone, atomically;
//   (O) the process that owns the slot;  (D) by pwrite only, so that inotify sees it.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bus/limits.hpp"

namespace shmif::bus {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

inline constexpr std::uint32_t kFormatVersion = 7;
inline constexpr std::uint64_t kMagic = 0x737562'66696d6873ULL;  // "shmifbus" in memory
inline constexpr std::uint32_t kNetbsdMagic = 0xca11d054;        // the other format: bus/netbsd/
inline constexpr std::size_t kLineBytes = 64;  // named here: -mtune must never shape a file format
inline constexpr unsigned kSlots = 256;
inline constexpr std::size_t kNameBytes = 32;  // with the terminating zero
inline constexpr std::size_t kLearnedAddresses = 16;
inline constexpr std::size_t kBitmapWords = kSlots / 64;
inline constexpr std::uint32_t kVnetBytes = 12;  // struct virtio_net_hdr_v1, before a super-frame
inline constexpr std::uint32_t kSuperFrameRecord = kVnetBytes + 65535 + kMtuToFrame;
inline constexpr unsigned kRecordsPerRing =
    8;  // a ring holds at least this many of the largest record

struct alignas(kLineBytes) BusHeader {
  // Line 0 and 1: geometry, fixed.
  std::uint64_t magic;             //    0 (i) kMagic
  std::uint32_t layout_signature;  //    8 (i) kLayoutSignature
  std::uint32_t ready;             //   12 (A) 1, written last of all at creation
  std::uint64_t ring_bytes;        //   16 (i) a power of two
  std::uint32_t ring_offset;       //   24 (i) of the ring in the file
  std::uint32_t slot_count;        //   28 (i)
  std::uint32_t mtu;               //   32 (i) layer 3
  std::uint32_t max_record;        //   36 (i) most bytes behind a RecordHeader, for one frame
  std::uint32_t record_align;      //   40 (i) records begin at multiples of it
  std::uint32_t flow;              //   44 (i) 0 ethernet, 1 pause
  std::uint64_t inode;             //   48 (i) of this file; another number betrays a copy
  std::uint64_t file_system;       //   56 (i) statfs f_type
  std::uint64_t created_ns;        //   64 (i) wall clock, for display
  std::uint64_t patience_ns;       //   72 (i) how long a pause may be; 0 where flow is ethernet
  std::uint64_t reserved0[6];      //   80

  alignas(kLineBytes)
      std::uint64_t lock;  //  128 (A) LockWord: free, or holder's slot; counts acquisitions
  std::uint64_t wish;      //  136 (A) slot plus one of a waiter that should be next, 0: nobody
  // Beside the lock, because only the lock's holder needs it: one line goes from writer to writer,
  // not two.
  std::uint64_t last;             //  144 (A) position past the newest; may lag behind the chain
  std::uint64_t longest_hold_ns;  //  152 (A) the longest that a waiter saw one holder keep the lock
  alignas(kLineBytes) std::uint64_t first;  //  192 (A) position of the oldest record
  /// Ports that sleep, one bit per slot: the sleeper sets it, and a writer that rings clears it.
  alignas(kLineBytes) std::uint64_t sleepers[kBitmapWords];  //  256 (A)
  /// Sleepers that do not check the ring every 50 ms.
  std::uint64_t deep_sleepers[kBitmapWords];  //  288 (A)

  // Line 5: seldom written, but every port reads it for every batch.
  alignas(kLineBytes) std::uint64_t epoch;  //  320 (A) grows at every repair that rebuilt the ring
  std::uint64_t takeovers;         //  328 (A) grows before every attempt to take the lock over
  std::uint64_t slots_used;        //  336 (A) slots from here on were never used
  std::uint64_t filter_changes;    //  344 (A) grows after every change of what a port accepts
  std::uint64_t takeovers_dead;    //  352 (A) the lock was taken from a dead holder
  std::uint64_t takeovers_living;  //  360 (A) ... from a living one without progress
  std::uint64_t repairs;           //  368 (A)
  std::uint64_t claims_freed;      //  376 (A) claims of dead writers that others took back

  alignas(kLineBytes) std::uint32_t doorbell;  //  384 (D) its value is not used; writing it wakes
  std::uint32_t reserved2[15];                 //  388
  std::byte reserved3[4096 - 448];             //  448
};

/// The state of a slot, in the low byte of PortSlot::state; the incarnation is above it.
enum class SlotState : std::uint8_t { free = 0, attaching = 1, live = 2 };

/// Values of BusHeader::flow.
inline constexpr std::uint32_t kFlowEthernet = 0;
inline constexpr std::uint32_t kFlowPause = 1;

inline constexpr std::uint32_t kFlagUp = 1U << 0U;
inline constexpr std::uint32_t kFlagPromiscuous = 1U << 1U;
inline constexpr std::uint32_t kFlagLearnedTooMany = 1U << 2U;  // hears all, as if promiscuous
inline constexpr std::uint32_t kFlagPause = 1U << 3U;  // senders wait for it (bus/ring/flow.hpp)
inline constexpr std::uint32_t kFlagNoCarrier = 1U << 4U;       // the interface behind it is down
inline constexpr std::uint32_t kFlagCarrierUnknown = 1U << 5U;  // the port cannot see it

/// Values of PortSlot::rung_position until somebody rings a port that has announced sleep. No
/// record begins at either.
inline constexpr std::uint64_t kLooksForFrames = 1;   // it may still have frames to read
inline constexpr std::uint64_t kAsleep = UINT64_MAX;  // it looked, and found no frame
/// Set in the position if the port was rung before its look was over. The port may still have to
/// read frames from before that position.
inline constexpr std::uint64_t kRungEarly = 2;

/// How a sleeping port is woken.
inline constexpr std::uint32_t kBellFutex = 0;
inline constexpr std::uint32_t kBellInotify = 1;

struct alignas(kLineBytes) PortSlot {
  // Line 0: identity. The byte at the slot's offset carries the F_OFD_SETLK lock that says "alive".
  std::uint64_t state;      //   0 (A) SlotState and incarnation
  std::uint32_t pid;        //   8 (O) in the pid namespace of the port's process
  std::uint32_t flags;      //  12 (A) kFlag...
  std::uint64_t mac;        //  16 (A) first byte most significant
  std::uint32_t link;       //  24 (O) shmif::LinkKind
  std::uint32_t reserved0;  //  28
  char name[kNameBytes];    //  32 (O) zero-terminated

  // Line 1: the claim. `claim_owner` is the lock word of the acquisition that the claim belongs to;
  // 0: no claim.
  alignas(kLineBytes) std::uint64_t claim_owner;  //  64 (O) 0: no claim; owner or reaper clears it
  std::uint64_t claim_commit;  //  72 (O) position of the word that commits the batch
  std::uint64_t claim_begin;   //  80 (O) [begin, end) is what the owner may write
  std::uint64_t claim_end;     //  88 (O)
  std::uint64_t reserved1[4];  //  96

  // Line 2: how the port is woken.
  alignas(kLineBytes) std::uint32_t futex;  // 128 (A) grows at every ring
  std::uint32_t bell;                       // 132 (O) kBell...
  std::uint64_t rung_position;  // 136 (A) of the batch that rang: no frame before it was for the
                                //         sleeper; or one of the values above
  std::uint64_t rung_number;    // 144 (A) of the first frame there
  std::uint32_t deep_ticket;    // 152 (O) the value of `futex` when it went to sleep deep
  std::uint32_t reserved5;      // 156
  std::uint64_t stalls;         // 160 (A) times that senders lost patience with it
  std::uint64_t reserved2[3];   // 168

  // Line 3: what the port sent.
  alignas(kLineBytes) std::uint64_t tx_frames;  // 192 (O)
  std::uint64_t tx_bytes;                       // 200 (O)
  std::uint64_t doorbells;         // 208 (O) times it rang: once per batch, however many it woke
  std::uint64_t lock_sleeps;       // 216 (O) cooldowns spent waiting for the lock
  std::uint64_t pauses;            // 224 (O) times it waited for a slow port
  std::uint64_t paused_ns;         // 232 (O) how long, altogether
  std::uint32_t waits_for;         // 240 (O) slot plus one of the port it waits for, 0: nobody
  std::uint32_t reserved6;         // 244
  std::uint64_t tx_more_segments;  // 248 (O) beyond tx_frames, where one frame stands for many

  // Line 4 and 5: what the port received.
  alignas(kLineBytes) std::uint64_t position;  // 256 (O) where it reads next
  std::uint64_t next_number;                   // 264 (O) the frame number it expects there
  std::uint64_t rx_frames;                     // 272 (O)
  std::uint64_t rx_bytes;                      // 280 (O)
  std::uint64_t own_frames;                    // 288 (O) not delivered: its own
  std::uint64_t filtered_frames;               // 296 (O) not delivered: for others
  std::uint64_t skipped_frames;                // 304 (O) passed while it was down
  std::uint64_t overruns;                      // 312 (O)
  std::uint64_t lost_frames;                   // 320 (O)
  std::uint64_t lost_bytes;                    // 328 (O) of the ring, record headers included
  std::uint64_t corrupt;                       // 336 (O)
  std::uint64_t wakeups;                       // 344 (O)
  std::uint64_t rx_more_segments;              // 352 (O) beyond rx_frames
  std::uint64_t too_long_frames;               // 360 (O) not sent: longer than the bus allows
  std::uint64_t refused_frames;                // 368 (O) not sent: refused for another reason
  std::uint64_t read_inside;                   // 376 (O) bytes read of the record at `position`

  // Line 6 and 7: source addresses of hosts behind this port, 0: unused.
  alignas(kLineBytes) std::uint64_t learned[kLearnedAddresses];  // 384 (O)
};

/// The beginning of every record. Behind it is the frame. If the sender left work to the receiver,
/// an Offload and two zero bytes come before the frame. In a *shared record* there are several
/// frames of one batch, each with its length before it (below: entry_bytes).
/// The end of the chain has only the first two words: EMPTY(position), and the number that the next
/// frame will have. That number is already word 1 of the next record, so committing a record does
/// not change it.
struct RecordHeader {
  std::uint64_t word;     //  0 (A) the commit word, see below
  std::uint64_t number;   //  8 (L) of the first frame, or for EMPTY and pads of the next one
  std::uint64_t time_ns;  // 16 (L) wall clock of the sender, since the epoch
  std::uint16_t slot;     // 24 (L) the sender's
  std::uint16_t frames;   // 26 (L) how many share the record; of one that has a single frame, how
                          //        many records are alike from it on (I10), or 0
  std::uint32_t incarnation;  // 28 (L) the sender's, low 32 bits
};

inline constexpr std::size_t kRecordHeaderBytes = sizeof(RecordHeader);
inline constexpr std::size_t kTailBytes = 16;          // an EMPTY word and its number
inline constexpr std::uint32_t kRecordAlign = 32;      // by measurement, docs/decisions.md
inline constexpr std::uint32_t kEntryHeaderBytes = 4;  // in a shared record: the frame's length
inline constexpr std::uint32_t kEntryAlign = 4;
inline constexpr std::uint32_t kMaxSharedBytes = 4096 - kRecordHeaderBytes;  // behind the header
inline constexpr std::size_t kHeaderBytes = sizeof(BusHeader);
inline constexpr std::size_t kTableBytes = kSlots * sizeof(PortSlot);
inline constexpr std::uint32_t kRingOffset = 192U << 10U;  // a multiple of 64 KiB pages

// The commit word: two bits of kind; what the kind needs; and the low bits of the record's position
// in units of 16 bytes. So a word is never valid at another place, or at another lap at which it
// could be found.
//   EMPTY  01 | position / 16, 62 bits
//   FRAME  10 | two marks, length of everything behind the header, 18 bits | position / 16, 42 bits
//             (first mark: a virtio_net_hdr of 12 bytes comes before the frame; second mark:
//             several frames share the record)
//   PAD    11 | length / 16, 27 bits  | position / 16, 35 bits
namespace word {

inline constexpr unsigned kUnitShift = 4;
inline constexpr std::uint64_t kKindMask = 3ULL << 62U;
inline constexpr std::uint64_t kEmpty = 1ULL << 62U;
inline constexpr std::uint64_t kFrame = 2ULL << 62U;
inline constexpr std::uint64_t kPad = 3ULL << 62U;
inline constexpr unsigned kFramePositionBits = 42;
inline constexpr unsigned kPadPositionBits = 35;
inline constexpr std::uint64_t kVnet = 1ULL << 61U;
inline constexpr std::uint64_t kShared = 1ULL << 60U;

constexpr std::uint64_t low_bits(std::uint64_t v, unsigned bits) noexcept {
  return v & ((1ULL << bits) - 1);
}
constexpr std::uint64_t empty(std::uint64_t position) noexcept {
  return kEmpty | low_bits(position >> kUnitShift, 62);
}
constexpr std::uint64_t frame(std::uint64_t position, std::uint64_t bytes,
                              bool with_vnet = false) noexcept {
  return kFrame | (with_vnet ? kVnet : 0) | bytes << kFramePositionBits |
         low_bits(position >> kUnitShift, kFramePositionBits);
}
constexpr std::uint64_t shared(std::uint64_t position, std::uint64_t bytes) noexcept {
  return frame(position, bytes) | kShared;
}
constexpr std::uint64_t pad(std::uint64_t position, std::uint64_t bytes) noexcept {
  return kPad | (bytes >> kUnitShift) << kPadPositionBits |
         low_bits(position >> kUnitShift, kPadPositionBits);
}
constexpr bool is_frame_at(std::uint64_t w, std::uint64_t position) noexcept {
  return (w & kKindMask) == kFrame &&
         low_bits(w, kFramePositionBits) == low_bits(position >> kUnitShift, kFramePositionBits);
}
constexpr bool is_pad_at(std::uint64_t w, std::uint64_t position) noexcept {
  return (w & kKindMask) == kPad &&
         low_bits(w, kPadPositionBits) == low_bits(position >> kUnitShift, kPadPositionBits);
}
constexpr bool has_vnet(std::uint64_t w) noexcept {
  return (w & kVnet) != 0;
}
/// Whether several frames share the record of this FRAME word.
constexpr bool is_shared(std::uint64_t w) noexcept {
  return (w & kShared) != 0;
}
/// The whole field: the length, and the two marks above it.
constexpr std::uint32_t length_and_marks(std::uint64_t w) noexcept {
  return static_cast<std::uint32_t>((w & ~kKindMask) >> kFramePositionBits);
}
/// Bytes behind the record's header.
constexpr std::uint32_t body_bytes(std::uint64_t w) noexcept {
  return static_cast<std::uint32_t>((w & ~(kKindMask | kVnet | kShared)) >> kFramePositionBits);
}
constexpr std::uint64_t pad_bytes(std::uint64_t w) noexcept {
  return ((w & ~kKindMask) >> kPadPositionBits) << kUnitShift;
}

}  // namespace word

/// The lock word: the holder's slot plus one in the low 10 bits, 0 when free. Above it is a count
/// that grows at every acquisition and takeover, so no value occurs twice.
namespace lock_word {

inline constexpr unsigned kSlotBits = 10;
inline constexpr std::uint64_t kSlotMask = (1U << kSlotBits) - 1;
inline constexpr unsigned kRepairSlot = 1000;  // the name under which `repair` holds the lock

constexpr bool is_free(std::uint64_t w) noexcept {
  return (w & kSlotMask) == 0;
}
constexpr unsigned holder(std::uint64_t w) noexcept {
  return static_cast<unsigned>(w & kSlotMask) - 1;
}
constexpr std::uint64_t acquisitions(std::uint64_t w) noexcept {
  return w >> kSlotBits;
}
constexpr std::uint64_t next_held_by(std::uint64_t w, unsigned slot) noexcept {
  return (acquisitions(w) + 1) << kSlotBits | (slot + 1);
}
constexpr std::uint64_t freed(std::uint64_t w) noexcept {
  return w & ~kSlotMask;
}

}  // namespace lock_word

/// Slot state words.
constexpr std::uint64_t slot_state(SlotState s, std::uint64_t incarnation) noexcept {
  return incarnation << 8U | static_cast<std::uint64_t>(s);
}
constexpr SlotState state_of(std::uint64_t word) noexcept {
  return static_cast<SlotState>(word & 0xffU);
}
constexpr std::uint64_t incarnation_of(std::uint64_t word) noexcept {
  return word >> 8U;
}

/// Bytes of the ring that a record with `bytes` behind its header takes.
constexpr std::uint64_t record_bytes(std::uint64_t bytes) noexcept {
  return (kRecordHeaderBytes + bytes + kRecordAlign - 1) & ~std::uint64_t{kRecordAlign - 1};
}

/// Bytes of a shared record that a frame of `bytes` takes: its length, 4 bytes; the frame; and
/// unused bytes up to the next multiple of kEntryAlign.
constexpr std::uint64_t entry_bytes(std::uint64_t bytes) noexcept {
  return (kEntryHeaderBytes + bytes + kEntryAlign - 1) & ~std::uint64_t{kEntryAlign - 1};
}
/// The most frames that `bytes` of the ring can hold.
constexpr std::uint64_t frames_in(std::uint64_t bytes) noexcept {
  return bytes / entry_bytes(kMinFrameBytes);
}

/// The part of the header that never changes once `ready` is set.
inline constexpr std::size_t kFixedBytes = offsetof(BusHeader, reserved0);

static_assert(sizeof(BusHeader) == 4096 && sizeof(PortSlot) == 512 && sizeof(RecordHeader) == 32);
static_assert(std::is_trivially_copyable_v<BusHeader> && std::is_standard_layout_v<BusHeader>);
static_assert(std::is_trivially_copyable_v<PortSlot> && std::is_standard_layout_v<PortSlot>);
static_assert(offsetof(BusHeader, lock) == 128 && offsetof(BusHeader, wish) == 136 &&
              offsetof(BusHeader, last) == 144 && offsetof(BusHeader, first) == 192 &&
              offsetof(BusHeader, sleepers) == 256 && offsetof(BusHeader, epoch) == 320 &&
              offsetof(BusHeader, doorbell) == 384);
static_assert(offsetof(PortSlot, claim_owner) == 64 && offsetof(PortSlot, futex) == 128 &&
              offsetof(PortSlot, tx_frames) == 192 && offsetof(PortSlot, position) == 256 &&
              offsetof(PortSlot, learned) == 384);
static_assert(kHeaderBytes + kTableBytes <= kRingOffset);
static_assert(kRecordsPerRing * record_bytes(kMaxSharedBytes) <= kMinRingBytes);
static_assert(kRecordAlign >= kTailBytes && kRecordAlign % 16 == 0);
static_assert(kSlots < lock_word::kRepairSlot && lock_word::kRepairSlot < lock_word::kSlotMask);

/// FNV-1a over sizes, offsets and the widths of bit fields. So if somebody changes the layout and
/// forgets to raise the version, other builds still refuse such a bus. A test compares this list
/// with the structs.
constexpr std::uint32_t fold_layout() noexcept {
  // clang-format off: it would put each fact on a line of its own
  const std::uint64_t facts[] = {
      sizeof(BusHeader), sizeof(PortSlot), sizeof(RecordHeader), kSlots, kNameBytes,
      kLearnedAddresses, kRingOffset, kRecordAlign, word::kFramePositionBits,
      word::kPadPositionBits, word::kVnet, word::kShared, kEntryHeaderBytes, kEntryAlign,
      kMaxSharedBytes, lock_word::kSlotBits, kVnetBytes, kSuperFrameRecord,
      offsetof(BusHeader, magic), offsetof(BusHeader, layout_signature), offsetof(BusHeader, ready),
      offsetof(BusHeader, ring_bytes), offsetof(BusHeader, ring_offset),
      offsetof(BusHeader, slot_count), offsetof(BusHeader, mtu), offsetof(BusHeader, max_record),
      offsetof(BusHeader, record_align), offsetof(BusHeader, flow), offsetof(BusHeader, inode),
      offsetof(BusHeader, file_system), offsetof(BusHeader, created_ns),
      offsetof(BusHeader, patience_ns), offsetof(BusHeader, lock),
      offsetof(BusHeader, wish), offsetof(BusHeader, first), offsetof(BusHeader, last),
      offsetof(BusHeader, sleepers), offsetof(BusHeader, deep_sleepers), offsetof(BusHeader, epoch),
      offsetof(BusHeader, takeovers), offsetof(BusHeader, slots_used),
      offsetof(BusHeader, filter_changes),
      offsetof(BusHeader, takeovers_dead), offsetof(BusHeader, takeovers_living),
      offsetof(BusHeader, repairs), offsetof(BusHeader, claims_freed),
      offsetof(BusHeader, longest_hold_ns), offsetof(BusHeader, doorbell),
      offsetof(PortSlot, state), offsetof(PortSlot, pid), offsetof(PortSlot, flags),
      offsetof(PortSlot, mac), offsetof(PortSlot, link), offsetof(PortSlot, name),
      offsetof(PortSlot, claim_owner), offsetof(PortSlot, claim_commit),
      offsetof(PortSlot, claim_begin), offsetof(PortSlot, claim_end), offsetof(PortSlot, futex),
      offsetof(PortSlot, bell), offsetof(PortSlot, rung_position), offsetof(PortSlot, rung_number),
      offsetof(PortSlot, deep_ticket), offsetof(PortSlot, stalls), offsetof(PortSlot, tx_frames),
      offsetof(PortSlot, tx_bytes),
      offsetof(PortSlot, doorbells), offsetof(PortSlot, lock_sleeps), offsetof(PortSlot, pauses),
      offsetof(PortSlot, paused_ns), offsetof(PortSlot, waits_for), offsetof(PortSlot, position),
      offsetof(PortSlot, next_number), offsetof(PortSlot, rx_frames), offsetof(PortSlot, rx_bytes),
      offsetof(PortSlot, own_frames), offsetof(PortSlot, filtered_frames),
      offsetof(PortSlot, skipped_frames), offsetof(PortSlot, overruns),
      offsetof(PortSlot, lost_frames), offsetof(PortSlot, lost_bytes), offsetof(PortSlot, corrupt),
      offsetof(PortSlot, wakeups),
      offsetof(PortSlot, tx_more_segments), offsetof(PortSlot, rx_more_segments),
      offsetof(PortSlot, too_long_frames), offsetof(PortSlot, refused_frames),
      offsetof(PortSlot, read_inside), offsetof(PortSlot, learned),
      offsetof(RecordHeader, word), offsetof(RecordHeader, number), offsetof(RecordHeader, time_ns),
      offsetof(RecordHeader, slot), offsetof(RecordHeader, frames),
      offsetof(RecordHeader, incarnation)};
  // clang-format on
  std::uint32_t hash = 2166136261U;
  for (const std::uint64_t fact : facts) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
      hash = (hash ^ static_cast<std::uint32_t>(fact >> shift & 0xffU)) * 16777619U;
    }
  }
  return hash;
}

/// Upper byte: the format's version; below: the folded layout.
inline constexpr std::uint32_t kLayoutSignature =
    kFormatVersion << 24U | (fold_layout() & 0xffffffU);

}  // namespace shmif::bus
