// The writers' side of the doorbell by itself: whom it finds, what it tells them, and that it rings
// each of several deep sleepers once.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/file/file_id.hpp"
#include "bus/port/doorbell.hpp"
#include "shmif/port.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr std::array kSleepers{3U, 70U, 255U};  // in three words of the bitmaps

/// A watch of a file, as a port has that polls without io_uring.
class Watch {
 public:
  explicit Watch(const std::string& path) : fd_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    EXPECT_GE(inotify_add_watch(fd_.get(), path.c_str(), IN_MODIFY), 0);
  }
  /// Since the last call.
  bool went_off() const {
    alignas(inotify_event) std::array<char, 1024> events{};
    bool any = false;
    while (read(fd_.get(), events.data(), events.size()) > 0) any = true;
    return any;
  }

 private:
  UniqueFd fd_;
};

class BellTest : public testing::Test {
 protected:
  BellTest() {
    broadcast_.fill(std::byte{0xff});
    raw_.header().slots_used = bus::kSlots;
    for (const unsigned slot : kSleepers) {
      raw_.slot(slot).state = bus::slot_state(bus::SlotState::live, 1);
      raw_.slot(slot).rung_position = bus::kAsleep;
    }
  }
  static void set(std::uint64_t* bits, unsigned slot) { bits[slot / 64] |= 1ULL << (slot % 64); }
  std::uint32_t rings(unsigned slot) const { return bus::load_seq_cst(raw_.slot(slot).futex); }
  bool wakes_deep() {
    const FrameView frame(broadcast_);
    return bell_.wake_deep({&frame, 1});
  }

  TempBus file_{small_ring()};
  RawBus raw_{file_.path()};
  bus::Bell bell_{raw_.ring(), 9, raw_.fd()};
  std::array<std::byte, 60> broadcast_{};
};

TEST_F(BellTest, EachDeepSleeperIsRungOnceForEachOfItsSleeps) {
  EXPECT_FALSE(wakes_deep()) << "nobody sleeps";
  std::uint32_t ticket = 10;
  for (const unsigned slot : kSleepers) {
    set(raw_.header().deep_sleepers, slot);
    raw_.slot(slot).deep_ticket = ticket++;
  }
  for (unsigned round = 1; round <= 3; ++round) {
    SCOPED_TRACE(round);
    EXPECT_TRUE(wakes_deep());
    EXPECT_FALSE(wakes_deep()) << "they are rung already";
    for (const unsigned slot : kSleepers) {
      EXPECT_EQ(rings(slot), round) << slot;
      EXPECT_TRUE(is_set(raw_.header().deep_sleepers, slot)) << "only the sleeper takes it back";
      ++raw_.slot(slot).deep_ticket;  // it sleeps again
    }
  }
  // One of them alone sleeps again, with the ticket that its neighbour had.
  EXPECT_TRUE(wakes_deep());
  raw_.slot(3).deep_ticket = raw_.slot(70).deep_ticket;
  EXPECT_TRUE(wakes_deep());
  EXPECT_EQ(rings(3), 5U);
  EXPECT_EQ(rings(70), 4U);
}

TEST_F(BellTest, SleepersLearnWhereTheBatchBeganAndWhetherTheyWereStillLooking) {
  for (const unsigned slot : kSleepers) set(raw_.header().sleepers, slot);
  set(raw_.header().sleepers, 9);   // the sender itself
  set(raw_.header().sleepers, 10);  // nobody's slot
  raw_.slot(70).rung_position = bus::kLooksForFrames;
  const FrameView frame(broadcast_);
  const bus::Wanted found = bell_.collect({&frame, 1}, 4096, 55);
  EXPECT_TRUE(found.any);
  for (unsigned slot = 0; slot < bus::kSlots; ++slot) {
    const bool sleeps = std::ranges::find(kSleepers, slot) != kSleepers.end();
    EXPECT_EQ(is_set(found.slots.data(), slot), sleeps) << slot;
    EXPECT_EQ(is_set(raw_.header().sleepers, slot), slot == 9 || slot == 10) << slot;
    EXPECT_EQ(raw_.slot(slot).rung_number, sleeps ? 55U : 0U) << slot;
  }
  EXPECT_EQ(raw_.slot(3).rung_position, 4096U);
  EXPECT_EQ(raw_.slot(70).rung_position, 4096U | bus::kRungEarly);
  EXPECT_EQ(raw_.slot(255).rung_position, 4096U);
  bell_.wake(found);
  for (const unsigned slot : kSleepers) EXPECT_EQ(rings(slot), 1U) << slot;
  const bus::Wanted again = bell_.collect({&frame, 1}, 8192, 56);
  EXPECT_FALSE(again.any);
  EXPECT_EQ(raw_.slot(3).rung_position, 4096U) << "of the batch that rang it";
}

TEST_F(BellTest, AfterARepairEverySlotIsRungWhateverItSays) {
  const Watch watch(file_.path());
  EXPECT_FALSE(watch.went_off());
  bus::wake_everybody(raw_.ring(), raw_.fd());
  for (unsigned slot = 0; slot < bus::kSlots; ++slot) EXPECT_EQ(rings(slot), 1U) << slot;
  EXPECT_TRUE(watch.went_off()) << "nor does it say who polls";
}

TEST_F(BellTest, TheFileIsWrittenOnlyForASleeperThatWatchesIt) {
  const Watch watch(file_.path());
  const FrameView frame(broadcast_);
  for (const unsigned watching : {0U, 1U, 2U}) {  // none, the first, the last of them
    for (const unsigned slot : kSleepers) {
      set(raw_.header().sleepers, slot);
      const bool this_one = (watching == 1 && slot == 3) || (watching == 2 && slot == 255);
      raw_.slot(slot).bell = this_one ? bus::kBellInotify : bus::kBellFutex;
    }
    bell_.wake(bell_.collect({&frame, 1}, 4096, 55));
    EXPECT_EQ(watch.went_off(), watching != 0) << watching;
    for (const unsigned slot : kSleepers) EXPECT_EQ(rings(slot), watching + 1) << slot;
  }
}

TEST(FileBell, LeavesAFileShortThatSomebodyHasTruncated) {
  const TempBus file(small_ring());
  const UniqueFd fd(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(fd);
  const bus::FileId id = bus::FileId::of(fd.get());
  constexpr off_t kDoorbell = offsetof(bus::BusHeader, doorbell);
  for (const off_t bytes : {off_t{0}, kDoorbell, kDoorbell + 3, kDoorbell + 4}) {
    ASSERT_EQ(::ftruncate(fd.get(), bytes), 0);
    bus::set_off_watches(fd.get(), id, kDoorbell, 0x01020304);
    EXPECT_EQ(std::filesystem::file_size(file.path()), static_cast<std::uintmax_t>(bytes));
  }
  std::uint32_t rung = 0;
  ASSERT_EQ(::pread(fd.get(), &rung, sizeof rung, kDoorbell), 4);
  EXPECT_EQ(rung, 0x01020304U) << "the last file was long enough";
}

/// Answers about ports do not outlive a repair, though the count of changes is what it was.
TEST_F(BellTest, ASenderAsksAnewWhoIsMeantAfterARepair) {
  Port sender = port_on(file_.path());
  ASSERT_NE(sender.slot(), 3U);
  std::array<std::byte, 60> to_x{};
  to_x[0] = std::byte{0x02};
  const FrameView frame(to_x);
  raw_.slot(3).mac = 0x02'00'00'00'00'99;
  set(raw_.header().sleepers, 3);
  ASSERT_FALSE(sender.send({&frame, 1}).error);
  ASSERT_EQ(rings(3), 0U) << "it is for another address";
  raw_.slot(3).mac = 0x02'00'00'00'00'00;
  const std::uint64_t counted = raw_.header().filter_changes;
  raw_.header().filter_changes = counted - 3;  // the port counts three when it shows itself again
  bus::fetch_add(raw_.header().epoch, std::uint64_t{1});
  ASSERT_FALSE(sender.send({&frame, 1}).error);
  EXPECT_EQ(raw_.header().filter_changes, counted);
  EXPECT_EQ(rings(3), 1U);
}

/// The sleep is as long as a port must be idle before it sleeps deeply. Had it been shorter than
/// asked for, that time would not be over.
TEST_F(BellTest, ASleeperSleepsAsLongAsItSaysAndDeeplyOnlyAfterSomeTimeWithoutTraffic) {
  bus::Sleeper sleeper(raw_.ring(), 70);
  const std::chrono::nanoseconds at_most = sleeper.announce(false);
  EXPECT_LT(at_most, bus::kIdleUntilDeep) << "so long it may sleep lightly";
  sleeper.sleep(bus::kIdleUntilDeep);
  EXPECT_FALSE(sleeper.withdraw().rung);
  EXPECT_EQ(sleeper.announce(false), std::chrono::nanoseconds::max());
  EXPECT_TRUE(is_set(raw_.header().deep_sleepers, 70));
  static_cast<void>(sleeper.withdraw());
  EXPECT_FALSE(is_set(raw_.header().deep_sleepers, 70));
  sleeper.saw_traffic();
  EXPECT_EQ(sleeper.announce(false), at_most);
  EXPECT_FALSE(is_set(raw_.header().deep_sleepers, 70));
  static_cast<void>(sleeper.withdraw());
}

// Whom a frame is for, as a sender remembers it.

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
