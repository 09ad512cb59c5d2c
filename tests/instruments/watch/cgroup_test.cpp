// Which group a name means.

#include "instruments/watch/process.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

TEST(CgroupPath, IsBelowTheMountUnlessItIsThatOfAGroup) {
  for (const auto& [name, path] : std::vector<std::pair<std::string, std::string>>{
           {"a//b///", "/sys/fs/cgroup/a/b"},
           {"/sys/fs/cgroup/a/", "/sys/fs/cgroup/a"},
           {"//no-such-folder/a", "/sys/fs/cgroup/no-such-folder/a"},
           {"/sys/fs//cgroup", "/sys/fs/cgroup"},
           {"//", "/sys/fs/cgroup"}}) {
    EXPECT_EQ(cgroup_path(name), path);
  }
  const shmif::test::TempDir dir;
  const std::string group = dir.file("group");
  std::filesystem::create_directory(group);
  EXPECT_EQ(cgroup_path(group), "/sys/fs/cgroup" + group);
  std::ofstream(group + "/cgroup.procs") << "";
  EXPECT_EQ(cgroup_path(group), group);
  EXPECT_EQ(cgroup_path(group + "/new"), group + "/new") << "it can be made there";
  EXPECT_EQ(cgroup_path(group + "/new/er"), "/sys/fs/cgroup" + group + "/new/er");
}

/// Groups are directories, which a test can have anywhere.
class MadeGroups : public ::testing::Test {
 protected:
  MadeGroups() {
    for (const char* const file : {"cgroup.procs", "cgroup.controllers"}) {
      std::ofstream(parent.file(file)) << "";
    }
  }
  std::string group(const char* name) const { return parent.file(name); }
  static bool is_there(const std::string& path) { return std::filesystem::exists(path); }

  const shmif::test::TempDir parent;
  MadeCgroups groups;
};

TEST_F(MadeGroups, AreRemovedUnlessAnyWishLetsThemStay) {
  for (const char* const name : {"a", "b", "c"}) ASSERT_TRUE(groups.make({.name = group(name)}));
  ASSERT_TRUE(groups.make({.name = group("b"), .stays = true}));
  ASSERT_TRUE(groups.make({.name = group("b")})) << "a later wish says nothing of that";
  EXPECT_EQ(groups.remove(), std::vector<std::string>{});
  EXPECT_FALSE(is_there(group("a")));
  EXPECT_TRUE(is_there(group("b")));
  EXPECT_FALSE(is_there(group("c")));
  // The next run uses it, and may give it a weight, as only those may who made a group.
  const auto weighed = groups.make({.name = group("b"), .weight = 7});
  ASSERT_FALSE(weighed) << "the directory has no such file";
  EXPECT_EQ(groups.remove(), std::vector<std::string>{});
  EXPECT_TRUE(is_there(group("b"))) << "it still stays";
  ASSERT_TRUE(groups.make({.name = group("a")}));
  EXPECT_TRUE(is_there(group("a"))) << "made again";
}

TEST_F(MadeGroups, AreThoseThatWereNotThere) {
  std::filesystem::create_directory(group("other"));
  ASSERT_TRUE(groups.make({.name = group("other")}));
  const auto weighed = groups.make({.name = group("other"), .weight = 7});
  ASSERT_FALSE(weighed);
  EXPECT_EQ(weighed.error().code, Errc::exists);
  ASSERT_TRUE(groups.make({.name = group("none/a")}));
  EXPECT_FALSE(is_there(group("none"))) << "a parent is never made";
  ASSERT_TRUE(groups.make({.name = group("full")}));
  std::ofstream(group("full/left")) << "";
  const auto left = groups.remove();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_NE(left[0].find(group("full")), std::string::npos) << left[0];
  EXPECT_NE(left[0].find("rmdir"), std::string::npos) << left[0];
  EXPECT_TRUE(is_there(group("other")));
  EXPECT_EQ(groups.remove(), std::vector<std::string>{}) << "it was told once";
}

TEST_F(MadeGroups, EndWithTheirOwner) {
  {
    MadeCgroups owner;
    ASSERT_TRUE(owner.make({.name = group("a")}));
    EXPECT_TRUE(is_there(group("a")));
  }
  EXPECT_FALSE(is_there(group("a")));
}

}  // namespace
}  // namespace shmif::perf::test
