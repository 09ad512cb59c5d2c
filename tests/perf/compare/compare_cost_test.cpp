// What results cost that others wrote: work in proportion to their length. Allocations are counted,
// not time: each look at a name copies it, and the names are too long to be kept in place. A
// program of its own, because it has an operator new, of which ThreadSanitizer has one, too.

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>

#include "perf/compare/compare.hpp"
#include "perf/report/json_reader.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/counted_allocations.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

std::size_t allocations_of(const std::function<void()>& work) {
  const std::size_t before = shmif::test::allocations;
  work();
  return shmif::test::allocations - before;
}

/// A result of `count` jobs with repetitions, and of as many searches.
Report result_of(std::size_t count) {
  Json json = Json::parse(to_json(test::search_sample(), Bins::without));
  const auto many = [&](const char* list) {
    const Json one = json.at(list).at(0);
    Json all = Json::array();
    for (std::size_t i = 0; i < count; ++i) {
      Json& made = all.emplace_back(one);
      made["jobname"] = "a name of more than fifteen bytes " + std::to_string(i);
    }
    json[list] = std::move(all);
  };
  for (const char* const list : {"jobs", "repeats", "searches"}) many(list);
  for (Json& repeat : json["repeats"]) repeat["figure"] = "tx_fps";
  return Report::parse(json.dump(), "result").value();
}

/// How many times as much work two lists of 200 are as two of 100.
double growth_of(const std::function<void(const Report&, const Report&)>& work) {
  std::size_t counted[2] = {};
  for (std::size_t i = 0; i < 2; ++i) {
    const Report before = result_of(100 * (i + 1));
    const Report after = result_of(100 * (i + 1));
    counted[i] = allocations_of([&] { work(before, after); });
    EXPECT_GT(counted[i], 100U);
  }
  return static_cast<double>(counted[1]) / static_cast<double>(counted[0]);
}

TEST(CostOfAResult, OfAComparisonIsInProportionToItsJobs) {
  std::size_t figures = 0;
  EXPECT_LT(growth_of([&](const Report& before, const Report& after) {
              figures = compare(before, after, {}).value().figures.size();
            }),
            2.5);
  EXPECT_EQ(figures, 400U) << "one of each job, and one of each search";
}

TEST(CostOfAResult, OfATextIsInProportionToItsJobs) {
  EXPECT_LT(growth_of([](const Report& result, const Report&) { to_text(result, 80); }), 2.5);
  EXPECT_LT(growth_of([](const Report& result, const Report&) { to_summary(result, 80); }), 2.5);
  EXPECT_LT(growth_of([](const Report& result, const Report&) { to_terse(result); }), 2.5);
}

TEST(CostOfAResult, OfEmptyObjectsEndsWithTheFirst) {
  const JsonSchema schema = JsonSchema::make(Json::parse(schema_text())).value();
  Json json = Json::parse(to_json(test::quiet_sample(), Bins::without));
  const auto complaint = [&](std::size_t objects) {
    json["jobs"] = Json::array();
    for (std::size_t i = 0; i < objects; ++i) json["jobs"].push_back(Json::object());
    std::string why;
    const std::size_t count = allocations_of([&] { why = schema.complaint(json); });
    EXPECT_NE(why.find("/jobs/0: it has no "), std::string::npos) << why;
    return count;
  };
  EXPECT_EQ(complaint(80'000), complaint(1));
  // Also with the reading, which refuses them sooner.
  const auto read = [&](std::size_t objects) {
    complaint(objects);
    const std::string text = json.dump();
    return allocations_of([&] { EXPECT_FALSE(Report::parse(text, "result")); });
  };
  EXPECT_LT(static_cast<double>(read(80'000)), 2.5 * static_cast<double>(read(40'000)));
}

}  // namespace
}  // namespace shmif::perf
