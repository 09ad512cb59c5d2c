#pragma once
// What a program says about itself, and what its pages say.

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

using Names = std::set<std::string>;

inline std::string read_page(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What `pattern` captures, wherever it matches in `text`.
inline Names matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  Names names;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) {
    names.insert((*at)[1]);
  }
  return names;
}

inline Names without(Names names, const Names& others) {
  for (const std::string& other : others) names.erase(other);
  return names;
}

inline std::string between(const std::string& text, const std::string& from,
                           const std::string& to) {
  const std::size_t begin = text.find(from);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find(to, begin + from.size()) - begin);
}

/// A program in tools/, whose manual page is built beside it.
class Program {
 public:
  explicit Program(std::string path) : path_(std::move(path)) {}

  /// What it prints, after it has succeeded.
  std::string said(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), path_);
    const ToolResult result = run_program(std::move(arguments));
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }

  std::string path_of_page() const { return path_ + ".1"; }
  std::string page() const { return read_page(path_of_page()); }

  Names commands() const {
    return matches(between(said({"--help"}), "commands:", "\n\n"), "^  ([a-z]+) ");
  }

  /// The options of one command that its --help lists.
  Names options_of(const std::string& command) const {
    const std::string list = between(said({command, "--help"}), "options:", "\n\n");
    Names names = matches(list, "^  (?:-.,|   ) --([a-z_-]+)");
    names.merge(matches(list, "^  -(.) "));
    return names;
  }

 private:
  std::string path_;
};

}  // namespace shmif::test
