// A test rig with two ports on one bus: a device answers every frame on one port, and on the other
// a rig asks, waits and verifies. Then the rig changes to another bus. Exit status 0: every answer
// was right.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <shmif/receiver.hpp>

using shmif::FrameView;

/// EtherType 0x88B5 (IEEE 802: local experiments), a number, and zeros up to the smallest frame
/// size.
std::vector<std::byte> make_frame(shmif::MacAddress to, shmif::MacAddress from, unsigned number) {
  std::vector<std::byte> frame(60);
  std::memcpy(&frame[0], to.bytes.data(), 6);
  std::memcpy(&frame[6], from.bytes.data(), 6);
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb5};
  std::memcpy(&frame[14], &number, sizeof number);
  return frame;
}

int main() {
  const std::string path = "/dev/shm/two_ports." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();  // if this fails, value() throws, with a message
  shmif::Port rig({.name = "rig"}), device({.name = "device"});
  for (shmif::Port* port : {&rig, &device}) {
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

  shmif::FrameBatch arrived;
  for (unsigned round = 0; round < 1000; ++round) {
    const auto question = make_frame(device.mac(), rig.mac(), round);
    const auto expected = make_frame(rig.mac(), device.mac(), round);
    if (rig.send(FrameView(question)).taken != 1) return std::puts("the bus refused a frame"), 1;
    if (!rig.wait(std::chrono::seconds(5))) return std::puts("no answer within 5 s"), 1;
    arrived.clear();
    if (rig.receive(arrived).frames != 1 || !std::ranges::equal(arrived[0].bytes, expected))
      return std::printf("round %u: a wrong answer\n", round), 1;
  }
  std::puts("1000 frames asked, 1000 answers verified");

  // A port that is up cannot be detached from its bus by accident. Once detached, it can attach to
  // another bus.
  if (rig.detach() != shmif::Errc::port_up || rig.link().value().path != path) return 1;
  if (rig.down() || rig.detach()) return 1;
  if (rig.link().error().code != std::errc::no_such_file_or_directory) return 1;
  shmif::Bus::create(path, {}).value();
  rig.attach(path).value();
  const bool is_there = rig.link().value().still_named;
  unlink(path.c_str());
  if (!is_there || rig.link().value().still_named) return std::puts("on the wrong bus"), 1;
  std::puts("the rig has changed to another bus");
}
