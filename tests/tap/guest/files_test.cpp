// The files that a guest finds: settings of the machine in /proc and /sys, /run, and state and logs
// in /var. See also guest_mounts_test.cpp.

#include <sys/mount.h>

#include <filesystem>

#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

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
