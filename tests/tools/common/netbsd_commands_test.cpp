// Each command on a bus of NetBSD's format: it works, or says clearly why it cannot.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/netbsd_peer.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;
using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

class NetbsdCommands : public testing::Test {
 protected:
  void SetUp() override {
    const ToolResult made = run_tool({"create", path(), "--format", "netbsd"});
    ASSERT_EQ(made.status, 0) << made.err;
    EXPECT_EQ(made.out + made.err, "");
  }
  std::string path() const { return directory_.file("bus"); }
  std::string file(const std::string& name) const { return directory_.file(name); }
  json stat() const {
    const ToolResult result = run_tool({"stat", path(), "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    return json::parse(result.out);
  }
  /// Whether the command fails and says that the format does not tell something.
  static AssertionResult is_refused(const Words& words) {
    const ToolResult result = run_tool(words);
    if (result.status == 0) return AssertionFailure() << words[0] << " works";
    if (result.err.find("NetBSD's format does not") == std::string::npos)
      return AssertionFailure() << words[0] << " says " << result.err;
    return AssertionSuccess();
  }

 private:
  TempDir directory_;
};

std::vector<Bytes> some_frames() {
  std::vector<Bytes> frames;
  for (const std::size_t size : {14U, 60U, 61U, 1000U, 1513U, 1514U})
    frames.push_back(make_frame(size, size));
  return frames;
}
NetbsdPeer::Bytes octets(const Bytes& frame) {
  NetbsdPeer::Bytes bytes(frame.size());
  std::memcpy(bytes.data(), frame.data(), frame.size());
  return bytes;
}
std::vector<Bytes> frames_in(const std::string& capture) {
  std::vector<Bytes> frames;
  Result<PcapReader> reader = PcapReader::open(capture);
  if (!reader) return frames;
  FrameBatch batch(64, std::size_t{1} << 20U);
  for (ReceiveResult got; !got.error;) {
    batch.clear();
    got = reader->receive(batch);
    for (const FrameView& f : batch.frames()) frames.push_back(to_bytes(f));
  }
  return frames;
}

TEST_F(NetbsdCommands, StatTellsWhatItCanAndWhyTheRestIsNull) {
  NetbsdPeer peer(path());
  for (const Bytes& frame : some_frames()) peer.send(octets(frame));
  const json bus = stat();
  EXPECT_EQ(bus["format"], "netbsd");
  EXPECT_EQ(bus["version"], 3);
  EXPECT_EQ(bus["geometry"]["ring_bytes"], 1048544);
  EXPECT_EQ(bus["geometry"]["mtu"], 1500);
  EXPECT_EQ(bus["frames_in_ring"], 6);
  EXPECT_EQ(bus["bytes_in_ring"], 14 + 60 + 61 + 1000 + 1513 + 1514);
  EXPECT_EQ(bus["first_offset"], 1048544);
  EXPECT_EQ(bus["last_offset"], peer.last());
  EXPECT_EQ(bus["lock_is_held"], false);
  std::size_t nulls = 0;
  for (const auto& [name, value] : bus.items()) {
    if (!value.is_null()) continue;
    ++nulls;
    EXPECT_TRUE(bus["why_null"][name].is_string()) << name;
  }
  EXPECT_EQ(nulls, bus["why_null"].size());
  for (const char* const name : {"ports", "frames", "lock_holder"})
    EXPECT_TRUE(bus.contains(name) && bus[name].is_null()) << name;
  const ToolResult text = run_tool({"stat", path()});
  EXPECT_EQ(text.status, 0);
  EXPECT_TRUE(contains(text.out, "NetBSD's, version 3"));
  EXPECT_TRUE(contains(text.out, "6 frames, 4162 B"));
  EXPECT_TRUE(contains(text.out,
                       "\nlock        free\n"
                       "ports       NetBSD's format does not list them\n"
                       "counts      NetBSD's format has none of sent and lost frames\n"));
  EXPECT_EQ(text.err, "") << "the format is among what it tells";
}

TEST_F(NetbsdCommands, InjectAndDumpCarryFramesToAndFromAPeer) {
  const std::vector<Bytes> frames = some_frames();
  {
    PcapWriter writer = PcapWriter::create(file("in.pcap")).value();
    ASSERT_EQ(writer.send(views(frames)).taken, frames.size());
  }
  NetbsdPeer peer(path());
  const ToolResult sent = run_tool({"inject", path(), file("in.pcap"), "--timing", "flat"});
  ASSERT_EQ(sent.status, 0) << sent.err;
  EXPECT_EQ(times_in(sent.err, "promises less"), 1U) << sent.err;
  for (const Bytes& frame : frames) EXPECT_EQ(peer.receive(), octets(frame));
  EXPECT_FALSE(peer.receive());

  for (const char* const name : {"out.pcap", "out.pcapng"}) {
    const ToolResult dumped =
        run_tool({"dump", path(), "--history", "--timeout", "0", "-w", file(name)});
    EXPECT_EQ(dumped.status, 0) << dumped.err;
    EXPECT_TRUE(contains(dumped.err, "6 frames captured, 0 filtered out, 0 lost"));
    EXPECT_EQ(frames_in(file(name)), frames) << name;
  }

  Tool live({shmifctl_path(), "dump", path(), "-c", "2", "-e"});
  ASSERT_TRUE(live.wait_for("promises less"));
  EXPECT_TRUE(eventually([&] {
    peer.send(octets(frames[1]));
    live.wait_for("0x88b6", std::chrono::milliseconds(20));
    return !live.so_far().out.empty();
  }));
  peer.send(octets(frames[1]));
  EXPECT_EQ(live.finish().status, 0);
}

TEST_F(NetbsdCommands, CommandsThatNeedAPortTableSayThatThereIsNone) {
  EXPECT_TRUE(is_refused({"ps", path()}));
  EXPECT_TRUE(is_refused({"enter", path(), "web", "--", "true"}));
  EXPECT_TRUE(is_refused({"stop", path(), "web"}));
  EXPECT_TRUE(is_refused({"heat", path()}));
  EXPECT_TRUE(is_refused({"wait", path(), "--port", "web", "--timeout", "5"}));
  EXPECT_TRUE(is_refused({"dump", path(), "--port", "web"}));
  EXPECT_TRUE(is_refused({"dump", path(), "--sender"}));
  EXPECT_TRUE(is_refused({"destroy", path()}));
  EXPECT_EQ(run_tool({"destroy", path(), "--force"}).status, 0);
  EXPECT_NE(::access(path().c_str(), F_OK), 0);
}

TEST_F(NetbsdCommands, ALockThatStaysHeldIsReportedAndForceFreesIt) {
  NetbsdPeer peer(path());
  peer.send(octets(make_frame(60, 1)));
  peer.send(octets(make_frame(60, 2)));
  Tool dump({shmifctl_path(), "dump", path()});
  ASSERT_TRUE(dump.wait_for("promises less"));
  peer.lock();
  EXPECT_TRUE(dump.wait_for("'shmifctl repair --force' frees the lock"));
  const ToolResult audit = run_tool({"audit", path()});
  EXPECT_EQ(audit.status, 1);
  EXPECT_TRUE(contains(audit.out, "N4: the lock has been held for a second"));
  EXPECT_TRUE(contains(audit.err, "shmifctl repair --force "))
      << "without that option, repair would refuse";
  const ToolResult kept = run_tool({"repair", path()});
  EXPECT_EQ(kept.status, 1);
  EXPECT_TRUE(contains(kept.err, "--force"));
  EXPECT_EQ(peer.word(24), 1U);
  const ToolResult freed = run_tool({"repair", path(), "--force"});
  EXPECT_EQ(freed.status, 0) << freed.err;
  EXPECT_TRUE(
      contains(freed.out, "released the lock, rebuilt the ring keeping 1 frame (epoch 2)\n"));
  EXPECT_EQ(run_tool({"audit", path()}).status, 0);
  EXPECT_EQ(peer.word(24), 0U);
  dump.signal(SIGTERM);
  dump.finish();
}

TEST_F(NetbsdCommands, BridgeJoinsABusOfEachFormat) {
  const std::string own = file("own");
  ASSERT_EQ(run_tool({"create", own}).status, 0);
  Port port = port_on(own, {.promiscuous = true});
  Tool bridge({shmifctl_path(), "bridge", "bus:" + own, "bus:" + path()});
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(own).value().info()) == 2; }));
  NetbsdPeer peer(path());
  const std::vector<Bytes> frames = some_frames();
  const auto heard_by_peer = [&](const Bytes& frame) {
    return eventually([&] {
      static_cast<void>(port.send(FrameView(frame.data(), frame.size())));
      return peer.receive() == octets(frame);
    });
  };
  EXPECT_TRUE(heard_by_peer(frames[5]));
  for (const Bytes& frame : frames) peer.send(octets(frame));
  const std::vector<Bytes> arrived = collect(port, frames.size());
  EXPECT_TRUE(same_frames(frames, arrived));
  const Bytes tagged = make_frame(1518, 3, 1);  // on our own bus, but too long for the other one
  ASSERT_EQ(port.send(FrameView(tagged.data(), tagged.size())).taken, 1U);
  EXPECT_TRUE(bridge.wait_for("too long for"));
  bridge.signal(SIGTERM);
  bridge.finish();
}

// ---- Hosts ----

TEST_F(NetbsdCommands, AHostMakesItsBusIfThereIsNoneOrAnEmptyFile) {
  const Words made{"exec", file("new"), "--create", "--format", "netbsd", "--", "true"};
  const ToolResult probe = run_tool(made);
  if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
  EXPECT_EQ(probe.status, 0) << probe.err;
  std::ofstream(file("empty"));
  EXPECT_EQ(run_tool({"exec", file("empty"), "--", "true"}).status, 0);
  for (const char* const name : {"new", "empty"})
    EXPECT_EQ(Bus::open(file(name)).value().info().format, BusFormat::netbsd) << name;
  Words words = made;
  words.insert(words.begin() + 5, {"--mtu", "9000"});
  EXPECT_TRUE(contains(run_tool(words).err, "leave --mtu out"));
}

}  // namespace
}  // namespace shmif::test
