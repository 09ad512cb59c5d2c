// Port: linked or not, up or down; forked; on a bus that somebody scribbled over.

#include "shmif/port.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>

#include "bus/layout.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using testing::HasSubstr;

const MacAddress kOther = *MacAddress::parse("02:00:00:00:99:99");

// Without a bus (the ancestor's B8 to B12).

TEST(PortWithoutBus, ExistsByItselfAndAnswersNotLinked) {
  Port port({.name = "lonely"});
  FrameBatch in;
  EXPECT_EQ(port.name(), "lonely");
  EXPECT_EQ(port.mac().bytes[0], 0xb2);
  EXPECT_EQ(port.mac().bytes[1], 0xa0);
  EXPECT_EQ(port.link().error().code, std::errc::no_such_file_or_directory);
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
  EXPECT_EQ(port.try_send({}).error, Errc::not_linked);
  EXPECT_EQ(port.set_carrier(true), Errc::not_linked);
  EXPECT_EQ(port.set_carrier_unknown(), Errc::not_linked);
  EXPECT_FALSE(port.has_carrier());
  EXPECT_EQ(port.descriptor_error(), Errc::not_linked);
  EXPECT_TRUE(port.prepare_wait().ready) << "receive() tells";
  port.finish_wait();
  EXPECT_EQ(port.release(), 0U);
  EXPECT_EQ(port.slot(), 0xffffU);
  EXPECT_EQ(port.mtu(), std::nullopt) << "the MTU belongs to the bus";
  EXPECT_EQ(port.max_frame_bytes(), kMaxFrameBytes);
  EXPECT_EQ(port.patience(), std::chrono::nanoseconds(0));
  EXPECT_FALSE(port.takes_offloads());
  EXPECT_EQ(port.address(), "bus:");
  EXPECT_FALSE(port.set_promiscuous(true)) << "for the bus to come";
  EXPECT_EQ(passed(port.counters()) + port.counters().tx_frames, 0U);
}

TEST(PortWithoutBus, RefusesEmptyAndOverlongPaths) {
  Port port;
  EXPECT_EQ(port.attach("").error().code, Errc::path_empty);
  EXPECT_EQ(port.attach("").error().code, std::errc::invalid_argument);
  EXPECT_EQ(port.attach(std::string(PATH_MAX, 'x')).error().code, Errc::path_too_long);
  EXPECT_EQ(port.attach(std::string(PATH_MAX, 'x')).error().code,
            std::errc::argument_list_too_long);
  EXPECT_EQ(port.attach(std::string(PATH_MAX - 1, 'x')).error().code, std::errc::filename_too_long)
      << "the system's own answer";
  EXPECT_EQ(port.attach(std::string(5000, 'x')).error().message,
            "cannot attach to a bus: the path has 5000 characters, at most 4095 are possible");
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
  EXPECT_EQ(port.link().error().code, std::errc::no_such_file_or_directory);
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

TEST(PortLink, AMoveTakesLinkAndCountersAlongAndADetachEndsBoth) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path(), {.name = "mover"});
  NumberedBatch frames(60);
  const FrameView view = frames.make(9, 0, 1)[0];
  ASSERT_EQ(port.send(view).taken, 1U);
  EXPECT_EQ(port.send(FrameView(view.bytes.first(13))).error, Errc::frame_too_short);
  EXPECT_EQ(heard(peer), 1U);
  Port moved = std::move(port);
  EXPECT_TRUE(moved.is_up());
  EXPECT_EQ(moved.name(), "mover");
  EXPECT_EQ(moved.counters().tx_frames, 1U);
  port = port_on(bus.path(), {.name = "next"});
  EXPECT_EQ(port.counters().tx_frames, 0U);
  moved = std::move(port);
  EXPECT_EQ(bus.info().ports.size(), 2U) << "the one that was assigned to has left the bus";
  ASSERT_EQ(moved.send(view).taken, 1U);
  EXPECT_FALSE(moved.down());
  EXPECT_EQ(moved.counters().tx_frames, 1U);
  EXPECT_FALSE(moved.detach());
  EXPECT_EQ(moved.counters().tx_frames, 0U);
  EXPECT_TRUE(moved.attach(bus.path()));
  EXPECT_EQ(moved.counters().tx_frames, 0U);
}

TEST(PortLink, APortTakesItsAddressAndItsPromiscuityToTheNextBus) {
  const TempBus first;
  const TempBus second;
  const MacAddress mac = *MacAddress::parse("02:00:00:00:00:07");
  Port port = port_on(first.path());
  EXPECT_FALSE(port.set_mac(mac));
  EXPECT_FALSE(port.set_promiscuous(true));
  EXPECT_FALSE(port.down());
  EXPECT_FALSE(port.detach());
  EXPECT_EQ(port.mac(), mac);
  ASSERT_TRUE(port.attach(second.path()));
  EXPECT_EQ(port.mac(), mac);
  EXPECT_EQ(second.info().ports.at(0).mac, mac);
  EXPECT_TRUE(second.info().ports.at(0).promiscuous);
}

TEST(PortLink, LetsAMonitorSeeItsHeatAsLongAsItIsAttached) {
  const TempBus bus;
  const TempDir heat;
  const auto sockets = [&] {
    return std::distance(std::filesystem::directory_iterator(heat.path()), {});
  };
  ASSERT_EQ(::setenv("SHMIF_HEAT", heat.path().c_str(), 1), 0);
  Port first;
  Port second;
  for (int round = 0; round < 2; ++round) {
    first.attach(bus.path()).value();
    second.attach(bus.path()).value();
    EXPECT_EQ(sockets(), 1) << "of the process";
    EXPECT_FALSE(first.detach());
    EXPECT_EQ(sockets(), 1) << "of the other port";
    EXPECT_FALSE(second.detach());
    EXPECT_EQ(sockets(), 0) << "nothing is shared any more";
  }
  ::unsetenv("SHMIF_HEAT");
}

TEST(PortLink, ARelativePathIsThatOfTheDirectoryInWhichThePortWasAttached) {
  const TempDir dir;
  const TempDir elsewhere;
  Bus::create(dir.file("bus"), {}).value();
  Bus::create(elsewhere.file("bus"), {}).value();
  Child child([&] {
    if (chdir(dir.path().c_str()) != 0) return 1;
    Port port;
    if (!port.attach("bus")) return 2;
    if (chdir(elsewhere.path().c_str()) != 0) return 3;
    const Port::LinkState after = port.link().value();
    if (!after.still_named || after.path != "bus") return 4;
    std::filesystem::remove(dir.file("bus"));
    return port.link().value().still_named ? 5 : 0;
  });
  EXPECT_EQ(child.wait(), 0) << "4 chdir changed it, 5 the bus of that name here was taken for it";
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

TEST(PortLink, WhyThereIsNoDescriptorIsLoggedOnce) {
  if (kSanitized) GTEST_SKIP() << "checks of objects need descriptors themselves, under sanitizers";
  const TempBus bus;
  Port port = port_on(bus.path(), {.name = "poor"});
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  testing::internal::CaptureStderr();
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(port.descriptor(), -1);
    EXPECT_EQ(port.descriptor_error(), std::errc::too_many_files_open);
  }
  EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "shmif: warning: port poor has neither io_uring nor inotify (Too many open files); it "
            "has no descriptor\n");
  EXPECT_GE(port.descriptor(), 0) << "once there is one, it is made";
}

// Up and down.

TEST(PortState, APortThatIsDownHasNothingReadyAndLooksUpSoon) {
  const TempBus bus;
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path());
  ASSERT_FALSE(send_one(peer));
  EXPECT_TRUE(port.prepare_wait().ready);
  ASSERT_FALSE(port.down());
  for (unsigned i = 0; i < 2; ++i) {
    const WaitHint hint = port.prepare_wait();
    EXPECT_FALSE(hint.ready);
    EXPECT_EQ(hint.at_most, std::chrono::milliseconds(50));
    port.finish_wait();
  }
}

TEST(PortState, OnABusThatPausesAPortIsWaitedForWheneverItIsUp) {
  BusOptions options = small_ring();
  options.flow = Flow::pause;
  const TempBus bus(options);
  Port port;
  ASSERT_TRUE(port.attach(bus.path()));
  for (unsigned round = 0; round < 3; ++round) {
    EXPECT_FALSE(bus.info().ports.at(0).pause);
    EXPECT_FALSE(bus.info().ports.at(0).up);
    ASSERT_FALSE(port.up());
    EXPECT_TRUE(bus.info().ports.at(0).pause);
    EXPECT_TRUE(bus.info().ports.at(0).up);
    ASSERT_FALSE(port.down());
  }
}

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

/// A port that has heard ten frames and is down.
Port down_after_ten(const TempBus& bus) {
  Port peer = port_on(bus.path());
  Port port = port_on(bus.path(), {.start = Start::oldest});
  for (unsigned i = 0; i < 10; ++i) EXPECT_FALSE(send_one(peer));
  EXPECT_EQ(heard(port), 10U);
  EXPECT_FALSE(port.down());
  return port;
}

TEST(PortState, APortWhosePlaceIsDestroyedWhileItIsDownSaysSoAndHearsNothingTwice) {
  const TempBus bus;
  Port port = down_after_ten(bus);
  const RawBus raw(bus.path());
  raw.ring().record(raw.header().last).word = 0;
  EXPECT_EQ(port.up(), Errc::corrupt);
  EXPECT_EQ(heard(port), 0U);
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
              expect(port->set_other_macs({}) == Errc::forked);
              expect(port->set_carrier(false) == Errc::forked);
              expect(port->set_carrier_unknown() == Errc::forked);
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

TEST(Corruption, ANumberOfTheOldestRecordThatWasOverwrittenSkipsNothing) {
  const TempBus bus;
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  for (unsigned i = 0; i < 50; ++i) EXPECT_FALSE(send_one(sender));
  Port late(PortOptions{.start = Start::oldest});
  ASSERT_TRUE(late.attach(bus.path()));
  raw.ring().record(0).number = 400'000'000'000'000'000;
  ASSERT_FALSE(late.up());
  EXPECT_EQ(late.counters().skipped_frames, 0U) << "so many were never sent";
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
  EXPECT_FALSE(port.receive(after).error);
  after.clear();
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(port.receive(after).frames, 1U);
}

TEST(Corruption, AScribbledInodeKeepsNobodyFromTakingADeadWritersRoomBack) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  raw.header().inode ^= 1;
  raw.claim(77, 0, 8192, 16384);
  for (unsigned n = 0; n < 20; ++n) EXPECT_FALSE(send_one(sender, kBroadcast, 1000));
  EXPECT_EQ(raw.header().claims_freed, 1U);
}

}  // namespace
}  // namespace shmif::test
