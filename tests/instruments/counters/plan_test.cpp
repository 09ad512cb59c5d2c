// What the kernel is asked for: which events count together, where, and with which settings; and
// whose turn it is among event sets.

#include "instruments/counters/event_sets.hpp"

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "instruments/counters/kernel_counters.hpp"
#include "tests/instruments/counters/fake_counters.hpp"

namespace shmif::perf::test {
namespace {

CounterEvent event_of_unit(std::uint32_t type, std::uint64_t config = 1) {
  CounterEvent event = fake_event(config);
  event.type = type;
  return event;
}

/// "0,1 2": the groups, in the order in which they are opened, and the events of each.
std::string planned(const std::vector<EventSetup>& events, bool group, std::size_t first = 0) {
  EventSets sets;
  EXPECT_TRUE(sets.create(std::array{SetSetup{5}}));
  EXPECT_TRUE(sets.program(events, 0));
  std::string text;
  for (const GroupPlan& plan : plan_groups(sets, group, first)) {
    if (!text.empty()) text += ' ';
    for (std::size_t at = 0; at < plan.events.size(); ++at) {
      text += (at == 0 ? "" : ",") + std::to_string(plan.events[at]);
    }
    if (plan.sampled) text += 's';
  }
  return text;
}

TEST(GroupPlans, AreOfOneUnitAndSetAndTakeSoftwareEventsIn) {
  const EventSetup core{event_of_unit(PERF_TYPE_HARDWARE)};
  const EventSetup cache{event_of_unit(PERF_TYPE_HW_CACHE)};
  const EventSetup raw{event_of_unit(PERF_TYPE_RAW)};
  const EventSetup other{event_of_unit(77)};
  const EventSetup software{event_of_unit(PERF_TYPE_SOFTWARE)};
  const EventSetup tracepoint{event_of_unit(PERF_TYPE_TRACEPOINT)};
  EXPECT_EQ(planned({core, cache, raw}, true), "0,1,2") << "the core's PMU counts all three";
  EXPECT_EQ(planned({core, other, core, other}, true), "0,2 1,3");
  EXPECT_EQ(planned({software, tracepoint, core, raw}, true), "0,1,2,3");
  EXPECT_EQ(planned({software, core, other}, true), "0,1 2") << "the group has a unit by then";
  EXPECT_EQ(planned({core, software, other}, true), "0,1 2");
  EXPECT_EQ(planned({core, cache, software}, false), "0 1 2") << "nobody asked for groups";
  EXPECT_EQ(planned({core, core, core}, true, 1), "1,2") << "of those that were added";
  EventSetup in_five = core;
  in_five.set = 5;
  EXPECT_EQ(planned({core, in_five, core, in_five}, true), "0,2 1,3");
  EventSetup on_cpu = software;
  on_cpu.event.cpus = {1};
  EXPECT_EQ(planned({software, on_cpu, on_cpu}, true), "0 1,2");
  on_cpu.event.cpus = {2};
  EventSetup on_one = software;
  on_one.event.cpus = {1};
  EXPECT_EQ(planned({on_one, on_cpu}, true), "0 1");
}

TEST(GroupPlans, AreLedByWhatStopsThemAtAnOverflow) {
  const EventSetup plain{fake_event(1)};
  const EventSetup sampled{fake_event(2), 0, {.period = 10}};
  const EventSetup by_frequency{fake_event(2), 0, {.frequency = 10}};
  const EventSetup masks{fake_event(3), 0, {.period = 10, .mask = true}};
  EXPECT_EQ(planned({plain, plain}, true), "0,1");
  EXPECT_EQ(planned({plain, sampled}, true), "0,1s");
  EXPECT_EQ(planned({by_frequency, plain}, true), "0,1s");
  EXPECT_EQ(planned({plain, masks, plain}, true), "1,0,2s");
  EXPECT_EQ(planned({plain, masks}, false), "1s 0");
  const EventSetup switches{fake_event(4), 5, {.period = 10, .switch_set = true}};
  const EventSetup in_five{fake_event(5), 5};
  EXPECT_EQ(planned({plain, masks, in_five, switches}, true), "1,0s 3,2s");
}

class AskedKernel : public testing::Test {
 protected:
  /// Loads these on a target. What the kernel was asked for is in `kernel.opened`, from number 1
  /// on; the first is the clock.
  void load(const std::vector<EventSetup>& events, const CounterTarget& target,
            SessionOptions options = {.switch_by_itself = false}) {
    session = session_over(options, kernel);
    kernel.opened.clear();
    ASSERT_TRUE(session.create_sets(std::array{SetSetup{5}}));
    ASSERT_TRUE(session.program(events));
    const auto loaded = session.load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
  }
  const perf_event_attr& attr(std::size_t at) const { return kernel.opened.at(at).attr.base; }

  FakeCounters kernel;
  CounterSession session = session_over({}, kernel);
  CounterTarget thread = CounterTarget::thread({kTask, 7});
  CounterTarget process = CounterTarget::process({kTask, 7});
};

TEST_F(AskedKernel, IsToldAllThatDescribesAnEvent) {
  CounterEvent event = fake_event(0x11);
  event.type = 77;
  event.config1 = 0x22;
  event.config2 = 0x33;
  event.config3 = 0x44;
  event.precise = 3;
  event.exclude_user = true;
  std::vector<EventSetup> others(4, {fake_event(2)});
  others[0].event.exclude_kernel = true;
  others[1].event.exclude_hypervisor = true;
  others[2].event.exclude_host = true;
  others[3].event.exclude_guest = true;
  load({{event}, others[0], others[1], others[2], others[3]}, thread);
  ASSERT_EQ(kernel.opened.size(), 6U);
  EXPECT_EQ(attr(1).type, 77U);
  EXPECT_EQ(attr(1).config, 0x11U);
  EXPECT_EQ(attr(1).config1, 0x22U);
  EXPECT_EQ(attr(1).config2, 0x33U);
  EXPECT_EQ(kernel.opened[1].attr.config3, 0x44U);
  EXPECT_EQ(attr(1).precise_ip, 3U);
  EXPECT_EQ(attr(2).precise_ip, 0U);
  EXPECT_EQ(attr(1).disabled, 1U) << "the session starts it";
  EXPECT_EQ(attr(2).disabled, 0U) << "it counts while its leader does";
  EXPECT_EQ(attr(1).read_format, PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED |
                                     PERF_FORMAT_TOTAL_TIME_RUNNING | PERF_FORMAT_GROUP);
  EXPECT_EQ(attr(1).sample_type, 0U);
  EXPECT_EQ(attr(1).use_clockid, 0U);
  EXPECT_EQ(kernel.opened[1].task, kTask);
  EXPECT_EQ(kernel.opened[1].cpu, -1);
  EXPECT_EQ(attr(1).exclude_user, 1U);
  EXPECT_EQ(attr(2).exclude_user + attr(2).exclude_kernel + attr(2).exclude_hv, 1U);
  EXPECT_EQ(attr(2).exclude_kernel, 1U);
  EXPECT_EQ(attr(3).exclude_hv, 1U);
  EXPECT_EQ(attr(4).exclude_host, 1U);
  EXPECT_EQ(attr(5).exclude_guest, 1U);
  EXPECT_EQ(attr(0).type, std::uint32_t{PERF_TYPE_SOFTWARE});
  EXPECT_EQ(attr(0).config, std::uint64_t{PERF_COUNT_SW_DUMMY});
  EXPECT_EQ(attr(0).exclude_kernel, 1U) << "so everybody may have the clock";
  EXPECT_EQ(attr(0).exclude_hv, 1U);
  EXPECT_EQ(attr(0).disabled, 1U);
  EXPECT_EQ(attr(0).read_format, PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
}

TEST_F(AskedKernel, IsToldToCloseTheLeaderOfAGroupLast) {
  load({{fake_event(1)}, {fake_event(2)}, {fake_event(3)}}, thread);
  std::vector<int> members;
  int leader = -1;
  for (const auto& [file, event] : kernel.events) {
    if (event.group >= 0) {
      members.push_back(file);
      leader = event.group;
    }
  }
  kernel.closed.clear();
  ASSERT_TRUE(session.unload());
  ASSERT_EQ(kernel.closed.size(), 4U) << "and the clock";
  EXPECT_EQ(kernel.closed[2], leader) << "without it, the others would count for themselves";
  EXPECT_EQ(members.size(), 2U);
}

}  // namespace
}  // namespace shmif::perf::test
