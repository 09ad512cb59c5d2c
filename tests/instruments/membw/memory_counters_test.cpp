// Which counters are opened on machines of Intel and AMD, and that a machine of which one
// controller is described badly gives none.

#include "instruments/membw/pmu_source.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

using Counts = MemoryCounter::Counts;

TEST(MemoryCounters, OfTwoIntelSocketsAreOneForEachChannelSocketAndDirection) {
  const Tree tree;
  for (unsigned channel = 0; channel < 6; ++channel) put_imc(tree, channel);
  put_free_running(tree, 0);
  tree.put(kPmuFolder + std::string("uncore_cha_0/type"), "40\n");
  const auto counters = find_memory_counters(tree.files());
  ASSERT_TRUE(counters) << counters.error().message;
  EXPECT_EQ(counters->size(), 6U * 2 * 2);
  std::set<std::string> names;
  for (const MemoryCounter& each : *counters) {
    names.insert(each.name);
    EXPECT_EQ(each.bytes_per_count, 64) << each.name;
    EXPECT_EQ(each.event.config, each.counts == Counts::reads ? 0x304U : 0xC04U) << each.name;
    EXPECT_TRUE(each.cpu == 0 || each.cpu == 28) << each.name;
  }
  EXPECT_EQ(names.size(), counters->size());
  EXPECT_TRUE(names.contains("uncore_imc_5/cas_count_write/ on CPU 28"));
  EXPECT_EQ(counters->back().event.type, 19U);
}

TEST(MemoryCounters, OfOneSocketAreOnItsCpu) {
  const Tree tree;
  put_sockets(tree);
  for (unsigned channel = 0; channel < 2; ++channel) put_imc(tree, channel);
  const auto counters = find_memory_counters(tree.files(), 1);
  ASSERT_TRUE(counters) << counters.error().message;
  EXPECT_EQ(counters->size(), 4U);
  for (const MemoryCounter& each : *counters) EXPECT_EQ(each.cpu, 28) << each.name;
  const auto none = find_memory_counters(tree.files(), 2);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "no memory controller belongs to socket 2");
  tree.remove("/sys/devices/system/cpu/cpu28");
  EXPECT_FALSE(find_memory_counters(tree.files(), 1));
}

TEST(MemoryCounters, OfChannelsWithTwoHalvesCountBoth) {
  const Tree tree;
  put_imc(tree, 0, "0\n");
  const std::string events = kPmuFolder + std::string("uncore_imc_0/events/");
  for (const std::string which : {"read", "write"}) {
    tree.remove(events + "cas_count_" + which);
    for (const char* half : {"_sch0", "_sch1"}) {
      const std::string name = events + "cas_count_" + which + half;
      tree.put(name, which == "read" ? "event=0x05,umask=0xcf\n" : "event=0x05,umask=0xf0\n");
      tree.put(name + ".scale", "6.103515625e-5\n");
      tree.put(name + ".unit", "MiB\n");
    }
  }
  const auto counters = find_memory_counters(tree.files());
  ASSERT_TRUE(counters) << counters.error().message;
  ASSERT_EQ(counters->size(), 4U);
  EXPECT_EQ(counters->at(1).name, "uncore_imc_0/cas_count_read_sch1/ on CPU 0");
  EXPECT_EQ(counters->at(1).event.config, 0xCF05U);
  EXPECT_EQ(counters->at(3).counts, Counts::writes);
}

TEST(MemoryCounters, OfAmdChannelsUseTheMaskOfReadsAndWrites) {
  const Tree tree;
  for (unsigned channel = 0; channel < 12; ++channel) put_umc(tree, channel);
  for (unsigned channel = 12; channel < 24; ++channel) put_umc(tree, channel, "64\n");
  put_fabric(tree, 0x1a, true);
  const auto counters = find_memory_counters(tree.files());
  ASSERT_TRUE(counters) << counters.error().message;
  ASSERT_EQ(counters->size(), 48U);
  EXPECT_EQ(counters->at(0).name, "amd_umc_0/umc_cas_cmd.rd/ on CPU 0");
  EXPECT_EQ(counters->at(0).event.config, 0x10AU);
  EXPECT_EQ(counters->at(1).event.config, 0x20AU);
  EXPECT_EQ(counters->at(1).counts, Counts::writes);
  EXPECT_EQ(counters->at(1).bytes_per_count, 64);
}

TEST(MemoryCounters, OfTheDataFabricDependOnTheProcessor) {
  const Tree fifth;
  put_fabric(fifth, 0x1a, true);
  const auto newest = find_memory_counters(fifth.files());
  ASSERT_TRUE(newest) << newest.error().message;
  EXPECT_EQ(newest->size(), 12U * 2 * 2);
  EXPECT_EQ(newest->at(0).event.config, 0x0F00FE1FU);
  EXPECT_EQ(newest->at(2).event.config, 0x0F00FF1FU);
  EXPECT_EQ(newest->at(2).counts, Counts::writes);

  const Tree fourth;
  put_fabric(fourth, 0x19, true, "0\n");
  const auto newer = find_memory_counters(fourth.files());
  ASSERT_TRUE(newer) << newer.error().message;
  EXPECT_EQ(newer->size(), 12U * 4);
  EXPECT_EQ(newer->at(0).event.config, 0x0700FE1FU);
  EXPECT_EQ(newer->at(1).name, "amd_df/remote_processor_read_data_beats_cs0/ on CPU 0");
  EXPECT_EQ(newer->at(1).event.config, 0x0B00FE1FU);
  for (std::size_t i = 0; i < newer->size(); ++i) {
    const MemoryCounter& each = newer->at(i);
    const bool writes = each.name.find("_write_") != std::string::npos;
    EXPECT_EQ(each.counts, writes ? Counts::writes : Counts::reads) << each.name;
  }
  EXPECT_EQ(newer->back().name, "amd_df/remote_processor_write_data_beats_cs11/ on CPU 0");
  EXPECT_EQ(newer->back().event.config, 0x20B00FFDFU);

  const Tree first;
  put_fabric(first, 0x17, false, "0\n");
  const auto older = find_memory_counters(first.files());
  ASSERT_TRUE(older) << older.error().message;
  ASSERT_EQ(older->size(), 8U);
  EXPECT_EQ(older->at(0).event.config, 0x3807U);
  EXPECT_EQ(older->at(4).event.config, 0x100003807U);
  EXPECT_EQ(older->at(4).counts, Counts::both);

  const Tree unknown;
  put_fabric(unknown, 0x30, true);
  EXPECT_EQ(find_memory_counters(unknown.files()).error().message,
            "the events of amd_df are not known for this processor");
}

TEST(MemoryCounters, OfAMachineWithABrokenControllerAreNone) {
  struct Case {
    std::string file;
    std::optional<std::string> text;
    std::string says;
  };
  const std::string pmu = kPmuFolder + std::string("uncore_imc_1/");
  for (const Case& each :
       {Case{"events/cas_count_read.scale", {}, "there is no "},
        Case{"events/cas_count_read.scale", "", "cas_count_read.scale has no number: \"\""},
        Case{"events/cas_count_read.unit", {}, "cas_count_read.unit names no unit of bytes: \"\""},
        Case{"events/cas_count_read.unit", "furlongs\n", "names no unit of bytes: \"furlongs\""},
        Case{"events/cas_count_read", "", "cas_count_read: \"\" is not a term"},
        Case{"events/cas_count_read", "event=0x04,um", "the PMU has no term \"um\""},
        Case{"events/cas_count_write", {}, "has no event cas_count_write"},
        Case{"events/cas_count_write", "event=0x04,", "\"\" is not a term"},
        Case{"type", "", "uncore_imc_1/type is empty"},
        Case{"cpumask", {}, "cpumask names no CPUs"},
        Case{"cpumask", "\n", "cpumask names no CPUs"},
        Case{"cpumask", "0-\n", "cpumask has no list of CPUs"},
        Case{"format/umask", "config:8-", "which are not bits of 0 to 63"},
        Case{"format", {}, "the PMU has no term \"event\""}}) {
    SCOPED_TRACE(each.file + ' ' + each.text.value_or("(missing)"));
    const Tree tree;
    for (unsigned channel = 0; channel < 3; ++channel) put_imc(tree, channel);
    ASSERT_TRUE(find_memory_counters(tree.files()));
    if (each.text) {
      tree.put(pmu + each.file, *each.text);
    } else {
      tree.remove(pmu + each.file);
    }
    const auto counters = find_memory_counters(tree.files());
    ASSERT_FALSE(counters);
    EXPECT_NE(counters.error().message.find(each.says), std::string::npos)
        << counters.error().message;
  }
}

TEST(MemoryCounters, OfAMachineWithoutThemAreNoneAndTheReasonSaysWhatThereIs) {
  const Tree tree;
  EXPECT_NE(find_memory_counters(tree.files()).error().message.find("describes no PMUs"),
            std::string::npos);
  tree.put(kPmuFolder + std::string("software/type"), "1\n");
  const auto plain = find_memory_counters(tree.files());
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code, Errc::not_supported);
  EXPECT_EQ(plain.error().message, "no PMU of a memory controller in " + tree.path() +
                                       "/sys/bus/event_source/devices (uncore_imc_N, amd_umc_N or "
                                       "amd_df)");
  put_free_running(tree, 0);
  EXPECT_NE(find_memory_counters(tree.files()).error().message.find("but free-running ones"),
            std::string::npos);
}

TEST(MemoryCounters, CountInTheUnitsThatTheirFilesName) {
  for (const auto& [unit, bytes] : {std::pair("B", 1.0),
                                    {"KiB", 1024.0},
                                    {"MiB", 1048576.0},
                                    {"KB", 1e3},
                                    {"MB", 1e6},
                                    {"GB", 1e9}}) {
    const Tree tree;
    put_imc(tree, 0, "0\n");
    const std::string read = kPmuFolder + std::string("uncore_imc_0/events/cas_count_read");
    tree.put(read + ".unit", unit + std::string("\n"));
    tree.put(read + ".scale", "0.5\n");
    const auto counters = find_memory_counters(tree.files());
    ASSERT_TRUE(counters) << counters.error().message;
    EXPECT_EQ(counters->at(0).bytes_per_count, 0.5 * bytes) << unit;
    EXPECT_EQ(counters->at(1).bytes_per_count, 64) << "of writes";
  }
}

}  // namespace
}  // namespace shmif::perf::test
