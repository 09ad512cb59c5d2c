// Every command in the middle of its work when somebody truncates, grows, deletes, replaces or
// overwrites its bus, and on a full disk: it says what is wrong and ends, or goes on; it never
// crashes, and never hangs.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;
using std::filesystem::file_size;
using std::filesystem::resize_file;
using namespace std::string_literals;

constexpr BusOptions kSmall{.ring_bytes = 64U << 10U};

enum class Then : std::uint8_t {
  goes_on,  ///< as if nothing had happened, until it is told to end
  ends,     ///< with a message
  either,   ///< the bus is anything by now: one of the two
};

struct Event {
  const char* name;
  std::function<void(const OwnTmpfs&, const std::string& bus)> happens;
  Then attached;               ///< what commands with a port do, and those that listen
  Then looking;                ///< what `top` does, which opens the path anew each time
  const char* newcomers_hear;  ///< part of the refusal; nullptr: they are welcome
};

std::ostream& operator<<(std::ostream& out, const Event& event) {
  return out << event.name;
}

std::vector<Event> events() {
  return {
      {"TruncatedToNothing", [](const auto&, const auto& bus) { resize_file(bus, 0); }, Then::ends,
       Then::ends, nullptr},  // a bus of NetBSD's format is made there
      {"TruncatedInTheMiddle",
       [](const auto&, const auto& bus) { resize_file(bus, file_size(bus) / 2); }, Then::ends,
       Then::ends, "truncated"},
      {"TruncatedAndGrownAgain",
       [](const auto&, const auto& bus) {
         const std::uint64_t size = file_size(bus);
         resize_file(bus, 0);
         resize_file(bus, size);
       },
       Then::either, Then::ends, "is not a shmif bus"},
      {"Grown", [](const auto&, const auto& bus) { resize_file(bus, file_size(bus) + 4096); },
       Then::goes_on, Then::ends, "extended"},
      {"Deleted", [](const auto&, const auto& bus) { std::filesystem::remove(bus); }, Then::goes_on,
       Then::goes_on, "No such file"},
      {"ReplacedByAnotherBus",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         Bus::create(tmpfs.file("other"), kSmall).value();
         std::filesystem::rename(tmpfs.file("other"), bus);
       },
       Then::goes_on, Then::goes_on, nullptr},
      {"ReplacedByAnotherFile",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         std::ofstream(tmpfs.file("letter")) << "dear all";
         std::filesystem::rename(tmpfs.file("letter"), bus);
       },
       Then::goes_on, Then::ends, "is not a shmif bus"},
      {"OverwrittenByAnotherBus",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         Bus::create(tmpfs.file("other"), kSmall).value();
         std::filesystem::copy_file(tmpfs.file("other"), bus,
                                    std::filesystem::copy_options::overwrite_existing);
       },
       Then::either, Then::either, "is a copy"},
  };
}

/// A command at work.
struct Running {
  std::string what;
  std::unique_ptr<Tool> tool;
  bool looks = false;            ///< has no hold on the file
  bool goes_on_without = false;  ///< `exec`, whose program outlives its interface
  bool finishes = false;         ///< `inject` may have had its fill
};

class VanishingBus : public ::testing::TestWithParam<Event> {
 protected:
  void SetUp() override {
    if (!tmpfs.missing().empty()) GTEST_SKIP() << tmpfs.missing();
    Bus::create(bus(), kSmall).value();
    Bus::create(tmpfs.file("far"), kSmall).value();
    write_capture(tmpfs.file("capture"), std::vector<Bytes>(100, arp_request()), 20'000'000);
  }
  std::string bus() const { return tmpfs.file("bus"); }

  bool is_up(const std::string& name) const {
    return run_tool({"wait", bus(), "--port", name, "--timeout", "100"}).status == 0;
  }

  /// All commands that stay.
  std::vector<Running> start_all() {
    const std::string tool = shmifctl_path();
    std::vector<Running> all;
    const auto start = [&](const std::string& name, Words words) {
      Words line = Words{tool} + words;
      all.push_back({name, std::make_unique<Tool>(std::move(line))});
      return &all.back();
    };
    start("exec", {"exec", bus(), "--name", "exec", "--via", "veth", "--", "sleep", "600"})
        ->goes_on_without = true;
    if (geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0) {
      all.push_back({"tap", std::make_unique<Tool>(Words{"unshare", "--net", tool, "tap", bus()})});
    }
    start("dump", {"dump", bus(), "--name", "dump"});
    start("dump -w", {"dump", bus(), "--name", "dumpw", "-w", tmpfs.file("recorded")});
    start("inject", {"inject", bus(), tmpfs.file("capture"), "--loop", "1000"})->finishes = true;
    start("ping --respond", {"ping", bus(), "--respond", "--name", "responder"});
    start("ping", {"ping", bus(), "-c", "10000", "-i", "0.02", "--name", "asker"});
    start("top", {"top", bus(), "--interval", "0.05"})->looks = true;
    // Who has no port shows in no table: the first line tells that it has seen the bus.
    EXPECT_TRUE(all.back().tool->wait_for(" bus ")) << "top";
    start("changes", {"changes", bus(), "--follow"})->looks = true;
    EXPECT_TRUE(eventually_mapped(all.back().tool->pid())) << "changes";
    start("bridge", {"bridge", "bus:" + bus(), "bus:" + tmpfs.file("far")});
    for (const char* name : {"exec", "dump", "dumpw", "responder", "asker"}) {
      EXPECT_TRUE(is_up(name)) << name;
    }
    EXPECT_TRUE(eventually_attached(all.size() - 2));
    std::map<LinkKind, int> kinds;  // as stat tells them
    for (const PortInfo& port : Bus::open(bus()).value().info().ports) ++kinds[port.link];
    kinds.erase(LinkKind::tap);
    EXPECT_EQ(kinds, (std::map<LinkKind, int>{{LinkKind::veth, 1},
                                              {LinkKind::dump, 2},
                                              {LinkKind::inject, 1},
                                              {LinkKind::ping, 2},
                                              {LinkKind::bridge, 1}}));
    return all;
  }
  /// Whether a process that has no port, and prints nothing, comes to map the bus.
  bool eventually_mapped(pid_t pid) const {
    for (unsigned i = 0; i < 4000; ++i) {
      std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
      for (std::string line; std::getline(maps, line);) {
        if (line.ends_with(bus())) return true;
      }
      usleep(5000);
    }
    return false;
  }
  bool eventually_attached(std::size_t ports) const {
    for (unsigned i = 0; i < 4000; ++i) {
      std::size_t live = 0;
      for (const PortInfo& port : Bus::open(bus()).value().info().ports)
        live += port.live ? 1U : 0U;
      if (live >= ports) return true;
      usleep(5000);
    }
    return false;
  }

  OwnTmpfs tmpfs;
};

INSTANTIATE_TEST_SUITE_P(When, VanishingBus, ::testing::ValuesIn(events()),
                         [](const auto& each) { return each.param.name; });

bool has_ended(const Tool& tool) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(tool.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid != 0;
}

TEST_P(VanishingBus, EachCommandSaysWhatIsWrongOrGoesOn) {
  std::vector<Running> all = start_all();
  usleep(100'000);
  GetParam().happens(tmpfs, bus());
  usleep(300'000);
  for (Running& each : all) {
    SCOPED_TRACE(each.what);
    const Then then = each.looks ? GetParam().looking : GetParam().attached;
    if (each.goes_on_without) {
      // The message may take until somebody sends; the program does not mind either way.
      if (then == Then::ends) {
        EXPECT_TRUE(each.tool->wait_for("goes on without it"));
      }
      EXPECT_FALSE(has_ended(*each.tool));
      each.tool->signal(SIGTERM);
      EXPECT_EQ(each.tool->finish().status, 128 + SIGTERM);
      continue;
    }
    if (then == Then::goes_on && !each.finishes) {
      EXPECT_FALSE(has_ended(*each.tool)) << each.tool->finish().err;
    }
    if (then != Then::ends) each.tool->signal(SIGINT);
    const ToolResult end = each.tool->finish();
    EXPECT_FALSE(end.timed_out) << end.err;
    if (then == Then::ends) {
      EXPECT_EQ(end.status, 1) << end.err;
      EXPECT_TRUE(contains(end.err, bus()));
    } else {
      // SIGINT ends each by itself; where it ends an unfinished job that is 130 and no signal.
      EXPECT_TRUE(end.status == 0 || end.status == 1 || end.status == 128 + SIGINT)
          << end.status << end.err;
    }
    if (then == Then::goes_on && end.status == 1) ADD_FAILURE() << end.err;
    if (end.status == 1) {
      EXPECT_TRUE(contains(end.err, "shmifctl: ")) << "it ends without a word";
    }
  }
}

TEST_P(VanishingBus, WhoComesLaterIsToldOrWelcome) {
  GetParam().happens(tmpfs, bus());
  for (const Words& words :
       std::vector<Words>{{"exec", bus(), "--", "true"},
                          {"inject", bus(), tmpfs.file("capture"), "--timing", "flat"},
                          {"ping", bus(), "-c", "1", "--timeout", "0.1"},
                          {"repair", bus()},
                          {"bridge", "bus:" + bus(), "pcap:" + tmpfs.file("recorded")}}) {
    SCOPED_TRACE(words[0]);
    if (GetParam().newcomers_hear != nullptr) {
      expect_refusal(run_tool(words), {bus(), GetParam().newcomers_hear},
                     words[0] == "exec" ? 125 : 1);
    } else if (words[0] != "bridge" && words[0] != "ping") {
      EXPECT_EQ(run_tool(words).status, 0);
    }
  }
  for (const char* const command : {"stat", "audit"}) {
    SCOPED_TRACE(command);
    const ToolResult looked = run_tool({command, bus()});
    EXPECT_LE(looked.status, 1);
    if (GetParam().newcomers_hear != nullptr) {
      EXPECT_TRUE(contains(looked.err, GetParam().newcomers_hear));
    } else {
      EXPECT_EQ(looked.status, 0) << looked.err;
    }
  }
}

/// Hosts whose programs say each change of their interface's carrier, counted.
class Cable : public ::testing::Test {
 protected:
  void SetUp() override {
    Bus::create(bus, kSmall).value();
    Bus::create(dir.file("other"), kSmall).value();
    start("veth", "tap0", {bus});
    if (access("/dev/net/tun", R_OK | W_OK) == 0)
      start("tap", "tap1", {dir.file("other"), "--bus", bus});
    expect_carrier(1, true);
  }
  /// A host that tells of the carrier of an interface.
  void start(const std::string& via, const std::string& interface, const Words& buses) {
    Words words = Words{shmifctl_path(), "exec", "--via", via} + buses;
    words.insert(words.end(),
                 {"--name", via, "--", "sh", "-c",
                  "n=0; while :; do now=$(cat /sys/class/net/" + interface +
                      "/carrier); if [ \"$now\" != \"$last\" ]; then n=$((n + 1)); last=$now; "
                      "echo \"change $n: $now\"; fi; sleep 0.02; done"});
    hosts.push_back(std::make_unique<Tool>(words));
  }
  void expect_carrier(int change, bool on) {
    for (const auto& host : hosts) {
      const std::string line = "change " + std::to_string(change) + (on ? ": 1" : ": 0");
      EXPECT_TRUE(host->wait_for(line)) << line;
    }
  }

  const TempDir dir;
  const std::string bus = dir.file("bus");
  std::vector<std::unique_ptr<Tool>> hosts;
};

TEST_F(Cable, OfAHostIsOutWhileItsBusIsLostAndInWhenThereIsOneAgain) {
  resize_file(bus, 0);
  expect_carrier(2, false);
  std::filesystem::remove(bus);
  Bus::create(bus, kSmall).value();
  expect_carrier(3, true);
  for (const char* via : {"veth", "tap"}) {
    if (via == "tap"s && hosts.size() == 1) continue;
    EXPECT_EQ(run_tool({"wait", bus, "--port", via, "--timeout", "100"}).status, 0) << via;
  }
}

TEST_F(Cable, OfAHostIsOutWhileItsBusIsCorruptAndInWhenItIsRepaired) {
  {
    std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
    ring.seekp(-static_cast<std::streamoff>(kSmall.ring_bytes), std::ios::end);
    ring << std::string(kSmall.ring_bytes, '\xff');
  }
  expect_carrier(2, false);
  const auto all_say = [&](const std::string& what) {
    for (const auto& host : hosts) EXPECT_TRUE(host->wait_for(what));
  };
  all_say("cannot receive from the bus " + bus + ": ");
  all_say("; the interface has no carrier until the bus is repaired (run 'shmifctl repair')\n");
  const ToolResult repaired = run_tool({"repair", bus});
  EXPECT_EQ(repaired.status, 0) << repaired.err;
  expect_carrier(3, true);
  all_say("the bus " + bus + " works again, and the interface has carrier\n");
}

TEST(RemovedBus, IsToldOnceByEachHostAndByWhoMakesANewOneThere) {
  const TempDir dir;
  const std::string bus = dir.file("bus");
  const std::string far = dir.file("far"), other = dir.file("other");
  for (const std::string& path : {bus, far, other}) Bus::create(path, kSmall).value();
  std::vector<std::unique_ptr<Tool>> hosts;
  hosts.push_back(
      std::make_unique<Tool>(Words{shmifctl_path(), "exec", bus, "--", "sleep", "600"}));
  hosts.push_back(
      std::make_unique<Tool>(Words{shmifctl_path(), "bridge", "bus:" + bus, "bus:" + far}));
  // One that has another bus before it.
  hosts.push_back(
      std::make_unique<Tool>(Words{shmifctl_path(), "bridge", "bus:" + other, "bus:" + bus}));
  for (const char* port : {"port0", "port1", "port2"})
    ASSERT_EQ(run_tool({"wait", bus, "--port", port, "--timeout", "100"}).status, 0);
  std::filesystem::remove(bus);
  const std::string removed = "the bus " + bus + " was removed";
  const std::string another = "another file is at " + bus + " now";
  for (const auto& host : hosts) EXPECT_TRUE(host->wait_for(removed));
  const ToolResult made = run_tool({"create", bus, "--size", "64K"});
  EXPECT_EQ(made.status, 0);
  EXPECT_TRUE(contains(made.err, "but is still used by"));
  for (const auto& host : hosts) EXPECT_TRUE(host->wait_for(another));
  usleep(1'100'000);  // it looks once more
  for (const auto& host : hosts) {
    host->signal(SIGTERM);
    const std::string said = host->finish().err;
    EXPECT_EQ(times_in(said, removed), 1U) << said;
    EXPECT_EQ(times_in(said, another), 1U) << said;
    EXPECT_FALSE(contains(said, far));
    EXPECT_FALSE(contains(said, other));
  }
}

class FullDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!tmpfs.missing().empty()) GTEST_SKIP() << tmpfs.missing();
  }
  OwnTmpfs tmpfs{"size=1m,mode=0777"};
};

TEST_F(FullDisk, WhoNeedsRoomSaysSoAndTheRestWorks) {
  const std::string bus = tmpfs.file("bus");
  Bus::create(bus, kSmall).value();
  write_capture(tmpfs.file("capture"), std::vector<Bytes>(10, arp_request()));
  tmpfs.fill();
  const std::string full = "No space left on device";
  expect_refusal(run_tool({"create", tmpfs.file("b2")}), {full, "--size"});
  expect_refusal(run_tool({"exec", tmpfs.file("b2"), "--create", "--", "true"}), {full}, 125);
  EXPECT_FALSE(std::filesystem::exists(tmpfs.file("b2")));

  Tool respond({shmifctl_path(), "ping", bus, "--respond", "--name", "r"});
  ASSERT_EQ(run_tool({"wait", bus, "--port", "r", "--timeout", "100"}).status, 0);
  const ToolResult asked = run_tool({"ping", bus, "--to", "r", "-c", "3", "--timeout", "100"});
  EXPECT_EQ(asked.status, 0) << asked.err;
  EXPECT_EQ(run_tool({"inject", bus, tmpfs.file("capture")}).status, 0);
  EXPECT_EQ(run_tool({"exec", bus, "--ip", "198.18.0.1/24", "--", "ip", "addr"}).status, 0);
  EXPECT_EQ(run_tool({"top", bus, "-n", "1", "--interval", "0.05"}).status, 0);
  for (const char* const command : {"stat", "audit", "repair"}) {
    const ToolResult looked = run_tool({command, bus});
    EXPECT_EQ(looked.status, 0) << command << looked.err;
  }
  // The first frames fit into nothing: the record says so, and what it wrote is whole.
  const ToolResult recorded =
      run_tool({"dump", bus, "--history", "--timeout", "0", "-w", tmpfs.file("recorded")});
  EXPECT_EQ(recorded.status, 1);
  EXPECT_TRUE(contains(recorded.err, full));
  const ToolResult bridged =
      run_tool({"bridge", "pcap:" + tmpfs.file("capture"), "pcap:" + tmpfs.file("bridged")});
  EXPECT_EQ(bridged.status, 1);
  EXPECT_TRUE(contains(bridged.err, full));
  respond.signal(SIGINT);
  EXPECT_EQ(respond.finish().status, 0);
  EXPECT_EQ(run_tool({"destroy", bus}).status, 0);
  EXPECT_FALSE(std::filesystem::exists(bus));
}

}  // namespace
}  // namespace shmif::test
