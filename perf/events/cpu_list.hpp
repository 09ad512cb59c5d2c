#pragma once
// Lists of CPUs as the kernel writes them: "0-3,8".

#include <optional>
#include <string_view>
#include <vector>

namespace shmif::perf {

/// The CPUs of a list, in ascending order. Empty text: no CPUs. A number above 65535 is refused.
std::optional<std::vector<int>> read_cpu_list(std::string_view text);

}  // namespace shmif::perf
