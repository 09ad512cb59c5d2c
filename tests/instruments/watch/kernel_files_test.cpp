// The files of the kernel below a root: whole texts, exact numbers, and errors that name the file.

#include "instruments/watch/kernel_files.hpp"

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
}  // namespace shmif::perf::test
