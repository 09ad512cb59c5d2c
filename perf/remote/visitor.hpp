#pragma once
// Visitor: one who has connected to a server, and how long it may stay. Internal to perf/remote.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/remote/connection.hpp"

namespace shmif::perf {

struct Visitor {
  using Clock = Connection::Clock;
  enum class Stage : std::uint8_t {
    stranger,  ///< has not said hello
    known,     ///< may say what to run
    owner,     ///< of the run
    leaving,   ///< has been told the last
    gone,
  };
  Visitor(UniqueFd socket, std::string address);

  /// It has said hello, and may say what to run.
  void welcome();
  /// It has been told the last, and may read it: a result for as long as it takes.
  void leave(bool with_result);
  /// Looks at the clock and at what waits to be read. Result: why it is to be dropped; nothing: it
  /// is not. Who leaves needs no reason, and is `gone` then. `ending`: since when the server is.
  std::optional<std::string> look(Clock::time_point now, std::optional<Clock::time_point> ending);
  /// Whether others may have its place: it neither owns the run nor reads its result.
  bool may_be_dropped() const noexcept;

  Connection connection;
  std::string name;  ///< "198.18.0.7:40112 (lab3)"
  Stage stage = Stage::stranger;

 private:
  bool has_left(Clock::time_point now, std::optional<Clock::time_point> ending) const;

  Clock::time_point deadline_;
  Clock::time_point left_{};
  bool has_result_ = false;
};

using Visitors = std::vector<std::unique_ptr<Visitor>>;

/// Whether those that may be dropped are as many as there is room for.
bool is_crowded(const Visitors& visitors);
/// The one to drop for a newcomer: who has said nothing yet, else who has said hello, else who has
/// been told the last; of several, the one that came first. Null: nobody may be.
Visitor* whom_to_drop(const Visitors& visitors);

}  // namespace shmif::perf
