// The nodes of a machine with several, from a folder like the kernel's.

#include "perf/worker/placement.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::numa_nodes {
namespace {

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text << '\n';
}

class NumaMachine : public testing::Test {
 protected:
  void SetUp() override {
    write(folder_.path() + "/online", "0-1,3");
    write(folder_.path() + "/node0/cpulist", "0-3");
    write(folder_.path() + "/node1/cpulist", "4,6");
    write(folder_.path() + "/node3/cpulist", "");  // only memory
  }
  test::TempDir folder_;
  const NumaNodes nodes_{folder_.path()};
};

TEST_F(NumaMachine, AllNodesAreThoseThatAreOnline) {
  EXPECT_EQ(nodes_.named({kAllNodes}, "o").value(), (std::vector{0, 1, 3}));
  EXPECT_EQ(nodes_.named({1, 3}, "o").value(), (std::vector{1, 3}));
  EXPECT_EQ(nodes_.named({}, "o").value(), std::vector<int>());
}

TEST_F(NumaMachine, ANodeThatIsNotThereIsNamedWithThoseThatAre) {
  const auto named = nodes_.named({0, 2}, "numa_mem_policy");
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().message,
            "there is no NUMA node 2 (numa_mem_policy; this machine has 0-1,3)");
  EXPECT_FALSE(nodes_.cpus_of({2}, "numa_cpu_nodes"));
}

TEST_F(NumaMachine, TheCpusAreThoseOfAllItsNodes) {
  EXPECT_EQ(nodes_.cpus_of({0}, "o").value(), (std::vector{0, 1, 2, 3}));
  EXPECT_EQ(nodes_.cpus_of({0, 1}, "o").value(), (std::vector{0, 1, 2, 3, 4, 6}));
  EXPECT_EQ(nodes_.cpus_of({kAllNodes}, "o").value(), (std::vector{0, 1, 2, 3, 4, 6}));
  EXPECT_EQ(nodes_.cpus_of({3}, "o").value(), std::vector<int>());
}

TEST_F(NumaMachine, ANodeOfMemoryOnlyHasAListOfCpusThatIsEmpty) {
  EXPECT_TRUE(nodes_.lists_cpus_of({3}));
  EXPECT_TRUE(nodes_.lists_cpus_of({kAllNodes}));
  EXPECT_FALSE(nodes_.lists_cpus_of({}));
  EXPECT_FALSE(nodes_.lists_cpus_of({2})) << "there is no such node";
}

TEST(NumaMachines, OneWithoutAListHasOneNode) {
  const test::TempDir empty;
  const NumaNodes nodes(empty.path());
  EXPECT_EQ(nodes.named({kAllNodes}, "o").value(), std::vector{0});
  EXPECT_TRUE(nodes.named({0}, "o"));
  EXPECT_FALSE(nodes.named({1}, "o"));
  EXPECT_EQ(nodes.cpus_of({0}, "o").value(), std::vector<int>());
  EXPECT_FALSE(nodes.lists_cpus_of({0}));
  EXPECT_FALSE(nodes.lists_cpus_of({kAllNodes}));
}

}  // namespace
}  // namespace shmif::perf::numa_nodes
