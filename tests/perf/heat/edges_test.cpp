// Targets that end in the middle of a window or become zombies, more windows than rows, and writes
// of which only some are known.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "perf/heat/heat_map.hpp"
#include "perf/heat/monitor.hpp"
#include "perf/heat/page_scan.hpp"
#include "perf/heat/session.hpp"
#include "perf/heat/source.hpp"
#include "tests/perf/membw/trees.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

/// A source of one page, which is accessed in each sample. After so many samples it has gone.
class SourceOfAFewSamples : public HeatSource {
 public:
  SourceOfAFewSamples(unsigned samples, unsigned& taken) : samples_(samples), taken_(taken) {}
  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking::whole_ranges; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return {};
  }
  Result<std::vector<NamedRange>> ranges() override {
    return std::vector{NamedRange{{page_bytes(), 2 * page_bytes()}, "a page"}};
  }
  Result<void> forget(Regions& /*regions*/) override { return {}; }
  Result<void> look(Regions& regions) override {
    if (taken_ == samples_) return Error::from_errno(ESRCH, "cannot watch it");
    ++taken_;
    regions.record(std::vector<Sighting>{{true, std::nullopt}});
    return {};
  }

 private:
  unsigned samples_;
  unsigned& taken_;
  HeatProvenance provenance_{"fake", "mapping", "", "not told"};
};

/// Watches this process in windows of 100 s, of which no test waits for the end.
class HeatOfAShortTime : public testing::Test {
 protected:
  void watch(unsigned samples) {
    HeatOptions options;
    options.attributes = read_attributes("1ms,100s,100s,3,10").value();
    session_.emplace(options);
    session_->add(Process::open(::getpid()).value(),
                  std::make_unique<SourceOfAFewSamples>(samples, taken_));
  }
  void step_until(const std::function<bool()>& done) {
    ASSERT_TRUE(shmif::test::eventually([&] { return session_->step(), done(); }));
  }
  HeatResult result() const { return session_->results()[0]; }

  std::optional<HeatSession> session_;
  unsigned taken_ = 0;
};

TEST_F(HeatOfAShortTime, IsKeptIfTheTargetEndsInItsFirstWindow) {
  watch(3);
  step_until([this] { return !session_->is_watching(); });
  EXPECT_NE(result().reason, "");
  ASSERT_EQ(result().windows.size(), 1U);
  EXPECT_EQ(result().windows[0].samples, 3U);
  ASSERT_EQ(result().windows[0].regions.size(), 1U);
  EXPECT_EQ(result().windows[0].regions[0].accesses, 3U);
  EXPECT_EQ(result().windows[0].working_set_bytes, page_bytes());
  session_->finish();
  EXPECT_EQ(result().windows.size(), 1U) << "it is told once";
}

TEST_F(HeatOfAShortTime, IsKeptIfTheWatchEndsInItsFirstWindow) {
  watch(1000);
  step_until([this] { return taken_ >= 2; });
  EXPECT_TRUE(result().windows.empty());
  session_->finish();
  ASSERT_EQ(result().windows.size(), 1U);
  EXPECT_EQ(result().windows[0].samples, taken_);
  EXPECT_EQ(result().reason, "");
}

TEST_F(HeatOfAShortTime, IsNoWindowWithoutASample) {
  watch(0);
  step_until([this] { return !session_->is_watching(); });
  session_->finish();
  EXPECT_TRUE(result().windows.empty());
}

/// Its memory is gone, and its number is still taken.
TEST(ClearRefs, OfAZombieSayThatItHasEnded) {
  const Tree tree;
  const auto put_state = [&](char state) {
    std::string stat = std::string("41 (a) ") + state;
    for (int field = 4; field <= 52; ++field) stat += field == 22 ? " 77" : " 0";
    tree.put("/proc/41/stat", stat + '\n');
  };
  put_state('S');
  tree.put("/proc/41/smaps", "00400000-00401000 r--p 00000000 08:01 7 /bin/a\nReferenced: 4 kB\n");
  tree.put("/proc/41/clear_refs", "");
  const auto source = watch_by_clear_refs({41, 77}, tree.files());
  ASSERT_TRUE(source) << source.error().message;
  Regions regions({}, (*source)->looking(), page_bytes(), 1);
  EXPECT_EQ((*source)->ranges().value().size(), 1U);
  EXPECT_TRUE((*source)->look(regions));
  put_state('Z');
  const auto code_of = [](const auto& result) {
    return result ? std::error_code() : result.error().code;
  };
  EXPECT_EQ(code_of((*source)->look(regions)), std::errc::no_such_process);
  EXPECT_EQ(code_of((*source)->ranges()), std::errc::no_such_process);
  EXPECT_EQ(code_of((*source)->forget(regions)), std::errc::no_such_process);
}

TEST(HeatMapText, HasAllWindowsInItsRows) {
  HeatResult result;
  result.process = {41, 1};
  const AddressRange range{0x10000, 0x20000};
  result.ranges = {{range, "pool", 0}};
  for (int i = 0; i < 40; ++i) {
    const std::uint32_t accesses = i == 38 ? 10 : 0;
    result.windows.push_back(
        {1.0 + i, 2.0 + i, 10, 0, {{range.begin, range.end, accesses, {}, 0}}});
  }
  const std::string text = heat_text({result}, {}, 80);
  std::vector<std::string> rows;
  for (std::size_t at = 0; (at = text.find(" s |", at)) != std::string::npos; at += 4) {
    rows.push_back(text.substr(at - 5, text.find('\n', at) - at + 5));
  }
  ASSERT_EQ(rows.size(), 20U) << text;
  EXPECT_EQ(rows[0], " 1.00 s |" + std::string(68, ' ')) << "of two windows";
  EXPECT_EQ(rows[1], " 3.00 s |" + std::string(68, ' '));
  EXPECT_EQ(rows[19], "39.00 s |" + std::string(68, '+')) << "half of their samples";
}

TEST(HeatStatusJson, HasEachFigureUnderItsName) {
  HeatStatus status;
  status.contexts = DamonContexts{};
  status.contexts->own = 2;
  status.contexts->foreign = 5;
  status.clients = "/dir";
  status.targets = {{{41, 77}, "rig", true, "why", 9}};
  const std::string json = heat_status_json(status);
  for (const char* each :
       {"\"state\": \"off\"", "\"own_contexts\": 2,", "\"foreign_contexts\": 5,",
        "\"foreign_reason\": null", "\"clients\": \"/dir\"", "\"pid\": 41,", "\"start_ticks\": 77,",
        "\"name\": \"rig\"", "\"is_alive\": true,", "\"windows\": 9,", "\"reason\": \"why\""}) {
    EXPECT_NE(json.find(each), std::string::npos) << each << '\n' << json;
  }
  EXPECT_NE(heat_status_text(status).find("this monitor uses 2 contexts; others use 5 contexts"),
            std::string::npos);
}

/// A region of which a part was written, or not, without anybody knowing is not one that was not
/// written.
TEST(HeatRegions, ThatAreJoinedKnowWritesOnlyIfAllOfThemDo) {
  const HeatAttributes bounds = read_attributes("5ms,100ms,1s,3,100").value();
  const std::uint64_t base = 1000 * page_bytes();
  std::size_t joined = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Regions regions(bounds, Looking::chosen_pages, page_bytes(), seed);
    regions.set_target({{base, base + 60 * page_bytes()}});
    regions.aggregate();  // splits them, so that some can be joined
    const std::vector<std::uint64_t> chosen = regions.choose();
    std::vector<Sighting> seen;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      seen.push_back({true, i % 2 == 0 ? std::optional(false) : std::nullopt});
    }
    regions.record(seen);
    for (const Region& region : regions.aggregate()) {
      std::size_t known = 0, unknown = 0;
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        if (chosen[i] < region.begin || chosen[i] >= region.end) continue;
        ++(seen[i].written ? known : unknown);
      }
      if (unknown > 0) {
        EXPECT_EQ(region.writes, std::nullopt) << seed;
      }
      joined += known > 0 && unknown > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(joined, 20U) << "neighbours were joined";
}

}  // namespace
}  // namespace shmif::perf::test
