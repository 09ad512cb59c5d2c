// The files that a guest finds: the state of daemons, /etc/resolv.conf, and mounts of the outer
// world. Each test gives the supervisor a mount namespace with contents of the test's own.

#include <sys/mount.h>

#include <algorithm>
#include <filesystem>

#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

constexpr const char* kNeedsRoot = "needs root: has mounts of its own";

void mount_fresh(const char* path) {
  if (::mount("none", path, "tmpfs", 0, "mode=755") != 0) ::_exit(98);
}

void write_text(const std::string& path, const std::string& text) {
  if (!(std::ofstream(path) << text).flush()) ::_exit(97);
}

TEST(GuestMounts, TheStateOfEachDaemonBeginsEmptyAndBelongsToWhoItBelongedTo) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  constexpr std::array kDirectories{"/var/lib/misc", "/var/lib/dhcp", "/var/lib/dhcpcd",
                                    "/var/lib/frr",  "/var/log/frr",  "/var/tmp/frr"};
  std::string script;
  for (const char* each : kDirectories) {
    const std::string d = each;
    script += "stat -c '%n %u:%g %a' " + d + " " + d + "/sub; ls -A " + d + " " + d +
              "/sub; readlink " + d + "/link; ";
  }
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    Supervised::Options o;
    o.guest = guest_running(shell(script));
    o.caller = {uid};
    o.before = [&] {
      leave_mounts();
      for (const char* each : {"/var/lib", "/var/log", "/var/tmp"}) mount_fresh(each);
      for (const char* each : kDirectories) {
        const std::string d = each;
        std::filesystem::create_directories(d + "/sub");
        write_text(d + "/lease", "of the outer world\n");
        write_text(d + "/sub/lease", "of the outer world\n");
        std::filesystem::create_symlink("sub", d + "/link");
        if (::chown(d.c_str(), 7, 8) != 0 || ::chmod(d.c_str(), 02755) != 0 ||
            ::chown((d + "/sub").c_str(), 9, 10) != 0 ||
            ::chmod((d + "/sub").c_str(), 01775) != 0) {
          ::_exit(96);
        }
      }
    };
    Supervised guest(o);
    const int status = guest.finish();
    if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    std::string expected;
    for (const char* each : kDirectories) {
      const std::string d = each;  // a user who has no such ids sees root in their place
      expected += d + (uid == 0 ? " 7:8" : " 0:0") + " 2755\n";
      expected += d + (uid == 0 ? "/sub 9:10" : "/sub 0:0") + " 1775\n";
      expected += d + ":\nlink\nsub\n\n" + d + "/sub:\nsub\n";
    }
    EXPECT_EQ(guest.output(), expected) << uid;
  }
}

TEST(GuestMounts, WhatResolvConfNamesInRunIsThereThoughRunIsEmpty) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  for (const bool layered : {true, false}) {
    for (const std::string link :
         {"/run/resolver/stub.conf", "../run/resolver/of/all/stub.conf", "other.conf"}) {
      Supervised::Options o;
      o.guest = guest_running(
          shell("cat /etc/resolv.conf; echo nameserver 198.18.0.2 > /etc/resolv.conf && "
                "cat /etc/resolv.conf"));
      o.before = [&] {
        leave_mounts();
        mount_fresh("/run");
        mount_fresh("/etc");
        std::filesystem::create_directories("/run/resolver/of/all");
        write_text("/run/resolver/stub.conf", "nameserver 198.18.0.1\n");
        write_text("/run/resolver/of/all/stub.conf", "nameserver 198.18.0.1\n");
        std::filesystem::create_symlink(link, "/etc/resolv.conf");
        std::filesystem::create_symlink("../run/resolver/of/all/stub.conf", "/etc/other.conf");
        std::filesystem::create_directories("/etc/below");
        if (!layered) mount_fresh("/etc/below");
      };
      Supervised guest(o);
      const int status = guest.finish();
      if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
      EXPECT_EQ(status, 0);
      EXPECT_EQ(guest.output(), "nameserver 198.18.0.1\nnameserver 198.18.0.2\n")
          << link << layered;
    }
  }
}

/// Everything below `directory`: names, owners, modes and contents.
std::string all_in(const std::string& directory) {
  std::vector<std::string> lines;
  for (const auto& each : std::filesystem::recursive_directory_iterator(directory)) {
    struct stat info{};
    (void)!::lstat(each.path().c_str(), &info);
    std::ostringstream line;
    line << each.path() << ' ' << info.st_uid << ' ' << info.st_mode << ' ' << info.st_size;
    if (info.st_size < 100) line << contents(each.path());
    lines.push_back(line.str());
  }
  std::ranges::sort(lines);
  std::string all;
  for (const std::string& line : lines) all += line + '\n';
  return all;
}

/// In a container, /etc/hosts, /etc/hostname and /etc/resolv.conf are mounts.
TEST(GuestMounts, WhateverIsMountedInEtcTheGuestChangesItForItselfAndResolvesItsName) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    std::string outer = "/tmp/shmif-etc-XXXXXX";
    ASSERT_NE(::mkdtemp(outer.data()), nullptr);
    (void)::chmod(outer.c_str(), 0755);
    for (const char* each : {"/etc/sub/sub", "/etc/vol", "/vol/sub"}) {
      std::filesystem::create_directories(outer + each);
    }
    for (const char* each : {"/etc/plain", "/etc/sub/sub/text", "/vol/sub/text", "/etc/hosts",
                             "/hosts", "/etc/resolv.conf", "/resolv.conf", "/etc/large"}) {
      write_text(outer + each, "old\n");
    }
    std::filesystem::create_symlink("plain", outer + "/etc/link");
    std::filesystem::resize_file(outer + "/etc/large", std::uintmax_t{65} << 20U);
    const std::string before = all_in(outer);
    Supervised::Options o;
    o.guest = guest_running(
        shell("cd /etc; hostname; readlink link; "
              "for f in hosts resolv.conf plain sub/sub/text vol/sub/text; do "
              "(cat $f; echo new) > $f.new && mv $f.new $f; echo $f; cat $f; done; "
              "mkdir fresh vol/fresh && echo made; (echo new >> large) 2> /dev/null || echo kept"));
    o.caller = {uid};
    o.before = [&] {
      leave_mounts();
      for (const char* each : {"", "/hosts", "/resolv.conf", "/vol"}) {
        const std::string from = outer + (*each == 0 ? "/etc" : each);
        const std::string to = std::string("/etc") + each;
        if (::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0) ::_exit(98);
      }
    };
    o.serve = [](Guest& guest) { (void)guest.release("called"); };
    Supervised guest(o);
    const int status = guest.finish();
    const std::string after = all_in(outer);
    std::filesystem::remove_all(outer);
    if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(status, 0) << uid;
    EXPECT_EQ(guest.output(),
              "note: cannot copy all of /etc for the host: these are read-only there: /etc/large\n"
              "called\nplain\nhosts\nold\n127.0.1.1\tcalled\nnew\nresolv.conf\nold\nnew\n"
              "plain\nold\nnew\nsub/sub/text\nold\nnew\nvol/sub/text\nold\nnew\nmade\nkept\n")
        << uid;
    EXPECT_EQ(after, before) << uid;
  }
}

// A FIFO there has no writer: nothing waits for one.
TEST(GuestMounts, AFifoInPlaceOfAFileOfEtcIsNoFile) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  Supervised::Options o;
  o.guest = guest_running(shell("cat /etc/hosts"));
  o.before = [&] {
    leave_mounts();
    mount_fresh("/etc");
    for (const char* each : {"/etc/hosts", "/etc/resolv.conf"}) {
      if (::mkfifo(each, 0644) != 0) ::_exit(98);
    }
  };
  o.serve = [](Guest& guest) { (void)guest.release("called"); };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(guest.output(), "127.0.1.1\tcalled\n");
}

TEST(GuestMounts, WhatIsUnmountedOutsideIsNotKeptBusyInside) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  Supervised::Options o;
  o.guest = guest_running(shell("test -e /mnt/mark && echo busy; echo end"));
  o.before = [] {
    leave_mounts();  // first, or the machine would get the mount, too
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) != 0) ::_exit(98);
    mount_fresh("/mnt");
    write_text("/mnt/mark", "");
  };
  o.serve = [](Guest&) {
    if (::umount2("/mnt", 0) != 0) ::_exit(95);
  };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(guest.output(), "end\n");
}

TEST(GuestMounts, OfDirectoriesThatACallerMayNotReadThereAreEmptyOnesToWriteTo) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  Supervised::Options o;
  o.guest = guest_running(
      shell("ls -A /var/lib/closed /var/lib/open/closed && echo 1 > /var/lib/closed/new && "
            "echo 1 > /var/lib/open/closed/new && cat /var/lib/open/text && "
            "stat -c %a /var/lib/closed"));
  o.caller = {kStranger};
  o.before = [] {
    leave_mounts();
    mount_fresh("/var/lib");
    std::filesystem::create_directories("/var/lib/closed");
    std::filesystem::create_directories("/var/lib/open/closed");
    write_text("/var/lib/open/text", "seen\n");
    for (const std::string each : {"/var/lib/closed", "/var/lib/open/closed"}) {
      write_text(each + "/secret", "secret\n");
      if (::chmod(each.c_str(), 0700) != 0) ::_exit(96);
    }
  };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(guest.output(), "/var/lib/closed:\n\n/var/lib/open/closed:\nseen\n700\n");
}

// A mount in /var/lib makes the kernel refuse one layer over all of it.
TEST(GuestMounts, WhateverTheNameOfADirectoryOfStateItHasALayerOfItsOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  const std::string directory = R"(/var/lib/a:b,c\d)";
  Supervised::Options o;
  o.guest =
      guest_running(shell("cd '" + directory + "' && cat text && echo new > made && cat made"));
  o.caller = {kStranger};
  o.before = [&] {
    leave_mounts();
    mount_fresh("/var/lib");
    std::filesystem::create_directories(directory);
    write_text(directory + "/text", "old\n");
    std::filesystem::create_directories("/var/lib/mounted");
    mount_fresh("/var/lib/mounted");
  };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0);
  EXPECT_NE(guest.output().find("old\nnew\n"), std::string::npos) << guest.output();
}

/// Whoever gives up root's ids in the guest must find its name servers and its own name.
TEST(GuestMounts, WhateverTheCallerHidesFromOthersWithItsUmaskTheGuestHasTheUsualModes) {
  if (::geteuid() != 0) GTEST_SKIP() << kNeedsRoot;
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    for (const bool session : {false, true}) {
      Supervised::Options o;
      o.guest = guest_running(
          shell("umask; stat -c '%a %n' /etc /etc/hosts /etc/resolv.conf /var/lib /run/user 2>&1"));
      o.caller = {uid};
      o.before = [&] {
        leave_mounts();
        mount_fresh("/var/lib");
        mount_fresh("/run");
        if (session) std::filesystem::create_directories("/run/user/" + std::to_string(uid));
        ::umask(0077);
      };
      o.serve = [](Guest& guest) { (void)guest.release("named"); };
      Supervised guest(o);
      const int status = guest.finish();
      if (status == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
      const std::string expected =
          "0077\n755 /etc\n644 /etc/hosts\n644 /etc/resolv.conf\n755 /var/lib\n";
      EXPECT_TRUE(guest.output().starts_with(expected)) << uid << guest.output();
      EXPECT_EQ(guest.output().ends_with("755 /run/user\n"), session) << guest.output();
    }
  }
}

}  // namespace
}  // namespace shmif::tap::test
