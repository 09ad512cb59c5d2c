// shmifperf heat --live: a map on the terminal that renews itself, and then the ordinary result.

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "instruments/heat/heat_map.hpp"
#include "tests/support/paths.hpp"
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

}  // namespace
}  // namespace shmif::test
