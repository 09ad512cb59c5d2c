#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/own_dev_net.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

using shmif::test::become_ordinary;
using shmif::test::own_dev_net;

using TapLinkErrors = TapFixture;

constexpr int kForbidden = 77;

/// Runs `body` in a forked child, which may change what it likes about itself.
/// Result: what it returned, 0 to 100; 102 when it died.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

/// What a process finds at /dev/net/tun, who it is, and what it is told.
struct Case {
  const char* what;
  std::function<bool()> prepare;  ///< false: that may not be done here
  bool has_device;
  std::errc code;
  std::vector<const char*> words;
};

TEST_F(TapLinkErrors, SayWhatToDo) {
  const auto sandboxed = [](bool plain) {
    if (!own_dev_net(std::nullopt)) return false;
    if (plain) return static_cast<bool>(std::ofstream("/dev/net/tun") << "");
    return ::mknod("/dev/net/tun", S_IFCHR | 0666, ::makedev(1, 3)) == 0;
  };
  const std::vector<const char*> none{"/dev/net/tun, which is not the TUN device", "modprobe tun",
                                      "into the container"};
  for (const Case& each :
       {Case{"missing",
             [] { return own_dev_net(std::nullopt); },
             false,
             std::errc::no_such_file_or_directory,
             {"/dev/net/tun", "modprobe tun"}},
        Case{"a file", [&] { return sandboxed(true); }, false, std::errc::no_such_device, none},
        Case{"/dev/null", [&] { return sandboxed(false); }, false, std::errc::no_such_device, none},
        Case{"closed",
             [] { return own_dev_net(0600) && become_ordinary(); },
             false,
             std::errc::permission_denied,
             {"/dev/net/tun", "become root"}},
        Case{"without rights",
             [] { return own_dev_net(0666) && become_ordinary(); },
             true,
             std::errc::operation_not_permitted,
             {"tap9", "CAP_NET_ADMIN", "shmifctl exec"}}}) {
    const int verdict = in_child([&] {
      if (!each.prepare()) return kForbidden;
      if (static_cast<bool>(check_tun_device()) != each.has_device) return 2;
      TapOptions options;
      options.name = "tap9";
      const auto link = TapLink::open(options);
      if (link || link.error().code != each.code) return 3;
      for (const char* const word : each.words)
        if (link.error().message.find(word) == std::string::npos) return 4;
      return 0;
    });
    if (verdict == kForbidden) GTEST_SKIP() << shmif::test::kNoUserNamespaces;
    EXPECT_EQ(verdict, 0) << each.what << ": 2 the device, 3 the code, 4 the words";
  }
}

TEST_F(TapLinkErrors, AnOrdinaryUserPutsADeviceIntoAContainerOfTheirsThatAlreadyRuns) {
  const int verdict = in_child([] {
    if (!own_dev_net(0666) || !become_ordinary()) return kForbidden;
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) return 2;
    const pid_t container = ::fork();
    if (container == 0) {
      char answer = ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 'y' : 'n';
      (void)!::write(ready[1], &answer, 1);
      for (;;) ::pause();  // runs until killed
    }
    char answer = 'n';
    (void)!::read(ready[0], &answer, 1);
    const int outcome = [&] {
      if (answer != 'y') return kForbidden;
      const auto where = NetNamespace::parse(std::to_string(container));
      if (!where) return 3;
      TapOptions options = in(*where, "tap0");
      options.addresses = {*Cidr::parse("198.18.0.7/24")};
      const auto link = TapLink::open(options);
      if (!link) return 4;
      const auto netlink = Netlink::open(*where);
      if (!netlink) return 5;
      const auto there = netlink->interface("tap0");
      return there && there->has_carrier() ? 0 : 6;
    }();
    ::kill(container, SIGKILL);
    ::waitpid(container, nullptr, 0);
    return outcome;
  });
  if (verdict == kForbidden) {
    GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  }
  EXPECT_EQ(verdict, 0);
}

}  // namespace
}  // namespace shmif::tap::test
