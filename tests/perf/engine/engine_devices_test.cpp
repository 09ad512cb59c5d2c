// Interfaces that a job names: several of them, those of others, and what is in use.

#include <unistd.h>
#include <filesystem>
#include <fstream>

#include "perf/engine/device_wires.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tap/tap_link.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::tap::test::TestNamespace;
using shmif::test::same_frames;

/// A namespace with a cable in it.
class NamedDevices : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    space.emplace();
    auto netlink = space->netlink();
    netlink.add_veth("left", "right").value();
    for (const char* const name : {"left", "right"}) {
      netlink.disable_ipv6(name).value();
      netlink.set_up(name).value();
    }
  }
  bool ip(std::vector<std::string> words) const {
    words.insert(words.begin(), "ip");
    return shmif::tap::test::run(*space, words).status == 0;
  }
  Result<std::unique_ptr<Wire>> wire_on(const std::string& netdev, std::size_t ends = 1,
                                        EngineKind kind = EngineKind::packet,
                                        bool allow_live = false) const {
    JobOptions job;
    job.name = "named";
    job.engine = kind;
    job.netdev = netdev;
    job.netns = space->path();
    job.allow_live = allow_live;
    return make_wire(job, ends);
  }
  std::string refusal(const std::string& netdev, std::size_t ends = 1) const {
    const auto made = wire_on(netdev, ends);
    return made ? "" : made.error().message;
  }
  std::optional<TestNamespace> space;
};

TEST_F(NamedDevices, AreTheEndsInTheirOrder) {
  for (const char* const netdev : {"left,right", "right,left"}) {
    const auto wire = wire_on(netdev, 2).value();
    EXPECT_EQ(wire->capabilities().max_ends, 2U);
    const auto one = wire->open_end(end_options(0)).value();
    const auto other = wire->open_end(end_options(1)).value();
    const std::string text = netdev;
    EXPECT_EQ(wire->address(), "packet:" + text.substr(0, text.find(',')));
    EXPECT_EQ(one->address(), "packet:" + text.substr(0, text.find(',')));
    EXPECT_EQ(other->address(), "packet:" + text.substr(text.find(',') + 1));
    const auto there = frames_to(1, 0, 5, 100);
    const auto back = frames_to(0, 1, 3, 200);
    (void)send_all(*one, there, *other);
    EXPECT_TRUE(same_frames(there, collect(*other, there.size())));
    (void)send_all(*other, back, *one);
    EXPECT_TRUE(same_frames(back, collect(*one, back.size())));
    const auto third = wire->open_end(end_options(2));
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Errc::bad_argument);
    EXPECT_EQ(third.error().message, "cannot open end 3 of " + wire->address() + " for job \"" +
                                         end_options(2).name + "\": it has 2");
  }
}

TEST_F(NamedDevices, AreInUseByWhatIsTheirOwnAndNotTheirNeighbours) {
  ASSERT_TRUE(ip({"address", "add", "198.18.0.1/24", "dev", "right"}));
  EXPECT_EQ(refusal("left"), "");
  const std::string why = refusal("left,right");
  EXPECT_NE(why.find("\"right\" in namespace " + space->path() + " has the address 198.18.0.1/24"),
            std::string::npos)
      << why;
  EXPECT_NE(why.find("allow_live=1"), std::string::npos) << why;
  EXPECT_TRUE(wire_on("left,right", 2, EngineKind::packet, true));
  const auto none = wire_on("left,none", 2);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::no_such_device) << none.error().message;
}

TEST_F(NamedDevices, AreInUseByABridgeThatTheyArePartOfAndByARoute) {
  ASSERT_TRUE(ip({"link", "add", "bridge0", "type", "bridge"}));
  ASSERT_TRUE(ip({"link", "set", "left", "master", "bridge0"}));
  EXPECT_NE(refusal("left").find("interface \"left\" in namespace " + space->path() +
                                 " is part of a bridge or a bond"),
            std::string::npos)
      << refusal("left");
  EXPECT_EQ(refusal("right"), "");
  ASSERT_TRUE(ip({"route", "add", "198.18.7.0/24", "dev", "right"}));
  EXPECT_NE(refusal("right").find(" has a route, to 198.18.7.0/24"), std::string::npos)
      << refusal("right");
}

TEST_F(NamedDevices, OfEngineTapAreNeitherSetUpNorDown) {
  if (auto usable = tap::check_tun_device(); !usable) {
    GTEST_SKIP() << "no TUN device: " << usable.error().message;
  }
  for (const bool up : {false, true}) {
    const std::string state = up ? "up" : "down";
    ASSERT_TRUE(ip({"tuntap", "add", "dev", "tap" + state, "mode", "tap"}));
    ASSERT_TRUE(ip({"link", "set", "tap" + state, state}));
    const auto wire = wire_on("tap" + state, 1, EngineKind::tap).value();
    for (int i = 0; i < 2; ++i) {
      const auto end = wire->open_end(end_options(0)).value();
      const auto shown = shmif::tap::test::run(*space, {"ip", "-o", "link", "show", "up"}).output;
      EXPECT_EQ(shown.find("tap" + state) != std::string::npos, up) << shown;
    }
  }
}

// ---- Drops ----

JobOptions counting_job(EngineKind kind) {
  JobOptions job;
  job.name = "counts";
  job.engine = kind;
  return job;
}

/// Empty, without an error, where this machine cannot have it; then `why` has the reason.
std::unique_ptr<Wire> wire_of(const JobOptions& job, std::size_t ends, std::string* why = nullptr) {
  auto made = make_wire(job, ends);
  if (made) return *std::move(made);
  const std::string& message = made.error().message;
  EXPECT_EQ(made.error().code, Errc::not_supported) << message;
  if (why != nullptr) *why = message.substr(message.find("\": ") + 3);
  return nullptr;
}

TEST(EngineCounts, OfAPacketSocketThatDroppedAreOfWhatItGot) {
  for (const std::size_t ends : {2U, 3U}) {
    SCOPED_TRACE(ends);
    std::string why;
    const auto wire = wire_of(counting_job(EngineKind::packet), ends, &why);
    if (!wire) GTEST_SKIP() << why;
    const auto one = wire->open_end(end_options(0)).value();
    const auto other = wire->open_end(end_options(1)).value();
    const auto frames = frames_to(1, 0, 64, 1400);
    const auto out = shmif::test::views(frames);
    std::size_t sent = 0;
    for (int i = 0; i < 10'000 && other->counters().dropped_frames == 0U; ++i) {
      const SendResult r = one->send(out);
      ASSERT_FALSE(r.error) << r.error.message();
      sent += r.taken;
      if (r.taken == 0) one->wait_to_send(std::chrono::milliseconds(1));
    }
    std::size_t got = 0;
    WireCounters at_one;
    WireCounters at_other;
    // A busy kernel delivers some of them only later.
    (void)shmif::test::eventually([&] {
      got += arrived(*other).size();
      at_one = one->counters();
      at_other = other->counters();
      return at_other.rx_frames == got &&
             got + at_one.dropped_frames.value_or(0) + at_other.dropped_frames.value_or(0) == sent;
    });
    EXPECT_GT(at_other.dropped_frames, 0U);
    EXPECT_EQ(at_one.tx_frames, sent);
    EXPECT_EQ(at_other.rx_frames, got) << "what was dropped was not received";
    EXPECT_EQ(got + at_one.dropped_frames.value() + at_other.dropped_frames.value(), sent);
    EXPECT_FALSE(at_other.rx_bytes) << "nobody knows how long those were that it dropped";
  }
}

}  // namespace

// What engine=bus leaves in the directory of buses, takes away from there, and tells of its ports.

namespace {

namespace fs = std::filesystem;
using shmif::test::same_frames;

JobOptions bus_job() {
  JobOptions job;
  job.name = "voice";
  job.engine = EngineKind::bus;
  return job;
}

/// A process that was, and has ended.
pid_t ended_process() {
  shmif::test::Child child([] { return 0; });
  const pid_t pid = child.pid();
  EXPECT_EQ(child.wait(), 0);
  return pid;
}

/// A file beside the buses of runs, which is taken away at the end.
class Beside {
 public:
  explicit Beside(const std::string& name) : path_("/dev/shm/" + name) {}
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  ~Beside() {
    std::error_code gone;
    fs::remove(path_, gone);
  }
  const std::string& path() const { return path_; }
  bool is_there() const { return fs::exists(path_); }
  Beside& as_bus() {
    EXPECT_TRUE(Bus::create(path_, {.ring_bytes = 64U << 10U}));
    return *this;
  }
  Beside& as_empty() {
    std::ofstream{path_};
    return *this;
  }
  Beside& as_old() {
    fs::last_write_time(path_, fs::file_time_type::clock::now() - std::chrono::hours(1));
    return *this;
  }

 private:
  std::string path_;
};

TEST(BusesOfRuns, AreTakenAwayWhateverTheyHaveBecome) {
  auto wire = make_wire(bus_job(), 2).value();
  const std::string path = wire->address().substr(4);
  ASSERT_TRUE(fs::exists(path));
  fs::resize_file(path, 0);
  wire.reset();
  EXPECT_FALSE(fs::exists(path));
}

TEST(BusesOfRuns, ThatWereKilledAreTakenAwayByTheNextWhenTheyAreOldAndNobodyIsOnThem) {
  const std::string gone = "shmifperf-" + std::to_string(ended_process());
  Beside bus(gone + "-bus");
  Beside ruin(gone + "-ruin");
  Beside cut(gone + "-cut");
  Beside young(gone + "-young");
  Beside used(gone + "-used");
  Beside alive("shmifperf-" + std::to_string(::getppid()) + "-alive");
  Beside no_number(gone);
  Beside other(gone + ".other");
  for (Beside* const file : {&bus, &cut, &young, &used, &alive, &other}) file->as_bus();
  fs::resize_file(cut.path(), fs::file_size(cut.path()) / 2);
  for (Beside* const file : {&ruin, &no_number}) file->as_empty();
  Port port = shmif::test::port_on(used.path());
  for (Beside* const file : {&bus, &ruin, &cut, &used, &alive, &no_number, &other}) file->as_old();
  const auto wire = make_wire(bus_job(), 2).value();
  EXPECT_FALSE(bus.is_there());
  EXPECT_FALSE(ruin.is_there()) << "what was truncated";
  EXPECT_FALSE(cut.is_there()) << "or lost a part";
  EXPECT_TRUE(young.is_there()) << "its maker may be in another PID namespace";
  EXPECT_TRUE(used.is_there()) << "somebody is attached";
  EXPECT_TRUE(alive.is_there()) << "its maker lives";
  EXPECT_TRUE(no_number.is_there()) << "that is no name of a run's bus";
  EXPECT_TRUE(other.is_there()) << "nor is that";
}

TEST(BusWire, OnlyAPromiscuousEndHearsWhatIsForOthers) {
  const auto wire = make_wire(bus_job(), 3).value();
  const auto sender = wire->open_end(end_options(0)).value();
  const auto plain = wire->open_end(end_options(1)).value();
  EndOptions curious = end_options(2);
  curious.promiscuous = true;
  const auto all = wire->open_end(curious).value();
  // Behind a frame that is for another, one that is for the end itself: the first is not late.
  const std::vector<Bytes> frames{frame_to(9, 0, 60, 1), frame_to(1, 0, 60, 2),
                                  frame_to(2, 0, 60, 3)};
  EXPECT_EQ(sender->send(shmif::test::views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[1]}, collect(*plain, 1)));
  EXPECT_TRUE(same_frames(frames, collect(*all, 3)));
}

}  // namespace

}  // namespace shmif::perf::rig
