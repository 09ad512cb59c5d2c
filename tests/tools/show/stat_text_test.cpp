// The text of stat where ports differ in what happened to them, and tables at the width where they
// are folded.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/tools/show/shown_figures.hpp"
#include "tools/show/describe.hpp"

namespace shmif::test {
namespace {

PortInfo plain_port(unsigned slot, const std::string& name) {
  PortInfo port;
  port.slot = slot;
  port.name = name;
  port.live = port.up = true;
  return port;
}

/// How often a row of that name stands in the head of the text.
std::ptrdiff_t rows_of(const BusInfo& bus, const std::string& name) {
  return std::ranges::count_if(shown_lines(tools::to_text(bus)), [&](const std::string& line) {
    return line.starts_with(name + ' ');
  });
}

TEST(StatText, WhatHappenedToAPortIsSaidWhereverItStands) {
  for (std::size_t place = 0; place < 3; ++place) {
    BusInfo bus;
    bus.ports = {plain_port(1, "one"), plain_port(4, "two"), plain_port(9, "three")};
    for (const char* const name : {"waiting", "stalled", "refused", "claim", "note"})
      EXPECT_EQ(rows_of(bus, name), 0) << name;
    PortInfo& port = bus.ports[place];
    port.waits_for = bus.ports[(place + 1) % 3].slot;
    port.stalls = 2;
    port.refused_frames = 3;
    port.claim_bytes = 64;
    port.corrupt = 1;
    const std::string who = "slot " + std::to_string(port.slot) + " \"" + port.name + '"';
    const PortInfo& next = bus.ports[(place + 1) % 3];
    const std::string text = tools::to_text(bus);
    for (const std::string& row :
         {"waiting     " + who + " for slot " + std::to_string(next.slot) + " \"" + next.name +
              "\" to read\n",
          "stalled     " + who + " 2 times: ", "refused     " + who + " tried to send 3 frames ",
          "claim       64 B of " + who + ", skipped", std::string("note        corruption was")}) {
      EXPECT_NE(text.find('\n' + row), std::string::npos) << row << text;
      EXPECT_EQ(rows_of(bus, row.substr(0, row.find(' '))), 1) << text;
    }
  }
}

TEST(StatText, APortThatWaitsForItselfIsToldWhatItLacks) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  bus.ports[1].waits_for = 4;
  const std::string text = tools::to_text(bus);
  EXPECT_NE(text.find("\nwaiting     slot 4 \"two\" for itself: it sends, but does not receive\n"),
            std::string::npos)
      << text;
}

TEST(StatText, ATableIsFoldedWhereItIsOneColumnTooWide) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  const std::string whole = tools::to_text(bus);
  std::size_t widest = 0;
  for (const std::string& line : shown_lines(whole.substr(whole.find("\n\n"))))
    widest = std::max(widest, line.size());
  EXPECT_EQ(tools::to_text(bus, widest), whole);
  const std::string folded = tools::to_text(bus, widest - 1);
  EXPECT_EQ(std::ranges::count(folded, '\n'), std::ranges::count(whole, '\n') + 4) << folded;
  // However narrow, each column stands somewhere.
  const std::string narrow = tools::to_text(bus, 1);
  for (const char* const title : {"state", "mode", "tx_frames", "lock_sleeps"})
    EXPECT_NE(narrow.find(title), std::string::npos) << title;
}

TEST(StatText, ColumnsOfNumbersAreAlignedToTheRightWithWhatIsMissing) {
  EXPECT_EQ(tools::aligned({{"name", "pid", "share", "mixed"},
                            {"a", "-", "-1.5", "1"},
                            {"long", "1000", "20", "x"}}),
            "name   pid  share  mixed\n"
            "a        -   -1.5  1\n"
            "long  1000     20  x\n");
}

}  // namespace
}  // namespace shmif::test
