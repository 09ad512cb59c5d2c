#pragma once
// AddressClaim: claims the IP addresses of a host on a bus, through the host's port. It asks
// whether another host has one of them (RFC 5227, RFC 4862 section 5.4). It announces the others,
// so that neighbours that knew the host under another MAC address learn the new one.

#include <cstdint>
#include <functional>
#include <vector>

#include "shmif/frame.hpp"
#include "shmif/mac.hpp"
#include "shmif/port.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// Threads: one at a time. Blocks: never. If there is no room for a frame, it is not sent again.
class AddressClaim {
 public:
  /// Called when the host with the MAC address `owner` says that it has `address`. Result: whether
  /// that is another host. If so, the listener is not called again for this address.
  using Listener = std::function<bool(const IpAddress& address, MacAddress owner)>;

  AddressClaim(const std::vector<Cidr>& addresses, Listener on_conflict);

  /// Sends an ARP probe for each IPv4 address, and a neighbour solicitation for each IPv6 address.
  void probe(Port& port) const;
  /// Sends a gratuitous ARP request or an unsolicited neighbour advertisement for each address that
  /// no other host has claimed so far.
  void announce(Port& port) const;
  /// Tells the host with the MAC address `owner`, and no other, that this host has `address`, too.
  static void tell(Port& port, const IpAddress& address, MacAddress owner);
  /// Looks at a frame from the bus. `own`: the MAC address of this host. Result: whether the frame
  /// is what tell() of another host sent. It must not reach this host: while a kernel looks for
  /// duplicates of an IPv6 address, it would give the address up, although its host had it first.
  bool look(const FrameView& frame, MacAddress own);
  /// Answers in place of the host's kernel, if the frame asks whether somebody has an IPv6 address
  /// (its sender wants to take it), and this host has that address. While the kernel itself looks
  /// for duplicates, it would mistake the question for a duplicate, and give the address up.
  /// Result: whether it has answered; then the frame must not reach the host.
  bool defend(const FrameView& frame, Port& port) const;

 private:
  struct Claimed {
    IpAddress address;
    bool told = false;      ///< the listener knows of another host
    bool disputed = false;  ///< another host had it before
  };
  /// How this host heard of another one with its address: from what that one says to everybody, or
  /// from its tell().
  enum class Heard : std::uint8_t { claimed, told };
  bool hear_of(std::span<const std::byte> address, MacAddress owner, Heard how);

  std::vector<Claimed> all_;
  Listener on_conflict_;
};

}  // namespace shmif::tap
