// shmifperf heat of a program that does not use the library: each page that it writes.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <sstream>
#include <string>

#include "perf/heat/source.hpp"
#include "tests/perf/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

#define NEEDS_WRITTEN()                                                                 \
  if (!perf::expect_written()) GTEST_SKIP() << "no asynchronous write protection here"; \
  if (kSanitized) GTEST_SKIP() << "looks at shadow memory are slow, under sanitizers"

/// How well the pages that it says were written in any window are those that the program writes.
perf::test::Quality quality_of_writes(const std::string& hot_pages, const Json& json) {
  std::istringstream words(hot_pages);
  std::uint64_t first = 0, end = 0, begin = 0;
  words >> std::hex >> begin >> std::dec >> first >> end;
  std::map<std::uint64_t, bool> written;
  for (std::uint64_t page = 0; page < (64U << 20U) / 4096; ++page) written[page] = false;
  for (const Json& window : json["windows"]) {
    for (const Json& region : window["regions"]) {
      if (region["writes"] == 0 || region["writes"] == nullptr) continue;
      for (std::uint64_t at = region["begin"]; at < region["end"].get<std::uint64_t>();
           at += 4096) {
        const auto page = written.find((at - begin) / 4096);
        if (at >= begin && page != written.end()) page->second = true;
      }
    }
  }
  double called = 0, both = 0;
  for (const auto& [page, is_written] : written) {
    const bool is_hot = page >= first && page < end;
    called += is_written ? 1 : 0;
    both += is_written && is_hot ? 1 : 0;
  }
  return {both / static_cast<double>(end - first), called > 0 ? both / called : 0};
}

const Words kHeat{"heat", "--json", "--windows", "6", "--attrs", "20ms,400ms,1s,10,1000"};

/// A program of an ordinary user, when it has made its memory.
class HotWriter {
 public:
  explicit HotWriter(Words before)
      : program_([&] {
          before.insert(before.end(), {SHMIF_HOT_WRITER, "64"});
          return before;
        }()) {
    EXPECT_TRUE(program_.wait_for("\n"));
  }
  pid_t pid() const { return program_.pid(); }
  std::string pages() const { return program_.so_far().out; }

 private:
  Tool program_;
};

TEST(HeatOfAProgramThatTakesNoPart, KnowsTheHotTenthOfItsMemoryForAnOrdinaryUser) {
  NEEDS_WRITTEN();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const Words ordinary{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all"};
  Words words = ordinary;
  words.insert(words.end(), {"test", "-x", SHMIFPERF_PATH});
  if (run_program(words).status != 0) {
    GTEST_SKIP() << "another user cannot run " << SHMIFPERF_PATH;
  }
  words = ordinary;
  const HotWriter program(ordinary);
  Words heat = kHeat;
  heat.insert(heat.end(), {"-p", std::to_string(program.pid())});
  const Words command = shmifperf_words(heat);
  words.insert(words.end(), command.begin(), command.end());
  const ToolResult result = run_program(words);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "written") << json["target"]["fallback_reason"];
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["reads_precision"], "mapping");
  const auto quality = quality_of_writes(program.pages(), json);
  EXPECT_GT(quality.recall, 0.9);
  EXPECT_GT(quality.precision, 0.9);
}

TEST(HeatOfAProgramThatTakesNoPart, GoesOnWhenItExecutesAnotherProgram) {
  NEEDS_WRITTEN();
  // Until the program ends: the writes of the second one are known.
  const ToolResult result =
      shmifperf({"heat", "--json", "--attrs", "20ms,100ms,100ms,10,1000", "--", "sh", "-c",
                 "sleep 0.3; exec \"$1\" 64 3", "sh", SHMIF_HOT_WRITER});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::size_t begin = result.out.find('\n') + 1;
  const Json json = Json::parse(result.out.substr(begin), nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["source"], "written") << json["target"]["fallback_reason"];
  EXPECT_GT(quality_of_writes(result.out.substr(0, begin), json).recall, 0.9);
}

TEST(HeatOfAProgramThatTakesNoPart, SaysToPeopleWhichPagesItWroteAndWhatIsKnownOfReads) {
  NEEDS_WRITTEN();
  const ToolResult result = shmifperf({"heat", "--windows", "3", "--attrs", "20ms,200ms,1s,10,1000",
                                       "--backend", "written", "--", SHMIF_HOT_WRITER, "64"});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* const each : {": by written, precision: page for writes, mapping for reads\n",
                                 "whole mappings, read or written: share of "}) {
    EXPECT_NE(result.out.find(each), std::string::npos) << each << '\n' << result.out;
  }
}

TEST(HeatOfAProgramThatTakesNoPart, SaysWhyItKnowsNoPages) {
  NEEDS_WRITTEN();
  Tool sleeper({"sleep", "600"});
  sleeper.stop();
  const std::string pid = std::to_string(sleeper.pid());
  const ToolResult asked = shmifperf({"heat", "-p", pid, "--backend", "written", "--windows", "1"});
  EXPECT_EQ(asked.status, 1);
  EXPECT_NE(asked.err.find("process " + pid + " is stopped by a signal (kill -CONT " + pid + ')'),
            std::string::npos)
      << asked.err;
  const ToolResult any =
      shmifperf({"heat", "-p", pid, "--windows", "1", "--attrs", "20ms,40ms,1s,3,100"});
  EXPECT_EQ(any.status, 0) << any.err;
  EXPECT_NE(any.out.find("pages are not known: process " + pid + " is stopped by a signal"),
            std::string::npos)
      << any.out;
}

}  // namespace
}  // namespace shmif::test
