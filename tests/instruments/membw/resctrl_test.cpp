// The texts of resctrl: each has one meaning, and no other text passes for a number.

#include <gtest/gtest.h>
#include <unistd.h>
#include <random>

#include "tests/instruments/membw/fake_resctrl.hpp"

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

// Groups of resctrl: all threads go in and come back to where they were, and only what was made
// here is deleted.

namespace {

const std::string kMade = kRoot + "/mon_groups/ours";

class ResctrlGroupTest : public ::testing::Test {
 protected:
  Result<void> make(const std::vector<pid_t>& processes, const std::string& control = {}) {
    return group_.make(kRoot, "ours", processes, control);
  }
  void expect_in(const std::string& group, const std::vector<int>& tasks) const {
    for (const int task : tasks) EXPECT_EQ(resctrl_.group_of(task), group) << task;
  }
  Tree tree_;
  FakeResctrl resctrl_{tree_};
  ResctrlGroup group_{tree_.files(), resctrl_};
};

TEST_F(ResctrlGroupTest, TakesAllThreadsInAndPutsEachBackWhereItWas) {
  resctrl_.add_group(kRoot + "/mon_groups/theirs");
  resctrl_.put_process(10, {10, 11});
  resctrl_.put_process(10, {12}, kRoot + "/mon_groups/theirs");
  resctrl_.put_process(20, {20});
  resctrl_.put_process(30, {30});
  ASSERT_TRUE(make({10, 20}));
  EXPECT_EQ(group_.path(), kMade);
  expect_in(kMade, {10, 11, 12, 20});
  EXPECT_EQ(resctrl_.group_of(30), kRoot);
  ASSERT_TRUE(group_.undo());
  expect_in(kRoot, {10, 11, 20});
  EXPECT_EQ(resctrl_.group_of(12), kRoot + "/mon_groups/theirs");
  EXPECT_FALSE(resctrl_.has(kMade));
  EXPECT_TRUE(resctrl_.has(kRoot + "/mon_groups/theirs"));
  EXPECT_EQ(resctrl_.calls, (std::vector<std::string>{"make " + kMade, "remove " + kMade}));
}

TEST_F(ResctrlGroupTest, IsMadeInTheControlGroupThatTheThreadsAreInAndIsGoneWithItsOwner) {
  const std::string fast = kRoot + "/fast";
  resctrl_.add_group(fast);
  resctrl_.put_process(10, {10, 11}, fast);
  resctrl_.put_process(20, {20});
  {
    ResctrlGroup other(tree_.files(), resctrl_);
    ASSERT_TRUE(other.make(kRoot, "ours", {10}));
    EXPECT_EQ(other.path(), fast + "/mon_groups/ours");
    expect_in(other.path(), {10, 11});
    ASSERT_TRUE(other.make(kRoot, "ours", {20})) << "and again in another control group";
    expect_in(fast, {10, 11});
    expect_in(kMade, {20});
  }
  expect_in(kRoot, {20});
  EXPECT_FALSE(resctrl_.has(kMade));
  EXPECT_TRUE(resctrl_.has(fast));
}

TEST_F(ResctrlGroupTest, OfThreadsInTwoControlGroupsIsRefusedAndNothingChanges) {
  resctrl_.add_group(kRoot + "/fast");
  resctrl_.put_process(10, {10});
  resctrl_.put_process(10, {11}, kRoot + "/fast");
  const auto made = make({10});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::busy);
  EXPECT_TRUE(resctrl_.calls.empty());
  EXPECT_EQ(resctrl_.group_of(11), kRoot + "/fast");
}

TEST_F(ResctrlGroupTest, InAControlGroupOfItsOwnDeletesThatOnlyIfItWasMadeHere) {
  resctrl_.put_process(10, {10, 11});
  ASSERT_TRUE(make({10}, "mine"));
  EXPECT_EQ(resctrl_.group_of(10), kRoot + "/mine/mon_groups/ours");
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_FALSE(resctrl_.has(kRoot + "/mine"));

  resctrl_.add_group(kRoot + "/standing");
  ASSERT_TRUE(make({10}, "standing"));
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_TRUE(resctrl_.has(kRoot + "/standing"));

  // Somebody else may use the name of one that was deleted.
  resctrl_.add_group(kRoot + "/mine");
  ASSERT_TRUE(make({10}));
  ASSERT_TRUE(group_.undo());
  EXPECT_TRUE(resctrl_.has(kRoot + "/mine"));
}

TEST_F(ResctrlGroupTest, ThatWasThereBeforeStaysWithWhoeverWasOrBeganInIt) {
  resctrl_.add_group(kMade);
  resctrl_.put_process(10, {10});
  resctrl_.put_process(10, {11}, kMade);
  resctrl_.put_process(20, {20}, kMade);
  ASSERT_TRUE(make({10}));
  EXPECT_EQ(resctrl_.group_of(10), kMade);
  resctrl_.put_process(30, {30}, kMade);
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  expect_in(kMade, {11, 20, 30});
  EXPECT_TRUE(resctrl_.has(kMade));
}

TEST_F(ResctrlGroupTest, AlsoTakesThreadsThatBeginMeanwhile) {
  resctrl_.put_process(10, {10});
  int next = 11;
  resctrl_.on_move = [&](int task) {
    if (next < 14 && resctrl_.group_of(task) == kMade) resctrl_.put_process(10, {next++});
  };
  ASSERT_TRUE(make({10}));
  expect_in(kMade, {10, 11, 12, 13});
  resctrl_.on_move = nullptr;
  resctrl_.put_process(10, {14}, kMade);  // a child of one of them
  ASSERT_TRUE(group_.undo());
  expect_in(kRoot, {10, 11, 12, 13, 14});
}

TEST_F(ResctrlGroupTest, PutsThreadsThatBeganInItWhereTheOthersWere) {
  const std::string theirs = kRoot + "/mon_groups/theirs";
  resctrl_.add_group(theirs);
  resctrl_.put_process(10, {10}, theirs);
  ASSERT_TRUE(make({10}));
  resctrl_.put_process(10, {14}, kMade);
  ASSERT_TRUE(group_.undo());
  expect_in(theirs, {10, 14});
  // Where they were in several groups, that of the first one.
  resctrl_.put_process(10, {18});
  ASSERT_TRUE(make({10}));
  resctrl_.put_process(10, {19}, kMade);
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(18), kRoot);
  EXPECT_EQ(resctrl_.group_of(19), theirs);
}

TEST_F(ResctrlGroupTest, GivesUpOnProcessesThatNeverStopStartingThreads) {
  resctrl_.put_process(10, {10});
  int next = 11;
  resctrl_.on_move = [&](int task) {
    if (resctrl_.group_of(task) == kMade) resctrl_.put_process(10, {next++});
  };
  const auto made = make({10});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::busy);
  EXPECT_FALSE(resctrl_.has(kMade));
}

TEST_F(ResctrlGroupTest, DoesNotMindThreadsThatEnd) {
  resctrl_.put_process(10, {10, 11, 12});
  resctrl_.on_move = [&](int task) {
    if (task == 10) resctrl_.end_thread(10, 11);
  };
  ASSERT_TRUE(make({10}));
  EXPECT_EQ(resctrl_.group_of(12), kMade);
  resctrl_.end_thread(10, 12);
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_EQ(make({99}).error().code, std::errc::no_such_process);
}

TEST_F(ResctrlGroupTest, UndoesAllAfterAnErrorAndTellsTheFirst) {
  resctrl_.put_process(10, {10, 11});
  resctrl_.fail_task = 11;
  resctrl_.fail_remove = EBUSY;
  const auto made = make({10});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, std::errc::operation_not_permitted) << "not that of the clean-up";
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_EQ(resctrl_.calls.back(), "remove " + kMade);
  resctrl_.delete_group(kMade);
  resctrl_.fail_remove = 0;
  EXPECT_FALSE(make({10}, "mine"));
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_FALSE(resctrl_.has(kRoot + "/mine")) << "nor the control group";
  resctrl_.fail_make = ENOSPC;
  EXPECT_EQ(make({10}).error().code, std::errc::no_space_on_device);
}

TEST_F(ResctrlGroupTest, ThatCannotBeMadeLeavesNoControlGroupThatWasMadeForIt) {
  const std::string mine = kRoot + "/mine";
  resctrl_.put_process(10, {10});
  resctrl_.fail_make = ENOSPC;
  resctrl_.no_room = mine + "/mon_groups/ours";
  EXPECT_EQ(make({10}, "mine").error().code, std::errc::no_space_on_device);
  EXPECT_FALSE(resctrl_.has(mine));
  EXPECT_EQ(resctrl_.calls, (std::vector<std::string>{"make " + mine, "make " + resctrl_.no_room,
                                                      "remove " + mine}));
  EXPECT_EQ(group_.path(), "");
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  // One that stood before stays.
  resctrl_.add_group(mine);
  EXPECT_EQ(make({10}, "mine").error().code, std::errc::no_space_on_device);
  EXPECT_TRUE(resctrl_.has(mine));
  // And without room for a control group, there was nothing to take back.
  resctrl_.calls.clear();
  resctrl_.no_room = kRoot + "/other";
  EXPECT_EQ(make({10}, "other").error().code, std::errc::no_space_on_device);
  EXPECT_EQ(resctrl_.calls, std::vector<std::string>{"make " + resctrl_.no_room});
}

TEST_F(ResctrlGroupTest, ThatSomebodyElseDeletedIsNoErrorAndItsThreadsGoHome) {
  resctrl_.add_group(kRoot + "/mon_groups/theirs");
  resctrl_.put_process(10, {10});
  resctrl_.put_process(10, {11}, kRoot + "/mon_groups/theirs");
  ASSERT_TRUE(make({10}));
  resctrl_.delete_group(kMade);
  EXPECT_EQ(resctrl_.group_of(11), kRoot);
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(11), kRoot + "/mon_groups/theirs");
  // And if the group where a thread was is gone, its control group takes it.
  ASSERT_TRUE(make({10}));
  resctrl_.delete_group(kRoot + "/mon_groups/theirs");
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(11), kRoot);
}

TEST_F(ResctrlGroupTest, TakesTheProcessesThatLive) {
  resctrl_.put_process(10, {10});
  ASSERT_TRUE(make({99, 10, 98}));
  EXPECT_EQ(resctrl_.group_of(10), kMade);
  EXPECT_EQ(group_.control_path(), kRoot);
  EXPECT_NE(group_.path(), "");
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(group_.path(), "");
  EXPECT_EQ(group_.control_path(), "");
  resctrl_.calls.clear();
  EXPECT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.calls, std::vector<std::string>{}) << "it is undone once";
}

TEST_F(ResctrlGroupTest, BringsLaterThreadsToWhereTheFirstWas) {
  const std::string theirs = kRoot + "/mon_groups/theirs";
  resctrl_.add_group(theirs);
  resctrl_.put_process(10, {10}, theirs);
  bool began = false;
  resctrl_.on_move = [&](int /*task*/) {
    if (!std::exchange(began, true)) resctrl_.put_thread(10, 11);
  };
  ASSERT_TRUE(make({10}));
  EXPECT_EQ(resctrl_.group_of(11), kMade);
  resctrl_.on_move = nullptr;
  ASSERT_TRUE(group_.undo());
  expect_in(theirs, {10, 11});
}

TEST_F(ResctrlGroupTest, TellsTheFirstOfSeveralErrorsAndUndoesTheRest) {
  resctrl_.put_process(10, {10, 11, 12});
  ASSERT_TRUE(make({10}, "mine"));
  const std::string mine = kRoot + "/mine";
  resctrl_.fail_tasks = {{10, EPERM}, {11, EIO}};
  resctrl_.fail_remove = EBUSY;
  const auto undone = group_.undo();
  ASSERT_FALSE(undone);
  EXPECT_EQ(undone.error().code, std::errc::operation_not_permitted);
  EXPECT_EQ(resctrl_.group_of(12), kRoot) << "the others went back";
  EXPECT_EQ(resctrl_.calls,
            (std::vector<std::string>{"make " + mine, "make " + mine + "/mon_groups/ours",
                                      "remove " + mine + "/mon_groups/ours", "remove " + mine}));
  resctrl_.fail_tasks.clear();
  resctrl_.put_process(20, {20});
  ASSERT_TRUE(make({20}, "other"));
  resctrl_.keep = kRoot + "/other";
  const auto kept = group_.undo();
  ASSERT_FALSE(kept) << "a control group that stays is told, too";
  EXPECT_NE(kept.error().message.find("/other"), std::string::npos) << kept.error().message;
  resctrl_.keep.clear();
  ASSERT_TRUE(make({20}, "third"));
  EXPECT_NE(group_.undo().error().message.find("third/mon_groups/ours"), std::string::npos)
      << "the monitoring group was first";
}

TEST(KernelGroups, MakeAndDeleteFoldersAndSayWhatTheyCannot) {
  const Tree tree;
  GroupCalls& calls = kernel_groups();
  const std::string path = tree.at("/group");
  ASSERT_TRUE(calls.make(path));
  EXPECT_EQ(calls.make(path).error().code, std::errc::file_exists);
  tree.put("/group/tasks", "");
  ASSERT_TRUE(calls.write(tree.files(), "/group/tasks", "12\n"));
  EXPECT_EQ(calls.read(tree.files(), "/group/tasks").value(), "12\n");
  tree.remove("/group/tasks");
  ASSERT_TRUE(calls.remove(path));
  EXPECT_FALSE(tree.files().has("/group"));
  for (const auto& refused : {calls.remove(path), calls.mount(path), calls.unmount(path)}) {
    EXPECT_EQ(refused.error().code, std::errc::no_such_file_or_directory);
    EXPECT_NE(refused.error().message.find(path), std::string::npos) << refused.error().message;
  }
}

}  // namespace

// Windows of resctrl: bytes of all domains, and a reason whenever there is no number.

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
