// The texts of resctrl and of allocations at the limits of their numbers and letters, and what a
// machine says that describes itself badly.

#include <gtest/gtest.h>
#include <sched.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "perf/membw/fill_load.hpp"
#include "perf/membw/resctrl_files.hpp"
#include "perf/membw/schemata.hpp"
#include "tests/perf/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

TEST(ResctrlTexts, TakeTheLargestNumbersOfTheirKind) {
  EXPECT_EQ(l3_domain_of("mon_L3_4294967295"), 4294967295U);
  EXPECT_EQ(read_tasks("2147483647\n").value(), std::vector<int>{2147483647});
  EXPECT_EQ(read_mbm_assignments("x:4294967295=e\n")->at("x").at(4294967295U), "e");
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62U;
  EXPECT_EQ(grown_by(5, 5 + kMost), kMost);
  EXPECT_FALSE(grown_by(5, 6 + kMost));
  EXPECT_EQ(read_mbm_value("Unavailable\n")->bytes, 0U);
}

TEST(ResctrlTexts, HaveOneModeInBrackets) {
  EXPECT_EQ(read_assign_mode("[m]\n").value(), "m");
  for (const char* text : {"[\n", "x]\n", "[x]\n[\n[y]\n", "[x]\n[]\n"}) {
    EXPECT_FALSE(read_assign_mode(text)) << text;
  }
  EXPECT_EQ(read_assign_mode("x]\n[y\n[z]\n").value(), "z");
  EXPECT_FALSE(read_mbm_assignments("nonsense")) << "without a colon";
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

TEST(ResctrlTexts, AreSplitIntoLines) {
  using Lines = std::vector<std::string_view>;
  EXPECT_EQ(lines_in("a\n\nb"), (Lines{"a", "", "b"}));
  EXPECT_EQ(lines_in("a\nb\n"), (Lines{"a", "b"}));
  EXPECT_EQ(lines_in(""), Lines{});
  EXPECT_EQ(lines_in("\n"), Lines{""});
}

TEST(SchemataTexts, HaveNamesOfCapitalsDigitsAndLines) {
  for (const char* name : {"A", "Z", "0", "9", "_", "L3CODE", "AZ09_"}) {
    EXPECT_EQ(schemata_text(read_schemata(name + std::string(":0=1")).value()),
              name + std::string(":0=1"));
  }
  for (const char* name : {"@", "[", "/", ":", "`", "a", "", "L 3", "^"}) {
    EXPECT_FALSE(read_schemata(name + std::string(":0=1"))) << name;
  }
  EXPECT_EQ(read_schemata("\t MB \t:\t 4294967295 \t=\t 7 \t").value(),
            (Schemata{{"MB", 4294967295U, "7"}}));
  EXPECT_FALSE(read_schemata("MB:0=\t"));
  EXPECT_EQ(schemata_text({{"MB", 0, "1"}, {"L3", 0, "2"}, {"MB", 1, "3"}}),
            "MB:0=1;L3:0=2;MB:1=3");
}

TEST(SchemataTexts, AreNotCutBeforeTheirReasons) {
  const std::string long_text(100, 'x');
  EXPECT_EQ(
      read_schemata(long_text).error().message,
      '"' + std::string(80, 'x') +
          "\" is not an allocation (write RESOURCE:DOMAIN=VALUE, such as MB:0=50 or L3:0=ff)");
}

TEST(SchemataSteps, AreOfBandwidthInDecimalDigits) {
  const auto steps = [](const std::string& text) {
    const auto read = read_schemata_steps(text);
    std::string all;
    for (const Schemata& each : read ? *read : std::vector<Schemata>()) {
      all += schemata_text(each) + ' ';
    }
    return read ? all : std::string("none");
  };
  EXPECT_EQ(steps("SMBA:3=8..10/2"), "SMBA:3=8 SMBA:3=10 ");
  EXPECT_EQ(steps("MB:0=1..2/1;1=5;L3:0=f"), "MB:0=1;1=5;L3:0=f MB:0=2;1=5;L3:0=f ");
  EXPECT_EQ(steps("MB:0=10..0/5"), "MB:0=10 MB:0=5 MB:0=0 ");
  EXPECT_EQ(steps("MB:0=9..1/3"), "MB:0=9 MB:0=6 MB:0=3 ");
  EXPECT_EQ(steps("MB:0=1000..1000/1"), "MB:0=1000 ");
  for (const char* text : {"MB:0=/1..2", "MB:0=1/..2", "MB:0=..2/1", "MB:0=1..2/", "MB:0=x..2/1",
                           "MB:0=1..x/1", "MB:0=1..2/x", "MB:0=0x1..2/1", "MBX:0=1..2/1",
                           "MB:0=0..1000/1", "MB:0=0..2000/2", "nonsense"}) {
    EXPECT_EQ(steps(text), "none") << text;
  }
  EXPECT_EQ(read_schemata_steps("MB:0=0..1998/2")->size(), 1000U);
}

TEST(SchemataTexts, AreTheSameNumberInTheDigitsOfTheirResource) {
  EXPECT_TRUE(is_same_value({"L3", 0, "0XFF"}, {"L3", 0, "ff"}));
  EXPECT_TRUE(is_same_value({"L3", 0, "10"}, {"L3", 0, "010"}));
  EXPECT_FALSE(is_same_value({"L3", 0, "1f"}, {"L3", 0, "1e"}));
  EXPECT_FALSE(is_same_value({"MB", 0, "10"}, {"MB", 0, "1"}));
}

class SeldomSchemata : public ::testing::Test {
 protected:
  SeldomSchemata() { resctrl_.put_allocation(); }
  std::string check(const std::string& text) const {
    const auto checked = check_schemata(tree_.files(), kRoot, read_schemata(text).value());
    return checked ? "possible" : checked.error().message;
  }
  void put_info(const std::string& name, const std::string& text) const {
    tree_.put(info_ + name, text + '\n');
  }
  const std::string info_ = kRoot + "/info/";
  Tree tree_;
  FakeResctrl resctrl_{tree_};
};

TEST_F(SeldomSchemata, NameTheFileThatTheMachineLacks) {
  for (const auto& [file, text] :
       std::vector<std::pair<std::string, std::string>>{{"MB/min_bandwidth", "MB:0=50"},
                                                        {"MB/bandwidth_gran", "MB:0=50"},
                                                        {"L3/min_cbm_bits", "L3:0=ff"}}) {
    const std::string was = tree_.text(info_ + file);
    tree_.remove(info_ + file);
    EXPECT_EQ(check(text), "cannot open " + tree_.at(info_ + file) + ": No such file or directory");
    tree_.put(info_ + file, was);
    EXPECT_EQ(check(text), "possible");
  }
  for (const char* mask : {"", "\n", "x\n"}) {
    tree_.put(info_ + "L3/cbm_mask", mask);
    EXPECT_EQ(check("L3:0=ff"), tree_.at(info_ + "L3/cbm_mask") + " has no mask");
  }
  tree_.put(kRoot + "/schemata", "nonsense\n");
  EXPECT_EQ(check("MB:0=50").find(tree_.at(kRoot) + "/schemata: \"nonsense\" is not an allocation"),
            0U);
  tree_.remove(kRoot + "/schemata");
  const auto none = check_schemata(tree_.files(), kRoot, {{"MB", 0, "50"}});
  EXPECT_EQ(none.error().code, Errc::not_supported);
}

TEST_F(SeldomSchemata, TakeWhatHasNoStepsAndNoLinearScale) {
  put_info("MB/bandwidth_gran", "0");
  EXPECT_EQ(check("MB:0=55"), "possible");
  put_info("MB/bandwidth_gran", "10");
  put_info("MB/min_bandwidth", "50");
  EXPECT_EQ(check("MB:0=55"),
            "this machine cannot allocate MB:0=55: the machine has steps of 10; use 50 or 60");
  EXPECT_EQ(check("MB:0=50"), "possible");
  EXPECT_EQ(check("MB:0=49"), "this machine cannot allocate MB:0=49: the minimum is 50");
  tree_.remove(info_ + "MB/delay_linear");
  EXPECT_EQ(check("MB:0=110"), "possible") << "the kernel knows the end";
  put_info("MB/bandwidth_gran", "1");
  EXPECT_EQ(check("MB:0=4294967295"), "possible");
}

TEST_F(SeldomSchemata, AreMegabytesOnlyWhereResctrlIsMountedSo) {
  const std::string mount = "resctrl " + kRoot + " resctrl rw";
  tree_.put("/proc/mounts", "x /x tmpfs rw,mba_MBps 0 0\n" + mount + " 0 0\n");
  EXPECT_EQ(check("MB:0=5"), "this machine cannot allocate MB:0=5: the minimum is 10");
  tree_.put("/proc/mounts", "x /x tmpfs rw 0 0\n" + mount + ",mba_MBps 0 0\n");
  EXPECT_EQ(check("MB:0=5"), "possible");
  EXPECT_EQ(check("MB:0=x"),
            "this machine cannot allocate MB:0=x: bandwidth is a number in decimal digits");
  tree_.remove("/proc/mounts");
  EXPECT_EQ(check("MB:0=5"), "this machine cannot allocate MB:0=5: the minimum is 10");
}

TEST_F(SeldomSchemata, AreCheckedOneAfterTheOther) {
  EXPECT_EQ(check("MB:0=50;L3:0=1;MB:9=5"),
            "this machine cannot allocate L3:0=1: a mask needs at least 2 contiguous bits");
  EXPECT_EQ(check("MB:1=50;L3:1=7ff"), "possible");
  put_info("L3/sparse_masks", "1");
  EXPECT_EQ(check("L3:0=5"),
            "this machine cannot allocate L3:0=5: a mask needs at least 2 contiguous bits")
      << "the first run counts";
}

/// Of a process that may use one CPU only.
TEST(FillLoad, HasAThreadForEachCpuThatItMayUse) {
  cpu_set_t before{};
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  FillOptions options{.buffer_bytes = 1U << 20U, .once = true};
  EXPECT_EQ(fill_memory({}, options)->threads, static_cast<unsigned>(CPU_COUNT(&before)));
  cpu_set_t one{};
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  const auto filled = fill_memory({}, options);
  options.buffer_bytes = std::uint64_t{1} << 62U;
  const auto large = check_fill(options);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(filled->threads, 1U);
  EXPECT_EQ(filled->buffer_bytes, 1U << 20U);
  EXPECT_EQ(filled->bytes, 3U << 19U);
  EXPECT_NE(large.error().message.find("in each of 1 threads"), std::string::npos)
      << large.error().message;
}

/// The threads begin together, and each counts from then on.
TEST(FillLoad, BeginsToCountWhenItsBuffersAreReady) {
  FillCounts counts = FillCounts::create().value();
  const auto begin = now_ns();
  const FillOptions options{.threads = 2,
                            .buffer_bytes = 1U << 20U,
                            .counts = &counts,
                            .operation = FillOperation::read,
                            .once = true};
  const auto filled = fill_memory(std::chrono::hours(1), options);
  ASSERT_TRUE(filled) << filled.error().message;
  EXPECT_EQ(filled->buffer_bytes, 1U << 20U);
  EXPECT_GT(filled->seconds, 0);
  EXPECT_LE(filled->seconds * 1e9, static_cast<double>(now_ns() - begin));
  for (const auto& each : counts.look()) {
    ASSERT_TRUE(each);
    EXPECT_GT(each->time_ns, begin);
    EXPECT_LE(each->time_ns, now_ns());
  }
}

}  // namespace
}  // namespace shmif::perf::test
