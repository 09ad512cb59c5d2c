#include "instruments/counters/kernel_counters.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "base/number_list.hpp"
#include "base/quantity.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "instruments/watch/process.hpp"

namespace shmif::perf {
namespace {

/// PIDFD_THREAD of Linux 6.9.
constexpr unsigned kPidfdThread = O_EXCL;

int result_of(long result) noexcept {
  return result < 0 ? -errno : static_cast<int>(result);
}

class RealCounters final : public KernelCounters {
 public:
  int open(const EventAttr& attr, pid_t task, int cpu, int group) noexcept override {
    AttrBytes bytes = kernel_bytes_of(attr);
    return result_of(
        ::syscall(SYS_perf_event_open, bytes.data(), task, cpu, group, PERF_FLAG_FD_CLOEXEC));
  }
  int control(int file, unsigned long request, std::uintptr_t argument) noexcept override {
    return result_of(::ioctl(file, request, argument));
  }
  ssize_t read(int file, void* to, std::size_t bytes) noexcept override {
    const ssize_t got = ::read(file, to, bytes);
    return got < 0 ? -errno : got;
  }
  int map(int file, std::size_t bytes, void** at) noexcept override {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) return -errno;
    *at = memory;
    return 0;
  }
  void unmap(void* at, std::size_t bytes) noexcept override { ::munmap(at, bytes); }
  void close(int file) noexcept override { ::close(file); }

  int open_task(pid_t task, bool thread) noexcept override {
    const int file = result_of(::syscall(SYS_pidfd_open, task, thread ? kPidfdThread : 0U));
    // Before Linux 6.9, only processes have such descriptors.
    return file == -EINVAL && thread ? result_of(::syscall(SYS_pidfd_open, task, 0U)) : file;
  }
  bool has_ended(int file, pid_t task) noexcept override {
    if (file < 0) return ::kill(task, 0) != 0 && errno == ESRCH;
    pollfd end{file, POLLIN, 0};
    return ::poll(&end, 1, 0) > 0;
  }
  std::uint64_t start_ticks(pid_t task) override {
    const auto text = KernelFiles().read("/proc/" + std::to_string(task) + "/stat");
    if (!text) {
      errno = text.error().code.value();
      return 0;
    }
    const auto stat = read_task_stat(*text);
    return stat ? stat->start_ticks : 0;
  }
  std::vector<pid_t> threads(pid_t process) override {
    std::vector<pid_t> threads;
    const auto names = KernelFiles().list("/proc/" + std::to_string(process) + "/task");
    if (!names) {
      errno = names.error().code.value();
      return threads;
    }
    for (const std::string& name : *names) {
      if (const auto number = base::read_digits(name)) {
        threads.push_back(static_cast<pid_t>(*number));
      }
    }
    return threads;
  }
  std::optional<uid_t> other_owner(pid_t task) override {
    struct stat of{};
    const std::string folder = "/proc/" + std::to_string(task);
    if (::geteuid() == 0 || ::stat(folder.c_str(), &of) != 0) return std::nullopt;
    // For a process that is not dumpable, the folder belongs to root.
    return of.st_uid == ::geteuid() ? std::nullopt : std::optional(of.st_uid);
  }
  std::vector<int> online_cpus() override {
    const auto text = KernelFiles().read("/sys/devices/system/cpu/online");
    const auto cpus = text ? base::read_number_list(*text) : std::nullopt;
    return cpus.value_or(std::vector<int>{});
  }

  bool has_cpu(int cpu) override {
    return KernelFiles().has("/sys/devices/system/cpu/cpu" + std::to_string(cpu));
  }

  int hold(pid_t thread) noexcept override {
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) return -errno;
    ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    siginfo_t seen{};
    int got = 0;
    do {
      // WNOWAIT: its parent, which may be this process, must still be able to wait for it.
      got =
          ::waitid(P_PID, static_cast<id_t>(thread), &seen, WSTOPPED | WEXITED | WNOWAIT | __WALL);
    } while (got != 0 && errno == EINTR);
    if (got != 0) return -errno;
    if (seen.si_code != CLD_TRAPPED && seen.si_code != CLD_STOPPED) return -ESRCH;
    int status = 0;
    if (::waitpid(thread, &status, __WALL) != thread) return -ESRCH;
    constexpr unsigned kEventShift = 16;
    const bool event = static_cast<unsigned>(status) >> kEventShift == PTRACE_EVENT_STOP;
    return event ? 0 : WSTOPSIG(status);
  }
  void release(pid_t thread, int signal) noexcept override {
    ::ptrace(PTRACE_DETACH, thread, nullptr, static_cast<std::uintptr_t>(signal));
  }
};

}  // namespace

AttrBytes kernel_bytes_of(const EventAttr& attr) noexcept {
  // The member that older headers lack comes after the others in memory.
  AttrBytes bytes{};
  perf_event_attr head = attr.base;
  head.size = attr.config3 != 0 ? kAttrWithConfig3 : PERF_ATTR_SIZE_VER7;
  std::memcpy(bytes.data(), &head, sizeof head);
  if (attr.config3 != 0) {
    std::memcpy(&bytes[kAttrWithConfig3 - sizeof attr.config3], &attr.config3, sizeof attr.config3);
  }
  return bytes;
}

KernelCounters& kernel_counters() {
  static RealCounters kernel;
  return kernel;
}

}  // namespace shmif::perf
