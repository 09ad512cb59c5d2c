// Nobody waits for a look at a target, or for another caller.

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include "tests/perf/heat/held_target.hpp"
#include "tests/perf/heat/monitor_rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;
using shmif::test::TempDir;

/// The answers of a monitor in `folder`; an error shows as its message.
class Asking {
 public:
  explicit Asking(std::string folder) : folder_(std::move(folder)) {}
  Result<std::string> operator()(const HeatRequest& asked) const {
    return ask_heat_monitor(folder_, asked);
  }
  std::string operator()(HeatVerb verb) const {
    const auto answer = (*this)(request(verb));
    return answer ? *answer : answer.error().message;
  }

 private:
  std::string folder_;
};

TEST(HeatMonitorWaits, ForNoLookWhenItIsAsked) {
  const TempDir dir;
  const Sleeper sleeper;
  HeldTarget target(sleeper.pid());
  const Listening listening(dir.path(), KernelFiles(target.root()));
  const Asking ask(dir.path());
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  ASSERT_TRUE(
      eventually([&] { return ask(HeatVerb::show).find("mapping\n") != std::string::npos; }));
  target.hold();
  ASSERT_TRUE(target.wait_until_held());
  // The look goes on until the end of this test. These are answered meanwhile.
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n");
  EXPECT_NE(ask(HeatVerb::show).find("process " + std::to_string(sleeper.pid())),
            std::string::npos);
  const UniqueFd silent = connection_to(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n") << "a second client";
  EXPECT_EQ(ask(watching(HeatVerb::set, {sleeper.pid()})).error().code, Errc::busy);
  EXPECT_EQ(ask(HeatVerb::off), "");
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  EXPECT_EQ(ask(request(HeatVerb::on)).error().code, Errc::busy) << "the last look goes on";
  EXPECT_NE(ask(HeatVerb::on).find("still waits for a target"), std::string::npos);
  target.release();
  EXPECT_TRUE(eventually([&] { return ask(request(HeatVerb::on)).has_value(); }));
}

TEST(HeatMonitorWaits, ForNoneOfManyCallersThatSayNothing) {
  const TempDir dir;
  const Listening listening(dir.path());
  std::vector<UniqueFd> silent;
  constexpr std::size_t kCallers = 64;
  while (silent.size() < kCallers) {
    silent.push_back(connection_to(dir.path()));
    // Each second one says half a line.
    if (silent.size() % 2 != 0) continue;
    ASSERT_EQ(::send(silent.back().get(), "stat", 4, MSG_NOSIGNAL), 4);
  }
  const Asking ask(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  // Those that came last may still finish.
  ASSERT_EQ(::send(silent.back().get(), "us\n\n", 4, MSG_NOSIGNAL), 4);
  std::array<char, 4> answer{};
  ASSERT_EQ(::recv(silent.back().get(), answer.data(), 3, MSG_WAITALL), 3);
  EXPECT_STREQ(answer.data(), "ok ");
}

TEST(HeatMonitorWaits, ForNoEndOfAnEndlessRequest) {
  const TempDir dir;
  const Listening listening(dir.path());
  const UniqueFd endless = connection_to(dir.path());
  const std::string junk(1U << 20U, 'x');
  std::size_t sent = 0;
  while (sent < junk.size()) {
    const ssize_t part = ::send(endless.get(), &junk[sent], junk.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) break;
    sent += static_cast<std::size_t>(part);
  }
  EXPECT_LT(sent, junk.size()) << "it was refused before its end";
  EXPECT_EQ(Asking(dir.path())(HeatVerb::status).substr(0, 4), "off\n");
}

}  // namespace
}  // namespace shmif::perf::test
