// shmifperf capabilities, of this machine and of a tree.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

TEST(CapabilitiesCommand, HasAnEntryForEachInstrumentInOneOfThreeStates) {
  const Json json = Json::parse(shmifperf({"capabilities", "--json"}).out, nullptr, false);
  ASSERT_TRUE(json.is_object());
  std::map<std::string, std::string> states, tested;
  for (const Json& each : json["instruments"]) {
    EXPECT_EQ(each.size(), 5U) << each;
    const std::string state = each["state"];
    EXPECT_TRUE(state == "supported" || state == "not_supported" || state == "not_permitted");
    EXPECT_TRUE(state == "supported" || each["reason"] != "") << each;
    EXPECT_TRUE(states.emplace(each["name"], state).second) << each;
    tested[each["name"]] = each["tested"];
  }
  const auto is = [](bool there) { return there ? "supported" : "not_supported"; };
  EXPECT_EQ(states["why"], "supported");
  EXPECT_EQ(states["why.schedstat"], is(std::filesystem::exists("/proc/self/schedstat")));
  EXPECT_EQ(states["why.psi"], is(text_of_file("/proc/pressure/memory") != ""));
  EXPECT_EQ(states["why.softnet"], is(std::filesystem::exists("/proc/net/softnet_stat")));
  // What never ran on the hardware that it is for.
  EXPECT_TRUE(has(tested["membw.pmu"], "never on memory controllers"));
  EXPECT_TRUE(has(tested["membw.resctrl"], "never on a processor with resctrl"));
  EXPECT_EQ(tested["membw.allocation"], tested["membw.resctrl"]);
  EXPECT_EQ(tested["membw.software"], "");
  const std::string text = shmifperf({"capabilities"}).out;
  EXPECT_EQ(times_in(text, "tested " + tested["membw.resctrl"]), 2U) << text;
}

TEST(CapabilitiesCommand, PrintsATableWithWhatIsMissingAndWhy) {
  const TempDir dir;
  std::filesystem::create_directories(dir.path() + "/proc/sys/vm");
  std::filesystem::create_directories(dir.path() + "/proc/sys/kernel");
  std::ofstream(dir.path() + "/proc/sys/vm/unprivileged_userfaultfd") << "0\n";
  std::ofstream(dir.path() + "/proc/sys/kernel/osrelease") << "6.1.0-50-amd64\n";
  const std::string table = shmifperf({"capabilities", "--sysroot", dir.path()}).out;
  const auto entry = [&](const std::string& name) {
    const std::size_t begin = table.find('\n' + name + ' ');
    return begin == std::string::npos ? name : table.substr(begin, 600);
  };
  EXPECT_TRUE(has(entry("why.schedstat"),
                  "  not supported  cannot open " + dir.path() + "/proc/self/schedstat: "))
      << table;
  EXPECT_TRUE(has(table, "to change that: psi=1 on the kernel's command line")) << table;
  const std::string client = entry("heat.client");
  EXPECT_TRUE(has(client, "  supported  ")) << client;
  EXPECT_TRUE(has(client, "to change that: Linux 6.7 or newer")) << client;
}

}  // namespace
}  // namespace shmif::test
