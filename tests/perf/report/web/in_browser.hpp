#pragma once
// Pages of reports as a browser shows them. All tests of a program share one browser, in which
// tests/perf/report/web/look_at_page.py looks at each page that a test asks for.

#include <gtest/gtest.h>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "perf/result/run_result.hpp"

namespace shmif::test {

/// How closely to look: at all views (light, dark, phone, paper), or at one.
enum class Look : std::uint8_t { light, thorough };

/// The page of the result `json`, or of a run.
std::string page_of_json(const std::string& json);
std::string page_of(const perf::RunResult& run, bool bins = true);

/// Expects that the page shows what the file `known` in tests/perf/report/web has: the head of the
/// page and all of its tables and charts, or only the tables and charts of these names. Where a
/// page changed, look at what is printed; then the file can be made anew of it.
void expect_page(const nlohmann::json& facts, const std::string& known,
                 const std::set<std::string>& only = {});
/// The table or the chart with this name.
const nlohmann::json& named(const nlohmann::json& list, const std::string& name);
/// How many notes of the page hold these words.
std::ptrdiff_t notes_with(const nlohmann::json& facts, const std::string& words);

/// Tests of pages. Where there is no browser, they are skipped.
class PageInABrowser : public testing::Test {
 protected:
  void SetUp() override;
  /// What look_at_page.py found on the page `name`. At the first call for that name, `make` makes
  /// the page and the browser opens it, so a test does not depend on what other tests looked at.
  /// Reports everything that is wrong with the page as a failure.
  static const nlohmann::json& facts(const std::string& name,
                                     const std::function<std::string()>& make,
                                     Look look = Look::light);
  /// The same for the page of a result.
  static const nlohmann::json& facts_of(const std::string& name, const nlohmann::json& result) {
    return facts(name, [&] { return page_of_json(result.dump()); });
  }
};

// Results for pages, in which each figure has a value of its own, so that a test notices a figure
// in the place of another.

/// Four jobs in two groups. "web" sends requests, and its peer replies. "load" uses TCP, has a peer
/// and a ramp, and begins 30 s after the others. Some intervals have losses, some overruns, some
/// both. Latencies have buckets, or percentiles only.
const nlohmann::json& few_jobs_json();
const nlohmann::json& few_jobs_json_without_bins();
/// Twelve groups of two jobs each and their peers.
const nlohmann::json& many_jobs_json();
/// A search of each kind, figures of repetitions, and links with faults.
const nlohmann::json& searches_json();
/// Three runs; the first is the best and the second the worst. No single run has all the medians:
/// 200 k/s sent, 199 k/s received, p50 2,000 ns, p99 2,500 ns.
const nlohmann::json& repeated_json();

}  // namespace shmif::test
