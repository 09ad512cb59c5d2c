#pragma once
// Reads the tables and heads that the tools print into values by name, so that a test compares by
// name and not by place. A test fails at a name that it does not know.

#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

/// The values of a row, by the name of the column.
using ShownRow = std::map<std::string, std::string>;

inline Words shown_lines(const std::string& text) {
  std::istringstream in(text);
  Words lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

inline Words shown_words(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

/// The rows below a head. No cell may be empty or contain a blank.
inline std::vector<ShownRow> rows_below(const Words& lines) {
  std::vector<ShownRow> rows;
  const Words head = shown_words(lines.at(0));
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const Words cells = shown_words(lines[i]);
    EXPECT_EQ(cells.size(), head.size()) << lines[0] << '\n' << lines[i];
    ShownRow& row = rows.emplace_back();
    for (std::size_t c = 0; c < std::min(head.size(), cells.size()); ++c) {
      EXPECT_TRUE(row.emplace(head[c], cells[c]).second) << "twice: " << head[c];
    }
  }
  return rows;
}

/// `text` without the escape sequences for colours.
inline std::string without_colours(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\x1b') {
      at = text.find('m', at);
    } else {
      out += text[at];
    }
  }
  return out;
}

/// How many columns `text` takes, if each character of UTF-8 takes one.
inline std::size_t columns_shown(const std::string& text) {
  std::size_t columns = 0;
  for (const char c : text) columns += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1U : 0U;
  return columns;
}

/// Numbers that are all different, so that a test notices a figure in the place of another.
class OwnNumbers {
 public:
  explicit OwnNumbers(std::uint64_t first) : next_(first) {}
  template <class... Number>
  void fill(Number&... numbers) {
    ((numbers = static_cast<Number>(next_++)), ...);
  }

 private:
  std::uint64_t next_;
};

/// A local time of the year 2026.
inline std::time_t local_time(int month, int day, int hour, int minute, int second) {
  std::tm parts{};
  parts.tm_year = 126;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_sec = second;
  parts.tm_isdst = -1;
  return std::mktime(&parts);
}

}  // namespace shmif::test
