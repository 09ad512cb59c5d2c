#pragma once
// TcpProbe: finds out over a bus whether a TCP service answers, without an IP stack: `shmifctl wait
// --tcp`.
//
// The probe acts as a host with its own MAC address and IP address. It finds the service's host by
// ARP or neighbour discovery, sends a SYN, takes a SYN-ACK as success, and resets the connection.
// The service's program does not notice: its kernel answers as long as the program listens.
//
// Its own IP address: for IPv6, it is the link-local address of its MAC address (RFC 4291), to
// which each host on the link has a route. For IPv4, it must be in the host's network. Either the
// caller gives one, or the probe takes an address of the same /24 that no host claims when asked
// three times (RFC 5227).

#include <memory>
#include <optional>
#include <string>

#include "shmif/port.hpp"
#include "tap/cidr.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never.
class TcpProbe final : public ServiceProbe {
 public:
  /// `port` is up and outlives this probe. `from`: empty, or an address of the service's family.
  TcpProbe(Port& port, const TcpService& service, std::optional<tap::IpAddress> from);
  ~TcpProbe() override;

  Clock::time_point tick(Clock::time_point now) override;
  void take(const FrameView& frame) override;
  bool answered() const noexcept override;
  std::optional<MacAddress> host() const override;
  void look_for_another() override;
  std::string why() const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tools
