#pragma once
// What commands do by libtins, which reads and writes the headers of packets: `dump` shows frames,
// `wait --tcp` asks services. libtins brings ten other libraries, libcrypto among them. So it is
// in a module, shmifctl_packets.so, which the program loads when a command first needs it.

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "shmif/frame.hpp"
#include "shmif/port.hpp"
#include "tap/cidr.hpp"
#include "tools/packets/decode.hpp"
#include "tools/packets/tcp_service.hpp"

namespace shmif::tools {

/// Finds out whether a service answers (TcpProbe). Threads: one at a time. Blocks: never.
class ServiceProbe {
 public:
  ServiceProbe() = default;
  ServiceProbe(const ServiceProbe&) = delete;
  ServiceProbe& operator=(const ServiceProbe&) = delete;
  virtual ~ServiceProbe() = default;

  using Clock = std::chrono::steady_clock;
  /// Sends what is due. Result: when to call it again at the latest.
  virtual Clock::time_point tick(Clock::time_point now) = 0;
  /// Handles a received frame.
  virtual void take(const FrameView& frame) = 0;
  virtual bool answered() const noexcept = 0;
  /// The address of the host that claims the service's address; empty: none has done so yet.
  virtual std::optional<MacAddress> host() const = 0;
  /// That host has left: asks for another one.
  virtual void look_for_another() = 0;
  /// Why there is no answer yet, as a text.
  virtual std::string why() const = 0;
};

/// The module's table.
struct Packets {
  const char* interface;  ///< that of another build differs: a digest of the headers
  std::string (*decode)(const FrameView& frame, const DecodeOptions& options);
  /// `port` is up and outlives the probe. `from`: empty, or of the service's family.
  std::unique_ptr<ServiceProbe> (*probe)(Port& port, const TcpService& service,
                                         std::optional<tap::IpAddress> from);
};

/// Loads the module at the first call. Threads: safe. Blocks: the first call, for the disk. Throws
/// Exception (not_supported) if the module is missing or of another build.
const Packets& packets();

}  // namespace shmif::tools

/// The name under which the module shows its table.
extern "C" const shmif::tools::Packets shmifctl_packets;
