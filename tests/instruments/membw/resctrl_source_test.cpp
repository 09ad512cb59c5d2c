// Windows of resctrl: bytes of all domains, and a reason whenever there is no number.

#include "instruments/membw/resctrl.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/instruments/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
namespace {

class ResctrlSourceTest : public ::testing::Test {
 protected:
  ResctrlSourceTest() { resctrl_.put_process(10, {10, 11}); }
  ResctrlSource source(ResctrlOptions options = {}) {
    return ResctrlSource(tree_.files(), std::move(options), resctrl_, [this] { return now_; });
  }
  std::string group() const {
    return kRoot + "/mon_groups/shmifperf-" + std::to_string(::getpid());
  }
  /// A window of two seconds in which the texts of the total become these.
  MemoryReading window(ResctrlSource& source, const std::string& first, const std::string& second) {
    return window_of(
        source, now_,
        [&] {
          resctrl_.count(group(), 0, "mbm_total_bytes", first);
          resctrl_.count(group(), 1, "mbm_total_bytes", second);
        },
        2);
  }

  Tree tree_;
  FakeResctrl resctrl_{tree_};
  std::uint64_t now_ = 5 * kSecond;
};

TEST_F(ResctrlSourceTest, AddsWhatTheDomainsOfTheGroupCounted) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl.scope(), MemoryScope::group);
  EXPECT_EQ(resctrl.level(), MemoryLevel::dram);
  EXPECT_EQ(resctrl_.group_of(11), group());
  EXPECT_EQ(resctrl.origin(), group() + "/mon_data");
  resctrl_.count(group(), 0, "mbm_total_bytes", "1000\n");
  window_of(
      resctrl, now_,
      [&] {
        resctrl_.count(group(), 0, "mbm_total_bytes", "5000\n");
        resctrl_.count(group(), 1, "mbm_total_bytes", "600\n");
        resctrl_.count(group(), 1, "mbm_local_bytes", "200\n");
      },
      2);
  const MemoryReading reading = resctrl.read();
  EXPECT_EQ(reading.total, 2300);
  EXPECT_EQ(reading.local, 100);
  EXPECT_FALSE(reading.reads);
  EXPECT_FALSE(reading.writes);
  EXPECT_EQ(reading.reason, "resctrl does not tell reads from writes");
  EXPECT_EQ(reading.begin_ns, 5 * kSecond);
  EXPECT_EQ(reading.window_s(), 2);
  ASSERT_TRUE(resctrl.close());
  EXPECT_EQ(resctrl_.group_of(11), kRoot);
  EXPECT_FALSE(resctrl_.has(group()));
}

TEST_F(ResctrlSourceTest, WithoutProcessesCountsAllControlGroups) {
  resctrl_.add_group(kRoot + "/fast");
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl.scope(), MemoryScope::machine);
  window_of(resctrl, now_, [&] {
    resctrl_.count(kRoot, 0, "mbm_total_bytes", "100\n");
    resctrl_.count(kRoot + "/fast", 1, "mbm_total_bytes", "20\n");
  });
  EXPECT_EQ(resctrl.read().total, 120);
  EXPECT_TRUE(resctrl_.calls.empty()) << "nothing is made for it";
}

TEST_F(ResctrlSourceTest, HasAReasonForEachWindowWithoutANumber) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  const std::string file = tree_.at(group()) + "/mon_data/mon_L3_01/mbm_total_bytes";
  struct Case {
    std::string text, reason;
  };
  for (const Case& each :
       {Case{"Unavailable\n", file + " was Unavailable (the hardware had no value; a longer "
                                     "window may help)"},
        Case{"Unassigned\n", file + " was Unassigned (assign a counter: echo 'mbm_total_bytes:*=e' "
                                    "> the group's mbm_L3_assignments)"},
        Case{"Error\n", file + " was Error (the hardware refused the event)"},
        Case{"", file + ": the file is empty"}, Case{"123", file + ": \"123\" is not a whole line"},
        Case{"12 3\n", file + ": \"12 3\" is not a number of bytes"}}) {
    resctrl_.count(group(), 1, "mbm_total_bytes", "7\n");
    const MemoryReading reading = window(resctrl, "5000\n", each.text);
    EXPECT_FALSE(reading.total) << each.text;
    EXPECT_EQ(reading.reason, each.reason);
  }
  // The window after that is counted again.
  resctrl_.count(group(), 1, "mbm_total_bytes", "7\n");
  EXPECT_EQ(window(resctrl, "5000\n", "107\n").total, 50);
}

TEST_F(ResctrlSourceTest, CountsAcrossTheEndOfACounterAndNoticesAReset) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.count(group(), 0, "mbm_total_bytes", "18446744073709551606\n");
  EXPECT_EQ(window(resctrl, "90\n", "0\n").total, 50);
  const MemoryReading reset = window(resctrl, "10\n", "0\n");
  EXPECT_FALSE(reset.total);
  EXPECT_EQ(reset.reason, tree_.at(group()) +
                              "/mon_data/mon_L3_00/mbm_total_bytes was set back during the window");
}

TEST_F(ResctrlSourceTest, NoticesDomainsThatComeAndGo) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  window_of(resctrl, now_, [&] { tree_.remove(group() + "/mon_data/mon_L3_01"); });
  EXPECT_EQ(resctrl.read().reason, "a domain of the last-level caches went away during the window");
  window_of(resctrl, now_, [&] {
    resctrl_.count(group(), 1, "mbm_total_bytes", "5\n");
    resctrl_.count(group(), 1, "mbm_local_bytes", "5\n");
  });
  EXPECT_EQ(resctrl.read().reason, tree_.at(group()) +
                                       "/mon_data/mon_L3_01/mbm_total_bytes appeared during the "
                                       "window");
}

TEST_F(ResctrlSourceTest, SaysThatSomebodyDeletedItsGroup) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  window_of(resctrl, now_, [&] { resctrl_.delete_group(group()); });
  EXPECT_EQ(resctrl.read().reason, "somebody deleted the group " + tree_.at(group()));
  EXPECT_TRUE(resctrl.close());
}

TEST_F(ResctrlSourceTest, InTheModeOfAssignedCountersAsksForThoseThatAreMissing) {
  resctrl_.assign_mode = true;
  resctrl_.assignments = "mbm_total_bytes:0=e;1=_\nmbm_local_bytes:0=e;1=e\n";
  tree_.put(kRoot + "/info/L3_MON/mbm_assign_mode", "[mbm_event]\ndefault\n");
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl_.calls.back(), "assign mbm_total_bytes:*=e\n");
  ASSERT_TRUE(resctrl.close());
  tree_.put(kRoot + "/info/L3_MON/mbm_assign_mode", "mbm_event\n[default]\n");
  resctrl_.calls.clear();
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl_.calls, (std::vector<std::string>{"make " + group()}));
}

TEST_F(ResctrlSourceTest, UnmountsOnlyWhatItMounted) {
  ResctrlSource there = source({.mount = true});
  ASSERT_TRUE(there.open({10}));
  ASSERT_TRUE(there.close());
  EXPECT_EQ(resctrl_.calls.front(), "make " + group()) << "it was mounted already";
  EXPECT_EQ(resctrl_.calls.back(), "remove " + group());

  resctrl_.leave_unmounted();
  resctrl_.calls.clear();
  ResctrlSource unasked = source();
  const auto refused = unasked.open({10});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "resctrl is not mounted: No such device (mount -t resctrl resctrl /sys/fs/resctrl)");
  ResctrlSource asked = source({.mount = true});
  ASSERT_TRUE(asked.open({10}));
  ASSERT_TRUE(asked.close());
  EXPECT_EQ(resctrl_.calls, (std::vector<std::string>{"mount " + kRoot, "make " + group(),
                                                      "remove " + group(), "unmount " + kRoot}));
  resctrl_.calls.clear();
  resctrl_.fail_make = ENOSPC;
  EXPECT_EQ(asked.open({10}).error().code, std::errc::no_space_on_device);
  EXPECT_EQ(resctrl_.calls.back(), "unmount " + kRoot) << "also after an error";
}

TEST_F(ResctrlSourceTest, SaysWhatTheMachineDoesNotHave) {
  const Tree bare;
  bare.put("/proc/mounts", "proc /proc proc rw 0 0\n");
  bare.put("/proc/filesystems", "nodev\tproc\n");
  ResctrlSource none(bare.files());
  const auto opened = none.open({});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::not_supported);
  EXPECT_EQ(opened.error().message, "no resctrl in " + bare.path() +
                                        "/proc/filesystems: the kernel was built without it, "
                                        "or the processor monitors no bandwidth");
  const Tree other;
  FakeResctrl occupancy(other, {});
  ResctrlSource unable(other.files(), {}, occupancy);
  EXPECT_EQ(unable.open({}).error().message,
            "the hardware counts no memory bandwidth: " + other.at(kRoot) +
                "/info/L3_MON/mon_features names no mbm_total_bytes");
}

TEST_F(ResctrlSourceTest, CountsTheLocalBytesOfOneDomainAlone) {
  const Tree tree;
  FakeResctrl resctrl(tree, {"mbm_local_bytes"});
  ResctrlSource local(tree.files(), {.local_domain = 1}, resctrl, [this] { return now_; });
  ASSERT_TRUE(local.open({})) << "without a total";
  EXPECT_EQ(std::string(local.name()) + ':' + local.part(), "resctrl:local");
  window_of(
      local, now_,
      [&] {
        resctrl.count(kRoot, 0, "mbm_local_bytes", "4000\n");
        resctrl.count(kRoot, 1, "mbm_local_bytes", "60\n");
      },
      2);
  EXPECT_EQ(local.read().total, 30);
  EXPECT_EQ(local.read().local, 30);
  ResctrlSource none(tree.files(), {.local_domain = 7}, resctrl);
  ASSERT_TRUE(none.open({}));
  ASSERT_TRUE(none.enable());
  EXPECT_EQ(none.read().reason, tree.at(kRoot) + "/mon_data has no mon_L3_07");
  const Tree totals;
  FakeResctrl of_totals(totals, {"mbm_total_bytes"});
  EXPECT_EQ(ResctrlSource(totals.files(), {.local_domain = 1}, of_totals).open({}).error().message,
            "the hardware does not count mbm_local_bytes");
}

TEST_F(ResctrlSourceTest, ThatIsOpenedAgainIsClosedFirst) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.put_process(20, {20});
  ASSERT_TRUE(resctrl.open({20}));
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_EQ(resctrl_.group_of(20), group());
  EXPECT_EQ(resctrl_.calls,
            (std::vector<std::string>{"make " + group(), "remove " + group(), "make " + group()}));
  resctrl_.fail_remove = EBUSY;
  EXPECT_EQ(resctrl.open({10}).error().code, std::errc::device_or_resource_busy);
}

TEST_F(ResctrlSourceTest, MountsOnceAndTellsWhatItCouldNotUnmount) {
  resctrl_.leave_unmounted();
  ResctrlSource resctrl = source({.mount = true});
  ASSERT_TRUE(resctrl.prepare());
  EXPECT_EQ(resctrl.mount_point(), kRoot);
  ASSERT_TRUE(resctrl.prepare());
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl_.calls, std::vector<std::string>{"mount " + kRoot});
  resctrl_.fail_unmount = EBUSY;
  EXPECT_EQ(resctrl.close().error().code, std::errc::device_or_resource_busy);
  EXPECT_TRUE(resctrl.close()) << "it is not tried again";
  EXPECT_EQ(resctrl_.calls, (std::vector<std::string>{"mount " + kRoot, "unmount " + kRoot}));
  // What could not be undone first is the one to tell.
  resctrl_.leave_unmounted();
  resctrl_.put_process(10, {10, 11});
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.fail_task = 10;
  EXPECT_EQ(resctrl.close().error().code, std::errc::operation_not_permitted);
  EXPECT_EQ(resctrl_.calls.back(), "unmount " + kRoot);
}

TEST_F(ResctrlSourceTest, ThatCannotMountSaysWhyAndUnmountsNothing) {
  resctrl_.leave_unmounted();
  resctrl_.fail_mount = EPERM;
  ResctrlSource resctrl = source({.mount = true});
  EXPECT_EQ(resctrl.open({}).error().code, std::errc::operation_not_permitted);
  EXPECT_NE(resctrl.failure().find("cannot mount"), std::string::npos) << resctrl.failure();
  EXPECT_EQ(resctrl_.calls, std::vector<std::string>{"mount " + kRoot});
  resctrl_.fail_mount = 0;
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl.failure(), "") << "that was before";
}

TEST_F(ResctrlSourceTest, ReadsASecondTimeOnlyAtTheBeginAndOnlyWithoutAValue) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.count(group(), 0, "mbm_total_bytes", "5100\n");
  resctrl_.first_reads[group() + "/mon_data/mon_L3_00/mbm_total_bytes"] = "5000\n";
  window_of(resctrl, now_, [&] { resctrl_.count(group(), 0, "mbm_total_bytes", "5150\n"); });
  EXPECT_EQ(resctrl.read().total, 150) << "the first read had a value";
  window_of(resctrl, now_, [&] {
    resctrl_.first_reads[group() + "/mon_data/mon_L3_00/mbm_total_bytes"] = "Unavailable\n";
  });
  EXPECT_NE(resctrl.read().reason.find(" was Unavailable"), std::string::npos);
  // A begin without a value, whatever the end has.
  resctrl_.count(group(), 0, "mbm_total_bytes", "Unavailable\n");
  window_of(resctrl, now_, [&] { resctrl_.count(group(), 0, "mbm_total_bytes", "6000\n"); });
  EXPECT_FALSE(resctrl.read().total);
  EXPECT_NE(resctrl.read().reason.find(" was Unavailable"), std::string::npos);
}

TEST_F(ResctrlSourceTest, HasNoRateOfAWindowWithoutALength) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  ASSERT_TRUE(resctrl.enable());
  ASSERT_TRUE(resctrl.disable());
  EXPECT_FALSE(resctrl.read().total);
  EXPECT_EQ(resctrl.read().reason, "the window had no length");
}

TEST_F(ResctrlSourceTest, OfLocalBytesReadsNothingElse) {
  ResctrlSource resctrl = source({.local_domain = 1});
  ASSERT_TRUE(resctrl.open({}));
  for (const unsigned domain : {0U, 1U}) resctrl_.count(kRoot, domain, "mbm_total_bytes", "x");
  resctrl_.count(kRoot, 0, "mbm_local_bytes", "x");
  resctrl_.count(kRoot, 1, "mbm_local_bytes", "1000\n");
  window_of(resctrl, now_, [&] { resctrl_.count(kRoot, 1, "mbm_local_bytes", "1700\n"); });
  EXPECT_EQ(resctrl.read().total, 700) << resctrl.read().reason;
}

}  // namespace
}  // namespace shmif::perf::test
