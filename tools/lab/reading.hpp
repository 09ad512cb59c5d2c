#pragma once
// The parts of read_lab() that are in files of their own, and the command lines of shmifperf.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/lab/keys.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// The characters of names.
inline constexpr std::string_view kNameSigns =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

/// A name of a host, a bus or a capture. Result: false, and a problem, if it cannot be one.
bool check_name(const std::string& what, const LabName& name, std::size_t most,
                LabProblems& problems);

/// Why a text says no faults of a line; empty if it does.
std::string why_no_faults(const std::string& text);

/// The same faults with a seed that follows from `seed` and `name`, if they have none.
std::string with_seed(const std::string& faults, std::uint64_t seed, const std::string& name);

/// Adds a machine to `lab`.
void read_machine(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

/// Adds the host, or all hosts of its `count`, to `lab`.
void read_host(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

/// Adds a run of shmifperf to `lab`.
void read_perf(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

// ---- Runs of shmifperf ----

/// The path of shmifperf: beside this program, or else in the directories of PATH. Errors: it is in
/// none of them.
Result<std::string> find_shmifperf();

/// The words of `shmifperf` for a run, without its name. `results`: the folder of results; empty:
/// only to check the options.
std::vector<std::string> perf_words(const Lab& lab, const LabPerf& perf,
                                    const std::string& results);

/// Asks shmifperf whether it takes the options of all runs. What it refuses becomes a problem at
/// the place of the option, the job or the run. Blocks: for a process for each run.
void check_perf_options(const Lab& lab, LabProblems& problems);

}  // namespace shmif::tools
