// Which senders a port of a partition ignores.

#include "shmif/control/partition.hpp"

#include <gtest/gtest.h>

#include <map>

namespace shmif {
namespace {

using Names = std::map<std::pair<unsigned, std::uint32_t>, std::string>;

/// Counts its look-ups.
struct Table {
  Names names;
  unsigned looks = 0;
  Partition::NameOf name_of() {
    return [this](unsigned slot, std::uint32_t incarnation) {
      ++looks;
      const auto found = names.find({slot, incarnation});
      return found == names.end() ? std::string() : found->second;
    };
  }
};

TEST(Partition, IgnoresThePortsOfOtherGroupsAndNoOthers) {
  Table table{{{{0, 1}, "a"}, {{1, 1}, "b"}, {{2, 1}, "c"}, {{3, 1}, "free"}}};
  Partition of_a({{"a", "b"}, {"c"}}, "a", table.name_of());
  EXPECT_TRUE(of_a.is_active());
  EXPECT_FALSE(of_a.ignores(1, 1));
  EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_FALSE(of_a.ignores(3, 1)) << "it is in no group";
  Partition of_c({{"a", "b"}, {"c"}}, "c", table.name_of());
  EXPECT_TRUE(of_c.ignores(0, 1));
  EXPECT_TRUE(of_c.ignores(1, 1));
  Partition of_free({{"a", "b"}, {"c"}}, "free", table.name_of());
  EXPECT_FALSE(of_free.is_active());
  EXPECT_FALSE(of_free.ignores(2, 1));
  EXPECT_FALSE(Partition().ignores(0, 1));
}

TEST(Partition, LooksUpEachSenderOnceAndAgainWhenTheSlotHasAnotherPort) {
  Table table{{{{2, 1}, "c"}, {{2, 2}, "b"}, {{2, 3}, "c"}}};
  Partition of_a({{"a", "b"}, {"c"}}, "a", table.name_of());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_EQ(table.looks, 1U);
  EXPECT_FALSE(of_a.ignores(2, 2)) << "another port has the slot";
  EXPECT_TRUE(of_a.ignores(2, 3)) << "c came again";
  EXPECT_EQ(table.looks, 3U);
}

TEST(Partition, ASenderWithoutANameIsHeardAndLookedUpAgain) {
  Table table;
  Partition of_a({{"a"}, {"c"}}, "a", table.name_of());
  EXPECT_FALSE(of_a.ignores(2, 1));
  table.names[{2, 1}] = "c";
  EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_FALSE(of_a.ignores(256, 1)) << "no such slot";
  EXPECT_FALSE(of_a.ignores(0xffff, 1));
}

}  // namespace
}  // namespace shmif
