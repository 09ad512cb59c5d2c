#pragma once
// ChangeDesk: where the owner of a port learns that somebody asks for a change
// (shmif/control/change.hpp), and answers.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "shmif/control/change.hpp"
#include "shmif/port.hpp"

namespace shmif {

/// A request that take() returned.
struct ChangeRequest {
  std::uint64_t number = 0;  ///< by which accept() and refuse() answer it
  /// As it came, from any process that may write the bus. parse_change() reads it.
  std::string text{};
};

/// The desk of one port. While it exists, request_change() reaches the port. To serve it, watch
/// descriptor(); when it is readable, call take() until it returns nothing; apply each request, and
/// then call accept() or refuse(). A requester waits for two seconds by default.
///
/// Wakeups cost traffic nothing. The descriptor waits for a futex in the board of the bus by
/// io_uring; without that, for a change of the file's times by inotify; without that, it is a timer
/// of 100 ms.
/// Threads: one at a time; preferably the thread that sleeps on the descriptor. Fork: in the child
/// it may only be destroyed.
class ChangeDesk {
 public:
  /// The port is attached. It must outlive the desk, and stay attached to its bus: for another bus,
  /// open another desk. `line` is shown from the first moment, as by show().
  /// Errors: not_linked; std::errc::operation_not_supported for a bus of NetBSD's format;
  /// copied_file if the path of the bus leads to another file now; an errno.
  static Result<ChangeDesk> open(const Port& port, const std::string& line = {});
  ChangeDesk(ChangeDesk&&) noexcept;  ///< the other may then only be assigned to or destroyed
  /// The port of the former desk takes no changes any more.
  ChangeDesk& operator=(ChangeDesk&&) noexcept;
  ~ChangeDesk();  ///< from now on, the port takes no changes

  /// Readable when there may be a request; always the same. Do not read from it. -1: the system has
  /// no descriptor left, so call take() now and then.
  int descriptor() const noexcept;
  /// The next request for this port. Blocks: never.
  std::optional<ChangeRequest> take();
  /// Says that the change is in effect: notes it in the journal as `noted` (unless that is empty),
  /// and answers `sentence`, which says what holds now. Blocks: never.
  void accept(const ChangeRequest& request, const std::string& noted, const std::string& sentence);
  /// Says that the change was not made. `why` is for people, and names the remedy. Blocks: never.
  void refuse(const ChangeRequest& request, const std::string& why) noexcept;
  /// Notes a change that nobody asked for, for example one at the start. Blocks: never.
  void note(const std::string& change);
  /// Shows what holds on the line now, for `stat`; empty: nothing unusual. `partitioned`: the port
  /// ignores the frames of some others. Blocks: never.
  void show(const std::string& line, bool partitioned) noexcept;
  /// Shows how many frames the line has dropped, and how many wait there now, for `stat`. It may be
  /// called often: it writes only what is new. Until the first call, these are not known. Blocks:
  /// never.
  void show_counts(const LineCounts& counts) noexcept;
  /// The partition that holds for this port since before it came, because a port of its name was in
  /// it: a change as request_change() takes it. Empty: none. Make it before frames pass. After
  /// show(), look once more: meanwhile it may have ended. Blocks: never.
  std::string standing_partition() const;
  /// The name of the port that sent a frame (FrameView::sender, sender_incarnation); empty if it is
  /// no longer known. Blocks: never.
  std::string sender_name(unsigned slot, std::uint32_t incarnation) const;

 private:
  struct Impl;
  explicit ChangeDesk(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif
