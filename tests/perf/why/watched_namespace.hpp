#pragma once
// A process in a network namespace of its own, somebody who looks at it, and what the kernel itself
// counts there.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "perf/why/analysis.hpp"
#include "perf/why/sampler.hpp"
#include "tests/perf/why/why_series.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::test {

using shmif::test::Child;
using tap::test::Inside;
using tap::test::TestNamespace;

inline constexpr std::uint64_t kBetweenNs = 100'000'000;

/// A process in a namespace of its own, and somebody who looks at it.
class WatchedNamespace {
 public:
  WatchedNamespace() : WatchedNamespace(own_) {}
  explicit WatchedNamespace(const TestNamespace& space) : space_(space) {
    child_ = std::make_unique<Child>([this]() -> int {
      inside_->joined = ::setns(space_.descriptor(), CLONE_NEWNET) == 0;
      for (;;) ::pause();
    });
    EXPECT_TRUE(shmif::test::eventually([this] { return inside_->joined.load(); }));
    EXPECT_TRUE(sampler_.add_process(sampler_.add_job("rx"), child_->pid()));
    look();
  }
  void look() { sampler_.sample(kBetweenNs * looks_++); }
  const TestNamespace& space() const { return space_; }
  const WhySeries& series() const { return sampler_.series(); }
  NetCount count(NetLoss loss) const {
    EXPECT_EQ(series().nets.size(), 1U);
    const auto& count = series().nets.at(0).steps.back()[loss];
    EXPECT_TRUE(count.has_value());
    return count.value_or(NetCount{});
  }
  /// The first cause of a receiver that lost `lost` frames in the last interval.
  Cause cause(std::uint64_t lost) const {
    const std::size_t count = series().ends_s.size();
    const auto causes =
        find_causes(series(), std::vector{traffic_of(series(), "rx", count - 1, count, lost)});
    EXPECT_FALSE(causes.empty());
    return causes.empty() ? Cause{} : causes[0];
  }

 private:
  struct State {
    std::atomic<bool> joined = false;
  };
  TestNamespace own_;
  const TestNamespace& space_;
  shmif::test::Shared<State> inside_;
  std::unique_ptr<Child> child_;
  WhySampler sampler_{KernelFiles(), 0};
  std::uint64_t looks_ = 0;
};

/// A figure of a file of the namespace, read by other code than the watch's.
inline std::uint64_t kernel_count(const TestNamespace& space, const std::string& file,
                                  const std::string& group, const std::string& name) {
  const Inside inside(space);
  std::ifstream text("/proc/thread-self/net/" + file);
  std::string names, numbers;
  while (std::getline(text, names)) {
    if (group.empty() && names.starts_with(name)) return std::stoull(names.substr(name.size()));
    if (group.empty() || !names.starts_with(group + ":")) continue;
    std::getline(text, numbers);
    std::istringstream a(names), b(numbers);
    for (std::string key, value; a >> key && b >> value;) {
      if (key == name) return std::stoull(value);
    }
  }
  ADD_FAILURE() << file << " has no " << name;
  return 0;
}

class Address {
 public:
  Address(const char* text, std::uint16_t port) {
    v6_ = ::inet_pton(AF_INET6, text, &in6_.sin6_addr) == 1;
    in6_.sin6_family = AF_INET6;
    in6_.sin6_port = htons(port);
    if (!v6_) ::inet_pton(AF_INET, text, &in_.sin_addr);
    in_.sin_family = AF_INET;
    in_.sin_port = htons(port);
  }
  int family() const { return v6_ ? AF_INET6 : AF_INET; }
  const sockaddr* get() const {
    const void* const any = v6_ ? static_cast<const void*>(&in6_) : &in_;
    return static_cast<const sockaddr*>(any);
  }
  socklen_t size() const { return v6_ ? sizeof in6_ : sizeof in_; }

 private:
  bool v6_;
  sockaddr_in6 in6_{};
  sockaddr_in in_{};
};

inline void send_datagrams(const TestNamespace& space, const Address& to, int count,
                           std::size_t bytes = 1000) {
  const Inside inside(space);
  const UniqueFd socket(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int many = 8 << 20;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &many, sizeof many);
  const std::vector<char> data(bytes);
  for (int i = 0; i < count; ++i) {
    (void)::sendto(socket.get(), data.data(), data.size(), 0, to.get(), to.size());
  }
}

class NetLosses : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = tap::test::no_namespaces_because(); !why.empty())
      GTEST_SKIP() << why;
  }
};

}  // namespace shmif::perf::test
