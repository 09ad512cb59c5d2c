#pragma once
// Lists of CPUs as the kernel writes them: "0-3,8".

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

/// The CPUs of a list, in ascending order; an empty list for an empty text. Result: empty if the
/// text is not a list, or has a number above 65535.
std::optional<std::vector<int>> read_cpu_list(std::string_view text);
/// The text of a list of CPUs, which are in ascending order: "0-3,8".
std::string write_cpu_list(const std::vector<int>& cpus);

}  // namespace shmif::perf
