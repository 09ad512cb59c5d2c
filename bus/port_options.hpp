#pragma once
// PortOptions: the properties that a program wants for a new port.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "bus/info.hpp"
#include "bus/mac.hpp"

namespace shmif {

/// Where a port begins to read when it goes up.
enum class Start : std::uint8_t {
  now,     ///< with the next frame that is sent
  oldest,  ///< with the oldest frame still in the ring (what NetBSD's shmif does)
};
/// Where a port continues after an overrun.
enum class Resume : std::uint8_t {
  /// With the oldest frame still in the ring: loses least. If a port is overrun again before it
  /// has read an eighth of the ring (at most 1 MiB), it skips as much, so that senders do not
  /// overrun it again at once.
  first,
  newest,  ///< with the next frame that is sent: catches up at once
};

/// The properties of a new port. Port::attach() checks them.
struct PortOptions {
  std::string name =
      {};  ///< 1 to 31 printable characters, unique among live ports; empty: next "portN"
  std::optional<MacAddress> mac = std::nullopt;  ///< unset: random b2:a0:xx:xx:xx:xx
  LinkKind kind = LinkKind::library;  ///< for those who look at the bus, and the default name
  Start start = Start::now;           ///< where it begins to read
  Resume resume = Resume::first;      ///< where it goes on after an overrun
  bool promiscuous = false;           ///< receive the frames for all MAC addresses
  /// Also accept frames addressed to any MAC that this port has used as a source (for a link with
  /// other hosts behind it, such as a guest or a bridge).
  bool learn = false;
  /// Deliver unfinished checksums and super-frames as they are (FrameView::offload), for a link
  /// that can pass them on. Otherwise the port finishes each frame before delivery, and splits a
  /// super-frame into its segments. The counters count a super-frame as one frame either way.
  bool take_offloads = false;
  /// mlock the pages of the bus; attach fails if RLIMIT_MEMLOCK is smaller than the file.
  bool lock_memory = false;
  /// How long attach waits for a name or a MAC address that another port has. The kernel takes a
  /// while to clean up a killed process (half a second was seen); until then its port keeps both.
  std::chrono::milliseconds name_patience{0};
};

}  // namespace shmif
