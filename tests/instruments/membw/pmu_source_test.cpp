// Windows of the counters of memory controllers: scaled by their own times, all or nothing, and
// never a number that was not counted.

#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "instruments/membw/pmu_source.hpp"
#include "tests/instruments/membw/fake_counters.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

class PmuSourceTest : public ::testing::Test {
 protected:
  PmuSourceTest() {
    put_sockets(tree_);
    for (unsigned channel = 0; channel < 2; ++channel) put_imc(tree_, channel);
  }
  PmuSource source(std::optional<unsigned> socket = {}) {
    return PmuSource(tree_.files(), socket, calls_, [this] { return now_; });
  }
  /// A window of one second. Counters of writes count twice as much.
  MemoryReading window(PmuSource& source, std::uint64_t count, double share = 1) {
    EXPECT_TRUE(source.enable());
    now_ += kSecond;
    calls_.pass(kSecond, count, share);
    for (FakeCounters::One& each : calls_.all) {
      if (each.is_write()) each.raw.value *= 2;
    }
    EXPECT_TRUE(source.disable());
    return source.read();
  }

  Tree tree_;
  FakeCounters calls_;
  std::uint64_t now_ = 77 * kSecond;
};

TEST_F(PmuSourceTest, AddsTheRatesOfAllControllers) {
  PmuSource pmu = source();
  EXPECT_EQ(pmu.scope(), MemoryScope::machine);
  EXPECT_EQ(pmu.level(), MemoryLevel::dram);
  ASSERT_TRUE(pmu.open({}));
  EXPECT_EQ(calls_.open_now(), 8U);
  EXPECT_EQ(calls_.enabled_now(), 0U) << "a window begins them";
  const MemoryReading reading = window(pmu, 1'000'000);
  EXPECT_EQ(reading.reads, 4 * 64e6);
  EXPECT_EQ(reading.writes, 4 * 128e6);
  EXPECT_EQ(reading.total, 4 * 192e6);
  EXPECT_EQ(reading.begin_ns, 77 * kSecond);
  EXPECT_EQ(reading.window_s(), 1);
  EXPECT_EQ(reading.running_share, 1);
  EXPECT_EQ(reading.reason, "");
  EXPECT_EQ(calls_.enabled_now(), 0U);
  // The second window begins at 0 again, although the times of the counters go on.
  EXPECT_EQ(window(pmu, 10).reads, 4 * 640.0);
  ASSERT_TRUE(pmu.close());
  EXPECT_EQ(calls_.open_now(), 0U);
}

TEST_F(PmuSourceTest, ScalesEachCounterByItsOwnTimes) {
  PmuSource pmu = source(0);
  EXPECT_EQ(pmu.scope(), MemoryScope::socket);
  ASSERT_TRUE(pmu.open({}));
  ASSERT_EQ(calls_.all.size(), 4U);
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000, 0.25);
  calls_.at(0).raw.running_ns += kSecond / 4;  // this one ran for half of the window
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_DOUBLE_EQ(reading.reads.value(), (2000 + 4000) * 64);
  EXPECT_DOUBLE_EQ(reading.writes.value(), 8000 * 64);
  EXPECT_EQ(reading.running_share, 0.25);
  // The least share counts, whichever counter has it.
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000, 0.25);
  calls_.all.back().raw.running_ns += kSecond / 4;
  ASSERT_TRUE(pmu.disable());
  EXPECT_EQ(pmu.read().running_share, 0.25);
}

TEST_F(PmuSourceTest, SaysNotCountedForACounterThatNeverRan) {
  PmuSource pmu = source();
  ASSERT_TRUE(pmu.open({}));
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000);
  calls_.at(0).raw.running_ns = calls_.start.running_ns;
  calls_.at(0).raw.value = 0;
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_FALSE(reading.reads);
  EXPECT_FALSE(reading.total) << "reads are a part of it";
  EXPECT_EQ(reading.writes, 4 * 64e3);
  EXPECT_EQ(reading.reason,
            "uncore_imc_0/cas_count_read/ on CPU 0 was not counted: it never ran (other programs "
            "may use its registers)");
  // A window of no length is not counted either.
  ASSERT_TRUE(pmu.enable());
  ASSERT_TRUE(pmu.disable());
  EXPECT_FALSE(pmu.read().writes);
}

TEST_F(PmuSourceTest, OpensAllCountersOrNone) {
  for (int failing = 0; failing < 8; ++failing) {
    calls_.all.clear();
    calls_.fail_open = failing;
    PmuSource pmu = source();
    const auto opened = pmu.open({});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, std::errc::permission_denied);
    EXPECT_EQ(calls_.all.size(), static_cast<std::size_t>(failing));
    EXPECT_EQ(calls_.open_now(), 0U);
  }
}

TEST_F(PmuSourceTest, TellsEachCallThatFailed) {
  PmuSource pmu = source();
  ASSERT_TRUE(pmu.open({}));
  calls_.fail_reset = 2;
  EXPECT_EQ(pmu.enable().error().message,
            "cannot reset uncore_imc_0/cas_count_write/ on CPU 0: Bad file descriptor");
  calls_.fail_reset = -1;
  calls_.fail_enable = 5;
  EXPECT_FALSE(pmu.enable());
  EXPECT_EQ(calls_.enabled_now(), 0U) << "none goes on alone";
  calls_.fail_enable = -1;
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 1000);
  calls_.fail_disable = 0;
  EXPECT_FALSE(pmu.disable());
  EXPECT_EQ(calls_.enabled_now(), 1U) << "all others are disabled";
  calls_.fail_disable = -1;
  calls_.fail_read = 1;
  const MemoryReading reading = pmu.read();
  EXPECT_FALSE(reading.reads) << "a short read is no count";
  EXPECT_NE(reading.reason.find("cannot read uncore_imc_0/cas_count_read/ on CPU 28: "),
            std::string::npos)
      << reading.reason;
}

TEST_F(PmuSourceTest, OfADataFabricWithoutDirectionsHasATotalOnly) {
  const Tree tree;
  put_fabric(tree, 0x17, false, "0\n");
  PmuSource pmu(tree.files(), {}, calls_, [this] { return now_; });
  ASSERT_TRUE(pmu.open({}));
  ASSERT_TRUE(pmu.enable());
  calls_.pass(kSecond, 10);
  ASSERT_TRUE(pmu.disable());
  const MemoryReading reading = pmu.read();
  EXPECT_EQ(reading.total, 8 * 640.0);
  EXPECT_FALSE(reading.reads);
  EXPECT_FALSE(reading.writes);
  EXPECT_EQ(reading.reason, "the data fabric of this processor does not tell reads from writes");
}

TEST(PmuCounters, AreAskedForAsTheyAreDescribed) {
  const Tree tree;
  put_imc(tree, 0, "0\n");
  const std::string pmu = kPmuFolder + std::string("uncore_imc_0/");
  tree.put(pmu + "format/a", "config1:0-7\n");
  tree.put(pmu + "format/b", "config2:0-7\n");
  tree.put(pmu + "format/c", "config3:0-7\n");
  tree.put(pmu + "events/cas_count_read", "event=0x04,umask=0x03,a=0x11,b=0x22,c=0x33\n");
  FakeCounters calls;
  PmuSource source(tree.files(), {}, calls);
  ASSERT_TRUE(source.open({}));
  ASSERT_EQ(calls.all.size(), 2U);
  const EventAttr& asked = calls.all[0].event;
  EXPECT_EQ(asked.base.size, sizeof asked.base);
  EXPECT_EQ(asked.base.type, 14U);
  EXPECT_EQ(asked.base.config, 0x304U);
  EXPECT_EQ(asked.base.config1, 0x11U);
  EXPECT_EQ(asked.base.config2, 0x22U);
  EXPECT_EQ(asked.config3, 0x33U);
  EXPECT_EQ(asked.base.disabled, 1U);
  EXPECT_EQ(asked.base.read_format,
            PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
  ASSERT_TRUE(source.open({}));
  EXPECT_EQ(calls.open_now(), 2U) << "those of before were closed";
}

}  // namespace

// Which counters are opened on machines of Intel and AMD, and that a machine of which one
// controller is described badly gives none.

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
             {4, "amd_df/dram_channel_data_controller_4/ on CPU 0", 0x100003807, Counts::both}}},
           {"the data fabric of Zen 3",
            [](const Tree& tree) { put_fabric(tree, 0x19, false, "0\n"); },
            8,
            {{0, "amd_df/dram_channel_data_controller_0/ on CPU 0", 0x3807, Counts::both}}}}) {
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
                                    {"Bytes", 1.0},
                                    {"KiB", 1024.0},
                                    {"MiB", 1048576.0},
                                    {"GiB", 1073741824.0},
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
