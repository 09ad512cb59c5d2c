#pragma once
// A TOML document as a tree of values, each with its place in the text.
//
// Only value.cpp includes toml++. It compiles slowly, and its tables do not keep the order of the
// text, which decides here: hosts start in the order in which the file has them.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/lab/problems.hpp"

namespace shmif::tools {

/// What a value is. The values are bits, so that a set of kinds is a number (tools/lab/keys.hpp).
enum class ValueKind : std::uint8_t {
  text = 1,
  integer = 2,
  real = 4,
  boolean = 8,
  list = 16,
  table = 32,
  time = 64,  ///< a date or a time of day; no key takes one
};

/// One value of the document. Threads: as safe as a std::vector. Blocks: never.
struct LabValue {
  ValueKind kind = ValueKind::table;
  LabPlace place;
  std::string text{};  ///< of a text
  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  std::vector<LabValue> items{};  ///< of a list
  struct Entry;
  std::vector<Entry> entries;  ///< of a table, in the order of the text

  /// The value of that key; null if the table has no such key.
  const LabValue* find(std::string_view key) const noexcept;
};

struct LabValue::Entry {
  std::string key;
  LabPlace place;  ///< of the key
  LabValue value;
};

/// Parses the text. If it is not TOML, adds a problem, and returns an empty table. toml++ stops at
/// the first error of syntax.
LabValue parse_toml(std::string_view text, LabProblems& problems);

/// A copy in which each text and each key has `with` in the place of every `what`.
LabValue replaced_in_value(const LabValue& value, std::string_view what, const std::string& with);

}  // namespace shmif::tools
