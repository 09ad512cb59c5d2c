// What top, ping, dump and bridge print for states in which each figure has a value of its own.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/tools/show/shown_figures.hpp"
#include "tools/capture/dump_sink.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/peer.hpp"
#include "tools/show/ping_report.hpp"
#include "tools/show/top_text.hpp"

namespace shmif::test {
namespace {

// ---- top ----

/// Not one second, so that a test notices a rate that was not divided by the time.
constexpr std::chrono::milliseconds kBetweenLooks{2500};

/// The value of a counter that was `before` and has grown by `rate` per second since.
std::uint64_t grown_at(std::uint64_t before, std::uint64_t rate) {
  return before + rate * 5 / 2;
}

/// The port at the first look and at the second. Its rates begin at `first` thousand.
std::pair<PortInfo, PortInfo> port_at_work(unsigned slot, const std::string& name,
                                           std::uint64_t first) {
  PortInfo before;
  before.slot = slot;
  before.name = name;
  before.mac = MacAddress::from_u64(0xb2a000000000 + slot);
  before.incarnation = slot + 1;
  before.pid = static_cast<int>(700 + slot);
  before.live = before.up = true;
  before.link = LinkKind::tap;
  // Every counter has a different value, so that the test notices two exchanged counters.
  OwnNumbers(10'000'000)
      .fill(before.tx_frames, before.tx_bytes, before.rx_frames, before.rx_bytes, before.own_frames,
            before.filtered_frames, before.skipped_frames, before.overruns, before.lost_frames,
            before.lost_bytes, before.corrupt, before.wakeups, before.doorbells, before.lock_sleeps,
            before.pauses, before.paused_ns, before.tx_segments, before.rx_segments,
            before.too_long_frames, before.refused_frames, before.stalls);
  before.lost_frames = 0;
  before.unread_bytes = first << 16U;
  PortInfo now = before;
  std::uint64_t rate = first * 1000;
  for (std::uint64_t PortInfo::* const counter :
       {&PortInfo::tx_segments, &PortInfo::tx_bytes, &PortInfo::rx_segments, &PortInfo::rx_bytes,
        &PortInfo::lost_frames, &PortInfo::wakeups, &PortInfo::doorbells, &PortInfo::lock_sleeps,
        &PortInfo::tx_frames, &PortInfo::rx_frames, &PortInfo::lost_bytes, &PortInfo::overruns}) {
    now.*counter = grown_at(before.*counter, rate);
    rate += 1000;
  }
  return {before, now};
}

/// A bus with three ports: one works, one works without a carrier, and the process of one is dead.
tools::TopView view_of_work() {
  tools::Sample before{{}, {}};
  BusInfo& bus = before.info;
  bus.path = "/dev/shm/figures";
  bus.file_system = "tmpfs";
  bus.ring_bytes = 8U << 20U;
  bus.mtu = 1501;
  bus.first = 3U << 20U;
  bus.last = bus.first + (6U << 20U);
  OwnNumbers(11).fill(bus.generation, bus.frames, bus.epoch, bus.takeovers_dead,
                      bus.takeovers_living, bus.lock_acquisitions);
  tools::Sample now{before.when + kBetweenLooks, bus};
  now.info.lock_acquisitions = grown_at(bus.lock_acquisitions, 91'000);
  now.info.frames = grown_at(bus.frames, 92'000);
  for (auto& [old_look, look] :
       {port_at_work(3, "alice", 20), port_at_work(5, "bob", 40), port_at_work(6, "carol", 60)}) {
    before.info.ports.push_back(old_look);
    now.info.ports.push_back(look);
  }
  now.info.ports[1].carrier = false;
  now.info.ports[1].link = LinkKind::veth;
  now.info.ports[2].live = false;
  now.info.ports[2].link = LinkKind::library;
  now.info.lock_holder = 5;
  tools::TopView view{now.info, tools::rates_between(before, now)};
  view.look.order = tools::TopOrder::slot;
  return view;
}

std::vector<ShownRow> expected_rates() {
  return {{{"SLOT", "3"},
           {"NAME", "alice"},
           {"LINK", "tap"},
           {"UP", "up"},
           {"PID", "703"},
           {"MAC", "b2:a0:00:00:00:03"},
           {"TX/s", "20.0k"},
           {"TXbit/s", "168k"},
           {"RX/s", "22.0k"},
           {"RXbit/s", "184k"},
           {"LOST/s", "24.0k"},
           {"LOST", "60.0k"},
           {"LAG", "15%"},
           {"WAKE/s", "25.0k"},
           {"BELL/s", "26.0k"},
           {"SLEEP/s", "27.0k"}},
          {{"SLOT", "5"},
           {"NAME", "bob"},
           {"LINK", "veth"},
           {"UP", "down"},
           {"PID", "705"},
           {"MAC", "b2:a0:00:00:00:05"},
           {"TX/s", "40.0k"},
           {"TXbit/s", "328k"},
           {"RX/s", "42.0k"},
           {"RXbit/s", "344k"},
           {"LOST/s", "44.0k"},
           {"LOST", "110k"},
           {"LAG", "31%"},
           {"WAKE/s", "45.0k"},
           {"BELL/s", "46.0k"},
           {"SLEEP/s", "47.0k"}},
          {{"SLOT", "6"},
           {"NAME", "carol"},
           {"LINK", "library"},
           {"UP", "dead"},
           {"PID", "706"},
           {"MAC", "b2:a0:00:00:00:06"},
           {"TX/s", "60.0k"},
           {"TXbit/s", "488k"},
           {"RX/s", "62.0k"},
           {"RXbit/s", "504k"},
           {"LOST/s", "64.0k"},
           {"LOST", "160k"},
           {"LAG", "46%"},
           {"WAKE/s", "65.0k"},
           {"BELL/s", "66.0k"},
           {"SLEEP/s", "67.0k"}}};
}

/// The lines of a screen of that size. Expects that each line fits.
Words screen_of(tools::TopView view, tools::Screen::Size size) {
  const Words lines = shown_lines(without_colours(tools::top_screen(view, size)));
  EXPECT_EQ(lines.size(), size.rows);
  for (const std::string& line : lines) EXPECT_LE(columns_shown(line), size.columns) << line;
  return lines;
}

std::vector<ShownRow> ports_on(const Words& screen) {
  Words table;
  for (const std::string& line : screen) {
    const Words words = shown_words(line);
    if (!table.empty() && words.empty()) break;
    if (!table.empty() || (!words.empty() && words[0] == "SLOT")) table.push_back(line);
  }
  return rows_below(table);
}

TEST(TopFigures, EachStandsUnderItsName) {
  EXPECT_EQ(ports_on(screen_of(view_of_work(), {.columns = 200, .rows = 24})), expected_rates());
}

TEST(TopFigures, ANarrowScreenHasFewerAndTheSame) {
  const std::vector<std::pair<unsigned, Words>> narrower{{122, {"SLEEP/s"}},
                                                         {114, {"BELL/s"}},
                                                         {107, {"WAKE/s"}},
                                                         {100, {"MAC"}},
                                                         {82, {"PID"}},
                                                         {74, {"LINK"}},
                                                         {66, {"TXbit/s", "RXbit/s"}},
                                                         {50, {"UP"}},
                                                         {45, {"TX/s", "RX/s"}},
                                                         {33, {"LAG"}},
                                                         {27, {"LOST/s"}}};
  std::vector<ShownRow> expected = expected_rates();
  for (const auto& [columns, left_out] : narrower) {
    for (ShownRow& row : expected) {
      for (const std::string& name : left_out) row.erase(name);
    }
    EXPECT_EQ(ports_on(screen_of(view_of_work(), {.columns = columns, .rows = 24})), expected)
        << columns;
  }
}

TEST(TopFigures, ThePastStandsInBarsBesideTheRate) {
  tools::TopView view = view_of_work();
  view.look.blocks = true;
  view.history = {0, 1000, 500, 7000, 3500};
  const auto first = screen_of(view, {.columns = 100, .rows = 24})[1];
  EXPECT_TRUE(contains(first, "120k    \u2581\u2582\u2582\u2588\u2585"));
  view.history.assign(200, 5.0);
  EXPECT_TRUE(contains(screen_of(view, {.columns = 50, .rows = 24})[1],
                       "\u2588\u2588\u2588\u2588\u2588 lost/s"));
  view.look.blocks = false;
  const auto plain = screen_of(view, {.columns = 100, .rows = 24})[1];
  EXPECT_FALSE(contains(plain, "\u2588"));
}

/// The names and values of the head. Each line has two names, each followed by its value.
ShownRow head_on(const Words& screen) {
  ShownRow head;
  for (std::size_t i = 1; i < 5; ++i) {
    for (const std::string& half : {screen[i].substr(0, 50), screen[i].substr(50)}) {
      std::string value = half.substr(11);
      value.erase(value.find_last_not_of(' ') + 1);
      head[half.substr(0, half.find(' '))] = value;
    }
  }
  return head;
}

TEST(TopFigures, TheHeadSaysOfTheBusWhatItIs) {
  const Words screen = screen_of(view_of_work(), {.columns = 100, .rows = 24});
  EXPECT_EQ(shown_words(screen[0]),
            (Words{"shmif", "top", "/dev/shm/figures", "tmpfs", "8", "MiB", "mtu", "1501"}));
  ShownRow expected{{"frames/s", "120k"},
                    {"bit/s", "984k"},
                    {"lost/s", "132k, most carol; 330k in all"},
                    {"slowest", "carol, 46% of the ring behind"},
                    {"talkers", "carol 50 %, bob 33 %, alice 17 %"},
                    {"lock", "slot 5, 91.0k/s"},
                    {"ports", "2 live (1 up), 1 dead"},
                    {"takeovers", "14 dead, 15 living"}};
  EXPECT_EQ(head_on(screen), expected);

  tools::TopView first_look = view_of_work();
  first_look.info.lock_holder.reset();
  first_look.info.ports.pop_back();
  first_look.rates = tools::rates_between(std::nullopt, {{}, first_look.info});
  expected["frames/s"] = expected["bit/s"] = expected["talkers"] = "-";
  expected["lost/s"] = "-; 170k in all";
  expected["slowest"] = "bob, 31% of the ring behind";
  expected["lock"] = "free, -/s";
  expected["ports"] = "2 live (1 up)";
  const Words again = screen_of(first_look, {.columns = 100, .rows = 24});
  EXPECT_EQ(head_on(again), expected);
  EXPECT_EQ(ports_on(again)[0]["TX/s"], "-");
}

TEST(TopFigures, LinesSayTheSame) {
  const tools::TopView view = view_of_work();
  EXPECT_EQ(
      shown_lines(tools::top_lines(local_time(1, 1, 12, 34, 56), view.info, view.rates)),
      (Words{"12:34:56 bus 120k frames/s 984kbit/s, 2 live (1 up), 1 dead",
             "12:34:56 port alice slot 3 tap up tx 20.0k/s 168kbit/s rx 22.0k/s 184kbit/s lost "
             "24.0k/s lag 15%",
             "12:34:56 port bob slot 5 veth down tx 40.0k/s 328kbit/s rx 42.0k/s 344kbit/s "
             "lost 44.0k/s lag 31%",
             "12:34:56 port carol slot 6 library dead tx 60.0k/s 488kbit/s rx 62.0k/s "
             "504kbit/s lost 64.0k/s lag 46%"}));
}

// ---- ping ----

std::vector<std::uint64_t> round_trips(std::uint64_t count, std::uint64_t step_ns) {
  std::vector<std::uint64_t> times;
  for (std::uint64_t i = 1; i <= count; ++i) times.push_back(i * step_ns);
  std::ranges::rotate(times, times.begin() + 17);  // so that they are not sorted
  return times;
}

/// Of 250 requests, one port answered 60 and the other 200.
tools::PingResponders two_responders() {
  tools::PingResponders all;
  tools::PingResponder& guest = all[MacAddress::from_u64(0xb2a000000009)];
  guest.round_trips_ns = round_trips(60, 1000);
  tools::PingResponder& web = all[MacAddress::from_u64(0xb2a000000001)];
  web.name = "web";
  web.round_trips_ns = round_trips(200, 700);
  return all;
}

TEST(PingFigures, EachStandsUnderItsName) {
  EXPECT_EQ(tools::ping_text(250, two_responders()),
            "web (b2:a0:00:00:00:01): 250 sent, 200 answered, 50 lost (20.0 %)\n"
            "  min/p50/p99/max 0.7/70.0/138.6/140.0 us\n"
            "b2:a0:00:00:00:09: 250 sent, 60 answered, 190 lost (76.0 %)\n"
            "  min/p50/p99/max 1.0/30.0/60.0/60.0 us\n");
  EXPECT_EQ(
      tools::ping_answer_text(MacAddress::from_u64(0xb2a000000001), {.name = "web"}, 17, 2600),
      "web (b2:a0:00:00:00:01): seq 17, 2.6 us\n");
}

TEST(PingFigures, JsonHasEachUnderItsNameAndNothingElse) {
  const nlohmann::json expected = {{"path", "/bus"},
                                   {"sent", 250},
                                   {"responders",
                                    {{{"name", "web"},
                                      {"mac", "b2:a0:00:00:00:01"},
                                      {"answered", 200},
                                      {"lost", 50},
                                      {"rtt_ns_min", 700},
                                      {"rtt_ns_p50", 70'000},
                                      {"rtt_ns_p99", 138'600},
                                      {"rtt_ns_max", 140'000}},
                                     {{"name", ""},
                                      {"mac", "b2:a0:00:00:00:09"},
                                      {"answered", 60},
                                      {"lost", 190},
                                      {"rtt_ns_min", 1000},
                                      {"rtt_ns_p50", 30'000},
                                      {"rtt_ns_p99", 60'000},
                                      {"rtt_ns_max", 60'000}}}}};
  const auto shown = nlohmann::json::parse(tools::ping_json("/bus", 250, two_responders()));
  EXPECT_EQ(shown, expected) << nlohmann::json::diff(expected, shown);
}

// ---- dump ----

TEST(DumpFigures, EachStandsUnderItsName) {
  tools::DumpCounts counts;
  OwnNumbers(71).fill(counts.captured, counts.filtered, counts.lost, counts.captured_segments,
                      counts.filtered_segments, counts.bytes);
  EXPECT_EQ(tools::to_text(counts),
            "71 frames captured (74 after segmentation), 72 filtered out (75 after segmentation), "
            "73 lost");
  counts.captured_segments = counts.captured;
  counts.filtered_segments = counts.filtered;
  counts.lost_is_lower_bound = true;
  EXPECT_EQ(tools::to_text(counts), "71 frames captured, 72 filtered out, at least 73 lost");
}

// ---- bridge ----

/// On this way, everything that can happen to a frame has happened, each to a different number of
/// frames.
tools::BridgeWay way_of_everything() {
  tools::BridgeWay way{.from = "bus:/a", .to = "tap:b"};
  tap::DirectionCounters& c = way.counters;
  c.frames = 1000;
  c.bytes = 64'001;
  c.segments = 1200;
  c.batches = 77;
  c.consumed = 2;
  c.lost = 3;
  c.dropped_full = 4;
  c.dropped_too_long = 5;
  c.dropped_error = 6;
  c.received = 1000 + 2 + 4 + 5 + 6 + 7;  // 7 wait in the bridge
  return way;
}

TEST(BridgeFigures, WhatTheBridgeDidStandsUnderItsNameAndTheSumIsRight) {
  EXPECT_EQ(tools::to_text(way_of_everything()),
            "bus:/a -> tap:b: 1000 frames (1200 segments), 64001 bytes, 3 lost (3 by overrun), "
            "15 dropped (5 too long, 4 not taken in time, 6 refused), 2 answered or found here, "
            "7 still under way = 1027 came\n");
}

TEST(BridgeFigures, WhatADeviceDroppedDidNotArrive) {
  tools::BridgeWay way = way_of_everything();
  OwnNumbers(30).fill(way.sink_device.sent_frames, way.sink_device.sent_bytes,
                      way.sink_device.received_frames, way.sink_device.received_bytes,
                      way.sink_device.dropped_down, way.sink_device.dropped_full,
                      way.sink_device.missed);
  EXPECT_EQ(tools::to_text(way),
            "bus:/a -> tap:b: 931 frames, 31 bytes, 3 lost (3 by overrun), 84 dropped (5 too "
            "long, 4 not taken in time, 6 refused, 34 while the interface was down, 35 with its "
            "queue full), 2 answered or found here, 7 still under way = 1027 came\n");
  way.counters.frames = 10;  // the device dropped more than that: also probes of the loop guard
  EXPECT_TRUE(contains(tools::to_text(way), ": 0 frames, "));
}

tools::BridgeWay way_with_faults() {
  tools::BridgeWay way = way_of_everything();
  way.has_faults = true;
  OwnNumbers(41).fill(way.faults.lost, way.faults.duplicated, way.faults.reordered,
                      way.faults.corrupted, way.faults.truncated, way.faults.queue_full,
                      way.faults.under_way);
  // Each frame that came, and each copy, was lost, found the queue full, waits, or came out.
  way.faults.frames = 41 + 46 + 47 + way.counters.received - 42;
  return way;
}

TEST(BridgeFigures, WhatFaultsDidStandsUnderItsNameAndTheSumIsRight) {
  EXPECT_EQ(tools::to_text(way_with_faults()),
            "bus:/a -> tap:b: 1000 frames (1200 segments), 64001 bytes, 90 lost (41 by faults, 46 "
            "by the full queue of the faults, 3 by overrun), 15 dropped (5 too long, 4 not taken "
            "in time, 6 refused), 2 answered or found here, 54 still under way = 1119 came + 42 "
            "duplicated by faults\n");
  FaultOptions options = parse_faults("loss=3%,delay=5ms").value();
  options.seed = 48;
  EXPECT_EQ(tools::faults_text(way_with_faults(), options),
            "bus:/a -> tap:b: faults loss=3%,delay=5ms,seed=48: 1116 frames came, 41 lost, 42 "
            "duplicated, 43 reordered, 44 corrupted, 45 truncated, 46 found the queue full, 47 "
            "still under way\n");
}

TEST(BridgeFigures, WhatALinkWithFaultsTookAndCouldNotPassOnDidNotArrive) {
  tools::BridgeWay way = way_of_everything();
  way.sink_refused = 51;
  EXPECT_EQ(tools::to_text(way),
            "bus:/a -> tap:b: 949 frames, 3 lost (3 by overrun), 66 dropped (5 too long, 4 not "
            "taken in time, 57 refused), 2 answered or found here, 7 still under way = 1027 "
            "came\n");
  way.sink_refused = 0;
  way.sink_waiting = 52;
  EXPECT_EQ(tools::to_text(way),
            "bus:/a -> tap:b: 948 frames, 3 lost (3 by overrun), 15 dropped (5 too long, 4 not "
            "taken in time, 6 refused), 2 answered or found here, 59 still under way = 1027 "
            "came\n");
}

// The filter counts on while the summary is made.
TEST(BridgeFigures, WhatAFilterRefusedIsPartOfWhatTheBridgeKept) {
  tools::BridgeWay way = way_of_everything();
  way.filtered = 1;
  const std::string begin =
      "bus:/a -> tap:b: 1000 frames (1200 segments), 64001 bytes, 3 lost (3 by overrun), ";
  EXPECT_EQ(tools::to_text(way),
            begin +
                "16 dropped (5 too long, 4 not taken in time, 6 refused, 1 by the rules of the "
                "gateway), 1 answered or found here, 7 still under way = 1027 came\n");
  way.filtered = 9;
  EXPECT_EQ(tools::to_text(way),
            begin +
                "17 dropped (5 too long, 4 not taken in time, 6 refused, 2 by the rules of the "
                "gateway), 7 still under way = 1027 came\n");
}

// What --json of dump, inject, bridge and gateway prints for states in which each figure has a
// value of its own.

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
