// The memory of a virtual machine, as a front-end shares it.

#include "vhost/guest_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/holdings.hpp"

namespace shmif::test {
namespace {

using vhost::GuestMemory;
using vhost::MemoryRegion;

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
