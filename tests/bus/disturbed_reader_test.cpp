// A reader in the middle of a call, while writers go on: how far the call goes, and when it ends.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>

#include "tests/support/ring_rig.hpp"

namespace shmif::test {
namespace {

const MacAddress kStranger = MacAddress::from_u64(0x02'00'00'00'00'99);

/// Makes a page unreadable. The first access runs a function, and then succeeds. Only one page at a
/// time.
class Tripwire {
 public:
  Tripwire() {
    current_ = this;
    struct sigaction action{};
    action.sa_sigaction = [](int, siginfo_t*, void*) { current_->trip(); };
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaction(SIGSEGV, &action, &before_);
  }
  ~Tripwire() {
    cut();
    ::sigaction(SIGSEGV, &before_, nullptr);
  }
  Tripwire(const Tripwire&) = delete;
  Tripwire& operator=(const Tripwire&) = delete;

  void set(std::byte* at, std::function<void()> then) {
    const auto bytes = static_cast<std::uintptr_t>(::getpagesize());
    page_ = reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(at) / bytes * bytes);
    then_ = std::move(then);
    ASSERT_EQ(::mprotect(page_, bytes, PROT_NONE), 0);
  }
  void cut() {
    if (page_ != nullptr) ::mprotect(page_, ::getpagesize(), PROT_READ | PROT_WRITE);
    page_ = nullptr;
  }

 private:
  void trip() {
    if (page_ == nullptr) {  // a fault of another kind
      ::signal(SIGSEGV, SIG_DFL);
      return;
    }
    cut();
    const std::function<void()> then = std::move(then_);
    then();
  }

  static inline Tripwire* current_ = nullptr;
  struct sigaction before_{};
  std::byte* page_ = nullptr;
  std::function<void()> then_;
};

/// The reader has a mapping of its own, so that only it meets the tripwire. Each frame has a
/// record, so a call walks through many chunks of those that are for others.
class DisturbedReader : public testing::Test {
 protected:
  static constexpr unsigned kMe = 20;
  static constexpr std::uint64_t kRing = 1U << 20U;
  static constexpr std::uint64_t kRecord = bus::record_bytes(60);
  static constexpr unsigned kMany = 3000;   ///< more than kChunksPerCall chunks
  static constexpr unsigned kLap = 12'000;  ///< twice that is more than the ring holds

  DisturbedReader() {
    mapped_.slot(kMe).mac = 0x02'00'00'00'00'14;
    EXPECT_TRUE(reader_.seek_end());
  }
  void append(unsigned count, MacAddress to) {
    for (unsigned i = 0; i < count; ++i)
      ASSERT_EQ(rig_.append(frames_.make(1, sequence_++, 1, to)), bus::AppendStatus::done);
  }
  bus::BusHeader& header() const { return rig_.raw.header(); }
  /// Runs `then` when the reader comes to the page of `position`.
  void when_it_comes_to(std::uint64_t position, std::function<void()> then) {
    wire_.set(mapped_.ring().byte_at(position), std::move(then));
  }
  /// A writer that goes on whenever the reader has nearly caught up with it.
  void append_ahead_of_it(unsigned times) {
    when_it_comes_to(header().last - 32 * 1024, [this, times] {
      append(1000, kStranger);
      if (times > 1) append_ahead_of_it(times - 1);
    });
  }
  std::size_t read() {
    FrameBatch in(64);
    static_cast<void>(reader_.read_all(in, tally_));
    wire_.cut();
    return in.size();
  }

  RingRig rig_{BusOptions{.ring_bytes = kRing, .mtu = 1500}};
  RawBus mapped_{rig_.file.path()};
  bus::RingReader reader_{mapped_.ring(), &mapped_.slot(kMe), kMe, 1, false};
  bus::ReadTally tally_;
  Tripwire wire_;

 private:
  NumberedBatch frames_{60};
  std::uint32_t sequence_ = 0;
};

TEST_F(DisturbedReader, FindsAFrameBehindALapInTheSameCall) {
  append(kMany, kStranger);
  when_it_comes_to(header().last / 2, [this] {
    append(kLap, kStranger);
    append(1, kBroadcast);
  });
  EXPECT_EQ(read(), 1U);
  EXPECT_EQ(tally_.overruns, 1U);
}

TEST_F(DisturbedReader, GoesNoFurtherThanTheEndThatItFound) {
  append(kMany, kStranger);
  const std::uint64_t end = header().last;
  append_ahead_of_it(60);
  EXPECT_EQ(read(), 0U);
  EXPECT_GE(reader_.position(), end);
  EXPECT_LT(reader_.position(), end + 32 * 1024) << "writers must not keep it busy for ever";
  EXPECT_EQ(tally_.overruns, 0U);
}

TEST_F(DisturbedReader, GoesAtMostOnceRoundTheRingWhateverLastSays) {
  append(kMany, kStranger);
  const std::uint64_t end = header().last;
  header().last = 1ULL << 50U;
  when_it_comes_to(end - 32 * 1024, [this, end] {
    header().last = end;
    append(1000, kStranger);
    append_ahead_of_it(60);
  });
  EXPECT_EQ(read(), 0U);
  EXPECT_GE(reader_.position(), kRing);
  EXPECT_LT(reader_.position(), kRing + 64 * 1024);
  EXPECT_EQ(tally_.overruns, 0U);
}

TEST_F(DisturbedReader, EndsTheCallWhenItWasLappedFourTimes) {
  append(kMany, kStranger);
  std::function<void()> lap = [&] {
    append(kLap, kStranger);
    when_it_comes_to(header().first + 64 * 1024, lap);
  };
  when_it_comes_to(64 * 1024, lap);
  EXPECT_EQ(read(), 0U);
  EXPECT_EQ(tally_.overruns, 4U);
}

TEST_F(DisturbedReader, DeliversNothingThatWasOverwrittenWhileItCopied) {
  append(100, kBroadcast);
  FrameBatch in(64);
  ASSERT_EQ(reader_.read(in, tally_), bus::ReadStatus::more);
  const std::uint64_t page = 4096;
  ASSERT_LT(reader_.position(), page);
  in.clear();
  when_it_comes_to(page, [this] { append(2 * kLap, kStranger); });  // some frames are copied then
  EXPECT_EQ(reader_.read(in, tally_), bus::ReadStatus::overrun);
  EXPECT_EQ(in.size(), 0U);
  EXPECT_EQ(tally_.overruns, 1U);
  EXPECT_EQ(tally_.corrupt, 0U);
}

/// The place that it seeks is gone when it gets there: it goes on at the oldest, not at the end.
TEST_F(DisturbedReader, ThatIsLappedWhileItSeeksGoesOnAtTheOldest) {
  append(2 * kLap, kStranger);
  FrameBatch in(64);
  ASSERT_EQ(reader_.read(in, tally_), bus::ReadStatus::overrun);
  append(2 * kLap, kStranger);
  // From such a place the walk looks at no word of the page that it seeks.
  const auto page = static_cast<std::uint64_t>(::getpagesize());
  const bus::Ring& ring = rig_.raw.ring();
  const auto next = [&](std::uint64_t p) { return p + ring.step(ring.word_at(p), p); };
  std::uint64_t from = header().first;
  std::uint64_t to = from;
  for (;; from = next(from)) {
    std::uint64_t before = to;
    for (; to < from + kRing / 8; to = next(to)) before = to;
    if (before / page != to / page) break;
    ASSERT_LT(to, header().last);
  }
  header().first = from;
  when_it_comes_to(to, [this] { append(2 * kLap, kStranger); });
  EXPECT_EQ(reader_.read(in, tally_), bus::ReadStatus::overrun);
  EXPECT_EQ(reader_.position(), header().first);
  EXPECT_LT(reader_.position(), header().last);
  EXPECT_EQ(tally_.overruns, 2U);
  EXPECT_EQ(tally_.corrupt, 0U);
}

/// Its caller asks whether there is more, and may hold frames of an earlier call.
TEST_F(DisturbedReader, FindsAFrameBehindManyForOthersAlsoForABatchThatHasSome) {
  append(1, kBroadcast);
  FrameBatch in(64);
  static_cast<void>(reader_.read_all(in, tally_));
  ASSERT_EQ(in.size(), 1U);
  append(kMany, kStranger);
  append(1, kBroadcast);
  static_cast<void>(reader_.read_all(in, tally_));
  EXPECT_EQ(in.size(), 2U);
  EXPECT_EQ(tally_.filtered, kMany);
}

/// The frames of the first chunk fill the batch's memory, and have been overwritten.
TEST(ReaderAtTheEdge, FramesBehindAnOverrunAreNotCutForTheRoomThatTheLostOnesTook) {
  RingRig rig;
  for (unsigned i = 0; i < 10; ++i) ASSERT_EQ(rig.append_one(1000), bus::AppendStatus::done);
  rig.raw.header().first = rig.raw.header().last;
  for (unsigned i = 0; i < 3; ++i) ASSERT_EQ(rig.append_one(1000), bus::AppendStatus::done);
  FrameBatch in(64, 2048);
  bus::ReadTally tally;
  static_cast<void>(rig.reader.read_all(in, tally));
  ASSERT_EQ(in.size(), 2U) << "there is room for two";
  for (std::uint32_t i = 0; i < 2; ++i) {
    const auto read = check_numbered(in[i]);
    ASSERT_TRUE(read) << "frame " << i << " has " << in[i].size() << " bytes";
    EXPECT_EQ(read->sequence, 10 + i);
    EXPECT_FALSE(in[i].truncated());
  }
  EXPECT_EQ(tally.overruns, 1U);
  EXPECT_EQ(tally.lost_frames, 10U);
}

/// Hostile pads may lead it to where positions end. It must not stay there, deaf and without an
/// error.
TEST(ReaderAtTheEdge, FromWherePositionsEndItComesBackToTheChain) {
  constexpr std::uint64_t kFar = (UINT64_MAX - 2 * bus::kMaxRingBytes) & ~std::uint64_t{31};
  constexpr std::uint64_t kLeft = 2048;  // less than a chunk
  for (const bool lends : {false, true}) {
    RingRig rig(small_ring(), kFar, 5);
    bus::ReadTally tally;
    FrameBatch in;
    const auto read = [&] {
      return lends ? rig.reader.lend(in, tally) : rig.reader.read(in, tally);
    };
    const bus::Ring& ring = rig.raw.ring();
    for (std::uint64_t p = kFar; (p = rig.reader.position()) + kLeft != 0;) {
      const std::uint64_t pad = std::min(ring.bytes() - 32, 0 - p - kLeft);
      ring.record(p).word = bus::word::pad(p, pad);
      static_cast<void>(read());
      ASSERT_EQ(rig.reader.position(), p + pad);
    }
    ring.record(0 - kLeft).word = 0;
    rig.raw.begin_at(64, 9);
    const std::uint64_t before = tally.corrupt;  // lend() also looks behind each pad
    EXPECT_EQ(read(), bus::ReadStatus::corrupt) << (lends ? "lends" : "copies");
    EXPECT_EQ(tally.corrupt, before + 1);
    EXPECT_EQ(rig.reader.position(), 64U);
  }
}

}  // namespace
}  // namespace shmif::test
