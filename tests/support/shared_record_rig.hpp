#pragma once
// A bus whose short frames share records (I9): a writer, a reader of everything, and a port's
// reader.

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/ring_rig.hpp"
#include "tests/support/sized_batch.hpp"

namespace shmif::test {

/// Frames in each record from `position` on.
inline std::vector<std::uint64_t> frames_of_records(const bus::Ring& ring, std::uint64_t position) {
  std::vector<std::uint64_t> out;
  while (const std::uint64_t step = ring.step(ring.word_at(position), position)) {
    out.push_back(ring.frames_of(ring.word_at(position), position));
    position += step;
  }
  return out;
}

class SharedRecord : public testing::Test {
 protected:
  using Sizes = std::vector<std::size_t>;

  static constexpr unsigned kMe = 20;
  static constexpr std::uint64_t kMyMac = 0x02'00'00'00'00'14;
  static inline const MacAddress kMine = MacAddress::from_u64(kMyMac);
  static inline const MacAddress kForOthers = MacAddress::from_u64(0x02'00'00'00'00'15);

  explicit SharedRecord(const BusOptions& options = small_ring()) : rig_(options) {
    rig_.raw.slot(kMe).mac = kMyMac;
    EXPECT_TRUE(mine_.seek_end());
  }
  bus::RingReader reader_of_all(bool resume_newest = false) const {
    bus::RingReader reader(rig_.raw.ring(), nullptr, 0, 0, resume_newest);
    EXPECT_TRUE(reader.seek_end());
    return reader;
  }
  const bus::Ring& ring() const { return rig_.raw.ring(); }
  std::uint64_t here() const { return rig_.raw.header().last; }
  bus::RecordHeader& record(std::uint64_t position) const { return ring().record(position); }
  /// The length of entry `i` of a record whose frames all have `size`.
  std::uint32_t& entry(std::uint64_t position, std::uint64_t i, std::size_t size = 60) const {
    return *reinterpret_cast<std::uint32_t*>(ring().payload(position) + i * bus::entry_bytes(size));
  }
  /// Appends a batch. Result: where it begins.
  std::uint64_t append(const Sizes& sizes, std::span<const MacAddress> to = {&kBroadcast, 1}) {
    const std::uint64_t begin = here();
    EXPECT_EQ(rig_.append(batch_.make(1, next_, sizes, to), ++time_), bus::AppendStatus::done);
    next_ += static_cast<std::uint32_t>(sizes.size());
    return begin;
  }
  std::uint64_t append_equal(std::size_t count, std::size_t size = 60) {
    return append(Sizes(count, size));
  }
  /// Reads up to `max` frames in calls of read(), which it expects to be enough.
  static std::vector<std::uint32_t> take(bus::RingReader& reader, std::size_t max,
                                         bus::ReadTally& tally) {
    FrameBatch in(max);
    static_cast<void>(reader.read_all(in, tally));
    return whole_sequences(in);
  }

  RingRig rig_;
  bus::RingReader mine_{rig_.raw.ring(), &rig_.raw.slot(kMe), kMe, 1, false};
  SizedBatch batch_;
  std::uint32_t next_ = 0;
  std::uint64_t time_ = 100;
};

/// Takes frames with calls of read() or lend().
class Taking {
 public:
  Taking(bus::RingReader& reader, bool lends) : reader_(&reader), lends_(lends) {}
  std::vector<std::uint32_t> take(std::size_t max, std::size_t arena = 1U << 16U) {
    FrameBatch in(max, arena);
    status = lends_ ? reader_->lend(in, tally) : reader_->read(in, tally);
    for (const FrameView& frame : in.frames()) numbers_seen.push_back(frame.number);
    std::vector<std::uint32_t> taken = whole_sequences(in);
    if (lends_) {
      std::size_t torn = 0;
      if (reader_->lent() != 0) status = reader_->release(tally, torn);
      EXPECT_EQ(torn, 0U);
    }
    return taken;
  }

  bus::ReadStatus status = bus::ReadStatus::more;
  bus::ReadTally tally;
  std::vector<std::uint64_t> numbers_seen;

 private:
  bus::RingReader* reader_;
  bool lends_;
};

}  // namespace shmif::test
