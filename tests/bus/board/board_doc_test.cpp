// docs/bus-format.md describes the board as bus/board/board_layout.hpp declares it.

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "bus/board/board_layout.hpp"
#include "tests/support/paths.hpp"

namespace shmif::bus {
namespace {

struct BoardField {
  std::size_t offset, bytes;
  bool operator==(const BoardField&) const = default;
};
using BoardFields = std::map<std::string, BoardField>;

std::string read_file(const std::string& name) {
  std::ifstream in(test::in_source(name));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The rows of the table below a heading of the page: the field, and in `marks` who writes it.
BoardFields documented(const std::string& type, std::map<std::string, std::string>& marks) {
  const std::string page = read_file("docs/bus-format.md");
  const auto begin = page.find("### " + type + "\n");
  EXPECT_NE(begin, std::string::npos) << type;
  const auto end = page.find("\n##", begin + 4);
  const std::string part = page.substr(begin, end - begin);
  const std::regex row(R"(\n\| (\d+) \| (\d+) \| `(\w+)` \| ([^|]*)\| ([A-Z]?) ?\|)");
  BoardFields fields;
  for (std::sregex_iterator at(part.begin(), part.end(), row), none; at != none; ++at) {
    const std::smatch& cells = *at;
    fields[cells[3]] = {std::stoul(cells[1]), std::stoul(cells[2])};
    marks[cells[3]] = cells[5];
    const bool reserved = cells[3].str().starts_with("reserved");
    EXPECT_EQ(cells[5].str().empty(), reserved) << cells[3] << ": who writes it?";
    EXPECT_EQ(cells[4].str().find_first_not_of(' ') == std::string::npos, reserved) << cells[3];
  }
  return fields;
}

/// The comments of the struct: `name;  //  offset (A) ...`.
std::map<std::string, std::pair<std::size_t, std::string>> commented(const std::string& type) {
  const std::string text = read_file("bus/board/board_layout.hpp");
  const auto begin = text.find("struct alignas(kLineBytes) " + type + " {");
  EXPECT_NE(begin, std::string::npos) << type;
  const std::string body = text.substr(begin, text.find("\n};", begin) - begin);
  const std::regex member(R"((\w+)(?:\[[^\]]*\])?;\s*//\s*(\d+)(?: \(([A-Z])\))?)");
  std::map<std::string, std::pair<std::size_t, std::string>> fields;
  for (std::sregex_iterator at(body.begin(), body.end(), member), none; at != none; ++at)
    fields[(*at)[1]] = {std::stoul((*at)[2]), (*at)[3]};
  return fields;
}

void expect_same(const std::string& type, const BoardFields& real) {
  SCOPED_TRACE(type);
  std::map<std::string, std::string> marks;
  EXPECT_EQ(documented(type, marks), real);
  const auto comments = commented(type);
  EXPECT_EQ(comments.size(), real.size());
  for (const auto& [name, field] : real) {
    ASSERT_TRUE(comments.contains(name)) << name;
    EXPECT_EQ(comments.at(name).first, field.offset) << name;
    EXPECT_EQ(comments.at(name).second, marks[name]) << name;
  }
}

#define FIELD(type, name)                                     \
  {                                                           \
    #name, BoardField {                                       \
      offsetof(type, name), sizeof std::declval<type&>().name \
    }                                                         \
  }

TEST(BoardDocument, NamesEveryFieldOfARequest) {
  expect_same("BoardRequest",
              {FIELD(BoardRequest, word),           FIELD(BoardRequest, slot),
               FIELD(BoardRequest, incarnation),    FIELD(BoardRequest, text_bytes),
               FIELD(BoardRequest, reserved0),      FIELD(BoardRequest, name),
               FIELD(BoardRequest, reserved1),      FIELD(BoardRequest, text),
               FIELD(BoardRequest, answered),       FIELD(BoardRequest, answer_bell),
               FIELD(BoardRequest, result),         FIELD(BoardRequest, answer_bytes),
               FIELD(BoardRequest, reserved2),      FIELD(BoardRequest, answer_check),
               FIELD(BoardRequest, reserved3),      FIELD(BoardRequest, answer),
               FIELD(BoardRequest, changes),        FIELD(BoardRequest, standing_sequence),
               FIELD(BoardRequest, standing_bytes), FIELD(BoardRequest, standing_check),
               FIELD(BoardRequest, reserved4),      FIELD(BoardRequest, standing)});
}

TEST(BoardDocument, NamesEveryFieldOfAnEntryOfTheJournal) {
  expect_same("JournalEntry", {FIELD(JournalEntry, marker), FIELD(JournalEntry, check),
                               FIELD(JournalEntry, time_ns), FIELD(JournalEntry, frame),
                               FIELD(JournalEntry, slot), FIELD(JournalEntry, incarnation),
                               FIELD(JournalEntry, text_bytes), FIELD(JournalEntry, reserved0),
                               FIELD(JournalEntry, name), FIELD(JournalEntry, text)});
}

TEST(BoardDocument, NamesEveryFieldOfALine) {
  expect_same(
      "LineRecord",
      {FIELD(LineRecord, bell), FIELD(LineRecord, sequence), FIELD(LineRecord, incarnation),
       FIELD(LineRecord, flags), FIELD(LineRecord, text_bytes), FIELD(LineRecord, waiting),
       FIELD(LineRecord, text), FIELD(LineRecord, dropped_in), FIELD(LineRecord, dropped_out)});
}

#undef FIELD

TEST(BoardDocument, SaysWhereThePartsAre) {
  const std::string page = read_file("docs/bus-format.md");
  const auto says = [&](std::size_t number) {
    return page.find(std::to_string(number)) != std::string::npos;
  };
  EXPECT_EQ(kBoardOffset + offsetof(BoardMemory, journal), 139264U);
  EXPECT_EQ(kBoardOffset + offsetof(BoardMemory, lines), 163840U);
  EXPECT_TRUE(says(kBoardOffset) && says(kBoardBytes));
  EXPECT_TRUE(says(139264) && says(163840));
  EXPECT_EQ(kRequestLockOffset, std::uint64_t{1} << 41U);
  EXPECT_NE(page.find("2^41"), std::string::npos);
}

}  // namespace
}  // namespace shmif::bus
