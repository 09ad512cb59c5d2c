#pragma once
// fio's reserved keywords, $ncpus, $mb_memory and $pagesize, in the value of an option, and
// calculations with them: "8*$mb_memoryM", "0-($ncpus-1)".

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace shmif::perf {

/// The values of the keywords on this machine.
struct Keywords {
  std::uint64_t ncpus = 1;      ///< that are online
  std::uint64_t mb_memory = 0;  ///< all memory, in MiB
  std::uint64_t pagesize = 4096;
};
Keywords keywords_of_this_machine();

/// `text` with its keywords replaced. If it has keywords, calculations in parentheses are replaced
/// by their results. With `whole`, so is the entire text, if it is a calculation: numbers, + - * /
/// and parentheses, followed by a unit. A text without keywords is not changed. Errors:
/// bad_argument for a calculation without a result. Threads: any. Blocks: never.
Result<std::string> replace_keywords(std::string_view text, bool whole, const Keywords& keywords);

}  // namespace shmif::perf
