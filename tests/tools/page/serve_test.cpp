// shmifctl serve: what the page and its interface say, through the server.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "shmif/control/change_desk.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tools/capture/dump_rig.hpp"
#include "tests/tools/lab/lab_rig.hpp"
#include "tests/tools/page/page_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

json stat_of(const std::string& bus) {
  return json::parse(run_tool({"stat", bus, "--json"}).out);
}

/// Waits until the last look has what `is_there` looks for.
template <class IsThere>
json state_with(const PageRig& page, const IsThere& is_there) {
  json state;
  EXPECT_TRUE(eventually([&] {
    state = page.get("/api/state").json();
    return is_there(state);
  })) << state.dump(1);
  return state;
}

TEST(Serve, ShowsTheSameFiguresAsStat) {
  const BusRig rig;
  Port sender = rig.port("sender");
  Port other = rig.port("other");
  const PageRig page({rig.path()});
  send(sender, {arp_request(), arp_request(), arp_request()});
  const json state = state_with(page, [](const json& seen) {
    return seen["buses"][0]["stat"]["ports"][0]["tx_frames"] == 3;
  });
  EXPECT_EQ(state["name"], "bus");
  EXPECT_EQ(state["may_write"], false);
  json seen = state["buses"][0]["stat"];
  json stat = stat_of(rig.path());
  EXPECT_EQ(seen, stat);
  EXPECT_EQ(state["buses"][0]["path"], rig.path());
  EXPECT_TRUE(state["buses"][0]["error"].is_null());
}

TEST(Serve, MeasuresRatesAndKeepsThem) {
  const BusRig rig;
  Port sender = rig.port("sender");
  const PageRig page({rig.path()});
  bool sending = true;
  const json state = state_with(page, [&](const json& seen) {
    if (sending) send(sender, {arp_request()});
    return seen["buses"][0]["rates"]["rate_fps"].is_number() &&
           seen["buses"][0]["rates"]["rate_fps"] > 0;
  });
  sending = false;
  const json rates = state["buses"][0]["rates"];
  EXPECT_EQ(rates["lost_fps"], 0);
  EXPECT_GT(rates["rate_bps"], rates["rate_fps"]);
  ASSERT_EQ(rates["ports"].size(), 1U);
  EXPECT_GT(rates["ports"][0]["tx_fps"], 0);
  EXPECT_GT(rates["ports"][0]["tx_bps"], rates["ports"][0]["tx_fps"]);
  EXPECT_EQ(rates["ports"][0]["rx_fps"], 0);
  EXPECT_EQ(rates["ports"][0]["rx_bps"], 0);
  const json history = page.get("/api/history").json();
  ASSERT_EQ(history["buses"].size(), 1U);
  EXPECT_EQ(history["interval_ms"], 1000);
  const json frames = history["buses"][0]["rate_fps"];
  EXPECT_TRUE(frames[0].is_null()) << "no rate follows from one look";
  bool measured = false;
  for (const json& each : frames) measured |= each == rates["rate_fps"];
  EXPECT_TRUE(measured) << history.dump();
  const auto most = [](const json& values) {
    double highest = 0;
    for (const json& each : values)
      if (each.is_number()) highest = std::max(highest, each.get<double>());
    return highest;
  };
  EXPECT_GT(most(history["buses"][0]["rate_bps"]), most(frames));
  EXPECT_EQ(most(history["buses"][0]["lost_fps"]), 0);
  const json row = rates["ports"][0];
  const std::string which =
      "slot=" + row["slot"].dump() + "&incarnation=" + row["incarnation"].dump();
  const json of_port = page.get("/api/history", which).json();
  EXPECT_EQ(of_port["tx_bps"].size(), of_port["lost_fps"].size());
  EXPECT_GT(most(of_port["tx_bps"]), 0);
  EXPECT_EQ(most(of_port["rx_bps"]), 0);
  EXPECT_EQ(page.get("/api/history", "slot=99&incarnation=1").status, 404);
  EXPECT_EQ(page.get("/api/history", "slot=x&incarnation=1").status, 400);
}

TEST(Serve, ShowsSeveralBusesByTheirNamesAndOneThatComesAgain) {
  const BusRig left;
  const BusRig right;
  const std::string third = left.file("third");
  Bus::create(third, {}).value();
  const PageRig page({left.path(), right.path(), third});
  const json state = page.get("/api/state").json();
  ASSERT_EQ(state["buses"].size(), 3U);
  EXPECT_EQ(state["buses"][0]["name"], left.path()) << "two are called \"bus\"";
  EXPECT_EQ(state["buses"][2]["name"], "third");
  EXPECT_EQ(page.get("/api/changes").status, 400) << "which bus?";
  EXPECT_EQ(page.get("/api/changes", "bus=third").status, 200);
  EXPECT_EQ(page.get("/api/changes", "bus=/etc/passwd").status, 404);
  ASSERT_EQ(run_tool({"destroy", third}).status, 0);
  state_with(page, [](const json& seen) {
    return seen["buses"][2]["error"].is_string() && !seen["buses"][2].contains("stat");
  });
  Bus::create(third, {}).value();
  state_with(page, [](const json& seen) { return seen["buses"][2]["error"].is_null(); });
}

TEST(Serve, ABusThatReplacedAnotherHasNoRateUntilItWasSeenTwice) {
  const BusRig rig;
  const PageRig page({rig.path()});
  const auto rates = [&] { return page.get("/api/history").json()["buses"][0]["rate_fps"]; };
  const auto is_rate = [](const json& each) { return each.is_number(); };
  ASSERT_TRUE(eventually([&] { return std::ranges::any_of(rates(), is_rate); }));
  const std::string next = rig.file("next");
  Bus::create(next, {}).value();
  std::filesystem::rename(next, rig.path());
  EXPECT_TRUE(eventually([&] {
    const json all = rates();
    const auto first = std::ranges::find_if(all, is_rate);
    return std::find(first, all.end(), nullptr) != all.end();
  })) << rates().dump();
}

TEST(Serve, ARecordingHasTheChangesOfTheBusAsComments) {
  const BusRig rig;
  Port sender = rig.port("sender");
  const Port web = rig.port("web");
  ChangeDesk desk = ChangeDesk::open(web).value();
  send(sender, {arp_request()});
  desk.note("fault loss=5%");
  send(sender, {arp_request()});
  desk.note("link down");
  const PageRig page({rig.path()});
  const Answered ring = page.get("/api/capture");
  EXPECT_EQ(ring.status, 200) << ring.body;
  EXPECT_EQ(times_in(ring.body, "port web: fault loss=5% (from frame 1 on)"), 1U);
  EXPECT_EQ(times_in(ring.body, "after the last frame:\nport web: link down (from frame 2 on)"),
            1U);
  EXPECT_FALSE(contains(page.get("/api/capture", "seconds=1").body, "port web")) << "it was before";
  desk.show("link down", false);
  const LineState line = line_states(Bus::open(rig.path()).value()).back();
  const json shown{{"slot", line.slot},
                   {"incarnation", line.incarnation},
                   {"takes_changes", true},
                   {"partitioned", false},
                   {"line", "link down"}};
  state_with(page, [&](const json& seen) { return seen["buses"][0]["lines"].back() == shown; });
  json change = page.get("/api/changes").json()["changes"].back();
  EXPECT_GT(change["time_ns"], 1'700'000'000'000'000'000);
  change.erase("time_ns");
  EXPECT_EQ(change,
            json({{"number", 1}, {"before_frame", 2}, {"port", "web"}, {"change", "link down"}}));
}

TEST(Serve, RecordsWhatIsInTheRingAndWhatComes) {
  const BusRig rig;
  Port sender = rig.port("sender");
  send(sender, {arp_request(), arp_request(), udp_frame()});
  const PageRig page({rig.path()});
  const auto frames_in = [&](const Answered& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.header("Content-Type"), "application/x-pcapng");
    const std::string file = rig.file("got.pcapng");
    std::ofstream(file, std::ios::binary) << answer.body;
    return read_capture(file);
  };
  const Answered ring = page.get("/api/capture");
  EXPECT_EQ(frames_in(ring), (std::vector<Bytes>{arp_request(), arp_request(), udp_frame()}));
  EXPECT_EQ(ring.header("X-Shmif-Frames"), "3");
  EXPECT_EQ(ring.header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(ring.header("Content-Disposition").find("attachment; filename=\"bus-2"), 0U)
      << ring.head;
  EXPECT_EQ(frames_in(page.get("/api/capture", "filter=udp")).size(), 1U);
  std::map<unsigned, std::uint64_t> told = statistics_in(rig.file("got.pcapng"));
  EXPECT_EQ(told[Block::kReceived], 3U);
  EXPECT_EQ(told[Block::kAccepted], 1U);
  EXPECT_EQ(page.get("/api/capture", "filter=nonsense%20here").status, 400);
  EXPECT_EQ(page.get("/api/capture", "filter=udp" + std::string(397, '+')).status, 200);
  EXPECT_EQ(page.get("/api/capture", "filter=udp" + std::string(398, '+')).status, 400);
  EXPECT_EQ(page.get("/api/capture", "seconds=121").status, 400);
  EXPECT_EQ(page.get("/api/capture", "seconds=-1").status, 400);
  const PageClient client(page.port);
  client.send("GET " + page.with_token("/api/capture", "seconds=1") +
              " HTTP/1.1\r\nHost: " + page.host + "\r\n\r\n");
  std::atomic<bool> over{false};
  std::thread sending([&] {
    while (!over) {
      send(sender, {udp_frame()});
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const Answered later = client.read();
  over = true;
  sending.join();
  const std::vector<Bytes> recorded = frames_in(later);
  ASSERT_FALSE(recorded.empty());
  for (const Bytes& frame : recorded) EXPECT_EQ(frame, udp_frame());
  EXPECT_EQ(stat_of(rig.path())["ports"].size(), 1U) << "it records without a port";
}

TEST(Serve, ShowsTheLastFramesOnceEach) {
  const BusRig rig;
  Port sender = rig.port("sender");
  send(sender, {arp_request()});
  const PageRig page({rig.path()});
  const json first = page.get("/api/frames").json();
  ASSERT_EQ(first["lines"].size(), 1U) << first.dump();
  EXPECT_EQ(first["lines"][0]["number"], 0) << "the number on the bus";
  EXPECT_TRUE(contains(first["lines"][0]["text"], "sender")) << first.dump();
  EXPECT_TRUE(contains(first["lines"][0]["text"], "ARP")) << first.dump();
  send(sender, {udp_frame(), udp_frame()});
  const json next = page.get("/api/frames", "after=0").json();
  ASSERT_EQ(next["lines"].size(), 2U) << next.dump();
  EXPECT_EQ(next["lines"][0]["number"], 1);
  EXPECT_EQ(next["last"], 2);
  EXPECT_TRUE(page.get("/api/frames", "after=2").json()["lines"].empty());
  for (int i = 0; i < 30; ++i) send(sender, std::vector<Bytes>(10, arp_request()));
  const json many = page.get("/api/frames", "after=2").json();
  EXPECT_EQ(many["last"], 302);
  EXPECT_EQ(many["lines"].size(), 200U) << "the newest are kept";
  EXPECT_EQ(many["lines"].back()["number"], 302);
  send(sender, {udp_frame()});
  EXPECT_EQ(page.get("/api/frames").json()["lines"].size(), 200U) << "however often it looks";
}

TEST(Serve, NumbersAFrameAsItsBusDoesForWhoeverBeginsToLookLater) {
  const BusRig rig;
  Port sender = rig.port("sender");
  EXPECT_TRUE(PageRig({rig.path()}).get("/api/frames").json()["last"].is_null()) << "no frame yet";
  for (int i = 0; i < 25; ++i) send(sender, {arp_request()});
  const PageRig early({rig.path()});
  EXPECT_EQ(early.get("/api/frames").json()["last"], 24);
  send(sender, {udp_frame()});
  const PageRig late({rig.path()});
  for (const PageRig* const page : {&early, &late}) {
    const json got = page->get("/api/frames", "after=24").json();
    ASSERT_EQ(got["lines"].size(), 1U) << got.dump();
    EXPECT_EQ(got["lines"][0]["number"], 25);
  }
  EXPECT_EQ(late.get("/api/frames", "after=2600").json()["lines"].size(), 26U)
      << "a bus that was made anew has fewer frames than a client has seen";
}

TEST(Serve, SaysWhichPartOfAQuestionIsMissingOrUnknown) {
  const BusRig left;
  const BusRig right;
  Port port = left.port("a");
  const PageRig page({left.path(), right.path()});
  for (const char* const path : {"/api/changes", "/api/frames", "/api/capture"}) {
    const Answered none = page.get(path);
    EXPECT_EQ(none.status, 400) << path;
    EXPECT_TRUE(contains(none.json()["error"], "no bus is named")) << none.body;
    const Answered wrong = page.get(path, "bus=nix");
    EXPECT_EQ(wrong.status, 404) << path;
    EXPECT_TRUE(contains(wrong.json()["error"], "shows no bus of that name")) << wrong.body;
  }
  EXPECT_EQ(page.get("/api/history").json()["buses"].size(), 2U);
  const json one = page.get("/api/history", "bus=" + right.path()).json();
  ASSERT_EQ(one["buses"].size(), 1U) << one.dump();
  EXPECT_EQ(one["buses"][0]["path"], right.path());
  EXPECT_EQ(page.get("/api/history", "bus=nix").status, 404);
  for (const char* const half : {"&slot=0", "&incarnation=1"}) {
    const Answered got = page.get("/api/history", "bus=" + left.path() + half);
    EXPECT_EQ(got.status, 400) << half;
    EXPECT_TRUE(contains(got.json()["error"], "slot and incarnation")) << got.body;
  }
  EXPECT_EQ(page.get("/api/nix").status, 404);
  EXPECT_TRUE(contains(page.get("/api/nix").json()["error"], "docs/page.md"));
  const Answered is_long = page.get("/api/" + std::string(60, 'x'));
  EXPECT_EQ(is_long.json()["error"], "there is no such page") << "it is not looked for";
  for (const auto& [slot, status] : {std::pair{"65535", 404}, {"65536", 400}}) {
    const std::string of = "bus=" + left.path() + "&incarnation=1&slot=" + slot;
    EXPECT_EQ(page.get("/api/history", of).status, status) << slot;
  }
}

TEST(Serve, IsOnePageThatAsksForNothingElse) {
  const BusRig rig;
  const PageRig page({rig.path()});
  const Answered got = page.get("/");
  ASSERT_EQ(got.status, 200);
  EXPECT_EQ(got.header("Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(got.header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(got.header("X-Frame-Options"), "DENY");
  EXPECT_EQ(got.header("Referrer-Policy"), "no-referrer");
  for (const char* const what : {"Resource", "Opener"})
    EXPECT_EQ(got.header(std::string("Cross-Origin-") + what + "-Policy"), "same-origin") << what;
  EXPECT_EQ(got.header("Cache-Control"), "no-store");
  EXPECT_EQ(got.header("Access-Control-Allow-Origin"), "");
  const std::string policy = got.header("Content-Security-Policy");
  EXPECT_TRUE(policy.starts_with("default-src 'none'; script-src 'nonce-")) << policy;
  EXPECT_FALSE(contains(policy, "unsafe"));
  EXPECT_TRUE(policy.ends_with("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"))
      << policy;
  const std::string nonce = policy.substr(policy.find("nonce-") + 6, 32);
  EXPECT_TRUE(contains(got.body, "<script nonce=\"" + nonce + "\">"));
  EXPECT_FALSE(contains(page.get("/").header("Content-Security-Policy"), nonce))
      << "each answer has its own";
  for (const char* const foreign : {"https://", " src=\"http", "@import", "%NONCE%", "%SCRIPT%",
                                    "%STYLE%", "innerHTML", "insertAdjacentHTML", "eval("}) {
    EXPECT_FALSE(contains(got.body, foreign));
  }
  EXPECT_FALSE(contains(got.body, page.token)) << "the script reads it from the address";
  const Answered head = page.ask("HEAD", page.with_token("/"));
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST(Serve, EndsAtASignalWhileClientsWait) {
  for (const int number : {SIGINT, SIGTERM}) {
    const BusRig rig;
    PageRig page({rig.path()});
    const PageClient idle(page.port);
    const PageClient recording(page.port);
    recording.send("GET " + page.with_token("/api/capture", "seconds=100") +
                   " HTTP/1.1\r\nHost: " + page.host + "\r\n\r\n");
    ASSERT_EQ(page.get("/api/state").status, 200);
    page.tool().signal(number);
    const ToolResult ended = page.tool().finish();
    EXPECT_FALSE(ended.timed_out);
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    EXPECT_EQ(count_of_lines(ended.out), 1) << "the URL, once: " << ended.out;
  }
}

TEST(Serve, SaysWhatIsWrongWithItsWords) {
  const BusRig rig;
  const auto expect = [](const ToolResult& said, int status, const Words& parts) {
    EXPECT_EQ(said.status, status) << said.err;
    EXPECT_EQ(count_of_lines(said.err), 1) << said.err;
    for (const std::string& part : parts) EXPECT_TRUE(contains(said.err, part));
  };
  expect(run_tool({"serve"}), 2, {"give LAB|PATH"});
  for (const char* const name : {"a/b", "", "lab3:8080", "a b"}) {
    expect(run_tool({"serve", rig.path(), "--allow-host", name}), 2,
           {std::string("--allow-host \"") + name + '"'});
  }
  for (const char* const address : {"8080", "localhost", "127.0.0.1", "127.0.0.1:99999", "x:1"}) {
    expect(run_tool({"serve", rig.path(), "--http", address}), 2,
           {std::string("--http \"") + address + '"', "127.0.0.1:8080"});
  }
  expect(run_tool({"serve", rig.path(), rig.path()}), 2, {"named twice"});
  expect(run_tool({"serve", rig.file("none")}), 1, {rig.file("none"), "No such file"});
  const PageRig page({rig.path()});
  expect(run_tool({"serve", rig.path(), "--http", page.host}), 1, {page.host, "choose another"});
  const ToolResult wide =
      run_tool({"serve", rig.path(), "--http", "0.0.0.0:0", "--timeout", "0.01"});
  expect(wide, 0, {"can be reached from other machines", "not encrypted"});
  EXPECT_EQ(wide.out.find("http://localhost:"), 0U) << wide.out;
}

TEST(Serve, ShowsABusOfNetbsdsFormatAsFarAsItGoes) {
  const BusRig rig({.ring_bytes = 4U << 20U});
  const std::string path = rig.file("rump");
  ASSERT_EQ(run_tool({"create", path, "--format", "netbsd"}).status, 0);
  const PageRig page({path});
  const json bus = page.get("/api/state").json()["buses"][0];
  EXPECT_EQ(bus["stat"], stat_of(path));
  EXPECT_TRUE(bus["hosts"].is_null());
  EXPECT_TRUE(contains(bus["why_no_hosts"], "NetBSD")) << bus.dump();
}

// shmifctl serve with a lab.

using ServeLab = LabRig;

TEST_F(ServeLab, ShowsTheHostsOfTheFileByFileAndByNameThroughDownAndUp) {
  const std::string path =
      lab("bus.c = { path = \"lab.c\" }\n"
          "host.router = { on = [\"b\", \"c\"], ip = [\"198.18.0.1/24\", \"198.18.1.1/24\"] }\n"
          "host.brief = { on = \"c\", run = \"true\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const json wanted{
      {"name", "lab"},
      {"file", path},
      {"state", "up"},
      {"hosts",
       {{{"name", "router"}, {"buses", {"b", "c"}}}, {{"name", "brief"}, {"buses", {"c"}}}}}};
  const PageRig by_name({"lab"});
  const PageRig page({path, "--write"});
  for (const PageRig* const each : {&by_name, &page}) {
    const json state = each->get("/api/state").json();
    EXPECT_EQ(state["name"], "lab");
    EXPECT_EQ(state["lab"], wanted);
    ASSERT_EQ(state["buses"].size(), 2U);
    EXPECT_EQ(state["buses"][0]["name"], "b");
    EXPECT_EQ(state["buses"][1]["path"], file("lab.c"));
  }
  const auto names_on = [](const json& bus) {
    Words names;
    for (const json& port : bus["stat"]["ports"]) names.push_back(port["name"]);
    return names;
  };
  state_with(page, [&](const json& seen) {
    return names_on(seen["buses"][0]) == Words{"router"} &&
           names_on(seen["buses"][1]) == Words{"router"};
  });
  const Answered changed = page.post({{"bus", "c"}, {"port", "router"}, {"change", "link down"}});
  EXPECT_EQ(changed.json()["holds"], "the link of port router is down") << changed.body;
  const json at_once = page.get("/api/state").json()["buses"];
  EXPECT_EQ(at_once[0]["lines"][0]["line"], "");
  EXPECT_EQ(at_once[1]["lines"][0]["line"], "link down");
  ASSERT_EQ(run_tool({"down", path}).status, 0);
  const json down =
      state_with(page, [](const json& seen) { return seen["lab"]["state"] == "down"; });
  EXPECT_EQ(down["lab"]["hosts"], wanted["hosts"]) << "what should be there is still known";
  state_with(page, [](const json& seen) {
    return seen["buses"][0]["error"].is_string() && seen["buses"][1]["error"].is_string();
  });
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  state_with(page, [&](const json& seen) {
    return seen["lab"] == wanted && seen["buses"][1]["error"].is_null();
  });
  EXPECT_EQ(run_tool({"down", path}).status, 0);
}

TEST_F(ServeLab, WhoseControllerAndGuardianWereKilledIsDown) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const PageRig page({path});
  EXPECT_EQ(page.get("/api/state").json()["lab"]["state"], "up");
  kill_controller_and_guardian();
  state_with(page, [](const json& seen) { return seen["lab"]["state"] == "down"; });
  EXPECT_TRUE(std::filesystem::exists(file("run/shmif/lab.json"))) << "nobody has removed it";
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  expect_no_trace();
}

TEST_F(ServeLab, SaysHowToStartALabThatDoesNotRun) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  const ToolResult said = run_tool({"serve", path});
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.out, "");
  EXPECT_EQ(said.err, "shmifctl: cannot show the lab " + path + ": it is not up ('shmifctl up " +
                          path + "' starts it)\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const pid_t controller = this->state()["pid"];
  for (const pid_t each : children_of(controller)) {
    if (text_of("/proc/" + std::to_string(each) + "/comm") == "shmif-guardian\n") {
      ASSERT_EQ(::kill(each, SIGKILL), 0);
    }
  }
  ASSERT_EQ(::kill(controller, SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return is_gone(controller); }));
  EXPECT_EQ(run_tool({"serve", "lab"}).err,
            "shmifctl: cannot show the lab lab: it is not up ('shmifctl "
            "up " +
                path + "' starts it)\n");
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  for (const char* const none : {"no-such-lab", "no-such-lab.toml"}) {
    const ToolResult neither = run_tool({"serve", none});
    EXPECT_EQ(neither.status, 1);
    EXPECT_EQ(neither.err, std::string("shmifctl: cannot show ") + none +
                               ": there is no such file, and no lab of that name is up "
                               "('shmifctl ls' lists labs and buses)\n");
  }
}

}  // namespace
}  // namespace shmif::test
