// Groups of resctrl: all threads go in and come back to where they were, and only what was made
// here is deleted.

#include "instruments/membw/resctrl.hpp"

#include <gtest/gtest.h>

#include "tests/instruments/membw/fake_resctrl.hpp"

namespace shmif::perf::test {
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
}  // namespace shmif::perf::test
