#pragma once
// All commands of shmifperf; tools/shmifperf/main.cpp makes a table of them.

#include <optional>
#include <string>
#include <vector>

#include "tools/common/command.hpp"

namespace shmif::tools {

extern const Command kCapabilitiesCommand;
extern const Command kCompareCommand;
extern const Command kHeatCommand;
extern const Command kMembwCommand;
extern const Command kOptionsCommand;
extern const Command kReportCommand;
extern const Command kRunCommand;
extern const Command kSampleCommand;
extern const Command kServerCommand;
extern const Command kStatCommand;
extern const Command kWhyCommand;

/// If `words` contain "--help=NAME" or fio's "--cmdhelp[=NAME]", returns what 'shmifperf options
/// NAME' prints. Throws UsageError if NAME does not exist.
std::optional<std::string> help_asked_for(const std::vector<std::string>& words);

}  // namespace shmif::tools
