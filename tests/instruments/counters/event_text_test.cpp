// Event strings and the formats of sysfs, from any text.

#include "instruments/counters/event_text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/number_list.hpp"

namespace shmif::perf::test {
namespace {

TEST(EventText, OfEachModifierNamesItsOwnPlace) {
  struct Excluded {
    bool user, kernel, hypervisor, guest, host;
    bool operator==(const Excluded&) const = default;
  };
  const auto excluded = [](const char* modifiers) {
    CounterEvent event;
    EXPECT_TRUE(apply_modifiers(modifiers, event)) << modifiers;
    return Excluded{event.exclude_user, event.exclude_kernel, event.exclude_hypervisor,
                    event.exclude_guest, event.exclude_host};
  };
  EXPECT_TRUE(excluded("u") == (Excluded{false, true, true, false, false}));
  EXPECT_TRUE(excluded("k") == (Excluded{true, false, true, false, false}));
  EXPECT_TRUE(excluded("h") == (Excluded{true, true, false, false, false}));
  EXPECT_TRUE(excluded("ukh") == Excluded{});
  EXPECT_TRUE(excluded("G") == (Excluded{false, false, false, false, true}));
  EXPECT_TRUE(excluded("H") == (Excluded{false, false, false, true, false}));
  EXPECT_TRUE(excluded("GH") == Excluded{});
  CounterEvent event;
  event.precise = 1;
  event.exclude_host = true;
  ASSERT_TRUE(apply_modifiers("u", event));
  EXPECT_EQ(event.precise, 1) << "of the event itself";
  EXPECT_TRUE(event.exclude_host);
  ASSERT_TRUE(apply_modifiers("ppp", event));
  EXPECT_EQ(event.precise, 3);
  for (const char* wrong : {"", "x", "uX", "pppp", "u "}) {
    EXPECT_FALSE(apply_modifiers(wrong, event)) << wrong;
  }
}

TEST(EventText, ReadsFormatsOfAllWordsAndListsOfRanges) {
  EXPECT_EQ(read_format("config:0-7\n").value(), (FormatField{0, {{0, 7}}}));
  EXPECT_EQ(read_format("config1:63").value(), (FormatField{1, {{63, 63}}}));
  EXPECT_EQ(read_format("config2:0-63").value(), (FormatField{2, {{0, 63}}}));
  EXPECT_EQ(read_format("config3:32-35,0-7,9").value(),
            (FormatField{3, {{32, 35}, {0, 7}, {9, 9}}}));
  for (const char* wrong : {"", "config", "config:", "config4:0", "Config:0", "config:64",
                            "config:7-0", "config:0-7,", "config:0-7,7", "config:0-64", "config:-1",
                            "config:0--1", "config: 0", "config:0x1", "config1", "confi:0"}) {
    EXPECT_FALSE(read_format(wrong)) << wrong;
  }
}

TEST(EventText, PutsTheLowestBitsOfAValueIntoTheFirstRange) {
  CounterEvent event;
  event.config = ~std::uint64_t{0};
  const FormatField field{0, {{32, 35}, {0, 7}}};
  ASSERT_TRUE(put_field(field, 0xab5, event));
  EXPECT_EQ(event.config, 0xfffffff5ffffffabU);
  EXPECT_FALSE(put_field(field, 0x1000, event)) << "thirteen bits into twelve";
}

TEST(CpuList, IsReadAsTheKernelWritesIt) {
  EXPECT_EQ(base::read_number_list("0-3,8\n"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(base::read_number_list("0"), std::vector<int>{0});
  EXPECT_EQ(base::read_number_list("\n"), std::vector<int>{});
  EXPECT_EQ(base::read_number_list("2,0-2"), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(base::read_number_list("65535 \n"), std::vector<int>{65535});
  EXPECT_EQ(base::read_number_list("65536"), std::nullopt);
  for (const char* wrong : {"a", "1-", "-1", "3-1", "0,", "99999", "0-99999999999999999999"}) {
    EXPECT_FALSE(base::read_number_list(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace shmif::perf::test
