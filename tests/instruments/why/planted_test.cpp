// Planted truth: something happens to a real process at a known time, and the right cause is named
// first, with that time.

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "base/unique_fd.hpp"
#include "tests/instruments/why/planted_rig.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Shared;

/// A third of a CPU, in turns of a millisecond. `first`: before all others of the machine, if this
/// is granted.
Child receiver_on(int cpu, bool first = false) {
  return Child([cpu, first]() -> int {
    pin(0, cpu);
    if (first) go_first(kSubjectPriority);
    work_and_sleep(kMillisecond, 2 * kMillisecond);
  });
}

TEST(Planted, NothingIsNamedOnAQuietRun) {
  const Child rx([]() -> int {
    go_first(kSubjectPriority);
    work_and_sleep(kMillisecond / 10, 100 * kMillisecond);
  });
  // On a machine that others share, not every run is quiet.
  Planted planted = watch(rx.pid(), [] {}, [] {});
  for (int again = 1; again < 5 && !planted.causes.empty(); ++again)
    planted = watch(rx.pid(), [] {}, [] {});
  EXPECT_TRUE(planted.causes.empty()) << told(planted);
}

TEST(Planted, AHogOnTheReceiversCpuIsNamed) {
  const int cpu = allowed_cpus().back();
  const Child rx = receiver_on(cpu, true);
  Hogs hogs(cpu);
  const Planted planted = watch(rx.pid(), [&] { hogs.begin(); }, [&] { hogs.end(); });
  expect_first(planted, CauseKind::waited_for_cpu);
  EXPECT_EQ(planted.causes.at(0).sentence.find("rx was runnable but not running for "), 0U);
}

/// Moves `rx` between two CPUs again and again while `goes_on`.
void push_around(pid_t rx, const std::vector<int>& cpus, const std::atomic<bool>& goes_on) {
  go_first(kHogPriority);
  while (goes_on) {
    pin(rx, cpus.front());
    std::this_thread::sleep_for(std::chrono::microseconds(400));
    pin(rx, cpus.back());
    std::this_thread::sleep_for(std::chrono::microseconds(400));
  }
}

TEST(Planted, MigrationsAreNamed) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() < 2) GTEST_SKIP() << "needs two CPUs";
  // It sleeps often: a thread that has just slept runs at once, however busy the machine.
  const Child rx([]() -> int {
    go_first(kSubjectPriority);
    work_and_sleep(kMillisecond / 20, kMillisecond / 10);
  });
  std::atomic<bool> goes_on = true;
  std::thread pusher;
  const Planted planted = watch(
      rx.pid(), [&] { pusher = std::thread([&] { push_around(rx.pid(), cpus, goes_on); }); },
      [&] {
        goes_on = false;
        pusher.join();
      });
  expect_first(planted, CauseKind::migrated);
}

/// A control group of this test's own, in a tree of version 1, that is removed with the test. Its
/// processes must have ended.
class ControlGroup {
 public:
  explicit ControlGroup(const std::string& controller)
      : name_("shmif-why-" + std::to_string(::getpid())),
        path_("/sys/fs/cgroup/" + controller + '/' + name_),
        made_(::mkdir(path_.c_str(), 0755) == 0) {}
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;
  ~ControlGroup() {
    const auto gone = [this] { return ::rmdir(path_.c_str()) == 0; };
    if (made_) shmif::test::eventually(gone, std::chrono::seconds(5));
  }

  bool works() const { return made_; }
  const std::string& name() const { return name_; }
  bool set(const std::string& file, const std::string& value) const {
    std::ofstream out(path_ + '/' + file);
    out << value << std::flush;
    return out.good();
  }

 private:
  std::string name_, path_;
  bool made_;
};

TEST(Planted, AQuotaOfAControlGroupIsNamed) {
  const ControlGroup group("cpu");
  if (!group.works()) GTEST_SKIP() << "no control group for CPU quotas";
  const Child rx = receiver_on(allowed_cpus().back());
  ASSERT_TRUE(group.set("cgroup.procs", std::to_string(rx.pid())));
  ASSERT_TRUE(group.set("cpu.cfs_period_us", "100000"));
  // Before other groups of the machine: a quota holds back no real-time thread.
  ASSERT_TRUE(group.set("cpu.shares", "262144"));
  const Planted planted = watch(
      rx.pid(), [&] { EXPECT_TRUE(group.set("cpu.cfs_quota_us", "5000")); },
      [&] { EXPECT_TRUE(group.set("cpu.cfs_quota_us", "-1")); });
  expect_first(planted, CauseKind::throttled);
  EXPECT_NE(planted.causes.at(0).sentence.find("its control group /" + group.name()),
            std::string::npos)
      << planted.causes.at(0).sentence;
}

/// A TAP device that nobody reads, in a network namespace of the calling process's own, and a
/// socket that sends into it.
class UnreadTap {
 public:
  UnreadTap() {
    if (::unshare(CLONE_NEWNET) != 0) return;
    // Without IPv6 the kernel sends nothing of its own, which the full queue would drop, too.
    std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << 1;
    tap_.reset(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    std::memcpy(&request.ifr_name[0], "why0", 5);
    if (!tap_ || ::ioctl(tap_.get(), TUNSETIFF, &request) != 0) return;
    socket_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    request.ifr_flags = IFF_UP;
    if (!socket_ || ::ioctl(socket_.get(), SIOCSIFFLAGS, &request) != 0) return;
    to_.sll_family = AF_PACKET;
    to_.sll_ifindex = static_cast<int>(::if_nametoindex("why0"));
    works_ = to_.sll_ifindex != 0;
  }
  bool works() const { return works_; }
  void send() const {
    constexpr std::size_t kFrame = 60;
    std::vector<char> frame(kFrame);
    frame[0] = 2;
    ::sendto(socket_.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to_),
             sizeof to_);
  }

 private:
  UniqueFd tap_, socket_;
  sockaddr_ll to_{};
  bool works_ = false;
};

TEST(Planted, AFullTransmitQueueIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device";
  struct Orders {
    std::atomic<bool> begun = false, send = false;
  };
  const Shared<Orders> orders;
  const Child rx([&]() -> int {
    const UnreadTap tap;
    if (!tap.works()) return 1;
    go_first(kSubjectPriority);
    for (int i = 0; i < 2000; ++i) tap.send();  // more than its queue takes
    orders->begun = true;
    for (;;) {
      ::usleep(1000);
      for (int i = 0; orders->send && i < 20; ++i) tap.send();
    }
  });
  ASSERT_TRUE(shmif::test::eventually([&] { return orders->begun.load(); }));
  const Planted planted =
      watch(rx.pid(), [&] { orders->send = true; }, [&] { orders->send = false; });
  expect_first(planted, CauseKind::device_queue);
  EXPECT_EQ(planted.causes.at(0).sentence.find("the interface why0 dropped "), 0U)
      << planted.causes.at(0).sentence;
}

/// Touches the pages of a file in an order without a pattern. Runs until killed.
[[noreturn]] void wander(const std::string& path, std::size_t bytes, std::atomic<bool>& warm) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  ::madvise(map, bytes, MADV_RANDOM);
  const volatile char* const data = static_cast<const volatile char*>(map);
  constexpr std::size_t kPage = 4096;
  for (std::size_t at = 0; at < bytes; at += kPage) static_cast<void>(data[at]);
  warm = true;
  for (std::size_t page = 1;;
       page = page * 5 + 1) {  // every page, if their number is a power of two
    page %= bytes / kPage;
    static_cast<void>(data[page * kPage]);
    if (page % 64 == 0) ::usleep(1000);
  }
}

TEST(Planted, MemoryPressureIsNamed) {
  const ControlGroup group("memory");
  if (!group.works()) GTEST_SKIP() << "no control group for memory";
  constexpr std::size_t kBytes = std::size_t{64} << 20U;
  // A file system with a disk below it: the pages of a tmpfs have nowhere to go.
  const shmif::test::TempDir dir("/var/tmp");
  const std::string path = dir.file("pages");
  {
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const std::vector<char> mebibyte(std::size_t{1} << 20U, 'x');
    for (std::size_t at = 0; at < kBytes; at += mebibyte.size()) {
      ASSERT_EQ(::write(file.get(), mebibyte.data(), mebibyte.size()),
                static_cast<ssize_t>(mebibyte.size()));
    }
    ::fsync(file.get());
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  const Shared<std::atomic<bool>> warm;
  const Shared<std::atomic<bool>> placed;
  const Child rx([&]() -> int {
    while (!*placed) ::usleep(1000);
    go_first(kSubjectPriority);
    wander(path, kBytes, *warm);
  });
  ASSERT_TRUE(group.set("cgroup.procs", std::to_string(rx.pid())));
  *placed = true;
  ASSERT_TRUE(shmif::test::eventually([&] { return warm->load(); }));
  const Planted planted = watch(
      rx.pid(), [&] { EXPECT_TRUE(group.set("memory.limit_in_bytes", "8M")); },
      [&] { EXPECT_TRUE(group.set("memory.limit_in_bytes", "-1")); });
  ASSERT_FALSE(planted.causes.empty());
  EXPECT_NE(planted.causes.at(0).sentence.find("its control group "), std::string::npos)
      << told(planted);
  EXPECT_STREQ(word_of(planted.causes.at(0).cause), "memory") << told(planted);
}

}  // namespace
}  // namespace shmif::perf::test
