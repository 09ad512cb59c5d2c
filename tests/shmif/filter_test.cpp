#include "shmif/filter.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace shmif {
namespace {

std::vector<std::byte> ethernet(unsigned ether_type, std::size_t size = 60) {
  std::vector<std::byte> frame(size);
  for (std::size_t i = 0; i < 6; ++i) frame[i] = std::byte{0xff};
  frame[6] = std::byte{0xb2};
  frame[12] = static_cast<std::byte>(ether_type >> 8U);
  frame[13] = static_cast<std::byte>(ether_type);
  return frame;
}

bool matches(const std::string& expression, const std::vector<std::byte>& frame) {
  return FrameFilter::compile(expression).value().matches({frame.data(), frame.size()});
}

TEST(FrameFilter, MatchesByProtocolAddressLengthAndTag) {
  EXPECT_TRUE(matches("arp", ethernet(0x0806)));
  EXPECT_FALSE(matches("arp", ethernet(0x0800)));
  EXPECT_TRUE(matches("ether proto 0x88b5 and broadcast", ethernet(0x88b5)));
  EXPECT_TRUE(matches("ether src b2:00:00:00:00:00", ethernet(0x88b5)));
  EXPECT_TRUE(matches("greater 100", ethernet(0x0800, 100)));
  EXPECT_FALSE(matches("greater 100", ethernet(0x0800, 99)));
  EXPECT_TRUE(matches("vlan 5", [] {
    auto frame = ethernet(0x8100);
    frame[15] = std::byte{5};
    return frame;
  }()));
}

TEST(FrameFilter, LengthIsThatOnTheWireWhereTheFrameIsCutShort) {
  const auto frame = ethernet(0x0800, 60);
  FrameView view(frame.data(), frame.size());
  view.true_bytes = 1514;
  EXPECT_TRUE(FrameFilter::compile("greater 1000").value().matches(view));
}

TEST(FrameFilter, ReadsNothingBehindAShortFrame) {
  EXPECT_FALSE(matches("tcp port 80", ethernet(0x0800, 14)));
  EXPECT_FALSE(matches("icmp6", ethernet(0x86dd, 20)));
}

TEST(FrameFilter, ABadExpressionIsRefusedInOneLineThatQuotesIt) {
  const auto filter = FrameFilter::compile("tcp prot 80");
  ASSERT_FALSE(filter);
  EXPECT_EQ(filter.error().code, Errc::bad_argument);
  EXPECT_NE(filter.error().message.find("\"tcp prot 80\""), std::string::npos);
  EXPECT_EQ(filter.error().message.find('\n'), std::string::npos);
}

TEST(FrameFilter, WhatOnlyAKernelKnowsOfAPacketIsRefusedBecauseItWouldMatchNothing) {
  for (const std::string expression : {"inbound", "outbound", "not inbound", "arp or outbound"}) {
    const auto filter = FrameFilter::compile(expression);
    ASSERT_FALSE(filter) << expression;
    EXPECT_EQ(filter.error().code, Errc::bad_argument);
    EXPECT_NE(filter.error().message.find('"' + expression + '"'), std::string::npos);
    EXPECT_NE(filter.error().message.find("direction"), std::string::npos)
        << filter.error().message;
  }
}

}  // namespace
}  // namespace shmif
