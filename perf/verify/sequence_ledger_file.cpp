// SequenceLedger as bytes, for files and for copies:
//
//   8  number of chunks, and for each chunk, in order:
//   8  index    1  whether it is complete    8192  if not, its bits

#include <bit>

#include "perf/verify/bytes.hpp"
#include "perf/verify/sequence_ledger.hpp"

namespace shmif::perf {

SequenceLedger SequenceLedger::copy() const {
  SequenceLedger out;
  for (const auto& [index, chunk] : chunks_) {
    out.chunks_.emplace_hint(out.chunks_.end(), index,
                             chunk ? std::make_unique<Chunk>(*chunk) : nullptr);
  }
  out.end_ = end_;
  return out;
}

void SequenceLedger::append_to(std::vector<std::byte>& out) const {
  append_number(out, std::uint64_t{chunks_.size()});
  for (const auto& [index, chunk] : chunks_) {
    append_number(out, index);
    append_number(out, std::uint8_t{chunk ? std::uint8_t{0} : std::uint8_t{1}});
    if (!chunk) continue;
    const auto bits = std::as_bytes(std::span(chunk->bits));
    out.insert(out.end(), bits.begin(), bits.end());
  }
}

std::optional<SequenceLedger> SequenceLedger::read_from(std::span<const std::byte>& in) {
  const auto count = take_number<std::uint64_t>(in);
  if (!count) return std::nullopt;
  SequenceLedger out;
  std::uint64_t next_index = 0;
  for (std::uint64_t i = 0; i < *count; ++i) {
    const auto index = take_number<std::uint64_t>(in);
    const auto complete = take_number<std::uint8_t>(in);
    // The very last chunk is not allowed, because `end` would overflow.
    constexpr std::uint64_t kLastIndex = UINT64_MAX >> kChunkBits;
    if (!complete || *complete > 1 || *index < next_index || *index >= kLastIndex) {
      return std::nullopt;
    }
    next_index = *index + 1;
    const std::uint64_t begin = *index << kChunkBits;
    if (*complete == 1) {
      out.chunks_.emplace_hint(out.chunks_.end(), *index, nullptr);
      out.end_ = begin + kChunkNumbers;
      continue;
    }
    auto chunk = std::make_unique<Chunk>();
    if (in.size() < sizeof chunk->bits) return std::nullopt;
    std::memcpy(chunk->bits.data(), in.data(), sizeof chunk->bits);
    in = in.subspan(sizeof chunk->bits);
    for (std::size_t word = 0; word < chunk->bits.size(); ++word) {
      const std::uint64_t bits = chunk->bits[word];
      if (bits == 0) continue;
      chunk->set += static_cast<unsigned>(std::popcount(bits));
      out.end_ = begin + word * 64 + static_cast<unsigned>(std::bit_width(bits));
    }
    if (chunk->set == 0 || chunk->set == kChunkNumbers) return std::nullopt;
    out.chunks_.emplace_hint(out.chunks_.end(), *index, std::move(chunk));
  }
  return out;
}

}  // namespace shmif::perf
