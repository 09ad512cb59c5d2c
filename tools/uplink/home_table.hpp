#pragma once
// HomeTable: which hosts are on this machine's bus, so that frames between them need not leave it.
//
// The port of an uplink receives every frame of its bus, because a host with any address may be on
// another machine. Most frames are for hosts of the same bus. A learning bridge would drop them;
// this table does it before they cost a system call.
//
// A kernel bridge behind the uplink forgets a host from which it hears nothing for five minutes. So
// one frame of each host passes now and then even if it is for a host of this bus. The bridge knows
// that one, too, and drops the frame.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "shmif/frame.hpp"
#include "shmif/mac.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never.
class HomeTable {
 public:
  using Clock = std::chrono::steady_clock;
  /// A host that was silent for longer may be anywhere, as in the kernel's bridges.
  static constexpr std::chrono::seconds kMemory{300};
  /// How often a frame of a host passes, if a bridge behind the uplink must hear of it.
  static constexpr std::chrono::seconds kRemind{100};

  /// What is behind the uplink.
  enum class Behind : std::uint8_t {
    bridge,  ///< a kernel bridge, which must hear of each host
    line,    ///< a line to another machine
  };

  explicit HomeTable(Behind behind);

  /// Notes the sender of a frame from the bus. Result: whether the frame stays on the bus, because
  /// its receiver is there. `now` never goes back.
  bool stays(const FrameView& frame, Clock::time_point now);
  /// Notes the sender of a frame from the other machines.
  void came_from_afar(const FrameView& frame, Clock::time_point now);

 private:
  struct Host {
    std::uint64_t mac = 0;  ///< 0: no host
    Clock::time_point seen = {};
    Clock::time_point passed = {};  ///< when a frame from it last passed the uplink
    bool is_home = false;
    bool has_passed = false;
  };
  Host& place_of(std::uint64_t mac);
  Host& note(MacAddress mac, bool is_home, Clock::time_point now);

  Behind behind_;
  std::vector<Host> hosts_;  ///< of two hosts with one place, the last one has it
};

}  // namespace shmif::tools
