// Which processes join two buses, as it is told where frames go round.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "tests/tools/bus_rig.hpp"
#include "tools/loop_guard.hpp"

namespace shmif::test {
namespace {

/// A process that has a port of that kind on both buses. Ends with the test.
class Joiner {
 public:
  Joiner(const std::string& one, const std::string& other, LinkKind kind) : pid_(::fork()) {
    if (pid_ != 0) return;
    PortOptions options;
    options.kind = kind;
    Port first(options), second(options);
    if (!first.attach(one) || !second.attach(other)) ::_exit(1);
    for (;;) ::pause();
  }
  Joiner(const Joiner&) = delete;
  Joiner& operator=(const Joiner&) = delete;
  ~Joiner() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

void wait_for_ports(const std::string& bus, std::size_t count) {
  for (int i = 0; i < 4000; ++i) {
    const BusInfo info = Bus::open(bus).value().info();
    if (std::ranges::count_if(info.ports, &PortInfo::live) == static_cast<std::ptrdiff_t>(count))
      return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ADD_FAILURE() << "not all have come";
}

TEST(LoopProcesses, AreTheOtherBridgesThatAreOnBothBuses) {
  const BusRig one, other, third;
  const auto text = [&] { return tools::bridges_between(one.path(), other.path()); };
  EXPECT_EQ(text(), "");
  PortOptions own;
  own.kind = LinkKind::bridge;
  Port left(own), right(own);
  ASSERT_TRUE(left.attach(one.path()));
  ASSERT_TRUE(right.attach(other.path()));
  const Joiner host(one.path(), other.path(), LinkKind::veth);
  const Joiner elsewhere(one.path(), third.path(), LinkKind::bridge);
  const Joiner beyond(third.path(), other.path(), LinkKind::bridge);
  wait_for_ports(one.path(), 3);
  wait_for_ports(other.path(), 3);
  EXPECT_EQ(text(), "") << "neither this one, nor who is no bridge, nor who is on one of them";
  const Joiner first(one.path(), other.path(), LinkKind::bridge);
  wait_for_ports(other.path(), 4);
  EXPECT_EQ(text(), "process " + std::to_string(first.pid()));
  {
    const Joiner second(other.path(), one.path(), LinkKind::bridge);
    wait_for_ports(one.path(), 5);
    const auto [low, high] = std::minmax({first.pid(), second.pid()});
    EXPECT_EQ(text(), "processes " + std::to_string(low) + ", " + std::to_string(high));
  }
  EXPECT_EQ(text(), "process " + std::to_string(first.pid())) << "the other one is dead";
  EXPECT_EQ(tools::bridges_between(one.path(), one.file("none")), "");
}

}  // namespace
}  // namespace shmif::test
