// Which counters are opened on machines of Intel and AMD, and that a machine of which one
// controller is described badly gives none.

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "instruments/membw/pmu_source.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

using Counts = MemoryCounter::Counts;

/// Channels of which each half has its own events.
void put_halves(const Tree& tree) {
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
}

TEST(MemoryCounters, AreOneForEachChannelSocketAndDirectionAsTheProcessorHasThem) {
  const auto put_many = [](unsigned count, const auto& put) {
    return [=](const Tree& tree) {
      for (unsigned channel = 0; channel < count; ++channel) put(tree, channel);
    };
  };
  struct One {
    std::size_t at;
    std::string name;
    std::uint64_t config;
    Counts counts;
  };
  struct Case {
    const char* what;
    std::function<void(const Tree&)> put;
    std::size_t count;
    std::vector<One> ones;  ///< some of them
  };
  constexpr auto kReads = Counts::reads, kWrites = Counts::writes;
  for (const Case& each : std::initializer_list<Case>{
           {"two sockets of Intel",
            put_many(6,
                     [](const Tree& tree, unsigned channel) {
                       put_imc(tree, channel);
                       put_free_running(tree, 0);
                       tree.put(kPmuFolder + std::string("uncore_cha_0/type"), "40\n");
                     }),
            6 * 2 * 2,
            {{0, "uncore_imc_0/cas_count_read/ on CPU 0", 0x304, kReads},
             {23, "uncore_imc_5/cas_count_write/ on CPU 28", 0xC04, kWrites}}},
           {"channels with two halves",
            put_halves,
            4,
            {{1, "uncore_imc_0/cas_count_read_sch1/ on CPU 0", 0xCF05, kReads},
             {3, "uncore_imc_0/cas_count_write_sch1/ on CPU 0", 0xF005, kWrites}}},
           {"channels of AMD",
            put_many(24,
                     [](const Tree& tree, unsigned channel) {
                       put_umc(tree, channel, channel < 12 ? "0\n" : "64\n");
                       put_fabric(tree, 0x1a, true);
                     }),
            48,
            {{0, "amd_umc_0/umc_cas_cmd.rd/ on CPU 0", 0x10A, kReads},
             {1, "amd_umc_0/umc_cas_cmd.wr/ on CPU 0", 0x20A, kWrites}}},
           {"the data fabric of Zen 5",
            [](const Tree& tree) { put_fabric(tree, 0x1a, true); },
            12 * 2 * 2,
            {{0, "amd_df/local_or_remote_socket_read_data_beats_dram_0/ on CPU 0", 0x0F00FE1F,
              kReads},
             {2, "amd_df/local_or_remote_socket_write_data_beats_dram_0/ on CPU 0", 0x0F00FF1F,
              kWrites}}},
           {"the data fabric of Zen 4",
            [](const Tree& tree) { put_fabric(tree, 0x19, true, "0\n"); },
            12 * 4,
            {{0, "amd_df/local_processor_read_data_beats_cs0/ on CPU 0", 0x0700FE1F, kReads},
             {1, "amd_df/remote_processor_read_data_beats_cs0/ on CPU 0", 0x0B00FE1F, kReads},
             {2, "amd_df/local_processor_write_data_beats_cs0/ on CPU 0", 0x0700FF1F, kWrites},
             {47, "amd_df/remote_processor_write_data_beats_cs11/ on CPU 0", 0x20B00FFDF,
              kWrites}}},
           {"the data fabric of Zen 1",
            [](const Tree& tree) { put_fabric(tree, 0x17, false, "0\n"); },
            8,
            {{0, "amd_df/dram_channel_data_controller_0/ on CPU 0", 0x3807, Counts::both},
             {4, "amd_df/dram_channel_data_controller_4/ on CPU 0", 0x100003807, Counts::both}}}}) {
    SCOPED_TRACE(each.what);
    const Tree tree;
    each.put(tree);
    const auto counters = find_memory_counters(tree.files());
    ASSERT_TRUE(counters) << counters.error().message;
    ASSERT_EQ(counters->size(), each.count);
    std::set<std::string> names;
    for (const MemoryCounter& one : *counters) {
      names.insert(one.name);
      EXPECT_EQ(one.bytes_per_count, 64) << one.name;
      EXPECT_TRUE(one.name.ends_with(" on CPU " + std::to_string(one.cpu))) << one.name;
    }
    EXPECT_EQ(names.size(), each.count);
    for (const One& one : each.ones) {
      const MemoryCounter& found = counters->at(one.at);
      EXPECT_EQ(found.name, one.name);
      EXPECT_EQ(found.event.config, one.config) << one.name;
      EXPECT_EQ(found.counts, one.counts) << one.name;
    }
  }
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
  const auto expect = [&](const std::string& says) {
    const auto none = find_memory_counters(tree.files());
    ASSERT_FALSE(none) << says;
    EXPECT_EQ(none.error().code, Errc::not_supported);
    EXPECT_NE(none.error().message.find(says), std::string::npos) << none.error().message;
  };
  expect("describes no PMUs");
  tree.put(kPmuFolder + std::string("software/type"), "1\n");
  expect("(uncore_imc_N, amd_umc_N or amd_df)");
  put_free_running(tree, 0);
  expect("but free-running ones");
  put_fabric(tree, 0x30, true);
  expect("the events of amd_df are not known for this processor");
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
