// Faults that clang-tidy has to find, each with the name of its check, in a source and a header.
// tools/check tidy compares what it finds with these names.

#include "tests/tidy/tools/planted.hpp"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vector>  // finds readability-duplicate-include

typedef unsigned Number;  // finds modernize-use-using

namespace {

static int hidden() {  // finds readability-static-definition-in-anonymous-namespace
  return 1;
}

}  // namespace

std::size_t planted_sum(const std::vector<int>& list, unsigned count) {
  std::size_t sum = static_cast<std::size_t>(hidden());
  for (std::size_t at = 0; at < list.size(); ++at) {  // finds modernize-loop-convert
    sum += static_cast<std::size_t>(list[at]);
  }
  long wide =
      2 * static_cast<int>(count);  // finds bugprone-implicit-widening-of-multiplication-result
  sum += static_cast<std::size_t>(wide);
  return sum;
}

std::size_t planted_text(std::string text, const std::string& other) {
  std::string taken = std::move(text);
  const std::size_t left = text.size();         // finds bugprone-use-after-move
  std::string same(other.c_str());              // finds readability-redundant-string-cstr
  if (taken.size() == 0) return left;           // finds readability-container-size-empty
  std::string_view gone = std::string("gone");  // finds bugprone-dangling-handle
  return same.size() + gone.size();
}

using Numbers = std::map<int, int>;
int planted_copy(Numbers numbers) {  // finds performance-unnecessary-value-param
  const std::vector<std::string> names{"a", "b"};
  std::size_t sum = numbers.size();
  for (const std::string name : names) sum += name.size();  // finds performance-for-range-copy
  std::unique_ptr<int> owned = std::unique_ptr<int>(new int(1));  // finds modernize-make-unique
  int* none = 0;                                                  // finds modernize-use-nullptr
  std::vector<std::pair<int, int>> pairs;
  pairs.push_back(std::make_pair(1, 2));        // finds modernize-use-emplace
  const bool has_three = numbers.count(3) > 0;  // finds readability-container-contains
  if (has_three) {
    return none == nullptr ? 1 : 2;
  } else {  // finds readability-else-after-return
    return *owned + static_cast<int>(sum);
  }
}

bool planted_equal(const char* one, const char* other) {
  return strcmp(one, other) == -1;  // finds bugprone-suspicious-string-compare
}
