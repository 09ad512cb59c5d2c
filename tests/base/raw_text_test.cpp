#include "base/raw_text.hpp"

#include <gtest/gtest.h>

namespace shmif::test {
namespace {

using base::unfolded;

TEST(RawText, LinesBecomeOneParagraphWithoutTheirIndentation) {
  EXPECT_EQ(unfolded(R"(
      Makes a bus. Fails
      if it exists.)"),
            "Makes a bus. Fails if it exists.");
  EXPECT_EQ(unfolded("begins at once,\n    goes on   \n  "), "begins at once, goes on");
}

TEST(RawText, AnEmptyLineSeparatesParagraphs) {
  EXPECT_EQ(unfolded(R"(

      One.


      Two
      of them.
      )"),
            "One.\n\nTwo of them.");
}

TEST(RawText, ADashBeginsARowWhichGoesOnUntilTheNext) {
  constexpr const char* kRows = R"(
      faults:
      - loss=1%: lose
        frames
      - rate=10M: a bottleneck

      That was all.)";
  EXPECT_EQ(unfolded(kRows),
            "faults:\nloss=1%: lose frames\nrate=10M: a bottleneck\n\nThat was all.");
  EXPECT_EQ(unfolded(kRows, "  "),
            "faults:\n  loss=1%: lose frames\n  rate=10M: a bottleneck\n\nThat was all.");
}

TEST(RawText, LinesThatAProgramMadeStayAsTheyAre) {
  constexpr const char* kMade =
      "One of:\n  bus:PATH is a bus;\n  tap:NAME a device.\nEnd.\n\nMore.";
  EXPECT_EQ(unfolded(kMade), kMade);
  EXPECT_EQ(unfolded("faults:\nloss=1%: lose it\n    at once"),
            "faults:\nloss=1%: lose it at once");
}

TEST(RawText, ATextOfOneLineStaysAsItIs) {
  EXPECT_EQ(unfolded("- a  b "), "- a  b ");
  EXPECT_EQ(unfolded(""), "");
}

}  // namespace
}  // namespace shmif::test
