// Removing a bus while others rename files in its directory, and on file systems that cannot do
// all that is asked of them: at every step somebody may put another file at the name.

#include "bus/format/format.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "bus/layout.hpp"
#include "tests/support/temp_bus.hpp"

namespace {

std::function<int()> before_rename;  // result: 0, or the errno with which it fails
std::function<int()> before_removal;

}  // namespace

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): these are the linker's names
long __real_syscall(long number, ...);
int __real_unlinkat(int directory, const char* name, int flags);

long __wrap_syscall(long number, ...) {
  long a[6];
  va_list rest;
  va_start(rest, number);
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_renameat2 && before_rename) {
    if (const int failed = before_rename(); failed != 0) return errno = failed, -1;
  }
  return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
int __wrap_unlinkat(int directory, const char* name, int flags) {
  if (before_removal) {
    if (const int failed = before_removal(); failed != 0) return errno = failed, -1;
  }
  return __real_unlinkat(directory, name, flags);
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace shmif::test {
namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class DestroyedMeanwhile : public testing::Test {
 protected:
  ~DestroyedMeanwhile() override { before_rename = before_removal = nullptr; }

  /// Somebody else's file takes the name of the bus, which goes on elsewhere.
  void exchange() const {
    std::filesystem::rename(bus_.path(), bus_.file("moved"));
    write(bus_.path(), "another's");
  }
  Error refused() const {
    const auto removed = bus::destroy(bus_.path(), false);
    return removed ? Error(std::error_code(), "removed") : removed.error();
  }
  std::size_t files() const {
    std::size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator(bus_.file("")))
      count += each.is_regular_file() ? 1U : 0U;
    return count;
  }
  std::string replaced(const std::string& where = {}) const {
    return "cannot remove the bus " + bus_.path() +
           ": another file took its name meanwhile, and was not removed" + where +
           " (see what it is, and try again)";
  }

  TempBus bus_{small_ring()};
};

TEST_F(DestroyedMeanwhile, AnotherFileThatTakesTheNameGetsItBack) {
  before_rename = [&, first = true]() mutable {
    if (std::exchange(first, false)) exchange();
    return 0;
  };
  const Error error = refused();
  EXPECT_EQ(error.code, Errc::copied_file);
  EXPECT_EQ(error.message, replaced());
  EXPECT_EQ(text_of(bus_.path()), "another's");
  EXPECT_TRUE(Bus::open(bus_.file("moved")));
  EXPECT_EQ(files(), 2U);
}

TEST_F(DestroyedMeanwhile, AThirdFileKeepsTheNameAndTheOtherOneIsToBeFound) {
  before_rename = [&, step = 0]() mutable {
    if (step++ == 0) exchange();
    if (step == 2) write(bus_.path(), "a third one");
    return 0;
  };
  const std::string message = refused().message;
  const std::size_t begin = message.find(".shmif-destroy-");
  ASSERT_NE(begin, std::string::npos) << message;
  const std::string aside = message.substr(begin, message.find(' ', begin) - begin);
  EXPECT_EQ(message, replaced("; it is now " + aside + " in the same directory"));
  EXPECT_EQ(text_of(bus_.path()), "a third one");
  EXPECT_EQ(text_of(bus_.file(aside)), "another's");
  EXPECT_TRUE(Bus::open(bus_.file("moved")));
}

TEST_F(DestroyedMeanwhile, WhereNoSuchRenameIsPossibleTheNameIsRemovedAtOnce) {
  for (const int failed : {EINVAL, ENOSYS, ENOSPC, EDQUOT}) {
    const TempBus bus(small_ring());
    before_rename = [&] { return failed; };
    const auto removed = bus::destroy(bus.path(), false);
    ASSERT_TRUE(removed) << removed.error().message;
    EXPECT_FALSE(std::filesystem::exists(bus.path())) << failed;
    before_rename = [&] {
      exchange();
      return failed;
    };
    EXPECT_EQ(refused().message, replaced()) << failed;
    EXPECT_EQ(text_of(bus_.path()), "another's");
    std::filesystem::rename(bus_.file("moved"), bus_.path());
  }
}

TEST_F(DestroyedMeanwhile, WhatCannotBeRemovedIsToldWithItsReason) {
  const std::string begin = "cannot remove the bus " + bus_.path() + ": ";
  const std::string advice = " (ask its owner, or for write permission in the directory)";
  const auto told = [&](int number) {
    const Error error = refused();
    EXPECT_EQ(error.code, std::error_code(number, std::generic_category()));
    return error.message;
  };
  before_rename = [] { return EROFS; };
  EXPECT_EQ(told(EROFS), begin + "Read-only file system");
  before_rename = [] { return EACCES; };
  EXPECT_EQ(told(EACCES), begin + "Permission denied" + advice);
  before_rename = [] { return EPERM; };
  EXPECT_EQ(told(EPERM), begin + "Operation not permitted" + advice);
  before_rename = [] { return EINVAL; };
  before_removal = [] { return EPERM; };
  EXPECT_EQ(told(EPERM), begin + "Operation not permitted" + advice);
  EXPECT_TRUE(Bus::open(bus_.path()));
  before_rename = nullptr;
  before_removal = [] { return EIO; };
  EXPECT_EQ(told(EIO), begin + "Input/output error");
}

TEST_F(DestroyedMeanwhile, AnotherDirectoryAtThePathIsNotTouched) {
  const std::string inner = bus_.file("inner");
  std::filesystem::create_directory(inner);
  Bus::create(inner + "/bus", small_ring()).value();
  before_rename = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return 0;
    std::filesystem::rename(inner, bus_.file("old"));
    std::filesystem::create_directory(inner);
    write(inner + "/bus", "another's");
    return 0;
  };
  EXPECT_TRUE(bus::destroy(inner + "/bus", false));
  EXPECT_EQ(text_of(inner + "/bus"), "another's");
  EXPECT_FALSE(std::filesystem::exists(bus_.file("old/bus")));
}

TEST_F(DestroyedMeanwhile, APathWithoutADirectoryIsOneInThePresentOne) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(bus_.file(""));
  const std::string name = std::filesystem::path(bus_.path()).filename();
  EXPECT_TRUE(bus::destroy(name, false));
  std::filesystem::current_path(before);
  EXPECT_FALSE(std::filesystem::exists(bus_.path()));
}

TEST_F(DestroyedMeanwhile, ALinkToAFileThatBeginsAsABusIsNotFollowedEvenByForce) {
  const std::string spoiled = bus_.file("spoiled");
  std::ofstream(spoiled, std::ios::binary)
      .write(reinterpret_cast<const char*>(&bus::kMagic), sizeof bus::kMagic);
  const std::string link = bus_.file("link");
  std::filesystem::create_symlink(spoiled, link);
  EXPECT_FALSE(bus::destroy(link, true));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_TRUE(std::filesystem::exists(spoiled));
}

}  // namespace
}  // namespace shmif::test
