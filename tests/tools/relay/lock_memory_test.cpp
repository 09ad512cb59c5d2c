// --lock-memory: the pages of the bus are locked by each process that attaches a port, or it is
// told which limit is too small.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "tap/tap_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tap/test_namespace.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

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
  void expect_locks(std::vector<std::string> words, std::size_t options_end, long files = 1) {
    for (const bool locks : {false, true}) {
      std::vector<std::string> line{shmifctl_path()};
      line.insert(line.end(), words.begin(), words.end());
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
    for (const PortInfo& p : Bus::open(rig_.path()).value().info().ports)
      if (p.live && p.up) return true;
    return false;
  }
  /// What a shmifctl with `words` says to a limit of 100 KiB without the right to exceed it.
  static ToolResult with_little(std::vector<std::string> words) {
    std::vector<std::string> line{"prlimit", "--memlock=102400", "setpriv",
                                  "--bounding-set=-ipc_lock", shmifctl_path()};
    if (geteuid() != 0) line.erase(line.begin() + 2, line.begin() + 4);
    line.insert(line.end(), words.begin(), words.end());
    return run_program(line);
  }

  const BusRig rig_{{.ring_bytes = 64U << 10U}};
};

TEST_F(LockMemory, OfADumpIsTheWholeFileOnce) {
  expect_locks({"dump", rig_.path()}, 2);
}

TEST_F(LockMemory, OfABridgeIsEachOfItsBuses) {
  const BusRig other({.ring_bytes = 64U << 10U});
  expect_locks({"bridge", "bus:" + other.path(), "bus:" + rig_.path()}, 3, 2);
}

TEST_F(LockMemory, OfABridgeIsThatOfAProgramWithASocket) {
  const std::string place = rig_.file("socket");
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(listener, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", place.c_str());
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  expect_locks({"bridge", "bus:" + rig_.path(), "stream:connect=" + place}, 3);
  close(listener);
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
  const std::vector<std::vector<std::string>> commands{
      {"dump", bus, "--lock-memory", "--timeout", "0"},
      {"exec", bus, "--lock-memory", "--", "true"},
      {"bridge", "bus:" + bus, "stream:connect=" + rig_.file("none"), "--lock-memory"}};
  for (const auto& words : commands) {
    const ToolResult refused = with_little(words);
    if (words[0] == "exec" && refused.status == 77) continue;  // no hosts here
    EXPECT_NE(refused.status, 0);
    EXPECT_NE(refused.err.find("cannot attach to the bus " + bus +
                               ": cannot lock 262144 bytes of the bus in memory: Cannot allocate "
                               "memory (this process may lock 100 KiB in all; raise the limit, as "
                               "by 'ulimit -l 256', or use a smaller bus)"),
              std::string::npos)
        << refused.err;
  }
  const ToolResult enough = run_program({"prlimit", "--memlock=262144", shmifctl_path(), "dump",
                                         bus, "--lock-memory", "--timeout", "0"});
  EXPECT_EQ(enough.status, 0) << enough.err;
}

TEST_F(LockMemory, OfADumpIsNotGivenUpForWhatNeedsNone) {
  if (kSanitized) GTEST_SKIP() << "mlock() does nothing under sanitizers";
  std::vector<std::string> line{"prlimit",       "--memlock=0",
                                "setpriv",       "--bounding-set=-ipc_lock",
                                shmifctl_path(), "dump",
                                rig_.path(),     "--lock-memory",
                                "--timeout",     "0"};
  if (geteuid() != 0) line.erase(line.begin() + 2, line.begin() + 4);
  const ToolResult refused = run_program(line);
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("this process may lock 0 KiB in all"), std::string::npos)
      << refused.err;
}

}  // namespace
}  // namespace shmif::test
