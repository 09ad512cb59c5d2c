// What changes of a line leave as it was: later losses, partitions of hosts that start again,
// addresses; and where they stand.

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "shmif/control/change.hpp"
#include "shmif/control/change_desk.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tools/shmifctl/changing_rig.hpp"

namespace shmif::test {
namespace {

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
