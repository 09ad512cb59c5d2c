#pragma once
// The ports of a bus, as its port table counts them.

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/why/difference.hpp"
#include "perf/why/series.hpp"
#include "perf/why/task_watch.hpp"
#include "shmif/bus.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never.
class PortWatch {
 public:
  /// Errors: those of Bus::open.
  static Result<PortWatch> open(const std::string& path);

  /// Adds a step to each port that was there before. `tasks` knows whose ports they are.
  void sample(WhySeries& series, const TaskWatch& tasks);

 private:
  struct Port {
    std::size_t number = 0;  ///< in `series.ports`
    PortCounters counts;
    std::uint64_t stalls = 0;
  };
  PortWatch(std::string path, Bus bus) : path_(std::move(path)), bus_(std::move(bus)) {}

  std::string path_;
  Bus bus_;
  std::optional<std::size_t> number_;                         ///< in `series.buses`
  std::map<std::pair<unsigned, std::uint32_t>, Port> ports_;  ///< by slot and incarnation
  std::uint64_t takeovers_dead_ = 0, takeovers_living_ = 0;
};

}  // namespace shmif::perf
