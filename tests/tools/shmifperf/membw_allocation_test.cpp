// shmifperf membw with allocations, on a resctrl file system that lives while it runs.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/quantity.hpp"
#include "instruments/membw/schemata.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

// A resctrl file system that lives while a program uses it: two domains of the last-level caches,
// groups that can be made and removed, and counters that grow as the allocation of their group
// permits.

/// The tree of a whole machine: /proc has the processes of this one.
class LiveResctrl final : public LiveTree {
 public:
  /// What a read of a counter adds to it, for each percent that its control group may use.
  static constexpr std::uint64_t kBytesOfPercent = 1'000'000;

  LiveResctrl() {
    const std::string cpu = "/sys/devices/system/cpu/cpu0/";
    files_[cpu + "topology/physical_package_id"] = "0\n";
    files_[cpu + "cache/index3/level"] = "3\n";
    files_[cpu + "cache/index3/id"] = "1\n";
    files_["/proc/mounts"] = "resctrl /sys/fs/resctrl resctrl rw 0 0\n";
    files_["/proc/filesystems"] = "nodev\tresctrl\n";
    files_[kRoot + "/info/L3_MON/mon_features"] = "mbm_total_bytes\nmbm_local_bytes\n";
    files_[kRoot + "/info/MB/min_bandwidth"] = "10\n";
    files_[kRoot + "/info/MB/bandwidth_gran"] = "10\n";
    files_[kRoot + "/info/MB/delay_linear"] = "1\n";
    files_[kRoot + "/info/L3/cbm_mask"] = "7ff\n";
    files_[kRoot + "/info/L3/min_cbm_bits"] = "1\n";
    files_[kRoot + "/info/last_cmd_status"] = "ok\n";
    add_group(kRoot);
  }

  Kind kind(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (is_process(path)) return Kind::link;
    if (files_.contains(path)) return Kind::file;
    const bool folder = path == "/" || std::ranges::any_of(files_, [&](const auto& each) {
                          return each.first.starts_with(path + '/');
                        });
    return folder ? Kind::folder : Kind::none;
  }
  std::vector<std::string> names(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    const std::string stem = folder == "/" ? folder : folder + '/';
    std::set<std::string> found;
    for (const auto& [path, text] : files_) {
      if (!path.starts_with(stem)) continue;
      const std::string name = path.substr(stem.size(), path.find('/', stem.size()) - stem.size());
      if (name != ".") found.insert(name);
    }
    return {found.begin(), found.end()};
  }
  std::string text(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (is_process(path)) return path;
    const auto found = files_.find(path);
    if (found == files_.end()) return {};
    if (path.ends_with("_bytes")) {
      const std::string group = path.substr(0, path.find("/mon_data/"));
      const unsigned domain = path.find("mon_L3_01") == std::string::npos ? 0 : 1;
      found->second = std::to_string(std::stoull(found->second) +
                                     kBytesOfPercent * percent_of(control_of(group), domain)) +
                      '\n';
    }
    return found->second;
  }
  int write(const std::string& path, const std::string& text) override {
    const std::lock_guard lock(mutex_);
    const std::string group = path.substr(0, path.rfind('/'));
    if (path.ends_with("/tasks")) {
      for (auto& [name, its] : files_) {
        if (name.ends_with("/tasks")) remove_line(its, text);
      }
      files_[path] += text;
      if (control_of(group) != group) files_[control_of(group) + "/tasks"] += text;
      return 0;
    }
    if (!path.ends_with("/schemata")) return EACCES;
    files_[kRoot + "/info/last_cmd_status"] = refuse_.empty() ? "ok\n" : refuse_ + '\n';
    if (!refuse_.empty()) return EINVAL;
    allot(group, text);
    log_.push_back(name_of(group) + ' ' + perf::schemata_text(perf::read_schemata(text).value()));
    return 0;
  }
  int make(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    add_group(folder);
    log_.push_back("make " + name_of(folder));
    return 0;
  }
  int remove(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(files_, [&](const auto& each) { return each.first.starts_with(folder + '/'); });
    log_.push_back("remove " + name_of(folder));
    return 0;
  }

  /// A control group that was there before.
  void stand(const std::string& name, const std::string& schemata) {
    const std::lock_guard lock(mutex_);
    add_group(kRoot + '/' + name);
    allot(kRoot + '/' + name, schemata);
  }
  /// Refuses each further allocation, and says so.
  void refuse(const std::string& why) {
    const std::lock_guard lock(mutex_);
    refuse_ = why;
  }
  std::string schemata_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return perf::schemata_text(
        perf::read_schemata(files_[kRoot + '/' + name + "/schemata"]).value());
  }
  /// What was made, set and removed, in order. Of "shmifperf-1234", the number is left out.
  std::vector<std::string> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  inline static const std::string kRoot = "/sys/fs/resctrl";

  static bool is_process(const std::string& path) {
    return path.starts_with("/proc/") && path.size() > 6 &&
           path.find_first_not_of("0123456789", 6) == std::string::npos;
  }
  static std::string control_of(const std::string& group) {
    return group.substr(0, group.find("/mon_groups/"));
  }
  static std::string name_of(std::string path) {
    path.erase(0, std::min(path.size(), kRoot.size() + 1));
    for (std::size_t at = 0; (at = path.find("shmifperf-", at)) != std::string::npos; at += 9) {
      const std::size_t digits = at + 9;
      path.erase(digits, path.find_first_not_of("0123456789", digits + 1) - digits);
    }
    return path;
  }
  static void remove_line(std::string& text, const std::string& line) {
    const std::size_t at = ('\n' + text).find('\n' + line);
    if (at != std::string::npos) text.erase(at, line.size());
  }
  void add_group(const std::string& group) {
    for (const char* domain : {"mon_L3_00", "mon_L3_01"}) {
      const std::string data = group + "/mon_data/" + domain;
      files_[data + "/mbm_total_bytes"] = "0\n";
      files_[data + "/mbm_local_bytes"] = "0\n";
    }
    files_[group + "/tasks"] = "";
    if (control_of(group) != group) return;
    files_[group + "/mon_groups/."] = "";  // it has the folder
    files_[group + "/schemata"] = "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n";
  }
  void allot(const std::string& group, const std::string& text) {
    std::string& file = files_[group + "/schemata"];
    perf::Schemata now = perf::read_schemata(file).value();
    const perf::Schemata all = perf::read_schemata(text).value();
    for (const perf::Allotment& wanted : all) {
      for (perf::Allotment& each : now) {
        if (each.resource == wanted.resource && each.domain == wanted.domain) each = wanted;
      }
    }
    file = perf::schemata_lines(now);
  }
  std::uint64_t percent_of(const std::string& control, unsigned domain) const {
    const auto file = files_.find(control + "/schemata");
    if (file == files_.end()) return 0;
    const perf::Schemata all = perf::read_schemata(file->second).value();
    for (const perf::Allotment& each : all) {
      if (each.resource == "MB" && each.domain == domain) return std::stoull(each.value);
    }
    return 0;
  }

  std::mutex mutex_;
  std::map<std::string, std::string> files_;
  std::string refuse_;
  std::vector<std::string> log_;
};

class MembwAllocation : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!live_.works()) GTEST_SKIP() << "cannot mount a file system of FUSE";
  }
  /// `shmifperf membw` of this tree, with short times.
  Words words(const Words& options) const {
    Words all{"membw",    "--sysroot", dir_.path(), "--source", "resctrl",
              "--settle", "0",         "--window",  "20ms"};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }
  ToolResult membw(const Words& options) const { return shmifperf(words(options)); }

  TempDir dir_;
  LiveResctrl resctrl_;
  LiveFiles live_{resctrl_, dir_.path()};
};

/// What resctrl counted in a reading: of each read, one step.
double bytes_of(const Json& reading) {
  return reading["total_bytes_per_s"].get<double>() * reading["window_s"].get<double>();
}

TEST_F(MembwAllocation, IsSetOnTheNamedGroupAndPutBack) {
  resctrl_.stand("c1", "MB:0=90;1=80");
  const ToolResult result = membw({"--json", "--control-group", "c1", "--schemata",
                                   "MB:0=50;L3:0=ff", "--samples", "2", "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(resctrl_.log(), (Words{"make c1/mon_groups/shmifperf", "c1 MB:0=50;L3:0=ff",
                                   "remove c1/mon_groups/shmifperf", "c1 MB:0=90;L3:0=7ff"}));
  const Json json = parsed(result);
  ASSERT_EQ(json["samples"].size(), 2U) << result.out;
  for (const Json& sample : json["samples"]) {
    EXPECT_EQ(sample["allocation"], "MB:0=50;L3:0=ff");
    EXPECT_EQ(sample["pids"].size(), 1U);
    EXPECT_NEAR(bytes_of(sample["readings"][0]), (50 + 80) * 1e6, 1e3) << "of both domains";
  }
}

TEST_F(MembwAllocation, IsMeasuredInTheMonitoringGroupThatIsNamed) {
  for (const char* const group : {"c1/mon_groups/m1", "mon_groups/m1"}) {
    const ToolResult result =
        membw({"--control-group", group, "--samples", "2", "--load", "fill:size=64k"});
    EXPECT_EQ(result.status, 0) << result.err;
    // Each sample has a row.
    const auto lines = lines_of(result.out);
    const auto head = std::ranges::find_if(
        lines, [](const std::string& line) { return line.starts_with("  sample "); });
    ASSERT_GE(std::distance(head, lines.end()), 3) << result.out;
    EXPECT_TRUE(head[1].starts_with("  1 ")) << result.out;
    EXPECT_TRUE(head[2].starts_with("  2 ")) << result.out;
  }
  EXPECT_EQ(resctrl_.log(), (Words{"make c1", "make c1/mon_groups/m1", "remove c1/mon_groups/m1",
                                   "remove c1", "make mon_groups/m1", "remove mon_groups/m1"}));
}

TEST_F(MembwAllocation, IsPutBackAfterASignal) {
  resctrl_.stand("c1", "MB:0=90;1=80");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Tool tool(shmifperf_words(
        words({"--control-group", "c1", "--schemata", "MB:0=50;1=10", "--", "sleep", "601"})));
    ASSERT_TRUE(
        eventually([&] { return resctrl_.schemata_of("c1") == "MB:0=50;1=10;L3:0=7ff;1=7ff"; }));
    tool.signal(signal);
    EXPECT_EQ(tool.finish().status, 128 + signal);
    EXPECT_EQ(resctrl_.schemata_of("c1"), "MB:0=90;1=80;L3:0=7ff;1=7ff") << signal;
  }
}

TEST_F(MembwAllocation, ThatIsNotPossibleIsRefusedBeforeTheProgramBegins) {
  const std::string began = dir_.path() + ".began";
  for (const auto& [schemata, says] : std::vector<std::pair<std::string, std::string>>{
           {"MB:0=55", "MB:0=55: the machine has steps of 10; use 50 or 60"},
           {"MB:3=50", "MB:3=50: MB has the domains 0, 1"},
           {"L2:0=f", "L2:0=f: there is no L2, only MB, L3"},
           {"L3:0=fff", "L3:0=fff: the mask has bits outside of the cache's mask 7ff"}}) {
    const ToolResult result = membw({"--schemata", schemata, "--", "touch", began});
    EXPECT_EQ(result.status, 1) << schemata;
    EXPECT_EQ(result.err, "shmifperf: this machine cannot allocate " + says + '\n');
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(::access(began.c_str(), F_OK), -1);
  EXPECT_EQ(resctrl_.log(), Words{}) << "nothing was made";
}

TEST_F(MembwAllocation, SweepsThroughARangeWithTheLocalBytesOfOneDomain) {
  const std::string csv = dir_.path() + ".csv";
  const ToolResult result =
      membw({"--json", "--sweep", "MB:1=30..10/10", "--local", "--cpu", "0", "--samples", "2",
             "--source", "pmu", "--pairs-csv", csv, "--load", "fill:size=64k"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(resctrl_.log(), (Words{"make shmifperf", "make shmifperf/mon_groups/shmifperf",
                                   "shmifperf MB:1=30", "shmifperf MB:1=20", "shmifperf MB:1=10",
                                   "remove shmifperf/mon_groups/shmifperf", "remove shmifperf"}));
  const Json json = parsed(result);
  ASSERT_EQ(json["samples"].size(), 6U) << result.out;
  for (std::size_t at = 0; at < 6; ++at) {
    const Json& sample = json["samples"][at];
    const std::size_t percent = 30 - 10 * (at / 2);
    EXPECT_EQ(sample["step"], at / 2);
    EXPECT_EQ(sample["readings"][1]["source"], "resctrl:local");
    EXPECT_NEAR(bytes_of(sample["readings"][1]), static_cast<double>(percent) * 1e6, 1e3);
  }
  const Json& steps = json["sweep"]["steps"];
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[2]["allocation"], "MB:1=10");
  EXPECT_GT(steps[2]["sources"][1]["total_bytes_per_s"], 0);
  const Json& verdict = json["sweep"]["verdicts"].at(0);
  EXPECT_EQ(verdict["second"], "resctrl:local");
  EXPECT_EQ(verdict["verdict"], "not_measured") << "there are no counters of this tree's machine";
  EXPECT_EQ(verdict["not_measured"], 3);
  const auto lines = lines_of(text_of_file(csv));
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0],
            "sample,allocation,pid,first,second,first_bytes_per_s,second_bytes_per_s,"
            "difference_bytes_per_s,verdict,reason");
  const std::string pid = std::to_string(json["samples"][2]["pids"][0].get<int>());
  EXPECT_EQ(lines[3].find("4,\"MB:1=20\"," + pid + ",pmu,resctrl:local,,,,not_measured,"), 0U)
      << lines[3];
  ::unlink(csv.c_str());
}

/// Nothing is changed on a machine that has no resctrl.
TEST(MembwSweep, SaysThatThisMachineCannot) {
  const TempDir dir;
  const ToolResult result =
      shmifperf({"membw", "--sysroot", dir.path(), "--schemata", "MB:0=50", "--", "true"});
  EXPECT_NE(result.status, 0);
  EXPECT_NE(result.err.find("/proc/mounts"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
}

}  // namespace
}  // namespace shmif::test
