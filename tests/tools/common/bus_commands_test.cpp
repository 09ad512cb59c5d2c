// create, stat, wait, audit, repair and destroy on sound and unsound buses.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bus/layout.hpp"
#include "shmif/port.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
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

}  // namespace
}  // namespace shmif::test
