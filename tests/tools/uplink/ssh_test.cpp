// Uplinks over ssh. Most tests use a stand-in for ssh, which runs the command on this machine; one
// uses the real thing.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_bus.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"
#include "tests/tools/uplink/ssh_rig.hpp"

namespace shmif::test {
namespace {

TEST_F(UplinkSsh, CarriesFramesBothWaysAndCountsTheSameOnBothSides) {
  Bus::create(far_, {}).value();
  for (const bool as_json : {true, false}) {
    const auto tool = connected(as_json ? Words{"--json"} : Words{});
    Port here = port_on(near_, {.name = "near-host"});
    {
      Port there = port_on(far_, {.name = "far-host"});
      constexpr unsigned kFrames = 200;
      for (const auto& [from, to] : {std::pair{&here, &there}, std::pair{&there, &here}}) {
        unsigned got = 0;
        FrameBatch batch;
        for (unsigned i = 0; i < (as_json ? kFrames : 1); ++i) {
          send_frames(*from, 1500, 1);
          EXPECT_TRUE(eventually([&] {
            batch.clear();
            got += static_cast<unsigned>(to->receive(batch).frames);
            return got > i;
          }));
        }
      }
    }
    tool->signal(SIGTERM);
    const ToolResult ended = tool->finish();
    EXPECT_EQ(ended.status, 0) << ended.err;
    if (as_json) {
      const auto json = nlohmann::json::parse(ended.out);
      EXPECT_EQ(json["directions"][0]["tx_frames"], 200);
      EXPECT_EQ(json["directions"][1]["tx_frames"], 200);
      EXPECT_EQ(json["far"]["sent_frames"], 200);
      EXPECT_EQ(json["far"]["delivered_frames"], 200);
      EXPECT_EQ(json["far"]["lost_frames"], 0);
      EXPECT_EQ(json["connections"], 1);
      EXPECT_EQ(json["far_untold_connections"], 0);
    } else {
      EXPECT_EQ(ended.err, "");
      EXPECT_TRUE(contains(ended.out, "bus:" + near_ + " -> ssh:b:" + far_));
      EXPECT_TRUE(contains(ended.out, "ssh:b:" + far_ + " counted: "));
    }
  }
  EXPECT_EQ(run_tool({"destroy", far_}).status, 0) << "the far end has ended, too";
}

TEST_F(UplinkSsh, AgreesOnTheSmallerMtuAndSaysSo) {
  Bus::create(far_, {.mtu = 900}).value();
  const auto tool = connected();
  EXPECT_TRUE(contains(tool->so_far().out, "MTU 900 (frames of at most 922 bytes)"));
  EXPECT_TRUE(tool->wait_for("longer frames are dropped and counted"));
  Port here = port_on(near_);
  send_frames(here, 1400, 1);
  EXPECT_TRUE(tool->wait_for("1400 bytes"));
  tool->signal(SIGTERM);
  EXPECT_TRUE(contains(tool->finish().out, "1 too long")) << tool->so_far().out;
}

TEST_F(UplinkSsh, ConnectsAgainWhenTheLineIsCut) {
  Bus::create(far_, {}).value();
  const auto tool = connected();
  const pid_t first = far_process();
  ASSERT_GT(first, 0);
  ::kill(first, SIGKILL);
  EXPECT_TRUE(tool->wait_for("the line is cut"));
  EXPECT_TRUE(eventually([&] { return far_process() > 0 && far_process() != first; }));
  wait_for_port(far_);
  // The far end has its port before this end has heard of it.
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(tool->wait_for("a text that never comes", std::chrono::milliseconds(10)));
    return times_in(tool->so_far().out, "connected to ") == 2;
  }));
  tool->signal(SIGTERM);
  const ToolResult ended = tool->finish();
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(times_in(ended.out, "connected to "), 2U) << ended.out;
  EXPECT_TRUE(contains(ended.out, "the counts of 1 connection there are not known"));
  connected()->signal(SIGKILL);
  EXPECT_TRUE(eventually([&] { return far_process() == 0; })) << "it takes the far end away";
}

TEST_F(UplinkSsh, FailsWithTheWordsOfSshIfTheFirstTryDoes) {
  expect_refusal(run_program(line()), {far_, "shmifctl create", " on b: "});
  // A last line without an end counts, too.
  ssh_is("printf 'ssh: Could not resolve hostname b: Name or service not known' >&2; exit 255\n");
  expect_refusal(run_program(line()), {far_, "Could not resolve hostname b", "try 'ssh b "});
  Bus::create(far_, {}).value();
  ssh_is("exit 0\n");
  expect_refusal(run_program(line()), {far_, "has closed the line"});
}

TEST_F(UplinkSsh, SurvivesAFarEndThatSaysAnything) {
  for (const std::string said : {"shmif-uplink 2 mtu=1500 name=x\\n",
                                 "shmif-uplink 1 mtu=1 name=x\\n", "\\000\\001\\002\\n"}) {
    ssh_is("printf '" + said + "'; sleep 0.1\n");
    const ToolResult refused = run_program(line());
    EXPECT_EQ(refused.status, 1) << refused.err;
    EXPECT_EQ(count_of_lines(refused.err), 1) << refused.err;
  }
  // A record of 4 GiB, and then records of nothing.
  ssh_is("printf 'shmif-uplink 1 mtu=1500 name=x\\n\\377\\377\\377\\377'; cat >/dev/null\n");
  {
    Tool tool(line());
    EXPECT_TRUE(tool.wait_for("an invalid record came"));
    EXPECT_TRUE(tool.wait_for("the line is cut"));
    tool.signal(SIGTERM);
    EXPECT_EQ(tool.finish().status, 0);
  }
  ssh_is(
      "printf 'shmif-uplink 1 mtu=1500 name=x\\n\\000\\000\\000\\000\\000\\000\\000\\001x'\n"
      "printf 'shmif-uplink-counts {\"sent_frames\":1}\\n\\033[31mred\\n' >&2; cat >/dev/null\n");
  {
    Tool tool(line({"--json"}));
    EXPECT_TRUE(tool.wait_for("red"));
    EXPECT_FALSE(contains(tool.so_far().err, "\x1b")) << "it could control a terminal";
    tool.signal(SIGTERM);
    const auto json = nlohmann::json::parse(tool.finish().out);
    EXPECT_EQ(json["received_too_short_frames"], 2);
    EXPECT_TRUE(json["far"].is_null()) << "not all of its counts came";
  }
}

TEST_F(UplinkSsh, WhatWasTooLongIsCountedOverAllConnections) {
  // A record that is too long, and a frame behind it. The first connection ends then.
  ssh_is(
      "printf 'shmif-uplink 1 mtu=1500 name=x\\n\\000\\000\\007\\320'\n"
      "head -c 2000 /dev/zero\n"
      "printf '\\000\\000\\000\\074\\377\\377\\377\\377\\377\\377\\002'\n"
      "head -c 53 /dev/zero\n"
      "if [ -e " +
      file("second") + " ]; then cat >/dev/null; else : > " + file("second") + "; fi\n");
  Port here = port_on(near_);
  Tool tool(line({"--json"}));
  std::size_t got = 0;
  EXPECT_TRUE(eventually([&] {
    FrameBatch batch;
    got += here.receive(batch).frames;
    return got == 2;
  })) << tool.so_far().err;
  tool.signal(SIGTERM);
  const auto json = nlohmann::json::parse(tool.finish().out);
  EXPECT_EQ(json["connections"], 2);
  EXPECT_EQ(json["received_too_long_frames"], 2);
}

TEST_F(UplinkSsh, TheFarEndSurvivesANearEndThatSaysAnything) {
  Bus::create(far_, {}).value();
  const std::string hello = "shmif-uplink 1 mtu=1500 name=x\n";
  struct Case {
    std::string input;
    int status;
    const char* said;
  };
  for (const auto& [input, status, said] :
       {Case{"", 1, "has closed the line"},
        Case{"shmif-uplink 1 mtu=0 name=x\n", 1, "does not speak as an uplink"},
        Case{hello + "\xff\xff\xff\xff" + std::string(100, 'x'), 1, "an invalid record came"},
        Case{hello, 0, "shmif-uplink-counts {\"sent_frames\":0"}}) {
    const ToolResult ended = run_tool({"uplink", far_, "--stdio"}, input);
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_TRUE(contains(ended.err, said));
    EXPECT_TRUE(input.empty() || ended.out.starts_with("shmif-uplink 1 mtu=1500 name="))
        << ended.out;
  }
}

TEST_F(UplinkSsh, EndsALoopThatASecondOneMakes) {
  Bus::create(far_, {}).value();
  const auto one = connected();
  auto two = std::make_unique<Tool>(line());
  ASSERT_TRUE(two->wait_for("connected to "));
  EXPECT_TRUE(eventually([&] {
    const auto ports = Bus::open(far_).value().info().ports;
    return std::ranges::count_if(ports, &PortInfo::up) == 2;
  }));
  {
    Port here = port_on(near_);
    std::vector<std::byte> frame(60, std::byte{0xff});
    frame[6] = std::byte{2};
    const FrameView view(frame.data(), frame.size());
    constexpr int kLooksOfQuiet = 500;
    int quiet = kLooksOfQuiet;
    std::uint64_t frames = Bus::open(near_).value().info().frames;
    EXPECT_TRUE(eventually([&] {
      // Each from another host, because a busy machine carries them round as one batch: of one
      // host, a lap would be only two of the moves that make the guard look. And again when all of
      // them were lost before that.
      const std::uint64_t now = Bus::open(near_).value().info().frames;
      quiet = std::exchange(frames, now) == now ? quiet + 1 : 0;
      for (unsigned i = 0; quiet >= kLooksOfQuiet && i < 64; ++i) {
        frame[11] = static_cast<std::byte>(i);
        static_cast<void>(here.send({&view, 1}));
      }
      if (quiet >= kLooksOfQuiet) quiet = 0;
      const auto ports = Bus::open(far_).value().info().ports;
      return std::ranges::count_if(ports, &PortInfo::up) < 2;
    })) << "one of them ends";
  }
}

using UplinkRealSsh = RealSsh;

TEST_F(UplinkRealSsh, CarriesAWebPageAndComesBackWhenTheCableDoes) {
  connect(2, 1500);
  const auto server = sshd(2);
  Tool tool(line(1, 2));
  ASSERT_TRUE(tool.wait_for("connected to ")) << server->so_far().err;
  TempDir site("/tmp");
  std::ofstream(site.file("page")) << std::string(3'000'000, 'p');
  const auto web = host(2, 20, "cd " + site.path() + " && exec python3 -m http.server 80");
  EXPECT_TRUE(reaches(1, 10, 20));
  const ToolResult fetched =
      on_host(1, 11, "curl -sS --retry 5 --retry-all-errors http://198.18.0.20/page | wc -c");
  EXPECT_EQ(fetched.out, "3000000\n") << fetched.err;
  middle().netlink().set_up(cable(2), false).value();
  EXPECT_TRUE(tool.wait_for("the line is cut"));
  middle().netlink().set_up(cable(2)).value();
  EXPECT_TRUE(reaches(1, 10, 20));
  const ToolResult ended = end(tool);
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_GE(times_in(ended.out, "connected to "), 2U) << ended.out;
}

// What becomes of the bus of an uplink that cannot start, and of routers on the buses of two
// machines.

using UplinkEnds = Machines;

/// The frames of two routers that find each other: hellos to a group, and then unicast.
TEST_F(UplinkEnds, RoutersOnTwoMachinesBecomeNeighboursByOspf) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  connect(2);
  const auto one = uplink_to_all(1, 2);
  const auto two = uplink_to_all(2, 2);
  TempDir files("/tmp");
  std::filesystem::permissions(files.path(), std::filesystem::perms(0755));
  std::ofstream(files.file("zebra.conf")) << "log stdout warnings\n";
  const auto router = [&](unsigned n, unsigned number) {
    const std::string name = "ospfd" + std::to_string(number);
    // A network behind each router, which the other one learns.
    std::ofstream(files.file(name)) << "log stdout informational\ninterface tap0\n"
                                    << " ip ospf network point-to-point\n"
                                    << " ip ospf hello-interval 1\n ip ospf dead-interval 4\n"
                                    << "router ospf\n log-adjacency-changes detail\n"
                                    << " ospf router-id " << host_address(number) << '\n'
                                    << " network 198.18.0.0/16 area 0\n";
    return host(n, number,
                "ip addr add 198.18." + std::to_string(number) +
                    ".1/24 dev lo; exec unshare -m sh -c 'mount --make-rprivate / && mount -t "
                    "tmpfs none /run && mount -t tmpfs none /var/tmp && mkdir /run/frr "
                    "/var/tmp/frr && chown frr:frr /run/frr /var/tmp/frr && /usr/lib/frr/zebra -d "
                    "-P 0 -f " +
                    files.file("zebra.conf") +
                    " && while ! [ -S /run/frr/zserv.api ]; do sleep 0.05; done && exec "
                    "/usr/lib/frr/ospfd -P 0 -f " +
                    files.file(name) + "'");
  };
  const auto begun = std::chrono::steady_clock::now();
  const auto left = router(1, 10);
  const auto right = router(2, 20);
  for (const auto* const each : {&left, &right})
    EXPECT_TRUE((*each)->wait_for("-> Full")) << (*each)->so_far().out << (*each)->so_far().err;
  std::printf("ospf: neighbours after %.2f s\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  EXPECT_TRUE(eventually([&] {
    return run_tool({"enter", bus(1), "h10", "--", "ip", "route", "get", "198.18.20.1"})
               .out.find("via 198.18.0.20") != std::string::npos;
  })) << run_tool({"enter", bus(1), "h10", "--", "ip", "route"}).out;
}

/// Also the files that a bus has beside it.
/// Also the files that a bus has beside it.
TEST_F(UplinkEnds, ABusThatItMadeGoesAwayIfItCannotStartAndStaysIfItDid) {
  connect(2);
  const auto one = uplink_to_all(1, 2);  // has the ID 42
  const std::string path = bus(1) + "new";
  const auto left = [&] {
    Words found;
    for (const auto& each :
         std::filesystem::directory_iterator(std::filesystem::path(path).parent_path())) {
      if (each.path().string().starts_with(path)) found.push_back(each.path().filename());
    }
    return found;
  };
  const auto tried = [&](const Words& before, const Words& options) {
    return run_program(inside(
        machine(1),
        before + Words{shmifctl_path(), "uplink", path, "--create", "--mtu", "1450"} + options));
  };
  const auto expect_nothing_left = [&](const ToolResult& refused, const std::string& why) {
    EXPECT_NE(refused.status, 0);
    EXPECT_TRUE(contains(refused.err, why));
    EXPECT_EQ(left(), Words());
  };
  const Words to_two{"--vxlan", "42", "--remote", address(2)};
  expect_nothing_left(tried({}, to_two), "a VXLAN device with ID 42: File exists");
  expect_nothing_left(tried({"setpriv", "--inh-caps=-all", "--bounding-set=-all"}, to_two),
                      "needs root; without root, use --ssh");
  expect_nothing_left(tried({}, {"--ssh", "b:/none", "--ssh-option", "ProxyCommand=false"}),
                      "cannot reach /none on b");
  expect_nothing_left(tried({"sh", "-c", "exec \"$@\" </dev/null", "sh"}, {"--stdio"}),
                      "has closed the line");
  {
    Tool tool(inside(machine(1), Words{shmifctl_path(), "uplink", path, "--create", "--mtu", "1450",
                                       "--vxlan", "43", "--remote", address(2)}));
    ASSERT_TRUE(tool.wait_for(": ready, as port "));
    EXPECT_EQ(end(tool).status, 0);
    EXPECT_EQ(Bus::open(path).value().info().mtu, 1450);
    ASSERT_EQ(run_tool({"destroy", path}).status, 0);
  }
  // One that was there before stays.
  Bus::create(path, {.mtu = 1450}).value();
  EXPECT_EQ(tried({}, to_two).status, 1);
  EXPECT_EQ(left(), Words{std::filesystem::path(path).filename()});
}

/// Somebody waited for the bus, and has joined it meanwhile.
TEST_F(UplinkEnds, ABusThatItMadeStaysIfAnotherPortUsesIt) {
  connect(1);
  const std::string path = bus(1) + "new";
  make_program(bus(1) + "ssh", "while ! test -e " + path + ".go; do sleep 0.05; done; exit 255\n");
  std::filesystem::create_directory(bus(1) + "bin");
  std::filesystem::rename(bus(1) + "ssh", bus(1) + "bin/ssh");
  Tool tool({"env", "PATH=" + bus(1) + "bin:" + std::getenv("PATH"), shmifctl_path(), "uplink",
             path, "--create", "--ssh", "b:/none"});
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path); }));
  Port port({.name = "other"});
  ASSERT_TRUE(port.attach(path));
  std::ofstream(path + ".go") << "";
  EXPECT_EQ(tool.finish().status, 1);
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace shmif::test
