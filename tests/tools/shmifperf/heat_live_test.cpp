// shmifperf heat --live: a map on the terminal that renews itself, and then the ordinary result.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/source.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tests/tools/shmifperf/heat_rig.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

using perf::HeatResult;
using perf::Region;

/// Memory of eight pages. In window i, page i is accessed in each sample, and the last page in half
/// of them.
HeatResult wandering(std::size_t windows) {
  constexpr std::uint64_t kPage = 4096;
  HeatResult result;
  result.process.number = 41;
  result.name = "rig";
  result.provenance.source = "client";
  result.provenance.precision = "page";
  result.ranges = {{{0, 8 * kPage}, "table"}};
  for (std::size_t i = 0; i < windows; ++i) {
    perf::HeatWindow window;
    window.begin_s = 0.1 * static_cast<double>(i);
    window.end_s = window.begin_s + 0.1;
    window.samples = 10;
    window.working_set_bytes = i == 0 ? 5 * kPage : 2 * kPage;
    for (std::uint64_t page = 0; page < 8; ++page) {
      Region region;
      region.begin = page * kPage;
      region.end = region.begin + kPage;
      region.accesses = page == 7 ? 5 : page == i % 7 ? 10 : 0;
      window.regions.push_back(region);
    }
    result.windows.push_back(window);
  }
  return result;
}

std::string picture(const std::vector<HeatResult>& results, std::size_t columns, std::size_t rows,
                    bool in_colour = false) {
  std::vector<const HeatResult*> views;
  views.reserve(results.size());
  for (const HeatResult& each : results) views.push_back(&each);
  return perf::heat_picture(views, {}, columns, rows, in_colour);
}

const std::string kTitle = "windows of 100 ms; share of the samples: \" .:-=+*#%@\"\n";

TEST(HeatPicture, HasTheNewestWindowAndTheNewestOnesBelowItAndFitsTheScreen) {
  const std::string head =
      "process 41 (rig), 0.6 s: 8.0 KiB in the newest window, at most 20.0 KiB\n"
      "table                     32.0 KiB |                       %@@@#    -++++|\n"
      "over time, addresses of these one after another:\n";
  const std::string last =
      "    0.50 s |                                       *@@@@@@@-       =+++++++\n";
  EXPECT_EQ(picture({wandering(6)}, 75, 10),
            kTitle + head +
                "    0.10 s |       :@@@@@@@#                                       =+++++++\n"
                "    0.20 s |               -@@@@@@@*                               =+++++++\n"
                "    0.30 s |                       =@@@@@@@+                       =+++++++\n"
                "    0.40 s |                               +@@@@@@@=               =+++++++\n" +
                last);
  EXPECT_EQ(picture({wandering(6)}, 75, 6), kTitle + head + last);
}

TEST(HeatPicture, SharesTheScreenAmongItsTargetsAndCountsThoseThatDoNotFit) {
  HeatResult late;
  late.process.number = 42;
  late.name = "late";
  HeatResult gone = late;
  gone.name = "gone";
  gone.reason = "it has ended";
  EXPECT_EQ(picture({late, gone}, 80, 24), kTitle +
                                               "process 42 (late)\n  no window yet\n"
                                               "process 42 (gone); it has ended\n  not measured\n");
  EXPECT_EQ(picture({late, late, late, late}, 80, 11),
            kTitle +
                "process 42 (late)\n  no window yet\nprocess 42 (late)\n  no window yet\n"
                "and 2 more\n");
  EXPECT_EQ(picture({}, 80, 24), kTitle + "nothing to watch\n");
  for (std::size_t rows = 1; rows < 40; ++rows) {
    const std::string text = picture({wandering(30), late, wandering(3)}, 80, rows, true);
    EXPECT_LT(static_cast<std::size_t>(count_of_lines(text)), rows);
  }
}

constexpr const char* kEnter = "\x1b[?1049h";
constexpr const char* kLeave = "\x1b[?25h\x1b[?1049l";
constexpr const char* kPicture = "in the newest window, at most";

/// A program whose memory is watched on a terminal.
class HeatLive : public ::testing::Test {
 protected:
  Words command(Words before = {"env", "TERM=xterm"},
                const char* attributes = kHeatAttributes) const {
    before.insert(before.end(),
                  {shmifperf_path(), "heat", "--live", "-p", std::to_string(target_.pid()),
                   "--backend", "clear_refs", "--attrs", attributes});
    return before;
  }
  Tool target_{{"sh", "-c", "while :; do sleep 0.02; done"}};
};

TEST_F(HeatLive, RenewsItselfUntilQAndThenThereIsTheResult) {
  OnTerminal heat(command(), 100, 30);
  ASSERT_TRUE(heat.wait_for(kPicture));
  EXPECT_NE(heat.seen.find(kEnter), std::string::npos);
  EXPECT_FALSE(heat.reads_whole_lines());
  for (int i = 0; i < 3; ++i) {
    heat.forget();
    EXPECT_TRUE(heat.wait_for(kPicture)) << "nobody asked for it";
  }
  heat.type("q");
  EXPECT_EQ(heat.status(), 0);
  const std::size_t left = heat.seen.find(kLeave);
  ASSERT_NE(left, std::string::npos);
  EXPECT_NE(heat.seen.find("working set, percentiles of the windows", left), std::string::npos)
      << heat.seen.substr(left);
  EXPECT_EQ(heat.seen.find(kPicture, left), std::string::npos);
  EXPECT_TRUE(heat.reads_whole_lines());
}

TEST_F(HeatLive, EndsAtEachSignalAndGivesTheTerminalBack) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    SCOPED_TRACE(number);
    OnTerminal heat(command(), 80, 24);
    ASSERT_TRUE(heat.wait_for(kPicture));
    heat.signal(number);
    EXPECT_EQ(heat.status(), 128 + number);
    EXPECT_NE(heat.seen.find(kLeave), std::string::npos);
    EXPECT_TRUE(heat.reads_whole_lines());
  }
}

TEST_F(HeatLive, FollowsTheSizeOfTheTerminalAndTheWishForNoColours) {
  OnTerminal heat(command({"env", "TERM=xterm", "NO_COLOR=1"}), 100, 30);
  ASSERT_TRUE(heat.wait_for(kPicture));
  EXPECT_EQ(heat.seen.find("\x1b[3"), std::string::npos) << "no colours";
  EXPECT_EQ(heat.seen.find("\x1b[1m"), std::string::npos) << "nothing bold";
  heat.resize(70, 8);
  heat.forget();
  ASSERT_TRUE(heat.wait_for("q quits"));
  ASSERT_TRUE(heat.wait_for("\x1b[H"));
  const std::size_t begin = heat.seen.rfind("\x1b[H", heat.seen.find("q quits"));
  ASSERT_NE(begin, std::string::npos) << heat.seen;
  EXPECT_LT(times_in(heat.seen.substr(begin, heat.seen.find("q quits") - begin), "\r\n"), 8U);
  OnTerminal coloured(command(), 100, 30);
  ASSERT_TRUE(coloured.wait_for("\x1b[1mprocess"));
}

TEST_F(HeatLive, LeavesTheKeysToAProgramAndEndsWithItsCode) {
  OnTerminal heat({shmifperf_path(), "heat", "--live", "--backend", "clear_refs", "--attrs",
                   kHeatAttributes, "--", "sh", "-c", "sleep 1; exit 7"},
                  100, 30);
  ASSERT_TRUE(heat.wait_for("Ctrl-C quits"));
  heat.type("q");
  EXPECT_EQ(heat.status(), 7);
  EXPECT_TRUE(heat.reads_whole_lines());
}

// shmifperf heat of a program that does not use the library: each page that it writes.

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
