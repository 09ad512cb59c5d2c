// A process that may write no file, as in a sandbox: RLIMIT_FSIZE is 0, and SIGXFSZ ends it.

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

/// Result: whether from here on no file of this process may grow.
bool forbid_writing() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  return signal(SIGXFSZ, SIG_DFL) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &none) == 0;
}

TEST(FileSizeLimit, OfZeroKeepsNobodyFromWakingAPortThatPolls) {
  const TempBus bus(small_ring());
  const auto size = std::filesystem::file_size(bus.path());
  const Shared<std::atomic<bool>> asleep;
  Child sleeper([&] {
    if (!leave_only(WakeMeans::inotify)) return 1;  // the one that needs a write
    Port port = port_on(bus.path(), {.name = "sleeper"});
    if (!is_woken_by(port, WakeMeans::inotify)) return 2;
    pollfd woken{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
    if (port.prepare_wait().ready) return 3;
    *asleep = true;
    if (poll(&woken, 1, 30'000) != 1) return 4;
    port.finish_wait();
    FrameBatch heard;
    return port.receive(heard).frames == 1 ? 0 : 5;
  });
  ASSERT_TRUE(eventually([&] { return asleep->load(); }));
  Child sender([&] {
    if (!forbid_writing()) return 1;
    Port port = port_on(bus.path(), {.name = "sender"});
    NumberedBatch frames(60);
    if (port.send(frames.make(1, 0, 1)).error) return 2;
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGXFSZ) == 0 ? 0 : 3;
  });
  EXPECT_EQ(sender.wait(), 0);
  EXPECT_EQ(sleeper.wait(), 0);
  EXPECT_EQ(std::filesystem::file_size(bus.path()), size);
  EXPECT_TRUE(is_clean(bus.audit()));
}

}  // namespace
}  // namespace shmif::test
