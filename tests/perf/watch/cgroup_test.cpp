// Which group a name means.

#include "perf/watch/cgroup.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

TEST(CgroupPath, IsBelowTheMountUnlessItIsThatOfAGroup) {
  EXPECT_EQ(cgroup_path("a"), "/sys/fs/cgroup/a");
  EXPECT_EQ(cgroup_path("a/b///"), "/sys/fs/cgroup/a/b");
  EXPECT_EQ(cgroup_path("/sys/fs/cgroup/a/"), "/sys/fs/cgroup/a");
  EXPECT_EQ(cgroup_path("/no-such-folder/a"), "/sys/fs/cgroup//no-such-folder/a");
  const shmif::test::TempDir dir;
  const std::string group = dir.file("group");
  std::filesystem::create_directory(group);
  EXPECT_EQ(cgroup_path(group), "/sys/fs/cgroup/" + group);
  std::ofstream(group + "/cgroup.procs") << "";
  EXPECT_EQ(cgroup_path(group), group);
  EXPECT_EQ(cgroup_path(group + "/new"), group + "/new") << "it can be made there";
  EXPECT_EQ(cgroup_path(group + "/new/er"), "/sys/fs/cgroup/" + group + "/new/er");
}

}  // namespace
}  // namespace shmif::perf::test
