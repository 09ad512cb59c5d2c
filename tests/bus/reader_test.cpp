// What a reader counts, where each count has a value of its own: of a loan that was lapped in the
// middle, of what corruption and repair took, and of super-frames.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/ring_rig.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::ReadStatus;
using bus::ReadTally;

constexpr unsigned kSelf = 9;
constexpr std::uint32_t kSelfIncarnation = 4;
constexpr unsigned kPeer = 7;
constexpr std::uint32_t kPeerIncarnation = 3;

/// A reader in slot 9 and a peer in slot 7, on a ring that carries super-frames.
class ReaderAccount : public testing::Test {
 protected:
  ReaderAccount() {
    raw_.slot(kSelf).mac = 0x02'00'00'00'00'09;
    EXPECT_TRUE(reader_.seek_end());
    EXPECT_TRUE(splitter_.seek_end());
  }

  bus::RingReader reader_for(bool take_offloads) const {
    return {raw_.ring(), &raw_.slot(kSelf), kSelf, kSelfIncarnation, false, take_offloads};
  }
  void append(unsigned slot, const FrameView& frame) {
    bus::RingWriter& writer = slot == kSelf ? own_writer_ : peer_writer_;
    bus::BusLock lock(raw_.header(), slot, raw_.fd());
    const std::uint64_t mine = lock.acquire();
    EXPECT_EQ(writer.append(mine, plan_batch({&frame, 1}), ++time_), bus::AppendStatus::done);
    lock.release(mine);
  }
  void append_own() { append(kSelf, frame_of(100, 0xff)); }
  void append_for_others() { append(kPeer, frame_of(100, 0x02)); }
  void append_for_all(std::size_t size) { append(kPeer, frame_of(size, 0xff)); }
  /// A super-frame of so many segments. Result: its size.
  std::size_t append_super(unsigned segments) {
    bytes_ = build(Shape{}, std::size_t{segments} * 100, segments);
    std::memset(bytes_.data(), 0xff, 6);
    FrameView frame(bytes_);
    frame.offload = header_for(Shape{}, 100);
    append(kPeer, frame);
    return bytes_.size();
  }
  /// A super-frame that no reader can use.
  void append_nonsense() {
    FrameView frame = frame_of(100, 0xff);
    frame.offload.gso_type = Offload::kGsoTcp4;
    frame.offload.gso_size = 10;
    append(kPeer, frame);
  }
  FrameView frame_of(std::size_t size, unsigned char destination) {
    bytes_.assign(size, std::byte{0});
    std::memset(bytes_.data(), destination, 6);
    return FrameView(bytes_);
  }
  /// The end of the chain.
  std::uint64_t here() const { return raw_.header().last; }

  /// Records before a place to which writers lap the reader, and behind it. Result: that place.
  std::uint64_t append_two_parts() {
    append_own();
    append_for_others();
    append_for_others();
    append_for_all(200);
    append_super(4);
    append_nonsense();
    const std::uint64_t place = here();
    for (int i = 0; i < 3; ++i) append_own();
    append_for_others();
    append_for_all(61);
    append_for_all(62);
    for (int i = 0; i < 2; ++i) append_nonsense();
    super_bytes_ = append_super(3);
    return place;
  }

  TempBus file_{BusOptions{.ring_bytes = 1U << 20U}};
  RawBus raw_{file_.path()};
  bus::RingWriter own_writer_{raw_.ring(), kSelf, kSelfIncarnation};
  bus::RingWriter peer_writer_{raw_.ring(), kPeer, kPeerIncarnation};
  bus::RingReader reader_ = reader_for(true);
  bus::RingReader splitter_ = reader_for(false);
  Bytes bytes_;
  std::uint64_t time_ = 0;
  std::size_t super_bytes_ = 0;
};

/// One line for each count that differs.
std::string differences(const ReadTally& is, const ReadTally& should) {
  std::string text;
  const auto compare = [&](const char* name, std::uint64_t a, std::uint64_t b) {
    if (a != b)
      text += std::string(name) + " " + std::to_string(a) + " not " + std::to_string(b) + "\n";
  };
  compare("frames", is.frames, should.frames);
  compare("bytes", is.bytes, should.bytes);
  compare("own", is.own, should.own);
  compare("filtered", is.filtered, should.filtered);
  compare("overruns", is.overruns, should.overruns);
  compare("lost_frames", is.lost_frames, should.lost_frames);
  compare("lost_bytes", is.lost_bytes, should.lost_bytes);
  compare("corrupt", is.corrupt, should.corrupt);
  compare("more_segments", is.more_segments, should.more_segments);
  return text;
}

TEST_F(ReaderAccount, ALoanThatIsLappedInItsMiddleCountsOnlyWhatWasWhole) {
  const std::uint64_t start = here();
  const std::uint64_t place = append_two_parts();
  FrameBatch in(64);
  ReadTally tally;
  ASSERT_EQ(reader_.lend(in, tally), ReadStatus::more);
  ASSERT_EQ(in.size(), 5U);
  EXPECT_EQ(reader_.lent(), 5U);
  EXPECT_EQ(differences(tally, {}), "") << "nothing is passed before it is released";
  raw_.header().first = place;
  std::size_t torn = 0;
  EXPECT_EQ(reader_.release(tally, torn), ReadStatus::empty);
  EXPECT_EQ(torn, 2U);
  EXPECT_EQ(differences(tally, {.frames = 3,
                                .bytes = 61 + 62 + super_bytes_,
                                .own = 3,
                                .filtered = 1,
                                .overruns = 1,
                                .lost_frames = 6 + 2,
                                .lost_bytes = place - start,
                                .corrupt = 2,
                                .more_segments = 2}),
            "");
  EXPECT_EQ(reader_.position(), here());
}

TEST_F(ReaderAccount, NothingIsPassedOverWhileFramesAreLent) {
  append_for_all(70);
  const std::uint64_t place = here();
  FrameBatch in(64);
  ReadTally tally;
  std::size_t torn = 0;
  ASSERT_EQ(reader_.lend(in, tally), ReadStatus::more);
  raw_.header().first = place;
  reader_.pass_over(place, 1, tally);
  EXPECT_EQ(differences(tally, {}), "");
  static_cast<void>(reader_.release(tally, torn));
  EXPECT_EQ(torn, 1U);
  EXPECT_EQ(differences(tally, {.overruns = 1, .lost_frames = 1, .lost_bytes = place}), "");
}

TEST_F(ReaderAccount, OfACorruptRecordItCountsTheFramesAndBytesUpToTheEnd) {
  append_for_all(200);
  const std::uint64_t place = here();
  for (int i = 0; i < 4; ++i) append_for_all(300);
  raw_.ring().record(place).word = 0x5a5a5a5a;
  FrameBatch in(64);
  ReadTally tally;
  EXPECT_EQ(reader_.read(in, tally), ReadStatus::corrupt);
  EXPECT_EQ(in.size(), 1U);
  EXPECT_EQ(differences(tally, {.frames = 1,
                                .bytes = 200,
                                .lost_frames = 4,
                                .lost_bytes = here() - place,
                                .corrupt = 1}),
            "");
  append_for_all(80);
  EXPECT_EQ(reader_.read(in, tally), ReadStatus::empty) << "and goes on behind it";
  EXPECT_EQ(tally.frames, 2U);
}

/// A repair may begin the positions again at 0. An old word at an old place is then no place.
TEST_F(ReaderAccount, APlaceBeyondTheEndOfANewChainIsGone) {
  for (int i = 0; i < 4; ++i) append_for_all(300);
  const std::uint64_t bytes = raw_.ring().bytes();
  // The reader is two rings further on than the chain, where a word names its position.
  ASSERT_TRUE(reader_.seek_end());
  const std::uint64_t far = here() + 2 * bytes;
  raw_.begin_at(far, 100);
  ASSERT_TRUE(reader_.seek_end());
  ASSERT_EQ(reader_.position(), far);
  raw_.begin_at(64, 100);
  raw_.ring().record(far).word = bus::word::empty(far);
  EXPECT_FALSE(reader_.seek_to({.position = far}));
  ReadTally tally;
  ASSERT_TRUE(reader_.find_place_again(tally));
  EXPECT_EQ(reader_.position(), 64U);
}

// Super-frames that the reader splits.

TEST_F(ReaderAccount, EachSegmentBearsWhatTheSuperFrameBore) {
  append_for_all(70);
  const std::size_t bytes = append_super(3);
  FrameBatch in(64);
  ReadTally tally;
  EXPECT_EQ(splitter_.read_all(in, tally), ReadStatus::empty);
  ASSERT_EQ(in.size(), 4U);
  for (std::size_t i = 1; i < in.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(in[i].number, 1U);
    EXPECT_EQ(in[i].time_ns, 2U);
    EXPECT_EQ(in[i].sender, kPeer);
    EXPECT_EQ(in[i].sender_incarnation, kPeerIncarnation);
    EXPECT_EQ(in[i].size(), Shape{}.payload() + 100);
    EXPECT_FALSE(in[i].truncated());
    EXPECT_FALSE(in[i].offload.pending());
  }
  EXPECT_EQ(differences(tally, {.frames = 2, .bytes = 70 + bytes, .more_segments = 2}), "");
}

/// What a ringer wrote into the slot may be wrong, or from before.
TEST_F(ReaderAccount, NothingIsPassedOverForAPlaceThatCannotBe) {
  append_for_all(70);
  FrameBatch in(64);
  ReadTally tally;
  ASSERT_EQ(reader_.read(in, tally), ReadStatus::empty);
  const std::uint64_t start = here();
  for (int i = 0; i < 5; ++i) append_for_others();
  const std::uint64_t place = here();
  append_for_all(70);
  const std::uint64_t beyond = here();
  raw_.header().first = place;
  const std::uint64_t most = bus::frames_in(place - start);
  const std::pair<std::uint64_t, std::uint64_t> wrong[] = {
      {beyond, 7},     {place, most + 2}, {place - 16, 6}, {start, 6},
      {start - 32, 6}, {place, 1},        {place, 0}};
  for (const auto& [position, number] : wrong) {
    tally = {};
    reader_.pass_over(position, number, tally);
    EXPECT_EQ(differences(tally, {}), "") << position << " with frame " << number;
    EXPECT_EQ(reader_.position(), start);
  }
  reader_.pass_over(place, most + 1, tally);
  EXPECT_EQ(differences(tally, {.filtered = most}), "") << "no more frames fit there";
}

/// The number behind the end may have been overwritten, too. Then nobody knows how many were lost.
TEST_F(ReaderAccount, OfCorruptionWithAnImpossibleNumberItCountsNoLoss) {
  ReadTally tally;
  FrameBatch in(64);
  for (const std::uint64_t number : {std::uint64_t{1'000'000}, std::uint64_t{0}, UINT64_MAX}) {
    append_for_all(200);
    raw_.ring().record(here()).number = 20;
    ASSERT_TRUE(reader_.seek_end());
    const std::uint64_t place = here();
    append_for_all(300);
    raw_.ring().record(place).word = 0x5a5a5a5a;
    raw_.ring().record(here()).number = number;
    tally = {};
    EXPECT_EQ(reader_.read(in, tally), ReadStatus::corrupt);
    EXPECT_EQ(differences(tally, {.corrupt = 1}), "") << number;
  }
}

// A reader in the middle of a call, while writers go on: how far the call goes, and when it ends.

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
