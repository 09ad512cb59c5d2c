// What is lost is known: every frame number that passes a port is exactly one of received, own,
// filtered, skipped and lost, whatever happens in whatever order. Schedules are drawn at random
// from a seed, which a failure names.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kPorts = 4;
constexpr unsigned kStoppedWriter = 200;  // a slot that no port of the test gets
constexpr unsigned kDeadWriter = 201;

/// A port, and what the test knows that it must count.
struct Station {
  Port port;
  unsigned sender = 0;     ///< in the frames it sends: another one for each attachment
  std::uint64_t base = 0;  ///< the first number that passes it
  std::uint64_t next = 0;  ///< delivered numbers are no less
  bool sleeps = false;
  FrameBatch lent{64, 1U << 17U};  ///< in place, until they are released
};

struct Sent {
  unsigned sender;
  std::uint32_t sequence;
  MacAddress to;
};

class Schedule {
 public:
  explicit Schedule(std::uint64_t seed) : random_(seed) {
    for (unsigned i = 0; i < kPorts; ++i) stations_.push_back(attach());
  }

  void step() {
    Station& s = stations_[below(kPorts)];
    switch (below(18)) {
      case 0: return toggle(s);
      case 1: return static_cast<void>(s.port.set_promiscuous(below(2) == 0));
      case 2: return replace(s);
      case 3: return toggle_claim();
      case 4: raw_.lock_as(kDeadWriter); return;  // whoever sends next takes the lock over
      case 5:
      case 6: return fall_asleep(s);
      case 7:
      case 8:
      case 9: return receive(s, 1 + below(64));
      case 10: return borrow(s);
      case 11: return release(s);
      default: return send(s);
    }
  }

  /// Every port hears out what there is, and then every number is accounted for.
  void finish() {
    for (Station& s : stations_) settle(s);
    EXPECT_TRUE(is_clean(bus_.audit()));
  }

 private:
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }
  std::uint64_t oldest_number() const { return raw_.ring().number_at(raw_.header().first); }

  Station attach() {
    Station s;
    PortOptions options;
    options.start = below(2) == 0 ? Start::oldest : Start::now;
    options.resume = below(2) == 0 ? Resume::newest : Resume::first;
    s.port = Port(options);
    s.port.attach(bus_.path()).value();
    s.sender = attachments_++ % 250;
    s.base = options.start == Start::oldest ? oldest_number() : sent_.size();
    s.next = s.base;
    EXPECT_FALSE(s.port.up());
    return s;
  }

  void send(Station& s) {
    if (!s.port.is_up()) {
      EXPECT_EQ(s.port.send(frames_.make(s.sender, 0, 1)).error, Errc::port_down);
      return;
    }
    const MacAddress to = below(3) == 0   ? kBroadcast
                          : below(3) == 0 ? *MacAddress::parse("02:00:00:00:99:99")
                                          : stations_[below(kPorts)].port.mac();
    const auto first = static_cast<std::uint32_t>(sent_.size());
    NumberedBatch& frames = below(2) == 0 ? frames_ : short_frames_;
    const SendResult sent = s.port.send(frames.make(s.sender, first, 1 + below(32), to));
    EXPECT_TRUE(!sent.error || (claim_stands_ && sent.error == Errc::no_room))
        << sent.error.message();
    for (std::uint32_t i = 0; i < sent.taken; ++i) sent_.push_back({s.sender, first + i, to});
  }

  void receive(Station& s, std::size_t max) {
    if (!s.port.is_up()) return;
    wake(s);
    give_back(s);
    FrameBatch in(max, 1U << 17U);
    EXPECT_FALSE(s.port.receive(in).error);
    for (const FrameView& frame : in.frames()) deliver(s, frame.number, check_numbered(frame));
  }

  void deliver(Station& s, std::uint64_t number, const std::optional<Numbered>& what) {
    ASSERT_GE(number, s.next) << "delivered twice, or out of order";
    ASSERT_LT(number, sent_.size());
    s.next = number + 1;
    const Sent& expected = sent_[number];
    ASSERT_TRUE(what) << "torn";
    EXPECT_EQ(what->sender, expected.sender);
    EXPECT_EQ(what->sequence, expected.sequence);
    EXPECT_NE(what->sender, s.sender) << "its own frame";
  }

  void borrow(Station& s) {
    if (!s.port.is_up()) return;
    if (below(4) != 0) wake(s);  // else it ends its wait with what is lent
    give_back(s);
    EXPECT_FALSE(s.port.receive_in_place(s.lent).error);
  }

  /// What was made of the lent frames before they were released counts as far as they were whole.
  void release(Station& s) {
    std::vector<std::optional<Numbered>> made;
    for (const FrameView& frame : s.lent.frames()) made.push_back(check_numbered(frame));
    const std::size_t torn = s.port.release();
    ASSERT_LE(torn, made.size());
    for (std::size_t i = torn; i < made.size(); ++i) deliver(s, s.lent[i].number, made[i]);
    s.lent.clear();
  }

  /// Releases what is lent, or leaves that to what the port does next.
  void give_back(Station& s) {
    if (below(2) == 0) return release(s);
    s.lent.clear();
  }

  void toggle(Station& s) {
    wake(s);
    EXPECT_FALSE(s.port.is_up() ? s.port.down() : s.port.up());
  }

  void replace(Station& s) {
    settle(s);
    s = attach();
  }

  /// A writer was stopped in the middle of a batch: its claim stands. Or it goes on.
  void toggle_claim() {
    if (claim_stands_) {
      bus::store_seq_cst(raw_.slot(kStoppedWriter).claim_owner, std::uint64_t{0});
    } else {
      const std::uint64_t last = raw_.header().last;
      raw_.claim(kStoppedWriter, last, last, last + 64 * (1 + below(200)));
    }
    claim_stands_ = !claim_stands_;
  }

  /// Announces sleep. Frames that come until it wakes ring it, or pass it over.
  void fall_asleep(Station& s) {
    if (!s.port.is_up() || s.sleeps) return;
    give_back(s);
    s.sleeps = !s.port.prepare_wait().ready;
  }
  static void wake(Station& s) {
    if (std::exchange(s.sleeps, false)) s.port.finish_wait();
  }

  void settle(Station& s) {
    if (!s.port.is_up()) toggle(s);
    const std::uint64_t before = sent_.size();
    do {
      receive(s, 64);
    } while (passed(s.port.counters()) < before - s.base && raw_reader_behind(s));
    const PortCounters c = s.port.counters();
    EXPECT_EQ(passed(c), sent_.size() - s.base)
        << c.rx_frames << " received, " << c.own_frames << " own, " << c.filtered_frames
        << " filtered, " << c.skipped_frames << " skipped, " << c.lost_frames << " lost";
    EXPECT_EQ(c.corrupt, 0U);
    EXPECT_FALSE(c.lost_is_lower_bound());
  }
  bool raw_reader_behind(const Station& s) const {
    return raw_.slot(s.port.slot()).next_number < sent_.size();
  }

  std::mt19937_64 random_;
  TempBus bus_{small_ring()};
  RawBus raw_{bus_.path()};
  NumberedBatch frames_{1522};
  NumberedBatch short_frames_{560};  // most of them share records
  std::vector<Sent> sent_;
  std::vector<Station> stations_;
  unsigned attachments_ = 0;
  bool claim_stands_ = false;
};

/// From the environment, for a schedule that failed, or for many.
std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 0) : otherwise;
}

TEST(Accounting, EveryNumberThatPassesAPortIsExactlyOneThingInAnySchedule) {
  const std::uint64_t first = number_from("SHMIF_SEED", 1);
  const std::uint64_t seeds = number_from("SHMIF_SEEDS", kSanitized ? 20 : 60);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("SHMIF_SEED=" + std::to_string(seed));
    Schedule schedule(seed);
    for (unsigned i = 0; i < 400 && !HasFailure(); ++i) schedule.step();
    schedule.finish();
    if (HasFailure()) return;
  }
}

TEST(Accounting, AfterCorruptionTheCountOfLostFramesIsALowerBound) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port reader = port_on(bus.path());
  NumberedBatch frames(60);
  ASSERT_FALSE(sender.send(frames.make(0, 0, 10)).error);
  raw.ring().record(raw.header().first).word = 0x5a5a5a5a;
  FrameBatch in(64);
  static_cast<void>(reader.receive(in));
  EXPECT_GT(reader.counters().corrupt, 0U);
  EXPECT_TRUE(reader.counters().lost_is_lower_bound());
  EXPECT_FALSE(sender.counters().lost_is_lower_bound());
}

/// A peer makes the chain end where the ports have been before. At their place stands an old EMPTY,
/// and nobody would ever commit there.
TEST(Accounting, WhoWaitsPastTheEndOfTheChainCountsThatAndHearsWhatComesNext) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port sender = port_on(bus.path());
  Port waits = port_on(bus.path());
  Port polls = port_on(bus.path());
  Port level = port_on(bus.path());
  ASSERT_TRUE(level.level_descriptor());
  Follower follower = Follower::open(bus.path(), Start::now).value();
  Follower asks = Follower::open(bus.path(), Start::now).value();
  const auto followed = [](Follower& by) {
    FrameBatch in(16);
    EXPECT_FALSE(by.receive(in).error);
    return in.size();
  };
  ASSERT_FALSE(send_one(sender));
  const std::uint64_t end = raw.header().last;
  for (int i = 0; i < 2; ++i) ASSERT_FALSE(send_one(sender));
  for (Port* port : {&waits, &polls, &level}) ASSERT_EQ(heard(*port), 3U);
  for (Follower* by : {&follower, &asks}) ASSERT_EQ(followed(*by), 3U);
  raw.begin_at(end, 1);

  EXPECT_FALSE(waits.wait(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(polls.prepare_wait().ready);
  polls.finish_wait();
  EXPECT_EQ(heard(level), 0U) << "then it waits";
  EXPECT_FALSE(follower.wait(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(asks.prepare_wait().ready);
  for (const Port* port : {&waits, &polls, &level}) {
    EXPECT_EQ(port->counters().corrupt, 1U);
    EXPECT_EQ(bus.info().ports.at(port->slot()).corrupt, 1U);
    EXPECT_EQ(bus.info().ports.at(port->slot()).position, end);
  }
  for (const Follower* by : {&follower, &asks}) EXPECT_EQ(by->counters().corrupt, 1U);

  ASSERT_FALSE(send_one(sender));
  EXPECT_TRUE(waits.wait(std::chrono::seconds(60)));
  for (Port* port : {&waits, &polls, &level}) {
    EXPECT_EQ(heard(*port), 1U);
    EXPECT_EQ(port->counters().rx_frames, 4U);
    EXPECT_EQ(port->counters().lost_frames, 0U);
    EXPECT_EQ(port->counters().corrupt, 1U);
  }
  for (Follower* by : {&follower, &asks}) {
    EXPECT_EQ(followed(*by), 1U);
    EXPECT_EQ(by->counters().corrupt, 1U);
  }
}

}  // namespace
}  // namespace shmif::test
