// The texts of resctrl: each has one meaning, and no other text passes for a number.

#include "instruments/membw/resctrl_files.hpp"

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

TEST(AssignModeText, HasOneModeInBrackets) {
  EXPECT_EQ(read_assign_mode("[mbm_event]\ndefault\n").value(), "mbm_event");
  EXPECT_EQ(read_assign_mode("mbm_event\n[default]\n").value(), "default");
  for (const char* text : {"", "default\n", "[]\n", "[mbm_event]\n[default]\n", "[mbm_event\n"}) {
    EXPECT_FALSE(read_assign_mode(text)) << text;
  }
}

TEST(AssignmentsText, HasAStateForEachEventAndDomain) {
  const auto assignments =
      read_mbm_assignments("mbm_total_bytes:0=e;1=_\nmbm_local_bytes:0=_;1=_\n");
  ASSERT_TRUE(assignments);
  EXPECT_EQ(assignments->at("mbm_total_bytes"),
            (std::map<unsigned, std::string>{{0, "e"}, {1, "_"}}));
  EXPECT_EQ(assignments->at("mbm_local_bytes").at(0), "_");
  EXPECT_TRUE(read_mbm_assignments("")->empty());
  for (const char* text :
       {"mbm_total_bytes\n", ":0=e\n", "mbm_total_bytes:0\n", "mbm_total_bytes:=e\n",
        "mbm_total_bytes:0=\n", "x:0=e;\n", "x:4294967296=e\n"}) {
    EXPECT_FALSE(read_mbm_assignments(text)) << text;
  }
}

TEST(MonitoringFolder, IsOneOfAnL3Domain) {
  EXPECT_EQ(l3_domain_of("mon_L3_00"), 0U);
  EXPECT_EQ(l3_domain_of("mon_L3_128"), 128U);
  for (const char* name : {"mon_L3_", "mon_L2_00", "mon_sub_L3_01", "mon_L3_0x", "mon_PERF_PKG_00",
                           "mon_L3_4294967296"}) {
    EXPECT_FALSE(l3_domain_of(name)) << name;
  }
}

TEST(MountsText, TellsWhereResctrlIs) {
  EXPECT_EQ(resctrl_mount_in("sysfs /sys sysfs rw 0 0\nresctrl /sys/fs/resctrl resctrl rw 0 0\n"),
            "/sys/fs/resctrl");
  EXPECT_EQ(resctrl_mount_in("none /my\\040own\\134 resctrl rw 0 0\n"), "/my own\\");
  EXPECT_EQ(resctrl_mount_in("none /a\\04 resctrl rw 0 0\n"), "/a\\04");
  EXPECT_FALSE(resctrl_mount_in("resctrl /sys/fs/resctrl tmpfs rw 0 0\n"));
  EXPECT_FALSE(resctrl_mount_in(""));
  EXPECT_FALSE(resctrl_mount_in("resctrl\n"));
}

TEST(TasksText, IsNumbersOneALine) {
  EXPECT_EQ(read_tasks("1\n20\n").value(), (std::vector<int>{1, 20}));
  EXPECT_TRUE(read_tasks("")->empty());
  for (const char* text : {"0\n", "a\n", "1 2\n", "2147483648\n", "1\n\n2\n"}) {
    EXPECT_FALSE(read_tasks(text)) << text;
  }
}

TEST(ResctrlTexts, OfMountsHaveOctalEscapes) {
  const auto path = [](const std::string& word) {
    return resctrl_mount_in("none " + word + " resctrl rw 0 0\n").value_or("nowhere");
  };
  EXPECT_EQ(path("/a\\040b\\011c"), "/a b\tc");
  EXPECT_EQ(path("/a\\377"), "/a\xff");
  EXPECT_EQ(path("/a\\400b"), "/a\\400b") << "no byte";
  EXPECT_EQ(path("/a\\08b"), "/a\\08b");
  EXPECT_EQ(path("/a\\"), "/a\\");
  EXPECT_EQ(path("a"), "nowhere") << "no path";
  EXPECT_EQ(resctrl_mount_in("none /a resctrl"), "/a");
  EXPECT_EQ(resctrl_mount_in("none /a"), std::nullopt);
  EXPECT_EQ(resctrl_mount_in("x a resctrl\nx /b resctrl\nx /c resctrl\n"), "/b") << "the first";
}

}  // namespace
}  // namespace shmif::perf::test
