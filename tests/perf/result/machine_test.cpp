#include "perf/result/machine.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

/// A root with a /proc and a /sys of its own.
class Root {
 public:
  void put(const std::string& path, const std::string& content) {
    const std::filesystem::path file = std::filesystem::path(dir_.path()) / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  std::string path() const { return dir_.path(); }

 private:
  test::TempDir dir_;
};

TEST(Machine, DescribesThisOne) {
  const MachineResult machine = describe_machine();
  EXPECT_FALSE(machine.hostname.empty());
  EXPECT_EQ(machine.kernel.rfind("Linux ", 0), 0U);
  EXPECT_EQ(machine.cpus, sysconf(_SC_NPROCESSORS_ONLN));
  const auto pages = static_cast<double>(sysconf(_SC_PHYS_PAGES));
  EXPECT_NEAR(static_cast<double>(machine.memory_bytes),
              pages * static_cast<double>(sysconf(_SC_PAGESIZE)), 1e9);
  EXPECT_TRUE(machine.window.empty());
}

TEST(Machine, TellsWhatProcAndSysSay) {
  Root root;
  root.put(
      "proc/cpuinfo",
      "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\ncpu MHz\t\t: 1999.5\n"
      "flags\t\t: fpu hypervisor sse4_2\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.00GHz\n");
  root.put("proc/meminfo", "MemTotal:       24684092 kB\nMemFree:  1 kB\n");
  root.put("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
  MachineResult machine = describe_machine(root.path());
  EXPECT_EQ(machine.cpu_model, "Some CPU @ 2.00GHz");
  EXPECT_EQ(machine.cpus, 2);
  EXPECT_EQ(machine.memory_bytes, 24684092ULL * 1024);
  EXPECT_EQ(machine.clock_source, "tsc");
  EXPECT_EQ(machine.virtualization, "a hypervisor");
  EXPECT_EQ(machine.frequency_mhz, 1999.5);
  root.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3100000\n");
  root.put("sys/hypervisor/type", "xen\n");
  machine = describe_machine(root.path());
  EXPECT_EQ(machine.frequency_mhz, 3100) << "what it is now, before what it was at boot";
  EXPECT_EQ(machine.virtualization, "xen");
}

TEST(Machine, AnArmCpuIsNamedByItsPart) {
  Root root;
  root.put("proc/cpuinfo",
           "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n");
  const MachineResult machine = describe_machine(root.path());
  EXPECT_EQ(machine.cpu_model, "implementer 0x41, part 0xd0c");
  EXPECT_EQ(machine.cpus, 2);
  EXPECT_FALSE(machine.frequency_mhz);
  EXPECT_EQ(machine.virtualization, "");
  root.put("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n");
  EXPECT_EQ(describe_machine(root.path()).cpu_model, "");
  root.put("proc/cpuinfo", "processor\t: 0\nCPU part\t: 0xd0c\n");
  EXPECT_EQ(describe_machine(root.path()).cpu_model, "");
}

TEST(Machine, IsVirtualByItsBoardIfTheCpuDoesNotTell) {
  Root root;
  for (const char* const flags : {"fpu sse4_2", "fpu hypervisor_guest nohypervisor"}) {
    root.put("proc/cpuinfo", std::string("processor\t: 0\nflags\t\t: ") + flags + "\n");
    for (const auto& [vendor, virtualization] : {std::pair{"QEMU", "QEMU"},
                                                 {"VMware, Inc.", "VMware, Inc."},
                                                 {"Xen", "Xen"},
                                                 {"Amazon EC2", "Amazon EC2"},
                                                 {"Google", "Google"},
                                                 {"Dell Inc.", ""},
                                                 {"A Xen", ""}}) {
      root.put("sys/class/dmi/id/sys_vendor", std::string(vendor) + "\n");
      EXPECT_EQ(describe_machine(root.path()).virtualization, virtualization) << flags;
    }
  }
  root.put("proc/cpuinfo", "flags\t\t: hypervisor\n");
  EXPECT_EQ(describe_machine(root.path()).virtualization, "a hypervisor");
}

TEST(Machine, IsThatOfItsFirstCpuAndHasNoFrequencyOfNothing) {
  Root root;
  root.put("proc/cpuinfo",
           "processor\t: 0\nmodel name\t: Large\ncpu MHz\t: 2100\n\n"
           "processor\t: 1\nmodel name\t: Small\ncpu MHz\t: 900\n");
  for (const char* const unknown : {"0\n", "<unknown>\n", ""}) {
    root.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", unknown);
    const MachineResult machine = describe_machine(root.path());
    EXPECT_EQ(machine.cpu_model, "Large");
    EXPECT_EQ(machine.frequency_mhz, 2100) << unknown;
  }
  root.put("proc/cpuinfo", "cpu MHz\t: 0\n");
  EXPECT_FALSE(describe_machine(root.path()).frequency_mhz);
}

TEST(Machine, WhatIsUnknownIsNothing) {
  Root root;
  const MachineResult machine = describe_machine(root.path());
  EXPECT_EQ(machine.cpu_model, "");
  EXPECT_EQ(machine.clock_source, "");
  EXPECT_EQ(machine.memory_bytes, 0U);
  EXPECT_EQ(machine.cpus, 0);
  EXPECT_FALSE(machine.frequency_mhz);
  EXPECT_TRUE(CpuWindow(root.path() + "/proc/stat").shares().empty());
}

TEST(CpuTicks, AreReadFromProcStat) {
  const auto ticks = parse_cpu_ticks(
      "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 100 20 30 400 50 6 7 8 0 0\ncpu11 1 2 3 4\n"
      "intr 12 0 0\ncpu3 1 2\ncpux 1 2 3 4\ncpu-1 1 2 3 4\nctxt 5\n");
  const std::vector<CpuTicks> expected{
      {.cpu = 0, .user = 120, .system = 30, .idle = 450, .steal = 8, .irq = 13},
      {.cpu = 11, .user = 3, .system = 3, .idle = 4}};
  EXPECT_EQ(ticks, expected);
  EXPECT_TRUE(parse_cpu_ticks("").empty());
}

TEST(CpuTicks, NoBytesMakeItReadPastTheEnd) {
  std::mt19937_64 random(1);
  constexpr std::string_view kBytes = "cpu0123456789 \n-x";
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = kBytes[random() % kBytes.size()];
    for (const CpuTicks& ticks : parse_cpu_ticks("cpu" + text)) EXPECT_GE(ticks.cpu, 0);
  }
}

TEST(CpuShares, AreOfTheTimeBetween) {
  const std::vector<CpuTicks> begin{
      {.cpu = 0, .user = 1000, .system = 1000, .idle = 1000, .steal = 10, .irq = 10},
      {.cpu = 1, .idle = 500},
      {.cpu = 2, .idle = 7}};
  const std::vector<CpuTicks> end{
      {.cpu = 0, .user = 1050, .system = 1020, .idle = 1015, .steal = 20, .irq = 15},
      {.cpu = 1, .user = 10, .idle = 490},
      {.cpu = 2, .idle = 7},
      {.cpu = 3, .idle = 9}};
  const auto shares = shares_between(begin, end);
  ASSERT_EQ(shares.size(), 2U) << "of CPU 2 no time has passed, and CPU 3 came only then";
  EXPECT_EQ(shares[0].cpu, 0);
  EXPECT_DOUBLE_EQ(shares[0].user, 0.5);
  EXPECT_DOUBLE_EQ(shares[0].system, 0.2);
  EXPECT_DOUBLE_EQ(shares[0].idle, 0.15);
  EXPECT_DOUBLE_EQ(shares[0].steal, 0.1);
  EXPECT_DOUBLE_EQ(shares[0].irq, 0.05);
  EXPECT_DOUBLE_EQ(shares[1].user, 1) << "idle time that ran backwards is none";
}

TEST(CpuShares, OfThisMachineAddUpToOne) {
  const CpuWindow window;
  std::vector<CpuShare> shares;
  while (shares.empty()) shares = window.shares();  // until a tick has passed
  for (const CpuShare& share : shares) {
    EXPECT_NEAR(share.user + share.system + share.idle + share.steal + share.irq, 1, 1e-9);
    EXPECT_LT(share.cpu, sysconf(_SC_NPROCESSORS_CONF));
  }
}

TEST(Usage, IsOfTheThreadOrTheProcessFromWhenItWasMade) {
  const Usage process(Usage::Of::process);
  const Usage thread(Usage::Of::thread);
  double by_the_other = 0;
  std::thread([&] {
    const Usage own(Usage::Of::thread);
    while (by_the_other < 0.02) {
      const CpuResult used = own.so_far();
      by_the_other = used.user_seconds + used.system_seconds;
    }
  }).join();
  const CpuResult all = process.so_far();
  EXPECT_GE(all.user_seconds + all.system_seconds, by_the_other - 1e-6) << "but for rounding";
  EXPECT_GE(thread.so_far().voluntary_switches, 1U) << "it slept until the other had ended";
  const CpuResult again = Usage(Usage::Of::process).so_far();
  EXPECT_LT(again.user_seconds + again.system_seconds, all.user_seconds + all.system_seconds);
}

TEST(Machine, TheUsageOfChildrenIsTheirsAlone) {
  const Usage children(Usage::Of::children);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    while (std::clock() < CLOCKS_PER_SEC / 10) {  // of its own CPU time
    }
    ::_exit(0);
  }
  EXPECT_EQ(children.so_far().user_seconds, 0) << "it is not waited for";
  rusage of_it{};
  ASSERT_EQ(::wait4(child, nullptr, 0, &of_it), child);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  const CpuResult used = children.so_far();
  EXPECT_NEAR(used.user_seconds + used.system_seconds,
              seconds(of_it.ru_utime) + seconds(of_it.ru_stime), 1e-3);
  EXPECT_GT(used.user_seconds + used.system_seconds, 0.09);
}

/// What this thread has had of its CPU, by the clock that counts every nanosecond of it.
double cpu_seconds_of_this_thread() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The kernel brings getrusage() of a running thread up to date at its ticks, some milliseconds
// apart, and when the thread's clock is read. So this test reads that clock only before and after
// the measurement.
TEST(Usage, CountsTheTimeSinceTheLastTickToo) {
  for (int i = 0; i < 20; ++i) {
    const double before = cpu_seconds_of_this_thread();
    const Usage usage(Usage::Of::thread);
    std::atomic<std::uint64_t> work{0};
    while (work < 5000) ++work;
    const CpuResult used = usage.so_far();
    const double after = cpu_seconds_of_this_thread();
    EXPECT_GT(used.user_seconds + used.system_seconds, 0);
    EXPECT_LE(used.user_seconds + used.system_seconds, after - before + 1e-9);
  }
}

TEST(Usage, CountsNothingOfWhatWasBefore) {
  constexpr std::uint64_t kBefore = 200;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      ::mmap(nullptr, kBefore * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, kBefore * page, MADV_NOHUGEPAGE);
  for (std::size_t i = 0; i < kBefore; ++i) static_cast<volatile char*>(memory)[i * page] = 1;
  for (std::size_t i = 0; i < kBefore; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(1));
  }
  for (const Usage::Of of : {Usage::Of::thread, Usage::Of::process}) {
    const Usage usage(of);
    const CpuResult used = usage.so_far();
    EXPECT_LT(used.minor_faults, kBefore);
    EXPECT_LT(used.voluntary_switches, kBefore);
  }
  ::munmap(memory, kBefore * page);
}

TEST(Usage, CountsFaults) {
  const Usage usage(Usage::Of::thread);
  constexpr std::size_t kPages = 100;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // Not from the heap, which may have memory that was used before.
  void* const memory =
      ::mmap(nullptr, kPages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  for (std::size_t i = 0; i < kPages; ++i) static_cast<volatile char*>(memory)[i * page] = 1;
  const CpuResult used = usage.so_far();
  EXPECT_GT(used.minor_faults, 0U);
  EXPECT_LT(used.major_faults, used.minor_faults) << "no page came from a disk";
  ::munmap(memory, kPages * page);
}

}  // namespace
}  // namespace shmif::perf
