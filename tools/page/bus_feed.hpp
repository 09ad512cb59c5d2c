#pragma once
// BusFeed: what the page shows of one bus, looked at again and again.

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "shmif/bus.hpp"
#include "tools/common/json.hpp"
#include "tools/show/rates.hpp"

namespace shmif::tools {

/// A bus by the name that a lab gives it.
struct NamedBus {
  std::string name;
  std::string path;
};

/// Threads: one at a time. Blocks: look() for a few milliseconds for each host.
class BusFeed {
 public:
  static constexpr std::size_t kKept = 300;  ///< how many looks the history has

  explicit BusFeed(NamedBus bus);

  const NamedBus& bus() const noexcept { return bus_; }
  /// Reads the counters of the bus, for the histories. A bus that is gone is noted as not known;
  /// when it is there again, the feed goes on. Result: the bus. Errors: of Bus::open. Blocks:
  /// never.
  Result<Bus> count();
  /// The same, and looks at its hosts. Result: what docs/page.md calls a bus of the state. A bus
  /// that is gone has an "error".
  Json look();
  /// The rates of the last looks: of the bus, or of one port, as docs/page.md says. Empty if there
  /// is no such port.
  Json history() const;
  std::optional<Json> history(unsigned slot, std::uint32_t incarnation) const;

 private:
  using Clock = std::chrono::steady_clock;
  /// Rates per second; negative: not known.
  using Point = std::array<float, 3>;
  using History = std::deque<Point>;
  using PortKey = std::pair<unsigned, std::uint32_t>;  // slot and incarnation

  Json rates_json(const BusRates& rates);
  void note(const BusRates& rates);
  void look_at_hosts(const BusInfo& info);

  NamedBus bus_;
  std::optional<Sample> before_;
  BusRates rates_{};  // of then
  History history_;
  std::map<PortKey, History> port_histories_;
  std::unique_ptr<Json> hosts_;
  std::string ports_of_hosts_;  // for which `hosts_` holds
  Clock::time_point hosts_due_{};
};

}  // namespace shmif::tools
