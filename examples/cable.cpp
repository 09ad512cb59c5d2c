// A protocol without a bus: two programs, a thread each, at the ends of a cable in memory. One asks
// and verifies; the other answers until the cable is closed. Exit status 0: every answer was right,
// and frames for which the other end's short queue had no room were dropped and counted.

#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include <shmif/loopback_link.hpp>

using shmif::FrameView;
using shmif::LoopbackLink;

constexpr unsigned kRounds = 1000, kQueue = 8, kBurst = 20;

/// Waits and receives, as on any link. Result: why no more frames will come.
std::error_code receive(LoopbackLink& link, shmif::FrameBatch& into) {
  into.clear();
  const shmif::WaitHint hint = link.prepare_wait();
  pollfd entry{link.descriptor(), POLLIN, 0};
  if (!hint.ready && poll(&entry, 1, 5000) == 0) return shmif::Errc::timed_out;
  link.finish_wait();
  return link.receive(into).error;
}

int main() {
  shmif::LoopbackOptions options;
  options.queue_frames = kQueue;
  options.queue_bytes = 4096;
  // If this fails, value() throws, with a message.
  auto [rig, device] = LoopbackLink::pair(options).value();

  // The device sends each frame back, with its two addresses exchanged.
  std::error_code end;
  std::thread answering([&echo = device, &end] {
    shmif::FrameBatch questions;
    while (!(end = receive(echo, questions))) {
      for (const FrameView& question : questions.frames()) {
        std::vector<std::byte> answer(question.bytes.begin(), question.bytes.end());
        std::swap_ranges(answer.begin(), answer.begin() + 6, answer.begin() + 6);
        const FrameView frame(answer);
        if (echo.send({&frame, 1}).error) return;
      }
    }
  });

  unsigned right = 0;
  shmif::FrameBatch answers;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::vector<std::byte> question(60, static_cast<std::byte>(round));
    std::fill(question.begin(), question.begin() + 6, std::byte{0x02});
    std::fill(question.begin() + 6, question.begin() + 12, std::byte{0x04});
    const FrameView frame(question);
    if (rig.send({&frame, 1}).error || receive(rig, answers)) break;
    std::swap_ranges(question.begin(), question.begin() + 6, question.begin() + 6);
    if (answers.size() == 1 && std::ranges::equal(answers[0].bytes, question)) ++right;
  }
  device.close();  // any thread may call it; then both ends know
  answering.join();

  // If the other end does not receive, its queue fills up.
  auto [from, to] = LoopbackLink::pair(options).value();
  const std::vector<std::byte> bytes(60);
  const std::vector<FrameView> burst(kBurst, FrameView(bytes));
  const std::size_t taken = from.send(burst).taken;
  std::printf("%u answers verified; of a burst of %zu frames, %llu were dropped\n", right, taken,
              static_cast<unsigned long long>(from.dropped()));
  const bool dropped = taken == kBurst && from.dropped() == kBurst - kQueue;
  return right == kRounds && end == shmif::Errc::link_ended && dropped ? 0 : 1;
}
