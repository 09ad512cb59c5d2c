// shmifperf capabilities, of this machine and of a tree.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

TEST(CapabilitiesCommand, HasAnEntryForEachInstrumentInOneOfThreeStates) {
  const ToolResult result = shmifperf({"capabilities", "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json.size(), 1U);
  std::set<std::string> names;
  for (const Json& each : json["instruments"]) {
    EXPECT_EQ(each.size(), 5U) << each;
    EXPECT_TRUE(each["tested"].is_string());
    const std::string state = each["state"];
    EXPECT_TRUE(state == "supported" || state == "not_supported" || state == "not_permitted");
    EXPECT_TRUE(state == "supported" || each["reason"] != "") << each;
    EXPECT_TRUE(each["enable_with"].is_string());
    EXPECT_TRUE(names.insert(each["name"]).second) << each;
  }
  EXPECT_TRUE(names.contains("why"));
  EXPECT_TRUE(names.contains("why.schedstat"));
}

TEST(CapabilitiesCommand, SayWhatNeverRanOnTheHardwareThatItIsFor) {
  std::map<std::string, std::string> tested;
  const Json json = Json::parse(shmifperf({"capabilities", "--json"}).out, nullptr, false);
  for (const Json& each : json["instruments"]) tested[each["name"]] = each["tested"];
  const std::string resctrl =
      "with recorded trees and fakes only, never on a processor with resctrl";
  EXPECT_EQ(tested["membw.pmu"],
            "with recorded trees and fake counters only, never on memory controllers");
  EXPECT_EQ(tested["membw.resctrl"], resctrl);
  EXPECT_EQ(tested["membw.allocation"], resctrl);
  EXPECT_EQ(tested["membw.software"], "");
  EXPECT_EQ(tested["why"], "");
  const std::string text = shmifperf({"capabilities"}).out;
  EXPECT_EQ(times_in(text, "tested " + resctrl), 2U) << text;
}

TEST(CapabilitiesCommand, AgreesWithTheFilesOfThisMachine) {
  std::map<std::string, std::string> states;
  const Json json = Json::parse(shmifperf({"capabilities", "--json"}).out, nullptr, false);
  for (const Json& each : json["instruments"]) states[each["name"]] = each["state"];
  const auto is = [](bool there) { return there ? "supported" : "not_supported"; };
  EXPECT_EQ(states["why"], "supported");
  EXPECT_EQ(states["why.schedstat"], is(std::filesystem::exists("/proc/self/schedstat")));
  EXPECT_EQ(states["why.psi"], is(text_of_file("/proc/pressure/memory") != ""));
  EXPECT_EQ(states["why.softnet"], is(std::filesystem::exists("/proc/net/softnet_stat")));
}

TEST(CapabilitiesCommand, PrintsATableWithTheReasons) {
  const TempDir dir;
  const ToolResult result = shmifperf({"capabilities", "--sysroot", dir.path()});
  EXPECT_EQ(result.status, 0) << result.err;
  bool found = false;
  for (const std::string& line : lines_of(result.out)) {
    found = found || line.starts_with("why.schedstat");
    if (!line.starts_with("why.schedstat")) continue;
    EXPECT_NE(line.find("  not supported  cannot open " + dir.path() + "/proc/self/schedstat: "),
              std::string::npos)
        << line;
  }
  EXPECT_TRUE(found) << result.out;
  EXPECT_NE(result.out.find("to change that: psi=1 on the kernel's command line"),
            std::string::npos)
      << result.out;
}

TEST(CapabilitiesCommand, AlsoTellsWhatIsMissingFromASupportedInstrument) {
  const TempDir dir;
  std::filesystem::create_directories(dir.path() + "/proc/sys/vm");
  std::filesystem::create_directories(dir.path() + "/proc/sys/kernel");
  std::ofstream(dir.path() + "/proc/sys/vm/unprivileged_userfaultfd") << "0\n";
  std::ofstream(dir.path() + "/proc/sys/kernel/osrelease") << "6.1.0-50-amd64\n";
  const std::string table = shmifperf({"capabilities", "--sysroot", dir.path()}).out;
  const std::size_t begin = table.find("heat.client ");
  ASSERT_NE(begin, std::string::npos) << table;
  const std::string entry = table.substr(begin, table.find("heat.pagemap_scan ") - begin);
  EXPECT_NE(entry.find("  supported  "), std::string::npos) << entry;
  EXPECT_NE(entry.find("to change that: Linux 6.7 or newer"), std::string::npos) << entry;
}

TEST(CapabilitiesCommand, TakesNoWords) {
  const ToolResult result = shmifperf({"capabilities", "why"});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.out, "");
}

}  // namespace
}  // namespace shmif::test
