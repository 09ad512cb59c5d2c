// What `why` tells an ordinary user. The tests have the CPU for themselves, since they say who
// waits for it.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/tools/shmifperf/unprivileged_rig.hpp"

namespace shmif::test {
namespace {

using UnprivilegedWhy = Unprivileged;

double pass(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The first cause that `why` names to an ordinary user whose program spins on `cpu`. `begin` gets
/// the program's number a second after the begin of the watch. `end` comes 1.5 s later, and the end
/// of the watch another second later. `lasted`: from `begin` to `end`.
template <class Begin, class End>
Json first_cause(int cpu, double& lasted, Begin begin, End end) {
  Tool tool(as_ordinary({"why", "--json", "--interval", "50ms", "--", "taskset", "-c",
                         std::to_string(cpu), "sh", "-c", "while :; do :; done"}));
  // The watcher's only child is the program, once it has executed that.
  pid_t program = 0;
  EXPECT_TRUE(eventually([&] {
    const auto below = descendants(tool.pid());
    program = below.size() == 1 ? below.front() : 0;
    return program != 0 && sleeps_in_poll(tool.pid()) &&
           text_of_file("/proc/" + std::to_string(program) + "/comm") == "sh\n";
  }));
  if (program == 0) return {};
  pass(1);
  begin(program);
  lasted = pass(1.5);
  end(program);
  pass(1);
  tool.signal(SIGINT);
  const ToolResult result = tool.finish();
  const Json json = parsed(result);
  EXPECT_TRUE(json.is_object()) << result.out << result.err;
  if (!json.is_object() || json["causes"].empty()) return {};
  return json["causes"][0];
}

int last_cpu() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  int last = CPU_SETSIZE - 1;
  while (last > 0 && !CPU_ISSET(last, &allowed)) --last;
  return last;
}

TEST_F(UnprivilegedWhy, WhyNamesAStopOfTheUsersProgramAndItsTime) {
  double stopped = 0;
  const Json first = first_cause(
      last_cpu(), stopped, [](pid_t program) { ::kill(program, SIGSTOP); },
      [](pid_t program) { ::kill(program, SIGCONT); });
  ASSERT_TRUE(first.is_object());
  EXPECT_EQ(first["cause"], "stopped") << first;
  const double found = first["end_s"].get<double>() - first["begin_s"].get<double>();
  EXPECT_GE(found, 0.6 * stopped) << first;
  EXPECT_LE(found * first["share"].get<double>(), stopped + 0.2) << first;
  EXPECT_GE(first["begin_s"], 0.8) << first;
}

/// Other load of the machine can make the program wait longer, but not shorter.
TEST_F(UnprivilegedWhy, WhyNamesAHogOnTheCpuOfTheUsersProgramAndItsTime) {
  const int cpu = last_cpu();
  std::vector<Child> hogs;  // their eight shares of the CPU leave the program a ninth
  double hogged = 0;
  const Json first = first_cause(
      cpu, hogged,
      [&](pid_t) {
        const auto spin = [cpu]() -> int {
          cpu_set_t only;
          CPU_ZERO(&only);
          CPU_SET(cpu, &only);
          if (::sched_setaffinity(0, sizeof only, &only) != 0) return 1;
          const auto latest = std::chrono::steady_clock::now() + std::chrono::seconds(10);
          while (std::chrono::steady_clock::now() < latest) {
          }
          return 0;
        };
        for (int i = 0; i < 8; ++i) hogs.emplace_back(spin);
      },
      [&](pid_t) { hogs.clear(); });
  ASSERT_TRUE(first.is_object());
  EXPECT_EQ(first["cause"], "waited_for_cpu") << first;
  const double found = first["end_s"].get<double>() - first["begin_s"].get<double>();
  EXPECT_GE(found * first["share"].get<double>(), 0.6 * hogged) << first;
  EXPECT_LE(first["begin_s"], 1.6) << first;
  EXPECT_GE(first["end_s"], 0.8 + 0.6 * hogged) << first;
}

}  // namespace
}  // namespace shmif::test
