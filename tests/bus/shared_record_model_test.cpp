// What each reader must have got and lost, computed from the bytes of the file alone: a reference
// model reads them as docs/bus-format.md says, and follows each port through random schedules in
// which records are shared by many frames, readers are lapped inside of them, and writers die in
// the middle of a batch. Positions and numbers begin near their wraps. The model takes from the
// library only where a port stands and what it delivered; all counters must follow from that.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/bus/shared_record_model.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kPorts = 4;
constexpr unsigned kDeadWriter = 201;  // a slot that no port of the test gets
constexpr std::uint64_t kModelRing = 64U << 10U;
/// A reader that is lapped again within this leaves as much out (theory-of-operation.md).
constexpr std::uint64_t kEighth = kModelRing / 8;

/// Where a port stands.
struct ModelPlace {
  std::uint64_t position = 0, number = 0, inside = 0;
  bool operator==(const ModelPlace&) const = default;
};

/// A port, and what must have become of all that passed it.
struct Player {
  Port port;
  bool newest = false;
  ModelPlace place{};
  std::uint64_t lapped_until = 0;
  std::uint64_t tx_frames = 0, tx_bytes = 0, frames = 0, bytes = 0, own = 0, filtered = 0;
  std::uint64_t overruns = 0, lost_frames = 0, lost_bytes = 0;
  std::uint64_t told_lost = 0;  ///< by ReceiveResult::lost
  FrameBatch lent{64, 1U << 17U};
  bool has_lent = false;
};

struct Begin {
  const char* name;
  std::uint64_t position, number;
};
void PrintTo(const Begin& b, std::ostream* out) {
  *out << b.name;
}

class Schedule {
 public:
  Schedule(const Begin& begin, std::uint64_t seed) : random_(seed) {
    if (begin.position != 0 || begin.number != 0) raw_.begin_at(begin.position, begin.number);
    chain_ = std::make_unique<Chain>(bytes_, begin.position, begin.number);
    for (unsigned i = 0; i < kPorts; ++i) {
      Player& one = players_.emplace_back();
      one.newest = i == 3;
      one.port = port_on(bus_.path(),
                         {.mac = mac_of(i), .resume = one.newest ? Resume::newest : Resume::first});
      one.place = place_of(one);
      EXPECT_EQ(one.place, (ModelPlace{chain_->end(), chain_->next_number(), 0}));
    }
  }

  void step() {
    Player& one = players_[below(kPorts)];
    const unsigned what = below(20);
    if (what < 9) {
      send(one);
    } else if (what < 14) {
      receive(one, 1 + below(what == 9 ? 4 : 40));
    } else if (what < 16) {
      lend(one);
    } else if (what < 18) {
      release(one);
    } else if (what == 18) {
      die_in_a_batch();
    } else {
      raw_.lock_as(kDeadWriter);  // whoever sends next takes the lock over
    }
    for (const Player& each : players_) compare(each);
  }
  void finish() {
    for (Player& one : players_) {
      release(one);
      for (int i = 0; i < 1000 && one.place.number != chain_->next_number(); ++i) {
        receive(one, 64);
        if (testing::Test::HasFailure()) return;
      }
      compare(one);
      EXPECT_EQ(one.place.number, chain_->next_number());
      EXPECT_EQ(one.told_lost, one.lost_frames);
      EXPECT_EQ(one.frames + one.own + one.filtered + one.lost_frames, chain_->frames());
    }
    EXPECT_TRUE(is_clean(bus_.audit()));
  }
  const Chain& chain() const { return *chain_; }
  /// Overruns that began between two frames of one record.
  std::uint64_t lapped_inside() const { return lapped_inside_; }
  std::uint64_t lapped_again() const { return lapped_again_; }

 private:
  static MacAddress mac_of(unsigned i) { return MacAddress::from_u64(0x020000000010U + i); }
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

  /// From the port table, not from the library.
  ModelPlace place_of(const Player& one) const {
    const std::uint64_t slot = BusBytes::slot(one.port.slot());
    return {bytes_.at<std::uint64_t>(slot + 256), bytes_.at<std::uint64_t>(slot + 264),
            bytes_.at<std::uint64_t>(slot + 376)};
  }
  bool is_own(const Player& one, const ModelFrame& frame) const {
    const auto state = bytes_.at<std::uint64_t>(BusBytes::slot(one.port.slot()));
    return frame.slot == one.port.slot() &&
           frame.incarnation == static_cast<std::uint32_t>(state >> 8U);
  }
  bool accepts(const Player& one, const ModelFrame& frame) const {
    const std::uint64_t to = frame.destination();
    return (to >> 40U & 1U) != 0 ||
           to == bytes_.at<std::uint64_t>(BusBytes::slot(one.port.slot()) + 16);
  }

  void send(Player& one) {
    std::vector<std::vector<std::byte>> frames(1 + below(60));
    std::vector<FrameView> views;
    const unsigned kind = below(5);
    const std::size_t alike = 513 + below(350);  // of the last kind, most frames are (I10)
    const MacAddress alike_to = mac_of(below(kPorts));
    for (auto& frame : frames) {
      const bool is_alike = kind == 4 && below(8) != 0;
      const std::size_t size = is_alike    ? alike
                               : kind == 0 ? 14
                               : kind == 1 ? 60
                                           : 14 + below(kind == 2 ? 500 : 1500);
      frame.resize(size);
      for (std::byte& each : frame) each = static_cast<std::byte>(random_());
      const MacAddress to = is_alike        ? alike_to
                            : below(3) == 0 ? MacAddress::from_u64(0xffffffffffffU)
                            : below(4) == 0 ? MacAddress::from_u64(0x020000009999U)
                                            : mac_of(below(kPorts));
      std::memcpy(frame.data(), to.bytes.data(), 6);
      std::memcpy(frame.data() + 6, one.port.mac().bytes.data(), 6);
      views.emplace_back(frame);
    }
    const SendResult sent = one.port.send(views);
    EXPECT_TRUE(!sent.error || sent.error == Errc::no_room) << sent.error.message();
    const std::uint64_t before = chain_->next_number();
    chain_->grow();
    ASSERT_EQ(chain_->next_number() - before, sent.taken);
    for (std::size_t i = 0; i < sent.taken; ++i) {
      ASSERT_EQ(chain_->frame(before + i).bytes, frames[i]) << "what was sent is in the ring";
      one.tx_bytes += frames[i].size();
    }
    one.tx_frames += sent.taken;
  }

  /// A writer that was about to send: its claim stands, and a part of its batch is written.
  void die_in_a_batch() {
    const std::uint64_t last = chain_->end();
    const std::uint64_t bytes = 32 * (2 + below(100));
    if (last + bytes + 16 > bytes_.first() + kModelRing) return;  // it makes room first
    raw_.claim(kDeadWriter, last, last, last + bytes);
    const std::uint64_t body = std::min<std::uint64_t>(bytes - 32, 4064) / 20 * 20;
    if (body >= 40) {
      bus::RecordHeader& record = raw_.ring().record(last);  // all but the word, which commits it
      record.frames = static_cast<std::uint16_t>(body / 20);
      record.slot = kDeadWriter;
    }
    for (std::uint64_t at = 32; at + 4 <= bytes && below(40) != 0; at += 20) {
      const std::uint32_t length = 14;
      std::memcpy(raw_.ring().byte_at(last + at), &length, sizeof length);
    }
  }

  /// Where a port that was lapped may go on: at the oldest record; at the end; or, if it was lapped
  /// soon again, an eighth of the ring behind the oldest.
  std::uint64_t behind_lap(const Player& one, std::uint64_t first) {
    if (one.newest) return chain_->end();
    if (one.place.position >= one.lapped_until) return first;
    ++lapped_again_;
    return chain_->border_from(first + kEighth);
  }

  /// Accounts for what a call passed, and checks what it delivered. `had`: the counters before.
  /// `full`: there may be more than what it passed.
  void account(Player& one, std::span<const FrameView> delivered, std::uint64_t overruns_before,
               std::uint64_t lost_before, bool full) {
    const ModelPlace now = place_of(one);
    const PortCounters told = one.port.counters();
    std::uint64_t from = one.place.number;
    const std::uint64_t first = bytes_.first();
    if (first > one.place.position && (now != one.place || told.overruns != overruns_before)) {
      ASSERT_TRUE(chain_->has_border(first)) << "`first` is where a record begins";
      // Frames that it had walked before it looked at `first` need no head start.
      std::uint64_t to = first;
      if (told.lost_frames - lost_before != chain_->number_at(first) - from || one.newest) {
        to = behind_lap(one, first);
      }
      if (one.place.inside != 0) ++lapped_inside_;
      ++one.overruns;
      one.lost_frames += chain_->number_at(to) - from;
      one.lost_bytes += to - one.place.position - one.place.inside;
      one.lapped_until = to + kEighth;
      from = chain_->number_at(to);
      ASSERT_GE(now.position, to);
    }
    ASSERT_LE(now.number - from, chain_->frames());
    std::size_t next = 0;
    for (std::uint64_t n = from; n != now.number; ++n) {
      const ModelFrame& frame = chain_->frame(n);
      if (is_own(one, frame)) {
        ++one.own;
      } else if (!accepts(one, frame)) {
        ++one.filtered;
      } else {
        ASSERT_LT(next, delivered.size()) << "frame " << n << " was passed and not delivered";
        const FrameView& got = delivered[next++];
        ASSERT_EQ(got.number, n);
        ASSERT_EQ(got.sender, frame.slot);
        ASSERT_EQ(got.sender_incarnation, frame.incarnation);
        ASSERT_TRUE(std::ranges::equal(got.bytes, frame.bytes)) << "frame " << n << " is torn";
        ++one.frames;
        one.bytes += frame.bytes.size();
      }
    }
    ASSERT_EQ(next, delivered.size()) << "more was delivered than was passed";
    expect_place(now);
    if (!full) {
      EXPECT_EQ(now.number, chain_->next_number()) << "it stopped, though there is more";
    }
    one.place = now;
  }

  /// A port stands in front of a record, a pad or an entry; its number is that of the next frame.
  void expect_place(const ModelPlace& now) const {
    if (now.inside == 0) {
      ASSERT_TRUE(chain_->has_border(now.position)) << now.position;
      ASSERT_EQ(chain_->number_at(now.position), now.number);
    } else {
      const ModelFrame& next = chain_->frame(now.number);
      ASSERT_EQ(next.record, now.position);
      ASSERT_EQ(next.inside, now.inside);
    }
  }

  void receive(Player& one, std::size_t most) {
    release(one);
    const PortCounters before = one.port.counters();
    FrameBatch in(most, 1U << 17U);
    const ReceiveResult got = one.port.receive(in);
    ASSERT_FALSE(got.error) << got.error.message();
    one.told_lost += got.lost;
    // One call passes 64 chunks of 32 entries at most, if it has found a frame.
    const bool may_be_more = in.full() || chain_->next_number() - one.place.number > 1000;
    account(one, in.frames(), before.overruns, before.lost_frames, may_be_more);
  }

  /// Until they are released, only frames that are not delivered count.
  void lend(Player& one) {
    release(one);
    const PortCounters before = one.port.counters();
    const ReceiveResult got = one.port.receive_in_place(one.lent);
    ASSERT_FALSE(got.error) << got.error.message();
    one.told_lost += got.lost;
    one.has_lent = true;
    account(one, {}, before.overruns, before.lost_frames, true);
  }

  void release(Player& one) {
    if (!std::exchange(one.has_lent, false)) return;
    const PortCounters before = one.port.counters();
    const std::size_t torn = one.port.release();
    ASSERT_LE(torn, one.lent.size());
    account(one, one.lent.frames().subspan(torn), before.overruns, before.lost_frames, true);
    // What release() found lost, the next receive() tells.
    one.lent.clear();
  }

  void compare(const Player& one) const {
    const PortCounters told = one.port.counters();
    const std::uint64_t slot = BusBytes::slot(one.port.slot());
    struct Line {
      const char* name;
      std::uint64_t model, library, shown_at;
    };
    for (const Line& line : std::initializer_list<Line>{
             {"tx_frames", one.tx_frames, told.tx_frames, 192},
             {"tx_bytes", one.tx_bytes, told.tx_bytes, 200},
             {"rx_frames", one.frames, told.rx_frames, 272},
             {"rx_bytes", one.bytes, told.rx_bytes, 280},
             {"own_frames", one.own, told.own_frames, 288},
             {"filtered_frames", one.filtered, told.filtered_frames, 296},
             {"skipped_frames", 0, told.skipped_frames, 304},
             {"overruns", one.overruns, told.overruns, 312},
             {"lost_frames", one.lost_frames, told.lost_frames, 320},
             {"lost_bytes", one.lost_bytes, told.lost_bytes, 328},
             {"corrupt", 0, told.corrupt, 336},
             {"rx_more_segments", 0, told.rx_segments - told.rx_frames, 352},
         }) {
      EXPECT_EQ(line.library, line.model) << line.name << " of port " << one.port.slot();
      EXPECT_EQ(bytes_.at<std::uint64_t>(slot + line.shown_at), line.model)
          << line.name << " in the table";
    }
  }

  std::mt19937_64 random_;
  TempBus bus_{small_ring()};
  RawBus raw_{bus_.path()};
  BusBytes bytes_{bus_.path()};
  std::unique_ptr<Chain> chain_;
  std::vector<Player> players_;
  std::uint64_t lapped_inside_ = 0, lapped_again_ = 0;
};

class SharedRecordModel : public testing::TestWithParam<Begin> {};

TEST_P(SharedRecordModel, SaysWhatEachPortGotAndLostInAnySchedule) {
  constexpr unsigned kSeeds = kSanitized ? 2 : 8, kSteps = 300;
  std::uint64_t shared = 0, alike = 0, pads = 0, inside = 0, again = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Schedule schedule(GetParam(), seed);
    for (unsigned i = 0; i < kSteps && !HasFailure(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i));
      schedule.step();
    }
    if (!HasFailure()) schedule.finish();
    if (HasFailure()) return;
    shared += schedule.chain().shared_records();
    alike += schedule.chain().alike_records();
    pads += schedule.chain().pads();
    inside += schedule.lapped_inside();
    again += schedule.lapped_again();
  }
  // The schedules met what they are for.
  EXPECT_GT(shared, 100 * kSeeds);
  EXPECT_GT(alike, 20 * kSeeds);
  EXPECT_GT(pads, kSeeds);
  EXPECT_GT(inside, 5 * kSeeds);
  EXPECT_GT(again, 5 * kSeeds);
}

INSTANTIATE_TEST_SUITE_P(
    Begins, SharedRecordModel,
    testing::Values(Begin{"Zero", 0, 0},
                    Begin{"TwoTo32", (1ULL << 32U) - kModelRing, (1ULL << 32U) - 99},
                    Begin{"WhatAPadKnows", (1ULL << 39U) - kModelRing, 7},
                    Begin{"WhatAFrameKnows", (1ULL << 46U) - kModelRing, UINT64_MAX - 999}),
    [](const auto& begin) { return std::string(begin.param.name); });

}  // namespace
}  // namespace shmif::test
