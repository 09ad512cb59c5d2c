// Which questions for addresses a host that is far behind need not see.

#include "tap/guest/vain_questions.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace shmif::test {
namespace {

using tap::VainQuestions;

using Octets = std::vector<std::uint8_t>;

constexpr std::uint64_t kSecond = 1'000'000'000;

/// An ARP packet from 198.18.0.`sender` (0.0.0.0 if that is 0) about 198.18.0.`target`.
Octets arp(std::uint8_t operation, std::uint8_t sender, std::uint8_t target, bool to_all = true) {
  const std::uint8_t first = to_all ? 0xff : 2;
  Octets f{first, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0};
  f.insert(f.end(), {operation, 2, 0, 0, 0, 0, 7});
  const Octets from = sender == 0 ? Octets(4) : Octets{198, 18, 0, sender};
  f.insert(f.end(), from.begin(), from.end());
  f.insert(f.end(), {0, 0, 0, 0, 0, 0, 198, 18, 0, target});
  return f;
}

Octets neighbour(std::uint8_t type, std::uint8_t target) {
  Octets f{0x33, 0x33, 0xff, 0,    0, target, 2, 0, 0,  0,  0,
           7,    0x86, 0xdd, 0x60, 0, 0,      0, 0, 24, 58, 255};
  f.resize(14 + 40);  // from :: to ::
  f.insert(f.end(), {type, 0, 0, 0, 0, 0, 0, 0, 0xfd});
  f.resize(f.size() + 14);
  f.push_back(target);
  return f;
}

constexpr std::uint8_t kRequest = 1;
constexpr std::uint8_t kReply = 2;
constexpr std::uint8_t kSolicitation = 135;
constexpr std::uint8_t kAdvertisement = 136;

class VainQuestion : public ::testing::Test {
 protected:
  /// Whether the host need not see the frame, which was sent at that time, while `behind` frames
  /// wait.
  bool is_vain(const Octets& bytes, std::uint64_t time_ns = kSecond, std::uint64_t behind = 1000) {
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = time_ns;
    frame.number = ++number_;
    return questions_.is_vain(frame, [&] {
      ++looks_;
      return frame.number + behind;
    });
  }
  void sends(const Octets& bytes) { questions_.learn(FrameView(bytes.data(), bytes.size())); }
  /// So many other frames come to the host.
  void others(unsigned count) {
    Octets data(60, 2);
    for (; count > 0; --count) EXPECT_FALSE(is_vain(data));
  }

  VainQuestions questions_;
  std::uint64_t number_ = 0;
  unsigned looks_ = 0;
};

TEST_F(VainQuestion, OfAHostThatDoesNotAnswerIsLeftOutOnceItHadTheTimeToAnswer) {
  for (const Octets& question : {arp(kRequest, 1, 9), arp(kRequest, 0, 8), neighbour(135, 9)}) {
    EXPECT_FALSE(is_vain(question));
    others(126);
    EXPECT_FALSE(is_vain(question));  // 127 frames after the first
    EXPECT_TRUE(is_vain(question));
    EXPECT_TRUE(is_vain(question));
  }
}

TEST_F(VainQuestion, IsSeenAgainAfterASecond) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question, 5 * kSecond));
  others(127);
  EXPECT_TRUE(is_vain(question, 6 * kSecond - 1));
  EXPECT_FALSE(is_vain(question, 6 * kSecond));
  EXPECT_TRUE(is_vain(question, 7 * kSecond - 1));
  EXPECT_FALSE(is_vain(question, 7 * kSecond));
}

TEST_F(VainQuestion, OfAnEarlierTimeIsSeen) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question, UINT64_MAX));
  others(127);
  EXPECT_FALSE(is_vain(question, 5 * kSecond));
  EXPECT_TRUE(is_vain(question, 5 * kSecond));
}

TEST_F(VainQuestion, IsSeenByAHostThatIsNotFarBehind) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question));
  others(127);
  EXPECT_FALSE(is_vain(question, kSecond, 0));
  EXPECT_FALSE(is_vain(question, kSecond, 256));
  EXPECT_TRUE(is_vain(question, kSecond, 257));
}

TEST_F(VainQuestion, ForAnAddressOfTheHostIsAlwaysSeen) {
  sends(arp(kReply, 9, 1, false));
  sends(arp(kRequest, 10, 1));
  sends(neighbour(kAdvertisement, 9));
  for (const Octets& question :
       {arp(kRequest, 1, 9), arp(kRequest, 1, 10), neighbour(kSolicitation, 9)}) {
    for (int i = 0; i < 300; ++i) ASSERT_FALSE(is_vain(question));
  }
}

TEST_F(VainQuestion, ThatWasAnsweredLateIsSeenFromThenOn) {
  const Octets question = arp(kRequest, 1, 9);
  EXPECT_FALSE(is_vain(question));
  others(127);
  EXPECT_TRUE(is_vain(question));
  sends(arp(kReply, 9, 1, false));
  EXPECT_FALSE(is_vain(question));
}

TEST_F(VainQuestion, IsNoOtherFrame) {
  Octets tagged = arp(kRequest, 1, 9);
  tagged[12] = 0x81;
  Octets ethernet_of_another_length = arp(kRequest, 1, 9);
  ethernet_of_another_length[18] = 5;
  Octets far_neighbour = neighbour(kSolicitation, 9);
  far_neighbour[21] = 254;  // the hop limit: it came through a router
  Octets cut = arp(kRequest, 1, 9);
  cut.pop_back();
  Octets cut6 = neighbour(kSolicitation, 9);
  cut6.pop_back();
  const struct {
    const char* what;
    Octets frame;
  } kCases[] = {
      {"an answer", arp(kReply, 1, 9)},
      {"a question to this host alone", arp(kRequest, 1, 9, false)},
      {"an announcement", arp(kRequest, 9, 9)},
      {"an advertisement", neighbour(kAdvertisement, 9)},
      {"behind a tag", tagged},
      {"another kind of ARP", ethernet_of_another_length},
      {"a solicitation from afar", far_neighbour},
      {"cut short", cut},
      {"cut short, IPv6", cut6},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.what);
    for (int i = 0; i < 300; ++i) ASSERT_FALSE(is_vain(c.frame));
  }
  EXPECT_EQ(looks_, 0U);
}

TEST_F(VainQuestion, ManyAddressesAreKept) {
  for (std::uint8_t host = 1; host <= 200; ++host) EXPECT_FALSE(is_vain(arp(kRequest, 0, host)));
  unsigned vain = 0;
  for (std::uint8_t host = 1; host <= 200; ++host) vain += is_vain(arp(kRequest, 0, host));
  EXPECT_GT(vain, 60U);  // 72 were asked for 128 frames ago; some share a place
  vain = 0;
  for (std::uint8_t host = 1; host <= 200; ++host) vain += is_vain(arp(kRequest, 0, host));
  EXPECT_GT(vain, 150U);
}

}  // namespace
}  // namespace shmif::test
