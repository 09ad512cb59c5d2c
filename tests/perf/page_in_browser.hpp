#pragma once
// Pages of reports as a browser shows them: tests/perf/look_at_page.py looks at each that is asked
// for, in the one browser that all tests of a program share.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "perf/run/run_result.hpp"

namespace shmif::test {

/// How closely to look: at all views (light, dark, phone, paper), or at one.
enum class Look : std::uint8_t { light, thorough };

/// The page of the result `json`, or of a run.
std::string page_of_json(const std::string& json);
std::string page_of(const perf::RunResult& run, bool bins = true);

/// Tests of pages. Where there is no browser, they are skipped.
class PageInABrowser : public testing::Test {
 protected:
  void SetUp() override;
  /// What look_at_page.py found out about the page `name`, which `make` makes and the browser opens
  /// when this is asked for the first time: a test does not depend on what others have looked at.
  /// Complains about all that is wrong with the page.
  static const nlohmann::json& facts(const std::string& name,
                                     const std::function<std::string()>& make,
                                     Look look = Look::light);
};

}  // namespace shmif::test
