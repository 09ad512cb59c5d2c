// Planted truth: something happens to a real process at a known time, and the right cause is named
// first, with that time.

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/unique_fd.hpp"
#include "bus/file/liveness.hpp"
#include "bus/ring/lock.hpp"
#include "instruments/watch/clock.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/why.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"

namespace shmif::perf::test {
namespace {

// Real processes to which something happens at a known time, and the real sampler.

using shmif::test::Child;

constexpr std::uint64_t kMillisecond = 1'000'000;

/// Uses the CPU for that long.
void work_for(std::uint64_t ns) {
  const std::uint64_t end = now_ns() + ns;
  while (now_ns() < end) {
  }
}

/// What a receiver does: it works for a part of its time. Runs until killed.
[[noreturn]] inline void work_and_sleep(std::uint64_t work_ns, std::uint64_t sleep_ns) {
  const timespec sleep{0, static_cast<long>(sleep_ns)};
  for (;;) {
    work_for(work_ns);
    ::nanosleep(&sleep, nullptr);
  }
}

std::vector<int> allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ::sched_getaffinity(0, sizeof mask, &mask);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

/// Result: false if the kernel refused.
bool pin(pid_t task, int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(cpu), &one);
  return ::sched_setaffinity(task, sizeof one, &one) == 0;
}

constexpr int kSubjectPriority = 10, kHogPriority = 20, kWatcherPriority = 30;

/// Puts the calling thread before all other programs of the machine, whose load must not decide a
/// test. Needs a privilege. Its children begin as usual. Result: whether it was granted.
bool go_first(int priority) {
  const sched_param param{.sched_priority = priority};
  return ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) == 0;
}
/// Whether processes of this test may do that.
bool may_go_first() {
  static const bool may =
      Child([]() -> int { return go_first(kSubjectPriority) ? 0 : 1; }).wait() == 0;
  return may;
}

/// Programs that use a CPU from begin() to end(). They are in place when the constructor returns.
class Hogs {
 public:
  explicit Hogs(int cpu) {
    constexpr int kHogs = 8;
    for (int i = 0; i < kHogs; ++i) {
      hogs_.push_back(std::make_unique<Child>([this, cpu]() -> int {
        pin(0, cpu);
        go_first(kHogPriority);
        ++shared_->ready;
        constexpr useconds_t kLook = 5000;
        while (!shared_->go) ::usleep(kLook);
        const std::uint64_t latest = now_ns() + 10'000 * kMillisecond;
        while (shared_->go && now_ns() < latest) {
        }
        return 0;
      }));
    }
    EXPECT_TRUE(shmif::test::eventually([this] { return shared_->ready == kHogs; }));
  }
  void begin() { shared_->go = true; }
  void end() { shared_->go = false; }

 private:
  struct State {
    std::atomic<int> ready = 0;
    std::atomic<bool> go = false;
  };
  shmif::test::Shared<State> shared_;
  std::vector<std::unique_ptr<Child>> hogs_;
};

/// What was planted, and what was found.
struct Planted {
  double begin_s = 0, end_s = 0;
  std::vector<Cause> causes;
  WhySeries series;
  /// The part of the CPUs' time that the hypervisor took meanwhile: nobody planted that.
  double stolen_share = 0;
};

/// The time of all CPUs since the boot, and how much of it the hypervisor took, in ticks.
struct CpuTime {
  double all = 0, stolen = 0;

  static CpuTime now() {
    std::ifstream stat("/proc/stat");
    std::string word;
    stat >> word;  // "cpu": the sum of all; then user, nice, system, idle, iowait, irq, softirq
    CpuTime time;
    for (int i = 0; i < 8; ++i) {
      stat >> time.stolen;
      time.all += time.stolen;
    }
    return time;
  }
};

/// Looks at process `pid`, and at a bus if one is given, ten times a second: for 1.2 s of quiet,
/// for 1.5 s after `begin`, and for 0.6 s after `end`.
Planted watch(pid_t pid, const std::function<void()>& begin, const std::function<void()>& end,
              const std::string& bus = {}) {
  constexpr std::uint64_t kInterval = 100 * kMillisecond;
  constexpr std::uint64_t kBefore = 1200 * kMillisecond, kDuring = 1500 * kMillisecond,
                          kAfter = 600 * kMillisecond;
  go_first(kWatcherPriority);
  const CpuTime before = CpuTime::now();
  const std::uint64_t origin = now_ns();
  WhySampler sampler(KernelFiles(), origin);
  EXPECT_TRUE(sampler.add_process(sampler.add_job("rx"), pid));
  if (!bus.empty()) {
    EXPECT_TRUE(sampler.add_bus(bus));
  }
  const auto at = [origin] { return static_cast<double>(now_ns() - origin) * 1e-9; };
  const auto sample_until = [&](std::uint64_t time) {
    do {
      sampler.sample(now_ns());
      sleep_until(std::min(time, sampler.next_ns(kInterval)));
    } while (now_ns() < time);
  };
  Planted planted;
  sample_until(origin + kBefore);
  planted.begin_s = at();
  begin();
  sample_until(now_ns() + kDuring);
  end();
  planted.end_s = at();
  sample_until(now_ns() + kAfter);
  sampler.sample(now_ns());
  const CpuTime after = CpuTime::now();
  planted.stolen_share = (after.stolen - before.stolen) / std::max(after.all - before.all, 1.0);
  planted.causes = find_causes(sampler.series(), {});
  planted.series = sampler.series();
  return planted;
}

std::string told(const Planted& planted) {
  std::string text = "planted at " + std::to_string(planted.begin_s) + " to " +
                     std::to_string(planted.end_s) + "; found:\n";
  for (const Cause& cause : planted.causes) text += "  " + cause.sentence + '\n';
  return text;
}

/// The first cause is `kind`, or the first one behind the hypervisor, if that really took CPUs. Its
/// window has most of the time that was planted, and most of it was planted.
void expect_first(const Planted& planted, CauseKind kind) {
  constexpr double kStolen = 0.02;
  const auto found = std::ranges::find_if(planted.causes, [&](const Cause& cause) {
    return cause.cause != CauseKind::steal || planted.stolen_share < kStolen;
  });
  ASSERT_NE(found, planted.causes.end()) << told(planted);
  const Cause& first = *found;
  EXPECT_STREQ(word_of(first.cause), word_of(kind)) << told(planted);
  EXPECT_EQ(first.job, "rx");
  const double both =
      std::min(first.end_s, planted.end_s) - std::max(first.begin_s, planted.begin_s);
  constexpr double kMax = 0.6;
  EXPECT_GE(both, kMax * (planted.end_s - planted.begin_s)) << told(planted);
  EXPECT_GE(both, kMax * (first.end_s - first.begin_s)) << told(planted);
}

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

// Planted truth on a bus: a neighbour holds the lock, or is too slow for a sender that waits.

namespace {

using shmif::test::Shared;
using shmif::test::TempBus;

/// Sends a frame each millisecond, if nobody holds it up.
Child sender_on(const std::string& path) {
  return Child([path]() -> int {
    Port port = shmif::test::port_on(path, {.name = "rx"});
    constexpr std::size_t kLargest = 1400;
    shmif::test::NumberedBatch batch(kLargest);
    batch.fix_size(kLargest);
    FrameBatch heard(64, 64U << 10U);
    go_first(kSubjectPriority);
    for (std::uint32_t next = 0;; ++next) {
      if (port.send(batch.make(0, next, 1)).error) return 1;
      // A sender would wait for itself, too.
      heard.clear();
      if (port.receive(heard).error) return 2;
      ::usleep(1000);
    }
  });
}

/// Takes the lock while `goes_on`, and stops with it. It goes on when another has taken the lock.
class Holder {
 public:
  explicit Holder(const std::string& path)
      : path_(path), child_([path, this]() -> int {
          constexpr unsigned kSlot = 40;
          const shmif::test::RawBus raw(path);
          if (!bus::take_liveness(raw.fd(), kSlot)) return 1;
          bus::BusLock lock(raw.header(), kSlot, raw.fd());
          for (;;) {
            while (!*goes_on_) ::usleep(1000);
            const std::uint64_t mine = lock.acquire();
            ::raise(SIGSTOP);
            lock.release(mine);
          }
        }) {}

  void begin() {
    *goes_on_ = true;
    driver_ = std::thread([this] {
      std::uint64_t seen = takeovers();
      while (*goes_on_) {
        ::usleep(2000);
        if (takeovers() == seen) continue;
        seen = takeovers();
        child_.signal(SIGCONT);
      }
    });
  }
  void end() {
    *goes_on_ = false;
    driver_.join();
    child_.signal(SIGCONT);
  }

 private:
  std::uint64_t takeovers() const { return Bus::open(path_).value().info().takeovers_living; }

  std::string path_;
  Shared<std::atomic<bool>> goes_on_;
  Child child_;
  std::thread driver_;
};

TEST(PlantedOnABus, AStoppedNeighbourThatHoldsTheLockIsNamed) {
  const TempBus bus;
  const Child rx = sender_on(bus.path());
  Holder holder(bus.path());
  ASSERT_TRUE(shmif::test::eventually([&] { return shmif::test::ports_up(bus.info()) == 1; }));
  const Planted planted =
      watch(rx.pid(), [&] { holder.begin(); }, [&] { holder.end(); }, bus.path());
  expect_first(planted, CauseKind::bus_lock);
  EXPECT_GT(planted.causes.at(0).share, 0.5) << told(planted);
}

}  // namespace

// Planted truth in whole runs: something happens to the receiver of a run at a known time, and the
// run's result names it, with that time.

namespace {

using Json = nlohmann::json;

constexpr double kBegin = 1.2, kDuring = 1.5;

/// "first" sends to "second" for 3.5 s, over a small bus. Each has a CPU.
std::vector<PlannedJob> plan_of_pair(std::uint64_t frames_per_second) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  const std::vector<int> cpus = allowed_cpus();
  for (PlannedJob& job : plan) {
    job.options.runtime = std::chrono::milliseconds(3500);
    job.options.bus_size_bytes = 256U << 10U;
  }
  plan[0].options.rate_fps.tx = frames_per_second;
  plan[0].options.cpus_allowed = {cpus.front()};
  plan[1].options.cpus_allowed = {cpus.back()};
  if (may_go_first()) plan[1].options.rtprio = kSubjectPriority;
  return plan;
}

/// It is stopped at a known time, and loses meanwhile.
TEST(PlantedInARun, AStoppedReceiverIsNamedWithTheLossesOfThatTime) {
  double begin_s = 0, end_s = 0;
  constexpr std::uint64_t kFramesPerSecond = 20'000;
  go_first(kWatcherPriority);
  const RunResult result =
      shmif::test::run(plan_of_pair(kFramesPerSecond), {}, [&](const RunProgress& run) {
        if (run.at_seconds >= kBegin && begin_s == 0) {
          begin_s = run.at_seconds;
          shmif::test::send_signal(run.jobs.at(1), SIGSTOP);
        }
        if (begin_s > 0 && run.at_seconds >= begin_s + kDuring && end_s == 0) {
          end_s = run.at_seconds;
          shmif::test::send_signal(run.jobs.at(1), SIGCONT);
        }
      });
  const Json run = Json::parse(to_json(result, Bins::without));
  EXPECT_GT(run.at("why").at("looks"), 10);
  const Json& causes = run.at("causes");
  const auto first =
      std::ranges::find(causes, "second", [](const Json& cause) { return cause.at("job"); });
  ASSERT_NE(first, causes.end()) << causes << run.at("causes_reason");
  EXPECT_EQ(first->at("cause"), "stopped") << causes;
  const double begin = first->at("begin_s"), end = first->at("end_s");
  const double both = std::min(end, end_s) - std::max(begin, begin_s);
  constexpr double kMost = 0.6;
  EXPECT_GE(both, kMost * (end_s - begin_s)) << "stopped at " << begin_s << "; found: " << causes;
  EXPECT_GE(both, kMost * (end - begin)) << "stopped at " << begin_s << "; found: " << causes;
  EXPECT_GE(first->at("of_losses_share"), 0.8) << causes;
}

/// The receiver's socket overflows while it is stopped, and the kernel counts that.
TEST(PlantedInARun, DatagramsThatTheReceiverDidNotReadAreGivenToItsSocket) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::udp);
  for (PlannedJob& job : plan) job.options.runtime = std::chrono::milliseconds(600);
  constexpr double kStop = 0.15;  // s
  bool stopped = false;
  // As fast as it can: more than the buffer holds.
  const auto once = [&] {
    stopped = false;
    return shmif::test::run(plan, {}, [&](const RunProgress& run) {
      if (run.at_seconds < kStop || std::exchange(stopped, true)) return;
      shmif::test::freeze(run.jobs.at(1), std::chrono::milliseconds(250));
    });
  };
  const RunResult result = shmif::test::run_until(
      once, [](const RunResult& run) { return run.jobs.at(1).flows.at(0).lost > 1000; });
  const Json run = Json::parse(to_json(result, Bins::without));
  const Json& causes = run.at("causes");
  const auto at = std::ranges::find(causes, "receive_buffer",
                                    [](const Json& cause) { return cause.at("cause"); });
  ASSERT_NE(at, causes.end()) << causes << run.at("why");
  EXPECT_EQ(at->at("job"), "second");
  EXPECT_GE(at->at("of_losses_share"), 0.9) << causes;
}

/// What was asked for is named first, and nothing else is blamed for it.
TEST(PlantedInARun, LossesThatWereAskedForAreGivenToTheFaultsAlone) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  for (PlannedJob& job : plan) job.options.runtime = std::chrono::milliseconds(400);
  plan[0].options.rate_fps.tx = 5000;
  plan[0].options.fault = parse_faults("loss=20%").value();
  const Json run = Json::parse(to_json(shmif::test::run(plan), Bins::without));
  ASSERT_FALSE(run.at("causes").empty()) << run.at("jobs");
  const Json& first = run.at("causes").at(0);
  EXPECT_EQ(first.at("cause"), "requested_faults");
  EXPECT_EQ(first.at("job"), "second");
  double all = 0;
  for (const Json& cause : run.at("causes")) {
    if (cause.at("of_losses_share").is_number()) all += cause.at("of_losses_share").get<double>();
  }
  EXPECT_NEAR(all, first.at("of_losses_share").get<double>(), 0.05) << run.at("causes");
  EXPECT_GE(first.at("of_losses_share"), 0.95);
}

TEST(PlantedInARun, NothingIsWatchedWithoutTheWish) {
  auto plan = shmif::test::pair(Role::tx, EngineKind::bus);
  RunOptions options;
  options.why = false;
  const Json run = Json::parse(to_json(shmif::test::run(std::move(plan), options), Bins::without));
  EXPECT_EQ(run.at("causes"), nullptr);
  EXPECT_EQ(run.at("causes_reason"), "it was turned off (why=0)");
  EXPECT_EQ(run.at("why"), nullptr);
}

}  // namespace

}  // namespace shmif::perf::test
