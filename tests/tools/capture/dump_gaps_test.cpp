// Where a dump places the losses that it is told of, and how a user is told that names are missing.

#include "tools/capture/dump_gaps.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include "tests/support/raw_bus.hpp"
#include "tests/tools/capture/overrun_dump.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// The result of a receive: the numbers of its frames, and how many frames it reported as lost.
struct Received {
  std::vector<std::uint64_t> numbers;
  std::uint64_t lost = 0;
};

/// How many frames are placed before each frame.
std::vector<std::uint64_t> placed(const std::vector<Received>& all) {
  tools::Gaps gaps;
  std::vector<std::uint64_t> before;
  for (const Received& received : all) {
    std::vector<FrameView> frames(received.numbers.size());
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i].number = received.numbers[i];
    gaps.received(frames, received.lost);
    for (const std::uint64_t number : received.numbers) before.push_back(gaps.before(number));
  }
  return before;
}

TEST(DumpGaps, AreWhereTheNumbersAreMissing) {
  using Before = std::vector<std::uint64_t>;
  EXPECT_EQ(placed({{{10, 11}}, {{12}}}), (Before{0, 0, 0}));
  EXPECT_EQ(placed({{{10}}, {{14, 15, 17}, 4}, {{18, 20}, 1}}), (Before{0, 3, 0, 1, 0, 1}));
  EXPECT_EQ(placed({{{10, 10, 12, 12, 12}, 1}}), (Before{0, 0, 1, 0, 0}))
      << "segments of a super-frame have one number";
}

TEST(DumpGaps, BeforeTheFirstFrameAreWhatIsNotAmongTheFirst) {
  using Before = std::vector<std::uint64_t>;
  EXPECT_EQ(placed({{{100, 101, 103, 106}, 8}}), (Before{5, 0, 1, 2}));
  EXPECT_EQ(placed({{{}, 7}, {{100, 102}, 1}}), (Before{7, 1})) << "told before it came";
  EXPECT_EQ(placed({{{100, 100, 100, 102, 102}, 4}}), (Before{3, 0, 0, 1, 0}))
      << "segments of super-frames";
}

TEST(DumpGaps, ToldEarlyOrLateAreBeforeTheNextFrame) {
  using Before = std::vector<std::uint64_t>;
  EXPECT_EQ(placed({{{10}}, {{}, 3}, {{14, 15}}}), (Before{0, 3, 0}));
  EXPECT_EQ(placed({{{10, 11}, 2}, {{14, 15}}}), (Before{2, 0, 0, 0}))
      << "before the very first, for no number tells otherwise";
  EXPECT_EQ(placed({{{10}}, {{11}, 2}, {{14, 15}}, {{16}}}), (Before{0, 0, 2, 0, 0}));
}

TEST(DumpGaps, AreNeverMoreThanWasLostWhereARepairLetNumbersJump) {
  using Before = std::vector<std::uint64_t>;
  EXPECT_EQ(placed({{{10}}, {{1000, 1001}, 3}, {{1002}}}), (Before{0, 3, 0, 0}));
  EXPECT_EQ(placed({{{10}}, {{1000}}}), (Before{0, 0}));
  EXPECT_EQ(placed({{{1000}}, {{5}, 4}, {{6}}}), (Before{0, 0, 4})) << "numbers that begin anew";
}

TEST(DumpGaps, UnitsAreToldApartByNumberAndTime) {
  FrameView frame;
  frame.number = 0;
  frame.time_ns = 7;
  EXPECT_FALSE(tools::UnitOfBus().is_of(frame)) << "there was none before";
  const tools::UnitOfBus unit(frame);
  EXPECT_TRUE(unit.is_of(frame));
  frame.time_ns = 8;
  EXPECT_FALSE(unit.is_of(frame));
  frame.time_ns = 7;
  frame.number = 1;
  EXPECT_FALSE(unit.is_of(frame));
}

/// What each frame of a pcapng file says was lost before it, where it says so: by its place.
std::map<std::size_t, std::uint64_t> drops_in(const std::string& path) {
  constexpr std::uint32_t kEnhancedPacket = 6;
  constexpr std::uint16_t kDropCount = 4;
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint64_t value = 0;
    if (at + size <= bytes.size()) std::memcpy(&value, bytes.data() + at, size);
    return value;
  };
  std::map<std::size_t, std::uint64_t> drops;
  std::size_t frames = 0;
  for (std::size_t block = 0; block + 12 <= bytes.size(); block += number(block + 4, 4)) {
    if (number(block, 4) != kEnhancedPacket) continue;
    ++frames;
    const std::size_t end = block + number(block + 4, 4) - 4;
    for (std::size_t at = block + 28 + (number(block + 20, 4) + 3) / 4 * 4; at < end;
         at += 4 + (number(at + 2, 2) + 3) / 4 * 4) {
      if (number(at, 2) == kDropCount) drops[frames] = number(at + 4, 8);
      if (number(at, 2) == 0) break;
    }
  }
  return drops;
}

TEST(DumpGaps, BeforeFramesThatTheFilterLeavesOutAreToldAtTheNextThatItTakes) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const std::string path = rig.file("x.pcapng");
  Tool tool({shmifctl_path(), "dump", rig.path(), "--name", "ear", "-w", path, "greater", "1000"});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const ToolResult r = overrun(rig, tool, [&] {
    for (int i = 0; i < 10; ++i) send(port, std::vector<Bytes>(20, make_frame(999, 1)));
    send(port, {make_frame(1000, 1), make_frame(999, 1), make_frame(1001, 1)});
  });
  unsigned long long filtered = 0, lost = 0;
  ASSERT_EQ(std::sscanf(r.err.c_str(), "2 frames captured, %llu filtered out, %llu lost", &filtered,
                        &lost),
            2)
      << r.err;
  ASSERT_GT(lost, 0U);
  ASSERT_GT(filtered, 1U);
  EXPECT_EQ(drops_in(path), (std::map<std::size_t, std::uint64_t>{{1, lost}}));
}

/// Sends frames, each in a record of its own, and makes each the frame of a sender that nobody
/// knows.
void send_of_strangers(const BusRig& rig, Port& port, std::uint32_t count) {
  const RawBus raw(rig.path());
  std::uint64_t at = raw.header().last;
  for (std::uint32_t sent = 0; sent < count; ++sent) send(port, {arp_request()});
  for (std::uint32_t i = 1; i <= count; ++i) {
    auto& record = raw.ring().record(at);
    record.slot = static_cast<std::uint16_t>(200 + i % 50);
    record.incarnation = i;
    at += raw.ring().step(raw.ring().word_at(at), at);
  }
}

TEST(DumpNames, OfTooManyNewSendersAreSaidToBeMissing) {
  const BusRig rig({.ring_bytes = 4U << 20U});
  Port port = rig.port("web");
  constexpr std::uint32_t kStrangers = 20'000;
  send_of_strangers(rig, port, kStrangers);
  const auto dumped = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"dump", rig.path(), "--history", "--timeout", "0"};
    words.insert(words.end(), more.begin(), more.end());
    return run_tool(words);
  };
  const std::string what = "shmifctl: too many new senders to look up all their names: ";
  // One name is looked up in a millisecond, and 4096 at once.
  const auto begin = std::chrono::steady_clock::now();
  const ToolResult shown = dumped({"--sender"});
  const ToolResult chosen = dumped({"--port", "web"});
  if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(15)) {
    GTEST_SKIP() << "so slow a machine has the time to look them all up";
  }
  EXPECT_EQ(shown.status, 0) << shown.err;
  const std::size_t others = times_in(shown.out, " others: ");
  EXPECT_GT(others, 1U);
  EXPECT_EQ(shown.err, what + std::to_string(others) +
                           " frames were shown as from \"others\"\n20000 frames captured, 0 "
                           "filtered out, 0 lost\n");
  unsigned long long left_out = 0;
  EXPECT_EQ(std::sscanf(chosen.err.c_str(), (what + "%llu frames").c_str(), &left_out), 1)
      << chosen.err;
  EXPECT_GT(left_out, 1U);
  EXPECT_EQ(chosen.err, what + std::to_string(left_out) +
                            " frames were left out by --port\n0 frames captured, 20000 filtered "
                            "out, 0 lost\n");
}

}  // namespace
}  // namespace shmif::test
