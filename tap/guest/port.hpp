#pragma once
// GuestPort: an interface of a guest, and the port that connects it to a bus. A host on a bus is a
// guest with one GuestPort for each interface, and a bridge that carries the frames.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tap/guest/guest.hpp"
#include "tap/line/line.hpp"

namespace shmif::tap {

/// Threads: one at a time.
class GuestPort {
 public:
  /// Takes over the descriptor of `interface`, and attaches a port with these options to the bus.
  /// The port has the interface's kind, whatever `options.kind` says. `options.take_offloads` must
  /// be the value of GuestInterface::offload. Errors: those of Port::attach, TapLink::adopt and
  /// PacketLink::adopt. Blocks: as Port::attach.
  static Result<GuestPort> attach(GuestLink& interface, const Bus& bus, PortOptions options);

  /// Sets the port up: frames pass from now on. Errors: those of Port::up.
  Result<void> up();

  Port& port() const noexcept { return line_->port(); }
  Line& line() const noexcept { return *line_; }              ///< the port, and faults before it
  AnyLink& bus() const noexcept { return line_->link(); }     ///< the line, for a bridge
  AnyLink& device() const noexcept { return *device_; }       ///< our end of the interface
  const std::string& path() const noexcept { return path_; }  ///< of the bus
  const std::string& interface() const noexcept { return interface_; }
  LinkKind kind() const noexcept { return kind_; }

  /// Makes the port receive the frames that the interface receives now, and shows on the bus
  /// whether the interface has carrier.
  void show(const GuestInterfaceState& now);
  /// Gives the interface carrier, or takes the carrier away. Errors: those of tap::set_carrier().
  [[nodiscard]] std::error_code set_carrier(bool on) noexcept;
  /// Cuts the line, and takes the carrier away, as when somebody pulls the cable; or joins the line
  /// again. If the bus is lost, the interface gets carrier only when there is a bus again. Errors:
  /// as set_carrier(); the line is cut or joined in any case.
  [[nodiscard]] std::error_code set_link(bool up);
  /// The MTU of the bus or of the interface, if `side` is one of the two links.
  std::optional<std::uint32_t> mtu_of(const AnyLink& side) const noexcept;

  /// Records that one of the two links has ended. Result: whether the bus was lost, so that
  /// attach_again() can help.
  bool unplug(std::error_code why) noexcept;
  bool is_plugged() const noexcept { return plugged_; }
  bool waits_for_bus() const noexcept { return waits_for_bus_; }
  /// Attaches to the bus that is now at the path, if it has the properties of the earlier bus,
  /// because the interface was made for those. Result: whether frames pass again.
  bool attach_again();
  /// Attaches a second port, with the name, the address and the options of this one, to another
  /// bus, and sets it up. Errors: those of Port::attach and Port::up. Blocks: as Port::attach.
  Result<Port> attach_to(const Bus& bus) const;
  /// Puts that port in the place of the present one, which leaves its bus. Call it while no bridge
  /// uses the links, or let the bridge stop next: the port has another descriptor.
  void replace(Port moved);

 private:
  GuestPort() = default;

  PortOptions options_;
  std::unique_ptr<Line> line_;
  std::unique_ptr<AnyLink> device_;
  std::string path_;
  std::string interface_;
  LinkKind kind_ = LinkKind::tap;
  bool always_promiscuous_ = false;
  std::uint32_t bus_mtu_ = 0;
  bool carries_offloads_ = false;
  GuestInterfaceState state_;
  bool plugged_ = true;
  bool waits_for_bus_ = false;
};

}  // namespace shmif::tap
