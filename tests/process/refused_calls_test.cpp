// Ports in a sandbox whose seccomp filter refuses a system call: each does without, or says so.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/repair/port_owners.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

/// Runs `body` in a child in which the system call fails. A child that spins is killed.
int run_without(int call, int error, const std::function<int()>& body) {
  return Child([&] {
           constexpr unsigned kSeconds = 20;
           ::alarm(kSeconds);
           return forbid(call, error) ? body() : 77;
         })
      .wait();
}

TEST(RefusedCall, GetrandomLeavesEachPortAnAddressOfItsOwn) {
  const TempBus bus(small_ring());
  for (const int error : {EPERM, ENOSYS, EAGAIN, EINTR}) {
    const int code = run_without(SCMP_SYS(getrandom), error, [&] {
      const Port first = port_on(bus.path());
      const Port second = port_on(bus.path());
      return first.mac().is_unicast() && second.mac().is_unicast() && first.mac() != second.mac()
                 ? 0
                 : 1;
    });
    EXPECT_EQ(code, 0) << error;
  }
  const auto address = [] { return static_cast<int>(MacAddress::random().to_u64() & 0x7FU); };
  int same = 0;
  const int first = run_without(SCMP_SYS(getrandom), EPERM, address);
  for (int i = 0; i < 8; ++i) same += run_without(SCMP_SYS(getrandom), EPERM, address) == first;
  EXPECT_LT(same, 8) << "processes that were forked from one have different addresses";
}

TEST(RefusedCall, MemfdCreateLeavesAPortThatWorksAndWhoseProcessIsKnown) {
  const TempBus bus(small_ring());
  EXPECT_EQ(run_without(SCMP_SYS(memfd_create), EPERM,
                        [&] {
                          const Port port = port_on(bus.path());
                          const BusInfo info = bus.info();
                          bus::PortOwners owners(info);
                          return owners.prove(info.ports.at(0)) ? 0 : 1;
                        }),
            0);
}

TEST(RefusedCall, PidfdIsToldAsWhatWasRefused) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path());
  const BusInfo info = bus.info();
  for (const int error : {EPERM, ENOSYS}) {
    EXPECT_EQ(run_without(SCMP_SYS(pidfd_open), error,
                          [&] {
                            bus::PortOwners owners(info);
                            const auto proven = owners.prove(info.ports.at(0));
                            return !proven && proven.error().message.starts_with("pidfd_open(2) is")
                                       ? 0
                                       : 1;
                          }),
              0)
        << error;
  }
}

// A process that may write no file, as in a sandbox: RLIMIT_FSIZE is 0, and SIGXFSZ ends it.

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

// A program may close descriptors that it does not know, and open files of its own in their place.
// The library must neither write into these nor believe what they say.

/// Puts the file at `path` in the place of every descriptor of `bus` that this process has.
int replace_descriptors(const std::string& bus, const std::string& path) {
  const UniqueFd other(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  int replaced = 0;
  for (int fd = 3; fd < 200; ++fd) {
    std::error_code none;
    const auto link = "/proc/self/fd/" + std::to_string(fd);
    if (std::filesystem::read_symlink(link, none) != bus) continue;
    if (dup2(other.get(), fd) == fd) ++replaced;
  }
  return replaced;
}

TEST(ReplacedDescriptor, IsNotAskedWhoLives) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Port stopped = port_on(bus.path());
  Port sender = port_on(bus.path());
  std::ofstream(bus.file("other")) << "text";
  ASSERT_GE(replace_descriptors(bus.path(), bus.file("other")), 2);
  raw.claim(stopped.slot(), 0, 0, 1024);
  EXPECT_FALSE(send_one(sender));
  EXPECT_NE(raw.slot(stopped.slot()).claim_owner, 0U) << "it may still write there";
  EXPECT_EQ(raw.header().claims_freed, 0U);
}

TEST(ReplacedDescriptor, IsNotWrittenInto) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  const std::string content(8192, 'x');
  std::ofstream(bus.file("other")) << content;
  ASSERT_GE(replace_descriptors(bus.path(), bus.file("other")), 1);
  port.interrupt();  // rings those that poll by a write into the file of the bus
  EXPECT_FALSE(port.down());
  std::ifstream file(bus.file("other"), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), content);
}

/// Its descriptor may be a watch of the file, but a wait is woken by the futex, as by any sender.
TEST(InotifyDescriptor, DoesNotChangeHowAWaitIsWoken) {
  if (const std::string why = lacking(WakeMeans::inotify); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Shared<std::atomic<unsigned>> slot;
  Child child([&] {
    if (!leave_only(WakeMeans::inotify)) return 1;
    Port port = port_on(bus.path());
    if (!is_woken_by(port, WakeMeans::inotify)) return 2;
    *slot = port.slot() + 1;
    if (!port.wait(std::chrono::seconds(60))) return 3;
    return heard(port) == 1 ? 0 : 4;
  });
  ASSERT_TRUE(eventually([&] { return *slot != 0 && sleeps_deeply(raw, *slot - 1); }));
  EXPECT_EQ(bus::load_relaxed(raw.slot(*slot - 1).bell), bus::kBellFutex);
  Port sender = port_on(bus.path());
  EXPECT_FALSE(send_one(sender));
  EXPECT_EQ(child.wait(), 0);
}

/// The level descriptor is rung for the ring alone; a program may still sleep on the older one.
TEST(InotifyDescriptor, BesideALevelDescriptorIsNotSleptOnForLong) {
  if (const std::string why = lacking(WakeMeans::inotify); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  EXPECT_EQ(Child([&] {
              if (!leave_only(WakeMeans::inotify)) return 1;
              Port port = port_on(bus.path());
              if (!is_woken_by(port, WakeMeans::inotify)) return 2;
              if (!port.level_descriptor()) return 3;
              const WaitHint hint = port.prepare_wait();
              if (hint.ready || hint.at_most > std::chrono::milliseconds(50)) return 4;
              port.finish_wait();
              return 0;
            }).wait(),
            0);
}

/// A truncation rings no futex. Whoever survives it looks now and then.
TEST(FutexDescriptor, IsNotSleptOnForEverUnderTheGuard) {
  if (const std::string why = lacking(WakeMeans::io_uring); !why.empty()) GTEST_SKIP() << why;
  const TempBus bus(small_ring());
  for (const bool guarded : {false, true}) {
    EXPECT_EQ(Child([&] {
                if (guarded && !install_sigbus_guard()) return 1;
                Port port = port_on(bus.path());
                if (!is_woken_by(port, WakeMeans::io_uring)) return 2;
                WaitHint hint;
                if (!eventually([&] {
                      hint = port.prepare_wait();
                      port.finish_wait();
                      return hint.at_most > std::chrono::milliseconds(50);
                    }))
                  return 3;
                return (hint.at_most == std::chrono::nanoseconds::max()) != guarded ? 0 : 4;
              }).wait(),
              0);
  }
}

// A process that reads frames in place while another sends as fast as it can: what release() calls
// whole was whole.
//
// The sender is a process of its own, so ThreadSanitizer does not see that reading a frame where it
// lies races with the sender's writes. It does so by design, as the copies in bus/atomics.hpp.

constexpr unsigned kSender = 7;

struct Rig {
  std::atomic<bool> enough{false};
  std::atomic<std::uint64_t> sent{0};
};

int send_until_enough(const std::string& path, Rig& rig) {
  Port port = port_on(path, {.name = "sender"});
  NumberedBatch batch(200);  // a loan is 32 of them, and a batch less than a loan
  std::uint32_t sequence = 0;
  while (!rig.enough) {
    const std::size_t count = 1 + sequence * 7 % 5;
    const SendResult sent = port.try_send(batch.make(kSender, sequence, count));
    if (sent.error) return 1;
    sequence += static_cast<std::uint32_t>(sent.taken);
    // On a bus that pauses a port that sends has to read, too.
    FrameBatch own;
    if (port.patience().count() != 0) static_cast<void>(port.receive(own));
  }
  rig.sent = sequence;
  return 0;
}

class Borrower : public ::testing::Test {
 protected:
  /// Looks at one loan, and checks it as far as it is whole. `hold`: what to do while it is lent,
  /// before it is looked at or after that.
  template <class Hold>
  void borrow(const Hold& hold) {
    in_.clear();
    ASSERT_FALSE(reader_->receive_in_place(in_).error);
    made_.clear();
    ++loans_;
    if (loans_ % 2 == 0) hold();
    for (const FrameView& frame : in_.frames()) made_.push_back(check_numbered(frame));
    if (loans_ % 2 != 0) hold();
    const std::size_t torn = reader_->release();
    ASSERT_LE(torn, in_.size());
    for (std::size_t i = torn; i < in_.size(); ++i) {
      ASSERT_TRUE(made_[i]) << "torn, and called whole";
      ASSERT_EQ(made_[i]->sender, kSender);
      ASSERT_EQ(made_[i]->sequence, in_[i].number) << "another frame than it was";
      ASSERT_GE(in_[i].number, next_) << "delivered twice, or out of order";
      next_ = in_[i].number + 1;
    }
    whole_ += in_.size() - torn;
    torn_ += torn;
    if (torn != 0 && torn < in_.size()) ++torn_in_part_;
  }

  void expect_that_the_counters_add_up(std::uint64_t sent) {
    const PortCounters c = reader_->counters();
    EXPECT_EQ(c.rx_frames, whole_);
    EXPECT_EQ(passed(c), sent);
    EXPECT_EQ(c.corrupt, 0U);
  }

  std::optional<Port> reader_;
  FrameBatch in_;
  std::vector<std::optional<Numbered>> made_;
  std::uint64_t loans_ = 0, whole_ = 0, torn_ = 0, torn_in_part_ = 0;
  std::uint64_t next_ = 0;
};

TEST_F(Borrower, WhatReleaseCallsWholeWasWholeHoweverFastTheSenderIs) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const std::uint64_t ring = bus.info().ring_bytes;
  const Shared<Rig> rig;
  reader_ = port_on(bus.path(), {.name = "reader"});
  Child sender([&] { return send_until_enough(bus.path(), *rig); });
  std::mt19937 random(1);
  const auto have = [&](std::uint64_t frames, std::uint64_t loans) {
    return whole_ >= frames && torn_ >= frames && torn_in_part_ >= loans;
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto deadline = begin + std::chrono::seconds(60);
  for (auto now = begin; now < deadline && !HasFatalFailure();
       now = std::chrono::steady_clock::now()) {
    if (have(kSanitized ? 5'000 : 50'000, 200)) break;
    // Those that are torn in part tell most, but need a CPU for each of the two.
    if (now - begin > std::chrono::seconds(2) && have(1000, 0)) break;
    // Some are held until the sender has come about as far as them again.
    const std::uint64_t until = raw.slot(reader_->slot()).position + ring - 2048 + random() % 8192;
    const bool long_held = loans_ % 4 < 2;
    borrow([&] {
      unsigned looks = 0;
      while (long_held && bus::load_acquire(raw.header().last) < until &&
             std::chrono::steady_clock::now() < deadline) {
        if (++looks % 1000 == 0) std::this_thread::yield();
      }
    });
  }
  rig->enough = true;
  ASSERT_EQ(sender.wait(), 0);
  EXPECT_TRUE(have(1000, 0)) << whole_ << " whole, " << torn_ << " torn";
  do {
    borrow([] {});
  } while (!in_.empty() && !HasFatalFailure());
  expect_that_the_counters_add_up(rig->sent);
}

TEST_F(Borrower, APausingBusOverwritesNothingThatIsLent) {
  BusOptions options = small_ring();
  options.flow = Flow::pause;
  options.patience = std::chrono::seconds(1);
  const TempBus bus(options);
  const Shared<Rig> rig;
  reader_ = port_on(bus.path(), {.name = "reader"});
  Child sender([&] { return send_until_enough(bus.path(), *rig); });
  const std::uint64_t enough = kSanitized ? 1'000 : 10'000;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (whole_ < enough && std::chrono::steady_clock::now() < deadline && !HasFatalFailure()) {
    borrow([&] {
      if (loans_ % 16 < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  rig->enough = true;
  ASSERT_EQ(sender.wait(), 0);
  EXPECT_GE(whole_, enough);
  do {
    borrow([] {});
  } while (!in_.empty() && !HasFatalFailure());
  EXPECT_EQ(torn_, 0U);
  EXPECT_EQ(reader_->counters().lost_frames, 0U);
  expect_that_the_counters_add_up(rig->sent);
}

}  // namespace
}  // namespace shmif::test
