// Network namespaces: what comes back from one, how one is named, and whose it is.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/netns.hpp"
#include "tests/support/child_process.hpp"
#include "tests/tap/guest/guest_rig.hpp"
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

TEST(NetNamespace, RefusesWhatIsNone) {
  EXPECT_EQ(NetNamespace::parse("no-such-name").error().code, std::errc::no_such_file_or_directory);
  EXPECT_EQ(NetNamespace::parse("0").error().code, Errc::bad_argument);
  for (const char* no_name : {".", "..", "a/.."}) {
    EXPECT_EQ(NetNamespace::by_name(no_name).error().code, Errc::bad_argument) << no_name;
  }
  EXPECT_EQ(NetNamespace::parse("99999999999").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("/etc/passwd").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("/proc/self/ns/user").error().code, Errc::bad_argument);
  EXPECT_EQ(NetNamespace::parse("").error().code, Errc::bad_argument);
  const auto mine = NetNamespace::parse(std::to_string(::getpid()));
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_TRUE(mine->is_current());
}

TEST(NetNamespace, AHelperIsReapedAndWhatItThrewIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters a namespace";
  const auto before = children_of(::getpid());
  const auto here = NetNamespace::current();
  const auto r = run_in(*here, []() -> Result<std::vector<UniqueFd>> {
    throw std::runtime_error("thrown in there");
  });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().message, "thrown in there");
  EXPECT_EQ(children_of(::getpid()), before);
}

TEST(NetNamespace, HelperThatDiesIsAnErrorNotAHang) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters a namespace";
  const auto here = NetNamespace::current();
  const auto r = run_in(*here, []() -> Result<std::vector<UniqueFd>> { ::_exit(3); });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, std::errc::no_child_process);
}

TEST(NetNamespace, EntersAnotherUserNamespaceOfTheSameUserFromAThreadedProcess) {
  const shmif::test::StayingChild foreigner(
      [] { return ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0; });
  if (!foreigner.works()) {
    GTEST_SKIP() << shmif::test::kNoUserNamespaces;
  }
  // The setns of a user namespace fails beside a thread.
  const std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) ::usleep(1000);
  });
  const auto where = NetNamespace::by_pid(foreigner.pid());
  ASSERT_TRUE(where) << where.error().message;
  auto netlink = Netlink::open(*where);
  ASSERT_TRUE(netlink) << netlink.error().message;
  // The session works from outside, on interfaces that only exist inside.
  const auto made = netlink->add_veth("inner0", "inner1");
  EXPECT_TRUE(made) << made.error().message;
  EXPECT_TRUE(netlink->interface("inner0"));
  EXPECT_FALSE(Netlink::open()->interface("inner0"));
}

}  // namespace
}  // namespace shmif::tap::test
