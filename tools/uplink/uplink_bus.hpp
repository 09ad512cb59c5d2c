#pragma once
// UplinkBus: the bus of an uplink, which --create may have made.

#include <string>

#include "shmif/bus.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

/// Declare it before the port of the uplink (NewBus says why). Threads: one at a time.
class UplinkBus {
 public:
  /// Opens the bus, or makes it, as provide_bus() does. Throws what that refuses.
  UplinkBus(const std::string& path, const BusWish& wish)
      : bus_(provide_bus(path, wish, made_).value()) {}

  const Bus& bus() const noexcept { return bus_; }
  /// The uplink has started: a bus that was made stays.
  void keep() noexcept { made_.keep(); }

 private:
  NewBus made_;
  Bus bus_;
};

}  // namespace shmif::tools
