#pragma once
// --create, --format, --size, --mtu, --flow and --lock-memory, for every command that attaches to a
// bus (tap, exec, bridge, gateway).

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/faults.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

/// How long a command waits if a port's name is taken. If a host is killed by SIGKILL and started
/// again at once, the kernel may still be cleaning up the old process, which has the name.
inline constexpr std::chrono::milliseconds kNamePatience{2000};

/// Adds these options to a command's description.
void add_bus_options(Options& options);

/// Adds only --lock-memory, for a command that does not make a bus.
void add_lock_option(Options& options);

/// Adds --no-offload, for commands whose devices can leave work to the receiver. `also`: what else
/// the option does to this command's links.
void add_offload_option(Options& options, const std::string& also = {});

/// Adds --fault, for a command whose port stands for one host. `whose`: the line that has the
/// faults, as text ("of the host's line to the bus").
void add_fault_option(Options& options, const std::string& whose);

/// The faults of all --fault options together; empty if there is none. Throws UsageError.
std::optional<LineFaults> line_faults_option(const Arguments& args);
/// The same for texts of that option. Throws UsageError.
LineFaults line_faults_of(const std::vector<std::string>& texts);

/// The values of these options.
struct BusWish {
  bool create = false;
  bool ring_bytes_asked = false;
  bool mtu_asked = false;
  bool flow_asked = false;
  bool lock_memory = false;  ///< for PortOptions::lock_memory
  BusOptions options;
};

/// Throws UsageError when a format, a size, an MTU or a flow is given without --create.
BusWish bus_wish(const Arguments& args);

/// The value of --format. Throws UsageError for an unknown word, or if an option is given, too,
/// that NetBSD's format does not have.
BusFormat format_option(const Arguments& args);

/// The value of --flow; empty if it is not given. Throws UsageError for an unknown word.
std::optional<Flow> flow_option(const Arguments& args);

/// A bus that a command has made. Without keep(), its end removes the bus: a command that cannot
/// start leaves nothing behind. The bus stays if a port uses it, so this is declared before the
/// port of the command; and it stays if another file has its path by then. Threads: one at a time.
class NewBus {
 public:
  NewBus() = default;
  NewBus(std::string path, const BusInfo& made)
      : path_(std::move(path)), device_(made.device), inode_(made.inode) {}
  NewBus(NewBus&& other) noexcept { swap(other); }
  NewBus& operator=(NewBus&& other) noexcept {
    NewBus(std::move(other)).swap(*this);
    return *this;
  }
  /// Blocks: for the disk.
  ~NewBus();

  /// The command has started: the bus stays.
  void keep() noexcept { path_.clear(); }

 private:
  void swap(NewBus& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
  }

  std::string path_;  // empty: there is nothing to remove
  std::uint64_t device_ = 0, inode_ = 0;
};

/// Opens the bus at `path`. If it is missing and --create is given, makes it first, and puts it
/// into `made`. Makes a bus in a file in which Port::attach() makes one. Errors: those of Bus::open
/// for a path that is not a bus; a missing bus without --create; another geometry than asked for.
/// Result: the bus. Attach to it with Port::attach(bus), because the path may name another file by
/// then.
Result<Bus> provide_bus(const std::string& path, const BusWish& wish, NewBus& made);

}  // namespace shmif::tools
