#include "perf/verify/sequence_ledger.hpp"

#include <algorithm>
#include <iterator>

namespace shmif::perf {

/// The chunk, created if needed. Result: null if it is complete.
SequenceLedger::Chunk* SequenceLedger::chunk_for(std::uint64_t index) {
  if (index == last_index_) return last_chunk_;
  const auto [place, is_new] = chunks_.try_emplace(index);
  if (is_new) place->second = std::make_unique<Chunk>();
  last_index_ = index;
  last_chunk_ = place->second.get();
  return last_chunk_;
}

SequenceLedger::Verdict SequenceLedger::note(std::uint64_t number) {
  const std::uint64_t index = number >> kChunkBits;
  Chunk* const chunk = chunk_for(index);
  const std::uint64_t at = number & (kChunkNumbers - 1);
  const std::uint64_t bit = std::uint64_t{1} << (at % 64);
  if (chunk == nullptr || (chunk->bits[at / 64] & bit) != 0) return Verdict::duplicate;
  chunk->bits[at / 64] |= bit;
  if (++chunk->set == kChunkNumbers) {
    chunks_[index].reset();
    last_chunk_ = nullptr;
  }
  if (number < end_) return Verdict::reordered;
  end_ = behind(number);
  return Verdict::in_order;
}

void SequenceLedger::note_in_order(std::uint64_t first, std::uint64_t count) {
  end_ = first + count;
  while (first != end_) {
    const std::uint64_t index = first >> kChunkBits;
    Chunk* const chunk = chunk_for(index);
    const std::uint64_t at = first & (kChunkNumbers - 1);
    const std::uint64_t take = std::min(end_ - first, 64 - at % 64);  // within a word
    chunk->bits[at / 64] |= ~std::uint64_t{0} >> (64 - take) << (at % 64);
    chunk->set += take;
    if (chunk->set == kChunkNumbers) {
      chunks_[index].reset();
      last_chunk_ = nullptr;
    }
    first += take;
  }
}

/// One more than the greatest number of a chunk that has one.
std::uint64_t SequenceLedger::end_of(const Chunks::value_type& chunk) {
  const auto& [index, numbers] = chunk;
  const std::uint64_t begin = index << kChunkBits;
  if (!numbers) return behind(begin + (kChunkNumbers - 1));
  std::uint64_t word = kChunkNumbers / 64 - 1;
  while (numbers->bits[word] == 0) --word;
  return behind(begin + word * 64 + static_cast<unsigned>(std::bit_width(numbers->bits[word])) - 1);
}

std::uint64_t SequenceLedger::forget_from(std::uint64_t end) {
  std::uint64_t forgotten = 0;
  last_index_ = UINT64_MAX;
  last_chunk_ = nullptr;
  for (auto at = chunks_.lower_bound(end >> kChunkBits); at != chunks_.end();) {
    auto& [index, chunk] = *at;
    const std::uint64_t begin = index << kChunkBits;
    const std::uint64_t kept = end - std::min(begin, end);  // numbers of this chunk
    if (!chunk) {
      chunk = std::make_unique<Chunk>();
      chunk->bits.fill(~std::uint64_t{0});
      chunk->set = kChunkNumbers;
    }
    for (std::uint64_t word = kept / 64; word < kChunkNumbers / 64; ++word) {
      const std::uint64_t keep = word == kept / 64 ? (std::uint64_t{1} << (kept % 64)) - 1 : 0;
      const auto gone = static_cast<unsigned>(std::popcount(chunk->bits[word] & ~keep));
      chunk->bits[word] &= keep;
      chunk->set -= gone;
      forgotten += gone;
    }
    at = chunk->set == 0 ? chunks_.erase(at) : std::next(at);
  }
  if (end_ > end) end_ = chunks_.empty() ? 0 : end_of(*chunks_.rbegin());
  return forgotten;
}

bool SequenceLedger::has(std::uint64_t number) const noexcept {
  const auto found = chunks_.find(number >> kChunkBits);
  if (found == chunks_.end()) return false;
  const std::uint64_t at = number & (kChunkNumbers - 1);
  return !found->second || (found->second->bits[at / 64] >> (at % 64) & 1U) != 0;
}

std::vector<SequenceLedger::Gap> SequenceLedger::gaps(std::uint64_t begin, std::uint64_t end,
                                                      std::size_t max) const {
  std::vector<Gap> found;
  const auto add = [&](std::uint64_t from, std::uint64_t to) {
    from = std::max(from, begin);
    to = std::min(to, end);
    if (from >= to) return;
    if (!found.empty() && found.back().to == from) {
      found.back().to = to;
    } else {
      found.push_back({from, to});
    }
  };
  const std::uint64_t first_chunk = begin >> kChunkBits;
  std::uint64_t next = first_chunk << kChunkBits;  // end of the previous chunk
  for (auto at = chunks_.lower_bound(first_chunk); at != chunks_.end(); ++at) {
    const auto& [index, chunk] = *at;
    const std::uint64_t chunk_begin = index << kChunkBits;
    if (chunk_begin >= end || found.size() > max) break;
    add(next, chunk_begin);
    next = chunk_begin + kChunkNumbers;
    if (!chunk) continue;
    // Finds each gap between runs of ones, a word at a time: fast if gaps are rare.
    for (std::uint64_t word = 0; word < kChunkNumbers / 64 && found.size() <= max; ++word) {
      std::uint64_t missing = ~chunk->bits[word];
      const std::uint64_t base = chunk_begin + word * 64;
      while (missing != 0) {
        const auto from = static_cast<unsigned>(std::countr_zero(missing));
        const auto run = static_cast<unsigned>(std::countr_one(missing >> from));
        add(base + from, base + from + run);
        missing = from + run == 64 ? 0 : missing >> (from + run) << (from + run);
      }
    }
  }
  if (found.size() <= max) add(next, end);
  if (found.size() > max) found.resize(max);
  return found;
}

// ---- As bytes, for files and for copies ----
//
//   8  number of chunks, and for each chunk, in order:
//   8  index    1  whether it is complete    8192  if not, its bits

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
