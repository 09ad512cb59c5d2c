#pragma once
// How a host of a lab is run: the words for 'shmifctl exec', and what happens in the host before
// its program starts; and the control groups that limit it.

#include <sys/types.h>

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// The words behind `shmifctl`: exec, its options, and the program. `seed`: of --seed; each line
/// without a seed of its own gets one that follows from it and from the host's name.
std::vector<std::string> exec_words(const Lab& lab, const LabHost& host,
                                    std::optional<std::uint64_t> seed);

/// The options of exec and tap for the addresses of an interface.
std::vector<std::string> address_words(const LabInterface& interface);

/// Their options for its line: its faults, if it has any, and whether its link is down.
std::vector<std::string> line_words(const LabHost& host, const LabInterface& interface,
                                    std::optional<std::uint64_t> seed);

/// In the host: writes its /etc/hosts and its files. Blocks: for the disk. Result: false if that
/// failed; it has said why.
bool make_lab_files(const Lab& lab, const LabHost& host);

/// The first word of a command, which is its program; empty if a shell would make something else of
/// it. "exec" in front does not count.
std::string program_of(const std::string& command);
/// Whether a shell in `folder` finds a program. Hosts also have the directories of the system.
bool has_program(const std::string& name, const std::string& folder);

/// In the host: whether its program can be started. Blocks: for the disk. Result: false if not; it
/// has said why. A command whose program only a shell can find counts as one that can.
bool can_run_program(const LabHost& host, const std::string& folder);

/// The lines of /etc/hosts for everyone in the lab.
std::string lab_hosts_text(const Lab& lab);

/// What makes the /etc/hosts of a host out of that of its machine.
struct HostsFileChange {
  std::vector<std::string> dropped{};  ///< whole lines
  std::string added{};                 ///< lines at the end
};

/// In a host, the names of the lab's hosts have the addresses of the lab and no others, its own
/// name too: a program that listens on its own name is reached from the bus. A host without an
/// address finds its name on its loopback.
HostsFileChange hosts_file_change(const Lab& lab, const LabHost& host, std::istream& of_machine);

/// Whether what `host.ready` waits for is there, but for LabReady::When::log. `init`: the first
/// process of the host. Blocks: never.
bool is_lab_host_ready(const LabHost& host, pid_t init);

/// Makes the groups for the limits of a host, below the group of this process: of version 2, or one
/// for each limit of version 1. The memory that others map, such as a bus, counts for whoever
/// touches it first. Result: their directories; a process joins by writing to cgroup.procs. Errors:
/// this machine or its administrator does not allow it; then no group is left. Blocks: never.
Result<std::vector<std::string>> make_lab_groups(const std::string& lab, const LabHost& host);

}  // namespace shmif::tools
