#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/quantity.hpp"
#include "base/unique_fd.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {
namespace {

constexpr const char* kOpenSandbox = "a sandbox (seccomp) that permits userfaultfd";
constexpr const char* kPageMonitor = "a kernel with CONFIG_PROC_PAGE_MONITOR";
constexpr std::pair kLinux67(6U, 7U);
constexpr const char* kOtherUser = "run it as the user of the watched program, or as root";

/// A recorded tree is of another machine, so calls of this kernel cannot test it.
bool is_this_machine(const KernelFiles& files) {
  return files.path("/") == "/";
}

/// Major and minor number of "6.18.44-generic".
std::pair<unsigned, unsigned> release_of(const KernelFiles& files) {
  const auto text = files.read("/proc/sys/kernel/osrelease");
  unsigned major = 0, minor = 0;
  if (!text || std::sscanf(text->c_str(), "%u.%u", &major, &minor) != 2) return {0, 0};
  return {major, minor};
}

/// Whether userfaultfd has these features. Result: 0, or an errno.
int try_userfaultfd(std::uint64_t features) {
  constexpr int kUserModeOnly = 1;
  const UniqueFd file(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
  if (!file) return errno;
  uffdio_api arguments{};
  arguments.api = UFFD_API;
  arguments.features = features;
  return ::ioctl(file.get(), UFFDIO_API, &arguments) == 0 ? 0 : errno;
}

constexpr std::uint64_t kAsync = 1U << 15U;
constexpr std::uint64_t kShared = 1U << 12U;

/// The same as try_userfaultfd(). For a recorded tree, decides by the release of its kernel.
int find_userfaultfd(const KernelFiles& files, std::uint64_t features) {
  if (is_this_machine(files)) return try_userfaultfd(features);
  if (!files.read_number("/proc/sys/vm/unprivileged_userfaultfd")) return ENOSYS;
  const auto needed = (features & kAsync) != 0 ? kLinux67 : std::pair(5U, 19U);
  return release_of(files) >= needed ? 0 : EINVAL;
}

Capability client(const KernelFiles& files) {
  constexpr const char* kName = "heat.client";
  const int error = find_userfaultfd(files, kAsync | kShared);
  if (error == 0) {
    return {kName, Support::supported,
            "of programs that use the library and are started with SHMIF_HEAT=DIR", ""};
  }
  if (is_refusal(error)) {
    return {kName, Support::not_permitted,
            "userfaultfd(2): " + std::string(std::strerror(error)) +
                ", although it handles no faults of the kernel",
            kOpenSandbox};
  }
  if (error == ENOSYS) {
    return {kName, Support::not_supported,
            "userfaultfd(2): the kernel was built without CONFIG_USERFAULTFD", ""};
  }
  if (find_userfaultfd(files, kShared) == 0) {
    return {kName, Support::supported,
            "accesses alone: the kernel has no asynchronous write protection, so writes are not "
            "told apart",
            "Linux 6.7 or newer"};
  }
  return {kName, Support::not_supported,
          "userfaultfd(2): the kernel cannot write-protect shared memory", "Linux 5.19 or newer"};
}

Capability pagemap_scan(const KernelFiles& files) {
  constexpr const char* kName = "heat.pagemap_scan";
  const Capability without{kName, Support::not_supported,
                           "/proc/PID/pagemap has no PAGEMAP_SCAN: it is read page by page, and "
                           "writes are not told apart",
                           "Linux 6.7 or newer"};
  const Capability with{kName, Support::supported, "", ""};
  if (!is_this_machine(files)) return release_of(files) >= kLinux67 ? with : without;
  const auto scan = PageScan::of(::getpid());
  if (!scan) return lacking(kName, scan.error(), kOtherUser, kPageMonitor);
  return scan->means() == PageScan::Means::scan ? with : without;
}

Capability written(const KernelFiles& files) {
  constexpr const char* kName = "heat.written";
  Capability found{kName, Support::supported,
                   "of a program that heat begins (-- PROGRAM), each page that it writes; "
                   "reads are known of mappings",
                   ""};
  const auto scope = files.read_number("/proc/sys/kernel/yama/ptrace_scope");
  if (scope && (*scope > 2 || (*scope == 2 && ::geteuid() != 0))) {
    return {
        kName, Support::not_permitted,
        "a program cannot be stopped at its beginning: ptrace_scope is " + std::to_string(*scope),
        *scope == 2 ? "run it as root" : "another boot, with a lower ptrace_scope"};
  }
  if (!is_this_machine(files) && release_of(files) < kLinux67) {
    return {kName, Support::not_supported, "the kernel has no asynchronous write protection",
            "Linux 6.7 or newer"};
  }
  const auto possible = is_this_machine(files) ? expect_written() : Result<void>();
  return possible ? found : lacking(kName, possible.error(), kOpenSandbox);
}

Capability clear_refs(const KernelFiles& files) {
  constexpr const char* kName = "heat.clear_refs";
  for (const char* const file : {"/proc/self/clear_refs", "/proc/self/smaps"}) {
    if (files.has(file)) {
      std::error_code ignored;
      if (std::filesystem::is_regular_file(files.path(file), ignored)) continue;
      return {kName, Support::not_supported, files.path(file) + " is not a file", ""};
    }
    return {kName, Support::not_supported, files.path(file) + " does not exist", kPageMonitor};
  }
  const auto smaps = files.read("/proc/self/smaps");
  if (!smaps) return lacking(kName, smaps.error(), kOtherUser);
  if (smaps->find("\nReferenced:") == std::string::npos) {
    return {kName, Support::not_supported,
            files.path("/proc/self/smaps") + " does not tell what was referenced", ""};
  }
  return {kName, Support::supported,
          "of each mapping as a whole; reads and writes are not told apart", ""};
}

Capability damon(const KernelFiles& files) {
  constexpr const char* kName = "heat.damon";
  constexpr const char* kNumber = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds";
  if (!files.has("/sys/kernel/mm/damon/admin")) {
    return {kName, Support::not_supported,
            files.path("/sys/kernel/mm/damon/admin") + " does not exist",
            "a kernel with CONFIG_DAMON_SYSFS"};
  }
  const auto running = files.read_number(kNumber);
  if (!running) return lacking(kName, running.error(), "run it as root");
  const bool processes = damon_can_watch(DamonSpace::vaddr, files).value_or(true);
  const std::string lack = "this kernel's DAMON cannot watch processes";
  const std::string without = "heat without --backend damon, or a kernel with CONFIG_DAMON_VADDR";
  if (*running > 0) {
    return {kName, Support::not_permitted,
            files.path(kNumber) + " is " + std::to_string(*running) +
                ": somebody else uses DAMON, and is left alone" + (processes ? "" : "; " + lack),
            processes ? "end what uses DAMON" : without};
  }
  if (!processes) {
    const bool physical = damon_can_watch(DamonSpace::paddr, files).value_or(true);
    return {kName, Support::not_supported,
            lack + (physical ? ", only physical memory (--backend damon --ops paddr)" : ""),
            without};
  }
  return {kName, Support::supported, "of processes or of physical memory, with --backend damon",
          ""};
}

}  // namespace

std::vector<Capability> heat_capabilities(const KernelFiles& files) {
  return {client(files), pagemap_scan(files), written(files), clear_refs(files), damon(files)};
}

}  // namespace shmif::perf
