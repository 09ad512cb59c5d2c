// bridge with programs: datagrams over UDP, what they send that is no frame, and who is refused.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "shmif/socket_address.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

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
  ASSERT_TRUE(tool->wait_for(": ready, as port vm, MTU 1500")) << tool->so_far().err;
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
  EXPECT_NE(said.out.find(": 1 frame, 60 bytes, 0 lost, 0 dropped = 1 came\n"), std::string::npos)
      << said.out;
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
    EXPECT_NE(said.out.find(": 1 connection" + counted + '\n'), std::string::npos) << said.out;
  }
  const std::string here = own_loopback() + ":7004", there = own_loopback() + ":7005";
  const auto tool = bridge("dgram:" + here + ',' + there);
  ASSERT_TRUE(tool->wait_for(": ready")) << tool->so_far().err;
  const UniqueFd socket = bound_socket(SOCK_DGRAM, parse_socket_address(there).value()).value();
  connect_to(socket.get(), parse_socket_address(here).value()).value();
  wait_for_ports(2);
  feed(socket.get(), false);
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find(": " + counted.substr(2) + '\n'), std::string::npos) << said.out;
}

// The order of the two links is a matter of taste.
TEST_F(BridgeOfPeers, TakesTheBusAlsoAsTheSecondLink) {
  const std::string link = "stream:" + file("q");
  Tool tool({shmifctl_path(), "bridge", link, "bus:" + bus_, "--port-name", std::string(27, 'n')});
  ASSERT_TRUE(tool.wait_for(link + ": ready")) << tool.so_far().err;
  StreamLink one = peer();
  EXPECT_TRUE(tool.wait_for(link + ": a program connected, as port " + std::string(27, 'n') + '\n'))
      << tool.so_far().out;
  StreamLink two = peer();
  EXPECT_TRUE(
      tool.wait_for(link + ": a program connected, as port " + std::string(27, 'n') + "-2\n"))
      << tool.so_far().out;
  wait_for_ports(2);
  ASSERT_TRUE(put(one, peer_frame(kEverybody, mac_number(1), 5)));
  EXPECT_EQ(marks_from(two, 1), Marks{5});
  const ToolResult said = end(tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(said.out.find("another bus"), std::string::npos) << said.out;
  for (const std::string& way : {"bus:" + bus_ + " -> " + link, link + " -> bus:" + bus_})
    EXPECT_NE(said.out.find(way + ": 1 frame, 60 bytes, 0 lost, 0 dropped = 1 came\n"),
              std::string::npos)
        << said.out;
}

// After twenty lines at once, the rest is counted.
TEST_F(BridgeOfPeers, CountsTheProgramsThatItRefusesAsRefused) {
  const auto tool = listening({"--max-peers", "1"});
  const UniqueFd first = connected();
  wait_for_ports(1);
  constexpr unsigned kRefused = 60;
  for (unsigned i = 0; i < kRefused; ++i) {
    const UniqueFd refused = connected();
    char byte = 0;
    EXPECT_EQ(::recv(refused.get(), &byte, 1, 0), 0);
  }
  const ToolResult said = end(*tool);
  std::size_t told = times_in(said.err, ": a program was refused: 1 is connected already");
  EXPECT_GE(told, 19U);
  const std::regex more("(\\d+) more programs? connected, (\\d+) gone, (\\d+) refused\n");
  for (std::sregex_iterator it(said.out.begin(), said.out.end(), more), none; it != none; ++it) {
    EXPECT_EQ((*it)[1], "0");
    EXPECT_EQ((*it)[2], "0");
    told += std::stoul((*it)[3]);
  }
  EXPECT_EQ(told, kRefused) << said.out << said.err;
  EXPECT_NE(said.out.find(": 1 connection\n"), std::string::npos) << said.out;
}

}  // namespace
}  // namespace shmif::test
