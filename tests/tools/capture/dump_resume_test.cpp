// Where shmifctl dump goes on after it was overrun.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "tests/tools/capture/dump_command.hpp"
#include "tests/tools/capture/overrun_dump.hpp"

namespace shmif::test {
namespace {

TEST(ResumeOfADump, FirstKeepsWhatIsStillInTheRing) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const OverrunDump dump = overrun_dump(rig, port, {"--resume", "first"});
  EXPECT_GT(dump.captured, 20U) << "a ring of 64 KiB holds more than 20 of these frames";
  EXPECT_EQ(dump.captured + dump.lost, 200U);
}

TEST(ResumeOfADump, NewestLeavesOutAllThatCameMeanwhile) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  Port port = rig.port();
  const OverrunDump dump = overrun_dump(rig, port, {"--resume", "newest"});
  EXPECT_EQ(dump.captured, 0U);
  EXPECT_EQ(dump.lost, 200U);
}

TEST(ResumeOfADump, HoldsForABusThatMayOnlyBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const BusRig rig({.ring_bytes = 64U << 10U, .mode = 0644});
  ASSERT_EQ(chmod(rig.directory().c_str(), 0755), 0);
  Port port = rig.port();
  send(port, {make_frame(60, 1)});
  Tool tool({"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", shmifctl_path(),
             "dump", rig.path(), "--history", "-c", "2", "--resume", "newest"});
  ASSERT_TRUE(tool.wait_for("\n")) << "it reads the bus";
  tool.stop();
  send_200_frames(port);
  tool.signal(SIGCONT);
  for (int i = 0; i < 1000; ++i) {  // those sent before it has gone on count as lost, too
    send(port, {arp_request()});
    if (tool.wait_for("ARP", std::chrono::milliseconds(20))) break;
  }
  const ToolResult r = tool.finish();
  EXPECT_TRUE(contains(r.out, "ARP")) << r.out << r.err;
  const OverrunDump dump(r.err);
  EXPECT_EQ(dump.captured, 2U);
  EXPECT_GE(dump.lost, 200U);
}

TEST(ResumeOfADump, AnotherWordIsWrongUsage) {
  const BusRig rig({.ring_bytes = 64U << 10U});
  const ToolResult r = run_program(dump(rig, {"--resume", "oldest", "--timeout", "0"}));
  EXPECT_EQ(r.status, 2);
  EXPECT_TRUE(contains(r.err, "--resume \"oldest\" is not known (first or newest)")) << r.err;
}

}  // namespace
}  // namespace shmif::test
