// shmifperf heat of a program that does not use the library: each page that it writes.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "instruments/heat/source.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

#define NEEDS_WRITTEN()                                                                 \
  if (!perf::expect_written()) GTEST_SKIP() << "no asynchronous write protection here"; \
  if (kSanitized) GTEST_SKIP() << "looks at shadow memory are slow, under sanitizers"

/// How well the pages that it says were written in the last window are those that the program
/// writes again and again. (At its beginning it writes all.)
perf::test::Quality quality_of_writes(const std::string& hot_pages, const Json& json) {
  std::istringstream words(hot_pages);
  std::uint64_t first = 0, end = 0, begin = 0;
  words >> std::hex >> begin >> std::dec >> first >> end;
  constexpr std::uint64_t kPage = 4096;
  const std::uint64_t behind = begin + (std::uint64_t{64} << 20U);
  std::vector<perf::Region> memory;
  for (const Json& region : json["windows"].back()["regions"]) {
    const std::uint64_t from = std::max(region["begin"].get<std::uint64_t>(), begin);
    const std::uint64_t to = std::min(region["end"].get<std::uint64_t>(), behind);
    const bool is_written = region["writes"] != 0 && region["writes"] != nullptr;
    if (from < to) memory.push_back({from, to, is_written ? 1U : 0U, {}, 0});
  }
  return perf::test::quality_of(
      memory, [](const perf::Region& region) { return region.accesses; },
      [&](std::uint64_t at) { return at >= begin + first * kPage && at < begin + end * kPage; });
}

const Words kHeat{"heat", "--json", "--windows", "6", "--attrs", "20ms,400ms,1s,10,1000"};

/// The JSON behind the first line, which the program prints.
Json json_of(const ToolResult& result) {
  return Json::parse(result.out.substr(result.out.find('\n') + 1), nullptr, false);
}

TEST(HeatOfAProgram, KnowsTheHotTenthOfItsMemoryForAnOrdinaryUser) {
  NEEDS_WRITTEN();
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const ToolResult result =
      run_program(kAsNobody + shmifperf_words(kHeat) +
                  Words{"--", in_build("tests/instruments/hot_writer"), "64"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = json_of(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "written") << json["target"]["fallback_reason"];
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["reads_precision"], "mapping");
  const auto quality = quality_of_writes(result.out.substr(0, result.out.find('\n')), json);
  EXPECT_GT(quality.recall, 0.9);
  EXPECT_GT(quality.precision, 0.9);
}

/// The kernel takes the rights of a set-user-ID file from a program that is traced, so heat does
/// not trace that one.
TEST(HeatOfAProgram, LeavesTheProgramTheRightsOfItsFile) {
  NEEDS_WRITTEN();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const TempDir dir("/var/tmp");
  const std::string program = dir.file("who");
  std::filesystem::copy_file("/usr/bin/id", program);
  std::filesystem::permissions(dir.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(program, std::filesystem::perms(04755));
  const Words ordinary{"setpriv", "--reuid", "65534", "--clear-groups"};
  if (run_program(ordinary + Words{program, "-u"}).out != "0\n") {
    GTEST_SKIP() << "no set-user-ID programs here";
  }
  const ToolResult result = run_program(ordinary + shmifperf_words({"heat", "--", program, "-u"}));
  EXPECT_TRUE(result.out.starts_with("0\n")) << result.out << result.err;
}

TEST(HeatOfAProgram, GoesOnByMappingsWhenItExecutesAnotherProgram) {
  NEEDS_WRITTEN();
  const ToolResult result =
      shmifperf({"heat", "--json", "--attrs", "20ms,100ms,100ms,10,1000", "--", "sh", "-c",
                 "sleep 0.3; exec \"$1\" 64 3", "sh", in_build("tests/instruments/hot_writer")});
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = json_of(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "clear_refs");
  EXPECT_NE(json["target"]["fallback_reason"].get<std::string>().find("executed another one"),
            std::string::npos);
  EXPECT_FALSE(json["windows"].empty());
}

/// The faults at 64 MiB of written pages cost far more than 1 % of 5 ms.
TEST(HeatOfAProgram, IsLookedAtMoreOftenWithALargerBudget) {
  NEEDS_WRITTEN();
  const auto samples_a_second = [](const std::string& budget) {
    const ToolResult result =
        shmifperf({"heat", "--json", "--windows", "3", "--attrs", "5ms,500ms,10s,10,1000",
                   "--budget", budget, "--", in_build("tests/instruments/hot_writer"), "64"});
    const Json json = json_of(result);
    EXPECT_TRUE(json.is_object()) << result.out << result.err;
    const Json& last = json["windows"][2];
    return last["samples"].get<double>() /
           (last["end_s"].get<double>() - last["begin_s"].get<double>());
  };
  EXPECT_GT(samples_a_second("100"), 2 * samples_a_second("1"));
}

}  // namespace
}  // namespace shmif::test
