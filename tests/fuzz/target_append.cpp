#include <time.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "bus/port/doorbell.hpp"
#include "bus/port/port_table.hpp"
#include "bus/ring/flow.hpp"
#include "bus/ring/lock.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/numbered_frames.hpp"

namespace shmif::fuzz {
namespace {

constexpr std::uint64_t kMax = 200'000;  // spinning for the lock is a good part of it
constexpr std::uint64_t kMaxWhilePausing = 4'000'000;

/// A sender as bus/port/attachment_send.cpp has it, step by step; `slot` is whose name it writes.
struct Sender {
  Sender(BusImage& image, unsigned slot)
      : lock(image.ring().header(), slot, image.fd()),
        writer(image.ring(), slot, 1),
        bell(image.ring(), slot, image.fd()),
        flow(image.ring(), slot, image.fd(), std::chrono::milliseconds(1)),
        sleeper(image.ring(), slot) {}
  bus::BusLock lock;
  bus::RingWriter writer;
  bus::Bell bell;
  bus::FlowControl flow;
  bus::Sleeper sleeper;
  std::uint64_t held = 0;
};

void append(Sender& s, Input& in, const bus::Ring& ring, std::uint64_t limit) {
  static const std::array<std::byte, 1522> payload{};
  std::array<FrameView, 16> frames;
  const std::size_t count = in.below(frames.size()) + 1;
  const std::size_t size = 14 + in.below(ring.max_frame() - 13);
  std::size_t taken = 0;
  for (; taken < count; ++taken) {
    const std::size_t each = taken % 2 == 0 || size % 4 == 0 ? size : 14;
    frames[taken] = FrameView(payload.data(), each);
    if (ring.carries_offloads() && taken % 3 == 1)
      frames[taken].offload.flags = Offload::kNeedsChecksum;
    const std::uint64_t bytes = test::plan_batch(std::span(frames).first(taken + 1)).bytes;
    if (bytes + bus::kTailBytes > s.writer.max_batch_bytes()) break;
  }
  const std::span<const FrameView> batch = std::span(frames).first(taken);
  s.bell.wake_deep(batch);
  if (s.writer.append(s.held, test::plan_batch(batch), 1, limit) != bus::AppendStatus::done) return;
  s.bell.wake(s.bell.collect(batch, s.writer.batch_position(), s.writer.batch_number()));
}

/// As Attachment::send() waits, but for the mutex of its port.
void wait_for_room(bus::FlowControl& flow, std::uint64_t min, std::uint64_t wanted) {
  constexpr std::chrono::microseconds kTenthOfPatience(100);
  const std::chrono::nanoseconds before = flow.paused();
  flow.begin_wait();
  for (unsigned looks = 0;  // ends when patience is over
       !flow.admits(flow.paused() - before < kTenthOfPatience ? wanted : min); ++looks) {
    const timespec pause{0, static_cast<long>(flow.pause_after(looks).count())};
    if (pause.tv_nsec != 0) nanosleep(&pause, nullptr);
  }
  flow.end_wait();
}

}  // namespace

void append(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const bool pauses = (options & 2U) != 0;
  BusImage& image = pauses ? BusImage::get_offloads() : BusImage::get();
  image.reset();
  std::array<Sender, 2> senders{Sender(image, 0), Sender(image, 1)};
  if ((options & 1U) != 0) image.ambush(in);
  while (!in.empty()) {
    const AccessLimit max(pauses ? kMaxWhilePausing : kMax);
    const std::uint8_t what = in.byte();
    Sender& s = senders[what >> 7U];
    const std::uint64_t limit = pauses ? s.flow.limit() : bus::RingWriter::kNoLimit;
    if (pauses && (what & 64U) != 0) {
      const std::uint64_t min = in.word(2) % s.writer.max_batch_bytes();
      if ((what & 32U) != 0) {
        wait_for_room(s.flow, min, s.writer.max_batch_bytes());
      } else {
        static_cast<void>(s.flow.admits(min));
      }
    }
    switch (what % 8) {
      case 0: s.held = s.lock.acquire(); break;
      case 1: append(s, in, image.ring(), limit); break;
      case 2: s.lock.release(s.held); break;
      case 3:
        s.held = s.lock.acquire();
        append(s, in, image.ring(), limit);
        s.lock.release(s.held);
        break;
      case 4:
        s.sleeper.sleep(
            std::min<std::chrono::nanoseconds>(s.sleeper.announce(false), std::chrono::seconds(1)));
        break;
      case 5: static_cast<void>(s.sleeper.withdraw()); break;
      case 6:
        for (const std::uint16_t slot : s.writer.standing_slots()) {
          bus::reap_if_dead(image.ring(), slot, image.fd());
        }
        break;
      default: image.scribble(in); break;
    }
  }
}

}  // namespace shmif::fuzz
