#pragma once
// Watches the ports of a bus through the counters of its port table.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "instruments/why/difference.hpp"
#include "instruments/why/series.hpp"
#include "instruments/why/task_watch.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {

/// Watches one bus. Threads: one at a time. Blocks: never.
class PortWatch {
 public:
  /// Errors: those of Bus::open.
  static Result<PortWatch> open(const std::string& path);

  /// Adds a step to each port, except at the first look. `tasks` knows which jobs have the ports.
  void sample(WhySeries& series, const TaskWatch& tasks);

 private:
  struct Port {
    std::size_t number = 0;  ///< in `series.ports`
    PortCounters counts;
    std::uint64_t stalls = 0;
    std::set<pid_t> others;  ///< watched processes that do not have this port
  };
  PortWatch(std::string path, Bus bus) : path_(std::move(path)), bus_(std::move(bus)) {}

  std::optional<off_t> size_now(const BusInfo& info) const;
  /// Why the values read cannot be counters of the bus; empty if they can.
  std::string trouble_of(const BusInfo& info, double seconds) const;
  void note_deletion(const BusInfo& info, WhySeries& series);
  void give_up(WhySeries& series, const std::string& why);

  std::string path_;
  Bus bus_;
  std::optional<std::size_t> number_;                         ///< in `series.buses`
  std::map<std::pair<unsigned, std::uint32_t>, Port> ports_;  ///< by slot and incarnation
  std::uint64_t takeovers_dead_ = 0, takeovers_living_ = 0;
  std::uint64_t last_ = 0, epoch_ = 0;  ///< of the ring, at the last look
  off_t bytes_ = 0;                     ///< of the file, at the first look; 0 if already deleted
  bool given_up_ = false;
};

}  // namespace shmif::perf
