// shmifctl ping, through the program.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "bus/layout.hpp"
#include "shmif/ping.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/capture/held_ring.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

// A port that hears the requests of `shmifctl ping`, and answers them as a test wants.

/// Requests that `port` hears: `count` or more, or fewer when none comes for long.
std::vector<Ping> hear_requests(Port& port, std::size_t count) {
  std::vector<Ping> heard;
  FrameBatch batch;
  while (heard.size() < count && wait_for(port, std::chrono::seconds(10))) {
    batch.clear();
    (void)port.receive(batch);
    for (const FrameView& frame : batch.frames()) {
      if (const auto request = read_ping(frame)) heard.push_back(*request);
    }
  }
  return heard;
}

std::optional<Ping> hear_request(Port& port) {
  const std::vector<Ping> heard = hear_requests(port, 1);
  return heard.empty() ? std::nullopt : std::optional(heard.front());
}

/// A frame from `source` to the port that sent `request`, with its id.
Bytes ping_back(const Ping& request, MacAddress source, PingType type, std::uint32_t sequence) {
  Bytes bytes(kPingFrameBytes);
  write_ping({.destination = request.source,
              .source = source,
              .type = type,
              .id = request.id,
              .sequence = sequence},
             std::span<std::byte, kPingFrameBytes>(bytes.data(), kPingFrameBytes));
  return bytes;
}

using Json = nlohmann::json;

Words ping(const BusRig& rig, const Words& more) {
  return Words{shmifctl_path(), "ping", rig.path()} + more;
}
ToolResult ping_once(const BusRig& rig, const std::string& to) {
  return run_program(ping(rig, {"--to", to, "-c", "1", "--timeout", "0.05"}));
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
  Words names;
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
  EXPECT_EQ(names, (Words{"one", "two"}));
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
                                    "  min/p50/p99/max "));
    EXPECT_FALSE(contains(r.out, "other"));
  }
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

TEST(PingCommand, ExitsWithOneWhenNothingAnswersAndSaysWhy) {
  const BusRig rig;
  Port silent = rig.port("silent");
  const Port web = rig.port("web");
  const auto said = [&](const Words& more, const std::string& why) {
    const ToolResult r = run_program(ping(rig, Words{"--timeout", "0.05"} + more));
    EXPECT_EQ(r.status, 1);
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, why));
  };
  const std::string mac = silent.mac().to_string();
  said({"-c", "1"}, "no port answered 1 request on ");
  said({"--to", "silent", "-c", "2", "-i", "0.01"},
       "no answer from silent (" + mac + ") to 2 requests on " + rig.path() + '\n');
  said({"--to", "wbe"}, "no port has that name (attached: silent, web)");
  ASSERT_FALSE(silent.set_carrier(false));
  said({"--to", mac, "-c", "1"}, ": the network interface of its host is down\n");
  ASSERT_FALSE(silent.down());
  said({"--to", "silent", "-c", "1"}, " to 1 request on " + rig.path() + ": its port is down\n");
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
  EXPECT_TRUE(contains(r.out, "\n3 requests answered\n"));
}

TEST(PingCommand, LiesInRepliesAreNotBelieved) {
  const BusRig rig;
  Port liar = rig.port("liar");
  Tool tool(ping(rig, {"--to", "liar", "--name", "asker", "-c", "1", "--timeout", "0.5"}));
  const std::optional<Ping> request = hear_request(liar);
  ASSERT_TRUE(request);
  const auto reply = [&](auto change) {
    Ping lie{.destination = request->source,
             .source = liar.mac(),
             .type = PingType::reply,
             .id = request->id,
             .sequence = 0};
    change(lie);
    std::array<std::byte, kPingFrameBytes> bytes;
    write_ping(lie, bytes);
    EXPECT_EQ(liar.send(FrameView(bytes.data(), bytes.size())).taken, 1U);
  };
  reply([](Ping& lie) { lie.sequence = 1; });           // never asked
  reply([](Ping& lie) { lie.sequence = 0xffffffff; });  // never asked
  reply([](Ping& lie) { lie.type = PingType::request; });
  reply([](Ping& lie) { lie.id ^= 1U; });  // another asker's
  reply([](Ping& lie) { lie.destination = MacAddress::from_u64(0xffffffffffff); });
  reply([](Ping& lie) { lie.source = *MacAddress::parse("b2:a0:00:00:00:99"); });
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 1) << r.out;
  EXPECT_TRUE(contains(r.err, "no answer"));
}

TEST(PingCommand, WrongUsageIsRefused) {
  const BusRig rig;
  for (const std::string option : {"to", "count", "interval", "timeout", "json"}) {
    const ToolResult refused =
        run_program(ping(rig, {"--respond", "--" + option + (option == "json" ? "" : "=1")}));
    EXPECT_EQ(refused.status, 2) << option;
    EXPECT_TRUE(contains(refused.err, "--respond only answers, it takes no --" + option));
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
  ASSERT_TRUE(eventually([&] {
    const BusInfo info = Bus::open(rig.path()).value().info();
    return std::ranges::any_of(info.ports, [](const PortInfo& port) {
      return port.name == "asker" && port.rx_frames == kInvented;
    });
  }));
  tool.signal(SIGINT);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << "some have answered";
  EXPECT_EQ(Json::parse(r.out)["responders"].size(), 4096U);
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
  EXPECT_TRUE(contains(something.out, ": 1 sent, 1 answered, 0 lost (0.0 %)\n"));
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
  EXPECT_TRUE(contains(r.err, "cannot go on with pings on " + rig.path()));
}

TEST(PingCommand, WhoAnswersGoesOnWhereACorruptBusWasRepaired) {
  const BusRig rig;
  Port port = rig.port("one");
  Tool tool(ping(rig, {"--respond", "--name", "answerer"}));
  ASSERT_TRUE(rig.wait_for_port("answerer"));
  const Words ask{"--to", "answerer", "-c", "1", "--timeout", "100"};
  ASSERT_EQ(run_program(ping(rig, ask)).status, 0);
  {
    std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
    file << std::string(65536, 'x');
  }
  const Bytes bytes = arp_request();
  const FrameView frame(bytes.data(), bytes.size());
  (void)port.send({&frame, 1});  // which wakes it, whether the ring takes it or not
  ASSERT_TRUE(tool.wait_for("the bus is corrupt"));
  ASSERT_EQ(run_tool({"repair", rig.path()}).status, 0);
  EXPECT_EQ(run_program(ping(rig, ask)).status, 0);
  tool.signal(SIGTERM);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "\n2 requests answered\n"));
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
  EXPECT_TRUE(contains(r.out, "2 sent, 2 answered, 0 lost"));
}

/// Leaves a port behind whose process is gone. It was never up.
void leave_dead_port(const BusRig& rig, const std::string& name, MacAddress mac) {
  Child child([&] {
    PortOptions options;
    options.name = name;
    options.mac = mac;
    Port port(options);
    return port.attach(rig.path()) ? raise(SIGKILL) : 1;
  });
  ASSERT_EQ(child.wait(), 128 + SIGKILL);
}

TEST(PingCommand, PortsOfAProcessThatIsGoneAreNotTakenForThoseThatHaveTheirAddressNow) {
  const BusRig rig;
  const MacAddress mac = MacAddress::from_u64(0xb2a000000077);
  leave_dead_port(rig, "former", mac);
  const ToolResult gone = ping_once(rig, mac.to_string());
  EXPECT_EQ(gone.status, 1);
  EXPECT_TRUE(contains(gone.err, " to 1 request on " + rig.path() + "\n"));
  EXPECT_TRUE(contains(ping_once(rig, "former").err, "no port has that name (attached: none)"));

  const Port other = rig.port("other");  // not in the slot of the dead one
  PortOptions options;
  options.name = "present";
  options.mac = mac;
  Port present(options);
  ASSERT_TRUE(present.attach(rig.path()));
  ASSERT_FALSE(present.up());
  const std::vector<PortInfo> ports = Bus::open(rig.path()).value().info().ports;
  ASSERT_EQ(std::ranges::count(ports, "former", &PortInfo::name), 1) << "its slot was taken";
  Tool tool({shmifctl_path(), "ping", rig.path(), "-c", "1", "-i", "0.01", "--timeout", "100"});
  FrameBatch batch;
  ASSERT_TRUE(eventually([&] { return present.receive(batch).frames > 0; }));
  std::array<std::byte, kPingFrameBytes> reply;
  const std::optional<FrameView> answer = answer_ping(batch[0], mac, reply);
  ASSERT_TRUE(answer);
  ASSERT_EQ(present.send({&*answer, 1}).taken, 1U);
  EXPECT_TRUE(tool.wait_for("present (" + mac.to_string() + "): seq 0, "));
}

}  // namespace
}  // namespace shmif::test
