// Commands whose clocks are those of another time namespace, or whose wall clock is stepped at
// every look.

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/own_namespaces.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// What is put in front of a command.
struct Odd {
  const char* name;
  Words before;
};

std::ostream& operator<<(std::ostream& out, const Odd& odd) {
  return out << odd.name;
}

Words in_time(std::int64_t shift_s) {
  Words words = {"unshare", "--time"};
  if (geteuid() != 0) words.insert(words.end(), {"--user", "--map-current-user"});
  for (const char* clock : {"--monotonic=", "--boottime="}) {
    words.push_back(clock + std::to_string(shift_s));
  }
  return words;
}

std::vector<Odd> odds() {
  return {{"TenDaysAhead", in_time(10 * kDay)},
          {"AsFarBehindAsCanBe", in_time(furthest_back())},
          {"SteppedWallClock",
           {"env", std::string("LD_PRELOAD=") + in_build("tests/tools/libstepped_clock.so")}}};
}

class Clocks : public ::testing::TestWithParam<Odd> {
 protected:
  void SetUp() override {
    Words probe = GetParam().before;
    probe.emplace_back("true");
    if (run_program(probe).status != 0) GTEST_SKIP() << "no time namespaces here";
  }
  /// A command line of shmifctl, by the odd clock.
  static Words odd(Words words) {
    Words line = GetParam().before;
    line.push_back(shmifctl_path());
    line.insert(line.end(), words.begin(), words.end());
    return line;
  }

  BusRig rig;
};

INSTANTIATE_TEST_SUITE_P(Are, Clocks, ::testing::ValuesIn(odds()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Clocks, RoundTripsAreOfTheAskersClock) {
  Tool responder(odd({"ping", rig.path(), "--respond", "--name", "responder"}));
  ASSERT_TRUE(rig.wait_for_port("responder"));
  for (const bool asker_is_odd : {false, true}) {
    const Words words = {"ping", rig.path(), "--to",      "responder", "-c",    "30",
                         "-i",   "0.01",     "--timeout", "100",       "--json"};
    const ToolResult asked = asker_is_odd ? run_program(odd(words)) : run_tool(words);
    ASSERT_EQ(asked.status, 0) << asked.err;
    const auto said = nlohmann::json::parse(asked.out)["responders"][0];
    EXPECT_EQ(said["answered"], 30);
    EXPECT_GT(said["rtt_ns_min"], 0);
    EXPECT_LT(said["rtt_ns_max"].get<double>(), 60e9) << "not days";
  }
}

TEST_P(Clocks, TimeoutsEndAndNoneTooEarly) {
  const auto lasts = [](Words words, int status) {
    const auto began = std::chrono::steady_clock::now();
    const ToolResult ended = run_program(odd(words));
    EXPECT_EQ(ended.status, status) << words[0] << ended.err;
    EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(300)) << words[0];
  };
  lasts({"dump", rig.path(), "--timeout", "0.3"}, 0);
  lasts({"wait", rig.path(), "--port", "nobody", "--timeout", "0.3"}, 1);
  lasts({"ping", rig.path(), "-c", "2", "--timeout", "0.3"}, 1);
  lasts({"top", rig.path(), "-n", "2", "--interval", "0.2"}, 0);
}

TEST_P(Clocks, ARecordIsInTheOrderOfTheBus) {
  const std::string capture = rig.file("capture");
  const std::string recorded = rig.file("recorded");
  std::vector<Bytes> frames;
  for (unsigned i = 0; i < 60; ++i) frames.push_back(make_frame(100, i));
  write_capture(capture, frames, 5'000'000);
  Tool dump(odd({"dump", rig.path(), "-c", "60", "--name", "dump", "-w", recorded}));
  ASSERT_TRUE(rig.wait_for_port("dump"));
  const ToolResult sent = run_program(odd({"inject", rig.path(), capture, "--timing", "original"}));
  EXPECT_EQ(sent.status, 0) << sent.err;
  const ToolResult dumped = dump.finish();
  EXPECT_EQ(dumped.status, 0) << dumped.err;
  EXPECT_TRUE(contains(dumped.err, " 0 lost"));
  EXPECT_EQ(read_capture(recorded), frames);
  // Its times may go back; played by them, it ends all the same.
  EXPECT_EQ(run_program(odd({"inject", rig.path(), recorded, "--timing", "x1000000"})).status, 0);
}

TEST_P(Clocks, HostsReachEachOther) {
  Tool host(odd({"exec", rig.path(), "--name", "host", "--via", "veth", "--ip", "198.18.0.1/24",
                 "--", "sleep", "600"}));
  if (!rig.wait_for_port("host")) GTEST_SKIP() << "no hosts here: " << host.finish().err;
  const ToolResult pinged =
      run_tool({"exec", rig.path(), "--via", "veth", "--ip", "198.18.0.2/24", "--", "ping", "-q",
                "-c", "3", "-i", "0.2", "-W", "60", "198.18.0.1"});
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
}

}  // namespace
}  // namespace shmif::test
