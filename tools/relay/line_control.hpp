#pragma once
// LineControl: changes the line of a port while a bridge carries its frames, as others ask through
// the bus file (shmif/control/change.hpp).

#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/control/change_desk.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/control/partition.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/line/line.hpp"

namespace shmif::tools {

/// What the command that owns the port can do. An empty member: it cannot, and refuses.
struct LineMeans {
  /// Sets the faults; empty: Line::set_faults() does. Errors: as that.
  std::function<Result<void>(const LineFaults& faults)> set_faults{};
  /// With set_faults: the faults of frames from the host, if Line does not have them at the start.
  FaultOptions sent_elsewhere{};
  /// What was dropped, and waits, outside Line: by those faults, or behind the line. It is added to
  /// what `stat` shows of the line.
  std::function<LineCounts()> counts_elsewhere{};
  /// Gives the host behind the line its carrier, or takes it away. Empty: there is no such host,
  /// and a link that is down only passes no frames.
  std::function<std::error_code(bool on)> set_carrier{};
  /// Attaches a second port, like this one, to another bus, and sets it up.
  std::function<Result<Port>(const Bus& bus)> attach_to{};
  /// Puts that port in the place of the present one. The bridge then stops, to be made again.
  std::function<void(Port moved)> replace{};
};

/// The line of one port. What it drops for a partition or a link that is down, Line drops before
/// faults meet it. So the frames that pass meet the same faults, whatever was dropped between them.
/// Threads: the bridge's thread. Blocks: never for a peer.
class LineControl {
 public:
  /// `line`, with its port and the faults that it has from its start, must outlive this, also if
  /// LineMeans::replace gives the port another bus. If its bus has no place for requests, the port
  /// takes no changes. Create it before the bridge runs: then no frame passes a partition that
  /// holds already.
  LineControl(tap::Line& line, LineMeans means);
  LineControl(const LineControl&) = delete;
  LineControl& operator=(const LineControl&) = delete;
  /// The port hears everybody again. A link that is down stays so.
  ~LineControl();

  /// Serves requests while the bridge runs; the bridge must not outlive this. The bridge stops when
  /// the port was moved to another bus; was_moved() says so.
  Result<void> join(tap::Bridge& bridge);
  /// For a loop without a bridge: readable when there may be a request; -1: the port takes none.
  int descriptor() const noexcept { return desk_ ? desk_->descriptor() : -1; }
  /// Serves the requests that there are. Result: false when the port was moved to another bus.
  bool serve() { return look(); }
  /// Whether the bridge stopped for a move. The next call returns false.
  bool was_moved() noexcept { return std::exchange(moved_, false); }

  /// Whether no frame passes, in either direction. The line drops those from the bus by itself.
  bool is_down() const noexcept { return is_down_; }
  /// Takes the carrier away again if the link is down: somebody else gave it back.
  void keep_down() const;

  /// The port was attached again: to the bus that is at its path now. Also notes what holds.
  void begin_again();
  /// Notes in the journal what holds from the start: faults, a partition, a link that is down.
  void note_start();
  /// Shows in `stat` what the line has dropped so far. Call it before the bridge runs: from then
  /// on, they are brought up to date each second while something on the line can drop frames.
  /// Result: whether they differ from those of the last call.
  bool show_counts();

 private:
  void begin();
  void adopt_partition();
  void set_groups(const Change& change);
  bool look();
  void apply(const ChangeRequest& request);
  void set_faults(const ChangeRequest& request, const std::string& spec);
  void set_link(const ChangeRequest& request, bool up);
  void set_partition(const ChangeRequest& request, const Change& change);
  void move(const ChangeRequest& request, const std::string& path);
  std::string line_text() const;  ///< what show() shows
  void show();
  /// Whether something on the line can drop frames, or hold them.
  bool can_drop() const noexcept { return is_down_ || !faults_.empty() || !groups_.empty(); }
  void wake_in_a_second() const noexcept;
  bool count_now();
  const Port& port() const { return line_->port(); }
  std::string name() const { return "port " + port().name(); }

  tap::Line* line_;
  LineMeans means_;
  std::optional<ChangeDesk> desk_;
  std::string faults_;  ///< empty: none
  std::string groups_;  ///< of the partition; empty: there is none
  Partition partition_;
  bool is_down_ = false;
  bool moved_ = false;
  bool shows_counts_ = false;
  LineCounts shown_{};
  UniqueFd timer_;  ///< set while can_drop(), and a second longer
};

}  // namespace shmif::tools
