// shmifctl fault, link, partition, heal, move and changes, on hosts that run.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "shmif/control/change.hpp"
#include "shmif/control/change_desk.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/changing_rig.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
