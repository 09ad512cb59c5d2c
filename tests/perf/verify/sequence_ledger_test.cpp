#include "perf/verify/sequence_ledger.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <span>
#include <vector>

namespace shmif::perf {
namespace {

using Gap = SequenceLedger::Gap;
using Verdict = SequenceLedger::Verdict;

/// How many numbers in [begin, end) are in gaps.
std::uint64_t missing(const SequenceLedger& ledger, std::uint64_t begin, std::uint64_t end) {
  std::uint64_t sum = 0;
  for (const Gap& gap : ledger.gaps(begin, end, SIZE_MAX)) sum += gap.to - gap.from;
  return sum;
}

/// How many numbers have arrived, each once.
std::uint64_t arrived(const SequenceLedger& ledger) {
  return ledger.end() - missing(ledger, 0, ledger.end());
}

TEST(SequenceLedger, ForgetsWhatIsBehindAnEndAsIfItHadNotCome) {
  struct Case {
    std::vector<std::uint64_t> numbers;
    std::uint64_t end, forgotten, new_end;
  };
  for (const Case& c : {Case{{0, 1, 5}, 6, 0, 6},
                        {{0, 1, 5}, 5, 1, 2},
                        {{0, 1, 5}, 1, 2, 1},
                        {{0, 1, 5}, 0, 3, 0},
                        {{63, 64, 65}, 64, 2, 64},
                        {{7, 65'535, 65'536, 200'000}, 65'536, 2, 65'536},
                        {{7, 65'536, UINT64_MAX}, 65'536, 2, 8},
                        {{}, 3, 0, 0}}) {
    SequenceLedger ledger;
    for (const std::uint64_t number : c.numbers) ledger.note(number);
    EXPECT_EQ(ledger.forget_from(c.end), c.forgotten) << c.end;
    EXPECT_EQ(ledger.end(), c.new_end) << c.end;
    for (const std::uint64_t number : c.numbers) {
      EXPECT_EQ(ledger.has(number), number < c.end) << number << " of " << c.end;
    }
    EXPECT_NE(ledger.note(c.end), Verdict::duplicate);
  }
  // Of chunks that are complete, too.
  SequenceLedger whole;
  whole.note_in_order(0, 3 * 65'536);
  EXPECT_EQ(whole.forget_from(65'536 + 100), 2 * 65'536 - 100U);
  EXPECT_EQ(whole.end(), 65'536U + 100);
  EXPECT_EQ(arrived(whole), 65'536U + 100);
  EXPECT_EQ(whole.note(65'536 + 100), Verdict::in_order);
  EXPECT_EQ(whole.note(65'536 + 99), Verdict::duplicate);
}

TEST(SequenceLedger, NotesManyInOrderAsOneByOne) {
  std::mt19937_64 random(7);
  SequenceLedger at_once;
  SequenceLedger one_by_one;
  std::uint64_t next = 65'500;  // near the end of a chunk
  while (next < 400'000) {
    next += random() % 4 == 0 ? random() % 200 : 0;
    const std::uint64_t count = 1 + random() % (random() % 8 == 0 ? 1000 : 70);
    at_once.note_in_order(next, count);
    for (std::uint64_t i = 0; i < count; ++i) one_by_one.note(next + i);
    next += count;
    ASSERT_EQ(at_once.end(), one_by_one.end());
  }
  std::vector<std::byte> bytes;
  std::vector<std::byte> expected;
  at_once.append_to(bytes);
  one_by_one.append_to(expected);
  EXPECT_EQ(bytes, expected);
  for (std::uint64_t n = next; n < 460'000; ++n) ASSERT_EQ(at_once.note(n), Verdict::in_order);
  at_once.note_in_order(460'000, 3);
  EXPECT_EQ(at_once.note(460'002), Verdict::duplicate);
  EXPECT_EQ(at_once.note(460'003), Verdict::in_order);
}

TEST(SequenceLedger, NamesTheGaps) {
  SequenceLedger ledger;
  for (const std::uint64_t n : {3U, 4U, 63U, 64U, 200'000U}) ledger.note(n);
  const std::vector<Gap> all{{0, 3}, {5, 63}, {65, 200'000}, {200'001, 200'010}};
  EXPECT_EQ(ledger.gaps(0, 200'010, 10), all);
  EXPECT_EQ(ledger.gaps(0, 200'010, 2), (std::vector<Gap>{{0, 3}, {5, 63}}));
  EXPECT_EQ(ledger.gaps(0, 64, 10), (std::vector<Gap>{{0, 3}, {5, 63}}));
  EXPECT_EQ(missing(ledger, 0, 64), 61U);
  EXPECT_EQ(SequenceLedger().gaps(0, 5, 10), (std::vector<Gap>{{0, 5}}));
  EXPECT_TRUE(SequenceLedger().gaps(0, 0, 10).empty());
}

TEST(SequenceLedger, AChunkThatIsCompleteIsSoAfterItWasSavedAndLoaded) {
  SequenceLedger saved;
  for (std::uint64_t n = 65'536; n < 131'072; ++n) saved.note(n);
  std::vector<std::byte> bytes;
  saved.append_to(bytes);
  std::span<const std::byte> rest(bytes);
  auto ledger = SequenceLedger::read_from(rest);
  ASSERT_TRUE(ledger);
  EXPECT_TRUE(rest.empty());
  EXPECT_EQ(arrived(*ledger), 65'536U);
  EXPECT_EQ(ledger->gaps(0, 131'073, 2), (std::vector<Gap>{{0, 65'536}, {131'072, 131'073}}));
  EXPECT_EQ(ledger->note(131'071), Verdict::duplicate);
  EXPECT_EQ(ledger->note(65'535), Verdict::reordered) << "greater ones have come before";
  EXPECT_EQ(ledger->note(131'072), Verdict::in_order);
}

TEST(SequenceLedger, AgreesWithASetInAnyOrderOfLossesRepeatsAndDelays) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    constexpr std::uint64_t kSent = 150'000;
    std::vector<std::uint64_t> stream;
    for (std::uint64_t n = 0; n < kSent; ++n) {
      if (random() % 50 == 0) continue;
      stream.push_back(n);
      if (random() % 100 == 0) stream.push_back(n);
    }
    for (std::size_t i = 0; i + 1000 < stream.size(); ++i) {
      if (random() % 200 == 0) std::swap(stream[i], stream[i + random() % 1000]);
    }
    SequenceLedger ledger;
    std::set<std::uint64_t> seen;
    std::uint64_t greatest = 0;
    std::uint64_t reordered = 0;
    std::uint64_t duplicates = 0;
    for (const std::uint64_t n : stream) {
      const bool is_new = seen.insert(n).second;
      const bool late = is_new && seen.size() > 1 && n < greatest;
      reordered += late ? 1 : 0;
      greatest = std::max(greatest, n);
      const Verdict verdict = ledger.note(n);
      duplicates += verdict == Verdict::duplicate ? 1 : 0;
      ASSERT_EQ(verdict, !is_new ? Verdict::duplicate
                         : late  ? Verdict::reordered
                                 : Verdict::in_order);
    }
    EXPECT_EQ(arrived(ledger), seen.size());
    EXPECT_EQ(duplicates, stream.size() - seen.size());
    EXPECT_GT(reordered, 0U);
    for (const std::uint64_t part : {1ULL, 65'535ULL, 65'536ULL, 65'537ULL, 131'100ULL}) {
      const auto below =
          static_cast<std::uint64_t>(std::distance(seen.begin(), seen.lower_bound(part)));
      EXPECT_EQ(missing(ledger, 0, part), part - below);
    }
    std::uint64_t in_gaps = 0;
    for (const Gap& gap : ledger.gaps(0, kSent, kSent)) {
      in_gaps += gap.to - gap.from;
      for (std::uint64_t n = gap.from; n < gap.to; ++n) ASSERT_FALSE(seen.contains(n)) << n;
    }
    EXPECT_EQ(in_gaps, kSent - seen.size());
    for (std::uint64_t n = 0; n < kSent; n += 97) ASSERT_EQ(ledger.has(n), seen.contains(n)) << n;
  }
}

}  // namespace
}  // namespace shmif::perf
