// The port table: names, addresses and slots, which live ports have for themselves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "bus/port/port_table.hpp"
#include "shmif/port.hpp"
#include "shmif/shmif.h"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using testing::HasSubstr;

TEST(PortTable, DefaultNamesTakeTheNextFreeNumber) {
  const TempBus bus;
  Port a = port_on(bus.path());
  auto b = std::make_unique<Port>(port_on(bus.path()));
  Port c = port_on(bus.path());
  EXPECT_EQ(a.name(), "port0");
  EXPECT_EQ(b->name(), "port1");
  EXPECT_EQ(c.name(), "port2");
  b.reset();
  EXPECT_EQ(port_on(bus.path()).name(), "port1");
  const Port dump = port_on(bus.path(), {.kind = LinkKind::dump});
  EXPECT_EQ(dump.name(), "dump");
  EXPECT_EQ(port_on(bus.path(), {.kind = LinkKind::dump}).name(), "dump2");
}

TEST(PortTable, AFrameTellsWhichOfTheOwnersOfItsSlotSentIt) {
  const TempBus bus;
  Port ear = port_on(bus.path());
  std::vector<std::uint32_t> owners;
  for (int i = 0; i < 2; ++i) {
    Port port = port_on(bus.path(), {.name = "web"});
    ASSERT_EQ(port.slot(), 1U);
    ASSERT_FALSE(send_one(port));
    owners.push_back(Bus::open(bus.path()).value().info().ports.at(1).incarnation);
  }
  FrameBatch batch;
  ASSERT_EQ(ear.receive(batch).frames, 2U);
  EXPECT_NE(owners[0], owners[1]);
  EXPECT_EQ(batch[0].sender_incarnation, owners[0]);
  EXPECT_EQ(batch[1].sender_incarnation, owners[1]);
  // The last of them has left, and its name is still known.
  const BusInfo info = Bus::open(bus.path()).value().info();
  ASSERT_EQ(info.former_ports.size(), 1U);
  EXPECT_EQ(info.former_ports[0].slot, 1U);
  EXPECT_EQ(info.former_ports[0].incarnation, owners[1]);
  EXPECT_EQ(info.former_ports[0].name, "web");
  EXPECT_EQ(info.former_ports[0].tx_frames, 1U);
  EXPECT_EQ(info.former_ports[0].tx_segments, 1U);
  EXPECT_EQ(info.former_ports[0].tx_bytes, batch[1].size());
}

TEST(PortTable, ATakenNameIsRefusedNamingItsProcess) {
  const TempBus bus;
  const Port first = port_on(bus.path(), {.name = "alpha"});
  Port second({.name = "alpha"});
  const auto refused = second.attach(bus.path());
  EXPECT_EQ(refused.error().code, Errc::name_taken);
  EXPECT_THAT(refused.error().message, HasSubstr("alpha"));
  EXPECT_THAT(refused.error().message, HasSubstr(std::to_string(getpid())));
  const MacAddress mac = MacAddress::random();
  const StayingChild other([&] {
    static const Port port = port_on(bus.path(), {.name = "beta", .mac = mac});
    return true;
  });
  ASSERT_TRUE(other.works());
  const std::string owner = "by port \"beta\" of process " + std::to_string(other.pid()) + " ";
  EXPECT_THAT(Port({.name = "beta"}).attach(bus.path()).error().message, HasSubstr(owner));
  EXPECT_THAT(Port({.mac = mac}).attach(bus.path()).error().message, HasSubstr(owner));
}

TEST(PortTable, WhoHasPatienceGetsANameAndAnAddressThatBecomeFree) {
  const TempBus bus;
  const MacAddress mac = MacAddress::random();
  auto first = std::make_unique<Port>(port_on(bus.path(), {.name = "alpha", .mac = mac}));
  Port second({.name = "alpha", .mac = mac, .name_patience = std::chrono::minutes(1)});
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    first.reset();
  });
  EXPECT_TRUE(second.attach(bus.path()));
  ends.join();
  EXPECT_EQ(second.name(), "alpha");
  EXPECT_EQ(second.mac(), mac);
}

TEST(PortTable, PatienceWithALivingPortEnds) {
  const TempBus bus;
  const MacAddress mac = MacAddress::random();
  const Port first = port_on(bus.path(), {.name = "alpha", .mac = mac});
  constexpr std::chrono::milliseconds kPatience{20};
  EXPECT_EQ(Port({.name = "alpha", .name_patience = kPatience}).attach(bus.path()).error().code,
            Errc::name_taken);
  EXPECT_EQ(Port({.mac = mac, .name_patience = kPatience}).attach(bus.path()).error().code,
            Errc::mac_taken);
  EXPECT_EQ(port_on(bus.path()).slot(), 1U) << "who was refused has left its slot";
}

TEST(PortTable, OneOfManyThatWaitGetsTheName) {
  const TempBus bus;
  int attached = 0;
  // The others wait for as long as they may, so that is not long, unless this thread was kept from
  // running until their time was over.
  for (const int patience_s : {3, 20}) {
    auto first = std::make_unique<Port>(port_on(bus.path(), {.name = "alpha"}));
    std::vector<Port> ports;
    for (int i = 0; i < 4; ++i) {
      ports.push_back(Port({.name = "alpha", .name_patience = std::chrono::seconds(patience_s)}));
    }
    const auto began = std::chrono::steady_clock::now();
    std::atomic<int> got{0};
    std::vector<std::thread> waiting;
    for (Port& port : ports) {
      waiting.emplace_back([&] { got += port.attach(bus.path()) ? 1 : 0; });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    first.reset();
    const bool in_time =
        std::chrono::steady_clock::now() - began < std::chrono::seconds(patience_s) / 2;
    for (std::thread& each : waiting) each.join();
    attached = got;
    if (in_time) break;
  }
  EXPECT_EQ(attached, 1);
}

TEST(PortTable, NamesThatCannotBeShownAreRefused) {
  const TempBus bus;
  for (const std::string& name : {std::string("two words"), std::string("tab\t"),
                                  std::string(32, 'x'), std::string("caf\xc3\xa9")}) {
    EXPECT_EQ(Port({.name = name}).attach(bus.path()).error().code, Errc::bad_name) << name;
  }
  EXPECT_TRUE(Port({.name = std::string(31, 'x')}).attach(bus.path()));
  EXPECT_TRUE(Port({.name = "!~"}).attach(bus.path())) << "the first and the last that can be";
}

TEST(PortTable, AnAddressThatIsNotAUnicastOneIsRefusedAtAttachAndLater) {
  const TempBus bus;
  Port port = port_on(bus.path());
  const MacAddress before = port.mac();
  for (const std::uint64_t address :
       {std::uint64_t{0}, std::uint64_t{0x010000000000}, std::uint64_t{0x33330000'0001},
        std::uint64_t{0xffffffffffff}}) {
    const MacAddress mac = MacAddress::from_u64(address);
    const auto refused = Port({.mac = mac}).attach(bus.path());
    ASSERT_FALSE(refused) << mac.to_string();
    EXPECT_EQ(refused.error().code, Errc::bad_argument);
    EXPECT_THAT(refused.error().message, HasSubstr(mac.to_string()));
    EXPECT_THAT(refused.error().message, HasSubstr("unicast"));
    EXPECT_EQ(port.set_mac(mac), Errc::bad_argument);
  }
  EXPECT_EQ(port.mac(), before);
  EXPECT_EQ(bus.info().ports.size(), 1U);
}

TEST(PortTable, OfManyProcessesThatWantOneNameAtOnceExactlyOneGetsIt) {
  const TempBus bus;
  for (unsigned round = 0; round < 10; ++round) {
    const Shared<std::atomic<int>> tried;
    const Shared<std::atomic<int>> got;
    std::vector<Child> children;
    for (unsigned i = 0; i < 6; ++i) {
      children.emplace_back([&] {
        Port port({.name = "wanted"});
        const auto attached = port.attach(bus.path());
        if (attached) ++*got;
        ++*tried;
        while (*tried < 6) std::this_thread::yield();
        return attached || attached.error().code == Errc::name_taken ? 0 : 1;
      });
    }
    for (Child& c : children) EXPECT_EQ(c.wait(), 0);
    EXPECT_EQ(*got, 1);
  }
}

TEST(PortTable, ManyProcessesThatAttachAtOnceGetSlotsNamesAndAddressesOfTheirOwn) {
  constexpr unsigned kProcesses = 8;
  constexpr unsigned kEach = 8;
  const TempBus bus;
  const Shared<std::atomic<unsigned>> attached;
  const Shared<std::atomic<bool>> done;
  std::vector<Child> children;
  for (unsigned i = 0; i < kProcesses; ++i) {
    children.emplace_back([&] {
      std::vector<Port> ports;
      for (unsigned k = 0; k < kEach; ++k) ports.push_back(port_on(bus.path()));
      *attached += kEach;
      while (!*done) std::this_thread::yield();
      return 0;
    });
  }
  ASSERT_TRUE(eventually([&] { return *attached == kProcesses * kEach; }));
  EXPECT_TRUE(is_clean(bus.audit()));
  std::set<std::string> names;
  std::set<MacAddress> macs;
  for (const PortInfo& p : bus.info().ports) {
    EXPECT_TRUE(p.live);
    names.insert(p.name);
    macs.insert(p.mac);
  }
  EXPECT_EQ(names.size(), kProcesses * kEach);
  EXPECT_EQ(macs.size(), kProcesses * kEach);
  *done = true;
  for (Child& c : children) EXPECT_EQ(c.wait(), 0);
  EXPECT_TRUE(bus.info().ports.empty());
}

TEST(PortTable, TheTableTakes256PortsAndRefusesTheNext) {
  const TempBus bus(small_ring());
  std::vector<Port> ports;
  for (unsigned i = 0; i < 256; ++i) ports.push_back(port_on(bus.path()));
  const auto refused = Port().attach(bus.path());
  EXPECT_EQ(refused.error().code, Errc::table_full);
  EXPECT_THAT(refused.error().message, HasSubstr("256"));
  EXPECT_FALSE(send_one(ports[0]));
  for (unsigned i = 1; i < 256; ++i) EXPECT_EQ(heard(ports[i]), 1U) << i;
  ports.pop_back();
  EXPECT_TRUE(Port().attach(bus.path()));
}

TEST(PortTable, TheNameAndSlotOfADeadPortAreFreeToBeTaken) {
  const TempBus bus;
  for (unsigned round = 0; round < 3; ++round) {
    EXPECT_EQ(Child([&] {
                Port port = port_on(bus.path(), {.name = "mortal"});
                raise(SIGKILL);
                return 0;
              }).wait(),
              128 + SIGKILL);
    ASSERT_TRUE(eventually([&] { return !bus.info().ports.at(0).live; }));
  }
  EXPECT_EQ(bus.info().ports.size(), 1U) << "a port of the same name takes its old slot";
  Port port = port_on(bus.path(), {.name = "mortal"});
  EXPECT_TRUE(bus.info().ports.at(0).live);
  EXPECT_EQ(bus.info().ports.at(0).tx_frames, 0U);
}

/// A counter in the port table, and its place in PortInfo and in the C API.
struct CounterField {
  const char* name;
  std::uint64_t bus::PortSlot::* shown;
  std::uint64_t PortInfo::* told;
  std::uint64_t shmif_counters::* told_in_c;  ///< nullptr: the C API does not have it
};
constexpr CounterField kCounterFields[] = {
    {"tx_frames", &bus::PortSlot::tx_frames, &PortInfo::tx_frames, &shmif_counters::tx_frames},
    {"tx_bytes", &bus::PortSlot::tx_bytes, &PortInfo::tx_bytes, &shmif_counters::tx_bytes},
    {"doorbells", &bus::PortSlot::doorbells, &PortInfo::doorbells, &shmif_counters::doorbells},
    {"lock_sleeps", &bus::PortSlot::lock_sleeps, &PortInfo::lock_sleeps,
     &shmif_counters::lock_sleeps},
    {"pauses", &bus::PortSlot::pauses, &PortInfo::pauses, &shmif_counters::pauses},
    {"paused_ns", &bus::PortSlot::paused_ns, &PortInfo::paused_ns, &shmif_counters::paused_ns},
    {"stalls", &bus::PortSlot::stalls, &PortInfo::stalls, nullptr},
    {"rx_frames", &bus::PortSlot::rx_frames, &PortInfo::rx_frames, &shmif_counters::rx_frames},
    {"rx_bytes", &bus::PortSlot::rx_bytes, &PortInfo::rx_bytes, &shmif_counters::rx_bytes},
    {"own_frames", &bus::PortSlot::own_frames, &PortInfo::own_frames, &shmif_counters::own_frames},
    {"filtered_frames", &bus::PortSlot::filtered_frames, &PortInfo::filtered_frames,
     &shmif_counters::filtered_frames},
    {"skipped_frames", &bus::PortSlot::skipped_frames, &PortInfo::skipped_frames,
     &shmif_counters::skipped_frames},
    {"overruns", &bus::PortSlot::overruns, &PortInfo::overruns, &shmif_counters::overruns},
    {"lost_frames", &bus::PortSlot::lost_frames, &PortInfo::lost_frames,
     &shmif_counters::lost_frames},
    {"lost_bytes", &bus::PortSlot::lost_bytes, &PortInfo::lost_bytes, &shmif_counters::lost_bytes},
    {"corrupt", &bus::PortSlot::corrupt, &PortInfo::corrupt, &shmif_counters::corrupt},
    {"wakeups", &bus::PortSlot::wakeups, &PortInfo::wakeups, &shmif_counters::wakeups},
    {"too_long_frames", &bus::PortSlot::too_long_frames, &PortInfo::too_long_frames,
     &shmif_counters::too_long_frames},
    {"refused_frames", &bus::PortSlot::refused_frames, &PortInfo::refused_frames,
     &shmif_counters::refused_frames},
};

/// Puts a different number into each counter of a slot, and fills whatever else its owner leaves.
void fill_counters(bus::PortSlot& slot) {
  std::uint64_t number = 1000;
  for (const CounterField& field : kCounterFields) slot.*field.shown = number++;
  slot.tx_more_segments = 10'000;
  slot.rx_more_segments = 20'000;
  slot.waits_for = 1;
  slot.flags = bus::kFlagPromiscuous | bus::kFlagNoCarrier | bus::kFlagLearnedTooMany;
  for (std::uint64_t& mac : slot.learned) mac = 0x020000000001;
}

TEST(PortTable, ANewOwnerOfASlotBeginsWithNothingOfTheFormerAndEachCounterIsToldUnderItsName) {
  const TempBus bus;
  const RawBus raw(bus.path());
  for (const bool of_the_dead : {false, true}) {
    SCOPED_TRACE(of_the_dead ? "killed" : "detached");
    if (of_the_dead) {
      EXPECT_EQ(Child([&] {
                  const Port port = port_on(bus.path(), {.name = "former"});
                  return raise(SIGKILL);
                }).wait(),
                128 + SIGKILL);
    } else {
      port_on(bus.path(), {.name = "former"});
    }
    fill_counters(raw.slot(0));
    const Port port = port_on(bus.path(), {.name = "former"});
    ASSERT_EQ(port.slot(), 0U);
    const PortInfo told = bus.info().ports.at(0);
    for (const CounterField& field : kCounterFields) EXPECT_EQ(told.*field.told, 0U) << field.name;
    EXPECT_EQ(told.tx_segments, 0U);
    EXPECT_EQ(told.rx_segments, 0U);
    EXPECT_FALSE(told.waits_for);
    EXPECT_TRUE(told.carrier);
    EXPECT_FALSE(told.promiscuous);
    for (const std::uint64_t mac : raw.slot(0).learned) EXPECT_EQ(mac, 0U);
    fill_counters(raw.slot(0));
    const PortInfo filled = bus.info().ports.at(0);
    for (std::uint64_t number = 1000; const CounterField& field : kCounterFields)
      EXPECT_EQ(filled.*field.told, number++) << field.name;
    EXPECT_EQ(filled.tx_segments, filled.tx_frames + 10'000);
    EXPECT_EQ(filled.rx_segments, filled.rx_frames + 20'000);
  }
}

TEST(PortTable, TellsOfEachPortWhatThePortItselfCounts) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  shmif_port* a = nullptr;
  ASSERT_EQ(shmif_open(bus.path().c_str(), nullptr, &a), 0);
  ASSERT_EQ(shmif_up(a), 0);
  Port b = port_on(bus.path());
  const std::vector<unsigned char> frame(1600, 0xff);
  std::vector<unsigned char> room(1600);
  EXPECT_LT(shmif_send(a, frame.data(), 13), 0);
  EXPECT_LT(shmif_send(a, frame.data(), 1523), 0);
  EXPECT_LT(shmif_send(a, frame.data(), 1524), 0);
  raw.lock_as(b.slot());  // b is alive and never frees the lock
  for (int i = 0; i < 100; ++i) EXPECT_EQ(shmif_send(a, frame.data(), 1000), 0);
  NumberedBatch frames(500);
  EXPECT_FALSE(b.send(frames.make(1, 0, 3)).error);
  EXPECT_FALSE(b.send(frames.make(1, 3, 2, *MacAddress::parse("02:00:00:00:99:99"))).error);
  while (shmif_receive(a, room.data(), room.size(), nullptr) > 0) continue;
  FrameBatch in(256);
  EXPECT_GT(b.receive(in).lost, 0U);
  shmif_counters in_c{};
  in_c.size = sizeof in_c;
  ASSERT_EQ(shmif_get_counters(a, &in_c), 0);
  EXPECT_EQ(in_c.too_long_frames, 2U);
  EXPECT_EQ(in_c.refused_frames, 1U);
  EXPECT_GT(in_c.lock_sleeps, 0U);
  EXPECT_EQ(in_c.overruns, 1U) << "by its own frames";
  EXPECT_EQ(in_c.rx_frames, 3U);
  EXPECT_EQ(in_c.filtered_frames, 2U);
  const PortCounters in_b = b.counters();
  EXPECT_EQ(in_b.overruns, 1U);
  EXPECT_EQ(in_b.own_frames, 5U);
  EXPECT_EQ(in_b.rx_frames + in_b.lost_frames, 100U);
  const BusInfo told = bus.info();
  PortInfo own_b;
  static_cast<PortCounters&>(own_b) = in_b;
  for (const CounterField& field : kCounterFields) {
    if (field.told_in_c == nullptr) continue;
    EXPECT_EQ(told.ports.at(0).*field.told, in_c.*field.told_in_c) << field.name;
    EXPECT_EQ(told.ports.at(1).*field.told, own_b.*field.told) << field.name;
  }
  EXPECT_EQ(told.ports[0].tx_segments, in_c.tx_segments);
  EXPECT_EQ(told.ports[1].rx_segments, in_b.rx_segments);
  shmif_close(a);
}

TEST(PortTable, ATableFullOfDeadPortsTakesNewOnes) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  for (unsigned i = 0; i < bus::kSlots; ++i) {
    raw.slot(i).state = bus::slot_state(bus::SlotState::live, 1);
    raw.slot(i).name[0] = 'x';
  }
  raw.header().slots_used = bus::kSlots;
  Port first = port_on(bus.path());
  Port second = port_on(bus.path(), {.name = "second"});
  EXPECT_NE(first.slot(), second.slot());
  EXPECT_FALSE(send_one(first));
  EXPECT_EQ(heard(second), 1U);
}

TEST(PortTable, ShowsTheCarrierOfAPortUntilItLeaves) {
  const TempBus bus;
  Port port = port_on(bus.path());
  for (const bool on : {false, true, false}) {
    EXPECT_FALSE(port.set_carrier(on));
    EXPECT_EQ(port.has_carrier(), on);
    EXPECT_EQ(bus.info().ports.at(0).carrier, on);
  }
  EXPECT_TRUE(port.is_up()) << "it changes nothing of what is sent and received";
  EXPECT_FALSE(port.set_promiscuous(true));
  for (unsigned round = 0; round < 2; ++round) {
    EXPECT_FALSE(port.down());
    EXPECT_FALSE(port.up());
    EXPECT_FALSE(bus.info().ports.at(0).carrier) << "nor does going down and up change it";
    EXPECT_FALSE(port.has_carrier());
    EXPECT_TRUE(bus.info().ports.at(0).promiscuous);
  }
  EXPECT_FALSE(port.down());
  EXPECT_FALSE(port.detach());
  ASSERT_TRUE(port.attach(bus.path()));
  EXPECT_TRUE(port.has_carrier());
  EXPECT_TRUE(bus.info().ports.at(0).carrier);
}

// What a port has for itself, in states that come seldom: its name and address when another port
// gives them up, the addresses that it hears, and what it counts of its doorbells.

/// Senders that remember whom its address reached before ask again.
TEST(PortAddress, OfANewPortIsToldToSendersBeforeItLives) {
  const TempBus bus;
  const RawBus raw(bus.path());
  const std::uint64_t before = raw.header().filter_changes;
  const auto owned = bus::take_slot(raw.ring(), raw.fd(), bus.path(), {});
  ASSERT_TRUE(owned);
  EXPECT_GT(raw.header().filter_changes, before);
}

/// A batch counts once, whomever it wakes, and one that wakes nobody does not count.
TEST(PortCounts, EachBatchThatWakesAPortIsOneDoorbell) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  std::array sleepers{port_on(bus.path()), port_on(bus.path())};
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(sender.counters().doorbells, 0U);
  for (Port& port : sleepers) EXPECT_EQ(heard(port), 1U);
  for (unsigned round = 1; round <= 2; ++round) {
    for (Port& port : sleepers) EXPECT_FALSE(port.prepare_wait().ready);
    for (const Port& port : sleepers) {
      ASSERT_FALSE(is_set(raw.header().deep_sleepers, port.slot()));
    }
    for (unsigned i = 0; i < 3; ++i) EXPECT_FALSE(send_one(sender));
    EXPECT_EQ(sender.counters().doorbells, round);
    for (Port& port : sleepers) {
      port.finish_wait();
      EXPECT_EQ(port.counters().wakeups, round);
      EXPECT_EQ(heard(port), 3U);
    }
  }
}

/// Frames that it does not look at do not keep it awake, and those that it took do.
TEST(PortCounts, APortGoesDeepOnlyWhenNoFrameHasComeForAWhile) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  const auto goes_deep = [&] {
    EXPECT_FALSE(port.prepare_wait().ready);
    const bool deep = is_set(raw.header().deep_sleepers, port.slot());
    port.finish_wait();
    return deep;
  };
  ASSERT_TRUE(eventually([&] { return goes_deep(); }));
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(heard(port), 1U);
  EXPECT_FALSE(goes_deep());
}

/// What the next owner of the slot would otherwise find, and senders look at.
TEST(PortSleep, APortThatLeavesIsNoSleeperAnyMore) {
  const TempBus bus;
  const RawBus raw(bus.path());
  {
    Port port = port_on(bus.path());
    EXPECT_FALSE(port.prepare_wait().ready);
    EXPECT_TRUE(is_set(raw.header().sleepers, port.slot()));
  }
  for (const std::uint64_t bits : raw.header().sleepers) EXPECT_EQ(bits, 0U);
}

/// The next owner counts on from there, so no frame of the dead is taken for one of its own.
TEST(PortSlot, ThatIsTakenFromADeadPortKeepsTheCountOfItsOwners) {
  const TempBus bus;
  const RawBus raw(bus.path());
  raw.slot(0).state = bus::slot_state(bus::SlotState::live, 5);
  raw.header().slots_used = 1;
  const bus::Reaped reaped = bus::reap_if_dead(raw.ring(), 0, raw.fd());
  EXPECT_TRUE(reaped.slot);
  EXPECT_FALSE(reaped.claim);
  EXPECT_EQ(raw.slot(0).state, bus::slot_state(bus::SlotState::free, 5));
  for (std::uint64_t owner = 6; owner <= 7; ++owner) {
    const Port port = port_on(bus.path());
    ASSERT_EQ(port.slot(), 0U);
    EXPECT_EQ(raw.slot(0).state, bus::slot_state(bus::SlotState::live, owner));
  }
}

}  // namespace
}  // namespace shmif::test
