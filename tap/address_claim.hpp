#pragma once
// AddressClaim: the IP addresses of a host, as its port claims them on a bus. It asks whether
// another host has one of them (RFC 5227, RFC 4862 section 5.4), and announces the others, so that
// neighbours that knew the host under another MAC address learn the new one.

#include <functional>
#include <vector>

#include "shmif/frame.hpp"
#include "shmif/mac.hpp"
#include "shmif/port.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// Threads: one at a time. Blocks: never. A frame that finds no room is not sent again.
class AddressClaim {
 public:
  /// Called when the host with the MAC address `owner` says that it has `address`. Result: whether
  /// it is another host. Then it is not called again for this address.
  using Listener = std::function<bool(const IpAddress& address, MacAddress owner)>;

  AddressClaim(const std::vector<Cidr>& addresses, Listener on_conflict);

  /// Sends an ARP probe for each IPv4 address, and a neighbour solicitation for each IPv6 address.
  void probe(Port& port) const;
  /// Sends a gratuitous ARP request or an unsolicited neighbour advertisement for each address that
  /// no other host has claimed so far.
  void announce(Port& port) const;
  /// Looks at a frame from the bus. `own`: the MAC address of this host.
  void look(const FrameView& frame, MacAddress own);
  /// If the frame asks, before its sender takes an IPv6 address, whether somebody has it, and this
  /// host does: answers in place of the host's kernel. While that kernel itself looks for
  /// duplicates, it would take the question for one, and give the address up. Result: whether it
  /// has answered; then the frame is not for the host.
  bool defend(const FrameView& frame, Port& port) const;

 private:
  struct Claimed {
    IpAddress address;
    bool disputed = false;
  };
  void hear_of(std::span<const std::byte> address, bool v6, MacAddress owner);

  std::vector<Claimed> all_;
  Listener on_conflict_;
};

}  // namespace shmif::tap
