#pragma once
// A TOML document as a tree of values, each with its place in the text, and what is wrong in it.
//
// Only value.cpp includes toml++. It compiles slowly, and its tables do not keep the order of the
// text, which decides here: hosts start in the order in which the file has them.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shmif::tools {

/// A place in the text of a lab's file. Lines and columns begin with 1; a column is a character.
struct LabPlace {
  unsigned line = 0;  ///< 0: the file as a whole
  unsigned column = 0;

  auto operator<=>(const LabPlace&) const = default;
};

/// A value and its place in the file.
template <class T>
struct LabItem {
  T value;
  LabPlace place;
};
using LabName = LabItem<std::string>;

/// One thing that is wrong, as a text that says what and what to do.
struct LabProblem {
  LabPlace place;
  bool is_error = true;  ///< false: a warning
  std::string text;

  bool operator==(const LabProblem&) const = default;
};

/// All that is wrong in a file, so that its author sees everything at once. Threads: one at a time.
/// Blocks: never.
class LabProblems {
 public:
  void error(LabPlace place, std::string text) { add({place, true, std::move(text)}); }
  void warning(LabPlace place, std::string text) { add({place, false, std::move(text)}); }
  /// From now on, a place that has a problem already gets no other one. For the hosts of one
  /// `count`, which are read from one text.
  void once_per_place(bool wanted) noexcept { once_per_place_ = wanted; }

  /// In the order of the text.
  std::vector<LabProblem> sorted() const;
  std::size_t errors() const noexcept;
  std::size_t warnings() const noexcept { return all_.size() - errors(); }

 private:
  void add(LabProblem problem);

  std::vector<LabProblem> all_;
  bool once_per_place_ = false;
};

/// "lab.toml:7:12: TEXT", and "warning: " before the text of a warning.
std::string to_text(const std::string& file, const LabProblem& problem);

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

/// Puts `with` in the place of every `what`.
void replace_in_text(std::string& text, std::string_view what, const std::string& with);
/// A copy in which each text and each key has `with` in the place of every `what`.
LabValue replaced_in_value(const LabValue& value, std::string_view what, const std::string& with);

}  // namespace shmif::tools
