// The level-triggered descriptor (Port::level_descriptor, shmif_fd): readable while frames wait,
// quiet otherwise, with no call before a sleep. The other descriptor has descriptor_test.cpp.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "shmif/receiver.hpp"
#include "shmif/shmif.h"
#include "tests/process/ping_pong.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

constexpr int kLongMs = 30'000;

bool is_readable(int fd, int timeout_ms = 0) {
  pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&p, 1, timeout_ms) == 1;
}

/// As !is_readable(), but a helper thread may ring once more for what has been read already: the
/// next call that receives makes that quiet.
bool is_quiet(Port& port, int fd) {
  for (unsigned tries = 0; tries < 10; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (!is_readable(fd)) return true;
    FrameBatch in;
    if (port.receive(in).frames > 0) return false;
  }
  return false;
}

int level_descriptor_of(Port& port) {
  return port.level_descriptor().value();
}

/// What goes wrong in a child of the test ends it with the line's number.
#define SHMIF_REQUIRE(condition) \
  if (!(condition)) return __LINE__ % 256

/// In processes that have io_uring, and in others that have a helper thread instead.
class LevelDescriptor : public ::testing::TestWithParam<WakeMeans> {
 protected:
  void SetUp() override {
    if (const std::string why = lacking(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
  /// Runs `body` in a child that has only these means. It returns 0, or the line that failed.
  void in_child(const std::function<int()>& body) const {
    EXPECT_EQ(Child([&] { return leave_only(GetParam()) ? body() : 1; }).wait(), 0)
        << "the line, modulo 256";
  }
  TempBus bus_{small_ring()};
};

INSTANTIATE_TEST_SUITE_P(Each, LevelDescriptor,
                         ::testing::Values(WakeMeans::io_uring, WakeMeans::helper_thread),
                         ::testing::PrintToStringParamName());

TEST_P(LevelDescriptor, IsReadableWhileFramesWaitAndQuietOtherwise) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch one(1, 2048);
    for (std::uint32_t round = 0; round < 100; ++round) {
      SHMIF_REQUIRE(!is_readable(fd));
      SHMIF_REQUIRE(!sender.send(frames.make(0, round, 3)).error);
      for (unsigned taken = 0; taken < 3; ++taken) {
        SHMIF_REQUIRE(is_readable(fd, taken == 0 ? kLongMs : 0));
        one.clear();
        SHMIF_REQUIRE(port.receive(one).frames == 1);
      }
    }
    SHMIF_REQUIRE(!is_readable(fd, 300));  // the lookout has looked several times
    SHMIF_REQUIRE(level_descriptor_of(port) == fd);
    return 0;
  });
}

TEST_P(LevelDescriptor, IsReadableAtOnceIfFramesWaitWhenItIsMade) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    NumberedBatch frames(60);
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 1)).error);
    SHMIF_REQUIRE(is_readable(level_descriptor_of(port)));
    return 0;
  });
}

TEST_P(LevelDescriptor, OfTheCFacadeCountsTheFramesThatTheLibraryHasFetched) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    shmif_port* port = nullptr;
    SHMIF_REQUIRE(shmif_open(bus_.path().c_str(), nullptr, &port) == 0 && shmif_up(port) == 0);
    NumberedBatch frames(60);
    std::array<unsigned char, 100> in{};
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 2)).error);
    SHMIF_REQUIRE(shmif_receive(port, in.data(), in.size(), nullptr) > 0);
    const int fd = shmif_fd(port);
    SHMIF_REQUIRE(fd >= 0 && is_readable(fd));
    int at_most_ms = -1;
    SHMIF_REQUIRE(shmif_prepare_wait(port, &at_most_ms) == 1 && is_readable(fd));
    shmif_finish_wait(port);
    SHMIF_REQUIRE(shmif_receive(port, in.data(), in.size(), nullptr) > 0 && !is_readable(fd));
    for (std::uint32_t round = 0; round < 100; ++round) {
      SHMIF_REQUIRE(!sender.send(frames.make(0, round, 5)).error);
      for (unsigned taken = 0; taken < 5; ++taken) {
        SHMIF_REQUIRE(is_readable(fd, taken == 0 ? kLongMs : 0));
        SHMIF_REQUIRE(shmif_receive(port, in.data(), in.size(), nullptr) > 0);
      }
      SHMIF_REQUIRE(!is_readable(fd));
    }
    // Also by the other calls that take frames.
    iovec lent{};
    iovec buffer{in.data(), in.size()};
    SHMIF_REQUIRE(!sender.send(frames.make(0, 100, 4)).error);
    SHMIF_REQUIRE(shmif_receive_batch(port, &buffer, nullptr, 1) == 1 && is_readable(fd));
    SHMIF_REQUIRE(shmif_receive_in_place(port, &lent, nullptr, 1) == 1);
    SHMIF_REQUIRE(shmif_release(port) == 0 && is_readable(fd));
    SHMIF_REQUIRE(shmif_wait(port, 0) == 1 && is_readable(fd));
    SHMIF_REQUIRE(shmif_receive(port, in.data(), in.size(), nullptr) > 0 && is_readable(fd));
    SHMIF_REQUIRE(shmif_receive_in_place(port, &lent, nullptr, 1) == 1);
    SHMIF_REQUIRE(shmif_release(port) == 0 && !is_readable(fd));
    // What down() drops is not waited for.
    SHMIF_REQUIRE(!sender.send(frames.make(0, 104, 4)).error);
    SHMIF_REQUIRE(shmif_receive(port, in.data(), in.size(), nullptr) > 0 && is_readable(fd));
    SHMIF_REQUIRE(shmif_down(port) == 0 && !is_readable(fd));
    shmif_close(port);
    return 0;
  });
}

TEST_P(LevelDescriptor, AgreesWithTheRingAlsoAfterFramesThatWereLent) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch two(2, 0);
    for (std::uint32_t round = 0; round < 20; ++round) {
      SHMIF_REQUIRE(!sender.send(frames.make(0, round, 3)).error);
      SHMIF_REQUIRE(is_readable(fd, kLongMs));
      two.clear();
      SHMIF_REQUIRE(port.receive_in_place(two).frames == 2);
      SHMIF_REQUIRE(port.release() == 0 && is_readable(fd));
      two.clear();
      SHMIF_REQUIRE(port.receive_in_place(two).frames == 1);
      SHMIF_REQUIRE(port.release() == 0 && !is_readable(fd));
    }
    return 0;
  });
}

/// One side of a ping-pong that polls without a time-out, so that a single lost wakeup stops both.
int rally(const std::string& path, PingPong& progress, unsigned side, std::uint64_t rounds,
          WakeMeans means) {
  if (!leave_only(means)) return 1;
  Port port = port_on(path, {.name = "side" + std::to_string(side)});
  const int fd = level_descriptor_of(port);
  NumberedBatch frames(60);
  FrameBatch in(1, 2048);
  std::uint64_t heard = 0;
  ++progress.ready;
  while (progress.ready < 2) std::this_thread::yield();
  for (std::uint64_t round = 0; round < rounds; ++round) {
    // Batches of one to three frames, so that some wakes find more than is read at once.
    if (round % 2 == side) {
      const auto count = static_cast<std::uint32_t>(round % 3 + 1);
      if (port.send(frames.make(side, static_cast<std::uint32_t>(round), count)).error) return 3;
    } else {
      for (const std::uint64_t wanted = heard + round % 3 + 1; heard < wanted;) {
        if (!is_readable(fd, -1)) return 4;
        in.clear();
        if (port.receive(in).error) return 5;
        heard += in.size();
      }
    }
    ++progress.rounds.at(side);
  }
  return 0;
}

TEST_P(LevelDescriptor, LosesNoWakeupInManyRoundsOfPingPongBetweenProcessesThatPoll) {
  const std::uint64_t rounds = kSanitized ? 500 : 20'000;
  const Shared<PingPong> progress;
  expect_to_finish(progress, rounds, [&](unsigned side) {
    return rally(bus_.path(), *progress, side, rounds, GetParam());
  });
}

/// How often the threads of this process have gone to sleep by themselves.
std::uint64_t sleeps() {
  constexpr std::string_view kKey = "voluntary_ctxt_switches:";
  std::uint64_t sum = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with(kKey)) sum += std::stoull(line.substr(kKey.size()));
    }
  }
  return sum;
}

TEST_P(LevelDescriptor, CostsNothingOnAQuietBusAndIsWokenByItsFirstFrame) {
  in_child([&] {
    const RawBus raw(bus_.path());
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch in;
    for (std::uint32_t round = 0; round < 2; ++round) {
      SHMIF_REQUIRE(eventually([&] { return sleeps_deeply(raw, port.slot()); }));
      // Those of this thread; a lookout that is awake would have ten, each time. ThreadSanitizer
      // has a thread of its own.
      SHMIF_REQUIRE(eventually([&] {
        const std::uint64_t before = sleeps();
        return !is_readable(fd, 500) && (kSanitized || sleeps() - before <= 4);
      }));
      SHMIF_REQUIRE(!sender.send(frames.make(0, round, 1)).error);
      SHMIF_REQUIRE(is_readable(fd, kLongMs));
      in.clear();
      SHMIF_REQUIRE(port.receive(in).frames == 1 && !is_readable(fd));
    }
    return 0;
  });
}

TEST_P(LevelDescriptor, HearsOfAFrameWhoseSenderRangNobody) {
  in_child([&] {
    const RawBus raw(bus_.path());
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    const unsigned slot = port.slot();
    NumberedBatch frames(60);
    FrameBatch in;
    for (std::uint32_t round = 0; round < 5; ++round) {
      // As a sender that has cleared the bit and died before it woke the port.
      bus::fetch_and(raw.header().sleepers[slot / 64], ~(std::uint64_t{1} << (slot % 64)));
      SHMIF_REQUIRE(!sender.send(frames.make(0, round, 1)).error);
      SHMIF_REQUIRE(is_readable(fd, kLongMs));
      in.clear();
      SHMIF_REQUIRE(port.receive(in).frames == 1 && !is_readable(fd));
    }
    return 0;
  });
}

TEST_P(LevelDescriptor, IsReadableIfReceivingWouldFailAndAfterAnInterruption) {
  in_child([&] {
    SHMIF_REQUIRE(install_sigbus_guard());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    FrameBatch in;
    port.interrupt();
    SHMIF_REQUIRE(is_readable(fd, kLongMs));
    SHMIF_REQUIRE(port.receive(in).frames == 0 && !is_readable(fd));
    // The end of the ring. Nobody rings for that.
    std::filesystem::resize_file(bus_.path(), std::filesystem::file_size(bus_.path()) - 4096);
    SHMIF_REQUIRE(is_readable(fd, kLongMs));
    SHMIF_REQUIRE(port.receive(in).error == Errc::bus_lost && is_readable(fd, kLongMs));
    return 0;
  });
}

/// Fills the ring's end with what is no chain of records.
void corrupt_ring(const std::string& path) {
  std::fstream ring(path, std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-static_cast<std::streamoff>(bus::kMinRingBytes), std::ios::end);
  ring << std::string(bus::kMinRingBytes, '\xff');
}

TEST_P(LevelDescriptor, LetsAProgramThatGoesOnRestWhileItsBusIsCorruptAndHearsWhenItIsRepaired) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch in;
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 1)).error && is_readable(fd, kLongMs));
    corrupt_ring(bus_.path());
    SHMIF_REQUIRE(port.receive(in).error == Errc::corrupt);
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned errors = 0; errors < 10; ++errors) {
      SHMIF_REQUIRE(is_readable(fd, kLongMs));
      SHMIF_REQUIRE(port.receive(in).error == Errc::corrupt);
    }
    SHMIF_REQUIRE(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(10 * 40));
    SHMIF_REQUIRE(Bus::open(bus_.path(), Access::read_write).value().repair());
    SHMIF_REQUIRE(eventually([&] { return !port.receive(in).error && is_quiet(port, fd); }));
    SHMIF_REQUIRE(!sender.send(frames.make(0, 1, 1)).error && is_readable(fd, kLongMs));
    in.clear();
    SHMIF_REQUIRE(port.receive(in).frames == 1 && is_quiet(port, fd));
    return 0;
  });
}

TEST_P(LevelDescriptor, IsQuietWhileThePortIsDownAndAgreesWithTheRingWhenItIsUpAgain) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path(), {.start = Start::oldest});
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch in;
    SHMIF_REQUIRE(!port.down() && is_quiet(port, fd));
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 2)).error && is_quiet(port, fd));
    SHMIF_REQUIRE(!port.up() && is_readable(fd));
    SHMIF_REQUIRE(port.receive(in).frames == 2 && is_quiet(port, fd));
    SHMIF_REQUIRE(!sender.send(frames.make(0, 2, 1)).error && is_readable(fd, kLongMs));
    SHMIF_REQUIRE(!port.down() && is_quiet(port, fd));
    return 0;
  });
}

TEST_P(LevelDescriptor, MayBeUsedBesideEveryOtherWayToWait) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int other = port.descriptor();
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    FrameBatch in;
    const auto take_one = [&] {
      in.clear();
      return port.receive(in).frames == 1 && is_quiet(port, fd);
    };
    for (std::uint32_t round = 0; round < 20; ++round) {
      SHMIF_REQUIRE(!port.wait(std::chrono::milliseconds(1)) && is_quiet(port, fd));
      SHMIF_REQUIRE(!port.prepare_wait().ready);
      SHMIF_REQUIRE(!sender.send(frames.make(0, 3 * round, 1)).error);
      SHMIF_REQUIRE(is_readable(other, kLongMs));
      port.finish_wait();
      SHMIF_REQUIRE(is_readable(fd) && take_one());
      SHMIF_REQUIRE(!sender.send(frames.make(0, 3 * round + 1, 1)).error);
      SHMIF_REQUIRE(port.prepare_wait().ready);
      port.finish_wait();
      SHMIF_REQUIRE(take_one());
      SHMIF_REQUIRE(!sender.send(frames.make(0, 3 * round + 2, 1)).error);
      SHMIF_REQUIRE(port.wait(std::chrono::seconds(30)) && is_readable(fd) && take_one());
    }
    std::atomic<std::size_t> heard{0};
    Receiver receiver(port, [&](std::span<const FrameView> got) { heard += got.size(); });
    for (std::uint32_t round = 0; round < 20; ++round) {
      SHMIF_REQUIRE(!sender.send(frames.make(0, 60 + round, 1)).error);
      SHMIF_REQUIRE(eventually([&] { return heard == round + 1; }));
    }
    receiver.stop();
    return 0;
  });
}

TEST_P(LevelDescriptor, IsWokenForItsOwnFramesAloneAndHearsWhatItAcceptsNow) {
  in_child([&] {
    Port sender = port_on(bus_.path());
    Port port = port_on(bus_.path());
    const int fd = level_descriptor_of(port);
    NumberedBatch frames(60);
    const MacAddress other = MacAddress::from_u64(0xb2a0'0000'0001);
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 32, other)).error && !is_readable(fd, 300));
    SHMIF_REQUIRE(!port.set_promiscuous(true));
    SHMIF_REQUIRE(!sender.send(frames.make(0, 32, 1, other)).error && is_readable(fd, kLongMs));
    return 0;
  });
}

TEST_P(LevelDescriptor, OfAPortThatReadsKeepsSendersFromWaiting) {
  const TempBus pausing({.ring_bytes = bus::kMinRingBytes,
                         .flow = Flow::pause,
                         .patience = std::chrono::milliseconds(500)});
  in_child([&] {
    Port sender = port_on(pausing.path());
    Port port = port_on(pausing.path());
    static_cast<void>(level_descriptor_of(port));
    NumberedBatch frames(60);
    // Frames for others, many times round the ring: an announced sleeper has read all of its own.
    const MacAddress other = MacAddress::from_u64(0xb2a0'0000'0001);
    FrameBatch in;
    for (std::uint32_t round = 0; round < 200; ++round) {
      SHMIF_REQUIRE(!sender.send(frames.make(0, round * 32, 32, other)).error);
      SHMIF_REQUIRE(sender.receive(in).frames == 0);  // it is waited for, too
    }
    SHMIF_REQUIRE(port.receive(in).lost == 0);
    SHMIF_REQUIRE(sender.counters().pauses == 0);
    return 0;
  });
}

TEST_P(LevelDescriptor, OfAForkedChildIsRefusedAndTheParentsStays) {
  in_child([&] {
    auto port = std::make_unique<Port>(port_on(bus_.path()));
    Port sender = port_on(bus_.path());
    const int fd = level_descriptor_of(*port);
    Child forked([&] {
      const auto refused = port->level_descriptor();
      if (refused || refused.error().code != Errc::forked) return 1;
      FrameBatch in;
      if (port->receive(in).error != Errc::forked) return 2;
      port.reset();
      return 0;
    });
    SHMIF_REQUIRE(forked.wait() == 0);
    NumberedBatch frames(60);
    SHMIF_REQUIRE(!sender.send(frames.make(0, 0, 1)).error && is_readable(fd, kLongMs));
    return 0;
  });
}

TEST_P(LevelDescriptor, LeavesNothingBehindAndIsHandedOnToNobody) {
  in_child([&] {
    const auto open_descriptors = [] {
      return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    const auto come_and_go = [&] {
      Port port = port_on(bus_.path());
      return level_descriptor_of(port) >= 0;
    };
    SHMIF_REQUIRE(come_and_go());
    const auto inherited = handed_on();
    const auto descriptors = open_descriptors();
    const auto running = living_threads();
    for (unsigned i = 0; i < 100; ++i) SHMIF_REQUIRE(come_and_go());
    SHMIF_REQUIRE(open_descriptors() == descriptors && living_threads() == running);
    Port port = port_on(bus_.path());
    SHMIF_REQUIRE(level_descriptor_of(port) >= 0 && handed_on() == inherited);
    return 0;
  });
}

TEST(LevelDescriptorRefusal, SaysWhatIsMissing) {
  Port port;
  EXPECT_EQ(port.level_descriptor().error().code, Errc::not_linked);
}

#undef SHMIF_REQUIRE

}  // namespace
}  // namespace shmif::test
