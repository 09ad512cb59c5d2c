// The page of shmifperf report, as bytes. report_browser_test.cpp opens it.

#include <gtest/gtest.h>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf {
namespace {

std::string page_of(const RunResult& run) {
  return to_html(Report::parse(to_json(run, Bins::with), "sample").value()).value();
}

TEST(ReportPage, NeedsNothingFromAnywhereAndForbidsItself) {
  const std::string page = page_of(test::engines_sample());
  EXPECT_NE(page.find("default-src 'none'; script-src 'sha256-"), std::string::npos);
  for (const char* unsafe : {"unsafe-inline", "unsafe-eval", "<link", "<script src", "@import",
                             "url(", "https://cdn", " onclick="}) {
    EXPECT_EQ(page.find(unsafe), std::string::npos) << unsafe;
  }
  EXPECT_EQ(page.find("_HASH@"), std::string::npos);
}

TEST(ReportPage, KeepsTheLicenceOfTheLibraryInIt) {
  const std::string page = page_of(test::quiet_sample());
  EXPECT_NE(page.find("The MIT License"), std::string::npos);
  EXPECT_NE(page.find("Chart.js Contributors"), std::string::npos);
}

/// As HTML has it.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return out;
}

TEST(ReportPage, HoldsEveryByteOfTheTextWhateverTheNamesAre) {
  RunResult run = test::hostile_sample();
  run.jobs[0].name = run.jobs[1].peer_of = "@TEXT@ @RESULT@ &lt; <b> &amp;";
  const std::string text = to_text(Report::parse(to_json(run, Bins::with), "sample").value());
  EXPECT_NE(text.find("@TEXT@ @RESULT@ &lt; <b> &amp;"), std::string::npos);
  EXPECT_NE(page_of(run).find("<pre>" + escaped(text) + "</pre>"), std::string::npos);
}

TEST(ReportPage, NamesAreTextEvenWhereTheyLookLikeMarkup) {
  const std::string page = page_of(test::hostile_sample());
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<!--"), std::string::npos);
  // The page's own: the columns of its tables, the result, and the program. No more.
  std::size_t scripts = 0;
  for (auto at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1)) {
    ++scripts;
  }
  EXPECT_EQ(scripts, 3U);
}

Report named(const std::string& name, const RunResult& run) {
  return Report::parse(to_json(run, Bins::with), name).value();
}

TEST(ReportPage, OfSeveralResultsHoldsTheTextOfEachUnderItsName) {
  const std::vector<Report> both = {named("x/a.json", test::quiet_sample()),
                                    named("x/b.json", test::failed_sample())};
  const std::string page = to_html(both).value();
  const std::string expected = "<pre>a.json\n" + escaped(to_text(both[0])) + "\nb.json\n" +
                               escaped(to_text(both[1])) + "\n</pre>";
  EXPECT_NE(page.find(expected), std::string::npos);
}

TEST(ReportPage, NamesFilesOfOneNameByTheirPathsAndPrintsNoControlCharacters) {
  const RunResult run = test::quiet_sample();
  EXPECT_EQ(names_on_page({named("x/a.json", run), named("y/a.json", run), named("y/b.json", run),
                           named("on standard input", run), named("z/\x1b[2J.json", run)}),
            (std::vector<std::string>{"x/a.json", "y/a.json", "b.json", "on standard input",
                                      "?[2J.json"}));
}

TEST(ReportPage, OfMoreResultsThanItHasColoursForIsRefused) {
  const Report one = named("a.json", test::quiet_sample());
  EXPECT_TRUE(to_html(std::vector<Report>(8, one)));
  const auto refused = to_html(std::vector<Report>(9, one));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "cannot make one page of 9 results: it has colours for at most 8");
}

}  // namespace
}  // namespace shmif::perf
