#pragma once
// SequenceLedger: which frames of one flow have come, each exactly once, late, twice or never.
//
// A bit for each sequence number, and no guess: chunks of 65,536 numbers, of which those that are
// complete take no memory. A flow that loses nothing has one or two chunks at a time, 8 KiB each.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace shmif::perf {

/// Threads: one at a time. Numbers begin at 0 and run on.
class SequenceLedger {
 public:
  enum class Verdict : std::uint8_t {
    in_order,   ///< the greatest so far; what lies between may come yet
    reordered,  ///< for the first time, but after a greater one (RFC 4737, section 3.3)
    duplicate,  ///< it has come before
  };
  SequenceLedger() = default;
  SequenceLedger(SequenceLedger&&) noexcept = default;
  SequenceLedger& operator=(SequenceLedger&&) noexcept = default;
  /// Notes that a frame has come.
  Verdict note(std::uint64_t number);

  std::uint64_t received() const noexcept { return received_; }  ///< each number once
  std::uint64_t reordered() const noexcept { return reordered_; }
  std::uint64_t duplicates() const noexcept { return duplicates_; }
  /// One more than the greatest that has come.
  std::uint64_t end() const noexcept { return end_; }

  /// How many of the numbers below `sent` have not come.
  std::uint64_t missing(std::uint64_t sent) const noexcept;
  /// How many of those from `begin` up to, not including, `end`.
  std::uint64_t missing(std::uint64_t begin, std::uint64_t end) const noexcept {
    return begin >= end ? 0 : missing(end) - missing(begin);
  }
  /// Whether this one has come.
  bool has(std::uint64_t number) const noexcept;

  /// Numbers from `from` up to, not including, `to`.
  struct Gap {
    std::uint64_t from, to;
    bool operator==(const Gap&) const = default;
  };
  /// The first `most` gaps below `sent`, in order.
  std::vector<Gap> gaps(std::uint64_t sent, std::size_t most) const { return gaps(0, sent, most); }
  /// Those from `begin`, which may be within one, to `end`.
  std::vector<Gap> gaps(std::uint64_t begin, std::uint64_t end, std::size_t most) const;

  void clear() { *this = SequenceLedger(); }

  SequenceLedger copy() const;
  /// Appends all of it to `out`: chunks that are complete take 9 bytes, others 8 KiB.
  void append_to(std::vector<std::byte>& out) const;
  /// Reads what append_to() wrote from the front of `in`, which is moved on; nothing when it is
  /// not that. Takes no more memory than a few times the size of `in`.
  static std::optional<SequenceLedger> read_from(std::span<const std::byte>& in);

 private:
  static constexpr unsigned kChunkBits = 16;
  static constexpr std::uint64_t kChunkNumbers = std::uint64_t{1} << kChunkBits;
  struct Chunk {
    std::array<std::uint64_t, kChunkNumbers / 64> bits{};
    std::uint64_t set = 0;
  };
  Chunk* chunk_for(std::uint64_t index);
  std::uint64_t received_below(std::uint64_t end) const noexcept;

  std::map<std::uint64_t, std::unique_ptr<Chunk>> chunks_;  // nothing: complete
  std::uint64_t last_index_ = UINT64_MAX;                   // of the chunk that was met last
  Chunk* last_chunk_ = nullptr;
  std::uint64_t end_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t reordered_ = 0;
  std::uint64_t duplicates_ = 0;
};

}  // namespace shmif::perf
