// --create: what becomes of a bus that a command made.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/relay/peers_rig.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::test {
namespace {

TEST(NewBus, IsRemovedUnlessItIsKeptOrUsedOrNoLongerThere) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  tools::BusWish wish;
  wish.create = true;
  wish.options = small_ring();
  const auto is_left = [&](const std::function<void(tools::NewBus&, const Bus&)>& use) {
    {
      tools::NewBus made;
      const Bus bus = tools::provide_bus(path, wish, made).value();
      use(made, bus);
    }
    const bool is = std::filesystem::exists(path);
    std::filesystem::remove(path);
    return is;
  };
  EXPECT_FALSE(is_left([](tools::NewBus&, const Bus&) {}));
  EXPECT_TRUE(is_left([](tools::NewBus& made, const Bus&) { made.keep(); }));
  Port port;
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus& bus) { port.attach(bus).value(); }));
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus&) {
    std::filesystem::remove(path);
    Bus::create(path, small_ring()).value();  // another one
  }));
  Bus::create(path, small_ring()).value();
  EXPECT_TRUE(is_left([](tools::NewBus&, const Bus&) {})) << "it was there before";
  Bus::create(path, small_ring()).value();
  wish.flow_asked = true;
  tools::NewBus none;
  EXPECT_TRUE(tools::provide_bus(path, wish, none)) << "it has the flow that was asked for";
}

TEST(NewBus, OfACommandThatCannotStartIsRemovedAndOfOneThatRanStays) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new"), bus = "bus:" + path;
  const std::string in = beside.file("in"), long_name(40, 'n');
  static_cast<void>(PcapWriter::create(in).value());
  struct Case {
    Words words;
    bool stays;
  };
  for (const auto& [words, stays] : std::vector<Case>{
           {{"exec", path, "--", "/no/such/program"}, false},
           {{"exec", path, "--name", long_name, "--", "true"}, false},
           {{"exec", beside.path(), "--bus", path, "--name", long_name, "--", "true"}, false},
           {{"tap", path, "--name", "newbus0", "--port-name", long_name}, false},
           {{"bridge", bus, "pcap:" + beside.file("c"), "--port-name", long_name}, false},
           {{"bridge", bus, "stream:" + beside.file("no/socket")}, false},
           {{"bridge", bus, "dgram:" + beside.file("no/one") + ',' + beside.file("no/two")}, false},
           {{"gateway", path, "--port-name", long_name}, false},
           {{"exec", path, "--", "false"}, true},
           {{"bridge", "pcap:" + in, bus}, true}}) {
    Words line = words;
    line.insert(line.begin() + 2, "--create");
    const ToolResult run = run_tool(line);
    EXPECT_TRUE(stays || run.status != 0) << testing::PrintToString(line);
    EXPECT_EQ(std::filesystem::exists(path), stays) << testing::PrintToString(line) << run.err;
    std::filesystem::remove(path);
  }
}

// --lock-memory: the pages of the bus are locked by each process that attaches a port, or it is
// told which limit is too small.

constexpr long kFileKib = 64 + 192;  // of a ring of 64 KiB

/// As /proc/PID/status has it; -1 if the process is gone.
long locked_kib_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  long locked = -1;
  for (std::string line; std::getline(status, line);)
    if (std::sscanf(line.c_str(), "VmLck: %ld", &locked) == 1) break;
  return locked;
}

class LockMemory : public ::testing::Test {
 protected:
  /// Runs shmifctl with `words`, once as they are and once with --lock-memory in front of
  /// `options_end`, until the bus has a port. Expects the file's size to be locked the second time.
  void expect_locks(const Words& words, std::size_t options_end, long files = 1) {
    for (const bool locks : {false, true}) {
      Words line = Words{shmifctl_path()} + words;
      if (locks) line.insert(line.begin() + 1 + static_cast<long>(options_end), "--lock-memory");
      Tool tool(line);
      ASSERT_TRUE(eventually([&] { return has_port(); })) << words[0];
      const long expected = locks && !kSanitized ? files * kFileKib : 0;  // they ignore mlock()
      EXPECT_EQ(locked_kib_of(tool.pid()), expected) << words[0];
      tool.signal(SIGTERM);
      static_cast<void>(tool.finish());
      ASSERT_TRUE(eventually([&] { return !has_port(); })) << words[0];
    }
  }
  bool has_port() const {
    const auto ports = Bus::open(rig_.path()).value().info().ports;
    return std::ranges::any_of(ports, [](const PortInfo& p) { return p.live && p.up; });
  }
  /// What a shmifctl with `words` says to a limit of so many bytes without the right to exceed it.
  static ToolResult with_limit(const std::string& bytes, const Words& words) {
    const Words limit{"prlimit", "--memlock=" + bytes};
    const Words without_right{"setpriv", "--bounding-set=-ipc_lock"};
    return run_program(limit + (geteuid() == 0 ? without_right : Words{}) + Words{shmifctl_path()} +
                       words);
  }

  const BusRig rig_{{.ring_bytes = 64U << 10U}};
};

TEST_F(LockMemory, OfACommandIsTheWholeFileOfEachOfItsBuses) {
  const std::string bus = rig_.path();
  const BusRig other({.ring_bytes = 64U << 10U});
  const Listener program(rig_.file("socket"));
  expect_locks({"dump", bus}, 2);
  expect_locks({"bridge", "bus:" + other.path(), "bus:" + bus}, 3, 2);
  expect_locks({"bridge", "bus:" + bus, "stream:connect=" + rig_.file("socket")}, 3);
}

TEST_F(LockMemory, OfAHostIsThatOfEachOfItsPorts) {
  const ToolResult probe = run_tool({"exec", rig_.path(), "--", "true"});
  if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
  expect_locks({"exec", rig_.path(), "--", "sleep", "600"}, 2);
  const BusRig other({.ring_bytes = 64U << 10U});
  expect_locks({"exec", other.path(), "--bus", rig_.path(), "--", "sleep", "600"}, 2, 2);
}

TEST_F(LockMemory, OfATapDeviceIsThatOfItsPort) {
  if (const std::string why = tap::test::no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  if (const auto tun = tap::check_tun_device(); !tun) GTEST_SKIP() << tun.error().message;
  const tap::test::TestNamespace space;
  expect_locks({"tap", rig_.path(), "--netns",
                "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(space.descriptor())},
               2);
}

TEST_F(LockMemory, OfAGatewayIsThatOfItsPort) {
  const ToolResult probe = run_program({"sh", "-c", "command -v passt"});
  if (probe.status != 0) GTEST_SKIP() << "no passt here";
  expect_locks({"gateway", rig_.path(), "--with", "passt"}, 2);
}

TEST_F(LockMemory, ATooSmallLimitIsToldWithOneThatIsEnough) {
  if (kSanitized) GTEST_SKIP() << "mlock() does nothing under sanitizers";
  const std::string bus = rig_.path();
  for (const Words& words :
       {Words{"dump", bus, "--lock-memory", "--timeout", "0"},
        {"exec", bus, "--lock-memory", "--", "true"},
        {"bridge", "bus:" + bus, "stream:connect=" + rig_.file("none"), "--lock-memory"}}) {
    const ToolResult refused = with_limit("102400", words);
    if (words[0] == "exec" && refused.status == 77) continue;  // no hosts here
    EXPECT_NE(refused.status, 0);
    for (const std::string part :
         {"cannot attach to the bus", "262144 bytes", "100 KiB in all", "'ulimit -l 256'"})
      EXPECT_TRUE(contains(refused.err, part));
  }
  const Words dump{"dump", bus, "--lock-memory", "--timeout", "0"};
  const ToolResult refused = with_limit("0", dump);
  EXPECT_EQ(refused.status, 1) << "a dump is not done without what was asked for";
  EXPECT_TRUE(contains(refused.err, "0 KiB in all"));
  const ToolResult enough = with_limit("262144", dump);
  EXPECT_EQ(enough.status, 0) << enough.err;
}

}  // namespace
}  // namespace shmif::test
