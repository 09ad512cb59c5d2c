// Follower: listens where the file may only be read, and disturbs nothing.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void send(Port& port, std::uint32_t first, std::size_t count, std::size_t size = 60) {
  NumberedBatch frames(1522);
  frames.fix_size(size);
  ASSERT_FALSE(port.send(frames.make(1, first, count)).error);
}

void expect_a_signal_ends_the_wait(const BusOptions& options) {
  const TempBus bus(options);
  Port port = port_on(bus.path());
  Follower follower = Follower::open(bus.path(), Start::now).value();
  struct sigaction before{};
  struct sigaction interrupts{};
  interrupts.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &interrupts, &before), 0);
  enum class Answer { none, no_frame, frame };
  std::atomic<Answer> answer{Answer::none};
  std::thread waits([&] {
    answer = follower.wait(std::chrono::nanoseconds::max()) ? Answer::frame : Answer::no_frame;
  });
  EXPECT_TRUE(eventually([&] {
    if (answer != Answer::none) return true;
    ::pthread_kill(waits.native_handle(), SIGUSR1);
    return false;
  }));
  if (answer == Answer::none) send(port, 0, 1);
  waits.join();
  EXPECT_EQ(answer, Answer::no_frame);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(Follower, WaitEndsWithASignalThatInterruptsIt) {
  expect_a_signal_ends_the_wait({});
  expect_a_signal_ends_the_wait({.format = BusFormat::netbsd});
}

TEST(Follower, SeveralAreServedByOneEpollLoop) {
  constexpr std::size_t kFrames = 20;
  const TempBus one;
  const TempBus two;
  Port ports[] = {port_on(one.path()), port_on(two.path())};
  Follower followers[] = {Follower::open(one.path(), Start::now).value(),
                          Follower::open(two.path(), Start::now).value()};
  const UniqueFd loop(epoll_create1(EPOLL_CLOEXEC));
  for (Follower& each : followers) {
    epoll_event event{};
    event.events = EPOLLIN;
    ASSERT_GE(each.descriptor(), 0);
    ASSERT_EQ(epoll_ctl(loop.get(), EPOLL_CTL_ADD, each.descriptor(), &event), 0);
  }
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < kFrames; ++i) {
      send(ports[i % 2], i, 1);
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
    }
  });
  std::size_t heard = 0;
  unsigned turns = 0;
  for (; heard < kFrames && turns < 10'000; ++turns) {
    bool ready = false;
    for (Follower& each : followers) ready = each.prepare_wait().ready || ready;
    epoll_event event{};
    if (!ready) {
      ASSERT_EQ(epoll_wait(loop.get(), &event, 1, 20'000), 1) << "nothing wakes it";
    }
    for (Follower& each : followers) {
      each.finish_wait();
      FrameBatch in;
      heard += each.receive(in).frames;
    }
  }
  EXPECT_EQ(heard, kFrames);
  EXPECT_LT(turns, 5000U) << "it spins";
}

TEST(Follower, ResumesAfterAnOverrunWhereItWasAskedTo) {
  const TempBus bus(small_ring());
  Port port = port_on(bus.path());
  Follower first = Follower::open(bus.path(), Start::now, Resume::first).value();
  Follower newest = Follower::open(bus.path(), Start::now, Resume::newest).value();
  for (std::uint32_t i = 0; i < 300; ++i) send(port, i, 1, 1000);
  FrameBatch in(256);
  EXPECT_GT(first.receive(in).frames, 50U) << "the ring holds more than 50 of them";
  const ReceiveResult got = newest.receive(in);
  EXPECT_EQ(got.frames, 0U);
  EXPECT_EQ(got.lost, 300U);
}

TEST(Follower, CountsWhatItHeardAndWhatItMissed) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  Port port = port_on(bus.path());
  Follower follower = Follower::open(bus.path(), Start::now).value();
  send(port, 0, 10, 100);
  FrameBatch in(256);
  EXPECT_EQ(follower.receive(in).frames, 10U);
  const std::uint64_t read = raw.header().last;
  PortCounters c = follower.counters();
  EXPECT_EQ(c.rx_frames, 10U);
  EXPECT_EQ(c.rx_segments, 10U);
  EXPECT_EQ(c.rx_bytes, 1000U);
  EXPECT_EQ(c.overruns + c.lost_frames + c.lost_bytes + c.corrupt, 0U);
  for (std::uint32_t i = 10; i < 310; ++i) send(port, i, 1, 1000);
  in.clear();
  const ReceiveResult got = follower.receive(in);
  EXPECT_EQ(got.frames + got.lost, 300U);
  c = follower.counters();
  EXPECT_EQ(c.rx_frames, 10 + got.frames);
  EXPECT_EQ(c.rx_segments, c.rx_frames);
  EXPECT_EQ(c.rx_bytes, 1000 + 1000 * got.frames);
  EXPECT_EQ(c.lost_frames, got.lost);
  EXPECT_EQ(c.lost_bytes, raw.header().first - read);
  EXPECT_EQ(c.overruns, 1U);
  EXPECT_FALSE(c.lost_is_lower_bound());
  const std::uint64_t spoiled = raw.header().last;
  send(port, 310, 1, 100);
  raw.ring().record(spoiled).word = 0x5a5a5a5a;
  in.clear();
  EXPECT_EQ(follower.receive(in).lost, 1U);
  EXPECT_EQ(follower.counters().corrupt, 1U);
  EXPECT_EQ(follower.counters().lost_frames, got.lost + 1);
}

TEST(Follower, LooksSeldomerWhileNothingComesAndOftenAgainAfterAFrame) {
  const TempBus bus;
  Port port = port_on(bus.path());
  Follower follower = Follower::open(bus.path(), Start::now).value();
  for (std::uint32_t round = 0; round < 2; ++round) {
    for (const int ms : {1, 2, 4, 8, 16, 32, 50, 50}) {
      const WaitHint hint = follower.prepare_wait();
      EXPECT_FALSE(hint.ready);
      EXPECT_EQ(hint.at_most, std::chrono::milliseconds(ms));
      follower.finish_wait();
    }
    send(port, round, 1);
    EXPECT_TRUE(follower.prepare_wait().ready);
    follower.finish_wait();
    FrameBatch in;
    EXPECT_EQ(follower.receive(in).frames, 1U);
  }
}

TEST(Follower, ItsDescriptorWakesWhenTheNextLookIsDueAndIsQuietAfterIt) {
  const TempBus bus;
  Follower follower = Follower::open(bus.path(), Start::now).value();
  pollfd p{.fd = follower.descriptor(), .events = POLLIN, .revents = 0};
  for (int look = 0; look < 6; ++look) {
    const auto before = std::chrono::steady_clock::now();
    const WaitHint hint = follower.prepare_wait();
    ASSERT_FALSE(hint.ready);
    ASSERT_EQ(poll(&p, 1, 10'000), 1);
    EXPECT_GE(std::chrono::steady_clock::now() - before, hint.at_most) << "it looks too often";
    follower.finish_wait();
    EXPECT_EQ(poll(&p, 1, 0), 0) << "whoever waits would turn round and round";
    EXPECT_EQ(follower.descriptor(), p.fd);
  }
}

TEST(Follower, AnUnprivilegedUserMayFollowAFileThatHeMayOnlyReadAndChangesNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const TempBus bus({.ring_bytes = 64U << 10U, .mode = 0644});
  ASSERT_EQ(chmod(bus.path().substr(0, bus.path().rfind('/')).c_str(), 0755), 0);
  Port port = port_on(bus.path());
  send(port, 0, 10);
  const std::string before = content(bus.path());
  struct stat then{};
  ASSERT_EQ(stat(bus.path().c_str(), &then), 0);
  EXPECT_EQ(Child([&] {
              if (setgid(65534) != 0 || setuid(65534) != 0) return 9;
              Follower follower = Follower::open(bus.path(), Start::oldest).value();
              FrameBatch in;
              if (follower.receive(in).frames != 10) return 1;
              for (const FrameView& f : in.frames()) {
                if (!check_numbered(f)) return 2;
              }
              return follower.wait(std::chrono::milliseconds(20)) ? 3 : 0;
            }).wait(),
            0);
  EXPECT_TRUE(before == content(bus.path())) << "a byte of the file changed";
  struct stat now{};
  ASSERT_EQ(stat(bus.path().c_str(), &now), 0);
  EXPECT_EQ(now.st_mtim.tv_nsec, then.st_mtim.tv_nsec);
  EXPECT_EQ(now.st_mtim.tv_sec, then.st_mtim.tv_sec);
}

}  // namespace
}  // namespace shmif::test
