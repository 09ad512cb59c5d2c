#pragma once
// What tests of access heat ask of the machine.

#include "instruments/heat/session.hpp"

namespace shmif::test {

inline constexpr const char* kHeatAttributes = "20000,200000,1000000,3,1000";

/// Whether this kernel tells all that the client sampler can know.
inline bool knows_all() {
  for (const perf::Capability& each : perf::heat_capabilities()) {
    if (each.name == "heat.client" &&
        (each.state != perf::Support::supported || !each.enable_with.empty())) {
      return false;
    }
  }
  return true;
}

}  // namespace shmif::test
