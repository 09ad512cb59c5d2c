// What faults, and changes while they run, do to uplinks of all kinds.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"
#include "tests/tools/uplink/ssh_rig.hpp"

namespace shmif::test {
namespace {

using Json = nlohmann::json;

/// A port in `stat`; null if there is no such port.
Json port_in_stat(const std::string& bus, const std::string& port) {
  const Json all = Json::parse(run_tool({"stat", bus, "--json"}).out);
  for (const Json& each : all.at("ports")) {
    if (each.at("name") == port) return each;
  }
  return {};
}
/// What `stat` shows of the line of a port; empty if there is no such port.
std::string line_in_stat(const std::string& bus, const std::string& port) {
  const Json found = port_in_stat(bus, port);
  return found.is_null() ? "" : found.at("line");
}
/// How many frames the line of the uplink has dropped, on the way from the bus and on that to it.
std::vector<int> dropped_in_stat(const std::string& bus) {
  const Json port = port_in_stat(bus, "uplink");
  return {port.at("line_rx_dropped_frames"), port.at("line_tx_dropped_frames")};
}

enum class Way { vxlan, evpn, ssh };
std::string name_of(Way way) {
  return way == Way::vxlan ? "Vxlan" : way == Way::evpn ? "Evpn" : "Ssh";
}
void PrintTo(Way way, std::ostream* out) {
  *out << name_of(way);
}

/// Two machines, whose buses are joined in one of the ways. Machine 1 prints JSON at its end.
class UplinkChanges : public SshMachines, public ::testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    SshMachines::SetUp();
    if (IsSkipped()) return;
    if (GetParam() == Way::ssh && !has_sshd()) GTEST_SKIP() << "no sshd here";
    if (GetParam() == Way::evpn && !has_program("zebra")) GTEST_SKIP() << "no zebra here";
    connect(2);
  }
  void join(Words more = {}) {
    more.emplace_back("--json");
    switch (GetParam()) {
      case Way::vxlan: {
        one_ = uplink(1, Words{"--vxlan", "42", "--remote", address(2)} + more);
        two_ = uplink_to_all(2, 2);
        break;
      }
      case Way::evpn:
        one_ = uplink_by_evpn(1, 2, more);
        two_ = uplink_by_evpn(2, 2);
        EXPECT_TRUE(one_->wait_for(" is up"));
        EXPECT_TRUE(two_->wait_for(" is up"));
        break;
      case Way::ssh:
        two_ = sshd(2);
        one_ = std::make_unique<Tool>(line(1, 2, more));
        ASSERT_TRUE(one_->wait_for("connected to "));
        break;
    }
  }
  /// The answer of a command that must succeed.
  std::string changed(const std::string& command, const Words& more) const {
    const ToolResult result = run_tool(Words{command, bus(1)} + more);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  /// How many of so many pings are answered. After the last one, ping waits for as long as two
  /// answers took, or for the interval: on a busy machine, an interval of 10 ms is too short.
  unsigned long answers(unsigned number, unsigned other, unsigned count,
                        const std::string& patience) const {
    const ToolResult said = on_host(1, number,
                                    "ping -q -c " + std::to_string(count) + " -i 0.2 -W " +
                                        patience + ' ' + host_address(other));
    const std::size_t at = said.out.find(" packets transmitted, ");
    if (at == std::string::npos) return count + 1;
    return std::stoul(said.out.substr(at + std::string(" packets transmitted, ").size()));
  }
  Json ended() const { return Json::parse(end(*one_).out); }
  static void expect_that_it_adds_up(const Json& way) {
    std::uint64_t fates = 0;
    for (const char* const name :
         {"tx_frames", "lost_frames", "too_long_frames", "timed_out_frames", "refused_frames",
          "link_down_frames", "unheard_frames", "consumed_frames", "under_way_frames"})
      fates += way[name].get<std::uint64_t>();
    for (const char* const name : {"interface_down_frames", "interface_queue_full_frames"})
      fates += way[name].is_null() ? 0 : way[name].get<std::uint64_t>();
    EXPECT_EQ(way["offered_frames"], fates) << way;
  }

  std::unique_ptr<Tool> one_, two_;
};
INSTANTIATE_TEST_SUITE_P(Of, UplinkChanges, ::testing::Values(Way::vxlan, Way::evpn, Way::ssh),
                         [](const auto& of) { return name_of(of.param); });

TEST_P(UplinkChanges, FaultsHitExactlyTheFramesThatLeaveTheBus) {
  join({"--fault", "in:drop=2-4,match='icmp';out:drop=1,match='icmp'"});
  const auto near = host(1, 11, "exec sleep 1000");
  const auto far = host(2, 20, "exec sleep 1000");
  ASSERT_EQ(answers(10, 11, 20, "60"), 20U) << "both are on this bus";
  // The far host learns nothing by these pings: what is lost first is the answer to the first one,
  // and then the requests number 2 to 4.
  ASSERT_EQ(answers(10, 20, 12, "2"), 12U - 4U);
  EXPECT_EQ(line_in_stat(bus(1), "uplink").find("fault in:"), 0U) << line_in_stat(bus(1), "uplink");
  const Json json = ended();
  const Json& there = json["directions"][0];
  const Json& back = json["directions"][1];
  EXPECT_EQ(there["faults"]["lost_frames"], 3) << json;
  EXPECT_EQ(back["faults"]["lost_frames"], 1) << json;
  EXPECT_GE(json["local_frames"], 38);
  if (GetParam() != Way::ssh) {
    EXPECT_EQ(there["to"], "vxlan:42");
  }
  expect_that_it_adds_up(there);
  expect_that_it_adds_up(back);
}

TEST_P(UplinkChanges, WhileItRunsItsLineTakesFaultsGoesDownAndIsPartitioned) {
  join();
  const auto near = host(1, 11, "exec sleep 1000");
  const auto far = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  EXPECT_EQ(changed("fault", {"uplink", "loss=100%"}), "port uplink has the faults loss=100%\n");
  EXPECT_EQ(line_in_stat(bus(1), "uplink"), "fault loss=100%");
  EXPECT_EQ(answers(10, 20, 3, "0.3"), 0U);
  EXPECT_TRUE(reaches(1, 10, 11)) << "both are on this bus";
  EXPECT_EQ(changed("fault", {"uplink", "--none"}), "port uplink has no faults\n");
  EXPECT_TRUE(reaches(1, 10, 20));
  EXPECT_EQ(changed("link", {"uplink", "--down"}), "the link of port uplink is down\n");
  EXPECT_EQ(line_in_stat(bus(1), "uplink"), "link down");
  EXPECT_EQ(answers(10, 20, 3, "0.3"), 0U);
  EXPECT_EQ(answers(10, 11, 3, "60"), 3U);
  EXPECT_EQ(changed("link", {"uplink", "--up"}), "the link of port uplink is up\n");
  EXPECT_TRUE(reaches(1, 10, 20));
  {
    // The same port all the time: a partition knows hosts by their ports.
    const auto alone = host(1, 12, "exec sleep 1000");
    const auto from_12 = [&](unsigned other) {
      return run_tool({"enter", bus(1), "h12", "--", "ping", "-q", "-c", "1", "-W", "1",
                       host_address(other)})
                 .status == 0;
    };
    ASSERT_TRUE(eventually([&] { return from_12(20); }));
    changed("partition", {"h12", "/", "uplink,h11"});
    EXPECT_FALSE(from_12(20));
    EXPECT_TRUE(reaches(1, 10, 20)) << "it is in no group";
    changed("heal", {});
    EXPECT_TRUE(eventually([&] { return from_12(20); }));
  }
  EXPECT_EQ(line_in_stat(bus(1), "uplink"), "");
  const Json json = ended();
  EXPECT_GE(json["directions"][0]["link_down_frames"], 1) << json;
  EXPECT_GE(json["directions"][0]["unheard_frames"], 1) << json;
  EXPECT_GE(json["directions"][0]["faults"]["lost_frames"], 1) << json;
  expect_that_it_adds_up(json["directions"][0]);
  expect_that_it_adds_up(json["directions"][1]);
  const std::string journal = run_tool({"changes", bus(1)}).out;
  for (const char* const each : {"fault loss=100%", "fault none", "link down", "link up"})
    EXPECT_TRUE(contains(journal, each));
}

/// Prints and records how long it takes until host 10 reaches host 20 again.
TEST_P(UplinkChanges, GoesOnWhenTheInterfaceOrTheCableBelowVanishesAndReturns) {
  join();
  const auto there = host(2, 20, "exec sleep 1000");
  ASSERT_TRUE(reaches(1, 10, 20));
  const auto expect_back = [&](const std::string& what) {
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_TRUE(reaches(1, 10, 20)) << what;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    std::printf("%s, %s: %.2f s until a ping was answered\n", name_of(GetParam()).c_str(),
                what.c_str(), seconds);
    RecordProperty("seconds", std::to_string(seconds));
  };
  const auto expect_away = [&] {
    EXPECT_EQ(answers(10, 20, 1, "0.3"), 0U);
    if (GetParam() == Way::ssh) {
      EXPECT_TRUE(one_->wait_for("the line is cut"));
    }
  };
  // Not only its cable; and a new one, with the same address.
  ASSERT_EQ(run_program(inside(machine(1), {"ip", "link", "del", "eth0"})).status, 0);
  expect_away();
  plug_in(1);
  expect_back("a new interface");
  if (GetParam() == Way::vxlan) {
    middle().netlink().set_up(cable(1), false).value();
    expect_away();
    middle().netlink().set_up(cable(1)).value();
    expect_back("a cable");
  }
  EXPECT_EQ(end(*one_).status, 0);
}

using UplinkSshChanges = UplinkSsh;

TEST_F(UplinkSshChanges, AreMadeAlsoWhileTheLineIsCut) {
  Bus::create(far_, {}).value();
  const auto tool = connected();
  ssh_is("echo 'no way' >&2; exit 255\n");
  ::kill(far_process(), SIGKILL);
  ASSERT_TRUE(tool->wait_for("trying again"));
  const ToolResult said = run_tool({"fault", near_, "uplink", "in:loss=100%"});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(line_in_stat(near_, "uplink"), "fault in:loss=100%");
  ssh_is("sleep 1000\n");  // it never greets
  EXPECT_TRUE(
      eventually([&] { return run_tool({"link", near_, "uplink", "--down"}).status == 0; }));
  EXPECT_EQ(run_tool({"link", near_, "uplink", "--up"}).status, 0);
  tool->signal(SIGTERM);
  EXPECT_EQ(tool->finish().status, 0);
}

TEST_F(UplinkSshChanges, FramesWaitingForADelayAreLostAndCountedWhenTheLineIsCut) {
  Bus::create(far_, {}).value();
  const auto tool = connected({"--json", "--fault", "in:delay=1h"});
  Port here = port_on(near_);
  send_frames(here, 60, 7);
  const auto taken = [&] { return Bus::open(near_).value().info().ports.at(0).rx_frames; };
  EXPECT_TRUE(eventually([&] { return taken() == 7; }));
  ::kill(far_process(), SIGKILL);
  EXPECT_TRUE(tool->wait_for("the line is cut"));
  tool->signal(SIGTERM);
  const auto json = Json::parse(tool->finish().out);
  EXPECT_EQ(json["directions"][0]["link_down_frames"], 7) << json;
  EXPECT_EQ(json["directions"][0]["tx_frames"], 0) << json;
}

TEST_F(UplinkSshChanges, DropsOfEachSideAreInItsStatAndInTheSummary) {
  Bus::create(far_, {.mtu = 900}).value();
  const auto tool = connected({"--json"});
  Port here = port_on(near_);
  send_frames(here, 1400, 7);
  EXPECT_TRUE(eventually([&] { return dropped_in_stat(near_) == std::vector{7, 0}; }))
      << port_in_stat(near_, "uplink");
  EXPECT_EQ(line_in_stat(near_, "uplink"), "") << "no change";
  const std::string text = run_tool({"stat", near_}).out;
  EXPECT_TRUE(contains(text, "\"uplink\": dropped 7 to the line, 0 from it\n"));
  EXPECT_EQ(dropped_in_stat(far_), std::vector({0, 0})) << "nothing was dropped there";
  ::kill(far_process(), SIGTERM);
  EXPECT_TRUE(tool->wait_for("the line is cut"));
  EXPECT_TRUE(eventually([&] { return far_process() > 0; }));
  EXPECT_TRUE(tool->wait_for("trying again\nssh:b:" + far_ + ": connected to "));
  wait_for_port(near_);
  send_frames(here, 1400, 2);
  EXPECT_TRUE(eventually([&] { return dropped_in_stat(near_) == std::vector{9, 0}; }))
      << port_in_stat(near_, "uplink");
  tool->signal(SIGTERM);
  const auto json = Json::parse(tool->finish().out);
  EXPECT_EQ(json["directions"][0]["too_long_frames"], 9) << json;
  EXPECT_EQ(json["far"]["too_long_frames"], 0) << json;
  EXPECT_EQ(json["connections"], 2) << json;
}

TEST_F(UplinkSshChanges, AFullLineDropsFramesAndStatSaysHowMany) {
  ssh_is("printf 'shmif-uplink 1 mtu=1500 name=x\\n'; exec sleep 1000\n");  // it reads nothing
  Tool tool(line({"--json"}));
  ASSERT_TRUE(tool.wait_for("connected to "));
  wait_for_port(near_);
  Port here = port_on(near_);
  EXPECT_TRUE(eventually([&] {
    send_frames(here, 1400, 100);
    return dropped_in_stat(near_).front() > 0;
  })) << port_in_stat(near_, "uplink");
  // It goes on to drop what it has taken already, so the last word is at the end.
  tool.signal(SIGTERM);
  const auto json = Json::parse(tool.finish().out);
  EXPECT_GE(json["directions"][0]["timed_out_frames"], 1) << json;
  EXPECT_TRUE(json["far"].is_null());
}

}  // namespace
}  // namespace shmif::test
