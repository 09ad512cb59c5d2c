// The files of the kernel below a root: whole texts, exact numbers, and errors that name the file.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <fstream>
#include <string>

#include "instruments/watch/kernel_files.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

class KernelFilesTest : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.file(name)) << text;
  }
  shmif::test::TempDir dir_;
  KernelFiles files_{dir_.path() + "//"};
};

TEST_F(KernelFilesTest, AreReadWholeWhateverTheirLength) {
  for (const std::size_t length : {0U, 16384U, 16385U, 100000U}) {
    put("text", std::string(length, 'x'));
    const auto text = files_.read("/text");
    ASSERT_TRUE(text) << length;
    EXPECT_EQ(text->size(), length);
  }
  EXPECT_EQ(KernelFiles().read("/proc/self/comm").value(), "watch_test\n");
}

TEST_F(KernelFilesTest, ThatAreMissingForbiddenOrTooLargeAreNamedInTheError) {
  const auto missing = files_.read("/no");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, std::errc::no_such_file_or_directory);
  EXPECT_EQ(missing.error().message,
            "cannot open " + dir_.path() + "/no: No such file or directory");
  ::mkdir(dir_.file("folder").c_str(), 0700);
  EXPECT_EQ(files_.read("/folder").error().code, std::errc::is_a_directory);
  put("huge", "x");
  ASSERT_EQ(::truncate(dir_.file("huge").c_str(), (16 << 20) + 1), 0);
  EXPECT_NE(files_.read("/huge").error().message.find("16 MiB"), std::string::npos);
  ASSERT_EQ(::truncate(dir_.file("huge").c_str(), 16 << 20), 0);
  EXPECT_EQ(files_.read("/huge").value().size(), std::size_t{16} << 20U);
}

TEST_F(KernelFilesTest, OfOneNumberHaveNothingElse) {
  put("number", "18446744073709551615\n");
  EXPECT_EQ(files_.read_number("/number").value(), 18446744073709551615U);
  for (const char* text : {"", "\n", "-1", "1 2", "0x10", "18446744073709551616", "max"}) {
    put("number", text);
    EXPECT_EQ(files_.read_number("/number").error().code, Errc::bad_argument) << text;
  }
  const auto number = [&](const char* text) {
    put("number", text);
    return files_.read_signed("/number");
  };
  EXPECT_EQ(number("-1\n").value(), -1);
  EXPECT_EQ(number("2147483647 \n").value(), 2147483647);
  for (const char* text : {"", "2147483648", "--1", "-", "+1", "1-"}) {
    EXPECT_EQ(number(text).error().code, Errc::bad_argument) << text;
  }
}

TEST_F(KernelFilesTest, ThatCannotBeOpenedForWantOfDescriptorsSayHowThereWouldBeMore) {
  if (shmif::test::kSanitized)
    GTEST_SKIP() << "checks of objects need descriptors themselves, under sanitizers";
  put("text", "x");
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::vector<std::string> messages{files_.read("/text").error().message,
                                          files_.list("/").error().message,
                                          files_.write("/text", "y").error().message};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual), 0);
  for (const std::string& each : messages) {
    EXPECT_NE(each.find("ulimit -n"), std::string::npos) << each;
  }
  EXPECT_NE(std::string(descriptor_remedy(ENFILE)).find("fs.file-max"), std::string::npos);
  EXPECT_STREQ(descriptor_remedy(ENOENT), "");
}

TEST_F(KernelFilesTest, AreWrittenByOneCallAndNeverMade) {
  put("switch", "????");
  ASSERT_TRUE(files_.write("/switch", "on"));
  EXPECT_EQ(files_.read("/switch").value(), "on??") << "it is not truncated first";
  EXPECT_EQ(files_.write("/other", "on").error().code, std::errc::no_such_file_or_directory);
  EXPECT_FALSE(files_.has("/other"));
  EXPECT_FALSE(KernelFiles().write("/dev/full", "on"));
}

TEST_F(KernelFilesTest, OfADirectoryAreListedInOrder) {
  for (const char* name : {"node1", "node0", ".hidden"}) put(name, "");
  EXPECT_EQ(files_.list("/").value(), (std::vector<std::string>{".hidden", "node0", "node1"}));
}

}  // namespace

// Files that another process made or named, and that may not answer.

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
        if (opened || opened.error().code != Errc::unsupported_file_system) return 5;
        for (int i = 0; i < 3; ++i) (void)stopped.read(mounted + "/file");
        return stopped.read(folder + "/stat") ? 6 : 0;  // four such children are enough
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
  std::filesystem::resize_file(dir.file("big"), (16U << 20U) + 1);
  EXPECT_EQ(files.read("big").error().message, direct.read("big").error().message);
  EXPECT_EQ(files.read("small").value(), "seven") << "by another child";
  EXPECT_EQ(files.read("../" + std::string(PATH_MAX, 'x')).error().code,
            std::errc::filename_too_long);
}

}  // namespace

}  // namespace shmif::perf::test
