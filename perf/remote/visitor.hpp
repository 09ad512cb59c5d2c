#pragma once
// Visitor: a client connected to the server, and how long it may stay. Internal to perf/remote.

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
    known,     ///< may send its jobs
    owner,     ///< owns the run
    leaving,   ///< was sent its last message
    gone,
  };
  Visitor(UniqueFd socket, std::string address);

  /// To be called when it has said hello. It may then send its jobs.
  void welcome();
  /// To be called after its last message. It gets time to read that message; a result may take
  /// longer while it makes progress.
  void leave(bool with_result);
  /// Checks deadlines and the waiting bytes. Result: why the visitor must be dropped, or empty. A
  /// leaving visitor is dropped without a reason: it becomes `gone`. `ending`: since when the
  /// server has been ending.
  std::optional<std::string> look(Clock::time_point now, std::optional<Clock::time_point> ending);
  /// Whether it may be dropped for others: it neither owns the run nor reads its result.
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

/// Whether there are as many droppable visitors as the server has room for.
bool is_crowded(const Visitors& visitors);
/// The visitor to drop for a new one: first those that have not said hello, then those that have,
/// then those that are leaving; among equals the oldest. Null if no visitor may be dropped.
Visitor* whom_to_drop(const Visitors& visitors);

}  // namespace shmif::perf
