#pragma once
// A command that a run executes: exec_prerun, exec_postrun or the trigger's command.

#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::perf {

/// Runs a program to its end, without a shell. Its standard input is /dev/null. Its output goes to
/// the file `output`, which is created or replaced. If `output` is empty, it goes to our own
/// output. Blocks: until the program has ended. The call asks `ended_early()` every 20 ms; if that
/// returns true, it kills the program and all that the program started. Errors: the program could
/// not be started, ended with a status other than 0 or by a signal, or was killed.
Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early);

}  // namespace shmif::perf
