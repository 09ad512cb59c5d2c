// What goes wrong, and what shmifctl says then: one line that names what was tried, on what, why it
// failed and what to do; and nothing is left half made.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tools/common/command.hpp"

namespace shmif::test {
namespace {

using Parts = Words;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A line of words that is refused. $D is a folder, $BUS a sound bus of 64 KiB in it, $NONE the
/// path of no bus; ~ is a blank in a word, and a word of ~ alone is empty.
struct RefusedLine {
  const char* line;
  Parts has;               ///< what the message must have, apart from the paths of the line
  const char* lacks = "";  ///< and what would be wrong advice
  int status = 1;
};

class Refused : public ::testing::Test {
 protected:
  /// A sound bus of the least size.
  std::string make_bus(const std::string& name = "bus") {
    const std::string path = directory.file(name);
    const ToolResult made = run_tool({"create", path, "--size", "64K", "--mtu", "1500"});
    EXPECT_EQ(made.status, 0) << made.err;
    return path;
  }
  std::string with_paths(std::string text) const {
    for (const auto& [name, value] : {std::pair("$BUS", directory.file("bus")),
                                      {"$NONE", directory.file("none")},
                                      {"$D", directory.path()}}) {
      if (const auto at = text.find(name); at != std::string::npos)
        text.replace(at, std::strlen(name), value);
    }
    return text;
  }
  Parts words_of(const std::string& line) const {
    Parts words;
    std::istringstream in(line);
    for (std::string word; in >> word;) {
      word = with_paths(word);
      std::ranges::replace(word, '~', ' ');
      words.push_back(word == " " ? "" : word);
    }
    return words;
  }
  void expect_refused(const RefusedLine& each) {
    SCOPED_TRACE(each.line);
    const Parts before = names_in(directory.path());
    const ToolResult result = run_tool(words_of(each.line));
    EXPECT_FALSE(result.timed_out);
    EXPECT_EQ(result.status, each.status) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(count_of_lines(result.err), 1) << result.err;
    EXPECT_TRUE(result.err.starts_with("shmifctl: ")) << result.err;
    for (const std::string& part : each.has) {
      EXPECT_TRUE(contains(result.err, with_paths(part))) << part;
    }
    EXPECT_TRUE(*each.lacks == '\0' || !contains(result.err, each.lacks)) << result.err;
    EXPECT_EQ(names_in(directory.path()), before);
  }
  /// A line that is no line of shmifctl: its message points to --help.
  void expect_wrong(RefusedLine each) {
    each.status = 2;
    each.has.emplace_back("--help'");
    expect_refused(each);
  }
  /// Every command that looks into a bus refuses `path`, naming it and all `parts`.
  void expect_every_command_to_refuse(const std::string& path, const Words& parts) {
    Words all = Words{path} + parts;
    const std::string frames = directory.file("frames");
    write_capture(frames, {arp_request()});
    const Words before = names_in(directory.path());
    std::string interface = "shmif:" + path;
    std::ranges::replace(interface, '/', ':');
    const auto refuses = [&](const Words& words, int status = 1) {
      SCOPED_TRACE(words[0]);
      expect_refusal(run_tool(words), all, status);
    };
    for (const BusLine& line : kBusLines) {
      if (line.command == "create") continue;  // it makes one
      const bool runs_another = line.command == "exec" || line.command == "enter";
      Words words = line.on(path);
      std::ranges::replace(words, "/dev/null", frames);
      refuses(words, runs_another ? 125 : 1);
    }
    refuses({"stat", path, "--json"});
    refuses({"--extcap-config", "--extcap-interface", interface});
    refuses({"bridge", "bus:" + path, "pcap:" + directory.file("capture.pcap")});
    EXPECT_EQ(names_in(directory.path()), before);
  }

  TempDir directory;
};

TEST_F(Refused, AWrongLineIsToldWhatIsWrongAndWhatToWrite) {
  make_bus();
  for (const RefusedLine& each : {
           RefusedLine{"", {"no command"}},
           {"creat", {"did you mean \"create\"?"}},
           {"frobnicate", {"unknown command \"frobnicate\""}},
           {"vhost-user", {"unknown command \"vhost-user\"", "read 'shmifctl bridge --help'"}},
           {"--log-levle=off stat x", {"did you mean --log-level?"}},
           {"stat $BUS --log-level loud", {"--log-level \"loud\""}},
           {"--log-level", {"--log-level needs a value"}},
           {"--verbose", {"unknown option --verbose"}},
           {"--debug", {"--debug needs a value"}},
           {"-- stat", {"no command given"}},
           {"help --man none", {"unknown command \"none\""}},
           {"stat --help=x $BUS", {"--help takes no value"}},
           {"exec $BUS --nmae x -- true", {"did you mean --name?"}},
           {"help value", {"did you mean \"values\"?"}},
           {"create --sise 4M x", {"did you mean --size?"}},
           // Parts that are missing, or too many.
           {"bridge bus:/x", {"(give LINK LINK)"}},
           {"create $NONE --size", {"--size needs a value"}},
           {"create $NONE --size 1M --size 2M", {"more than once"}},
           {"create $NONE --size --mtu 1500",
            {"--size needs a value, and --mtu is an option", "variable of your shell"}},
           {"create $NONE --size ~", {"--size \"\" is empty", "leave --size out"}},
           {"create $NONE --%x", {"write words that begin with '-' after \"--\""}},
           {"stat $BUS one two", {"\"one\" is one argument too many (give PATH"}},
           {"stat --json=false $BUS", {"--json takes no value"}},
           {"stop $BUS", {"NAME", "--port NAME", "--all"}},
           {"wait $BUS", {"--port NAME", "--tcp ADDRESS:PORT"}},
           {"wait $BUS --port x --from 198.18.0.1", {"--from needs --tcp"}},
           {"wait $BUS --tcp 198.18.0.1:80 --from x", {"--from", "\"x\""}},
           {"fault $BUS web ~", {"the faults are empty"}},
           {"down ~", {"\"\" names no lab"}},
           // A program belongs behind the dashes.
           {"exec $BUS ls -la", {"after \"--\": shmifctl exec $BUS -- ls -la"}},
           {"exec $BUS --ip 198.18.0.1/24 ping -c 3", {"after \"--\""}},
           {"exec $BUS --name two~words sh -c a~b",
            {"shmifctl exec $BUS --name 'two words' -- sh -c 'a b'"}},
           {"exec $BUS --ip 198.18.0.1/24 -v 1 sh -n x", {"unknown option -v"}},
           {"exec $BUS --", {"no program to run", "shmifctl exec "}},
           {"exec $BUS ls -- x", {"\"ls\" is one argument too many"}},
           {"enter $BUS web", {"no program to run", "shmifctl enter "}},
           // Values: what is wrong, and which can be.
           {"create $NONE --size 4X", {"--size \"4X\""}},
           {"create $NONE --mtu many", {"--mtu \"many\""}},
           {"create $NONE --mtu 9k", {"--mtu \"9k\" could be 9000 or 9216"}},
           {"create $NONE --mode 1000", {"--mode \"1000\"", "0 to 0777"}},
           {"create $NONE --mode 0400", {"--mode \"0400\"", "owner", "0600 to 0777"}},
           {"create $NONE --format bsd", {"--format \"bsd\"", "shmif or netbsd"}},
           {"create $NONE --format netbsd --size 1M", {"netbsd has one size", "leave --size out"}},
           {"create $NONE --patience 0.1", {"--patience needs --flow pause"}},
           {"wait $BUS --port a --timeout soon", {"--timeout \"soon\""}},
           {"top $BUS --interval 0", {"--interval \"0\"", "from 0.05 to 3600"}},
           {"top $BUS --sort size", {"--sort \"size\"", "loss, lag, tx, rx, name and slot"}},
           {"top $BUS -n 0", {"--count \"0\" is not a whole number of 1 or more;"}},
           {"inject $BUS x --loop y", {"--loop \"y\" is not a whole number;"}},
           {"ping $BUS --to 01:00:5e:00:00:01", {"group address", "leave out --to"}},
           {"exec $BUS --mac 01:00:00:00:00:01 -- true", {"unicast", "b2:a0:00:00:00:01"}},
           {"tap $BUS --mac nonsense", {"is not a MAC address"}},
           {"tap $BUS --mac 01:00:00:00:00:01", {"is not a unicast MAC address"}},
           {"exec $BUS --via tun -- true", {"--via \"tun\" is neither tap nor veth"}},
           {"exec $BUS --tap tap7 -- true", {"--tap tap7 needs --lan", "write --lan --tap tap7"}},
           {"exec $BUS --lan --bus /nil --tap tap7 -- true", {"one for each bus"}},
           {"exec $BUS --size 1M -- true", {"give --create, too"}},
           {"exec $BUS --mtu 1500 -- true", {"give --create, too"}},
           {"exec $BUS --flow pause -- true", {"give --create, too"}},
           {"exec $BUS --format shmif -- true", {"give --create, too"}},
           {"create $NONE --flow fast", {"--flow \"fast\"", "ethernet or pause"}},
           // A number whose unit decides.
           {"bridge --fault loss=1 bus:/x pcap:/y", {"1% or 100% (write loss=1% or loss=100%)"}},
           {"bridge --fault loss=1%,loss=2% bus:/x pcap:/y", {"loss is given twice"}},
           {"bridge --fault delay=5 bus:/x pcap:/y", {"write delay=5ms or delay=5s"}},
           {"bridge --fault rate=1MB bus:/x pcap:/y", {"write rate=1Mbit or rate=8Mbit"}},
           {"bridge $BUS bus:/x", {"did you mean bus:$BUS?"}},
           {"wait $NONE --tcp 198.18.0.1", {"the port is missing"}},
           {"wait $NONE --tcp fd00::1:80", {"an IPv6 address needs brackets"}},
           {"wait $NONE --tcp web:80", {"neither IPv4 nor IPv6"}},
           {"wait $NONE --tcp [fd00::x]:80", {"neither IPv4 nor IPv6"}},
           {"wait $NONE --tcp [fd00::1:80", {"needs brackets"}},
           {"wait $NONE --tcp 198.18.0.1:0", {"from 1 to 65535"}},
           {"bridge bus:$BUS nonsense", {"\"nonsense\"", "bus:PATH, tap:NAME, packet:IFNAME"}},
       }) {
    expect_wrong(each);
  }
  for (const char* command : {"audit", "create", "destroy", "repair", "stat", "tap", "top"}) {
    expect_wrong({command, {"(give PATH"}});
    expect_wrong({(std::string(command) + " /x b").c_str(), {"\"b\""}});
  }
  for (const char* cidr : {"198.18.0.1", "198.18.0.1/33", "198.18.0/24", "fd00::1/129",
                           "localhost/8", "198.18.0.0/24", "198.18.0.1/24,198.18.0.2/24"}) {
    expect_refused({(std::string("tap $BUS --ip ") + cidr).c_str(), {cidr}, "", 2});
  }
}

TEST_F(Refused, WhatCannotBeIsToldWithTheThingAndTheRemedy) {
  make_bus();
  write_file(directory.file("empty"), "");
  write_file(directory.file("letter"), "dear all");
  for (const RefusedLine& each : {
           // A bus that is not there, or cannot be.
           RefusedLine{"stat $NONE", {"$D/none", "No such file", "create"}},
           {"tap $NONE", {"No such file", "create"}},
           {"bridge bus:$NONE pcap:$D/x.pcap", {"No such file", "create"}},
           {"destroy $NONE", {"No such file", "check the path"}, "shmifctl create"},
           {"destroy bus:$BUS", {"write the path without \"bus:\""}},
           {"wait $NONE --port x --timeout 0.01", {"'shmifctl create $D/none"}, "shmifctl stat"},
           {"wait $NONE --tcp 198.18.0.1:80 --timeout 5ms",
            {"service 198.18.0.1:80 on bus", "within 5ms: there is no such bus"}},
           {"create ~", {"path is empty"}},
           {"stat ~", {"path is empty"}},
           {"exec ~ -- true", {"path is empty"}, "", 125},
           {"stat $D/empty", {"empty"}},
           {"create $D/letter", {"exists"}},
           {"create $BUS", {"exists"}},
           {"create $D/no/bus", {"No such file", "make the directory first"}},
           {"create /proc/shmif-bus", {"no new files", "/dev/shm"}, "make the directory"},
           {"tap /proc/shmif-bus --create", {"no new files", "/dev/shm"}, "make the directory"},
           {"create $NONE --size 65537",
            {"cannot create the bus", "power of two", "64K", "1G"},
            "",
            2},
           {"create $NONE --size 32K", {"power of two", "64K", "1G"}, "", 2},
           {"create $NONE --mtu 67", {"cannot create the bus", "68", "65521"}, "", 2},
           {"create $NONE --size 64K --mtu 65521", {"65521", "1M"}, "", 2},
           // A bus that is another one.
           {"bridge --create --mtu 9000 bus:$BUS pcap:$D/p", {"9000", "1500"}},
           {"bridge --create --size 128M bus:$BUS pcap:$D/p", {"134217728"}},
           {"bridge --create --flow pause bus:$BUS pcap:$D/p",
            {"exists with the flow ethernet", "pause was asked for"}},
           // Ports, interfaces and files.
           {"wait $BUS --port x --timeout 0.01", {"'shmifctl stat $BUS"}},
           {"stop $BUS nobody", {"host \"nobody\" on bus $BUS", "'shmifctl ps $BUS'"}},
           {"stop $BUS --port nobody", {"port \"nobody\" on bus $BUS", "'shmifctl stat $BUS'"}},
           {"dump $BUS --timeout 0 --name a~b", {"a b"}, "", 2},
           {"exec $BUS --name a~b -- true", {"without spaces (such as a_b)"}, "", 2},
           {"dump $BUS --timeout 0 --name nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", {"nnn"}, "", 2},
           {"bridge packet:no-such-if0 bus:$BUS", {"no-such-if0"}},
           {"bridge pcap:$D/missing bus:$BUS", {"$D/missing", "No such file"}},
           {"bridge pcap:$BUS bus:$BUS", {"$BUS"}},
           {"dump $BUS -w $D/no/x.pcap", {"no/x.pcap", "(make its directory first)"}},
           {"dump $BUS -w $D", {"name a file"}},
       }) {
    expect_refused(each);
  }
  EXPECT_TRUE(contains(
      run_tool({"dump", directory.file("bus"), "--port", "nobody", "--timeout", "0.01"}).err,
      "(attached: none)"));
  EXPECT_EQ(contents(directory.file("letter")), "dear all");
  EXPECT_EQ(run_tool({"audit", directory.file("bus")}).status, 0);
}

TEST_F(Refused, AFileThatIsNoBusByEachCommandThatLooksIntoOne) {
  const std::string version = run_tool({"--version"}).out;
  const std::string ours =
      version.substr(version.find("0x"), version.find(')') - version.find("0x"));
  const std::string letter(300'000, 'x');
  write_file(directory.file("letter"), letter);
  expect_every_command_to_refuse(directory.file("letter"), {"not a shmif bus"});
  expect_refusal(run_tool({"destroy", directory.file("letter"), "--force"}),
                 {"only a file that begins as"});
  EXPECT_EQ(contents(directory.file("letter")), letter);
  const std::string foreign = make_bus("foreign");
  std::string bytes = contents(foreign);
  const std::uint32_t theirs = 0x63000001;
  std::memcpy(bytes.data() + 8, &theirs, sizeof theirs);
  write_file(foreign, bytes);
  expect_every_command_to_refuse(foreign, {"0x63000001", ours});
  const std::string longer = make_bus("longer");
  std::filesystem::resize_file(longer, std::filesystem::file_size(longer) + 4096);
  expect_every_command_to_refuse(longer,
                                 {std::to_string(std::filesystem::file_size(longer)) + " bytes"});
  const std::string shorter = make_bus("shorter");
  std::filesystem::resize_file(shorter, std::filesystem::file_size(shorter) / 2);
  expect_every_command_to_refuse(shorter, {"truncated", "shmifctl destroy --force"});
  std::filesystem::resize_file(shorter, 100);
  expect_every_command_to_refuse(shorter, {});
  expect_every_command_to_refuse(directory.path(), {"not a regular file"});
  ASSERT_EQ(mkfifo(directory.file("fifo").c_str(), 0600), 0);
  expect_every_command_to_refuse(directory.file("fifo"), {"not a regular file"});
  std::filesystem::create_symlink(make_bus(), directory.file("link"));
  expect_every_command_to_refuse(directory.file("link"), {"symbolic link"});
  std::filesystem::create_symlink(directory.file("nowhere"), directory.file("dangling"));
  expect_refused({"create $D/dangling", {directory.file("dangling")}});
  EXPECT_FALSE(std::filesystem::exists(directory.file("nowhere")));
}

TEST_F(Refused, AnotherUserLooksAtWhatHeMayReadAndIsToldWhatHeMayNot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  if (!others_can_run_tool()) GTEST_SKIP() << "another user cannot run " << shmifctl_path();
  const std::string path = make_bus();
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  ASSERT_EQ(chmod(directory.path().c_str(), 0755), 0);
  const auto as_other = [&](Words arguments) {
    arguments.insert(arguments.begin(), {"setpriv", "--reuid", "1000", "--regid", "1000",
                                         "--clear-groups", shmifctl_path()});
    return run_program(arguments);
  };
  EXPECT_EQ(as_other({"stat", path}).status, 0);
  EXPECT_EQ(as_other({"audit", path}).status, 0);
  expect_refusal(as_other({"repair", path}), {path, "Permission denied"});
  expect_refusal(as_other({"create", directory.file("his")}),
                 {"Permission denied", "write permission"});
  EXPECT_FALSE(std::filesystem::exists(directory.file("his")));
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  expect_refusal(as_other({"stat", path}),
                 {path, "Permission denied", "mode 0000", "belongs to user 0", "chmod"});
  ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  struct stat node{};
  if (stat("/dev/net/tun", &node) != 0) GTEST_SKIP() << "no /dev/net/tun on this machine";
  if ((node.st_mode & 0006U) != 0) GTEST_SKIP() << "/dev/net/tun is open to everybody here";
  expect_refusal(as_other({"tap", path}), {"/dev/net/tun: Permission denied (", "exec"});
}

/// Runs a shell script in a mount namespace of its own, with the tool as $1 and the directory as
/// $2.
ToolResult in_mount_namespace(const std::string& script, const TempDir& directory) {
  return run_program(
      {"unshare", "--mount", "sh", "-c", script, "sh", shmifctl_path(), directory.path()});
}

TEST_F(Refused, AFileSizeLimitIsAnErrorAndNoSignal) {
  const auto limited = [](const std::string& bytes, Words arguments) {
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
  EXPECT_TRUE(contains(recorded.err, "File too large"));
  EXPECT_EQ(std::filesystem::file_size(capture), 24U + 4 * 1016) << "whole records only";
}

TEST_F(Refused, ACopiedBusIsRefused) {
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
    EXPECT_TRUE(contains(looked.err, copy + " is a copy")) << command;
    EXPECT_FALSE(contains(look(path).err, "warning")) << command;
  }
}

TEST_F(Refused, TapRefusesABadNameAndANamespaceThatIsNotThere) {
  if (access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/net/tun may not be opened";
  const std::string path = make_bus();
  expect_refusal(run_tool({"tap", path, "--name", "a-name-far-too-long"}), {"a-name-far-too-long"});
  // The kernel would take it for a pattern, and the device would have another name.
  expect_refusal(run_tool({"tap", path, "--name", "a%d"}), {"\"a%d\" is not a name"});
  expect_refusal(run_tool({"tap", path, "--name", "lo"}), {"TAP device lo", "loopback interface"});
  expect_refusal(run_tool({"tap", path, "--netns", "no-such-namespace"}), {"no-such-namespace"});
  expect_refusal(run_tool({"tap", path, "--netns", "999999999"}), {"999999999"});
}

TEST_F(Refused, WithoutItsDeviceOrProcACommandSaysSoAndMakesNoBus) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to hide /dev/net/tun and /proc";
  const std::string none = "mount -t tmpfs none /dev/net || exit 99\nexec \"$1\" ";
  const std::string other = "mount --bind /dev/null /dev/net/tun || exit 99\nexec \"$1\" ";
  const Parts not_tun = {"/dev/net/tun, which is not the TUN device here", "modprobe tun", "exec"};
  struct Hidden {
    std::string script;
    Parts words;
    int status = 77;
  };
  for (const auto& [script, words, status] : {
           Hidden{none + "tap \"$2/bus\" --create", {"/dev/net/tun", "exec"}},
           {none + "exec \"$2/bus\" --create --via tap -- true", {"/dev/net/tun", "veth"}},
           {other + "tap \"$2/bus\" --create", not_tun},
           {other + "bridge \"bus:$2/bus\" tap:t0 --create", not_tun},
           {other + "bridge tap:t0 \"bus:$2/bus\" --create", not_tun},
           {"mount -t tmpfs none /proc || exit 99\nexec \"$1\" exec \"$2/bus\" --create -- true",
            {"cannot map the ids", "/proc must be mounted"},
            125},
       }) {
    expect_refusal(in_mount_namespace(script, directory), words, status);
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

TEST(StopOfAPort, ThatDoesNotEndIsToldWhatHelps) {
  const BusRig rig;
  const StayingChild deaf([&] {
    std::signal(SIGTERM, SIG_IGN);
    PortOptions options;
    options.name = "deaf";
    static Port port(options);
    return bool{port.attach(rig.path())} && !port.up();
  });
  ASSERT_TRUE(deaf.works());
  const ToolResult kept = run_tool({"stop", rig.path(), "--port", "deaf", "--timeout", "5ms"});
  EXPECT_EQ(kept.status, 1);
  EXPECT_TRUE(contains(kept.err, "within 5ms of SIGTERM (--force"));
  const ToolResult killed =
      run_tool({"stop", rig.path(), "--port", "deaf", "--timeout", "5ms", "--force"});
  EXPECT_EQ(killed.status, 0) << killed.err;
  EXPECT_EQ(killed.err, "");
  EXPECT_EQ(run_tool({"wait", rig.path(), "--port", "deaf", "--timeout", "0"}).status, 1);
}

// Messages name a remedy that works: commands to copy, and what users of other programs look for.

/// The command that a message proposes within double quotation marks.
std::string proposed(const std::string& message) {
  const std::size_t begin = message.find("\"shmifctl ");
  const std::size_t end = message.find('"', begin + 1);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return message.substr(begin + 1, end - begin - 1);
}

/// Runs a line of a shell in which `shmifctl` is the one under test.
ToolResult paste(const std::string& line) {
  const std::string folder = std::filesystem::path(shmifctl_path()).parent_path();
  return run_program({"env", "PATH=" + folder + ":/usr/bin:/bin", "sh", "-c", line});
}

TEST(Remedies, CommandsWithAPathCanBePasted) {
  const TempDir directory;
  for (const std::string name : {"a bus", "it's", "$HOME", "a;b"}) {
    const std::string path = directory.file(name);
    const ToolResult missing = run_tool({"wait", path, "--port", "web", "--timeout", "0"});
    const std::string create = proposed(missing.err);
    EXPECT_TRUE(create.starts_with("shmifctl create ")) << missing.err;
    EXPECT_EQ(paste(create).status, 0) << create;
    EXPECT_TRUE(Bus::open(path)) << create;
    const ToolResult silent = run_tool({"wait", path, "--port", "web", "--timeout", "0"});
    const std::string stat = proposed(silent.err);
    EXPECT_TRUE(stat.starts_with("shmifctl stat ")) << silent.err;
    EXPECT_EQ(paste(stat).status, 0) << stat;
    const ToolResult nobody = run_tool({"stop", path, "--port", "web"});
    EXPECT_EQ(paste(proposed(nobody.err)).status, 0) << nobody.err;
  }
  const ToolResult plain = run_tool({"wait", directory.file("b"), "--port", "x", "--timeout", "0"});
  EXPECT_TRUE(contains(plain.err, "'shmifctl create " + directory.file("b") + "'"));
}

TEST(Remedies, HabitsOfOtherProgramsAreAnswered) {
  const BusRig rig;
  struct Case {
    Words words;
    std::string answer;
  };
  const std::string bus = rig.path(), link = "bus:" + rig.path();
  for (const auto& [words, answer] : {
           Case{{"dump", bus, "-r", "x.pcap"}, "tcpdump -r FILE"},
           Case{{"dump", bus, "-i", "eth0"}, "shmifctl dump PATH"},
           Case{{"dump", bus, "-vv"}, "-e prints addresses"},
           Case{{"dump", bus, "-X"}, "-x prints the bytes"},
           Case{{"dump", bus, "-l"}, "printed at once"},
           Case{{"dump", bus, "-U"}, "written at once"},
           Case{{"dump", bus, "-p"}, "always hears"},
           Case{{"ping", bus, "web"}, "--to web"},
           Case{{"ping", bus, "198.18.0.1"}, "-- ping 198.18.0.1"},
           Case{{"ping", bus, "--to", "198.18.0.1"}, "-- ping 198.18.0.1"},
           Case{{"exec", bus, "--delay=7ms", "--", "true"}, "--fault delay=7ms"},
           Case{{"exec", "--loss", bus, "--", "true"}, "--fault loss=5%"},
           Case{{"exec", bus, "--bandwidth", "1Mbit", "--", "true"}, "--fault rate=1Mbit"},
           Case{{"bridge", "--loss=2%", link, link}, "--fault loss=2%"},
           Case{{"fault", bus, "web", "--loss", "2%"}, "after the port: loss=2%"},
       }) {
    const ToolResult r = run_tool(words);
    EXPECT_EQ(r.status, 2) << r.err;
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, answer));
  }
  EXPECT_EQ(run_tool({"dump", bus, "-nn", "--timeout", "0"}).status, 0);
  const ToolResult directory = run_tool({"create", rig.file("")});
  EXPECT_EQ(directory.status, 1);
  EXPECT_TRUE(contains(directory.err, "is a directory (name a new file in it)"));
}

TEST(Remedies, FiltersThatMeanNothingOnABusAreRefused) {
  const BusRig rig;
  for (const std::string filter : {"inbound", "outbound", "arp and inbound", "ifindex 1"}) {
    const ToolResult r = run_tool({"dump", rig.path(), "--timeout", "0", filter});
    EXPECT_EQ(r.status, 2) << filter << ": " << r.err;
    EXPECT_TRUE(contains(r.err, '"' + filter + '"'));
  }
  for (const std::string filter : {"arp", "vlan 5", "ether[0] & 1 = 0", "greater 100"}) {
    EXPECT_EQ(run_tool({"dump", rig.path(), "--timeout", "0", filter}).status, 0) << filter;
  }
}

// SHMIF_BUS: the bus of a line that names none.

using Line = Words;

/// SHMIF_BUS while this exists, for this process and those that it starts. Otherwise no test has it
/// (tests/support/main.cpp).
class BusVariable {
 public:
  explicit BusVariable(const std::string& value) {
    ::setenv(tools::kBusVariable, value.c_str(), 1);
  }
  BusVariable(const BusVariable&) = delete;
  BusVariable& operator=(const BusVariable&) = delete;
  ~BusVariable() { ::unsetenv(tools::kBusVariable); }
};

std::string help_of(const std::string& command) {
  return run_tool({command, "--help"}).out;
}

TEST(DefaultBus, IsForEveryCommandThatBeginsWithABusButDestroy) {
  const std::string help = run_tool({"--help"}).out;
  EXPECT_TRUE(contains(help, "SHMIF_BUS"));
  std::istringstream lines(help.substr(help.find("\ncommands:\n") + 11));
  std::size_t found = 0;
  for (std::string line, command; std::getline(lines, line) && line.starts_with("  ");) {
    std::istringstream(line) >> command;
    if (command == "help") continue;
    const std::string text = help_of(command);
    const std::string usage = text.substr(0, text.find('\n'));
    const bool begins_with_bus =
        contains(usage, "[OPTION]... PATH") || contains(usage, "[OPTION]... LAB|PATH");
    const bool takes_it = begins_with_bus && command != "destroy";
    EXPECT_EQ(std::ranges::count(kBusLines, command, &BusLine::command), takes_it ? 1 : 0)
        << command << ": is it in bus_rig.hpp?";
    EXPECT_EQ(contains(text, "If PATH is left out"), takes_it) << text;
    found += takes_it ? 1U : 0U;
  }
  EXPECT_EQ(found, kBusLines.size());
}

TEST(DefaultBus, ThatIsNotThereIsRefusedWithItsOriginAndTheLackOfOneWithTheVariable) {
  const TempDir directory;
  const std::string none = directory.file("folder") + "/bus";
  write_capture(directory.file("frames"), {arp_request()});
  for (const auto& [command, rest, stays] : kBusLines) {
    SCOPED_TRACE(command);
    Line line = Line{command} + rest;
    std::ranges::replace(line, "/dev/null", directory.file("frames"));
    Line lacking{command};
    if (command == "exec" || command == "enter") lacking.insert(lacking.end(), {"--", "true"});
    {
      const BusVariable empty("");
      const ToolResult unset = run_tool(lacking);
      EXPECT_EQ(unset.status, 2);
      EXPECT_TRUE(contains(unset.err, "or set SHMIF_BUS and leave out the path"));
    }
    const BusVariable variable(none);
    const ToolResult refused = run_tool(line);
    EXPECT_TRUE(refused.status != 0 && refused.status != 2) << refused.err;
    const bool has_origin = contains(refused.err, none + " (from SHMIF_BUS)") ||
                            contains(refused.err, none + "\" (from SHMIF_BUS)");
    EXPECT_TRUE(has_origin) << refused.err;
    EXPECT_EQ(count_of_lines(refused.err), 1U) << refused.err;
  }
}

TEST(DefaultBus, IsTakenByLinesThatNameOnlyThePorts) {
  const BusRig rig;
  const Port web = rig.port("web"), db = rig.port("db");
  const BusVariable variable(rig.path());
  // These ports apply no changes: the answer is about the port, so the bus was found.
  for (const Line& line : {Line{"fault", "web", "loss=5%", "--timeout", "0.01"},
                           {"fault", "web", "--none", "--timeout", "0.01"},
                           {"link", "web", "--down", "--timeout", "0.01"},
                           {"partition", "web", "/", "db", "--timeout", "0.01"}}) {
    const ToolResult said = run_tool(line);
    EXPECT_EQ(said.status, 1);
    EXPECT_TRUE(contains(said.err + said.out, "web")) << said.err;
    EXPECT_FALSE(contains(said.err, "No such file"));
  }
  EXPECT_TRUE(contains(run_tool({"fault", "web"}).out, "port web: "));
  EXPECT_TRUE(contains(run_tool({"stop", "nobody"}).err, "cannot find host \"nobody\""));
  EXPECT_TRUE(contains(run_tool({"stat", "--json"}).out, "\"path\": \"" + rig.path() + '"'));
}

TEST(DefaultBus, ChangesNothingAboutALineThatNamesItsBus) {
  const BusRig rig, other;
  const Port web = rig.port("web"), far = other.port("far");
  const BusVariable variable(other.path());
  EXPECT_TRUE(contains(run_tool({"stat", rig.path()}).out, "web"));
  EXPECT_TRUE(contains(run_tool({"fault", rig.path(), "web"}).out, "port web: "));
  const ToolResult absent = run_tool({"stop", rig.path(), "far"});
  EXPECT_TRUE(contains(absent.err, "cannot find host \"far\" on bus " + rig.path() + ':'));
  // One word is the bus where others may follow.
  const ToolResult dump = run_tool({"dump", rig.file("tcp"), "--timeout", "0"});
  EXPECT_TRUE(contains(dump.err, rig.file("tcp") + ':'));
  for (const Line& line : {Line{"stop", "web", "db"}, {"dump", "tcp"}, {"serve", "lab"}}) {
    const ToolResult refused = run_tool(line);
    EXPECT_EQ(refused.status, 1) << line[0];
    EXPECT_FALSE(contains(refused.err, other.path()));
  }
  const ToolResult one_more = run_tool({"stat", rig.path(), "x"});
  EXPECT_TRUE(contains(one_more.err, "\"x\" is one argument too many"));
}

TEST(DefaultBus, IsNotRemovedByALineThatDoesNotNameIt) {
  const BusRig rig;
  const BusVariable variable(rig.path());
  const ToolResult refused = run_tool({"destroy"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.err,
            "shmifctl: destroy: too few arguments (give PATH); see 'shmifctl destroy --help'\n");
  EXPECT_TRUE(std::filesystem::exists(rig.path()));
}

TEST(DefaultBus, IsTheLinkWithoutAPath) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {arp_request()});
  const Line line{"bridge", "pcap:" + rig.file("in.pcap"), "bus:"};
  const ToolResult unset = run_tool(line);
  EXPECT_EQ(unset.status, 2);
  EXPECT_TRUE(contains(unset.err, "\"bus:\" is not a link (bus:PATH, "));
  EXPECT_TRUE(contains(unset.err, "; or set SHMIF_BUS)"));
  {
    const BusVariable variable(rig.path());
    const ToolResult carried = run_tool(line);
    EXPECT_EQ(carried.status, 0) << carried.err;
    EXPECT_EQ(Bus::open(rig.path()).value().info().frames, 1U);
  }
  const BusVariable wrong(rig.file("none"));
  EXPECT_TRUE(contains(run_tool(line).err, rig.file("none") + " (from SHMIF_BUS)"));
}

}  // namespace
}  // namespace shmif::test
