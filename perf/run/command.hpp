#pragma once
// A command that a run executes: exec_prerun, exec_postrun, the trigger's.

#include <functional>
#include <string>
#include <vector>

#include "bus/result.hpp"

namespace shmif::perf {

/// Runs a program to its end, without a shell. Its standard input is /dev/null; its output goes to
/// the file `output`, made anew, or where ours goes when that is empty. Blocks: until it has ended,
/// or `ended_early()`, asked every 20 ms, is true: then it and what it has started are killed.
/// Errors: it could not be started, ended with a status other than 0 or by a signal, or was killed.
Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early);

}  // namespace shmif::perf
