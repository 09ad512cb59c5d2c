// Whom a frame is for, as a sender remembers it.

#include "bus/port/audience.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

const MacAddress kFirst = *MacAddress::parse("b2:a0:00:00:00:01");
const MacAddress kSecond = *MacAddress::parse("b2:a0:00:00:00:02");
const MacAddress kBehind = *MacAddress::parse("b2:a0:00:00:00:03");
const MacAddress kGroup = *MacAddress::parse("01:00:5e:00:00:01");

/// A frame without content.
class Frame {
 public:
  explicit Frame(MacAddress to, MacAddress from = kFirst) {
    std::memcpy(bytes_.data(), to.bytes.data(), to.bytes.size());
    std::memcpy(bytes_.data() + 6, from.bytes.data(), from.bytes.size());
  }
  FrameView view() const { return FrameView(bytes_); }

 private:
  std::array<std::byte, 60> bytes_{};
};

class AudienceTest : public testing::Test {
 protected:
  void SetUp() override {
    PortOptions first;
    first.mac = kFirst;
    first.learn = true;
    first_ = Port(first);
    PortOptions second;
    second.mac = kSecond;
    second_ = Port(second);
    for (Port* port : {&first_, &second_}) {
      port->attach(bus_.path()).value();
      ASSERT_FALSE(port->up());
    }
  }
  bool hears(const Port& port, MacAddress mac) {
    const Frame frame(mac);
    const FrameView view = frame.view();
    return is_set(audience_.of({&view, 1}).data(), port.slot());
  }

  TempBus bus_;
  RawBus raw_{bus_.path()};
  Port first_;
  Port second_;
  bus::Audience audience_{raw_.ring()};
};

TEST_F(AudienceTest, OnlyThePortWithTheAddressIsMeant) {
  for (int again = 0; again < 2; ++again) {
    EXPECT_TRUE(hears(first_, kFirst));
    EXPECT_FALSE(hears(second_, kFirst));
    EXPECT_TRUE(hears(second_, kSecond));
    EXPECT_FALSE(hears(first_, kSecond));
    EXPECT_FALSE(hears(first_, kBehind));
  }
  EXPECT_TRUE(hears(first_, kGroup));
  EXPECT_TRUE(hears(second_, kGroup));
}

TEST_F(AudienceTest, ABatchIsForWhomeverOneOfItsFramesIsFor) {
  const std::array frames{Frame(kBehind), Frame(kSecond), Frame(kBehind)};
  const std::array views{frames[0].view(), frames[1].view(), frames[2].view()};
  const bus::SlotSet slots = audience_.of(views);
  EXPECT_TRUE(is_set(slots.data(), second_.slot()));
  EXPECT_FALSE(is_set(slots.data(), first_.slot()));
}

TEST_F(AudienceTest, AnswersChangeWithWhatAPortHears) {
  const auto expect_news = [&](const Port& port, const auto& change, const auto& back) {
    EXPECT_FALSE(hears(port, kBehind));
    change();
    EXPECT_TRUE(hears(port, kBehind));
    back();
    EXPECT_FALSE(hears(port, kBehind));
  };
  expect_news(
      second_, [&] { ASSERT_FALSE(second_.set_mac(kBehind)); },
      [&] { ASSERT_FALSE(second_.set_mac(kSecond)); });
  expect_news(
      second_, [&] { ASSERT_FALSE(second_.set_promiscuous(true)); },
      [&] { ASSERT_FALSE(second_.set_promiscuous(false)); });
  expect_news(
      second_, [&] { ASSERT_FALSE(second_.set_other_macs(std::array{kBehind})); },
      [&] { ASSERT_FALSE(second_.set_other_macs({})); });
  const Frame frame(kSecond, kBehind);
  const FrameView view = frame.view();
  ASSERT_EQ(first_.send({&view, 1}).taken, 1U);
  EXPECT_TRUE(hears(first_, kBehind)) << "it has learned the address";
  Port late({.mac = MacAddress::from_u64(0x02'00'00'00'00'99)});
  EXPECT_FALSE(hears(second_, MacAddress::from_u64(0x02'00'00'00'00'99)));
  late.attach(bus_.path()).value();
  EXPECT_TRUE(hears(late, MacAddress::from_u64(0x02'00'00'00'00'99)));
}

/// That it hears all from now on is news by itself: nothing else changes with the one too many.
TEST_F(AudienceTest, AnswersChangeWithTheAddressThatIsOneTooMany) {
  for (std::uint64_t i = 0; i <= bus::kLearnedAddresses; ++i) {
    EXPECT_FALSE(hears(first_, kBehind)) << i;
    const Frame frame(kSecond, MacAddress::from_u64(0x020000000000U + i));
    const FrameView view = frame.view();
    ASSERT_EQ(first_.send({&view, 1}).taken, 1U);
  }
  EXPECT_TRUE(hears(first_, kBehind));
}

TEST_F(AudienceTest, APortInAnySlotIsFound) {
  raw_.header().slots_used = bus::kSlots;
  for (const unsigned slot : {63U, 64U, 130U, 255U}) {
    const MacAddress mac = MacAddress::from_u64(0x02'00'00'00'77'00 + slot);
    raw_.slot(slot).mac = mac.to_u64();
    const Frame frame(mac);
    const FrameView view = frame.view();
    const bus::SlotSet all = audience_.of({&view, 1});
    for (unsigned i = 0; i < bus::kSlots; ++i) EXPECT_EQ(is_set(all.data(), i), i == slot) << i;
  }
}

}  // namespace
}  // namespace shmif::test
