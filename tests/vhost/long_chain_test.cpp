// Chains of many buffers. virtio allows a chain as long as its queue.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/vhost/front_end.hpp"
#include "tests/vhost/vhost_rig.hpp"

namespace shmif::test {
namespace {

using vhost::Descriptor;

constexpr std::uint16_t kEntries = 2048;
constexpr std::size_t kHeader = 12;

/// Describes a frame with its header at `offset` as a chain: the header, and one byte in each other
/// buffer.
void describe_bytes(Descriptor* chain, std::size_t offset, unsigned buffers, unsigned flags) {
  for (unsigned i = 0; i < buffers; ++i) {
    const unsigned goes_on = i + 1 < buffers ? unsigned{Descriptor::kNext} : 0U;
    chain[i] = FrontEnd::describe(i == 0 ? offset : offset + kHeader + i - 1, i == 0 ? kHeader : 1,
                                  flags | goes_on, i + 1);
  }
}

Bytes part_of(const FrontEnd& front, std::size_t offset, std::size_t bytes) {
  return {front.memory.at(offset), front.memory.at(offset) + bytes};
}

TEST(VhostLongChain, FromTheDriverMayHaveAsManyBuffersAsItsQueueHasEntries) {
  Machine machine({.queue_size = kEntries}, {.max_frame_bytes = kEntries});
  FrontEnd& front = machine.front();
  const std::size_t at = front.send_slot(0);
  const Bytes sent = make_frame(kEntries - 1, 5);
  std::memset(front.memory.at(at), 0, kHeader);
  std::ranges::copy(sent, front.memory.at(at + kHeader));
  describe_bytes(&front.send_queue.descriptor(0), at, kEntries, 0);
  front.send_queue.lend(0);
  (void)front.send_queue.show(front.event_index());
  FrameBatch batch;
  ASSERT_EQ(machine.link().receive(batch).frames, 1U) << machine.link().why();
  EXPECT_EQ(Bytes(batch[0].bytes.begin(), batch[0].bytes.end()), sent);
}

TEST(VhostLongChain, ToTheDriverMayHaveAsManyBuffersAsItsQueueHasEntries) {
  Machine machine({.queue_size = kEntries}, {.max_frame_bytes = kEntries});
  FrontEnd& front = machine.front();
  const std::size_t at = front.receive_slot(0);  // the driver has lent all, this one first
  describe_bytes(&front.receive_queue.descriptor(0), at, kEntries, Descriptor::kWrite);
  const Bytes sent = make_frame(kEntries - 1, 6);
  const FrameView view(sent.data(), sent.size());
  ASSERT_EQ(machine.link().send({&view, 1}).taken, 1U) << machine.link().why();
  const auto used = front.receive_queue.collect();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->head, 0U);
  EXPECT_EQ(used->written, kHeader + sent.size());
  EXPECT_EQ(part_of(front, at + kHeader, sent.size()), sent);
}

/// Why the link has cut off a machine that sends an indirect table of so many buffers. Empty if it
/// has not.
std::string why_refused(std::uint16_t entries, unsigned buffers) {
  Machine machine({.queue_size = entries}, {.max_frame_bytes = 4096});
  FrontEnd& front = machine.front();
  const std::size_t at = front.memory.take(buffers * sizeof(Descriptor));
  describe_bytes(reinterpret_cast<Descriptor*>(front.memory.at(at)), front.send_slot(0), buffers,
                 0);
  front.send_queue.descriptor(3) =
      FrontEnd::describe(at, buffers * sizeof(Descriptor), Descriptor::kIndirect);
  front.send_queue.lend(3);
  (void)front.send_queue.show(front.event_index());
  machine.serve();
  return machine.link().why();
}

TEST(VhostLongChain, InATableHasAsManyBuffersAsTheQueueHasEntriesAndNoMore) {
  const char* const too_many = "send queue: a frame has too many buffers";
  EXPECT_EQ(why_refused(kEntries, kEntries), "");
  EXPECT_EQ(why_refused(kEntries, kEntries + 1), too_many);
  // Shorter queues: as many as QEMU allows.
  EXPECT_EQ(why_refused(256, 1024), "");
  EXPECT_EQ(why_refused(256, 1025), too_many);
}

}  // namespace
}  // namespace shmif::test
