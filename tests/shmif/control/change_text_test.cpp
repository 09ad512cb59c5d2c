// The texts of changes.

#include "shmif/control/change_text.hpp"

#include <gtest/gtest.h>

namespace shmif {
namespace {

using Kind = Change::Kind;

TEST(ChangeText, EveryFormIsReadAndWrittenAgain) {
  for (const std::string text :
       {"fault loss=5%,seed=7", "fault none", "link up", "link down", "partition a,b / c,d",
        "partition a / b / c", "heal", "move /dev/shm/bus 1"}) {
    const auto change = parse_change(text);
    ASSERT_TRUE(change) << text << ": " << change.error().message;
    EXPECT_EQ(to_text(*change), text);
  }
}

TEST(ChangeText, BlanksAroundItsPartsDoNotMatter) {
  EXPECT_EQ(to_text(*parse_change("  link \t down ")), "link down");
  EXPECT_EQ(to_text(*parse_change("partition  a , b/c,d ")), "partition a,b / c,d");
  EXPECT_EQ(parse_change("fault  in:loss=1% ; out:loss=2% ")->value, "in:loss=1% ; out:loss=2%");
}

TEST(ChangeText, WhatIsNoChangeIsRefusedWithWhatIsPossible) {
  const std::pair<const char*, const char*> bad[] = {{"", "fault SPEC"},
                                                     {"explode", "\"explode\" is no change"},
                                                     {"Link down", "is no change"},
                                                     {"\x1b[31mred", "?[31mred"},
                                                     {"fault", "or none"},
                                                     {"link", "up or down"},
                                                     {"link sideways", "up or down"},
                                                     {"partition", "empty name"},
                                                     {"partition a,b", "two groups"},
                                                     {"partition a,,b / c", "empty name"},
                                                     {"partition a / ", "empty name"},
                                                     {"partition a / b,a", "named twice"},
                                                     {"partition a b / c", "is not a port name"},
                                                     {"heal all", "leave the rest out"},
                                                     {"move", "absolute path"},
                                                     {"move bus1", "absolute path"}};
  for (const auto& [text, says] : bad) {
    const auto change = parse_change(text);
    ASSERT_FALSE(change) << text;
    EXPECT_EQ(change.error().code, Errc::bad_argument);
    EXPECT_NE(change.error().message.find(says), std::string::npos) << change.error().message;
  }
}

}  // namespace
}  // namespace shmif
