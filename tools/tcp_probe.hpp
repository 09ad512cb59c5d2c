#pragma once
// Asks over a bus whether a TCP service answers, without any IP stack: `shmifctl wait --tcp`.
//
// The probe is a host of its own with a MAC address and an IP address. It finds the service's host
// by ARP or neighbour discovery, sends a SYN, takes a SYN-ACK for yes, and resets the connection.
// The service's program sees nothing: its kernel answers as long as somebody listens.
//
// The IP address it asks from: for IPv6 the link-local one of its MAC address (RFC 4291), to which
// each host on the link has a route. For IPv4 it has to be of the host's own network: one of the
// same /24 that nobody claims when asked three times (RFC 5227), or the one that the caller gives.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "shmif/port.hpp"
#include "tap/cidr.hpp"

namespace shmif::tools {

struct TcpService {
  tap::IpAddress address;
  std::uint16_t port = 0;

  /// Reads "198.18.0.1:80" or "[fd00::1]:80". Errors: bad_argument.
  static Result<TcpService> parse(const std::string& text);
  std::string to_string() const;
};

/// Threads: one at a time. Blocks: never.
class TcpProbe {
 public:
  /// `port` is up and outlives this. `from`: nothing, or of the service's family.
  TcpProbe(Port& port, const TcpService& service, std::optional<tap::IpAddress> from);
  TcpProbe(TcpProbe&&) noexcept;
  TcpProbe& operator=(TcpProbe&&) noexcept;
  ~TcpProbe();

  using Clock = std::chrono::steady_clock;
  /// Sends what is due. Result: when to call again at the latest.
  Clock::time_point tick(Clock::time_point now);
  /// Looks at a frame that came.
  void take(const FrameView& frame);
  bool answered() const noexcept;
  /// Why there is no answer yet, for people.
  std::string why() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tools
