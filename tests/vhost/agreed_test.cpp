// What was agreed on with a front-end, to its last detail: limits, and single features.

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bus/frame.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Descriptor;
using vhost::Features;
using vhost::Request;
using vhost::VringState;

constexpr std::uint64_t kEverything = Driver::kUsual | Features::kOffloads;

// Memory.

TEST(VhostAgreed, AMachineMayShareNoMoreThanTheLinkAllows) {
  for (const std::uint64_t missing : {0U, 1U}) {
    Machine machine({}, {.max_memory_bytes = (std::uint64_t{16} << 20U) - missing}, false);
    machine.front().share_memory();
    machine.serve();
    EXPECT_EQ(machine.last().error, missing == 0 ? std::error_code() : Errc::corrupt);
    EXPECT_EQ(machine.link().why(), missing == 0 ? ""
                                                 : "its memory asks for 16 MiB, and the limit for "
                                                   "one peer is 16 MiB");
  }
}

// The last of them has both queues.
TEST(VhostAgreed, AMachineMayShareEightRegions) {
  Machine machine({}, {}, false);
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_features, Driver::kUsual));
  vhost::MemoryTable table{.count = 8};
  std::array<int, 8> files{};
  files.fill(front.memory.file());
  for (std::uint64_t i = 0; i < 8; ++i)
    table.regions.at(i) = {
        .guest_address = 4096 * i, .bytes = 4096, .user_address = 0x10000 + 4096 * i};
  table.regions[7] = front.memory.region();
  ASSERT_TRUE(front.tell(Request::set_mem_table, table, files));
  front.lend_all();
  front.start_queue(0, front.receive_queue);
  front.start_queue(1, front.send_queue);
  machine.serve();
  EXPECT_TRUE(machine.hears());
  EXPECT_TRUE(machine.speaks());
}

// Queues.

// The driver has not looked for days.
TEST(VhostAgreed, ACallThatIsFullKeepsNobody) {
  Child child([] {
    alarm(30);
    Machine machine({.features = Driver::kPlain}, {});
    FrontEnd& front = machine.front();
    const UniqueFd call(::eventfd(0, EFD_CLOEXEC));  // a write may wait
    const int number = call.get();
    if (!front.tell(Request::set_vring_call, std::uint64_t{0}, {&number, 1})) return 1;
    machine.serve();
    std::uint64_t count = 0;
    if (::read(number, &count, sizeof count) != sizeof count || count != 1) return 2;
    count = ~std::uint64_t{0} - 1;
    if (::write(number, &count, sizeof count) != sizeof count) return 3;
    return machine.link().send(views({make_frame(60, 1)})).taken == 1 ? 0 : 4;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(VhostAgreed, AnOldKickWakesNobodyOnceThereIsANewOne) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  const UniqueFd old(::dup(front.send_queue.kick.get()));
  front.send_queue.kick.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const int kick = front.send_queue.kick.get();
  ASSERT_TRUE(front.tell(Request::set_vring_kick, std::uint64_t{1}, {&kick, 1}));
  machine.serve();
  machine.serve();
  pollfd waiting{.fd = machine.link().descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 0), 0);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(old.get(), &one, sizeof one), 8);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0) << "the old one";
  front.send_queue.notify();
  EXPECT_EQ(::poll(&waiting, 1, 10'000), 1);
}

TEST(VhostAgreed, AMessageBehindAKickIsAnsweredAtOnce) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  machine.serve();
  front.send_queue.notify();
  ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{0, 0}));
  machine.serve();
  EXPECT_TRUE(front.was_answered());
  EXPECT_FALSE(machine.hears());
}

// Where the new parts are, frames go on, and not in the old ones.
TEST(VhostAgreed, AQueueThatRunsMayMove) {
  Machine machine({.queue_size = 16}, {});
  FrontEnd& front = machine.front();
  const std::size_t used = front.memory.take(4 + 16 * 8 + 2);
  std::memset(front.memory.at(used), 0, 4 + 16 * 8 + 2);
  ASSERT_TRUE(
      front.tell(Request::set_vring_addr,
                 vhost::VringAddresses{
                     .index = 0,
                     .descriptors = MachineMemory::kUser + front.receive_queue.descriptors_at,
                     .used = MachineMemory::kUser + used,
                     .available = MachineMemory::kUser + front.receive_queue.available_at}));
  machine.serve();
  ASSERT_EQ(machine.link().send(views({make_frame(60, 1)})).taken, 1U);
  EXPECT_EQ(front.receive_queue.used().idx, 0U);
  EXPECT_EQ(reinterpret_cast<vhost::RingHead*>(front.memory.at(used))->idx, 1U);
}

TEST(VhostAgreed, OneWhoTalksWithoutEndDoesNotKeepTheCaller) {
  Machine machine({}, {}, false);
  const FrontEnd& front = machine.front();
  for (unsigned i = 0; i < 100; ++i)
    ASSERT_TRUE(front.tell(Request::get_queue_num, std::span<const std::byte>()));
  const auto replies = [&] {
    std::array<std::byte, 20 * 100> bytes{};
    return ::recv(front.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) / 20;
  };
  machine.serve();
  EXPECT_EQ(replies(), 64);
  machine.serve();
  EXPECT_EQ(replies(), 36);
}

TEST(VhostAgreed, AMessageThatIsNotWholeIsStillSilence) {
  Machine machine({}, {.first_message = std::chrono::milliseconds(1)}, false);
  const vhost::MessageHeader header{.request = 3, .flags = 1, .payload_bytes = 0};
  ASSERT_EQ(::send(machine.front().socket.get(), &header, 11, 0), 11);
  ASSERT_TRUE(eventually([&] {
    machine.serve();
    return bool{machine.last().error};
  }));
  EXPECT_EQ(machine.link().why(), "it sent no message");
}

// Features, one by one.

TEST(VhostAgreed, WithOneOfTwoFeaturesTheHeaderHasTwelveBytes) {
  for (const std::uint64_t features :
       {Features::kMergeable, Features::kVersion1, Features::kMergeable | Features::kVersion1}) {
    Machine machine({.features = features | Features::kProtocolFeatures}, {});
    ASSERT_EQ(machine.front().send({make_frame(60, 1)}), 1U);
    EXPECT_TRUE(same_frames({make_frame(60, 1)}, collect(machine.link(), 1))) << features;
    ASSERT_EQ(machine.link().send(views({make_frame(61, 2)})).taken, 1U);
    const auto got = machine.front().arrived();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].frame, make_frame(61, 2));
    EXPECT_EQ(got[0].buffers, 1U);
  }
}

TEST(VhostAgreed, AnUnfinishedChecksumNeedsTheFeatureOfItsDirection) {
  const Shape shape;
  const Bytes frame = build(shape, 500, 1);
  const Offload offload = header_for(shape, 0);
  for (const std::uint64_t without : {std::uint64_t{0}, Features::kGuestCsum, Features::kCsum}) {
    Machine machine({.features = kEverything & ~without},
                    {.max_frame_bytes = 1522, .offload = true});
    FrameView view(frame.data(), frame.size());
    view.offload = offload;
    ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U);
    const auto got = machine.front().arrived();
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0].offload.pending(), without != Features::kGuestCsum) << without;
    EXPECT_EQ(transport_checksum_holds(shape, got[0].frame), without == Features::kGuestCsum);
    ASSERT_EQ(machine.front().send({frame}, offload), 1U);
    FrameBatch batch;
    EXPECT_EQ(machine.link().receive(batch).frames, without == Features::kCsum ? 0U : 1U);
    EXPECT_EQ(machine.link().drops().bad_header, without == Features::kCsum ? 1U : 0U);
  }
}

TEST(VhostAgreed, ASuperFrameHasItsLimitInBothDirections) {
  const Shape shape;
  for (const std::size_t more : {0U, 1U}) {
    Machine machine({.features = kEverything}, {.max_frame_bytes = 1522, .offload = true});
    FrontEnd& front = machine.front();
    Bytes frame = build(shape, 60'000, 1);
    frame.resize(kMaxSuperFrameBytes + more);
    FrameView view(frame.data(), frame.size());
    view.offload = header_for(shape, 1448);
    const SendResult sent = machine.link().send({&view, 1});
    EXPECT_EQ(sent.taken, more == 0 ? 1U : 0U);
    EXPECT_EQ(sent.error, more == 0 ? std::error_code() : Errc::frame_too_long);
    // From the driver, in one buffer, which may be anywhere.
    const std::size_t at = front.send_slot(0);
    std::memset(front.memory.at(at), 0, 12);
    std::memcpy(front.memory.at(at), &view.offload, sizeof view.offload);
    front.send_queue.descriptor(0) = FrontEnd::describe(at, 12 + frame.size(), 0);
    front.send_queue.lend(0);
    (void)front.send_queue.show(true);
    FrameBatch batch(1, std::size_t{70} << 10U);
    EXPECT_EQ(machine.link().receive(batch).frames, more == 0 ? 1U : 0U);
    EXPECT_EQ(machine.link().drops().too_long, more);
    EXPECT_EQ(machine.link().drops().bad_header, 0U);
  }
}

TEST(VhostAgreed, WhatWasPassedOnBeforeAFaultIsKept) {
  Machine machine({.queue_size = 16}, {});
  FrontEnd& front = machine.front();
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  front.send_queue.lend(16);  // there is no such number
  (void)front.send_queue.show(true);
  FrameBatch batch;
  const ReceiveResult got = machine.link().receive(batch);
  EXPECT_EQ(got.frames, 1U);
  EXPECT_FALSE(got.error);
  EXPECT_EQ(to_bytes(batch[0]), make_frame(60, 1));
  EXPECT_EQ(machine.link().receive(batch).error, Errc::corrupt);
}

TEST(VhostAgreed, AFrameFillsAtMost1024BuffersHoweverManyAreLent) {
  Machine machine({.queue_size = 2048, .buffer_bytes = 16}, {.max_frame_bytes = 20000});
  const std::vector<Bytes> frames{make_frame(1024 * 16 - 11, 1), make_frame(1024 * 16 - 12, 2)};
  ASSERT_EQ(machine.link().send(views(frames)).taken, 2U) << "it does not wait for more";
  const auto got = machine.front().arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, frames[1]);
  EXPECT_EQ(got[0].buffers, 1024U);
  EXPECT_EQ(machine.link().drops().no_room, 1U);
}

// Each segment needs three buffers, and there are eight; or no chain is as long as a segment.
TEST(VhostAgreed, ASuperFrameOfWhichSegmentsFindNoBuffersIsCountedOnce) {
  struct Case {
    std::uint64_t features;
    std::uint16_t queue_size;
    std::size_t arrive;
  };
  for (const auto& [features, queue_size, arrive] :
       {Case{Driver::kUsual, 8, 2}, Case{Driver::kPlain, 32, 0}}) {
    Machine machine({.features = features, .queue_size = queue_size, .buffer_bytes = 512},
                    {.offload = true});
    const Shape shape;
    const Bytes frame = build(shape, 5 * 1448, 1);
    FrameView super(frame.data(), frame.size());
    super.offload = header_for(shape, 1448);
    EXPECT_EQ(machine.link().send({&super, 1}).taken, 1U);
    EXPECT_EQ(machine.front().arrived().size(), arrive);
    EXPECT_EQ(machine.link().drops().no_room, 1U);
  }
}

}  // namespace
}  // namespace shmif::test
