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
#include "tests/support/run_tool.hpp"

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

/// The names in a directory, to see that nothing was left behind.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One line, "shmifctl: cannot ...", that holds every one of `parts`.
void expect_refusal(const ToolResult& result, const std::vector<std::string>& parts,
                    int status = 1) {
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.err.rfind("shmifctl: cannot ", 0), 0U) << result.err;
  for (const std::string& part : parts) {
    EXPECT_NE(result.err.find(part), std::string::npos)
        << "looking for: " << part << "\nin: " << result.err;
  }
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
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"stat", path},
                                               {"stat", path, "--json"},
                                               {"top", path},
                                               {"audit", path},
                                               {"repair", path},
                                               {"dump", path, "--timeout", "1"},
                                               {"ping", path, "-c", "1"},
                                               {"wait", path, "--port", "a", "--timeout", "0"},
                                               {"bridge", "bus:" + path, "pcap:" + capture}}) {
      SCOPED_TRACE(arguments[0]);
      expect_refusal(run_tool(arguments), all);
    }
    expect_refusal(run_tool({"exec", path, "--", "true"}), all, 125);
    EXPECT_EQ(names_in(directory.path()), before);
  }

  TemporaryDirectory directory;
};

TEST_F(BadInput, AForeignFileIsNoBusAndStaysAsItIs) {
  const std::string path = directory.file("letter.txt");
  const std::string letter(300'000, 'x');
  write_file(path, letter);
  expect_every_command_to_refuse(path, {"not a shmif bus"});
  expect_refusal(run_tool({"destroy", path}), {path});
  expect_refusal(run_tool({"destroy", path, "--force"}), {path});
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
  expect_every_command_to_refuse(shorter, {"truncated"});
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
           {"audit", path},
           {"repair", path},
           {"dump", path},
           {"tap", path},
           {"bridge", "bus:" + path, "pcap:" + directory.file("capture.pcap")}}) {
    SCOPED_TRACE(arguments[0]);
    expect_refusal(run_tool(arguments), {path, "No such file", "create"});
  }
  expect_refusal(run_tool({"destroy", path}), {path, "No such file"});
  EXPECT_TRUE(names_in(directory.path()).empty());
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
  expect_refusal(run_program(words), {path, "Permission denied"});
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
  expect_refusal(run_tool({"create", directory.file("none/bus")}), {"none/bus", "No such file"});
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  const std::string path = directory.file("bus");
  expect_refusal(run_program({"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                              shmifctl_path(), "create", path}),
                 {path, "Permission denied"});
  EXPECT_TRUE(names_in(directory.path()).empty());
}

/// Runs a shell script in a mount namespace of its own, with the tool as $1 and the directory as
/// $2.
ToolResult in_mount_namespace(const std::string& script, const TemporaryDirectory& directory) {
  return run_program(
      {"unshare", "--mount", "sh", "-c", script, "sh", shmifctl_path(), directory.path()});
}

TEST_F(BadInput, AFullDiskIsAnErrorOfCreateAndLeavesNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to mount a small tmpfs";
  const ToolResult result = in_mount_namespace(
      "mount -t tmpfs -o size=1m none \"$2\" || exit 99\n"
      "\"$1\" create \"$2/bus\"; status=$?\n"
      "ls -A \"$2\"; exit $status",
      directory);
  expect_refusal(result, {directory.file("bus"), "No space left"});
}

TEST_F(BadInput, AnOverlayFileSystemIsRefusedByName) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to mount an overlay";
  const std::string set_up =
      "cd \"$2\" && mkdir lower upper work merged && mount -t overlay none "
      "-o lowerdir=lower,upperdir=upper,workdir=work merged || exit 99\n";
  const ToolResult made = in_mount_namespace(
      set_up + "\"$1\" create \"$2/merged/bus\"; status=$?; ls -A merged; exit $status", directory);
  if (made.status == 99) GTEST_SKIP() << "no overlay file system here: " << made.err;
  expect_refusal(made, {"merged/bus", "overlay", "/dev/shm"});
  EXPECT_TRUE(std::filesystem::is_empty(directory.file("upper")));

  TemporaryDirectory other;
  const ToolResult attached = in_mount_namespace(
      set_up + "\"$1\" create lower/bus && \"$1\" repair \"$2/merged/bus\"", other);
  expect_refusal(attached, {"merged/bus", "overlay"});
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
  for (const char* const command : {"stat", "audit"}) {
    const ToolResult looked = run_tool({command, copy});
    EXPECT_EQ(looked.status, 0) << looked.err;
    EXPECT_NE(looked.err.find(copy + " is a copy"), std::string::npos) << command << looked.err;
    EXPECT_EQ(run_tool({command, path}).err, "") << command;
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
}

TEST_F(BadInput, DestroyRefusesWhileALivePortIsAttachedUnlessForced) {
  const std::string path = make_bus();
  PortOptions options;
  options.name = "alice";
  Port port(options);
  ASSERT_TRUE(port.attach(path));
  expect_refusal(run_tool({"destroy", path}), {path, "alice", "--force"});
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
    EXPECT_NE(result.err.find("bus:PATH, tap:NAME, packet:IFNAME or pcap:FILE"), std::string::npos)
        << result.err;
  }
  expect_refusal(run_tool({"bridge", "packet:no-such-if0", "bus:" + path}), {"no-such-if0"});
  expect_refusal(run_tool({"bridge", "pcap:" + directory.file("missing"), "bus:" + path}),
                 {directory.file("missing"), "No such file"});
  expect_refusal(run_tool({"bridge", "pcap:" + path, "bus:" + path}), {path});
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
                 {"/dev/net/tun", "Permission denied", "exec"});
}

}  // namespace
}  // namespace shmif::test
