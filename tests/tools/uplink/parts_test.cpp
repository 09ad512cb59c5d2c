// The parts of an uplink that need no network: its words, its table of hosts, its configuration.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tools/common/command.hpp"
#include "tools/uplink/ssh_session.hpp"
#include "tools/uplink/uplink_line.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::test {
namespace {

using std::chrono::seconds;
using tools::FarBus;
using tools::FarCounts;
using tools::Hello;
using tools::HomeTable;

constexpr std::chrono::milliseconds kLong{60'000};

TEST(UplinkHello, OfAnotherShapeIsRefusedWithItsText) {
  for (const std::string line :
       {"", "shmif-uplink", "shmif-uplink ", "shmif-uplink 1", "shmif-uplink 1 mtu=67 name=a",
        "shmif-uplink 1 mtu=65522 name=a", "shmif-uplink 1 mtu=99999999999 name=a",
        "shmif-uplink 1 mtu=-1 name=a", "shmif-uplink 1 mtu=1500 name=", "shmif-uplink 1 mtu=1500",
        "shmif-uplink 1 mtu=1500 name=a b", "shmif-uplink 1 mtu=1500 name=a/b",
        "shmif-uplink 1 mtu=1500 name=a:b", "shmif-uplink 1 mtu=1500 name=a@b",
        "shmif-uplink 1 mtu=1500 name=a[b", "shmif-uplink 1 mtu=1500 name=a`b",
        "shmif-uplink 1 mtu=1500 name=a{b", "shmif-uplink 1 mtu=1500 name=\x1b[31m",
        "shmif-uplink 1 name=a mtu=1500"}) {
    const auto read = Hello::parse(line);
    ASSERT_FALSE(read) << line;
    EXPECT_TRUE(contains(read.error().message, "does not speak as an uplink"));
    EXPECT_EQ(read.error().message.find('\x1b'), std::string::npos);
  }
  EXPECT_FALSE(Hello::parse("shmif-uplink 1 mtu=1500 name=" + std::string(65, 'a')));
  EXPECT_TRUE(Hello::parse("shmif-uplink 1 mtu=1500 name=azAZ09._-"));
  const auto newer = Hello::parse("shmif-uplink 2 mtu=1500 name=a");
  ASSERT_FALSE(newer);
  EXPECT_TRUE(contains(newer.error().message, "version 2"));
}

std::array<UniqueFd, 2> line_ends() {
  std::array<int, 2> pair{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

void put_text(const UniqueFd& to, const std::string& text) {
  ASSERT_EQ(::write(to.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

TEST(UplinkHello, IsFoundBehindWhatAShellSaysAndNotOneByteMoreIsRead) {
  const auto ends = line_ends();
  put_text(ends[0],
           "Welcome!\n" + std::string(1000, 'x') + "\nshmif-uplink 1 mtu=1500 name=b\nrest");
  const auto hello = tools::await_hello(ends[1].get(), -1, kLong);
  ASSERT_TRUE(hello) << hello.error().message;
  EXPECT_EQ(hello->name, "b");
  std::array<char, 16> rest{};
  EXPECT_EQ(::recv(ends[1].get(), rest.data(), rest.size(), MSG_DONTWAIT), 4);
  EXPECT_EQ(std::string(rest.data()), "rest");
}

TEST(UplinkHello, IsNotAwaitedForEver) {
  const auto end_of = [](std::array<UniqueFd, 2>& ends, std::chrono::milliseconds time, int stop) {
    const auto hello = tools::await_hello(ends[1].get(), stop, time);
    EXPECT_FALSE(hello);
    return hello ? std::error_code() : hello.error().code;
  };
  auto silent = line_ends();
  EXPECT_EQ(end_of(silent, std::chrono::milliseconds(10), -1), Errc::timed_out);
  auto closed = line_ends();
  put_text(closed[0], "no such command\n");
  closed[0].reset();
  EXPECT_EQ(end_of(closed, kLong, -1), Errc::link_ended);
  auto reset = line_ends();
  put_text(reset[1], "a greeting that is never read\n");
  reset[0].reset();
  EXPECT_EQ(end_of(reset, kLong, -1), Errc::link_ended);
  auto flooded = line_ends();
  const UniqueFd writer = std::move(flooded[0]);
  std::jthread flood([&] {
    const std::string chunk(4096, '\n');
    for (int i = 0; i < 64 && ::send(writer.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0;)
      ++i;
  });
  EXPECT_EQ(end_of(flooded, kLong, -1), Errc::bad_argument);
  flooded[1].reset();  // ends the flood
  const auto stop = line_ends();
  put_text(stop[0], "x");
  EXPECT_EQ(end_of(silent, kLong, stop[1].get()), Errc::interrupted);
}

/// A frame between hosts that are numbers; 255 is everybody.
std::vector<std::byte> frame_of(unsigned to, unsigned from) {
  std::vector<std::byte> frame(60);
  for (std::size_t i = 0; i < 6; ++i) {
    frame[i] = to == 255 ? std::byte{0xff} : std::byte{0};
    frame[6 + i] = std::byte{0};
  }
  if (to != 255) {
    frame[0] = std::byte{2};
    frame[5] = static_cast<std::byte>(to);
  }
  frame[6] = from == 255 ? std::byte{3} : std::byte{2};
  frame[11] = static_cast<std::byte>(from);
  return frame;
}

/// A table, and frames through it at chosen times.
struct Hosts {
  explicit Hosts(HomeTable::Behind behind) : table(behind) {}
  bool stays(unsigned to, unsigned from, seconds at = seconds(0)) {
    const auto frame = frame_of(to, from);
    return table.stays(FrameView(frame.data(), frame.size()), begin + at);
  }
  void afar(unsigned to, unsigned from, seconds at = seconds(0)) {
    const auto frame = frame_of(to, from);
    table.came_from_afar(FrameView(frame.data(), frame.size()), begin + at);
  }
  HomeTable table;
  HomeTable::Clock::time_point begin = HomeTable::Clock::now();
};

TEST(UplinkHomeTable, KeepsFramesBetweenHostsOfTheBusAndFollowsThoseThatMoveOrAreSilent) {
  Hosts hosts(HomeTable::Behind::line);
  EXPECT_FALSE(hosts.stays(2, 1)) << "nobody knows where 2 is";
  EXPECT_FALSE(hosts.stays(255, 2)) << "a broadcast";
  EXPECT_TRUE(hosts.stays(2, 1));
  EXPECT_TRUE(hosts.stays(1, 2));
  hosts.afar(1, 3);
  EXPECT_FALSE(hosts.stays(3, 1)) << "3 is on another machine";
  EXPECT_FALSE(hosts.stays(2, 255)) << "a group address is no sender";
  hosts.afar(255, 2);
  EXPECT_FALSE(hosts.stays(2, 1)) << "2 has sent from another machine";
  hosts.stays(255, 2);
  EXPECT_TRUE(hosts.stays(2, 1)) << "2 has come back";
  EXPECT_TRUE(hosts.stays(2, 1, HomeTable::kMemory - seconds(1)));
  EXPECT_FALSE(hosts.stays(2, 1, HomeTable::kMemory)) << "a silent host is forgotten";
}

TEST(UplinkHomeTable, KnowsAFewHundredHostsAtOnce) {
  Hosts hosts(HomeTable::Behind::line);
  for (unsigned host = 1; host <= 250; ++host) hosts.stays(255, host);
  unsigned kept = 0;
  for (unsigned host = 2; host <= 250; ++host) kept += hosts.stays(host, 1) ? 1 : 0;
  EXPECT_GE(kept, 240U) << "few hosts share a place";
}

TEST(UplinkHomeTable, RemindsABridgeOfEachHostNowAndThen) {
  Hosts hosts(HomeTable::Behind::bridge);
  hosts.stays(255, 1);
  EXPECT_FALSE(hosts.stays(1, 2)) << "the bridge has not yet heard of 2";
  EXPECT_TRUE(hosts.stays(1, 2));
  EXPECT_TRUE(hosts.stays(2, 1));
  const seconds later = HomeTable::kRemind;
  EXPECT_FALSE(hosts.stays(2, 1, later));
  EXPECT_TRUE(hosts.stays(2, 1, later));
  EXPECT_FALSE(hosts.stays(1, 2, later));
}

TEST(UplinkFarCounts, AreTheSumsOfWhatTheLineCounted) {
  tools::BridgeWay out;
  out.counters = {.received = 1U << 20U,
                  .frames = 1,
                  .lost = 2,
                  .dropped_full = 4,
                  .dropped_too_long = 8,
                  .dropped_error = 16};
  out.faults.lost = 2048;
  tools::BridgeWay in;
  in.counters = {.received = 1U << 20U,
                 .frames = 32 + 4096,
                 .dropped_full = 64,
                 .dropped_too_long = 128,
                 .dropped_error = 256};
  in.sink_faults.queue_full = 4096;
  const StreamDrops drops{.too_long = 512, .too_short = 1024};
  const FarCounts expected{.sent_frames = 1,
                           .delivered_frames = 32,
                           .lost_frames = 2 + 2048 + 4096,
                           .line_full_frames = 4,
                           .too_long_frames = 8 + 128 + 512,
                           .refused_frames = 16 + 64 + 256 + 1024,
                           .loops = 0};
  using tools::UplinkEnd;
  EXPECT_EQ(tools::far_counts_of({out, in}, drops, {.why = UplinkEnd::Why::far_ended}).to_json(),
            expected.to_json());
  EXPECT_EQ(tools::far_counts_of({out, in}, drops, {.why = UplinkEnd::Why::loop}).loops, 1U);
}

TEST(UplinkFarCounts, OfAnotherShapeAreNoCounts) {
  const std::string sign = "shmif-uplink-counts ";
  for (const std::string& line :
       {std::string(), std::string("warning: x"), sign, sign + "{", sign + "[]", sign + "{}",
        sign + R"({"sent_frames":1})", sign + std::string(5000, '['),
        sign + R"({"sent_frames":-1,"delivered_frames":2,"lost_frames":3,"line_full_frames":4,)"
               R"("too_long_frames":5,"refused_frames":6,"loops":7})",
        sign + R"({"sent_frames":"1","delivered_frames":2,"lost_frames":3,"line_full_frames":4,)"
               R"("too_long_frames":5,"refused_frames":6,"loops":7})"})
    EXPECT_FALSE(FarCounts::parse(line)) << line;
}

TEST(UplinkFarBus, IsAHostAndAPath) {
  const auto is = [](const std::string& text, const std::string& host, const std::string& path) {
    const FarBus far = FarBus::parse(text);
    EXPECT_EQ(far.host, host) << text;
    EXPECT_EQ(far.path, path) << text;
  };
  is("b:/dev/shm/bus0", "b", "/dev/shm/bus0");
  is("user@b:bus0", "user@b", "bus0");
  is("user@[fd00::2]:/dev/shm/a:b", "user@fd00::2", "/dev/shm/a:b");
  is("[fd00::2]:/x", "fd00::2", "/x");
  is("b:/a[1]:2", "b", "/a[1]:2");
  for (const char* const text : {"", "b", ":", "b:", ":/x", "user@:/x", "[fd00::2]", "[fd00::2]/x",
                                 "-oProxyCommand=id:/x", "[-oProxyCommand=id]:/x"})
    EXPECT_THROW(FarBus::parse(text), tools::UsageError) << text;
}

TEST(UplinkSshWords, RunTheFarEndWithEachWordKeptFromItsShell) {
  tools::UplinkWish wish;
  wish.far = {.host = "user@b", .path = "/dev/shm/it's $HOME"};
  wish.port_name = "a b";
  wish.ssh_options = {"Port=2222", "BatchMode=no"};
  const Words words = tools::ssh_words(wish);
  EXPECT_EQ(words.front(), "ssh");
  EXPECT_EQ(words[2], "Port=2222");
  EXPECT_EQ(words[4], "BatchMode=no") << "the user's come before ours";
  ASSERT_GE(words.size(), 3U);
  EXPECT_EQ(words[words.size() - 3], "--");
  EXPECT_EQ(words[words.size() - 2], "user@b");
  EXPECT_EQ(words.back(),
            R"(shmifctl uplink --stdio --port-name 'a b' -- '/dev/shm/it'\''s $HOME')");
}

}  // namespace
}  // namespace shmif::test
