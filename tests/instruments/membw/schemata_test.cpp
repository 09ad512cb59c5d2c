// The texts of allocations, and what a machine can have of them.

#include "instruments/membw/schemata.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/instruments/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

TEST(Schemata, AreReadAsPeopleAndTheKernelWriteThem) {
  const Schemata expected{{"MB", 0, "50"}, {"MB", 1, "60"}, {"L3", 0, "ff"}};
  EXPECT_EQ(read_schemata("MB:0=50;1=60;L3:0=ff").value(), expected);
  EXPECT_EQ(read_schemata("    MB:0= 50;1= 60\n    L3:0=ff\n").value(), expected);
  EXPECT_EQ(read_schemata("\t MB \t:\t 4294967295 \t=\t 7 \t").value(),
            (Schemata{{"MB", 4294967295U, "7"}}));
  EXPECT_EQ(schemata_text(expected), "MB:0=50;1=60;L3:0=ff");
  EXPECT_EQ(schemata_lines({{"MB", 0, "50"}, {"L3", 0, "ff"}, {"MB", 1, "60"}}),
            "MB:0=50;1=60\nL3:0=ff\n")
      << "the kernel takes a resource once";
  for (const char* text :
       {"", "MB", "0=50", "MB:0", "MB:0=", "MB:0=\t", "MB:x=50", "MB:-1=50", "MB:4294967296=50",
        "mb:0=50", "L 3:0=1", "[:0=1", "MB:0=50;;", "MB:0=50;1=60;0=70"}) {
    const auto read = read_schemata(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Errc::bad_argument);
  }
  EXPECT_TRUE(is_same_value({"MB", 0, "50"}, {"MB", 0, "050"}));
  EXPECT_FALSE(is_same_value({"MB", 0, "50"}, {"MB", 0, "51"}));
  EXPECT_TRUE(is_same_value({"L3", 0, "0X0FF"}, {"L3", 0, "ff"}));
  EXPECT_FALSE(is_same_value({"L3", 0, "ff"}, {"L3", 0, "7f"}));
}

TEST(Schemata, StepsGoDownAndUpAndStayWithinTheirRange) {
  const auto steps = [](const std::string& text) {
    const auto read = read_schemata_steps(text);
    if (!read) return "none: " + read.error().message;
    std::string all;
    for (const Schemata& each : *read) all += schemata_text(each) + ' ';
    return all;
  };
  for (const auto& [text, wanted] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=30..10/10", "MB:0=30 MB:0=20 MB:0=10 "},
           {"MB:0=9..1/3", "MB:0=9 MB:0=6 MB:0=3 "},
           {"MB:0=10..0/5", "MB:0=10 MB:0=5 MB:0=0 "},
           {"MB:0=10..25/10;L3:0=ff", "MB:0=10;L3:0=ff MB:0=20;L3:0=ff "},
           {"MB:0=20..10/10;1=80..100/20", "MB:0=20;1=80 MB:0=10;1=100 "},
           {"SMBA:3=8..10/2", "SMBA:3=8 SMBA:3=10 "},
           {"MB:0=50..50/10", "MB:0=50 "}}) {
    EXPECT_EQ(steps(text), wanted);
  }
  EXPECT_EQ(read_schemata_steps("MB:0=1..1000/1")->size(), 1000U);
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=50", "no range"},
           {"MB:0=100..10", "FROM..TO/STEP"},
           {"MB:0=100..10/0", "FROM..TO/STEP"},
           {"MB:0=1/2..3", "FROM..TO/STEP"},
           {"MB:0=..2/1", "FROM..TO/STEP"},
           {"MB:0=0x1..2/1", "FROM..TO/STEP"},
           {"L3:0=1..3/1", "only MB and SMBA"},
           {"MB:0=1..1001/1", "1000 steps"},
           {"MB:0=30..10/10;1=20..10/10", "3 and 2"}}) {
    EXPECT_EQ(steps(text).find("none: "), 0U) << text;
    EXPECT_NE(steps(text).find(words), std::string::npos) << steps(text);
  }
}

class CheckSchemata : public ::testing::Test {
 protected:
  CheckSchemata() { resctrl_.put_allocation(); }
  /// A word of the reason; none: it is possible.
  void expect(const std::string& text, const std::string& word = "") const {
    const auto checked = check_schemata(tree_.files(), kRoot, read_schemata(text).value());
    EXPECT_EQ(checked.has_value(), word.empty()) << text;
    if (!checked) {
      EXPECT_NE(checked.error().message.find(word), std::string::npos) << checked.error().message;
    }
  }
  void put_info(const std::string& name, const std::string& text) const {
    tree_.put(kRoot + "/info/" + name, text + '\n');
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
};

TEST_F(CheckSchemata, KnowsTheResourcesAndDomainsOfTheMachine) {
  expect("MB:0=50;1=100;L3:0=7ff;1=3");
  expect("L2:0=ff", "cannot allocate L2:0=ff: there is no L2");
  expect("MB:2=50", "the domains 0, 1");
  expect("MB:0=50;L3:7=ff", "cannot allocate L3:7=ff");
  tree_.put(kRoot + "/schemata", "nonsense\n");
  expect("MB:0=50", "\"nonsense\"");
  tree_.remove(kRoot + "/schemata");
  expect("MB:0=50", "cannot limit caches or bandwidth");
}

TEST_F(CheckSchemata, KnowsTheLimitsAndStepsOfBandwidth) {
  expect("MB:0=10");
  expect("MB:0=9", "the minimum is 10");
  expect("MB:0=100");
  expect("MB:0=110", "the maximum is 100");
  expect("MB:0=55", "use 50 or 60");
  expect("MB:0=ff", "decimal");
  expect("MB:0=4294967296", "decimal");
  put_info("MB/min_bandwidth", "15");
  expect("MB:0=17", "use 20");  // 10 is below the minimum, and steps begin at 0
  expect("MB:0=20");
  put_info("MB/min_bandwidth", "20");
  expect("MB:0=25", "use 20 or 30");
  // AMD: eighths of a GB/s, and no end that a file would name.
  put_info("MB/delay_linear", "0");
  put_info("MB/min_bandwidth", "1");
  put_info("MB/bandwidth_gran", "1");
  expect("MB:0=2048");
  expect("MB:0=0", "the minimum is 1");
  tree_.remove(kRoot + "/info/MB/bandwidth_gran");
  expect("MB:0=50", "bandwidth_gran");
}

TEST_F(CheckSchemata, LeavesMegabytesAsTheyAreWhereResctrlIsMountedSo) {
  const std::string mount = "resctrl " + kRoot + " resctrl rw";
  tree_.put("/proc/mounts", "x /x tmpfs rw,mba_MBps 0 0\n" + mount + " 0 0\n");
  expect("MB:0=5", "the minimum is 10");
  tree_.put("/proc/mounts", "x /x tmpfs rw 0 0\n" + mount + ",relatime,mba_MBps 0 0\n");
  expect("MB:0=4294967295;1=7");
  expect("MB:0=4294967296", "decimal");
}

TEST_F(CheckSchemata, KnowsTheMasksOfACache) {
  expect("L3:0=600;1=0x3");
  expect("L3:0=7ff");
  expect("L3:0=800", "the cache's mask 7ff");
  for (const char* few : {"L3:0=1", "L3:0=0"}) expect(few, "at least 2 contiguous bits");
  expect("L3:0=5f", "must be contiguous");
  expect("L3:0=50%", "hexadecimal");
  put_info("L3/sparse_masks", "1");
  expect("L3:0=503");
  expect("L3:0=5", "at least 2 contiguous bits");
  put_info("L3/min_cbm_bits", "0");
  expect("L3:0=0");
  // An older kernel does not tell, and decides by itself.
  tree_.remove(kRoot + "/info/L3/sparse_masks");
  expect("L3:0=503");
  put_info("L3/cbm_mask", "x");
  expect("L3:0=7", "has no mask");
}

}  // namespace
}  // namespace shmif::perf::test
