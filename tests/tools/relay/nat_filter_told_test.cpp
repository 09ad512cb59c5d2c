// NatFilter: how it counts the frames that it keeps, and tells hosts of them.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/tools/relay/nat_filter_rig.hpp"

namespace shmif::tools::nat_filtering {
namespace {

TEST_F(NatFilterTest, CountsWhatItKeepsAndTellsTheHostThatAddressedIt) {
  NatFilter filter(wish_, to_one, kFew);
  EXPECT_EQ(filter.to_text(), "");
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto answer = [&](NatWay way, const Bytes& bytes) {
    EXPECT_TRUE(filter.keep(way, FrameView(bytes.data(), bytes.size()), back));
    FrameBatch batch;
    static_cast<void>(theirs.receive(batch));
    return batch.empty() ? Bytes()
                         : Bytes(reinterpret_cast<const std::uint8_t*>(batch[0].bytes.data()),
                                 reinterpret_cast<const std::uint8_t*>(batch[0].bytes.data()) +
                                     batch[0].size());
  };
  const Bytes asked = Ip{.to = "127.0.0.1"}.bytes();
  const Bytes told = answer(NatWay::out, asked);
  ASSERT_EQ(told.size(), 14U + 20 + 8 + 28);
  Ip expected{.from = "10.0.2.2",
              .to = "10.0.2.15",
              .from_mac = kGatewayMac,
              .to_mac = kHostMac,
              .protocol = IPPROTO_ICMP,
              .from_port = 0x030d,
              .payload = 36};
  Bytes wanted = expected.bytes();
  std::memcpy(&wanted[24], &told[24], 2);
  std::memcpy(&wanted[36], &told[36], 2);
  std::copy_n(asked.begin() + 14, 28, wanted.begin() + 42);
  EXPECT_EQ(told, wanted);
  const auto sum = [&](std::size_t from, std::size_t size) {
    return bus::internet_sum(std::as_bytes(std::span(told).subspan(from, size)));
  };
  EXPECT_EQ(sum(14, 20), 0xffff);
  EXPECT_EQ(sum(34, 36), 0xffff);
  EXPECT_FALSE(answer(NatWay::out, Ip{.to = "169.254.1.1"}.bytes()).empty());
  EXPECT_FALSE(answer(NatWay::out, Ip{.to = "10.0.2.2"}.bytes()).empty());
  EXPECT_FALSE(answer(NatWay::out, Ip{.fragment = 0x2000}.bytes()).empty());
  // Nobody is told of what others sent to each other, of groups, or of a later fragment.
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .to_mac = kOtherMac}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .to_mac = kEveryMac}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "224.0.0.1"}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.to = "127.0.0.1", .fragment = 0x0007}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::out, Ip{.from = "198.18.0.1"}.bytes()).empty());
  EXPECT_TRUE(answer(NatWay::in, Ip{.from = "127.0.0.1", .to = "10.0.2.15"}.bytes()).empty());
  const Bytes passes = Ip().bytes();
  EXPECT_FALSE(filter.keep(NatWay::out, FrameView(passes.data(), passes.size()), back));
  EXPECT_TRUE(answer(NatWay::in, answer_to({.to = "198.18.9.2"}).bytes()).empty());
  EXPECT_EQ(filter.refused(NatWay::out), 9U);
  EXPECT_EQ(filter.refused(NatWay::in), 2U);
  EXPECT_TRUE(filter.to_text().starts_with(
      "11 frames were refused (2 fragments of packets, 1 from outside the network, 3 for 127."))
      << filter.to_text();
  EXPECT_EQ(filter.to_json(), Json({{"other_protocol", 0},
                                    {"unreadable", 0},
                                    {"fragment", 2},
                                    {"other_icmp", 0},
                                    {"outside_network", 1},
                                    {"loopback", 3},
                                    {"link_local", 1},
                                    {"multicast_or_broadcast", 1},
                                    {"not_served", 1},
                                    {"other_hosts", 1},
                                    {"unsolicited", 1},
                                    {"too_many_hosts", 0}}));
  unsigned answers = 0;
  for (unsigned i = 0; i < 1000; ++i) answers += answer(NatWay::out, asked).empty() ? 0 : 1;
  EXPECT_GE(answers, 1U);
  EXPECT_LT(answers, 1000U) << "a flood is not answered with another";
  EXPECT_TRUE(shmif::test::eventually([&] { return !answer(NatWay::out, asked).empty(); }))
      << "nor does it silence the gateway for ever";
}

TEST_F(NatFilterTest, SaysOfOneFrameThatItWasRefusedAndWhy) {
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto said_of = [&](NatFilter& filter, const Ip& ip) {
    const Bytes bytes = ip.bytes();
    EXPECT_TRUE(filter.keep(NatWay::out, FrameView(bytes.data(), bytes.size()), back));
    return filter.to_text();
  };
  for (const auto& [ip, why] :
       {std::pair{Ip{.type = 0x86dd}, "IPv6 or other protocols"},
        {Ip{.protocol = IPPROTO_SCTP}, "IPv6 or other protocols"},
        {Ip{.first = 0x46}, "damaged or with IP options"},
        {Ip{.fragment = 0x2000}, "fragments of packets"},
        {Ip{.protocol = IPPROTO_ICMP, .from_port = 0x0d00}, "ICMP other than pings"},
        {Ip{.from = "198.18.0.1"}, "from outside the network"},
        {Ip{.to = "0.0.0.1"}, "for 127.0.0.0/8 or 0.0.0.0/8"},
        {Ip{.to = "169.254.1.1"}, "for 169.254.0.0/16, see --link-local"},
        {Ip{.to = "224.0.0.1"}, "multicast or broadcast"},
        {Ip{.to = "10.0.2.2"}, "for what the gateway does not serve"},
        {Ip{.to = "10.0.2.16"}, "for other hosts of the bus"}}) {
    NatFilter filter(wish_, to_one, kFew);
    EXPECT_EQ(said_of(filter, ip), "1 frame was refused (1 " + std::string(why) + ')');
  }
  NatFilter filter(wish_, to_one, {.hosts = 1, .of_host = 8});
  const Bytes first = Ip().bytes();
  ASSERT_FALSE(filter.keep(NatWay::out, FrameView(first.data(), first.size()), back));
  EXPECT_EQ(said_of(filter, Ip{.from = "10.0.2.16"}),
            "1 frame was refused (1 from too many hosts)");
}

TEST_F(NatFilterTest, AnswersAHundredTimesASecond) {
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const Bytes asked = Ip{.to = "127.0.0.1"}.bytes();
  for (;;) {
    NatFilter filter(wish_, to_one, kFew);
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < 150; ++i)
      EXPECT_TRUE(filter.keep(NatWay::out, FrameView(asked.data(), asked.size()), back));
    const auto took = std::chrono::steady_clock::now() - begin;
    FrameBatch batch(256, 64U << 10U);
    EXPECT_FALSE(theirs.receive(batch).error);
    if (took > std::chrono::milliseconds(900)) continue;  // a second began meanwhile
    EXPECT_EQ(batch.size(), 100U);
    EXPECT_EQ(filter.refused(NatWay::out), 150U);
    break;
  }
}

TEST_F(NatFilterTest, QuotesOnlyWhatThePacketHoldsAndAnswersOnlyOneHost) {
  NatFilter filter(wish_, to_one, kFew);
  auto [ours, theirs] = LoopbackLink::pair().value();
  AnyLink back(std::make_unique<LoopbackLink>(std::move(ours)));
  const auto is_answered = [&](const Ip& ip, std::size_t frame_bytes = 0) {
    const Bytes bytes = ip.bytes();
    EXPECT_TRUE(filter.keep(
        NatWay::out, FrameView(bytes.data(), frame_bytes == 0 ? bytes.size() : frame_bytes), back));
    FrameBatch batch;
    static_cast<void>(theirs.receive(batch));
    return !batch.empty();
  };
  // What follows a short packet, in its frame or behind it, is not its sender's.
  for (int payload = 0; payload < 8; ++payload) {
    const Ip ip{.fragment = 0x2000, .length = 20 + payload};
    EXPECT_FALSE(is_answered(ip)) << payload;
    EXPECT_FALSE(is_answered(ip, static_cast<std::size_t>(34 + payload))) << payload;
  }
  EXPECT_TRUE(is_answered({.fragment = 0x2000, .payload = 8}));
  for (const char* const from : {"198.18.0.1", "127.0.0.1", "10.0.2.2", "10.0.2.255", "10.0.2.0",
                                 "255.255.255.255", "224.0.0.1", "0.0.0.0"})
    EXPECT_FALSE(is_answered({.from = from, .fragment = 0x2000})) << from;
  EXPECT_FALSE(is_answered({.from_mac = kEveryMac, .fragment = 0x2000}));
  EXPECT_FALSE(is_answered({.to = "127.0.0.1", .from_mac = kEveryMac}));
}

}  // namespace
}  // namespace shmif::tools::nat_filtering
