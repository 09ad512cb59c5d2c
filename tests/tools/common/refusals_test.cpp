// What goes wrong, and what shmifctl says then: one line that names what was tried, on what, why it
// failed and what to do; and nothing is left half made.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_lines.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"

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
           {"exec $BUS --via tun -- true", {"--via \"tun\" is neither tap nor veth"}},
           {"exec $BUS --tap tap7 -- true", {"--tap tap7 needs --lan", "write --lan --tap tap7"}},
           {"exec $BUS --lan --bus /nil --tap tap7 -- true", {"one for each bus"}},
           {"exec $BUS --size 1M -- true", {"give --create, too"}},
           // A number whose unit decides.
           {"bridge --fault loss=1 bus:/x pcap:/y", {"1% or 100% (write loss=1% or loss=100%)"}},
           {"bridge --fault loss=1%,loss=2% bus:/x pcap:/y", {"loss is given twice"}},
           {"bridge --fault delay=5 bus:/x pcap:/y", {"write delay=5ms or delay=5s"}},
           {"bridge --fault rate=1MB bus:/x pcap:/y", {"write rate=1Mbit or rate=8Mbit"}},
           {"bridge $BUS bus:/x", {"did you mean bus:$BUS?"}},
           {"wait $NONE --tcp 198.18.0.1", {"the port is missing"}},
           {"wait $NONE --tcp fd00::1:80", {"an IPv6 address needs brackets"}},
           {"wait $NONE --tcp web:80", {"neither IPv4 nor IPv6"}},
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

}  // namespace
}  // namespace shmif::test
