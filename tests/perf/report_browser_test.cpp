// The page of shmifperf report, in a browser: nobody who gets it by mail should have to forgive it.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "perf/report/html.hpp"
#include "perf/report/json.hpp"
#include "perf/report/units.hpp"
#include "sample_results.hpp"
#include "served_sample.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

std::string page_of(const RunResult& run, Bins bins = Bins::with) {
  return to_html(Report::parse(to_json(run, bins), "sample").value()).value();
}

/// The result without its receiver.
RunResult sent_sample() {
  RunResult run = test::quiet_sample();
  run.jobs.resize(1);
  return run;
}

/// Of a sender with a TCP connection.
RunResult tcp_sample() {
  RunResult run = test::quiet_sample();
  JobResult& job = run.jobs[0];
  job.engine = EngineKind::host;
  job.tcp = TcpResult{.retransmits = 17,
                      .mss_bytes = 1448,
                      .pmtu_bytes = 1500,
                      .cwnd_bytes_max = 436'848,
                      .rtt_ns_min = 90'000,
                      .rtt_ns_mean = 120'000,
                      .rtt_ns_max = 345'000,
                      .samples = 30,
                      .send_buffer_bytes = 1'048'576,
                      .receive_buffer_bytes = 1'048'576,
                      .dscp = 46,
                      .congestion = "reno"};
  std::uint64_t window = 14'480;
  for (IntervalResult& each : job.intervals) {
    window = window < 400'000 ? window * 2 : window / 2;
    each.tcp = TcpSample{.rtt_ns = 80'000 + window / 2, .cwnd_bytes = window, .mss_bytes = 1448};
  }
  return run;
}

/// A page that tests look at.
struct Sight {
  const char* name;
  bool thorough;  // else in the light only
  std::string (*page)();
};

template <auto sample, Bins bins = Bins::with>
std::string page_with() {
  return page_of(sample(), bins);
}
std::string quiet_page() {
  return page_of(test::quiet_sample());
}
std::string served_page() {
  return to_html(Report::parse(test::served_sample_json(), "served").value()).value();
}

const Sight kSights[] = {
    {"failed", true, page_with<test::failed_sample>},
    {"engines", true, page_with<test::engines_sample>},
    {"search", true, page_with<test::search_sample>},
    {"unstarted", true, page_with<test::unstarted_sample>},
    {"hostile", true, page_with<test::hostile_sample>},
    {"many", false, page_with<test::many_sample>},
    {"apart", true, page_with<test::apart_sample>},
    {"failed-without-bins", false, page_with<test::failed_sample, Bins::without>},
    {"sent", false, page_with<sent_sample>},
    {"tcp", false, page_with<tcp_sample>},
    {"quiet", false, quiet_page},
    {"quiet-without-bins", false, [] { return page_of(test::quiet_sample(), Bins::without); }},
    {"served", false, served_page},
};

/// What tests/perf/look_at_page.py found out about all of them, in one browser: to start one takes
/// as long as to look at several pages.
class Browser {
 public:
  Browser() : dir_("/tmp") {
    std::vector<std::string> command{SHMIF_PYTHON, SHMIF_LOOK_AT_PAGE};
    for (const Sight& sight : kSights) {
      const std::string folder = dir_.file(sight.name);
      std::filesystem::create_directory(folder);
      std::ofstream(folder + "/page.html") << sight.page();
      if (!sight.thorough) command.emplace_back("--light");
      command.push_back(folder);
    }
    const auto seen = test::run_program(command, {}, std::chrono::seconds(200));
    status_ = seen.status;
    said_ = seen.out + seen.err;
  }

  int status() const { return status_; }
  const std::string& said() const { return said_; }
  Json facts(const std::string& name) const {
    std::ifstream file(dir_.file(name + "/facts.json"));
    return file ? Json::parse(file) : Json();
  }

 private:
  test::TempDir dir_;
  int status_ = 0;
  std::string said_;
};

class ReportInABrowser : public testing::Test {
 protected:
  static void SetUpTestSuite() { browser_ = std::make_unique<Browser>(); }
  static void TearDownTestSuite() { browser_.reset(); }
  void SetUp() override {
    if (browser_->status() == 77) GTEST_SKIP() << browser_->said();
    ASSERT_EQ(browser_->status(), 0) << browser_->said();
  }

  /// What stands on a page, of which nothing may be wrong.
  static Json facts(const std::string& name) {
    Json found = browser_->facts(name);
    EXPECT_EQ(found["wrong"], Json::array()) << name;
    return found;
  }
  static std::set<std::string> cells(const std::string& name) {
    std::set<std::string> all;
    const Json found = facts(name);
    for (const auto& cell : found["cells"]) all.insert(cell.get<std::string>());
    return all;
  }

 private:
  static std::unique_ptr<Browser> browser_;
};
std::unique_ptr<Browser> ReportInABrowser::browser_;

/// How many notes hold these words.
std::ptrdiff_t notes_with(const Json& facts, const std::string& words) {
  return std::ranges::count_if(facts["notes"], [&](const Json& note) {
    return note.get<std::string>().find(words) != std::string::npos;
  });
}
bool notes_say(const Json& facts, const std::string& words) {
  return notes_with(facts, words) != 0;
}

TEST_F(ReportInABrowser, ShowsHowAConnectionOfTcpWent) {
  const std::set<std::string> all = cells("tcp");
  for (const char* cell : {"17", "90.0 µs", "345 µs", "437 kB", "1,448", "reno", "46"}) {
    EXPECT_TRUE(all.contains(cell)) << cell;
  }
}

TEST_F(ReportInABrowser, EachPageIsFaultlessOnScreensLightAndDarkOnAPhoneAndOnPaper) {
  for (const Sight& sight : kSights) {
    if (!sight.thorough) continue;
    const auto& names = test::sample_names();
    if (std::ranges::find(names, sight.name) == names.end()) continue;
    const bool passed = test::sample_named(sight.name).exit_code == 0;
    EXPECT_EQ(facts(sight.name)["title"],
              (passed ? "passed" : "FAILED") + std::string(" · shmifperf report"));
  }
}

TEST_F(ReportInABrowser, ShowsTheSameFiguresAsTheText) {
  const RunResult run = test::failed_sample();
  const std::set<std::string> cells = this->cells("failed-without-bins");
  const auto on_page = [](std::string figure) {
    const auto micro = figure.find(" us");
    return micro == std::string::npos ? figure : figure.replace(micro, 3, " µs");
  };
  for (const JobResult& job : run.jobs) {
    for (const auto& histogram : {job.latency, job.service, job.spacing_error}) {
      if (!histogram) continue;
      for (const double p : {50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0}) {
        const auto figure = on_page(format_ns(static_cast<double>(histogram->percentile(p))));
        EXPECT_TRUE(cells.contains(figure)) << figure;
      }
    }
    for (const TrafficResult* t : {&job.tx, &job.rx}) {
      if (t->frames == 0) continue;
      EXPECT_TRUE(cells.contains(format_count(t->frames)));
      const double bps = static_cast<double>(t->bytes) * 8 / t->seconds;
      EXPECT_TRUE(cells.contains(format_bps(bps))) << format_bps(bps);
      EXPECT_TRUE(cells.contains(format_bytes(t->bytes)));
    }
  }
}

TEST_F(ReportInABrowser, ShowsTheServersOfARunInPlaceOfTheClientsMachine) {
  const std::set<std::string> cells = this->cells("served");
  for (const char* figure : {"77", "12.3 µs", "4.56 µs", "lab-one", "6.1.0-served"}) {
    EXPECT_TRUE(cells.contains(figure)) << figure;
  }
  EXPECT_FALSE(cells.contains("6.1.0-client"));
}

TEST_F(ReportInABrowser, CallsReceivedWhatWasReceivedAndSentWhatNobodyReceives) {
  EXPECT_TRUE(notes_say(facts("quiet"), "What arrived in each interval"));
  const Json sent = facts("sent");
  EXPECT_TRUE(notes_say(sent, "What was sent in each interval"));
  EXPECT_FALSE(notes_say(sent, "What arrived"));
}

TEST_F(ReportInABrowser, SaysWhatAResultWithoutBucketsLacks) {
  EXPECT_TRUE(notes_say(facts("quiet-without-bins"), "--output-format=json+"));
}

TEST_F(ReportInABrowser, OfFortyJobsTheGroupsStandAboveTheFirstChart) {
  const Json many = facts("many");
  EXPECT_EQ(many["rows_above"], 2);
  EXPECT_TRUE(notes_say(many, "of each group together"));
  EXPECT_EQ(facts("engines")["rows_above"], 4) << "of few jobs each is shown";
}

TEST_F(ReportInABrowser, RunsThatFollowedEachOtherCanBeLaidOverEachOther) {
  const auto offers = [](const Json& page) {
    return std::ranges::count(page["buttons"], "since each job’s own start");
  };
  const Json apart = facts("apart");
  EXPECT_EQ(offers(apart), 2) << "throughput and latency";
  EXPECT_EQ(offers(facts("engines")), 0);
}

TEST_F(ReportInABrowser, TheRampIsMarkedAndZoomingIsSaid) {
  const Json apart = facts("apart");
  EXPECT_EQ(notes_with(apart, "Shaded: the ramp"), 2) << "throughput and latency";
  EXPECT_EQ(notes_with(apart, "Drag across the chart to zoom in"), 2);
  EXPECT_FALSE(notes_say(facts("engines"), "Shaded"));
}

}  // namespace
}  // namespace shmif::perf
