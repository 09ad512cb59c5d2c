// The texts of allocations, and what a machine can have of them.

#include "perf/membw/schemata.hpp"

#include <gtest/gtest.h>

#include "tests/perf/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

std::string steps_text(const std::string& text) {
  const auto steps = read_schemata_steps(text);
  if (!steps) return steps.error().message;
  std::string all;
  for (const Schemata& each : *steps) all += schemata_text(each) + ' ';
  return all;
}

TEST(Schemata, AreReadAsPeopleAndTheKernelWriteThem) {
  const Schemata expected{{"MB", 0, "50"}, {"MB", 1, "60"}, {"L3", 0, "ff"}};
  EXPECT_EQ(read_schemata("MB:0=50;1=60;L3:0=ff").value(), expected);
  EXPECT_EQ(read_schemata("    MB:0= 50;1= 60\n    L3:0=ff\n").value(), expected);
  EXPECT_EQ(schemata_text(expected), "MB:0=50;1=60;L3:0=ff");
  EXPECT_EQ(schemata_lines({{"MB", 0, "50"}, {"L3", 0, "ff"}, {"MB", 1, "60"}}),
            "MB:0=50;1=60\nL3:0=ff\n")
      << "the kernel takes a resource once";
}

TEST(Schemata, ThatAreNoneAreRefused) {
  const std::string usual = "write RESOURCE:DOMAIN=VALUE, such as MB:0=50 or L3:0=ff";
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"", "it is empty"},
           {"MB", usual},
           {"0=50", usual},
           {"MB:0", usual},
           {"MB:0=", usual},
           {"MB:x=50", usual},
           {"MB:-1=50", usual},
           {"MB:4294967296=50", usual},
           {"mb:0=50", usual},
           {"MB:0=50;;", usual},
           {"MB:0=50;1=60;0=70", "MB has domain 0 twice"}}) {
    const auto read = read_schemata(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Errc::bad_argument);
    EXPECT_NE(read.error().message.find(says), std::string::npos) << read.error().message;
  }
}

TEST(Schemata, StepsGoDownAndUpAndStayWithinTheirRange) {
  EXPECT_EQ(steps_text("MB:0=30..10/10"), "MB:0=30 MB:0=20 MB:0=10 ");
  EXPECT_EQ(steps_text("MB:0=10..35/10;L3:0=ff"),
            "MB:0=10;L3:0=ff MB:0=20;L3:0=ff MB:0=30;L3:0=ff ");
  EXPECT_EQ(steps_text("MB:0=20..10/10;1=80..100/20"), "MB:0=20;1=80 MB:0=10;1=100 ");
  EXPECT_EQ(steps_text("MB:0=50..50/10"), "MB:0=50 ");
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=50", "it has no range"},
           {"MB:0=100..10", "a range is FROM..TO/STEP"},
           {"MB:0=100..10/0", "a range is FROM..TO/STEP"},
           {"MB:0=100../10", "a range is FROM..TO/STEP"},
           {"MB:0=1/2..3", "a range is FROM..TO/STEP"},
           {"L3:0=1..3/1", "only MB and SMBA can have a range"},
           {"MB:0=1..1001/1", "more than 1000 steps"},
           {"MB:0=30..10/10;1=20..10/10",
            "all ranges need the same number of steps, and these have 3 and 2"}}) {
    EXPECT_NE(steps_text(text).find(says), std::string::npos) << text << ": " << steps_text(text);
  }
}

class CheckSchemata : public ::testing::Test {
 protected:
  CheckSchemata() { resctrl_.put_allocation(); }
  std::string check(const std::string& text) const {
    const auto checked = check_schemata(tree_.files(), kRoot, read_schemata(text).value());
    return checked ? "possible" : checked.error().message;
  }
  void expect_refused(const std::string& text, const std::string& why) const {
    EXPECT_EQ(check(text), "this machine cannot allocate " + text + ": " + why);
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
};

TEST_F(CheckSchemata, KnowsTheResourcesAndDomainsOfTheMachine) {
  EXPECT_EQ(check("MB:0=50;1=100;L3:0=7ff;1=3"), "possible");
  expect_refused("L2:0=ff", "there is no L2, only MB, L3");
  expect_refused("MB:2=50", "MB has the domains 0, 1");
  EXPECT_EQ(check("MB:0=50;L3:7=ff"),
            "this machine cannot allocate L3:7=ff: L3 has the domains "
            "0, 1");
  tree_.remove(kRoot + "/schemata");
  EXPECT_EQ(check("MB:0=50").find("this machine cannot limit caches or bandwidth: "), 0U);
}

TEST_F(CheckSchemata, KnowsTheLimitsOfBandwidth) {
  EXPECT_EQ(check("MB:0=10"), "possible");
  expect_refused("MB:0=9", "the minimum is 10");
  expect_refused("MB:0=110", "the maximum is 100");
  expect_refused("MB:0=55", "the machine has steps of 10; use 50 or 60");
  expect_refused("MB:0=ff", "bandwidth is a number in decimal digits");
  expect_refused("MB:0=4294967296", "bandwidth is a number in decimal digits");
  // AMD: eighths of a GB/s, and no end that a file would name.
  tree_.put(kRoot + "/info/MB/delay_linear", "0\n");
  tree_.put(kRoot + "/info/MB/min_bandwidth", "1\n");
  tree_.put(kRoot + "/info/MB/bandwidth_gran", "1\n");
  EXPECT_EQ(check("MB:0=2048"), "possible");
  expect_refused("MB:0=0", "the minimum is 1");
  tree_.remove(kRoot + "/info/MB/bandwidth_gran");
  EXPECT_NE(check("MB:0=50").find("bandwidth_gran"), std::string::npos);
}

TEST_F(CheckSchemata, LeavesMegabytesAsTheyAre) {
  tree_.put("/proc/mounts", "resctrl " + kRoot + " resctrl rw,relatime,mba_MBps 0 0\n");
  EXPECT_EQ(check("MB:0=4294967295;1=7"), "possible");
  expect_refused("MB:0=4294967296", "bandwidth is a number in decimal digits");
}

TEST_F(CheckSchemata, KnowsTheMasksOfACache) {
  EXPECT_EQ(check("L3:0=600;1=0x3"), "possible");
  expect_refused("L3:0=fff", "the mask has bits outside of the cache's mask 7ff");
  expect_refused("L3:0=1", "a mask needs at least 2 contiguous bits");
  expect_refused("L3:0=0", "a mask needs at least 2 contiguous bits");
  expect_refused("L3:0=5f", "the bits of a mask must be contiguous");
  expect_refused("L3:0=50%", "a mask is a number in hexadecimal digits");
  tree_.put(kRoot + "/info/L3/sparse_masks", "1\n");
  EXPECT_EQ(check("L3:0=503"), "possible");
  tree_.put(kRoot + "/info/L3/min_cbm_bits", "0\n");
  EXPECT_EQ(check("L3:0=0"), "possible");
  // An older kernel does not tell, and decides by itself.
  tree_.remove(kRoot + "/info/L3/sparse_masks");
  EXPECT_EQ(check("L3:0=503"), "possible");
}

}  // namespace
}  // namespace shmif::perf::test
