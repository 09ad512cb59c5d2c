// Network namespaces: what comes back from one, how one is named, and whose it is.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "tap/netns.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

class Namespaces : public TapFixture {};

TEST_F(Namespaces, DescriptorsComeBackInTheirOrderAndStayHere) {
  for (const std::size_t count : {0U, 1U, 16U, 17U}) {
    const auto made = run_in(where_, [&]() -> Result<std::vector<UniqueFd>> {
      std::vector<UniqueFd> out;
      for (std::size_t i = 0; i < count; ++i) {
        out.emplace_back(::open("/dev/null", O_RDONLY | O_APPEND));
        if (i % 2 == 1) out.back().reset(::socket(AF_UNIX, SOCK_STREAM, 0));
      }
      return out;
    });
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_EQ(made->size(), std::min<std::size_t>(count, 16));
    for (std::size_t i = 0; i < made->size(); ++i) {
      const int each = (*made)[i].get();
      EXPECT_EQ(::fcntl(each, F_GETFD), FD_CLOEXEC) << i;
      EXPECT_EQ((::fcntl(each, F_GETFL) & O_APPEND) != 0, i % 2 == 0) << i;
    }
  }
}

TEST_F(Namespaces, ErrorsOfTheSystemAreStillThose) {
  const auto full = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    return Error::from_errno(ENOSPC, "cannot do it");
  });
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, std::errc::no_space_on_device);
  EXPECT_EQ(full.error().message, Error::from_errno(ENOSPC, "cannot do it").message);
  const auto wordy = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    return Error(Errc::bad_argument, std::string(5000, 'x') + "end");
  });
  ASSERT_FALSE(wordy);
  EXPECT_EQ(wordy.error().code, Errc::bad_argument);
  EXPECT_EQ(wordy.error().message, std::string(4000, 'x'));
}

TEST_F(Namespaces, AreTheSameWhereverTheyWereFound) {
  const NetNamespace here = NetNamespace::current().value();
  EXPECT_FALSE(where_.is_current());
  EXPECT_FALSE(where_.is_same(here));
  EXPECT_TRUE(where_.is_same(space_.space()));
  const UniqueFd tap = handed(IFF_TAP | IFF_NO_PI);
  EXPECT_TRUE(NetNamespace::of_device(tap.get()).value().is_same(where_));
  const auto sockets = run_in(where_, []() -> Result<std::vector<UniqueFd>> {
    std::vector<UniqueFd> out;
    out.emplace_back(::socket(AF_INET, SOCK_DGRAM, 0));
    return out;
  });
  EXPECT_TRUE(NetNamespace::of_socket(sockets->at(0).get()).value().is_same(where_));
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(
      NetNamespace::of_device(file.get()).error().message,
      Error::from_errno(ENOTTY, "cannot find the network namespace of the TAP device").message);
  EXPECT_EQ(NetNamespace::of_socket(file.get()).error().message,
            Error::from_errno(ENOTTY, "cannot find the network namespace of a socket").message);
}

TEST(NetNamespace, IsNamedInWhatIsSaidOfIt) {
  const auto why = [](const std::string& text) {
    return NetNamespace::parse(text).error().message;
  };
  EXPECT_EQ(why("0"),
            "\"0\" is not a process id (podman prints 0 for a container that is not running)");
  EXPECT_EQ(why("00"),
            "\"00\" is not a process id (podman prints 0 for a container that is not running)");
  EXPECT_EQ(why("99999999999"), "\"99999999999\" is not a process id");
  EXPECT_EQ(why(".."), "\"..\" is not the name of a network namespace");
  EXPECT_EQ(why(""), "\"\" is not the name of a network namespace");
  for (const std::string file : {"/dev/null", "/proc/self/ns/user", "/proc/self/ns/pid"})
    EXPECT_EQ(why(file), file + " is not a network namespace; 'ip netns' lists those with a name");
  EXPECT_TRUE(why("no-such").starts_with(
      "cannot open the network namespace of \"no-such\" at /run/netns/no-such: "))
      << why("no-such");
  EXPECT_TRUE(why("./1").starts_with("cannot open the network namespace of ./1 at ./1: "));
  EXPECT_EQ(NetNamespace::parse("/proc/self/ns/net")->name(), "/proc/self/ns/net");
  EXPECT_EQ(NetNamespace::current()->name(), "this process");
}

}  // namespace
}  // namespace shmif::tap::test
