#pragma once
// fio's reserved keywords: $ncpus, $mb_memory and $pagesize in the value of an option, and sums
// with them: "8*$mb_memoryM", "0-($ncpus-1)".

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/result.hpp"

namespace shmif::perf {

/// What the keywords stand for on this machine.
struct Keywords {
  std::uint64_t ncpus = 1;      ///< that are online
  std::uint64_t mb_memory = 0;  ///< of all memory, in MiB
  std::uint64_t pagesize = 4096;
};
Keywords keywords_of_this_machine();

/// `text` with its keywords replaced. Where it has any, what stands in parentheses is worked out,
/// and with `whole` all of the text, if it is a calculation: numbers, + - * / and parentheses, with
/// a unit behind it. A text without keywords stays as it is. Errors: bad_argument for a calculation
/// that has no result. Threads: any. Blocks: never.
Result<std::string> replace_keywords(std::string_view text, bool whole, const Keywords& keywords);

}  // namespace shmif::perf
