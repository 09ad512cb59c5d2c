// The files of the kernel below a root: whole texts, exact numbers, and errors that name the file.

#include "perf/watch/kernel_files.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "tests/support/child_process.hpp"
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

TEST_F(KernelFilesTest, AreBelowTheRoot) {
  EXPECT_EQ(KernelFiles().path("/proc/stat"), "/proc/stat");
  EXPECT_EQ(KernelFiles("/").path("proc/stat"), "/proc/stat");
  EXPECT_EQ(files_.path("/proc/stat"), dir_.path() + "/proc/stat");
  EXPECT_FALSE(files_.has("/proc"));
  EXPECT_TRUE(KernelFiles().has("/proc/self/stat"));
}

TEST_F(KernelFilesTest, AreReadWholeWhateverTheirLength) {
  for (const std::size_t length : {0U, 1U, 16383U, 16384U, 16385U, 100000U}) {
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
  const auto huge = files_.read("/huge");
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().message, "cannot read " + dir_.path() + "/huge: it has more than 16 MiB");
  ASSERT_EQ(::truncate(dir_.file("huge").c_str(), 16 << 20), 0);
  EXPECT_EQ(files_.read("/huge").value().size(), std::size_t{16} << 20U);
}

TEST_F(KernelFilesTest, OfOneNumberHaveNothingElse) {
  put("number", "18446744073709551615\n");
  EXPECT_EQ(files_.read_number("/number").value(), 18446744073709551615U);
  for (const char* text : {"", "\n", "-1", "1 2", "0x10", "18446744073709551616", "max"}) {
    put("number", text);
    const auto number = files_.read_number("/number");
    ASSERT_FALSE(number) << text;
    EXPECT_EQ(number.error().code, Errc::bad_argument);
  }
  EXPECT_EQ(files_.read_number("/number").error().message,
            dir_.path() + "/number has no number: \"max\"");
  put("number", "\n");
  EXPECT_EQ(files_.read_number("/number").error().message, dir_.path() + "/number is empty");
}

TEST_F(KernelFilesTest, OfOneNumberMayHaveASignWhereThatIsAskedFor) {
  const auto number = [&](const char* text) {
    put("number", text);
    return files_.read_signed("/number");
  };
  EXPECT_EQ(number("-1\n").value(), -1);
  EXPECT_EQ(number("0").value(), 0);
  EXPECT_EQ(number("2147483647 \n").value(), 2147483647);
  EXPECT_EQ(number("-2147483647").value(), -2147483647);
  for (const char* text : {"2147483648", "-2147483648", "--1", "-", "+1", "1-", "4294967295"}) {
    ASSERT_FALSE(number(text)) << text;
    EXPECT_EQ(number(text).error().code, Errc::bad_argument);
    EXPECT_EQ(number(text).error().message, dir_.path() + "/number has no number that it can have");
  }
  EXPECT_EQ(number(" \n").error().message, dir_.path() + "/number is empty");
  EXPECT_EQ(files_.read_signed("/no").error().code, std::errc::no_such_file_or_directory);
}

TEST_F(KernelFilesTest, ThatCannotBeOpenedForWantOfDescriptorsSayHowThereWouldBeMore) {
  if (shmif::test::kSanitized)
    GTEST_SKIP() << "checks of objects need descriptors themselves, under sanitizers";
  put("text", "x");
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto read = files_.read("/text");
  const auto listed = files_.list("/");
  const auto written = files_.write("/text", "y");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual), 0);
  const std::string why =
      "Too many open files (allow this program more open files: ulimit -n 1024)";
  EXPECT_EQ(read.error().message, "cannot open " + dir_.path() + "/text: " + why);
  EXPECT_EQ(listed.error().message, "cannot list " + dir_.path() + "/: " + why);
  EXPECT_EQ(written.error().message, "cannot open " + dir_.path() + "/text: " + why);
  EXPECT_STREQ(descriptor_remedy(ENFILE), "allow the machine more open files: sysctl fs.file-max");
  EXPECT_STREQ(descriptor_remedy(ENOENT), "");
}

TEST_F(KernelFilesTest, AreWrittenByOneCallAndNeverMade) {
  put("switch", "????");
  ASSERT_TRUE(files_.write("/switch", "on"));
  EXPECT_EQ(files_.read("/switch").value(), "on??") << "it is not truncated first";
  EXPECT_EQ(files_.write("/other", "on").error().code, std::errc::no_such_file_or_directory);
  EXPECT_FALSE(files_.has("/other"));
  const auto full = KernelFiles().write("/dev/full", "on");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().message, "cannot write /dev/full: No space left on device");
}

TEST_F(KernelFilesTest, OfADirectoryAreListedInOrder) {
  for (const char* name : {"node1", "node0", ".hidden"}) put(name, "");
  EXPECT_EQ(files_.list("/").value(), (std::vector<std::string>{".hidden", "node0", "node1"}));
  EXPECT_EQ(files_.list("/node0").error().code, std::errc::not_a_directory);
}

}  // namespace
}  // namespace shmif::perf::test
