#pragma once
// The parts of read_lab(): what reads a host, an event, and the values that several keys share.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "tools/lab/keys.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// The texts of a key that takes a text or a list of texts, with their places. Adds a problem for
/// each item that is not a text.
std::vector<LabName> read_names(const LabTableReader& reader, const char* key);

/// A name of a host, a bus or a capture. Result: false, and a problem, if it cannot be one.
bool check_name(const std::string& what, const LabName& name, std::size_t most,
                LabProblems& problems);

/// A time with its unit. Empty, and a problem, for any other text.
std::optional<std::chrono::nanoseconds> read_delay(const LabTableReader& reader, const char* key);

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

/// What kind of host it is, when all its other keys were read: `vm` or `container`, and on
/// which machine.
void read_host_kind(const LabTableReader& reader, const Lab& lab, LabHost& host);

/// Adds an event of `at` to `lab`.
void read_event(const LabValue& value, Lab& lab, LabProblems& problems);

}  // namespace shmif::tools
