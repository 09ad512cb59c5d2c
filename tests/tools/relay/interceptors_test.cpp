// What a bridge does with frames besides passing them on: it answers pings for its port, finds out
// whether they go round, and defends the addresses of its host.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <list>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/loopback_link.hpp"
#include "shmif/ping.hpp"
#include "tap/bridge.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tools/common/command.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/links.hpp"
#include "tools/relay/watches.hpp"

namespace shmif::test {
namespace {

const MacAddress kAsker = *MacAddress::parse("b2:a0:00:00:00:0a");
const MacAddress kEverybody = *MacAddress::parse("ff:ff:ff:ff:ff:ff");

/// A link whose other end tells what was sent to it.
class Back {
 public:
  AnyLink& link() { return link_; }
  std::vector<Bytes> sent() {
    FrameBatch batch;
    static_cast<void>(there_.receive(batch));
    std::vector<Bytes> all;
    for (const FrameView& each : batch.frames()) all.push_back(to_bytes(each));
    return all;
  }

 private:
  explicit Back(std::pair<LoopbackLink, LoopbackLink> ends)
      : link_(std::make_unique<LoopbackLink>(std::move(ends.first))),
        there_(std::move(ends.second)) {}

 public:
  Back() : Back(LoopbackLink::pair().value()) {}

 private:
  AnyLink link_;
  LoopbackLink there_;
};

FrameView view(const Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}
using Side = tools::LoopGuard::Side;

Bytes frame_from(std::uint64_t mac) {
  Bytes bytes = make_frame(60, 1);
  const MacAddress source = MacAddress::from_u64(mac);
  std::memcpy(bytes.data() + 6, source.bytes.data(), 6);
  return bytes;
}

class LoopGuardTest : public ::testing::Test {
 protected:
  /// Shows frames of these senders, the first on the left, and so on. Result: the number of the
  /// first frame that was followed by a probe; 0: none was.
  unsigned first_probe(tools::LoopGuard& guard, const std::vector<std::uint64_t>& senders,
                       unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const Bytes frame = frame_from(senders[i % senders.size()]);
      const Side side = i % 2 == 0 ? Side::left : Side::right;
      EXPECT_FALSE(guard.look(side, view(frame), back(side).link()));
      left_sent_ = left_.sent();
      right_sent_ = right_.sent();
      if (!left_sent_.empty() || !right_sent_.empty()) return i;
    }
    return 0;
  }
  Back& back(Side side) { return side == Side::left ? left_ : right_; }

  unsigned said_ = 0;
  Back left_, right_;
  std::vector<Bytes> left_sent_, right_sent_;
};

TEST_F(LoopGuardTest, ProbesTheSideOfTheThirtySecondMove) {
  tools::LoopGuard guard([this] { ++said_; });
  EXPECT_EQ(first_probe(guard, {0x020000000001}, 100), 32U);
  EXPECT_TRUE(right_sent_.empty());
  ASSERT_EQ(left_sent_.size(), 1U);
  const auto probe = read_ping(view(left_sent_[0]));
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->destination, kEverybody);
  EXPECT_EQ(probe->type, PingType::reply) << "nobody answers that";
  EXPECT_EQ(said_, 0U);
}

TEST_F(LoopGuardTest, SuspectsASingleFrameThatGoesRoundSlowlyAndNoMovesThatAreFarApart) {
  tools::LoopGuard guard([this] { ++said_; });
  unsigned laps = 0;
  for (; laps < 40 && left_sent_.empty() && right_sent_.empty(); ++laps) {
    first_probe(guard, {0x020000000001}, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(70));
  }
  EXPECT_LT(laps, 40U) << "no probe";
  tools::LoopGuard patient([this] { ++said_; }, std::chrono::milliseconds(200));
  for (unsigned times = 0; times < 4; ++times) {
    EXPECT_EQ(first_probe(patient, {0x020000000001}, 20), 0U) << "there and back again";
    std::this_thread::sleep_for(std::chrono::milliseconds(220));
  }
}

TEST_F(LoopGuardTest, TakesNothingForAMoveThatIsNone) {
  tools::LoopGuard guard([this] { ++said_; });
  EXPECT_EQ(first_probe(guard, {0x020000000001, 0x020000000100}, 200), 0U)
      << "two hosts whose addresses share a place";
  EXPECT_EQ(first_probe(guard, {0x030000000001}, 200), 0U) << "no host has a group's address";
  for (unsigned i = 0; i < 200; ++i) {
    EXPECT_FALSE(guard.look(Side::right, view(frame_from(0x020000000007)), right_.link()));
  }
  EXPECT_TRUE(right_.sent().empty());
}

TEST_F(LoopGuardTest, BelievesOnlyANumberThatItSentAndSendsNoMoreOnceItHasSaidIt) {
  tools::LoopGuard guard([this] { ++said_; });
  ASSERT_NE(first_probe(guard, {0x020000000001}, 10'000), 0U);
  ASSERT_EQ(left_sent_.size() + right_sent_.size(), 1U);
  const Side sent_to = left_sent_.empty() ? Side::right : Side::left;
  const Side other = left_sent_.empty() ? Side::left : Side::right;
  const Bytes probe = left_sent_.empty() ? right_sent_[0] : left_sent_[0];
  Bytes lie = probe;
  lie[25] ^= std::byte{1};
  EXPECT_TRUE(guard.look(other, view(lie), back(other).link()));
  EXPECT_EQ(said_, 0U);
  Bytes no_ping = probe;
  no_ping[13] = std::byte{0};
  EXPECT_FALSE(guard.look(other, view(no_ping), back(other).link())) << "it passes";
  EXPECT_TRUE(guard.look(sent_to, view(probe), back(sent_to).link()));
  EXPECT_EQ(said_, 0U);
  EXPECT_TRUE(guard.look(other, view(probe), back(other).link()));
  EXPECT_EQ(said_, 1U);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // another probe were due
  EXPECT_EQ(first_probe(guard, {0x020000000001}, 200), 0U);
}

TEST_F(LoopGuardTest, BelievesAProbeThatWasOnItsWayWhileManyOthersWereSent) {
  tools::LoopGuard guard([this] { ++said_; });
  ASSERT_NE(first_probe(guard, {0x020000000001}, 10'000), 0U);
  const Side other = left_sent_.empty() ? Side::left : Side::right;
  const Bytes first = left_sent_.empty() ? right_sent_[0] : left_sent_[0];
  std::size_t later = 0;
  ASSERT_TRUE(eventually([&] {
    first_probe(guard, {0x020000000001}, 100);
    later += left_sent_.size() + right_sent_.size();
    for (const auto* const sent : {&left_sent_, &right_sent_})
      EXPECT_EQ(std::ranges::count(*sent, first), 0) << "each has a number of its own";
    return later == 20;
  }));
  EXPECT_TRUE(guard.look(other, view(first), back(other).link()));
  EXPECT_EQ(said_, 1U);
}

/// A host with addresses on a bus, and another port there.
class AddressWatchTest : public ::testing::Test {
 protected:
  AddressWatchTest() {
    watch_.add(elsewhere_, second_.path(), {tap::Cidr::parse("198.18.9.1/24").value()});
    number_ = watch_.add(own_, rig_.path(), addresses_);
  }
  /// What the host receives; whether each is answered.
  std::vector<bool> look() {
    FrameBatch batch;
    static_cast<void>(own_.receive(batch));
    std::vector<bool> answered;
    for (const FrameView& each : batch.frames()) answered.push_back(watch_.look(number_, each));
    return answered;
  }
  static std::size_t heard(Port& port) {
    FrameBatch batch;
    static_cast<void>(port.receive(batch));
    return batch.size();
  }

  const BusRig rig_, second_;
  const std::vector<tap::Cidr> addresses_{tap::Cidr::parse("198.18.0.1/24").value(),
                                          tap::Cidr::parse("fd00::1/64").value()};
  Port elsewhere_ = second_.port("elsewhere"), own_ = rig_.port("own"), web_ = rig_.port("web");
  Port listener_ = second_.port("listener");
  MacAddress ours_too_{};
  tools::AddressWatch watch_{"exec", [this](MacAddress mac) { return mac == ours_too_; }};
  std::size_t number_ = 0;
};

TEST_F(AddressWatchTest, TellsTheOtherHostOncePerAddressAndNoThird) {
  Port third = rig_.port("third");
  tap::AddressClaim(addresses_, {}).announce(web_);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(look(), (std::vector<bool>{false, false})) << "announcements are for the host, too";
  look();
  static_cast<void>(::testing::internal::GetCapturedStderr());
  EXPECT_EQ(heard(third), 2U) << "only the announcements";
  Words heard_of;
  tap::AddressClaim others(addresses_, [&](const tap::IpAddress& address, MacAddress owner) {
    heard_of.push_back(address.to_string() + ' ' + owner.to_string());
    return true;
  });
  FrameBatch batch;
  static_cast<void>(web_.receive(batch));
  for (const FrameView& each : batch.frames()) {
    EXPECT_EQ(each.destination(), web_.mac());
    EXPECT_TRUE(others.look(each, web_.mac())) << "it is not for the host itself";
    EXPECT_FALSE(tap::AddressClaim({}, {}).look(each, web_.mac())) << "nobody claims that there";
  }
  const std::string own = ' ' + own_.mac().to_string();
  EXPECT_EQ(heard_of, (Words{"198.18.0.1" + own, "fd00::1" + own}));
}

TEST_F(AddressWatchTest, LetsPassWhatOneWhoHasTheAddressAsksTheHost) {
  // A host with the same address asks for another one of this host: the host must answer.
  tap::AddressClaim(addresses_, {}).announce(web_);
  FrameBatch batch;
  static_cast<void>(own_.receive(batch));
  ASSERT_EQ(batch.size(), 2U);
  Bytes asked = to_bytes(batch[0]);
  std::memcpy(asked.data(), own_.mac().bytes.data(), 6);
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(watch_.look(number_, view(asked)));
  asked[41] = std::byte{9};  // the target of the ARP request
  EXPECT_FALSE(watch_.look(number_, view(asked)));
  static_cast<void>(::testing::internal::GetCapturedStderr());
}

TEST_F(AddressWatchTest, DefendsAgainstWhoAsksAllAndOnlyRightAfterItsBegin) {
  const tap::AddressClaim other({addresses_[1]}, {});
  other.probe(web_);
  EXPECT_EQ(look(), std::vector<bool>{false}) << "the host has not begun";
  watch_.begin();
  heard(web_);
  other.probe(web_);
  FrameBatch batch;
  static_cast<void>(own_.receive(batch));
  ASSERT_EQ(batch.size(), 1U);
  const Bytes asked = to_bytes(batch[0]);
  for (const MacAddress& to : {own_.mac(), kEverybody}) {
    Bytes changed = asked;
    std::memcpy(changed.data(), to.bytes.data(), 6);
    EXPECT_FALSE(watch_.look(number_, view(changed))) << to.to_string();
  }
  EXPECT_EQ(heard(web_), 0U);
  EXPECT_FALSE(watch_.look(0, view(asked))) << "not an address of that port";
  EXPECT_TRUE(watch_.look(number_, view(asked)));
  EXPECT_EQ(heard(web_), 1U);
}

/// Whether the row's function finds an address and a port in a target made of these.
bool reads_network_address(const tools::LinkRow& row) {
  const bool two = std::string(row.target).find(',') != std::string::npos;
  const std::string target = two ? "198.18.0.1:7,198.18.0.2:7" : "198.18.0.1:7";
  try {
    return row.places({&row, false, target}, row.prefix() + target).here.host.has_value();
  } catch (const tools::UsageError&) {
    return false;
  }
}

TEST(LinkRows, SayOfWhichLinksThePlaceCanBeANetworkAddress) {
  for (const tools::LinkRow& row : tools::link_rows()) {
    EXPECT_EQ(row.takes_network_address, row.places != nullptr && reads_network_address(row))
        << row.word;
  }
}

// What is told of a bus whose file was removed or replaced, when that is looked for, and what is
// told of a bus that does not work.

using Nanoseconds = std::chrono::nanoseconds;
using tools::BusWatch;

/// A watch whose time the test chooses.
class TimedWatch {
 public:
  const BusWatch::Clock::time_point before = BusWatch::Clock::now();
  BusWatch watch;
  const BusWatch::Clock::time_point after = BusWatch::Clock::now();

  /// Lets so much time pass. Result: how long until the next look.
  Nanoseconds pass(Nanoseconds time) {
    now_ += time;
    testing::internal::CaptureStderr();
    const Nanoseconds left = watch.look_if_due(now_);
    said_ = testing::internal::GetCapturedStderr();
    return left;
  }
  const std::string& said() const { return said_; }

 private:
  BusWatch::Clock::time_point now_ = after;
  std::string said_;
};

/// Expects one line of a bus that was removed, or replaced, with its port.
void expect_removed(const std::string& said, const TempBus& bus, const std::string& port) {
  EXPECT_TRUE(contains(said, "the bus " + bus.path() + " was removed; port " + port + ' '));
  EXPECT_EQ(count_of_lines(said), 1) << said;
}
void expect_replaced(const std::string& said, const TempBus& bus, const std::string& port) {
  EXPECT_TRUE(contains(said, "another file is at " + bus.path() + " now; port " + port + ' '));
  EXPECT_EQ(count_of_lines(said), 1) << said;
}

TEST(BusWatch, LooksAfterASecondAndThenAtDistancesThatGrowToSixteen) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path());
  TimedWatch timed;
  timed.watch.add(port);
  const Nanoseconds first = timed.watch.look_if_due(timed.before);
  EXPECT_GE(first, std::chrono::seconds(1));
  EXPECT_LE(first, std::chrono::seconds(1) + (timed.after - timed.before));
  Nanoseconds left = timed.pass(std::chrono::seconds(1));
  for (const int expected : {2, 4, 8, 16, 16, 16}) {
    EXPECT_EQ(left, std::chrono::seconds(expected));
    EXPECT_EQ(timed.pass(left - Nanoseconds(1)), Nanoseconds(1)) << "it is not time yet";
    left = timed.pass(Nanoseconds(1));
    EXPECT_EQ(timed.said(), "");
  }
}

TEST(BusWatch, TellsOnceThatABusWasRemovedAndOnceThatAnotherIsThere) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path(), {.name = "ear"});
  TimedWatch timed;
  timed.watch.add(port);
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2));
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(4));
  std::filesystem::remove(bus.path());
  timed.pass(std::chrono::seconds(3));
  EXPECT_EQ(timed.said(), "") << "it is not time yet";
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1))
      << "another may be made there soon";
  expect_removed(timed.said(), bus, "ear");
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(1));
  EXPECT_EQ(timed.said(), "");
  std::ofstream(bus.path()) << "a letter";
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2))
      << "nothing is awaited any more";
  expect_replaced(timed.said(), bus, "ear");
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(4));
  EXPECT_EQ(timed.said(), "");
  std::filesystem::remove(bus.path());
  EXPECT_EQ(timed.pass(std::chrono::seconds(4)), std::chrono::seconds(8));
  EXPECT_EQ(timed.said(), "") << "that was not its bus";
}

// A host that is down may have been taken down because of that.
TEST(BusWatch, DoesNotLookForAPortThatIsDown) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path(), {.name = "ear"});
  TimedWatch timed;
  timed.watch.add(port);
  std::filesystem::remove(bus.path());
  ASSERT_FALSE(port.down());
  EXPECT_EQ(timed.pass(std::chrono::seconds(1)), std::chrono::seconds(2));
  EXPECT_EQ(timed.said(), "");
  ASSERT_FALSE(port.up());
  EXPECT_EQ(timed.pass(std::chrono::seconds(2)), std::chrono::seconds(1));
  expect_removed(timed.said(), bus, "ear");
}

/// And a lock that is held.
TEST(Corruption, IsWaitedForAndToldOnceEachTime) {
  const tools::StopSignals stop;
  ASSERT_EQ(::raise(SIGTERM), 0);  // so that it does not wait long
  tools::Corruption corruption("/dev/shm/b");
  struct Step {
    std::error_code error;
    bool is_met;
    const char* said;
  };
  for (const Step& step : {Step{{}, false, ""},
                           {Errc::corrupt, true, "'shmifctl repair /dev/shm/b'"},
                           {Errc::corrupt, true, ""},
                           {{}, false, ""},
                           {Errc::corrupt, true, "'shmifctl repair /dev/shm/b'"},
                           {Errc::link_ended, false, ""},
                           {Errc::lock_held, true, "waiting"},
                           {Errc::lock_held, true, ""},
                           {Errc::bus_lost, false, ""}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(corruption.met(step.error, stop), step.is_met) << step.error;
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(corruption.lasts(), step.is_met) << step.error;
    EXPECT_EQ(said.empty(), *step.said == '\0') << said;
    EXPECT_TRUE(contains(said, step.said));
  }
}

TEST(HostsLeftBehind, AreNamedUpToFiveAndTheRestIsCounted) {
  const TempDir directory;
  const std::string path = directory.file("bus");
  constexpr std::size_t kBytes = 4096;
  std::ofstream(path) << std::string(kBytes, 'x');
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const mapped = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  const auto said = [&] {
    testing::internal::CaptureStderr();
    tools::warn_of_hosts_left_behind(path);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(), "") << "the file is still there";
  std::filesystem::remove(path);
  // This process is one of them.
  std::list<StayingChild> others;
  for (const auto& [all, users] : {std::pair{1U, "process \\d+: "},
                                   {2U, "processes \\d+, \\d+: "},
                                   {5U, "processes (\\d+, ){4}\\d+: "},
                                   {6U, "processes (\\d+, ){4}\\d+ and 1 more: "},
                                   {8U, "processes (\\d+, ){4}\\d+ and 3 more: "}}) {
    while (others.size() + 1 < all) others.emplace_back([] { return 0; });
    const std::string text = said();
    EXPECT_TRUE(contains(text, "an older bus was removed from " + path));
    EXPECT_TRUE(std::regex_search(text, std::regex(std::string("used by ") + users))) << text;
  }
  ::munmap(mapped, kBytes);
}

}  // namespace
}  // namespace shmif::test
