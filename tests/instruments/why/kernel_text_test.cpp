// The kernel's texts: each figure from its place, and any other text without harm.

#include "instruments/why/kernel_text.hpp"

#include <gtest/gtest.h>

namespace shmif::perf::test {
namespace {

TEST(KernelText, OfTheSchedulerHasTimesAndSwitches) {
  const auto times = read_schedstat("107690 2434208 2\n");
  ASSERT_TRUE(times);
  EXPECT_EQ(times->run_ns, 107690U);
  EXPECT_EQ(times->wait_ns, 2434208U);
  EXPECT_EQ(times->turns, 2U);
  for (const char* text : {"", "1 2", "1 2 x", "-1 2 3"})
    EXPECT_FALSE(read_schedstat(text)) << text;
  const SwitchCounts others = read_sched(
      "nr_voluntary_switches_of_others : 1\nnr_voluntary_switches : x\nnr_voluntary_switches:2");
  EXPECT_FALSE(others.migrations);
  EXPECT_EQ(others.voluntary, 2U);
  EXPECT_FALSE(others.involuntary);
}

TEST(KernelText, OfAllowedCpusIsAList) {
  EXPECT_EQ(read_allowed("Cpus_allowed:\t3\nCpus_allowed_list:\t0-1,8\nMems_allowed:\t1\n"),
            "0-1,8");
  EXPECT_EQ(read_allowed("Name:\tx\n"), "");
  for (const int cpu : {0, 1, 8}) EXPECT_TRUE(list_has("0-1,8", cpu)) << cpu;
  for (const int cpu : {-1, 2, 7, 9}) EXPECT_FALSE(list_has("0-1,8", cpu)) << cpu;
  EXPECT_FALSE(list_has("", 0));
}

TEST(KernelText, OfQueuesNamesTheCpuIfItCan) {
  const auto cpus = read_softnet(
      "0000001a 0000000b 0000000c 0 0 0 0 0 0 0 0 0 00000012 00000000\n"
      "00000001 00000002 00000003\n");
  ASSERT_EQ(cpus.size(), 2U);
  EXPECT_EQ(cpus[0].cpu, 18U);
  EXPECT_EQ(cpus[0].packets, 26U);
  EXPECT_EQ(cpus[1].cpu, 1U) << "the second line";
  EXPECT_EQ(cpus[1].drops, 2U);
}

TEST(KernelText, OfProtocolsAndGroupsHasTheFigureUnderItsName) {
  const char* const text =
      "Ip: Forwarding OutNoRoutes\nIp: 1 22\n"
      "Udp: InDatagrams RcvbufErrors\nUdp: 333 4444\n"
      "UdpLite: InDatagrams RcvbufErrors\nUdpLite: 5 6\n";
  EXPECT_EQ(read_paired(text, "Udp", "RcvbufErrors"), 4444U);
  EXPECT_EQ(read_paired(text, "UdpLite", "RcvbufErrors"), 6U);
  EXPECT_FALSE(read_paired(text, "Ip", "RcvbufErrors"));
  EXPECT_FALSE(read_paired("Udp: A\nUdpLite: 7\n", "Udp", "A")) << "of another group";
  EXPECT_FALSE(read_paired("Udp: A B\nUdp: 7\n", "Udp", "B"));
  EXPECT_FALSE(read_paired("Udp: A\n", "Udp", "A"));
  EXPECT_FALSE(read_paired("Udp: A\nUdp: -1\n", "Udp", "A"));
  EXPECT_EQ(read_column("a b c\n1 10 2\n1 0f 2\n", "b"), 0x1fU) << "of all CPUs";
  EXPECT_FALSE(read_column("a b c\n1 10 2\n1\n", "b")) << "a CPU whose figure is not there";
  EXPECT_FALSE(read_column("a b c\n", "b")) << "no CPU at all";
  EXPECT_EQ(read_keyed("nr_throttled 3\nthrottled_time 77\n", "throttled_time"), 77U);
  EXPECT_FALSE(read_keyed("nr_throttled 3\nthrottled_time 77\n", "throttled"));
  EXPECT_FALSE(read_pressure("full avg10=0.00 total=1\n"));
}

}  // namespace
}  // namespace shmif::perf::test
