#pragma once
// Changing the line of a port while it runs, from outside: faults, link down and up, partitions,
// moving to another bus. There is no daemon. The process that owns the port applies the change; it
// is asked through the bus file, by anyone who may write that file. Each change is noted in a
// journal in the same file.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "shmif/bus.hpp"

namespace shmif {

/// Asks for a change, and waits until it is in effect.
///
/// `change` is one of:
///
///   fault SPEC | fault none      faults on the line (parse_line_faults())
///   link down | link up          takes the carrier away from the host, or gives it back
///   partition a,b / c,d          ports of different groups do not hear each other; each group is a
///                                list of port names. Ports in no group hear everybody
///   heal                         ends the partition
///   move PATH                    the port joins another bus in the same directory
///
/// `port`: the name of the port that is asked. Empty, for partition and heal only: all ports that
/// are named in the groups, or all that are in a partition. They are asked one after another, and
/// the journal gets one entry. If some of them fail, the others have the change all the same, and
/// each has an entry of its own; the message names both. The bus then keeps the partition: a port
/// that is attached again under its name is in its group at once. With the name of a port, the bus
/// does not keep it.
/// Result: a sentence for people that says what holds now. Control characters in it are replaced.
/// Errors: bad_argument if `change` is none of these; those of Bus::open;
/// std::errc::operation_not_supported if the bus has NetBSD's format, or the program of the port
/// takes no changes, not even 250 ms later; std::errc::no_such_device if no such port is attached;
/// std::errc::no_such_process if its program ended before it answered; timed_out if it did not
/// answer in time, or another request was under way all the time; std::errc::operation_canceled
/// if it refused; the message has its reason. Threads: any, but not the one that serves the port:
/// nobody would answer. Blocks: for at most twice `at_most` for
/// each port. A move then waits for at most `at_most` until the port takes changes on its new bus;
/// if it does not, that is timed_out, too.
Result<std::string> request_change(const std::string& bus_path, const std::string& port,
                                   const std::string& change,
                                   std::chrono::milliseconds at_most = std::chrono::seconds(2));

/// An entry of the journal. All texts may have been written by any process that may write the bus:
/// make them printable before you print them.
struct BusChange {
  std::uint64_t number = 0;        ///< counts the changes of the bus, from 0
  std::uint64_t time_ns = 0;       ///< wall clock, since the epoch
  std::uint64_t before_frame = 0;  ///< it was in effect before the frame with this number was sent
  /// The row of the port, as FrameView::sender; 0xffffffff: the change was of several ports.
  std::uint32_t slot = 0;
  std::uint32_t incarnation = 0;  ///< as FrameView::sender_incarnation
  std::string port{};             ///< its name; empty if the change was of several ports
  std::string text{};  ///< the change, as request_change() takes it; a longer one ends in "..."
};

/// The last changes of a bus, the oldest first, at most 96. Empty for a bus of NetBSD's format.
/// Threads: any. Blocks: never.
std::vector<BusChange> changes(const Bus& bus);

/// What became of frames on the line of a port since the line began. They are no part of the
/// counters of the port, which counts what it read from the bus and wrote to it.
struct LineCounts {
  /// On their way to the host: by faults, a link that was down, or a partition.
  std::uint64_t dropped_in = 0;
  /// On their way from the host: by faults, or a link that was down.
  std::uint64_t dropped_out = 0;
  std::uint64_t waiting = 0;  ///< now, in both directions, for a delay or bottleneck
};

/// What holds on the line of a port now.
struct LineState {
  unsigned slot = 0;              ///< the row of the port, as FrameView::sender
  std::uint32_t incarnation = 0;  ///< as FrameView::sender_incarnation
  std::string port{};             ///< its name
  bool takes_changes = false;     ///< whether its program answers request_change()
  bool partitioned = false;       ///< whether it ignores the frames of some others
  std::string text{};             ///< "link down, fault loss=5%"; empty: nothing unusual
  /// Up to a second old. Empty: its program does not count them.
  std::optional<LineCounts> counts{};
};

/// The lines of all live ports; empty for a bus of NetBSD's format. Threads: any. Blocks: never.
std::vector<LineState> line_states(const Bus& bus);

/// Follows the journal of a bus. It needs only read permission. Threads: one at a time.
class ChangeLog {
 public:
  /// Where take() begins.
  enum class From : std::uint8_t { oldest, now };
  /// Errors: those of Bus::open; std::errc::operation_not_supported for a bus of NetBSD's format.
  static Result<ChangeLog> open(const std::string& bus_path, From from);
  ChangeLog(ChangeLog&&) noexcept;  ///< the other may then only be assigned to or destroyed
  ChangeLog& operator=(ChangeLog&&) noexcept;  ///< closes the bus that it followed before
  ~ChangeLog();

  /// Whether take() may return something. It costs one load. Blocks: never.
  bool has_more() const noexcept;
  /// The changes since the last call, the oldest first. An entry that another process has begun and
  /// not completed is left out once a second has passed. Blocks: never.
  std::vector<BusChange> take();
  /// How many changes were overwritten before take() could return them.
  std::uint64_t missed() const noexcept;

 private:
  struct Impl;
  explicit ChangeLog(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
