// Drivers and front-ends that write what no correct one writes. Each costs its own connection, says
// why, and nothing else.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "bus/file/sigbus_guard.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Descriptor;
using vhost::Request;

/// What the link says when the driver has done this to its send queue.
std::string outcome(const std::function<void(FrontEnd&)>& spoil,
                    std::uint64_t features = Driver::kUsual) {
  Machine machine({.features = features, .queue_size = 16}, {});
  FrontEnd& front = machine.front();
  spoil(front);
  (void)front.send_queue.show(front.event_index());
  FrameBatch batch;
  ReceiveResult got = machine.link().receive(batch);
  if (!got.error) got = machine.link().receive(batch);
  EXPECT_EQ(batch.size(), 0U);
  if (!got.error) return "nothing";
  EXPECT_EQ(got.error, Errc::corrupt);
  EXPECT_EQ(machine.link().receive(batch).error, Errc::link_ended);
  const Bytes frame = make_frame(60, 1);
  const FrameView view(frame.data(), frame.size());
  EXPECT_EQ(machine.link().send({&view, 1}).error, Errc::link_ended);
  return machine.link().why();
}

void expect_outcome(const std::string& why, const std::function<void(FrontEnd&)>& spoil,
                    std::uint64_t features = Driver::kUsual) {
  EXPECT_EQ(outcome(spoil, features), "send queue: " + why);
}

constexpr const char* kNoEnd = "a chain of descriptors has no end";
constexpr const char* kNoNumber = "a descriptor has a number that does not exist";
constexpr const char* kOutside = "a buffer is outside of the memory";
constexpr const char* kIndirect = "an indirect descriptor is where none may be";

TEST(HostileDriver, ChainsThatHaveNoEndBreakTheQueue) {
  expect_outcome(kNoEnd, [](FrontEnd& f) {
    f.send_queue.descriptor(3) = FrontEnd::describe(0, 1, Descriptor::kNext, 3);
    f.send_queue.lend(3);
  });
  expect_outcome(kNoEnd, [](FrontEnd& f) {
    for (unsigned i = 0; i < 16; ++i)
      f.send_queue.descriptor(i) = FrontEnd::describe(0, 1, Descriptor::kNext, (i + 1) % 16);
    f.send_queue.lend(0);
  });
  expect_outcome(kNoEnd, [](FrontEnd& f) {  // in an indirect table
    const std::size_t at = f.send_slot(0);
    auto* const table = reinterpret_cast<Descriptor*>(f.memory.at(at));
    table[0] = FrontEnd::describe(0, 1, Descriptor::kNext, 1);
    table[1] = FrontEnd::describe(0, 1, Descriptor::kNext, 0);
    f.send_queue.descriptor(3) = FrontEnd::describe(at, 32, Descriptor::kIndirect);
    f.send_queue.lend(3);
  });
}

TEST(HostileDriver, NumbersThatDoNotExistBreakTheQueue) {
  expect_outcome(kNoNumber, [](FrontEnd& f) { f.send_queue.lend(16); });
  expect_outcome(kNoNumber, [](FrontEnd& f) { f.send_queue.lend(0xffff); });
  expect_outcome(kNoNumber, [](FrontEnd& f) {
    f.send_queue.descriptor(3) = FrontEnd::describe(0, 100, Descriptor::kNext, 16);
    f.send_queue.lend(3);
  });
  expect_outcome(kNoNumber, [](FrontEnd& f) {
    const std::size_t at = f.send_slot(0);
    auto* const table = reinterpret_cast<Descriptor*>(f.memory.at(at));
    table[0] = FrontEnd::describe(0, 100, Descriptor::kNext, 2);
    f.send_queue.descriptor(3) = FrontEnd::describe(at, 32, Descriptor::kIndirect);
    f.send_queue.lend(3);
  });
  expect_outcome("more buffers are offered than the queue has entries", [](FrontEnd& f) {
    for (unsigned i = 0; i < 17; ++i) f.send_queue.lend(0);
  });
  expect_outcome("more buffers are offered than the queue has entries",
                 [](FrontEnd& f) { f.send_queue.offered = 0x8000; });
}

TEST(HostileDriver, AddressesOutsideOfTheMemoryBreakTheQueue) {
  const std::size_t end = MachineMemory().size();
  struct Case {
    std::uint64_t address;
    std::uint32_t bytes;
  };
  for (const auto& [address, bytes] :
       {Case{0, 100}, Case{MachineMemory::kGuest - 1, 100}, Case{MachineMemory::kGuest + end, 1},
        Case{MachineMemory::kGuest + end - 99, 100}, Case{~std::uint64_t{0}, 100},
        Case{~std::uint64_t{0} - 50, 100}, Case{MachineMemory::kGuest, 0xffff'ffff},
        Case{MachineMemory::kUser, 100}}) {
    expect_outcome(kOutside, [&](FrontEnd& f) {
      f.send_queue.descriptor(3) = {address, bytes, 0, 0};
      f.send_queue.lend(3);
    });
    expect_outcome(bytes % 16 == 0 ? "an indirect table is outside of the memory"
                                   : "an indirect table has a wrong length",
                   [&](FrontEnd& f) {
                     f.send_queue.descriptor(3) = {address, bytes, Descriptor::kIndirect, 0};
                     f.send_queue.lend(3);
                   });
  }
  for (const std::uint64_t address : {std::uint64_t{0}, MachineMemory::kGuest + end - 16,
                                      ~std::uint64_t{0} - 15, MachineMemory::kGuest + 4}) {
    expect_outcome("an indirect table is outside of the memory", [&](FrontEnd& f) {
      f.send_queue.descriptor(3) = {address, 32, Descriptor::kIndirect, 0};
      f.send_queue.lend(3);
    });
  }
}

TEST(HostileDriver, BuffersOfAWrongKindBreakTheQueue) {
  expect_outcome("a buffer is empty", [](FrontEnd& f) {
    f.send_queue.descriptor(3) = FrontEnd::describe(0, 0, 0);
    f.send_queue.lend(3);
  });
  expect_outcome("a buffer is for the other direction", [](FrontEnd& f) {
    f.send_queue.descriptor(3) = FrontEnd::describe(0, 100, Descriptor::kWrite);
    f.send_queue.lend(3);
  });
  expect_outcome(
      kIndirect,
      [](FrontEnd& f) {
        f.send_queue.descriptor(3) = FrontEnd::describe(0, 32, Descriptor::kIndirect);
        f.send_queue.lend(3);
      },
      Driver::kPlain);
  expect_outcome(kIndirect, [](FrontEnd& f) {
    f.send_queue.descriptor(3) =
        FrontEnd::describe(0, 32, Descriptor::kIndirect | Descriptor::kNext, 4);
    f.send_queue.lend(3);
  });
  expect_outcome(kIndirect, [](FrontEnd& f) {  // a table in a table
    const std::size_t at = f.send_slot(0);
    *reinterpret_cast<Descriptor*>(f.memory.at(at)) =
        FrontEnd::describe(at, 16, Descriptor::kIndirect);
    f.send_queue.descriptor(3) = FrontEnd::describe(at, 16, Descriptor::kIndirect);
    f.send_queue.lend(3);
  });
  expect_outcome("an indirect table has a wrong length", [](FrontEnd& f) {
    f.send_queue.descriptor(3) = FrontEnd::describe(0, 0, Descriptor::kIndirect);
    f.send_queue.lend(3);
  });
  expect_outcome("a frame has too many buffers", [](FrontEnd& f) {
    constexpr unsigned kMany = 1025;
    const std::size_t at = f.memory.take(kMany * sizeof(Descriptor));
    auto* const table = reinterpret_cast<Descriptor*>(f.memory.at(at));
    for (unsigned i = 0; i < kMany; ++i)
      table[i] = FrontEnd::describe(0, 1, i + 1 < kMany ? Descriptor::kNext : 0, i + 1);
    f.send_queue.descriptor(3) =
        FrontEnd::describe(at, kMany * sizeof(Descriptor), Descriptor::kIndirect);
    f.send_queue.lend(3);
  });
}

TEST(HostileDriver, AReceiveQueueIsLookedAtAsWell) {
  struct Case {
    const char* why;
    std::function<void(FrontEnd&)> spoil;
  };
  const std::vector<Case> cases{
      {"a buffer is for the other direction",
       [](FrontEnd& f) { f.receive_queue.descriptor(0).flags = 0; }},
      {kOutside, [](FrontEnd& f) { f.receive_queue.descriptor(0).address = 5; }},
      {kNoNumber, [](FrontEnd& f) { f.receive_queue.head(0) = 16; }}};
  for (const auto& [why, spoil] : cases) {
    Machine machine({.queue_size = 16}, {});
    spoil(machine.front());
    const Bytes frame = make_frame(60, 1);
    const FrameView view(frame.data(), frame.size());
    const SendResult sent = machine.link().send({&view, 1});
    EXPECT_EQ(sent.taken, 0U);
    EXPECT_EQ(sent.error, Errc::link_ended);
    EXPECT_EQ(machine.link().why(), std::string("receive queue: ") + why);
    EXPECT_TRUE(machine.link().prepare_wait().ready) << "receive() has something to report";
    machine.serve();
    EXPECT_EQ(machine.last().error, Errc::corrupt) << "told once";
  }
}

TEST(HostileDriver, TheReasonIsStillToldWhenTheBatchHasRoomAgain) {
  Machine good({.queue_size = 16}, {}), bad({.queue_size = 16}, {});
  FrameBatch one(1, 2048);
  ASSERT_EQ(good.front().send({make_frame(60, 1)}), 1U);
  ASSERT_EQ(good.link().receive(one).frames, 1U);
  bad.front().receive_queue.head(0) = 16;
  ASSERT_EQ(bad.link().send(views({make_frame(60, 2)})).error, Errc::link_ended);
  EXPECT_FALSE(bad.link().send({}).error) << "nothing was to be sent";
  const ReceiveResult full = bad.link().receive(one);  // it has the frame of another link
  EXPECT_EQ(full.frames, 0U);
  EXPECT_FALSE(full.error);
  EXPECT_EQ(to_bytes(one[0]), make_frame(60, 1));
  one.clear();
  EXPECT_EQ(bad.link().receive(one).error, Errc::corrupt);
  EXPECT_EQ(bad.link().receive(one).error, Errc::link_ended);
}

TEST(HostileDriver, ANumberThatDoesNotExistIsFoundBeforeASleep) {
  Machine machine({.queue_size = 16}, {});
  machine.front().send_queue.available().idx = 17;
  EXPECT_TRUE(machine.link().prepare_wait().ready);
  EXPECT_EQ(machine.link().why(),
            "send queue: more buffers are offered than the queue has entries");
  machine.serve();
  EXPECT_EQ(machine.last().error, Errc::corrupt);
}

// The other direction and the stop signal wait for a call to come back.
TEST(HostileDriver, WhatIsNoFrameCountsForTheLimitOfOneCallToo) {
  Machine machine({.queue_size = 4096}, {});
  FrontEnd& front = machine.front();
  front.send_queue.descriptor(0) = FrontEnd::describe(0, 1, 0);  // too short for a frame
  for (unsigned i = 0; i < 2500; ++i) front.send_queue.lend(0);
  (void)front.send_queue.show(true);
  for (const unsigned taken : {1024U, 2048U, 2500U}) {
    machine.serve();
    EXPECT_EQ(machine.link().drops().too_short, taken);
    EXPECT_EQ(front.send_queue.used().idx, taken);
  }
  EXPECT_FALSE(machine.last().error) << machine.link().why();
}

TEST(HostileDriver, OneThatNeverStopsDoesNotKeepTheCaller) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  front.send_queue.descriptor(0) = FrontEnd::describe(0, 1, 0);  // too short for a frame
  std::atomic<bool> stop{false};
  std::jthread driver([&] {
    while (!stop) {
      const auto used = std::atomic_ref(front.send_queue.used().idx).load();
      std::atomic_ref(front.send_queue.available().idx)
          .store(static_cast<std::uint16_t>(used + 256));
    }
  });
  for (unsigned i = 0; i < 100; ++i) machine.serve();  // comes back each time
  stop = true;
  EXPECT_FALSE(machine.last().error) << machine.link().why();
}

// What the driver changes between a check and a use must not matter.
TEST(HostileDriver, DescriptorsThatChangeAtAnyTimeDoNoHarm) {
  Machine machine({.queue_size = 16}, {});
  FrontEnd& front = machine.front();
  for (unsigned i = 0; i < 16; ++i) front.send_queue.lend(static_cast<std::uint16_t>(i));
  const Descriptor good = FrontEnd::describe(front.send_slot(0), 100, 0);
  for (unsigned i = 0; i < 16; ++i) front.send_queue.descriptor(i) = good;
  std::atomic<bool> stop{false};
  std::jthread driver([&] {
    for (unsigned i = 0; !stop; i = (i + 1) % 16) {
      volatile Descriptor& d = front.send_queue.descriptor(i);
      d.bytes = 0x7fff'ffff;
      d.address = ~std::uint64_t{0} - 7;
      d.next = 0xfff0;
      d.address = good.address;
      d.bytes = good.bytes;
    }
  });
  unsigned ended = 0;
  for (unsigned i = 0; i < 2000 && ended == 0; ++i) {
    (void)front.send_queue.show(true);
    FrameBatch batch;
    if (machine.link().receive(batch).error) ++ended;
    for (const FrameView& f : batch.frames()) EXPECT_EQ(f.size(), 88U);
    for (unsigned n = 0; n < 16; ++n) front.send_queue.lend(static_cast<std::uint16_t>(n));
  }
  stop = true;
  if (ended > 0) {
    EXPECT_EQ(machine.link().why(), std::string("send queue: ") + kOutside);
  }
}

TEST(HostileFrontEnd, ThatTruncatesItsMemoryEndsItsLinkAndNoProcess) {
  Child child([] {
    alarm(30);
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    if (!bus::install_sigbus_guard()) return 1;
    for (const bool sends : {false, true}) {
      Machine machine({}, {});
      FrontEnd& front = machine.front();
      if (front.send({make_frame(60, 1)}) != 1) return 2;
      if (::ftruncate(front.memory.file(), 0) != 0) return 3;
      const Bytes frame = make_frame(60, 2);
      const FrameView view(frame.data(), frame.size());
      if (sends && machine.link().send({&view, 1}).error != Errc::link_ended) return 4;
      FrameBatch batch;
      const ReceiveResult got = machine.link().receive(batch);
      if (got.frames != 0 || got.error != Errc::corrupt) return 5;
      if (machine.link().why() != "its memory was truncated") return 6;
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

// A batch may hold frames of other links, and of this one from before.
TEST(HostileFrontEnd, ThatTruncatesItsMemoryTakesNoFrameThatTheBatchHadBefore) {
  Child child([] {
    alarm(30);
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    if (!bus::install_sigbus_guard()) return 1;
    for (const bool keeps_queues : {false, true}) {
      Machine machine({}, {});
      FrontEnd& front = machine.front();
      FrameBatch batch;
      if (front.send({make_frame(60, 1)}) != 1) return 2;
      if (machine.link().receive(batch).frames != 1 || batch.size() != 1) return 3;
      if (front.send({make_frame(61, 2)}) != 1) return 4;
      const std::size_t left = keeps_queues ? front.send_slot(0) : 0;
      if (::ftruncate(front.memory.file(), static_cast<off_t>(left)) != 0) return 5;
      const ReceiveResult got = machine.link().receive(batch);
      if (got.frames != 0 || got.error != Errc::corrupt) return 6;
      if (batch.size() != 1 || to_bytes(batch[0]) != make_frame(60, 1)) return 7;
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(HostileFrontEnd, ThatIsGoneInTheMiddleOfABatchLeavesWhatItSent) {
  Machine machine({}, {});
  std::vector<Bytes> frames;
  for (unsigned i = 0; i < 40; ++i) frames.push_back(make_frame(60 + i, i));
  ASSERT_EQ(machine.front().send(frames), frames.size());
  FrameBatch one(1, 2048);
  ASSERT_EQ(machine.link().receive(one).frames, 1U);
  machine.front().socket.reset();
  std::vector<Bytes> got{to_bytes(one[0])};
  for (;;) {
    one.clear();
    const ReceiveResult result = machine.link().receive(one);
    if (result.error) {
      EXPECT_EQ(result.error, Errc::link_ended);
      break;
    }
    ASSERT_EQ(result.frames, 1U);
    got.push_back(to_bytes(one[0]));
  }
  EXPECT_TRUE(same_frames(frames, got));
  EXPECT_TRUE(machine.link().why().empty());
}

// Not even close() comes back from such a file.
TEST(HostileFrontEnd, WhoseFilesNeverAnswerKeepsNoProcess) {
  const TempDir directory;
  std::vector<std::array<UniqueFd, 2>> pairs;
  for (unsigned i = 0; i < 3; ++i) pairs.push_back(vhost_sockets());
  const auto give = [&](int file) {
    vhost::MemoryTable table{.count = 1};
    table.regions[0] = {.guest_address = 0, .bytes = 4096, .user_address = 0, .file_offset = 0};
    const std::uint64_t queue = 1;
    const auto bytes = [](const auto& value) { return std::as_bytes(std::span(&value, 1)); };
    return vhost::send_message(pairs[0][0].get(), Request::set_mem_table, 0, bytes(table),
                               {&file, 1}) &&
           vhost::send_message(pairs[1][0].get(), Request::set_vring_kick, 0, bytes(queue),
                               {&file, 1}) &&
           vhost::send_message(pairs[2][0].get(), Request::set_vring_err, 0, bytes(queue),
                               {&file, 1});
  };
  const auto met = meet_silent_file(directory.path(), give, [&] {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      auto link = vhost::VhostLink::adopt(std::move(pairs[i][1]), {}).value();
      FrameBatch batch;
      (void)link.receive(batch);
      if (!link.why().starts_with("it sent a descriptor that is no file in memory"))
        return static_cast<int>(i) + 1;
    }
    return 0;
  });
  if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(met.code, 0);
  EXPECT_TRUE(met.never_answered) << "the file system had ended before";
}

TEST(HostileFrontEnd, ThatIsSilentIsCutOffAndOneThatSpokeIsNot) {
  Machine silent({}, {.first_message = std::chrono::milliseconds(20)}, false);
  Machine other({}, {.first_message = std::chrono::hours(1)}, false);
  Machine machine({}, {.first_message = std::chrono::milliseconds(500)}, false);
  ASSERT_TRUE(machine.front().tell(Request::set_owner, std::span<const std::byte>()));
  machine.serve();
  ASSERT_LE(silent.link().prepare_wait().at_most, std::chrono::milliseconds(20))
      << "the caller looks again in time";
  silent.link().finish_wait();
  Machine overdue({}, {.first_message = std::chrono::milliseconds(0)}, false);
  EXPECT_GT(overdue.link().prepare_wait().at_most, std::chrono::nanoseconds(0)) << "a busy loop";
  ASSERT_TRUE(eventually([&] {
    silent.serve();
    return bool{silent.last().error};
  }));
  EXPECT_EQ(silent.last().error, Errc::corrupt);
  EXPECT_EQ(silent.link().why(), "it sent no message");
  other.serve();
  EXPECT_FALSE(other.last().error);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // longer than its patience
  machine.serve();
  EXPECT_FALSE(machine.last().error) << machine.link().why();
}

TEST(HostileFrontEnd, ThatSendsWhatIsNoMessageIsCutOff) {
  Machine machine({}, {}, false);
  const std::string text = "GET / HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(machine.front().socket.get(), text.data(), text.size(), 0),
            static_cast<ssize_t>(text.size()));
  machine.serve();
  EXPECT_EQ(machine.last().error, Errc::corrupt);
  EXPECT_EQ(machine.link().why(), "an invalid message of vhost-user");
}

// Linux in user mode gives a socket. Its reader may be gone, as that of a pipe.
TEST(HostileFrontEnd, WhosePipeOrSocketForCallsHasNoReaderEndsNoProcess) {
  for (const bool is_socket : {false, true}) {
    Machine machine({}, {});
    FrontEnd& front = machine.front();
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(is_socket ? ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data())
                        : ::pipe2(ends.data(), O_CLOEXEC),
              0);
    UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    ASSERT_TRUE(front.tell(Request::set_vring_call, std::uint64_t{0}, {&ends[1], 1}));
    machine.serve();
    std::uint64_t count = 0;
    EXPECT_EQ(::read(reader.get(), &count, sizeof count), 8);
    reader.reset();
    front.receive_queue.used_event() = 0;
    ASSERT_EQ(machine.link().send(views({make_frame(60, 1)})).taken, 1U);
    EXPECT_EQ(front.arrived().size(), 1U);
  }
}

TEST(HostileFrontEnd, ThatWantsAFileWrittenToIsRefused) {
  Machine machine({}, {});
  const int file = machine.front().memory.file();
  ASSERT_TRUE(machine.front().tell(Request::set_vring_call, std::uint64_t{0}, {&file, 1}));
  machine.serve();
  EXPECT_EQ(machine.link().why(), "a call descriptor that is no eventfd, pipe or Unix socket");
}

TEST(HostileFrontEnd, ThatReadsNoRepliesIsCutOff) {
  Machine machine({}, {}, false);
  for (unsigned i = 0; i < 100'000 && !machine.last().error; ++i) {
    for (unsigned n = 0; n < 16; ++n)
      (void)machine.front().tell(Request::get_features, std::span<const std::byte>());
    machine.serve();
  }
  EXPECT_EQ(machine.link().why(), "it reads no replies");
}

}  // namespace
}  // namespace shmif::test
