// DAMON on a tree of files that stands for the kernel's: what is written, in which order, and what
// is left alone.

#include "perf/heat/damon.hpp"

#include <gtest/gtest.h>
#include <sys/inotify.h>

#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

namespace fs = std::filesystem;
using shmif::test::TempDir;

constexpr const char* kContext0 = "0/contexts/0/";
constexpr const char* kScheme0 = "0/contexts/0/schemes/0/";

/// The files of a kernel with DAMON. It tells which were written, in order, and what.
class FakeDamon : public testing::Test {
 protected:
  FakeDamon() {
    put("nr_kdamonds", "0");
    put("0/state", "off");
    put("0/contexts/nr_contexts", "0");
    const std::string context = kContext0;
    put(context + "avail_operations", "vaddr\nfvaddr\npaddr");
    for (const char* const each : {"operations",
                                   "monitoring_attrs/intervals/sample_us",
                                   "monitoring_attrs/intervals/aggr_us",
                                   "monitoring_attrs/intervals/update_us",
                                   "monitoring_attrs/nr_regions/min",
                                   "monitoring_attrs/nr_regions/max",
                                   "targets/nr_targets",
                                   "targets/0/pid_target",
                                   "targets/0/regions/nr_regions",
                                   "targets/0/regions/0/start",
                                   "targets/0/regions/0/end",
                                   "targets/0/regions/1/start",
                                   "targets/0/regions/1/end",
                                   "schemes/nr_schemes",
                                   "schemes/0/action",
                                   "schemes/0/access_pattern/sz/min",
                                   "schemes/0/access_pattern/sz/max",
                                   "schemes/0/access_pattern/nr_accesses/min",
                                   "schemes/0/access_pattern/nr_accesses/max",
                                   "schemes/0/access_pattern/age/min",
                                   "schemes/0/access_pattern/age/max"}) {
      put(context + each, "");
    }
    put(std::string(kScheme0) + "tried_regions/total_bytes", "0");
  }
  ~FakeDamon() override { ::close(notices_); }

  std::string admin() const { return tree_.path() + "/sys/kernel/mm/damon/admin/kdamonds/"; }
  KernelFiles files() const { return KernelFiles(tree_.path()); }
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(admin() + name).parent_path());
    std::ofstream(admin() + name) << text << '\n';
  }
  std::string line_of(const std::string& name) const {
    std::ifstream file(admin() + name);
    std::string line;
    std::getline(file, line);
    return line;
  }
  void put_region(int number, std::uint64_t begin, std::uint64_t end, int accesses, int age) const {
    const std::string folder = kScheme0 + std::string("tried_regions/") + std::to_string(number);
    put(folder + "/start", std::to_string(begin));
    put(folder + "/end", std::to_string(end));
    put(folder + "/nr_accesses", std::to_string(accesses));
    put(folder + "/age", std::to_string(age));
  }
  /// From now on, writes are noticed.
  void watch_writes() {
    for (const auto& entry : fs::recursive_directory_iterator(admin())) {
      if (entry.is_directory()) watch(entry.path());
    }
    watch(admin());
  }
  /// The files that were written since, in order.
  std::vector<std::string> writes() {
    std::vector<std::string> names;
    alignas(inotify_event) std::array<char, 65536> buffer{};
    for (ssize_t got = 0; (got = ::read(notices_, buffer.data(), buffer.size())) > 0;) {
      for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
        inotify_event event{};
        std::memcpy(&event, &buffer[at], sizeof event);
        names.push_back(folders_.at(event.wd) + &buffer[at + sizeof event]);
        at += sizeof event + event.len;
      }
    }
    return names;
  }

  static DamonSetup setup() {
    DamonSetup made;
    made.attributes = read_attributes("11,22,33,4,55").value();
    made.targets = {{41, {}}};
    return made;
  }

  const TempDir tree_;

 private:
  void watch(const fs::path& folder) {
    const int number = ::inotify_add_watch(notices_, folder.c_str(), IN_MODIFY);
    std::string name = folder.string().substr(std::min(admin().size(), folder.string().size()));
    folders_[number] = name.empty() ? name : name + '/';
  }
  int notices_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  std::map<int, std::string> folders_;
};

TEST_F(FakeDamon, IsSetUpInTheKernelsOrderAndRemovedAtTheEnd) {
  watch_writes();
  {
    const auto context = DamonContext::begin(setup(), files());
    ASSERT_TRUE(context) << context.error().message;
    const std::vector<std::string> wanted = {
        "nr_kdamonds",
        "0/contexts/nr_contexts",
        "0/contexts/0/operations",
        "0/contexts/0/monitoring_attrs/intervals/sample_us",
        "0/contexts/0/monitoring_attrs/intervals/aggr_us",
        "0/contexts/0/monitoring_attrs/intervals/update_us",
        "0/contexts/0/monitoring_attrs/nr_regions/min",
        "0/contexts/0/monitoring_attrs/nr_regions/max",
        "0/contexts/0/targets/nr_targets",
        "0/contexts/0/targets/0/pid_target",
        "0/contexts/0/schemes/nr_schemes",
        "0/contexts/0/schemes/0/access_pattern/sz/min",
        "0/contexts/0/schemes/0/access_pattern/sz/max",
        "0/contexts/0/schemes/0/access_pattern/nr_accesses/min",
        "0/contexts/0/schemes/0/access_pattern/nr_accesses/max",
        "0/contexts/0/schemes/0/access_pattern/age/min",
        "0/contexts/0/schemes/0/access_pattern/age/max",
        "0/contexts/0/schemes/0/action",
        "0/state"};
    EXPECT_EQ(writes(), wanted);
    const std::string attributes = std::string(kContext0) + "monitoring_attrs/";
    EXPECT_EQ(line_of("nr_kdamonds"), "1");
    EXPECT_EQ(line_of("0/contexts/0/operations"), "vaddr");
    EXPECT_EQ(line_of(attributes + "intervals/sample_us"), "11");
    EXPECT_EQ(line_of(attributes + "intervals/aggr_us"), "22");
    EXPECT_EQ(line_of(attributes + "intervals/update_us"), "33");
    EXPECT_EQ(line_of(attributes + "nr_regions/min"), "4");
    EXPECT_EQ(line_of(attributes + "nr_regions/max"), "55");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "41");
    EXPECT_EQ(line_of(std::string(kScheme0) + "action"), "stat");
    EXPECT_TRUE(context->is_on().value());
  }
  EXPECT_EQ(writes(), (std::vector<std::string>{"0/state", "nr_kdamonds"}));
  EXPECT_EQ(line_of("0/state"), "off");
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
}

TEST_F(FakeDamon, OfOthersIsNeverTouched) {
  put("nr_kdamonds", "1");
  put("0/state", "on");
  watch_writes();
  const auto context = DamonContext::begin(setup(), files());
  ASSERT_FALSE(context);
  EXPECT_EQ(context.error().code, Errc::busy);
  EXPECT_NE(context.error().message.find("somebody else uses it"), std::string::npos);
  EXPECT_EQ(writes(), std::vector<std::string>{}) << "nothing was written";
  EXPECT_EQ(line_of("0/state"), "on");
}

TEST_F(FakeDamon, TakesBackWhatWasSetUpWhenTheKernelRefusesAValue) {
  const std::string refused = admin() + kContext0 + "monitoring_attrs/intervals/aggr_us";
  fs::remove(refused);
  fs::create_symlink("/dev/full", refused);  // takes no byte
  const auto context = DamonContext::begin(setup(), files());
  ASSERT_FALSE(context);
  EXPECT_EQ(context.error().code, std::errc::no_space_on_device);
  EXPECT_NE(context.error().message.find("aggr_us"), std::string::npos) << context.error().message;
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
  EXPECT_EQ(line_of("0/state"), "off");
}

TEST_F(FakeDamon, WatchesGivenRangesOfProcessesAndOfPhysicalMemory) {
  DamonSetup given = setup();
  given.space = DamonSpace::fvaddr;
  given.targets[0].ranges = {{4096, 8192}, {16384, 20480}};
  {
    const auto context = DamonContext::begin(given, files());
    ASSERT_TRUE(context) << context.error().message;
    EXPECT_EQ(line_of("0/contexts/0/operations"), "fvaddr");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "41");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/nr_regions"), "2");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/1/start"), "16384");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/1/end"), "20480");
  }
  put("0/contexts/0/targets/0/pid_target", "untouched");
  given.space = DamonSpace::paddr;
  const auto physical = DamonContext::begin(given, files());
  ASSERT_TRUE(physical) << physical.error().message;
  EXPECT_EQ(line_of("0/contexts/0/operations"), "paddr");
  EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "untouched");
}

TEST_F(FakeDamon, WithoutTheWantedSpaceIsNotSupported) {
  put(std::string(kContext0) + "avail_operations", "vaddr");
  DamonSetup given = setup();
  given.space = DamonSpace::paddr;
  EXPECT_EQ(DamonContext::begin(given, files()).error().code, Errc::not_supported);
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
  fs::remove_all(admin());
  EXPECT_EQ(DamonContext::begin(setup(), files()).error().code, Errc::not_supported);
}

TEST_F(FakeDamon, TakesNewAttributesWhileItRuns) {
  auto context = DamonContext::begin(setup(), files());
  ASSERT_TRUE(context) << context.error().message;
  watch_writes();
  ASSERT_TRUE(context->commit(read_attributes("111,222,333,44,555").value()));
  EXPECT_EQ(line_of(std::string(kContext0) + "monitoring_attrs/intervals/aggr_us"), "222");
  EXPECT_EQ(writes().back(), "0/state");
  EXPECT_EQ(line_of("0/state"), "commit");
}

TEST_F(FakeDamon, TellsRegionsInTheOrderOfTheirAddresses) {
  auto context = DamonContext::begin(setup(), files());
  ASSERT_TRUE(context) << context.error().message;
  put_region(10, 8192, 12288, 3, 7);
  put_region(2, 4096, 8192, 20, 1);
  const auto regions = context->regions();
  ASSERT_TRUE(regions) << regions.error().message;
  EXPECT_EQ(line_of("0/state"), "update_schemes_tried_regions");
  EXPECT_EQ(*regions, (std::vector<Region>{{4096, 8192, 20, {}, 1}, {8192, 12288, 3, {}, 7}}));
  put(std::string(kScheme0) + "tried_regions/2/age", "x");
  EXPECT_FALSE(context->regions()) << "a part that is not known is not left out";
}

TEST_F(FakeDamon, OfAKernelWithoutTriedRegionsIsReadFromItsTracepoint) {
  fs::remove_all(admin() + kScheme0 + "tried_regions");
  const std::string tracing =
      tree_.path() + "/sys/kernel/tracing/instances/shmif-" + std::to_string(::getpid());
  fs::create_directories(tracing + "/events/damon/damon_aggregated");
  std::ofstream(tracing + "/events/damon/damon_aggregated/enable") << "0\n";
  std::ofstream(tracing + "/trace_pipe")
      << "kdamond.0-9 [001] 1.0: damon_aggregated: target_id=0 nr_regions=2 4096-8192: 1 0\n"
      << "kdamond.0-9 [001] 1.0: damon_aggregated: target_id=0 nr_regions=2 8192-12288: 2 0\n"
      << "kdamond.0-9 [001] 1.1: damon_aggregated: target_id=0 nr_regions=2 4096-8192: 3 1\n"
      << "kdamond.0-9 [001] 1.1: damon_aggregated: target_id=0 nr_regions=2 8192-12288: 4 1\n"
      << "kdamond.0-9 [001] 1.2: damon_aggregated: target_id=0 nr_regions=2 4096-8192: 5 2\n";
  auto context = DamonContext::begin(setup(), files());
  ASSERT_TRUE(context) << context.error().message;
  EXPECT_STREQ(context->means(), "DAMON, damon:damon_aggregated");
  EXPECT_EQ(line_of(std::string(kContext0) + "schemes/nr_schemes"), "0");
  const auto regions = context->regions();
  ASSERT_TRUE(regions) << regions.error().message;
  EXPECT_EQ(*regions, (std::vector<Region>{{4096, 8192, 3, {}, 1}, {8192, 12288, 4, {}, 1}}))
      << "of the last window that is whole";
  fs::remove_all(tracing);
}

TEST(DamonTrace, IsReadOnlyAsTheKernelPrintsIt) {
  const auto read = read_damon_trace(
      " kdamond.0-57 [000] .....  9.5: damon_aggregated: target_id=3 nr_regions=14 139-141: 20 6");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->target, 3U);
  EXPECT_EQ(read->regions, 14U);
  EXPECT_EQ(read->region, (Region{139, 141, 20, {}, 6}));
  for (const char* const line :
       {"",
        "damon_aggregated: target_id=", "damon_aggregated: target_id=3 nr_regions=14 139-141: 20",
        "damon_aggregated: target_id=3 nr_regions=14 141-139: 20 6",
        "damon_aggregated: target_id=3 nr_regions=14 139-141: 20 6 7",
        "damon_aggregated: target_id=-3 nr_regions=14 139-141: 20 6",
        "damon_aggregated: target_id=3 nr_regions=14 139-141: 4294967296 6"}) {
    EXPECT_FALSE(read_damon_trace(line)) << line;
  }
}

}  // namespace
}  // namespace shmif::perf::test
