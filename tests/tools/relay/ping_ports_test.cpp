// What ping says of the ports it asks: who they are now, and why they are silent.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "shmif/ping.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/relay/ping_rig.hpp"

namespace shmif::test {
namespace {

ToolResult ping_once(const BusRig& rig, const std::string& to) {
  return run_tool({"ping", rig.path(), "--to", to, "-c", "1", "--timeout", "0.05"});
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

TEST(PingPorts, AreSilentForAReasonThatIsTold) {
  const BusRig rig;
  Port port = rig.port("cut-off");
  const ToolResult up = ping_once(rig, "cut-off");
  EXPECT_EQ(up.status, 1);
  EXPECT_TRUE(contains(up.err, " to 1 request on " + rig.path() + "\n")) << up.err;
  ASSERT_FALSE(port.set_carrier(false));
  const ToolResult cut = ping_once(rig, port.mac().to_string());
  EXPECT_EQ(cut.status, 1);
  EXPECT_TRUE(contains(cut.err, ": the network interface of its host is down\n")) << cut.err;
  ASSERT_FALSE(port.down());
  const ToolResult down = ping_once(rig, "cut-off");
  EXPECT_TRUE(contains(down.err, ": its port is down\n")) << down.err;
}

TEST(PingPorts, OfAProcessThatIsGoneAreNotTakenForThoseThatHaveTheirAddressNow) {
  const BusRig rig;
  const MacAddress mac = MacAddress::from_u64(0xb2a000000077);
  leave_dead_port(rig, "former", mac);
  const ToolResult gone = ping_once(rig, mac.to_string());
  EXPECT_EQ(gone.status, 1);
  EXPECT_TRUE(contains(gone.err, " to 1 request on " + rig.path() + "\n")) << gone.err;

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
  EXPECT_TRUE(tool.wait_for("present (" + mac.to_string() + "): seq 0, ")) << tool.so_far().out;
}

TEST(PingPorts, ThatAnswerWhatWasNotAskedOrAskInTurnHaveNotAnswered) {
  const BusRig rig;
  Port peer = rig.port("peer");
  Tool tool({shmifctl_path(), "ping", rig.path(), "--to", "peer", "-c", "1", "--timeout", "0.3"});
  const std::optional<Ping> request = hear_request(peer);
  ASSERT_TRUE(request);
  send(peer, {ping_back(*request, peer.mac(), PingType::reply, 1),
              ping_back(*request, peer.mac(), PingType::request, 0)});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 1) << r.out;
  EXPECT_TRUE(contains(r.err, "no answer from peer (" + peer.mac().to_string() + ") to 1 request"))
      << r.err;
}

TEST(PingPorts, AreListedWhereNoneHasTheName) {
  const BusRig rig;
  const Port alice = rig.port("alice"), bob = rig.port("bob");
  const ToolResult r = ping_once(rig, "carol");
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot ping \"carol\" on " + rig.path() +
                                  ": no port has that name (attached: alice, bob)\n"))
      << r.err;
}

}  // namespace
}  // namespace shmif::test
