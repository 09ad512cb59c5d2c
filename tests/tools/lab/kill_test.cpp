// Processes of labs that are killed at random moments: the others run on, and `down` leaves
// nothing.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <random>
#include <thread>

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

using LabKill = LabRig;

constexpr unsigned kHosts = 12;
constexpr unsigned kKillsPerLab = 10;

std::string comm_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  in >> name;
  return name;
}

TEST_F(LabKill, AnyProcessOfAHostThreeHundredTimes) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string path = lab("host.h = { on = \"b\", count = " + std::to_string(kHosts) +
                               ", run = \"sleep 600; true\", may_fail = true }\n"
                               "capture.all = { on = \"b\" }\n");
  for (unsigned round = 0; round < 300 / kKillsPerLab; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    ASSERT_EQ(up(path, {"--detach"}).status, 0);
    const pid_t controller = state()["pid"];
    // Until the scripts that start the programs have nothing else to do.
    ASSERT_TRUE(eventually([&] {
      return std::ranges::count(family_of(controller), "sleep", comm_of) == std::ptrdiff_t{kHosts};
    }));
    // The processes of each host, or of another child of the controller.
    std::map<pid_t, std::vector<pid_t>> families;
    for (const pid_t child : children_of(controller)) families[child] = family_of(child);
    ASSERT_EQ(families.size(), kHosts + 2U) << "and the guardian and the capture";
    const std::vector<pid_t> all = family_of(controller);
    for (unsigned kill = 0; kill < kKillsPerLab; ++kill) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
      auto family = families.begin();
      std::advance(family, static_cast<std::ptrdiff_t>(random() % families.size()));
      const std::vector<pid_t> members = family->second;
      const pid_t chosen = members[random() % members.size()];
      SCOPED_TRACE("kills " + comm_of(chosen) + " of " + comm_of(family->first));
      families.erase(family);
      ::kill(chosen, SIGKILL);
      for (const pid_t each : members) {
        EXPECT_TRUE(eventually([&] { return is_gone(each); })) << comm_of(each);
      }
      EXPECT_FALSE(is_gone(controller));
      for (const auto& [leader, others] : families) {
        for (const pid_t each : others) EXPECT_FALSE(is_gone(each)) << comm_of(each);
      }
    }
    if (round % 5 == 4) ::kill(controller, SIGKILL);
    EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
    for (const pid_t each : all) EXPECT_TRUE(eventually([&] { return is_gone(each); }));
    expect_no_trace();
    if (HasFailure()) break;
  }
}

// While a lab starts, whatever is killed, it is up as a whole or not at all.
TEST_F(LabKill, TheControllerAtAnyMomentOfTheStart) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string path =
      lab("host.h = { on = \"b\", count = 4 }\ncapture.all = { on = \"b\" }\n");
  for (unsigned round = 0; round < 40; ++round) {
    Tool tool(Words{shmifctl_path()} + up_words(path));
    const pid_t controller = tool.pid();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 300'000));
    const std::vector<pid_t> all = family_of(controller);
    tool.signal(SIGKILL);
    tool.finish();
    for (const pid_t each : all) EXPECT_TRUE(eventually([&] { return is_gone(each); }));
    EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
    expect_no_trace();
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace shmif::test
