// What stat, audit, repair and ps print for states in which each figure has a value of its own.

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/show/shown_figures.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::test {
namespace {

PortInfo port_with_own_numbers(unsigned slot, const std::string& name, std::uint64_t first) {
  PortInfo p;
  p.slot = slot;
  p.name = name;
  OwnNumbers(first).fill(p.incarnation, p.pid, p.tx_frames, p.tx_bytes, p.rx_frames, p.rx_bytes,
                         p.own_frames, p.filtered_frames, p.skipped_frames, p.overruns,
                         p.lost_frames, p.lost_bytes, p.corrupt, p.wakeups, p.doorbells,
                         p.lock_sleeps, p.pauses, p.paused_ns, p.tx_segments, p.rx_segments,
                         p.too_long_frames, p.refused_frames, p.stalls, p.unread_bytes, p.position);
  p.mac = MacAddress::from_u64(0xb2a000000000 + first);
  return p;
}

BusInfo bus_with_own_numbers() {
  BusInfo bus;
  bus.path = "/dev/shm/figures";
  bus.file_system = "tmpfs";
  OwnNumbers(201).fill(bus.mtu, bus.max_record_bytes, bus.slots, bus.inode, bus.generation,
                       bus.frames, bus.epoch, bus.lock_acquisitions, bus.takeovers_dead,
                       bus.takeovers_living, bus.claims_freed, bus.repairs);
  bus.ring_bytes = 8U << 20U;
  bus.flow = Flow::pause;
  bus.patience_ns = 12'500'000;
  bus.layout_signature = 0x518e585;
  bus.created_ns =
      static_cast<std::uint64_t>(local_time(11, 21, 20, 52, 32)) * 1'000'000'000 + 987'654'321;
  bus.first = 5'000'000;
  bus.last = 5'000'000 + (3U << 20U);
  bus.lock_holder = 7;
  bus.longest_hold_ns = 3'400'000;

  PortInfo alice = port_with_own_numbers(3, "alice", 1001);
  alice.live = alice.up = alice.pause = true;
  alice.link = LinkKind::tap;
  alice.waits_for = 7;
  alice.other_macs = {MacAddress::from_u64(0x02000000000a), MacAddress::from_u64(0x02000000000b)};
  PortInfo bob = port_with_own_numbers(7, "bob", 2001);
  bob.up = bob.promiscuous = true;
  bob.carrier = false;
  bob.link = LinkKind::veth;
  bob.claim_bytes = 6U << 10U;
  bob.other_macs = {MacAddress::from_u64(0x02000000000c)};
  bob.stalls = 1;
  bob.refused_frames = 1;
  PortInfo carol = port_with_own_numbers(9, "carol", 3001);
  carol.live = true;
  carol.link = LinkKind::bridge;
  carol.incarnation = 0;
  carol.corrupt = 0;
  carol.stalls = 0;
  carol.refused_frames = 0;
  bus.ports = {alice, bob, carol};
  return bus;
}

TEST(StatFigures, EachStandsUnderItsName) {
  EXPECT_EQ('\n' + tools::to_text(bus_with_own_numbers(), 100), R"(
bus         /dev/shm/figures
file        tmpfs, inode 204, created 2026-11-21 20:52:32, layout 0x518e585
geometry    ring 8 MiB, mtu 201, largest record 202 B
flow        pause: senders wait for slow ports, 12.5 ms at most for a port that reads nothing
generation  205
first       5000000
last        8145728 (3 MiB of history)
frames      206
epoch       207
lock        held by slot 7 "bob", 208 acquisitions
longest     3.4 ms that one holder kept the lock
takeovers   209 from dead holders, 210 from living ones
recovered   211 claims of dead writers freed, 212 repairs
waiting     slot 3 "alice" for slot 7 "bob" to read
stalled     slot 3 "alice" 1023 times: senders stopped waiting for it and overran it
stalled     slot 7 "bob" 1 time: senders stopped waiting for it and overran it
refused     slot 3 "alice" tried to send 1022 frames that are too short or )"
                                                                R"(cannot be segmented as asked
refused     slot 7 "bob" tried to send 1 frame that is too short or cannot be segmented as asked
claim       6 KiB of slot 7 "bob", skipped by the others
ports       2 live, 1 dead, 203 slots
note        corruption was seen; lost_frames may be too low

slot  name   state  up          link     pid  mac                mode
   3  alice  live   up          tap     1002  b2:a0:00:00:03:e9  pause
   7  bob    dead   no-carrier  veth    2002  b2:a0:00:00:07:d1  ethernet
   9  carol  live   down        bridge  3002  b2:a0:00:00:0b:b9  ethernet

slot  name   tx_frames  rx_frames  lost_frames  too_long  tx_bytes  rx_bytes  overruns  lost_bytes
   3  alice       1003       1005         1011      1021      1004      1006      1010        1012
   7  bob         2003       2005         2011      2021      2004      2006      2010        2012
   9  carol       3003       3005         3011      3021      3004      3006      3010        3012

slot  name   corrupt  wakeups  doorbells  lock_sleeps
   3  alice     1013     1014       1015         1016
   7  bob       2013     2014       2015         2016
   9  carol        0     3014       3015         3016
)");
  BusInfo quiet = bus_with_own_numbers();
  quiet.flow = Flow::ethernet;
  quiet.lock_holder.reset();
  quiet.longest_hold_ns.reset();
  quiet.ports = {quiet.ports[2]};
  const std::string text = tools::to_text(quiet);
  for (const std::string name :
       {"flow", "longest", "waiting", "stalled", "refused", "claim", "note"})
    EXPECT_FALSE(contains(text, '\n' + name + ' ')) << "what did not happen is not mentioned";
  EXPECT_TRUE(contains(text, "\nlock        free, 208 acquisitions\n"));
  EXPECT_TRUE(contains(text, "\nports       1 live, 203 slots\n"));
  quiet.lock_holder = 11;  // a port that has left
  EXPECT_TRUE(contains(tools::to_text(quiet), "held by slot 11, 208 acquisitions"));
}

nlohmann::json port_figures(unsigned first) {
  nlohmann::json figures;
  for (const char* const name : {"incarnation",     "pid",
                                 "tx_frames",       "tx_bytes",
                                 "rx_frames",       "rx_bytes",
                                 "own_frames",      "filtered_frames",
                                 "skipped_frames",  "overruns",
                                 "lost_frames",     "lost_bytes",
                                 "corrupt",         "wakeups",
                                 "doorbells",       "lock_sleeps",
                                 "pauses",          "paused_ns",
                                 "tx_segments",     "rx_segments",
                                 "too_long_frames", "refused_frames",
                                 "stalls",          "unread_bytes",
                                 "position"}) {
    figures[name] = first++;
  }
  return figures;
}

TEST(StatFigures, JsonHasEachUnderItsNameAndNothingElse) {
  nlohmann::json expected = {{"path", "/dev/shm/figures"},
                             {"format", "shmif"},
                             {"file_system", "tmpfs"},
                             {"inode", 204},
                             {"created_ns", bus_with_own_numbers().created_ns},
                             {"layout_signature", "0x518e585"},
                             {"geometry",
                              {{"ring_bytes", 8U << 20U},
                               {"mtu", 201},
                               {"flow", "pause"},
                               {"patience_ns", 12'500'000},
                               {"max_record_bytes", 202},
                               {"slots", 203}}},
                             {"generation", 205},
                             {"first", 5'000'000},
                             {"last", 8'145'728},
                             {"frames", 206},
                             {"epoch", 207},
                             {"lock_holder", 7},
                             {"lock_acquisitions", 208},
                             {"takeovers", {{"dead", 209}, {"living", 210}}},
                             {"longest_hold_ns", 3'400'000},
                             {"claims", {{{"slot", 7}, {"name", "bob"}, {"bytes", 6144}}}},
                             {"claims_freed", 211},
                             {"repairs", 212}};
  nlohmann::json alice = port_figures(1001);
  alice.update({{"slot", 3},
                {"name", "alice"},
                {"state", "live"},
                {"mac", "b2:a0:00:00:03:e9"},
                {"other_macs", {"02:00:00:00:00:0a", "02:00:00:00:00:0b"}},
                {"link", "tap"},
                {"up", true},
                {"carrier", true},
                {"mode", "pause"},
                {"promiscuous", false},
                {"lost_is_lower_bound", true},
                {"waits_for", 7},
                {"claim_bytes", nullptr}});
  nlohmann::json bob = port_figures(2001);
  bob.update({{"slot", 7},
              {"name", "bob"},
              {"state", "dead"},
              {"mac", "b2:a0:00:00:07:d1"},
              {"other_macs", {"02:00:00:00:00:0c"}},
              {"link", "veth"},
              {"up", true},
              {"carrier", nullptr},  // its process is dead, so nobody knows
              {"mode", "ethernet"},
              {"promiscuous", true},
              {"lost_is_lower_bound", true},
              {"waits_for", nullptr},
              {"claim_bytes", 6144},
              {"stalls", 1},
              {"refused_frames", 1}});
  nlohmann::json carol = port_figures(3001);
  carol.update({{"slot", 9},
                {"name", "carol"},
                {"state", "live"},
                {"mac", "b2:a0:00:00:0b:b9"},
                {"incarnation", nullptr},  // the slot changed its owner meanwhile
                {"other_macs", nlohmann::json::array()},
                {"link", "bridge"},
                {"up", false},
                {"carrier", true},
                {"mode", "ethernet"},
                {"promiscuous", false},
                {"lost_is_lower_bound", false},
                {"corrupt", 0},
                {"waits_for", nullptr},
                {"claim_bytes", nullptr},
                {"stalls", 0},
                {"refused_frames", 0}});
  expected["ports"] = {alice, bob, carol};
  const auto shown = nlohmann::json::parse(tools::to_json(bus_with_own_numbers()));
  EXPECT_EQ(shown, expected) << nlohmann::json::diff(expected, shown);

  BusInfo quiet = bus_with_own_numbers();
  quiet.flow = Flow::ethernet;
  quiet.lock_holder.reset();
  quiet.longest_hold_ns.reset();
  quiet.ports.clear();
  expected.update({{"lock_holder", nullptr},
                   {"longest_hold_ns", nullptr},
                   {"claims", nlohmann::json::array()},
                   {"ports", nlohmann::json::array()}});
  expected["geometry"]["flow"] = "ethernet";
  EXPECT_EQ(nlohmann::json::parse(tools::to_json(quiet)), expected);
}

TEST(StatFigures, ACarrierThatNobodyCanSeeIsSaidToBeUnknown) {
  PortInfo port;
  port.live = port.up = true;
  EXPECT_STREQ(tools::up_name(port), "up");
  port.carrier_known = false;
  EXPECT_STREQ(tools::up_name(port), "carrier?");
  BusInfo bus;
  bus.ports = {port};
  EXPECT_EQ(nlohmann::json::parse(tools::to_json(bus)).at("ports").at(0).at("carrier"), nullptr);
  port.up = false;
  EXPECT_STREQ(tools::up_name(port), "down");
}

TEST(StatFigures, WhatNoPortCanHaveIsNullInJsonAndADashInTheTable) {
  BusInfo bus;
  bus.first = 4096;
  bus.last = 64;
  PortInfo port;
  port.name = "forged";
  port.incarnation = 1;
  port.pid = -5;
  port.mac = MacAddress::from_u64(0);
  port.link = static_cast<LinkKind>(77);
  bus.ports = {port};
  const nlohmann::json shown = nlohmann::json::parse(tools::to_json(bus)).at("ports").at(0);
  EXPECT_EQ(shown.at("pid"), nullptr);
  EXPECT_EQ(shown.at("mac"), nullptr);
  EXPECT_EQ(shown.at("link"), "unknown");
  EXPECT_EQ(shown.at("incarnation"), 1);
  const std::string text = tools::to_text(bus, 0);
  const std::size_t row = text.find("   0  forged  dead ");
  ASSERT_NE(row, std::string::npos) << text;
  std::istringstream words(text.substr(row, text.find('\n', row) - row));
  EXPECT_EQ((Words{std::istream_iterator<std::string>(words), {}}),
            (Words{"0", "forged", "dead", "down", "unknown", "-", "-", "ethernet"}));
  EXPECT_TRUE(contains(text, "last        64 (before first: see 'shmifctl audit')\n"));
}

/// A bus of 8 MiB with a port that is up, whose positions and lock are these.
BusInfo bus_at(std::uint64_t first, std::uint64_t last, std::optional<unsigned> lock_holder) {
  BusInfo bus = bus_with_own_numbers();
  bus.first = first;
  bus.last = last;
  bus.lock_holder = lock_holder;
  bus.ports.resize(1);
  bus.ports[0].up = bus.ports[0].live = true;
  return bus;
}

/// The line of the heading that begins with this word, without the word.
std::string line_of(const BusInfo& bus, const std::string& word) {
  const std::string text = '\n' + tools::to_text(bus, 0);
  const std::size_t at = text.find('\n' + word + ' ');
  if (at == std::string::npos) return "(no line)";
  const std::size_t value = text.find_first_not_of(' ', at + 1 + word.size());
  return text.substr(value, text.find('\n', value) - value);
}

TEST(StatFigures, APositionThatNoRecordCanHaveIsNullAndSoIsWhatFollowsFromIt) {
  constexpr std::uint64_t kFirst = 5'000'000;
  constexpr std::uint64_t kRing = 8U << 20U;
  const BusInfo full = bus_at(kFirst, kFirst + kRing, 7);
  EXPECT_EQ(nlohmann::json::parse(tools::to_json(full)).at("last"), kFirst + kRing);
  EXPECT_EQ(line_of(full, "last"), "13388608 (8 MiB of history)");
  EXPECT_EQ(line_of(full, "frames"), "206");
  struct Case {
    std::uint64_t last;
    const char* wrong;
  };
  for (const Case& c : {Case{std::uint64_t{1} << 50U, "further past first than the ring is long"},
                        {kFirst + kRing + 32, "further past first than the ring is long"},
                        {17, "no record can end there"},
                        {kFirst + 17, "no record can end there"},
                        {64, "before first"}}) {
    const BusInfo bus = bus_at(kFirst, c.last, 7);
    const auto shown = nlohmann::json::parse(tools::to_json(bus));
    EXPECT_EQ(shown.at("first"), kFirst);
    EXPECT_EQ(shown.at("why_null").at("last"), c.wrong);
    for (const char* const key : {"last", "generation", "frames"}) {
      EXPECT_EQ(shown.at(key), nullptr) << key << c.last;
    }
    EXPECT_EQ(shown.at("ports").at(0).at("unread_bytes"), nullptr);
    EXPECT_EQ(line_of(bus, "last"),
              std::to_string(c.last) + " (" + c.wrong + ": see 'shmifctl audit')");
    EXPECT_EQ(line_of(bus, "generation"), "-");
    EXPECT_EQ(line_of(bus, "frames"), "-");
  }
  const BusInfo odd = bus_at(kFirst + 3, kFirst + 64, 7);
  const auto shown = nlohmann::json::parse(tools::to_json(odd));
  EXPECT_EQ(shown.at("first"), nullptr);
  EXPECT_EQ(shown.at("last"), kFirst + 64);
  EXPECT_EQ(line_of(odd, "first"), "5000003 (no record can begin there: see 'shmifctl audit')");
  EXPECT_EQ(line_of(odd, "last"), "5000064");
}

TEST(StatFigures, ALockThatNoPortCanHoldIsHeldByNobodyWhoIsNamed) {
  struct Case {
    std::optional<unsigned> holder;
    nlohmann::json shown;
    const char* line;
    const char* in_top;
  };
  for (const Case& c :
       {Case{std::nullopt, nullptr, "free, 208 acquisitions", "free"},
        {255, 255, "held by slot 255, 208 acquisitions", "slot 255"},
        {256, nullptr, "- (the lock word names no slot)", "- (the lock word names no slot)"},
        {998, nullptr, "- (the lock word names no slot)", "- (the lock word names no slot)"},
        {1000, nullptr, "held by a repair, 208 acquisitions", "held by a repair"}}) {
    const BusInfo bus = bus_at(4096, 8192, c.holder);
    const auto shown = nlohmann::json::parse(tools::to_json(bus));
    EXPECT_EQ(shown.at("lock_holder"), c.shown);
    EXPECT_EQ(shown.contains("why_null"), c.holder.value_or(0) > 255);
    // The count is in the same word.
    const bool is_overwritten = c.holder == 256 || c.holder == 998;
    EXPECT_EQ(shown.at("lock_acquisitions"),
              is_overwritten ? nlohmann::json(nullptr) : nlohmann::json(208));
    if (is_overwritten) {
      EXPECT_EQ(shown.at("why_null").at("lock_acquisitions"), "the lock word names no slot");
    }
    EXPECT_EQ(line_of(bus, "lock"), c.line);
    EXPECT_EQ(tools::lock_text(bus), c.in_top);
  }
}

TEST(AuditFigures, EachStandsUnderItsName) {
  AuditReport report;
  OwnNumbers(31).fill(report.records, report.frames, report.pads);
  report.notes = {"a claim stands"};
  EXPECT_EQ(tools::to_text("/bus", report),
            "note: a claim stands\n"
            "/bus: every invariant holds (31 records, 32 frames, 33 pads)\n");
  nlohmann::json expected = {{"path", "/bus"},
                             {"clean", true},
                             {"records", 31},
                             {"frames", 32},
                             {"pads", 33},
                             {"notes", {"a claim stands"}},
                             {"findings", nlohmann::json::array()}};
  EXPECT_EQ(nlohmann::json::parse(tools::to_json("/bus", report)), expected);

  report.findings = {{"I4", "what four is"}, {"I7", "what seven is"}};
  EXPECT_EQ(tools::to_text("/bus", report),
            "I4: what four is\nI7: what seven is\nnote: a claim stands\n");
  expected["clean"] = false;
  expected["findings"] = {{{"invariant", "I4"}, {"what", "what four is"}},
                          {{"invariant", "I7"}, {"what", "what seven is"}}};
  EXPECT_EQ(nlohmann::json::parse(tools::to_json("/bus", report)), expected);
}

TEST(RepairFigures, EachStandsUnderItsName) {
  RepairReport report;
  EXPECT_EQ(tools::to_text(report), "nothing to repair");
  OwnNumbers(81).fill(report.ports_freed, report.claims_cleared, report.frames_kept, report.epoch);
  EXPECT_EQ(tools::to_text(report), "freed 81 dead ports, cleared 82 claims");
  report.header_restored = {"magic", "mtu to 1500"};
  report.lock_released = report.ring_rebuilt = true;
  EXPECT_EQ(tools::to_text(report),
            "restored the header (magic, mtu to 1500), freed 81 dead ports, cleared 82 claims, "
            "released the lock, rebuilt the ring keeping 83 frames (epoch 84)");
  report = {};
  report.ports_freed = report.claims_cleared = 1;
  report.frames_kept = 1;
  report.ring_rebuilt = true;
  EXPECT_EQ(tools::to_text(report),
            "freed 1 dead port, cleared 1 claim, rebuilt the ring keeping 1 frame (epoch 0)");
}

tools::HostInterface interface_on(unsigned slot, const std::string& port, const std::string& name,
                                  Words addresses) {
  tools::HostInterface each;
  each.port = port_with_own_numbers(slot, port, 100U * slot);
  each.port.link = LinkKind::tap;
  each.port.up = slot != 5;
  each.name = name;
  each.addresses = std::move(addresses);
  return each;
}

/// A host with two interfaces, one that another user runs, and one whose program was not found.
std::vector<tools::Host> some_hosts() {
  std::vector<tools::Host> hosts(3);
  hosts[0].interfaces.push_back(interface_on(4, "web", "größe0", {"198.18.0.1/24", "fd00::1/64"}));
  hosts[0].interfaces.push_back(interface_on(5, "web2", "", {}));
  OwnNumbers(41).fill(hosts[0].supervisor, hosts[0].init, hosts[0].pid);
  hosts[0].command = {"busybox", "httpd", "-f"};
  hosts[1].interfaces.push_back(interface_on(6, "locked", "", {}));
  OwnNumbers(51).fill(hosts[1].supervisor, hosts[1].init, hosts[1].pid);
  hosts[1].command = {"never", "shown"};
  hosts[1].unknown = "of another user";
  hosts[2].interfaces.push_back(interface_on(8, "young", "tap0", {"198.18.0.3/24"}));
  OwnNumbers(61).fill(hosts[2].supervisor);
  return hosts;
}

TEST(PsFigures, EachStandsUnderItsName) {
  EXPECT_EQ('\n' + tools::to_text(some_hosts()), R"(
host    pid  interface  address        command
web     43   größe0     198.18.0.1/24  busybox httpd -f
                        fd00::1/64
web2         -          -
locked  -    -          -              (of another user)
young   -    tap0       198.18.0.3/24
)");
}

TEST(PsFigures, JsonHasEachUnderItsNameAndNothingElse) {
  const nlohmann::json expected = {{"path", "/bus"},
                                   {"hosts",
                                    {{{"name", "web"},
                                      {"pid", 43},
                                      {"init_pid", 42},
                                      {"supervisor_pid", 41},
                                      {"command", {"busybox", "httpd", "-f"}},
                                      {"unknown", nullptr},
                                      {"interfaces",
                                       {{{"port", "web"},
                                         {"slot", 4},
                                         {"mac", "b2:a0:00:00:01:90"},
                                         {"link", "tap"},
                                         {"up", true},
                                         {"interface", "größe0"},
                                         {"addresses", {"198.18.0.1/24", "fd00::1/64"}}},
                                        {{"port", "web2"},
                                         {"slot", 5},
                                         {"mac", "b2:a0:00:00:01:f4"},
                                         {"link", "tap"},
                                         {"up", false},
                                         {"interface", nullptr},
                                         {"addresses", nullptr}}}}},
                                     {{"name", "locked"},
                                      {"pid", nullptr},
                                      {"init_pid", nullptr},
                                      {"supervisor_pid", 51},
                                      {"command", nullptr},
                                      {"unknown", "of another user"},
                                      {"interfaces",
                                       {{{"port", "locked"},
                                         {"slot", 6},
                                         {"mac", "b2:a0:00:00:02:58"},
                                         {"link", "tap"},
                                         {"up", true},
                                         {"interface", nullptr},
                                         {"addresses", nullptr}}}}},
                                     {{"name", "young"},
                                      {"pid", nullptr},
                                      {"init_pid", nullptr},
                                      {"supervisor_pid", 61},
                                      {"command", nlohmann::json::array()},
                                      {"unknown", nullptr},
                                      {"interfaces",
                                       {{{"port", "young"},
                                         {"slot", 8},
                                         {"mac", "b2:a0:00:00:03:20"},
                                         {"link", "tap"},
                                         {"up", true},
                                         {"interface", "tap0"},
                                         {"addresses", {"198.18.0.3/24"}}}}}}}}};
  const std::string text = tools::to_json("/bus", some_hosts());
  EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return static_cast<signed char>(c) > 0; }))
      << "not ASCII alone: " << text;
  EXPECT_EQ(nlohmann::json::parse(text), expected)
      << nlohmann::json::diff(expected, nlohmann::json::parse(text));
}

// The text of stat where ports differ in what happened to them, and tables at the width where they
// are folded.

PortInfo plain_port(unsigned slot, const std::string& name) {
  PortInfo port;
  port.slot = slot;
  port.name = name;
  port.live = port.up = true;
  return port;
}

TEST(StatText, APortThatWaitsForItselfIsToldWhatItLacks) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  bus.ports[1].waits_for = 4;
  const std::string text = tools::to_text(bus);
  EXPECT_TRUE(
      contains(text, "\nwaiting     slot 4 \"two\" for itself: it sends, but does not receive\n"));
}

TEST(StatText, ATableIsFoldedWhereItIsOneColumnTooWide) {
  BusInfo bus;
  bus.ports = {plain_port(1, "one"), plain_port(4, "two")};
  const std::string whole = tools::to_text(bus);
  std::size_t widest = 0;
  for (const std::string& line : shown_lines(whole.substr(whole.find("\n\n"))))
    widest = std::max(widest, line.size());
  EXPECT_EQ(tools::to_text(bus, widest), whole);
  const std::string folded = tools::to_text(bus, widest - 1);
  EXPECT_EQ(std::ranges::count(folded, '\n'), std::ranges::count(whole, '\n') + 4) << folded;
  // However narrow, each column stands somewhere.
  const std::string narrow = tools::to_text(bus, 1);
  for (const char* const title : {"state", "mode", "tx_frames", "lock_sleeps"})
    EXPECT_TRUE(contains(narrow, title));
}

TEST(StatText, ColumnsOfNumbersAreAlignedToTheRightWithWhatIsMissing) {
  EXPECT_EQ(tools::aligned({{"name", "pid", "share", "mixed"},
                            {"a", "-", "-1.5", "1"},
                            {"long", "1000", "20", "x"}}),
            "name   pid  share  mixed\n"
            "a        -   -1.5  1\n"
            "long  1000     20  x\n");
}

/// A bus of NetBSD's format in which each number is another one.
BusInfo netbsd_bus() {
  BusInfo bus;
  bus.format = BusFormat::netbsd;
  bus.path = "/dev/shm/n";
  bus.file_system = "tmpfs";
  bus.inode = 11;
  bus.ring_bytes = 12;
  bus.mtu = 13;
  bus.max_record_bytes = 14;
  bus.generation = 15;
  bus.first = 16;
  bus.last = 2064;
  bus.netbsd = BusInfo::Netbsd{.version = 2,
                               .lock_is_held = false,
                               .frames_in_ring = 18,
                               .bytes_in_ring = 19,
                               .first_offset = 20,
                               .last_offset = 21};
  return bus;
}

TEST(StatText, OfNetbsdsFormatHasWhatThatFormatTells) {
  BusInfo bus = netbsd_bus();
  const std::string head =
      "bus         /dev/shm/n\n"
      "format      NetBSD's, version 2\n"
      "file        tmpfs, inode 11\n"
      "geometry    ring 12 B, mtu 13, largest frame 14 B\n"
      "generation  15\n";
  const std::string tail =
      "ports       NetBSD's format does not list them\n"
      "counts      NetBSD's format has none of sent and lost frames\n";
  EXPECT_EQ(tools::to_text(bus),
            head +
                "first       16, offset 20\n"
                "last        2064, newest header at offset 21 (2 KiB of history)\n"
                "in ring     18 frames, 19 B\nlock        free\n" +
                tail);
  bus.netbsd->frames_in_ring = bus.netbsd->bytes_in_ring = std::nullopt;
  bus.netbsd->lock_is_held = true;
  EXPECT_EQ(tools::to_text(bus),
            head +
                "first       not known, offset 20\n"
                "last        not known, newest header at offset 21\n"
                "in ring     not known: the lock was held, or senders changed the bus, at each "
                "look\n"
                "lock        held, nobody knows by whom\n" +
                tail);
  bus.netbsd->version = 0;
  EXPECT_TRUE(contains(tools::to_text(bus), "NetBSD's, version 0 (nobody has rung yet)\n"));
}

TEST(StatText, OfNetbsdsFormatInJsonHasAReasonForEachThatIsNull) {
  BusInfo bus = netbsd_bus();
  for (const bool seen : {true, false}) {
    if (!seen) bus.netbsd->frames_in_ring = bus.netbsd->bytes_in_ring = std::nullopt;
    const auto shown = nlohmann::json::parse(tools::to_json(bus));
    EXPECT_EQ(shown["format"], "netbsd");
    EXPECT_EQ(shown["inode"], 11);
    EXPECT_EQ(shown["version"], 2);
    EXPECT_EQ(shown["geometry"]["ring_bytes"], 12);
    EXPECT_EQ(shown["geometry"]["mtu"], 13);
    EXPECT_EQ(shown["geometry"]["max_frame_bytes"], 14);
    EXPECT_EQ(shown["generation"], 15);
    const auto if_seen = [seen](int value) {
      return seen ? nlohmann::json(value) : nlohmann::json(nullptr);
    };
    EXPECT_EQ(shown["first"], if_seen(16));
    EXPECT_EQ(shown["last"], if_seen(2064));
    EXPECT_EQ(shown["first_offset"], 20);
    EXPECT_EQ(shown["last_offset"], 21);
    EXPECT_EQ(shown["lock_is_held"], false);
    EXPECT_EQ(shown["frames_in_ring"], if_seen(18));
    EXPECT_EQ(shown["bytes_in_ring"], if_seen(19));
    for (const auto& [name, value] : shown.items()) {
      EXPECT_EQ(value.is_null(), shown["why_null"].contains(name)) << name;
    }
  }
}

}  // namespace
}  // namespace shmif::test
