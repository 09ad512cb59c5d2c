#pragma once
// SequenceLedger: which frames of one flow have arrived: once, late, twice or never.
//
// It is exact: it has a bit for each sequence number, in chunks of 65,536 numbers. Complete chunks
// take no memory, so a flow without loss has one or two chunks at a time, 8 KiB each.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace shmif::perf {

// Numbers and texts in file format: little endian, one after the other.

static_assert(std::endian::native == std::endian::little, "so are the numbers of a file");

inline void append_bytes(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  // Not insert(): g++ 12 warns of an overflow if it knows the size (-Warray-bounds).
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

template <class T>
void append_number(std::vector<std::byte>& out, T value) {
  static_assert(std::is_unsigned_v<T>);
  append_bytes(out, std::as_bytes(std::span(&value, 1)));
}

inline void append_text(std::vector<std::byte>& out, const std::string& text) {
  append_number(out, std::uint64_t{text.size()});
  append_bytes(out, std::as_bytes(std::span(text)));
}

/// Takes a number from the front; empty if there are too few bytes. After a failure all further
/// numbers are empty, too, so a caller that takes several may check only the last.
template <class T>
std::optional<T> take_number(std::span<const std::byte>& in) noexcept {
  static_assert(std::is_unsigned_v<T>);
  if (in.size() < sizeof(T)) {
    in = {};
    return std::nullopt;
  }
  T value{};
  std::memcpy(&value, in.data(), sizeof value);
  in = in.subspan(sizeof value);
  return value;
}

inline std::optional<std::string> take_text(std::span<const std::byte>& in) {
  const auto size = take_number<std::uint64_t>(in);
  if (!size || *size > in.size()) {
    in = {};
    return std::nullopt;
  }
  std::string text(reinterpret_cast<const char*>(in.data()), *size);
  in = in.subspan(*size);
  return text;
}

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
