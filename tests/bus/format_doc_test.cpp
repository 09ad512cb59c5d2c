// docs/bus-format.md against bus/layout.hpp: the tables are parsed, and every field, constant and
// example in them is held against the compiler's view of it. The field lists below are held against
// the text of layout.hpp, so a new field is missed by nobody.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "bus/file/geometry.hpp"
#include "bus/layout.hpp"
#include "tests/support/paths.hpp"

namespace shmif::bus {
namespace {

using Row = std::vector<std::string>;

std::string read_source(const std::string& name) {
  std::ifstream in(shmif::test::in_source(name));
  EXPECT_TRUE(in) << "cannot read " << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" `\r");
  const auto end = text.find_last_not_of(" `\r");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

/// The cells of a line of a Markdown table. Empty if the line belongs to no table.
Row cells_of(const std::string& line) {
  Row cells;
  if (line.empty() || line.front() != '|') return cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(trimmed(cell));
  return cells;
}

/// The rows, without heading and rule, of the first table behind a line that begins with `anchor`.
std::vector<Row> table_behind(const std::string& anchor) {
  static const std::string document = read_source("docs/bus-format.md");
  std::istringstream in(document);
  std::vector<Row> rows;
  bool found = false;
  for (std::string line; std::getline(in, line);) {
    if (!found) {
      found = line.rfind(anchor, 0) == 0;
      continue;
    }
    Row cells = cells_of(line);
    if (!cells.empty()) {
      rows.push_back(std::move(cells));
    } else if (!rows.empty()) {
      break;
    }
  }
  EXPECT_GT(rows.size(), 2U) << "no table behind \"" << anchor << "\"";
  if (rows.size() > 2) rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

std::uint64_t number_in(const std::string& cell) {
  std::size_t used = 0;
  try {
    const std::uint64_t value = std::stoull(cell, &used, 0);
    EXPECT_EQ(used, cell.size()) << "\"" << cell << "\" is no number";
    return value;
  } catch (const std::exception&) {
    ADD_FAILURE() << "\"" << cell << "\" is no number";
    return UINT64_MAX;
  }
}

struct Field {
  std::size_t offset, bytes;
  bool operator==(const Field&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Field& f) {
  return out << f.bytes << " bytes at offset " << f.offset;
}
using Fields = std::map<std::string, Field>;

#define FIELD(type, name)                      \
  {                                            \
    #name, {                                   \
      offsetof(type, name), sizeof(type::name) \
    }                                          \
  }

Fields header_fields() {
  return {FIELD(BusHeader, magic),
          FIELD(BusHeader, layout_signature),
          FIELD(BusHeader, ready),
          FIELD(BusHeader, ring_bytes),
          FIELD(BusHeader, ring_offset),
          FIELD(BusHeader, slot_count),
          FIELD(BusHeader, mtu),
          FIELD(BusHeader, max_record),
          FIELD(BusHeader, record_align),
          FIELD(BusHeader, flow),
          FIELD(BusHeader, inode),
          FIELD(BusHeader, file_system),
          FIELD(BusHeader, created_ns),
          FIELD(BusHeader, patience_ns),
          FIELD(BusHeader, reserved0),
          FIELD(BusHeader, lock),
          FIELD(BusHeader, wish),
          FIELD(BusHeader, last),
          FIELD(BusHeader, longest_hold_ns),
          FIELD(BusHeader, first),
          FIELD(BusHeader, sleepers),
          FIELD(BusHeader, deep_sleepers),
          FIELD(BusHeader, epoch),
          FIELD(BusHeader, takeovers),
          FIELD(BusHeader, slots_used),
          FIELD(BusHeader, filter_changes),
          FIELD(BusHeader, takeovers_dead),
          FIELD(BusHeader, takeovers_living),
          FIELD(BusHeader, repairs),
          FIELD(BusHeader, claims_freed),
          FIELD(BusHeader, doorbell),
          FIELD(BusHeader, reserved2),
          FIELD(BusHeader, reserved3)};
}

Fields slot_fields() {
  return {FIELD(PortSlot, state),
          FIELD(PortSlot, pid),
          FIELD(PortSlot, flags),
          FIELD(PortSlot, mac),
          FIELD(PortSlot, link),
          FIELD(PortSlot, reserved0),
          FIELD(PortSlot, name),
          FIELD(PortSlot, claim_owner),
          FIELD(PortSlot, claim_commit),
          FIELD(PortSlot, claim_begin),
          FIELD(PortSlot, claim_end),
          FIELD(PortSlot, reserved1),
          FIELD(PortSlot, futex),
          FIELD(PortSlot, bell),
          FIELD(PortSlot, rung_position),
          FIELD(PortSlot, rung_number),
          FIELD(PortSlot, deep_ticket),
          FIELD(PortSlot, reserved5),
          FIELD(PortSlot, stalls),
          FIELD(PortSlot, reserved2),
          FIELD(PortSlot, tx_frames),
          FIELD(PortSlot, tx_bytes),
          FIELD(PortSlot, doorbells),
          FIELD(PortSlot, lock_sleeps),
          FIELD(PortSlot, pauses),
          FIELD(PortSlot, paused_ns),
          FIELD(PortSlot, waits_for),
          FIELD(PortSlot, reserved6),
          FIELD(PortSlot, tx_more_segments),
          FIELD(PortSlot, position),
          FIELD(PortSlot, next_number),
          FIELD(PortSlot, rx_frames),
          FIELD(PortSlot, rx_bytes),
          FIELD(PortSlot, own_frames),
          FIELD(PortSlot, filtered_frames),
          FIELD(PortSlot, skipped_frames),
          FIELD(PortSlot, overruns),
          FIELD(PortSlot, lost_frames),
          FIELD(PortSlot, lost_bytes),
          FIELD(PortSlot, corrupt),
          FIELD(PortSlot, wakeups),
          FIELD(PortSlot, rx_more_segments),
          FIELD(PortSlot, too_long_frames),
          FIELD(PortSlot, refused_frames),
          FIELD(PortSlot, read_inside),
          FIELD(PortSlot, learned)};
}

Fields record_fields() {
  return {FIELD(RecordHeader, word), FIELD(RecordHeader, number), FIELD(RecordHeader, time_ns),
          FIELD(RecordHeader, slot), FIELD(RecordHeader, frames), FIELD(RecordHeader, incarnation)};
}

#undef FIELD

#define CONSTANT(name)     \
  {                        \
    #name, std::uint64_t { \
      name                 \
    }                      \
  }

std::map<std::string, std::uint64_t> constants() {
  return {CONSTANT(kFormatVersion),
          CONSTANT(kLayoutSignature),
          CONSTANT(kMagic),
          CONSTANT(kNetbsdMagic),
          CONSTANT(kLineBytes),
          CONSTANT(kSlots),
          CONSTANT(kNameBytes),
          CONSTANT(kLearnedAddresses),
          CONSTANT(kBitmapWords),
          CONSTANT(kMinRingBytes),
          CONSTANT(kMaxRingBytes),
          CONSTANT(kDefaultRingBytes),
          CONSTANT(kMinMtu),
          CONSTANT(kMaxMtu),
          CONSTANT(kMtuToFrame),
          CONSTANT(kMinFrameBytes),
          CONSTANT(kSuperFrameRecord),
          CONSTANT(kRecordsPerRing),
          CONSTANT(kFlowEthernet),
          CONSTANT(kFlowPause),
          CONSTANT(kFlagUp),
          CONSTANT(kFlagPromiscuous),
          CONSTANT(kFlagLearnedTooMany),
          CONSTANT(kFlagPause),
          CONSTANT(kFlagNoCarrier),
          CONSTANT(kFlagCarrierUnknown),
          CONSTANT(kLooksForFrames),
          CONSTANT(kAsleep),
          CONSTANT(kRungEarly),
          CONSTANT(kBellFutex),
          CONSTANT(kBellInotify),
          CONSTANT(kVnetBytes),
          CONSTANT(kRecordHeaderBytes),
          CONSTANT(kTailBytes),
          CONSTANT(kRecordAlign),
          CONSTANT(kEntryHeaderBytes),
          CONSTANT(kEntryAlign),
          CONSTANT(kMaxSharedBytes),
          CONSTANT(kHeaderBytes),
          CONSTANT(kFixedBytes),
          CONSTANT(kTableBytes),
          CONSTANT(kRingOffset),
          CONSTANT(word::kUnitShift),
          CONSTANT(word::kKindMask),
          CONSTANT(word::kEmpty),
          CONSTANT(word::kFrame),
          CONSTANT(word::kPad),
          CONSTANT(word::kFramePositionBits),
          CONSTANT(word::kPadPositionBits),
          CONSTANT(word::kVnet),
          CONSTANT(word::kShared),
          CONSTANT(lock_word::kSlotBits),
          CONSTANT(lock_word::kSlotMask),
          CONSTANT(lock_word::kRepairSlot)};
}

#undef CONSTANT

/// layout.hpp without its comments.
const std::string& layout_text() {
  static const std::string text =
      std::regex_replace(read_source("bus/layout.hpp"), std::regex("//[^\n]*"), "");
  return text;
}

/// The names of the members that a struct of layout.hpp declares.
std::set<std::string> declared_members(const std::string& type) {
  const std::regex head("struct (alignas\\(kLineBytes\\) )?" + type + " \\{");
  std::smatch match;
  std::set<std::string> names;
  if (!std::regex_search(layout_text(), match, head)) return names;
  const std::string rest = match.suffix();
  std::istringstream body(rest.substr(0, rest.find("};")));
  const std::regex member("([A-Za-z_0-9]+)(\\[[^\\]]*\\])?\\s*$");
  for (std::string declaration; std::getline(body, declaration, ';');) {
    if (std::regex_search(declaration, match, member)) names.insert(match[1]);
  }
  return names;
}

template <class Map>
std::set<std::string> names_in(const Map& map) {
  std::set<std::string> names;
  for (const auto& [name, value] : map) names.insert(name);
  return names;
}

void expect_documented(const std::string& type, const Fields& fields) {
  ASSERT_EQ(declared_members(type), names_in(fields))
      << "the list in this test is not what bus/layout.hpp declares";
  Fields documented;
  for (const Row& row : table_behind("## " + type)) {
    ASSERT_EQ(row.size(), 5U);
    EXPECT_TRUE(documented.emplace(row[2], Field{number_in(row[0]), number_in(row[1])}).second)
        << row[2] << " stands twice in the table of " << type;
    const bool reserved = row[2].rfind("reserved", 0) == 0;
    EXPECT_EQ(row[3].empty(), reserved) << row[2] << " has no meaning in the table of " << type;
    EXPECT_TRUE(reserved ? row[4].empty() : std::string("iLAOD").find(row[4]) != std::string::npos)
        << row[2] << ": who may write it?";
  }
  EXPECT_EQ(documented, fields);
}

TEST(FormatDocument, NamesEveryFieldOfTheHeaderWithItsOffsetAndSize) {
  expect_documented("BusHeader", header_fields());
}
TEST(FormatDocument, NamesEveryFieldOfAPortSlotWithItsOffsetAndSize) {
  expect_documented("PortSlot", slot_fields());
}
TEST(FormatDocument, NamesEveryFieldOfARecordHeaderWithItsOffsetAndSize) {
  expect_documented("RecordHeader", record_fields());
}

TEST(FormatDocument, SaysAsTheHeaderWhoMayWriteAField) {
  // The marks in the comments of layout.hpp: `name;  //  offset (A) ...`.
  const std::string layout = read_source("bus/layout.hpp");
  for (const std::string type : {"BusHeader", "PortSlot", "RecordHeader"}) {
    const auto begin = layout.find(type + " {");
    ASSERT_NE(begin, std::string::npos);
    const std::string body = layout.substr(begin, layout.find("\n};", begin) - begin);
    for (const Row& row : table_behind("## " + type)) {
      std::smatch match;
      const std::regex mark("\\b" + row[2] +
                            "(\\[[^\\]]*\\])?;\\s*//\\s*([0-9]+)( \\(([iLAOD])\\))?");
      ASSERT_TRUE(std::regex_search(body, match, mark)) << type << "::" << row[2];
      EXPECT_EQ(match[2].str(), row[0]) << "offset in the comment of " << type << "::" << row[2];
      EXPECT_EQ(match[4].str(), row[4]) << "mark in the comment of " << type << "::" << row[2];
    }
  }
}

TEST(FormatDocument, NamesEveryConstantWithItsValue) {
  std::set<std::string> declared;
  std::string scope;
  const std::regex constant("inline constexpr [a-z_0-9:]+ (k[A-Za-z]+)");
  std::istringstream in(read_source("bus/limits.hpp") + read_source("bus/layout.hpp"));
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex("^namespace (word|lock_word) \\{"))) {
      scope = match[1].str() + "::";
    } else if (std::regex_search(line, std::regex("^\\}  // namespace (word|lock_word)"))) {
      scope.clear();
    } else if (std::regex_search(line, match, constant)) {
      declared.insert(scope + match[1].str());
    }
  }
  ASSERT_EQ(declared, names_in(constants()))
      << "the list in this test is not what bus/limits.hpp and bus/layout.hpp declare";
  std::map<std::string, std::uint64_t> documented;
  for (const Row& row : table_behind("## Constants")) {
    ASSERT_EQ(row.size(), 3U);
    EXPECT_TRUE(documented.emplace(row[0], number_in(row[1])).second) << row[0] << " stands twice";
    EXPECT_FALSE(row[2].empty()) << row[0] << " has no meaning";
  }
  EXPECT_EQ(documented, constants());
}

TEST(FormatDocument, SignatureIsFoldedFromThePlaceOfEveryField) {
  const std::string& text = layout_text();
  const auto begin = text.find("facts[] = {");
  ASSERT_NE(begin, std::string::npos);
  const std::string facts = text.substr(begin, text.find("};", begin) - begin);
  for (const std::string type : {"BusHeader", "PortSlot", "RecordHeader"}) {
    EXPECT_NE(facts.find("sizeof(" + type + ")"), std::string::npos) << type;
    for (const std::string& name : declared_members(type)) {
      if (name.rfind("reserved", 0) == 0) continue;
      EXPECT_NE(facts.find("offsetof(" + type + ", " + name + ")"), std::string::npos)
          << type << "::" << name
          << " may move, and builds that differ would not refuse each other";
    }
  }
}

TEST(FormatDocument, GivesExamplesThatTheCodeComputesToo) {
  const std::uint64_t held = lock_word::next_held_by(std::uint64_t{6} << lock_word::kSlotBits, 3);
  const std::map<std::string, std::uint64_t> computed{
      {"EMPTY at position 4096", word::empty(4096)},
      {"FRAME of 60 bytes at position 4096", word::frame(4096, 60)},
      {"FRAME of 60 bytes and what is left to do, at position 4096", word::frame(4096, 72, true)},
      {"FRAME of two frames of 60 bytes at position 4096", word::shared(4096, 2 * entry_bytes(60))},
      {"PAD of 128 bytes at position 4096", word::pad(4096, 128)},
      {"lock held by slot 3, seventh acquisition", held},
      {"lock free again", lock_word::freed(held)},
      {"state of a live slot, fifth incarnation", slot_state(SlotState::live, 5)}};
  std::map<std::string, std::uint64_t> documented;
  for (const Row& row : table_behind("Examples, which")) {
    documented.emplace(row.at(0), number_in(row.at(1)));
  }
  EXPECT_EQ(documented, computed);
}

TEST(FormatDocument, TilesTheFile) {
  std::uint64_t end = 0;
  for (const Row& row : table_behind("## The file")) {
    EXPECT_EQ(number_in(row.at(0)), end) << row.at(1);
    if (row.at(2) == "ring_bytes") {
      EXPECT_EQ(end, kRingOffset);
      EXPECT_EQ(file_bytes(kDefaultRingBytes), end + kDefaultRingBytes);
      return;
    }
    end += number_in(row.at(2));
  }
  FAIL() << "the table does not come to the ring";
}

}  // namespace
}  // namespace shmif::bus
