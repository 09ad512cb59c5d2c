// Runs a program under test as a separate host. The rig starts the program in a namespace, so it
// needs no root. A thread connects the program's interface to a bus. Through a port, the rig checks
// what the program sends. Exit status 0: the program's first datagrams came in order, and it ended
// when it was told to.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <shmif/port.hpp>
#include <shmif/tap/bridge.hpp>
#include <shmif/tap/guest/guest.hpp>
#include <shmif/tap/tap_link.hpp>

using namespace std::chrono_literals;
using shmif::tap::Bridge;
using shmif::tap::Guest;
using shmif::tap::TapLink;

constexpr std::uint16_t kPort = 9;
constexpr unsigned kDatagrams = 100;
constexpr std::size_t kDestinationPort = 36, kData = 42;  // in a frame of IPv4 and UDP

/// The program under test, which never ends by itself. It sends numbers to all hosts of its
/// network.
int count_up() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(kPort);
  to.sin_addr.s_addr = htonl(0xc61200ff);  // 198.18.0.255
  const int udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
  setsockopt(udp, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
  for (unsigned number = 0;; ++number) {
    sendto(udp, &number, sizeof number, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
    usleep(100);
  }
}

/// Whether the frame is the datagram with this number, and not a message of the kernel.
bool is_datagram(const shmif::FrameView& frame, unsigned number) {
  const std::uint16_t port = htons(kPort);
  return frame.size() >= kData + sizeof number &&
         std::memcmp(&frame.bytes[kDestinationPort], &port, sizeof port) == 0 &&
         std::memcmp(&frame.bytes[kData], &number, sizeof number) == 0;
}

int main() {
  // This comes first, because a host begins as a copy of a process that has no threads. To run a
  // program, set options.command instead of the body.
  shmif::tap::GuestInterface interface;
  interface.addresses = {shmif::tap::Cidr::parse("198.18.0.1/24").value()};
  shmif::tap::GuestOptions options;
  options.body = count_up;
  options.interfaces = {interface};
  options.via = shmif::tap::Via::tap;
  options.grace = 0ms;                          // time for processes that the program leaves behind
  Guest guest = Guest::start(options).value();  // if this fails, value() throws, with a message

  const std::string path = "/dev/shm/host_rig." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();
  const shmif::Bus bus = shmif::Bus::open(path).value();
  shmif::tap::GuestLink& link = guest.links()[0];
  shmif::AnyLink device(
      std::make_unique<TapLink>(TapLink::adopt(std::move(link.descriptor)).value()));
  auto port = std::make_unique<shmif::Port>(shmif::PortOptions{.name = "host", .mac = link.mac});
  port->attach(bus).value();
  if (port->up()) return 1;
  shmif::AnyLink host(std::move(port));
  shmif::Port rig({.name = "rig"});
  rig.attach(bus).value();
  unlink(path.c_str());  // attached ports keep the bus; no file is left behind
  if (rig.up()) return 1;

  // The rig must see each frame soon, so a batch is small.
  Bridge bridge = Bridge::create({.batch_frames = 8}).value();
  const std::size_t pair = bridge.add(device, host).value();
  shmif::tap::BridgeEnd end;
  std::thread carrying([&] { end = bridge.run(); });
  guest.release().value();

  unsigned in_order = 0;
  shmif::FrameBatch arrived;
  while (in_order < kDatagrams && rig.wait(5s)) {
    arrived.clear();
    if (rig.receive(arrived).error) return 1;
    for (const shmif::FrameView& frame : arrived.frames())
      if (is_datagram(frame, in_order)) ++in_order;
  }
  // The bridge must end first, because the interface ends with the host.
  bridge.stop();
  carrying.join();
  guest.signal(SIGTERM);
  const pid_t first = guest.pid();  // the first of the host's processes
  const int status = guest.wait().status;
  if (kill(first, 0) == 0) return std::puts("processes of the host are left"), 1;
  std::printf("%u datagrams in order; the program ended with %d\n", kDatagrams, status);
  const bool stopped = end.why == shmif::tap::BridgeEnd::Why::stopped && !end.error;
  const bool carried = bridge.counters(pair).to_right.frames >= kDatagrams;
  return in_order >= kDatagrams && stopped && carried && status == 128 + SIGTERM ? 0 : 1;
}
