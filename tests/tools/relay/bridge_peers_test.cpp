// bridge with stream:, dgram: and vde: links: programs with sockets that come, go, and send what
// they like, and buses that cannot be used or are replaced.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <list>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "shmif/socket_address.hpp"
#include "shmif/stream_link.hpp"
#include "shmif/vde_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/wake_means.hpp"
#include "tests/tools/relay/peers_rig.hpp"
#include "tests/tools/show/shown_figures.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::test {
namespace {

TEST_F(BridgeOfPeers, GivesEachProgramAPortThroughWhichItIsAHostLikeTheOthers) {
  const auto tool = listening();
  Port host = port();
  StreamLink one = peer();
  StreamLink two = peer();
  wait_for_ports(3);
  EXPECT_EQ(Bus::open(bus_).value().info().ports.back().link, LinkKind::bridge);
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
  EXPECT_TRUE(contains(said.out, "bus:" + bus_ + " -> stream:" + file("q") +
                                     ": 5 frames, 300 bytes, 0 lost, 0 dropped = 5 came\n"));
  EXPECT_TRUE(contains(said.out, "stream:" + file("q") + ": 2 connections\n"));
  EXPECT_FALSE(std::filesystem::exists(file("q"))) << "its socket is removed";
}

TEST_F(BridgeOfPeers, CutsOffAProgramThatSendsGarbageAndServesTheOthersOn) {
  const auto tool = listening();
  const UniqueFd bad = connected();
  StreamLink good = peer();
  Port host = port();
  wait_for_ports(3);
  ASSERT_EQ(::send(bad.get(), "\xff\xff\xff\xff", 4, MSG_NOSIGNAL), 4);
  EXPECT_TRUE(tool->wait_for("sent an invalid record"));
  char byte = 0;
  EXPECT_EQ(::recv(bad.get(), &byte, 1, 0), 0);
  wait_for_ports(2);
  ASSERT_TRUE(put(good, peer_frame(kEverybody, mac_number(1), 7)));
  EXPECT_EQ(marks_from(host, 1), Marks{7});
  EXPECT_EQ(end(*tool).status, 0);
}

/// The order of the two links is a matter of taste. The lines that end with what faults did follow
/// those that count all frames.
TEST_F(BridgeOfPeers, TakesTheBusAlsoAsTheSecondLinkAndItsFaultsAreStillThoseOfTheProgram) {
  const std::string link = "stream:" + file("q");
  Tool tool({shmifctl_path(), "bridge", link, "bus:" + bus_, "--fault", "in:drop=2,4", "--fault",
             "out:duplicate=100%"});
  ASSERT_TRUE(tool.wait_for(link + ": ready"));
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
    EXPECT_TRUE(contains(said.out, line));
  }
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
  EXPECT_TRUE(contains(said.out, "not taken in time"));
}

/// In turn, without those of other ports, and the first one again when it is free.
TEST_F(BridgeOfPeers, NamesThePortsInTurn) {
  const Port third = port("vm-3");
  const auto tool = listening({"--port-name", "vm"});
  const auto joins_as = [&](const std::string& name, std::size_t times) {
    UniqueFd program = connected();
    EXPECT_TRUE(eventually([&] {
      static_cast<void>(tool->wait_for("\a", std::chrono::milliseconds(10)));
      return times_in(tool->so_far().out, "a program connected, as port " + name + '\n') == times;
    })) << name
        << tool->so_far().out;
    return program;
  };
  UniqueFd first = joins_as("vm", 1);
  UniqueFd second = joins_as("vm-2", 1);
  const UniqueFd fourth = joins_as("vm-4", 1);
  second.reset();
  EXPECT_TRUE(tool->wait_for("the program at port vm-2 is gone\n"));
  second = joins_as("vm-2", 2);
  first.reset();
  EXPECT_TRUE(tool->wait_for("the program at port vm is gone\n"));
  first = joins_as("vm", 2);
}

TEST_F(BridgeOfPeers, ReplacesASocketThatNobodyServesAndNothingElse) {
  {
    const auto killed = listening();
    killed->signal(SIGKILL);
    static_cast<void>(killed->finish());
  }
  ASSERT_TRUE(std::filesystem::is_socket(file("q"))) << "it was left behind";
  const auto tool = listening();
  std::ofstream(file("text")) << "text";
  expect_refused({{{"bridge", "bus:" + bus_, "stream:" + file("q")}, "another program serves it"},
                  {{"bridge", "bus:" + bus_, "stream:" + file("text")}, "is no socket"}},
                 1);
  EXPECT_TRUE(std::filesystem::exists(file("text")));
  const UniqueFd one = connected();
  EXPECT_TRUE(tool->wait_for("a program connected")) << "the first one goes on";
}

/// Each outage is told once, with its reason.
TEST_F(BridgeOfPeers, ConnectsToAProgramAgainAndAgainAndCountsWhatPassesMeanwhile) {
  const auto tool = bridge("stream:connect=" + file("q"));
  EXPECT_TRUE(tool->wait_for("trying again")) << "nobody is there yet";
  Port host = port();
  for (unsigned round = 1; round <= 2; ++round) {
    ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));
    {
      const Listener server(file("q"));
      StreamLink far = StreamLink::adopt(server.accept(), {.address = "far"});
      wait_for_ports(2);
      ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), round)));
      EXPECT_EQ(marks_from(far, 1), Marks{round});
      ASSERT_TRUE(put(far, peer_frame(kEverybody, mac_number(1), 10 + round)));
      EXPECT_EQ(marks_from(host, 1), Marks{10 + round});
      ::unlink(file("q").c_str());
    }
    wait_for_ports(1);
    EXPECT_TRUE(eventually([&] {
      (void)tool->wait_for("\a", std::chrono::milliseconds(10));
      return times_in(tool->so_far().err, "cannot connect") == round + 1;
    })) << tool->so_far().err;
  }
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));  // after the last one
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(contains(said.out, "2 connections, 3 frames passed while nobody was there\n"));
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
  ASSERT_TRUE(tool->wait_for("ready"));
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
  EXPECT_TRUE(contains(said.out, ": 2 frames, 0 lost, 2 dropped (2 refused) = 4 came\n"));
  EXPECT_FALSE(std::filesystem::exists(file("bus0")));
}

/// An address of the loopback that no other process uses.
std::string own_loopback() {
  const auto pid = static_cast<unsigned>(::getpid());
  return "127." + std::to_string(1 + pid / 62'500 % 250) + '.' +
         std::to_string(1 + pid / 250 % 250) + '.' + std::to_string(1 + pid % 250);
}

/// A UDP socket that is connected with another one.
DatagramLink udp_peer(const std::string& here, const std::string& there) {
  UniqueFd socket = bound_socket(SOCK_DGRAM, parse_socket_address(here).value()).value();
  connect_to(socket.get(), parse_socket_address(there).value()).value();
  return DatagramLink::adopt(std::move(socket), {.address = "vm", .peer_may_come = true});
}

TEST_F(BridgeOfPeers, HearsOverUdpOnlyTheProgramThatItWasTold) {
  const std::string here = own_loopback() + ":7001", there = own_loopback() + ":7002";
  const auto tool = bridge("dgram:" + here + ',' + there, {"--port-name", "vm"});
  ASSERT_TRUE(tool->wait_for(": ready, as port vm, MTU 1500"));
  Port host = port();
  wait_for_ports(2);
  // Nobody is there yet, which the kernel tells with the next frame.
  for (unsigned i = 0; i < 3; ++i) ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 99)));
  EXPECT_TRUE(eventually([&] {
    const auto ports = Bus::open(bus_).value().info().ports;
    return std::ranges::any_of(ports,
                               [](const auto& p) { return p.name == "vm" && p.rx_frames == 3; });
  }));
  DatagramLink stranger = udp_peer(own_loopback() + ":7003", here);
  DatagramLink vm = udp_peer(there, here);
  ASSERT_TRUE(put(stranger, peer_frame(kEverybody, mac_number(9), 9)));
  ASSERT_TRUE(put(vm, peer_frame(kEverybody, mac_number(1), 1)));
  EXPECT_EQ(marks_from(host, 1), Marks{1});
  ASSERT_TRUE(put(host, peer_frame(mac_number(1), host.mac(), 11)));
  Marks heard;  // one of the first three may still have been under way
  while (heard.empty() || heard.back() == 99) {
    const Marks more = marks_from(vm, 1);
    ASSERT_FALSE(more.empty());
    heard = more;
  }
  EXPECT_EQ(heard.back(), 11U);
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(contains(said.out, ": 1 frame, 60 bytes, 0 lost, 0 dropped = 1 came\n"));
}

TEST_F(BridgeOfPeers, CountsWhatIsNoFrameByItsReasonWhateverTheLink) {
  const std::string counted =
      ", 2 frames from there were too long, 1 frame from there was too short";
  Port host = port();
  const auto feed = [&](int socket, bool records) {
    for (const std::size_t size : {1523U, 13U, 1600U, 60U}) {
      std::vector<std::byte> frame =
          peer_frame(kEverybody, mac_number(1), 7, std::max<std::size_t>(size, 60));
      frame.resize(size);
      if (records)
        frame.insert(frame.begin(), {std::byte{0}, std::byte{0}, static_cast<std::byte>(size >> 8U),
                                     static_cast<std::byte>(size)});
      ASSERT_EQ(::send(socket, frame.data(), frame.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(frame.size()));
    }
    EXPECT_EQ(marks_from(host, 1), Marks{7});
  };
  {
    const auto tool = listening();
    const UniqueFd program = connected();
    feed(program.get(), true);
    const ToolResult said = end(*tool);
    EXPECT_TRUE(contains(said.out, ": 1 connection" + counted + '\n'));
  }
  const std::string here = own_loopback() + ":7004", there = own_loopback() + ":7005";
  const auto tool = bridge("dgram:" + here + ',' + there);
  ASSERT_TRUE(tool->wait_for(": ready"));
  const UniqueFd socket = bound_socket(SOCK_DGRAM, parse_socket_address(there).value()).value();
  connect_to(socket.get(), parse_socket_address(here).value()).value();
  wait_for_ports(2);
  feed(socket.get(), false);
  const ToolResult said = end(*tool);
  EXPECT_TRUE(contains(said.out, ": " + counted.substr(2) + '\n'));
}

/// Also without epoll_pwait2(), such as before Linux 5.11.
TEST_F(BridgeOfPeers, JoinsAVdeSwitchAndComesBackWhenThatWasGone) {
  const std::string far_bus = file("far");
  Bus::create(far_bus, {.ring_bytes = 64U << 10U}).value();
  Port near = port();
  Port far;
  far.attach(far_bus).value();
  ASSERT_FALSE(far.up());
  for (const bool has_call : {true, false}) {
    // libvdeplug's own switch, in the process of the first bridge.
    auto first = bridge("vde:switch://" + file("switch"));
    ASSERT_TRUE(first->wait_for("connected"));
    std::unique_ptr<Tool> second;
    std::thread([&] {  // what this thread starts lacks the call, too
      EXPECT_TRUE(has_call || forbid(SCMP_SYS(epoll_pwait2), ENOSYS));
      second = std::make_unique<Tool>(
          Words{shmifctl_path(), "bridge", "bus:" + far_bus, "vde:vde://" + file("switch")});
    })
        .join();
    ASSERT_TRUE(second && second->wait_for("connected")) << second->so_far().err;
    wait_for_ports(2);
    ASSERT_TRUE(put(near, peer_frame(kEverybody, near.mac(), 1)));
    EXPECT_EQ(marks_from(far, 1), Marks{1});
    ASSERT_TRUE(put(far, peer_frame(kEverybody, far.mac(), 2)));
    EXPECT_EQ(marks_from(near, 1), Marks{2});
    EXPECT_EQ(end(*first).status, 0);
    EXPECT_TRUE(second->wait_for("is gone; trying again"));
    first = bridge("vde:switch://" + file("switch"));
    EXPECT_TRUE(eventually([&] {
      static_cast<void>(put(near, peer_frame(kEverybody, near.mac(), 3)));
      FrameBatch batch;
      return far.receive(batch).frames > 0;
    }));
    EXPECT_EQ(end(*second).status, 0);
    EXPECT_EQ(end(*first).status, 0);
    FrameBatch rest;
    while (far.receive(rest).frames > 0) rest.clear();
  }
}

/// Nobody can ask a program how long frames it takes, so its owner is told what the bus carries.
TEST_F(BridgeOfPeers, SaysTheMtuOfItsBusAndItsLongestFrame) {
  const std::string jumbo = file("jumbo");
  ASSERT_EQ(run_tool({"create", jumbo, "--mtu", "9000"}).status, 0);
  const Listener far(file("far"));
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
    EXPECT_TRUE(tool.wait_for(row.link + row.said + size));
    EXPECT_EQ(end(tool).status, 0);
  }
  // And it passes them on.
  Port host({.name = "host"});
  host.attach(jumbo).value();
  ASSERT_FALSE(host.up());
  const auto expect_passed = [&](auto& program) {
    ASSERT_TRUE(wait_for_port_up(jumbo, "port0"));
    ASSERT_TRUE(put(program, peer_frame(kEverybody, mac_number(1), 1, 9022)));
    EXPECT_EQ(marks_from(host, 1), Marks{1});
  };
  {
    Tool tool({shmifctl_path(), "bridge", "bus:" + jumbo, "stream:" + file("s")});
    ASSERT_TRUE(tool.wait_for("ready"));
    StreamLink program =
        StreamLink::adopt(connected_to(file("s")), {.max_frame_bytes = 9022, .address = "peer"});
    expect_passed(program);
    EXPECT_EQ(end(tool).status, 0);
  }
  Tool tool({shmifctl_path(), "bridge", "bus:" + jumbo, "dgram:" + file("d") + ',' + file("e")});
  ASSERT_TRUE(tool.wait_for("ready"));
  DatagramPeer program(file("e"), file("d"), 9022);
  expect_passed(*program.link);
}

TEST_F(BridgeOfPeers, WarnsOfASwitchOfVdeThatDropsLongPackets) {
  for (const std::string& url : {"vde://" + file("absent"), file("absent")}) {
    for (const auto& [mtu, is_warned] : {std::pair{"1504", false}, {"1505", true}}) {
      const std::string path = file(std::to_string(url.size()) + mtu);
      ASSERT_EQ(run_tool({"create", path, "--mtu", mtu}).status, 0);
      Tool tool({shmifctl_path(), "bridge", "bus:" + path, "vde:" + url});
      EXPECT_TRUE(tool.wait_for("trying again"));
      const std::string said = tool.so_far().err;
      EXPECT_TRUE(contains(said, "cannot connect to the VDE network " + url));
      EXPECT_EQ(contains(said, "drops packets above 1504 bytes"), is_warned) << mtu << said;
      EXPECT_EQ(end(tool).status, 0) << "at once, while it tries to connect";
    }
  }
}

TEST_F(BridgeOfPeers, ServesNoMoreThanItMay) {
  const auto tool = listening({"--max-peers", "2"});
  const UniqueFd first = connected();
  UniqueFd second = connected();
  wait_for_ports(2);
  EXPECT_EQ(run_tool({"ping", bus_, "--to", "port1", "-c", "1", "--timeout", "60"}).status, 0);
  EXPECT_TRUE(is_closed(connected()));
  ASSERT_TRUE(tool->wait_for("a program was refused: 2 are connected already (--max-peers)"));
  second.reset();
  // Its port is down a moment before the bridge counts one program less.
  EXPECT_TRUE(tool->wait_for("is gone"));
  wait_for_ports(1);
  const UniqueFd third = connected();
  wait_for_ports(2);
  EXPECT_TRUE(contains(end(*tool).out, ": 3 connections\n")) << tool->so_far().out;
}

TEST_F(BridgeOfPeers, FailsAtTheStartWhereItMayNotWriteToTheBus) {
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0777));
  std::filesystem::permissions(bus_, std::filesystem::perms(0444));
  for (const char* const kind : {"stream:", "vhost-user:", "memif:"}) {
    Words words{shmifctl_path(), "bridge", "bus:" + bus_, kind + file("q")};
    if (::geteuid() == 0)
      words.insert(words.begin(), {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
    const ToolResult said = run_program(words);
    EXPECT_EQ(said.status, 1) << kind << said.out << said.err;
    EXPECT_EQ(said.out, "");
    EXPECT_TRUE(
        contains(said.err, "cannot open the bus " + bus_ + ": Permission denied (it belongs to"));
  }
}

TEST_F(BridgeOfPeers, PutsAProgramOnTheBusThatIsAtThePathWhenItConnects) {
  const auto tool = listening();
  ASSERT_EQ(run_tool({"destroy", bus_}).status, 0);
  ASSERT_EQ(run_tool({"create", bus_, "--size", "64K", "--mtu", "1400"}).status, 0);
  const UniqueFd program = connected();
  wait_for_ports(1);
  EXPECT_TRUE(tool->wait_for("another bus is at " + bus_ +
                             " now, which programs join from now on, MTU 1400"));
  EXPECT_EQ(end(*tool).status, 0);
}

/// A bus without a file may be one that was removed on purpose: --create is for the start.
TEST_F(BridgeOfPeers, RefusesAProgramWhileThereIsNoBusAndServesItLater) {
  auto tool = listening();
  // As when somebody mends a bus by hand.
  std::filesystem::resize_file(bus_, 0);
  EXPECT_TRUE(is_closed(connected()));
  EXPECT_TRUE(tool->wait_for("a program was refused: cannot open the bus " + bus_ +
                             ": it is an empty file"));
  std::filesystem::remove(bus_);
  for (const Words& more : {Words{}, Words{"--create"}}) {
    if (!more.empty()) {
      EXPECT_EQ(end(*tool).status, 0);
      tool = listening(more);
      std::filesystem::remove(bus_);
    }
    EXPECT_TRUE(is_closed(connected()));
    EXPECT_TRUE(tool->wait_for("a program was refused: cannot open the bus " + bus_ +
                               ": No such file or directory"));
    EXPECT_FALSE(std::filesystem::exists(bus_));
  }
  ASSERT_EQ(run_tool({"create", bus_, "--size", "64K"}).status, 0);
  const UniqueFd program = connected();
  wait_for_ports(1);
  EXPECT_EQ(end(*tool).status, 0);
}

// A corrupt bus is no end for the programs, for 'repair' mends it while they are there.
TEST_F(BridgeOfPeers, SaysThatItsBusIsCorruptAndThatItWorksAgainAndServesOn) {
  const auto tool = listening();
  StreamLink one = peer();
  wait_for_ports(1);
  spoil_ring(bus_);
  EXPECT_TRUE(tool->wait_for("cannot receive from the bus " + bus_ + ": "));
  EXPECT_EQ(run_tool({"repair", bus_}).status, 0);
  EXPECT_TRUE(tool->wait_for("the bus " + bus_ + " works again\n"));
  Port host = port();
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 6)));
  EXPECT_EQ(marks_from(one, 1), Marks{6});
  EXPECT_EQ(end(*tool).status, 0);
}

// bridge with stream: and dgram: links: programs that misbehave, crowds, and what a bus or a
// machine may lack.

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

// What bridges to programs say of them: why one has gone, and what was carried for all.

using tools::Peer;
using tools::PeerBridge;
using tools::PeerProtocol;
using tools::Totals;

/// Totals of which each figure has a value of its own.
Totals totals_from(std::uint64_t first) {
  OwnNumbers numbers(first);
  Totals totals;
  for (tap::DirectionCounters* const way : {&totals.frames.to_right, &totals.frames.to_left})
    numbers.fill(way->received, way->frames, way->bytes, way->segments, way->batches, way->consumed,
                 way->lost, way->dropped_full, way->dropped_too_long, way->dropped_error);
  tools::PeerDrops& drops = totals.drops;
  numbers.fill(drops.too_long, drops.too_short, drops.bad_header, drops.discarded, drops.not_ready,
               drops.no_room, totals.peers, totals.while_away);
  return totals;
}

std::vector<std::uint64_t> figures_of(const Totals& totals) {
  std::vector<std::uint64_t> out;
  for (const tap::DirectionCounters* const way : {&totals.frames.to_right, &totals.frames.to_left})
    out.insert(out.end(),
               {way->received, way->frames, way->bytes, way->segments, way->batches, way->consumed,
                way->lost, way->dropped_full, way->dropped_too_long, way->dropped_error});
  const tools::PeerDrops& drops = totals.drops;
  out.insert(out.end(), {drops.too_long, drops.too_short, drops.bad_header, drops.discarded,
                         drops.not_ready, drops.no_room, totals.peers, totals.while_away});
  return out;
}

std::vector<std::uint64_t> sums(std::uint64_t first, std::uint64_t step) {
  std::vector<std::uint64_t> out(figures_of({}).size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = first + i * step;
  return out;
}

TEST(PeerTotals, AddEachFigureToItsOwn) {
  Totals sum = totals_from(100);
  sum.add(totals_from(1000));
  sum.add(totals_from(10'000));
  EXPECT_EQ(figures_of(sum), sums(11'100, 3));
}

TEST(PeerAccount, KnowsThoseWhoHaveGoneAndTheOneWhoIsThere) {
  tools::Account account;
  EXPECT_EQ(figures_of(account.total()), sums(0, 0));
  std::uint64_t carried = 0;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    account.add_peer();
    account.follow([&] {
      Totals now;
      now.frames.to_left.frames = carried;
      now.drops.too_short = 2 * carried;
      return now;
    });
    const std::uint64_t before = account.total().frames.to_left.frames;
    carried = 7;
    EXPECT_EQ(account.total().frames.to_left.frames, before + 7 - (i > 1 ? 7 : 0)) << i;
    EXPECT_EQ(account.total().peers, i);
    account.settle();
    EXPECT_EQ(account.total().frames.to_left.frames, 7 * i) << "counted once";
    EXPECT_EQ(account.total().drops.too_short, 14 * i);
  }
}

}  // namespace
}  // namespace shmif::test
