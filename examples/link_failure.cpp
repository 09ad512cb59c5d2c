// How does a protocol behave while its line fails? A rig asks a device once per tick. The line
// between them is good at first, then loses everything, and then recovers. Exit status 0: the
// questions asked while it failed had no answer, and all others had one.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <shmif/fault_link.hpp>
#include <shmif/receiver.hpp>

using namespace std::chrono_literals;
using shmif::FaultOptions;
using shmif::FrameView;

/// Waits and receives, as on any link. Result: how many frames; 0 if none came within 5 s.
std::size_t receive(shmif::FaultLink& line, shmif::FrameBatch& into) {
  const auto until = std::chrono::steady_clock::now() + 5s;
  std::size_t frames = 0;
  while (frames == 0 && std::chrono::steady_clock::now() < until) {
    const shmif::WaitHint hint = line.prepare_wait();
    pollfd entry{line.descriptor(), POLLIN, 0};
    if (!hint.ready) poll(&entry, 1, 100);
    line.finish_wait();
    frames = line.receive(into).frames;
  }
  return frames;
}

int main() {
  const std::string path = "/dev/shm/link_failure." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();  // if this fails, value() throws, with a message
  auto rig = std::make_unique<shmif::Port>(shmif::PortOptions{.name = "rig"});
  shmif::Port device({.name = "device"});
  for (shmif::Port* port : {rig.get(), &device}) {
    port->attach(path).value();
    if (port->up()) return 1;
  }
  unlink(path.c_str());  // attached ports keep the bus; no file is left behind

  // The device runs on its own thread. It sends each frame back to its sender.
  const shmif::Receiver answering(device, [&](std::span<const FrameView> frames) {
    for (const FrameView& frame : frames) {
      std::vector<std::byte> answer(frame.bytes.begin(), frame.bytes.end());
      std::memcpy(&answer[0], frame.source().bytes.data(), 6);
      std::memcpy(&answer[6], device.mac().bytes.data(), 6);
      if (device.send(FrameView(answer)).taken != 1) std::puts("the bus refused an answer");
    }
  });

  // A frame of EtherType 0x88B5 (IEEE 802: local experiments), from the rig to the device.
  std::vector<std::byte> question(60);
  std::memcpy(&question[0], device.mac().bytes.data(), 6);
  std::memcpy(&question[6], rig->mac().bytes.data(), 6);
  question[12] = std::byte{0x88};
  question[13] = std::byte{0xb5};

  // The port with a line in front of it. The faults of the line can change at any time, in each
  // direction.
  auto line = shmif::FaultLink::wrap(shmif::AnyLink(std::move(rig)), {}, {}).value();
  const FaultOptions good;
  const FaultOptions dead = shmif::parse_faults("loss=100%").value();
  constexpr unsigned kTicks = 100, kFails = 30, kRecovers = 70;
  unsigned answered = 0;
  shmif::FrameBatch arrived;
  for (unsigned tick = 0; tick < kTicks; ++tick) {
    if (tick == kFails) line.set_faults(good, dead);  // received, sent
    if (tick == kRecovers) line.set_faults(good, good);
    const FrameView frame(question);
    if (line.send({&frame, 1}).taken != 1) return std::puts("the bus refused a frame"), 1;
    if (tick >= kFails && tick < kRecovers) continue;  // there is no answer to wait for
    arrived.clear();
    answered += static_cast<unsigned>(receive(line, arrived));
  }
  const auto lost = static_cast<unsigned>(line.sent().lost);
  std::printf("%u questions, %u answered, %u lost on the dead line\n", kTicks, answered, lost);
  return answered == kTicks - lost && lost == kRecovers - kFails ? 0 : 1;
}
