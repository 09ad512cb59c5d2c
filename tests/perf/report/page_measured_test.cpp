// Counted events and memory bandwidth on the page of a run, in a browser.

#include <gtest/gtest.h>

#include "tests/perf/report/measured_sample.hpp"
#include "tests/perf/report/page_in_browser.hpp"

namespace shmif::perf::page_measured {
namespace {

using Json = nlohmann::json;

class MeasuredInABrowser : public test::PageInABrowser {};

const Json& table(const Json& facts, const std::string& name) {
  for (const Json& each : facts["tables"]) {
    if (each["name"] == name) return each;
  }
  throw std::runtime_error("no table " + name);
}

TEST_F(MeasuredInABrowser, EachEventHasItsRowAndItsReason) {
  const Json& facts =
      MeasuredInABrowser::facts("counted", [] { return test::page_of(test::counted_sample()); });
  const Json& counters = table(facts, "Counters");
  EXPECT_EQ(counters["head"], Json::array({"", "value", "per frame", "counted for", "why not"}));
  EXPECT_EQ(counters["rows"],
            Json::array({{"bulk task-clock", "3.00 ms", "1.50 µs", "100 %", ""},
                         {"bulk cycles", "4,000,000", "2,000", "50.0 %", ""},
                         {"bulk instructions", "10,000,000", "5,000", "100 %", ""},
                         {"bulk cache-misses", "-", "-", "-", "not supported: no such event"},
                         {"bulk instructions per cycle", "2.5", "-", "-", ""}}));
}

TEST_F(MeasuredInABrowser, EachSourceHasItsRowAndThoseWithBytesALine) {
  const Json& facts =
      MeasuredInABrowser::facts("measured", [] { return test::page_of(test::measured_sample()); });
  const Json& sources = table(facts, "Memory bandwidth");
  EXPECT_EQ(sources["rows"], Json::array({{"software:bus", "machine", "copied", "2", "1.00 MB/s",
                                           "2.00 MB/s", "3.00 MB/s", "3.00 kB", ""},
                                          {"pmu", "machine", "dram", "-", "-", "-", "-", "-",
                                           "no PMU of a memory controller"}}));
  bool drawn = false;
  for (const Json& chart : facts["charts"]) {
    if (chart["section"] == "Memory bandwidth") drawn = true;
  }
  EXPECT_TRUE(drawn);
}

}  // namespace
}  // namespace shmif::perf::page_measured
