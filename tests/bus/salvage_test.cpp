// What a repair keeps of a ring that senders have gone round: all that can be proven whole, exactly
// that, wherever the ring was scribbled over and wherever positions stand.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "bus/repair/salvage.hpp"
#include "tests/support/ring_rig.hpp"

namespace shmif::test {
namespace {

constexpr std::uint64_t kSalvageRing = 64U << 10U;

/// A frame that stands in the ring.
struct Standing {
  std::uint64_t position;
  std::uint64_t number;
  std::uint32_t sequence;
};

/// A small bus on which frames of many sizes are sent until the ring is full of them.
class LappedBus {
 public:
  /// `begin`: where positions begin.
  explicit LappedBus(std::uint64_t begin = 0) {
    if (begin != 0) raw_.begin_at(begin, 1'000'000);
    sender_ = port_on(bus_.path(), {.name = "sender"});
    reader_ = port_on(bus_.path(), {.name = "reader"});
  }

  /// Sends until the chain ends at `position` or behind it.
  void send_up_to(std::uint64_t position) {
    while (raw_.header().last < position) {
      const std::uint64_t from = raw_.header().last;
      ASSERT_FALSE(sender_.send(frames_.make(1, next_, 3)).error);
      next_ += 3;
      note(from);
    }
  }

  /// All frames from `position` to the end of the chain.
  std::vector<Standing> standing_from(std::uint64_t position) const {
    std::vector<Standing> all;
    std::ranges::copy_if(sent_, std::back_inserter(all),
                         [&](const Standing& f) { return f.position >= position; });
    return all;
  }
  std::vector<Standing> chain() const { return standing_from(raw_.header().first); }

  RepairReport repair() const {
    return Bus::open(bus_.path(), Access::read_write).value().repair().value();
  }

  /// What `port` gets until there is no more. Adds what it is told was lost to `lost`.
  std::vector<Standing> read_all(Port& port, std::uint64_t& lost) {
    std::vector<Standing> all;
    for (;;) {
      batch_.clear();
      const ReceiveResult got = port.receive(batch_);
      EXPECT_FALSE(got.error) << got.error.message();
      lost += got.lost;
      if (batch_.empty()) return all;
      for (const FrameView& f : batch_.frames()) {
        const auto n = check_numbered(f);
        EXPECT_TRUE(n) << "a torn frame";
        if (n) all.push_back({0, f.number, n->sequence});
      }
    }
  }

  /// Adds the frames from `position` on to those that were sent.
  void note(std::uint64_t position) {
    const bus::Ring& ring = raw_.ring();
    while (const std::uint64_t step = ring.step(ring.word_at(position), position)) {
      const std::uint64_t w = ring.word_at(position);
      const bool shared = bus::word::is_shared(w);
      std::uint32_t at = shared ? bus::kEntryHeaderBytes : 0;
      for (std::uint64_t i = 0;
           bus::word::is_frame_at(w, position) && i < ring.frames_of(w, position); ++i) {
        Standing frame{position, ring.number_at(position) + i, 0};
        std::memcpy(&frame.sequence, ring.payload(position) + at + 8, sizeof frame.sequence);
        sent_.push_back(frame);
        if (shared) {
          const std::uint32_t entry = at - bus::kEntryHeaderBytes;
          const std::uint32_t bytes = ring.entry_at(position, entry, bus::word::body_bytes(w));
          at += static_cast<std::uint32_t>(bus::entry_bytes(bytes));
        }
      }
      position += step;
    }
  }

  TempBus bus_{BusOptions{.ring_bytes = kSalvageRing}};
  RawBus raw_{bus_.path()};
  std::vector<Standing> sent_;
  Port sender_, reader_;
  NumberedBatch frames_{700};
  FrameBatch batch_;
  std::uint32_t next_ = 0;
};

std::vector<std::uint32_t> sequences(const std::vector<Standing>& frames) {
  std::vector<std::uint32_t> all;
  for (const Standing& f : frames) all.push_back(f.sequence);
  return all;
}

/// A place that positions pass while the ring is full.
struct Passed {
  const char* name;
  std::uint64_t position;
};
void PrintTo(const Passed& p, std::ostream* out) {
  *out << p.name;
}

/// A way to scribble over a ring. Result: which of the frames in it are gone.
struct Damage {
  const char* what;
  std::function<std::vector<std::size_t>(const RawBus&, const std::vector<Standing>&)> spoil;
};

const std::vector<Damage>& damages() {
  const auto words = [](const RawBus& raw, const std::vector<Standing>& chain,
                        std::vector<std::size_t> which) {
    for (const std::size_t i : which) raw.ring().record(chain[i].position).word = 0x123456789;
    return which;
  };
  static const std::vector<Damage> all{
      {"the oldest word",
       [=](const RawBus& raw, const auto& chain) { return words(raw, chain, {0}); }},
      {"words in the middle",
       [=](const RawBus& raw, const auto& chain) {
         const std::size_t half = chain.size() / 2;
         return words(raw, chain, {half, half + 1, half + 5, half + 7});
       }},
      {"the newest word",
       [=](const RawBus& raw, const auto& chain) { return words(raw, chain, {chain.size() - 1}); }},
      {"every other word",
       [=](const RawBus& raw, const auto& chain) {
         std::vector<std::size_t> which;
         for (std::size_t i = 1; i < chain.size(); i += 2) which.push_back(i);
         return words(raw, chain, which);
       }},
      {"a number in the middle",
       [](const RawBus& raw, const std::vector<Standing>& chain) {
         const std::size_t half = chain.size() / 2;
         raw.ring().record(chain[half].position).number += 1000;
         return std::vector<std::size_t>{half};
       }},
      {"the number behind the end",
       [=](const RawBus& raw, const auto& chain) {
         raw.ring().record(raw.header().last).number += 1U << 30U;
         return words(raw, chain, {3});
       }},
      {"the end itself",
       [](const RawBus& raw, const std::vector<Standing>&) {
         raw.ring().record(raw.header().last).word = 0;
         return std::vector<std::size_t>{};
       }},
      {"first",
       [](const RawBus& raw, const std::vector<Standing>&) {
         raw.header().first = 12345;
         return std::vector<std::size_t>{};
       }},
      {"last",
       [](const RawBus& raw, const std::vector<Standing>&) {
         raw.header().last = 12345;
         return std::vector<std::size_t>{};
       }},
      {"last and a word behind which are many",
       [=](const RawBus& raw, const auto& chain) {
         raw.header().last = 12345;
         return words(raw, chain, {5});
       }},
      {"first and last",
       [](const RawBus& raw, const std::vector<Standing>&) {
         raw.header().first = raw.header().last = 12345;
         return std::vector<std::size_t>{};
       }},
      {"first, last and a word",
       [=](const RawBus& raw, const auto& chain) {
         raw.header().first = raw.header().last = UINT64_MAX;
         return words(raw, chain, {chain.size() / 3});
       }},
  };
  return all;
}

/// Scribbles over the ring, repairs it, and looks whether all that was whole is there, and no more.
void spoil_and_repair(LappedBus& bus, const Damage& damage, std::uint64_t repairs) {
  std::uint64_t lost = 0;
  bus.read_all(bus.reader_, lost);  // it knows all that is there
  const std::vector<Standing> chain = bus.chain();
  ASSERT_GT(chain.size(), 60U);
  const std::uint64_t next_number = chain.back().number + 1;
  std::vector<std::size_t> gone;  // with the frames that share a record with one that was spoiled
  for (const std::size_t spoiled : damage.spoil(bus.raw_, chain)) {
    for (std::size_t i = 0; i < chain.size(); ++i) {
      if (chain[i].position == chain[spoiled].position) gone.push_back(i);
    }
  }
  ASSERT_FALSE(bus.bus_.audit().clean());
  const RepairReport done = bus.repair();
  ASSERT_TRUE(is_clean(bus.bus_.audit()));
  EXPECT_TRUE(done.ring_rebuilt);
  EXPECT_GE(done.epoch, repairs);
  EXPECT_EQ(bus.bus_.info().repairs, repairs);

  // The new end needs a little room. What `first` had passed may still be whole.
  const std::uint64_t end = bus.raw_.header().last;
  std::erase_if(bus.sent_, [&](const Standing& f) {
    return std::ranges::any_of(gone,
                               [&](std::size_t i) { return chain[i].position == f.position; });
  });
  const std::vector<Standing> whole =
      bus.standing_from(end > kSalvageRing ? end + bus::kTailBytes - kSalvageRing : 0);
  EXPECT_GE(whole.size() + gone.size() + 2, chain.size());
  EXPECT_LE(end, chain.back().position + 2048) << "no further on than the end was";
  EXPECT_EQ(done.frames_kept, whole.size());
  Port late = port_on(bus.bus_.path(), {.start = Start::oldest});
  const std::vector<Standing> heard = bus.read_all(late, lost);
  ASSERT_EQ(sequences(heard), sequences(whole));
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(heard[i].number, whole[i].number);

  // What is sent then continues the numbers, for who was there and who comes late.
  const std::uint32_t from = bus.next_;
  bus.send_up_to(end + kSalvageRing / 8);
  for (Port* port : {&late, &bus.reader_}) {
    lost = 0;
    const std::vector<Standing> fresh = bus.read_all(*port, lost);
    ASSERT_EQ(fresh.size(), bus.next_ - from) << port->name();
    EXPECT_EQ(fresh.front().sequence, from);
    EXPECT_EQ(fresh.front().number, next_number);
    EXPECT_EQ(fresh.back().number, next_number + fresh.size() - 1);
    // That the newest are missing shows only here, to who had not read them.
    const std::ptrdiff_t missed = std::ranges::count_if(gone, [&](std::size_t i) {
      return port == &late && chain[i].position == chain.back().position;
    });
    EXPECT_EQ(static_cast<std::ptrdiff_t>(lost), missed) << port->name();
  }
}

class Salvage : public testing::TestWithParam<Passed> {};

TEST_P(Salvage, KeepsExactlyWhatIsWholeAgainAndAgain) {
  std::uint32_t layout = 0;
  // The place lies in the newer part of the ring, or in the older one.
  for (const std::uint64_t behind : {kSalvageRing / 4, kSalvageRing * 3 / 4}) {
    for (const Damage& damage : damages()) {
      SCOPED_TRACE(damage.what);
      const std::uint64_t place = GetParam().position;
      LappedBus bus(place - 2 * kSalvageRing);
      bus.next_ = layout += 17;  // frames of other sizes each time
      bus.send_up_to(place + behind);
      spoil_and_repair(bus, damage, 1);
      bus.send_up_to(bus.raw_.header().last + kSalvageRing);
      spoil_and_repair(bus, damage, 2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Places, Salvage,
                         testing::Values(Passed{"SomeLaps", 5 * kSalvageRing + 64},
                                         Passed{"TwoTo32", 1ULL << 32U},
                                         Passed{"HalfOfWhatAPadKnows", 1ULL << 38U},
                                         Passed{"AllThatAPadKnows", 1ULL << 39U},
                                         Passed{"HalfOfWhatAFrameKnows", 1ULL << 45U},
                                         Passed{"AllThatAFrameKnows", 1ULL << 46U},
                                         Passed{"ThriceWhatAFrameKnows", 3ULL << 46U}),
                         [](const auto& place) { return std::string(place.param.name); });

/// Fills `bytes` with what would be records of the places where they will stand, and ends of the
/// chain: both name these places.
void disguise(std::vector<std::byte>& bytes, std::uint64_t record, std::uint64_t number,
              bool as_ends) {
  for (std::size_t at = bus::kRecordAlign; at + 16 <= bytes.size(); at += bus::kRecordAlign) {
    const std::uint64_t place = record + bus::kRecordHeaderBytes + at;
    const std::uint64_t fake[2] = {as_ends ? bus::word::empty(place) : bus::word::frame(place, 64),
                                   number};
    std::memcpy(bytes.data() + at, fake, sizeof fake);
  }
}

TEST(SalvageOfALappedRing, TakesNoPayloadForARecordWhereverTheRingBegins) {
  LappedBus bus;
  const std::vector<std::byte> plain(230, std::byte{0xff});
  std::uint64_t sent = 0;
  while (bus.raw_.header().last < 3 * kSalvageRing + kSalvageRing / 2) {
    std::vector<std::byte> bytes = plain;
    disguise(bytes, bus.raw_.header().last, sent + 1, false);
    const FrameView view(bytes);
    const std::uint64_t from = bus.raw_.header().last;
    ASSERT_FALSE(bus.sender_.send({&view, 1}).error);
    bus.note(from);
    ++sent;
  }
  const std::vector<Standing> chain = bus.chain();
  const std::uint64_t border = 3 * kSalvageRing;  // where the ring begins again
  ASSERT_TRUE(std::ranges::any_of(chain, [&](const Standing& f) {
    return f.position < border && f.position + bus::record_bytes(plain.size()) > border;
  })) << "inside of a record";
  bus.raw_.header().last = 12345;
  EXPECT_GE(bus.repair().frames_kept + 1, chain.size());
  Port late = port_on(bus.bus_.path(), {.start = Start::oldest});
  bus.batch_ = FrameBatch(1024, 1U << 20U);
  EXPECT_FALSE(late.receive(bus.batch_).error);
  EXPECT_GE(bus.batch_.size() + 1, chain.size());
  std::uint64_t number = sent - bus.batch_.size();
  for (const FrameView& f : bus.batch_.frames()) {
    EXPECT_EQ(f.size(), plain.size());
    EXPECT_EQ(f.number, number++);
  }
}

/// Where a header was overwritten, the payload behind it is looked at, too.
TEST(SalvageOfALappedRing, TakesNoPayloadForTheEnd) {
  LappedBus bus;
  bus.send_up_to(kSalvageRing / 4);
  const std::uint64_t disguised = bus.raw_.header().last;
  std::vector<std::byte> bytes(230, std::byte{0xff});
  disguise(bytes, disguised, bus.next_ + 1, true);
  const FrameView view(bytes);
  ASSERT_FALSE(bus.sender_.send({&view, 1}).error);
  bus.note(disguised);
  bus.send_up_to(kSalvageRing / 2);
  const std::vector<Standing> chain = bus.chain();
  bus.raw_.ring().record(disguised).word = 0x123456789;
  bus.raw_.header().last = 12345;
  EXPECT_EQ(bus.repair().frames_kept, chain.size() - 1);
  EXPECT_TRUE(is_clean(bus.bus_.audit()));
  std::uint64_t lost = 0;
  EXPECT_EQ(bus.read_all(bus.reader_, lost).size(), chain.size() - 1);
  EXPECT_EQ(lost, 1U);
}

/// An EMPTY has all bits of its position, and those that a pad knows can be right in one of long
/// ago. The chain did not end there: all that was sent since is behind it.
TEST(SalvageOfALappedRing, TakesNoEndOfAnEarlierLapForTheEnd) {
  constexpr std::uint64_t kPadKnows = 1ULL << 39U;
  for (const std::uint64_t earlier : {kPadKnows, 3 * kPadKnows}) {
    LappedBus bus(5 * kPadKnows);
    bus.send_up_to(5 * kPadKnows + kSalvageRing / 2);
    const std::vector<Standing> chain = bus.chain();
    ASSERT_GT(chain.size(), 60U);
    const std::uint64_t end = bus.raw_.header().last;
    const std::uint64_t spoiled = chain[40].position;
    bus.raw_.ring().record(spoiled).word = bus::word::empty(spoiled - earlier);
    bus.raw_.header().last = 12345;
    const auto gone =
        static_cast<std::uint64_t>(std::ranges::count(chain, spoiled, &Standing::position));
    const RepairReport done = bus.repair();
    EXPECT_EQ(done.frames_kept, chain.size() - gone);
    EXPECT_EQ(bus.raw_.header().last, end + bus::kRecordAlign) << "a new end right behind the old";
    EXPECT_TRUE(is_clean(bus.bus_.audit()));
    std::uint64_t lost = 0;
    const std::vector<Standing> heard = bus.read_all(bus.reader_, lost);
    ASSERT_EQ(heard.size(), chain.size() - gone);
    EXPECT_EQ(lost, gone);
    EXPECT_EQ(heard.back().number, chain.back().number);
  }
}

TEST(SalvageOfALappedRing, KeepsWhatADeadWriterCommittedBeforeItDied) {
  LappedBus bus;
  bus.send_up_to(kSalvageRing / 2);
  const std::vector<Standing> chain = bus.chain();
  ASSERT_GT(chain.size(), 60U);
  bus.raw_.claim(77, chain[50].position, chain[50].position, chain[55].position);
  bus.raw_.ring().record(chain[20].position).word = 0;
  const RepairReport done = bus.repair();
  EXPECT_EQ(done.claims_cleared, 1U);
  EXPECT_EQ(done.frames_kept, chain.size() - 1);
  std::uint64_t lost = 0;
  EXPECT_EQ(bus.read_all(bus.reader_, lost).size(), chain.size() - 1);
}

/// A stopped writer may go on, and write to all of its claim.
TEST(SalvageOfALappedRing, KeepsOutOfClaimsOfEverySize) {
  constexpr std::uint64_t kLongest = kSalvageRing / 4 + bus::kTailBytes;
  for (const std::uint64_t size : {std::uint64_t{64}, std::uint64_t{4096}, kLongest}) {
    LappedBus bus;
    bus.send_up_to(kSalvageRing / 4);
    const std::vector<Standing> chain = bus.chain();
    const std::uint64_t end = bus.raw_.header().last;
    bus.raw_.claim(bus.sender_.slot(), end, end, end + size);
    bus.raw_.ring().record(chain[20].position).word = 0;
    const RepairReport done = bus.repair();
    EXPECT_EQ(done.claims_cleared, 0U) << size;
    EXPECT_EQ(done.frames_kept, chain.size() - 1) << size;
    EXPECT_GE(bus.raw_.header().last, end + size);
    EXPECT_LE(bus.raw_.header().last, end + size + 64);
    EXPECT_TRUE(is_clean(bus.bus_.audit()));
  }
}

/// The new end is where an old record begins, right behind a claim: the two have one place.
TEST(SalvageOfALappedRing, LosesTheOldestFramesWhereTheNewEndNeedsTheirRoom) {
  LappedBus bus;
  bus.send_up_to(2 * kSalvageRing);
  const std::vector<Standing> chain = bus.chain();
  const std::uint64_t end = bus.raw_.header().last;
  const auto taken = std::ranges::find_if(
      chain, [&](const Standing& f) { return f.position + kSalvageRing >= end + 4096; });
  ASSERT_NE(taken, chain.end());
  bus.raw_.claim(bus.sender_.slot(), end, end, taken->position + kSalvageRing);
  const std::uint64_t spoiled = chain[chain.size() / 2].position;
  bus.raw_.ring().record(spoiled).word = 0;
  const RepairReport done = bus.repair();
  EXPECT_EQ(bus.raw_.header().last, taken->position + kSalvageRing);
  const auto kept = std::ranges::count_if(chain, [&](const Standing& f) {
    return f.position > taken->position && f.position != spoiled;
  });
  EXPECT_EQ(done.frames_kept, static_cast<std::uint64_t>(kept));
  EXPECT_TRUE(is_clean(bus.bus_.audit()));
}

/// A stopped writer may also write the word that commits its batch, wherever that is, and the pad
/// behind a frame.
TEST(SalvageOfALappedRing, KeepsOutOfTheWordThatCommitsAClaimAndOfThePadInFrontOfOne) {
  LappedBus bus;
  bus.send_up_to(kSalvageRing / 2);
  const std::vector<Standing> chain = bus.chain();
  const std::uint64_t end = bus.raw_.header().last;
  bus.raw_.claim(bus.sender_.slot(), end + bus::kRecordAlign, end + 4096, end + 8192);
  const std::uint64_t begin = chain[30].position;
  const std::uint64_t behind = chain[40].position;
  bus.raw_.claim(bus.reader_.slot(), end, begin, behind);
  bus.raw_.ring().record(begin).word = 0;
  std::uint64_t before = 0;
  for (const Standing& f : chain) {
    if (f.position < begin) before = f.position;
  }
  const auto lost = std::ranges::count_if(
      chain, [&](const Standing& f) { return f.position >= before && f.position < behind; });
  EXPECT_EQ(bus.repair().frames_kept, chain.size() - static_cast<std::size_t>(lost));
  EXPECT_EQ(bus.raw_.header().last, end + 2 * bus::kRecordAlign);
}

/// `last` is lost: the chain ended where the living port waits that is farthest, if it can wait
/// there.
TEST(SalvageOfALappedRing, EndsWhereALivingPortWaitsThatIsFarthest) {
  enum class Case { live, dead, not_empty, far };
  for (const Case each : {Case::live, Case::dead, Case::not_empty, Case::far}) {
    SCOPED_TRACE(static_cast<int>(each));
    LappedBus bus;
    bus.send_up_to(kSalvageRing / 4);
    const std::size_t frames = bus.chain().size();
    const std::uint64_t end = bus.raw_.header().last;
    const std::uint64_t place = end + 4096 + (each == Case::far ? kSalvageRing : 0);
    if (each != Case::not_empty) bus.raw_.ring().record(place).word = bus::word::empty(place);
    ASSERT_EQ(bus.sender_.slot(), 0U);
    bus.raw_.slot(each == Case::dead ? 2 : 0).position = place;
    bus.raw_.slot(1).position = end;
    bus.raw_.header().last = 12345;
    EXPECT_EQ(bus.repair().frames_kept, frames);
    EXPECT_EQ(bus.raw_.header().last, (each == Case::live ? place : end) + bus::kRecordAlign);
  }
}

TEST(RepairReport, SaysThatADeadPortsLockWasReleasedAndALivingOnesNot) {
  LappedBus bus;
  bus.send_up_to(kSalvageRing / 8);
  for (const unsigned holder : {77U, bus::lock_word::kRepairSlot, bus::kSlots}) {
    bus.raw_.lock_as(holder);
    const RepairReport done = bus.repair();
    EXPECT_TRUE(done.lock_released) << holder;
    EXPECT_FALSE(done.ring_rebuilt) << holder;
    EXPECT_TRUE(bus::lock_word::is_free(bus.raw_.header().lock)) << holder;
  }
  const std::uint64_t word = bus.raw_.lock_as(bus.reader_.slot());
  EXPECT_FALSE(bus.repair().lock_released);
  EXPECT_EQ(bus.raw_.header().lock, word);
}

TEST(RepairReport, OfASoundBusWithAClaimThatItsPortDoesNotKnowLetsThePortDropIt) {
  LappedBus bus;
  bus.send_up_to(kSalvageRing / 8);
  const std::uint64_t end = bus.raw_.header().last;
  bus.raw_.claim(bus.sender_.slot(), end, end, end + 512);
  ASSERT_TRUE(is_clean(bus.bus_.audit()));
  const RepairReport done = bus.repair();
  EXPECT_GT(done.epoch, 0U);
  EXPECT_EQ(done.claims_cleared, 0U) << "it may be a stopped writer's";
  EXPECT_EQ(bus.sender_.send({}).taken, 0U);  // any call does
  EXPECT_FALSE(bus.bus_.info().ports.at(bus.sender_.slot()).claim_bytes);
  EXPECT_EQ(bus.repair().epoch, done.epoch) << "now there is nothing to tell the ports";
}

/// What was not saved is told to whom it was for, by the next receive and only once.
TEST(RepairReport, OfFramesThatAPortHadStillToReadIsToldByItsNextReceive) {
  for (const bool waits : {false, true}) {
    LappedBus bus;
    bus.send_up_to(kSalvageRing / 8);
    const std::vector<Standing> chain = bus.chain();
    for (const std::size_t i : {0U, 1U, 2U}) bus.raw_.ring().record(chain[i].position).word = 0;
    EXPECT_EQ(bus.repair().frames_kept, chain.size() - 3);
    for (const unsigned slot : {0U, 1U}) {
      const bus::PortSlot& s = bus.raw_.slot(slot);
      EXPECT_LE(s.position, bus.raw_.header().last) << slot;
    }
    if (waits) {
      EXPECT_TRUE(bus.reader_.wait(std::chrono::seconds(20)));
    }
    bus.batch_.clear();
    EXPECT_EQ(bus.reader_.receive(bus.batch_).lost, 3U) << "waits: " << waits;
    std::uint64_t lost = 0;
    bus.read_all(bus.reader_, lost);
    EXPECT_EQ(lost, 0U);
    EXPECT_EQ(bus.reader_.counters().lost_frames, 3U);
    EXPECT_EQ(bus.reader_.counters().rx_frames, chain.size() - 3);
  }
}

// Records that frames share.

/// More numbers may be missing between two runs than one in 32 bytes.
TEST(RepairOfSharedRecords, FramesOnBothSidesOfASpoiledStretchOfTheShortestAreKept) {
  RingRig rig;
  SizedBatch batch;
  std::vector<std::uint64_t> at;
  for (unsigned i = 0; i < 6; ++i) {
    at.push_back(rig.raw.header().last);
    ASSERT_EQ(rig.append(batch.make_equal(1, 203 * i, 203, 14)), bus::AppendStatus::done);
  }
  ASSERT_GT(3 * 203U, (at[5] - at[2]) / bus::kRecordAlign);
  for (const std::size_t i : {2U, 3U, 4U}) rig.raw.ring().record(at[i]).word = 0;
  EXPECT_EQ(Bus::open(rig.file.path(), Access::read_write).value().repair()->frames_kept, 3 * 203U);
  EXPECT_TRUE(is_clean(rig.file.audit()));
  std::vector<std::uint32_t> heard;
  ASSERT_TRUE(rig.reader.find_place_again(rig.tally));
  for (bus::ReadStatus status = bus::ReadStatus::more; status == bus::ReadStatus::more;) {
    FrameBatch in(256);
    status = rig.reader.read_all(in, rig.tally);
    for (const std::uint32_t n : whole_sequences(in)) heard.push_back(n);
  }
  std::vector<std::uint32_t> expected = numbers(0, 2 * 203);
  for (const std::uint32_t n : numbers(5 * 203, 6 * 203)) expected.push_back(n);
  EXPECT_EQ(heard, expected);
  EXPECT_EQ(rig.tally.lost_frames, 3 * 203U);
  EXPECT_EQ(rig.tally.corrupt, 0U);
}

/// The number of one record was overwritten. However many frames it has, it is one record, and all
/// the others say otherwise. If that is the second or the last but one, the record beside it stands
/// alone, and only those beyond the spoiled one vouch for it.
TEST(RepairOfSharedRecords, ARecordWhoseNumberFitsNoOtherCostsOnlyItsOwnFrames) {
  for (const unsigned spoiled : {0U, 1U, 2U, 4U, 5U}) {
    SCOPED_TRACE(spoiled);
    RingRig rig;
    SizedBatch batch;
    std::vector<std::uint64_t> at;
    for (unsigned i = 0; i < 6; ++i) {
      at.push_back(rig.raw.header().last);
      ASSERT_EQ(rig.append(batch.make_equal(1, 10 * i, 10, 60)), bus::AppendStatus::done);
    }
    rig.raw.ring().record(at[spoiled]).number += 1'000'000;
    ASSERT_FALSE(rig.clean());
    EXPECT_EQ(Bus::open(rig.file.path(), Access::read_write).value().repair()->frames_kept, 50U);
    EXPECT_TRUE(is_clean(rig.file.audit()));
  }
}

}  // namespace
}  // namespace shmif::test
