#pragma once
// What is wrong in a lab's file, and where.

#include <compare>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace shmif::tools {

/// A place in the text of a lab's file. Lines and columns begin with 1; a column is a character.
struct LabPlace {
  unsigned line = 0;  ///< 0: the file as a whole
  unsigned column = 0;

  auto operator<=>(const LabPlace&) const = default;
};

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

}  // namespace shmif::tools
