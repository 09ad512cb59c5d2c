// What a port sends, hears and waits for, and what it counts.

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/wall_clock.hpp"
#include "shmif/port.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

const MacAddress kStranger = *MacAddress::parse("02:00:00:00:99:99");

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
  EXPECT_EQ(port.counters().too_long_frames, 1U);
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
  EXPECT_FALSE(send_one(peer, kStranger));
  EXPECT_EQ(heard(port), 3U);
  EXPECT_EQ(port.counters().filtered_frames, 1U);
}

/// One at a time, so that each has a record: a call walks through 2048 of them before it asks how
/// far it must go.
void send_singly(Port& sender, unsigned count, MacAddress to) {
  NumberedBatch frames(60);
  for (unsigned sent = 0; sent < count; ++sent)
    ASSERT_EQ(sender.send(frames.make(1, sent, 1, to)).taken, 1U);
}

TEST(PortReceive, AFrameBehindManyForOthersComesWithTheFirstCall) {
  constexpr unsigned kForOthers = 5'000;
  const TempBus bus;
  Port copying = port_on(bus.path());
  Port lending = port_on(bus.path());
  Port sender = port_on(bus.path());
  send_singly(sender, kForOthers, kStranger);
  send_singly(sender, 1, kBroadcast);
  FrameBatch batch;
  EXPECT_EQ(copying.receive(batch).frames, 1U);
  batch.clear();
  EXPECT_EQ(lending.receive_in_place(batch).frames, 1U);
  EXPECT_EQ(lending.release(), 0U);
  EXPECT_EQ(copying.counters().filtered_frames, kForOthers);
  batch.clear();
  EXPECT_EQ(sender.receive(batch).frames, 0U);
  EXPECT_EQ(sender.counters().own_frames, kForOthers + 1) << "it looked to the end";
}

TEST(PortReceive, AFrameComesWithTheFirstCallAlsoIfThePortKnewOfAnEndBeforeIt) {
  constexpr unsigned kKnown = 1'000;
  constexpr unsigned kForOthers = 5'000;
  const TempBus bus;
  Port copying = port_on(bus.path());
  Port lending = port_on(bus.path());
  Port sender = port_on(bus.path());
  send_singly(sender, 1, kBroadcast);
  send_singly(sender, kKnown, kStranger);
  FrameBatch one(1);
  EXPECT_EQ(copying.receive(one).frames, 1U);
  one.clear();
  EXPECT_EQ(lending.receive_in_place(one).frames, 1U);
  EXPECT_EQ(lending.release(), 0U);
  EXPECT_LT(copying.counters().filtered_frames, kKnown) << "the call ends before";
  send_singly(sender, kForOthers, kStranger);
  send_singly(sender, 1, kBroadcast);
  one.clear();
  EXPECT_EQ(copying.receive(one).frames, 1U);
  one.clear();
  EXPECT_EQ(lending.receive_in_place(one).frames, 1U);
  EXPECT_EQ(lending.release(), 0U);
}

TEST(PortReceive, PromiscuousModeAndAddressAreInForceWhenTheCallReturns) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.set_promiscuous(true));
  EXPECT_FALSE(send_one(peer, kStranger));
  EXPECT_EQ(heard(port), 1U);
  EXPECT_FALSE(port.set_promiscuous(false));
  EXPECT_FALSE(send_one(peer, kStranger));
  EXPECT_EQ(heard(port), 0U);
  const MacAddress old = port.mac();
  EXPECT_FALSE(port.set_mac(kStranger));
  EXPECT_EQ(port.mac(), kStranger);
  EXPECT_EQ(bus.info().ports.at(1).mac, kStranger);
  EXPECT_FALSE(send_one(peer, kStranger));
  EXPECT_FALSE(send_one(peer, old));
  EXPECT_EQ(heard(port), 1U);
}

TEST(PortSend, AFrameThatIsTooLongIsCountedAlsoBehindOthers) {
  const TempBus bus;
  Port port = port_on(bus.path());
  const std::vector<std::byte> bytes(2000, std::byte{0xff});
  const std::array frames{FrameView(bytes.data(), 60), FrameView(bytes.data(), 61),
                          FrameView(bytes.data(), bytes.size()), FrameView(bytes.data(), 62)};
  const SendResult sent = port.send(frames);
  EXPECT_EQ(sent.taken, 2U);
  EXPECT_EQ(sent.error, Errc::frame_too_long);
  EXPECT_EQ(port.counters().too_long_frames, 1U);
  const std::vector<FrameView> of_one_length(4, FrameView(bytes.data(), 1523));
  EXPECT_EQ(port.send(of_one_length).error, Errc::frame_too_long);
  EXPECT_EQ(port.counters().too_long_frames, 2U);
  EXPECT_EQ(port.counters().tx_frames, 2U);
}

TEST(PortSend, AFrameBearsTheTimeAfterTheWaitForTheLock) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port port = port_on(bus.path());
  Port peer = port_on(bus.path());
  const std::uint64_t before = base::wall_clock_ns();
  raw.lock_as(peer.slot());  // the peer is alive and never frees the lock
  EXPECT_FALSE(send_one(port));
  FrameBatch batch;
  ASSERT_EQ(peer.receive(batch).frames, 1U);
  const std::chrono::nanoseconds patience = bus::BusLock::kPatience;
  EXPECT_GE(batch[0].time_ns, before + static_cast<std::uint64_t>(patience.count()) / 2);
}

TEST(PortReceive, ALearningPortLearnsNoGroupAddressAndNotItsOwn) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port bridge = port_on(bus.path(), {.learn = true});
  for (const MacAddress from : {*MacAddress::parse("01:00:5e:00:00:01"), bridge.mac()}) {
    std::vector<std::byte> bytes(60, std::byte{0xff});
    std::memcpy(bytes.data() + 6, from.bytes.data(), 6);
    const FrameView view(bytes);
    EXPECT_FALSE(bridge.send({&view, 1}).error);
  }
  for (const std::uint64_t mac : raw.slot(bridge.slot()).learned) EXPECT_EQ(mac, 0U);
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

/// Any unicast addresses: numbers `first` to `last`.
std::vector<MacAddress> macs(unsigned first, unsigned last) {
  std::vector<MacAddress> all;
  for (unsigned i = first; i <= last; ++i)
    all.push_back(MacAddress::from_u64(0x02'00'00'00'00'00ULL + i));
  return all;
}

void send_from(Port& port, MacAddress from) {
  std::vector<std::byte> bytes(60, std::byte{0xff});
  std::memcpy(bytes.data() + 6, from.bytes.data(), 6);
  const FrameView view(bytes);
  EXPECT_FALSE(port.send({&view, 1}).error);
}

/// Which of `of` a port hears frames for, as `sender` sends them.
std::vector<MacAddress> heard_of(Port& port, Port& sender, const std::vector<MacAddress>& of) {
  std::vector<MacAddress> all;
  EXPECT_EQ(heard(port), 0U);
  for (const MacAddress& each : of) {
    EXPECT_FALSE(send_one(sender, each));
    if (heard(port) == 1) all.push_back(each);
  }
  return all;
}

TEST(PortReceive, APortHearsTheOtherAddressesThatItWasGivenLast) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.set_other_macs(macs(1, 3)));
  EXPECT_EQ(heard_of(port, peer, macs(1, 6)), macs(1, 3));
  EXPECT_FALSE(port.set_other_macs(macs(3, 5)));
  EXPECT_EQ(heard_of(port, peer, macs(1, 6)), macs(3, 5));
  const std::vector<MacAddress> group{*MacAddress::parse("01:00:5e:00:00:01")};
  EXPECT_EQ(port.set_other_macs(group), Errc::bad_argument);
  EXPECT_EQ(heard_of(port, peer, macs(1, 6)), macs(3, 5));
  EXPECT_FALSE(port.set_other_macs({}));
  EXPECT_TRUE(heard_of(port, peer, macs(1, 6)).empty());
  EXPECT_FALSE(port.set_other_macs(macs(1, 1)));
  EXPECT_FALSE(port.down());
  EXPECT_FALSE(port.detach());
  EXPECT_EQ(port.set_other_macs({}), Errc::not_linked);
  ASSERT_TRUE(port.attach(bus.path()));
  EXPECT_FALSE(port.up());
  EXPECT_TRUE(heard_of(port, peer, macs(1, 6)).empty()) << "a newly attached port has none";
}

TEST(PortReceive, AnAddressThatWasItsOwnMeanwhileIsStillOneOfTheOthers) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  const MacAddress own = port.mac();
  EXPECT_FALSE(port.set_other_macs(macs(1, 2)));
  EXPECT_FALSE(port.set_mac(macs(1, 1).front()));
  EXPECT_EQ(heard_of(port, peer, macs(1, 3)), macs(1, 2));
  EXPECT_FALSE(port.set_mac(own));
  EXPECT_EQ(heard_of(port, peer, macs(1, 3)), macs(1, 2));
}

TEST(PortReceive, AnAddressThatIsNoLongerGivenIsForgottenUntilThePortSendsFromIt) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path(), {.learn = true});
  for (const MacAddress& each : macs(1, 2)) send_from(port, each);
  EXPECT_FALSE(port.set_other_macs(macs(2, 3)));
  EXPECT_EQ(heard_of(port, peer, macs(1, 4)), macs(1, 3));
  EXPECT_FALSE(port.set_other_macs({}));
  EXPECT_EQ(heard_of(port, peer, macs(1, 4)), macs(1, 1));
  send_from(port, macs(2, 2).front());
  EXPECT_EQ(heard_of(port, peer, macs(1, 4)), macs(1, 2));
}

TEST(PortReceive, APortThatIsGivenAsManyAddressesAsItCanKeepHearsTheseAndNoOthers) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  EXPECT_FALSE(port.set_other_macs(macs(11, 26)));
  EXPECT_EQ(heard_of(port, peer, macs(10, 27)), macs(11, 26));
}

TEST(PortReceive, APortThatIsGivenMoreAddressesThanItCanKeepHearsAllMeanwhile) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path(), {.learn = true});
  send_from(port, macs(1, 1).front());
  for (unsigned round = 0; round < 2; ++round) {
    EXPECT_FALSE(port.set_other_macs(macs(11, 25)));
    EXPECT_EQ(heard_of(port, peer, macs(26, 27)), std::vector<MacAddress>()) << "room for all 16";
    EXPECT_FALSE(port.set_other_macs(macs(11, 26)));
    EXPECT_EQ(heard_of(port, peer, macs(30, 31)), macs(30, 31)) << "one too many";
    EXPECT_FALSE(port.set_other_macs(macs(101, 300)));
    send_from(port, macs(2, 2).front());
    EXPECT_EQ(heard_of(port, peer, macs(30, 31)), macs(30, 31)) << "far too many";
    EXPECT_FALSE(port.set_other_macs(macs(11, 12)));
    send_from(port, macs(2, 2).front());
    EXPECT_EQ(heard_of(port, peer, macs(1, 3)), macs(1, 2));
    EXPECT_EQ(heard_of(port, peer, macs(10, 13)), macs(11, 12));
    EXPECT_FALSE(port.set_other_macs(macs(2, 2)));
    EXPECT_FALSE(port.set_other_macs({}));
    EXPECT_EQ(heard_of(port, peer, macs(1, 13)), macs(1, 1));
  }
}

TEST(PortReceive, APortThatGetsAnotherAddressHearsNoEarlierOne) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path(), {.mac = macs(1, 1).front(), .learn = true});
  for (unsigned i = 2; i <= 4; ++i) {
    send_from(port, macs(i, i).front());  // the host was changed first
    EXPECT_FALSE(port.set_mac(macs(i, i).front()));
    EXPECT_EQ(heard_of(port, peer, macs(1, 6)), macs(i, i));
  }
}

// A batch may come from many hosts behind one port.
TEST(PortReceive, ALearningPortLearnsEachSourceOfABatchAlsoTheAddressZero) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port bridge = port_on(bus.path(), {.learn = true});
  const std::vector<MacAddress> sources{
      *MacAddress::parse("02:00:00:00:00:01"), *MacAddress::parse("00:00:00:00:00:00"),
      *MacAddress::parse("00:00:00:00:00:01"), *MacAddress::parse("02:00:00:00:00:02")};
  for (const MacAddress& source : sources) EXPECT_FALSE(send_one(peer, source));
  EXPECT_EQ(heard(bridge), 0U);
  std::vector<std::vector<std::byte>> frames;
  std::vector<FrameView> batch;
  for (const MacAddress& source : sources) {
    std::memcpy(frames.emplace_back(60, std::byte{0xff}).data() + 6, source.bytes.data(), 6);
  }
  for (const auto& bytes : frames) batch.emplace_back(bytes);
  EXPECT_EQ(bridge.send(batch).taken, batch.size());
  for (const MacAddress& source : sources) EXPECT_FALSE(send_one(peer, source));
  EXPECT_EQ(heard(bridge), sources.size());
  EXPECT_FALSE(send_one(peer, *MacAddress::parse("02:00:00:00:00:03")));
  EXPECT_EQ(heard(bridge), 0U) << "of another host";
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
  EXPECT_FALSE(x.receive(from_x).error);
  EXPECT_FALSE(y.receive(from_y).error);
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

TEST(PortWait, AFloodOfFramesForOthersIsNothingToReceive) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Port sender = port_on(bus.path());
  NumberedBatch frames(14);
  for (unsigned sent = 0; sent < 40'000; sent += 32)
    ASSERT_EQ(sender.send(frames.make(1, sent, 32, kStranger)).taken, 32U);
  EXPECT_FALSE(port.wait(std::chrono::milliseconds(1)));
  EXPECT_EQ(port.counters().filtered_frames, 40'000U);
  ASSERT_EQ(sender.send(frames.make(1, 0, 1)).taken, 1U);
  EXPECT_TRUE(port.wait(std::chrono::seconds(60)));
}

/// Nobody rings it for them, and it has not looked at those that are gone.
TEST(PortWait, FramesForOthersThatLapASleepByDescriptorAreFilteredAndNotLost) {
  const TempBus bus(small_ring());
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  NumberedBatch frames(60);
  frames.fix_size(60);
  constexpr std::uint32_t kLap = 2000;
  for (std::uint32_t round = 1; round < 4; ++round) {
    ASSERT_FALSE(port.prepare_wait().ready);
    for (std::uint32_t i = 0; i < kLap; ++i) {
      ASSERT_FALSE(sender.send(frames.make(1, i, 1, kStranger)).error);
    }
    port.finish_wait();
    FrameBatch in;
    const ReceiveResult got = port.receive(in);
    EXPECT_EQ(got.frames, 0U);
    EXPECT_EQ(got.lost, 0U);
    EXPECT_EQ(port.counters().filtered_frames, round * kLap);
    EXPECT_EQ(port.counters().overruns, 0U);
    EXPECT_EQ(port.counters().wakeups, 0U);
  }
}

/// A wait passes over what is for others, and senders see how far it has come.
TEST(PortWait, WhoOnlyWaitsKeepsUpOnABusThatPauses) {
  BusOptions options = small_ring();
  options.flow = Flow::pause;
  const TempBus bus(options);
  Port sender = port_on(bus.path());
  Port port = port_on(bus.path());
  NumberedBatch frames(60);
  frames.fix_size(60);
  for (const bool by_descriptor : {false, true}) {
    for (std::uint32_t i = 0; i < 2000; ++i) {
      ASSERT_FALSE(sender.send(frames.make(1, i, 1, kStranger)).error);
      if (i % 100 != 0) continue;
      FrameBatch in;
      EXPECT_EQ(sender.receive(in).frames, 0U);  // its own: it is waited for, too
      if (by_descriptor) {
        EXPECT_FALSE(port.prepare_wait().ready);
        port.finish_wait();
      } else {
        EXPECT_FALSE(port.wait(std::chrono::nanoseconds(0)));
      }
    }
    EXPECT_EQ(sender.counters().pauses, 0U) << by_descriptor;
  }
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

}  // namespace
}  // namespace shmif::test
