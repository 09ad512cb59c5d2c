// The kernel's texts: each figure from its place, and any other text without harm.

#include "perf/why/kernel_text.hpp"

#include <gtest/gtest.h>

#include <random>

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
  const SwitchCounts sched = read_sched(
      "cat (1, #threads: 1)\n----\nse.nr_migrations      :        11\nnr_switches     :  99\n"
      "nr_voluntary_switches                        :                   12\n"
      "nr_involuntary_switches                      :                   13\n");
  EXPECT_EQ(sched.migrations, 11U);
  EXPECT_EQ(sched.voluntary, 12U);
  EXPECT_EQ(sched.involuntary, 13U);
  const SwitchCounts others = read_sched(
      "nr_voluntary_switches_of_others : 1\nnr_voluntary_switches : x\nnr_voluntary_switches:2");
  EXPECT_FALSE(others.migrations);
  EXPECT_EQ(others.voluntary, 2U);
  EXPECT_FALSE(others.involuntary);
  const SwitchCounts status = read_status_switches(
      "Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n");
  EXPECT_FALSE(status.migrations);
  EXPECT_EQ(status.voluntary, 5U);
  EXPECT_EQ(status.involuntary, 6U);
}

TEST(KernelText, OfAllowedCpusIsAList) {
  EXPECT_EQ(read_allowed("Cpus_allowed:\t3\nCpus_allowed_list:\t0-1,8\nMems_allowed:\t1\n"),
            "0-1,8");
  EXPECT_EQ(read_allowed("Name:\tx\n"), "");
  for (const int cpu : {0, 1, 8}) EXPECT_TRUE(list_has("0-1,8", cpu)) << cpu;
  for (const int cpu : {-1, 2, 7, 9}) EXPECT_FALSE(list_has("0-1,8", cpu)) << cpu;
  EXPECT_FALSE(list_has("", 0));
}

TEST(KernelText, OfCpusHasStealAndSoftirqs) {
  const auto cpus = read_cpu_ticks(
      "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 70 80 9 10\ncpu3 1 2 3 4 5 6 71 81\nintr 5\n");
  ASSERT_EQ(cpus.size(), 2U);
  EXPECT_EQ(cpus[0].cpu, 0U);
  EXPECT_EQ(cpus[0].softirq, 70U);
  EXPECT_EQ(cpus[0].steal, 80U);
  EXPECT_EQ(cpus[1].cpu, 3U);
  EXPECT_EQ(cpus[1].softirq, 71U);
  EXPECT_EQ(cpus[1].steal, 81U);
}

TEST(KernelText, OfQueuesIsHexadecimalAndNamesTheCpuIfItCan) {
  const std::string zeros =
      " 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
      " 00000000";
  const auto cpus = read_softnet("0000001a 0000000b 0000000c" + zeros + " 00000012 00000000\n" +
                                 "00000001 00000002 00000003\n");
  ASSERT_EQ(cpus.size(), 2U);
  EXPECT_EQ(cpus[0].cpu, 18U);
  EXPECT_EQ(cpus[0].packets, 26U);
  EXPECT_EQ(cpus[0].drops, 11U);
  EXPECT_EQ(cpus[0].squeezes, 12U);
  EXPECT_EQ(cpus[1].cpu, 1U) << "the second line";
  EXPECT_EQ(cpus[1].drops, 2U);
}

TEST(KernelText, OfInterfacesHasPacketsAndDropsOfBothDirections) {
  const auto devices = read_devices(
      "Inter-|   Receive       |  Transmit\n face |bytes packets errs drop fifo frame compressed "
      "multicast|bytes packets errs drop fifo colls carrier compressed\n"
      "    lo:       0       0    0    0    0     0          0         0        0       0    0    "
      "0\n"
      "eth0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[0].name, "lo");
  EXPECT_EQ(devices[1].name, "eth0:1");
  EXPECT_EQ(devices[1].rx_packets, 2U);
  EXPECT_EQ(devices[1].rx_drops, 4U);
  EXPECT_EQ(devices[1].tx_packets, 10U);
  EXPECT_EQ(devices[1].tx_drops, 12U);
}

TEST(KernelText, OfPressureAndGroupsHasTotals) {
  EXPECT_EQ(read_pressure("some avg10=0.00 avg60=0.36 avg300=0.38 total=248374818\nfull total=1\n"),
            248374818U);
  EXPECT_FALSE(read_pressure("full avg10=0.00 total=1\n"));
  const char* const stat = "nr_periods 5\nnr_throttled 3\nthrottled_time 77\nnr_bursts 1\n";
  EXPECT_EQ(read_keyed(stat, "nr_throttled"), 3U);
  EXPECT_EQ(read_keyed(stat, "throttled_time"), 77U);
  EXPECT_FALSE(read_keyed(stat, "throttled"));
  EXPECT_FALSE(read_keyed(stat, "nr"));
  EXPECT_EQ(read_numbers("12 34 \n"), (std::vector<int>{12, 34}));
}

TEST(KernelText, OfProtocolsHasTheFigureUnderItsNameOfItsOwnGroup) {
  const char* const text =
      "Ip: Forwarding OutNoRoutes\nIp: 1 22\n"
      "Udp: InDatagrams RcvbufErrors\nUdp: 333 4444\n"
      "UdpLite: InDatagrams RcvbufErrors\nUdpLite: 5 6\n";
  EXPECT_EQ(read_paired(text, "Ip", "OutNoRoutes"), 22U);
  EXPECT_EQ(read_paired(text, "Udp", "RcvbufErrors"), 4444U);
  EXPECT_EQ(read_paired(text, "UdpLite", "RcvbufErrors"), 6U);
  EXPECT_FALSE(read_paired(text, "Ip", "RcvbufErrors"));
  EXPECT_FALSE(read_paired(text, "I", "OutNoRoutes"));
  EXPECT_FALSE(read_paired("UdpLite: A\nUdpLite: 7\n", "Udp", "A"));
  EXPECT_FALSE(read_paired("Udp: A\nUdpLite: 7\n", "Udp", "A")) << "of another group";
  EXPECT_FALSE(read_paired("Udp: A B\nUdp: 7\n", "Udp", "B"));
  EXPECT_FALSE(read_paired("Udp: A\n", "Udp", "A"));
  EXPECT_FALSE(read_paired("Udp: A\nUdp: -1\n", "Udp", "A"));
}

TEST(KernelText, OfATableIsTheSumOfAColumnOrUnknown) {
  EXPECT_EQ(read_column("a b c\n1 10 2\n1 0f 2\n", "b"), 0x1fU);
  EXPECT_EQ(read_column("a b c\n1 10 2\n1 0f 2\n", "c"), 4U);
  EXPECT_FALSE(read_column("a b c\n1 10 2\n1\n", "b")) << "a CPU whose figure is not there";
  EXPECT_FALSE(read_column("a b c\n1 x 2\n", "b"));
  EXPECT_FALSE(read_column("a b c\n", "b")) << "no CPU at all";
}

TEST(KernelText, OfAnyOtherFormDoesNoHarm) {
  std::mt19937 random(3);
  const std::string pieces = "cpu0 1 9\n:\t-,xffsome total=|eth";
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const std::size_t length = random() % 80;
    while (text.size() < length) text += pieces[random() % pieces.size()];
    read_schedstat(text);
    read_sched(text);
    read_status_switches(text);
    list_has(read_allowed(text), 3);
    list_has(text, 3);
    read_cpu_ticks(text);
    read_softnet(text);
    read_devices(text);
    read_pressure(text);
    read_keyed(text, "cpu");
    read_numbers(text);
  }
}

}  // namespace
}  // namespace shmif::perf::test
