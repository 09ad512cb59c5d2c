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
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/own_namespaces.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/common/bus_rig.hpp"

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

}  // namespace
}  // namespace shmif::test
