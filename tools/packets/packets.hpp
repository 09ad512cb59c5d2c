#pragma once
// The functions of commands that need libtins, which reads and writes the headers of packets:
// `dump` shows frames, `wait --tcp` asks services. libtins brings ten other libraries, libcrypto
// among them. So the functions are in a module, shmifctl_packets.so. The program loads it when a
// command first needs it.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "shmif/frame.hpp"
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

struct DecodeOptions {
  bool link_header = false;      ///< begins with the frame's addresses, EtherType and length
  bool hex_dump = false;         ///< adds lines with every byte, in hexadecimal and as text
  std::string_view sender = {};  ///< the sender's name, at the beginning; empty if it is left out
};

/// One line about a frame in tcpdump's style, followed by the hex dump's lines; each ends with
/// '\n'. It has the local time to the nanosecond, then decodes ARP, IPv4, IPv6, ICMP, ICMPv6, TCP,
/// UDP, VLAN tags, LLC, STP and ping frames. It shows the beginning of other frames in hexadecimal.
/// It reads headers up to layer 4, never the data behind them. It accepts any bytes: contradictory
/// headers are called malformed. Threads: safe. Blocks: never.
std::string decode(const FrameView& frame, const DecodeOptions& options = {});

/// Finds out whether a service answers (TcpProbe). Threads: one at a time. Blocks: never.
class ServiceProbe {
 public:
  ServiceProbe() = default;
  ServiceProbe(const ServiceProbe&) = delete;
  ServiceProbe& operator=(const ServiceProbe&) = delete;
  virtual ~ServiceProbe() = default;

  using Clock = std::chrono::steady_clock;
  /// Sends the packets that are due. Result: when to call it again at the latest.
  virtual Clock::time_point tick(Clock::time_point now) = 0;
  /// Handles a received frame.
  virtual void take(const FrameView& frame) = 0;
  virtual bool answered() const noexcept = 0;
  /// The address of the host that claims the service's address; empty if no host has done so yet.
  virtual std::optional<MacAddress> host() const = 0;
  /// Tells the probe that this host has left. It then asks for another one.
  virtual void look_for_another() = 0;
  /// A text that says why there is no answer yet.
  virtual std::string why() const = 0;
};

/// The module's table.
struct Packets {
  const char* interface;  ///< a digest of the headers; another build has a different one
  std::string (*decode)(const FrameView& frame, const DecodeOptions& options);
  /// `port` is up and outlives the probe. `from`: empty, or an address of the service's family.
  std::unique_ptr<ServiceProbe> (*probe)(Port& port, const TcpService& service,
                                         std::optional<tap::IpAddress> from);
};

/// Loads the module at the first call. Threads: safe. Blocks: the first call, for the disk. Throws
/// Exception (not_supported) if the module is missing or belongs to another build.
const Packets& packets();

}  // namespace shmif::tools

/// The name under which the module exports its table.
extern "C" const shmif::tools::Packets shmifctl_packets;
