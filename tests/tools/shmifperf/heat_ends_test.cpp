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

#include "perf/heat/page_scan.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// Makes so many pairs of mappings, and touches one of each pair again and again.
[[noreturn]] void live_in_many_mappings(std::size_t pairs) {
  const std::size_t page = perf::page_bytes();
  void* const at =
      ::mmap(nullptr, 2 * pairs * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) ::_exit(1);
  auto* const bytes = static_cast<volatile char*>(at);
  for (std::size_t i = 0; i < pairs; ++i) {
    ::mprotect(static_cast<char*>(at) + 2 * i * page, page, PROT_READ);
  }
  for (;;) {  // until killed
    for (std::size_t i = 0; i < pairs; ++i) bytes[(2 * i + 1) * page] = 1;
    ::usleep(10'000);
  }
}

TEST(HeatCommand, SaysWhyTheNextWindowComesLate) {
  constexpr std::size_t kPairs = 10'000;  // twice as many mappings: 40 ms to read, at least
  const Child child([]() -> int { live_in_many_mappings(kPairs); });
  const std::string pid = std::to_string(child.pid());
  const auto mappings = [&] {
    std::ifstream maps("/proc/" + pid + "/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  ASSERT_TRUE(eventually([&] { return mappings() > static_cast<std::ptrdiff_t>(2 * kPairs); }));
  const ToolResult result =
      shmifperf({"heat", "-p", pid, "--backend", "clear_refs", "--windows", "1", "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("a sample of process " + pid + " is costly: the next one begins "),
            std::string::npos)
      << result.err;
}

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

TEST(HeatCommand, PassesASignalOnToItsProgram) {
  Tool heat(shmifperf_words(
      {"heat", "--backend", "clear_refs", "--", "sh", "-c",
       "trap 'echo told >&2; exit 0' TERM; echo begun >&2; while :; do sleep 0.01; done"}));
  ASSERT_TRUE(heat.wait_for("begun"));
  heat.signal(SIGTERM);
  const ToolResult result = heat.finish();
  EXPECT_NE(result.err.find("told\n"), std::string::npos) << result.err;
  EXPECT_EQ(result.status, 128 + SIGTERM);
}

/// In `seen`, a page of a mapped file is asked for, and nobody answers. `$1`: python3; `$2`:
/// shmifperf; `$3`: an empty folder.
constexpr const char* kHangs = R"sh(
cd "$3" && mkdir lower seen && head -c 65536 /dev/zero > lower/file && mkfifo gate || exit 98
bindfs -f lower seen &
file_system=$!
trap 'kill -CONT $file_system; kill $file_system; wait' EXIT
until mountpoint -q seen; do kill -0 $file_system || exit 77; sleep 0.01; done
"$2" heat -- "$1" -c '
import mmap
file = open("seen/file", "r+b")
pages = mmap.mmap(file.fileno(), 0)
open("gate", "w").close()
open("gate").read()
pages[40000]' > out 2> err &
heat=$!
: < gate
kill -STOP $file_system
: > gate
until grep -q "^State:.D" /proc/$(pgrep -P $heat python)/status; do
  kill -0 $heat || { cat out err; exit 99; }
  sleep 0.01
done
kill -TERM $heat
wait $heat
echo status $?
cat out err
)sh";

TEST(HeatCommand, HasItsResultAlsoWhereNoSignalEndsItsProgram) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: mounts";
  if (::access("/dev/fuse", W_OK) != 0) GTEST_SKIP() << "no FUSE device that may be opened";
  if (run_program({"sh", "-c", "command -v bindfs"}).status != 0) GTEST_SKIP() << "no bindfs here";
  const TempDir dir;
  const ToolResult said = run_program(
      {"unshare", "-m", "bash", "-c", kHangs, "hangs", SHMIF_PYTHON, shmifperf_path(), dir.path()});
  if (said.status == 77) GTEST_SKIP() << "no FUSE mount";
  EXPECT_EQ(said.out.rfind("status 143\n", 0), 0U) << said.out << said.err;
  EXPECT_NE(said.out.find("precision: "), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("waits in the kernel"), std::string::npos) << said.out;
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
