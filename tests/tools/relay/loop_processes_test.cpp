// Which processes join two buses, as it is told where frames go round.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/child_process.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tools/relay/loop_guard.hpp"

namespace shmif::test {
namespace {

/// A process that has a port of that kind on both buses. Ends with the test.
class Joiner {
 public:
  Joiner(const std::string& one, const std::string& other, LinkKind kind)
      : process_([&] {
          PortOptions options;
          options.kind = kind;
          static Port first(options), second(options);  // it keeps them
          return first.attach(one) && second.attach(other);
        }) {
    EXPECT_TRUE(process_.works());
  }
  pid_t pid() const { return process_.pid(); }

 private:
  StayingChild process_;
};

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
  EXPECT_EQ(text(), "") << "neither this one, nor who is no bridge, nor who is on one of them";
  const Joiner first(one.path(), other.path(), LinkKind::bridge);
  EXPECT_EQ(text(), "process " + std::to_string(first.pid()));
  {
    const Joiner second(other.path(), one.path(), LinkKind::bridge);
    const auto [low, high] = std::minmax({first.pid(), second.pid()});
    EXPECT_EQ(text(), "processes " + std::to_string(low) + ", " + std::to_string(high));
  }
  EXPECT_EQ(text(), "process " + std::to_string(first.pid())) << "the other one is dead";
  EXPECT_EQ(tools::bridges_between(one.path(), one.file("none")), "");
}

}  // namespace
}  // namespace shmif::test
