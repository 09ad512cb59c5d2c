// What is read of /proc: lines as proc(5) has them, and this very process. Temporary folders.

#include "base/files.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temp_dir.hpp"

namespace shmif::base {
namespace {

TEST(MapsLine, HasItsRangeAndItsFile) {
  const auto shared =
      read_maps_line("7f3a10000000-7f3a10002000 rw-s 00001000 00:1a 66728     /dev/shm/bus0");
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->begin, 0x7f3a10000000U);
  EXPECT_EQ(shared->end, 0x7f3a10002000U);
  EXPECT_TRUE(shared->is_shared);
  EXPECT_EQ(shared->file, "00:1a 66728");
  const auto own = read_maps_line("00400000-0048a000 r-xp 00000000 fd:03 960637 /bin/sh");
  ASSERT_TRUE(own);
  EXPECT_FALSE(own->is_shared);
  EXPECT_EQ(own->file, "fd:03 960637");
}

TEST(MapsLine, ThatIsCutShortIsNone) {
  for (const char* line : {"", "7f3a10000000", "7f3a10000000-", "7f3a10000000-7f3a10002000",
                           "7f3a10000000-7f3a10002000 rw-s 00001000 00:1a",
                           "7f3a10000000-7f3a10002000 rw-s 00001000 00:1a "})
    EXPECT_FALSE(read_maps_line(line)) << line;
}

TEST(MapsLine, WithoutTwoAddressesIsNone) {
  for (const char* range : {"x-7f3a10002000", "7f3a10000000 7f3a10002000", "7f3a10000000-x",
                            "17f3a100000000000-7f3a10002000"})
    EXPECT_FALSE(read_maps_line(std::string(range) + " rw-s 00001000 00:1a 66728")) << range;
}

TEST(MapsLine, OfThisProcessNamesAMappingByItsAddress) {
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const page = mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  const auto wanted = reinterpret_cast<std::uintptr_t>(page);
  unsigned found = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const auto range = read_maps_line(line);
    ASSERT_TRUE(range) << line;
    if (range->begin > wanted || wanted >= range->end) continue;
    ++found;
    EXPECT_TRUE(range->is_shared);
  }
  EXPECT_EQ(found, 1U);
  munmap(page, size);
}

TEST(TemporaryFolder, OfAKilledProcessGoesWithTheNextAndNothingElseDoes) {
  const test::TempDir dir;
  ASSERT_EQ(setenv("TMPDIR", dir.path().c_str(), 1), 0);
  const TemporaryFolder living = TemporaryFolder::make("a").value();
  for (const char* each : {"a-123456", "a-1234567", "b-123456"})
    ASSERT_TRUE(std::filesystem::create_directory(dir.file(each)));
  const TemporaryFolder next = TemporaryFolder::make("a").value();
  unsetenv("TMPDIR");
  EXPECT_FALSE(std::filesystem::exists(dir.file("a-123456")));
  for (const std::string& each :
       {dir.file("a-1234567"), dir.file("b-123456"), living.path(), next.path()})
    EXPECT_TRUE(std::filesystem::exists(each)) << each;
}

TEST(Status, HasTheNumbersOfALineByItsWholeName) {
  const std::string text =
      "Name:\tUid: 7\nTgid:\t12\nUids\t9\nUid:\t0\t1000\t2\t3\nNSpid:\t12\t1\n";
  EXPECT_EQ(status_numbers(text, "Uid"), (std::vector<std::uint64_t>{0, 1000, 2, 3}));
  EXPECT_EQ(status_numbers(text, "NSpid"), (std::vector<std::uint64_t>{12, 1}));
  EXPECT_EQ(status_numbers(text, "Ui"), std::vector<std::uint64_t>());
  EXPECT_EQ(status_numbers(text, "Gid"), std::vector<std::uint64_t>());
}

TEST(Status, OfThisProcessHasItsIds) {
  std::ifstream file("/proc/self/status");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto ids = status_numbers(text, "Uid");
  ASSERT_EQ(ids.size(), 4U);
  EXPECT_EQ(ids[0], getuid());
  EXPECT_EQ(ids[1], geteuid());
}

}  // namespace
}  // namespace shmif::base
