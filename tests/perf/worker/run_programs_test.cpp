// Emulated hosts that run a program of their own in place of the traffic.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/perf/control/run_plan.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

TEST(RunPrograms, OneBeginsItsStartDelayAfterTheCommonStart) {
  const test::TempDir dir;
  const std::string file = dir.file("began");
  const RunResult result = test::run_text(
      "[late]\nengine=host\nstart_delay=300ms\nexec=sh -c 'date +%s%N >" + file + "'\n");
  EXPECT_TRUE(test::passed(result));
  std::int64_t began_ns = 0;
  std::ifstream(file) >> began_ns;
  const std::chrono::nanoseconds run_began = result.began.time_since_epoch();
  EXPECT_GE(std::chrono::nanoseconds(began_ns) - run_began, 300ms);
}

TEST(RunPrograms, OneThatHasNotBegunIsStoppedAtOnce) {
  const test::TempDir dir;
  const RunResult result =
      test::run_text("[global]\ntrigger-timeout=200ms\naux-path=" + dir.path() +
                     "\n[late]\nengine=host\nstart_delay=1h\nexec=true\nexec_postrun=true\n");
  EXPECT_TRUE(test::passed(result));
  EXPECT_FALSE(std::filesystem::exists(dir.file("late.postrun.txt"))) << "it did nothing";
  EXPECT_LT(result.ended - result.began, 60s);  // a stuck one takes 300 s
}

TEST(RunPrograms, OneThatDoesNotExitZeroFailsItsJob) {
  const RunResult result = test::run_text("[wrong]\nengine=host\nexec=sh -c 'exit 3'\n");
  EXPECT_TRUE(test::failed(result, "\"wrong\": sh ended with status 3"));
}

TEST(RunPrograms, OneHasThePlaceAndTheCommandsOfItsJob) {
  const test::TempDir dir;
  const std::string nice = dir.file("nice");
  const RunResult result = test::run_text(
      "[global]\naux-path=" + dir.path() + "\n[p]\nengine=host\nnice=7\ncpus_allowed=0\n" +
      "exec=sh -c '(nice; grep Cpus_allowed_list /proc/self/status) >" + nice + "'\n" +
      "exec_prerun=echo before\nexec_postrun=cat " + nice + "\n");
  EXPECT_TRUE(test::passed(result));
  std::ifstream before(dir.file("p.prerun.txt"));
  std::ifstream after(dir.file("p.postrun.txt"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(before), {}), "before\n");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(after), {}), "7\nCpus_allowed_list:\t0\n");
}

}  // namespace
}  // namespace shmif::perf
