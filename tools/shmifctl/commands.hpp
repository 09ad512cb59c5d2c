#pragma once
// All commands. A command's file includes this, so that its definition has external linkage.

#include <array>

#include "tools/common/command.hpp"

namespace shmif::tools {

extern const Command kAuditCommand;
extern const Command kBridgeCommand;
extern const Command kChangesCommand;
extern const Command kCheckCommand;
extern const Command kCreateCommand;
extern const Command kDestroyCommand;
extern const Command kDoctorCommand;
extern const Command kDownCommand;
extern const Command kDumpCommand;
extern const Command kEnterCommand;
extern const Command kExecCommand;
extern const Command kExtcapCommand;
extern const Command kFaultCommand;
extern const Command kGatewayCommand;
extern const Command kHealCommand;
extern const Command kBusHeatCommand;
extern const Command kInjectCommand;
extern const Command kLinkCommand;
extern const Command kLsCommand;
extern const Command kMoveCommand;
extern const Command kPartitionCommand;
extern const Command kPingCommand;
extern const Command kPsCommand;
extern const Command kRepairCommand;
extern const Command kServeCommand;
extern const Command kStatCommand;
extern const Command kStopCommand;
extern const Command kTapCommand;
extern const Command kTopCommand;
extern const Command kUpCommand;
extern const Command kUplinkCommand;
extern const Command kWaitCommand;

/// In alphabetical order.
inline constexpr std::array kShmifctlCommands = {
    &kAuditCommand,     &kBridgeCommand, &kChangesCommand, &kCheckCommand,   &kCreateCommand,
    &kDestroyCommand,   &kDoctorCommand, &kDownCommand,    &kDumpCommand,    &kEnterCommand,
    &kExecCommand,      &kExtcapCommand, &kFaultCommand,   &kGatewayCommand, &kHealCommand,
    &kBusHeatCommand,   &kInjectCommand, &kLinkCommand,    &kLsCommand,      &kMoveCommand,
    &kPartitionCommand, &kPingCommand,   &kPsCommand,      &kRepairCommand,  &kServeCommand,
    &kStatCommand,      &kStopCommand,   &kTapCommand,     &kTopCommand,     &kUpCommand,
    &kUplinkCommand,    &kWaitCommand,
};

}  // namespace shmif::tools
