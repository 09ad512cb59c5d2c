// What a bus tells of itself and of its ports, living, dead and gone: each field with a value of
// its own; and what is said where it is refused.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/wall_clock.hpp"
#include "bus/format/format.hpp"
#include "bus/learned_word.hpp"
#include "bus/netbsd/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

void expect_text(const std::string& message, const std::string& text) {
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

/// A process with a port that is up, and that is killed.
void die_with_port(const std::string& path, const PortOptions& options) {
  EXPECT_EQ(Child([&] {
              const Port port = port_on(path, options);
              return raise(SIGKILL);
            }).wait(),
            128 + SIGKILL);
}

TEST(Inspect, TellsWhenTheBusWasMade) {
  const std::uint64_t before = base::wall_clock_ns();
  const TempBus bus(small_ring());
  EXPECT_GE(bus.info().created_ns, before);
  EXPECT_LE(bus.info().created_ns, base::wall_clock_ns());
}

TEST(Inspect, TellsOfTheRingAndTheLockEachNumberUnderItsName) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  raw.begin_at(10 * raw.ring().bytes() + 64, 1001);
  raw.header().first = 8 * raw.ring().bytes();
  raw.header().epoch = 1002;
  raw.header().takeovers = 1003;
  raw.header().takeovers_dead = 1004;
  raw.header().takeovers_living = 1005;
  raw.header().repairs = 1006;
  raw.header().claims_freed = 1007;
  raw.header().longest_hold_ns = 1008;
  raw.header().filter_changes = 1009;
  raw.header().lock = std::uint64_t{1010} << bus::lock_word::kSlotBits | 256;
  const BusInfo told = file.info();
  EXPECT_EQ(told.generation, 10U);
  EXPECT_EQ(told.first, 8 * raw.ring().bytes());
  EXPECT_EQ(told.last, 10 * raw.ring().bytes() + 64);
  EXPECT_EQ(told.frames, 1001U);
  EXPECT_EQ(told.epoch, 1002U);
  EXPECT_EQ(told.takeovers_dead, 1004U);
  EXPECT_EQ(told.takeovers_living, 1005U);
  EXPECT_EQ(told.repairs, 1006U);
  EXPECT_EQ(told.claims_freed, 1007U);
  EXPECT_EQ(told.longest_hold_ns, 1008U);
  EXPECT_EQ(told.lock_acquisitions, 1010U);
  EXPECT_EQ(told.lock_holder, 255U);
  raw.header().longest_hold_ns = 0;
  EXPECT_EQ(file.info().longest_hold_ns, std::nullopt) << "nobody has measured one";
  raw.lock_as(bus::lock_word::kRepairSlot);
  EXPECT_EQ(file.info().lock_holder, bus::lock_word::kRepairSlot) << "a repair is at work";
  raw.header().lock = bus::lock_word::freed(raw.header().lock);
  EXPECT_EQ(file.info().lock_holder, std::nullopt);
}

TEST(Inspect, TellsHowFarAPortIsBehind) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port port = port_on(file.path());
  bus::PortSlot& slot = raw.slot(0);
  const auto behind = [&] { return file.info().ports.at(0).unread_bytes; };
  raw.begin_at(10 * raw.ring().bytes(), 1000);
  slot.position = raw.header().last - 640;
  slot.rung_position = 0;
  EXPECT_EQ(behind(), 640U);
  slot.rung_position = raw.header().last - 64;
  EXPECT_EQ(behind(), 64U) << "what came before the ring was for others";
  slot.rung_position |= bus::kRungEarly;
  EXPECT_EQ(behind(), 640U) << "rung while it still looked";
  slot.rung_position = bus::kLooksForFrames;
  EXPECT_EQ(behind(), 640U);
  slot.rung_position = bus::kAsleep;
  EXPECT_EQ(behind(), 0U) << "nothing came for it";
  slot.rung_position = 0;
  slot.position = raw.header().last + 64;
  EXPECT_EQ(behind(), 0U) << "it read on while the ports were read";
  slot.position = raw.header().last - 2 * raw.ring().bytes();
  EXPECT_EQ(behind(), 2 * raw.ring().bytes()) << "lapped";
  slot.flags &= ~bus::kFlagUp;
  EXPECT_EQ(behind(), 0U) << "down";
}

TEST(Inspect, TellsOfAPortForWhomItWaitsAndWhatItHears) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port port = port_on(file.path());
  bus::PortSlot& slot = raw.slot(port.slot());
  EXPECT_EQ(file.info().ports.at(0).waits_for, std::nullopt);
  for (const unsigned other : {1U, 77U, 256U}) {
    slot.waits_for = other;
    EXPECT_EQ(file.info().ports.at(0).waits_for, other - 1);
  }
  slot.waits_for = 257;  // overwritten
  EXPECT_EQ(file.info().ports.at(0).waits_for, std::nullopt);
  for (const std::uint32_t flag : {bus::kFlagPromiscuous, bus::kFlagLearnedTooMany}) {
    slot.flags = flag;
    EXPECT_TRUE(file.info().ports.at(0).promiscuous) << flag;
    EXPECT_FALSE(file.info().ports.at(0).up);
    EXPECT_FALSE(file.info().ports.at(0).pause);
  }
  slot.flags = bus::kFlagPause;
  EXPECT_FALSE(file.info().ports.at(0).promiscuous);
  EXPECT_TRUE(file.info().ports.at(0).pause);
}

TEST(Inspect, TellsOfAPortWhichOneItIsWhereItReadsAndWhichOtherAddressesItHears) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const auto told = [&] { return file.info().ports.at(0); };
  constexpr std::uint64_t kSome = 0x020000000000;
  const auto mac = [](std::uint64_t i) { return MacAddress::from_u64(kSome + i); };
  using Macs = std::vector<MacAddress>;
  {
    const Port former = port_on(file.path());
    EXPECT_EQ(told().incarnation, 1U);
  }
  Port port = port_on(file.path(), {.learn = true});
  EXPECT_EQ(told().incarnation, 2U);
  EXPECT_EQ(told().other_macs, Macs{});
  EXPECT_EQ(told().position, raw.header().last);
  ASSERT_FALSE(port.set_other_macs(std::array{mac(1), mac(2)}));
  NumberedBatch frames(100);
  const std::span<const FrameView> one = frames.make(1, 0, 1);
  const MacAddress learned = one[0].source();
  ASSERT_EQ(port.send(one).taken, 1U);
  EXPECT_EQ(told().other_macs, (Macs{mac(1), mac(2), learned}));
  EXPECT_LT(told().position, raw.header().last);
  EXPECT_EQ(heard(port), 0U) << "its own";
  EXPECT_EQ(told().position, raw.header().last);
  EXPECT_GT(told().position, 0U);
  ASSERT_FALSE(port.set_other_macs(std::array{mac(2)}));
  EXPECT_EQ(told().other_macs, (Macs{mac(2), learned}));
  EXPECT_FALSE(told().promiscuous);

  // Words of the file: the address of zeros, an overwritten word, and nothing behind the first 0.
  std::uint64_t(&words)[bus::kLearnedAddresses] = raw.slot(port.slot()).learned;
  std::ranges::fill(words, 0U);
  words[0] = bus::learned_word(0);
  words[1] = std::uint64_t{7} << 60U;
  words[2] = mac(5).to_u64();
  words[4] = mac(6).to_u64();
  EXPECT_EQ(told().other_macs, (Macs{MacAddress{}, mac(5)}));
}

TEST(Inspect, TellsOfARowThatWasOverwrittenOnlyWhatAPortCanHave) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port port = port_on(file.path());
  bus::PortSlot& slot = raw.slot(port.slot());
  const auto told = [&] { return file.info().ports.at(0); };
  constexpr std::uint64_t kSome = 0x020000000005;
  const MacAddress some = MacAddress::from_u64(kSome);
  constexpr std::uint64_t kEverybody = 0xffffffffffff;
  constexpr std::uint64_t kSomeGroup = 0x030000000005;

  std::uint64_t(&words)[bus::kLearnedAddresses] = slot.learned;
  std::ranges::fill(words, 0U);
  words[0] = kEverybody;
  words[1] = kSome;
  words[2] = kSomeGroup;
  words[3] = kSome | std::uint64_t{1} << 50U;
  words[4] = bus::learned_word(0);  // some hosts do send from it
  EXPECT_EQ(told().other_macs, (std::vector{some, MacAddress{}}));

  slot.mac = kSome;
  EXPECT_EQ(told().mac, some);
  for (const std::uint64_t none :
       {kEverybody, kSomeGroup, std::uint64_t{0}, kSome | std::uint64_t{1} << 48U}) {
    slot.mac = none;
    EXPECT_EQ(told().mac, MacAddress{}) << none;
  }

  for (const auto& [word, kind] :
       {std::pair{8U, 8U}, {9U, 9U}, {77U, 77U}, {256U, 255U}, {0x01000001U, 255U}}) {
    slot.link = word;
    EXPECT_EQ(static_cast<unsigned>(told().link), kind) << word;
  }
  EXPECT_STREQ(to_string(told().link), "unknown");

  const std::uint32_t own_pid = slot.pid;
  for (const auto& [word, pid] : {std::pair{4'194'303U, 4'194'303},
                                  {4'194'304U, 0},
                                  {5'000'000U, 0},
                                  {0xfffffffbU, 0},
                                  {own_pid, static_cast<std::int32_t>(own_pid)}}) {
    slot.pid = word;
    EXPECT_EQ(told().pid, pid) << word;
  }

  raw.claim(port.slot(), 64, 64, 1088);
  EXPECT_EQ(told().claim_bytes, 1024U);
  raw.claim(port.slot(), 64, 1088, 64);
  EXPECT_EQ(told().claim_bytes, std::nullopt);
  raw.claim(port.slot(), 64, 64, 64);
  EXPECT_EQ(told().claim_bytes, std::nullopt);
  const std::uint64_t ring = raw.ring().bytes();
  raw.claim(port.slot(), 64, 64, 64 + ring);
  EXPECT_EQ(told().claim_bytes, ring);
  raw.claim(port.slot(), 64, 64, 64 + ring + 1);
  EXPECT_EQ(told().claim_bytes, std::nullopt);
  slot.claim_owner = 0;

  // The low 32 bits, as the records of a sender have them.
  slot.state = bus::slot_state(bus::SlotState::live, (std::uint64_t{7} << 32U) + 5);
  EXPECT_EQ(told().incarnation, 5U);
  slot.state = bus::slot_state(bus::SlotState::live, 1);
}

/// What comes from the file is shown on terminals, in columns.
TEST(Inspect, ShowsANameThatWasOverwrittenWithoutWhatCannotBeShown) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port port = port_on(file.path(), {.name = "innocent"});
  char(&name)[bus::kNameBytes] = raw.slot(port.slot()).name;
  std::memcpy(name, "a b\x1b~\x7f\xc3", 8);
  EXPECT_EQ(file.info().ports.at(0).name, "a?b?~??");
  std::memset(name, 'x', sizeof name);  // no zero at the end
  EXPECT_EQ(file.info().ports.at(0).name, std::string(sizeof name, 'x'));
}

TEST(Inspect, TellsOfACarrierThatItIsThereWhereNobodyCanSeeIt) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  Port port = port_on(file.path());
  const auto told = [&](std::uint32_t flags) {
    raw.slot(port.slot()).flags = bus::kFlagUp | flags;
    const PortInfo info = file.info().ports.at(0);
    return std::pair(info.carrier, info.carrier_known);
  };
  EXPECT_EQ(told(0), std::pair(true, true));
  EXPECT_EQ(told(bus::kFlagNoCarrier), std::pair(false, true));
  EXPECT_EQ(told(bus::kFlagCarrierUnknown), std::pair(true, false));
  EXPECT_EQ(told(bus::kFlagCarrierUnknown | bus::kFlagNoCarrier), std::pair(true, false));
  EXPECT_FALSE(port.set_carrier(false));
  EXPECT_FALSE(port.has_carrier());
  EXPECT_FALSE(port.set_carrier_unknown());
  EXPECT_TRUE(port.has_carrier());
  EXPECT_FALSE(file.info().ports.at(0).carrier_known);
  EXPECT_FALSE(port.set_carrier(true));
  EXPECT_TRUE(file.info().ports.at(0).carrier_known);
}

TEST(Inspect, TellsOfTheLastSlotAndOfNoClaimOfAWriterAtWork) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  raw.slot(bus::kSlots - 1).state = bus::slot_state(bus::SlotState::live, 3);
  raw.header().slots_used = bus::kSlots;
  ASSERT_EQ(file.info().ports.size(), 1U);
  EXPECT_EQ(file.info().ports[0].slot, bus::kSlots - 1);
  EXPECT_EQ(file.info().ports[0].incarnation, 3U);
  raw.claim(bus::kSlots - 1, 64, 64, 1088);
  EXPECT_EQ(file.info().ports[0].claim_bytes, 1024U);
  raw.header().lock = raw.slot(bus::kSlots - 1).claim_owner;
  EXPECT_EQ(file.info().ports[0].claim_bytes, std::nullopt) << "it holds the lock";
  raw.header().slots_used = bus::kSlots + 1;  // overwritten
  EXPECT_EQ(file.info().ports.size(), 1U);
}

TEST(Inspect, TellsOfRingsWhatTheyCarry) {
  const TempBus small(small_ring(1400));
  EXPECT_FALSE(small.info().carries_offloads);
  EXPECT_EQ(small.info().mtu, 1400U);
  EXPECT_EQ(small.info().max_record_bytes, 1422U);
  const TempBus large(BusOptions{.ring_bytes = 1U << 20U});
  EXPECT_TRUE(large.info().carries_offloads);
  EXPECT_GT(large.info().max_record_bytes, 65536U);
  const RawBus raw(small.path());
  raw.header().last = 8;
  EXPECT_EQ(small.info().frames, 0U) << "no record begins there";
}

TEST(Inspect, TellsOfACopyThatItIsOneAndWhereItWasMade) {
  const TempBus file(small_ring());
  EXPECT_FALSE(file.info().is_copy);
  const std::string copy = file.file("copy");
  std::filesystem::copy_file(file.path(), copy);
  EXPECT_TRUE(Bus::open(copy).value().info().is_copy);
  constexpr std::uint64_t kXfs = 0x58465342;
  RawBus(file.path()).header().file_system = kXfs;
  EXPECT_EQ(file.info().file_system, "xfs");
  EXPECT_TRUE(file.info().is_copy) << "that has the same number by chance";
}

TEST(Inspect, TellsOfNoFormerPortWhereNoneWas) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  const Port lives = port_on(file.path(), {.name = "lives"});
  raw.slot(lives.slot()).state = bus::slot_state(bus::SlotState::free, 1);  // overwritten
  raw.slot(1).state = bus::slot_state(bus::SlotState::free, 1);             // without a name
  std::ranges::copy("never", raw.slot(2).name);                             // never attached
  raw.slot(3).state = bus::slot_state(bus::SlotState::free, 4);
  std::ranges::copy("was", raw.slot(3).name);
  raw.header().slots_used = 4;
  const BusInfo info = file.info();
  ASSERT_EQ(info.former_ports.size(), 1U);
  EXPECT_EQ(info.former_ports[0].name, "was");
  EXPECT_EQ(info.former_ports[0].incarnation, 4U);
}

TEST(Inspect, TellsOfAFormerPortWhatItSent) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  MacAddress mac;
  {
    Port port = port_on(file.path(), {.name = "gone", .kind = LinkKind::pcap});
    mac = port.mac();
    bus::PortSlot& slot = raw.slot(port.slot());
    slot.tx_frames = 100;
    slot.tx_bytes = 2000;
    slot.tx_more_segments = 30'000;
    slot.rx_more_segments = 400'000;
  }
  const BusInfo info = file.info();
  EXPECT_TRUE(info.ports.empty());
  ASSERT_EQ(info.former_ports.size(), 1U);
  const FormerPort& former = info.former_ports[0];
  EXPECT_EQ(former.slot, 0U);
  EXPECT_EQ(former.incarnation, 1U);
  EXPECT_EQ(former.name, "gone");
  EXPECT_EQ(former.mac, mac);
  EXPECT_EQ(former.link, LinkKind::pcap);
  EXPECT_STREQ(to_string(former.link), "pcap");
  EXPECT_STREQ(to_string(LinkKind::packet), "packet");
  EXPECT_EQ(former.tx_frames, 100U);
  EXPECT_EQ(former.tx_bytes, 2000U);
  EXPECT_EQ(former.tx_segments, 30'100U);
}

// What the dead leave holds up nobody.

TEST(LeftByTheDead, AnAddressMayBeTakenByOthers) {
  const TempBus file(small_ring());
  const MacAddress mac = MacAddress::random();
  die_with_port(file.path(), {.name = "mortal", .mac = mac});
  Port port({.name = "heir"});
  port.attach(file.path()).value();
  ASSERT_EQ(file.info().ports.size(), 2U) << "the dead port still has its slot";
  EXPECT_FALSE(port.set_mac(mac));
  EXPECT_EQ(port.mac(), mac);
}

TEST(LeftByTheDead, AnnouncementsOfSleepEndWithTheNextOwnerOfTheSlot) {
  const TempBus file(small_ring());
  const RawBus raw(file.path());
  bus::BusHeader& h = raw.header();
  for (auto* const bits : {h.sleepers, h.deep_sleepers})
    std::fill_n(bits, bus::kBitmapWords, ~0ULL);
  const Port port = port_on(file.path());
  EXPECT_FALSE(is_set(h.sleepers, port.slot()));
  EXPECT_FALSE(is_set(h.deep_sleepers, port.slot()));
  EXPECT_TRUE(is_set(h.sleepers, port.slot() + 1)) << "those of others are theirs";
  EXPECT_TRUE(is_set(h.deep_sleepers, port.slot() + 1));
}

// What is said.

/// It may become a bus of NetBSD's format, or be anybody's.
TEST(Destroy, RemovesNoFileOfZerosNotEvenByForce) {
  const TempDir dir;
  const std::string path = dir.file("zeros");
  for (const std::size_t bytes : {bus::kNetbsdFileBytes, std::size_t{4}, std::size_t{0}}) {
    std::ofstream(path, std::ios::trunc | std::ios::binary) << std::string(bytes, '\0');
    const auto kept = bus::destroy(path, true);
    ASSERT_FALSE(kept) << bytes;
    expect_text(kept.error().message, "; --force removes only a file that begins as a bus does");
    EXPECT_EQ(std::filesystem::file_size(path), bytes);
  }
}

/// Of either format, when there is no more of it than how it begins.
TEST(Destroy, RemovesByForceWhatBeginsAsABus) {
  const TempDir dir;
  const std::string path = dir.file("spoiled");
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(&bus::kMagic), sizeof bus::kMagic);
  EXPECT_FALSE(bus::destroy(path, false));
  const auto removed = bus::destroy(path, true);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(*removed, "");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Destroy, TellsOfAnotherNameThatTheFileHas) {
  const TempBus file(small_ring());
  const std::string inode = std::to_string(file.info().inode);
  std::filesystem::create_hard_link(file.path(), file.file("other"));
  const auto told = bus::destroy(file.path(), false);
  ASSERT_TRUE(told);
  expect_text(*told, "another name");
  expect_text(*told, "-inum " + inode);
  const auto last = bus::destroy(file.file("other"), false);
  ASSERT_TRUE(last);
  EXPECT_EQ(*last, "");
}

}  // namespace
}  // namespace shmif::test
