// A bus on file systems where none can live, where it may only be read, and where there is too
// little room. Every one is a real mount, in a mount namespace of its own.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/common/refusal.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
