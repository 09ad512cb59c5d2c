// Bytes that software copied: by the account of processes, of devices and of a bus.

#include "instruments/membw/software_source.hpp"

#include "shmif/port.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

const std::string kDeviceHead =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop "
    "fifo colls carrier compressed\n";

std::string device_line(const std::string& name, std::uint64_t received, std::uint64_t sent) {
  return "  " + name + ": " + std::to_string(received) + "      7    0    0    0     0          0" +
         "         0 " + std::to_string(sent) +
         "       8    0    0    0     0       0          0\n";
}
std::string io_text(std::uint64_t read, std::uint64_t written) {
  return "rchar: " + std::to_string(read) + "\nwchar: " + std::to_string(written) +
         "\nsyscr: 1\nsyscw: 2\nread_bytes: 3\nwrite_bytes: 4\ncancelled_write_bytes: 5\n";
}

TEST(ProcessIoText, HasTheBytesOfReadAndWrite) {
  const auto bytes = read_process_io(io_text(123, 456));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->read, 123U);
  EXPECT_EQ(bytes->written, 456U);
  for (const std::string text :
       {"", "rchar: 1\n", "wchar: 1\n", "rchar: 1\nwchar:\n", "rchar: 1\nwchar: x\n",
        "rchar 1\nwchar 2\n", "rchar: 1\nrchar: 2\nwchar: 3\n"}) {
    EXPECT_FALSE(read_process_io(text)) << text;
  }
}

TEST(NetDevicesText, HasTheBytesOfEachDevice) {
  const auto devices =
      read_net_devices(kDeviceHead + device_line("lo", 11, 12) + device_line("a:1", 21, 22));
  ASSERT_TRUE(devices) << devices.error().message;
  EXPECT_EQ(devices->at("lo").read, 11U);
  EXPECT_EQ(devices->at("a:1").written, 22U);
  EXPECT_TRUE(read_net_devices(kDeviceHead)->empty());
  const std::string whole = kDeviceHead + device_line("lo", 11, 12);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto cut = read_net_devices(whole.substr(0, length));
    EXPECT_TRUE(!cut || cut->empty()) << length;
  }
}

class SoftwareSources : public ::testing::Test {
 protected:
  void put_process(int pid, std::uint64_t read, std::uint64_t written,
                   const std::string& children = {}) const {
    const std::string folder = "/proc/" + std::to_string(pid);
    tree_.put(folder + "/io", io_text(read, written));
    tree_.put(folder + "/task/" + std::to_string(pid) + "/children", children);
  }
  MonotonicClock clock() {
    return [this] { return now_; };
  }
  Tree tree_;
  std::uint64_t now_ = kSecond;
};

TEST_F(SoftwareSources, OfProcessesCountTheirDescendantsToo) {
  put_process(10, 100, 10, "11 12 ");
  put_process(11, 1000, 100, "13 ");
  put_process(12, 5, 5);
  put_process(13, 7, 7);
  ProcessIoSource io(tree_.files(), clock());
  ASSERT_TRUE(io.open({10}));
  EXPECT_EQ(io.scope(), MemoryScope::group);
  EXPECT_EQ(std::string(io.name()) + ':' + io.part(), "software:io");
  window_of(
      io, now_,
      [&] {
        // 11 has ended: the one that waited for it has its bytes now. 13 wrote, and went to nobody
        // known.
        put_process(10, 1200, 110, "12 13 ");
        tree_.remove("/proc/11");
        put_process(13, 7, 27);
      },
      2);
  const MemoryReading reading = io.read();
  EXPECT_EQ(reading.reads, 50);
  EXPECT_EQ(reading.writes, 10);
  EXPECT_EQ(reading.total, 60);
}

TEST_F(SoftwareSources, OfProcessesNeedOneThatCanBeRead) {
  ProcessIoSource io(tree_.files(), clock());
  EXPECT_EQ(io.open({}).error().message, "no process is watched (give -p PID, or -- PROGRAM)");
  EXPECT_NE(io.open({10}).error().message.find("/proc/10/io: No such file"), std::string::npos);
  tree_.put("/proc/10/io", "rchar: 1\n");
  EXPECT_EQ(io.open({10}).error().message,
            tree_.path() + "/proc/10/io is not as proc_pid_io(5) describes it");
  put_process(10, 100, 10, "11 ");
  tree_.put("/proc/11/io", "rchar: 1\n");
  EXPECT_FALSE(io.open({10})) << "without its descendant's bytes, the sum would be too small";
  put_process(10, 100, 10);
  ASSERT_TRUE(io.open({10}));
  window_of(io, now_, [&] { tree_.remove("/proc/10"); });
  EXPECT_FALSE(io.read().total) << "it has ended, so its bytes are not known";
  EXPECT_NE(io.read().reason, "");
}

TEST_F(SoftwareSources, OfProcessesGoOnWithTheOthersWhenOneHasEnded) {
  put_process(10, 100, 10);
  put_process(20, 100, 10, "21 ");
  put_process(21, 100, 10);
  ProcessIoSource io(tree_.files(), clock());
  ASSERT_TRUE(io.open({10, 20, 21}));
  window_of(io, now_, [&] { put_process(21, 105, 10); });
  EXPECT_EQ(io.read().total, 5) << "21 is counted once, with 20";
  window_of(io, now_, [&] { tree_.remove("/proc/10"); });
  EXPECT_FALSE(io.read().total);
  EXPECT_EQ(io.read().reason, "process 10 went away during the window");
  window_of(io, now_, [&] { put_process(20, 107, 11, "21 "); });
  EXPECT_EQ(io.read().reads, 7);
  EXPECT_EQ(io.read().writes, 1);
  EXPECT_EQ(io.read().reason, "");
}

TEST_F(SoftwareSources, OfDevicesCountThoseThatCameAndNotThoseThatWent) {
  tree_.put("/proc/net/dev", kDeviceHead + device_line("lo", 100, 100) + device_line("t0", 5, 5));
  DeviceSource devices(tree_.files(), clock());
  ASSERT_TRUE(devices.open({}));
  EXPECT_EQ(devices.origin(), tree_.path() + "/proc/net/dev");
  window_of(devices, now_, [&] {
    tree_.put("/proc/net/dev", kDeviceHead + device_line("lo", 160, 130) + device_line("t0", 5, 6) +
                                   device_line("t1", 1000, 2000));
  });
  EXPECT_EQ(devices.read().reads, 1060);
  EXPECT_EQ(devices.read().writes, 2031);
  window_of(devices, now_,
            [&] { tree_.put("/proc/net/dev", kDeviceHead + device_line("lo", 160, 130)); });
  EXPECT_FALSE(devices.read().total);
  EXPECT_EQ(devices.read().reason, "t0 went away during the window");
  ASSERT_TRUE(devices.open({}));
  EXPECT_FALSE(devices.open({10})) << "each process has its own namespace";
}

TEST_F(SoftwareSources, OfABusCountWhatItsPortsReadAndWrote) {
  const shmif::test::TempBus bus;
  Port sender = shmif::test::port_on(bus.path());
  Port receiver = shmif::test::port_on(bus.path());
  BusSource source(bus.path(), clock());
  ASSERT_TRUE(source.open({}));
  const auto frame = shmif::test::make_frame(1000, 1);
  const FrameView view{frame};
  for (int sent = 0; sent < 3; ++sent) ASSERT_FALSE(sender.send({&view, 1}).error);
  window_of(
      source, now_,
      [&] {
        for (int sent = 0; sent < 4; ++sent) ASSERT_FALSE(sender.send({&view, 1}).error);
      },
      2);
  EXPECT_EQ(source.read().writes, 2000);
  EXPECT_EQ(source.read().reads, 0);
  EXPECT_EQ(source.part(), "bus");
  EXPECT_EQ(source.scope(), MemoryScope::machine);
  const MemoryReading read =
      window_of(source, now_, [&] { EXPECT_EQ(shmif::test::collect(receiver, 7).size(), 7U); }, 2);
  EXPECT_EQ(read.reads, 3500) << read.reason;
  EXPECT_EQ(read.total, 3500);
  // A port that leaves: the bus remembers what it sent, and not what it received.
  window_of(source, now_, [&] {
    ASSERT_FALSE(sender.send({&view, 1}).error);
    ASSERT_FALSE(sender.down());
    ASSERT_FALSE(sender.detach());
  });
  const MemoryReading left = source.read();
  EXPECT_EQ(left.writes, 1000);
  EXPECT_FALSE(left.reads);
  EXPECT_FALSE(left.total);
  EXPECT_NE(left.reason.find("went away during the window"), std::string::npos) << left.reason;
  BusSource none(bus.file("none"), clock());
  EXPECT_EQ(none.open({}).error().code, Errc::not_supported);
}

// Its bytes less those of the port before it would be a number that nobody sent.
TEST_F(SoftwareSources, APortThatTakesAnothersPlaceAndNameIsAnotherOne) {
  const shmif::test::TempBus bus;
  const PortOptions options{.name = "twice"};
  Port first = shmif::test::port_on(bus.path(), options);
  BusSource source(bus.path(), clock());
  ASSERT_TRUE(source.open({}));
  const auto frame = shmif::test::make_frame(1000, 1);
  const FrameView view{frame};
  for (int sent = 0; sent < 3; ++sent) ASSERT_FALSE(first.send({&view, 1}).error);
  window_of(source, now_, [&] {
    ASSERT_FALSE(first.down());
    ASSERT_FALSE(first.detach());
    Port second = shmif::test::port_on(bus.path(), options);
    for (int sent = 0; sent < 5; ++sent) ASSERT_FALSE(second.send({&view, 1}).error);
  });
  const MemoryReading reading = source.read();
  EXPECT_FALSE(reading.writes) << *reading.writes;
  EXPECT_NE(reading.reason.find("(twice) went away during the window"), std::string::npos)
      << reading.reason;
}

TEST_F(SoftwareSources, OfThisMachineCountWhatThisProcessDoes) {
  ProcessIoSource io{KernelFiles()};
  ASSERT_TRUE(io.open({::getpid()}));
  ASSERT_TRUE(io.enable());
  const std::string text(100'000, 'x');
  tree_.put("/written", text);
  EXPECT_EQ(tree_.text("/written").size(), text.size());
  ASSERT_TRUE(io.disable());
  const MemoryReading reading = io.read();
  ASSERT_TRUE(reading.total) << reading.reason;
  EXPECT_GE(*reading.writes * reading.window_s(), 99'999);
  EXPECT_GE(*reading.reads * reading.window_s(), 99'999);
}

TEST_F(SoftwareSources, RefuseProcessesThatAnotherNamespaceNumbers) {
  put_process(10, 100, 10);
  tree_.put("/proc/10/net/dev", kDeviceHead + device_line("lo", 100, 100));
  tree_.put("/proc/net/dev", kDeviceHead + device_line("lo", 100, 100));
  std::filesystem::create_symlink(std::to_string(::getpid() + 1), tree_.at("/proc/self"));
  ProcessIoSource io(tree_.files(), clock());
  EXPECT_EQ(io.open({10}).error().code, Errc::not_supported);
  DeviceSource devices(tree_.files(), clock());
  EXPECT_EQ(devices.open({10}).error().code, Errc::not_supported);
  EXPECT_TRUE(devices.open({})) << "those here need no number";
  tree_.remove("/proc/self");
  std::filesystem::create_symlink(std::to_string(::getpid()), tree_.at("/proc/self"));
  EXPECT_TRUE(io.open({10}));
}

TEST_F(SoftwareSources, NoticeCountsThatWereSetBackAndWindowsWithoutALength) {
  put_process(10, 100, 100);
  put_process(20, 100, 100);
  ProcessIoSource io(tree_.files(), clock());
  ASSERT_TRUE(io.open({10, 20}));
  window_of(io, now_, [&] {
    put_process(10, 99, 150);
    put_process(20, 98, 150);
  });
  EXPECT_FALSE(io.read().reads);
  EXPECT_EQ(io.read().writes, 100);
  EXPECT_FALSE(io.read().total);
  EXPECT_NE(io.read().reason.find("process 10 was set back"), std::string::npos);
  ASSERT_TRUE(io.enable());
  ASSERT_TRUE(io.disable());
  EXPECT_FALSE(io.read().total);
  EXPECT_NE(io.read().reason, "");
}

}  // namespace
}  // namespace shmif::perf::test
