// bridge with stream: and dgram: links: programs that misbehave, crowds, and what a bus or a
// machine may lack.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <filesystem>
#include <list>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

using BridgeOfBadPeers = BridgeOfPeers;

TEST_F(BridgeOfBadPeers, DatagramsThatFindTheQueueOfTheProgramFullAreCounted) {
  const auto tool = bridge("dgram:" + file("bus0") + ',' + file("vm"));
  ASSERT_TRUE(tool->wait_for("ready"));
  DatagramPeer vm(file("vm"), file("bus0"));
  Port host = port();
  wait_for_ports(2);
  // More than a queue of this machine holds; the bridge offers each batch for 10 ms.
  constexpr unsigned kFrames = 2000;
  for (unsigned i = 0; i < kFrames; ++i) {
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 1)));
    if (i % 100 == 99) wait_until_taken(i + 1);
  }
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  long long queued = 0;
  FrameBatch batch;
  for (long long got = 1; got > 0; queued += got) {
    batch.clear();
    got = static_cast<long long>(vm.link->receive(batch).frames);
  }
  const long long dropped = number_in(said.out, "(\\d+) not taken in time");
  EXPECT_GT(queued, 0);
  EXPECT_GT(dropped, 0) << said.out;
  const long long under_way = std::max(0LL, number_in(said.out, "(\\d+) still under way"));
  EXPECT_EQ(number_in(said.out, "(\\d+) frames, "), queued) << said.out;
  EXPECT_EQ(under_way + queued + dropped, kFrames) << said.out;
}

TEST_F(BridgeOfBadPeers, AProgramThatHangsUpAtOnceIsAskedMoreAndMoreRarely) {
  const Listener server(file("q"));
  const auto tool = bridge("stream:connect=" + file("q"));
  std::vector<std::chrono::steady_clock::time_point> times;
  for (unsigned i = 0; i < 5; ++i) {
    ASSERT_TRUE(server.accept());
    times.push_back(std::chrono::steady_clock::now());
  }
  // After 100 ms, 200 ms, 400 ms and 800 ms; a busy machine may see one late, and the next in time.
  EXPECT_GT(times.back() - times.front(), std::chrono::milliseconds(1400));
  EXPECT_GT(times[4] - times[2], std::chrono::milliseconds(1100));
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfBadPeers, FortyProgramsThatAreKilledAtOnceTakeTheirPortsAlong) {
  const auto tool = listening();
  constexpr unsigned kPrograms = 40;
  {
    std::list<StayingChild> programs;
    for (unsigned i = 0; i < kPrograms; ++i) {
      programs.emplace_back([&] {
        StreamLink link = peer();
        static_cast<void>(put(link, peer_frame(kEverybody, mac_number(i + 1), i + 1)));
        return new StreamLink(std::move(link)) != nullptr;  // open until it is killed
      });
      ASSERT_TRUE(programs.back().works());
    }
    wait_for_ports(kPrograms);
    for (const StayingChild& program : programs) ::kill(program.pid(), SIGKILL);
  }
  wait_for_ports(0);
  EXPECT_TRUE(eventually([&] { return Bus::open(bus_).value().info().ports.empty(); }))
      << "their rows are free";
  StreamLink one = peer();
  Port host = port();
  wait_for_ports(2);
  ASSERT_TRUE(put(one, peer_frame(kEverybody, mac_number(1), 77)));
  EXPECT_EQ(marks_from(host, 1), Marks{77});
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(contains(said.out, ": 41 connections\n"));
}

TEST_F(BridgeOfBadPeers, ALoopOfConnectionsDoesNotFillALog) {
  const auto begin = std::chrono::steady_clock::now();
  const auto tool = listening({"--max-peers", "255"});
  constexpr unsigned kRounds = 300;
  for (unsigned i = 0; i < kRounds; ++i) static_cast<void>(connected());
  // How many it has told of: connected, and gone.
  const auto told_in = [](const std::string& out) {
    std::pair told(times_in(out, ": a program connected"), times_in(out, " is gone\n"));
    const std::regex more("(\\d+) more programs? connected, (\\d+) gone, 0 refused\n");
    for (std::sregex_iterator it(out.begin(), out.end(), more), none; it != none; ++it) {
      told.first += std::stoul((*it)[1]);
      told.second += std::stoul((*it)[2]);
    }
    return told;
  };
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(tool->wait_for("\a", std::chrono::milliseconds(10)));
    return told_in(tool->so_far().out).second >= kRounds;
  })) << tool->so_far().out;
  EXPECT_TRUE(eventually([&] { return Bus::open(bus_).value().info().ports.empty(); }));
  const ToolResult said = end(*tool);
  const auto seconds =
      std::chrono::ceil<std::chrono::seconds>(std::chrono::steady_clock::now() - begin);
  EXPECT_TRUE(contains(said.out, ": 300 connections\n"));
  // "ready", the summary of three lines, 20 at once, then one a second, and one at the end.
  EXPECT_LE(times_in(said.out, "\n"), 25U + static_cast<unsigned>(seconds.count())) << said.out;
  EXPECT_EQ(told_in(said.out), std::pair(std::size_t{kRounds}, std::size_t{kRounds})) << said.out;
}

TEST_F(BridgeOfBadPeers, EndsWithOneWhenTheBusIsTruncated) {
  const Listener server(file("p"));
  for (const std::string& link : {"stream:" + file("q"), "stream:connect=" + file("p"),
                                  "dgram:" + file("bus0") + ',' + file("vm")}) {
    ASSERT_EQ(run_tool({"create", bus_ + "2", "--size", "64K"}).status, 0);
    Tool tool({shmifctl_path(), "bridge", "bus:" + bus_ + "2", link});
    ASSERT_TRUE(tool.wait_for(link.starts_with("stream:connect") ? "connected" : "ready"));
    std::optional<StreamLink> one;
    if (link == "stream:" + file("q")) {
      one.emplace(peer());
      ASSERT_TRUE(tool.wait_for("a program connected"));
    }
    ASSERT_TRUE(eventually([&] {
      const auto ports = Bus::open(bus_ + "2").value().info().ports;
      return ports.size() == 1 && ports[0].up;
    }));
    std::filesystem::resize_file(bus_ + "2", 4096);
    const ToolResult said = tool.finish();
    EXPECT_EQ(said.status, 1) << link << said.out << said.err;
    EXPECT_TRUE(contains(said.err, "cannot go on with bus:" + bus_ + "2: "));
    std::filesystem::remove(bus_ + "2");
  }
}

TEST_F(BridgeOfBadPeers, EndsWithOneWhenAProgramComesAndTheBusWasTruncatedMeanwhile) {
  const auto tool = bridge("stream:connect=" + file("q"));
  ASSERT_TRUE(tool->wait_for("trying again"));
  std::filesystem::resize_file(bus_, 4096);
  const Listener server(file("q"));
  const ToolResult said = tool->finish();
  EXPECT_EQ(said.status, 1) << said.out << said.err;
  EXPECT_TRUE(contains(said.err, "the bus file was truncated"));
}

TEST_F(BridgeOfBadPeers, SaysThatItsBusWasRemovedAndServesThoseWhoAreThere) {
  const auto tool = listening();
  StreamLink one = peer();
  StreamLink two = peer();
  wait_for_ports(2);
  std::filesystem::remove(bus_);
  EXPECT_TRUE(tool->wait_for("the bus " + bus_ + " was removed"));
  ASSERT_TRUE(put(one, peer_frame(kEverybody, mac_number(1), 5)));
  EXPECT_EQ(marks_from(two, 1), Marks{5});
  EXPECT_EQ(end(*tool).status, 0);
}

/// The limit of descriptors with which a process can open so many more.
rlim_t limit_for(unsigned more, pid_t process) {
  unsigned free = 0;
  for (rlim_t number = 0;; ++number) {
    const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(number);
    if (!std::filesystem::is_symlink(path) && ++free > more) return number;
  }
}

TEST_F(BridgeOfBadPeers, SaysOnceForEachShortageThatItCanAcceptNobody) {
  const auto tool = listening();
  rlimit before{};
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  Port host = port();
  std::vector<StreamLink> programs;
  std::string told;
  for (const unsigned times : {1U, 2U}) {
    const rlimit none{limit_for(0, tool->pid()), before.rlim_max};
    ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &none, nullptr), 0);
    programs.push_back(peer());  // the kernel keeps it until then
    told += "shmifctl: stream:" + file("q") +
            ": cannot accept a connection: Too many open files (allow this program more open "
            "files: ulimit -n)\n";
    EXPECT_TRUE(tool->wait_for(told));
    ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &before, nullptr), 0);
    ASSERT_TRUE(put(programs.back(), peer_frame(kEverybody, mac_number(times), times)));
    EXPECT_EQ(marks_from(host, 1), Marks{times}) << "it is served now";
  }
  EXPECT_EQ(end(*tool).err, told);
}

TEST_F(BridgeOfBadPeers, HasRoomForAsManyProgramsAsTheUserMayHave) {
  Tool tool({"sh", "-c", "ulimit -S -n 64; exec \"$@\"", "sh", shmifctl_path(), "bridge",
             "bus:" + bus_, "stream:" + file("q")});
  ASSERT_TRUE(tool.wait_for("ready"));
  std::vector<UniqueFd> programs;
  for (unsigned i = 0; i < 10; ++i) programs.push_back(connected());
  wait_for_ports(10);
  EXPECT_EQ(end(tool).status, 0);
  EXPECT_EQ(tool.so_far().err, "");
}

TEST_F(BridgeOfBadPeers, GoesOnWhenItHasDescriptorsAgain) {
  const auto tool = bridge("stream:connect=" + file("q"));
  ASSERT_TRUE(tool->wait_for("trying again"));
  rlimit before{};
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit few{limit_for(1, tool->pid()), before.rlim_max};  // for the connection
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  const Listener server(file("q"));
  static_cast<void>(server.accept());
  EXPECT_TRUE(tool->wait_for("the program was left: "));
  EXPECT_TRUE(tool->wait_for("Too many open files; trying again\n"));
  wait_for_ports(0);
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  Port host = port();
  // One connection or another may have been made before.
  EXPECT_TRUE(eventually([&] {
    StreamLink far = StreamLink::adopt(server.accept(), {.address = "far"});
    static_cast<void>(put(far, peer_frame(kEverybody, mac_number(1), 9)));
    FrameBatch batch;
    host.wait(std::chrono::milliseconds(500));
    return host.receive(batch).frames == 1;
  }));
  EXPECT_EQ(end(*tool).status, 0);
}

}  // namespace
}  // namespace shmif::test
