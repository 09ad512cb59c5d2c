// NatFlows: who may answer whom through a gateway.

#include "tools/relay/nat_filter.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace shmif::tools {
namespace {

constexpr NatFlows::Time kStart{std::chrono::hours(24)};
constexpr std::chrono::seconds kSecond{1};
constexpr std::uint32_t kHost = 0x0a00020f, kOther = 0x0a000210, kWorld = 0xc6120901;

NatFlow flow(std::uint8_t protocol, std::uint16_t near_port = 4000, std::uint32_t near = kHost) {
  return {
      .near = near, .far = kWorld, .near_port = near_port, .far_port = 80, .protocol = protocol};
}
NatFlow udp(std::uint16_t near_port = 4000, std::uint32_t near = kHost) {
  return flow(IPPROTO_UDP, near_port, near);
}
NatFlow tcp(std::uint16_t near_port = 4000, std::uint32_t near = kHost) {
  return flow(IPPROTO_TCP, near_port, near);
}
void establish(NatFlows& flows, const NatFlow& flow, NatFlows::Time now = kStart) {
  ASSERT_TRUE(flows.out(flow, kTcpSyn, now));
  ASSERT_TRUE(flows.in(flow, kTcpSyn | kTcpAck, now));
  ASSERT_TRUE(flows.out(flow, kTcpAck, now));
}
/// Expects the flow to end `time` after `last`, or up to kGrain later.
void expect_time(const NatFlows& flows, const NatFlow& flow, NatFlows::Time last,
                 std::chrono::seconds time) {
  EXPECT_TRUE(flows.has(flow, last + time - std::chrono::nanoseconds(1)));
  EXPECT_FALSE(flows.has(flow, last + time + NatFlows::kGrain));
}

TEST(NatFlows, DifferInEachOfTheirFields) {
  const NatFlow ends = {
      .near = 0xffffffff, .far = 1, .near_port = 65535, .far_port = 0, .protocol = 17};
  std::vector<NatFlow> all(6, ends);
  all[1].near = 0;
  all[2].far = 0xffffffff;
  all[3].near_port = 0;
  all[4].far_port = 65535;
  all[5].protocol = 6;
  for (const NatFlow& one : all) {
    NatFlows flows;
    ASSERT_TRUE(flows.out(one, 0, kStart));
    for (const NatFlow& each : all) EXPECT_EQ(flows.has(each, kStart), each == one);
  }
}

TEST(NatFlows, EndWhenTheirHostIsSilent) {
  NatFlows flows;
  ASSERT_TRUE(flows.out(udp(), 0, kStart));
  ASSERT_TRUE(flows.out(tcp(), kTcpSyn, kStart));
  ASSERT_TRUE(flows.out(flow(IPPROTO_ICMP), 0, kStart));
  establish(flows, tcp(4001));
  expect_time(flows, udp(), kStart, NatFlows::kDatagrams);
  expect_time(flows, tcp(), kStart, NatFlows::kTransitory);
  expect_time(flows, flow(IPPROTO_ICMP), kStart, NatFlows::kEcho);
  expect_time(flows, tcp(4001), kStart, NatFlows::kEstablished);
  EXPECT_GE(NatFlows::kDatagrams, std::chrono::minutes(2)) << "RFC 4787, REQ-5";
  EXPECT_GE(NatFlows::kEstablished, std::chrono::minutes(124)) << "RFC 5382, REQ-5";
  EXPECT_GE(NatFlows::kTransitory, std::chrono::minutes(4)) << "RFC 5382, REQ-5";
  EXPECT_GE(NatFlows::kEcho, std::chrono::seconds(60)) << "RFC 5508, REQ-2";
}

TEST(NatFlows, LiveLongerByPacketsOfTheirHostOnly) {
  using std::chrono::nanoseconds;
  for (const nanoseconds step : {nanoseconds(1), kSecond - nanoseconds(1), nanoseconds(kSecond),
                                 2 * kSecond - nanoseconds(1), nanoseconds(299 * kSecond)}) {
    NatFlows flows;
    ASSERT_TRUE(flows.out(udp(), 0, kStart));
    ASSERT_TRUE(flows.out(udp(), 0, kStart + step));
    ASSERT_TRUE(flows.in(udp(), 0, kStart + step + 200 * kSecond));
    expect_time(flows, udp(), kStart + step, NatFlows::kDatagrams);
  }
  NatFlows flows({.hosts = 1, .of_host = 2});
  NatFlows::Time now = kStart;
  for (unsigned i = 0; i < 1000; ++i) {
    ASSERT_TRUE(flows.out(udp(), 0, now));
    now += NatFlows::kDatagrams - nanoseconds(1);
    ASSERT_TRUE(flows.in(udp(), 0, now)) << i;
  }
  ASSERT_TRUE(flows.out(udp(1), 0, now));
  for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(flows.out(udp(), 0, now += 2 * kSecond));
  EXPECT_TRUE(flows.in(udp(1), 0, now)) << "there is one, which takes no more room";
}

TEST(NatFlows, OfTcpEndSoonOnceTheConnectionHasEnded) {
  struct Step {
    bool out;
    std::uint8_t flags;
  };
  constexpr std::uint8_t kEnd = kTcpFin | kTcpAck;
  const NatFlows::Time later = kStart + std::chrono::hours(1);
  for (const auto& [steps, time] : std::vector<std::pair<std::vector<Step>, std::chrono::seconds>>{
           {{{false, kTcpRst}}, NatFlows::kTransitory},
           {{{false, kTcpRst | kTcpAck}}, NatFlows::kTransitory},
           {{{true, kTcpRst}}, NatFlows::kTransitory},
           {{{false, kEnd}, {true, kEnd}}, NatFlows::kTransitory},
           {{{true, kEnd}, {false, kEnd}}, NatFlows::kTransitory},
           // The other side may go on; and what was lost is sent once more.
           {{{true, kTcpAck}, {false, kEnd}}, NatFlows::kEstablished},
           {{{true, kEnd}, {true, kEnd}}, NatFlows::kEstablished},
           {{{true, kTcpSyn}}, NatFlows::kEstablished}}) {
    NatFlows flows;
    establish(flows, tcp());
    for (const Step& step : steps) {
      const bool passes =
          step.out ? flows.out(tcp(), step.flags, later) : flows.in(tcp(), step.flags, later);
      ASSERT_TRUE(passes);
    }
    // Nobody outside keeps it alive.
    if (time == NatFlows::kTransitory) {
      for (const std::uint8_t flags : {kTcpAck, kTcpFin, kTcpRst})
        EXPECT_TRUE(flows.in(tcp(), flags, later + std::chrono::minutes(3)));
    }
    expect_time(flows, tcp(), later, time);
    // The same ports once more.
    establish(flows, tcp(), later + std::chrono::minutes(3));
    expect_time(flows, tcp(), later + std::chrono::minutes(3), NatFlows::kEstablished);
  }
}

TEST(NatFlows, OfTcpAreOpenOnlyOnceBothSidesHaveSpoken) {
  NatFlows flows;
  ASSERT_TRUE(flows.out(tcp(), kTcpSyn, kStart));
  ASSERT_TRUE(flows.out(tcp(), kTcpAck, kStart));
  expect_time(flows, tcp(), kStart, NatFlows::kTransitory);
  EXPECT_FALSE(flows.in(tcp(), kTcpSyn, kStart)) << "nobody outside begins";
  EXPECT_FALSE(flows.in(tcp(), kTcpSyn | kTcpFin, kStart));
  EXPECT_TRUE(flows.in(tcp(), kTcpSyn | kTcpAck, kStart));
  expect_time(flows, tcp(), kStart, NatFlows::kTransitory);
  ASSERT_TRUE(flows.out(tcp(), kTcpSyn, kStart));
  ASSERT_TRUE(flows.out(tcp(), kTcpAck, kStart));
  expect_time(flows, tcp(), kStart, NatFlows::kTransitory);
}

TEST(NatFlows, OfAConnectionWhoseTimeIsUpBeginAnewWithItsNextPacket) {
  NatFlows flows({.hosts = 1, .of_host = 2});
  establish(flows, tcp());
  const NatFlows::Time later = kStart + NatFlows::kEstablished + NatFlows::kGrain;
  EXPECT_FALSE(flows.in(tcp(), kTcpAck, later));
  ASSERT_TRUE(flows.out(tcp(), kTcpAck, later));
  expect_time(flows, tcp(), later, NatFlows::kTransitory);
  ASSERT_TRUE(flows.out(udp(), 0, later));
  EXPECT_TRUE(flows.has(tcp(), later)) << "the old one has left its room";
}

TEST(NatFlows, OfOneHostNeverTakeTheRoomOfAnother) {
  NatFlows flows;
  ASSERT_TRUE(flows.out(udp(1, kOther), 0, kStart));
  const auto numbered = [](unsigned i) {
    NatFlow each = udp(static_cast<std::uint16_t>(i));
    each.far_port = static_cast<std::uint16_t>(1 + (i >> 16U));
    return each;
  };
  for (unsigned i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(flows.out(numbered(i), 0, kStart));
    ASSERT_TRUE(flows.in(numbered(i), 0, kStart));
  }
  EXPECT_TRUE(flows.in(udp(1, kOther), 0, kStart));
  for (unsigned i = 0; i < 100'000; ++i)
    ASSERT_EQ(flows.in(numbered(i), 0, kStart), i >= 100'000 - NatFlowLimits().of_host) << i;
}

TEST(NatFlows, MakeRoomForThoseOfTheSameHostByAge) {
  NatFlows flows({.hosts = 2, .of_host = 3});
  establish(flows, tcp(1));
  ASSERT_TRUE(flows.out(udp(2), 0, kStart));
  ASSERT_TRUE(flows.out(udp(3), 0, kStart));
  ASSERT_TRUE(flows.out(udp(2), 0, kStart + 2 * kSecond));
  ASSERT_TRUE(flows.out(udp(4), 0, kStart + 2 * kSecond));
  EXPECT_FALSE(flows.has(udp(3), kStart + 2 * kSecond)) << "silent for the longest time";
  EXPECT_TRUE(flows.has(udp(2), kStart + 2 * kSecond));
  EXPECT_TRUE(flows.has(tcp(1), kStart + 2 * kSecond)) << "a connection stays";
  establish(flows, tcp(5), kStart + 3 * kSecond);
  establish(flows, tcp(6), kStart + 4 * kSecond);
  EXPECT_TRUE(flows.has(tcp(1), kStart + 4 * kSecond));
  ASSERT_TRUE(flows.out(tcp(7), kTcpSyn, kStart + 5 * kSecond));
  EXPECT_FALSE(flows.has(tcp(1), kStart + 5 * kSecond)) << "as long as there is something else";
  EXPECT_FALSE(flows.has(udp(2), kStart + 5 * kSecond));
  EXPECT_FALSE(flows.has(udp(4), kStart + 5 * kSecond));
  for (std::uint16_t port = 5; port <= 7; ++port)
    EXPECT_TRUE(flows.has(tcp(port), kStart + 5 * kSecond)) << port;
}

TEST(NatFlows, AreRefusedToNewHostsWhileThereIsNoRoomForThem) {
  NatFlows flows({.hosts = 4, .of_host = 2});
  for (std::uint32_t host = 0; host < 4; ++host)
    ASSERT_TRUE(flows.out(udp(1, host), 0, kStart + std::chrono::seconds(host)));
  EXPECT_FALSE(flows.out(udp(1, 4), 0, kStart + std::chrono::seconds(5)));
  EXPECT_TRUE(flows.out(udp(2, 3), 0, kStart + std::chrono::seconds(5)))
      << "those that are there go on";
  const NatFlows::Time up = kStart + NatFlows::kDatagrams + NatFlows::kGrain;
  EXPECT_FALSE(flows.out(udp(1, 4), 0, up - std::chrono::nanoseconds(1)));
  EXPECT_TRUE(flows.out(udp(1, 4), 0, up)) << "the first host was silent";
  for (std::uint32_t host = 0; host < 5; ++host)
    EXPECT_EQ(flows.has(udp(1, host), up), host != 0) << host;
  EXPECT_FALSE(flows.out(udp(1, 0), 0, up));
}

/// Every order of a few flows, beside the plainest table.
TEST(NatFlows, AreThoseOfAPlainList) {
  struct Row {
    NatFlow flow;
    NatFlows::Time last;
  };
  std::uint32_t state = 1;
  const auto random = [&](std::uint32_t below) {
    state = state * 1'664'525U + 1'013'904'223U;
    return (state >> 8U) % below;
  };
  for (unsigned run = 0; run < 20; ++run) {
    NatFlows flows({.hosts = 8, .of_host = 16});
    std::vector<Row> rows;
    NatFlows::Time now = kStart;
    for (unsigned step = 0; step < 2000; ++step) {
      now += std::chrono::seconds(random(40));
      const NatFlow each = udp(static_cast<std::uint16_t>(random(16)), random(8));
      const auto row = std::find_if(rows.begin(), rows.end(),
                                    [&](const Row& other) { return other.flow == each; });
      const bool lives = row != rows.end() && now < row->last + NatFlows::kDatagrams;
      const bool has_ended =
          row == rows.end() || now >= row->last + NatFlows::kDatagrams + NatFlows::kGrain;
      const bool answers = flows.in(each, 0, now);
      ASSERT_TRUE(answers || !lives) << run << ' ' << step;
      ASSERT_TRUE(!answers || !has_ended) << run << ' ' << step;
      if (random(2) == 0) continue;
      ASSERT_TRUE(flows.out(each, 0, now));
      if (row == rows.end()) {
        rows.push_back({each, now});
      } else {
        row->last = now;
      }
    }
    for (std::uint32_t host = 8; host < 16; ++host) flows.out(udp(1, host), 0, now);
    for (const Row& row : rows) {
      const bool lives = now < row.last + NatFlows::kDatagrams;
      ASSERT_TRUE(flows.has(row.flow, now) || !lives) << run << ": another host took its room";
    }
  }
}

TEST(NatFlows, OfASilentHostMakeRoomForAnotherHoweverManyTheyAre) {
  NatFlows flows({.hosts = 1, .of_host = 32});
  for (std::uint16_t port = 1; port <= 32; ++port)
    ASSERT_TRUE(flows.out(udp(port, 0), 0, kStart)) << port;
  const NatFlows::Time up = kStart + NatFlows::kDatagrams + NatFlows::kGrain;
  EXPECT_TRUE(flows.out(udp(1, 1), 0, up));
  for (std::uint16_t port = 1; port <= 32; ++port) EXPECT_FALSE(flows.has(udp(port, 0), up));
  EXPECT_FALSE(flows.out(udp(1, 2), 0, up)) << "there is room for one";
}

}  // namespace
}  // namespace shmif::tools
