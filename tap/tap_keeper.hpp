#pragma once
// TapKeeper: restores a TAP device after a command has used it: its offloads, MTU, MAC address,
// addresses, default routes, and whether it was up. A separate process does that when the command
// has ended in any way, even by SIGKILL. Until then, a file below /run holds the settings. So if
// both processes are killed, the next command on this device restores them. Internal to tap/.

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// The settings of a TAP device.
struct TapSettings {
  bool is_new = false;  ///< made by this command: restore only the offloads
  bool vnet_hdr = false;
  int header_bytes = 0;
  std::uint32_t mtu = 0;
  MacAddress mac;
  bool up = false;
  std::vector<Cidr> addresses;         ///< without those that the kernel itself made
  std::vector<std::string> active;     ///< offloads that are on
  std::vector<std::string> requested;  ///< offloads that are on if the device is able to
  std::vector<Cidr> added;             ///< addresses that the command adds
  std::vector<IpAddress> gateways;     ///< of the default routes that the command adds

  /// Converts to a text of several lines, and back. Result: empty if the text is not complete.
  std::string to_text() const;
  static std::optional<TapSettings> parse(const std::string& text);
};

/// Whether the device `name` of the calling process's network namespace was last attached with a
/// header before each frame (IFF_VNET_HDR). Empty if there is no such TAP device. TUNSETIFF changes
/// this, so ask before.
std::optional<bool> tap_has_header(const std::string& name);

/// A keeper that is running.
struct TapKeeper {
  UniqueFd link;     ///< the keeper begins when this is closed
  UniqueFd process;  ///< a pidfd
};

/// Starts the keeper of the device that `tun` holds, in the calling process's network namespace.
/// Call it before anything but the mode of `tun` is changed. `had_header`: result of
/// tap_has_header() before the device was attached. `persist`: the device stays at the end even if
/// it is new. Result: empty descriptors if there is nothing to restore. Errors: an errno.
Result<TapKeeper> start_tap_keeper(int tun, const std::string& tun_device,
                                   std::optional<bool> had_header, bool persist,
                                   const std::vector<Cidr>& added,
                                   const std::vector<IpAddress>& gateways);

/// Lets the keeper restore the device, and waits for that, at most 2 s. First close all descriptors
/// of the device.
void end_tap_keeper(const TapKeeper& keeper) noexcept;

}  // namespace shmif::tap
