// gateway --fault: the line between the bus and the program that leads to the world.

#include <nlohmann/json.hpp>

#include "shmif/faults.hpp"
#include "tests/tools/relay/gateway_rig.hpp"

namespace shmif::test {
namespace {

class GatewayFaults : public GatewayRig {
 protected:
  /// Ends a gateway that was started with --json. Result: to the world, and from it.
  static nlohmann::json directions(Tool& gateway) {
    const ToolResult result = end(gateway);
    EXPECT_EQ(result.status, 0) << result.err;
    return nlohmann::json::parse(result.out).at("directions");
  }
};
INSTANTIATE_TEST_SUITE_P(Each, GatewayFaults, ::testing::ValuesIn(callers()),
                         [](const auto& each) { return each.param.name; });

const std::string kFetchPage = kFetch + "http://" + kWorld + "/page";

TEST_P(GatewayFaults, HitExactlyTheFramesOfTheirWayAndAreCounted) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  const auto way = gateway({"--json", "--fault", "in:match='tcp dst port 80',drop=1,seed=5",
                            "--fault", "out:match='tcp src port 80',drop=1,3,seed=7"});
  const ToolResult host = with_lease(kFetchPage);
  EXPECT_EQ(host.out, kPage) << "TCP sends again what was lost: " << host.err;
  const nlohmann::json ways = directions(*way);
  EXPECT_EQ(ways[0]["faults"]["options"], "match='tcp dst port 80',drop=1") << ways;
  EXPECT_EQ(ways[0]["faults"]["seed"], 5);
  EXPECT_EQ(ways[0]["faults"]["lost_frames"], 1);
  EXPECT_GT(ways[0]["faults"]["frames"], 5) << "and what passed";
  EXPECT_EQ(ways[1]["faults"]["options"], "match='tcp src port 80',drop=1,3") << ways;
  EXPECT_EQ(ways[1]["faults"]["seed"], 8);
  EXPECT_EQ(ways[1]["faults"]["lost_frames"], 2);
}

TEST_P(GatewayFaults, OfAllFramesLetNonePass) {
  for (const char* const direction : {"in:", "out:"}) {
    SCOPED_TRACE(direction);
    const auto way = gateway({"--json", "--fault", std::string(direction) + "loss=100%"});
    const ToolResult host = run_shell("curl -sS -m 2 http://" + std::string(kWorld) + "/page",
                                      {"--ip", "10.0.2.100/24", "--gateway", "10.0.2.2"});
    EXPECT_NE(host.status, 0);
    EXPECT_EQ(host.out, "");
    const nlohmann::json ways = directions(*way);
    const bool is_in = *direction == 'i';
    const nlohmann::json& met = ways[is_in ? 0 : 1]["faults"];
    EXPECT_GT(met["frames"], 0) << ways;
    EXPECT_EQ(met["lost_frames"], met["frames"]);
    EXPECT_EQ(ways[is_in ? 0 : 1]["tx_frames"], 0);
    EXPECT_EQ(ways[is_in ? 1 : 0]["faults"], nullptr);
  }
}

}  // namespace
}  // namespace shmif::test
