#pragma once
// Every command of shmifperf that there is; tools/shmifperf/main.cpp makes a table of them.

#include "tools/command.hpp"

namespace shmif::tools {

extern const Command kCompareCommand;
extern const Command kOptionsCommand;
extern const Command kReportCommand;
extern const Command kRunCommand;
extern const Command kServerCommand;

}  // namespace shmif::tools
