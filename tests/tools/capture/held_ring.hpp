#pragma once
// A bus whose ring is in the hands of writers that were stopped in the middle.

#include <array>
#include <cstdint>

#include "tests/support/raw_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Eight stopped writers, whose claims leave no room for any frame. The ports are live, so nobody
/// takes their claims away.
class HeldRing {
 public:
  explicit HeldRing(const BusRig& rig) : raw_(rig.path()) {
    const std::uint64_t step = raw_.ring().bytes() / writers_.size();
    const std::uint64_t begin = raw_.header().last;
    unsigned i = 0;
    for (Port& writer : writers_) {
      writer.attach(rig.path()).value();
      slots_.at(i) = slot_of(rig, writer);
      raw_.claim(slots_.at(i), begin + i * step, begin + i * step + 64, begin + (i + 1) * step);
      ++i;
    }
  }
  /// The writers go on.
  void let_go() const {
    for (const unsigned slot : slots_)
      bus::store_seq_cst(raw_.slot(slot).claim_owner, std::uint64_t{0});
  }

 private:
  static unsigned slot_of(const BusRig& rig, const Port& writer) {
    for (const PortInfo& port : Bus::open(rig.path()).value().info().ports) {
      if (port.mac == writer.mac()) return port.slot;
    }
    throw std::runtime_error("the port is not on the bus");
  }

  RawBus raw_;
  std::array<Port, 8> writers_;
  std::array<unsigned, 8> slots_{};
};

}  // namespace shmif::test
