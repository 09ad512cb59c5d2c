#pragma once
// The board, byte by byte: 60 KiB of the bus file between the port table and the ring. Buses that
// an older library made have zeros there, which is an empty board. docs/bus-format.md says the same
// in prose; a test compares the two.
//
// 132 KiB   BoardRequest
// 136 KiB   JournalEntry[kJournalEntries]
// 160 KiB   LineRecord[kSlots]
//
// Marks say who writes a field:
//   (R) the process that holds the request lock;  (T) the port that took the request;
//   (J) the process that drew the entry's number; (O) the process that owns the slot;
//   (A) anyone, atomically.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "bus/layout.hpp"

namespace shmif::bus {

inline constexpr std::size_t kBoardOffset = kHeaderBytes + kTableBytes;
inline constexpr std::size_t kBoardBytes = kRingOffset - kBoardOffset;
inline constexpr std::size_t kRequestTextBytes = 1536;
inline constexpr std::size_t kAnswerTextBytes = 1024;
inline constexpr std::size_t kStandingBytes = 1376;
inline constexpr std::size_t kJournalTextBytes = 176;
inline constexpr std::size_t kLineTextBytes = 88;
inline constexpr std::uint64_t kJournalEntries = 96;
/// The byte whose lock the requester holds, far past the end of the file.
inline constexpr std::uint64_t kRequestLockOffset = std::uint64_t{1} << 41U;

/// The one request that can be under way, and its answer.
struct alignas(kLineBytes) BoardRequest {
  std::uint64_t word;               //    0 (A) request_word: number and stage
  std::uint32_t slot;               //    8 (R) of the port that is asked
  std::uint32_t incarnation;        //   12 (R) low 32 bits of that port's incarnation
  std::uint32_t text_bytes;         //   16 (R)
  std::uint32_t reserved0;          //   20
  char name[kNameBytes];            //   24 (R) of that port, zero-terminated; empty: any
  std::uint64_t reserved1;          //   56
  char text[kRequestTextBytes];     //   64 (R) UTF-8, not terminated
  std::uint64_t answered;           // 1600 (T) number of the request that was answered last
  std::uint32_t answer_bell;        // 1608 (A) grows with each answer; the requester sleeps on it
  std::uint32_t result;             // 1612 (T) kResult...
  std::uint32_t answer_bytes;       // 1616 (T)
  std::uint32_t reserved2;          // 1620
  std::uint64_t answer_check;       // 1624 (T) FNV-1a of number, result and answer
  std::uint64_t reserved3[4];       // 1632
  char answer[kAnswerTextBytes];    // 1664 (T) UTF-8, not terminated
  std::uint64_t changes;            // 2688 (A) entries of the journal that were begun
  std::uint32_t standing_sequence;  // 2696 (R) odd while the three fields below are written
  std::uint32_t standing_bytes;     // 2700 (R)
  std::uint64_t standing_check;     // 2704 (R) FNV-1a of `standing`
  std::uint64_t reserved4;          // 2712
  char standing[kStandingBytes];    // 2720 (R) partitions that hold, a line each; UTF-8
};

/// Values of BoardRequest::result.
inline constexpr std::uint32_t kResultDone = 0;
inline constexpr std::uint32_t kResultRefused = 1;

/// An entry of the journal. Change number n is in entry n mod kJournalEntries, counted from 0.
struct alignas(kLineBytes) JournalEntry {
  std::uint64_t marker;   //   0 (J) 0 while it is written, then the number of the change + 1
  std::uint64_t check;    //   8 (J) FNV-1a of its number, and of all from time_ns on
  std::uint64_t time_ns;  //  16 (J) wall clock
  std::uint64_t frame;    //  24 (J) the change holds for the frame of this number, and later ones
  std::uint32_t slot;     //  32 (J) of the port; 0xffffffff: the change was of several ports
  std::uint32_t incarnation;     //  36 (J)
  std::uint32_t text_bytes;      //  40 (J)
  std::uint32_t reserved0;       //  44
  char name[kNameBytes];         //  48 (J) of the port, zero-terminated
  char text[kJournalTextBytes];  //  80 (J) UTF-8, not terminated
};

/// What holds on the line of a port now.
struct alignas(kLineBytes) LineRecord {
  std::uint32_t bell;         //   0 (A) grows when the port is asked for a change
  std::uint32_t sequence;     //   4 (O) odd while the fields below are written
  std::uint32_t incarnation;  //   8 (O) of the port that wrote them
  std::uint32_t flags;        //  12 (O) kLine...
  std::uint32_t text_bytes;   //  16 (O)
  std::uint32_t waiting;      //  20 (O) frames that wait for a delay or bottleneck
  char text[kLineTextBytes];  //  24 (O) UTF-8, not terminated
  std::uint64_t dropped_in;   // 112 (O) frames for the host that its line dropped
  std::uint64_t dropped_out;  // 120 (O) frames of the host that its line dropped
};

inline constexpr std::uint32_t kLineTakesChanges = 1U << 0U;
inline constexpr std::uint32_t kLinePartitioned = 1U << 1U;
/// The line counts its frames. Without this, `waiting` and both `dropped` mean nothing: an older
/// owner writes a longer text there.
inline constexpr std::uint32_t kLineCounts = 1U << 2U;

/// The three parts in the order in which they stand.
struct BoardMemory {
  BoardRequest request;
  JournalEntry journal[kJournalEntries];
  LineRecord lines[kSlots];
};

/// The word of the request: its number, and in the two lowest bits the stage.
namespace request_word {

inline constexpr unsigned kStageBits = 2;
inline constexpr std::uint64_t kIdle = 0;     // over, or withdrawn
inline constexpr std::uint64_t kWriting = 1;  // the requester writes its text
inline constexpr std::uint64_t kPosted = 2;   // the port may take it, or the requester withdraw it
inline constexpr std::uint64_t kTaken = 3;    // the port applies it

constexpr std::uint64_t number(std::uint64_t word) noexcept {
  return word >> kStageBits;
}
constexpr std::uint64_t stage(std::uint64_t word) noexcept {
  return word & 3U;
}
constexpr std::uint64_t make(std::uint64_t number, std::uint64_t stage) noexcept {
  return number << kStageBits | stage;
}

}  // namespace request_word

static_assert(sizeof(BoardRequest) == 4096 && sizeof(JournalEntry) == 256 &&
              sizeof(LineRecord) == 128);
static_assert(sizeof(BoardMemory) == kBoardBytes && alignof(BoardMemory) <= 4096);
static_assert(offsetof(BoardRequest, text) == 64 && offsetof(BoardRequest, answered) == 1600 &&
              offsetof(BoardRequest, answer) == 1664 && offsetof(BoardRequest, changes) == 2688 &&
              offsetof(BoardRequest, standing) == 2720 && offsetof(JournalEntry, text) == 80 &&
              offsetof(LineRecord, text) == 24 && offsetof(LineRecord, dropped_in) == 112);
static_assert(std::is_trivially_copyable_v<BoardMemory> && std::is_standard_layout_v<BoardMemory>);

}  // namespace shmif::bus
