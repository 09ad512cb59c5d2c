// What becomes of jobs whose interface changes under them, or is taken away.

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tap/netns.hpp"
#include "tap/tap_link.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf {
namespace {

using shmif::tap::test::TestNamespace;
using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;

class RunDevices : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    space.emplace();
  }
  void ip(const std::vector<std::string>& words) const {
    std::vector<std::string> argv{"ip"};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto done = shmif::tap::test::run(*space, argv);
    EXPECT_EQ(done.status, 0) << done.output;
  }
  void add_cable() const {
    auto netlink = space->netlink();
    netlink.add_veth("one", "other").value();
    for (const char* const name : {"one", "other"}) {
      netlink.disable_ipv6(name).value();
      netlink.set_up(name).value();
    }
  }
  /// Two TAP devices on one bridge, which is what brings them frames.
  void add_taps() const {
    ip({"link", "add", "lan", "type", "bridge", "stp_state", "0", "forward_delay", "0"});
    for (const char* const name : {"one", "other"}) {
      ip({"tuntap", "add", "dev", name, "mode", "tap"});
      ip({"link", "set", name, "master", "lan", "up"});
    }
    ip({"link", "set", "lan", "up"});
  }
  /// A sender and its receiver on the two interfaces.
  RunResult run_on(
      const std::string& options, const test::Meddler::Deed& deed = [](const auto&) {}) const {
    return run_text("[j]\nnetdev=one,other\nnetns=" + space->path() +
                        "\nrate_iops=1000\ndrain_time=1s\n" + options,
                    deed);
  }

  std::optional<TestNamespace> space;
};

/// Does something once, when so many frames have come to the second job.
test::Meddler::Deed once_after(std::uint64_t frames, std::function<void()> deed) {
  return [=, done = false](const RunProgress& progress) mutable {
    if (done || progress.jobs[1].rx_frames < frames) return;
    done = true;
    deed();
  };
}

TEST_F(RunDevices, AVethPairThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  add_cable();
  const RunResult result = run_on("engine=packet\nruntime=60\ncontinue_on_error=all\n",
                                  once_after(50, [this] { ip({"link", "del", "one"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 49U) << "what was counted till then is told";
}

TEST_F(RunDevices, ATapDeviceThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  if (auto usable = tap::check_tun_device(); !usable) {
    GTEST_SKIP() << "no TUN device: " << usable.error().message;
  }
  add_taps();
  const RunResult result = run_on("engine=tap\nallow_live\nruntime=60\ncontinue_on_error=all\n",
                                  once_after(50, [this] { ip({"link", "del", "one"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on tap:one"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 49U);
}

TEST_F(RunDevices, AFrameThatAnInterfaceRefusesEndsTheJob) {
  add_cable();
  const RunResult result =
      run_on("engine=packet\nbs=1200\nruntime=60\n",
             once_after(50, [this] { ip({"link", "set", "one", "mtu", "1000"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one: "));
  EXPECT_EQ(job_of(result, "j").tx.errors, 1U);
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
}

TEST_F(RunDevices, SoDoesOneThatWasLeftToAThreadAndRefusedAfterTheLastSend) {
  add_cable();
  // All of them fit the queue of the thread.
  bool done = false;
  const RunResult result = run_on(
      "engine=packet\nbs=1200\nnumber_ios=16\nrate_iops=0\niodepth_batch=16\n"
      "io_submit_mode=offload\nstart_delay=1\n",
      [&](const RunProgress& progress) {
        if (done || progress.jobs[0].state != JobState::running) return;
        done = true;
        ip({"link", "set", "one", "mtu", "1000"});
      });
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one: "));
  EXPECT_EQ(job_of(result, "j").tx.errors, 1U);
}

TEST_F(RunDevices, EachClassOfErrorsIsTold) {
  add_cable();
  int looks = 0;
  // What arrives at a job is damaged; what it sends is refused for a while.
  const RunResult result = run_on(
      "engine=packet\nrw=txrx\nbs=1200,900\nnumber_ios=1000\ncontinue_on_error=tx,verify\n"
      "fault_rx=corrupt=5%,seed=3\n",
      [&](const RunProgress& progress) {
        if (progress.jobs[1].rx_frames < 50 && looks == 0) return;
        ++looks;
        if (looks == 1) ip({"link", "set", "one", "mtu", "1000"});
        if (looks == 2) ip({"link", "set", "one", "mtu", "1500"});
      });
  EXPECT_TRUE(passed(result));
  const JobResult& job = job_of(result, "j");
  const auto of = [&job](ErrorClass error) {
    return job.errors_by_class[static_cast<std::size_t>(error)];
  };
  EXPECT_EQ(of(ErrorClass::tx).count, job.tx.errors);
  EXPECT_GT(job.tx.errors, 0U);
  EXPECT_EQ(of(ErrorClass::tx).first, make_error_code(Errc::frame_too_long).message());
  EXPECT_EQ(of(ErrorClass::verify).count,
            flow_to(result, "j").corrupt + flow_to(result, "j").corrupt_copies);
  EXPECT_GT(flow_to(result, "j").corrupt, 0U);
  const std::string first = of(ErrorClass::verify).first;
  EXPECT_TRUE(first.ends_with(" of j.peer was corrupt")) << first;
  EXPECT_EQ(of(ErrorClass::rx).count, 0U);
  EXPECT_EQ(of(ErrorClass::lock).count, std::nullopt);
  EXPECT_EQ(of(ErrorClass::lock).reason, "only a bus has a lock");
}

TEST_F(RunDevices, OrIsTriedAgainAndNothingIsLostWhereTheJobGoesOn) {
  for (const char* const mode : {"inline", "offload"}) {
    add_cable();
    int looks = 0;
    const RunResult result =
        run_on("engine=packet\nbs=1200\nnumber_ios=2000\ncontinue_on_error=tx\nio_submit_mode=" +
                   std::string(mode) + '\n',
               [&](const RunProgress& progress) {
                 if (progress.jobs[1].rx_frames < 50 && looks == 0) return;
                 ++looks;
                 if (looks == 1) ip({"link", "set", "one", "mtu", "1000"});
                 if (looks == 2) ip({"link", "set", "one", "mtu", "1500"});
               });
    EXPECT_TRUE(passed(result));
    const JobResult& sender = job_of(result, "j");
    EXPECT_GT(sender.tx.errors, 0U) << mode;
    EXPECT_FALSE(sender.tx.first_error.empty());
    EXPECT_EQ(flow_to(result, "j.sink").received, 2000U);
    EXPECT_EQ(flow_to(result, "j.sink").duplicates + flow_to(result, "j.sink").reordered, 0U);
    ip({"link", "del", "one"});
  }
}

}  // namespace
}  // namespace shmif::perf
