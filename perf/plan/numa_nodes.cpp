#include "perf/plan/numa_nodes.hpp"

#include <algorithm>
#include <fstream>
#include <set>

#include "perf/job/job_options.hpp"
#include "perf/job/values.hpp"

namespace shmif::perf {

std::vector<int> NumaNodes::list_in(const std::string& file) const {
  std::ifstream stream(folder_ + '/' + file);
  std::string text;
  if (!std::getline(stream, text) || text.empty()) return {};
  auto list = parse_cpus(text);
  return list ? *std::move(list) : std::vector<int>{};
}

Result<std::vector<int>> NumaNodes::named(const std::vector<int>& nodes,
                                          const std::string& option) const {
  std::vector<int> online = list_in("online");
  if (online.empty()) online.push_back(0);
  if (nodes == std::vector<int>{kAllNodes}) return online;
  for (const int node : nodes) {
    if (std::ranges::find(online, node) != online.end()) continue;
    return Error(Errc::bad_argument, "there is no NUMA node " + std::to_string(node) + " (" +
                                         option + "; this machine has " +
                                         to_string_of_cpus(online) + ')');
  }
  return nodes;
}

Result<std::vector<int>> NumaNodes::cpus_of(const std::vector<int>& nodes,
                                            const std::string& option) const {
  if (nodes.empty()) return std::vector<int>{};
  auto known = named(nodes, option);
  if (!known) return known;
  std::set<int> cpus;
  for (const int node : *known) {
    const std::vector<int> its = list_in("node" + std::to_string(node) + "/cpulist");
    cpus.insert(its.begin(), its.end());
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

bool NumaNodes::lists_cpus_of(const std::vector<int>& nodes) const {
  const auto known = named(nodes, "");
  return known && std::ranges::any_of(*known, [&](int node) {
           return std::ifstream(folder_ + "/node" + std::to_string(node) + "/cpulist").is_open();
         });
}

}  // namespace shmif::perf
