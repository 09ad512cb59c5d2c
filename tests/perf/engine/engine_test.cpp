// What each engine promises. Engines that this machine cannot have skip, and say why.

#include <iterator>
#include <thread>

#include "tests/perf/engine/engine_rig.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::test::same_frames;
using std::chrono::hours;
using std::chrono::milliseconds;

struct Case {
  const char* name;
  EngineKind kind;
  std::size_t ends;
  bool refuses;  ///< when it is full; else it drops, and counts
  bool pause = false;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Engine : public testing::TestWithParam<Case> {
 protected:
  static JobOptions job(std::uint32_t mtu = 1500) {
    JobOptions job;
    job.name = "job";
    job.engine = GetParam().kind;
    job.mtu = mtu;
    job.bus_pause = GetParam().pause;
    return job;
  }

  /// Result: whether there is a wire now; else the test is skipped, or has failed.
  bool make(const JobOptions& job) {
    auto made = make_wire(job, GetParam().ends);
    if (made) {
      wire = *std::move(made);
      return true;
    }
    // The reason alone, for who counts skips.
    why = made.error().message.substr(made.error().message.find("\": ") + 3);
    EXPECT_EQ(made.error().code, Errc::not_supported) << why;
    return false;
  }
  std::unique_ptr<End> open(std::size_t index) const { return open(end_options(index)); }
  std::unique_ptr<End> open(const EndOptions& options) const {
    return wire->open_end(options).value();
  }
  /// The end that receives what the first sends: the second, or where there is none, the first.
  static std::size_t far() { return GetParam().ends > 1 ? 1 : 0; }

  std::unique_ptr<Wire> wire;
  std::string why;
};

#define SHMIF_MAKE_WIRE_OR_SKIP(options) \
  if (!make(options)) GTEST_SKIP() << why

/// The ends of a wire, of which one or two or more can be the same.
struct Ends {
  std::vector<std::unique_ptr<End>> all;
  End& near() { return *all.front(); }
  End& far() { return all.size() > 1 ? *all[1] : *all[0]; }
};

TEST_P(Engine, CarriesFramesOfEverySizeWholeAndInOrderToTheEndTheyAreForAndNoOther) {
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  Ends ends;
  for (std::size_t i = 0; i < GetParam().ends; ++i) ends.all.push_back(open(i));
  const std::size_t largest = ends.near().max_frame_bytes();
  std::uint64_t seed = 0;
  std::size_t size = 60;
  while (size <= largest) {
    std::vector<Bytes> group;
    for (; group.size() < 16 && size <= largest; size += size < 200 || size > 1490 ? 1 : 13) {
      group.push_back(frame_to(far(), 0, size, ++seed));
    }
    auto got = send_all(ends.near(), group, ends.far());
    std::ranges::move(collect(ends.far(), group.size() - got.size()), std::back_inserter(got));
    ASSERT_TRUE(same_frames(group, got)) << "up to size " << size;
  }
  for (std::size_t i = 2; i < ends.all.size(); ++i) {
    ends.all[i]->wait(milliseconds(50));
    EXPECT_TRUE(arrived(*ends.all[i]).empty()) << "end " << i;
  }
  if (ends.all.size() > 1) {
    EXPECT_TRUE(arrived(ends.near()).empty()) << "a sender does not hear itself";
  }
}

TEST_P(Engine, CarriesFramesBothWaysAtOnce) {
  if (GetParam().ends == 1) return;  // one way is all it has
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  const auto one = open(0);
  const auto other = open(1);
  const auto there = frames_to(1, 0, 40);
  const auto back = frames_to(0, 1, 40);
  (void)send_all(*one, there, *other);
  (void)send_all(*other, back, *one);
  EXPECT_TRUE(same_frames(there, collect(*other, there.size())));
  EXPECT_TRUE(same_frames(back, collect(*one, back.size())));
}

TEST_P(Engine, ABatchLargerThanTheMediumKeepsItsOrderAndEveryFrameIsAccountedFor) {
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  const auto near = open(0);
  const auto far_end = GetParam().ends > 1 ? open(1) : nullptr;
  End& to = far_end ? *far_end : *near;
  const auto frames = frames_to(far(), 0, 40'000, 100);
  const auto out = shmif::test::views(frames);
  const SendResult first = near->send(out);
  ASSERT_FALSE(first.error) << first.error.message();
  if (GetParam().refuses) {
    EXPECT_LT(first.taken, out.size());
  }
  auto got = arrived(to);
  const std::vector<Bytes> rest(frames.begin() + static_cast<std::ptrdiff_t>(first.taken),
                                frames.end());
  std::ranges::move(send_all(*near, rest, to), std::back_inserter(got));
  const auto gone = [&] {
    WireCounters at_far = to.counters();
    std::uint64_t sum = at_far.lost_frames.value_or(0) + at_far.dropped_frames.value_or(0);
    if (far_end) sum += near->counters().dropped_frames.value_or(0);
    return sum;
  };
  for (int quiet = 0; got.size() + gone() < frames.size() && quiet < 100;) {
    to.wait(milliseconds(100));
    auto more = arrived(to);
    quiet = more.empty() ? quiet + 1 : 0;
    std::ranges::move(more, std::back_inserter(got));
  }
  EXPECT_TRUE(is_subsequence(got, frames));
  EXPECT_EQ(got.size() + gone(), frames.size());
  EXPECT_FALSE(got.empty());
  if (GetParam().refuses) {
    EXPECT_EQ(got.size(), frames.size());
  }
}

TEST_P(Engine, AWaitEndsWhenAFrameComesAndWhenItsTimeIsOver) {
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  const auto near = open(0);
  const auto far_end = GetParam().ends > 1 ? open(1) : nullptr;
  End& to = far_end ? *far_end : *near;
  to.wait(milliseconds(1));  // nothing comes: returns, or the test does not
  const auto frames = frames_to(far(), 0, 5);
  for (const Bytes& frame : frames) {
    std::jthread sender;
    const FrameView view(frame.data(), frame.size());
    const auto send = [&] { EXPECT_EQ(near->send({&view, 1}).taken, 1U); };
    if (far_end) {
      sender = std::jthread([&] {
        std::this_thread::sleep_for(milliseconds(5));
        send();
      });
    } else {
      send();
    }
    std::vector<Bytes> got;
    while (got.empty()) {
      to.wait(hours(1));
      got = arrived(to);
    }
    ASSERT_TRUE(same_frames({frame}, got));
  }
}

TEST_P(Engine, TakesFramesOfItsMtuAndRefusesThoseThatAreTooLongOrTooShort) {
  for (const std::uint32_t mtu : {1500U, 9000U}) {
    SHMIF_MAKE_WIRE_OR_SKIP(job(mtu));
    {
      const auto near = open(0);
      const auto far_end = GetParam().ends > 1 ? open(1) : nullptr;
      End& to = far_end ? *far_end : *near;
      ASSERT_GE(near->max_frame_bytes(), mtu + kEthernetHeaderBytes);
      const Bytes good = frame_to(far(), 0, near->max_frame_bytes(), 1);
      const Bytes too_long = frame_to(far(), 0, near->max_frame_bytes() + 1, 2);
      std::vector<FrameView> batch{FrameView(good.data(), good.size()),
                                   FrameView(too_long.data(), too_long.size())};
      SendResult r = near->send(batch);
      EXPECT_EQ(r.taken, 1U);
      if (!r.error) r = near->send(std::span(batch).subspan(1));
      EXPECT_EQ(r.error, Errc::frame_too_long);
      batch[1] = FrameView(good.data(), kEthernetHeaderBytes - 1);
      EXPECT_EQ(near->send(std::span(batch).subspan(1)).error, Errc::frame_too_short);
      EXPECT_TRUE(same_frames({good}, collect(to, 1)));
    }
    wire.reset();
  }
}

TEST_P(Engine, CountsWhatWasSentAndReceived) {
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  EXPECT_EQ(wire->capabilities().counts, engine_of(GetParam().kind).capabilities.counts);
  const auto near = open(0);
  const auto far_end = GetParam().ends > 1 ? open(1) : nullptr;
  End& to = far_end ? *far_end : *near;
  const auto frames = frames_to(far(), 0, 300, 100);
  auto got = send_all(*near, frames, to);
  std::ranges::move(collect(to, frames.size() - got.size()), std::back_inserter(got));
  ASSERT_TRUE(same_frames(frames, got));
  const WireCounters sent = near->counters();
  const WireCounters received = to.counters();
  EXPECT_EQ(sent.tx_frames.value_or(300), 300U);
  EXPECT_EQ(sent.tx_bytes.value_or(30'000), 30'000U);
  EXPECT_EQ(received.rx_frames.value_or(300), 300U);
  EXPECT_EQ(received.rx_bytes.value_or(30'000), 30'000U);
  EXPECT_EQ(received.lost_frames.value_or(0), 0U);
  EXPECT_EQ(received.dropped_frames.value_or(0), 0U);
  const bool all = GetParam().kind == EngineKind::bus || GetParam().kind == EngineKind::tap ||
                   GetParam().kind == EngineKind::packet;
  EXPECT_EQ(sent.tx_frames.has_value(), all);
  EXPECT_EQ(received.rx_frames.has_value(), all);
}

TEST_P(Engine, FaultsOnTheWayToAnEndAreCountedAndADelayedFrameEndsItsWait) {
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  EndOptions options = end_options(far());
  options.received = {.loss = 0.25, .delay = milliseconds(5), .seed = 3};
  const auto to = open(options);
  const auto near_end = GetParam().ends > 1 ? open(0) : nullptr;
  End& near = near_end ? *near_end : *to;
  const auto frames = frames_to(far(), 0, 200);
  std::vector<Bytes> got;
  (void)send_all(near, frames, *to);
  const auto done = [&] {
    const auto faults = to->faults_received();
    return faults && faults->frames == frames.size() && got.size() == frames.size() - faults->lost;
  };
  for (int rounds = 0; !done() && rounds < 1000; ++rounds) {
    std::ranges::move(arrived(*to), std::back_inserter(got));
    if (!done()) to->wait(std::chrono::seconds(10));
  }
  EXPECT_TRUE(done());
  EXPECT_GT(to->faults_received()->lost, 20U);
  EXPECT_FALSE(to->faults_sent());
  EXPECT_TRUE(is_subsequence(got, frames));
}

TEST_P(Engine, RefusesMoreEndsThanItHas) {
  const std::size_t max = engine_of(GetParam().kind).capabilities.max_ends;
  if (max == 0) return;  // any number
  const auto made = make_wire(job(), max + 1);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::bad_argument);
  EXPECT_NE(made.error().message.find(name_of(GetParam().kind)), std::string::npos)
      << made.error().message;
  SHMIF_MAKE_WIRE_OR_SKIP(job());
  EXPECT_EQ(wire->open_end(end_options(max)).error().code, Errc::bad_argument);
}

constexpr Case kCases[] = {{"bus", EngineKind::bus, 3, false},
                           {"pausing_bus", EngineKind::bus, 3, true, true},
                           {"null", EngineKind::null, 1, false},
                           {"unix", EngineKind::unix_pair, 2, true},
                           {"udp", EngineKind::udp, 2, false},
                           {"stream", EngineKind::stream, 2, true},
                           {"tap", EngineKind::tap, 3, false},
                           {"packet_pair", EngineKind::packet, 2, false},
                           {"packet_bridge", EngineKind::packet, 3, false}};

INSTANTIATE_TEST_SUITE_P(All, Engine, testing::ValuesIn(kCases),
                         [](const auto& tested) { return std::string(tested.param.name); });

// A pcap has one direction, and a host makes its ends in its guest: both have tests of their own.
TEST(Engines, EachPromisesWhatAnEnginePromises) {
  for (const perf::Engine* const engine : engines()) {
    if (engine->kind == EngineKind::pcap || engine->kind == EngineKind::host) continue;
    // These need another program.
    if (engine->kind == EngineKind::dgram || engine->kind == EngineKind::vde) continue;
    EXPECT_NE(std::ranges::find(kCases, engine->kind, &Case::kind), std::end(kCases))
        << engine->name;
  }
}

}  // namespace
}  // namespace shmif::perf::rig
