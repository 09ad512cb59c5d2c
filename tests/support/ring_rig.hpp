#pragma once
// The ring by itself: one mapping, a writer and readers in one thread, so that every state can be
// reached on purpose; and batches of numbered frames whose sizes and destinations the test chooses.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {

class SizedBatch {
 public:
  /// Frames of these sizes, numbered from `first` on. `to`: their destinations, in turns.
  std::span<FrameView> make(unsigned sender, std::uint32_t first,
                            std::span<const std::size_t> sizes,
                            std::span<const MacAddress> to = {&kBroadcast, 1}) {
    std::size_t bytes = 0;
    for (const std::size_t size : sizes) bytes += size;
    arena_.resize(bytes);
    views_.clear();
    std::size_t at = 0;
    for (std::size_t i = 0; i < sizes.size(); at += sizes[i++]) {
      const std::span<std::byte> room = std::span(arena_).subspan(at, sizes[i]);
      write_numbered(room, sizes[i], sender, static_cast<std::uint32_t>(first + i),
                     to[i % to.size()]);
      views_.emplace_back(room);
    }
    return views_;
  }
  std::span<FrameView> make(unsigned sender, std::uint32_t first,
                            std::initializer_list<std::size_t> sizes) {
    return make(sender, first, std::span(sizes.begin(), sizes.size()));
  }
  /// `count` frames of one size.
  std::span<FrameView> make_equal(unsigned sender, std::uint32_t first, std::size_t count,
                                  std::size_t size,
                                  std::span<const MacAddress> to = {&kBroadcast, 1}) {
    return make(sender, first, std::vector<std::size_t>(count, size), to);
  }

 private:
  std::vector<std::byte> arena_;
  std::vector<FrameView> views_;
};

/// The sequence numbers of frames that are whole.
inline std::vector<std::uint32_t> whole_sequences(const FrameBatch& batch) {
  std::vector<std::uint32_t> out;
  for (const FrameView& frame : batch.frames()) {
    if (const auto n = check_numbered(frame)) out.push_back(n->sequence);
  }
  return out;
}

/// The numbers from `from` up to, but not including, `to`.
inline std::vector<std::uint32_t> numbers(std::uint32_t from, std::uint32_t to) {
  std::vector<std::uint32_t> all;
  for (; from < to; ++from) all.push_back(from);
  return all;
}

inline constexpr unsigned kRigSender = 7;

/// A bus with a writer in slot 7 and a reader of everything.
struct RingRig {
  explicit RingRig(const BusOptions& options = small_ring(), std::uint64_t position = 0,
                   std::uint64_t number = 0)
      : file(options),
        raw(file.path()),
        lock(raw.header(), kRigSender, raw.fd()),
        writer(raw.ring(), kRigSender, 1),
        reader(raw.ring(), nullptr, 0, 0, false),
        frames(raw.ring().max_frame()) {
    if (position != 0 || number != 0) raw.begin_at(position, number);
    raw.slot(kRigSender).state = bus::slot_state(bus::SlotState::live, 1);
    raw.header().slots_used = kRigSender + 1;
    EXPECT_TRUE(reader.seek_end());
  }

  bus::AppendStatus append(std::span<const FrameView> batch, std::uint64_t time_ns = 1) {
    const std::uint64_t mine = lock.acquire();
    const bus::AppendStatus status = writer.append(mine, plan_batch(batch), time_ns);
    lock.release(mine);
    return status;
  }
  bus::AppendStatus append_one(std::size_t size) {
    frames.fix_size(size);
    return append(frames.make(1, next++, 1));
  }
  /// Reads what is there, expecting the frames from `sequence` on, whole.
  std::uint32_t read_all(std::uint32_t sequence) {
    bus::ReadStatus status = bus::ReadStatus::more;
    while (status == bus::ReadStatus::more) {
      FrameBatch batch(64);
      status = reader.read(batch, tally);
      for (const FrameView& f : batch.frames()) {
        const auto n = check_numbered(f);
        EXPECT_TRUE(n) << "frame " << sequence << " is torn";
        if (n) {
          EXPECT_EQ(n->sequence, sequence);
        }
        ++sequence;
      }
    }
    EXPECT_EQ(status, bus::ReadStatus::empty);
    return sequence;
  }
  bool clean() const { return file.audit().clean(); }

  TempBus file;
  RawBus raw;
  bus::BusLock lock;
  bus::RingWriter writer;
  bus::RingReader reader;
  bus::ReadTally tally;
  NumberedBatch frames;
  std::uint32_t next = 0;
};

// A bus whose short frames share records (I9): a writer, a reader of everything, and a port's
// reader.

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
