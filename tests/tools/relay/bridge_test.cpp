// bridge between buses and captures, until one ends or a signal comes.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "bus/limits.hpp"
#include "shmif/control/change.hpp"
#include "shmif/ping.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/relay/peers_rig.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/watches.hpp"

namespace shmif::test {
namespace {

constexpr std::size_t kFrameBytes = 60;

Bytes marked_frame(unsigned mark) {
  return peer_frame(kEverybody, mac_number(1), mark, kFrameBytes);
}
void send_marks(Port& port, unsigned first, unsigned last) {
  for (unsigned mark = first; mark <= last; ++mark) ASSERT_TRUE(put(port, marked_frame(mark)));
}
Marks numbers(unsigned first, unsigned last) {
  Marks all(last - first + 1);
  std::iota(all.begin(), all.end(), first);
  return all;
}
void record(const std::string& path, unsigned count) {
  std::vector<Bytes> frames;
  for (unsigned mark = 1; mark <= count; ++mark) frames.push_back(marked_frame(mark));
  write_capture(path, frames);
}

TEST(BridgeTexts, NameTheRemedyForAFrameThatIsTooLong) {
  constexpr std::uint32_t kMtu = 1500;
  const auto said = [&](std::size_t bytes, const std::string& from, const std::string& to) {
    return tools::too_long_text(bytes, from, kMtu, to, kMtu);
  };
  constexpr const char* kSame = "same MTU";
  const std::size_t most = bus::max_frame_bytes(kMtu);
  EXPECT_TRUE(contains(said(most + 1, "packet:eth0", "bus:/b"), "longer than the MTU of eth0"));
  EXPECT_TRUE(contains(said(most, "packet:eth0", "bus:/b"), kSame));
  EXPECT_TRUE(contains(said(most, "bus:/b", "packet:eth0"), "eth0 carries its MTU and one VLAN"));
  EXPECT_TRUE(contains(said(kMtu + 18, "bus:/b", "packet:eth0"), kSame));
  EXPECT_TRUE(contains(said(most + 1, "bus:/b", "packet:eth0"), kSame));
}

TEST(BridgeTexts, HaveFaultsIfAnyWereMet) {
  EXPECT_FALSE(tools::met_faults({}, {.frames = 1}));
  for (const auto fate :
       {&FaultCounters::lost, &FaultCounters::duplicated, &FaultCounters::reordered,
        &FaultCounters::corrupted, &FaultCounters::truncated, &FaultCounters::queue_full}) {
    FaultCounters met;
    met.*fate = 1;
    EXPECT_TRUE(tools::met_faults({}, met));
  }
}

class BridgeCommand : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return directory_.file(name); }
  std::string make_bus(const std::string& name) const {
    Bus::create(file(name), small_ring()).value();
    return file(name);
  }
  /// Whose port is "bridge".
  static Words bridge(const std::string& left, const std::string& right, const Words& more = {}) {
    return Words{shmifctl_path(), "bridge", left, right, "--port-name", "bridge"} + more;
  }
  static void wait_for_bridge(const std::string& bus) {
    ASSERT_TRUE(wait_for_port_up(bus, "bridge"));
  }
  static ToolResult end(Tool& tool, int number = SIGTERM) {
    tool.signal(number);
    return tool.finish();
  }
  TempDir directory_;
};

/// A bridge between two buses.
class BridgeOfTwoBuses : public BridgeCommand {
 protected:
  void start(const Words& more = {}) {
    tool_.emplace(bridge("bus:" + one_, "bus:" + two_, more));
    wait_for_bridge(one_);
    wait_for_bridge(two_);
  }
  ToolResult end(int number = SIGTERM) { return BridgeCommand::end(*tool_, number); }

  const std::string one_ = make_bus("one"), two_ = make_bus("two");
  const std::string right_way_ = "bus:" + one_ + " -> bus:" + two_;
  const std::string left_way_ = "bus:" + two_ + " -> bus:" + one_;
  std::optional<Tool> tool_;
};

TEST_F(BridgeOfTwoBuses, MakesOneSegmentOfTwoBusesWithoutEcho) {
  start();
  Port left = port_on(one_), right = port_on(two_);
  send_marks(left, 1, 5);
  EXPECT_EQ(marks_from(right, 5), numbers(1, 5));
  send_marks(right, 11, 13);
  EXPECT_EQ(marks_from(left, 3), numbers(11, 13)) << "and none of its own";
  const ToolResult result = end();
  EXPECT_EQ(result.status, 0) << result.err;
  for (const std::string& line :
       {right_way_ + ": 5 frames, 300 bytes, 0 lost, 0 dropped = 5 came\n",
        left_way_ + ": 3 frames, 180 bytes, 0 lost, 0 dropped = 3 came\n"}) {
    EXPECT_TRUE(contains(result.out, line));
  }
}

TEST_F(BridgeOfTwoBuses, AnswersPingsForItsPortAndPassesOnThoseOfEverybody) {
  start();
  EXPECT_EQ(run_tool({"ping", one_, "--to", "bridge", "-c", "1", "--timeout", "100"}).status, 0);
  Port left = port_on(one_), right = port_on(two_);
  const auto next_ping = [](Port& port) {
    FrameBatch batch;
    std::optional<Ping> found;
    static_cast<void>(eventually([&] {
      batch.clear();
      static_cast<void>(port.receive(batch));
      for (const FrameView& frame : batch.frames()) found = found ? found : read_ping(frame);
      return found.has_value();
    }));
    return found.value_or(Ping{});
  };
  std::array<std::byte, kPingFrameBytes> bytes{};
  write_ping({.destination = kEverybody, .source = left.mac(), .id = 4711}, bytes);
  ASSERT_EQ(left.send(FrameView(bytes.data(), bytes.size())).taken, 1U);
  const Ping asked = next_ping(right);
  EXPECT_EQ(asked.id, 4711U);
  EXPECT_EQ(asked.type, PingType::request);
  EXPECT_EQ(asked.source, left.mac());
  const Ping answer = next_ping(left);
  EXPECT_EQ(answer.id, 4711U);
  EXPECT_EQ(answer.type, PingType::reply);
  EXPECT_EQ(answer.destination, left.mac());
  const std::string out = end().out;
  EXPECT_TRUE(contains(out, " answered or found here = "));
  EXPECT_FALSE(contains(out, "still under way"));
}

TEST_F(BridgeOfTwoBuses, FaultsOfOneDirectionGoBeforeThoseOfBothWhichHaveASeedForEach) {
  struct Case {
    Words faults;
    std::string right, left;
  };
  for (const auto& [faults, right, left] :
       std::vector<Case>{{{"--fault", "loss=50%,seed=7"}, "loss=50%,seed=7", "loss=50%,seed=8"},
                         {{"--fault", "loss=50%,seed=7", "--fault-right", "duplicate=2%"},
                          "duplicate=2%,seed=1",
                          "loss=50%,seed=8"},
                         {{"--fault", "loss=50%,seed=7", "--fault-left", "duplicate=2%"},
                          "loss=50%,seed=7",
                          "duplicate=2%,seed=1"},
                         {{"--fault-left", "duplicate=2%", "--fault", "loss=50%", "--fault-left",
                           "reorder=3%,seed=4", "--fault", "truncate=1%,seed=7"},
                          "loss=50%,truncate=1%,seed=7",
                          "duplicate=2%,reorder=3%,seed=4"}}) {
    start(faults);
    const std::string out = end().out;
    const std::size_t first = out.find(right_way_ + ": faults " + right + ": ");
    const std::size_t second = out.find(left_way_ + ": faults " + left + ": ");
    EXPECT_NE(second, std::string::npos) << out;
    EXPECT_LT(first, second) << out;
  }
}

// A link with faults takes frames for the way back, and only then finds that the bus does not.
TEST_F(BridgeOfTwoBuses, WhatABusRefusesIsDroppedAlsoBehindFaultsOfTheWayBack) {
  for (const Words& more : {Words{}, Words{"--fault-left", "delay=1us"}}) {
    start(more);
    Port left = port_on(one_);
    spoil_ring(two_);
    ASSERT_TRUE(tool_->wait_for("cannot receive from the bus " + two_));
    send_marks(left, 1, 3);
    EXPECT_TRUE(has_heard(one_, "bridge", 3));
    const std::string out = end().out;
    const std::string said = out.substr(0, out.find('\n'));
    EXPECT_TRUE(said.starts_with(right_way_ + ": 0 frames, ")) << said;
    EXPECT_TRUE(said.ends_with(", 0 lost, 3 dropped (3 refused) = 3 came")) << said;
    ASSERT_EQ(run_tool({"repair", two_}).status, 0);
  }
}

TEST_F(BridgeOfTwoBuses, FramesThatMeetALinkThatIsDownAreSaidToWhicheverEndThatIs) {
  for (const std::string& bus : {one_, two_}) {
    start({"--json"});
    Port left = port_on(one_);
    ASSERT_EQ(run_tool({"link", bus, "bridge", "--down"}).status, 0);
    send_marks(left, 1, 7);
    EXPECT_TRUE(has_heard(one_, "bridge", 7));
    const nlohmann::json said = nlohmann::json::parse(end().out)["directions"][0];
    EXPECT_EQ(said["link_down_frames"], 7) << said;
    EXPECT_EQ(said["consumed_frames"], 0) << said;
    EXPECT_EQ(said["tx_frames"], 0) << said;
  }
}

TEST_F(BridgeCommand, FramesTooLongForTheOtherSideAreCountedByThatNameAndSaidWithBothMtus) {
  const std::string wide = "bus:" + file("one");
  Bus::create(file("one"), {.mtu = 9000}).value();
  const std::string narrow = "bus:" + make_bus("two");
  for (const bool turned : {false, true}) {
    Tool tool(turned ? bridge(narrow, wide) : bridge(wide, narrow));
    wait_for_bridge(file("one"));
    wait_for_bridge(file("two"));
    Port port = port_on(file("one"));
    const Bytes bytes(4014, std::byte{0xff});
    const FrameView long_one(bytes.data(), bytes.size());
    const std::vector<FrameView> frames{FrameView(bytes.data(), 60), long_one, long_one};
    ASSERT_EQ(port.send(frames).taken, 3U);
    ASSERT_TRUE(tool.wait_for("cannot pass on"));
    const ToolResult result = end(tool);
    // At the start, and when the first such frame comes.
    for (const std::string& part :
         {wide + " has an MTU of 9000, and " + narrow + " of 1500",
          "a frame of 4014 bytes from " + wide + " (MTU 9000): it is too long for " + narrow +
              " (MTU 1500)"}) {
      EXPECT_TRUE(contains(result.err, part));
    }
    EXPECT_EQ(count_of_lines(result.err), 2) << result.err;
    EXPECT_TRUE(
        contains(result.out, "1 frame, 60 bytes, 0 lost, 2 dropped (2 too long) = 3 came\n"));
  }
}

TEST_F(BridgeCommand, SuperFramesCrossWholeUnlessOffloadIsOffOrEachFrameIsToMeetFaults) {
  const std::string one = file("one"), two = file("two");
  for (const std::string& bus : {one, two}) Bus::create(bus, {}).value();
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  for (const auto& [more, crossed] :
       {std::pair{Words{}, "1 frame (10 segments), 14054 bytes, "},
        {Words{"--no-offload"}, "10 frames, 14540 bytes, "},
        {Words{"--fault-left", "duplicate=1%"}, "10 frames, 14540 bytes, "}}) {
    Tool tool(bridge("bus:" + one, "bus:" + two, more));
    wait_for_bridge(one);
    wait_for_bridge(two);
    Port left = port_on(one), right = port_on(two);
    ASSERT_EQ(left.send({&frame, 1}).taken, 1U);
    std::size_t segments = 0;
    FrameBatch batch;
    EXPECT_TRUE(eventually([&] {
      batch.clear();
      return (segments += right.receive(batch).frames) == 10;
    })) << segments
        << ": whoever does not take super-frames hears what they stand for";
    const std::string out = end(tool).out;
    EXPECT_TRUE(contains(out, "bus:" + one + " -> bus:" + two + ": " + crossed));
  }
}

TEST_F(BridgeOfTwoBuses, ASecondBridgeBetweenTheSameBusesIsFoundAndNamed) {
  start();
  Tool second({shmifctl_path(), "bridge", "bus:" + two_, "bus:" + one_, "--port-name", "second"});
  ASSERT_TRUE(wait_for_port_up(one_, "second") && wait_for_port_up(two_, "second"));
  Port port = port_on(one_);
  send_marks(port, 1, 1);
  for (const auto& [tool, other] : {std::pair{&*tool_, &second}, {&second, &*tool_}}) {
    EXPECT_TRUE(tool->wait_for("process " + std::to_string(other->pid()) +
                               " also joins the two, so broadcasts circulate forever"));
  }
  for (Tool* const tool : {&*tool_, &second})
    EXPECT_EQ(count_of_lines(BridgeCommand::end(*tool).err), 1) << tool->so_far().err;
}

TEST_F(BridgeOfTwoBuses, ABusThatIsTruncatedEndsItWithAnError) {
  start();
  Port port = port_on(two_);
  std::filesystem::resize_file(one_, 0);
  send_marks(port, 1, 1);  // gives the bridge a reason to look at its other side
  const ToolResult result = tool_->finish();
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_TRUE(contains(result.err, one_));
}

TEST_F(BridgeOfTwoBuses, ACorruptBusIsNamedAndNamedAgainWhenItIsRepaired) {
  start();
  Port left = port_on(one_), right = port_on(two_);
  for (const std::string& bus : {one_, two_}) {
    spoil_ring(bus);
    EXPECT_TRUE(tool_->wait_for("cannot receive from the bus " + bus + ": "));
    EXPECT_EQ(run_tool({"repair", bus}).status, 0);
    EXPECT_TRUE(tool_->wait_for("the bus " + bus + " works again\n"));
  }
  send_marks(left, 1, 1);
  EXPECT_EQ(marks_from(right, 1), Marks{1});
  EXPECT_EQ(count_of_lines(end().err), 4) << tool_->so_far().err;
}

TEST_F(BridgeOfTwoBuses, WhatWasOnTheBusWhenTheSignalCameGoesOutAndSignalsForUsersEndNothing) {
  for (const int number : {SIGINT, SIGTERM}) {
    start();
    Port from = port_on(one_), to = port_on(two_);
    for (const int of_users : {SIGUSR1, SIGUSR2}) tool_->signal(of_users);
    send_marks(from, 1, 1);
    EXPECT_EQ(marks_from(to, 1), Marks{1});
    tool_->stop();
    send_marks(from, 1, 200);
    tool_->signal(number);
    tool_->signal(SIGCONT);
    const ToolResult r = tool_->finish();
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(marks_from(to, 200), numbers(1, 200)) << r.out;
  }
}

TEST_F(BridgeCommand, RecordsABusAndReplaysTheCaptureAlsoIfThatIsDamaged) {
  const std::string bus = make_bus("bus");
  const std::string capture = file("all.pcap");
  {
    Tool tool(bridge("bus:" + bus, "pcap:" + capture));
    wait_for_bridge(bus);
    Port port = port_on(bus);
    send_marks(port, 1, 20);
    ASSERT_TRUE(has_heard(bus, "bridge", 20));  // a signal ends the bridge at once
    EXPECT_EQ(end(tool, SIGINT).status, 0);
  }
  Port port = port_on(bus);
  const ToolResult replayed = run_program(bridge("pcap:" + capture, "bus:" + bus));
  EXPECT_EQ(replayed.status, 0) << replayed.err;
  EXPECT_EQ(count_of_lines(replayed.out), 1)
      << "nothing is ever sent to a capture that is replayed: " << replayed.out;
  EXPECT_EQ(marks_from(port, 20), numbers(1, 20));
  std::filesystem::resize_file(capture, std::filesystem::file_size(capture) - 10);
  const ToolResult damaged = run_program(bridge("pcap:" + capture, "bus:" + bus));
  EXPECT_EQ(damaged.status, 1);
  EXPECT_TRUE(contains(damaged.err, capture));
  EXPECT_EQ(marks_from(port, 19), numbers(1, 19));
}

TEST_F(BridgeCommand, DelayedFramesOfACaptureThatHasEndedStillArrive) {
  const std::string bus = make_bus("bus");
  record(file("some.pcap"), 5);
  Port port = port_on(bus);
  const ToolResult result = run_program(bridge("pcap:" + file("some.pcap"), "bus:" + bus,
                                               {"--fault", "delay=100ms±20ms,order=keep"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(marks_from(port, 5), numbers(1, 5));
  EXPECT_TRUE(
      contains(result.out, "faults delay=100ms±20ms,order=keep,seed=1: 5 frames came, 0 lost"));
  const ToolResult few = run_program(
      bridge("pcap:" + file("some.pcap"), "bus:" + bus, {"--fault", "delay=100ms,queue=2"}));
  EXPECT_TRUE(contains(few.out, "3 lost (3 by the full queue of the faults)")) << few.out;
  EXPECT_TRUE(contains(few.out, " = 5 came")) << few.out;
}

TEST_F(BridgeCommand, ReplaysACaptureWithItsGapsOrTheLongestThatWasAskedFor) {
  const std::string bus = make_bus("bus");
  Port ear = port_on(bus);
  const auto replay = [&](std::uint64_t gap_ns, const Words& more) {
    write_capture(file("c"), {marked_frame(1), marked_frame(2)}, gap_ns);
    const ToolResult result = run_program(bridge("pcap:" + file("c"), "bus:" + bus, more));
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_TRUE(contains(result.out, ": 2 frames, 120 bytes"));
  };
  const auto begin = std::chrono::system_clock::now().time_since_epoch();
  replay(600'000'000, {});
  FrameBatch batch;
  ASSERT_EQ(ear.receive(batch).frames, 2U);
  // The first frame may be late on a busy machine, and the second one is never early.
  EXPECT_GE(std::chrono::nanoseconds(batch[0].time_ns), begin);
  EXPECT_GE(std::chrono::nanoseconds(batch[1].time_ns), begin + std::chrono::milliseconds(600));
  replay(3'600'000'000'000, {"--max-gap", "0.01"});
}

TEST_F(BridgeCommand, AReaderOfTheCaptureThatGoesAwayEndsItWithTheCountsAndZero) {
  const std::string from_bus = "bus:" + make_bus("bus");
  const std::string from_file = "pcap:" + file("some.pcap");
  record(file("some.pcap"), 5000);  // more than a pipe holds
  // One that takes a little, and others that take nothing: from one, nothing passes. The last has
  // gone before the first byte, and takes the errors along.
  for (const auto& [from, more, reader] : {std::tuple{from_file, "", "head -c 24"},
                                           {from_file, "", "true"},
                                           {from_bus, "", "true"},
                                           {from_file, " 2>&1", "true"}}) {
    const std::string wait = *more == '\0' ? "" : "sleep 0.1; ";
    const ToolResult r =
        run_program({"bash", "-c",
                     "{ " + wait + shmifctl_path() + " bridge " + from + " pcap:-" + more +
                         "; } | " + reader + " >/dev/null; echo ${PIPESTATUS[0]}"});
    EXPECT_FALSE(r.timed_out) << from;
    EXPECT_EQ(r.out, "0\n") << from << ": " << r.err;
    if (*more != '\0') continue;
    EXPECT_TRUE(r.err.starts_with(from + " -> pcap:-: ")) << r.err;
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  }
  record(file("one.pcap"), 1);
  const ToolResult r = run_program(bridge("pcap:" + file("one.pcap"), "pcap:-"));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out.size(), 24U + 16 + kFrameBytes) << "nothing else is beside it";
  EXPECT_TRUE(contains(r.err, "1 frame, 60 bytes"));
}

TEST_F(BridgeCommand, ACaptureIntoAFifoThatItMayReadAlsoGoesOnAfterItsFirstBytes) {
  const std::string bus = make_bus("bus");
  ASSERT_EQ(mkfifo(file("fifo").c_str(), 0600), 0);
  const UniqueFd reader(open(file("fifo").c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reader);
  // "1<>" opens it for both, and then it can be read as soon as something was written.
  Tool tool({"sh", "-c", R"(exec "$0" bridge bus:"$1" pcap:- --port-name bridge 1<> "$2")",
             shmifctl_path(), bus, file("fifo")});
  wait_for_bridge(bus);
  Port host = port_on(bus);
  std::size_t got = 0;
  for (unsigned sent = 1; sent <= 3; ++sent) {
    send_marks(host, sent, sent);
    ASSERT_TRUE(eventually([&] {
      std::array<char, 4096> part{};
      got += static_cast<std::size_t>(
          std::max<ssize_t>(read(reader.get(), part.data(), part.size()), 0));
      return got == 24 + sent * (16 + kFrameBytes);
    })) << tool.so_far().err;
  }
  const ToolResult result = end(tool);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.err, "3 frames, 180 bytes"));
}

// A live capture: `tcpdump -w - | shmifctl bridge pcap:- bus:...`.
TEST_F(BridgeCommand, EachFrameOfAPipeIsPassedOnBeforeTheNextOneComesAndASignalEndsTheWait) {
  for (const auto& [from, number] :
       {std::pair{"pcap:-", SIGINT}, {"pcap:-", SIGTERM}, {"pcap:fifo", SIGTERM}}) {
    const BusRig rig;
    const std::string fifo = rig.file("fifo");
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    // For both, so that neither side waits until it is opened.
    const UniqueFd writer(open(fifo.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(writer);
    Tool tool({"sh", "-c", R"(cd "$3" && exec "$0" bridge "$1" bus:"$2" --port-name ear < fifo)",
               shmifctl_path(), from, rig.path(), rig.directory()});
    Port to = rig.port();
    const std::vector<Bytes> frames{make_frame(60, 1), make_frame(100, 2), make_frame(61, 3)};
    write_capture(rig.file("in.pcap"), frames);
    std::ifstream file(rig.file("in.pcap"), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    constexpr std::size_t kFileHeader = 24, kRecordHeader = 16;
    std::size_t begin = 0, end = kFileHeader;
    for (const Bytes& frame : frames) {
      end += kRecordHeader + frame.size();
      ASSERT_EQ(write(writer.get(), bytes.data() + begin, end - begin),
                static_cast<ssize_t>(end - begin));
      begin = end;
      EXPECT_TRUE(same_frames({frame}, collect(to, 1))) << from;
    }
    const ToolResult r = BridgeCommand::end(tool, number);
    EXPECT_FALSE(r.timed_out) << from << ' ' << number;
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_TRUE(contains(r.out + r.err, "3 frames, 221 bytes")) << r.out << r.err;
  }
}

TEST_F(BridgeCommand, ASignalEndsItWhereACaptureIsAPipeWithoutAnotherEnd) {
  const std::string bus = "bus:" + make_bus("bus");
  const std::string fifo = file("fifo");
  const std::string capture = "pcap:" + fifo;
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  for (const auto& [reads, number] : {std::pair{true, SIGTERM}, {false, SIGTERM}, {true, SIGINT}}) {
    Tool tool(reads ? bridge(capture, bus) : bridge(bus, capture));
    UniqueFd writer;
    if (reads) {  // until it has opened the pipe
      EXPECT_TRUE(eventually([&] {
        writer.reset(open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        return static_cast<bool>(writer);
      }));
    } else {
      EXPECT_TRUE(has_heard(file("bus"), "bridge", 0));
    }
    const ToolResult r = end(tool, number);
    EXPECT_FALSE(r.timed_out) << capture << ' ' << number;
    EXPECT_EQ(r.status, 0) << r.err;
    const std::string way = reads ? capture + " -> " + bus : bus + " -> " + capture;
    EXPECT_EQ(r.err, way + ": 0 frames, 0 bytes, 0 lost, 0 dropped = 0 came\n");
  }
}

TEST_F(BridgeCommand, ACaptureThatFindsNoRoomIsReported) {
  const OwnTmpfs small("size=64k,mode=0777");
  if (!small.missing().empty()) GTEST_SKIP() << small.missing();
  const std::string copy = small.file("copy.pcap");
  record(file("source.pcap"), 2000);  // more than there is room for
  const ToolResult result = run_program(bridge("pcap:" + file("source.pcap"), "pcap:" + copy));
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_TRUE(contains(result.err, "\"" + copy + "\": No space left on device"));
}

TEST_F(BridgeCommand, RecordsOverACaptureOnlyWithForceAndOverNothingElse) {
  const std::string one = make_bus("one"), two = make_bus("two");
  const std::string old = file("old.pcap"), text = file("text");
  std::ofstream(old) << std::string("\x0a\x0d\x0d\x0a", 4);
  std::ofstream(text) << "text";
  expect_refused({{{"bridge", "bus:" + one, "pcap:" + old}, "it exists"},
                  {{"bridge", "bus:" + one, "pcap:" + text}, "it exists"},
                  {{"bridge", "bus:" + one, "pcap:" + text, "--force"}, "it exists"},
                  {{"bridge", "bus:" + one, "pcap:" + one}, "it is a bus"},
                  {{"bridge", "bus:" + two, "pcap:" + one}, "it is a bus"}},
                 1);
  EXPECT_EQ(std::filesystem::file_size(old), 4U);
  EXPECT_EQ(std::filesystem::file_size(text), 4U);
  EXPECT_EQ(run_tool({"stat", one}).status, 0);
  Tool tool(bridge("bus:" + one, "pcap:" + old, {"--force"}));
  wait_for_bridge(one);
  EXPECT_EQ(end(tool, SIGINT).status, 0);
  EXPECT_EQ(std::filesystem::file_size(old), 24U) << "a new, empty capture";
}

TEST_F(BridgeCommand, WaitsForTheNameThatItWasGivenUntilItsOwnerHasGone) {
  const std::string one = make_bus("one"), two = make_bus("two");
  Port owner({.name = "bridge"});
  ASSERT_TRUE(owner.attach(two));
  Tool tool(bridge("bus:" + one, "bus:" + two));
  usleep(300'000);  // it finds the name taken
  ASSERT_FALSE(owner.detach());
  wait_for_bridge(one);
  wait_for_bridge(two);
}

TEST_F(BridgeCommand, MakesMissingBusesWhenAskedAndNoneWhereItCannotStart) {
  const std::string one = file("one"), two = file("two");
  std::ofstream(file("text")) << "no bus";
  for (const auto& [left, right] : {std::pair{"pcap:" + file("none"), "bus:" + one},
                                    {"bus:" + one, "bus:" + file("text")},
                                    {"bus:" + file("text"), "bus:" + one}}) {
    EXPECT_EQ(run_program(bridge(left, right, {"--create"})).status, 1) << left;
    EXPECT_FALSE(std::filesystem::exists(one)) << left;
  }
  Tool tool(bridge("bus:" + one, "bus:" + two, {"--create", "--size", "1M", "--mtu", "9000"}));
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(two); }));
  wait_for_bridge(two);
  const BusInfo info = Bus::open(two).value().info();
  EXPECT_EQ(info.ring_bytes, 1U << 20U);
  EXPECT_EQ(info.mtu, 9000U);
  EXPECT_EQ(end(tool).status, 0);
}

// Words that bridge, and the commands beside it, refuse: each in one line that says what was meant.

using BridgeRefusals = BridgeOfPeers;

TEST_F(BridgeRefusals, OfLinksSayWhichOneWasMeant) {
  const std::string bus = "bus:" + bus_, q = file("q");
  const std::string no_offload = "does not take --no-offload", listens = "for links that listen";
  const std::string other_name = directory_.path() + "/../" +
                                 std::filesystem::path(directory_.path()).filename().string() +
                                 "/bus";
  std::ofstream(file("one")) << "one";
  std::filesystem::create_symlink(file("one"), file("two"));
  expect_refused(
      {{{"bridge", bus_, "stream:q"}, "did you mean bus:" + bus_ + '?'},
       {{"bridge", "./b", "stream:q"}, "did you mean bus:./b?"},
       {{"bridge", bus, "steam:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:conect=/p"}, "did you mean stream:connect=/p?"},
       {{"bridge", bus, "vhost-user:conect=/p"}, "did you mean vhost-user:connect=/p?"},
       {{"bridge", bus, "stream:listen="}, "did you mean stream:PATH?"},
       {{"bridge", bus, "stream:listen=/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "vhost-user:path=/p"}, "did you mean vhost-user:/p?"},
       {{"bridge", bus, "stream:unix:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:tcp:127.0.0.1:80"}, "did you mean stream:127.0.0.1:80?"},
       {{"bridge", bus, "stream:tcp:70000"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1:"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1:65536"}, "an address needs a port"},
       {{"bridge", bus, "stream:::1"}, "an address needs a port"},
       {{"bridge", bus, "stream:[::1]"}, "an address needs a port"},
       {{"bridge", bus, "stream:5555"}, "./5555"},
       {{"bridge", bus, "stream:connect="}, "stream:PATH"},
       {{"bridge", bus, "stream:connect=@p"}, "abstract sockets"},
       {{"bridge", bus, "stream:" + std::string(200, 'x')}, "1 to 107"},
       {{"bridge", bus, "memif:~/p"}, "$HOME/p"},
       {{"bridge", bus, "memif:127.0.0.1:7000"}, "memif takes the path of a socket"},
       {{"bridge", bus, "memif:connect=" + q}, "memif only listens"},
       {{"bridge", bus, "vhost-user:127.0.0.1:7000"}, "vhost-user takes the path of a socket"},
       {{"bridge", bus, "dgram:" + q}, "lacks the other socket"},
       {{"bridge", bus, "dgram:/p,"}, "REMOTE is missing"},
       {{"bridge", bus, "dgram:,/p"}, "LOCAL is missing"},
       {{"bridge", bus, "dgram:/p,/p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:p,./p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:" + file("one") + ',' + file("two")}, "both sockets are the same"},
       {{"bridge", bus, "dgram:127.0.0.1:7000,127.0.0.1:7000"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:127.0.0.1:7000," + q}, "both are paths"},
       {{"bridge", "tap:t0", "stream:" + q}, "joins a bus"},
       {{"bridge", bus, bus}, "both links are"},
       {{"bridge", bus, "bus:" + other_name}, "both links are"},
       {{"bridge", "pcap:" + bus_, "pcap:" + other_name}, "both links are"},
       {{"bridge", "tap:tap0", "tap:tap0"}, "both links are"},
       {{"bridge", bus, "stream:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "dgram:" + q + ",/r", "--no-offload"}, no_offload},
       {{"bridge", bus, "vde:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "vhost-user:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "memif:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "stream:connect=" + q, "--max-peers", "9"}, listens},
       {{"bridge", bus, "vde:slirp://", "--max-peers", "9"}, listens},
       {{"bridge", bus, "pcap:" + q, "--max-peers", "9"}, listens},
       {{"bridge", bus, "stream:" + q, "--max-peers", "0"}, "--max-peers"},
       {{"bridge", bus, "stream:" + q, "--max-peers", "256"}, "--max-peers"},
       {{"bridge", bus, "stream:" + q, "--max-peers", "many"}, "--max-peers"}});
  for (const std::string name : {"connect=", "127.0.0.1", "::1", "[::1]"})
    EXPECT_FALSE(std::filesystem::exists(name)) << "no socket of that name was made";
  // A client of memif is never connected to, so no other word was meant.
  expect_refused({{{"bridge", bus, "memif:conect=/nonexistent/q"}, "conect=/nonexistent/q"},
                  {{"bridge", bus, "vde:nosuchplugin://x"}, "finds no plugin of that name"}},
                 1);
  const ToolResult slirp = run_program(
      {"env", "VDEPLUGIN_PATH=/nonexistent", shmifctl_path(), "bridge", bus, "vde:slirp://"});
  EXPECT_TRUE(contains(slirp.err, "'shmifctl gateway'"));
  Tool digits({"sh", "-c", "cd \"$1\" && exec \"$2\" bridge \"$3\" stream:./5555", "sh",
               directory_.path(), shmifctl_path(), bus});
  EXPECT_TRUE(digits.wait_for("stream:./5555: ready"));
  EXPECT_TRUE(std::filesystem::is_socket(file("5555")));
  EXPECT_EQ(end(digits).status, 0);
}

TEST_F(BridgeRefusals, OfNamesAndPathsSayWhatToWrite) {
  const std::string bus = "bus:" + bus_, empty = "\"\" is empty (give NAME";
  const std::string remedy = "(write the path without \"bus:\")";
  expect_refused({{{"bridge", bus, "stream:" + file("q"), "--port-name", ""}, empty},
                  {{"bridge", bus, "pcap:" + file("p"), "--port-name", ""}, empty},
                  {{"gateway", bus_, "--port-name", ""}, empty},
                  {{"tap", bus_, "--port-name", ""}, empty},
                  {{"tap", bus_, "--name", ""}, empty},
                  {{"dump", bus_, "--name", ""}, empty},
                  {{"ping", bus_, "--name", ""}, empty},
                  {{"bridge", bus, "stream:" + file("q"), "--port-name", std::string(28, 'n')},
                   "at most 27 characters"}});
  // Only a bridge takes the path of a bus with its kind.
  expect_refused({{{"stat", bus}, remedy},
                  {{"create", bus}, remedy},
                  {{"destroy", bus}, remedy},
                  {{"dump", bus}, remedy},
                  {{"repair", bus}, remedy}},
                 1);
  expect_refused(
      {{{"exec", bus, "--", "true"}, remedy}, {{"exec", bus, "--create", "--", "true"}, remedy}},
      125);
}

TEST_F(BridgeRefusals, OfFaultsNameTheFault) {
  const std::string link = "bus:" + bus_, twice = "fault \"loss=2%\": loss is given twice";
  expect_refused(
      {{{"bridge", link, "stream:" + file("q"), "--fault", "los=1%"}, "--fault: fault \"los=1%\""},
       {{"bridge", link, link + "2", "--fault-left", "loss=1%,dealy=5ms"},
        "--fault-left: fault \"dealy=5ms\": there is no such fault (loss, "},
       {{"exec", bus_, "--fault", "loss=1%", "--fault", "loss=2%", "--", "true"}, twice},
       {{"tap", bus_, "--fault", "loss=1%;loss=2%"}, twice},
       {{"gateway", bus_, "--fault", "loss=1%,loss=2%"}, twice},
       {{"bridge", link, link + "2", "--fault", "loss=1%", "--fault", "out:loss=2%"}, twice},
       {{"bridge", link, link + "2", "--fault-left", "loss=1%", "--fault-left", "loss=2%"}, twice},
       {{"bridge", link, "stream:" + file("q"), "--fault", "in:loss=1%;loss=2%"}, twice}});
  const auto tool = listening();
  const StreamLink program = peer();
  wait_for_ports(1);
  ASSERT_TRUE(eventually([&] { return request_change(bus_, "port0", "heal").has_value(); }));
  const auto answer = request_change(bus_, "port0", "fault loss=1%;in:loss=2%");
  ASSERT_FALSE(answer);
  EXPECT_TRUE(contains(answer.error().message, "loss is given twice"));
}

}  // namespace
}  // namespace shmif::test
