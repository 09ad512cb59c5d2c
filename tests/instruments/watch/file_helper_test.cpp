// Files that another process made or named, and that may not answer.

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <fstream>
#include <string>

#include "instruments/watch/kernel_files.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

TEST(FileHelper, GoesOnWhenAFileOfAProcessDoesNotAnswer) {
  const shmif::test::TempDir dir;
  const shmif::test::Shared<std::atomic<pid_t>> giver;
  const auto met = shmif::test::meet_silent_file(
      dir.path(), [&](int) { return (*giver = ::getpid()) != 0; },
      [&] {
        // The directory is mounted only in the namespace of that process.
        const std::string folder = "/proc/" + std::to_string(*giver);
        const std::string mounted = folder + "/root" + dir.path();
        const KernelFiles files = KernelFiles().by_helper([] { return false; });
        const auto silent = files.read(mounted + "/file");
        if (silent || silent.error().code != Errc::timed_out) return 1;
        if (silent.error().message.find("does not answer") == std::string::npos) return 2;
        if (!files.read(folder + "/stat")) return 3;
        bool stops = false;
        const KernelFiles stopped = KernelFiles().by_helper([&] { return stops = true; });
        if (stopped.read(mounted + "/file") || !stops) return 4;
        const auto opened = stopped.open_folder(mounted);
        return !opened && opened.error().code == Errc::unsupported_file_system ? 0 : 5;
      });
  if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(met.code, 0);
  EXPECT_TRUE(met.never_answered);
}

TEST(FileHelper, ReadsAndWritesAsTheProcessItselfDoes) {
  const shmif::test::TempDir dir;
  const KernelFiles direct(dir.path());
  const KernelFiles files = direct.by_helper([] { return false; });
  std::string all;
  for (int i = 0; i < 100'000; ++i) all += static_cast<char>(i % 251);
  std::ofstream(dir.file("big")) << all;
  std::ofstream(dir.file("small"));
  EXPECT_EQ(files.read("big").value(), all);
  EXPECT_TRUE(files.write("small", "seven"));
  EXPECT_EQ(files.read("small").value(), "seven");
  for (const char* const none : {"none", "small/none"}) {
    EXPECT_EQ(files.read(none).error().message, direct.read(none).error().message);
    EXPECT_EQ(files.read(none).error().code, direct.read(none).error().code);
    EXPECT_EQ(files.write(none, "x").error().message, direct.write(none, "x").error().message);
  }
  EXPECT_EQ(files.read("../" + std::string(PATH_MAX, 'x')).error().code,
            std::errc::filename_too_long);
}

}  // namespace
}  // namespace shmif::perf::test
