#include "tools/lab/problems.hpp"

#include <algorithm>
#include <tuple>

#include "base/printable.hpp"

namespace shmif::tools {

void LabProblems::add(LabProblem problem) {
  const bool known = std::ranges::any_of(all_, [&](const LabProblem& each) {
    return once_per_place_ ? each.place == problem.place : each == problem;
  });
  if (!known) all_.push_back(std::move(problem));
}

std::vector<LabProblem> LabProblems::sorted() const {
  std::vector<LabProblem> in_order = all_;
  std::ranges::sort(in_order, [](const LabProblem& a, const LabProblem& b) {
    return std::tie(a.place, a.text) < std::tie(b.place, b.text);
  });
  return in_order;
}

std::size_t LabProblems::errors() const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(all_, &LabProblem::is_error));
}

std::string to_text(const std::string& file, const LabProblem& problem) {
  std::string where = base::printable(file) + ':';
  if (problem.place.line != 0) {
    where += std::to_string(problem.place.line) + ':' + std::to_string(problem.place.column) + ':';
  }
  return where + (problem.is_error ? " " : " warning: ") + base::printable(problem.text);
}

}  // namespace shmif::tools
