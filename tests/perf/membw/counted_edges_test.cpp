// Counters of memory controllers and of copied bytes at their limits: units, texts that are nearly
// right, windows without a length, what another user may not read.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "perf/membw/pmu_source.hpp"
#include "perf/membw/software_source.hpp"
#include "shmif/port.hpp"
#include "tests/perf/membw/as_nobody.hpp"
#include "tests/perf/membw/fake_counters.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

// ---- Memory controllers ----

TEST(MemoryCounters, CountInTheUnitsThatTheirFilesName) {
  for (const auto& [unit, bytes] :
       {std::pair("B", 1.0), std::pair("Bytes", 1.0), std::pair("KiB", 1024.0),
        std::pair("MiB", 1048576.0), std::pair("GiB", 1073741824.0), std::pair("KB", 1e3),
        std::pair("MB", 1e6), std::pair("GB", 1e9)}) {
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

TEST(MemoryCounters, OfAFabricThatIsNotKnownAreNone) {
  const auto why = [](unsigned family, bool second) {
    const Tree tree;
    put_fabric(tree, family, second, "0\n");
    const auto counters = find_memory_counters(tree.files());
    return counters ? std::to_string(counters->size()) : counters.error().message;
  };
  const std::string unknown = "the events of amd_df are not known for this processor";
  EXPECT_EQ(why(0x17, false), "8");
  EXPECT_EQ(why(0x19, false), "8");
  EXPECT_EQ(why(0x19, true), "48");
  EXPECT_EQ(why(0x1a, true), "24");
  EXPECT_EQ(why(0x17, true), unknown);
  EXPECT_EQ(why(0x1a, false), unknown);
  EXPECT_EQ(why(0x18, false), unknown);
  for (const char* const text : {"", "cpu family\n", "model: 25\n", "cpu family\t: \n"}) {
    const Tree tree;
    put_fabric(tree, 0x19, true, "0\n");
    tree.put("/proc/cpuinfo", text);
    EXPECT_EQ(find_memory_counters(tree.files()).error().message, unknown) << text;
    tree.remove("/proc/cpuinfo");
    EXPECT_EQ(find_memory_counters(tree.files()).error().message, unknown);
    const std::string mask = kPmuFolder + std::string("amd_df/format/umask");
    tree.put(mask, "config:8-\n");
    EXPECT_FALSE(find_memory_counters(tree.files()));
    tree.remove(mask);
    EXPECT_NE(find_memory_counters(tree.files()).error().message.find("format/umask"),
              std::string::npos);
  }
}

class SeldomPmu : public ::testing::Test {
 protected:
  SeldomPmu() { put_imc(tree_, 0, "0\n"); }
  Tree tree_;
  FakeCounters calls_;
  std::uint64_t now_ = kSecond;
  PmuSource pmu_{tree_.files(), {}, calls_, [this] { return now_; }};
};

TEST_F(SeldomPmu, AsksForTheCountersAsTheyAreDescribed) {
  const std::string pmu = kPmuFolder + std::string("uncore_imc_0/");
  tree_.put(pmu + "format/a", "config1:0-7\n");
  tree_.put(pmu + "format/b", "config2:0-7\n");
  tree_.put(pmu + "format/c", "config3:0-7\n");
  tree_.put(pmu + "events/cas_count_read", "event=0x04,umask=0x03,a=0x11,b=0x22,c=0x33\n");
  ASSERT_TRUE(pmu_.open({}));
  ASSERT_EQ(calls_.all.size(), 2U);
  const EventAttr& asked = calls_.all[0].event;
  EXPECT_EQ(asked.base.size, sizeof asked.base);
  EXPECT_EQ(asked.base.type, 14U);
  EXPECT_EQ(asked.base.config, 0x304U);
  EXPECT_EQ(asked.base.config1, 0x11U);
  EXPECT_EQ(asked.base.config2, 0x22U);
  EXPECT_EQ(asked.config3, 0x33U);
  EXPECT_EQ(asked.base.disabled, 1U);
  EXPECT_EQ(asked.base.read_format,
            PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
  EXPECT_EQ(pmu_.name(), "pmu");
  EXPECT_EQ(pmu_.origin(), "perf_event_open, counters described in " + tree_.at("") +
                               "/sys/bus/event_source/devices");
  ASSERT_TRUE(pmu_.open({}));
  EXPECT_EQ(calls_.open_now(), 2U) << "those of before were closed";
  {
    PmuSource other(tree_.files(), {}, calls_);
    ASSERT_TRUE(other.open({}));
    EXPECT_EQ(calls_.open_now(), 4U);
  }
  EXPECT_EQ(calls_.open_now(), 2U);
  ASSERT_TRUE(pmu_.close());
  ASSERT_TRUE(pmu_.enable());
  EXPECT_FALSE(pmu_.read().total) << "nothing is open";
}

TEST_F(SeldomPmu, SaysWhatWouldHelp) {
  const auto why = [&](int error) {
    calls_.all.clear();
    calls_.fail_open = 0;
    calls_.fail_with = error;
    return pmu_.open({}).error().message;
  };
  const std::string counter = "cannot open uncore_imc_0/cas_count_read/ on CPU 0: ";
  EXPECT_EQ(why(ENODEV), counter +
                             "No such device (this machine does not have it, or the CPU is "
                             "offline)");
  for (const int error : {EACCES, EPERM}) {
    EXPECT_EQ(why(error), counter + std::error_code(error, std::generic_category()).message() +
                              " (counters of the whole machine need CAP_PERFMON, or "
                              "kernel.perf_event_paranoid at 0)");
  }
  EXPECT_EQ(why(EINVAL), counter + "Invalid argument");
}

TEST_F(SeldomPmu, TellsTheFirstCallThatFailed) {
  ASSERT_TRUE(pmu_.open({}));
  calls_.fail_enable = 0;
  EXPECT_EQ(pmu_.enable().error().message,
            "cannot enable uncore_imc_0/cas_count_read/ on CPU 0: Bad file descriptor");
  calls_.fail_enable = -1;
  calls_.fail_disable = 1;
  EXPECT_EQ(pmu_.disable().error().message,
            "cannot disable uncore_imc_0/cas_count_write/ on CPU 0: Bad file descriptor");
  calls_.fail_read = 0;
  EXPECT_EQ(pmu_.enable().error().message,
            "cannot read uncore_imc_0/cas_count_read/ on CPU 0: Input/output error");
}

TEST_F(SeldomPmu, HasTheTimesOfItsOwnClock) {
  ASSERT_TRUE(pmu_.open({}));
  ASSERT_TRUE(pmu_.enable());
  now_ += kSecond;
  calls_.pass(kSecond, 10);
  ASSERT_TRUE(pmu_.disable());
  now_ += kSecond;
  EXPECT_EQ(pmu_.read().begin_ns, kSecond);
  EXPECT_EQ(pmu_.read().end_ns, 2 * kSecond);
  EXPECT_FALSE(pmu_.read().local);
}

// ---- Copied bytes ----

const std::string kNetHead = "Inter-|\n face |bytes\n";
std::string net_columns(std::size_t columns) {
  std::string text;
  for (std::size_t at = 1; at <= columns; ++at) text += ' ' + std::to_string(at);
  return text;
}

TEST(NetDevicesText, HasSixteenColumnsBehindEachName) {
  const auto devices = read_net_devices(kNetHead + "lo:" + net_columns(16) + '\n');
  ASSERT_TRUE(devices);
  EXPECT_EQ(devices->at("lo").read, 1U);
  EXPECT_EQ(devices->at("lo").written, 9U);
  EXPECT_TRUE(read_net_devices(kNetHead + "\tlo:\t" + net_columns(17) + " \n"));
  for (const std::string& line : std::vector<std::string>{
           "lo:" + net_columns(15), "l o:" + net_columns(16), ":" + net_columns(16),
           "lo" + net_columns(16), "lo: x" + net_columns(15),
           "lo: 1 2 3 4 5 6 7 8 x 10 11 12 13 14 15 16"}) {
    EXPECT_FALSE(read_net_devices(kNetHead + line + '\n')) << line;
  }
  EXPECT_FALSE(read_net_devices("Inter-|\n"));
}

class SeldomSoftware : public ::testing::Test {
 protected:
  void put_io(int pid, std::uint64_t read, std::uint64_t written) const {
    tree_.put("/proc/" + std::to_string(pid) + "/io",
              "rchar: " + std::to_string(read) + "\nwchar: " + std::to_string(written) + '\n');
  }
  MemoryReading window(CountedSource& source, std::uint64_t ns = kSecond) {
    EXPECT_TRUE(source.disable());
    now_ += ns;
    return source.read();
  }
  Tree tree_;
  std::uint64_t now_ = kSecond;
  ProcessIoSource io_{tree_.files(), [this] { return now_; }};
};

TEST_F(SeldomSoftware, NoticesCountsThatWereSetBack) {
  put_io(10, 100, 100);
  put_io(20, 100, 100);
  ASSERT_TRUE(io_.open({10, 20}));
  ASSERT_TRUE(io_.enable());
  now_ += kSecond;
  put_io(10, 99, 150);
  put_io(20, 98, 150);
  MemoryReading reading = window(io_);
  EXPECT_FALSE(reading.reads);
  EXPECT_EQ(reading.writes, 100);
  EXPECT_FALSE(reading.total);
  EXPECT_EQ(reading.reason, "process 10 was set back during the window");
  ASSERT_TRUE(io_.enable());
  now_ += kSecond;
  put_io(20, 100, 1);
  reading = window(io_);
  EXPECT_EQ(reading.reads, 2);
  EXPECT_FALSE(reading.writes);
  EXPECT_EQ(reading.reason, "process 20 was set back during the window");
}

TEST_F(SeldomSoftware, HasNoRateOfAWindowWithoutALengthOrWithoutABegin) {
  put_io(10, 100, 100);
  ASSERT_TRUE(io_.open({10}));
  ASSERT_TRUE(io_.enable());
  MemoryReading reading = window(io_);
  EXPECT_FALSE(reading.total);
  EXPECT_EQ(reading.reason, "the window had no length");
  tree_.put("/proc/10/io", "first\n");
  ASSERT_TRUE(io_.enable());
  const std::uint64_t begin = now_;
  now_ += kSecond;
  tree_.remove("/proc/10");
  reading = window(io_);
  EXPECT_EQ(reading.reason, tree_.at("/proc/10/io") + " is not as proc_pid_io(5) describes it")
      << "what came first";
  EXPECT_EQ(reading.begin_ns, begin);
  EXPECT_EQ(reading.end_ns, begin + kSecond);
  put_io(10, 100, 100);
  ASSERT_TRUE(io_.enable());
  now_ += kSecond;
  tree_.remove("/proc/10");
  reading = window(io_);
  EXPECT_NE(reading.reason.find("the processes that were watched have ended"), std::string::npos)
      << reading.reason;
  EXPECT_FALSE(reading.reads);
}

TEST_F(SeldomSoftware, PassesOverAChildThatHasEndedButNotOverOneThatIsRefused) {
  put_io(10, 100, 100);
  tree_.put("/proc/10/task/10/children", "11 12 10 ");
  put_io(12, 5, 5);
  ASSERT_TRUE(io_.open({10})) << "11 is gone";
  EXPECT_EQ(io_.level(), MemoryLevel::copied);
  EXPECT_EQ(io_.origin(), tree_.at("/proc/PID/io"));
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chmod(tree_.at("/proc/12/io").c_str(), 0600), 0);
  EXPECT_TRUE(as_nobody(tree_, [&] {
    const auto opened = io_.open({10});
    EXPECT_FALSE(opened);
    EXPECT_EQ(opened.error().message,
              "cannot open " + tree_.at("/proc/12/io") + ": Permission denied");
  }));
}

TEST_F(SeldomSoftware, OfDevicesAreThoseOfTheNamespaceThatIsAskedFor) {
  tree_.put("/proc/net/dev", kNetHead + "own:" + net_columns(16) + '\n');
  tree_.put("/proc/10/net/dev", "none\n");
  DeviceSource theirs(tree_.files(), [this] { return now_; });
  EXPECT_EQ(theirs.open({10}).error().message,
            tree_.at("/proc/10/net/dev") + " is not as proc_pid_net(5) describes it");
  EXPECT_EQ(theirs.origin(), tree_.at("/proc/PID/net/dev"));
  EXPECT_EQ(theirs.scope(), MemoryScope::machine);
  EXPECT_EQ(theirs.part(), "devices");
  DeviceSource own(tree_.files(), [this] { return now_; }, DeviceSource::Where::in_own_namespace);
  EXPECT_TRUE(own.open({10}));
  EXPECT_EQ(own.origin(), tree_.at("/proc/net/dev"));
}

TEST_F(SeldomSoftware, OfABusCountWhatAPortReads) {
  const shmif::test::TempBus bus;
  Port sender = shmif::test::port_on(bus.path());
  Port receiver = shmif::test::port_on(bus.path());
  BusSource source(bus.path(), [this] { return now_; });
  ASSERT_TRUE(source.open({}));
  EXPECT_EQ(source.part(), "bus");
  EXPECT_EQ(source.scope(), MemoryScope::machine);
  ASSERT_TRUE(source.enable());
  const auto frame = shmif::test::make_frame(1000, 1);
  const FrameView view{frame};
  for (int sent = 0; sent < 3; ++sent) ASSERT_FALSE(sender.send({&view, 1}).error);
  EXPECT_EQ(shmif::test::collect(receiver, 3).size(), 3U);
  now_ += 2 * kSecond;
  ASSERT_TRUE(source.disable());
  EXPECT_EQ(source.read().reads, 1500) << source.read().reason;
  EXPECT_EQ(source.read().writes, 1500);
  EXPECT_EQ(source.read().total, 3000);
}

}  // namespace
}  // namespace shmif::perf::test
