#pragma once
// What a running lab leaves for others to find: `down`, `ls`, `serve`, and the next `up`.
//
//   FOLDER/NAME.json   the lab, its controller's process, its buses and hosts
//   FOLDER/NAME.lock   locked (fcntl) by the controller as long as it lives
//
// FOLDER is $XDG_RUNTIME_DIR/shmif if that variable is set, else /tmp/shmif-UID. It has the mode
// 0700, and is refused if it belongs to somebody else, also for root: a state names buses that are
// removed, and a process that is ended. The kernel frees the lock when the controller ends, in
// whatever way.
//   S1  Whoever gets the lock knows that the controller is gone, and may remove what it has left.
//   S2  Nobody removes a file of a lab without the lock.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"

namespace shmif::tools {

struct LabStateBus {
  std::string name;
  std::string path;
  /// By file_id_of(); empty until the bus is made.
  std::string file_id{};
};

struct LabStateHost {
  std::string name;
  std::vector<std::string> buses;  ///< their names; its port has its own name on each
};

/// What the state of a lab says.
struct LabState {
  std::string name;
  std::string file;     ///< an absolute path
  std::string results;  ///< the folder of logs and captures
  bool results_are_temporary = false;
  pid_t pid = 0;  ///< the controller
  /// When it started, in the unit of /proc/PID/stat. With the pid, it names one process for ever.
  std::uint64_t started = 0;
  bool ready = false;
  std::vector<LabStateBus> buses{};
  std::vector<LabStateHost> hosts{};     ///< that run on this machine
  std::vector<std::string> far_hosts{};  ///< the names of those on other machines
  std::vector<std::string> groups{};     ///< control groups, as paths
};

/// The folder of this user's labs. Makes it. Errors: it belongs to somebody else, or others may
/// write to it, or exchange it.
Result<std::string> lab_state_folder();

/// The folders in which labs of this user may be (XDG_RUNTIME_DIR may differ between shells), and
/// for root those of all users, to look at only. Only folders that exist, and to which nobody but
/// their owner may write.
std::vector<std::string> lab_state_folders();

/// The user to whom a folder belongs: a name, or a number if there is none.
std::string owner_of(const std::string& path);
/// Whether a folder belongs to this user.
bool is_own_folder(const std::string& path);

/// Every lab whose state can be read, in the order of the names.
struct FoundLab {
  LabState state;
  std::string folder;
  bool alive = false;  ///< its controller runs, here or in another pid namespace
  pid_t pid = 0;       ///< its controller, as this process sees it; 0: it cannot be seen from here
  bool own = false;    ///< it is this user's; root sees those of others, but does not trust them
  std::string user{};  ///< whose it is: a name, or a number if there is none
};
std::vector<FoundLab> find_labs();

/// This user's lab of that name; of several, one that is alive. Threads: any. Blocks: for the disk.
std::optional<FoundLab> find_lab(const std::string& name);

/// Whether a lab was started from a file: two folders may have files of one name.
bool is_of_file(const LabState& state, const std::string& file);
/// This user's lab of a file that has the name `name` now: the lab of that name if it is of the
/// file, else the one lab of the file, started when it had another name, else that of the name.
/// Errors: bad_argument, there are several. Threads: any. Blocks: for the disk.
Result<std::optional<FoundLab>> find_lab_of_file(const std::string& file, const std::string& name);

/// The lock of a lab. Threads: one at a time. A process must not open the same lock twice: closing
/// one would give both up (fcntl(2)). A child does not inherit it.
class LabLock {
 public:
  /// Result: empty if a living process has it. Errors: of open(2).
  static Result<std::optional<LabLock>> take(const std::string& folder, const std::string& name);
  /// The same, but waits until it is free.
  static Result<LabLock> wait(const std::string& folder, const std::string& name);
  /// Who has it.
  struct Holder {
    bool is_there = false;
    pid_t pid = 0;  ///< 0: it is in another pid namespace, and cannot be seen from here
  };
  /// Result: nobody also if this process has it, or had it: closing the file would give it up.
  static Holder holder(const std::string& folder, const std::string& name);

 private:
  explicit LabLock(UniqueFd file) noexcept : file_(std::move(file)) {}
  static Result<std::optional<LabLock>> lock(const std::string& folder, const std::string& name,
                                             int how);
  UniqueFd file_;
};

/// Writes the state; it appears whole. Only with the lock (S2).
Result<void> write_lab_state(const std::string& folder, const LabState& state);
/// Empty if there is none, or if it is not readable as a state. Threads: any. Blocks: for the disk,
/// and never for whoever made the file.
std::optional<LabState> read_lab_state(const std::string& folder, const std::string& name);

/// What tells a file from others that later have its path, or its inode number. Empty: there is no
/// file.
std::string file_id_of(const std::string& path);

/// Removes the buses, control groups and temporary results that the state names, then the state,
/// and the name of the lock. Only with the lock (S2). A bus stays if it is another file than the
/// one that the lab made. If the lab was killed while it made a bus, only the path is known; `up`
/// makes no bus where a file is. Result: what stays, as messages.
std::vector<std::string> remove_lab(const std::string& folder, const LabState& state);
/// The same, but the lock stays, because the caller goes on to use it.
std::vector<std::string> remove_lab_but_lock(const std::string& folder, const LabState& state);

/// Whether the controller of a lab runs. The lock tells that also of one in another pid namespace,
/// where the pid of the state means another process, or none.
bool runs(const std::string& folder, const LabState& state);
/// A pidfd of the controller, if it has the lock of the lab: anybody may have written the state.
/// Empty if it does not run, or cannot be seen from here.
UniqueFd open_controller(const std::string& folder, const LabState& state);
/// When a process started; 0 if there is no such process, or if it has ended and nobody has asked
/// for its status.
std::uint64_t start_of_process(pid_t pid);

// Files in folders to which another user may have had access: what is there may be a link to a
// file that is worth more, a FIFO that never answers, or a file without an end.

/// Opens a regular file for reading. Does not follow a link in the last component of `path`, and
/// never waits for the other end of a FIFO. Errors: of open(2); ELOOP for a link; bad_argument if
/// it is not a regular file. Threads: any. Blocks: for the disk.
Result<UniqueFd> open_plain_file(const std::string& path);

/// The text of such a file. Errors: as above; bad_argument if it has more than `max_bytes`.
Result<std::string> read_plain_file(const std::string& path, std::size_t max_bytes);

/// Makes a new file, open for writing, in place of whatever has its name: a link is not followed,
/// and a file with another name keeps its contents. Errors: of unlink(2) and open(2). Threads: any.
/// Blocks: for the disk.
Result<UniqueFd> make_plain_file(const std::string& path, unsigned mode);

/// Writes a file that appears whole, under the name of `path` with ".new" until then. Errors: as
/// above, and of write(2) and rename(2). Threads: one at a time for each path. Blocks: for the
/// disk.
Result<void> write_plain_file(const std::string& path, std::string_view text, unsigned mode);

// Every bus on this machine that this user may see.

/// The buses in /dev/shm, those in `also` (of labs), and those that a process maps which this user
/// may look at. A bus that can only be found by walking through all file systems is missing: one
/// outside of /dev/shm that nobody uses. In the order of the paths. Threads: any. Blocks: for the
/// kernel's lists of mappings, some 10 us for each process.
std::vector<BusInfo> find_buses(const std::vector<std::string>& also);

}  // namespace shmif::tools
