// bridge: any two links, until one ends or a signal comes.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>
#include <tuple>

#include "base/unique_fd.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/loopback_link.hpp"
#include "shmif/ping.hpp"
#include "shmif/port.hpp"
#include "tests/support/own_tmpfs.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_dir.hpp"
#include "tools/relay/link_address.hpp"
#include "tools/relay/link_row.hpp"
#include "tools/relay/loop_guard.hpp"

namespace shmif::test {
namespace {

constexpr std::size_t kFrameBytes = 60;
using Frame = std::array<std::byte, kFrameBytes>;

Frame frame_number(unsigned number) {
  Frame frame{};
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{0x02};
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb6};
  frame[14] = static_cast<std::byte>(number);
  return frame;
}

/// The numbers of the frames that arrive at a port, until `count` have come or half a minute
/// passed.
std::vector<unsigned> numbers_from(Port& port, std::size_t count) {
  std::vector<unsigned> numbers;
  FrameBatch batch;
  for (int i = 0; i < 300 && numbers.size() < count; ++i) {
    port.wait(std::chrono::milliseconds(100));
    batch.clear();
    EXPECT_FALSE(port.receive(batch).error);
    for (const FrameView& frame : batch.frames()) {
      numbers.push_back(std::to_integer<unsigned>(frame.bytes[14]));
    }
  }
  return numbers;
}

void send_numbers(Port& port, unsigned first, unsigned count) {
  for (unsigned i = first; i < first + count; ++i) {
    const Frame frame = frame_number(i);
    const FrameView view(frame.data(), frame.size());
    ASSERT_EQ(port.send({&view, 1}).taken, 1U);
  }
}

void write_numbered(const std::string& path, unsigned count) {
  PcapWriter writer = PcapWriter::create(path).value();
  for (unsigned i = 0; i < count; ++i) {
    const Frame frame = frame_number(i);
    const FrameView view(frame.data(), frame.size());
    ASSERT_EQ(writer.send({&view, 1}).taken, 1U);
  }
}

class BridgeCommand : public ::testing::Test {
 protected:
  std::string make_bus(const std::string& name) const {
    const std::string path = directory.file(name);
    EXPECT_EQ(run_tool({"create", path, "--size", "64K"}).status, 0);
    return path;
  }
  static Port port_on(const std::string& path) {
    Port port;
    EXPECT_TRUE(port.attach(path));
    EXPECT_FALSE(port.up());
    return port;
  }
  static std::vector<std::string> bridge(const std::string& left, const std::string& right,
                                         std::vector<std::string> more = {}) {
    std::vector<std::string> words = {shmifctl_path(), "bridge",      left,
                                      right,           "--port-name", "bridge"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static void wait_for_bridge(const std::string& bus) {
    const ToolResult waited = run_tool({"wait", bus, "--port", "bridge", "--timeout", "100"});
    ASSERT_EQ(waited.status, 0) << waited.err;
  }
  /// Waits until the bridge has taken so many frames from the bus.
  static void wait_until_heard(const std::string& bus, std::uint64_t frames) {
    for (int i = 0; i < 6000; ++i) {
      for (const PortInfo& p : Bus::open(bus).value().info().ports) {
        if (p.name == "bridge" && p.rx_frames >= frames) return;
      }
      usleep(5000);
    }
    FAIL() << "the bridge has not heard " << frames << " frames";
  }
  TempDir directory;
};

/// A bridge between two buses.
class BridgeOfTwoBuses : public BridgeCommand {
 protected:
  void start(const std::vector<std::string>& more = {}) {
    tool.emplace(bridge("bus:" + one, "bus:" + two, more));
    wait_for_bridge(one);
    wait_for_bridge(two);
  }
  ToolResult end() {
    tool->signal(SIGTERM);
    return tool->finish();
  }
  const std::string one = make_bus("one");
  const std::string two = make_bus("two");
  std::optional<Tool> tool;
};

TEST_F(BridgeOfTwoBuses, MakesOneSegmentOfTwoBusesWithoutEcho) {
  start();
  Port left = port_on(one);
  Port right = port_on(two);
  send_numbers(left, 1, 5);
  EXPECT_EQ(numbers_from(right, 5), (std::vector<unsigned>{1, 2, 3, 4, 5}));
  send_numbers(right, 11, 3);
  EXPECT_EQ(numbers_from(left, 3), (std::vector<unsigned>{11, 12, 13})) << "and none of its own";
  const ToolResult result = end();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("bus:" + one + " -> bus:" + two +
                            ": 5 frames, 300 bytes, 0 lost, 0 dropped = 5 came\n"),
            std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("bus:" + two + " -> bus:" + one + ": 3 frames, 180 bytes"),
            std::string::npos)
      << result.out;
}

TEST_F(BridgeOfTwoBuses, FaultsAreOfTheDirectionTheyWereAskedForAndCountedAtTheEnd) {
  // Several options of one name add up.
  start(
      {"--fault-right", "loss=100%", "--fault-left", "duplicate=100%", "--fault-right", "seed=7"});
  Port left = port_on(one);
  Port right = port_on(two);
  send_numbers(left, 1, 5);
  send_numbers(right, 11, 3);
  EXPECT_EQ(numbers_from(left, 6), (std::vector<unsigned>{11, 11, 12, 12, 13, 13}));
  const ToolResult result = end();
  EXPECT_EQ(result.status, 0) << result.err;
  const std::string right_way = "bus:" + one + " -> bus:" + two;
  const std::string left_way = "bus:" + two + " -> bus:" + one;
  for (const std::string& line :
       {right_way + ": 0 frames, 0 bytes, 5 lost (5 by faults), 0 dropped = 5 came\n",
        left_way + ": 6 frames, 360 bytes, 0 lost, 0 dropped = 3 came + 3 duplicated by faults\n",
        right_way + ": faults loss=100%,seed=7: 5 frames came, 5 lost, 0 duplicated, 0 reordered, "
                    "0 corrupted, 0 truncated, 0 found the queue full, 0 still under way\n",
        left_way + ": faults duplicate=100%,seed=1: 3 frames came, 0 lost, 3 duplicated"}) {
    EXPECT_NE(result.out.find(line), std::string::npos) << line << "\nnot in\n" << result.out;
  }
}

TEST_F(BridgeOfTwoBuses, FramesThatFindTheQueueOfADelayFullAreLostByItAndTheRestIsUnderWay) {
  start({"--fault-right", "delay=60s,queue=2"});
  Port left = port_on(one);
  send_numbers(left, 1, 5);
  wait_until_heard(one, 5);
  const ToolResult result = end();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(
      result.out.find("bus:" + one + " -> bus:" + two +
                      ": 0 frames, 0 bytes, 3 lost (3 by the full queue of the faults), 0 dropped, "
                      "2 still under way = 5 came\n"),
      std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("bus:" + two + " -> bus:" + one +
                            ": 0 frames, 0 bytes, 0 lost, 0 dropped = 0 came\n"),
            std::string::npos)
      << "nothing is under way on the other way\n"
      << result.out;
}

/// The links in one order and in the other.
class BridgeEitherWay : public BridgeCommand, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Turned, BridgeEitherWay, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "Yes" : "No"; });

TEST_P(BridgeEitherWay, FramesTooLongForTheOtherSideAreCountedByThatNameAndSaidWithBothMtus) {
  // At the start, and when the first such frame comes.
  const std::string one = directory.file("one");
  ASSERT_EQ(run_tool({"create", one, "--mtu", "9000"}).status, 0);
  const std::string two = make_bus("two");
  const bool turned = GetParam();
  Tool tool(turned ? bridge("bus:" + two, "bus:" + one) : bridge("bus:" + one, "bus:" + two));
  wait_for_bridge(one);
  wait_for_bridge(two);
  Port wide = port_on(one);
  const std::vector<std::byte> bytes(4014, std::byte{0xff});
  const std::vector<FrameView> frames{FrameView(bytes.data(), 60),
                                      FrameView(bytes.data(), bytes.size()),
                                      FrameView(bytes.data(), bytes.size())};
  const std::string at_start =
      "shmifctl: bus:" + one + " has an MTU of 9000, and bus:" + two +
      " of 1500: longer frames are dropped and counted (give both sides the same MTU)\n";
  ASSERT_TRUE(tool.wait_for(at_start)) << tool.so_far().err;
  ASSERT_EQ(wide.send(frames).taken, 3U);
  ASSERT_TRUE(tool.wait_for("cannot pass on"));
  tool.signal(SIGTERM);
  const ToolResult result = tool.finish();
  EXPECT_EQ(result.err, at_start + "shmifctl: cannot pass on a frame of 4014 bytes from bus:" +
                            one + " (MTU 9000): it is too long for bus:" + two +
                            " (MTU 1500) (such frames are dropped and counted; give both sides "
                            "the same MTU)\n");
  EXPECT_NE(result.out.find("1 frame, 60 bytes, 0 lost, 2 dropped (2 too long) = 3 came\n"),
            std::string::npos)
      << result.out;
}

TEST_F(BridgeCommand, ASecondBridgeBetweenTheSameBusesIsFoundAndNamed) {
  const std::string one = make_bus("one");
  const std::string two = make_bus("two");
  Tool first(bridge("bus:" + one, "bus:" + two));
  wait_for_bridge(two);
  Tool second({shmifctl_path(), "bridge", "bus:" + two, "bus:" + one, "--port-name", "second"});
  ASSERT_EQ(run_tool({"wait", one, "--port", "second", "--timeout", "100"}).status, 0);
  Port port = port_on(one);
  send_numbers(port, 1, 1);
  for (const auto& [tool, other] : {std::pair{&first, &second}, {&second, &first}}) {
    EXPECT_TRUE(tool->wait_for("process " + std::to_string(other->pid()) +
                               " also joins the two, so broadcasts circulate forever"));
  }
  for (Tool* const tool : {&first, &second}) {
    tool->signal(SIGTERM);
    const ToolResult result = tool->finish();
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

TEST_F(BridgeOfTwoBuses, TwoHostsWithOneAddressOnBothSidesAreNotTakenForALoop) {
  start();
  Port left = port_on(one);
  Port right = port_on(two);
  for (unsigned i = 1; i <= 40; ++i) {  // each has the same source address
    send_numbers(left, i, 1);
    wait_until_heard(one, i);
    send_numbers(right, i, 1);
    wait_until_heard(two, i);
  }
  EXPECT_EQ(end().err, "");
}

TEST_F(BridgeOfTwoBuses, FaultsForBothDirectionsDoNotMeetTheSameFramesBothWays) {
  start({"--fault", "loss=50%,seed=7"});
  const std::string out = end().out;
  EXPECT_NE(out.find("two: faults loss=50%,seed=7:"), std::string::npos) << out;
  EXPECT_NE(out.find("one: faults loss=50%,seed=8:"), std::string::npos) << out;
  EXPECT_LT(out.find("two: faults"), out.find("one: faults"))
      << "in the order of the ways: " << out;
}

TEST_F(BridgeOfTwoBuses, AnAnsweredPingIsNotUnderWay) {
  start();
  const ToolResult asked = run_tool({"ping", one, "--to", "bridge", "-c", "1", "--timeout", "100"});
  EXPECT_EQ(asked.status, 0) << asked.err;
  const std::string out = end().out;
  EXPECT_NE(out.find(" answered or found here = "), std::string::npos) << out;
  EXPECT_EQ(out.find("still under way"), std::string::npos) << out;
}

// Those behind the bridge are asked, too.
TEST_F(BridgeOfTwoBuses, ABroadcastPingIsAnsweredHereAndPassedOn) {
  start();
  Port left = port_on(one);
  Port right = port_on(two);
  const auto next_ping = [](Port& port) {
    FrameBatch batch;
    std::optional<Ping> found;
    for (int i = 0; i < 300 && !found; ++i) {
      port.wait(std::chrono::milliseconds(100));
      batch.clear();
      static_cast<void>(port.receive(batch));
      for (const FrameView& frame : batch.frames()) found = found ? found : read_ping(frame);
    }
    return found.value_or(Ping{});
  };
  std::array<std::byte, kPingFrameBytes> bytes{};
  write_ping(
      {.destination = MacAddress::from_u64(0xffffffffffff), .source = left.mac(), .id = 4711},
      bytes);
  const FrameView request(bytes.data(), bytes.size());
  ASSERT_EQ(left.send({&request, 1}).taken, 1U);
  const Ping asked = next_ping(right);
  EXPECT_EQ(asked.id, 4711U);
  EXPECT_EQ(asked.type, PingType::request);
  EXPECT_EQ(asked.source, left.mac());
  const Ping answer = next_ping(left);
  EXPECT_EQ(answer.id, 4711U);
  EXPECT_EQ(answer.type, PingType::reply);
  EXPECT_EQ(answer.destination, left.mac());
  EXPECT_EQ(end().status, 0);
}

TEST_F(BridgeCommand, DelayedFramesOfACaptureThatHasEndedStillArrive) {
  const std::string bus = make_bus("bus");
  const std::string capture = directory.file("some.pcap");
  write_numbered(capture, 5);
  Port port = port_on(bus);
  const ToolResult result = run_program(
      bridge("pcap:" + capture, "bus:" + bus, {"--fault", "delay=100ms±20ms,order=keep"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(numbers_from(port, 5), (std::vector<unsigned>{0, 1, 2, 3, 4}));
  EXPECT_NE(result.out.find("faults delay=100ms±20ms,order=keep,seed=1: 5 frames came, 0 lost"),
            std::string::npos)
      << result.out;
}

TEST_F(BridgeCommand, AFaultThatDoesNotExistIsWrongUsageAndNamesThoseThatDo) {
  const std::string one = make_bus("one");
  const std::string two = make_bus("two");
  const ToolResult result =
      run_program(bridge("bus:" + one, "bus:" + two, {"--fault-left", "loss=1%,dealy=5ms"}));
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("--fault-left: fault \"dealy=5ms\": there is no such fault (loss, "),
            std::string::npos)
      << result.err;
}

TEST_F(BridgeCommand, RecordsABusAndReplaysTheCapture) {
  const std::string bus = make_bus("bus");
  const std::string capture = directory.file("all.pcap");
  {
    Tool tool(bridge("bus:" + bus, "pcap:" + capture));
    wait_for_bridge(bus);
    Port port = port_on(bus);
    send_numbers(port, 1, 20);
    wait_until_heard(bus, 20);  // a signal ends the bridge at once
    tool.signal(SIGINT);
    EXPECT_EQ(tool.finish().status, 0);
  }
  Port port = port_on(bus);
  const ToolResult replayed = run_program(bridge("pcap:" + capture, "bus:" + bus));
  EXPECT_EQ(replayed.status, 0) << replayed.err;
  EXPECT_EQ(std::count(replayed.out.begin(), replayed.out.end(), '\n'), 1)
      << "nothing is ever sent to a capture that is replayed: " << replayed.out;
  std::vector<unsigned> expected(20);
  for (unsigned i = 0; i < 20; ++i) expected[i] = i + 1;
  EXPECT_EQ(numbers_from(port, 20), expected);
}

TEST_F(BridgeCommand, AReaderOfTheCaptureThatGoesAwayEndsItWithTheCountsAndZero) {
  const std::string bus = make_bus("bus");
  const std::string capture = directory.file("some.pcap");
  write_numbered(capture, 5000);  // more than a pipe holds
  // One that takes a little, and two that take nothing: from one, nothing passes.
  const std::vector<std::pair<std::string, std::string>> ways{
      {"pcap:" + capture, "head -c 24"}, {"pcap:" + capture, "true"}, {"bus:" + bus, "true"}};
  for (const auto& [from, reader] : ways) {
    const ToolResult r = run_program({"bash", "-c",
                                      shmifctl_path() + " bridge " + from + " pcap:- | " + reader +
                                          " >/dev/null; echo ${PIPESTATUS[0]}"});
    EXPECT_FALSE(r.timed_out) << from;
    EXPECT_EQ(r.out, "0\n") << from << ": " << r.err;
    EXPECT_EQ(r.err.rfind(from + " -> pcap:-: ", 0), 0U) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
  }
}

TEST_F(BridgeCommand, ACaptureOnStandardOutputHasNothingElseBesideIt) {
  const std::string capture = directory.file("some.pcap");
  write_numbered(capture, 1);
  const ToolResult r = run_program({shmifctl_path(), "bridge", "pcap:" + capture, "pcap:-"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out.size(), 24U + 16 + kFrameBytes);
  EXPECT_NE(r.err.find("1 frame, 60 bytes"), std::string::npos) << r.err;
}

TEST_F(BridgeCommand, ACaptureIntoAFifoThatItMayReadAlsoGoesOnAfterItsFirstBytes) {
  const std::string bus = make_bus("bus");
  const std::string fifo = directory.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const UniqueFd reader(open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reader);
  // "1<>" opens it for both, and then it can be read as soon as something was written.
  Tool tool({"sh", "-c", R"(exec "$0" bridge bus:"$1" pcap:- --port-name bridge 1<> "$2")",
             shmifctl_path(), bus, fifo});
  wait_for_bridge(bus);
  Port host = port_on(bus);
  std::vector<char> got;
  for (unsigned sent = 1; sent <= 3; ++sent) {
    send_numbers(host, sent, 1);
    const std::size_t wanted = 24 + sent * (16 + kFrameBytes);
    for (int i = 0; i < 300 && got.size() < wanted; ++i) {
      pollfd entry{reader.get(), POLLIN, 0};
      std::array<char, 4096> part{};
      const ssize_t n = poll(&entry, 1, 100) > 0 ? read(reader.get(), part.data(), part.size()) : 0;
      got.insert(got.end(), part.begin(), part.begin() + std::max<ssize_t>(n, 0));
    }
    ASSERT_EQ(got.size(), wanted) << tool.so_far().err;
  }
  tool.signal(SIGTERM);
  const ToolResult end = tool.finish();
  EXPECT_EQ(end.status, 0) << end.err;
  EXPECT_NE(end.err.find("3 frames, 180 bytes"), std::string::npos) << end.err;
}

TEST_F(BridgeCommand, RefusesTwoLinksThatAreOneUnderWhateverName) {
  const std::string bus = make_bus("one");
  const std::string other_name = directory.path() + "/../" +
                                 std::filesystem::path(directory.path()).filename().string() +
                                 "/one";
  for (const auto& [left, right] :
       std::vector<std::pair<std::string, std::string>>{{"bus:" + bus, "bus:" + bus},
                                                        {"bus:" + bus, "bus:" + other_name},
                                                        {"pcap:" + bus, "pcap:" + other_name},
                                                        {"tap:tap0", "tap:tap0"}}) {
    const ToolResult result = run_program(bridge(left, right));
    EXPECT_EQ(result.status, 2) << left << ' ' << right << '\n' << result.err;
    EXPECT_NE(result.err.find("both links are"), std::string::npos) << result.err;
  }
}

TEST_F(BridgeCommand, ACaptureThatFindsNoRoomIsReported) {
  const OwnTmpfs small("size=64k,mode=0777");
  if (!small.missing().empty()) GTEST_SKIP() << small.missing();
  const std::string source = directory.file("source.pcap");
  const std::string copy = small.file("copy.pcap");
  write_numbered(source, 2000);  // more than there is room for
  const ToolResult result = run_program(bridge("pcap:" + source, "pcap:" + copy));
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_NE(result.err.find("\"" + copy + "\": No space left on device"), std::string::npos)
      << result.err;
}

TEST_F(BridgeCommand, WaitsForTheNameThatItWasGivenUntilItsOwnerHasGone) {
  const std::string one = make_bus("one");
  const std::string two = make_bus("two");
  PortOptions options;
  options.name = "bridge";
  Port owner(options);
  ASSERT_TRUE(owner.attach(two));
  Tool tool(bridge("bus:" + one, "bus:" + two));
  usleep(300'000);  // it finds the name taken
  ASSERT_FALSE(owner.detach());
  wait_for_bridge(one);
  wait_for_bridge(two);
}

TEST_F(BridgeCommand, NeverRecordsOverABus) {
  const std::string bus = make_bus("one");
  for (const std::string& left : {bus, make_bus("two")}) {
    const ToolResult result = run_program(bridge("bus:" + left, "pcap:" + bus));
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_NE(result.err.find("it is a bus"), std::string::npos) << result.err;
  }
  EXPECT_EQ(run_tool({"stat", bus}).status, 0);
}

TEST_F(BridgeCommand, RecordsOverACaptureOnlyWithForceAndOverNothingElse) {
  const std::string bus = make_bus("one");
  const std::string old = directory.file("old.pcap");
  const std::string capture("\x0a\x0d\x0d\x0a", 4);
  for (const std::string& content : {capture, std::string("text")}) {
    std::ofstream(old) << content;
    for (const bool force : {false, true}) {
      if (force && content == capture) continue;
      const ToolResult result = run_program(
          bridge("bus:" + bus, "pcap:" + old,
                 force ? std::vector<std::string>{"--force"} : std::vector<std::string>{}));
      EXPECT_EQ(result.status, 1) << result.err;
      EXPECT_NE(result.err.find("it exists"), std::string::npos) << result.err;
    }
    EXPECT_EQ(std::filesystem::file_size(old), content.size());
  }
  std::ofstream(old) << capture;
  Tool tool(bridge("bus:" + bus, "pcap:" + old, {"--force"}));
  wait_for_bridge(bus);
  tool.signal(SIGINT);
  EXPECT_EQ(tool.finish().status, 0);
  EXPECT_EQ(std::filesystem::file_size(old), 24U) << "a new, empty capture";
}

TEST_F(BridgeCommand, MakesMissingBusesWhenAsked) {
  const std::string one = directory.file("one");
  const std::string two = directory.file("two");
  Tool tool(bridge("bus:" + one, "bus:" + two, {"--create", "--size", "1M", "--mtu", "9000"}));
  wait_for_bridge(two);
  const std::string text = run_tool({"stat", two}).out;
  EXPECT_NE(text.find("ring 1 MiB, mtu 9000"), std::string::npos) << text;
  tool.signal(SIGTERM);
  EXPECT_EQ(tool.finish().status, 0);
}

TEST_F(BridgeCommand, ADamagedCaptureIsReportedAfterItsSoundFrames) {
  const std::string bus = make_bus("bus");
  const std::string capture = directory.file("cut.pcap");
  {
    PcapWriter writer = PcapWriter::create(capture).value();
    for (unsigned i = 1; i <= 3; ++i) {
      const Frame frame = frame_number(i);
      const FrameView view(frame.data(), frame.size());
      ASSERT_EQ(writer.send({&view, 1}).taken, 1U);
    }
  }
  std::filesystem::resize_file(capture, std::filesystem::file_size(capture) - 10);
  Port port = port_on(bus);
  const ToolResult result = run_program(bridge("pcap:" + capture, "bus:" + bus));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find(capture), std::string::npos) << result.err;
  EXPECT_EQ(numbers_from(port, 2), (std::vector<unsigned>{1, 2}));
}

TEST_F(BridgeOfTwoBuses, ABusThatIsTruncatedEndsItWithAnError) {
  start();
  Port port = port_on(two);
  std::filesystem::resize_file(one, 0);
  send_numbers(port, 1, 1);  // gives the bridge a reason to look at its other side
  const ToolResult result = tool->finish();
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_NE(result.err.find(one), std::string::npos) << result.err;
}

/// A guard that has sent a probe to the left, and what it says.
struct SuspiciousGuard {
  using Side = tools::LoopGuard::Side;
  explicit SuspiciousGuard(std::chrono::milliseconds pause = std::chrono::seconds(10))
      : guard([this] { ++said; }, pause) {
    guard.look(Side::left, FrameView(first.data(), first.size()), left);
    for (unsigned i = 0; i < 200 && probes.empty(); ++i) move();
  }
  /// A host appears on the right, and again on the left.
  void move() {
    Frame frame = frame_number(0);
    guard.look(Side::right, FrameView(frame.data(), frame.size()), right);
    guard.look(Side::left, FrameView(frame.data(), frame.size()), left);
    FrameBatch batch;
    EXPECT_FALSE(left.receive(batch).error);
    EXPECT_FALSE(right.receive(batch).error);
    for (const FrameView& probe : batch.frames()) {
      probes.emplace_back(probe.bytes.begin(), probe.bytes.end());
    }
  }
  bool arrives(Side side, std::size_t number) {
    const std::vector<std::byte>& probe = probes.at(number);
    return guard.look(side, FrameView(probe.data(), probe.size()), left);
  }

  const Frame first = frame_number(0);
  unsigned said = 0;
  tools::LoopGuard guard;
  AnyLink right{std::make_unique<LoopbackLink>(LoopbackLink::self().value())};
  AnyLink left{std::make_unique<LoopbackLink>(LoopbackLink::self().value())};
  std::vector<std::vector<std::byte>> probes;
};

TEST(LoopGuard, TakesAProbeOnlyFromTheOtherSideThanItWentTo) {
  SuspiciousGuard loop;
  ASSERT_EQ(loop.probes.size(), 1U);
  EXPECT_TRUE(loop.arrives(SuspiciousGuard::Side::left, 0)) << "it must not go on";
  EXPECT_EQ(loop.said, 0U) << "somebody repeated it where it was sent to";
  EXPECT_TRUE(loop.arrives(SuspiciousGuard::Side::right, 0));
  EXPECT_EQ(loop.said, 1U);
  EXPECT_TRUE(loop.arrives(SuspiciousGuard::Side::right, 0));
  EXPECT_EQ(loop.said, 1U);
}

TEST(LoopGuard, EachProbeHasANumberOfItsOwn) {
  SuspiciousGuard loop;
  for (unsigned i = 0; i < 1000 && loop.probes.size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (unsigned moves = 0; moves < 40; ++moves) loop.move();
  }
  ASSERT_GE(loop.probes.size(), 2U);
  EXPECT_NE(loop.probes[0], loop.probes[1]);
  EXPECT_TRUE(loop.arrives(SuspiciousGuard::Side::right, 0));
  EXPECT_EQ(loop.said, 1U) << "the first is still under way when the second has been sent";
}

TEST(LoopGuard, SendsNoProbeBecauseOfMovesThatAreFarApart) {
  SuspiciousGuard loop(std::chrono::milliseconds(200));
  for (unsigned times = 0; times < 4; ++times) {
    std::this_thread::sleep_for(std::chrono::milliseconds(220));
    loop.probes.clear();
    for (unsigned moves = 0; moves < 10; ++moves) loop.move();  // there and back again
    EXPECT_TRUE(loop.probes.empty());
  }
}

TEST_F(BridgeOfTwoBuses, FaultsOfOneDirectionGoBeforeThoseOfBoth) {
  for (const bool right : {false, true}) {
    start({"--fault", "loss=50%,seed=7", right ? "--fault-right" : "--fault-left", "duplicate=2%"});
    const std::string out = end().out;
    const std::string rest = right ? "loss=50%,seed=8:" : "loss=50%,seed=7:";
    EXPECT_NE(
        out.find((right ? "two: faults " : "one: faults ") + std::string("duplicate=2%,seed=1:")),
        std::string::npos)
        << out;
    EXPECT_NE(out.find((right ? "one: faults " : "two: faults ") + rest), std::string::npos) << out;
  }
}

TEST_F(BridgeOfTwoBuses, ACorruptBusIsNamedAndNamedAgainWhenItIsRepaired) {
  start();
  Port left = port_on(one);
  Port right = port_on(two);
  for (const std::string& bus : {one, two}) {
    {
      std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
      ring.seekp(-static_cast<std::streamoff>(64U << 10U), std::ios::end);
      ring << std::string(64U << 10U, '\xff');
    }
    EXPECT_TRUE(tool->wait_for("cannot receive from the bus " + bus + ": "));
    EXPECT_EQ(run_tool({"repair", bus}).status, 0);
    EXPECT_TRUE(tool->wait_for("the bus " + bus + " works again\n"));
  }
  send_numbers(left, 1, 1);
  EXPECT_EQ(numbers_from(right, 1), std::vector<unsigned>{1});
  const ToolResult result = end();
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 4) << result.err;
}

TEST_F(BridgeCommand, WhatCannotBeReadLeavesNoBusBehind) {
  const std::string bus = directory.file("new");
  const ToolResult result =
      run_program(bridge("pcap:" + directory.file("none"), "bus:" + bus, {"--create"}));
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_FALSE(std::filesystem::exists(bus));
}

TEST_F(BridgeCommand, ABusThatWouldBeMadeIsNotMadeBesideAFileThatIsNone) {
  const std::string bus = directory.file("new");
  const std::string other = directory.file("text");
  std::ofstream(other) << "no bus";
  for (const auto& [left, right] : {std::pair{bus, other}, {other, bus}}) {
    const ToolResult result = run_program(bridge("bus:" + left, "bus:" + right, {"--create"}));
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_FALSE(std::filesystem::exists(bus)) << left;
  }
}

TEST(LinkNames, AreOfTheKindBeforeTheirColon) {
  for (const auto& [text, word, target] : {std::tuple{"bus:/dev/shm/a:b", "bus", "/dev/shm/a:b"},
                                           {"tap:tap0", "tap", "tap0"},
                                           {"packet:eth0", "packet", "eth0"},
                                           {"pcap:-", "pcap", "-"}}) {
    const auto link = tools::parse_link(text);
    ASSERT_TRUE(link) << text;
    EXPECT_STREQ(link->row->word, word) << text;
    EXPECT_EQ(link->target, target);
  }
}

TEST_F(BridgeCommand, SuperFramesCrossWholeUnlessOffloadIsOffOrEachFrameIsToMeetFaults) {
  const std::string one = directory.file("one");
  const std::string two = directory.file("two");
  for (const std::string& bus : {one, two}) ASSERT_EQ(run_tool({"create", bus}).status, 0);
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  using More = std::vector<std::string>;
  for (const auto& [more, crossed] :
       {std::pair{More{}, "1 frame (10 segments), 14054 bytes, "},
        {More{"--no-offload"}, "10 frames, 14540 bytes, "},
        {More{"--fault-left", "duplicate=1%"}, "10 frames, 14540 bytes, "}}) {
    Tool tool(bridge("bus:" + one, "bus:" + two, more));
    wait_for_bridge(one);
    wait_for_bridge(two);
    Port left = port_on(one);
    Port right = port_on(two);
    ASSERT_EQ(left.send({&frame, 1}).taken, 1U);
    std::size_t segments = 0;
    FrameBatch batch;
    for (int i = 0; i < 300 && segments < 10; ++i) {
      right.wait(std::chrono::milliseconds(100));
      batch.clear();
      EXPECT_FALSE(right.receive(batch).error);
      segments += batch.size();
    }
    EXPECT_EQ(segments, 10U) << "whoever does not take super-frames hears what they stand for";
    tool.signal(SIGTERM);
    const std::string out = tool.finish().out;
    EXPECT_NE(out.find("bus:" + one + " -> bus:" + two + ": " + crossed), std::string::npos)
        << crossed << "\nnot in\n"
        << out;
  }
}

}  // namespace
}  // namespace shmif::test
