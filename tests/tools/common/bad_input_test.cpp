// What goes wrong, and what shmifctl says then: one line that names what was tried, on what, why it
// failed and what to do; and nothing is left half made.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"

namespace shmif::test {
namespace {

constexpr std::uint64_t kSmallRing = 64U << 10U;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class BadInput : public ::testing::Test {
 protected:
  /// A sound bus of the least size.
  std::string make_bus(const std::string& name = "bus") {
    const std::string path = directory.file(name);
    const ToolResult made = run_tool({"create", path, "--size", "64K", "--mtu", "1500"});
    EXPECT_EQ(made.status, 0) << made.err;
    return path;
  }
  /// Every command that looks into a bus refuses `path`, naming it and all `parts`.
  void expect_every_command_to_refuse(const std::string& path,
                                      const std::vector<std::string>& parts) {
    std::vector<std::string> all = {path};
    all.insert(all.end(), parts.begin(), parts.end());
    const std::vector<std::string> before = names_in(directory.path());
    const std::string capture = directory.file("capture.pcap");
    std::string interface = "shmif:" + path;
    std::ranges::replace(interface, '/', ':');
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"stat", path},
                                               {"stat", path, "--json"},
                                               {"top", path},
                                               {"serve", path, "--http", "127.0.0.1:0"},
                                               {"audit", path},
                                               {"heat", path},
                                               {"repair", path},
                                               {"dump", path, "--timeout", "1"},
                                               {"--extcap-config", "--extcap-interface", interface},
                                               {"ping", path, "-c", "1"},
                                               {"gateway", path},
                                               {"uplink", path, "--stdio"},
                                               {"wait", path, "--port", "a", "--timeout", "0"},
                                               {"bridge", "bus:" + path, "pcap:" + capture}}) {
      SCOPED_TRACE(arguments[0]);
      expect_refusal(run_tool(arguments), all);
    }
    expect_refusal(run_tool({"exec", path, "--", "true"}), all, 125);
    EXPECT_EQ(names_in(directory.path()), before);
  }

  TempDir directory;
};

TEST_F(BadInput, MessagesNameARemedyThatCanWork) {
  const TempDir there;
  const std::string bus = there.file("bus");
  ASSERT_EQ(run_tool({"create", bus}).status, 0);
  const ToolResult lonely = run_tool({"dump", bus, "--port", "nobody", "--timeout", "0.01"});
  EXPECT_NE(lonely.err.find("(attached: none)"), std::string::npos) << lonely.err;
  const ToolResult unseen = run_tool({"wait", bus, "--port", "x", "--timeout", "0.01"});
  EXPECT_NE(unseen.err.find("'shmifctl stat " + bus), std::string::npos) << unseen.err;
  const std::string none = there.file("none");
  const ToolResult waited = run_tool({"wait", none, "--port", "x", "--timeout", "0.01"});
  EXPECT_NE(waited.err.find("'shmifctl create " + none), std::string::npos) << waited.err;
  EXPECT_EQ(waited.err.find("shmifctl stat"), std::string::npos) << waited.err;
  std::fstream(bus, std::ios::in | std::ios::out | std::ios::binary).write("\0\0\0\0\0\0\0\0", 8);
  for (const char* command : {"stat", "audit"})
    expect_refusal(run_tool({command, bus}), {"'shmifctl repair'", "'shmifctl create'"});
}

/// A command does not advise what it has just shown to be useless.
TEST_F(BadInput, RepairIsNotAdvisedByRepair) {
  for (const std::size_t bytes : {std::size_t{7}, std::size_t{100'000}, std::size_t{4'390'912}}) {
    const std::string path = directory.file("letter" + std::to_string(bytes));
    write_file(path, std::string(bytes, 'x'));
    const ToolResult refused = run_tool({"repair", path});
    expect_refusal(refused, {path, "not a shmif bus", "create"});
    EXPECT_EQ(refused.err.find("shmifctl repair"), std::string::npos) << refused.err;
  }
  const std::string path = make_bus("cut");
  std::filesystem::resize_file(path, 70'000);
  const ToolResult refused = run_tool({"repair", path});
  expect_refusal(refused, {path, "70000 bytes"});
  EXPECT_EQ(refused.err.find("shmifctl repair"), std::string::npos) << refused.err;
}

/// Each message names what to do.
TEST_F(BadInput, WhatNewcomersTryIsAnsweredWithWhatTheyMeant) {
  const std::string bus = make_bus();
  const auto usage = [&](std::vector<std::string> words, const std::string& part) {
    const ToolResult refused = run_tool(std::move(words));
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_NE(refused.err.find(part), std::string::npos) << part << " is not in " << refused.err;
  };
  usage({"exec", "-ip", "198.18.0.1/24", bus, "--", "true"}, "did you mean --ip?");
  usage({"create", "-size", "1M", bus}, "did you mean --size?");
  const ToolResult named = run_tool({"exec", "--name", "a b", bus, "--", "true"});
  EXPECT_NE(named.err.find("without spaces (such as a_b)"), std::string::npos) << named.err;
}

/// Not every call that needs a descriptor knows what to do.
TEST_F(BadInput, WithoutDescriptorsTheRemedyIsToAllowMore) {
  const std::string bus = make_bus();
  const Tool host({shmifctl_path(), "exec", bus, "--name", "a", "--", "sleep", "600"});
  const bool is_there = run_tool({"wait", bus, "--port", "a", "--timeout", "100"}).status == 0;
  std::vector<std::vector<std::string>> commands = {{"exec", bus}};
  if (::access("/dev/net/tun", R_OK | W_OK) == 0)
    commands.push_back({"exec", bus, "--via", "tap", "--bus", bus, "--bus", bus});
  if (is_there) commands.push_back({"enter", bus, "a"});
  for (std::vector<std::string> words : commands) {
    words.insert(words.begin(), {"sh", "-c",
                                 "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n $0; "
                                 "exec \"$@\"",
                                 "", shmifctl_path()});
    words.insert(words.end(), {"--", "true"});
    for (const char* const limit : {"5", "6", "7", "8", "9", "10", "11", "12", "13"}) {
      words[3] = limit;
      const ToolResult refused = run_program(words);
      if (refused.status == 0) continue;
      SCOPED_TRACE(words[5] + ' ' + limit);
      EXPECT_EQ(refused.status, 125) << refused.err;
      EXPECT_NE(refused.err.find("ulimit -n"), std::string::npos) << refused.err;
    }
  }
}

TEST_F(BadInput, AForeignFileIsNoBusAndStaysAsItIs) {
  const std::string path = directory.file("letter.txt");
  const std::string letter(300'000, 'x');
  write_file(path, letter);
  expect_every_command_to_refuse(path, {"not a shmif bus"});
  expect_refusal(run_tool({"destroy", path}), {path});
  expect_refusal(run_tool({"destroy", path, "--force"}), {path, "only a file that begins as"});
  EXPECT_EQ(contents(path), letter);
}

TEST_F(BadInput, AnotherFormatVersionIsRefusedNamingBothSides) {
  const std::string path = make_bus();
  const std::string version = run_tool({"--version"}).out;
  const std::string ours =
      version.substr(version.find("0x"), version.find(')') - version.find("0x"));
  std::string bytes = contents(path);
  const std::uint32_t theirs = 0x63000001;
  std::memcpy(bytes.data() + 8, &theirs, sizeof theirs);
  write_file(path, bytes);
  expect_every_command_to_refuse(path, {"0x63000001", ours});
}

TEST_F(BadInput, AFileOfTheWrongSizeIsRefused) {
  const std::string longer = make_bus("longer");
  std::filesystem::resize_file(longer, std::filesystem::file_size(longer) + 4096);
  expect_every_command_to_refuse(longer,
                                 {std::to_string(std::filesystem::file_size(longer)) + " bytes"});
  const std::string shorter = make_bus("shorter");
  std::filesystem::resize_file(shorter, std::filesystem::file_size(shorter) / 2);
  expect_every_command_to_refuse(shorter, {"truncated", "shmifctl destroy --force"});
  std::filesystem::resize_file(shorter, 100);
  expect_every_command_to_refuse(shorter, {});
}

TEST_F(BadInput, ADirectoryIsRefused) {
  expect_every_command_to_refuse(directory.path(), {"not a regular file"});
}

TEST_F(BadInput, AnEmptyPathIsRefusedAsSuch) {
  expect_refusal(run_tool({"create", ""}), {"path is empty"});
  expect_refusal(run_tool({"stat", ""}), {"path is empty"});
  expect_refusal(run_tool({"dump", ""}), {"path is empty"});
  expect_refusal(run_tool({"exec", "", "--", "true"}), {"path is empty"}, 125);
}

TEST_F(BadInput, ADanglingSymbolicLinkIsRefusedAndNotFollowed) {
  const std::string path = directory.file("link");
  std::filesystem::create_symlink(directory.file("nowhere"), path);
  expect_every_command_to_refuse(path, {"symbolic link"});
  expect_refusal(run_tool({"create", path}), {path});
  expect_refusal(run_tool({"bridge", "--create", "bus:" + path, "pcap:" + directory.file("p")}),
                 {path});
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"link"});
}

TEST_F(BadInput, ASymbolicLinkToABusIsRefused) {
  const std::string path = directory.file("link");
  std::filesystem::create_symlink(make_bus(), path);
  expect_every_command_to_refuse(path, {"symbolic link"});
}

TEST_F(BadInput, AFifoIsRefusedAtOnce) {
  const std::string path = directory.file("fifo");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  expect_every_command_to_refuse(path, {"not a regular file"});
}

TEST_F(BadInput, AMissingBusIsAnErrorThatTellsHowToMakeOne) {
  const std::string path = directory.file("missing");
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"stat", path},
           {"top", path},
           {"serve", path, "--http", "127.0.0.1:0"},
           {"audit", path},
           {"repair", path},
           {"dump", path},
           {"tap", path},
           {"bridge", "bus:" + path, "pcap:" + directory.file("capture.pcap")}}) {
    SCOPED_TRACE(arguments[0]);
    expect_refusal(run_tool(arguments), {path, "No such file", "create"});
  }
  const ToolResult destroyed = run_tool({"destroy", path});
  expect_refusal(destroyed, {path, "No such file", "check the path"});
  EXPECT_EQ(destroyed.err.find("shmifctl create"), std::string::npos) << destroyed.err;
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, ADirectoryThatTakesNoNewFilesIsNotToBeMade) {
  const std::string path = "/proc/shmif-bus";
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"create", path}, {"tap", path, "--create"}, {"create", "/proc/self/shmif-bus"}}) {
    SCOPED_TRACE(arguments[0] + ' ' + arguments[1]);
    const ToolResult refused = run_tool(arguments);
    expect_refusal(refused, {arguments[1], "no new files", "/dev/shm"});
    EXPECT_EQ(refused.err.find("make the directory"), std::string::npos) << refused.err;
  }
  expect_refusal(run_tool({"create", directory.file("none/bus")}), {"make the directory first"});
}

TEST_F(BadInput, AnEmptyFileIsNotYetABus) {
  const std::string path = directory.file("empty");
  write_file(path, "");
  expect_refusal(run_tool({"stat", path}), {path, "empty"});
  EXPECT_EQ(contents(path), "");
}

TEST_F(BadInput, AnUnreadableFileIsRefusedToAnOrdinaryUser) {
  const std::string path = make_bus();
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  std::vector<std::string> words = {shmifctl_path(), "stat", path};
  if (geteuid() == 0) {
    if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
    ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
    words.insert(words.begin(),
                 {"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"});
  }
  struct stat file{};
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  expect_refusal(run_program(words), {path, "Permission denied", "mode 0000",
                                      "belongs to user " + std::to_string(file.st_uid), "chmod"});
}

TEST_F(BadInput, AFileThatMayOnlyBeReadIsEnoughToLookAndNotToMend) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  const std::string path = make_bus();
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  const std::vector<std::string> other = {"setpriv", "--reuid",        "1000",         "--regid",
                                          "1000",    "--clear-groups", shmifctl_path()};
  const auto as_other = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), other.begin(), other.end());
    return run_program(arguments);
  };
  EXPECT_EQ(as_other({"stat", path}).status, 0);
  EXPECT_EQ(as_other({"audit", path}).status, 0);
  expect_refusal(as_other({"repair", path}), {path, "Permission denied"});
}

TEST_F(BadInput, CreateRefusesAnExistingPathAndLeavesItAlone) {
  const std::string path = directory.file("letter.txt");
  write_file(path, "dear all");
  expect_refusal(run_tool({"create", path}), {path, "exists"});
  EXPECT_EQ(contents(path), "dear all");
  const std::string bus = make_bus();
  expect_refusal(run_tool({"create", bus}), {bus, "exists"});
  EXPECT_EQ(run_tool({"audit", bus}).status, 0);
}

TEST_F(BadInput, CreateRefusesSizesThatAreNoPowerOfTwoInRange) {
  const std::string path = directory.file("bus");
  for (const char* size : {"3M", "0", "1", "32K", "65537", "2G", "4097K"}) {
    SCOPED_TRACE(size);
    expect_refusal(run_tool({"create", path, "--size", size}), {path, "power of two", "64K", "1G"},
                   2);
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, CreateRefusesAnMtuOutOfRange) {
  const std::string path = directory.file("bus");
  for (const char* mtu : {"0", "67", "65522", "4294967295"}) {
    SCOPED_TRACE(mtu);
    expect_refusal(run_tool({"create", path, "--mtu", mtu}), {path, "68", "65521", mtu}, 2);
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, CreateRefusesARingTooSmallForItsMtuAndNamesTheLeast) {
  const std::string path = directory.file("bus");
  expect_refusal(run_tool({"create", path, "--size", "64K", "--mtu", "65521"}),
                 {path, "65521", "1M"}, 2);
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, CreateInAMissingOrClosedDirectoryIsRefused) {
  expect_refusal(run_tool({"create", directory.file("none/bus")}),
                 {"none/bus", "No such file", "make the directory"});
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  const std::string path = directory.file("bus");
  expect_refusal(run_program({"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                              shmifctl_path(), "create", path}),
                 {path, "Permission denied", "write permission"});
  EXPECT_TRUE(names_in(directory.path()).empty());
}

/// Runs a shell script in a mount namespace of its own, with the tool as $1 and the directory as
/// $2.
ToolResult in_mount_namespace(const std::string& script, const TempDir& directory) {
  return run_program(
      {"unshare", "--mount", "sh", "-c", script, "sh", shmifctl_path(), directory.path()});
}

TEST_F(BadInput, AFileSizeLimitIsAnErrorAndNoSignal) {
  const auto limited = [](const std::string& bytes, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"prlimit", "--fsize=" + bytes, shmifctl_path()});
    return run_program(arguments);
  };
  const std::string path = directory.file("fresh");
  expect_refusal(limited("100000", {"create", path}), {path, "File too large", "ulimit -f"});
  expect_refusal(limited("100000", {"exec", path, "--create", "--", "true"}),
                 {path, "File too large", "ulimit -f"}, 125);
  EXPECT_TRUE(names_in(directory.path()).empty());

  const std::string bus = make_bus();
  Port port;
  ASSERT_TRUE(port.attach(bus));
  ASSERT_FALSE(port.up());
  for (unsigned i = 0; i < 10; ++i) send(port, {make_frame(1000, i)});
  const std::string capture = directory.file("capture.pcap");
  const ToolResult recorded =
      limited("4096", {"dump", bus, "--history", "-c", "10", "-w", capture});
  EXPECT_EQ(recorded.status, 1) << recorded.err;
  EXPECT_NE(recorded.err.find("File too large"), std::string::npos) << recorded.err;
  EXPECT_EQ(std::filesystem::file_size(capture), 24U + 4 * 1016) << "whole records only";
}

TEST_F(BadInput, ACopiedBusIsRefused) {
  const std::string path = make_bus();
  const std::string copy = directory.file("copy");
  std::filesystem::copy_file(path, copy);
  expect_refusal(run_tool({"repair", copy}), {copy, "copy"});
  expect_refusal(run_tool({"bridge", "bus:" + copy, "pcap:" + directory.file("p")}),
                 {copy, "copy"});
  EXPECT_FALSE(std::filesystem::exists(directory.file("p")));
  EXPECT_EQ(run_tool({"audit", path}).status, 0) << "the original is not touched";
  for (const char* const command : {"stat", "audit", "dump"}) {
    const auto look = [&](const std::string& at) {
      return command == std::string("dump") ? run_tool({command, at, "--timeout", "0"})
                                            : run_tool({command, at});
    };
    const ToolResult looked = look(copy);
    EXPECT_EQ(looked.status, 0) << looked.err;
    EXPECT_NE(looked.err.find(copy + " is a copy"), std::string::npos) << command << looked.err;
    EXPECT_EQ(look(path).err.find("warning"), std::string::npos) << command;
  }
}

TEST_F(BadInput, ADifferentGeometryIsRefusedNamingBothSides) {
  const std::string path = make_bus();
  expect_refusal(run_tool({"bridge", "--create", "--mtu", "9000", "bus:" + path,
                           "pcap:" + directory.file("p")}),
                 {path, "9000", "1500"});
  expect_refusal(run_tool({"bridge", "--create", "--size", "1M", "bus:" + path,
                           "pcap:" + directory.file("p")}),
                 {path, "1048576", "65536"});
  expect_refusal(run_tool({"bridge", "--create", "--flow", "pause", "bus:" + path,
                           "pcap:" + directory.file("p")}),
                 {path, "exists with the flow ethernet", "pause was asked for"});
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"bus"});
}

TEST_F(BadInput, AFullPortTableIsRefusedNamingItsSize) {
  const std::string path = make_bus();
  std::vector<Port> ports;
  for (;;) {
    ports.emplace_back();
    const Result<void> attached = ports.back().attach(path);
    if (attached) continue;
    ASSERT_EQ(attached.error().code, make_error_code(Errc::table_full)) << attached.error().message;
    ports.pop_back();
    break;
  }
  EXPECT_GE(ports.size(), 256U);
  expect_refusal(run_tool({"bridge", "bus:" + path, "pcap:" + directory.file("p")}),
                 {path, std::to_string(ports.size())});
  EXPECT_FALSE(std::filesystem::exists(directory.file("p")));
  EXPECT_EQ(run_tool({"stat", path}).status, 0);
  const ToolResult listened = run_tool({"dump", path, "--timeout", "0"});
  EXPECT_EQ(listened.status, 0) << "to listen needs no port: " << listened.err;
  expect_refusal(run_tool({"dump", path, "--timeout", "0", "--name", "ear"}),
                 {path, std::to_string(ports.size())});
}

TEST_F(BadInput, DestroyRefusesWhileALivePortIsAttachedUnlessForced) {
  const std::string path = make_bus();
  PortOptions options;
  options.name = "alice";
  Port port(options);
  ASSERT_TRUE(port.attach(path));
  expect_refusal(run_tool({"destroy", path, "--timeout", "0.1"}), {path, "alice", "--force"});
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(run_tool({"destroy", path, "--force"}).status, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(BadInput, BridgeRefusesWhatIsNoLink) {
  const std::string path = make_bus();
  for (const char* link : {"nonsense", "usb:0", "bus:", "tap:", "packet:", "pcap:"}) {
    SCOPED_TRACE(link);
    const ToolResult result = run_tool({"bridge", "bus:" + path, link});
    EXPECT_EQ(result.status, 2);
    EXPECT_NE(result.err.find(std::string("\"") + link + '"'), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(
                  "bus:PATH, tap:NAME, packet:IFNAME, pcap:FILE, stream:PATH, vhost-user:PATH, "
                  "memif:PATH"),
              std::string::npos)
        << result.err;
  }
  expect_refusal(run_tool({"bridge", "packet:no-such-if0", "bus:" + path}), {"no-such-if0"});
  expect_refusal(run_tool({"bridge", "pcap:" + directory.file("missing"), "bus:" + path}),
                 {directory.file("missing"), "No such file"});
  expect_refusal(run_tool({"bridge", "pcap:" + path, "bus:" + path}), {path});
}

TEST_F(BadInput, BridgeNamesAnInterfaceThatIsNotThereAndWhereToLook) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, for a packet socket";
  expect_refusal(run_tool({"bridge", "bus:" + make_bus(), "packet:nodev"}),
                 {"\"nodev\": No such device ('ip link'"});
}

TEST_F(BadInput, ANameThatNoPortCanHaveIsWrongUsage) {
  const std::string path = make_bus();
  for (const std::string& name : {std::string("a b"), std::string(32, 'n')}) {
    expect_refusal(run_tool({"dump", path, "--timeout", "0", "--name", name}), {name}, 2);
  }
}

TEST_F(BadInput, TapRefusesABadAddress) {
  const std::string path = make_bus();
  for (const char* cidr : {"198.18.0.1", "198.18.0.1/33", "198.18.0/24", "fd00::1/129",
                           "localhost/8", "198.18.0.0/24", "198.18.0.1/24,198.18.0.2/24"}) {
    SCOPED_TRACE(cidr);
    const ToolResult result = run_tool({"tap", path, "--ip", cidr});
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_NE(result.err.find(cidr), std::string::npos) << result.err;
  }
}

TEST_F(BadInput, TapRefusesABadNameAndANamespaceThatIsNotThere) {
  if (access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/net/tun may not be opened";
  const std::string path = make_bus();
  expect_refusal(run_tool({"tap", path, "--name", "a-name-far-too-long"}), {"a-name-far-too-long"});
  // The kernel would take it for a pattern, and the device would have another name.
  expect_refusal(run_tool({"tap", path, "--name", "a%d"}), {"\"a%d\" is not a name"});
  expect_refusal(run_tool({"tap", path, "--name", "lo"}), {"TAP device lo", "loopback interface"});
  expect_refusal(run_tool({"tap", path, "--netns", "no-such-namespace"}), {"no-such-namespace"});
  expect_refusal(run_tool({"tap", path, "--netns", "999999999"}), {"999999999"});
}

TEST_F(BadInput, TapWithoutItsDeviceNodeIsNotSupportedAndMakesNoBus) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to hide /dev/net/tun";
  expect_refusal(in_mount_namespace("mount -t tmpfs none /dev/net || exit 99\n"
                                    "exec \"$1\" tap \"$2/bus\" --create",
                                    directory),
                 {"/dev/net/tun", "exec"}, 77);
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, AnotherDeviceInPlaceOfTheTunDeviceIsSaidWithTheSameHint) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to hide /dev/net/tun";
  const std::string hide = "mount --bind /dev/null /dev/net/tun || exit 99\n";
  for (const char* const command :
       {"exec \"$1\" tap \"$2/bus\" --create", "exec \"$1\" bridge \"bus:$2/bus\" tap:t0 --create",
        "exec \"$1\" bridge tap:t0 \"bus:$2/bus\" --create"}) {
    expect_refusal(in_mount_namespace(hide + command, directory),
                   {"/dev/net/tun, which is not the TUN device here", "modprobe tun", "exec"}, 77);
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, HostViaTapWithoutTheDeviceNodeIsNotSupportedAndMakesNoBus) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to hide /dev/net/tun";
  expect_refusal(in_mount_namespace("mount -t tmpfs none /dev/net || exit 99\n"
                                    "exec \"$1\" exec \"$2/bus\" --create --via tap -- true",
                                    directory),
                 {"/dev/net/tun", "veth"}, 77);
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST_F(BadInput, HostWithoutProcSaysThatItIsMissing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to hide /proc";
  expect_refusal(in_mount_namespace("mount -t tmpfs none /proc || exit 99\n"
                                    "exec \"$1\" exec \"$2/bus\" --create -- true",
                                    directory),
                 {"cannot map the ids", "/proc must be mounted"}, 125);
}

TEST_F(BadInput, CaptureThatCannotBeWrittenSaysWhatToDo) {
  const std::string path = make_bus();
  expect_refusal(run_tool({"dump", path, "-w", directory.file("none/x.pcap")}),
                 {"none/x.pcap", "(make its directory first)"});
  expect_refusal(run_tool({"dump", path, "-w", directory.path()}), {"name a file"});
}

TEST_F(BadInput, TapWithAClosedDeviceNodeSaysWhoMayOpenIt) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  const std::string path = make_bus();
  ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  struct stat node{};
  if (stat("/dev/net/tun", &node) != 0) GTEST_SKIP() << "no /dev/net/tun on this machine";
  if ((node.st_mode & 0006U) != 0) GTEST_SKIP() << "/dev/net/tun is open to everybody here";
  expect_refusal(run_program({"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                              shmifctl_path(), "tap", path}),
                 {"/dev/net/tun: Permission denied (", "exec"});
}

}  // namespace
}  // namespace shmif::test
