// bridge with memif: links: packet processors whose memory is shared with the bridge. Most are in
// this process (tests/memif/client.hpp); others are DPDK's testpmd, another's client.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tests/memif/client.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

class BridgeOfClients : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(run_tool({"create", bus_, "--size", "4M"}).status, 0); }

  std::unique_ptr<Tool> bridge() const {
    auto tool = std::make_unique<Tool>(
        std::vector<std::string>{shmifctl_path(), "bridge", "bus:" + bus_, "memif:" + socket_});
    EXPECT_TRUE(tool->wait_for("ready")) << tool->so_far().err;
    return tool;
  }
  UniqueFd connected() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return socket;
  }
  /// A client that has said everything.
  std::unique_ptr<MemifClient> client(ClientWish wish = {}) const {
    auto made = std::make_unique<MemifClient>(connected(), wish);
    EXPECT_TRUE(made->start());
    return made;
  }
  Port port(bool takes_super_frames = false) const {
    PortOptions options;
    options.take_offloads = takes_super_frames;
    options.promiscuous = true;
    Port made(options);
    made.attach(bus_).value();
    EXPECT_FALSE(made.up());
    return made;
  }
  static std::vector<Bytes> frames_at(MemifClient& client, std::size_t count) {
    std::vector<Bytes> out;
    static_cast<void>(eventually([&] {
      std::ranges::move(client.frames(), std::back_inserter(out));
      return out.size() >= count;
    }));
    return out;
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }
  PortInfo info_of(const std::string& name) const {
    const auto ports = Bus::open(bus_).value().info().ports;
    const auto at = std::ranges::find(ports, name, &PortInfo::name);
    return at == ports.end() ? PortInfo{} : *at;
  }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus"), socket_ = directory_.file("m");
};

TEST_F(BridgeOfClients, GivesEachInterfaceAPort) {
  const auto tool = bridge();
  Port host = port();
  const auto one = client();
  const auto two = client({.size_log2 = 6, .buffer_bytes = 600});
  const std::vector<Bytes> first{make_frame(60, 1), make_frame(1514, 2)};
  ASSERT_EQ(one->send(first), 2U);
  EXPECT_TRUE(same_frames(first, collect(host, 2)));
  EXPECT_TRUE(same_frames(first, frames_at(*two, 2)));
  const std::vector<Bytes> second{make_frame(333, 3)};
  ASSERT_EQ(host.send(views(second)).taken, 1U);
  EXPECT_TRUE(same_frames(second, frames_at(*one, 1))) << "and not what it sent itself";
  EXPECT_TRUE(same_frames(second, frames_at(*two, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("memif:" + socket_ + " -> bus:" + bus_ +
                          ": 2 frames, 1574 bytes, 0 lost, 0 dropped = 2 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find(": 4 frames, 2240 bytes, 0 lost, 0 dropped = 4 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 connections"), std::string::npos) << said.out;
  EXPECT_EQ(one->reply_type(), memif::MessageType::none) << "the connection is closed";
}

TEST_F(BridgeOfClients, TheMemoryThatOneMayShareIsItsPartOfTheWhole) {
  const auto tool = bridge();  // of 64 programs
  for (const bool fits : {true, false}) {
    const MemifClient greedy(connected(), {});
    ASSERT_EQ(greedy.reply_type(), memif::MessageType::hello);
    ASSERT_TRUE(greedy.tell(MemifClient::init_message()) && greedy.acknowledged());
    const std::uint64_t bytes = (std::uint64_t{512} << 30U) + (fits ? 0 : 1);
    ASSERT_TRUE(greedy.tell(MemifClient::region_message(0, bytes), greedy.rings.file()));
    EXPECT_EQ(greedy.reason(), fits ? "memory region 0 is not in a file of that size"
                                    : "its memory asks for 513 GiB, and the limit for one peer is "
                                      "512 GiB");
  }
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfClients, FramesThatDoNotPassAreCountedByTheirReasons) {
  const auto tool = bridge();
  Port host = port();
  const auto small = client({.size_log2 = 2, .buffer_bytes = 500});
  const std::vector<Bytes> frames(2, make_frame(60, 1));
  ASSERT_EQ(small->send({Bytes(13), frames[0]}), 2U);
  EXPECT_TRUE(same_frames({frames[0]}, collect(host, 1)));
  ASSERT_EQ(small->send({make_frame(1523, 2)}), 1U);
  ASSERT_TRUE(eventually([&] { return small->send({frames[1]}) == 1; }));
  EXPECT_TRUE(same_frames({frames[1]}, collect(host, 1)));
  const auto few = client({.size_log2 = 1, .buffer_bytes = 300});
  const std::vector<Bytes> there{make_frame(601, 3), make_frame(700, 4), make_frame(599, 5)};
  ASSERT_EQ(host.send(views(there)).taken, 3U);
  EXPECT_TRUE(same_frames({there[2]}, frames_at(*few, 1)));
  EXPECT_TRUE(same_frames(there, frames_at(*small, 3)));
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("1 frame from there was too long, 1 frame from there was too short, 2 "
                          "frames fitted no buffers of the program\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 dropped (2 refused)"), std::string::npos) << said.out;
}

TEST_F(BridgeOfClients, SuperFramesArriveAsTheFramesForWhichTheyStand) {
  const auto tool = bridge();
  Port host = port(true);
  const auto processor = client();
  const Shape shape;
  Bytes frame = build(shape, 10'000, 1);
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{2};
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(shape, 1448);
  ASSERT_EQ(host.send({&view, 1}).taken, 1U);
  const std::vector<Bytes> got = frames_at(*processor, 7);
  ASSERT_EQ(got.size(), 7U);
  for (const Bytes& one : got) EXPECT_TRUE(transport_checksum_holds(shape, one));
}

TEST_F(BridgeOfClients, AClientThatBreaksTheRulesIsCutOffAndTheOthersGoOn) {
  const auto tool = bridge();
  const auto good = client();
  const auto bad = client();
  bad->send_ring.descriptor(0).region = 9;
  ASSERT_EQ(bad->send({make_frame(60, 1)}), 1U);
  ASSERT_TRUE(
      tool->wait_for("the program at port port1 broke the rules (send ring: a buffer is outside of "
                     "the memory), and was cut off"))
      << tool->so_far().out;
  EXPECT_EQ(bad->reason(), "send ring: a buffer is outside of the memory");
  EXPECT_EQ(bad->reply_type(), memif::MessageType::none) << "the connection is closed";
  const auto again = client();
  ASSERT_EQ(again->send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
}

TEST_F(BridgeOfClients, AClientThatTruncatesItsMemoryIsCutOffAndTheOthersGoOn) {
  const auto tool = bridge();
  const auto good = client();
  const auto bad = client();
  ASSERT_EQ(::ftruncate(bad->buffers.file(), 0), 0);
  Port host = port();
  ASSERT_EQ(host.send(views({make_frame(60, 1)})).taken, 1U);
  ASSERT_TRUE(tool->wait_for("broke the rules (its memory was truncated), and was cut off"))
      << tool->so_far().out << tool->so_far().err;
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
}

TEST_F(BridgeOfClients, AfterAKilledBridgeTheClientConnectsToTheNextOne) {
  auto tool = bridge();
  Port host = port();
  auto processor = client();
  ASSERT_EQ(processor->send({make_frame(60, 1)}), 1U);
  ASSERT_TRUE(same_frames({make_frame(60, 1)}, collect(host, 1)));
  tool->signal(SIGKILL);
  static_cast<void>(tool->finish());
  EXPECT_EQ(processor->reply_type(), memif::MessageType::none) << "the client sees it";
  tool = bridge();
  processor = client();
  ASSERT_EQ(processor->send({make_frame(62, 7)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(62, 7)}, collect(host, 1)));
  ASSERT_EQ(host.send(views({make_frame(63, 7)})).taken, 1U);
  EXPECT_TRUE(same_frames({make_frame(63, 7)}, frames_at(*processor, 1)));
}

TEST_F(BridgeOfClients, FramesForAClientThatIsNotReadyOrGivesNoBuffersAreCounted) {
  const auto tool = bridge();
  MemifClient processor(connected(), {.size_log2 = 2});
  ASSERT_TRUE(processor.describe());
  Port host = port();
  ASSERT_EQ(host.send(views({make_frame(60, 1), make_frame(60, 2)})).taken, 2U);
  ASSERT_TRUE(eventually([&] { return info_of("port0").rx_frames == 2; }));
  // The bridge has taken them from its port, and passes them on before it reads the next message.
  ASSERT_TRUE(processor.tell(MemifClient::connect_message()));
  ASSERT_EQ(processor.reply_type(), memif::MessageType::connected);
  processor.give_buffers();
  for (unsigned i = 0; i < 6; ++i) ASSERT_EQ(host.send(views({make_frame(61, i)})).taken, 1U);
  ASSERT_TRUE(eventually([&] { return info_of("port0").rx_frames == 8; }));
  // It takes the next one from its port when it has given up those that found no buffers.
  ASSERT_EQ(host.send(views({make_frame(62, 8)})).taken, 1U);
  ASSERT_TRUE(eventually([&] { return info_of("port0").rx_frames == 9; }));
  std::vector<Bytes> got = frames_at(processor, 4);
  ASSERT_EQ(host.send(views({make_frame(64, 9)})).taken, 1U);
  ASSERT_TRUE(eventually([&] {
    std::ranges::move(processor.frames(), std::back_inserter(got));
    return !got.empty() && got.back() == make_frame(64, 9);
  }));
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("2 frames passed before a program had set up its interface"),
            std::string::npos)
      << said.out;
  const std::string late = std::to_string(8 - got.size());  // 2, or 3
  EXPECT_NE(said.out.find(std::to_string(10 - got.size()) + " dropped"), std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find(late + " not taken in time"), std::string::npos) << said.out;
}

TEST_F(BridgeOfClients, ServesNoMoreThanItMay) {
  Tool tool({shmifctl_path(), "bridge", "bus:" + bus_, "memif:" + socket_, "--max-peers", "1"});
  ASSERT_TRUE(tool.wait_for("ready")) << tool.so_far().err;
  const UniqueFd first = connected();
  ASSERT_TRUE(tool.wait_for("a program connected")) << tool.so_far().out;
  const UniqueFd second = connected();
  EXPECT_TRUE(tool.wait_for("a program was refused: 1 is connected already (--max-peers)\n"))
      << tool.so_far().err;
  char more = 0;
  EXPECT_EQ(::recv(second.get(), &more, 1, 0), 0);
  tool.signal(SIGTERM);
  const ToolResult said = tool.finish();
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find(": 1 connection\n"), std::string::npos) << said.out;
}

TEST_F(BridgeOfClients, RefusesAnAddressAndToBeTheClient) {
  ToolResult result = run_tool({"bridge", "bus:" + bus_, "memif:127.0.0.1:7000"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("memif takes the path of a socket"), std::string::npos) << result.err;
  result = run_tool({"bridge", "bus:" + bus_, "memif:connect=" + socket_});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("memif only listens"), std::string::npos) << result.err;
}

/// The number in the first match of `pattern` in `text`; -1 if there is none.
long long number_in(const std::string& text, const std::string& pattern) {
  std::smatch found;
  return std::regex_search(text, found, std::regex(pattern)) ? std::stoll(found[1]) : -1;
}

/// testpmd as a memif client. It goes on until SIGINT.
std::vector<std::string> memif_testpmd(const std::string& directory, unsigned number,
                                       const std::string& mode) {
  const std::string n = std::to_string(number);
  return {"env",
          "RUNTIME_DIRECTORY=" + directory,
          "stdbuf",
          "--output=L",
          "dpdk-testpmd",
          "--lcores",
          "(0,1)@0",
          "--no-huge",
          "-m",
          "128",
          "--no-shconf",
          "--no-pci",
          "--no-telemetry",
          "--file-prefix",
          "client" + n,
          "--vdev=net_memif0,role=client,socket=" + directory +
              "/m,socket-abstract=no,mac=02:00:00:00:00:0" + n,
          "--",
          "--auto-start",
          "--stats-period=1",
          "--nb-cores=1",
          "--total-num-mbufs=4096",
          "--forward-mode=" + mode,
          "--eth-peer=0,ff:ff:ff:ff:ff:ff"};
}

bool has_testpmd(std::string& missing) {
  for (const char* const program : {"dpdk-testpmd", "stdbuf"}) {
    if (run_program({"sh", "-c", std::string("command -v ") + program}).status == 0) continue;
    missing = program;
    return false;
  }
  return true;
}

// The client of another project: the frames that it says it has sent and received are those that
// the bridge says it has carried.
TEST_F(BridgeOfClients, TwoOfDpdkExchangeFramesAndAllCountsAgree) {
  std::string missing;
  if (!has_testpmd(missing)) GTEST_SKIP() << "no " << missing;
  const auto tool = bridge();
  Tool receiver(memif_testpmd(directory_.path(), 1, "rxonly"));
  ASSERT_TRUE(receiver.wait_for("Port statistics"))
      << receiver.so_far().out << receiver.so_far().err;
  Tool sender(memif_testpmd(directory_.path(), 2, "txonly"));
  const auto received = [&] {
    const PortInfo info = info_of("port0");
    return info.rx_frames + info.lost_frames;
  };
  EXPECT_TRUE(eventually([&] { return received() > 50'000; }));
  sender.signal(SIGINT);
  const ToolResult sent = sender.finish();
  for (std::uint64_t before = 1; before != received();) {  // ends: nobody sends any more
    before = received();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  receiver.signal(SIGINT);
  const ToolResult got = receiver.finish();
  const ToolResult said = end(*tool);
  const auto sum_of = [](const ToolResult& result, const std::string& what) {
    const std::size_t at = result.out.rfind("Accumulated forward statistics");
    return at == std::string::npos ? -1 : number_in(result.out.substr(at), what + ": ([0-9]+)");
  };
  const long long by_sender = sum_of(sent, "TX-packets");
  const long long by_receiver = sum_of(got, "RX-packets");
  EXPECT_GT(by_receiver, 0) << got.out;
  EXPECT_EQ(by_sender, number_in(said.out, "m -> bus:.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_receiver, number_in(said.out, "bus -> memif:.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_sender, number_in(said.out, "bus -> memif:.* = ([0-9]+) came")) << said.out;
}

TEST_F(BridgeOfClients, OneOfDpdkThatIsKilledLeavesItsPortToTheNext) {
  std::string missing;
  if (!has_testpmd(missing)) GTEST_SKIP() << "no " << missing;
  const auto tool = bridge();
  Port host = port();  // port0
  for (unsigned round = 0; round < 2; ++round) {
    Tool sender(memif_testpmd(directory_.path(), 1, "txonly"));
    ASSERT_TRUE(eventually([&] { return info_of("port1").tx_frames > 1000; }))
        << sender.so_far().out << sender.so_far().err;
    sender.signal(SIGKILL);
    static_cast<void>(sender.finish());
    ASSERT_TRUE(eventually([&] { return info_of("port1").name.empty(); }));
  }
  const ToolResult said = end(*tool);
  const std::size_t first = said.out.find("the program at port port1 is gone");
  EXPECT_NE(first, std::string::npos) << said.out;
  EXPECT_NE(said.out.find("the program at port port1 is gone", first + 1), std::string::npos)
      << said.out;
}

}  // namespace
}  // namespace shmif::test
