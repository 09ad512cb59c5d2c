// shmifctl fault, link, partition, heal, move and changes, on hosts that run.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "shmif/control/change.hpp"
#include "shmif/control/change_desk.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

// Hosts whose lines are changed while they run.

class Changing : public ::testing::Test {
 protected:
  using json = nlohmann::json;

  void SetUp() override {
    const ToolResult probe = run_tool({"exec", rig_.path(), "--", "true"});
    if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
    ASSERT_EQ(probe.status, 0) << probe.err;
  }

  /// Starts a host, and waits until its port is up.
  std::unique_ptr<Tool> host(const std::string& name, const std::string& script, Words more = {}) {
    Words words = Words{shmifctl_path(), "exec", rig_.path(), "--name", name} + more;
    words.insert(words.end(), {"--", "sh", "-c", "PATH=$PATH:/sbin:/usr/sbin; " + script});
    auto tool = std::make_unique<Tool>(std::move(words));
    EXPECT_TRUE(rig_.wait_for_port(name)) << name;
    return tool;
  }
  ToolResult inside(const std::string& name, const std::string& script) {
    return run_tool(
        {"enter", rig_.path(), name, "--", "sh", "-c", "PATH=$PATH:/sbin:/usr/sbin; " + script});
  }
  ToolResult change(const std::string& command, Words more) {
    return run_tool(Words{command, rig_.path()} + more);
  }
  std::string done(const std::string& command, Words more) {
    const ToolResult result = change(command, std::move(more));
    EXPECT_EQ(result.status, 0) << command << ": " << result.err;
    return result.out;
  }
  json stat() { return json::parse(run_tool({"stat", rig_.path(), "--json"}).out); }
  json port_in_stat(const std::string& name) {
    const json all = stat();
    for (const json& port : all.at("ports")) {
      if (port.at("name") == name) return port;
    }
    return {};
  }
  /// Whether one host reaches another: a ping that gets its answer, or not one in three.
  bool reaches(const std::string& from, const std::string& to) {
    return inside(from, "ping -q -c 3 -i 0.2 -W 1 " + to).status == 0;
  }

  /// Numbers and comments of the frames of a capture, as tshark has them.
  static std::vector<std::pair<std::string, std::string>> comments(const std::string& capture) {
    const ToolResult shown = run_program(
        {"tshark", "-r", capture, "-T", "fields", "-e", "frame.number", "-e", "frame.comment"});
    EXPECT_EQ(shown.status, 0) << shown.err;
    std::vector<std::pair<std::string, std::string>> rows;
    std::istringstream in(shown.out);
    for (std::string line; std::getline(in, line);) {
      const std::size_t tab = line.find('\t');
      rows.emplace_back(line.substr(0, tab), line.substr(std::min(tab, line.size() - 1) + 1));
    }
    return rows;
  }
  static bool has_tshark() { return std::system("command -v tshark >/dev/null 2>&1") == 0; }

  BusRig rig_;
};

TEST_F(Changing, ALinkThatGoesDownIsSeenByTheHostAndKeepsItsAddresses) {
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64"});
  const auto b =
      host("b", "sleep 600", {"--ip", "198.18.0.2/24", "--ip", "fd00::2/64", "--via", "veth"});
  ASSERT_TRUE(eventually([&] { return reaches("a", "198.18.0.2") && reaches("a", "fd00::2"); }));
  const std::string addresses =
      inside("b", "ip -o addr show dev tap0 | grep -o 'inet.*/[0-9]*'").out;
  EXPECT_TRUE(contains(addresses, "fd00::2/64"));
  EXPECT_EQ(done("link", {"b", "--down"}), "the link of port b is down\n");
  EXPECT_TRUE(contains(inside("b", "ip link show dev tap0").out, "NO-CARRIER"));
  EXPECT_EQ(port_in_stat("b").at("carrier"), false) << "as of the answer";
  EXPECT_EQ(port_in_stat("b").at("line"), "link down");
  EXPECT_EQ(port_in_stat("a").at("line"), "");
  EXPECT_EQ(port_in_stat("a").at("takes_changes"), true);
  EXPECT_TRUE(contains(run_tool({"stat", rig_.path()}).out, "\"b\": link down"));
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  EXPECT_FALSE(reaches("a", "fd00::2"));
  EXPECT_EQ(inside("b", "ip -o addr show dev tap0 | grep -o 'inet.*/[0-9]*'").out, addresses);
  EXPECT_EQ(done("link", {"b", "--up"}), "the link of port b is up\n");
  EXPECT_FALSE(contains(inside("b", "ip link show dev tap0").out, "NO-CARRIER"));
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2") && reaches("a", "fd00::2"); }));
  EXPECT_EQ(port_in_stat("b").at("line"), "");
}

/// rx_frames counts what the port read from the bus, so it does not tell what the line dropped.
TEST_F(Changing, StatSaysWhatTheLineOfAHostHasDroppedAndHolds) {
  const auto a = host("a", "sleep 600");
  Port near = rig_.port("near");
  const auto send_frames = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) send(near, {arp_request()});
  };
  const auto shows = [&](const char* key, unsigned count) {
    return eventually([&] { return port_in_stat("a").at(key) == count; });
  };
  EXPECT_EQ(port_in_stat("a").at("line_rx_dropped_frames"), 0);
  EXPECT_EQ(port_in_stat("a").at("line_tx_dropped_frames"), 0);
  EXPECT_EQ(port_in_stat("a").at("line_waiting_frames"), 0);
  EXPECT_EQ(port_in_stat("near").at("line_rx_dropped_frames"), nullptr);
  EXPECT_EQ(port_in_stat("near").at("why_null").at("line_waiting_frames"),
            "its program does not count them");
  done("fault", {"a", "in:loss=100%"});
  send_frames(20);
  EXPECT_TRUE(shows("line_rx_dropped_frames", 20)) << port_in_stat("a");
  EXPECT_EQ(port_in_stat("a").at("line_tx_dropped_frames"), 0);
  done("link", {"a", "--down"});
  send_frames(5);
  EXPECT_TRUE(shows("line_rx_dropped_frames", 25)) << port_in_stat("a");
  done("link", {"a", "--up"});
  done("fault", {"a", "in:delay=10m"});
  send_frames(3);
  EXPECT_TRUE(shows("line_waiting_frames", 3)) << port_in_stat("a");
  const std::string text = run_tool({"stat", rig_.path()}).out;
  EXPECT_TRUE(contains(text, "\"a\": fault in:delay=10m; dropped 25 to the host, "));
  EXPECT_TRUE(contains(text, " from it; 3 waiting\n"));
}

TEST_F(Changing, ATapLosesItsCarrierAndMoves) {
  if (::geteuid() != 0) GTEST_SKIP() << "tap needs root";
  const std::string other = rig_.file("other");
  Bus::create(other, {}).value();
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  Tool tap({"unshare", "-n", shmifctl_path(), "tap", rig_.path(), "--name", "lab0", "--ip",
            "198.18.0.9/24"});
  if (!rig_.wait_for_port("lab0")) GTEST_SKIP() << "no TAP devices here: " << tap.finish().err;
  const auto carrier = [&] {
    return run_program(
               {"nsenter", "-t", std::to_string(tap.pid()), "-n", "ip", "link", "show", "lab0"})
        .out;
  };
  ASSERT_TRUE(eventually([&] { return reaches("a", "198.18.0.9"); }));
  done("link", {"lab0", "--down"});
  EXPECT_EQ(port_in_stat("lab0").at("carrier"), false) << "as of the answer";
  EXPECT_TRUE(contains(carrier(), "NO-CARRIER"));
  EXPECT_FALSE(reaches("a", "198.18.0.9"));
  done("link", {"lab0", "--up"});
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.9"); }));
  done("fault", {"lab0", "in:loss=100%"});
  EXPECT_FALSE(reaches("a", "198.18.0.9"));
  EXPECT_TRUE(eventually([&] { return port_in_stat("lab0").at("line_rx_dropped_frames") > 0; }));
  done("fault", {"lab0", "--none"});
  EXPECT_TRUE(contains(done("move", {"lab0", other}), "is on " + other));
  EXPECT_FALSE(reaches("a", "198.18.0.9"));
  done("move", {"a", other});
  EXPECT_TRUE(eventually([&] {
    return run_tool({"enter", other, "a", "--", "ping", "-q", "-c", "1", "-W", "1", "198.18.0.9"})
               .status == 0;
  }));
  tap.signal(SIGTERM);
  const ToolResult ended = tap.finish();
  EXPECT_EQ(ended.status, 0) << ended.err;
}

TEST_F(Changing, ABridgeToATapTakesWhatTheTapWould) {
  if (::geteuid() != 0) GTEST_SKIP() << "tap needs root";
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  Tool bridge({"unshare", "-n", shmifctl_path(), "bridge", "bus:" + rig_.path(), "tap:lab0",
               "--port-name", "lab0", "--fault", "delay=1ms"});
  if (!rig_.wait_for_port("lab0")) GTEST_SKIP() << "no TAP devices here: " << bridge.finish().err;
  const auto ip = [&](const Words& words) {
    return run_program(Words{"nsenter", "-t", std::to_string(bridge.pid()), "-n", "ip"} + words)
        .out;
  };
  ip({"address", "add", "198.18.0.9/24", "dev", "lab0"});
  ASSERT_TRUE(eventually([&] { return reaches("a", "198.18.0.9"); }));
  EXPECT_EQ(port_in_stat("lab0").at("line"), "fault delay=1ms");
  done("link", {"lab0", "--down"});
  EXPECT_TRUE(contains(ip({"link", "show", "lab0"}), "NO-CARRIER"));
  EXPECT_FALSE(reaches("a", "198.18.0.9"));
  done("link", {"lab0", "--up"});
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.9"); }));
  for (const char* const way : {"in", "out"}) {
    done("fault", {"lab0", way + std::string(":loss=100%")});
    EXPECT_FALSE(reaches("a", "198.18.0.9")) << way;
    done("fault", {"lab0", "--none"});
    EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.9"); })) << way;
  }
  EXPECT_GT(port_in_stat("lab0").at("line_tx_dropped_frames"), 0);
}

TEST_F(Changing, APartitionKeepsItsGroupsApartAlsoWhenAHostComesAgain) {
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const auto b = host("b", "sleep 600", {"--ip", "198.18.0.2/24"});
  auto c = host("c", "sleep 600", {"--ip", "198.18.0.3/24"});
  const auto free = host("free", "sleep 600", {"--ip", "198.18.0.4/24"});
  ASSERT_TRUE(eventually([&] { return reaches("a", "198.18.0.3"); }));
  const std::string said = done("partition", {"a,b", "/", "c"});
  EXPECT_TRUE(contains(said, "3 ports in 2 groups"));
  EXPECT_FALSE(reaches("a", "198.18.0.3"));
  EXPECT_FALSE(reaches("c", "198.18.0.2"));
  EXPECT_TRUE(reaches("a", "198.18.0.2"));
  EXPECT_TRUE(reaches("free", "198.18.0.3") && reaches("free", "198.18.0.1"));
  EXPECT_TRUE(contains(std::string(port_in_stat("c").at("line")), "partition a,b / c"));
  c.reset();
  c = host("c", "sleep 600", {"--ip", "198.18.0.3/24"});
  EXPECT_FALSE(reaches("a", "198.18.0.3")) << "a hears the new c";
  EXPECT_EQ(port_in_stat("c").at("line"), "partition a,b / c");
  EXPECT_TRUE(contains(change("changes", {}).out, "port c: partition a,b / c"));
  EXPECT_TRUE(contains(done("heal", {}), "3 ports: a, b, c"));
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.3"); }));
  EXPECT_TRUE(contains(done("heal", {}), "no port"));
}

TEST_F(Changing, AHostMovesToAnotherBusAndBack) {
  const std::string other = rig_.file("other");
  Bus::create(other, {}).value();
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const auto b = host("b", "sleep 600", {"--ip", "198.18.0.2/24"});
  ASSERT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));
  inside("b", "ip link set dev tap0 promisc on");
  ASSERT_TRUE(eventually([&] { return port_in_stat("b").at("promiscuous") == true; }));
  const json before = port_in_stat("b");
  EXPECT_TRUE(contains(done("move", {"b", other}), "port b is on " + other));
  EXPECT_FALSE(reaches("a", "198.18.0.2"));
  const json there = json::parse(run_tool({"stat", other, "--json"}).out).at("ports").at(0);
  EXPECT_EQ(there.at("name"), "b");
  EXPECT_EQ(there.at("mac"), before.at("mac"));
  EXPECT_EQ(there.at("promiscuous"), true) << "what the host has set since its start";
  EXPECT_EQ(there.at("takes_changes"), true);
  const ToolResult log = run_tool({"changes", other});
  EXPECT_TRUE(contains(log.out, "moved here from " + rig_.path())) << log.err;
  EXPECT_TRUE(contains(run_tool({"changes", rig_.path()}).out, "port b: move " + other));
  const ToolResult back = run_tool({"move", other, "b", rig_.path()});
  EXPECT_EQ(back.status, 0) << back.err;
  EXPECT_TRUE(eventually([&] { return reaches("a", "198.18.0.2"); }));

  done("fault", {"b", "duplicate=1%"});
  const auto moved = request_change(rig_.path(), "b", "move " + other);
  ASSERT_TRUE(moved) << moved.error().message;
  const std::vector<LineState> lines = line_states(Bus::open(other).value());  // at once
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].takes_changes, true);
  EXPECT_EQ(lines[0].text, "fault duplicate=1%");
  EXPECT_TRUE(eventually(
      [&] { return contains(run_tool({"changes", other}).out, "port b: fault duplicate=1%"); }));
  EXPECT_EQ(Bus::open(rig_.path()).value().info().ports.size(), 1U)
      << "the old port is still there";
}

TEST_F(Changing, AHostMovesOnlyToABusBesideItsOwnThatIsLikeIt) {
  const auto a = host("a", "sleep 600");
  const auto refused = [&](const std::string& to) {
    const ToolResult result = change("move", {"a", to});
    EXPECT_EQ(result.status, 1) << result.out;
    return result.err;
  };
  const TempDir elsewhere;
  Bus::create(elsewhere.file("bus"), {}).value();
  EXPECT_TRUE(contains(refused(elsewhere.file("bus")), "another directory"));
  Bus::create(rig_.file("mode"), {.mode = 0666}).value();
  EXPECT_TRUE(contains(refused(rig_.file("mode")), "another owner, group or mode"));
  Bus::create(rig_.file("mtu"), {.mtu = 9000}).value();
  EXPECT_TRUE(contains(refused(rig_.file("mtu")), "MTU 9000"));
  Bus::create(rig_.file("small"), {.ring_bytes = 256U << 10U}).value();
  EXPECT_TRUE(contains(refused(rig_.file("small")), "only one of the two buses carries"));
  EXPECT_TRUE(contains(refused(rig_.path()), "already on this bus"));
  EXPECT_TRUE(contains(refused(rig_.file("none")), "No such file"));
  std::filesystem::create_symlink(rig_.path(), rig_.file("alias"));
  EXPECT_TRUE(contains(refused(rig_.file("alias")), "symbolic link"));
  Bus::create(rig_.file("taken"), {}).value();
  const Port same_name = port_on(rig_.file("taken"), {.name = "a"});
  EXPECT_TRUE(contains(refused(rig_.file("taken")), "\"a\""));
  EXPECT_EQ(port_in_stat("a").at("up"), true) << "it stays where it was";
  EXPECT_EQ(done("link", {"a", "--down"}), "the link of port a is down\n");
}

TEST_F(Changing, WrongWordsAreRefusedAndNothingIsChanged) {
  const auto a = host("a", "sleep 600");
  const Port plain = rig_.port("plain");
  for (const auto& [status, command, more, says] :
       std::vector<std::tuple<int, std::string, Words, std::string>>{
           {2, "link", {"a"}, "--down or --up"},
           {2, "link", {"a", "--up", "--down"}, "--down or --up"},
           {2, "link", {"", "--down"}, "is not a port name"},
           {1, "link", {"nobody", "--down"}, "no such port (attached: a, plain)"},
           {1, "link", {"plain", "--down"}, "takes no changes"},
           {2, "link", {"a", "--down", "--timeout", "soon"}, "soon"},
           {2, "partition", {"a,b"}, "two groups"},
           {2, "partition", {"a", "b"}, "is not a port name"},
           {2, "partition", {"a,,b", "/", "b"}, "empty name"},
           {2, "partition", {"a", "/", "a"}, "named twice"},
           {1, "partition", {"a", "/", std::string(2000, 'x')}, "no such port"},
           {1, "partition", {"a", "/", "plain"}, "takes no changes"},
           {2, "fault", {"a", "loss=5%", "--none"}, "exclude each other"},
           {2, "fault", {"a", " "}, "empty"},
           {1, "fault", {"a", "loss=101%"}, "101%"},
           {1, "fault", {"nobody"}, "no such port"},
           {2, "move", {"a", ""}, "is not a bus"}}) {
    const ToolResult result = change(command, more);
    EXPECT_EQ(result.status, status) << command << ": " << result.out;
    EXPECT_TRUE(contains(result.err, says)) << command;
  }
  EXPECT_EQ(change("changes", {}).out, "");
  EXPECT_EQ(port_in_stat("a").at("line"), "");
  EXPECT_TRUE(contains(done("fault", {"a"}), "port a: no faults"));
  EXPECT_TRUE(contains(done("fault", {"plain"}), "takes no changes"));
}

TEST_F(Changing, BusesThatCannotBeChangedSayWhy) {
  const std::string netbsd = rig_.file("netbsd");
  Bus::create(netbsd, {.format = BusFormat::netbsd}).value();
  for (const Words& words :
       {Words{"fault", netbsd, "a", "--none"}, Words{"link", netbsd, "a", "--down"},
        Words{"partition", netbsd, "a", "/", "b"}, Words{"heal", netbsd}, Words{"changes", netbsd},
        Words{"move", netbsd, "a", rig_.path()}}) {
    const ToolResult result = run_tool(words);
    EXPECT_EQ(result.status, 1) << words[0];
    EXPECT_TRUE(contains(result.err, "NetBSD's format")) << words[0];
  }
  const ToolResult none = run_tool({"link", rig_.file("none"), "a", "--down"});
  EXPECT_EQ(none.status, 1);
  EXPECT_TRUE(contains(none.err, "No such file"));
}

TEST_F(Changing, AStoppedHostDoesNotAnswerAndDoesNotApplyTheChangeLater) {
  const auto a = host("a", "sleep 600");
  a->stop();
  const ToolResult late = change("link", {"a", "--down", "--timeout", "0.2"});
  EXPECT_EQ(late.status, 1);
  EXPECT_TRUE(contains(late.err, "did not answer within 200 ms"));
  a->signal(SIGCONT);
  EXPECT_EQ(done("link", {"a", "--up"}), "the link of port a is up already\n");
  EXPECT_EQ(port_in_stat("a").at("line"), "");
  const std::string log = change("changes", {}).out;
  EXPECT_FALSE(contains(log, "link down"));
}

/// Sends frames from one port of the test while changes are made, and captures them.
class ChangesInCaptures : public Changing {
 protected:
  void SetUp() override {
    Changing::SetUp();
    if (IsSkipped()) return;
    host_ = host("a", "sleep 600");
    sender_.emplace(rig_.port("sender"));
  }
  void send_frames(int count) {
    for (int i = 0; i < count; ++i) send(*sender_, {arp_request()});
  }
  /// Of the last change of this text.
  static std::uint64_t before_frame(const json& log, const std::string& what) {
    const json& all = log.at("changes");
    for (auto each = all.rbegin(); each != all.rend(); ++each) {
      if (each->at("change") == what) return each->at("before_frame");
    }
    ADD_FAILURE() << what << " is not in the log";
    return 0;
  }

  std::unique_ptr<Tool> host_;
  std::optional<Port> sender_;
};

TEST_F(ChangesInCaptures, EachChangeIsACommentOfTheFirstFrameAfterItOrOfTheEnd) {
  if (!has_tshark()) GTEST_SKIP() << "no tshark here";
  for (const std::string way : {"--down", "--up"}) done("link", {"a", way});  // before the capture
  Tool dump({shmifctl_path(), "dump", rig_.path(), "--name", "dump", "-w", rig_.file("x.pcapng"),
             "arp", "and", "src", "host", "198.18.0.1"});
  ASSERT_TRUE(rig_.wait_for_port("dump"));
  const std::uint64_t first = Bus::open(rig_.path()).value().info().frames;
  send_frames(3);
  done("link", {"a", "--down"});
  send_frames(2);
  done("link", {"a", "--up"});
  dump.signal(SIGINT);
  const ToolResult ended = dump.finish();
  EXPECT_EQ(ended.status, 0) << ended.err;
  const json log = json::parse(run_tool({"changes", rig_.path(), "--json"}).out);
  // The host may have sent frames of its own.
  const std::uint64_t down = before_frame(log, "link down");
  const std::uint64_t up = before_frame(log, "link up");
  EXPECT_GE(down, first + 3);
  EXPECT_GE(up, down + 2);
  const auto rows = comments(rig_.file("x.pcapng"));
  ASSERT_EQ(rows.size(), 5U);
  for (const std::size_t i : {0U, 1U, 2U, 4U}) EXPECT_EQ(rows[i].second, "") << i;
  EXPECT_TRUE(
      contains(rows[3].second, "port a: link down (from frame " + std::to_string(down) + " on)"));
  const ToolResult about = run_program({"capinfos", rig_.file("x.pcapng")});
  EXPECT_EQ(about.status, 0) << about.err;
  EXPECT_TRUE(contains(about.out, "port a: link up (from frame " + std::to_string(up)));
  EXPECT_EQ(read_capture(rig_.file("x.pcapng")).size(), 5U) << "libpcap reads it, too";
}

TEST_F(ChangesInCaptures, APcapFileCannotHoldThemAndLinesShowThem) {
  Tool pcap({shmifctl_path(), "dump", rig_.path(), "--name", "dump", "-w", rig_.file("x.pcap")});
  Tool text({shmifctl_path(), "dump", rig_.path(), "--name", "text"});
  ASSERT_TRUE(rig_.wait_for_port("dump") && rig_.wait_for_port("text"));
  for (int i = 0; i < 2; ++i) {
    done("link", {"a", i == 0 ? "--down" : "--up"});
    send_frames(1);
  }
  EXPECT_TRUE(text.wait_for("-- port a: link down (from frame "));
  EXPECT_TRUE(text.wait_for("-- port a: link up (from frame "));
  for (Tool* const each : {&pcap, &text}) each->signal(SIGINT);
  EXPECT_EQ(text.finish().status, 0);
  const ToolResult ended = pcap.finish();
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(times_in(ended.err, "a pcap file cannot hold that"), 1U) << ended.err;
}

TEST_F(ChangesInCaptures, ABridgeToACaptureNotesThemToo) {
  for (const std::string name : {"y.pcapng", "y.pcap"}) {
    Tool bridge({shmifctl_path(), "bridge", "bus:" + rig_.path(), "pcap:" + rig_.file(name),
                 "--port-name", "dump"});
    ASSERT_TRUE(rig_.wait_for_port("dump"));
    for (const std::string way : {"--down", "--up"}) {
      done("link", {"a", way});
      send_frames(1);
    }
    done("link", {"a", "--down"});  // and no frame after it
    bridge.signal(SIGINT);
    const ToolResult ended = bridge.finish();
    EXPECT_EQ(ended.status, 0) << ended.err;
    std::ifstream in(rig_.file(name), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    const bool holds = name == "y.pcapng";
    EXPECT_EQ(times_in(bytes, "port a: link down (from frame "), holds ? 2U : 0U);
    EXPECT_EQ(times_in(bytes, "port a: link up (from frame "), holds ? 1U : 0U);
    EXPECT_EQ(times_in(ended.err, "a pcap file cannot hold that"), holds ? 0U : 1U) << ended.err;
    done("link", {"a", "--up"});
  }
}

TEST_F(ChangesInCaptures, TheLogIsFollowedAsLinesAndAsJson) {
  done("link", {"a", "--down"});
  Tool lines({shmifctl_path(), "changes", rig_.path(), "--follow"});
  Tool objects({shmifctl_path(), "changes", rig_.path(), "--follow", "--json"});
  EXPECT_TRUE(lines.wait_for("port a: link down"));
  EXPECT_TRUE(objects.wait_for("\"link down\""));
  done("link", {"a", "--up"});
  EXPECT_TRUE(lines.wait_for("port a: link up"));
  EXPECT_TRUE(objects.wait_for("\"link up\""));
  for (Tool* const each : {&lines, &objects}) each->signal(SIGTERM);
  EXPECT_EQ(lines.finish().status, 0);
  const ToolResult ended = objects.finish();
  EXPECT_EQ(ended.status, 0);
  std::istringstream in(ended.out);
  Words texts;
  for (std::string line; std::getline(in, line);) texts.push_back(json::parse(line).at("change"));
  EXPECT_EQ(texts, (Words{"link down", "link up"}));
}

TEST_F(Changing, WhoFollowsTheLogTooSlowlyIsToldHowManyChangesWereOverwritten) {
  const Port port = rig_.port("web");
  ChangeDesk desk = ChangeDesk::open(port).value();
  Tool follower({shmifctl_path(), "changes", rig_.path(), "--follow"});
  desk.note("first");
  ASSERT_TRUE(follower.wait_for("port web: first"));
  follower.signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] {
    std::ifstream in("/proc/" + std::to_string(follower.pid()) + "/stat");
    const std::string text(std::istreambuf_iterator<char>(in), {});
    return contains(text, ") T ");
  }));
  for (int i = 0; i < 100; ++i) desk.note("change " + std::to_string(i));
  follower.signal(SIGCONT);
  ASSERT_TRUE(follower.wait_for("port web: change 99"));
  desk.note("last");
  ASSERT_TRUE(follower.wait_for("port web: last"));
  follower.signal(SIGTERM);
  const ToolResult ended = follower.finish();
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(count_of_lines(ended.out), 1 + 96 + 1);
  EXPECT_EQ(ended.err, "shmifctl: 4 changes were overwritten before they could be read\n");
}

/// What a hostile writer put into the journal does not reach the terminal.
TEST_F(Changing, TheLogOfAHostileWriterCannotControlATerminal) {
  const Port port = rig_.port("web");
  ChangeDesk desk = ChangeDesk::open(port).value();
  desk.note("fault \x1b[2Jred\nsecond line");
  desk.show("fault \x1b[2J", false);
  const std::string log = change("changes", {}).out;
  EXPECT_EQ(log.find('\x1b'), std::string::npos);
  EXPECT_EQ(count_of_lines(log), 1);
  EXPECT_EQ(run_tool({"stat", rig_.path()}).out.find('\x1b'), std::string::npos);
  EXPECT_EQ(change("fault", {"web"}).out.find('\x1b'), std::string::npos);
  const json all = json::parse(change("changes", {"--json"}).out);
  EXPECT_EQ(all.at("changes").at(0).at("change"), "fault \x1b[2Jred\nsecond line");
}

// What changes of a line leave as it was: later losses, partitions of hosts that start again,
// addresses; and where they stand.

constexpr std::size_t kPlaceOfNumber = 14;

/// A frame for all, with a number.
Bytes frame_with_number(unsigned number) {
  Bytes frame(60);
  for (std::size_t i = 0; i < 6; ++i) frame[i] = std::byte{0xff};
  frame[6] = std::byte{0x02};
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb5};  // IEEE 802: local experiments
  frame[kPlaceOfNumber] = static_cast<std::byte>(number >> 8U);
  frame[kPlaceOfNumber + 1] = static_cast<std::byte>(number & 0xffU);
  return frame;
}

std::uint64_t rx_frames_of(const std::string& bus, const std::string& name) {
  for (const PortInfo& port : Bus::open(bus).value().info().ports) {
    if (port.name == name) return port.rx_frames;
  }
  return 0;
}

/// Frames that cross a `shmifctl bridge` between two buses, whose port "line" has faults.
class Crossing {
 public:
  static constexpr unsigned kOfTwo = 1000;  ///< numbers from here on: frames of port "two"

  Crossing() : far_((Bus::create(rig_.file("other"), {}).value(), rig_.file("other"))) {}

  void open(const Words& more = {}) {
    Words words =
        Words{shmifctl_path(), "bridge", "bus:" + rig_.path(), "bus:" + rig_.file("other"),
              "--port-name",   "line"} +
        more;
    ear_.emplace(port_on(far_, {.name = "ear", .promiscuous = true}));
    one_.emplace(rig_.port("one"));
    two_.emplace(rig_.port("two"));
    bridge_.emplace(std::move(words));
    ASSERT_TRUE(rig_.wait_for_port("line"));
  }
  void fault(const std::string& spec) {
    const ToolResult said = run_tool({"fault", rig_.path(), "line", spec});
    ASSERT_EQ(said.status, 0) << said.err;
  }
  void ask(const std::string& change) {
    const auto said = request_change(rig_.path(), "line", change, std::chrono::seconds(60));
    ASSERT_TRUE(said) << said.error().message;
  }
  void send_one(unsigned number) { put(*one_, number); }
  void send_two(unsigned number) { put(*two_, kOfTwo + number); }
  /// Waits until the port of the bridge has received all frames that were sent.
  void settle() {
    EXPECT_TRUE(eventually([&] { return rx_frames_of(rig_.path(), "line") == sent_; }));
  }
  /// The numbers of the frames that have come through since the last call, in their order.
  std::vector<unsigned> heard() {
    const unsigned end = ++last_end_;
    std::vector<unsigned> numbers;
    FrameBatch batch;
    EXPECT_TRUE(eventually([&] {
      put(*one_, end);  // some of these are lost, too
      static_cast<void>(ear_->wait(std::chrono::milliseconds(20)));
      batch.clear();
      static_cast<void>(ear_->receive(batch));
      bool is_end = false;
      for (const FrameView& frame : batch.frames()) {
        const unsigned number = std::to_integer<unsigned>(frame.bytes[kPlaceOfNumber]) << 8U |
                                std::to_integer<unsigned>(frame.bytes[kPlaceOfNumber + 1]);
        if (number < kFirstEnd) numbers.push_back(number);
        is_end |= number == end;
      }
      return is_end;
    }));
    settle();
    return numbers;
  }

 private:
  static constexpr unsigned kFirstEnd = 0xff00;

  void put(Port& port, unsigned number) {
    send(port, {frame_with_number(number)});
    ++sent_;
  }

  BusRig rig_;
  std::string far_;
  std::optional<Port> ear_, one_, two_;
  std::optional<Tool> bridge_;
  std::uint64_t sent_ = 0;
  unsigned last_end_ = kFirstEnd;
};

constexpr unsigned kSent = 200;

std::vector<unsigned> heard_with(const std::string& faults) {
  Crossing crossing;
  crossing.open();
  for (unsigned i = 0; i < 20; ++i) crossing.send_one(i);
  EXPECT_EQ(crossing.heard().size(), 20U) << "it loses nothing yet";
  crossing.fault(faults);
  for (unsigned i = 0; i < kSent; ++i) crossing.send_one(i);
  return crossing.heard();
}

TEST(ChangedLines, FaultsThatAreSetWhileItRunsLoseTheSameFramesForTheSameSeed) {
  const std::vector<unsigned> first = heard_with("in:loss=30%,seed=7");
  EXPECT_GT(first.size(), kSent / 3);
  EXPECT_LT(first.size(), kSent);
  EXPECT_EQ(heard_with("in:loss=30%,seed=7"), first);
  EXPECT_NE(heard_with("in:loss=30%,seed=8"), first);
}

/// A partition or a link that is down takes away frames before faults draw random numbers for them.
TEST(ChangedLines, WhatAPartitionOrALinkThatIsDownKeepsAwayChangesNoLaterLoss) {
  const auto heard_past = [](const std::string& change) {
    Crossing crossing;
    crossing.open();
    crossing.fault("in:loss=30%,seed=7");
    for (unsigned i = 0; i < kSent / 2; ++i) crossing.send_one(i);
    crossing.settle();
    if (!change.empty()) crossing.ask(change);
    if (change == "link down") {
      for (unsigned i = 0; i < 50; ++i) crossing.send_two(i);
      crossing.settle();
      crossing.ask("link up");
    }
    for (unsigned i = kSent / 2; i < kSent; ++i) {
      if (change.starts_with("partition")) crossing.send_two(i);
      crossing.send_one(i);
    }
    return crossing.heard();
  };
  const std::vector<unsigned> whole = heard_past("");
  EXPECT_GT(whole.size(), kSent / 3);
  EXPECT_EQ(heard_past("partition line / two"), whole);
  EXPECT_EQ(heard_past("link down"), whole);
}

/// The changes in the journal of a bus, each with the port before it.
Words log_of(const std::string& bus) {
  Words texts;
  for (const BusChange& each : changes(Bus::open(bus).value()))
    texts.push_back(each.port + ": " + each.text);
  return texts;
}

std::string line_text_of(const std::string& bus, const std::string& port) {
  for (const LineState& each : line_states(Bus::open(bus).value())) {
    if (each.port == port) return each.text;
  }
  return "no such port";
}

TEST_F(Changing, FaultsFromTheStartOfATapAndOfABridgeToProgramsStandInTheLog) {
  Tool peers({shmifctl_path(), "bridge", "bus:" + rig_.path(), "stream:" + rig_.file("socket"),
              "--port-name", "vm", "--fault", "drop=7"});
  ASSERT_TRUE(peers.wait_for("ready"));
  for (int times = 0; times < 2; ++times) {
    Tool peer({shmifctl_path(), "bridge", "bus:" + rig_.path(),
               "stream:connect=" + rig_.file("socket"), "--port-name", "other"});
    ASSERT_TRUE(peer.wait_for("connected"));
    EXPECT_TRUE(eventually([&] {
      return log_of(rig_.path()).size() == static_cast<std::size_t>(times) + 1;
    })) << log_of(rig_.path()).size();
  }
  for (const std::string& each : log_of(rig_.path()))
    EXPECT_TRUE(each.starts_with("vm") && each.ends_with(": fault drop=7")) << each;
  if (::geteuid() != 0) GTEST_SKIP() << "tap needs root";
  Tool tap({"unshare", "-n", shmifctl_path(), "tap", rig_.path(), "--name", "lab0", "--fault",
            "loss=2%"});
  if (!rig_.wait_for_port("lab0")) GTEST_SKIP() << "no TAP devices here: " << tap.finish().err;
  EXPECT_EQ(log_of(rig_.path()).back(), "lab0: fault loss=2%");
  EXPECT_EQ(line_text_of(rig_.path(), "lab0"), "fault loss=2%");
}

TEST_F(Changing, ALinkCanBeDownFromTheStart) {
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24", "--link-down"});
  const auto b = host("b", "sleep 600", {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(log_of(rig_.path()), Words{"a: link down"});
  EXPECT_EQ(port_in_stat("a").at("line"), "link down");
  EXPECT_TRUE(
      eventually([&] { return inside("a", "cat /sys/class/net/tap0/carrier").out == "0\n"; }));
  EXPECT_FALSE(reaches("b", "198.18.0.1"));
  EXPECT_EQ(done("link", {"a", "--down"}), "the link of port a is down already\n");
  EXPECT_EQ(log_of(rig_.path()).size(), 1U);
  EXPECT_EQ(done("link", {"a", "--up"}), "the link of port a is up\n");
  EXPECT_TRUE(eventually([&] { return reaches("b", "198.18.0.1"); }));
  if (::geteuid() != 0) return;  // tap needs root
  Tool tap({"unshare", "-n", shmifctl_path(), "tap", rig_.path(), "--name", "lab0", "--ip",
            "198.18.0.9/24", "--link-down"});
  if (!rig_.wait_for_port("lab0")) GTEST_SKIP() << "no TAP devices here: " << tap.finish().err;
  EXPECT_TRUE(eventually([&] {
    const ToolResult shown = run_program(
        {"nsenter", "-t", std::to_string(tap.pid()), "-n", "ip", "link", "show", "lab0"});
    return contains(shown.out, "NO-CARRIER");
  }));
  EXPECT_FALSE(reaches("b", "198.18.0.9"));
  done("link", {"lab0", "--up"});
  EXPECT_TRUE(eventually([&] { return reaches("b", "198.18.0.9"); }));
}

TEST_F(Changing, ALineThatWasChangedStaysSoWhenItsBusIsLostAndMadeAgain) {
  const auto a = host("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  done("link", {"a", "--down"});
  done("fault", {"a", "in:loss=100%"});
  std::filesystem::resize_file(rig_.path(), 0);
  ASSERT_TRUE(
      a->wait_for("tap0 has no carrier until there is a bus at that path again and its "
                  "link is up"));
  std::filesystem::remove(rig_.path());
  Bus::create(rig_.path(), {}).value();
  ASSERT_TRUE(rig_.wait_for_port("a"));
  ASSERT_TRUE(a->wait_for("again, and tap0 has no carrier while its link is down"));
  EXPECT_EQ(inside("a", "cat /sys/class/net/tap0/carrier").out, "0\n");
  EXPECT_EQ(line_text_of(rig_.path(), "a"), "link down, fault in:loss=100%");
  EXPECT_EQ(log_of(rig_.path()), (Words{"a: fault in:loss=100%", "a: link down"}));
  EXPECT_TRUE(contains(done("fault", {"a"}), "in:loss=100%"));
  const auto b = host("b", "sleep 600", {"--ip", "198.18.0.2/24"});
  EXPECT_EQ(done("link", {"a", "--up"}), "the link of port a is up\n");
  EXPECT_EQ(inside("a", "cat /sys/class/net/tap0/carrier").out, "1\n");
  EXPECT_FALSE(reaches("b", "198.18.0.1")) << "its faults hold on the new bus, too";
  done("fault", {"a", "--none"});
  EXPECT_TRUE(eventually([&] { return reaches("b", "198.18.0.1"); }));
}

TEST_F(Changing, WhoMayOnlyReadABusSeesTheLogAndIsToldWhyItCannotChangeAnything) {
  if (::geteuid() != 0 || !others_can_run_tool()) GTEST_SKIP() << "needs root, to be another user";
  const auto a = host("a", "sleep 600");
  done("link", {"a", "--down"});
  std::filesystem::permissions(rig_.directory(), std::filesystem::perms(0755));
  std::filesystem::permissions(rig_.path(), std::filesystem::perms(0644));
  const auto as_other = [&](Words words) {
    return run_program(Words{"setpriv", "--reuid", "65001", "--regid", "65001", "--clear-groups",
                             shmifctl_path()} +
                       words);
  };
  const ToolResult log = as_other({"changes", rig_.path()});
  EXPECT_EQ(log.status, 0) << log.err;
  EXPECT_TRUE(contains(log.out, "port a: link down"));
  EXPECT_TRUE(contains(as_other({"fault", rig_.path(), "a"}).out, "port a: link down"));
  for (const Words& words :
       {Words{"fault", rig_.path(), "a", "loss=1%"}, Words{"link", rig_.path(), "a", "--up"},
        Words{"partition", rig_.path(), "a", "/", "b"}, Words{"heal", rig_.path()},
        Words{"move", rig_.path(), "a", rig_.file("other")}}) {
    const ToolResult result = as_other(words);
    EXPECT_EQ(result.status, 1) << words[0];
    EXPECT_TRUE(contains(result.err, "Permission denied") && contains(result.err, rig_.path()))
        << words[0] << ": " << result.err;
  }
  EXPECT_EQ(line_text_of(rig_.path(), "a"), "link down");
}

}  // namespace
}  // namespace shmif::test
