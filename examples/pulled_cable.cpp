// Pulls the cable out of a network card. Two namespaces have a cable between them: a program sends
// on one side, and the rig receives on the other. Then the rig removes the cable. Exit status 0:
// all that was sent arrived in order, and both sides noticed that the cable was gone. For users
// other than root, the example makes its own user namespace.

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include <shmif/tap/netlink.hpp>
#include <shmif/tap/packet_link.hpp>

using namespace std::chrono_literals;
using shmif::UniqueFd;
using shmif::tap::Cidr;
using shmif::tap::Netlink;
using shmif::tap::NetNamespace;
using shmif::tap::PacketLink;

constexpr std::uint16_t kPort = 9;
constexpr unsigned kDatagrams = 100;
constexpr std::size_t kDestinationPort = 36, kData = 42;  // in a frame of IPv4 and UDP

/// Does what a program on the desk would do: sends numbers to all hosts of its network.
shmif::Result<std::vector<UniqueFd>> send_datagrams() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(kPort);
  to.sin_addr.s_addr = htonl(0xc61200ff);  // 198.18.0.255
  const UniqueFd udp(socket(AF_INET, SOCK_DGRAM, 0));
  const int on = 1;
  setsockopt(udp.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
  for (unsigned number = 0; number < kDatagrams; ++number)
    sendto(udp.get(), &number, sizeof number, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  return std::vector<UniqueFd>();
}

/// A packet socket at the cable's end in the wall.
shmif::Result<std::vector<UniqueFd>> open_socket() {
  std::vector<UniqueFd> one;
  one.emplace_back(socket(AF_PACKET, SOCK_RAW, 0));
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(if_nametoindex("cable"));
  if (bind(one[0].get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
    return shmif::Error::from_errno(errno, "cannot open the end of the cable");
  return one;
}

/// Whether the frame is the datagram with this number, and not a message of the kernel.
bool is_datagram(const shmif::FrameView& frame, unsigned number) {
  const std::uint16_t port = htons(kPort);
  return frame.size() >= kData + sizeof number &&
         std::memcmp(&frame.bytes[kDestinationPort], &port, sizeof port) == 0 &&
         std::memcmp(&frame.bytes[kData], &number, sizeof number) == 0;
}

int main() {
  if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0) return std::puts("no namespaces here"), 1;
  // If this fails, value() throws, with a message.
  const NetNamespace wall = NetNamespace::create().value();
  const NetNamespace desk = NetNamespace::create().value();
  Netlink in_wall = Netlink::open(wall).value();
  Netlink on_desk = Netlink::open(desk).value();
  in_wall.add_veth("cable", "plug").value();
  in_wall.move_to("plug", desk).value();
  on_desk.rename("plug", "eth0").value();
  on_desk.add_address("eth0", Cidr::parse("198.18.0.1/24").value()).value();
  on_desk.set_up("eth0").value();
  in_wall.set_up("cable").value();
  on_desk.wait_for_carrier("eth0", 5s).value();

  std::vector<UniqueFd> opened = shmif::tap::run_in(wall, open_socket).value();
  PacketLink link = PacketLink::adopt(std::move(opened[0])).value();
  shmif::tap::run_in(desk, send_datagrams).value();
  unsigned in_order = 0;
  shmif::FrameBatch arrived;
  // Waits and receives, as on any link. Result: why no more frames will come.
  const auto receive = [&]() -> std::error_code {
    arrived.clear();
    const shmif::WaitHint hint = link.prepare_wait();
    pollfd entry{link.descriptor(), POLLIN, 0};
    if (!hint.ready && poll(&entry, 1, 5000) == 0) return shmif::Errc::timed_out;
    link.finish_wait();
    return link.receive(arrived).error;
  };
  while (in_order < kDatagrams) {
    if (const std::error_code error = receive()) return std::puts(error.message().c_str()), 1;
    for (const shmif::FrameView& frame : arrived.frames())
      if (is_datagram(frame, in_order)) ++in_order;
  }

  in_wall.remove("cable").value();  // this also removes the cable's other end
  std::error_code end;
  while (!end) end = receive();
  const bool is_left = on_desk.interface("eth0").has_value();
  std::printf("%u datagrams in order; then: %s; %s\n", in_order, end.message().c_str(),
              is_left ? "eth0 is still there" : "eth0 is gone");
  return end == shmif::Errc::link_ended && !is_left ? 0 : 1;
}
