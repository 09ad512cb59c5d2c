#pragma once
// Network namespaces that a test makes for itself, and programs run inside them.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tap/netlink.hpp"
#include "tap/netns.hpp"

namespace shmif::tap::test {

/// Why tests that need namespaces of their own cannot run here, or nothing.
inline std::string no_namespaces_because() {
  if (::geteuid() != 0) return "needs root: makes network namespaces and devices";
  std::string why;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) why = "this machine forbids network namespaces";
  }).join();
  return why;
}

/// Tests that make network namespaces.
class NamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  }
  static void ok(const Result<void>& r) { ASSERT_TRUE(r) << r.error().message; }
  /// The pair v0 and v1; v0 is up and has the address 198.18.0.1/24.
  static void add_pair(Netlink& netlink) {
    ok(netlink.add_veth("v0", "v1"));
    ok(netlink.add_address("v0", *Cidr::parse("198.18.0.1/24")));
    ok(netlink.set_up("v0"));
  }
};

/// A fresh network namespace with loopback up; gone when this and everything inside is gone.
class TestNamespace {
 public:
  TestNamespace() {
    std::thread([this] {
      if (::unshare(CLONE_NEWNET) == 0) {
        fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      }
    }).join();
    if (!fd_) return;  // not permitted: tests that need it skip
    if (auto netlink = Netlink::open(space())) (void)netlink->set_up("lo");
  }

  int descriptor() const { return fd_.get(); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }
  NetNamespace space() const { return NetNamespace::by_path(path()).value(); }
  Netlink netlink() const { return Netlink::open(space()).value(); }

 private:
  UniqueFd fd_;
};

/// Switches promiscuous mode as an administrator does. Result: whether that worked.
inline bool set_promiscuous(const NetNamespace& where, const std::string& name, bool on) {
  return run_in(where,
                [&]() -> Result<std::vector<UniqueFd>> {
                  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
                  ifreq request{};
                  name.copy(request.ifr_name, IFNAMSIZ - 1);
                  if (::ioctl(control.get(), SIOCGIFFLAGS, &request) != 0)
                    return Error::from_errno(errno, "no flags");
                  request.ifr_flags = static_cast<short>(on ? request.ifr_flags | IFF_PROMISC
                                                            : request.ifr_flags & ~IFF_PROMISC);
                  if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0)
                    return Error::from_errno(errno, "no change");
                  return std::vector<UniqueFd>();
                })
      .has_value();
}

/// Moves the calling thread into a namespace, and back when it ends.
class Inside {
 public:
  explicit Inside(const TestNamespace& where)
      : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    EXPECT_EQ(::setns(where.descriptor(), CLONE_NEWNET), 0);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { (void)::setns(before_.get(), CLONE_NEWNET); }

 private:
  UniqueFd before_;
};

/// What a program left behind.
struct Outcome {
  int status = -1;     ///< exit status; 128 + n when ended by signal n
  std::string output;  ///< standard output and error together
};

/// Runs a program inside a namespace to its end.
inline Outcome run(const TestNamespace& where, std::vector<std::string> command) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setns(where.descriptor(), CLONE_NEWNET) != 0) ::_exit(126);
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(write_end.get(), STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  write_end.reset();
  Outcome outcome;
  std::array<char, 4096> chunk{};
  for (;;) {
    const ssize_t got = ::read(read_end.get(), chunk.data(), chunk.size());
    if (got <= 0) break;
    outcome.output.append(chunk.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace shmif::tap::test
