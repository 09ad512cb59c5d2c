#pragma once
// Finds out that what a bridge passes on comes back to it on the other side.
//
// Two bridges between the same two segments carry each broadcast round and round, since Ethernet
// has no hop count. A bridge sees it as source addresses that come from both sides again and again.
// That alone proves nothing: two hosts may have one address. So the guard then sends a probe, a
// frame with a random number of its own, back to where the last such frame came from. When the
// probe arrives on the other side, there is a second way between the two. On the side that it was
// sent to, anybody can repeat it.

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "shmif/frame.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

namespace shmif::tools {

/// Threads: the bridge's.
class LoopGuard {
 public:
  enum class Side : std::uint8_t { left, right };

  /// `say` is called once, when a loop is certain.
  explicit LoopGuard(std::function<void()> say);

  /// To be shown each frame that came from `side`, whose link is `back`. Result: whether it is a
  /// probe of this guard, which goes no further.
  bool look(Side side, const FrameView& frame, AnyLink& back);

 private:
  void suspect(Side side, AnyLink& back);
  bool came_round(Side side, std::uint32_t id);

  struct Seen {
    std::uint64_t mac = 0;
    Side side = Side::left;
  };
  std::function<void()> say_;
  bool said_ = false;
  /// A probe that has not come back. In a storm it may take longer than the next one is waited for.
  struct Probe {
    std::uint32_t id = 0;
    Side sent_to = Side::left;
    bool under_way = false;
  };
  std::array<Probe, 16> probes_{};
  std::size_t next_probe_ = 0;
  MacAddress address_;  ///< the source of the probes, and of nothing else
  std::array<Seen, 256> seen_{};
  unsigned moves_ = 0;  ///< of addresses from one side to the other, since `since_`
  std::chrono::steady_clock::time_point since_;
  std::chrono::steady_clock::time_point probed_;
};

/// What to tell a person: frames between the two go round. `others`: who joins them too, if known.
std::string loop_text(const std::string& one, const std::string& other, const std::string& others);

/// The processes, other than this one, that have ports of bridges on both buses, for people:
/// "process 4711", "processes 4711 and 4712"; empty when none is seen.
std::string bridges_between(const std::string& one, const std::string& other);

}  // namespace shmif::tools
