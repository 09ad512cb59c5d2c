// What --json of dump, inject, bridge and gateway prints for states in which each figure has a
// value of its own.

#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/tools/show/shown_figures.hpp"
#include "tools/capture/dump_sink.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

/// The sum of all fates of the frames of a way.
std::uint64_t fates_in(const json& way) {
  std::uint64_t sum = 0;
  for (const char* const name :
       {"tx_frames", "lost_frames", "too_long_frames", "timed_out_frames", "refused_frames",
        "rule_refused_frames", "link_down_frames", "unheard_frames", "interface_down_frames",
        "interface_queue_full_frames", "consumed_frames", "under_way_frames"}) {
    if (way[name] != nullptr) sum += way[name].get<std::uint64_t>();
  }
  return sum;
}

/// On this way, everything that can happen to a frame has happened.
tools::BridgeWay way_of_all() {
  tools::BridgeWay way{.from = "bus:/a", .to = "tap:b"};
  way.counters = {.received = 1000 + 20 + 4 + 5 + 6 + 7,  // 7 wait in the bridge
                  .frames = 1000,
                  .bytes = 64'001,
                  .segments = 1200,
                  .batches = 77,
                  .consumed = 20,
                  .lost = 3,
                  .dropped_full = 4,
                  .dropped_too_long = 5,
                  .dropped_error = 6};
  way.filtered = 9;
  return way;
}

TEST(BridgeFigures, JsonHasEachUnderItsNameAndTheSumIsRight) {
  tools::BridgeWay way = way_of_all();
  way.has_device = true;
  way.sink_device.sent_bytes = 31;
  way.sink_device.dropped_down = 34;
  way.sink_device.dropped_full = 35;
  way.sink_refused = 51;
  way.sink_waiting = 52;
  way.has_faults = true;
  OwnNumbers(41).fill(way.faults.lost, way.faults.duplicated, way.faults.reordered,
                      way.faults.corrupted, way.faults.truncated, way.faults.queue_full,
                      way.faults.under_way);
  way.faults.frames = 41 + 46 + 47 + way.counters.received - 42;
  FaultOptions options = parse_faults("loss=3%,delay=5ms").value();
  options.seed = 48;
  json faults = {{"options", "loss=3%,delay=5ms"},
                 {"seed", 48},
                 {"frames", 1134},
                 {"lost_frames", 41},
                 {"duplicated_frames", 42},
                 {"reordered_frames", 43},
                 {"corrupted_frames", 44},
                 {"truncated_frames", 45},
                 {"queue_full_frames", 46},
                 {"under_way_frames", 47}};
  json end = faults;
  end["at"] = "bus:/a";
  faults["ends"] = json::array({end});
  json expected = {
      {"from", "bus:/a"},
      {"to", "tap:b"},
      {"offered_frames", 1137},
      {"tx_frames", 1000 - 34 - 35 - 51 - 52},
      {"tx_segments", nullptr},
      {"tx_bytes", 31},
      {"lost_frames", 3 + 41 + 46},
      {"overrun_frames", 3},
      {"too_long_frames", 5},
      {"timed_out_frames", 4},
      {"refused_frames", 6 + 51},
      {"rule_refused_frames", 9},
      {"link_down_frames", 0},
      {"unheard_frames", 0},
      {"interface_down_frames", 34},
      {"interface_queue_full_frames", 35},
      {"consumed_frames", 11},
      {"under_way_frames", 7 + 47 + 52},
      {"faults", faults},
      {"why_null",
       {{"tx_segments", "not all of the frames that the other link took were passed on"}}}};
  const json shown = json::parse(tools::json_text(tools::to_json(way, options)));
  EXPECT_EQ(shown, expected) << json::diff(expected, shown);
  EXPECT_EQ(fates_in(shown), 1137 + 42) << "what came, and the copies";
}

/// A way whose source and sink are lines, with everything that these count.
tools::BridgeWay way_between_lines() {
  tools::BridgeWay way = way_of_all();
  way.filtered = {};
  way.has_faults = way.has_sink_faults = true;
  OwnNumbers(41).fill(way.faults.lost, way.faults.duplicated, way.faults.queue_full,
                      way.faults.under_way);
  way.faults.frames = 41 + 43 + 44 + way.counters.received - 42;
  way.cut_at_source = 61;
  way.cut_at_sink = 62;
  way.unheard = 63;
  OwnNumbers(71).fill(way.sink_faults.lost, way.sink_faults.duplicated, way.sink_faults.queue_full);
  way.sink_faults.frames = 79;
  way.sink_options = parse_faults("duplicate=7%,seed=78").value();
  way.sink_segments = 500;
  way.sink_waiting = 75;
  way.sink_refused = 76;
  return way;
}

TEST(BridgeFigures, JsonOfAWayBetweenLinesHasWhatBothDidAndTheSumIsRight) {
  const FaultOptions options = parse_faults("loss=3%,delay=5ms").value();
  const json shown = json::parse(tools::json_text(tools::to_json(way_between_lines(), options)));
  EXPECT_EQ(shown["link_down_frames"], 61 + 62);
  EXPECT_EQ(shown["unheard_frames"], 63);
  EXPECT_EQ(shown["tx_frames"], 1000 + 500 + 72 - 71 - 73 - 62 - 75 - 76);
  EXPECT_EQ(shown["faults"]["lost_frames"], 41 + 71);
  EXPECT_EQ(shown["faults"]["queue_full_frames"], 43 + 73);
  EXPECT_EQ(shown["faults"]["under_way_frames"], 44 + 75);
  EXPECT_EQ(shown["faults"]["duplicated_frames"], 42 + 72);
  EXPECT_EQ(fates_in(shown), shown["offered_frames"].get<std::uint64_t>() + 42 + 72);
}

TEST(BridgeFigures, AWayBetweenLinesNamesTheFaultsOfBothEnds) {
  const tools::BridgeWay way = way_between_lines();
  const FaultOptions options = parse_faults("loss=3%,delay=5ms,seed=77").value();
  const json shown = json::parse(tools::json_text(tools::to_json(way, options)))["faults"];
  EXPECT_EQ(shown["options"], nullptr);
  EXPECT_EQ(shown["seed"], nullptr);
  EXPECT_EQ(shown["why_null"], json({{"options", "each end has its own: see ends"},
                                     {"seed", "each end has its own: see ends"}}));
  json source = {{"at", "bus:/a"},
                 {"options", "loss=3%,delay=5ms"},
                 {"seed", 77},
                 {"frames", way.faults.frames},
                 {"lost_frames", 41},
                 {"duplicated_frames", 42},
                 {"reordered_frames", 0},
                 {"corrupted_frames", 0},
                 {"truncated_frames", 0},
                 {"queue_full_frames", 43},
                 {"under_way_frames", 44}};
  json sink = {{"at", "tap:b"},
               {"options", "duplicate=7%"},
               {"seed", 78},
               {"frames", 79},
               {"lost_frames", 71},
               {"duplicated_frames", 72},
               {"reordered_frames", 0},
               {"corrupted_frames", 0},
               {"truncated_frames", 0},
               {"queue_full_frames", 73},
               {"under_way_frames", 75}};
  EXPECT_EQ(shown["ends"], json({source, sink}));
  const std::string text = tools::faults_text(way, options);
  EXPECT_TRUE(contains(text, "bus:/a -> tap:b: faults at bus:/a loss=3%,delay=5ms,seed=77: "));
  EXPECT_TRUE(
      contains(text, "bus:/a -> tap:b: faults at tap:b duplicate=7%,seed=78: 79 frames came, 71 "));
}

TEST(BridgeFigures, JsonOfAWayOnWhichAllArrivedHasTheirSegmentsAndReasonsForTheRest) {
  const json shown = json::parse(tools::json_text(tools::to_json(way_of_all())));
  EXPECT_EQ(shown["tx_frames"], 1000);
  EXPECT_EQ(shown["tx_segments"], 1200);
  EXPECT_EQ(shown["tx_bytes"], 64'001);
  EXPECT_EQ(shown["offered_frames"], 1045);
  EXPECT_EQ(fates_in(shown), 1045U);
  EXPECT_EQ(shown["why_null"],
            json({{"interface_down_frames", "the link is not a network interface"},
                  {"interface_queue_full_frames", "the link is not a network interface"},
                  {"faults", "no faults were asked for"}}));
}

/// What a bridge says of its programs.
json programs_of(const tools::PeerProtocol& protocol, tools::Connections connections) {
  tools::PeerBridge bridge;
  bridge.protocol = &protocol;
  tools::Totals totals;
  OwnNumbers(11).fill(totals.drops.too_long, totals.drops.too_short, totals.drops.bad_header,
                      totals.drops.discarded, totals.drops.not_ready, totals.drops.no_room,
                      totals.peers, totals.while_away);
  return json::parse(tools::json_text(tools::to_json(bridge, connections, totals)))["programs"];
}

TEST(PeerFigures, JsonHasEachThatIsKnownAndAReasonForEachThatIsNot) {
  EXPECT_EQ(programs_of(tools::kVhostProtocol, tools::Connections::one),
            json({{"too_long_frames", 11},
                  {"too_short_frames", 12},
                  {"bad_header_frames", 13},
                  {"disabled_queue_frames", 14},
                  {"not_ready_frames", 15},
                  {"no_room_frames", 16},
                  {"connections", 17},
                  {"disconnected_frames", 18}}));
  const json memif = programs_of(tools::kMemifProtocol, tools::Connections::many);
  EXPECT_EQ(memif["not_ready_frames"], 15);
  EXPECT_EQ(memif["no_room_frames"], 16);
  EXPECT_EQ(
      memif["why_null"],
      json({{"disconnected_frames", "a program has a port only while it is connected"},
            {"bad_header_frames", "frames of this link have no headers of their own"},
            {"disabled_queue_frames", "this link has no queues that a program can disable"}}));
  const json datagrams = programs_of(tools::kStreamProtocol, tools::Connections::none);
  EXPECT_EQ(datagrams["connections"], nullptr);
  const char* const no_memory = "the program does not share its memory";
  EXPECT_EQ(datagrams["why_null"],
            json({{"connections", "programs that send datagrams do not connect"},
                  {"disconnected_frames", "whether a program is there is not known"},
                  {"bad_header_frames", "frames of this link have no headers of their own"},
                  {"disabled_queue_frames", "this link has no queues that a program can disable"},
                  {"not_ready_frames", no_memory},
                  {"no_room_frames", no_memory}}));
}

TEST(PeerFigures, JsonCountsWhatTheLinkOfAProgramTookInVainAsRefused) {
  tools::PeerBridge bridge;
  bridge.bus_text = "bus:/b";
  bridge.peer_text = "peer:/p";
  bridge.protocol = &tools::kVhostProtocol;
  tools::Totals totals;
  totals.frames.to_right = {.received = 100, .frames = 90, .dropped_error = 10};
  totals.frames.to_left = {.received = 7, .frames = 7, .bytes = 700, .segments = 8};
  totals.drops.not_ready = 1;
  totals.drops.no_room = 2;
  const json ways = json::parse(
      tools::json_text(tools::to_json(bridge, tools::Connections::one, totals, 4)))["directions"];
  EXPECT_EQ(ways[0]["from"], "bus:/b");
  EXPECT_EQ(ways[0]["tx_frames"], 83);
  EXPECT_EQ(ways[0]["refused_frames"], 17);
  EXPECT_EQ(ways[1]["from"], "peer:/p");
  EXPECT_EQ(ways[1]["tx_segments"], 8);
}

TEST(JsonOutput, LeavesOnlyTheObjectOnStandardOutputAndRestoresIt) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  {
    const tools::JsonOutput output(true);
    std::fputs("before\n", stdout);
    output.print("{}\n");
    std::fputs("after\n", stdout);
  }
  std::fputs("later\n", stdout);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "{}\nlater\n");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "before\nafter\n");
}

TEST(JsonText, PutsTheReasonsBehindTheFiguresAndReplacesWhatIsNotUtf8) {
  tools::Json object;
  tools::set_figure(object, "a", {}, "no a");
  tools::set_figure(object, "b", 7, "no b");
  object["inner"] = tools::Json::object();
  tools::set_null(object["inner"], "c", "no c");
  object["inner"]["d"] = "\xff";
  EXPECT_EQ(tools::json_text(object),
            "{\n"
            "  \"a\": null,\n"
            "  \"b\": 7,\n"
            "  \"inner\": {\n"
            "    \"c\": null,\n"
            "    \"d\": \"\\ufffd\",\n"
            "    \"why_null\": {\n"
            "      \"c\": \"no c\"\n"
            "    }\n"
            "  },\n"
            "  \"why_null\": {\n"
            "    \"a\": \"no a\"\n"
            "  }\n"
            "}\n");
}

}  // namespace
}  // namespace shmif::test
