#pragma once
// NumaNodes: the NUMA nodes of a machine, and their CPUs, as the kernel lists them.

#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

/// Threads: any. Blocks: while it reads a few small files.
class NumaNodes {
 public:
  /// `folder`: the kernel's list of nodes; a test has its own.
  explicit NumaNodes(std::string folder = "/sys/devices/system/node")
      : folder_(std::move(folder)) {}

  /// The nodes of a list that may have kAllNodes, which stands for all that are online. Errors:
  /// bad_argument for a node that the machine does not have, with those that it has; `option` is
  /// named. If the kernel has no list, as without NUMA, only node 0 is known.
  Result<std::vector<int>> named(const std::vector<int>& nodes, const std::string& option) const;
  /// The CPUs of these nodes; empty for an empty list, if these nodes have only memory, or if the
  /// kernel has no list. Errors: those of named().
  Result<std::vector<int>> cpus_of(const std::vector<int>& nodes, const std::string& option) const;
  /// Whether the kernel lists the CPUs of one of these nodes, also if there are none.
  bool lists_cpus_of(const std::vector<int>& nodes) const;

 private:
  /// The list of numbers in a file; empty if there is none.
  std::vector<int> list_in(const std::string& file) const;

  std::string folder_;
};

}  // namespace shmif::perf
