// What the writer answers where it cannot append: each reason by its own name, and not a byte too
// early.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/plan_batch.hpp"
#include "tests/support/ring_rig.hpp"
#include "tests/support/sized_batch.hpp"

namespace shmif::test {
namespace {

using bus::AppendStatus;

/// A batch of frames with records of their own, which fill so many bytes of the ring.
std::vector<std::size_t> sizes_for(std::uint64_t bytes) {
  constexpr std::uint64_t kRecord = 1024;
  std::vector<std::size_t> sizes(bytes / kRecord, kRecord - bus::kRecordHeaderBytes);
  if (bytes % kRecord != 0) sizes.push_back(bytes % kRecord - bus::kRecordHeaderBytes);
  return sizes;
}

/// Three claims of a quarter of the ring each. In front of them is only the end of the chain.
void claim_three_quarters(const RawBus& raw) {
  const std::uint64_t quarter = raw.ring().bytes() / 4;
  for (unsigned i = 0; i < 3; ++i) {
    const std::uint64_t begin = i == 0 ? bus::kRecordAlign : i * quarter;
    raw.claim(i, begin, begin, (i + 1) * quarter);
  }
}

/// The end of the chain lies right behind the room that claims leave.
TEST(Writer, UsesTheRoomBetweenClaimsToItsLastByteAndNoFurther) {
  RingRig rig;
  const std::uint64_t quarter = rig.raw.ring().bytes() / 4;
  claim_three_quarters(rig.raw);
  SizedBatch batch;
  EXPECT_EQ(rig.append(batch.make(1, 0, sizes_for(quarter))), AppendStatus::no_room);
  EXPECT_EQ(rig.raw.ring().word_at(0), bus::word::empty(0)) << "the chain still ends there";
  EXPECT_EQ(rig.append(batch.make(1, 0, sizes_for(quarter - bus::kRecordAlign))),
            AppendStatus::done);
  EXPECT_EQ(rig.raw.header().last, 4 * quarter - bus::kRecordAlign);
}

/// What it reads without the lock was written at different moments, so it shows nothing but that.
TEST(Writer, ThatHasLostTheLockSaysSoWhateverItFinds) {
  enum class Ring { sound, broken, full };
  for (const Ring ring : {Ring::sound, Ring::broken, Ring::full}) {
    for (const bool holds : {true, false}) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(ring) << holds);
      RingRig rig;
      if (ring == Ring::broken) rig.raw.ring().record(0).word = 0x5a5a5a5a;
      if (ring == Ring::full) claim_three_quarters(rig.raw);
      const std::uint64_t mine = rig.raw.lock_as(kRigSender);
      if (!holds) rig.raw.lock_as(5);
      SizedBatch batch;
      const auto frames = batch.make(1, 0, sizes_for(rig.raw.ring().bytes() / 4));
      const AppendStatus found = ring == Ring::sound    ? AppendStatus::done
                                 : ring == Ring::broken ? AppendStatus::corrupt
                                                        : AppendStatus::no_room;
      EXPECT_EQ(rig.writer.append(mine, plan_batch(frames), 1),
                holds ? found : AppendStatus::lost_lock);
    }
  }
}

}  // namespace
}  // namespace shmif::test
