#pragma once
// The text of a change as values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace shmif {

/// A change that request_change() asks for, and a ChangeDesk returns.
struct Change {
  /// What is to change; request_change() describes each.
  enum class Kind : std::uint8_t { fault, link, partition, heal, move };
  /// Names of ports.
  using Group = std::vector<std::string>;

  Kind kind = Kind::heal;       ///< says which of the members below counts
  std::string value{};          ///< fault: the SPEC, or "none"; move: the path of the bus
  bool up = false;              ///< link
  std::vector<Group> groups{};  ///< partition; no name stands twice
};

/// Errors: bad_argument; the message says what is wrong, and what is possible. The SPEC of faults
/// is not looked at. Threads: any. Blocks: never.
Result<Change> parse_change(std::string_view text);

/// The text that parse_change() reads: "partition a,b / c,d".
std::string to_text(const Change& change);

}  // namespace shmif
