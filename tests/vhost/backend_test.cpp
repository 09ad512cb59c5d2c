// What a front-end's messages make of the device.

#include "vhost/backend.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "tests/support/holdings.hpp"
#include "tests/support/rights.hpp"
#include "tests/vhost/front_end.hpp"
#include "vhost/message.hpp"

namespace shmif::test {
namespace {

using vhost::Features;
using vhost::MessageHeader;
using vhost::MessageReader;
using vhost::Request;
using vhost::VringState;

constexpr std::uint64_t kReplyAck = vhost::bit(3);
constexpr std::uint64_t kBackendChannel = vhost::bit(5);

TEST(VhostBackend, OffersWhatItCanDo) {
  for (const bool offload : {false, true}) {
    Machine machine({}, {.offload = offload}, false);
    EXPECT_EQ(machine.front().ask(Request::get_features),
              offload ? Features::kAlways | Features::kOffloads : Features::kAlways);
    EXPECT_EQ(machine.front().ask(Request::get_protocol_features), kReplyAck | kBackendChannel);
    EXPECT_EQ(machine.front().ask(Request::get_queue_num), 1U);
    EXPECT_EQ(machine.link().takes_offloads(), offload);
  }
}

TEST(VhostBackend, AcknowledgesOnlyIfThatWasAgreedOn) {
  Machine machine({}, {}, false);
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_features, Driver::kUsual, {}, MessageHeader::kNeedReply));
  ASSERT_TRUE(front.tell(Request::set_protocol_features, kReplyAck));
  ASSERT_TRUE(front.tell(Request::set_vring_num, VringState{0, 64}, {}, MessageHeader::kNeedReply));
  const auto reply = front.reply();
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ((*reply)[0], 0U);
  // A message that has a reply of its own gets only that one.
  ASSERT_TRUE(front.tell(Request::get_queue_num, std::span<const std::byte>(), {},
                         MessageHeader::kNeedReply));
  EXPECT_EQ((front.reply().value())[0], 1U);
  char more = 0;
  EXPECT_EQ(::recv(front.socket.get(), &more, 1, MSG_DONTWAIT), -1);
}

TEST(VhostBackend, WithoutProtocolFeaturesBothQueuesAreEnabledFromTheStart) {
  Machine machine({.features = 0}, {}, false);
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_features, std::uint64_t{0}));
  front.share_memory();
  front.lend_all();
  front.start_queue(0, front.receive_queue, false);
  front.start_queue(1, front.send_queue, false);
  machine.serve();
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, collect(machine.link(), 1)));
  ASSERT_EQ(machine.link().send(views({make_frame(61, 2)})).taken, 1U);
  const auto got = front.arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, make_frame(61, 2));
}

TEST(VhostBackend, WithoutAnOwnerNeitherQueueGoesOn) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::reset_owner, std::span<const std::byte>()));
  machine.serve();
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  machine.serve();
  EXPECT_EQ(machine.last().frames, 0U);
  EXPECT_FALSE(machine.last().error) << machine.link().why();
  EXPECT_FALSE(front.send_queue.collect().has_value());
  ASSERT_EQ(machine.link().send(views({make_frame(60, 2)})).taken, 1U);
  EXPECT_EQ(machine.link().drops().not_ready, 1U);
}

// What a back-end that was killed had given back, it may not have told.
TEST(VhostBackend, NotifiesTheDriverOnceOfWhatTheLastBackEndGaveBack) {
  Machine machine({}, {});
  EXPECT_EQ(machine.front().receive_queue.calls(), 1U);
  EXPECT_EQ(machine.front().send_queue.calls(), 1U);
}

TEST(VhostBackend, SaysWhereItStoppedAndGoesOnThere) {
  Machine machine({.queue_size = 16}, {});
  FrontEnd& front = machine.front();
  for (unsigned i = 0; i < 21; ++i) {
    ASSERT_EQ(front.send({make_frame(60 + i, i)}), 1U);
    ASSERT_TRUE(same_frames({make_frame(60 + i, i)}, collect(machine.link(), 1)));
  }
  ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{1, 0}));
  const auto stopped = front.reply();
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ((*stopped)[0], 1U);
  EXPECT_EQ((*stopped)[1], 21U);
  ASSERT_EQ(front.send({make_frame(99, 1)}), 1U);
  machine.serve();
  EXPECT_EQ(machine.last().frames, 0U) << "a queue that was stopped";
  front.start_queue(1, front.send_queue);
  EXPECT_TRUE(same_frames({make_frame(99, 1)}, collect(machine.link(), 1)));
}

// As after a reset of the machine, when its next driver wants no event_index.
TEST(VhostBackend, ADriverThatStartsAnewMayHaveOtherFeatures) {
  for (const auto& [before, after] :
       {std::pair(Driver::kUsual, Driver::kPlain), std::pair(Driver::kPlain, Driver::kUsual)}) {
    Machine machine({.features = before}, {});
    FrontEnd& front = machine.front();
    for (const std::uint32_t index : {0U, 1U}) {
      ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{index, 0}));
      ASSERT_TRUE(front.reply().has_value());
    }
    ASSERT_TRUE(front.tell(Request::set_features, after));
    front.wish.features = after;
    front.send_queue.used().flags = front.receive_queue.available().flags = 0;
    front.send_queue.avail_event() = front.receive_queue.used_event() = 0x8000;  // long ago
    front.start_queue(0, front.receive_queue);
    front.start_queue(1, front.send_queue);
    machine.serve();
    ASSERT_EQ(machine.link().why(), "");
    (void)front.receive_queue.calls();
    front.receive_queue.used_event() =
        front.event_index() ? front.receive_queue.used().idx : 0x8000;
    ASSERT_EQ(machine.link().send(views({make_frame(60, 1)})).taken, 1U);
    EXPECT_EQ(front.receive_queue.calls(), 1U) << after;
    EXPECT_FALSE(machine.link().prepare_wait().ready);
    EXPECT_EQ(front.send_queue.used().flags, 0U) << after;
    EXPECT_EQ(front.send_queue.avail_event(), front.event_index() ? 0U : 0x8000U);
    machine.link().finish_wait();
    EXPECT_EQ(front.send_queue.used().flags, front.event_index() ? 0U : vhost::RingHead::kNoNotice);
    EXPECT_TRUE(machine.speaks()) << after;
  }
}

TEST(VhostBackend, SaysWhereAQueueWouldBeginThatNeverStarted) {
  Machine machine({}, {}, false);
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_vring_base, VringState{1, 4711}));
  ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{1, 0}));
  const auto place = front.reply();
  ASSERT_TRUE(place.has_value());
  EXPECT_EQ((*place)[1], 4711U);
}

// A frame that is dropped is given back, too, before the queue stops.
TEST(VhostBackend, GivesBackWhatItHasTakenBeforeItSaysWhereItStopped) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  ASSERT_EQ(front.send({Bytes(5), Bytes(6)}), 2U);
  ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{1, 0}));
  const auto stopped = front.reply();
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ((*stopped)[1], 2U);
  EXPECT_EQ(front.send_queue.used().idx, 2U);
}

// As when the bridge is killed, and the front-end connects to the next one.
TEST(VhostBackend, AnotherOneGoesOnWhereTheLastOneWasKilled) {
  const Driver driver{.queue_size = 16};
  Machine first(driver, {});
  FrontEnd& front = first.front();
  for (unsigned i = 0; i < 21; ++i) {
    ASSERT_EQ(front.send({make_frame(60, i)}), 1U);
    ASSERT_EQ(collect(first.link(), 1).size(), 1U);
    ASSERT_EQ(first.link().send(views({make_frame(70, i)})).taken, 1U);
    ASSERT_EQ(front.arrived().size(), 1U);
  }
  auto pair = vhost_sockets();
  auto second = vhost::VhostLink::adopt(std::move(pair[1]), {}).value();
  std::swap(front.socket, pair[0]);
  ASSERT_TRUE(front.tell(Request::set_features, driver.features));
  front.share_memory();
  ASSERT_EQ(front.send({make_frame(99, 1)}), 1U);  // while nobody serves it
  front.start_queue(0, front.receive_queue);
  front.start_queue(1, front.send_queue);
  EXPECT_TRUE(same_frames({make_frame(99, 1)}, collect(second, 1)));
  ASSERT_EQ(second.send(views({make_frame(98, 1)})).taken, 1U);
  const auto got = front.arrived();
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, make_frame(98, 1));
}

TEST(VhostBackend, QueuesThatAreNotEnabledDiscard) {
  Machine machine({}, {}, false);
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_features, Driver::kUsual));
  front.share_memory();
  front.lend_all();
  front.start_queue(0, front.receive_queue, false);
  front.start_queue(1, front.send_queue, false);
  machine.serve();
  EXPECT_FALSE(machine.hears());
  EXPECT_FALSE(machine.speaks());
  ASSERT_TRUE(front.tell(Request::set_vring_enable, VringState{0, 1}));
  machine.serve();
  EXPECT_TRUE(machine.hears());
  EXPECT_FALSE(machine.speaks()) << "the send queue is not enabled";
  ASSERT_TRUE(front.tell(Request::set_vring_enable, VringState{1, 1}));
  machine.serve();
  EXPECT_TRUE(machine.hears());
  EXPECT_TRUE(machine.speaks());
  ASSERT_TRUE(front.tell(Request::set_vring_enable, VringState{0, 0}));
  machine.serve();
  EXPECT_FALSE(machine.hears()) << "the receive queue is not enabled";
  EXPECT_TRUE(machine.speaks());
  ASSERT_TRUE(front.tell(Request::set_vring_enable, VringState{1, 0}));
  machine.serve();
  const vhost::VhostDrops before = machine.link().drops();
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  machine.serve();
  EXPECT_EQ(machine.last().frames, 0U);
  EXPECT_TRUE(front.send_queue.collect().has_value()) << "the driver gets its buffer back";
  ASSERT_EQ(machine.link().send(views({make_frame(60, 2)})).taken, 1U);
  EXPECT_TRUE(front.arrived().empty());
  EXPECT_EQ(machine.link().drops().discarded, before.discarded + 1);
  EXPECT_EQ(machine.link().drops().not_ready, before.not_ready + 1);
  EXPECT_EQ(before.discarded, 2U);
  EXPECT_EQ(before.not_ready, 2U);
}

/// A memory of the machine with what is in its old one, for the front-end to share instead.
void share_instead(const FrontEnd& front, const MachineMemory& memory, std::uint64_t user_address) {
  std::memcpy(memory.at(0), front.memory.at(0), memory.size());
  vhost::MemoryTable table{.count = 1};
  table.regions[0] = memory.region();
  table.regions[0].user_address = user_address;
  const int file = memory.file();
  // Some front-ends send all eight entries.
  ASSERT_TRUE(front.tell(Request::set_mem_table, table, {&file, 1}));
}

TEST(VhostBackend, QueuesGoOnInTheMemoryThatIsSharedAnew) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  ASSERT_EQ(collect(machine.link(), 1).size(), 1U);
  const MachineMemory memory(front.memory.size());
  share_instead(front, memory, MachineMemory::kUser);
  ASSERT_TRUE(front.tell(Request::set_features, front.wish.features));  // the same again
  machine.serve();
  ASSERT_EQ(machine.link().why(), "");
  ASSERT_EQ(machine.link().send(views({make_frame(61, 2)})).taken, 1U);
  EXPECT_TRUE(front.arrived().empty()) << "in the old memory";
  const auto& used = *reinterpret_cast<vhost::RingHead*>(memory.at(front.receive_queue.used_at));
  EXPECT_EQ(used.idx, 1U);
  const Bytes frame = make_frame(61, 2);
  EXPECT_EQ(std::memcmp(memory.at(front.receive_slot(0)) + 12, frame.data(), frame.size()), 0);
}

TEST(VhostBackend, QueuesThatAreNotInTheNewMemoryStop) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  const MachineMemory memory(front.memory.size());
  share_instead(front, memory, MachineMemory::kUser + (std::uint64_t{1} << 40U));
  machine.serve();
  EXPECT_EQ(machine.link().why(), "");
  ASSERT_EQ(machine.link().send(views({make_frame(60, 1)})).taken, 1U);
  EXPECT_EQ(machine.link().drops().not_ready, 1U);
  front.share_memory();
  front.start_queue(0, front.receive_queue);
  front.start_queue(1, front.send_queue);
  machine.serve();
  EXPECT_TRUE(machine.hears());
  EXPECT_TRUE(machine.speaks());
}

// Linux in user mode hangs up its device when the channel is closed.
TEST(VhostBackend, KeepsTheChannelOpen) {
  Machine machine({}, {}, false);
  auto channel = vhost_sockets();
  const int sent = channel[0].get();
  ASSERT_TRUE(
      machine.front().tell(Request::set_backend_channel, std::span<const std::byte>(), {&sent, 1}));
  machine.serve();
  EXPECT_FALSE(machine.last().error) << machine.link().why();
  channel[0].reset();
  pollfd waiting{.fd = channel[1].get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 0), 0) << "it was closed";
}

// Nobody reads the number of kicks, which would wake the thread again and again.
TEST(VhostBackend, AKickWakesItOnceAndOneOfTheOtherQueueNever) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  pollfd waiting{.fd = machine.link().descriptor(), .events = POLLIN, .revents = 0};
  machine.serve();
  for (unsigned round = 0; round < 3; ++round) {
    ASSERT_FALSE(machine.link().prepare_wait().ready);
    ASSERT_EQ(::poll(&waiting, 1, 0), 0) << round;
    front.receive_queue.notify();
    ASSERT_EQ(::poll(&waiting, 1, 0), 0) << "buffers for frames to come, in round " << round;
    ASSERT_EQ(front.send({make_frame(60, round)}), 1U);
    ASSERT_EQ(::poll(&waiting, 1, 10'000), 1);
    machine.link().finish_wait();
    FrameBatch batch;
    ASSERT_EQ(machine.link().receive(batch).frames, 1U);
    ASSERT_EQ(machine.link().receive(batch).frames, 0U);
  }
}

TEST(VhostBackend, AKickMayBeAPipe) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  ASSERT_TRUE(front.tell(Request::set_vring_kick, std::uint64_t{1}, {&ends[0], 1}));
  machine.serve();
  ASSERT_EQ(machine.link().why(), "");
  machine.serve();
  pollfd waiting{.fd = machine.link().descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 0), 0);
  ASSERT_EQ(::write(ends[1], "kick", 4), 4);
  EXPECT_EQ(::poll(&waiting, 1, 10'000), 1);
}

TEST(VhostBackend, NotifiesTheDriverOfWhatAnOlderCallDescriptorMissed) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  (void)front.receive_queue.calls();
  const int call = front.receive_queue.call.get();
  ASSERT_TRUE(front.tell(Request::set_vring_call, std::uint64_t{0}, {&call, 1}));
  machine.serve();
  EXPECT_EQ(front.receive_queue.calls(), 1U);
}

TEST(VhostBackend, WithoutDescriptorsBothSidesLook) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  constexpr std::uint64_t kNone = vhost::bit(8);
  (void)front.receive_queue.calls();
  for (const std::uint64_t index : {0U, 1U}) {
    ASSERT_TRUE(front.tell(Request::set_vring_call, index | kNone));
    ASSERT_TRUE(front.tell(Request::set_vring_kick, index | kNone));
  }
  machine.serve();
  const WaitHint hint = machine.link().prepare_wait();
  EXPECT_LE(hint.at_most, std::chrono::milliseconds(10));
  front.send_queue.kick.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ASSERT_EQ(front.send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, collect(machine.link(), 1)));
  ASSERT_EQ(machine.link().send(views({make_frame(61, 1)})).taken, 1U);
  EXPECT_EQ(front.arrived().size(), 1U);
  EXPECT_EQ(front.receive_queue.calls(), 0U);
  machine.link().finish_wait();
  const int kick = front.send_queue.kick.get();
  ASSERT_TRUE(front.tell(Request::set_vring_kick, std::uint64_t{1}, {&kick, 1}));
  machine.serve();
  EXPECT_GT(machine.link().prepare_wait().at_most, std::chrono::hours(1)) << "it is told again";
  machine.link().finish_wait();
  ASSERT_TRUE(front.tell(Request::set_vring_kick, 1 | kNone));
  ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{1, 0}));
  ASSERT_TRUE(front.reply().has_value());
  EXPECT_GT(machine.link().prepare_wait().at_most, std::chrono::hours(1))
      << "no need to look at a queue that was stopped";
}

TEST(VhostBackend, KeepsNoDescriptorThatItDoesNotNeed) {
  const auto before = holdings({}).descriptors;
  {
    Machine machine({}, {});
    FrontEnd& front = machine.front();
    const auto running = holdings({}).descriptors;
    for (int i = 0; i < 5; ++i) {
      front.share_memory();
      ASSERT_TRUE(front.tell(Request::get_vring_base, VringState{1, 0}));
      ASSERT_TRUE(front.reply().has_value());
      EXPECT_EQ(holdings({}).descriptors, running - 2) << "without the kick and the call";
      const int fd = front.send_queue.kick.get();
      ASSERT_TRUE(front.tell(Request::set_vring_err, std::uint64_t{1}, {&fd, 1}));
      front.start_queue(1, front.send_queue);
      machine.serve();
    }
    EXPECT_TRUE(machine.hears());
    EXPECT_TRUE(machine.speaks());
    EXPECT_EQ(holdings({}).descriptors, running);
  }
  EXPECT_EQ(holdings({}).descriptors, before);
}

TEST(VhostBackend, RefusesMessagesThatMakeNoSense) {
  struct Case {
    const char* why;
    std::function<bool(const FrontEnd&)> tell;
  };
  const auto telling = [](Request request, auto payload, const std::vector<int>& files = {}) {
    return [=](const FrontEnd& f) { return f.tell(request, payload, files); };
  };
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const auto pair = vhost_sockets();
  // epoll would ask it, and a device of FUSE need not answer.
  const UniqueFd device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  const int one = event.get();
  constexpr std::uint64_t kNone = 0;
  const char* const kFeatures = "features that were not offered";
  const char* const kOther = "other features for a queue that runs";
  const char* const kTable = "a wrong memory table";
  const char* const kChannel = "a channel without a descriptor";
  const char* const kNumber = "another number of descriptors";
  const char* const kKick = "a kick descriptor that is no eventfd and no pipe";
  const char* const kQueue = "a queue that does not exist; give it queues=1";
  const std::vector<Case> cases{
      {"request 99 is not known", telling(static_cast<Request>(99), kNone)},
      {"request 0 is not known", telling(static_cast<Request>(0), kNone)},
      {kFeatures, telling(Request::set_features, vhost::bit(34))},
      {kFeatures, telling(Request::set_features, std::uint32_t{0})},
      {kOther, telling(Request::set_features, Driver::kPlain)},
      {kOther,
       [](const FrontEnd& f) {  // only the second one
         return f.tell(Request::get_vring_base, VringState{0, 0}) &&
                f.tell(Request::set_features, Driver::kPlain);
       }},
      {"protocol features that were not offered",
       telling(Request::set_protocol_features, vhost::bit(1))},
      {"protocol features that were not offered",
       telling(Request::set_protocol_features, std::uint32_t{0})},
      {kChannel, telling(Request::set_backend_channel, kNone)},
      {kChannel, telling(Request::set_backend_channel, kNone, {one, one})},
      {kTable, telling(Request::set_mem_table, std::uint32_t{0})},
      {kTable, telling(Request::set_mem_table, vhost::MemoryTable{.count = 9})},
      {kTable, telling(Request::set_mem_table, std::array<std::uint32_t, 2>{1, 0})},
      {kTable,
       [](const FrontEnd& f) {  // it ends inside of its region
         vhost::MemoryTable table{.count = 1};
         table.regions[0] = f.memory.region();
         const int memory = f.memory.file();
         return f.tell(
             Request::set_mem_table,
             std::as_bytes(std::span(&table, 1)).first(8 + sizeof(vhost::MemoryRegion) - 8),
             {&memory, 1});
       }},
      {kTable,  // longer than any
       telling(Request::set_mem_table, std::array<std::byte, sizeof(vhost::MemoryTable) + 8>{})},
      {"1 memory regions with 0 descriptors",
       telling(Request::set_mem_table, vhost::MemoryTable{.count = 1})},
      {kQueue, telling(Request::set_vring_num, VringState{2, 256})},
      {kQueue, telling(Request::set_vring_enable, std::uint32_t{0})},
      {kQueue, telling(Request::get_vring_base, VringState{7, 0})},
      {kQueue, telling(Request::get_vring_base, std::uint32_t{0})},
      {"a new size for a queue that runs", telling(Request::set_vring_num, VringState{0, 128})},
      {"addresses of a queue that does not exist; give it queues=1",
       telling(Request::set_vring_addr, vhost::VringAddresses{.index = 2})},
      {"addresses of a queue that does not exist; give it queues=1",
       telling(Request::set_vring_addr, std::uint32_t{0})},
      {"outside of the memory",
       telling(Request::set_vring_addr, vhost::VringAddresses{.index = 0})},
      {"a descriptor for a queue that does not exist; give it queues=1",
       telling(Request::set_vring_call, std::uint64_t{2}, {one})},
      {"a descriptor for a queue that does not exist; give it queues=1",
       telling(Request::set_vring_call, std::uint32_t{0}, {one})},
      {kNumber, telling(Request::set_vring_call, std::uint64_t{1}, {one, one})},
      {kNumber, telling(Request::set_vring_kick, std::uint64_t{1})},
      {kNumber, telling(Request::set_vring_kick, vhost::bit(8), {one})},
      {kKick, telling(Request::set_vring_kick, std::uint64_t{1}, {pair[0].get()})},
      {kKick,
       [](const FrontEnd& f) {
         const int memory = f.memory.file();
         return f.tell(Request::set_vring_kick, std::uint64_t{1}, {&memory, 1});
       }},
      {"no file in memory (memfd, tmpfs or hugetlbfs), eventfd, pipe",
       telling(Request::set_vring_kick, std::uint64_t{1}, {device.get()})}};
  for (const auto& [why, tell] : cases) {
    Machine machine({}, {});
    ASSERT_TRUE(machine.front().tell(Request::set_protocol_features, kReplyAck));
    machine.serve();
    ASSERT_TRUE(tell(machine.front())) << why;
    machine.serve();
    EXPECT_EQ(machine.last().error, Errc::corrupt) << why;
    EXPECT_NE(machine.link().why().find(why), std::string::npos) << machine.link().why();
    machine.serve();
    EXPECT_EQ(machine.last().error, Errc::link_ended) << why;
  }
}

TEST(VhostBackend, AFrontEndThatAskedIsToldOfTheRefusal) {
  Machine machine({}, {});
  FrontEnd& front = machine.front();
  ASSERT_TRUE(front.tell(Request::set_protocol_features, kReplyAck));
  ASSERT_TRUE(
      front.tell(Request::set_vring_num, VringState{5, 256}, {}, MessageHeader::kNeedReply));
  const auto reply = front.reply();
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ((*reply)[0], 1U);
}

TEST(VhostBackend, WrongSizesAndPlacesOfQueuesAreRefused) {
  const auto refused = [](auto change) {
    Machine machine({}, {}, false);
    FrontEnd& front = machine.front();
    EXPECT_TRUE(front.tell(Request::set_features, Driver::kUsual));
    front.share_memory();
    VringState size{1, 256};
    vhost::VringAddresses at{.index = 1,
                             .descriptors = MachineMemory::kUser + front.send_queue.descriptors_at,
                             .used = MachineMemory::kUser + front.send_queue.used_at,
                             .available = MachineMemory::kUser + front.send_queue.available_at};
    change(size, at);
    EXPECT_TRUE(front.tell(Request::set_vring_num, size));
    EXPECT_TRUE(front.tell(Request::set_vring_addr, at));
    const int kick = front.send_queue.kick.get();
    EXPECT_TRUE(front.tell(Request::set_vring_kick, std::uint64_t{1}, {&kick, 1}));
    machine.serve();
    return machine.last().error == Errc::corrupt;
  };
  using Address = vhost::VringAddresses;
  EXPECT_FALSE(refused([](VringState&, Address&) {}));
  for (const std::uint32_t size : {0U, 3U, 255U, 65536U, 0x80000000U}) {
    EXPECT_TRUE(refused([&](VringState& s, Address&) { s.value = size; })) << size;
  }
  const std::uint64_t end = MachineMemory::kUser + (std::uint64_t{16} << 20);
  for (const auto part : {&Address::descriptors, &Address::used, &Address::available}) {
    for (const std::uint64_t place : {std::uint64_t{0}, end, end - 64, ~std::uint64_t{15}}) {
      EXPECT_TRUE(refused([&](VringState&, Address& a) { a.*part = place; })) << place;
    }
    EXPECT_TRUE(refused([&](VringState&, Address& a) { a.*part += 1; })) << "not aligned";
  }
  // Behind the entries of both rings is one more word, also if nobody uses it.
  const std::size_t heads = sizeof(vhost::RingHead) + 256 * sizeof(std::uint16_t);
  const std::size_t entries = sizeof(vhost::RingHead) + 256 * sizeof(vhost::UsedEntry);
  EXPECT_FALSE(refused([&](VringState&, Address& a) { a.available = end - heads - 2; }));
  EXPECT_TRUE(refused([&](VringState&, Address& a) { a.available = end - heads; }));
  EXPECT_FALSE(refused([&](VringState&, Address& a) { a.used = end - entries - 4; }));
  EXPECT_TRUE(refused([&](VringState&, Address& a) { a.used = end - entries; }));
  EXPECT_TRUE(refused([](VringState&, Address& a) { a.used += 2; })) << "not aligned";
  EXPECT_TRUE(refused([](VringState&, Address& a) { a.descriptors += 4; })) << "not aligned";
}

// The messages of vhost-user, as they arrive at a socket.

using Status = MessageStatus;

std::span<const std::byte> bytes_of(const auto& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::ptrdiff_t held() {
  return holdings({}).descriptors;
}

TEST(VhostMessage, ThatArrivesByteByByteIsPutTogether) {
  auto pair = vhost_sockets();
  struct {
    MessageHeader header{.request = 10, .flags = 1, .payload_bytes = 8};
    vhost::VringState state{.index = 1, .value = 77};
  } const sent;
  base::ForeignSocket socket(std::move(pair[1]));
  MessageReader reader;
  const auto all = bytes_of(sent);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(reader.read(socket), Status::none) << i;
    ASSERT_EQ(::send(pair[0].get(), &all[i], 1, 0), 1);
  }
  ASSERT_EQ(reader.read(socket), Status::whole);
  EXPECT_EQ(reader.message().as<vhost::VringState>()->value, 77U);
}

TEST(VhostMessage, OfAWrongShapeIsRefused) {
  struct Case {
    const char* why;
    MessageHeader header;
  };
  for (const auto& [why, header] :
       {Case{"no version", {.request = 1, .flags = 0, .payload_bytes = 0}},
        Case{"version 2", {.request = 1, .flags = 2, .payload_bytes = 0}},
        Case{"a reply", {.request = 1, .flags = 5, .payload_bytes = 0}},
        Case{"too long", {.request = 1, .flags = 1, .payload_bytes = 513}},
        Case{"as long as can be", {.request = 1, .flags = 1, .payload_bytes = ~0U}}}) {
    auto pair = vhost_sockets();
    ASSERT_EQ(::send(pair[0].get(), &header, sizeof header, 0), 12);
    base::ForeignSocket socket(std::move(pair[1]));
    MessageReader reader;
    EXPECT_EQ(reader.read(socket), Status::malformed) << why;
  }
}

// Eight may come with each part that is read, and eight with all of them.
TEST(VhostMessage, TooManyDescriptorsWithSeveralPartsAreRefused) {
  for (const std::size_t second : {std::size_t{0}, std::size_t{1}}) {
    auto pair = vhost_sockets();
    base::ForeignSocket socket(std::move(pair[1]));
    MessageReader reader;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    const std::vector<int> eight(8, event.get());
    // A whole header with eight, whose payload comes later.
    const MessageHeader header{.request = 5, .flags = 1, .payload_bytes = 12};
    ASSERT_TRUE(send_with_rights(pair[0].get(), bytes_of(header), eight));
    ASSERT_EQ(reader.read(socket), Status::none);
    // The payload is as long as a message without one.
    ASSERT_TRUE(vhost::send_message(pair[0].get(), Request::get_features, 0, {},
                                    std::span(eight).first(second)));
    EXPECT_EQ(reader.read(socket), second == 0 ? Status::whole : Status::malformed) << second;
  }
}

TEST(VhostMessage, DescriptorsThatNobodyTookAreClosedWithTheMessage) {
  auto pair = vhost_sockets();
  const auto before = held() + 1;
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::array<int, 1> sent{event.get()};
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(vhost::send_message(pair[0].get(), Request::get_features, 0, {}, sent));
  base::ForeignSocket socket(std::move(pair[1]));
  MessageReader reader;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(reader.read(socket), Status::whole);
    EXPECT_EQ(held(), before + 1);
  }
  EXPECT_EQ(reader.read(socket), Status::none);
  EXPECT_EQ(held(), before);
  pair[0].reset();
  EXPECT_EQ(reader.read(socket), Status::closed);
}

}  // namespace
}  // namespace shmif::test
