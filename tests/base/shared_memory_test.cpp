// Memory that a process shares: with its children, and with others through a file.
#include "base/shared_memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>
#include <utility>

#include "base/unique_fd.hpp"

namespace shmif::base {
namespace {

using Word = std::atomic<std::uint64_t>;

Word& word_of(const SharedMemory& memory) {
  return *static_cast<Word*>(memory.data());
}

/// What a child process writes into the first word.
void write_in_a_child(const SharedMemory& memory, std::uint64_t value) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    word_of(memory).store(value);
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

UniqueFd file_of(std::size_t bytes) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

TEST(SharedMemory, OfAFileIsThatOfAllWhoMapIt) {
  constexpr std::size_t kBytes = 3 * 4096;
  UniqueFd file = file_of(kBytes);
  const std::uint64_t before = 7;
  ASSERT_EQ(::pwrite(file.get(), &before, sizeof before, 0), 8);
  const auto memory = SharedMemory::of_file(file.get(), kBytes, "no map");
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(word_of(*memory).load(), 7U);
  EXPECT_EQ(static_cast<const char*>(memory->data())[kBytes - 1], '\0');
  const auto other = SharedMemory::of_file(file.get(), sizeof(Word), "no map");
  ASSERT_TRUE(other) << other.error().message;
  file.reset();  // the maps stay
  write_in_a_child(*memory, 8);
  EXPECT_EQ(word_of(*other).load(), 8U);
}

TEST(SharedMemory, IsUnmappedWithItsOwner) {
  constexpr std::size_t kBytes = 4096;
  const UniqueFd file = file_of(kBytes);
  void* at = nullptr;
  {
    auto memory = SharedMemory::of_file(file.get(), kBytes, "no map");
    ASSERT_TRUE(memory) << memory.error().message;
    at = memory->data();
    SharedMemory moved = std::move(*memory);
    EXPECT_EQ(moved.data(), at);
    // NOLINTNEXTLINE(bugprone-use-after-move): what is left has no memory
    EXPECT_EQ(memory->data(), nullptr);
    EXPECT_EQ(::msync(at, kBytes, MS_ASYNC), 0);
  }
  EXPECT_EQ(::msync(at, kBytes, MS_ASYNC), -1);  // ENOMEM: nothing is mapped there
  EXPECT_EQ(errno, ENOMEM);
}

TEST(SharedMemory, ThatCannotBeHadSaysWhatForAndWhy) {
  const auto none = SharedMemory::anonymous(std::size_t{1} << 60U, "cannot get memory for a run");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::not_enough_memory);
  EXPECT_EQ(none.error().message, "cannot get memory for a run: Cannot allocate memory");
  const auto no_file = SharedMemory::of_file(-1, 4096, "cannot map x");
  ASSERT_FALSE(no_file);
  EXPECT_EQ(no_file.error().message, "cannot map x: Bad file descriptor");
  const auto empty = SharedMemory::of_file(file_of(4096).get(), 0, "cannot map y");
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().message, "cannot map y: Invalid argument");
}

}  // namespace
}  // namespace shmif::base
