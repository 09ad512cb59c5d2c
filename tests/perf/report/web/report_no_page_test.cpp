// A build without the page: this program brings perf/report/no_page.cpp.

#include <gtest/gtest.h>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf {
namespace {

TEST(ReportWithoutPage, SaysWhatToInstall) {
  const auto report = Report::parse(to_json(test::quiet_sample(), Bins::without), "sample");
  const auto page = to_html(report.value());
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Errc::not_supported);
  EXPECT_NE(page.error().message.find("libjs-chart.js"), std::string::npos);
}

}  // namespace
}  // namespace shmif::perf
