// A process that runs out of descriptors or memory in the middle of anything: each call then fails
// or goes on without, and nothing of what it had begun is left.
//
// Calls that the library makes are made to fail one after the other: this program is linked with
// `--wrap` for each of them (CMakeLists.txt), and has an operator new of its own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdlib>
#include <new>
#include <thread>

#include "base/unique_fd.hpp"
#include "shmif/receiver.hpp"
#include "shmif/shmif.h"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace {

/// The n-th from now on fails, in whichever thread, with `error` in errno; 0: none.
struct Failing {
  std::atomic<unsigned> countdown{0};
  int error = 0;
  bool strike() noexcept {
    unsigned left = countdown.load();
    while (left != 0 && !countdown.compare_exchange_weak(left, left - 1)) {
    }
    if (left != 1) return false;
    errno = error;
    return true;
  }
};
Failing calls;
Failing allocations;
/// What there is on this machine to wake a descriptor by.
bool has_io_uring = true;
bool has_inotify = true;

}  // namespace

// Not inline, or g++ takes the pairs for mismatched where it sees only one of them.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocations.strike() ? nullptr : std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* p = operator new(size, std::nothrow);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names for --wrap
int __real_open(const char* path, int flags, mode_t mode);
int __real_fcntl(int fd, int command, void* argument);
void* __real_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_madvise(void* at, size_t size, int advice);
int __real_fstat(int fd, struct stat* status);
ssize_t __real_pread(int fd, void* to, size_t size, off_t offset);
int __real_eventfd(unsigned count, int flags);
int __real_inotify_init1(int flags);
int __real_inotify_add_watch(int fd, const char* path, uint32_t events);
long __real_syscall(long number, ...);

int __wrap_open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return calls.strike() ? -1 : __real_open(path, flags, mode);
}
int __wrap_fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return calls.strike() ? -1 : __real_fcntl(fd, command, argument);
}
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return calls.strike() ? MAP_FAILED : __real_mmap(at, size, protection, flags, fd, offset);
}
int __wrap_madvise(void* at, size_t size, int advice) {
  return calls.strike() ? -1 : __real_madvise(at, size, advice);
}
int __wrap_fstat(int fd, struct stat* status) {
  return calls.strike() ? -1 : __real_fstat(fd, status);
}
ssize_t __wrap_pread(int fd, void* to, size_t size, off_t offset) {
  return calls.strike() ? -1 : __real_pread(fd, to, size, offset);
}
int __wrap_eventfd(unsigned count, int flags) {
  return calls.strike() ? -1 : __real_eventfd(count, flags);
}
int __wrap_inotify_init1(int flags) {
  if (!has_inotify) errno = EMFILE;
  return !has_inotify || calls.strike() ? -1 : __real_inotify_init1(flags);
}
int __wrap_inotify_add_watch(int fd, const char* path, uint32_t events) {
  return calls.strike() ? -1 : __real_inotify_add_watch(fd, path, events);
}
long __wrap_syscall(long number, ...) {
  long a[6];
  va_list rest;
  va_start(rest, number);
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  const bool setup = number == SYS_io_uring_setup;
  if (setup && !has_io_uring) errno = EPERM;
  if (setup && (!has_io_uring || calls.strike())) return -1;
  if (number == SYS_io_uring_register && calls.strike()) return -1;
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace shmif::test {
namespace {

constexpr unsigned kMaxFailures = 2000;  // far more than any of these makes calls

template <class Action>
auto finally(Action action) {
  struct Last {
    Action action;
    ~Last() { action(); }
  };
  return Last{std::move(action)};
}

/// What a program does with a port. Result: whether all of it went well; an exception says no, too.
bool use_a_port(const std::string& path) {
  Port port;
  if (!port.attach(path)) return false;
  FrameBatch batch;
  NumberedBatch frames(60);
  if (port.up() || port.send(frames.make(1, 0, 1)).error) return false;
  if (port.descriptor() < 0) return false;
  if (!port.prepare_wait().ready) port.finish_wait();
  if (port.receive(batch).error || port.wait(std::chrono::nanoseconds(1))) return false;
  return !port.down() && !port.detach();
}

bool use_a_port_by_inotify(const std::string& path) {
  has_io_uring = false;
  const auto restore = finally([] { has_io_uring = true; });
  return use_a_port(path);
}

bool use_a_port_by_a_thread(const std::string& path) {
  has_inotify = false;
  const auto restore = finally([] { has_inotify = true; });
  return use_a_port_by_inotify(path);
}

bool use_a_level_descriptor(const std::string& path) {
  Port port;
  if (!port.attach(path) || port.up() || !port.level_descriptor()) return false;
  FrameBatch batch;
  return !port.receive(batch).error;
}

bool use_a_receiver(const std::string& path) {
  Port port;
  if (!port.attach(path) || port.up()) return false;
  Receiver receiver(port, [](std::span<const FrameView>) {});
  receiver.stop();
  return !receiver.error();
}

bool use_the_c_facade(const std::string& path) {
  shmif_port* port = nullptr;
  if (shmif_open(path.c_str(), nullptr, &port) != 0) {
    EXPECT_EQ(port, nullptr);
    return false;
  }
  std::byte frame[60] = {};
  const bool well = shmif_up(port) == 0 && shmif_send(port, frame, sizeof frame) == 0 &&
                    shmif_descriptor(port) >= 0 &&
                    shmif_receive(port, frame, sizeof frame, nullptr) >= 0;
  shmif_close(port);
  return well;
}

bool look(const std::string& path) {
  const auto follower = Follower::open(path, Start::oldest);
  const auto bus = Bus::open(path);
  return follower && bus && bus->audit().clean() && !bus->info().path.empty();
}

bool create_and_destroy(const std::string& path) {
  const std::string other = path + "-2";
  const auto remove = finally([&] { unlink(other.c_str()); });
  return Bus::create(other, small_ring()) && Bus::destroy(other, false);
}

struct Use {
  const char* name;
  bool (*run)(const std::string& path);
};

void PrintTo(const Use& use, std::ostream* out) {
  *out << use.name;
}

class Shortage : public testing::TestWithParam<Use> {
 protected:
  void SetUp() override {
    peer_ = port_on(bus_.path(), {.name = "a-peer-of-a-long-name"});
    // Numbers of two digits, so that names such as /proc/self/fd/10 do not fit into a short string.
    for (UniqueFd& fd : others_) fd = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    GetParam().run(bus_.path());  // what is made once in a process
    before_ = holdings(bus_.path());
    files_ = files();
  }

  std::ptrdiff_t files() const {
    using Entries = std::filesystem::directory_iterator;
    const std::string directory = std::filesystem::path(bus_.path()).parent_path();
    return std::distance(Entries(directory), Entries());
  }

  /// Runs it with the first call failing, then the second, until it met no failure any more.
  /// Nothing may be left after any of them. Result: how many failures it met.
  unsigned fail_each(Failing& what, int error) {
    for (unsigned n = 1; n <= kMaxFailures; ++n) {
      what.error = error;
      what.countdown = n;
      bool well = false;
      try {
        well = GetParam().run(bus_.path());
      } catch (const std::bad_alloc&) {
        EXPECT_EQ(&what, &allocations);
      } catch (const std::system_error&) {  // no thread for the receiver, say
      }
      const bool met = what.countdown == 0;
      what.countdown = 0;
      EXPECT_EQ(without_heap(holdings(bus_.path())), without_heap(before_)) << "failure " << n;
      EXPECT_EQ(files(), files_) << "failure " << n;
      EXPECT_EQ(bus_.info().ports.size(), 1U) << "a slot is left taken by failure " << n;
      if (HasFailure()) return n;
      if (!met) {
        EXPECT_TRUE(well) << "with no failure at all";
        return n - 1;
      }
    }
    ADD_FAILURE() << "it never came to an end";
    return 0;
  }

  /// The bus works for who has enough.
  void expect_traffic() {
    EXPECT_TRUE(is_clean(bus_.audit()));
    EXPECT_TRUE(use_a_port(bus_.path()));
    FrameBatch batch;
    EXPECT_FALSE(peer_.receive(batch).error);
  }

  TempBus bus_{small_ring()};
  Port peer_;
  std::array<UniqueFd, 10> others_;
  Holdings before_;
  std::ptrdiff_t files_ = 0;
};

TEST_P(Shortage, OfDescriptorsAtAnyCallLeavesNothing) {
  EXPECT_GT(fail_each(calls, EMFILE), 4U);
  expect_traffic();
}

TEST_P(Shortage, OfMemoryInTheKernelAtAnyCallLeavesNothing) {
  EXPECT_GT(fail_each(calls, ENOMEM), 4U);
  expect_traffic();
}

TEST_P(Shortage, OfMemoryAtAnyAllocationLeavesNothing) {
  EXPECT_GT(fail_each(allocations, ENOMEM), 2U);
  expect_traffic();
}

TEST_P(Shortage, OfDescriptorsByTheLimitIsAnErrorAtAnyNumber) {
  if (kSanitized) GTEST_SKIP() << "checks of objects need descriptors themselves, under sanitizers";
  // In a child, whose limit may go down; the descriptors of the test stay open above it.
  const int status = Child([&] {
                       bool well = false;
                       for (rlim_t limit = 3; limit < 40 && !well; ++limit) {
                         const rlimit few{limit, 1024};
                         if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
                         well = GetParam().run(bus_.path());
                         const rlimit many{1024, 1024};
                         setrlimit(RLIMIT_NOFILE, &many);
                         Holdings now = without_heap(holdings(bus_.path()));
                         now.bus_mappings = before_.bus_mappings;  // the parent's are not here
                         now.threads = before_.threads;
                         if (!(now == without_heap(before_))) return 3;
                         if (bus_.info().ports.size() != 1) return 4;
                       }
                       return well ? 0 : 5;
                     }).wait();
  EXPECT_EQ(status, 0) << "3 something was left, 4 a slot, 5 forty descriptors were not enough";
  expect_traffic();
}

TEST_P(Shortage, OfAddressSpaceIsAnErrorAtAnySize) {
  if (kSanitized) GTEST_SKIP() << "no limit of address space under sanitizers";
  const int status = Child([&] {
                       const auto used = [] {
                         std::ifstream statm("/proc/self/statm");
                         rlim_t pages = 0;
                         statm >> pages;
                         return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
                       };
                       const rlim_t base = used();
                       bool well = false;
                       for (rlim_t more = 0; more < (64U << 20U) && !well; more += 16U << 10U) {
                         const rlimit little{base + more, RLIM_INFINITY};
                         if (setrlimit(RLIMIT_AS, &little) != 0) return 2;
                         try {
                           well = GetParam().run(bus_.path());
                         } catch (const std::bad_alloc&) {
                         } catch (const std::system_error&) {  // no room for a thread's stack
                         }
                         const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
                         setrlimit(RLIMIT_AS, &all);
                         if (holdings(bus_.path()).bus_mappings != 0) return 3;
                         if (bus_.info().ports.size() != 1) return 4;
                       }
                       return well ? 0 : 5;
                     }).wait();
  EXPECT_EQ(status, 0) << "3 a mapping was left, 4 a slot, 5 64 MiB were not enough";
  expect_traffic();
}

INSTANTIATE_TEST_SUITE_P(Uses, Shortage,
                         testing::Values(Use{"Port", use_a_port},
                                         Use{"PortByInotify", use_a_port_by_inotify},
                                         Use{"PortByThread", use_a_port_by_a_thread},
                                         Use{"LevelDescriptor", use_a_level_descriptor},
                                         Use{"Receiver", use_a_receiver},
                                         Use{"CFacade", use_the_c_facade}, Use{"Look", look},
                                         Use{"Create", create_and_destroy}),
                         [](const auto& use) { return std::string(use.param.name); });

}  // namespace
}  // namespace shmif::test
