#pragma once
// Lists of CPUs as the kernel writes them: "0-3,8".

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

/// The CPUs of a list, in ascending order. Empty text: no CPUs. A number above 65535 is refused.
std::optional<std::vector<int>> read_cpu_list(std::string_view text);
/// The same text for CPUs in ascending order: "0-3,8".
std::string write_cpu_list(const std::vector<int>& cpus);

}  // namespace shmif::perf
