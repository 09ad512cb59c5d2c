// bridge with stream: and dgram: links: programs with sockets that come, go, and send what they
// like.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "shmif/socket_address.hpp"
#include "shmif/vde_link.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

TEST_F(BridgeOfPeers, GivesEachProgramAPortThroughWhichItIsAHostLikeTheOthers) {
  const auto tool = listening();
  Port host = port();
  StreamLink one = peer();
  StreamLink two = peer();
  wait_for_ports(3);
  ASSERT_TRUE(put(one, peer_frame(kEverybody, mac_number(1), 1)));
  EXPECT_EQ(marks_from(host, 1), Marks{1});
  EXPECT_EQ(marks_from(two, 1), Marks{1});
  ASSERT_TRUE(put(two, peer_frame(mac_number(1), mac_number(2), 2)));
  EXPECT_EQ(marks_from(one, 1), Marks{2}) << "and not its own broadcast";
  ASSERT_TRUE(put(host, peer_frame(mac_number(2), host.mac(), 3)));
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 4)));
  EXPECT_EQ(marks_from(two, 2), (Marks{3, 4}));
  EXPECT_EQ(marks_from(one, 1), Marks{4}) << "the other frame was for the other";
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("bus:" + bus_ + " -> stream:" + file("q") +
                          ": 5 frames, 300 bytes, 0 lost, 0 dropped = 5 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("stream:" + file("q") + ": 2 connections\n"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(file("q"))) << "its socket is removed";
}

TEST_F(BridgeOfPeers, CutsOffAProgramThatSendsGarbageAndServesTheOthersOn) {
  const auto tool = listening();
  const UniqueFd bad = connected();
  StreamLink good = peer();
  Port host = port();
  wait_for_ports(3);
  ASSERT_EQ(::send(bad.get(), "\xff\xff\xff\xff", 4, MSG_NOSIGNAL), 4);
  EXPECT_TRUE(tool->wait_for("sent an invalid record")) << tool->so_far().out;
  char byte = 0;
  EXPECT_EQ(::recv(bad.get(), &byte, 1, 0), 0);
  wait_for_ports(2);
  ASSERT_TRUE(put(good, peer_frame(kEverybody, mac_number(1), 7)));
  EXPECT_EQ(marks_from(host, 1), Marks{7});
  EXPECT_EQ(end(*tool).status, 0);
}

/// The lines that end with what faults did, after those that count all frames.
TEST_F(BridgeOfPeers, TheLineOfAProgramHasFaultsThatAreCountedForEachWay) {
  const std::string link = "stream:" + file("q");
  for (const bool bus_is_first : {true, false}) {
    SCOPED_TRACE(bus_is_first);
    std::vector<std::string> words{shmifctl_path(), "bridge",  "bus:" + bus_,       link, "--fault",
                                   "in:drop=2,4",   "--fault", "out:duplicate=100%"};
    if (!bus_is_first) std::swap(words[2], words[3]);
    Tool tool(words);
    ASSERT_TRUE(tool.wait_for("ready")) << tool.so_far().err;
    StreamLink program = peer();
    Port host = port();
    wait_for_ports(2);
    for (unsigned mark = 1; mark <= 5; ++mark)
      ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), mark)));
    EXPECT_EQ(marks_from(program, 3), (Marks{1, 3, 5})) << "in: is to the program";
    ASSERT_TRUE(put(program, peer_frame(kEverybody, mac_number(1), 7)));
    EXPECT_EQ(marks_from(host, 2), (Marks{7, 7}));
    const ToolResult said = end(tool);
    EXPECT_EQ(said.status, 0) << said.err;
    for (const std::string& line :
         {"bus:" + bus_ + " -> " + link +
              ": 3 frames, 180 bytes, 2 lost (2 by faults), 0 dropped = 5 came\n",
          link + " -> bus:" + bus_ +
              ": 2 frames, 0 lost, 0 dropped = 1 came + 1 duplicated by faults\n",
          "bus:" + bus_ + " -> " + link + ": faults drop=2,4,seed=1: 5 frames came, 2 lost, ",
          link + " -> bus:" + bus_ +
              ": faults duplicate=100%,seed=2: 1 frame came, 0 lost, 1 duplicated, "}) {
      EXPECT_NE(said.out.find(line), std::string::npos) << line << " is not in " << said.out;
    }
  }
}

TEST_F(BridgeOfPeers, FaultsOfOneDirectionAreForTheirLinkAlsoBesidePrograms) {
  const auto tool = listening({"--fault-right", "drop=1", "--fault-left", "drop=2", "--json"});
  StreamLink program = peer();
  Port host = port();
  wait_for_ports(2);
  for (unsigned mark = 1; mark <= 2; ++mark) {
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), mark)));
    ASSERT_TRUE(put(program, peer_frame(kEverybody, mac_number(1), 10 + mark)));
  }
  EXPECT_EQ(marks_from(program, 1), Marks{2});
  EXPECT_EQ(marks_from(host, 1), Marks{11});
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("\"options\": \"drop=1\""), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("\"options\": \"drop=2\""), std::string::npos) << said.out;
}

TEST_F(BridgeOfPeers, CountsFramesThatAreTooLongForTheBusOrTooShortForAFrame) {
  const auto tool = listening();
  Port host = port();
  StreamLink raw = StreamLink::adopt(connected(), {.max_frame_bytes = 9000, .address = "peer"});
  wait_for_ports(2);
  ASSERT_TRUE(put(raw, peer_frame(kEverybody, mac_number(1), 1, 1523)));
  ASSERT_TRUE(put(raw, peer_frame(kEverybody, mac_number(1), 2, 1522)));
  EXPECT_EQ(marks_from(host, 1), Marks{2});
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("1 connection, 1 frame from there was too long\n"), std::string::npos)
      << said.out;
}

TEST_F(BridgeOfPeers, LosesTheFramesOfAProgramThatDoesNotReadAndNoOthers) {
  const auto tool = listening();
  const UniqueFd deaf = connected();
  StreamLink good = peer();
  Port host = port();
  wait_for_ports(3);
  constexpr unsigned kFrames = 3000;
  std::size_t heard = 0;
  FrameBatch batch;
  for (unsigned i = 0; i < kFrames; ++i) {
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 1, 1000)));
    if (i % 20 != 0) continue;
    ASSERT_TRUE(eventually([&] {
      batch.clear();
      heard += good.receive(batch).frames;
      return heard + 20 >= i;
    })) << i;
  }
  EXPECT_TRUE(eventually([&] {
    batch.clear();
    heard += good.receive(batch).frames;
    return heard == kFrames;
  })) << heard;
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("not taken in time"), std::string::npos) << said.out;
}

TEST_F(BridgeOfPeers, NamesThePortsInTurn) {
  const auto tool = listening({"--port-name", "vm"});
  const UniqueFd one = connected();
  EXPECT_TRUE(tool->wait_for("as port vm\n"));
  UniqueFd two = connected();
  EXPECT_TRUE(tool->wait_for("as port vm-2\n"));
  two.reset();
  EXPECT_TRUE(tool->wait_for("the program at port vm-2 is gone\n"));
  const UniqueFd three = connected();
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(tool->wait_for("\n", std::chrono::milliseconds(10)));
    return times_in(tool->so_far().out, "as port vm-2\n") == 2 ||
           tool->wait_for("as port vm-3\n", std::chrono::milliseconds(10));
  })) << tool->so_far().out;
  EXPECT_EQ(tool->so_far().out.find("as port vm-3\n"), std::string::npos);
}

TEST_F(BridgeOfPeers, GivesTheFirstNameAgainWhenThatIsFree) {
  const auto tool = listening({"--port-name", "vm"});
  UniqueFd one = connected();
  EXPECT_TRUE(tool->wait_for("as port vm\n"));
  const UniqueFd two = connected();
  EXPECT_TRUE(tool->wait_for("as port vm-2\n"));
  one.reset();
  EXPECT_TRUE(tool->wait_for("the program at port vm is gone\n"));
  const UniqueFd three = connected();
  EXPECT_TRUE(eventually([&] {
    return times_in(tool->so_far().out, "as port vm\n") == 2 ||
           tool->wait_for("as port vm-3\n", std::chrono::milliseconds(10));
  })) << tool->so_far().out;
  EXPECT_EQ(tool->so_far().out.find("as port vm-3\n"), std::string::npos) << tool->so_far().out;
}

TEST_F(BridgeOfPeers, LeavesOutNamesOfOtherPorts) {
  const Port first = port("vm");
  const Port third = port("vm-3");
  const auto tool = listening({"--port-name", "vm"});
  const UniqueFd one = connected();
  EXPECT_TRUE(tool->wait_for("as port vm-2\n"));
  const UniqueFd two = connected();
  EXPECT_TRUE(tool->wait_for("as port vm-4\n"));
}

TEST_F(BridgeOfPeers, ReplacesASocketThatNobodyServesAndNothingElse) {
  {
    const auto killed = listening();
    killed->signal(SIGKILL);
    static_cast<void>(killed->finish());
  }
  ASSERT_TRUE(std::filesystem::is_socket(file("q"))) << "it was left behind";
  const auto tool = listening();
  const ToolResult second = run_tool({"bridge", "bus:" + bus_, "stream:" + file("q")});
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.err.find(file("q") + ": another program serves it"), std::string::npos)
      << second.err;
  std::ofstream(file("text")) << "text";
  const ToolResult third = run_tool({"bridge", "bus:" + bus_, "stream:" + file("text")});
  EXPECT_EQ(third.status, 1);
  EXPECT_NE(third.err.find("a file that is no socket"), std::string::npos) << third.err;
  EXPECT_TRUE(std::filesystem::exists(file("text")));
  StreamLink one = peer();
  EXPECT_TRUE(tool->wait_for("a program connected")) << "the first one goes on";
}

TEST_F(BridgeOfPeers, ConnectsToAProgramAgainAndAgainAndCountsWhatPassesMeanwhile) {
  const auto tool = bridge("stream:connect=" + file("q"));
  // Each outage is told once, with its reason.
  const auto times_told = [&] {
    const std::string err = tool->so_far().err;
    unsigned times = 0;
    for (std::size_t at = 0; (at = err.find("cannot connect", at)) != std::string::npos; ++at)
      ++times;
    return times;
  };
  EXPECT_TRUE(tool->wait_for("trying again")) << "nobody is there yet";
  Port host = port();
  const sockaddr_un address = address_at(file("q"));
  for (unsigned round = 1; round <= 2; ++round) {
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));
    const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(server.get(), 1), 0);
    UniqueFd socket(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    StreamLink far = StreamLink::adopt(std::move(socket), {.address = "far"});
    wait_for_ports(2);
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), round)));
    EXPECT_EQ(marks_from(far, 1), Marks{round});
    ASSERT_TRUE(put(far, peer_frame(kEverybody, mac_number(1), 10 + round)));
    EXPECT_EQ(marks_from(host, 1), Marks{10 + round});
    ::unlink(file("q").c_str());
    {
      const auto gone = std::move(far);
    }
    wait_for_ports(1);
    EXPECT_TRUE(eventually([&] {
      (void)tool->wait_for("so_far() is as old as this", std::chrono::milliseconds(10));
      return times_told() == round + 1;
    })) << tool->so_far().err;
  }
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));  // after the last one
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("2 connections, 3 frames passed while nobody was there\n"),
            std::string::npos)
      << said.out;
}

TEST_F(BridgeOfPeers, EndsAtOnceWhileItTriesToConnect) {
  const auto tool = bridge("stream:connect=" + file("q"));
  EXPECT_TRUE(tool->wait_for("trying again"));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_FALSE(said.timed_out);
}

TEST_F(BridgeOfPeers, SpeaksTcpAtAnAddressWithAPort) {
  const std::string place = "127.0.0.1:0";
  const auto probe = bound_socket(SOCK_STREAM, parse_socket_address(place).value()).value();
  const std::string address = address_of(probe.get()).value().to_string();
  const auto tool = bridge("stream:connect=" + address);
  ASSERT_EQ(::listen(probe.get(), 1), 0);
  UniqueFd socket(::accept4(probe.get(), nullptr, nullptr, SOCK_CLOEXEC));
  StreamLink far = StreamLink::adopt(std::move(socket), {.address = "far"});
  Port host = port();
  wait_for_ports(2);
  ASSERT_TRUE(put(far, peer_frame(kEverybody, mac_number(1), 5)));
  EXPECT_EQ(marks_from(host, 1), Marks{5});
}

TEST_F(BridgeOfPeers, ExchangesDatagramsAlsoWithAProgramThatWasStartedAgain) {
  const auto tool = bridge("dgram:" + file("bus0") + ',' + file("vm"));
  ASSERT_TRUE(tool->wait_for("ready")) << tool->so_far().err;
  Port host = port();
  wait_for_ports(2);
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));  // nobody is there
  wait_until_taken(1);
  for (unsigned round = 1; round <= 2; ++round) {
    DatagramPeer vm(file("vm"), file("bus0"));
    ASSERT_TRUE(put(*vm.link, peer_frame(kEverybody, mac_number(1), round)));
    EXPECT_EQ(marks_from(host, 1), Marks{round});
    ASSERT_TRUE(put(host, peer_frame(mac_number(1), host.mac(), 10 + round)));
    EXPECT_EQ(marks_from(*vm.link, 1), Marks{10 + round});
  }
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));
  wait_until_taken(4);
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find(": 2 frames, 0 lost, 2 dropped (2 refused) = 4 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_FALSE(std::filesystem::exists(file("bus0")));
}

TEST_F(BridgeOfPeers, JoinsAVdeSwitchAndComesBackWhenThatWasGone) {
  const std::string far_bus = file("far");
  ASSERT_EQ(run_tool({"create", far_bus, "--size", "64K"}).status, 0);
  Port near = port();
  Port far;
  far.attach(far_bus).value();
  ASSERT_FALSE(far.up());
  // libvdeplug's own switch, in the process of the first bridge.
  auto first = bridge("vde:switch://" + file("switch"));
  ASSERT_TRUE(first->wait_for("connected")) << first->so_far().err;
  Tool second({shmifctl_path(), "bridge", "bus:" + far_bus, "vde:vde://" + file("switch")});
  ASSERT_TRUE(second.wait_for("connected")) << second.so_far().err;
  wait_for_ports(2);
  ASSERT_TRUE(put(near, peer_frame(kEverybody, near.mac(), 1)));
  EXPECT_EQ(marks_from(far, 1), Marks{1});
  ASSERT_TRUE(put(far, peer_frame(kEverybody, far.mac(), 2)));
  EXPECT_EQ(marks_from(near, 1), Marks{2});
  EXPECT_EQ(end(*first).status, 0);
  EXPECT_TRUE(second.wait_for("is gone; trying again")) << second.so_far().out;
  first = bridge("vde:switch://" + file("switch"));
  EXPECT_TRUE(eventually([&] {
    static_cast<void>(put(near, peer_frame(kEverybody, near.mac(), 3)));
    FrameBatch batch;
    return far.receive(batch).frames > 0;
  }));
  EXPECT_EQ(end(second).status, 0);
}

TEST_F(BridgeOfPeers, CountsFramesFromAVdeNetworkThatAreTooLong) {
  const std::string url = "ptp://" + file("p");
  const auto tool = bridge("vde:" + url);
  ASSERT_TRUE(tool->wait_for("connected")) << tool->so_far().err;
  Port host = port();
  VdeLink far = VdeLink::open(url, 20'000).value();
  for (const std::size_t bytes : {1523U, 9233U, 9234U, 20'000U})
    ASSERT_TRUE(put(far, peer_frame(kEverybody, mac_number(1), 1, bytes)));
  ASSERT_TRUE(put(far, peer_frame(kEverybody, mac_number(1), 2, 1522)));
  EXPECT_EQ(marks_from(host, 1), Marks{2});
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("vde:" + url + ": 1 connection, 4 frames from there were too long\n"),
            std::string::npos)
      << said.out;
}

/// Nobody can ask a program how long frames it takes, so its owner is told what the bus carries.
TEST_F(BridgeOfPeers, SaysTheMtuOfItsBusAndItsLongestFrame) {
  const std::string jumbo = file("jumbo");
  ASSERT_EQ(run_tool({"create", jumbo, "--mtu", "9000"}).status, 0);
  const sockaddr_un address = address_at(file("far"));
  const UniqueFd far(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(far.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(far.get(), 4), 0);
  struct Row {
    std::string link, said;
  };
  const std::string size = ", MTU 9000 (frames of at most 9022 bytes)\n";
  for (const Row& row : {Row{"stream:" + file("s"), ": ready"},
                         Row{"stream:connect=" + file("far"), ": connected, as port port0"},
                         Row{"vhost-user:" + file("v"), ": ready"},
                         Row{"vhost-user:connect=" + file("far"), ": connected, as port port0"},
                         Row{"dgram:" + file("d") + ',' + file("e"), ": ready, as port port0"},
                         Row{"vde:ptp://" + file("p"), ": connected, as port port0"}}) {
    Tool tool({shmifctl_path(), "bridge", "bus:" + jumbo, row.link});
    EXPECT_TRUE(tool.wait_for(row.link + row.said + size))
        << tool.so_far().out << tool.so_far().err;
    EXPECT_EQ(end(tool).status, 0);
  }
}

TEST_F(BridgeOfPeers, WarnsOfASwitchOfVdeThatDropsLongPackets) {
  const std::string jumbo = file("jumbo");
  ASSERT_EQ(run_tool({"create", jumbo, "--mtu", "9000"}).status, 0);
  const std::string warning =
      "if vde_switch serves this network, it drops packets above 1504 bytes";
  for (const std::string& url : {"vde://" + file("absent"), file("absent")}) {
    Tool warned({shmifctl_path(), "bridge", "bus:" + jumbo, "vde:" + url});
    EXPECT_TRUE(warned.wait_for("trying again"));
    EXPECT_NE(warned.so_far().err.find(warning), std::string::npos) << warned.so_far().err;
    const auto not_warned = bridge("vde:" + url);
    EXPECT_TRUE(not_warned->wait_for("trying again"));
    EXPECT_EQ(not_warned->so_far().err.find(warning), std::string::npos);
  }
  for (const std::string mtu : {"1504", "1505"}) {
    const std::string path = file("mtu" + mtu);
    ASSERT_EQ(run_tool({"create", path, "--mtu", mtu}).status, 0);
    Tool tool({shmifctl_path(), "bridge", "bus:" + path, "vde:" + file("absent")});
    EXPECT_TRUE(tool.wait_for("trying again"));
    EXPECT_EQ(tool.so_far().err.find(warning) != std::string::npos, mtu == "1505") << mtu;
  }
}

TEST_F(BridgeOfPeers, SaysWhichVdeNetworkCannotBeHad) {
  const auto tool = bridge("vde:vde://" + file("absent"));
  EXPECT_TRUE(tool->wait_for("cannot connect to the VDE network vde://" + file("absent") + ": "));
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfPeers, RefusesWhatMakesNoSense) {
  const auto refused = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "bridge");
    const ToolResult result = run_tool(words);
    EXPECT_EQ(result.status, 2) << result.err;
    return result.err;
  };
  EXPECT_NE(refused({"tap:t0", "stream:" + file("q")}).find("joins a bus"), std::string::npos);
  EXPECT_NE(refused({"bus:" + bus_, "dgram:" + file("q")}).find("lacks the other socket"),
            std::string::npos);
  EXPECT_NE(refused({"bus:" + bus_, "stream:" + std::string(200, 'x')}).find("1 to 107"),
            std::string::npos);
  EXPECT_NE(refused({"bus:" + bus_, "stream:" + file("q"), "--fault", "los=1%"})
                .find("--fault: fault \"los=1%\": there is no such fault"),
            std::string::npos);
  for (const std::string kind : {"stream:", "dgram:", "vde:", "vhost-user:", "memif:"}) {
    const std::string both = kind == "dgram:" ? file("q") + ',' + file("r") : file("q");
    EXPECT_NE(
        refused({"bus:" + bus_, kind + both, "--no-offload"}).find("does not take --no-offload"),
        std::string::npos)
        << kind;
  }
  for (const char* const place : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1", "[::1]"}) {
    const std::string said = refused({"bus:" + bus_, std::string("stream:") + place});
    EXPECT_NE(said.find("an address needs a port"), std::string::npos) << said;
    EXPECT_FALSE(std::filesystem::exists(place)) << "no socket of that name was made";
  }
  EXPECT_NE(refused({"bus:" + bus_, "dgram:127.0.0.1:7000," + file("q")}).find("both are paths"),
            std::string::npos);
  EXPECT_NE(refused({"bus:" + bus_, "stream:connect="}).find("stream:PATH"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists("connect="));
  EXPECT_NE(refused({"bus:" + bus_, "stream:" + file("q"), "--port-name", std::string(28, 'n')})
                .find("at most 27 characters"),
            std::string::npos);
  for (const std::string& link :
       {"stream:connect=" + file("q"), std::string("vde:slirp://"), "pcap:" + file("c.pcap")}) {
    EXPECT_NE(refused({"bus:" + bus_, link, "--max-peers", "9"}).find("for links that listen"),
              std::string::npos);
  }
  for (const char* const number : {"0", "256", "many"}) {
    EXPECT_NE(
        refused({"bus:" + bus_, "stream:" + file("q"), "--max-peers", number}).find("--max-peers"),
        std::string::npos);
  }
}

TEST_F(BridgeOfPeers, ServesNoMoreThanItMay) {
  const auto tool = listening({"--max-peers", "2"});
  const UniqueFd first = connected();
  UniqueFd second = connected();
  wait_for_ports(2);
  const UniqueFd refused = connected();
  ASSERT_TRUE(tool->wait_for("a program was refused: 2 are connected already (--max-peers)"))
      << tool->so_far().err;
  char more = 0;
  EXPECT_EQ(::recv(refused.get(), &more, 1, 0), 0);
  second.reset();
  // Its port is down a moment before the bridge counts one program less.
  EXPECT_TRUE(tool->wait_for("is gone")) << tool->so_far().out;
  wait_for_ports(1);
  const UniqueFd third = connected();
  wait_for_ports(2);
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find(": 3 connections\n"), std::string::npos) << said.out;
}

}  // namespace
}  // namespace shmif::test
