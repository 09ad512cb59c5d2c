// Which pages a process has: by the pagemap of older kernels, and of a process that has ended.

#include "instruments/heat/page_scan.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

AddressRange page_range(std::uint64_t begin, std::uint64_t end) {
  return {begin * page_bytes(), end * page_bytes()};
}

/// A file as the pagemap of a kernel before 6.7: an entry of eight bytes for each page.
class PagemapFile : public ::testing::Test {
 protected:
  static constexpr std::size_t kEntries = 10'000;
  PagemapFile() {
    std::vector<std::uint64_t> entries(kEntries);
    constexpr std::uint64_t kPresent = std::uint64_t{1} << 63U, kSwapped = std::uint64_t{1} << 62U;
    for (const auto& [begin, end] :
         {std::pair(3U, 6U), {7U, 8U}, {4094U, 4100U}, {9999U, 10'000U}}) {
      for (std::size_t i = begin; i < end; ++i) entries[i] = kPresent | i;
    }
    entries[6] = kSwapped | 6U;
    std::ofstream file(path(), std::ios::binary);
    file.write(reinterpret_cast<const char*>(entries.data()),
               static_cast<std::streamsize>(entries.size() * sizeof entries[0]));
  }
  std::string path() const { return dir_.file("pagemap"); }
  PageScan scan() const {
    return PageScan::over(UniqueFd(::open(path().c_str(), O_RDONLY | O_CLOEXEC))).value();
  }

 private:
  shmif::test::TempDir dir_;
};

TEST_F(PagemapFile, TellsThePagesThatArePresentAndNothingOfWrites) {
  const PageScan pages = scan();
  EXPECT_EQ(pages.means(), PageScan::Means::file);
  const auto told = [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<AddressRange> found;
    const auto seen = pages.present(page_range(begin, end)).value();
    for (const SeenPages& each : seen) {
      EXPECT_TRUE(each.seen.accessed);
      EXPECT_EQ(each.seen.written, std::nullopt);
      found.push_back(each.range);
    }
    return found;
  };
  using Ranges = std::vector<AddressRange>;
  EXPECT_EQ(told(0, kEntries), (Ranges{page_range(3, 6), page_range(7, 8), page_range(4094, 4100),
                                       page_range(9999, 10'000)}));
  EXPECT_EQ(told(4, 8), (Ranges{page_range(4, 6), page_range(7, 8)}));
  EXPECT_EQ(told(8, 4094), Ranges{});
  EXPECT_EQ(told(5, 5), Ranges{});
  EXPECT_EQ(pages.present(page_range(9998, 10'001)).error().code, std::errc::no_such_process)
      << "the map ends with the memory";
}

TEST_F(PagemapFile, ThatIsEmptyIsOfAProcessThatHasEnded) {
  std::filesystem::resize_file(path(), 0);
  const PageScan pages = scan();
  EXPECT_EQ(pages.present(page_range(0, 1)).error().code, std::errc::no_such_process);
  // Also if no entry is missing, as behind a scan in which the kernel found no pages.
  const auto none = pages.present(std::vector<std::uint64_t>());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::no_such_process);
}

/// Whether the kernel refuses it then, or finds no pages, as of one that has touched none.
TEST(PagemapOfAProcess, ThatHasEndedSaysSo) {
  const SharedPages pages(4);
  const AddressRange range{pages.address(0), pages.address(4)};
  const std::vector<std::uint64_t> single{pages.address(1), pages.address(3)};
  shmif::test::Child process([]() -> int {
    for (;;) ::pause();  // until killed
  });
  const auto scan = PageScan::of(process.pid());
  ASSERT_TRUE(scan) << scan.error().message;
  EXPECT_TRUE(scan->present(range)) << "it lives, whether or not it has touched them";
  EXPECT_TRUE(scan->present(single));
  const bool scans = scan->means() == PageScan::Means::scan;  // not on a kernel before 6.7
  EXPECT_TRUE(!scans || scan->is_known(single[0]));
  process.kill_and_wait();
  const auto code_of = [](const auto& result) {
    return result ? std::error_code() : result.error().code;
  };
  EXPECT_EQ(code_of(scan->present(range)), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->present(single)), std::errc::no_such_process);
  if (!scans) return;
  EXPECT_EQ(code_of(scan->is_known(single[0])), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->take_written(range)), std::errc::no_such_process);
}

}  // namespace
}  // namespace shmif::perf::test
