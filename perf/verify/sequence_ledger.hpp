#pragma once
// SequenceLedger: which frames of one flow have arrived: once, late, twice or never.
//
// It is exact: it has a bit for each sequence number, in chunks of 65,536 numbers. Complete chunks
// take no memory, so a flow without loss has one or two chunks at a time, 8 KiB each.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace shmif::perf {

/// Threads: one at a time. Numbers begin at 0 and are consecutive.
class SequenceLedger {
 public:
  enum class Verdict : std::uint8_t {
    in_order,   ///< the greatest so far; skipped numbers may still arrive
    reordered,  ///< its first arrival, but after a greater one (RFC 4737, section 3.3)
    duplicate,  ///< has arrived before
  };
  SequenceLedger() = default;
  SequenceLedger(SequenceLedger&&) noexcept = default;
  SequenceLedger& operator=(SequenceLedger&&) noexcept = default;
  /// Notes that a frame has arrived.
  Verdict note(std::uint64_t number);

  /// The same for `count` frames with consecutive numbers from `first` on, all of them in order:
  /// `first` is not less than end(), and `first` + `count` at most 2^64 - 1.
  void note_in_order(std::uint64_t first, std::uint64_t count);

  /// Forgets the numbers from `end` on. Result: how many of them had arrived.
  std::uint64_t forget_from(std::uint64_t end);

  /// The number after `number`. After 2^64 - 1 there is none, so the result is `number` itself.
  static constexpr std::uint64_t behind(std::uint64_t number) noexcept {
    return number == UINT64_MAX ? number : number + 1;
  }
  /// One more than the greatest number that has arrived; 2^64 - 1 at most.
  std::uint64_t end() const noexcept { return end_; }

  /// Whether this number has arrived.
  bool has(std::uint64_t number) const noexcept;

  /// The numbers in [from, to).
  struct Gap {
    std::uint64_t from, to;
    bool operator==(const Gap&) const = default;
  };
  /// The first `max` gaps in [begin, end), in order; `begin` may be within a gap.
  std::vector<Gap> gaps(std::uint64_t begin, std::uint64_t end, std::size_t max) const;

  SequenceLedger copy() const;
  /// Appends the ledger to `out`: complete chunks take 9 bytes, others 8 KiB.
  void append_to(std::vector<std::byte>& out) const;
  /// Reads what append_to() wrote from the front of `in`, and advances `in`. Empty if the bytes are
  /// invalid. Uses no more memory than a few times the size of `in`.
  static std::optional<SequenceLedger> read_from(std::span<const std::byte>& in);

 private:
  static constexpr unsigned kChunkBits = 16;
  static constexpr std::uint64_t kChunkNumbers = std::uint64_t{1} << kChunkBits;
  struct Chunk {
    std::array<std::uint64_t, kChunkNumbers / 64> bits{};
    std::uint64_t set = 0;
  };
  using Chunks = std::map<std::uint64_t, std::unique_ptr<Chunk>>;
  Chunk* chunk_for(std::uint64_t index);
  static std::uint64_t end_of(const Chunks::value_type& chunk);

  Chunks chunks_;                          // null: complete
  std::uint64_t last_index_ = UINT64_MAX;  // of the chunk used last
  Chunk* last_chunk_ = nullptr;
  std::uint64_t end_ = 0;
};

}  // namespace shmif::perf
