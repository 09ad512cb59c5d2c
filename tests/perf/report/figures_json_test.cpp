// In a result as JSON, each key holds the figure that it is named for, and the test knows each key.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "perf/report/report.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::figures_json {
namespace {

using Json = nlohmann::json;
using test::Figures;

/// The figures of the sample: of the first job and the first group all, and of the others what
/// stands at their top. Without the sentences about what went wrong, which distinct.txt has.
Figures shown() {
  Figures all = test::flattened(Json::parse(to_json(test::distinct_sample().run, Bins::with)));
  std::erase_if(all, [](const auto& figure) {
    const std::string& place = figure.first;
    const auto has = [&](const char* part) { return place.find(part) != std::string::npos; };
    const bool of_list = place.starts_with("jobs.") || place.starts_with("groups.");
    const bool is_first = place.starts_with("jobs.0.") || place.starts_with("groups.0.");
    return place.starts_with("warnings.") || has(".problems.") ||
           (has(".bins.") && !place.starts_with("jobs.0.latency_ns.")) ||
           (of_list && !is_first && std::ranges::count(place, '.') > 2);
  });
  return all;
}

/// The numbers were compared with the members that they are of. In a changed file, look at each:
/// where a row has another figure's member, the test below finds a number twice.
TEST(JsonFigures, EachKeyHoldsTheFigureThatItIsNamedForAndNoneIsUnknown) {
  const Json known = Json::parse(
      std::ifstream(shmif::test::in_source("tests/perf/report/distinct_json.txt")), nullptr, false);
  Figures wanted;
  for (const auto& [place, figures] : known.items()) {
    for (const auto& [key, value] : figures.items()) {
      wanted[place.empty() ? key : place + '.' + key] = value;
    }
  }
  const Figures figures = shown();
  test::expect_figures(wanted, figures);
  if (!HasFailure()) return;
  std::map<std::string, Json> lines;
  for (const auto& [place, value] : figures) {
    const std::size_t dot = place.rfind('.');
    lines[dot == std::string::npos ? "" : place.substr(0, dot)][place.substr(dot + 1)] = value;
  }
  std::string text;
  for (const auto& [place, of] : lines) {
    text += (text.empty() ? "{" : ",\n ") + Json(place).dump() + ": " + of.dump();
  }
  ADD_FAILURE() << "distinct_json.txt would be:\n" << text << "}\n";
}

TEST(JsonFigures, NoTwoNumbersOfTheSampleAreAlikeAndNoneIsNothing) {
  std::map<double, std::string> places;
  for (const auto& [place, value] :
       test::flattened(Json::parse(to_json(test::distinct_sample().run, Bins::without)))) {
    if (place.ends_with("_reason")) continue;  // what is there needs none
    // The jitter of a job is the greatest of its flows'.
    if (place.ends_with(".loss.jitter_ns") && place.starts_with("jobs.")) continue;
    EXPECT_FALSE(value.is_null() || value.is_structured()) << place;
    if (!value.is_number()) continue;
    EXPECT_NE(value.get<double>(), 0) << place;
    const auto [other, is_new] = places.try_emplace(value.get<double>(), place);
    EXPECT_TRUE(is_new) << place << " and " << other->second << " are " << value;
  }
  EXPECT_GT(places.size(), 1000U);
}

}  // namespace
}  // namespace shmif::perf::figures_json
