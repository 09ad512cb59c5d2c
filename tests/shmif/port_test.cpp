// Port: linked or not, up or down; what it hears and what not; what it counts.

#include "shmif/port.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <climits>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

#include "bus/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using testing::HasSubstr;

const MacAddress kOther = *MacAddress::parse("02:00:00:00:99:99");

std::error_code send_one(Port& port, MacAddress to = kBroadcast, std::size_t size = 60) {
  NumberedBatch frames(1600);
  frames.fix_size(size);
  const SendResult sent = port.send(frames.make(9, 0, 1, to));
  EXPECT_EQ(sent.taken, sent.error ? 0U : 1U);
  return sent.error;
}
std::size_t heard(Port& port) {
  FrameBatch in(256);
  EXPECT_FALSE(port.receive(in).error);
  return in.size();
}

// Without a bus (the ancestor's B8 to B12).

TEST(PortWithoutBus, ExistsByItselfAndAnswersNotLinked) {
  Port port({.name = "lonely"});
  FrameBatch in;
  EXPECT_EQ(port.name(), "lonely");
  EXPECT_EQ(port.mac().bytes[0], 0xb2);
  EXPECT_EQ(port.mac().bytes[1], 0xa0);
  EXPECT_EQ(port.link().error().code, Errc::not_linked);
  EXPECT_EQ(port.up(), Errc::not_linked);
  EXPECT_EQ(port.up(), std::errc::no_such_device_or_address) << "ENXIO of the ancestor";
  EXPECT_EQ(port.down(), Errc::not_linked);
  EXPECT_EQ(send_one(port), Errc::not_linked);
  EXPECT_EQ(port.receive(in).error, Errc::not_linked);
  EXPECT_FALSE(port.wait(std::chrono::nanoseconds::max()));
  EXPECT_EQ(port.descriptor(), -1);
  EXPECT_FALSE(port.detach()) << "unlinking when unlinked does nothing";
  port.interrupt();
  EXPECT_FALSE(port.is_up());
}

TEST(PortWithoutBus, RefusesEmptyAndOverlongPaths) {
  Port port;
  EXPECT_EQ(port.attach("").error().code, Errc::path_empty);
  EXPECT_EQ(port.attach("").error().code, std::errc::invalid_argument);
  EXPECT_EQ(port.attach(std::string(PATH_MAX, 'x')).error().code, Errc::path_too_long);
  EXPECT_EQ(port.attach(std::string(PATH_MAX, 'x')).error().code,
            std::errc::argument_list_too_long);
}

TEST(PortLink, LinkingWhileLinkedIsBusyAlsoWhenDown) {
  const TempBus bus;
  Port port;
  ASSERT_TRUE(port.attach(bus.path()));
  const auto again = port.attach(bus.path());
  EXPECT_EQ(again.error().code, Errc::already_linked);
  EXPECT_EQ(again.error().code, std::errc::device_or_resource_busy);
  EXPECT_THAT(again.error().message, HasSubstr(bus.path()));
}

TEST(PortLink, DetachingWhileUpIsBusyAndFineWhenDown) {
  const TempBus bus;
  Port port = port_on(bus.path());
  EXPECT_EQ(port.detach(), Errc::port_up);
  EXPECT_FALSE(port.down());
  EXPECT_FALSE(port.detach());
  EXPECT_EQ(port.link().error().code, Errc::not_linked);
  EXPECT_TRUE(bus.info().ports.empty());
  EXPECT_TRUE(port.attach(bus.path())) << "and it can be linked again";
}

TEST(PortLink, TheQueryGivesTheWholePathAndTellsWhenItNoLongerNamesTheFile) {
  const TempBus bus;
  const std::string deep = bus.file(std::string(200, 'd'));
  std::filesystem::create_directory(deep);
  const std::string path = deep + "/" + std::string(200, 'b');
  ASSERT_TRUE(Bus::create(path, small_ring()));
  Port port = port_on(path);
  Port peer = port_on(path);
  EXPECT_EQ(port.link().value().path, path);
  EXPECT_TRUE(port.link().value().still_named);
  std::filesystem::remove(path);
  EXPECT_FALSE(port.link().value().still_named);
  EXPECT_FALSE(send_one(port)) << "those attached go on";
  EXPECT_EQ(heard(peer), 1U);
  ASSERT_TRUE(Bus::create(path, small_ring()));
  EXPECT_FALSE(port.link().value().still_named) << "another bus has the name now";
}

TEST(PortLink, AFailedAttachLeavesNoDescriptorNoSlotAndAPortThatCanTryAgain) {
  const TempBus bus;
  const Port taken = port_on(bus.path(), {.name = "taken"});
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = descriptors();
  Port port({.name = "taken"});
  EXPECT_FALSE(port.attach(bus.path()));
  EXPECT_FALSE(port.attach(bus.file("none")));
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(bus.info().ports.size(), 1U);
}

// Up and down.

TEST(PortState, SendingWhileDownIsAnErrorOfItsOwnAndNothingIsHeard) {
  const TempBus bus;
  Port port;
  ASSERT_TRUE(port.attach(bus.path()));
  Port peer = port_on(bus.path());
  EXPECT_EQ(send_one(port), Errc::port_down);
  EXPECT_FALSE(send_one(peer));
  EXPECT_EQ(heard(port), 0U);
  EXPECT_FALSE(port.up());
  EXPECT_FALSE(port.up()) << "does nothing when already so";
  EXPECT_FALSE(port.down());
  EXPECT_FALSE(port.down());
}

TEST(PortState, FramesThatPassWhileDownAreSkippedNotLost) {
  const TempBus bus(small_ring());
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.down());
  for (unsigned i = 0; i < 500; ++i) EXPECT_FALSE(send_one(peer, kBroadcast, 1000));
  EXPECT_FALSE(port.up());
  EXPECT_FALSE(send_one(peer));
  EXPECT_EQ(heard(port), 1U);
  EXPECT_EQ(port.counters().skipped_frames, 500U);
  EXPECT_EQ(port.counters().lost_frames, 0U);
  EXPECT_EQ(passed(port.counters()), 501U);
}

TEST(PortState, StartNowHearsNothingOldAndStartOldestHearsWhatTheRingStillHolds) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  for (unsigned i = 0; i < 10; ++i) EXPECT_FALSE(send_one(peer));
  Port now = port_on(bus.path());
  Port oldest = port_on(bus.path(), {.start = Start::oldest});
  EXPECT_EQ(heard(now), 0U);
  EXPECT_EQ(heard(oldest), 10U);
  EXPECT_FALSE(oldest.down());
  EXPECT_FALSE(send_one(peer));
  EXPECT_FALSE(oldest.up());
  EXPECT_EQ(heard(oldest), 1U) << "nothing is heard twice";
}

// Names, addresses, slots.

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
}

TEST(PortTable, ATakenNameIsRefusedNamingItsProcess) {
  const TempBus bus;
  const Port first = port_on(bus.path(), {.name = "alpha"});
  Port second({.name = "alpha"});
  const auto refused = second.attach(bus.path());
  EXPECT_EQ(refused.error().code, Errc::name_taken);
  EXPECT_THAT(refused.error().message, HasSubstr("alpha"));
  EXPECT_THAT(refused.error().message, HasSubstr(std::to_string(getpid())));
}

TEST(PortTable, NamesThatCannotBeShownAreRefused) {
  const TempBus bus;
  for (const std::string& name : {std::string("two words"), std::string("tab\t"),
                                  std::string(32, 'x'), std::string("caf\xc3\xa9")}) {
    EXPECT_EQ(Port({.name = name}).attach(bus.path()).error().code, Errc::bad_name) << name;
  }
  EXPECT_TRUE(Port({.name = std::string(31, 'x')}).attach(bus.path()));
}

TEST(PortTable, AChosenAddressThatALivePortHasIsRefused) {
  const TempBus bus;
  const Port first = port_on(bus.path(), {.name = "first"});
  Port second({.mac = first.mac()});
  const auto refused = second.attach(bus.path());
  EXPECT_EQ(refused.error().code, Errc::mac_taken);
  EXPECT_THAT(refused.error().message, HasSubstr(first.mac().to_string()));
  EXPECT_THAT(refused.error().message, HasSubstr("first"));
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

TEST(PortTable, StatShowsWhatAPortIsAndDid) {
  const TempBus bus;
  Port a = port_on(bus.path(), {.name = "a", .kind = LinkKind::ping});
  Port b = port_on(bus.path(), {.name = "b", .promiscuous = true});
  EXPECT_FALSE(send_one(a));
  EXPECT_EQ(heard(b), 1U);
  const BusInfo info = bus.info();
  const PortInfo& shown_a = info.ports.at(0);
  const PortInfo& shown_b = info.ports.at(1);
  EXPECT_EQ(shown_a.name, "a");
  EXPECT_EQ(shown_a.pid, getpid());
  EXPECT_EQ(shown_a.mac, a.mac());
  EXPECT_EQ(shown_a.link, LinkKind::ping);
  EXPECT_TRUE(shown_a.up);
  EXPECT_EQ(shown_a.tx_frames, 1U);
  EXPECT_EQ(shown_a.tx_bytes, 60U);
  EXPECT_TRUE(shown_b.promiscuous);
  EXPECT_EQ(shown_b.rx_frames, 1U);
  EXPECT_EQ(shown_b.rx_bytes, 60U);
  EXPECT_FALSE(b.down());
  EXPECT_FALSE(bus.info().ports.at(1).up);
}

// What is sent.

TEST(PortSend, FramesShorterThanAnEthernetHeaderOrLongerThanTheMtuAllowsAreRefused) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Port peer = port_on(bus.path());
  const std::vector<std::byte> bytes(2000, std::byte{0xff});
  const auto send = [&](std::size_t size) {
    const FrameView frame(bytes.data(), size);
    return port.send({&frame, 1});
  };
  EXPECT_EQ(port.max_frame_bytes(), 1522U);
  EXPECT_EQ(send(0).error, Errc::frame_too_short);
  EXPECT_EQ(send(13).error, Errc::frame_too_short);
  EXPECT_EQ(send(13).taken, 0U);
  EXPECT_FALSE(send(14).error);
  EXPECT_FALSE(send(1522).error);
  EXPECT_EQ(send(1523).error, Errc::frame_too_long);
  EXPECT_EQ(heard(peer), 2U);
}

TEST(PortSend, ABadFrameInTheMiddleIsNamedByTheCountBeforeIt) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Port peer = port_on(bus.path());
  const std::vector<std::byte> bytes(2000, std::byte{0xff});
  const std::vector<FrameView> frames{FrameView(bytes.data(), 60), FrameView(bytes.data(), 60),
                                      FrameView(bytes.data(), 5), FrameView(bytes.data(), 60)};
  const SendResult sent = port.send(frames);
  EXPECT_EQ(sent.taken, 2U);
  EXPECT_EQ(sent.error, Errc::frame_too_short);
  EXPECT_EQ(heard(peer), 2U);
}

TEST(PortSend, AnEmptyBatchIsNothing) {
  const TempBus bus;
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.send({}).error);
  EXPECT_EQ(bus.info().frames, 0U);
}

TEST(PortSend, ABatchLargerThanAQuarterOfTheRingIsSplitAndNothingOfItMissing) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  const std::vector<std::byte> bytes(1500, std::byte{0xff});
  const std::vector<FrameView> frames(35, FrameView(bytes));  // 52 of 64 KiB
  const std::uint64_t before = bus.info().lock_acquisitions;
  EXPECT_EQ(port.send(frames).taken, 35U);
  const BusInfo info = bus.info();
  EXPECT_EQ(info.frames, 35U);
  // 10 records of 1536 bytes and the tail fit a quarter.
  EXPECT_EQ(info.lock_acquisitions - before, 4U);
}

TEST(PortSend, ManyThreadsMaySendThroughOnePort) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Port peer = port_on(bus.path());
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        NumberedBatch frames(60);
        for (std::uint32_t i = 0; i < 500; ++i)
          EXPECT_EQ(port.send(frames.make(t, i, 1)).taken, 1U);
      });
    }
  }
  std::array<std::int64_t, 4> latest{-1, -1, -1, -1};
  FrameBatch in(4096, 1U << 20U);
  EXPECT_EQ(peer.receive(in).frames, 2000U);
  for (const FrameView& f : in.frames()) {
    const auto n = check_numbered(f).value();
    EXPECT_EQ(n.sequence, latest.at(n.sender) + 1);
    latest.at(n.sender) = n.sequence;
  }
  EXPECT_EQ(port.counters().tx_frames, 2000U);
}

// What is heard.

TEST(PortReceive, OwnFramesDoNotComeBackWhateverTheirSourceAddress) {
  const TempBus bus;
  Port bridging = port_on(bus.path(), {.promiscuous = true});
  Port peer = port_on(bus.path());
  NumberedBatch frames(60);
  for (unsigned sender = 0; sender < 5; ++sender) {  // as many source addresses
    EXPECT_FALSE(bridging.send(frames.make(sender, 0, 1)).error);
  }
  EXPECT_EQ(heard(peer), 5U);
  EXPECT_EQ(heard(bridging), 0U);
  EXPECT_EQ(bridging.counters().own_frames, 5U);
}

TEST(PortReceive, FramesOfTheSlotsPreviousOwnerAreNotTakenForOwn) {
  const TempBus bus;
  auto first = std::make_unique<Port>(port_on(bus.path(), {.name = "first"}));
  const unsigned slot = first->slot();
  EXPECT_FALSE(send_one(*first));
  first.reset();
  Port second = port_on(bus.path(), {.name = "second", .start = Start::oldest});
  ASSERT_EQ(second.slot(), slot);
  EXPECT_EQ(heard(second), 1U);
  EXPECT_EQ(second.counters().own_frames, 0U);
}

TEST(PortReceive, ItsOwnAddressBroadcastAndMulticastAreHeardAndFramesForOthersFiltered) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(send_one(peer, port.mac()));
  EXPECT_FALSE(send_one(peer, kBroadcast));
  EXPECT_FALSE(send_one(peer, *MacAddress::parse("33:33:00:00:00:01")));
  EXPECT_FALSE(send_one(peer, kOther));
  EXPECT_EQ(heard(port), 3U);
  EXPECT_EQ(port.counters().filtered_frames, 1U);
}

TEST(PortReceive, PromiscuousModeAndAddressAreInForceWhenTheCallReturns) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.set_promiscuous(true));
  EXPECT_FALSE(send_one(peer, kOther));
  EXPECT_EQ(heard(port), 1U);
  EXPECT_FALSE(port.set_promiscuous(false));
  EXPECT_FALSE(send_one(peer, kOther));
  EXPECT_EQ(heard(port), 0U);
  const MacAddress old = port.mac();
  EXPECT_FALSE(port.set_mac(kOther));
  EXPECT_EQ(port.mac(), kOther);
  EXPECT_EQ(bus.info().ports.at(1).mac, kOther);
  EXPECT_FALSE(send_one(peer, kOther));
  EXPECT_FALSE(send_one(peer, old));
  EXPECT_EQ(heard(port), 1U);
}

TEST(PortReceive, ALearningPortHearsWhatIsSentToAddressesItSentFrom) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port bridge = port_on(bus.path(), {.learn = true});
  const auto source = [](unsigned i) {
    return MacAddress::from_u64(0x02'00'00'00'00'00ULL + i);  // any unicast
  };
  const auto frame_from = [&](MacAddress from) {
    std::vector<std::byte> bytes(60, std::byte{0xff});
    std::memcpy(bytes.data() + 6, from.bytes.data(), 6);
    const FrameView view(bytes);
    EXPECT_FALSE(bridge.send({&view, 1}).error);
  };
  EXPECT_FALSE(send_one(peer, source(1)));
  EXPECT_EQ(heard(bridge), 0U);
  for (unsigned i = 1; i <= 16; ++i) frame_from(source(i));
  for (unsigned i = 1; i <= 16; ++i) EXPECT_FALSE(send_one(peer, source(i)));
  EXPECT_FALSE(send_one(peer, source(17)));
  EXPECT_EQ(heard(bridge), 16U);
  // More hosts than it can remember: it hears all rather than miss one.
  for (unsigned i = 17; i <= 40; ++i) frame_from(source(i));
  for (unsigned i = 1; i <= 40; ++i) EXPECT_FALSE(send_one(peer, source(i)));
  EXPECT_EQ(heard(bridge), 40U);
}

TEST(PortReceive, EveryListenerHearsTheSameFramesInTheSameOrderWithTheSameNumbers) {
  const TempBus bus;
  Port a = port_on(bus.path());
  Port b = port_on(bus.path());
  Port x = port_on(bus.path());
  Port y = port_on(bus.path());
  for (unsigned i = 0; i < 50; ++i) EXPECT_FALSE(send_one(i % 3 == 0 ? a : b));
  FrameBatch from_x(100);
  FrameBatch from_y(100);
  x.receive(from_x);
  y.receive(from_y);
  ASSERT_EQ(from_x.size(), 50U);
  ASSERT_EQ(from_y.size(), 50U);
  for (unsigned i = 0; i < 50; ++i) {
    EXPECT_EQ(from_x[i].number, i);
    EXPECT_EQ(from_y[i].number, i);
    EXPECT_EQ(from_x[i].sender, i % 3 == 0 ? a.slot() : b.slot());
    EXPECT_EQ(from_x[i].sender, from_y[i].sender);
    EXPECT_GT(from_x[i].time_ns, 1'600'000'000'000'000'000U) << "wall clock";
  }
}

TEST(PortReceive, AnOverrunIsToldAndCountedAndResumesAsAsked) {
  for (const Resume resume : {Resume::first, Resume::newest}) {
    const TempBus bus(small_ring());
    Port sender = port_on(bus.path());
    Port port = port_on(bus.path(), {.resume = resume});
    for (unsigned i = 0; i < 300; ++i) EXPECT_FALSE(send_one(sender, kBroadcast, 1000));
    FrameBatch in(256);
    const ReceiveResult got = port.receive(in);
    EXPECT_FALSE(got.error) << "an overrun is no error";
    EXPECT_EQ(got.frames + got.lost, 300U);
    EXPECT_EQ(port.counters().overruns, 1U);
    EXPECT_EQ(port.counters().lost_frames, got.lost);
    EXPECT_GT(port.counters().lost_bytes, got.lost * 1000);
    if (resume == Resume::first) {
      EXPECT_GT(got.frames, 50U) << "the ring holds more than 50 of them";
    } else {
      EXPECT_EQ(got.frames, 0U);
    }
  }
}

TEST(PortReceive, ASmallBufferYieldsTheTrueLengthAndTheNextFrameComesWhole) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(send_one(sender, kBroadcast, 1000));
  EXPECT_FALSE(send_one(sender, kBroadcast, 60));
  FrameBatch in(1, 64);
  EXPECT_EQ(port.receive(in).frames, 1U);
  EXPECT_TRUE(in[0].truncated());
  EXPECT_EQ(in[0].true_bytes, 1000U);
  EXPECT_EQ(port.counters().rx_bytes, 1000U) << "counted as on the wire";
  in.clear();
  EXPECT_EQ(port.receive(in).frames, 1U);
  EXPECT_FALSE(in[0].truncated());
}

TEST(PortReceive, AJumboBusCarriesFramesOfItsMtuAndTwoVlanTags) {
  const TempBus bus({.ring_bytes = 1U << 20U, .mtu = 65521});
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  NumberedBatch frames(kMaxFrameBytes);
  frames.fix_size(kMaxFrameBytes);
  EXPECT_FALSE(sender.send(frames.make(3, 0, 1)).error);
  FrameBatch in;
  EXPECT_EQ(port.receive(in).frames, 1U);
  EXPECT_EQ(in[0].size(), kMaxFrameBytes);
  EXPECT_TRUE(check_numbered(in[0]));
}

TEST(PortWait, ADescriptorAskedForOnlyAfterTheFirstPrepareWaitIsRungToo) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  ASSERT_FALSE(port.prepare_wait().ready);
  pollfd descriptor{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_FALSE(send_one(sender));
  EXPECT_EQ(poll(&descriptor, 1, 10'000), 1);
  port.finish_wait();
  EXPECT_EQ(heard(port), 1U);
}

// A fork: the child may touch nothing, and its end disturbs nothing.

TEST(Fork, EveryCallInTheChildAnswersForkedAndItsExitDoesNotDisturbTheParent) {
  const TempBus bus;
  auto port = std::make_unique<Port>(port_on(bus.path(), {.name = "forked"}));
  Port peer = port_on(bus.path());
  ASSERT_GE(port->descriptor(), 0);
  EXPECT_EQ(Child([&] {
              FrameBatch in;
              int step = 0;
              int line = 0;
              const auto expect = [&](bool ok) {
                ++step;
                if (!ok && line == 0) line = step;
              };
              expect(send_one(*port) == Errc::forked);
              expect(port->receive(in).error == Errc::forked);
              expect(port->up() == Errc::forked);
              expect(port->down() == Errc::forked);
              expect(port->detach() == Errc::forked);
              expect(port->attach(bus.path()).error().code == Errc::forked);
              expect(port->set_mac(kOther) == Errc::forked);
              expect(port->set_promiscuous(true) == Errc::forked);
              expect(port->link().error().code == Errc::forked);
              expect(!port->wait(std::chrono::nanoseconds::max()));
              expect(port->descriptor() == -1);
              expect(port->prepare_wait().ready);
              port->finish_wait();
              port->interrupt();
              expect(!port->is_up());
              port->counters();
              port->mac();
              port->name();
              port.reset();
              // A port of its own is the child's to make.
              Port own = port_on(bus.path(), {.name = "child"});
              expect(!send_one(own));
              return line;
            }).wait(),
            0)
      << "the number of the first check that failed";
  EXPECT_EQ(heard(peer), 1U);
  EXPECT_TRUE(port->is_up());
  EXPECT_FALSE(send_one(*port));
  EXPECT_EQ(heard(peer), 1U);
  EXPECT_TRUE(bus.info().ports.at(0).live);
  EXPECT_TRUE(is_clean(bus.audit()));
}

// Scribbles of a broken peer.

TEST(Corruption, ARecordThatIsNoFrameIsCountedAndThePortGoesOn) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(send_one(sender));
  raw.ring().record(0).word = bus::word::frame(0, 5);
  FrameBatch in;
  EXPECT_FALSE(port.receive(in).error);
  EXPECT_EQ(in.size(), 0U);
  EXPECT_EQ(port.counters().corrupt, 1U);
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(heard(port), 1U);
}

TEST(Corruption, ABrokenRingIsAnErrorToSenderAndListenerUntilRepaired) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(heard(port), 1U);
  raw.ring().record(raw.header().last).word = 0xdeadbeef;
  EXPECT_EQ(send_one(sender), Errc::corrupt);
  FrameBatch in;
  EXPECT_EQ(port.receive(in).error, Errc::corrupt);
  EXPECT_FALSE(bus.audit().clean());
  EXPECT_EQ(Port().attach(bus.path()).error().code, Errc::corrupt);
  ASSERT_TRUE(Bus::open(bus.path(), Access::read_write).value().repair());
  EXPECT_TRUE(is_clean(bus.audit()));
  FrameBatch after(64);
  port.receive(after);
  after.clear();
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(port.receive(after).frames, 1U);
}

}  // namespace
}  // namespace shmif::test
