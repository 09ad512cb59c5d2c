// A port on a bus of NetBSD's format, beside a second implementation of that format.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "shmif/receiver.hpp"
#include "tests/bus/netbsd/rig.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(NetbsdPort, ANewFileHasTheBytesOfThePage) {
  const NetbsdBus bus;
  const std::string file = contents(bus.path());
  std::string expected(1024 * 1024, '\0');
  const unsigned char header[] = {0x54, 0xd0, 0x11, 0xca, 0, 0, 0,    0,    0,    0,
                                  0,    0,    0,    0,    0, 0, 0xe0, 0xff, 0x0f, 0x00};
  std::memcpy(expected.data(), header, sizeof header);
  ASSERT_EQ(file.size(), expected.size());
  EXPECT_TRUE(file == expected);
}

TEST(NetbsdPort, AFrameHasTheBytesOfThePage) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  const auto before = static_cast<std::uint32_t>(time(nullptr));
  const Octets frame = frame_of(kEverybody, 7, 61);
  ASSERT_EQ(port.send(view_of(frame)).taken, 1U);
  const std::string file = contents(bus.path());
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, file.data() + at, 4);
    return value;
  };
  EXPECT_EQ(word(0), 0xca11d054U);
  EXPECT_EQ(word(4), 3U);  // it has rung
  EXPECT_EQ(word(8), 0U);
  EXPECT_EQ(word(12), 0U);
  EXPECT_EQ(word(16), 1048544U);
  EXPECT_EQ(word(20), 24U);
  EXPECT_EQ(word(24), 0U);
  const std::size_t header = 32 + 24;
  EXPECT_EQ(word(header), 61U);
  EXPECT_GE(word(header + 4), before);
  EXPECT_LE(word(header + 4), static_cast<std::uint32_t>(time(nullptr)));
  EXPECT_LT(word(header + 8), 1'000'000U);
  EXPECT_EQ(word(header + 12), 0U);
  EXPECT_NE(word(header + 16) | word(header + 20), 0U);
  EXPECT_EQ(file.compare(header + 24, 61, reinterpret_cast<const char*>(frame.data()), 61), 0);
  EXPECT_EQ(file.find_first_not_of('\0', header + 24 + 61), std::string::npos);
}

/// Sends frames by `send` until the newest ends exactly `behind` bytes behind the end of the data.
template <class Send>
void send_up_to_the_end(NetbsdPeer& peer, std::uint32_t behind, const Send& send) {
  constexpr std::uint32_t kRecord = 24 + 1000;
  std::uint32_t end = 24;
  for (; end + 2 * kRecord < NetbsdPeer::kData; end += kRecord)
    send(frame_of(kEverybody, end, 1000));
  const std::uint32_t left = NetbsdPeer::kData + behind - end;
  send(frame_of(kEverybody, 1, left / 2 - 24));
  send(frame_of(kEverybody, 2, left - left / 2 - 24));
  ASSERT_EQ(peer.generation(), 1U);
}

// A kernel that joins while a frame that touches the end is the newest takes itself for overrun,
// and then reads the oldest frame again and again. After ours it does not, because a header without
// a frame follows.
TEST(NetbsdPort, AKernelThatJoinsAfterOurFrameAtTheEndIsNotConfused) {
  for (const std::uint32_t behind : {0U, 1U, 23U, 24U, 100U, 900U}) {
    {
      const NetbsdBus bus;
      NetbsdPeer sender(bus.path(), 1);
      send_up_to_the_end(sender, behind, [&](const Octets& frame) { sender.send(frame); });
      NetbsdPeer joins(bus.path(), 2);
      const Octets oldest = frame_of(kEverybody, sender.first(), 1000);
      for (int i = 0; i < 10; ++i) EXPECT_EQ(joins.receive(), oldest) << behind;
    }
    const NetbsdBus bus;
    NetbsdPeer watches(bus.path(), 1);
    Port port = port_on(bus.path());
    send_up_to_the_end(watches, behind, [&](const Octets& frame) {
      ASSERT_EQ(port.send(view_of(frame)).taken, 1U);
    });
    NetbsdPeer joins(bus.path(), 2);
    EXPECT_FALSE(joins.receive()) << behind;
    ASSERT_EQ(port.send(view_of(frame_of(kEverybody, 3))).taken, 1U);
    EXPECT_EQ(joins.receive(), frame_of(kEverybody, 3)) << behind;
    EXPECT_FALSE(joins.receive()) << behind;
  }
}

TEST(NetbsdPort, ABatchTakesOneHoldOfTheLockAndArrivesInOrder) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  std::vector<Octets> frames;
  std::vector<FrameView> views;
  for (std::uint64_t i = 0; i < 300; ++i) frames.push_back(frame_of(kEverybody, i, 1514));
  for (const Octets& frame : frames) views.push_back(view_of(frame));
  ASSERT_EQ(port.send(views).taken, frames.size());
  for (const Octets& frame : frames) ASSERT_EQ(peer.receive(), frame);
  EXPECT_FALSE(peer.receive());
  EXPECT_EQ(port.counters().doorbells, (300U + 20) / 21);  // 21 of these are 32 KiB
}

TEST(NetbsdPort, FramesThatAKernelWouldNotSurviveAreRefused) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  const std::string before = contents(bus.path());
  EXPECT_EQ(port.max_frame_bytes(), 1514U);
  EXPECT_EQ(port.mtu(), 1500U);
  EXPECT_FALSE(port.takes_offloads());
  EXPECT_EQ(port.send(view_of(frame_of(kEverybody, 1, 1515))).error,
            make_error_code(Errc::frame_too_long));
  EXPECT_EQ(port.send(FrameView(before.data(), 13)).error, make_error_code(Errc::frame_too_short));
  const Octets good = frame_of(kEverybody, 1);
  FrameView unfinished = view_of(good);
  unfinished.offload.flags = Offload::kNeedsChecksum;
  EXPECT_EQ(port.send(unfinished).error, make_error_code(Errc::not_supported));
  EXPECT_EQ(contents(bus.path()), before);
  EXPECT_EQ(port.counters().too_long_frames, 1U);
  EXPECT_EQ(port.counters().refused_frames, 2U);
  const Octets long_frame = frame_of(kEverybody, 3, 1515);
  const std::array<FrameView, 3> mixed{view_of(good), view_of(long_frame), view_of(good)};
  const SendResult sent = port.send(mixed);
  EXPECT_EQ(sent.taken, 1U);
  EXPECT_EQ(sent.error, make_error_code(Errc::frame_too_long));
}

TEST(NetbsdPort, APortHearsItsOwnAddressGroupsAndWhatItHasLearned) {
  const NetbsdBus bus;
  const MacAddress own = MacAddress::from_u64(0xb2a0000000aa);
  const MacAddress behind = MacAddress::from_u64(0xb2a0000000bb);
  const MacAddress listed = MacAddress::from_u64(0xb2a0000000cc);
  const MacAddress other = MacAddress::from_u64(0xb2a0000000dd);
  const MacAddress group = MacAddress::from_u64(0x333300000001);
  Port port = port_on(bus.path(), {.mac = own, .learn = true});
  NetbsdPeer peer(bus.path());
  const auto heard = [&] {
    for (const MacAddress to : {own, behind, listed, other, group, kEverybody})
      peer.send(frame_of(to, to.to_u64()));
    std::vector<std::uint64_t> addresses;
    for (const Octets& frame : receive_all(port)) {
      std::uint64_t number = 0;
      std::memcpy(&number, frame.data() + 14, sizeof number);
      addresses.push_back(number);
    }
    return addresses;
  };
  const auto numbers = [](std::initializer_list<MacAddress> macs) {
    std::vector<std::uint64_t> all;
    for (const MacAddress mac : macs) all.push_back(mac.to_u64());
    return all;
  };
  EXPECT_EQ(heard(), numbers({own, group, kEverybody}));
  ASSERT_EQ(port.send(view_of(frame_of(kEverybody, 1, 60, behind.to_u64()))).taken, 1U);
  EXPECT_EQ(heard(), numbers({own, behind, group, kEverybody}));
  ASSERT_FALSE(port.set_other_macs(std::array{listed}));
  EXPECT_EQ(heard(), numbers({own, behind, listed, group, kEverybody}));
  EXPECT_EQ(port.set_other_macs(std::array{group}), Errc::bad_argument);
  ASSERT_FALSE(port.set_other_macs({}));
  EXPECT_EQ(port.set_mac(group), Errc::bad_argument);
  ASSERT_FALSE(port.set_mac(other));
  EXPECT_EQ(heard(), numbers({behind, other, group, kEverybody}));
  ASSERT_FALSE(port.set_promiscuous(true));
  EXPECT_EQ(heard().size(), 6U);
  EXPECT_EQ(port.counters().filtered_frames, 3U + 2 + 1 + 2);
}

TEST(NetbsdPort, APortBeginsWithTheNextFrameOrWithTheOldest) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 3; ++i) peer.send(frame_of(kEverybody, i));
  Port late = port_on(bus.path());
  EXPECT_TRUE(receive_all(late).empty());  // a kernel would get the newest again
  Port oldest = port_on(bus.path(), {.start = Start::oldest});
  EXPECT_EQ(receive_all(oldest).size(), 3U);
  ASSERT_FALSE(late.down());
  peer.send(frame_of(kEverybody, 3));
  ASSERT_FALSE(late.up());
  EXPECT_TRUE(receive_all(late).empty());
  EXPECT_EQ(late.counters().skipped_frames, 1U);
  ASSERT_FALSE(oldest.down());
  ASSERT_FALSE(oldest.up());
  EXPECT_EQ(receive_all(oldest).size(), 1U);  // not again what it has had
}

TEST(NetbsdPort, AnOverrunIsReportedAndCountsAsALowerBound) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 2000; ++i) peer.send(frame_of(kEverybody, i, 1000));
  FrameBatch batch(4096, 8U << 20U);
  const ReceiveResult got = port.receive(batch);
  EXPECT_EQ(got.lost, 1U);
  EXPECT_EQ(octets_of(batch.frames().back()), frame_of(kEverybody, 1999, 1000));
  const PortCounters counters = port.counters();
  EXPECT_EQ(counters.overruns, 1U);
  EXPECT_EQ(counters.lost_frames, 1U);
  EXPECT_TRUE(counters.lost_is_lower_bound());
  EXPECT_EQ(counters.lost_bytes + batch.size() * 1024, 2000U * 1024);
  EXPECT_EQ(counters.corrupt, 0U);
}

TEST(NetbsdPort, ThatIsOverrunAgainSoonLeavesFramesOutAndCountsTheirBytes) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  std::uint64_t sent = 0;
  const auto send = [&](std::uint64_t count) {
    for (; count > 0; --count) peer.send(frame_of(kEverybody, sent++, 1000));
  };
  send(2000);
  FrameBatch few(10, 1U << 20U);
  ASSERT_EQ(port.receive(few).frames, 10U);
  send(20);
  const std::vector<Octets> rest = receive_all(port);
  ASSERT_FALSE(rest.empty());
  EXPECT_EQ(rest.back(), frame_of(kEverybody, sent - 1, 1000));
  EXPECT_LT(rest.size(), 1000U) << "it has a head start";
  EXPECT_EQ(port.counters().overruns, 2U);
  EXPECT_EQ(port.counters().lost_bytes + (10 + rest.size()) * 1024, sent * 1024);
}

TEST(NetbsdPort, ASleepingPortIsWokenByARingAndARingingOneWakesOthers) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    peer.send(frame_of(kEverybody, 1));
  });
  EXPECT_TRUE(port.wait(kGenerousTime));
  sender.join();
  EXPECT_EQ(receive_all(port).size(), 1U);
  EXPECT_FALSE(port.wait(std::chrono::milliseconds(1)));
  while (peer.receive()) {
  }
  pollfd entry{peer.descriptor(), POLLIN, 0};
  while (poll(&entry, 1, 0) > 0) peer.wait();  // the peer's own ring
  ASSERT_EQ(port.send(view_of(frame_of(kEverybody, 2))).taken, 1U);
  EXPECT_EQ(poll(&entry, 1, static_cast<int>(kGenerousTime.count())), 1);
  EXPECT_TRUE(peer.receive());
}

TEST(NetbsdPort, LentFramesAreWholeHoweverMuchIsSentMeanwhile) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 40; ++i) peer.send(frame_of(kEverybody, i));
  FrameBatch batch(64, 0);
  ASSERT_EQ(port.receive_in_place(batch).frames, 32U);
  for (std::uint64_t i = 0; i < 2000; ++i) peer.send(frame_of(kEverybody, 99, 1000));
  for (std::uint64_t i = 0; i < 32; ++i) ASSERT_EQ(octets_of(batch[i]), frame_of(kEverybody, i));
  EXPECT_EQ(port.release(), 0U);
  static_cast<void>(receive_all(port));
  FrameBatch few(4, 0);
  for (const std::size_t frames : {3U, 1U, 0U}) {
    for (std::uint64_t i = 0; i < 3; ++i) peer.send(frame_of(kEverybody, i));
    EXPECT_EQ(port.receive_in_place(few).frames, frames) << "as many as there is room for";
  }
}

TEST(NetbsdPort, OfTheParentAnswersForkedInAChild) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  Follower follower = Follower::open(bus.path(), Start::now).value();
  const auto in_child = [&] {
    FrameBatch batch;
    const std::error_code forked = make_error_code(Errc::forked);
    const std::array answers{port.up(),
                             port.down(),
                             port.send(view_of(frame_of(kEverybody, 1))).error,
                             port.receive(batch).error,
                             port.receive_in_place(batch).error,
                             port.set_mac(MacAddress::random()),
                             port.set_promiscuous(true),
                             port.set_other_macs({}),
                             port.set_carrier(true),
                             port.link().error().code,
                             follower.receive(batch).error};
    const auto* const wrong =
        std::ranges::find_if(answers, [&](auto each) { return each != forked; });
    if (wrong != answers.end()) return 1 + static_cast<int>(wrong - answers.begin());
    if (port.is_up() || port.descriptor() != -1) return 20;
    port.interrupt();
    if (port.wait(kGenerousTime) || !port.prepare_wait().ready) return 21;
    return port.bus_frames() + follower.bus_frames() == 0 && port.release() == 0 ? 0 : 22;
  };
  EXPECT_EQ(Child(in_child).wait(), 0);
  EXPECT_EQ(port.send(view_of(frame_of(kEverybody, 1))).taken, 1U);
  ASSERT_FALSE(port.set_carrier(false));
  ASSERT_FALSE(port.set_carrier_unknown());
  EXPECT_TRUE(port.has_carrier());
}

TEST(NetbsdPort, NumbersTellWhatWasThereBefore) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 5; ++i) peer.send(frame_of(kEverybody, i));
  const std::uint64_t then = port.bus_frames();
  EXPECT_EQ(then, 5U);
  peer.send(frame_of(kEverybody, 5));
  FrameBatch batch;
  ASSERT_EQ(port.receive(batch).frames, 6U);
  for (std::uint64_t i = 0; i < 6; ++i) EXPECT_EQ(batch[i].number, i);
  EXPECT_EQ(batch[0].sender, 0xffff);
}

TEST(NetbsdPort, ATruncationIsABusThatIsLost) {
  ASSERT_TRUE(install_sigbus_guard());
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  ASSERT_EQ(truncate(bus.path().c_str(), 0), 0);
  FrameBatch batch;
  EXPECT_EQ(port.receive(batch).error, make_error_code(Errc::bus_lost));
  EXPECT_EQ(port.send(view_of(frame_of(kEverybody, 1))).error, make_error_code(Errc::bus_lost));
  struct stat status{};
  ASSERT_EQ(stat(bus.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 0);  // ringing did not make it grow
}

// ---- Opening ----

TEST(NetbsdPort, FilesThatAreNoWholeBusAreRefusedWithBothSides) {
  const NetbsdBus bus;
  const std::string good = contents(bus.path());
  const auto refused = [&](std::string bytes) {
    const std::string path = bus.file("other");
    std::ofstream(path, std::ios::binary) << bytes;
    Port port;
    const auto attached = port.attach(path);
    return attached ? Error(Errc::busy, "attached") : attached.error();
  };
  Error error = refused(good.substr(0, 500'000));
  EXPECT_EQ(error.code, make_error_code(Errc::wrong_size));
  EXPECT_NE(error.message.find("500000"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("1048576"), std::string::npos) << error.message;
  EXPECT_EQ(refused(good + "x").code, make_error_code(Errc::wrong_size));
  std::string version = good;
  version[4] = 1;
  error = refused(version);
  EXPECT_EQ(error.code, make_error_code(Errc::wrong_layout));
  EXPECT_NE(error.message.find("version 1"), std::string::npos) << error.message;
  EXPECT_EQ(refused(std::string(good.size() - 1, '\0') + 'x').code,
            make_error_code(Errc::not_ready));
  std::string torn = good;
  torn[23] = 0x7f;  // last
  error = refused(torn);
  EXPECT_EQ(error.code, make_error_code(Errc::corrupt));
  EXPECT_TRUE(error.message.ends_with(" (run 'shmifctl repair')")) << error.message;
  error = Follower::open(bus.file("other"), Start::now).error();
  EXPECT_EQ(error.code, make_error_code(Errc::corrupt));
  EXPECT_TRUE(error.message.ends_with(" (run 'shmifctl repair')")) << error.message;
}

// As a kernel does.
TEST(NetbsdPort, ThatAttachesToAnEmptyFileOrToZerosMakesTheBusThere) {
  const TempDir dir;
  const std::string path = dir.file("bus");
  for (const std::size_t size : {std::size_t{0}, std::size_t{NetbsdPeer::kFile}}) {
    std::ofstream(path, std::ios::binary) << std::string(size, '\0');
    EXPECT_FALSE(Bus::open(path)) << "a look makes none";
    Port port = port_on(path);
    NetbsdPeer peer(path);
    peer.send(frame_of(kEverybody, 1));
    EXPECT_EQ(receive_all(port).size(), 1U);
    EXPECT_TRUE(is_clean(Bus::open(path).value().audit()));
  }
}

TEST(NetbsdPort, OfVersion2HearsAllButItsOwnFramesAndIsHeard) {
  for (const bool is_new : {true, false}) {
    const NetbsdBus bus;
    NetbsdPeer peer(bus.path(), 0xb2a000000001, 2);
    if (!is_new) peer.send(frame_of(kEverybody, 0));
    Port port = port_on(bus.path(), {.promiscuous = true});
    std::uint64_t sent = 0;
    for (std::uint64_t i = 1; i < 3000; ++i) {  // several rounds of the ring
      peer.send(frame_of(kEverybody, i, 60 + i % 1400));
      std::vector<Octets> heard = receive_all(port);
      ASSERT_EQ(heard.size(), 1U) << i;
      ASSERT_EQ(heard[0], frame_of(kEverybody, i, 60 + i % 1400));
      // A bridge sends frames with the addresses of others.
      const Octets frame = frame_of(kEverybody, i, 14 + i % 1500, 0x020000000000 + i);
      ASSERT_EQ(port.send(view_of(frame)).taken, 1U);
      ++sent;
      while (i % 2 == 0) {
        const auto received = peer.receive();
        if (!received) break;
        --sent;
      }
    }
    EXPECT_LE(sent, 1U);
    EXPECT_EQ(port.counters().corrupt + port.counters().overruns, 0U);
    EXPECT_EQ(port.counters().own_frames, 2998U);
    EXPECT_EQ(peer.word(4), 2U);
    const AuditReport report = Bus::open(bus.path()).value().audit();
    EXPECT_TRUE(is_clean(report));
    EXPECT_GT(report.frames, 100U);
    Follower follower = Follower::open(bus.path(), Start::oldest).value();
    FrameBatch batch(4096, 8U << 20U);
    EXPECT_EQ(follower.receive(batch).frames, report.frames);
  }
}

// Otherwise a kernel that joins, or was overrun, ends at the next frame.
TEST(NetbsdPort, AddsAPadBehindAFrameOfAKernelThatTouchesTheEnd) {
  for (const std::uint32_t behind : {0U, 500U}) {
    const NetbsdBus bus;
    NetbsdPeer peer(bus.path());
    Port port = port_on(bus.path());
    for (std::uint32_t end = 24; end + 2 * 1024 < NetbsdPeer::kData; end += 1024) {
      peer.send(frame_of(kEverybody, 1, 1000));
      receive_all(port);
    }
    const std::uint32_t left = NetbsdPeer::kData - peer.last() - 1024;
    peer.send(frame_of(kEverybody, 2, left / 2 - 24));
    peer.send(frame_of(kEverybody, 3, left - left / 2 - 24 + behind));
    ASSERT_EQ(peer.generation(), 1U);
    EXPECT_EQ(receive_all(port).size(), 2U);
    EXPECT_EQ(peer.last(), behind);
    NetbsdPeer late(bus.path(), 5);
    EXPECT_FALSE(late.receive());
    peer.send(frame_of(kEverybody, 4));
    EXPECT_EQ(late.receive(), frame_of(kEverybody, 4));
    EXPECT_EQ(late.overruns(), 0U);
    EXPECT_TRUE(is_clean(Bus::open(bus.path()).value().audit()));
  }
}

TEST(NetbsdPort, CreateRefusesWhatTheFormatCannotHave) {
  const TempDir dir;
  const auto made = [&](const BusOptions& options) {
    const auto result = Bus::create(dir.file("bus"), options);
    return result ? std::error_code{} : result.error().code;
  };
  EXPECT_EQ(made({.ring_bytes = 1U << 20U, .format = BusFormat::netbsd}),
            make_error_code(Errc::bad_size));
  EXPECT_EQ(made({.mtu = 9000, .format = BusFormat::netbsd}), make_error_code(Errc::bad_mtu));
  EXPECT_EQ(made({.flow = Flow::pause, .format = BusFormat::netbsd}),
            make_error_code(Errc::bad_patience));
  EXPECT_EQ(made({.mode = 0640, .format = BusFormat::netbsd}), std::error_code{});
  struct stat status{};
  ASSERT_EQ(stat(dir.file("bus").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
  EXPECT_EQ(made({.format = BusFormat::netbsd}), make_error_code(Errc::exists));
}

TEST(NetbsdPort, CreateIfMissingTakesAnExistingBusOfEitherFormat) {
  const NetbsdBus bus;
  const Bus found = Bus::create_if_missing(bus.path(), {}, false, false).value();
  EXPECT_EQ(found.info().format, BusFormat::netbsd);
  EXPECT_EQ(Bus::create_if_missing(bus.path(), {.mtu = 9000}, false, true).error().code,
            make_error_code(Errc::geometry_differs));
  const Bus made =
      Bus::create_if_missing(bus.file("new"), {.format = BusFormat::netbsd}, false, false).value();
  EXPECT_EQ(made.info().format, BusFormat::netbsd);
  Bus::create(bus.file("own"), {}).value();
  EXPECT_EQ(Bus::create_if_missing(bus.file("own"), {.format = BusFormat::netbsd}, false, false)
                .error()
                .code,
            make_error_code(Errc::geometry_differs));
  Port port;
  port.attach(made).value();
  EXPECT_EQ(port.max_frame_bytes(), 1514U);
}

TEST(NetbsdPort, AFollowerNeedsOnlyToRead) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  peer.send(frame_of(kEverybody, 1));
  const std::string before = contents(bus.path());
  Follower follower = Follower::open(bus.path(), Start::oldest).value();
  FrameBatch batch;
  EXPECT_TRUE(follower.wait(kGenerousTime));
  ASSERT_EQ(follower.receive(batch).frames, 1U);
  EXPECT_EQ(octets_of(batch[0]), frame_of(kEverybody, 1));
  EXPECT_EQ(follower.bus_frames(), 1U);
  EXPECT_EQ(contents(bus.path()), before);
}

TEST(NetbsdPort, InfoTellsWhatTheFormatTells) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  for (std::uint64_t i = 0; i < 4; ++i)
    ASSERT_EQ(port.send(view_of(frame_of(kEverybody, i, 100))).taken, 1U);
  const BusInfo info = Bus::open(bus.path()).value().info();
  EXPECT_EQ(info.format, BusFormat::netbsd);
  EXPECT_FALSE(info.has_port_table());
  EXPECT_TRUE(info.ports.empty());
  EXPECT_EQ(info.ring_bytes, 1048544U);
  EXPECT_EQ(info.mtu, 1500U);
  EXPECT_EQ(info.first, 0U);
  EXPECT_EQ(info.last, 24U + 4 * 124);
  ASSERT_TRUE(info.netbsd);
  EXPECT_EQ(info.netbsd->version, 3U);
  EXPECT_EQ(info.netbsd->frames_in_ring, 4U);
  EXPECT_EQ(info.netbsd->bytes_in_ring, 400U);
  EXPECT_EQ(info.netbsd->first_offset, 1048544U);
  EXPECT_EQ(info.netbsd->last_offset, 24U + 3 * 124);
  EXPECT_FALSE(info.netbsd->lock_is_held);
}

// ---- Audit and repair ----

TEST(NetbsdRepair, AnAuditSaysWhatKernelsDoNotSurviveOrAreConfusedBy) {
  const NetbsdBus bus;
  const auto audit = [&] { return Bus::open(bus.path()).value().audit(); };
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 1023; ++i) peer.send(frame_of(kEverybody, i, 1000));
  EXPECT_TRUE(audit().notes.empty());
  peer.send(frame_of(kEverybody, 1023, 1000));  // over the end of the ring
  EXPECT_TRUE(is_clean(audit()));
  ASSERT_EQ(audit().notes.size(), 1U);
  EXPECT_NE(audit().notes[0].find("touches the end of the ring"), std::string::npos);
  peer.send(Octets(13));
  EXPECT_TRUE(is_clean(audit())) << "kernels pass over it";
  peer.send(Octets(1515));
  ASSERT_EQ(audit().findings.size(), 1U);
  EXPECT_EQ(audit().findings[0].invariant, "N3");
  EXPECT_NE(audit().findings[0].what.find("a frame of 1515 bytes"), std::string::npos);
  peer.send(frame_of(kEverybody, 1024));
  peer.set_word(16, peer.word(20));
  ASSERT_EQ(audit().findings.size(), 1U);
  EXPECT_EQ(audit().findings[0].invariant, "N2");
}

TEST(NetbsdRepair, TakesTheOnlyMtuOfTheFormatAndNoOther) {
  const NetbsdBus bus;
  EXPECT_EQ(Bus::repair(bus.path(), {.mtu = 9000}).error().code, make_error_code(Errc::bad_mtu));
  EXPECT_TRUE(Bus::repair(bus.path(), {.mtu = 1500}));
  EXPECT_EQ(Bus::open(bus.path()).value().repair().error().code, make_error_code(Errc::read_only));
}

TEST(NetbsdRepair, WordsThatMeanNothingBecomeANewBus) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  for (std::uint64_t i = 0; i < 3000; ++i) peer.send(frame_of(kEverybody, i, 1000));
  Port port = port_on(bus.path());
  peer.set_word(20, 0xffffffff);
  FrameBatch batch;
  EXPECT_EQ(port.receive(batch).error, make_error_code(Errc::corrupt));
  EXPECT_EQ(port.send(view_of(frame_of(kEverybody, 1))).error, make_error_code(Errc::corrupt));
  EXPECT_EQ(peer.word(24), 0U);  // the lock is free again
  const std::uint64_t generation = peer.generation();
  const RepairReport done = Bus::repair(bus.path(), {}).value();
  EXPECT_TRUE(done.ring_rebuilt);
  EXPECT_EQ(done.frames_kept, 0U);
  EXPECT_EQ(peer.generation(), generation + 2);
  EXPECT_TRUE(is_clean(Bus::open(bus.path()).value().audit()));
  peer.send(frame_of(kEverybody, 5));
  EXPECT_EQ(receive_all(port), std::vector<Octets>{frame_of(kEverybody, 5)});
  ASSERT_EQ(port.send(view_of(frame_of(kEverybody, 6))).taken, 1U);
  EXPECT_EQ(peer.receive(), frame_of(kEverybody, 6));  // it was overrun, and goes on at `first`
  EXPECT_EQ(peer.overruns(), 1U);
}

// Through several rounds after a repair: the words of a new bus in a later generation, too.
TEST(NetbsdRepair, ARepairedBusGoesRound) {
  const NetbsdBus bus;
  NetbsdPeer peer(bus.path());
  peer.set_word(16, 0xfffffff0);
  ASSERT_TRUE(Bus::repair(bus.path(), {}).value().ring_rebuilt);
  Port port = port_on(bus.path());
  for (std::uint64_t i = 0; i < 5000; ++i) {
    const Octets frame = frame_of(kEverybody, i, 60 + i % 1455);
    if (i % 2 == 0) {
      peer.send(frame);
      ASSERT_EQ(receive_all(port), std::vector<Octets>{frame}) << i;
    } else {
      ASSERT_EQ(port.send(view_of(frame)).taken, 1U);
      ASSERT_EQ(peer.receive(), frame) << i;
    }
  }
  EXPECT_GE(peer.generation(), 5U);
  EXPECT_TRUE(is_clean(Bus::open(bus.path()).value().audit()));
}

TEST(NetbsdRepair, DestroyNeedsForceBecauseNobodyTellsWhoIsAttached) {
  const NetbsdBus bus;
  const auto kept = Bus::destroy(bus.path(), false);
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, std::errc::operation_not_supported);
  EXPECT_EQ(access(bus.path().c_str(), F_OK), 0);
  Bus::destroy(bus.path(), true).value();
  EXPECT_NE(access(bus.path().c_str(), F_OK), 0);
}

TEST(NetbsdRepair, DestroyLeavesAFileThatOnlyHasTheSizeOfABus) {
  const NetbsdBus bus;
  for (const std::string& beginning : {std::string(16, '\0'), std::string("\0\0\0\0disk", 8)}) {
    std::ofstream(bus.path(), std::ios::binary) << beginning;
    std::filesystem::resize_file(bus.path(), 1U << 20U);
    const auto kept = Bus::destroy(bus.path(), true);
    ASSERT_FALSE(kept);
    EXPECT_NE(kept.error().message.find("--force removes only a file that begins as a bus does"),
              std::string::npos)
        << kept.error().message;
    EXPECT_EQ(access(bus.path().c_str(), F_OK), 0);
  }
}

// ---- As a link ----

INSTANTIATE_TYPED_TEST_SUITE_P(NetbsdPort, LinkConformance, TwoPorts<NetbsdBus>);

// A holder that was stopped goes on, and "repair --force" frees what a dead one held.
TEST(NetbsdPort, AReceiverTriesALockThatIsHeldAHundredTimes) {
  const NetbsdBus bus;
  Port port = port_on(bus.path());
  NetbsdPeer peer(bus.path());
  peer.lock();
  Receiver receiver(port, [](auto) {});
  EXPECT_TRUE(eventually([&] { return !receiver.running(); }));
  EXPECT_EQ(receiver.error(), Errc::lock_held);
  EXPECT_EQ(receiver.failed_receives(), 100U);
  peer.unlock();
  EXPECT_TRUE(port.is_up());
}

}  // namespace
}  // namespace shmif::test
