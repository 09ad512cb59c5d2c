// A reader stopped before any instruction of its receive, until the senders have gone round the
// ring: whatever it then delivers is whole, and it counts each frame exactly once (I6).

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "tests/process/steps.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

enum class Take : std::uint8_t { copied, in_place };

/// A frame all of whose payload repeats the last byte of its source address.
struct Marked {
  Marked(std::size_t payload, std::uint16_t gso, unsigned mark)
      : bytes(build(kShape, payload, mark)), offload(header_for(kShape, gso)) {
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    bytes[11] = static_cast<std::byte>(mark);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(kShape.payload()), bytes.end(),
              bytes[11]);
    if (gso == 0) offload = {};
  }
  FrameView view() const {
    FrameView v(bytes.data(), bytes.size());
    v.offload = offload;
    return v;
  }
  static bool is_whole(std::span<const std::byte> frame) {
    return frame.size() > kShape.payload() &&
           std::ranges::all_of(frame.subspan(kShape.payload()),
                               [&](std::byte b) { return b == frame[11]; });
  }

  static constexpr Shape kShape{};
  Bytes bytes;
  Offload offload;
};

class StepLap : public Steps {
 protected:
  /// What is received: three frames of `payload` bytes, or super-frames to be cut into segments of
  /// `gso`.
  void lap_at_every_step(std::uint64_t stride, const BusOptions& options, std::size_t payload,
                         std::uint16_t gso, Take take) {
    const TempBus bus(options);
    Port steady = port_on(bus.path(), {.name = "steady"});
    unsigned mark = 0;
    const auto send = [&](std::size_t bytes, std::uint16_t segments) {
      const Marked frame(bytes, segments, ++mark);
      const FrameView view = frame.view();
      return steady.send({&view, 1}).taken == 1;
    };
    // Of lengths that differ, so that what comes round the ring does not begin where the old did.
    const auto go_round = [&] {
      std::uint64_t left = bus.info().ring_bytes + payload;
      while (left > 0) {
        const std::size_t bytes = 1300 + std::size_t{8} * (mark % 7);
        if (!send(bytes, 0)) return false;
        left -= std::min<std::uint64_t>(left, bytes);
      }
      return true;
    };
    at_every_step(
        stride, [&] { return read_all(bus, Marked(payload, gso, 1), take); },
        [&](Tracee&) { return send(payload, gso) && send(payload, gso) && send(payload, gso); },
        [&](Tracee& victim, bool) {
          ASSERT_TRUE(go_round());
          ASSERT_EQ(victim.finish(), kFine);
        });
    EXPECT_GT(*overruns_, 0U) << "nobody was lapped";
  }

 private:
  enum Exit : std::uint8_t { kFine, kTorn, kMiscounted };
  static constexpr std::size_t kMaxFrames = 64;

  /// The first batch between the marks, and then the rest. One frame was received before, so that
  /// what is resolved at the first call only is not part of the steps.
  int read_all(const TempBus& bus, const Marked& first, Take take) const {
    const std::uint64_t before = bus.info().frames;
    Port port = port_on(bus.path(), {.name = "reader"});
    FrameBatch batch(kMaxFrames, 1U << 18U);
    {
      Port other = port_on(bus.path(), {.name = "other"});
      const FrameView view = first.view();
      if (other.send({&view, 1}).error || !receives_whole_ones(port, batch, take, false))
        return kTorn;
    }
    if (!receives_whole_ones(port, batch, take, true)) return kTorn;
    for (std::uint64_t seen = 0; seen != passed(port.counters());) {
      seen = passed(port.counters());
      if (!receives_whole_ones(port, batch, Take::copied, false)) return kTorn;
    }
    const PortCounters counts = port.counters();
    *overruns_ += counts.overruns;
    const bool each_once = passed(counts) == bus.info().frames - before && counts.corrupt == 0;
    return each_once ? kFine : kMiscounted;
  }
  /// Lent frames are judged while they are lent; those that release() then says are torn may be.
  /// `marked`: the test stops it on the way.
  static bool receives_whole_ones(Port& port, FrameBatch& batch, Take take, bool marked) {
    std::array<bool, kMaxFrames> whole{};
    const auto judge = [&] {
      for (std::size_t i = 0; i < batch.size(); ++i) whole.at(i) = Marked::is_whole(batch[i].bytes);
    };
    batch.clear();
    std::size_t torn = 0;
    if (marked) Tracee::begin();
    const bool lent = take == Take::in_place;
    const ReceiveResult got = lent ? port.receive_in_place(batch) : port.receive(batch);
    if (lent) {
      judge();
      torn = port.release();
    }
    if (marked) Tracee::end();
    if (!lent) judge();
    return !got.error &&
           std::all_of(whole.begin() + torn, whole.begin() + batch.size(), std::identity());
  }

  const Shared<std::atomic<std::uint64_t>> overruns_;
};

TEST_F(StepLap, FramesThatAreCopiedAreWhole) {
  lap_at_every_step(stride_or(5), small_ring(), 300, 0, Take::copied);
}

TEST_F(StepLap, FramesThatAreLentAreWholeOrSaidToBeTorn) {
  lap_at_every_step(stride_or(60), small_ring(), 300, 0, Take::in_place);
}

TEST_F(StepLap, ASuperFrameThatIsCutUpIsWhole) {
  lap_at_every_step(stride_or(8), {.ring_bytes = 1U << 20U}, 100, 64, Take::copied);
}

}  // namespace
}  // namespace shmif::test
