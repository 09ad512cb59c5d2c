// create, stat, wait, audit, repair and destroy on sound and unsound buses.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bus/layout.hpp"
#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/netbsd_peer.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/on_terminal.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

class BusCommands : public ::testing::Test {
 protected:
  std::string make_bus(Words more = {"--size", "64K"}) {
    const std::string path = directory.file("bus");
    more.insert(more.begin(), {"create", path});
    const ToolResult made = run_tool(more);
    EXPECT_EQ(made.status, 0) << made.err;
    EXPECT_EQ(made.out + made.err, "");
    return path;
  }
  static json stat_of(const std::string& path) {
    const ToolResult result = run_tool({"stat", path, "--json"});
    EXPECT_EQ(result.status, 0) << result.err;
    return json::parse(result.out);
  }
  static Port attached(const std::string& path, const std::string& name) {
    PortOptions options;
    options.name = name;
    Port port(options);
    const Result<void> done = port.attach(path);
    EXPECT_TRUE(done) << done.error().message;
    return port;
  }

  TempDir directory;
};

std::array<std::byte, 60> broadcast_frame() {
  std::array<std::byte, 60> frame{};
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{0x02};
  return frame;
}

TEST_F(BusCommands, CreateTakesSizeMtuAndModeExactlyWhateverTheUmask) {
  for (const auto& [asked, mode] : {std::pair{"0666", 0666U}, {"660", 0660U}, {"", 0600U}}) {
    const std::string path = directory.file(std::string("bus") + asked);
    const std::string option = *asked != '\0' ? std::string("--mode ") + asked : "";
    const ToolResult made = run_program(
        {"sh", "-c", "umask 077; exec \"$1\" create \"$2\" --size 1M --mtu 9000 " + option, "sh",
         shmifctl_path(), path});
    EXPECT_EQ(made.status, 0) << made.err;
    struct stat file{};
    ASSERT_EQ(stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777U, mode) << asked;
    const json bus = stat_of(path);
    EXPECT_EQ(bus["geometry"]["ring_bytes"], 1U << 20U);
    EXPECT_EQ(bus["geometry"]["mtu"], 9000);
  }
}

TEST_F(BusCommands, StatTellsOfABusThatPausesAndWhoHoldsItUp) {
  const std::string path = make_bus({"--size", "64K", "--flow", "pause", "--patience", "0.02"});
  Port sender = attached(path, "alice");
  Port idler = attached(path, "bob");
  ASSERT_FALSE(sender.up());
  ASSERT_FALSE(idler.up());
  const auto frame = broadcast_frame();
  const std::vector<FrameView> frames(2000, FrameView(frame.data(), frame.size()));
  ASSERT_EQ(sender.send(frames).taken, frames.size()) << "bob was waited for, but not for ever";
  const json bus = stat_of(path);
  EXPECT_EQ(bus["geometry"]["flow"], "pause");
  EXPECT_EQ(bus["geometry"]["patience_ns"], 20'000'000);
  EXPECT_GE(bus["ports"][0]["pauses"], 1);
  EXPECT_GT(bus["ports"][0]["paused_ns"], 0);
  EXPECT_EQ(bus["ports"][0]["waits_for"], nullptr);
  EXPECT_EQ(bus["ports"][1]["stalls"], 1);
  EXPECT_EQ(bus["ports"][1]["mode"], "ethernet") << "until it has caught up";
  const std::string text = run_tool({"stat", path}).out;
  EXPECT_TRUE(contains(text, "flow        pause: senders wait for slow ports, 20.0 ms at most"));
  EXPECT_TRUE(contains(text, "stalled     slot 1 \"bob\" 1 time"));
}

TEST_F(BusCommands, WaitReturnsWhenThePortIsUpAndSaysWhatKeepsItFromThat) {
  const std::string path = make_bus();
  const auto waited = [&](const std::string& says) {
    const ToolResult result = run_tool({"wait", path, "--port", "alice", "--timeout", "5ms"});
    EXPECT_EQ(result.status, says.empty() ? 0 : 1);
    EXPECT_TRUE(contains(result.err, says));
  };
  Port port = attached(path, "alice");
  waited("attached but down");
  Tool wait({shmifctl_path(), "wait", path, "--port", "alice", "--timeout", "100"});
  ASSERT_FALSE(port.up());
  const ToolResult result = wait.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
  ASSERT_FALSE(port.set_carrier(false));
  waited("the network interface of its host is down");
  ASSERT_FALSE(port.set_carrier(true));
  waited("");
}

TEST_F(BusCommands, WaitWaitsForTheBusToo) {
  const std::string path = directory.file("bus");
  Tool wait({shmifctl_path(), "wait", path, "--port", "alice", "--timeout", "100"});
  const ToolResult early = run_tool({"wait", path, "--port", "alice", "--timeout", "0.1"});
  EXPECT_EQ(early.status, 1);
  EXPECT_TRUE(contains(early.err, "no such bus"));
  std::ofstream(directory.file("empty")).close();
  const ToolResult empty =
      run_tool({"wait", directory.file("empty"), "--port", "alice", "--timeout", "0.1"});
  EXPECT_EQ(empty.status, 1);
  EXPECT_TRUE(contains(empty.err, "no bus has been made in it"));
  make_bus();
  Port port = attached(path, "alice");
  ASSERT_FALSE(port.up());
  EXPECT_EQ(wait.finish().status, 0);
}

TEST_F(BusCommands, WaitNoticesABusMadeAnewAgainAndAgain) {
  const std::string path = make_bus();
  Tool wait({shmifctl_path(), "wait", path, "--port", "alice", "--timeout", "100"});
  for (const char* seconds : {"0.1", "1.6"}) {  // it looks for a new bus every 1.3 s
    EXPECT_EQ(run_tool({"wait", path, "--port", "alice", "--timeout", seconds}).status, 1);
    ASSERT_EQ(run_tool({"destroy", path}).status, 0);
    make_bus();
  }
  Port port = attached(path, "alice");
  ASSERT_FALSE(port.up());
  EXPECT_EQ(wait.finish().status, 0);
}

TEST_F(BusCommands, WaitForSeveralPortsNamesTheOneThatIsMissing) {
  const std::string path = make_bus();
  Port port = attached(path, "alice");
  ASSERT_FALSE(port.up());
  const ToolResult result =
      run_tool({"wait", path, "--port", "alice", "--port", "bob", "--timeout", "0.1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "\"bob\""));
  Port other = attached(path, "bob");
  ASSERT_FALSE(other.up());
  EXPECT_EQ(run_tool({"wait", path, "--port", "alice", "--port", "bob"}).status, 0);
}

TEST_F(BusCommands, AKilledPortIsDeadUntilRepairFreesIt) {
  const std::string path = make_bus();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Port port = Port(PortOptions{.name = "mallory"});
    if (!port.attach(path) || port.up()) _exit(1);
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));

  json bus = stat_of(path);
  ASSERT_EQ(bus["ports"].size(), 1U);
  EXPECT_EQ(bus["ports"][0]["state"], "dead");
  const ToolResult waited = run_tool({"wait", path, "--port", "mallory", "--timeout", "0"});
  EXPECT_EQ(waited.status, 1);
  EXPECT_TRUE(contains(waited.err, ": the port's process is gone ("));
  EXPECT_EQ(run_tool({"audit", path}).status, 0) << "a dead port breaks no invariant";
  const ToolResult repair = run_tool({"repair", path});
  EXPECT_EQ(repair.status, 0) << repair.err;
  EXPECT_TRUE(contains(repair.out, "freed 1 dead port"));
  EXPECT_TRUE(stat_of(path)["ports"].empty());
  EXPECT_TRUE(contains(run_tool({"repair", path}).out, "nothing to repair"));
}

TEST_F(BusCommands, AuditFindsScribblesAndRepairMendsThem) {
  const std::string path = make_bus();
  {
    Port port = attached(path, "alice");
    ASSERT_FALSE(port.up());
    const auto frame = broadcast_frame();
    const std::vector<FrameView> views(8, FrameView(frame.data(), frame.size()));
    ASSERT_EQ(port.send(views).taken, views.size());
  }
  EXPECT_EQ(run_tool({"audit", path}).status, 0);
  EXPECT_EQ(json::parse(run_tool({"audit", path, "--json"}).out)["frames"], 8);

  // The ring lies at the end of the file; something in its first bytes is the oldest record's
  // header.
  const std::uint64_t ring_begin = std::filesystem::file_size(path) - (64U << 10U);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const std::array<unsigned char, 8> junk = {0xde, 0xad, 0xbe, 0xef, 0xde, 0xad, 0xbe, 0xef};
  ASSERT_EQ(pwrite(fd, junk.data(), junk.size(), static_cast<off_t>(ring_begin)), 8);
  close(fd);

  const ToolResult audit = run_tool({"audit", path});
  EXPECT_EQ(audit.status, 1);
  EXPECT_EQ(audit.out.rfind("I", 0), 0U) << audit.out;
  EXPECT_TRUE(contains(audit.err, "shmifctl repair"));
  const ToolResult as_json = run_tool({"audit", path, "--json"});
  EXPECT_EQ(as_json.status, 1);
  EXPECT_FALSE(json::parse(as_json.out)["findings"].empty());

  const ToolResult repair = run_tool({"repair", path});
  EXPECT_EQ(repair.status, 0) << repair.err;
  EXPECT_TRUE(contains(repair.out, "rebuilt the ring"));
  EXPECT_EQ(run_tool({"audit", path}).status, 0);
}

TEST_F(BusCommands, RepairRestoresAHeaderThatNobodyHasOpenAndSaysWhat) {
  const std::string path = make_bus();
  const auto overwrite = [&](off_t offset, std::size_t size) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const std::vector<char> zeros(size);
    ASSERT_EQ(pwrite(fd, zeros.data(), size, offset), static_cast<ssize_t>(size));
    close(fd);
  };
  overwrite(0, 8);
  EXPECT_EQ(run_tool({"stat", path}).status, 1);
  const ToolResult repair = run_tool({"repair", path});
  EXPECT_EQ(repair.status, 0) << repair.err;
  EXPECT_EQ(repair.out, path + ": restored the header (magic)\n");
  EXPECT_EQ(run_tool({"audit", path}).status, 0);

  overwrite(offsetof(bus::BusHeader, mtu), 8);  // and the longest record, which tells the MTU, too
  const ToolResult told = run_tool({"repair", path, "--mtu", "1600"});
  EXPECT_EQ(told.status, 0) << told.err;
  EXPECT_EQ(stat_of(path)["geometry"]["mtu"], 1600);

  overwrite(0, 64);
  const ToolResult refused = run_tool({"repair", path});
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "--force"));
  const ToolResult forced = run_tool({"repair", path, "--force", "--mtu", "1400"});
  EXPECT_EQ(forced.status, 0) << forced.err;
  EXPECT_TRUE(contains(forced.out, "mtu to 1400"));
  EXPECT_EQ(stat_of(path)["geometry"]["mtu"], 1400);
}

TEST_F(BusCommands, DestroyWaitsForPortsThatAreAboutToLeave) {
  const std::string path = make_bus();
  Port port = attached(path, "alice");
  EXPECT_EQ(run_tool({"destroy", path, "--timeout", "0"}).status, 1);
  Tool destroy({shmifctl_path(), "destroy", path, "--timeout", "100"});
  EXPECT_FALSE(destroy.wait_for("cannot", std::chrono::milliseconds(100)));
  EXPECT_TRUE(std::filesystem::exists(path));
  ASSERT_FALSE(port.detach());
  const ToolResult r = destroy.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(BusCommands, DestroyThatIsInterruptedEndsBySignalAndLeavesTheBus) {
  const std::string path = make_bus();
  const Port port = attached(path, "alice");
  for (const bool stands_still : {false, true}) {
    OnTerminal destroy({shmifctl_path(), "destroy", path, "--timeout", "60"}, 80, 24);
    ASSERT_TRUE(destroy.wait_for("\rwaiting for ports to leave " + path));
    if (stands_still) destroy.stand_still();
    destroy.signal(SIGTERM);
    EXPECT_EQ(stands_still ? destroy.status_with_alarms() : destroy.status(), 128 + SIGTERM);
    EXPECT_TRUE(stands_still || destroy.seen.ends_with("\r\x1b[J")) << "it is taken away";
    EXPECT_TRUE(std::filesystem::exists(path));
  }
}

// Each command on a bus of NetBSD's format: it works, or says clearly why it cannot.

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

// The limits of options: the last value that is taken, and the first one that is refused.

/// A command line with "@" where the value stands. Nothing happens even if it is taken: the bus is
/// missing, or the like.
struct LimitedOption {
  Words line;
  Words taken, refused;
  int status_when_taken = 1;
};

std::vector<LimitedOption> limits_of_shmifctl(const std::string& none) {
  const std::string bus = none + "/bus";
  const std::string file = none + "/x-%S";
  return {
      {{"dump", bus, "-s", "@"}, {"0", "14", "262144"}, {"1", "13", "262145"}},
      {{"dump", bus, "-c", "@"}, {"1", "18446744073709551615"}, {"0", "18446744073709551616"}},
      {{"dump", bus, "-w", file, "-C", "@"},
       {"1", "1K", "1152921504606"},
       {"0", "0K", "1152921504607"}},
      {{"dump", bus, "-w", file, "-G", "@"}, {"1", "1000000000"}, {"0", "1000000001"}},
      {{"dump", bus, "-w", file, "-C", "1", "-W", "@"}, {"1"}, {"0"}},
      {{"ping", bus, "-c", "@"}, {"1", "100000000"}, {"0", "100000001"}},
      {{"top", bus, "--interval", "@"}, {"0.05", "50ms", "3600", "60m"}, {"49ms", "3600.1"}},
      {{"top", bus, "-n", "@"}, {"1"}, {"0"}},
      {{"create", bus, "--size", "@"}, {"64K", "1G"}, {"32K", "65537", "2G"}},
      {{"create", bus, "--mtu", "@"},
       {"68", "65521"},
       {"67", "65522", "4294967295", "4294967296", "4294968796"}},
      {{"create", bus, "--mode", "@"}, {"0600", "0777"}, {"0577", "1000", "8"}},
      {{"create", bus, "--flow", "pause", "--patience", "@"},
       {"0.001", "1"},
       {"0", "0.9ms", "1.001"}},
      {{"repair", bus, "--mtu", "@"}, {"1500"}, {"4294968796"}},
      {{"wait", bus, "--timeout", "0", "--tcp", "198.18.0.1:@"}, {"1", "65535"}, {"0", "65536"}},
      {{"wait", bus, "--timeout", "0", "--port", "p", "--pid", "@"},
       {"1", "2147483647"},
       {"0", "2147483648"}},
      {{"bridge", "bus:" + bus, "stream:" + file, "--max-peers", "@"}, {"1", "255"}, {"0", "256"}},
      {{"bridge", "bus:" + bus, "stream:" + file, "--port-name", "@"},
       {std::string(27, 'x')},
       {std::string(28, 'x')}},
      {{"uplink", bus, "--remote", "198.18.255.1", "--vxlan", "@"},
       {"0", "16777215"},
       {"-1", "16777216"}},
      {{"uplink", bus, "--remote", "198.18.255.1", "--vxlan", "1", "--udp-port", "@"},
       {"1", "65535"},
       {"0", "65536"}},
      {{"uplink", bus, "--evpn", "198.18.255.1", "--vxlan", "1", "--asn", "@"},
       {"1", "4294967294"},
       {"0", "4294967295"}},
      {{"exec", bus, "--hostname", "@", "--", "true"},
       {std::string(63, 'x'), std::string(32, 'x') + '.' + std::string(31, 'x')},
       {std::string(64, 'x'), std::string(32, 'x') + '.' + std::string(32, 'x')},
       125},
  };
}

std::vector<LimitedOption> limits_of_shmifperf(const std::string& none) {
  const std::string here = "--listen=198.18.255.1";  // nobody's address
  const auto servers = [](unsigned count) {
    std::string list = "s0";
    for (unsigned i = 1; i < count; ++i) list += ",s" + std::to_string(i);
    return list;
  };
  return {
      {{"server", here, "--max-jobs", "@"}, {"1", "1024"}, {"0", "1025"}},
      {{"server", here, "--max-runtime", "@"}, {"1ms"}, {"0"}},
      {{"why", "-o", none + "/x", "--interval", "@", "--", none}, {"10ms", "60s"}, {"9ms", "60.1"}},
      {{"heat", "--budget", "@", "--", none}, {"1", "100"}, {"0", "101"}, 127},
      {{"heat", "--windows", "@", "--", none}, {"1", "1000000"}, {"0", "1000001"}, 127},
      {{"membw", "--samples", "@", "--", none}, {"1", "1000000"}, {"0", "1000001"}, 127},
      {{"membw", "--socket", "@", "--", none}, {"0", "65535"}, {"65536"}, 127},
      {{"membw", "--window", "@", "--", none}, {"10ms", "1h"}, {"9ms", "61m"}, 127},
      {{"membw", "--settle", "@", "--", none}, {"0", "1h"}, {"61m"}, 127},
      {{"compare", none, none, "--confidence", "@"}, {"0.1%", "99.9%"}, {"0%", "100%"}},
      {{"run", "--rw=tx", "--runtime=1", "--parse-only", "--client", "@"},
       {servers(256)},
       {servers(257)},
       0},
  };
}

void expect_limits(const std::string& program, const std::vector<LimitedOption>& options) {
  for (const LimitedOption& option : options) {
    const auto run_with_value = [&](const std::string& value) {
      Words words{program};
      for (std::string word : option.line) {
        if (const auto at = word.find('@'); at != std::string::npos) word.replace(at, 1, value);
        words.push_back(word);
      }
      return run_program(words);
    };
    for (const std::string& value : option.taken) {
      const ToolResult taken = run_with_value(value);
      EXPECT_EQ(taken.status, option.status_when_taken) << option.line[0] << ' ' << value << '\n'
                                                        << taken.err;
    }
    for (const std::string& value : option.refused) {
      const ToolResult refused = run_with_value(value);
      EXPECT_EQ(refused.status, 2) << option.line[0] << ' ' << value << '\n' << refused.err;
      EXPECT_EQ(count_of_lines(refused.err), 1) << refused.err;
    }
  }
}

TEST(Limits, TheLastValueIsTakenAndTheNextOneRefused) {
  const TempDir directory;
  expect_limits(shmifctl_path(), limits_of_shmifctl(directory.file("none")));
  expect_limits(shmifperf_path(), limits_of_shmifperf(directory.file("none")));
}

// A bus whose lock word no program of ours writes: commands do not hang, and find it and mend it.

class LockWord : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  LockWord() {
    Port port = rig.port("alice");
    send(port, {arp_request()});
    overwrite();
  }
  void overwrite() { bus::store_seq_cst(raw.header().lock, GetParam()); }
  /// Nobody can have it.
  std::string slot() const { return std::to_string(bus::lock_word::holder(GetParam())); }

  ToolResult run(const std::string& command, const Words& more = {}) {
    Words words = Words{command, rig.path()} + more;
    ToolResult result = run_tool(words);
    EXPECT_FALSE(result.timed_out) << command;
    return result;
  }

  const BusRig rig;
  const RawBus raw{rig.path()};
};

TEST_P(LockWord, ThatNamesNoSlotIsFoundByAuditAndMendedByRepair) {
  const nlohmann::json report = nlohmann::json::parse(run("audit", {"--json"}).out);
  EXPECT_EQ(report.at("findings"),
            nlohmann::json::array(
                {{{"invariant", "L1"},
                  {"what", "the lock is held by slot " + slot() + ", which no port can have"}}}));
  EXPECT_EQ(report.at("frames"), 1);
  EXPECT_EQ(run("audit").status, 1);
  const ToolResult repaired = run("repair", {"--json"});
  EXPECT_EQ(repaired.status, 0) << repaired.err;
  EXPECT_EQ(nlohmann::json::parse(repaired.out).at("lock_released"), true) << repaired.out;
  EXPECT_TRUE(bus::lock_word::is_free(bus::load_seq_cst(raw.header().lock)));
  EXPECT_EQ(run("audit").status, 0);
  const nlohmann::json shown = nlohmann::json::parse(run("stat", {"--json"}).out);
  EXPECT_FALSE(shown.contains("why_null") && shown["why_null"].contains("lock_acquisitions"));
  EXPECT_TRUE(shown.at("lock_acquisitions").is_number());
}

TEST_P(LockWord, ThatNamesNoSlotDelaysSendersButDoesNotStopThem) {
  Port port = rig.port("bob");
  overwrite();
  send(port, {arp_request(), arp_request()});
  EXPECT_TRUE(bus::lock_word::is_free(bus::load_seq_cst(raw.header().lock)));
  EXPECT_EQ(run("audit").status, 0);
  EXPECT_EQ(nlohmann::json::parse(run("stat", {"--json"}).out).at("frames"), 3);
}

constexpr std::uint64_t kFirstImpossible = bus::kSlots + 1;
INSTANTIATE_TEST_SUITE_P(Slots, LockWord, testing::Values(kFirstImpossible, 1023, UINT64_MAX),
                         [](const auto& each) {
                           return std::to_string(bus::lock_word::holder(each.param)) + "_" +
                                  std::to_string(each.index);
                         });

}  // namespace
}  // namespace shmif::test
