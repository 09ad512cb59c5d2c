// What a program in `shmifctl exec` can reach: everything in its own namespaces, and outside of
// them nothing that its caller could not.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

constexpr const char* kStranger = "65001";

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Setting {
  const char* name;
  bool as_stranger;
  const char* via;
};

std::ostream& operator<<(std::ostream& out, const Setting& setting) {
  return out << setting.name;
}

std::vector<Setting> settings() {
  if (geteuid() != 0) return {{"CallerViaVeth", false, "veth"}};
  return {{"RootViaTap", false, "tap"},
          {"RootViaVeth", false, "veth"},
          {"UserViaTap", true, "tap"},
          {"UserViaVeth", true, "veth"}};
}

class ExecGuest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    if (!tmpfs.missing().empty()) GTEST_SKIP() << tmpfs.missing();
    if (GetParam().as_stranger && !others_can_run_tool()) {
      GTEST_SKIP() << "another user cannot run " << shmifctl_path();
    }
    if (GetParam().via == std::string("tap")) open_tun_device();
    BusOptions options;
    options.mode = 0666;
    Bus::create(tmpfs.file("bus"), options).value();
    keep_descriptors();
    const ToolResult probe = run("true");
    if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
    ASSERT_EQ(probe.status, 0) << probe.err;
  }

  bool root() const { return geteuid() == 0 && !GetParam().as_stranger; }
  std::string file(const std::string& name) const { return tmpfs.file(name); }

  /// Runs a shell script as the host's program.
  ToolResult run(const std::string& script) const {
    Words words;
    if (GetParam().as_stranger) {
      words = {"setpriv", "--reuid", kStranger, "--regid", kStranger, "--clear-groups"};
    }
    for (const std::string& word :
         {shmifctl_path(), std::string("exec"), tmpfs.file("bus"), std::string("--via"),
          std::string(GetParam().via), std::string("--"), std::string("sh"), std::string("-c"),
          script}) {
      words.push_back(word);
    }
    return run_program(words);
  }
  std::string print(const std::string& script) const {
    const ToolResult said = run(script);
    EXPECT_EQ(said.status, 0) << script << '\n' << said.out << said.err;
    return said.out;
  }
  /// Whether a command fails in there.
  void expect_refused(const std::string& command) const {
    EXPECT_NE(run("{ " + command + "; } >/dev/null 2>&1").status, 0) << command;
  }
  void expect_works(const std::string& command) const {
    const ToolResult said = run(command);
    EXPECT_EQ(said.status, 0) << command << '\n' << said.err;
  }

  OwnTmpfs tmpfs{"size=32m,mode=0755"};

 private:
  /// What the test was started with must not count as a leak.
  static void keep_descriptors() {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
      const int fd = std::stoi(entry.path().filename());
      if (fd > STDERR_FILENO) fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }
  /// An ordinary user gets a node that may be opened, in this mount namespace.
  void open_tun_device() const {
    const std::string node = tmpfs.file("tun");
    if (mknod(node.c_str(), S_IFCHR | 0666, makedev(10, 200)) == 0) {
      static_cast<void>(chmod(node.c_str(), 0666));
      static_cast<void>(mount(node.c_str(), "/dev/net/tun", nullptr, MS_BIND, nullptr));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Of, ExecGuest, ::testing::ValuesIn(settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecGuest, HasTheThreeStandardDescriptorsAndNoOther) {
  EXPECT_EQ(print("i=0; while test $i -lt 1024; do test -L /proc/$$/fd/$i && echo $i; i=$((i+1)); "
                  "done; true"),
            "0\n1\n2\n");
}

TEST_P(ExecGuest, HasEveryCapabilityAndNeverGainsAPrivilege) {
  const std::string status = print("cat /proc/self/status");
  const int last = std::stoi(contents("/proc/sys/kernel/cap_last_cap"));
  std::array<char, 17> all{};
  static_cast<void>(std::snprintf(all.data(), all.size(), "%016llx", (2ULL << last) - 1));
  for (const char* set : {"CapEff:\t", "CapBnd:\t", "CapPrm:\t"}) {
    EXPECT_TRUE(contains(status, set + std::string(all.data())));
  }
  EXPECT_TRUE(contains(status, "NoNewPrivs:\t1"));
}

TEST_P(ExecGuest, LivesInNamespacesOfItsOwn) {
  for (const char* kind : {"user", "pid", "net", "mnt", "ipc", "uts"}) {
    const std::string inside = print(std::string("readlink /proc/self/ns/") + kind);
    const std::string outside =
        std::filesystem::read_symlink(std::string("/proc/self/ns/") + kind).string() + '\n';
    EXPECT_NE(inside, outside) << kind;
  }
}

TEST_P(ExecGuest, HasNoIdMappedThatItsCallerCouldNotBe) {
  for (const char* kind : {"uid", "gid"}) {
    std::istringstream map(print(std::string("cat /proc/self/") + kind + "_map"));
    std::uint64_t inside = 0;
    std::uint64_t outside = 0;
    std::uint64_t count = 0;
    unsigned lines = 0;
    while (map >> inside >> outside >> count) {
      ++lines;
      if (root()) {
        EXPECT_EQ(inside, outside) << "root may be anybody, and is the same one inside";
      } else {
        EXPECT_EQ(count, 1U);
        EXPECT_EQ(std::to_string(outside),
                  GetParam().as_stranger ? kStranger : std::to_string(geteuid()));
      }
    }
    EXPECT_EQ(lines, root() ? lines : 1U);
    EXPECT_GT(lines, 0U);
  }
}

TEST_P(ExecGuest, WritesOnlyWhereItsCallerMay) {
  const std::string closed = file("closed");
  const std::string open = file("open");
  std::filesystem::create_directory(open);
  ASSERT_EQ(chmod(open.c_str(), 0777), 0);
  std::ofstream(closed) << "secret";
  ASSERT_EQ(chmod(closed.c_str(), 0600), 0);
  expect_works("echo mine > " + open + "/mine");
  struct stat made{};
  ASSERT_EQ(stat((open + "/mine").c_str(), &made), 0);
  EXPECT_EQ(std::to_string(made.st_uid),
            GetParam().as_stranger ? kStranger : std::to_string(geteuid()));
  expect_refused("mknod " + open + "/disk b 254 0");
  if (GetParam().as_stranger) {
    expect_refused("cat " + closed);
    expect_refused("echo x > " + closed);
    expect_refused("chown 0:0 " + closed);
    expect_refused("rm -f " + closed);
    expect_refused("chmod 777 " + tmpfs.path());
    expect_refused("echo x > " + file("new"));
  }
  EXPECT_EQ(contents(closed), "secret");
}

TEST_P(ExecGuest, NeitherSeesNorReachesOuterProcesses) {
  // Of the same user, so nothing but the namespace is between them.
  Words line{"sleep", "61.25"};
  if (GetParam().as_stranger) {
    line.insert(line.begin(),
                {"setpriv", "--reuid", kStranger, "--regid", kStranger, "--clear-groups"});
  }
  const Tool outer(line);
  const std::string pid = std::to_string(outer.pid());
  EXPECT_EQ(print("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 61[.]25'; true"),
            "0\n");
  // By its number it is not there either, unless the number means a process of the guest.
  EXPECT_EQ(print("grep -c . /proc/" + pid + "/environ 2>/dev/null; true"), "");
  expect_refused("kill -0 " + pid);
  EXPECT_EQ(kill(outer.pid(), 0), 0);
}

TEST_P(ExecGuest, MountsInItsOwnNamespaceOnly) {
  const std::string place = file("place");
  std::filesystem::create_directory(place);
  std::ofstream(place + "/there").close();
  expect_works("mount -t tmpfs none " + place + " && ! test -e " + place + "/there");
  EXPECT_TRUE(std::filesystem::exists(place + "/there"));
  EXPECT_FALSE(contains(contents("/proc/self/mountinfo"), place + ' '));
  // What shows the machine, or is a disk, takes a capability over the machine.
  expect_refused("mount -t debugfs none " + place);
}

TEST_P(ExecGuest, ConfiguresItsOwnNetworkOnly) {
  const std::string before = run_program({"ip", "-o", "addr", "show", "dev", "lo"}).out;
  const std::string forward = contents("/proc/sys/net/ipv4/ip_forward");
  const std::string opposite = forward == "1\n" ? "0\n" : "1\n";
  EXPECT_EQ(print("PATH=$PATH:/sbin:/usr/sbin; ip addr add 198.18.77.1/32 dev lo && "
                  "ip link set lo mtu 4321 && echo " +
                  opposite.substr(0, 1) +
                  " > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward "
                  "/sys/class/net/lo/mtu"),
            opposite + "4321\n");
  EXPECT_EQ(run_program({"ip", "-o", "addr", "show", "dev", "lo"}).out, before);
  EXPECT_EQ(contents("/proc/sys/net/ipv4/ip_forward"), forward);
}

TEST_P(ExecGuest, ChangesItsOwnHostNameAndNoSettingOfTheMachine) {
  const std::string name = contents("/proc/sys/kernel/hostname");
  EXPECT_EQ(print("hostname guest; cat /proc/sys/kernel/hostname"), "guest\n");
  if (root()) {  // whose file it is
    EXPECT_EQ(print("echo again > /proc/sys/kernel/hostname; hostname"), "again\n");
  }
  EXPECT_EQ(contents("/proc/sys/kernel/hostname"), name);
  // Each would get the value that it has already.
  for (const char* setting :
       {"/proc/sys/vm/swappiness", "/proc/sys/kernel/panic", "/proc/sys/fs/file-max",
        "/sys/kernel/mm/ksm/run", "/sys/kernel/profiling"}) {
    if (access(setting, F_OK) != 0) continue;
    expect_refused(std::string("v=$(cat ") + setting + "); echo \"$v\" > " + setting);
  }
  expect_refused(": > /proc/sysrq-trigger");
  expect_refused("date -s @$(date +%s)");
  expect_refused("dmesg -C");
}

// shmifctl in a sandbox of bubblewrap that has no network, no /dev/net/tun and no other processes.

using Line = Words;

std::vector<ExecSetting> sandbox_settings() {
  if (::geteuid() != 0) return {{false, "veth", "Caller"}};
  return {{false, "veth", "Root"}, {true, "veth", "User", "666"}};
}

class Sandbox : public ExecRig {
 protected:
  void SetUp() override {
    if (!has_program("bwrap")) GTEST_SKIP() << "bubblewrap is not installed";
    const ToolResult probe = run_program(sandboxed({"true"}));
    if (probe.status != 0) GTEST_SKIP() << "no namespaces here: " << probe.err;
    ExecRig::SetUp();
  }
  /// The command line of a program that sees all files of the machine, and may write to those of
  /// the test.
  Line sandboxed(Line words, const Line& more = {}) const {
    Line all = {"bwrap",
                "--unshare-all",
                "--die-with-parent",
                "--ro-bind",
                "/",
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--bind",
                file("."),
                file(".")};
    all.insert(all.end(), more.begin(), more.end());
    all.insert(all.end(), words.begin(), words.end());
    return by_caller(std::move(all));
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Sandbox, ::testing::ValuesIn(sandbox_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Sandbox, NeedsOnlyTheFileOfTheBusToSendAndReceive) {
  const auto host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const ToolResult pinged = run_program(
      sandboxed({shmifctl_path(), "ping", bus(), "--to", "a", "-c", "2", "--timeout", "100"}));
  EXPECT_EQ(pinged.status, 0) << pinged.err;
  EXPECT_TRUE(contains(pinged.out, "2 answered, 0 lost"));

  Tool dump(sandboxed({shmifctl_path(), "dump", bus(), "-c", "1", "icmp"}));
  ASSERT_TRUE(eventually([&] { return Bus::open(bus()).value().info().ports.size() == 2; }));
  EXPECT_EQ(
      run({"ping", "-q", "-c", "1", "-w", "20", "198.18.0.1"}, {"--ip", "198.18.0.2/24"}).status,
      0);
  const ToolResult dumped = dump.finish();
  EXPECT_TRUE(contains(dumped.out, "198.18.0.2 > 198.18.0.1: ICMP echo request")) << dumped.err;
}

TEST_P(Sandbox, SharesASocketOfItsBridgeWithTheOutside) {
  const std::string far = bus("far");
  const auto near_host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  Tool inside(sandboxed({shmifctl_path(), "bridge", "bus:" + bus(), "stream:" + file("s")}));
  ASSERT_TRUE(inside.wait_for("ready"));
  Tool outside(by_caller({shmifctl_path(), "bridge", "bus:" + far, "stream:connect=" + file("s")}));
  const ToolResult pinged = run_program(
      by_caller({shmifctl_path(), "exec", far, "--via", "veth", "--ip", "198.18.0.2/24", "--",
                 "ping", "-q", "-c", "2", "-i", "0.2", "-w", "20", "198.18.0.1"}));
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err << inside.so_far().err
                              << outside.so_far().err;
}

TEST_P(Sandbox, HostsInItHaveVethPairs) {
  const auto host = start("a", "sleep 600", {"--ip", "198.18.0.1/24"});
  const ToolResult pinged =
      run_program(sandboxed({shmifctl_path(), "exec", bus(), "--ip", "198.18.0.2/24", "--", "ping",
                             "-q", "-c", "2", "-i", "0.2", "-w", "20", "198.18.0.1"}));
  EXPECT_EQ(pinged.status, 0) << pinged.out << pinged.err;
}

TEST_P(Sandbox, WhatNeedsATapDeviceSaysSoAndWhatToDoInstead) {
  const auto said = [&](const Line& options, const Line& more = {}) {
    Line words = {shmifctl_path(), "exec", bus()};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "true"});
    return run_program(sandboxed(words, more));
  };
  const ToolResult tap = said({"--via", "tap"});
  EXPECT_EQ(tap.status, 77);
  EXPECT_TRUE(contains(tap.err, "/dev/net/tun"));
  EXPECT_TRUE(contains(tap.err, "a veth pair needs no device node"));
  const ToolResult lan = said({"--lan", "--tap", "tap0"});
  EXPECT_EQ(lan.status, 77);
  EXPECT_TRUE(contains(lan.err, "pass the device into the container"));
  EXPECT_TRUE(contains(lan.err, "shmifctl bridge"));
  // The remedy that it names.
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device here";
  const ToolResult passed =
      said({"--lan", "--tap", "tap0"}, {"--dev-bind", "/dev/net/tun", "/dev/net/tun"});
  EXPECT_EQ(passed.status, 0) << passed.err;
  const ToolResult closed = said({}, {"--unshare-user", "--disable-userns"});
  EXPECT_EQ(closed.status, 77);
  EXPECT_TRUE(contains(closed.err, "/proc/sys/user/max_*_namespaces"));
}

// A bus on file systems where none can live, where it may only be read, and where there is too
// little room. Every one is a real mount, in a mount namespace of its own.

/// A mount namespace that lives as long as this object, with what `script` has mounted in it. It
/// has a network namespace beside it, so that a TAP device is not refused first.
class MountNamespace {
 public:
  enum class Owner { anybody, root };  ///< who may mount it: anybody does so in a user namespace

  /// `script` runs in `directory`; a line that begins with "no " is the reason why it cannot mount.
  MountNamespace(const std::string& script, const TempDir& directory,
                 Owner owner = Owner::anybody) {
    if (owner == Owner::root && geteuid() != 0) {
      missing_ = "needs root, to mount this";
      return;
    }
    if (owner == Owner::anybody) enter_.emplace_back("--user");
    Words words = {"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"};
    if (owner == Owner::anybody) words.insert(words.end(), {"--user", "--map-root-user"});
    words.insert(words.end(), {"sh", "-c", "cd \"$1\"\n" + script + "\necho mounted\nsleep 600",
                               "sh", directory.path()});
    holder_.emplace(std::move(words));
    if (holder_->wait_for("mounted")) return;
    const ToolResult said = holder_->finish();
    missing_ = said.out.rfind("no ", 0) == 0
                   ? said.out + said.err
                   : "user namespaces with mounts cannot be made here: " + said.err;
  }

  /// Why there is no such mount here; empty: there is.
  const std::string& missing() const { return missing_; }

  ToolResult run(Words words) const {
    Words all = {"nsenter", "--target", std::to_string(holder_->pid()), "--mount", "--net"};
    if (!enter_.empty()) all.insert(all.end(), {"--user", "--preserve-credentials"});
    all.insert(all.end(), words.begin(), words.end());
    return run_program(std::move(all));
  }
  ToolResult tool(Words words) const {
    words.insert(words.begin(), shmifctl_path());
    return run(std::move(words));
  }
  /// The names in a directory as seen in there, one per line.
  std::string names(const std::string& path) const { return run({"ls", "-A", path}).out; }

 private:
  Words enter_;
  std::optional<Tool> holder_;
  std::string missing_;
};

constexpr const char* kOverlay =
    "mkdir -p lower upper work seen\n"
    "mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work seen 2>&1 ||\n"
    "  { echo no overlay file system here; exit; }";
constexpr const char* kFuse =
    "mkdir -p lower seen\n"
    "command -v bindfs >/dev/null || { echo no bindfs here; exit; }\n"
    "[ -w /dev/fuse ] || { echo no FUSE device that may be opened; exit; }\n"
    "bindfs -f lower seen &\n"
    "until mountpoint -q seen; do kill -0 $! || { echo no FUSE mount; exit; }; sleep 0.01; done";

/// A bus that was made in "lower" and is seen on a poor file system in "seen".
class Mounts : public ::testing::Test {
 protected:
  Mounts() {
    std::filesystem::create_directory(directory.file("lower"));
    EXPECT_EQ(run_tool({"create", directory.file("lower/bus"), "--size", "64K"}).status, 0);
  }

  /// Nobody gets a bus in "seen", or a port on the one there, and nothing is left of the attempt.
  void expect_no_bus_and_no_port(const MountNamespace& ns, const std::string& file_system) const {
    const std::string before = ns.names(seen(""));
    const std::string fresh = seen("fresh");
    const std::string bus = seen("bus");
    const std::string capture = directory.file("capture.pcap");
    const Words why = {"on " + file_system, "/dev/shm"};
    const auto refused = [&](const std::string& path, const Words& words, int status = 1) {
      SCOPED_TRACE(words[0] + " " + path);
      Words parts = why;
      parts.push_back(path);
      expect_refusal(ns.tool(words), parts, status);
    };
    refused(fresh, {"create", fresh});
    refused(fresh, {"exec", fresh, "--create", "--", "true"}, 125);
    refused(fresh, {"bridge", "--create", "bus:" + fresh, "pcap:" + capture});
    refused(bus, {"exec", bus, "--", "true"}, 125);
    refused(bus, {"exec", bus, "--create", "--", "true"}, 125);
    refused(bus, {"bridge", "bus:" + bus, "pcap:" + capture});
    refused(bus, {"ping", bus, "-c", "1"});
    refused(bus, {"repair", bus});
    if (access("/dev/net/tun", R_OK | W_OK) == 0) {
      refused(fresh, {"tap", fresh, "--create"});
      refused(bus, {"tap", bus});
    }
    EXPECT_EQ(ns.names(seen("")), before);
    EXPECT_FALSE(std::filesystem::exists(capture));
  }

  /// Who only looks is warned and goes on.
  void expect_looks_with_a_warning(const MountNamespace& ns, const std::string& file_system) const {
    const std::string bus = seen("bus");
    const std::string warning =
        "shmif: warning: the bus " + bus + " is on " + file_system + ": processes may see";
    for (const Words& words : std::vector<Words>{{"stat", bus},
                                                 {"stat", bus, "--json"},
                                                 {"audit", bus},
                                                 {"dump", bus, "--timeout", "0"},
                                                 {"dump", bus, "--history", "--timeout", "0"}}) {
      SCOPED_TRACE(words[0]);
      const ToolResult looked = ns.tool(words);
      EXPECT_EQ(looked.status, 0) << looked.err;
      EXPECT_EQ(looked.err.rfind(warning, 0), 0U) << looked.err;
    }
  }

  /// A live port looks dead there, so nobody takes the bus away from it by mistake.
  void expect_destroy_wants_force(const MountNamespace& ns, const std::string& file_system) const {
    Port port({.name = "alive"});
    ASSERT_TRUE(port.attach(directory.file("lower/bus")));
    expect_refusal(ns.tool({"destroy", seen("bus")}), {seen("bus"), file_system, "--force"});
    EXPECT_TRUE(contains(ns.names(seen("")), "bus\n"));
    EXPECT_EQ(ns.tool({"destroy", seen("bus"), "--force"}).status, 0);
    EXPECT_FALSE(contains(ns.names(seen("")), "bus\n"));
  }

  std::string seen(const std::string& name) const { return directory.file("seen/" + name); }

  TempDir directory;
};

TEST_F(Mounts, OnAnOverlayNobodyGetsABusOrAPortAndWhoLooksIsWarned) {
  const MountNamespace ns(kOverlay, directory);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  expect_no_bus_and_no_port(ns, "overlay");
  expect_looks_with_a_warning(ns, "overlay");
  EXPECT_EQ(names_in(directory.file("upper")), Words{});
  expect_destroy_wants_force(ns, "overlay");
}

TEST_F(Mounts, OnFuseNobodyGetsABusOrAPortAndWhoLooksIsWarned) {
  const MountNamespace ns(kFuse, directory);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  expect_no_bus_and_no_port(ns, "fuse");
  expect_looks_with_a_warning(ns, "fuse");
  EXPECT_EQ(names_in(directory.file("lower")), Words{"bus"});
  expect_destroy_wants_force(ns, "fuse");
}

TEST_F(Mounts, HugePagesAreNoPlaceForABus) {
  const MountNamespace ns(
      "mkdir seen; mount -t hugetlbfs none seen || echo no hugetlbfs file system here", directory,
      MountNamespace::Owner::root);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  expect_refusal(ns.tool({"create", seen("fresh")}),
                 {seen("fresh"), "on hugetlbfs", "huge pages", "/dev/shm"});
  EXPECT_EQ(ns.names(seen("")), "");
}

TEST_F(Mounts, OnADiskTheBusWorksAndWhoMakesItOrAttachesIsWarnedOnce) {
  const MountNamespace ns(
      "mkdir seen; truncate -s 8M image; mkfs.ext4 -q image && mount -o loop image seen ||\n"
      "  { echo no loop mounts here; exit; }",
      directory, MountNamespace::Owner::root);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  const auto warning = [&](const std::string& bus) {
    return "shmif: warning: the bus " + seen(bus) +
           " is on ext4, not on tmpfs: the kernel will write its pages to disk (better under "
           "/dev/shm)\n";
  };
  const auto warned_once = [&](const std::string& bus, const Words& words) {
    SCOPED_TRACE(words[0]);
    const ToolResult result = ns.tool(words);
    EXPECT_EQ(result.status, 0);
    const std::size_t at = result.err.find(warning(bus));
    ASSERT_NE(at, std::string::npos) << result.err;
    EXPECT_EQ(result.err.find("not on tmpfs", at + warning(bus).size()), std::string::npos)
        << result.err;
  };
  warned_once("bus", {"create", seen("bus"), "--size", "64K"});
  warned_once("bus", {"exec", seen("bus"), "--", "true"});
  warned_once("new", {"exec", seen("new"), "--create", "--size", "64K", "--", "true"});
  warned_once("rump", {"create", seen("rump"), "--format", "netbsd"});
  warned_once("rump", {"dump", seen("rump"), "--timeout", "0"});
  // One bus under three paths, for one process with three ports on it.
  std::filesystem::create_directory_symlink("seen", directory.file("way"));
  const ToolResult thrice =
      ns.run({"env", "-C", directory.path(), shmifctl_path(), "exec", "seen/bus", "--bus",
              directory.file("way/bus"), "--bus", directory.file("seen/./bus"), "--", "true"});
  EXPECT_EQ(thrice.status, 0);
  const std::size_t first = thrice.err.find("the bus seen/bus is on ext4, not on tmpfs");
  ASSERT_NE(first, std::string::npos) << thrice.err;
  EXPECT_EQ(thrice.err.find(" is on ext4", first + 40), std::string::npos) << thrice.err;
  // These have no port on the bus, so they are not slower there.
  EXPECT_EQ(ns.tool({"stat", seen("bus")}).err, "");
  EXPECT_EQ(ns.tool({"repair", seen("bus")}).err, "");
  // Half of what is left is not enough.
  expect_refusal(ns.tool({"create", seen("large"), "--size", "16M"}),
                 {seen("large"), "No space left", "smaller --size"});
}

TEST_F(Mounts, ATmpfsWithTooLittleRoomIsAnErrorOfCreateAndKeepsNothing) {
  const MountNamespace ns("mkdir seen; mount -t tmpfs -o size=512k none seen; : >seen/empty",
                          directory);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  const Words why = {"No space left on device (free some space", "--size"};
  expect_refusal(ns.tool({"create", seen("bus")}), why);
  expect_refusal(ns.tool({"exec", seen("bus"), "--create", "--", "true"}), why, 125);
  expect_refusal(ns.tool({"exec", seen("empty"), "--create", "--", "true"}), why, 125);
  EXPECT_EQ(ns.names(seen("")), "empty\n");
  EXPECT_EQ(ns.run({"stat", "-c", "%s %b", seen("empty")}).out, "0 0\n");
  EXPECT_EQ(ns.tool({"create", seen("bus"), "--size", "128K"}).status, 0) << "the room is free";
}

TEST_F(Mounts, AReadOnlyMountIsEnoughToLookAndListenAndForNothingElse) {
  const MountNamespace ns(
      "mkdir seen; mount --bind lower seen && mount -o remount,bind,ro seen || exit", directory);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  const std::string bus = seen("bus");
  const std::string why = "Read-only file system";
  expect_refusal(ns.tool({"create", seen("fresh")}), {seen("fresh"), why, "/dev/shm"});
  expect_refusal(ns.tool({"exec", bus, "--", "true"}), {bus, why, "must write"}, 125);
  expect_refusal(ns.tool({"ping", bus}), {bus, why, "must write"});
  expect_refusal(ns.tool({"repair", bus}), {bus, why, "must write"});
  expect_refusal(ns.tool({"destroy", bus}), {bus, why});

  Port port({.name = "alive"});
  ASSERT_TRUE(port.attach(directory.file("lower/bus")));
  ASSERT_FALSE(port.up());
  send(port, {make_frame(60, 1), make_frame(60, 2)});
  EXPECT_EQ(ns.tool({"wait", bus, "--port", "alive", "--timeout", "0"}).status, 0);
  EXPECT_TRUE(contains(ns.tool({"stat", bus}).out, "alive"));
  EXPECT_EQ(ns.tool({"audit", bus}).err, "");
  const ToolResult heard = ns.tool({"dump", bus, "--history", "-c", "2"});
  EXPECT_EQ(heard.status, 0);
  EXPECT_EQ(heard.err, "2 frames captured, 0 filtered out, 0 lost\n");
}

TEST(Chroot, IsNamedAsTheReasonWhyThereIsNoHost) {
  const TempDir directory;
  // Mounts the root directory a second time, and mounts its directories below a plain directory.
  const MountNamespace ns(
      "mkdir moved plain && mount --rbind / moved\n"
      "for each in /*; do\n"
      "  if [ -L \"$each\" ]; then cp -P \"$each\" plain/\n"
      "  elif [ -d \"$each\" ]; then mkdir \"plain$each\" && mount --rbind \"$each\" "
      "\"plain$each\"\n"
      "  fi\n"
      "done",
      directory);
  if (!ns.missing().empty()) GTEST_SKIP() << ns.missing();
  ASSERT_EQ(run_tool({"create", directory.file("bus"), "--size", "64K"}).status, 0);
  for (const char* root : {"moved", "plain"}) {
    SCOPED_TRACE(root);
    for (const char* via : {"veth", "tap"}) {
      const ToolResult tried = ns.run({"/usr/sbin/chroot", directory.file(root), shmifctl_path(),
                                       "exec", directory.file("bus"), "--via", via, "--", "true"});
      EXPECT_EQ(tried.status, 77) << tried.err;
      EXPECT_TRUE(contains(tried.err,
                           "cannot make the host's namespaces: Operation not permitted (this "
                           "is a chroot"));
    }
  }
}

// Real programs on hosts: captures, routing daemons, DHCP.

/// What an ordinary user's PATH lacks.
const std::string kPath = "PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr; ";

using ExecPrograms = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecPrograms, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(ExecPrograms, ZebraStartsAndKnowsTheInterfaces) {
  if (!has_program("zebra")) GTEST_SKIP() << "no zebra here";
  const ToolResult shown = run_shell(
      kPath +
          "zebra -d > /run/zebra.txt 2>&1 || { cat /run/zebra.txt; exit 1; }; "
          "for i in $(seq 200); do vtysh -c 'show interface tap0' 2> /dev/null | grep -q inet && "
          "break; sleep 0.02; done; vtysh -c 'show interface tap0' 2> /dev/null",
      {"--ip", "198.18.0.1/24"});
  EXPECT_EQ(shown.status, 0) << shown.out << shown.err;
  EXPECT_TRUE(contains(shown.out, "inet 198.18.0.1/24"));
}

class ExecDhcp : public ExecRig {
 protected:
  std::unique_ptr<Tool> start_server() const {
    auto server = start("dhcp",
                        kPath +
                            "exec dnsmasq --no-daemon --log-dhcp --port=0 --interface=tap0 "
                            "--bind-interfaces --no-resolv --no-hosts --conf-file=/dev/null "
                            "--dhcp-range=198.18.0.100,198.18.0.150,1h "
                            "--dhcp-option=option:dns-server,198.18.0.1",
                        {"--ip", "198.18.0.1/24"});
    EXPECT_TRUE(server->wait_for("DHCP, IP range"));
    return server;
  }
  static std::string resolv_conf() {
    std::ifstream file("/etc/resolv.conf");
    return {std::istreambuf_iterator<char>(file), {}};
  }
};
INSTANTIATE_TEST_SUITE_P(Each, ExecDhcp, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

constexpr const char* kShowLease =
    "; ip -4 -o addr show dev tap0; cat /etc/resolv.conf; ping -q -c 1 -W 60 198.18.0.1 && echo "
    "reached";

TEST_P(ExecDhcp, ClientsGetAnAddressAndANameServerFromDnsmasq) {
  if (!has_program("dnsmasq")) GTEST_SKIP() << "no dnsmasq here";
  const std::string before = resolv_conf();
  const auto server = start_server();
  for (const auto& [program, line] : {std::pair{"udhcpc", "udhcpc -i tap0 -n -q -t 60 -T 2"},
                                      {"dhclient", "dhclient -1 -v tap0"}}) {
    if (!has_program(program)) GTEST_SKIP() << "no " << program << " here";
    const ToolResult leased = run_shell(kPath + line + " 2>&1" + kShowLease);
    EXPECT_TRUE(contains(leased.out, "inet 198.18.0.1")) << leased.err;
    EXPECT_TRUE(contains(leased.out, "nameserver 198.18.0.1"));
    EXPECT_TRUE(contains(leased.out, "reached"));
    EXPECT_EQ(resolv_conf(), before) << "the outer file is nobody's business in there";
  }
}

}  // namespace
}  // namespace shmif::test
