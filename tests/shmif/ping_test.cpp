#include "shmif/ping.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

namespace shmif {
namespace {

using PingFrame = std::array<std::byte, kPingFrameBytes>;

const MacAddress kAsker = *MacAddress::parse("b2:a0:00:00:00:01");
const MacAddress kAnswerer = *MacAddress::parse("b2:a0:00:00:00:02");
const MacAddress kBroadcast = *MacAddress::parse("ff:ff:ff:ff:ff:ff");

PingFrame request(MacAddress to, MacAddress from = kAsker) {
  PingFrame frame;
  write_ping({.destination = to,
              .source = from,
              .id = 0xdeadbeef,
              .sequence = 0x01020304,
              .sent_ns = 0x1122334455667788},
             frame);
  return frame;
}

FrameView view(const PingFrame& frame) {
  return {frame.data(), frame.size()};
}

TEST(Ping, IsReadBackAsItWasWritten) {
  const PingFrame frame = request(kAnswerer);
  const auto ping = read_ping(view(frame));
  ASSERT_TRUE(ping);
  EXPECT_EQ(ping->destination, kAnswerer);
  EXPECT_EQ(ping->source, kAsker);
  EXPECT_EQ(ping->type, PingType::request);
  EXPECT_EQ(ping->id, 0xdeadbeefU);
  EXPECT_EQ(ping->sequence, 0x01020304U);
  EXPECT_EQ(ping->sent_ns, 0x1122334455667788U);
}

TEST(Ping, IsReadAndAnsweredAlsoWhereACardHasPutBytesBehindIt) {
  const PingFrame frame = request(kAnswerer);
  std::array<std::byte, 64> padded{};
  std::copy(frame.begin(), frame.end(), padded.begin());
  for (std::size_t size = 60; size <= padded.size(); ++size) {
    const auto ping = read_ping({padded.data(), size});
    ASSERT_TRUE(ping) << size;
    EXPECT_EQ(ping->sequence, 0x01020304U);
    PingFrame reply;
    const auto answer = answer_ping({padded.data(), size}, kAnswerer, reply);
    ASSERT_TRUE(answer) << size;
    EXPECT_EQ(answer->size(), kPingFrameBytes);
  }
}

TEST(Ping, HasTheDocumentedBytes) {
  const PingFrame frame = request(kAnswerer);
  constexpr std::array<unsigned, 38> kExpected{0xb2, 0xa0, 0,    0,    0,    2,    0xb2, 0xa0, 0, 0,
                                               0,    1,    0x88, 0xb5, 'S',  'H',  'M',  'P',  1, 1,
                                               0,    0,    0xde, 0xad, 0xbe, 0xef, 1,    2,    3, 4,
                                               0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
  for (std::size_t i = 0; i < frame.size(); ++i) {
    EXPECT_EQ(std::to_integer<unsigned>(frame[i]), i < kExpected.size() ? kExpected[i] : 0U) << i;
  }
}

TEST(Ping, IsAnsweredByWhoItIsAddressedTo) {
  for (const MacAddress to : {kAnswerer, kBroadcast}) {
    PingFrame reply;
    const auto answer = answer_ping(view(request(to)), kAnswerer, reply);
    ASSERT_TRUE(answer);
    const auto ping = read_ping(*answer);
    ASSERT_TRUE(ping);
    EXPECT_EQ(ping->destination, kAsker);
    EXPECT_EQ(ping->source, kAnswerer);
    EXPECT_EQ(ping->type, PingType::reply);
    EXPECT_EQ(ping->id, 0xdeadbeefU);
    EXPECT_EQ(ping->sequence, 0x01020304U);
    EXPECT_EQ(ping->sent_ns, 0x1122334455667788U);
  }
}

TEST(Ping, IsNotAnsweredByAnybodyElse) {
  PingFrame reply;
  EXPECT_FALSE(answer_ping(view(request(kAnswerer)), kAsker, reply));
  EXPECT_FALSE(
      answer_ping(view(request(*MacAddress::parse("b2:a0:00:00:00:03"))), kAnswerer, reply));
}

TEST(Ping, AReplyIsNeverAnswered) {
  PingFrame reply;
  ASSERT_TRUE(answer_ping(view(request(kBroadcast)), kAnswerer, reply));
  PingFrame again;
  EXPECT_FALSE(answer_ping(view(reply), kAsker, again));
}

TEST(Ping, ARequestThatWouldMakeAStormIsNotAnswered) {
  PingFrame reply;
  EXPECT_FALSE(answer_ping(view(request(kBroadcast, kBroadcast)), kAnswerer, reply));
  EXPECT_FALSE(answer_ping(view(request(kAnswerer, *MacAddress::parse("01:00:5e:00:00:01"))),
                           kAnswerer, reply));
  EXPECT_FALSE(answer_ping(view(request(kAnswerer, MacAddress{})), kAnswerer, reply));
  EXPECT_FALSE(answer_ping(view(request(kAnswerer, kAnswerer)), kAnswerer, reply));
}

TEST(Ping, EveryCutShortFrameIsRefused) {
  const PingFrame frame = request(kAnswerer);
  PingFrame reply;
  for (std::size_t size = 0; size < frame.size(); ++size) {
    EXPECT_FALSE(read_ping({frame.data(), size})) << size;
    EXPECT_FALSE(answer_ping({frame.data(), size}, kAnswerer, reply)) << size;
  }
}

TEST(Ping, AFrameWithAnyWrongByteInItsHeadIsRefused) {
  for (std::size_t i = 12; i < 20; ++i) {
    PingFrame frame = request(kAnswerer);
    frame[i] ^= std::byte{0x80};
    EXPECT_FALSE(read_ping(view(frame))) << i;
  }
}

}  // namespace
}  // namespace shmif
