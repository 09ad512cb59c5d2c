// The links of `shmifctl bridge`: a row for each.

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tools/relay/bridge_peers.hpp"
#include "tools/relay/link_address.hpp"
#include "tools/relay/link_row.hpp"
#include "tools/relay/link_side.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::tools {
namespace {

constexpr auto kLinkRows = std::to_array<LinkRow>({
    {.word = "bus",
     .target = "PATH",
     .help = "a port on a bus, which receives every frame",
     .is_bus = true,
     .is_file = true,
     .open = {.before_buses = inspect_beside, .bus = attach_side}},
    {.word = "tap",
     .target = "NAME",
     .help = "a TAP device",
     .device = LinkKind::tap,
     .open = {.before_buses = open_tap_side, .after_buses = address_tap_side}},
    {.word = "packet",
     .target = "IFNAME",
     .help = "an existing interface",
     .example = "packet:eth1",
     .example_text = "put a real interface on the bus (as root)",
     .open = {.before_buses = open_packet_side}},
    {.word = "pcap",
     .target = "FILE",
     .help = "a capture file: as the first link it is replayed with the recorded gaps, as the "
             "second it is written",
     .example = "pcap:all.pcap",
     .example_text = "record every frame in a capture file",
     .is_file = true,
     .is_capture = true,
     .open = {.check = check_capture_side,
              .before_buses = read_capture_side,
              .after_buses = write_capture_side}},
    {.word = "stream",
     .target = "PATH",
     .help = "  stream:PATH listens, and gives each program that connects a port of its own;\n"
             "  stream:connect=PATH connects to a program that listens",
     .example = "stream:/tmp/q.sock",
     .example_text = "put virtual machines on the bus: qemu -device virtio-net,netdev=n,mac=... "
                     "-netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/q.sock",
     .places = socket_place,
     .takes_network_address = true,
     .protocol = &kStreamProtocol,
     .serve = serve_programs,
     .join = keep_connected},
    {.word = "vhost-user",
     .target = "PATH",
     .help = "  vhost-user:[connect=]PATH is for virtual machines that share their memory",
     .example = "vhost-user:/tmp/v.sock",
     .example_text =
         "the same with their memory shared, which is faster: qemu -object "
         "memory-backend-memfd,id=m,size=1G,share=on -machine memory-backend=m -chardev "
         "socket,id=c,path=/tmp/v.sock,reconnect=1 -netdev vhost-user,id=n,chardev=c -device "
         "virtio-net-pci,netdev=n,mac=...,vectors=0 (vectors=0 is needed only without KVM)",
     .places = socket_path,
     .protocol = &kVhostProtocol,
     .serve = serve_programs,
     .join = keep_connected},
    {.word = "memif",
     .target = "PATH",
     .help = "  memif:PATH listens for packet processors that share theirs (DPDK, VPP)",
     .example = "memif:/tmp/m.sock",
     .example_text = "put packet processors on the bus: dpdk-testpmd --no-pci --no-huge -m 128 "
                     "--vdev net_memif0,role=client,socket=/tmp/m.sock,socket-abstract=no -- -i "
                     "--total-num-mbufs=16384",
     .places = socket_path,
     .protocol = &kMemifProtocol,
     .serve = serve_programs},
    {.word = "dgram",
     .target = "LOCAL,REMOTE",
     .help = "  dgram:LOCAL,REMOTE exchanges one datagram for each frame",
     .places = two_sockets,
     .takes_network_address = true,
     .join = exchange_datagrams},
    {.word = "vde",
     .target = "URL",
     .help = "  vde:URL joins a VDE network (a switch, slirp:// and others)",
     .places = no_socket,
     .join = join_vde},
});

}  // namespace

std::span<const LinkRow> link_rows() noexcept {
  return kLinkRows;
}

std::string LinkRow::prefix() const {
  return std::string(word) + ':';
}

std::string LinkRow::form() const {
  return prefix() + target;
}

std::string LinkRow::told() const {
  return leads_to_programs() ? help : form() + " (" + help + ')';
}

std::string list_of_links(bool (LinkRow::*which)() const noexcept,
                          std::string (LinkRow::*as)() const, const std::string& last,
                          const std::string& between) {
  std::vector<std::string> all;
  for (const LinkRow& row : link_rows()) {
    if ((row.*which)()) all.push_back((row.*as)());
  }
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i > 0) text += i + 1 == all.size() ? last : between;
    text += all[i];
  }
  return text;
}

}  // namespace shmif::tools
