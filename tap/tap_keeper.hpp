#pragma once
// TapKeeper: puts a TAP device back as it was before a command used it: its offloads, MTU, MAC
// address, addresses, default routes, and whether it was up. A process of its own does that when
// the command has ended in whatever way, also by SIGKILL. What it is to put back is in a file below
// /run meanwhile, so if both are killed, the next command on this device does it. Internal to tap/.

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
  bool is_new = false;  ///< made by this command: only the offloads are put back
  bool vnet_hdr = false;
  int header_bytes = 0;
  std::uint32_t mtu = 0;
  MacAddress mac;
  bool up = false;
  std::vector<Cidr> addresses;         ///< without those that the kernel made
  std::vector<std::string> active;     ///< offloads that are on
  std::vector<std::string> requested;  ///< those that are on as far as the device can
  std::vector<Cidr> added;             ///< addresses that the command adds
  std::vector<IpAddress> gateways;     ///< of the default routes that the command adds

  /// A text of some lines, and back. Result: nothing if the text is not whole.
  std::string to_text() const;
  static std::optional<TapSettings> parse(const std::string& text);
};

/// Whether the device `name` of the calling process's network namespace was last attached with a
/// header before each frame (IFF_VNET_HDR). Nothing if there is no such TAP device. TUNSETIFF
/// changes it, so ask before.
std::optional<bool> tap_has_header(const std::string& name);

/// A keeper at work.
struct TapKeeper {
  UniqueFd link;     ///< the keeper begins when this is closed
  UniqueFd process;  ///< a pidfd
};

/// Starts the keeper of the device that `tun` holds, in the calling process's network namespace.
/// Call it before anything but the mode of `tun` is changed. `had_header`: of tap_has_header(),
/// before the device was attached. `persist`: the device stays at the end even if it is new.
/// Result: empty descriptors if there is nothing to put back. Errors: the system's.
Result<TapKeeper> start_tap_keeper(int tun, const std::string& tun_device,
                                   std::optional<bool> had_header, bool persist,
                                   const std::vector<Cidr>& added,
                                   const std::vector<IpAddress>& gateways);

/// Lets the keeper put the device back, and waits for that, at most 2 s. Close all descriptors of
/// the device before.
void end_tap_keeper(const TapKeeper& keeper) noexcept;

}  // namespace shmif::tap
