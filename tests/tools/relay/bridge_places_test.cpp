// Bridges to programs: buses that cannot be used or are replaced, and links written wrongly.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/wall_clock.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

struct Wrong {
  std::vector<std::string> words;
  std::string remedy;
};

/// Each line ends with `status`, and with one line on standard error that has the remedy.
void expect_remedies(const std::vector<Wrong>& wrong, int status) {
  for (const Wrong& each : wrong) {
    const ToolResult result = run_tool(each.words);
    EXPECT_EQ(result.status, status) << each.words.back() << '\n' << result.err;
    EXPECT_NE(result.err.find(each.remedy), std::string::npos)
        << "looking for: " << each.remedy << "\nin: " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

/// Whether the other end of the connection was closed.
bool is_closed(const UniqueFd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, 0) == 0;
}

TEST_F(BridgeOfPeers, FailsAtTheStartWhereItMayNotWriteToTheBus) {
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0777));
  std::filesystem::permissions(bus_, std::filesystem::perms(0444));
  for (const char* const kind : {"stream:", "vhost-user:", "memif:"}) {
    std::vector<std::string> words{shmifctl_path(), "bridge", "bus:" + bus_, kind + file("q")};
    if (::geteuid() == 0)
      words.insert(words.begin(), {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
    const ToolResult said = run_program(words);
    EXPECT_EQ(said.status, 1) << kind << said.out << said.err;
    EXPECT_EQ(said.out, "");
    EXPECT_NE(said.err.find("cannot open the bus " + bus_ + ": Permission denied (it belongs to"),
              std::string::npos)
        << said.err;
  }
}

TEST_F(BridgeOfPeers, PutsAProgramOnTheBusThatIsAtThePathWhenItConnects) {
  const auto tool = listening();
  ASSERT_EQ(run_tool({"destroy", bus_}).status, 0);
  ASSERT_EQ(run_tool({"create", bus_, "--size", "64K", "--mtu", "1400"}).status, 0);
  const UniqueFd program = connected();
  wait_for_ports(1);
  EXPECT_TRUE(tool->wait_for("another bus is at " + bus_ +
                             " now, which programs join from now on, MTU 1400"))
      << tool->so_far().out;
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfPeers, RefusesAProgramWhileThereIsNoBusAndServesItLater) {
  const auto tool = listening();
  // As when somebody mends a bus by hand.
  std::filesystem::resize_file(bus_, 0);
  EXPECT_TRUE(is_closed(connected()));
  EXPECT_TRUE(tool->wait_for("a program was refused: cannot open the bus " + bus_ +
                             ": it is an empty file"))
      << tool->so_far().err;
  std::filesystem::remove(bus_);
  EXPECT_TRUE(is_closed(connected()));
  EXPECT_TRUE(tool->wait_for("a program was refused: cannot open the bus " + bus_ +
                             ": No such file or directory"))
      << tool->so_far().err;
  ASSERT_EQ(run_tool({"create", bus_, "--size", "64K"}).status, 0);
  const UniqueFd program = connected();
  wait_for_ports(1);
  EXPECT_EQ(end(*tool).status, 0);
}

// --create is for the start. Later, a bus without a file may be one that was removed on purpose.
TEST_F(BridgeOfPeers, MakesNoBusForAProgram) {
  const auto tool = listening({"--create"});
  std::filesystem::remove(bus_);
  const UniqueFd program = connected();
  EXPECT_TRUE(tool->wait_for("a program was refused: cannot open the bus " + bus_ +
                             ": No such file or directory"))
      << tool->so_far().err;
  EXPECT_FALSE(std::filesystem::exists(bus_));
  EXPECT_EQ(end(*tool).status, 0);
}

// A corrupt bus is no end for the programs, for 'repair' mends it while they are there.
TEST_F(BridgeOfPeers, SaysThatItsBusIsCorruptAndThatItWorksAgainAndServesOn) {
  const auto tool = listening();
  StreamLink one = peer();
  wait_for_ports(1);
  {
    std::fstream ring(bus_, std::ios::in | std::ios::out | std::ios::binary);
    ring.seekp(-static_cast<std::streamoff>(64U << 10U), std::ios::end);
    ring << std::string(64U << 10U, '\xff');
  }
  EXPECT_TRUE(tool->wait_for("cannot receive from the bus " + bus_ + ": ")) << tool->so_far().err;
  EXPECT_EQ(run_tool({"repair", bus_}).status, 0);
  EXPECT_TRUE(tool->wait_for("the bus " + bus_ + " works again\n")) << tool->so_far().err;
  Port host = port();
  ASSERT_TRUE(put(host, peer_frame(kEverybody, host.mac(), 6)));
  EXPECT_EQ(marks_from(one, 1), Marks{6});
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfPeers, ReplaysACaptureWithItsGapsOrTheLongestThatWasAskedFor) {
  const auto replay = [&](std::chrono::nanoseconds gap, const std::vector<std::string>& more) {
    {
      PcapWriter writer = PcapWriter::create(file("c")).value();
      std::uint64_t time = 1'700'000'000'000'000'000;
      for (int i = 0; i < 2; ++i) {
        const auto bytes = peer_frame(kEverybody, mac_number(1), 1);
        FrameView frame(bytes.data(), bytes.size());
        frame.time_ns = time;
        EXPECT_EQ(writer.send({&frame, 1}).taken, 1U);
        time += static_cast<std::uint64_t>(gap.count());
      }
    }
    std::vector<std::string> words{"bridge", "pcap:" + file("c"), "bus:" + bus_};
    words.insert(words.end(), more.begin(), more.end());
    const ToolResult result = run_tool(words);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find(": 2 frames, 120 bytes"), std::string::npos) << result.out;
    std::filesystem::remove(file("c"));
  };
  Port ear = port("ear");
  const std::uint64_t begin = base::wall_clock_ns();
  replay(std::chrono::milliseconds(600), {});
  FrameBatch batch;
  ASSERT_EQ(ear.receive(batch).frames, 2U);
  // The first frame may be late on a busy machine, and the second one is never early.
  EXPECT_GE(batch[0].time_ns, begin);
  EXPECT_GE(batch[1].time_ns, begin + 600'000'000);
  replay(std::chrono::hours(1), {"--max-gap", "0.01"});
}

TEST_F(BridgeOfPeers, SaysWhichLinkWasMeant) {
  const std::string bus = "bus:" + bus_;
  std::ofstream(file("one")) << "one";
  std::filesystem::create_symlink(file("one"), file("two"));
  expect_remedies(
      {{{"bridge", bus_, "stream:q"}, "did you mean bus:" + bus_ + '?'},
       {{"bridge", "./b", "stream:q"}, "did you mean bus:./b?"},
       {{"bridge", bus, "steam:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:conect=/p"}, "did you mean stream:connect=/p?"},
       {{"bridge", bus, "vhost-user:conect=/p"}, "did you mean vhost-user:connect=/p?"},
       {{"bridge", bus, "stream:listen="}, "did you mean stream:PATH?"},
       {{"bridge", bus, "stream:listen=/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "vhost-user:path=/p"}, "did you mean vhost-user:/p?"},
       {{"bridge", bus, "stream:unix:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:tcp:127.0.0.1:80"}, "did you mean stream:127.0.0.1:80?"},
       {{"bridge", bus, "stream:tcp:70000"}, "an address needs a port from 0 to 65535"},
       {{"bridge", bus, "stream:5555"}, "(127.0.0.1:5555; for a path, write ./5555)"},
       {{"bridge", bus, "stream:connect=@p"}, "abstract sockets are not supported"},
       {{"bridge", bus, "memif:~/p"}, "the shell does not expand ~ there (write $HOME/p)"},
       {{"bridge", bus, "dgram:/p,"}, "REMOTE is missing"},
       {{"bridge", bus, "dgram:,/p"}, "LOCAL is missing"},
       {{"bridge", bus, "dgram:/p,/p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:p,./p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:" + file("one") + ',' + file("two")}, "both sockets are the same"},
       {{"bridge", bus, "dgram:127.0.0.1:7000,127.0.0.1:7000"}, "both sockets are the same"}},
      2);
  // A client of memif is never connected to, so no other word was meant.
  expect_remedies({{{"bridge", bus, "memif:conect=/nonexistent/q"},
                    "cannot make the socket conect=/nonexistent/q: "}},
                  1);
  Tool digits({"sh", "-c", "cd \"$1\" && exec \"$2\" bridge \"$3\" stream:./5555", "sh",
               directory_.path(), shmifctl_path(), bus});
  EXPECT_TRUE(digits.wait_for("stream:./5555: ready")) << digits.so_far().err;
  EXPECT_TRUE(std::filesystem::is_socket(file("5555")));
  EXPECT_EQ(end(digits).status, 0);
}

TEST_F(BridgeOfPeers, EndsWhereLibvdeplugHasNoSuchPlugin) {
  expect_remedies({{{"bridge", "bus:" + bus_, "vde:nosuchplugin://x"},
                    "libvdeplug finds no plugin of that name"}},
                  1);
  const ToolResult slirp = run_program({"env", "VDEPLUGIN_PATH=/nonexistent", shmifctl_path(),
                                        "bridge", "bus:" + bus_, "vde:slirp://"});
  EXPECT_NE(slirp.err.find("'shmifctl gateway'"), std::string::npos) << slirp.err;
}

TEST_F(BridgeOfPeers, ANameForAPortOrADeviceIsNotEmpty) {
  expect_remedies({{{"bridge", "bus:" + bus_, "stream:" + file("q"), "--port-name", ""},
                    "--port-name \"\" is empty (give NAME"},
                   {{"bridge", "bus:" + bus_, "pcap:" + file("p"), "--port-name", ""},
                    "--port-name \"\" is empty (give NAME"},
                   {{"gateway", bus_, "--port-name", ""}, "--port-name \"\" is empty (give NAME"},
                   {{"tap", bus_, "--port-name", ""}, "--port-name \"\" is empty (give NAME"},
                   {{"tap", bus_, "--name", ""}, "--name \"\" is empty (give NAME"},
                   {{"dump", bus_, "--name", ""}, "--name \"\" is empty (give NAME"},
                   {{"ping", bus_, "--name", ""}, "--name \"\" is empty (give NAME"}},
                  2);
}

TEST_F(BridgeOfPeers, OnlyABridgeTakesThePathOfABusWithItsKind) {
  const std::string remedy = "(write the path without \"bus:\")";
  const std::string bus = "bus:" + bus_;
  expect_remedies({{{"stat", bus}, remedy},
                   {{"create", bus}, remedy},
                   {{"destroy", bus}, remedy},
                   {{"dump", bus}, remedy},
                   {{"repair", bus}, remedy}},
                  1);
  expect_remedies(
      {{{"exec", bus, "--", "true"}, remedy}, {{"exec", bus, "--create", "--", "true"}, remedy}},
      125);
}

}  // namespace
}  // namespace shmif::test
