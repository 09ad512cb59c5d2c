#include "perf/option/keywords.hpp"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "perf/job/values.hpp"

namespace shmif::perf {
namespace {

constexpr std::string_view kDigits = "0123456789.";
constexpr std::string_view kCalculation = "0123456789.+-*/() ";
constexpr unsigned kMaxParentheses = 32;

/// Evaluates a calculation: sums of products of numbers and parentheses.
class Calculator {
 public:
  explicit Calculator(std::string_view text) : rest_(text) {}

  /// Result: empty if the text is not a calculation, or has no finite result.
  std::optional<double> result() {
    const auto value = sum(0);
    skip_spaces();
    if (!value || !rest_.empty() || !std::isfinite(*value)) return std::nullopt;
    return value;
  }

 private:
  void skip_spaces() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::optional<double> sum(unsigned depth) {
    auto value = product(depth);
    while (value) {
      const bool plus = take('+');
      if (!plus && !take('-')) return value;
      const auto next = product(depth);
      if (!next) return std::nullopt;
      value = plus ? *value + *next : *value - *next;
    }
    return value;
  }
  std::optional<double> product(unsigned depth) {
    auto value = number(depth);
    while (value) {
      const bool times = take('*');
      if (!times && !take('/')) return value;
      const auto next = number(depth);
      if (!next) return std::nullopt;
      value = times ? *value * *next : *value / *next;
    }
    return value;
  }
  std::optional<double> number(unsigned depth) {
    if (take('(')) {
      const auto value = depth < kMaxParentheses ? sum(depth + 1) : std::nullopt;
      return take(')') ? value : std::nullopt;
    }
    const std::string_view digits = rest_.substr(0, rest_.find_first_not_of(kDigits));
    rest_.remove_prefix(digits.size());
    return base::read_real(digits);
  }

  std::string_view rest_;
};

std::string text_of(double value) {
  std::array<char, 64> text{};
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  std::snprintf(text.data(), text.size(), whole ? "%.0f" : "%.4f", value);
  return text.data();
}

/// Replaces parentheses by their results. Result: false if one has no result.
bool work_out_parentheses(std::string& text) {
  for (std::size_t begin = text.find('('); begin != std::string::npos; begin = text.find('(')) {
    std::size_t end = begin;
    for (std::size_t open = 0; end < text.size(); ++end) {
      open += text[end] == '(' ? 1U : 0U;
      if (text[end] == ')' && --open == 0) break;
    }
    if (end == text.size()) return false;
    const auto value = Calculator(text.substr(begin, end + 1 - begin)).result();
    if (!value) return false;
    text.replace(begin, end + 1 - begin, text_of(*value));
  }
  return true;
}

}  // namespace

Keywords keywords_of_this_machine() {
  const auto known = [](int name, std::uint64_t otherwise) {
    const long value = ::sysconf(name);
    return value > 0 ? static_cast<std::uint64_t>(value) : otherwise;
  };
  Keywords keywords;
  keywords.ncpus = known(_SC_NPROCESSORS_ONLN, 1);
  keywords.pagesize = known(_SC_PAGESIZE, 4096);
  keywords.mb_memory = known(_SC_PHYS_PAGES, 0) * keywords.pagesize >> 20U;
  return keywords;
}

Result<std::string> replace_keywords(std::string_view text, bool whole, const Keywords& keywords) {
  const std::pair<std::string_view, std::uint64_t> known[] = {{"$ncpus", keywords.ncpus},
                                                              {"$mb_memory", keywords.mb_memory},
                                                              {"$pagesize", keywords.pagesize}};
  std::string replaced(text);
  bool any = false;
  for (const auto& [name, value] : known) {
    for (std::size_t at = 0; (at = replaced.find(name)) != std::string::npos; any = true) {
      replaced.replace(at, name.size(), std::to_string(value));
    }
  }
  if (!any) return replaced;
  const auto refuse = [&] {
    return refused(text, "cannot be calculated (use numbers, + - * / and parentheses)");
  };
  if (!whole) return work_out_parentheses(replaced) ? Result<std::string>(replaced) : refuse();
  const std::size_t unit =
      std::min(replaced.find_last_of(kCalculation) + 1, replaced.size());  // "M" of "8*1024M"
  const std::string calculation = replaced.substr(0, unit);
  if (calculation.find_first_not_of(kCalculation) != std::string::npos) return replaced;
  const auto value = Calculator(calculation).result();
  if (!value || *value < 0) return refuse();
  return text_of(*value) + replaced.substr(unit);
}

}  // namespace shmif::perf
