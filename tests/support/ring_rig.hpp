#pragma once
// The ring by itself: one mapping, a writer and a reader in one thread, so that every state can be
// reached on purpose.

#include <gtest/gtest.h>

#include "tests/support/numbered_frames.hpp"
#include "tests/support/plan_batch.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {

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

}  // namespace shmif::test
