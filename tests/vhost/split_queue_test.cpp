// The device side of a split queue, without a link around it.

#include "vhost/split_queue.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/holdings.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Descriptor;
using vhost::GuestMemory;
using vhost::MemoryRegion;
using vhost::SplitQueue;

/// A queue with both of its sides in this process, and nobody between them.
struct QueuePair {
  explicit QueuePair(bool event_index, std::uint16_t size = 8) : driver(machine, size) {
    std::vector<UniqueFd> file;
    file.emplace_back(::dup(machine.file()));
    const vhost::MemoryRegion region = machine.region();
    memory = GuestMemory::map({&region, 1}, file).value();
    buffers.reserve(SplitQueue::kMinMaxBuffers);
    EXPECT_TRUE(start(event_index));
  }
  bool start(bool event_index) {
    return device.start(memory, {.size = driver.size,
                                 .descriptors = MachineMemory::kUser + driver.descriptors_at,
                                 .available = MachineMemory::kUser + driver.available_at,
                                 .used = MachineMemory::kUser + driver.used_at,
                                 .event_index = event_index});
  }
  /// Takes the next chain and gives it back.
  void consume() {
    buffers.clear();
    SplitQueue::Chain chain;
    ASSERT_TRUE(
        device.read_chain(0, SplitQueue::Direction::from_driver, ~std::size_t{0}, buffers, chain))
        << device.fault();
    device.give_back(chain.head, 0);
    (void)device.publish();
  }
  MachineMemory machine;
  DriverQueue driver;
  GuestMemory memory;
  SplitQueue device;
  std::vector<Buffer> buffers;
};

class SplitQueueSleep : public testing::TestWithParam<bool> {};

// The driver lends a buffer at any moment while the device falls asleep. If the device did not look
// again after it had asked for a notice, it would sleep for ever.
TEST_P(SplitQueueSleep, MissesNothingThatComesWhileItFallsAsleep) {
  constexpr unsigned kRounds = 50'000;
  QueuePair pair(GetParam());
  pair.driver.descriptor(0) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  std::atomic<bool> failed{false};
  std::jthread driver([&] {
    std::minstd_rand random(7);
    for (unsigned round = 0; round < kRounds && !failed; ++round) {
      while (!pair.driver.collect() && round > 0 && !failed) std::this_thread::yield();
      for (volatile unsigned spin = random() % 256; spin > 0;) spin = spin - 1;
      pair.driver.lend(0);
      (void)pair.driver.show(GetParam());
    }
  });
  unsigned sleeps = 0;
  for (unsigned done = 0; done < kRounds && !failed;) {
    if (pair.device.has(1)) {
      pair.consume();
      ++done;
      continue;
    }
    if (!pair.device.prepare_wait()) {
      pollfd waiting{.fd = pair.driver.kick.get(), .events = POLLIN, .revents = 0};
      failed = ::poll(&waiting, 1, 10'000) != 1;
      std::uint64_t count = 0;
      EXPECT_EQ(::read(pair.driver.kick.get(), &count, sizeof count), 8) << "in round " << done;
      ++sleeps;
    }
    pair.device.finish_wait();
  }
  EXPECT_FALSE(failed) << "it was not woken after " << sleeps << " sleeps";
  EXPECT_GT(sleeps, 0U);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEventIndex, SplitQueueSleep, testing::Bool());

TEST(SplitQueue, CountsPastTheEndOfItsNumbers) {
  QueuePair pair(true);
  pair.driver.descriptor(3) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  for (unsigned i = 0; i < 200'000; ++i) {
    ASSERT_FALSE(pair.device.has(1));
    pair.driver.lend(3);
    (void)pair.driver.show(true);
    ASSERT_TRUE(pair.device.has(1));
    ASSERT_FALSE(pair.device.has(2));
    pair.consume();
    ASSERT_TRUE(pair.driver.collect().has_value());
  }
  EXPECT_EQ(pair.device.position(), 200'000 % 65'536);
}

TEST(SplitQueue, NotifiesWhenTheDriversEventIsPassed) {
  QueuePair pair(true);
  pair.driver.descriptor(0) = {MachineMemory::kGuest + (std::uint64_t{1} << 20), 64, 0, 0};
  const auto give_back = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) pair.driver.lend(0);
    (void)pair.driver.show(true);
    SplitQueue::Chain chain;
    for (unsigned i = 0; i < count; ++i) {
      EXPECT_TRUE(pair.device.has(1));
      pair.buffers.clear();
      EXPECT_TRUE(
          pair.device.read_chain(0, SplitQueue::Direction::from_driver, 1, pair.buffers, chain));
      pair.device.give_back(chain.head, 0);
    }
    return pair.device.publish();
  };
  pair.driver.used_event() = 0;
  EXPECT_TRUE(give_back(1)) << "0 to 1";
  EXPECT_FALSE(give_back(1)) << "0 is behind";
  pair.driver.used_event() = 4;
  EXPECT_FALSE(give_back(2)) << "2 to 4: the entry of number 4 is not there yet";
  EXPECT_TRUE(give_back(3)) << "4 to 7";
  EXPECT_FALSE(pair.device.publish()) << "nothing new";
  // The numbers have 16 bits.
  std::uint16_t at = 7;
  const auto go_to = [&](std::uint16_t number) {
    for (; at != number; ++at) (void)give_back(1);
  };
  go_to(0xfffe);
  pair.driver.used_event() = 0xffff;
  EXPECT_FALSE(give_back(1)) << "0xfffe to 0xffff";
  EXPECT_TRUE(give_back(3)) << "0xffff to 2, over the end";
  at = 2;
  go_to(0xfffe);
  pair.driver.used_event() = 1;
  EXPECT_FALSE(give_back(3)) << "0xfffe to 1: 1 is not there yet";
  EXPECT_TRUE(give_back(1)) << "1 to 2";
  at = 2;
  go_to(0xfffe);
  pair.driver.used_event() = 0xfffd;
  EXPECT_FALSE(give_back(4)) << "0xfffe to 2: 0xfffd is behind";
}

// Chains of many buffers. virtio allows a chain as long as its queue.

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

// The memory of a virtual machine, as a front-end shares it.

constexpr std::size_t kFileBytes = 64 * 4096;
constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

UniqueFd memory_file(std::size_t bytes = kFileBytes) {
  UniqueFd file(::memfd_create("memory", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

std::vector<UniqueFd> files(std::size_t count) {
  std::vector<UniqueFd> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(memory_file());
  return out;
}

TEST(GuestMemory, GivesNoAddressBeyondOneRegion) {
  const auto backing = files(2);
  // Neighbours for the machine; not for the front-end.
  const std::vector<MemoryRegion> regions{
      {.guest_address = 4096, .bytes = 4096, .user_address = 0x70000000, .file_offset = 0},
      {.guest_address = 8192, .bytes = 4096, .user_address = 0x10000, .file_offset = 100}};
  const auto memory = GuestMemory::map(regions, backing).value();
  ASSERT_EQ(::pwrite(backing[1].get(), "x", 1, 100 + 4095), 1);
  EXPECT_EQ(*memory.at_guest(12287, 1), std::byte{'x'});
  EXPECT_EQ(memory.at_user(0x10000 + 4095, 1), memory.at_guest(12287, 1));
  EXPECT_NE(memory.at_guest(4096, 4096), nullptr);
  EXPECT_EQ(memory.at_guest(4095, 1), nullptr);
  EXPECT_EQ(memory.at_guest(4096, 4097), nullptr);
  EXPECT_EQ(memory.at_guest(8191, 2), nullptr) << "two regions";
  EXPECT_NE(memory.at_guest(12287, 1), nullptr);
  EXPECT_EQ(memory.at_guest(12287, 2), nullptr);
  EXPECT_EQ(memory.at_guest(12289, 0), nullptr);
  EXPECT_EQ(memory.at_guest(4097, kTop), nullptr) << "the sum wraps around";
  EXPECT_EQ(memory.at_guest(kTop, 1), nullptr);
  EXPECT_EQ(memory.at_user(4096, 1), nullptr) << "the machine's address is not the front-end's";
  EXPECT_EQ(GuestMemory().at_guest(0, 0), nullptr);
}

TEST(GuestMemory, RefusesRegionsThatCannotBe) {
  const MemoryRegion good{
      .guest_address = 0, .bytes = 4096, .user_address = 0x70000000, .file_offset = 0};
  const MemoryRegion far{
      .guest_address = 0x100000, .bytes = 4096, .user_address = 0x80000000, .file_offset = 0};
  const auto with = [](MemoryRegion region, auto change) {
    change(region);
    return region;
  };
  struct Case {
    const char* why;
    std::vector<MemoryRegion> regions;
    std::size_t descriptors;
  };
  const std::vector<Case> cases{
      {"is empty", {with(good, [](auto& r) { r.bytes = 0; })}, 1},
      {"a file of that size", {with(good, [](auto& r) { r.bytes = kFileBytes + 1; })}, 1},
      {"a file of that size", {with(good, [](auto& r) { r.file_offset = kFileBytes; })}, 1},
      {"a file of that size", {with(good, [](auto& r) { r.file_offset = kTop - 4096; })}, 1},
      {"address space", {with(good, [](auto& r) { r.file_offset = kTop - 4095; })}, 1},
      {"address space", {with(good, [](auto& r) { r.guest_address = kTop - 4094; })}, 1},
      {"address space", {with(good, [](auto& r) { r.user_address = kTop - 4094; })}, 1},
      {"overlaps", {good, with(far, [](auto& r) { r.guest_address = 4095; })}, 2},
      {"overlaps", {good, with(far, [](auto& r) { r.user_address = 0x70000fff; })}, 2},
      {"overlaps", {with(far, [](auto& r) { r.user_address = 0x70000fff; }), good}, 2},
      {"overlaps", {far, good, with(far, [](auto& r) { r.user_address = 0x70000000; })}, 3},
      {"memory region 1 overlaps",
       {good, with(far, [](auto& r) { r.guest_address = 4095; }), far},
       3},
      {"memory region 1 is not in a file of that size",
       {good, with(far, [](auto& r) { r.bytes = kFileBytes + 1; })},
       2},
      {"overlaps", {good, far, with(good, [](auto& r) { r.user_address = 0x90000000; })}, 3},
      {"overlaps", {good, far, with(good, [](auto& r) { r.guest_address = 0x200000; })}, 3},
      {"2 memory regions with 1 descriptors", {good, far}, 1},
      {"1 memory regions with 2 descriptors", {good}, 2},
      {"9 memory regions", std::vector<MemoryRegion>(9, good), 9},
      {"its memory asks for 16777216 TiB, and the limit for one peer is 32 TiB",
       {{.guest_address = 0, .bytes = kTop / 2, .user_address = 0},
        {.guest_address = kTop / 2 + 1, .bytes = kTop / 2, .user_address = kTop / 2 + 1}},
       2}};
  const auto before = holdings({});
  for (const auto& [why, regions, descriptors] : cases) {
    const auto backing = files(descriptors);
    const auto memory = GuestMemory::map(regions, backing);
    ASSERT_FALSE(memory) << why;
    EXPECT_EQ(memory.error().code, Errc::bad_argument) << why;
    EXPECT_NE(memory.error().message.find(why), std::string::npos) << memory.error().message;
  }
  EXPECT_EQ(holdings({}).descriptors, before.descriptors);
}

/// A region of this file, which has that many bytes.
Result<GuestMemory> map_all(UniqueFd file, std::uint64_t bytes) {
  const MemoryRegion region{
      .guest_address = 0, .bytes = bytes, .user_address = 0x70000000, .file_offset = 0};
  std::vector<UniqueFd> one;
  one.push_back(std::move(file));
  return GuestMemory::map({&region, 1}, one);
}

TEST(GuestMemory, MapsFilesOfEachFileSystemInMemory) {
  UniqueFd huge(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (huge) {  // the kernel has hugetlbfs
    struct stat status{};
    ASSERT_EQ(::fstat(huge.get(), &status), 0);
    ASSERT_EQ(::ftruncate(huge.get(), status.st_blksize), 0);
    const auto memory = map_all(std::move(huge), static_cast<std::uint64_t>(status.st_blksize));
    EXPECT_TRUE(memory) << memory.error().message;
  }
  UniqueFd tmpfs(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(tmpfs);
  ASSERT_EQ(::ftruncate(tmpfs.get(), kFileBytes), 0);
  const auto memory = map_all(std::move(tmpfs), kFileBytes);
  EXPECT_TRUE(memory) << memory.error().message;
}

// A file system such as FUSE lets each call that asks it wait, so only the kernel is asked first.
TEST(GuestMemory, MapsNoFileThatIsNotInMemory) {
  for (const char* const path : {"/proc/self/exe", "/proc/self/mem", "/dev/zero"}) {
    const auto memory = map_all(UniqueFd(::open(path, O_RDONLY | O_CLOEXEC)), 4096);
    ASSERT_FALSE(memory) << path;
    EXPECT_EQ(memory.error().code, Errc::bad_argument) << path;
    EXPECT_EQ(memory.error().message,
              "memory region 0 is in no file in memory (memfd, tmpfs or hugetlbfs)")
        << path;
  }
}

TEST(GuestMemory, IsUnmappedWhenItGoes) {
  const MemoryRegion region{
      .guest_address = 0, .bytes = 4096, .user_address = 0x70000000, .file_offset = 4096};
  const auto backing = files(1);
  const auto before = holdings("memfd:memory").bus_mappings;
  {
    auto memory = GuestMemory::map({&region, 1}, backing).value();
    EXPECT_EQ(holdings("memfd:memory").bus_mappings, before + 1);
    memory = GuestMemory::map({&region, 1}, backing).value();
    EXPECT_EQ(holdings("memfd:memory").bus_mappings, before + 1);
  }
  EXPECT_EQ(holdings("memfd:memory").bus_mappings, before);
}

}  // namespace
}  // namespace shmif::test
