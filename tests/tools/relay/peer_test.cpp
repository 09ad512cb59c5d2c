// What bridges to programs say of them: why one has gone, and what was carried for all.

#include "tools/relay/peer.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vector>

#include "shmif/stream_link.hpp"
#include "tests/tools/show/shown_figures.hpp"

namespace shmif::test {
namespace {

using tools::Peer;
using tools::PeerBridge;
using tools::PeerProtocol;
using tools::Totals;

/// Totals of which each figure has a value of its own.
Totals totals_from(std::uint64_t first) {
  OwnNumbers numbers(first);
  Totals totals;
  for (tap::DirectionCounters* const way : {&totals.frames.to_right, &totals.frames.to_left})
    numbers.fill(way->received, way->frames, way->bytes, way->segments, way->batches, way->consumed,
                 way->lost, way->dropped_full, way->dropped_too_long, way->dropped_error);
  tools::PeerDrops& drops = totals.drops;
  numbers.fill(drops.too_long, drops.too_short, drops.bad_header, drops.discarded, drops.not_ready,
               drops.no_room, totals.peers, totals.while_away);
  return totals;
}

std::vector<std::uint64_t> figures_of(const Totals& totals) {
  std::vector<std::uint64_t> out;
  for (const tap::DirectionCounters* const way : {&totals.frames.to_right, &totals.frames.to_left})
    out.insert(out.end(),
               {way->received, way->frames, way->bytes, way->segments, way->batches, way->consumed,
                way->lost, way->dropped_full, way->dropped_too_long, way->dropped_error});
  const tools::PeerDrops& drops = totals.drops;
  out.insert(out.end(), {drops.too_long, drops.too_short, drops.bad_header, drops.discarded,
                         drops.not_ready, drops.no_room, totals.peers, totals.while_away});
  return out;
}

std::vector<std::uint64_t> sums(std::uint64_t first, std::uint64_t step) {
  std::vector<std::uint64_t> out(figures_of({}).size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = first + i * step;
  return out;
}

TEST(PeerTotals, AddEachFigureToItsOwn) {
  Totals sum = totals_from(100);
  sum.add(totals_from(1000));
  sum.add(totals_from(10'000));
  EXPECT_EQ(figures_of(sum), sums(11'100, 3));
}

TEST(PeerAccount, KnowsThoseWhoHaveGoneAndTheOneWhoIsThere) {
  tools::Account account;
  EXPECT_EQ(figures_of(account.total()), sums(0, 0));
  std::uint64_t carried = 0;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    account.add_peer();
    account.follow([&] {
      Totals now;
      now.frames.to_left.frames = carried;
      now.drops.too_short = 2 * carried;
      return now;
    });
    const std::uint64_t before = account.total().frames.to_left.frames;
    carried = 7;
    EXPECT_EQ(account.total().frames.to_left.frames, before + 7 - (i > 1 ? 7 : 0)) << i;
    EXPECT_EQ(account.total().peers, i);
    account.settle();
    EXPECT_EQ(account.total().frames.to_left.frames, 7 * i) << "counted once";
    EXPECT_EQ(account.total().drops.too_short, 14 * i);
  }
}

}  // namespace
}  // namespace shmif::test
