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

// The files that a guest finds: settings of the machine in /proc and /sys, /run, and state and logs
// in /var. See also guest_mounts_test.cpp.

TEST(Guest, MaskedProcIsToldAndTheGuestRunsAllTheSame) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: masks a part of /proc, as containers do";
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    Supervised::Options o;
    o.guest = guest_running(shell("cat /proc/self/comm; echo ok"));
    o.caller = {uid};
    o.before = [] {
      leave_mounts();
      if (::mount("none", "/proc/tty", "tmpfs", 0, nullptr) != 0) ::_exit(98);
    };
    Supervised guest(o);
    EXPECT_EQ(guest.finish(), 0) << guest.output();
    EXPECT_NE(guest.output().find("note: cannot mount a private /proc"), std::string::npos)
        << guest.output();
    EXPECT_NE(guest.output().find("cat\nok\n"), std::string::npos) << guest.output();
  }
}

TEST(Guest, MaskedProcOrSysLeavesTheSettingsOfTheMachineReadOnlyForRootsGuest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: masks a part of /proc, as containers do";
  for (const char* mask : {"/proc/tty", "/sys/firmware"}) {
    Supervised::Options o;
    // Each setting would get the value that it has already. What is mounted below /sys counts, too.
    o.guest = guest_running(shell(
        "for s in /proc/sys/vm/swappiness /proc/sys/kernel/panic /proc/sysrq-trigger "
        "/sys/kernel/profiling; do test -e $s && (: >> $s) 2>/dev/null && echo opened $s; done; "
        "(: > /sys/kernel/debug/written) 2>/dev/null && echo wrote below; "
        "for s in net/ipv4/ip_forward kernel/hostname; do "
        "(: >> /proc/sys/$s) || echo refused $s; done; echo end"));
    o.before = [mask] {
      leave_mounts();
      if (::mount("none", "/sys/kernel/debug", "tmpfs", 0, nullptr) != 0 ||
          ::mount("none", mask, "tmpfs", 0, nullptr) != 0) {
        ::_exit(98);
      }
    };
    Supervised guest(o);
    EXPECT_EQ(guest.finish(), 0) << guest.output();
    EXPECT_NE(guest.output().find("note: cannot mount a private /"), std::string::npos)
        << guest.output();
    EXPECT_EQ(guest.output().find("opened"), std::string::npos) << guest.output();
    EXPECT_EQ(guest.output().find("wrote below"), std::string::npos) << guest.output();
    EXPECT_EQ(guest.output().find("refused"), std::string::npos) << guest.output();
    EXPECT_NE(guest.output().find("end\n"), std::string::npos) << guest.output();
  }
}

/// A /var/lib as daemons of the machine leave it, for guests of a supervisor.
class StateDirectory {
 public:
  StateDirectory() {
    (void)::mkdtemp(path_.data());
    (void)!::chmod(path_.c_str(), 0755);
    for (const char* each : {"/nginx", "/nginx/body", "/other"}) {
      (void)!::mkdir((path_ + each).c_str(), 0755);
    }
    std::ofstream(path_ + "/nginx/data") << "kept\n";
    (void)!::chown((path_ + "/nginx/body").c_str(), 33, 0);
    (void)!::chmod((path_ + "/nginx/body").c_str(), 0700);
  }
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;
  ~StateDirectory() { std::filesystem::remove_all(path_); }

  /// Puts it in place for this process; `below`: with something mounted in it, too.
  void take(bool below) const {
    leave_mounts();
    if (::mount(path_.c_str(), "/var/lib", nullptr, MS_BIND, nullptr) != 0 ||
        (below && ::mount("none", "/var/lib/other", "tmpfs", 0, nullptr) != 0)) {
      ::_exit(98);
    }
  }
  /// Every file with its owner and mode.
  std::string listing() const {
    std::string text;
    for (const auto& each : std::filesystem::recursive_directory_iterator(path_)) {
      struct stat s{};
      (void)!::lstat(each.path().c_str(), &s);
      text += each.path().string() + ' ' + std::to_string(s.st_uid) + ' ' +
              std::to_string(s.st_mode) + '\n';
    }
    return text;
  }

 private:
  std::string path_ = "/tmp/shmif-state-XXXXXX";
};

TEST(Guest, StateInVarLibCanBeWrittenAndEndsWithTheGuest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has a /var/lib of its own";
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    for (const bool below : {false, true}) {
      const StateDirectory state;
      const std::string before = state.listing();
      Supervised::Options o;
      // What nginx does as it starts, and Debian's scripts of other daemons.
      o.guest = guest_running(
          shell("cat /var/lib/nginx/data && chown 33 /var/lib/nginx/body && "
                "echo request > /var/lib/nginx/body/0001 && rm /var/lib/nginx/data && "
                "echo new > /var/lib/nginx/data && mkdir /var/lib/nginx/proxy && "
                "chown 33:33 /var/lib/nginx/proxy && cat /var/lib/nginx/body/0001; "
                "mkdir /var/lib/fresh && echo fresh"));
      o.caller = {uid};
      o.before = [&] { state.take(below); };
      Supervised guest(o);
      EXPECT_EQ(guest.finish(), 0) << uid << guest.output();
      EXPECT_EQ(guest.output(), "kept\nrequest\nfresh\n") << uid << below;
      EXPECT_EQ(state.listing(), before);
    }
  }
}

TEST(Guest, OfRootMayChangeItsOwnSettingsAndNoneOfTheMachine) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: others own no settings of the machine";
  Supervised::Options o;
  // Opened for writing, and nothing written.
  o.guest = guest_running(
      shell("for s in net/ipv4/ip_forward kernel/hostname kernel/domainname kernel/msgmax "
            "kernel/msgmnb kernel/msgmni kernel/sem kernel/shmall kernel/shmmax kernel/shmmni; do "
            "(: >> /proc/sys/$s) || echo closed $s; done 2> /dev/null; "
            "s=/sys/class/net/tap0/tx_queue_len; (: >> $s) 2> /dev/null || echo closed $s; "
            "for s in /proc/sys/vm/swappiness /proc/sys/kernel/panic /proc/sys/fs/file-max "
            "/proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/mtrr /proc/acpi/wakeup "
            "/proc/dynamic_debug/control /proc/scsi/scsi /sys/kernel/profiling; do "
            "test -e $s && (: >> $s) 2> /dev/null && echo opened $s; done; "
            "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv6/conf/all/accept_dad "
            "/proc/sys/net/ipv6/conf/default/accept_dad; ip -o link show lo | grep -c LOWER_UP"));
  Supervised guest(o);
  const int code = guest.finish();
  if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(code, 0) << guest.output();
  EXPECT_EQ(guest.output(), "0\t2147483647\n0\n0\n1\n");
}

TEST(Guest, FindsTheSessionOfItsCallerAndOtherwiseAnEmptyRun) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has a /run of its own";
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    const std::string session = "/run/user/" + std::to_string(uid);
    Supervised::Options o;
    o.guest = guest_running(
        shell("cat " + session +
              "/mark; ls -A /run/daemon | wc -l; readlink /run/link; stat -c %a "
              "/run/daemon; test -e /run/pid && echo there; echo 1 > /run/pid && echo written"));
    o.caller = {uid};
    o.before = [&] {
      leave_mounts();
      if (::mount("none", "/run", "tmpfs", 0, "mode=755") != 0) ::_exit(98);
      std::filesystem::create_directories(session);
      std::filesystem::create_directories("/run/daemon");
      std::filesystem::create_symlink("daemon", "/run/link");
      for (const std::string& file :
           {session + "/mark", std::string("/run/daemon/socket"), std::string("/run/pid")}) {
        std::ofstream(file) << "mine\n";
      }
      (void)!::chmod("/run/daemon", 03751);
      (void)!::chown(session.c_str(), uid, uid);
      (void)!::chmod(session.c_str(), 0700);
    };
    Supervised guest(o);
    const int code = guest.finish();
    if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(code, 0) << guest.output();
    EXPECT_EQ(guest.output(), "mine\n0\ndaemon\n3751\nwritten\n") << uid;
  }
}

TEST(Guest, LogsOfRootStayAndThoseOfOthersEndWithTheGuest) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has a /var of its own";
  for (const uid_t uid : {uid_t{0}, kStranger}) {
    std::string directory = "/tmp/shmif-var-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    (void)!::chmod(directory.c_str(), 0755);
    for (const char* each : {"/log", "/cache"}) {
      (void)!::mkdir((directory + each).c_str(), 0755);
      std::ofstream(directory + each + "/old") << "old\n";
    }
    Supervised::Options o;
    o.guest = guest_running(
        shell("for d in log cache; do cat /var/$d/old; echo new > /var/$d/new && echo $d; done"));
    o.caller = {uid};
    o.before = [&] {
      leave_mounts();
      if (::mount((directory + "/log").c_str(), "/var/log", nullptr, MS_BIND, nullptr) != 0 ||
          ::mount((directory + "/cache").c_str(), "/var/cache", nullptr, MS_BIND, nullptr) != 0) {
        ::_exit(98);
      }
    };
    Supervised guest(o);
    const int code = guest.finish();
    for (const char* each : {"/log/new", "/cache/new"}) {
      EXPECT_EQ(contents(directory + each), uid == 0 ? "new\n" : "") << uid;
    }
    std::filesystem::remove_all(directory);
    if (code == 77) GTEST_SKIP() << "no namespaces here: " << guest.output();
    EXPECT_EQ(guest.output(), "old\nlog\nold\ncache\n") << uid;
  }
}

}  // namespace
}  // namespace shmif::tap::test
