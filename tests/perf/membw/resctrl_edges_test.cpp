// Groups and windows of resctrl where something else goes wrong than usual: which error is told,
// what is undone all the same, and which of two reads counts.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "perf/membw/resctrl_group.hpp"
#include "perf/membw/resctrl_source.hpp"
#include "tests/perf/membw/fake_resctrl.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {
namespace {

using Calls = std::vector<std::string>;

class SeldomGroup : public ::testing::Test {
 protected:
  Result<void> make(const std::vector<pid_t>& processes, const std::string& control = {}) {
    return group_.make(kRoot, "ours", processes, control);
  }
  const std::string made_ = kRoot + "/mon_groups/ours";
  const std::string theirs_ = kRoot + "/mon_groups/theirs";
  Tree tree_;
  FakeResctrl resctrl_{tree_};
  ResctrlGroup group_{tree_.files(), resctrl_};
};

TEST_F(SeldomGroup, ControlGroupsAreTheFoldersWithTasks) {
  resctrl_.add_group(kRoot + "/fast");
  resctrl_.add_group(kRoot + "/slow");
  for (const char* other : {"/info", "/mon_groups", "/mon_data"}) {
    tree_.put(kRoot + other + "/tasks", "");
  }
  std::filesystem::create_directories(tree_.at(kRoot + "/no_tasks"));
  EXPECT_EQ(control_groups(tree_.files(), kRoot).value(),
            (Calls{kRoot, kRoot + "/fast", kRoot + "/slow"}));
  EXPECT_FALSE(control_groups(tree_.files(), kRoot + "/none"));
}

TEST_F(SeldomGroup, TellsWhichListOfTasksMakesNoSense) {
  resctrl_.add_group(theirs_);
  resctrl_.put_process(10, {10});
  std::filesystem::create_directories(tree_.at(kRoot + "/mon_groups/half"));
  ASSERT_TRUE(make({10})) << "a group that is being deleted has no list";
  ASSERT_TRUE(group_.undo());
  tree_.put(theirs_ + "/tasks", "10\nx\n");
  EXPECT_EQ(make({10}).error().message, theirs_ + "/tasks: \"x\" is not the number of a task");
  tree_.remove(theirs_ + "/tasks");
  std::filesystem::create_directories(tree_.at(theirs_ + "/tasks"));
  EXPECT_EQ(make({10}).error().code, std::errc::is_a_directory);
  EXPECT_FALSE(resctrl_.has(made_));
}

TEST_F(SeldomGroup, TakesTheProcessesThatLive) {
  resctrl_.put_process(10, {10});
  ASSERT_TRUE(make({99, 10, 98}));
  EXPECT_EQ(resctrl_.group_of(10), made_);
  EXPECT_EQ(group_.control_path(), kRoot);
  EXPECT_NE(group_.path(), "");
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(group_.path(), "");
  EXPECT_EQ(group_.control_path(), "");
  resctrl_.calls.clear();
  EXPECT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.calls, Calls{}) << "it is undone once";
}

TEST_F(SeldomGroup, TakesThemInAgain) {
  resctrl_.put_process(10, {10, 11});
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(make({10}));
    EXPECT_EQ(resctrl_.group_of(10), made_) << round;
    EXPECT_EQ(resctrl_.group_of(11), made_) << round;
    ASSERT_TRUE(group_.undo());
    EXPECT_EQ(resctrl_.group_of(10), kRoot) << round;
  }
}

TEST_F(SeldomGroup, OfAProcessThatEndsWhileItIsMovedIsNoError) {
  resctrl_.put_process(10, {10});
  resctrl_.on_move = [&](int task) {
    if (resctrl_.group_of(task) == made_) resctrl_.end_thread(10, 10);
  };
  EXPECT_TRUE(make({10}));
  EXPECT_TRUE(group_.undo());
  EXPECT_FALSE(resctrl_.has(made_));
}

TEST_F(SeldomGroup, BringsAThreadOfUnknownOriginToTheControlGroup) {
  resctrl_.put_thread(10, 10);  // it began when the lists had been read
  ASSERT_TRUE(make({10}));
  EXPECT_EQ(resctrl_.group_of(10), made_);
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
}

TEST_F(SeldomGroup, BringsLaterThreadsToWhereTheFirstWas) {
  resctrl_.add_group(theirs_);
  resctrl_.put_process(10, {10}, theirs_);
  bool began = false;
  resctrl_.on_move = [&](int /*task*/) {
    if (!std::exchange(began, true)) resctrl_.put_thread(10, 11);
  };
  ASSERT_TRUE(make({10}));
  EXPECT_EQ(resctrl_.group_of(11), made_);
  resctrl_.on_move = nullptr;
  ASSERT_TRUE(group_.undo());
  EXPECT_EQ(resctrl_.group_of(10), theirs_);
  EXPECT_EQ(resctrl_.group_of(11), theirs_);
}

TEST_F(SeldomGroup, TellsTheFirstOfSeveralErrorsAndUndoesTheRest) {
  resctrl_.put_process(10, {10, 11, 12});
  ASSERT_TRUE(make({10}, "mine"));
  const std::string mine = kRoot + "/mine";
  resctrl_.fail_tasks = {{10, EPERM}, {11, EIO}};
  resctrl_.fail_remove = EBUSY;
  const auto undone = group_.undo();
  ASSERT_FALSE(undone);
  EXPECT_EQ(undone.error().code, std::errc::operation_not_permitted);
  EXPECT_EQ(resctrl_.group_of(12), kRoot) << "the others went back";
  EXPECT_EQ(resctrl_.calls, (Calls{"make " + mine, "make " + mine + "/mon_groups/ours",
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

TEST_F(SeldomGroup, IsDeletedAlsoIfNobodyKnowsWhoIsInIt) {
  resctrl_.put_process(10, {10});
  ASSERT_TRUE(make({10}));
  tree_.put(made_ + "/tasks", "x\n");
  EXPECT_EQ(group_.undo().error().message, "\"x\" is not the number of a task");
  EXPECT_FALSE(resctrl_.has(made_));
}

TEST(KernelGroups, MakeAndDeleteFoldersAndSayWhatTheyCannot) {
  const Tree tree;
  GroupCalls& calls = kernel_groups();
  const std::string path = tree.at("/group");
  const auto why = [](const Result<void>& done) { return done ? "" : done.error().message; };
  EXPECT_EQ(why(calls.make(path)), "");
  struct stat made{};
  ASSERT_EQ(::stat(path.c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777U, 0755U);
  EXPECT_EQ(why(calls.make(path)), "cannot make the group " + path + ": File exists");
  tree.put("/group/tasks", "");
  EXPECT_EQ(why(calls.write(tree.files(), "/group/tasks", "12\n")), "");
  EXPECT_EQ(tree.text("/group/tasks"), "12\n");
  EXPECT_EQ(calls.read(tree.files(), "/group/tasks").value(), "12\n");
  tree.remove("/group/tasks");
  EXPECT_EQ(why(calls.remove(path)), "");
  EXPECT_FALSE(tree.files().has("/group"));
  EXPECT_EQ(why(calls.remove(path)),
            "cannot delete the group " + path + ": No such file or directory");
  EXPECT_EQ(why(calls.mount(path)),
            "cannot mount resctrl on " + path + ": No such file or directory");
  EXPECT_EQ(why(calls.unmount(path)), "cannot unmount " + path + ": No such file or directory");
  EXPECT_EQ(why(calls.remove("/proc")),
            "cannot delete the group /proc: Device or resource busy (all monitoring identifiers "
            "are in use; delete groups)");
}

TEST(KernelGroups, SayThatOnlyRootMayChangeThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  shmif::test::Child child([] {
    if (::setresuid(65534, 65534, 65534) != 0) return 1;
    const auto made = kernel_groups().make("/shmif-group");
    EXPECT_EQ(made.error().message,
              "cannot make the group /shmif-group: Permission denied (only root may change "
              "resctrl)");
    return HasFailure() ? 2 : 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

class SeldomSource : public ::testing::Test {
 protected:
  SeldomSource() { resctrl_.put_process(10, {10, 11}); }
  ResctrlSource source(ResctrlOptions options = {}) {
    return ResctrlSource(tree_.files(), std::move(options), resctrl_, [this] { return now_; });
  }
  void count(const std::string& text) const { resctrl_.count(group_, 0, "mbm_total_bytes", text); }

  const std::string group_ = kRoot + "/mon_groups/shmifperf-" + std::to_string(::getpid());
  const std::string total_ = group_ + "/mon_data/mon_L3_00/mbm_total_bytes";
  Tree tree_;
  FakeResctrl resctrl_{tree_};
  std::uint64_t now_ = 5 * kSecond;
};

TEST_F(SeldomSource, SaysWhereItsFiguresComeFrom) {
  ResctrlSource resctrl = source();
  EXPECT_EQ(resctrl.name(), "resctrl");
  EXPECT_EQ(resctrl.part(), "");
  EXPECT_EQ(resctrl.origin(), "/sys/fs/resctrl");
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl.origin(), "/sys/fs/resctrl/mon_data");
  EXPECT_EQ(resctrl.control_group(), "");
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl.origin(), group_ + "/mon_data");
  EXPECT_EQ(resctrl.control_group(), kRoot);
  EXPECT_EQ(resctrl.mount_point(), kRoot);
  ASSERT_TRUE(resctrl.close());
  EXPECT_EQ(resctrl.mount_point(), "");
  EXPECT_EQ(resctrl.control_group(), "");
}

TEST_F(SeldomSource, ThatIsOpenedAgainIsClosedFirst) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.put_process(20, {20});
  ASSERT_TRUE(resctrl.open({20}));
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
  EXPECT_EQ(resctrl_.group_of(20), group_);
  EXPECT_EQ(resctrl_.calls, (Calls{"make " + group_, "remove " + group_, "make " + group_}));
  resctrl_.fail_remove = EBUSY;
  EXPECT_EQ(resctrl.open({10}).error().code, std::errc::device_or_resource_busy);
}

TEST_F(SeldomSource, MountsOnceAndTellsWhatItCouldNotUnmount) {
  resctrl_.leave_unmounted();
  ResctrlSource resctrl = source({.mount = true});
  ASSERT_TRUE(resctrl.prepare());
  EXPECT_EQ(resctrl.mount_point(), kRoot);
  ASSERT_TRUE(resctrl.prepare());
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl_.calls, Calls{"mount " + kRoot});
  resctrl_.fail_unmount = EBUSY;
  EXPECT_EQ(resctrl.close().error().code, std::errc::device_or_resource_busy);
  EXPECT_TRUE(resctrl.close()) << "it is not tried again";
  EXPECT_EQ(resctrl_.calls, (Calls{"mount " + kRoot, "unmount " + kRoot}));
  // What could not be undone first is the one to tell.
  resctrl_.leave_unmounted();
  resctrl_.put_process(10, {10, 11});
  ASSERT_TRUE(resctrl.open({10}));
  resctrl_.fail_task = 10;
  EXPECT_EQ(resctrl.close().error().code, std::errc::operation_not_permitted);
  EXPECT_EQ(resctrl_.calls.back(), "unmount " + kRoot);
}

TEST_F(SeldomSource, ThatCannotMountSaysWhyAndUnmountsNothing) {
  resctrl_.leave_unmounted();
  resctrl_.fail_mount = EPERM;
  ResctrlSource resctrl = source({.mount = true});
  EXPECT_EQ(resctrl.open({}).error().code, std::errc::operation_not_permitted);
  EXPECT_NE(resctrl.failure().find("cannot mount"), std::string::npos) << resctrl.failure();
  EXPECT_EQ(resctrl_.calls, Calls{"mount " + kRoot});
  resctrl_.fail_mount = 0;
  ASSERT_TRUE(resctrl.open({}));
  EXPECT_EQ(resctrl.failure(), "") << "that was before";
}

TEST_F(SeldomSource, ThatCannotReadAtOnceIsNotOpened) {
  ResctrlSource resctrl = source();
  resctrl_.first_reads[total_] = "many\n";
  const auto opened = resctrl.open({10});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::not_supported);
  EXPECT_EQ(opened.error().message, tree_.at(total_) + ": \"many\" is not a number of bytes");
  EXPECT_EQ(resctrl_.calls.back(), "remove " + group_);
  EXPECT_EQ(resctrl_.group_of(10), kRoot);
}

TEST_F(SeldomSource, ReadsASecondTimeOnlyAtTheBeginAndOnlyWithoutAValue) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  count("5100\n");
  resctrl_.first_reads[total_] = "5000\n";
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  count("5150\n");
  ASSERT_TRUE(resctrl.disable());
  EXPECT_EQ(resctrl.read().total, 150) << "the first read had a value";
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  resctrl_.first_reads[total_] = "Unavailable\n";
  ASSERT_TRUE(resctrl.disable());
  EXPECT_NE(resctrl.read().reason.find(" was Unavailable"), std::string::npos);
  // A begin without a value, whatever the end has.
  count("Unavailable\n");
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  count("6000\n");
  ASSERT_TRUE(resctrl.disable());
  EXPECT_FALSE(resctrl.read().total);
  EXPECT_NE(resctrl.read().reason.find(" was Unavailable"), std::string::npos);
}

TEST_F(SeldomSource, TellsTheFirstEventThatItCouldNotRead) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  for (const char* event : {"mbm_total_bytes", "mbm_local_bytes"}) {
    resctrl_.count(group_, 1, event, "many\n");
  }
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  ASSERT_TRUE(resctrl.disable());
  EXPECT_NE(resctrl.read().reason.find("mon_L3_01/mbm_total_bytes: "), std::string::npos)
      << resctrl.read().reason;
  EXPECT_FALSE(resctrl.read().local);
  EXPECT_EQ(resctrl.read().begin_ns, 5 * kSecond);
  EXPECT_EQ(resctrl.read().end_ns, 6 * kSecond);
}

TEST_F(SeldomSource, HasNoRateOfAWindowWithoutALength) {
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  ASSERT_TRUE(resctrl.enable());
  ASSERT_TRUE(resctrl.disable());
  EXPECT_FALSE(resctrl.read().total);
  EXPECT_EQ(resctrl.read().reason, "the window had no length");
}

TEST_F(SeldomSource, OfLocalBytesReadsNothingElseAndSaysWhyThereAreNone) {
  ResctrlSource resctrl = source({.local_domain = 1});
  ASSERT_TRUE(resctrl.open({}));
  for (const unsigned domain : {0U, 1U}) resctrl_.count(kRoot, domain, "mbm_total_bytes", "x");
  resctrl_.count(kRoot, 0, "mbm_local_bytes", "x");
  resctrl_.count(kRoot, 1, "mbm_local_bytes", "1000\n");
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  resctrl_.count(kRoot, 1, "mbm_local_bytes", "1700\n");
  ASSERT_TRUE(resctrl.disable());
  EXPECT_EQ(resctrl.read().total, 700) << resctrl.read().reason;
  ASSERT_TRUE(resctrl.enable());
  now_ += kSecond;
  resctrl_.count(kRoot, 1, "mbm_local_bytes", "17\n");
  ASSERT_TRUE(resctrl.disable());
  EXPECT_FALSE(resctrl.read().total);
  EXPECT_EQ(resctrl.read().reason, tree_.at(kRoot) +
                                       "/mon_data/mon_L3_01/mbm_local_bytes was set back during "
                                       "the window");
  ResctrlSource twelve = source({.local_domain = 12});
  ASSERT_TRUE(twelve.open({}));
  ASSERT_TRUE(twelve.enable());
  EXPECT_EQ(twelve.read().reason, tree_.at(kRoot) + "/mon_data has no mon_L3_12");
}

TEST_F(SeldomSource, AsksForNoCountersThatItDoesNotUnderstand) {
  resctrl_.assign_mode = true;
  resctrl_.assignments = "nonsense\n";
  tree_.put(kRoot + "/info/L3_MON/mbm_assign_mode", "[mbm_event]\ndefault\n");
  ResctrlSource resctrl = source();
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl_.calls, Calls{"make " + group_});
  ASSERT_TRUE(resctrl.close());
  resctrl_.calls.clear();
  resctrl_.assignments = "mbm_total_bytes:0=e;1=e\nmbm_local_bytes:0=_;1=e\n";
  ASSERT_TRUE(resctrl.open({10}));
  EXPECT_EQ(resctrl_.calls, (Calls{"make " + group_, "assign mbm_local_bytes:*=e\n"}));
}

TEST_F(SeldomSource, KnowsTheEventsOfTheHardware) {
  const auto events = [&](const std::string& text) {
    tree_.put(kRoot + "/info/L3_MON/mon_features", text);
    const auto found = ResctrlSource::find_events(tree_.files(), kRoot);
    return found ? *found : Calls{found.error().message};
  };
  EXPECT_EQ(events("mbm_local_bytes\nllc_occupancy\nmbm_total_bytes\n"),
            (Calls{"mbm_local_bytes", "mbm_total_bytes"}));
  EXPECT_EQ(events("mbm_total_bytes\n"), Calls{"mbm_total_bytes"});
  tree_.remove(kRoot + "/info");
  const auto none = ResctrlSource::find_events(tree_.files(), kRoot);
  EXPECT_EQ(none.error().code, Errc::not_supported);
  EXPECT_EQ(none.error().message, "the hardware counts no memory bandwidth: cannot open " +
                                      tree_.at(kRoot) +
                                      "/info/L3_MON/mon_features: No such file or directory");
}

}  // namespace
}  // namespace shmif::perf::test
