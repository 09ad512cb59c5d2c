// shmifctl ping, through the program.

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bus/layout.hpp"
#include "shmif/ping.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tools/capture/held_ring.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/relay/ping_rig.hpp"

namespace shmif::test {
namespace {

using Json = nlohmann::json;

std::vector<std::string> ping(const BusRig& rig, const std::vector<std::string>& more) {
  std::vector<std::string> argv{shmifctl_path(), "ping", rig.path()};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

TEST(PingCommand, ListsEverybodyWhoAnswers) {
  const BusRig rig;
  Tool first(ping(rig, {"--respond", "--name", "one"}));
  Tool second(ping(rig, {"--respond", "--name", "two"}));
  ASSERT_TRUE(rig.wait_for_port("one") && rig.wait_for_port("two"));
  ToolResult r;
  Json out;
  const auto all_answered = [&] {
    if (r.status != 0) return false;
    out = Json::parse(r.out);
    return out["responders"].size() == 2U &&
           std::ranges::all_of(out["responders"],
                               [](const Json& from) { return from["lost"] == 0; });
  };
  // It waits for as long as it was told, for it cannot know who else would answer. Half a second is
  // plenty, unless one of them has to wait for a CPU.
  for (const char* const timeout : {"0.5", "5", "15"}) {
    r = run_program(ping(rig, {"-c", "3", "-i", "0.02", "--timeout", timeout, "--json"}));
    if (all_answered()) break;
  }
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(out["sent"], 3);
  EXPECT_EQ(out["path"], rig.path());
  ASSERT_EQ(out["responders"].size(), 2U);
  std::vector<std::string> names;
  for (const Json& from : out["responders"]) {
    names.push_back(from["name"]);
    EXPECT_EQ(from["answered"], 3);
    EXPECT_EQ(from["lost"], 0);
    EXPECT_GT(from["rtt_ns_min"], 0);
    EXPECT_LE(from["rtt_ns_min"], from["rtt_ns_p50"]);
    EXPECT_LE(from["rtt_ns_p50"], from["rtt_ns_p99"]);
    EXPECT_LE(from["rtt_ns_p99"], from["rtt_ns_max"]);
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"one", "two"}));
}

TEST(PingCommand, AsksOnePortByNameOrByMac) {
  const BusRig rig;
  Tool other(ping(rig, {"--respond", "--name", "other"}));
  Tool one(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one") && rig.wait_for_port("other"));
  std::string mac;
  const BusInfo info = Bus::open(rig.path()).value().info();
  for (const PortInfo& port : info.ports) {
    if (port.name == "one") mac = port.mac.to_string();
  }
  for (const std::string& to : {std::string("one"), mac}) {
    const ToolResult r =
        run_program(ping(rig, {"--to", to, "-c", "2", "-i", "0.02", "--timeout", "100"}));
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(count_of_lines(r.out), 5) << r.out;  // a head, two answers, a summary of two lines
    EXPECT_TRUE(contains(r.out, "one (" + mac +
                                    "): 2 sent, 2 answered, 0 lost (0.0 %)\n"
                                    "  min/p50/p99/max "))
        << r.out;
    EXPECT_FALSE(contains(r.out, "other"));
  }
}

TEST(PingCommand, WithNoIntervalTheAnswersSetThePace) {
  const BusRig rig;
  Tool one(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one"));
  const ToolResult r =
      run_program(ping(rig, {"--to", "one", "-c", "500", "-i", "0", "--timeout", "100", "--json"}));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(Json::parse(r.out)["responders"][0]["answered"], 500);
}

// If each later request were answered after the time of the lost one only, this would take minutes.
TEST(PingCommand, WithNoIntervalALostAnswerHoldsUpOnlyTheNextRequest) {
  constexpr std::size_t kRequests = 500;
  const BusRig rig;
  Port lossy = rig.port("lossy");
  Tool tool(ping(rig, {"--to", "lossy", "-c", std::to_string(kRequests), "-i", "0", "--timeout",
                       "0.25", "--json"}));
  for (std::size_t heard = 0; heard < kRequests;) {
    const std::vector<Ping> requests = hear_requests(lossy, 1);
    ASSERT_FALSE(requests.empty()) << heard;
    for (const Ping& request : requests) {
      if (heard++ == 0) continue;
      send(lossy, {ping_back(request, lossy.mac(), PingType::reply, request.sequence)});
    }
  }
  EXPECT_EQ(Json::parse(tool.finish().out)["responders"][0]["lost"], 1);
}

TEST(PingCommand, ExitsWithOneWhenNothingAnswers) {
  const BusRig rig;
  Port silent = rig.port("silent");
  ToolResult r = run_program(ping(rig, {"-c", "1", "--timeout", "0.05"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "no port answered 1 request on ")) << r.err;
  r = run_program(ping(rig, {"--to", "silent", "-c", "2", "-i", "0.01", "--timeout", "0.05"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "no answer from silent (" + silent.mac().to_string() +
                                  ") to 2 requests on " + rig.path() + '\n'))
      << r.err;
}

TEST(PingCommand, AnUnknownNameIsAnErrorThatNamesWhoIsThere) {
  const BusRig rig;
  Port port = rig.port("web");
  const ToolResult r = run_program(ping(rig, {"--to", "wbe"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
  EXPECT_TRUE(contains(r.err, "cannot ping \"wbe\" on ")) << r.err;
  EXPECT_TRUE(contains(r.err, "attached: web")) << r.err;
}

TEST(PingCommand, RespondSaysWhoItIsAndEndsWithZeroWhenStopped) {
  const BusRig rig;
  Tool tool(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(tool.wait_for("answering on " + rig.path() + " as one ("));
  EXPECT_EQ(
      run_program(ping(rig, {"--to", "one", "-c", "3", "-i", "0", "--timeout", "100"})).status, 0);
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0);
  EXPECT_TRUE(contains(r.out, "\n3 requests answered\n")) << r.out;
}

TEST(PingCommand, LiesInRepliesAreNotBelieved) {
  const BusRig rig;
  Port liar = rig.port("liar");
  Tool tool(ping(rig, {"--to", "liar", "--name", "asker", "-c", "1", "--timeout", "0.5"}));
  const std::optional<Ping> request = hear_request(liar);
  ASSERT_TRUE(request);
  const auto reply = [&](Ping lie) {
    std::array<std::byte, kPingFrameBytes> bytes;
    lie.type = PingType::reply;
    write_ping(lie, bytes);
    const FrameView frame(bytes.data(), bytes.size());
    EXPECT_EQ(liar.send({&frame, 1}).taken, 1U);
  };
  const Ping honest{.destination = request->source,
                    .source = liar.mac(),
                    .id = request->id,
                    .sequence = 0,
                    .sent_ns = 0};
  Ping lie = honest;
  lie.sequence = 0xffffffff;  // never asked
  reply(lie);
  lie = honest;
  lie.id ^= 1U;  // another asker's
  reply(lie);
  lie = honest;
  lie.destination = MacAddress::from_u64(0xffffffffffff);  // not to who asked
  reply(lie);
  lie = honest;
  lie.source = *MacAddress::parse("b2:a0:00:00:00:99");  // not who was asked
  reply(lie);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 1) << r.out;
  EXPECT_TRUE(contains(r.err, "no answer")) << r.err;
}

TEST(PingCommand, WrongUsageIsRefused) {
  const BusRig rig;
  for (const auto& [option, value] : {std::pair{"--to", "one"},
                                      {"--count", "1"},
                                      {"--interval", "1"},
                                      {"--timeout", "1"},
                                      {"--json", ""}}) {
    std::vector<std::string> words{"--respond", option};
    if (*value != '\0') words.emplace_back(value);
    const ToolResult refused = run_program(ping(rig, words));
    EXPECT_EQ(refused.status, 2) << option;
    EXPECT_TRUE(contains(refused.err, std::string("--respond only answers, it takes no ") + option))
        << refused.err;
  }
  EXPECT_EQ(run_program(ping(rig, {"-c", "0"})).status, 2);
  EXPECT_EQ(run_program(ping(rig, {"--to", "01:00:5e:00:00:01"})).status, 2);
  EXPECT_EQ(run_program(ping(rig, {"-i", "soon"})).status, 2);
}

TEST(PingCommand, AnAnswerThatComesTwiceCountsOnce) {
  const BusRig rig;
  Port liar = rig.port("liar");
  Tool tool(ping(rig, {"--to", "liar", "-c", "1", "--timeout", "100", "--json"}));
  const std::optional<Ping> request = hear_request(liar);
  ASSERT_TRUE(request);
  // Both at once, or the first one would end it.
  send(liar, std::vector<Bytes>(2, ping_back(*request, liar.mac(), PingType::reply, 0)));
  const Json from = Json::parse(tool.finish().out)["responders"][0];
  EXPECT_EQ(from["answered"], 1);
  EXPECT_EQ(from["lost"], 0);
}

TEST(PingCommand, AnAnswerThatOvertakesAnotherDoesNotEndTheWaitForIt) {
  const BusRig rig;
  Port late = rig.port("late");
  Tool tool(ping(rig, {"--to", "late", "-c", "2", "-i", "0.01", "--timeout", "100", "--json"}));
  const std::vector<Ping> requests = hear_requests(late, 2);
  ASSERT_EQ(requests.size(), 2U);
  const auto answer = [&](const Ping& request) {
    send(late, {ping_back(request, late.mac(), PingType::reply, request.sequence)});
  };
  answer(requests[1]);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // it would have ended
  answer(requests[0]);
  const Json from = Json::parse(tool.finish().out)["responders"][0];
  EXPECT_EQ(from["answered"], 2);
  EXPECT_EQ(from["lost"], 0);
}

TEST(PingCommand, WhoInventsAnswerersFillsNoMemory) {
  const BusRig rig;
  Port liar = rig.port("liar");
  Tool tool(ping(rig, {"--name", "asker", "-c", "1", "--timeout", "60", "--json"}));
  const std::optional<Ping> request = hear_request(liar);
  ASSERT_TRUE(request);
  constexpr std::uint64_t kInvented = 4200;
  std::vector<Bytes> replies;
  for (std::uint64_t i = 0; i < kInvented; ++i) {
    const MacAddress source = MacAddress::from_u64(0x020000000000 + i);
    replies.push_back(ping_back(*request, source, PingType::reply, 0));
  }
  send(liar, replies);
  const auto all_heard = [&] {
    const BusInfo info = Bus::open(rig.path()).value().info();
    return std::ranges::any_of(info.ports, [](const PortInfo& port) {
      return port.name == "asker" && port.rx_frames == kInvented;
    });
  };
  for (int i = 0; i < 4000 && !all_heard(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << "some have answered";
  EXPECT_EQ(Json::parse(r.out)["responders"].size(), 4096U);
}

TEST(PingCommand, PrintsALineForEachAnswerUnlessThatWouldBeWhatIsMeasured) {
  const BusRig rig;
  Tool one(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one"));
  for (const auto& [interval, answers] : {std::pair{"0.01", 3}, {"0.009", 0}, {"0", 0}}) {
    const ToolResult r =
        run_program(ping(rig, {"--to", "one", "-c", "3", "-i", interval, "--timeout", "100"}));
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(count_of_lines(r.out), 1 + answers + 2) << interval << '\n' << r.out;
  }
}

TEST(PingCommand, AnInterruptEndsItWithItsSignalUnlessSomebodyHasAnswered) {
  const BusRig rig;
  Port silent = rig.port("silent");
  Tool answerer(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one"));
  Tool vain(ping(rig, {"--to", "silent", "--name", "vain", "-c", "1000", "-i", "60"}));
  Tool lucky(ping(rig, {"--to", "one", "--name", "lucky", "-c", "1000", "-i", "60"}));
  ASSERT_TRUE(lucky.wait_for(": seq 0, "));
  ASSERT_TRUE(vain.wait_for("ping silent"));
  vain.signal(SIGINT);
  lucky.signal(SIGINT);
  const ToolResult nothing = vain.finish();
  EXPECT_EQ(nothing.status, 128 + SIGINT);
  EXPECT_EQ(nothing.err, "");
  const ToolResult something = lucky.finish();
  EXPECT_EQ(something.status, 0);
  EXPECT_TRUE(contains(something.out, ": 1 sent, 1 answered, 0 lost (0.0 %)\n")) << something.out;
}

TEST(PingCommand, SaysThatThePortItAskedIsDown) {
  const BusRig rig;
  Port down(PortOptions{.name = "sleeper"});
  ASSERT_TRUE(down.attach(rig.path()));
  const ToolResult r = run_program(ping(rig, {"--to", "sleeper", "-c", "1", "--timeout", "0.05"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, " to 1 request on " + rig.path() + ": its port is down\n")) << r.err;
}

TEST(PingCommand, WhoOnlyAnswersTakesNoOptionOfWhoAsks) {
  const BusRig rig;
  for (const std::string option : {"to", "count", "interval", "timeout", "json"}) {
    const std::string word = "--" + option + (option == "json" ? "" : "=1");
    const ToolResult r = run_program(ping(rig, {"--respond", word}));
    EXPECT_EQ(r.status, 2) << word;
    EXPECT_TRUE(contains(r.err, "it takes no --" + option)) << r.err;
  }
}

TEST(PingCommand, IsSeenInThePortTableAsWhatItIs) {
  const BusRig rig;
  const Port silent = rig.port("silent");
  const Tool answerer(ping(rig, {"--respond", "--name", "answerer"}));
  const Tool asker(ping(rig, {"--to", "silent", "--name", "asker", "-c", "1", "--timeout", "60"}));
  for (const std::string name : {"answerer", "asker"}) {
    ASSERT_TRUE(rig.wait_for_port(name));
    const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
    EXPECT_EQ(std::ranges::find(ports, name, &PortInfo::name)->link, LinkKind::ping) << name;
  }
}

TEST(PingCommand, ToTheAddressOfEverybodyAsksEverybodyAndWaitsASecond) {
  const BusRig rig;
  const auto begin = std::chrono::steady_clock::now();
  const ToolResult r = run_program(ping(rig, {"--to", "ff:ff:ff:ff:ff:ff", "-c", "1"}));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.out, "ping everybody on ")) << r.out;
  EXPECT_TRUE(contains(r.err, "no port answered 1 request on ")) << r.err;
}

TEST(PingCommand, ARoundTripBeginsWithItsOwnRequest) {
  const BusRig rig;
  Port peer = rig.port("peer");
  const auto begin = std::chrono::steady_clock::now();
  const std::chrono::milliseconds interval(300);
  Tool tool(ping(rig, {"--to", "peer", "-c", "2", "-i", "0.3", "--timeout", "15", "--json"}));
  std::optional<Ping> request;
  do {
    request = hear_request(peer);
    ASSERT_TRUE(request);
  } while (request->sequence != 1);
  send(peer, {ping_back(*request, peer.mac(), PingType::reply, 1)});
  const Json from = Json::parse(tool.finish().out)["responders"][0];
  const std::chrono::nanoseconds max = std::chrono::steady_clock::now() - begin - interval;
  EXPECT_LE(from["rtt_ns_max"].get<std::int64_t>(), max.count())
      << "the second request was sent that late";
  EXPECT_EQ(from["answered"], 1);
  EXPECT_EQ(from["lost"], 1);
}

TEST(PingCommand, ABusThatIsTruncatedEndsItWithAnErrorWhileItWaits) {
  const BusRig rig;
  Port silent = rig.port("silent");
  Tool tool(ping(rig, {"--to", "silent", "-c", "1", "--timeout", "600"}));
  ASSERT_TRUE(hear_request(silent));
  // In the ring, so that the header stays, which the test itself has mapped.
  std::filesystem::resize_file(rig.path(), std::filesystem::file_size(rig.path()) - 16384);
  const ToolResult r = tool.finish();
  EXPECT_FALSE(r.timed_out);
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot go on with pings on " + rig.path())) << r.err;
}

TEST(PingCommand, WhoAnswersGoesOnWhereACorruptBusWasRepaired) {
  const BusRig rig;
  Port port = rig.port("one");
  Tool tool(ping(rig, {"--respond", "--name", "answerer"}));
  ASSERT_TRUE(rig.wait_for_port("answerer"));
  const std::vector<std::string> ask{"--to", "answerer", "-c", "1", "--timeout", "100"};
  ASSERT_EQ(run_program(ping(rig, ask)).status, 0);
  {
    std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
    file << std::string(65536, 'x');
  }
  const Bytes bytes = arp_request();
  const FrameView frame(bytes.data(), bytes.size());
  (void)port.send({&frame, 1});  // which wakes it, whether the ring takes it or not
  ASSERT_TRUE(tool.wait_for("the bus is corrupt")) << tool.so_far().err;
  ASSERT_EQ(run_tool({"repair", rig.path()}).status, 0);
  EXPECT_EQ(run_program(ping(rig, ask)).status, 0);
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "\n2 requests answered\n")) << r.out;
}

TEST(PingCommand, BothSidesWaitWhileStoppedWritersHoldTheRing) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Tool answerer(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one"));
  const HeldRing held(rig);
  Tool asker(
      ping(rig, {"--to", "one", "--name", "asker", "-c", "2", "-i", "0", "--timeout", "100"}));
  ASSERT_TRUE(rig.wait_for_port("asker"));
  EXPECT_FALSE(asker.wait_for("lost", std::chrono::milliseconds(50))) << asker.so_far().err;
  held.let_go();
  const ToolResult r = asker.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "2 sent, 2 answered, 0 lost")) << r.out;
}

TEST(PingCommand, WhoAnswersWaitsForRoomForItsAnswer) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  Tool answerer(ping(rig, {"--respond", "--name", "one"}));
  ASSERT_TRUE(rig.wait_for_port("one"));
  const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
  const MacAddress one = std::ranges::find(ports, "one", &PortInfo::name)->mac;
  std::array<std::byte, kPingFrameBytes> bytes;
  write_ping({.destination = one, .source = port.mac(), .type = PingType::request, .id = 7}, bytes);
  const FrameView frame(bytes.data(), bytes.size());
  answerer.stop();
  ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
  const HeldRing held(rig);
  answerer.signal(SIGCONT);
  EXPECT_FALSE(wait_for(port, std::chrono::milliseconds(50)));
  held.let_go();
  ASSERT_TRUE(wait_for(port, std::chrono::seconds(10)));
  FrameBatch batch;
  ASSERT_TRUE(eventually([&] { return port.receive(batch).frames == 1; }));
  const std::optional<Ping> answer = read_ping(batch[0]);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->type, PingType::reply);
  EXPECT_EQ(answer->id, 7U);
}

TEST(PingCommand, APortWhoseProcessIsGoneIsNotThere) {
  const BusRig rig;
  Tool dead(ping(rig, {"--respond", "--name", "dead"}));
  ASSERT_TRUE(rig.wait_for_port("dead"));
  dead.signal(SIGKILL);
  ASSERT_EQ(dead.finish().status, 128 + SIGKILL);
  const ToolResult r = run_program(ping(rig, {"--to", "dead", "-c", "1", "--timeout", "0.05"}));
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot ping \"dead\" on " + rig.path() +
                                  ": no port has that name (attached: none)\n"))
      << r.err;
}

}  // namespace
}  // namespace shmif::test
