#include "perf/counters/cpu_list.hpp"

#include <algorithm>
#include <cstdint>

#include "base/quantity.hpp"

namespace shmif::perf {

std::optional<std::vector<int>> read_cpu_list(std::string_view text) {
  constexpr std::uint64_t kMaxCpu = 65535;
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  std::vector<int> cpus;
  if (text.empty()) return cpus;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view range = text.substr(begin, end - begin);
    const std::size_t dash = range.find('-');
    const auto first = base::read_digits(range.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : base::read_digits(range.substr(dash + 1));
    if (!first || !last || *last > kMaxCpu || *first > *last) return std::nullopt;
    for (std::uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
    begin = end + 1;
  }
  std::ranges::sort(cpus);
  const auto repeated = std::ranges::unique(cpus);
  cpus.erase(repeated.begin(), repeated.end());
  return cpus;
}

std::string write_cpu_list(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t at = 0; at < cpus.size();) {
    std::size_t last = at;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[at]);
    if (last > at) text += '-' + std::to_string(cpus[last]);
    at = last + 1;
  }
  return text;
}

}  // namespace shmif::perf
