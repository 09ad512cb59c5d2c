// Runs of the sampler on a scripted kernel: several targets, and what is refused.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <array>
#include <cerrno>
#include <optional>
#include <span>
#include <utility>

#include "perf/counters/sample_format.hpp"
#include "perf/counters/sample_profile.hpp"
#include "tests/perf/counters/fake_counters.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kFirstTask{TaskId{kTask, 7}};
constexpr std::array kBothTasks{TaskId{kTask, 7}, TaskId{kOther, 7}};

class SeldomSampleRun : public testing::Test {
 protected:
  SeldomSampleRun() { options.sampling.period = 10; }
  auto start(std::span<const TaskId> tasks = kFirstTask) {
    return SampleRun::start(event, tasks, options, &refused, kernel);
  }
  FakeCounters kernel;
  SampleOptions options;
  CounterEvent event = fake_event(1);
  std::optional<Refusal> refused;
};

TEST_F(SeldomSampleRun, AddsWhatAllTargetsTell) {
  auto run = start(kBothTasks);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_FALSE(run->user_space_only());
  EXPECT_EQ(kernel.opened.size(), 6U) << "a clock and an event on two CPUs, of each";
  for (const auto& [file, each] : kernel.events) {
    if (!each.ring.empty()) {
      EXPECT_EQ(each.ring.size(), 65U * 4096);
    }
  }
  kernel.overflow(1, 0x10);
  auto addresses = sample_formats().make("addresses").value();
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 4U);
  kernel.overflow(1, 0x10);
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 8U);
  EXPECT_FALSE(run->counts().lost_is_least);
  kernel.end(kOther);
  run->stop();
  EXPECT_FALSE(kernel.counts(1)) << "that of the first";
  kernel.overflow(1, 0x10);
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 10U);
}

TEST_F(SeldomSampleRun, GoesOnWithoutATargetThatHasEnded) {
  kernel.before = [this](KernelCall call, int) {
    if (call == KernelCall::open && kernel.events.size() == 3) kernel.ended.insert(kTask);
    return 0;
  };
  EXPECT_TRUE(start(kBothTasks));
  FakeCounters fresh;
  fresh.before = [](KernelCall call, int nth) {
    return call == KernelCall::control && nth == 3 ? -ENOSPC : 0;
  };
  EXPECT_EQ(SampleRun::start(event, kFirstTask, options, &refused, fresh).error().code,
            std::errc::no_space_on_device);
  EXPECT_FALSE(refused) << "the event was not refused";
}

TEST_F(SeldomSampleRun, StartsWithTheProgramIfThatIsAskedFor) {
  for (const bool waits : {false, true}) {
    kernel.opened.clear();
    options.on_exec = waits;
    auto run = start();
    ASSERT_TRUE(run);
    EXPECT_EQ(kernel.opened[1].attr.base.enable_on_exec, waits ? 1U : 0U);
    EXPECT_EQ(kernel.counts(1), !waits);
  }
}

TEST_F(SeldomSampleRun, FallsBackToUserSpaceForAllTargets) {
  // The clock and the events of the first target; of the second, the event is refused.
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 5 ? -EPERM : 0;
  };
  auto run = start(kBothTasks);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_TRUE(run->user_space_only());
  EXPECT_FALSE(refused);
  std::size_t events = 0;
  for (const auto& [file, each] : kernel.events) {
    EXPECT_EQ(each.attr.base.exclude_kernel, 1U);
    EXPECT_EQ(each.attr.base.exclude_hv, 1U);
    events += each.attr.base.config == 1 ? 1U : 0U;
  }
  EXPECT_EQ(events, 4U) << "each target is sampled once";
}

TEST_F(SeldomSampleRun, FallsBackOnlyWhereThatHelps) {
  const auto opens = [&](int error) {
    refused.reset();
    kernel.opened.clear();
    kernel.before = [error, asked = 0](KernelCall call, int) mutable {
      return call == KernelCall::open && ++asked == 2 ? -error : 0;
    };
    const auto run = start();
    kernel.before = {};
    return std::pair(run.has_value(), refused.has_value());
  };
  const std::pair falls_back(true, false);
  const std::pair is_refused(false, true);
  EXPECT_EQ(opens(EACCES), falls_back);
  EXPECT_EQ(opens(EPERM), falls_back);
  EXPECT_EQ(opens(EBUSY), is_refused);
  EXPECT_EQ(refused->reason, "another program uses the counter alone (EBUSY)");
  event.exclude_kernel = true;
  EXPECT_EQ(opens(EACCES), is_refused) << "it is in user space already";
  event = fake_event(1);
  event.type = PERF_TYPE_TRACEPOINT;
  EXPECT_EQ(opens(EACCES), is_refused) << "it is in the kernel";
  event = fake_event(1);
  options.cpus = {0};
  EXPECT_EQ(opens(EACCES), is_refused) << "user space of a CPU is permitted no sooner";
}

TEST_F(SeldomSampleRun, SaysWhatWholeCpusNeed) {
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EACCES : 0; };
  EXPECT_FALSE(start());
  EXPECT_FALSE(refused) << "the error says it";
  options.cpus = {0};
  EXPECT_FALSE(start({}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->enable_with,
            "sysctl kernel.perf_event_paranoid=0, or the capability CAP_PERFMON");
  EXPECT_FALSE(SampleRun::start(event, {}, options, nullptr, kernel)) << "nobody asks why";
  refused.reset();
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EMFILE : 0; };
  EXPECT_EQ(start({}).error().code, std::errc::too_many_files_open);
  EXPECT_FALSE(refused);
  EXPECT_EQ(kernel.open_files(), 0U);
}

}  // namespace
}  // namespace shmif::perf::test
