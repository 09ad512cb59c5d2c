// Runs of the sampler: several targets and what is refused, on a scripted kernel; and a program.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <span>
#include <utility>

#include "instruments/counters/sample_format.hpp"
#include "instruments/counters/sample_profile.hpp"
#include "instruments/watch/held_child.hpp"
#include "tests/instruments/counters/fake_counters.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kFirstTask{TaskId{kTask, 7}};
constexpr std::array kBothTasks{TaskId{kTask, 7}, TaskId{kOther, 7}};

class ScriptedRun : public testing::Test {
 protected:
  ScriptedRun() { options.sampling.period = 10; }
  auto start(std::span<const TaskId> tasks = kFirstTask) {
    return SampleRun::start(event, tasks, options, &refused, kernel);
  }
  FakeCounters kernel;
  SampleOptions options;
  CounterEvent event = fake_event(1);
  std::optional<Refusal> refused;
};

TEST_F(ScriptedRun, AddsWhatAllTargetsTell) {
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

TEST_F(ScriptedRun, GoesOnWithoutATargetThatHasEnded) {
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

TEST_F(ScriptedRun, FallsBackToUserSpaceForAllTargets) {
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

TEST_F(ScriptedRun, FallsBackOnlyWhereThatHelps) {
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

TEST_F(ScriptedRun, SaysWhatWholeCpusNeed) {
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

TEST(SampleRun, SaysThatMoreMayBeLostIfOneOfItsTargetsDoesNotTell) {
  for (const pid_t tells : {kTask, kOther}) {
    FakeCounters kernel;
    // The clock of a session is opened before its events are.
    kernel.before = [&](KernelCall call, int) {
      if (call != KernelCall::open || kernel.events.empty()) return 0;
      kernel.tells_lost = kernel.events.rbegin()->second.task == tells;
      return 0;
    };
    SampleOptions options;
    options.sampling.period = 10;
    auto run = SampleRun::start(fake_event(1), kBothTasks, options, nullptr, kernel);
    ASSERT_TRUE(run) << run.error().message;
    auto addresses = sample_formats().make("addresses").value();
    ASSERT_TRUE(run->read(*addresses));
    EXPECT_TRUE(run->counts().lost_is_least) << tells;
  }
}

TEST_F(ScriptedRun, AddsTheLostRecordsOfAllReads) {
  auto run = start();
  ASSERT_TRUE(run) << run.error().message;
  auto addresses = sample_formats().make("addresses").value();
  for (const std::uint64_t count : {9U, 5U}) {
    const std::array<std::uint64_t, 2> lost{0, count};
    for (const auto& [file, each] : kernel.events) {
      if (each.ring.empty()) continue;
      kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
      break;
    }
    ASSERT_TRUE(run->read(*addresses));
  }
  EXPECT_EQ(run->counts().lost, 14U);
}

/// With a period, each so many events are one sample. Which function was at work is known.
TEST(SampleRun, SamplesAProgramOfThisMachineAndNamesItsFunctions) {
  auto child = HeldChild::start({.argv = {shmif::test::in_build("tests/instruments/known_load"),
                                          "faults", "2000", "children", "2"}})
                   .value();
  CounterEvent faults;
  faults.name = "page-faults";
  faults.type = PERF_TYPE_SOFTWARE;
  faults.config = PERF_COUNT_SW_PAGE_FAULTS;
  SampleProfile profile;
  SampleOptions options;
  options.sampling.period = 1;
  options.on_exec = true;
  const std::array targets{TaskId{child.pid(), 0}};
  auto run = SampleRun::start(faults, targets, options);
  ASSERT_TRUE(run) << run.error().message;
  ASSERT_TRUE(child.release());
  EXPECT_TRUE(shmif::test::eventually([&] {
    const bool ended = child.ended().has_value();
    EXPECT_TRUE(run->read(profile));
    profile.finish();
    return ended;
  }));
  const auto result = profile.result();
  EXPECT_EQ(result.samples, run->counts().samples);
  const auto row = std::ranges::find(result.rows, "(anonymous namespace)::touch_pages(long)",
                                     &ProfileRow::symbol);
  ASSERT_NE(row, result.rows.end()) << profile.text();
  EXPECT_EQ(row->object, "known_load");
  EXPECT_GE(row->samples + run->counts().lost, 6000U) << "of the program and its two children";
}

}  // namespace
}  // namespace shmif::perf::test
