// shmifperf heat: when it ends, what it says then, and what it leaves behind.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "instruments/heat/page_scan.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

TEST(HeatCommand, EndsWhenItsOnlyTargetAnswersNoMoreAndSaysThatItLives) {
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  const std::string clients = dir.file("clients");
  std::filesystem::create_directory(clients);
  ::setenv("SHMIF_HEAT", clients.c_str(), 1);
  Tool port({shmifctl_path(), "ping", bus, "--respond"});
  ::unsetenv("SHMIF_HEAT");
  ASSERT_TRUE(port.wait_for("answering"));
  Tool heat(shmifperf_words({"heat", "-p", std::to_string(port.pid()), "--clients", clients,
                             "--attrs", "50ms,50ms,1s,3,100", "--windows", "100000", "--json"}));
  ASSERT_TRUE(eventually([&] { return !std::filesystem::is_empty(clients); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ::kill(port.pid(), SIGSTOP);
  const ToolResult result = heat.finish();
  ::kill(port.pid(), SIGCONT);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("the target does not answer (is it stopped?)"), std::string::npos)
      << result.err;
}

TEST(HeatCommand, OfAProgramOfWhichNothingCouldBeMeasuredFailsUnlessTheProgramDid) {
  const TempDir dir;  // a machine without processes
  for (const auto& [script, status] :
       std::vector<std::pair<std::string, int>>{{"exit 0", 1}, {"exit 7", 7}}) {
    const ToolResult result = shmifperf(
        {"heat", "--sysroot", dir.path(), "--backend", "written", "--", "sh", "-c", script});
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_NE(result.err.find(" was not measured: it is a process of a recorded tree\n"),
              std::string::npos)
        << result.err;
  }
}

TEST(HeatCommand, LeavesNoDirectoryWhenNobodyReadsItsOutput) {
  const TempDir dir("/tmp");
  for (const std::string& reader : Words{"cat >/dev/null", "true"}) {
    // The program tells where the directory was: one elsewhere would not be seen here.
    const std::string command =
        R"(TMPDIR=$1 "$2" heat -- sh -c 'echo "$SHMIF_HEAT" >&2; exec sleep 0.5' | )" + reader;
    const ToolResult result =
        run_program({"sh", "-c", command, "sh", dir.path(), shmifperf_path()});
    EXPECT_TRUE(result.err.starts_with(dir.path() + '/')) << reader << ": " << result.err;
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << reader << ": " << result.err;
  }
}

}  // namespace
}  // namespace shmif::test
