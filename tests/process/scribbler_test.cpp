// A process that overwrites random words of a live bus as fast as it can, while eight others use
// it in every way: none crashes, hangs or leaves the bus; they say `corrupt`; and a repair brings
// the traffic back.
//
// SHMIF_SCRIBBLE_SECONDS sets how long it scribbles; SHMIF_SCRIBBLE_SEED repeats a run's choices
// (not its interleaving).

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <cstdlib>
#include <random>

#include "shmif/receiver.hpp"
#include "tests/process/figures.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// In which everybody must have ended when told so, whatever stands in the file.
constexpr seconds kCeiling{60};
constexpr std::uint32_t kAfterRepair = 1000;  // frames that must come through then

enum class Phase : unsigned { scribble, settle, traffic, end };

struct Rig {
  std::atomic<Phase> phase{Phase::scribble};
  std::atomic<unsigned> ready{0}, settled{0}, ended{0};
  std::atomic<std::uint64_t> scribbles{0};
  std::atomic<std::uint64_t> sent{0}, refused{0}, heard{0}, corrupt{0}, looks{0}, cycles{0};
  std::array<std::atomic<std::uint32_t>, 3> next{};  ///< of each listener after the repair
  std::atomic<std::uint32_t> wrong{0};
};

/// Waits until the phase has come. Result: false when the test is over before that.
bool await_phase(const Rig& rig, Phase phase) {
  while (rig.phase < phase) std::this_thread::sleep_for(milliseconds(1));
  return rig.phase == phase;
}

// ---- The scribbler ----

/// A value that gets past the first check as often as not.
std::uint64_t nasty(std::mt19937_64& random, const bus::BusHeader& h, std::uint64_t old) {
  const std::uint64_t near = h.last + random() % 64 * bus::kRecordAlign;
  switch (random() % 9) {
    case 0: return random();
    case 1: return 0;
    case 2: return UINT64_MAX - random() % 4096;
    case 3: return old + random() % 128 - 64;
    case 4: return old ^ 1ULL << random() % 64;
    case 5: return bus::lock_word::next_held_by(old, static_cast<unsigned>(random() % 1023));
    case 6: return bus::word::pad(near, random() % 4096 * bus::kRecordAlign);
    case 7: return bus::word::frame(near, random() % 70000);
    default: return near;
  }
}

int scribble(const std::string& path, Rig& rig, std::uint64_t seed) {
  const RawBus raw(path);
  std::mt19937_64 random(seed);
  const bus::BusHeader& h = raw.header();
  auto* const words = reinterpret_cast<std::uint64_t*>(&raw.header());
  const std::size_t ring_words = raw.ring().bytes() / 8;
  ++rig.ready;
  for (std::uint64_t n = 0; rig.phase == Phase::scribble; ++n) {
    std::size_t at = 0;
    switch (random() % 4) {
      case 0: at = random() % 64; break;  // the words of the header
      case 1: at = (bus::kHeaderBytes + random() % 16 * 512) / 8 + random() % 64; break;
      case 2: at = random() % ((bus::kHeaderBytes + bus::kTableBytes) / 8); break;
      default: at = bus::kRingOffset / 8 + random() % ring_words; break;
    }
    if (random() % 4 == 0) {  // where the readers are just now
      const std::uint64_t p = h.last & (raw.ring().bytes() - 1) & ~std::uint64_t{7};
      at = (bus::kRingOffset + p) / 8 + random() % 8;
    }
    bus::store_relaxed(words[at], nasty(random, h, bus::load_relaxed(words[at])));
    ++rig.scribbles;
    // Bursts and pauses: without them nobody gets past the first check.
    if (n % 512 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
  }
  return 0;
}

// ---- The users ----

/// Counts what a listener is told in the traffic after the repair.
class Listener {
 public:
  Listener(Rig& rig, unsigned index) : rig_(rig), index_(index) {}
  void take(std::span<const FrameView> frames) {
    for (const FrameView& f : frames) {
      unsigned sum = 0;
      for (const std::byte b : f.bytes) sum += std::to_integer<unsigned>(b);
      if (f.size() > 1522 || sum > 1522 * 255) ++rig_.wrong;
      if (rig_.phase != Phase::traffic) continue;
      const auto n = check_numbered(f);
      if (!n || n->sender != kWitness) continue;  // of a sender from before the repair
      auto& next = rig_.next.at(index_);
      if (n->sequence != next) ++rig_.wrong;
      next = n->sequence + 1;
    }
    rig_.heard += frames.size();
  }
  static constexpr unsigned kWitness = 77;

 private:
  Rig& rig_;
  unsigned index_;
};

int listen(const std::string& path, Rig& rig, unsigned index, bool by_descriptor) {
  Port port = port_on(path, {.promiscuous = true});
  Listener listener(rig, index);
  FrameBatch batch;
  ++rig.ready;
  bool settled = false;
  while (rig.phase != Phase::end) {
    if (!settled && rig.phase == Phase::settle) settled = ++rig.settled != 0;
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    listener.take(batch.frames());
    if (got.error) std::this_thread::sleep_for(milliseconds(1));
    if (got.frames != 0 || got.error) continue;
    if (!by_descriptor) {
      port.wait(milliseconds(20));
      continue;
    }
    const WaitHint hint = port.prepare_wait();
    pollfd entry{port.descriptor(), POLLIN, 0};
    if (!hint.ready) poll(&entry, 1, 20);
    port.finish_wait();
  }
  rig.corrupt += port.counters().corrupt;
  return 0;
}

int listen_by_thread(const std::string& path, Rig& rig, unsigned index) {
  Port port = port_on(path, {.promiscuous = true});
  Listener listener(rig, index);
  std::optional<Receiver> receiver;
  const auto callback = [&](std::span<const FrameView> frames) { listener.take(frames); };
  receiver.emplace(port, callback);
  ++rig.ready;
  bool settled = false;
  while (rig.phase != Phase::end) {
    if (!settled && rig.phase == Phase::settle) settled = ++rig.settled != 0;
    // It gives up after a second without anything but corruption.
    if (!receiver->running()) receiver.emplace(port, callback);
    std::this_thread::sleep_for(milliseconds(5));
  }
  receiver.reset();
  rig.corrupt += port.counters().corrupt;
  return 0;
}

int send(const std::string& path, Rig& rig, unsigned sender) {
  Port port = port_on(path);
  NumberedBatch batch(sender % 2 == 0 ? port.max_frame_bytes() : 560);  // these share records
  ++rig.ready;
  for (std::uint32_t sequence = 0; rig.phase == Phase::scribble; sequence += 16) {
    const SendResult sent = port.send(batch.make(sender, sequence, 16));
    rig.sent += sent.taken;
    if (sent.error) ++rig.refused;
    if (sent.error) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ++rig.settled;
  const bool traffic = await_phase(rig, Phase::traffic);
  static_cast<void>(port.send({}));  // any call shows again in the slot who the port is
  if (sender == 0 && traffic) {
    for (std::uint32_t n = 0; n < kAfterRepair;) {
      const SendResult sent = port.send(batch.make(Listener::kWitness, n, 4));
      if (sent.error) {
        std::fprintf(stderr, "after the repair: %s\n", sent.error.message().c_str());
        return 1;
      }
      n += static_cast<std::uint32_t>(sent.taken);
      // So slowly that nobody is overrun.
      while (rig.phase == Phase::traffic &&
             (n > rig.next[0] + 16 || n > rig.next[1] + 16 || n > rig.next[2] + 16)) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    }
  }
  await_phase(rig, Phase::end);
  rig.corrupt += port.counters().corrupt;
  return 0;
}

/// What the tools do: open, look, audit; and follow without a slot.
int look(const std::string& path, Rig& rig) {
  const Bus bus = Bus::open(path).value();
  FrameBatch batch;
  ++rig.ready;
  while (rig.phase == Phase::scribble) {
    static_cast<void>(bus.info());
    static_cast<void>(bus.audit());
    if (const auto again = Bus::open(path)) static_cast<void>(again->info());
    if (auto follower = Follower::open(path, Start::oldest)) {
      for (int i = 0; i < 20; ++i) {
        batch.clear();
        if (follower->receive(batch).error) break;
        follower->wait(milliseconds(1));
      }
    }
    ++rig.looks;
  }
  ++rig.settled;
  return 0;
}

/// Attaches and detaches; most often it is refused, the header being a scribble.
int come_and_go(const std::string& path, Rig& rig) {
  ++rig.ready;
  while (rig.phase == Phase::scribble) {
    Port port({.learn = true});
    if (port.attach(path)) {
      static_cast<void>(port.up());
      NumberedBatch batch(560);
      FrameBatch got;
      static_cast<void>(port.send(batch.make(9, 0, 4)));
      static_cast<void>(port.receive(got));
      static_cast<void>(port.set_promiscuous(true));
      static_cast<void>(port.down());
      ++rig.cycles;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  ++rig.settled;
  return 0;
}

// ---- The test ----

TEST(Scribbler, HarmsNobodyAndIsRepaired) {
  const std::uint64_t seed = from_environment("SHMIF_SCRIBBLE_SEED", std::random_device{}());
  const seconds time(from_environment("SHMIF_SCRIBBLE_SECONDS", 3));
  std::printf("SHMIF_SCRIBBLE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  const TempBus bus(small_ring());
  Bus inside = Bus::open(bus.path(), Access::read_write).value();
  const Shared<Rig> rig;
  std::vector<Child> users;
  for (unsigned s = 0; s < 3; ++s) users.emplace_back([&, s] { return send(bus.path(), *rig, s); });
  users.emplace_back([&] { return listen(bus.path(), *rig, 0, false); });
  users.emplace_back([&] { return listen(bus.path(), *rig, 1, true); });
  users.emplace_back([&] { return listen_by_thread(bus.path(), *rig, 2); });
  users.emplace_back([&] { return look(bus.path(), *rig); });
  users.emplace_back([&] { return come_and_go(bus.path(), *rig); });
  ASSERT_TRUE(eventually([&] { return rig->ready == users.size(); }));
  Child scribbler([&] { return scribble(bus.path(), *rig, seed); });
  std::this_thread::sleep_for(time);

  rig->phase = Phase::settle;
  EXPECT_EQ(scribbler.wait(), 0);
  ASSERT_TRUE(eventually([&] { return rig->settled == users.size(); }, kCeiling))
      << "only " << rig->settled << " of " << users.size() << " came back";

  const auto repaired = inside.repair();
  ASSERT_TRUE(repaired) << repaired.error().message;
  rig->phase = Phase::traffic;
  EXPECT_TRUE(eventually(
      [&] {
        return rig->next[0] == kAfterRepair && rig->next[1] == kAfterRepair &&
               rig->next[2] == kAfterRepair;
      },
      kCeiling))
      << rig->next[0] << ", " << rig->next[1] << " and " << rig->next[2] << " frames were heard";
  EXPECT_TRUE(eventually([&] { return inside.audit().clean(); }));
  EXPECT_TRUE(is_clean(inside.audit()));
  EXPECT_TRUE(Bus::open(bus.path())) << "the header is not what it was";
  rig->phase = Phase::end;
  for (Child& user : users) EXPECT_EQ(user.wait(), 0);
  EXPECT_EQ(rig->wrong, 0U);
  EXPECT_GT(rig->corrupt, 0U);
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%llu scribbles; %llu frames sent, %llu batches refused, %llu frames heard, %llu times "
      "corrupt, %llu looks, %llu attaches\n",
      number(rig->scribbles), number(rig->sent), number(rig->refused), number(rig->heard),
      number(rig->corrupt), number(rig->looks), number(rig->cycles));
}

}  // namespace
}  // namespace shmif::test
