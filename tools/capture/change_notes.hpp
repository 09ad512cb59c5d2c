#pragma once
// The changes of a bus (shmif/control/change.hpp) between the frames of a dump.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "shmif/control/change.hpp"

namespace shmif::tools {

/// The change for people: "port web: fault loss=5% (from frame 17 on)". It may contain any
/// characters. Threads: any.
std::string change_text(const BusChange& change);
/// The same behind its date and time: a line of `shmifctl changes`.
std::string change_line(const BusChange& change);

/// The changes that have not been shown yet. Threads: one at a time. Blocks: never.
class ChangeNotes {
 public:
  /// `from`: whether changes from before this call are shown, too. If the bus has no journal, there
  /// are no changes.
  ChangeNotes(const std::string& bus_path, ChangeLog::From from);

  /// Looks for new changes. Call it once for each batch of frames, after it was received.
  void look() {
    if (log_ && log_->has_more()) read();
  }
  /// Whether before() may return something.
  bool any() const noexcept { return !waiting_.empty(); }
  /// The texts of the changes that were in effect before the frame with this number, each on a line
  /// of its own; empty if there are none. They are forgotten then.
  std::string before(std::uint64_t frame);
  /// The same for all that are left.
  std::string rest();

 private:
  void read();

  std::optional<ChangeLog> log_;
  std::deque<BusChange> waiting_;  // in the order of the journal
};

}  // namespace shmif::tools
