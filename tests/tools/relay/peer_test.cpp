// What bridges to programs say of them: why one has gone, and what was carried for all.

#include "tools/relay/peer.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
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

/// What sum_up() says of that link.
std::string summary(const Totals& totals, const PeerProtocol& protocol,
                    std::uint64_t undelivered = 0) {
  PeerBridge bridge;
  bridge.bus_text = "bus:/b";
  bridge.peer_text = "peer:/p";
  bridge.protocol = &protocol;
  testing::internal::CaptureStdout();
  tools::sum_up(bridge, tools::Connections::one, totals, undelivered);
  return testing::internal::GetCapturedStdout();
}

TEST(PeerSummary, SaysEachFigureWithItsReasonAndNothingOfWhatWasNot) {
  Totals totals;
  totals.frames.to_right = {.received = 9, .frames = 9, .bytes = 900, .segments = 9};
  const std::string back = "peer:/p -> bus:/b: 0 frames, 0 bytes, 0 lost, 0 dropped = 0 came\n";
  EXPECT_EQ(summary(totals, tools::kStreamProtocol),
            "bus:/b -> peer:/p: 9 frames, 900 bytes, 0 lost, 0 dropped = 9 came\n" + back);
  EXPECT_EQ(summary(totals, tools::kStreamProtocol, 4),
            "bus:/b -> peer:/p: 5 frames, 0 lost, 4 dropped (4 refused) = 9 came\n" + back);
  totals.frames.to_right = {.received = 400,
                            .frames = 300,
                            .bytes = 30'000,
                            .segments = 300,
                            .lost = 5,
                            .dropped_full = 60,
                            .dropped_too_long = 30,
                            .dropped_error = 10};
  totals.frames.to_left = {.received = 90,
                           .frames = 80,
                           .bytes = 8000,
                           .segments = 80,
                           .consumed = 3,
                           .dropped_error = 7};
  OwnNumbers(11).fill(totals.drops.too_long, totals.drops.too_short, totals.drops.bad_header,
                      totals.drops.discarded, totals.drops.not_ready, totals.drops.no_room,
                      totals.peers, totals.while_away);
  const std::string ways =
      "bus:/b -> peer:/p: 269 frames, 5 lost (5 by overrun), 131 dropped (30 too long, 60 not "
      "taken in time, 41 refused) = 405 came\n"
      "peer:/p -> bus:/b: 80 frames, 8000 bytes, 0 lost, 7 dropped (7 refused), 3 answered or "
      "found here = 90 came\npeer:/p: 17 connections, ";
  for (const PeerProtocol* const protocol : {&tools::kVhostProtocol, &tools::kMemifProtocol}) {
    const std::string text = summary(totals, *protocol);
    EXPECT_TRUE(text.starts_with(ways)) << text;
    const bool is_vhost = protocol == &tools::kVhostProtocol;
    for (const char* const part :
         {"11 frames from there were too long", "12 frames from there were too short",
          "13 frames from there had a header that was not agreed on",
          "14 frames from there came through a disabled queue",
          is_vhost ? "15 frames passed while a machine had no driver"
                   : "15 frames passed before a program had set up its interface",
          is_vhost ? "16 frames fitted no buffer of the driver"
                   : "16 frames fitted no buffers of the program",
          "18 frames passed while nobody was there\n"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
    }
  }
  // None came, which is said if frames passed meanwhile.
  Totals away;
  away.while_away = 2;
  const std::string none = summary(away, tools::kStreamProtocol);
  EXPECT_TRUE(none.ends_with("peer:/p: 0 connections, 2 frames passed while nobody was there\n"))
      << none;
}

Peer some_peer() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd far(ends[1]);
  return {.link = AnyLink(std::make_unique<StreamLink>(StreamLink::adopt(UniqueFd(ends[0]), {}))),
          .drops = {}};
}

tap::BridgeEnd ended(std::error_code error, std::string address = "peer:/p") {
  return {.why = tap::BridgeEnd::Why::link_ended, .address = std::move(address), .error = error};
}

TEST(PeerGone, SaysTheFirstReasonThatThereIs) {
  Peer peer = some_peer();
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::link_ended)), " is gone");
  EXPECT_EQ(tools::why_gone(peer, {}), " is gone");
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::corrupt)),
            " sent an invalid record, and was cut off");
  EXPECT_EQ(tools::why_gone(peer, ended(std::make_error_code(std::errc::connection_reset))),
            " is gone: Connection reset by peer");
  bool set_up = true;
  std::string fault;
  peer.was_set_up = [&] { return set_up; };
  peer.fault = [&] { return fault; };
  peer.left_early = " is gone before";
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::link_ended)), " is gone");
  EXPECT_FALSE(tools::came_in_vain(peer));
  set_up = false;
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::link_ended)), " is gone before");
  EXPECT_TRUE(tools::came_in_vain(peer));
  EXPECT_EQ(tools::why_gone(peer, ended(std::make_error_code(std::errc::connection_reset))),
            " is gone: Connection reset by peer");
  fault = "a buffer is empty";
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::corrupt)),
            " broke the rules (a buffer is empty), and was cut off");
  EXPECT_EQ(tools::why_gone(peer, ended(Errc::link_ended)),
            " broke the rules (a buffer is empty), and was cut off");
}

TEST(PeerGone, OnlyAnEndOfTheBusIsOneForAll) {
  PeerBridge bridge;
  bridge.bus_text = "bus:/b";
  EXPECT_EQ(tools::why_lost(bridge, ended(Errc::bus_lost, "bus:/dev/shm/b")),
            "cannot go on with bus:/b: " + std::error_code(Errc::bus_lost).message());
  EXPECT_EQ(tools::why_lost(bridge, ended(Errc::link_ended, "stream:bus:")), "");
  tap::BridgeEnd stopped = ended({}, "bus:/dev/shm/b");
  stopped.why = tap::BridgeEnd::Why::stopped;
  EXPECT_EQ(tools::why_lost(bridge, stopped), "");
}

}  // namespace
}  // namespace shmif::test
