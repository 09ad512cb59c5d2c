// The texts of resctrl: each has one meaning, and no other text passes for a number.

#include "instruments/membw/resctrl.hpp"

#include <gtest/gtest.h>

#include <random>

namespace shmif::perf::test {
namespace {

using State = MbmValue::State;

TEST(MbmValueText, IsANumberOrTheWordThatSaysWhyThereIsNone) {
  EXPECT_EQ(read_mbm_value("18446744073709551615\n")->bytes, 18446744073709551615U);
  EXPECT_EQ(read_mbm_value("0\n")->state, State::counted);
  EXPECT_EQ(read_mbm_value("Unavailable\n")->state, State::unavailable);
  EXPECT_EQ(read_mbm_value("Unassigned\n")->state, State::unassigned);
  EXPECT_EQ(read_mbm_value("Error\n")->state, State::failed);
  for (const char* text : {"", "\n", "12", "Unavail", "unavailable\n", "12 \n", "-1\n", "1\n2\n",
                           "18446744073709551616\n", "0x10\n", "Unavailable"}) {
    EXPECT_FALSE(read_mbm_value(text)) << text;
  }
}

TEST(GrowingCounter, GrowsAcrossItsEndAndIsNotSetBackUnnoticed) {
  constexpr std::uint64_t kEnd = ~std::uint64_t{0};
  EXPECT_EQ(grown_by(5, 5), 0U);
  EXPECT_EQ(grown_by(kEnd - 9, 20), 30U);
  EXPECT_FALSE(grown_by(1000, 999));
  EXPECT_FALSE(grown_by(1'000'000'000'000, 0));
  std::mt19937_64 random(11);
  for (int round = 0; round < 1000; ++round) {
    const std::uint64_t before = random();
    const std::uint64_t growth = random() >> 2U;
    EXPECT_EQ(grown_by(before, before + growth), growth);
    EXPECT_FALSE(grown_by(before, before - 1 - (growth >> 1U)));
  }
}

TEST(ResctrlTexts, HaveOneMeaningOrAreRefused) {
  EXPECT_EQ(read_assign_mode("[mbm_event]\ndefault\n").value(), "mbm_event");
  EXPECT_EQ(read_assign_mode("mbm_event\n[default]\n").value(), "default");
  const auto assignments =
      read_mbm_assignments("mbm_total_bytes:0=e;1=_\nmbm_local_bytes:0=_;1=_\n").value();
  EXPECT_EQ(assignments.at("mbm_total_bytes"),
            (std::map<unsigned, std::string>{{0, "e"}, {1, "_"}}));
  EXPECT_EQ(assignments.at("mbm_local_bytes").at(0), "_");
  EXPECT_TRUE(read_mbm_assignments("")->empty());
  EXPECT_EQ(l3_domain_of("mon_L3_00"), 0U);
  EXPECT_EQ(l3_domain_of("mon_L3_128"), 128U);
  EXPECT_EQ(read_tasks("1\n20\n").value(), (std::vector<int>{1, 20}));
  EXPECT_TRUE(read_tasks("")->empty());
  for (const char* text : {"", "default\n", "[]\n", "[mbm_event]\n[default]\n", "[mbm_event\n"}) {
    EXPECT_FALSE(read_assign_mode(text)) << text;
  }
  for (const char* text :
       {"mbm_total_bytes\n", ":0=e\n", "mbm_total_bytes:0\n", "mbm_total_bytes:=e\n",
        "mbm_total_bytes:0=\n", "x:0=e;\n", "x:4294967296=e\n"}) {
    EXPECT_FALSE(read_mbm_assignments(text)) << text;
  }
  for (const char* name : {"mon_L3_", "mon_L2_00", "mon_sub_L3_01", "mon_L3_0x", "mon_PERF_PKG_00",
                           "mon_L3_4294967296"}) {
    EXPECT_FALSE(l3_domain_of(name)) << name;
  }
  for (const char* text : {"0\n", "a\n", "1 2\n", "2147483648\n", "1\n\n2\n"}) {
    EXPECT_FALSE(read_tasks(text)) << text;
  }
}

TEST(MountsText, TellsWhereResctrlIsAndHasOctalEscapes) {
  for (const auto& [mounts, path] : std::vector<std::pair<std::string, std::string>>{
           {"sysfs /sys sysfs rw 0 0\nresctrl /sys/fs/resctrl resctrl rw 0 0\n", "/sys/fs/resctrl"},
           {"resctrl /sys/fs/resctrl tmpfs rw 0 0\n", "nowhere"},
           {"", "nowhere"},
           {"resctrl\n", "nowhere"},
           {"none /a", "nowhere"},
           {"none /a resctrl", "/a"},
           {"x a resctrl\nx /b resctrl\nx /c resctrl\n", "/b"},  // the first path
           {"none /my\\040own\\134 resctrl rw 0 0\n", "/my own\\"},
           {"none /a\\040b\\011c resctrl", "/a b\tc"},
           {"none /a\\377 resctrl", "/a\xff"},
           {"none /a\\400b resctrl", "/a\\400b"},  // no byte
           {"none /a\\08b resctrl", "/a\\08b"},
           {"none /a\\04 resctrl", "/a\\04"},
           {"none /a\\ resctrl", "/a\\"}}) {
    EXPECT_EQ(resctrl_mount_in(mounts).value_or("nowhere"), path) << mounts;
  }
}

}  // namespace
}  // namespace shmif::perf::test
