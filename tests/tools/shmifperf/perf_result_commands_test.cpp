// shmifperf report and compare, of results that runs left behind.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// One run for all tests, for they only read it.
class ResultCommands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const ToolResult ran = shmifperf(
        {"run", "--engine=bus", "--rate_iops=2000", "--runtime=300ms", "--output-format=json+"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    *result_ = ran.out;
  }
  ResultCommands() : result(dir.file("result.json")) { std::ofstream(result) << *result_; }

  /// The same run with other figures.
  std::string changed(const std::function<void(Json&)>& change,
                      const std::string& name = "changed.json") const {
    Json json = Json::parse(*result_);
    change(json);
    const std::string path = dir.file(name);
    std::ofstream(path) << json.dump();
    return path;
  }
  /// The same run, had the receivers received at this rate, and evenly. The real one is so short
  /// that one pause of the machine makes it as uneven as half of its rate.
  std::string received_at(double fps, const std::string& name) const {
    const auto change = [fps](Json& json) {
      for (Json& job : json["jobs"]) {
        if (job["rx"].is_null()) continue;
        job["rx"]["rate_fps"] = fps;
        for (Json& interval : job["intervals"]) {
          interval["seconds"] = 0.1;
          interval["rx_frames"] = std::lround(fps / 10);
        }
      }
    };
    return changed(change, name);
  }

  TempDir dir;
  std::string result;

 private:
  static std::string* const result_;
};
std::string* const ResultCommands::result_ = new std::string;

void expect_failure(const ToolResult& got, int status, const std::string& text) {
  EXPECT_EQ(got.status, status) << got.err;
  EXPECT_EQ(got.out, "");
  EXPECT_EQ(std::count(got.err.begin(), got.err.end(), '\n'), 1) << got.err;
  EXPECT_NE(got.err.find(text), std::string::npos) << got.err;
}

TEST_F(ResultCommands, ThePageOfAResultStandsBesideItUnlessToldOtherwise) {
  const ToolResult beside = shmifperf({"report", result});
  EXPECT_EQ(beside.status, 0) << beside.err;
  EXPECT_EQ(beside.out, "wrote " + dir.file("result.html") + '\n');
  const std::string page = text_of(dir.file("result.html"));
  EXPECT_EQ(page.rfind("<!DOCTYPE html>", 0), 0U) << page.substr(0, 100);
  EXPECT_EQ(shmifperf({"report", result, "-o", dir.file("page")}).status, 0);
  EXPECT_EQ(text_of(dir.file("page")), page);
  EXPECT_EQ(shmifperf({"report", "-"}, text_of(result)).out, page);
}

TEST_F(ResultCommands, WhatTakesThePlaceOfALongerFileIsAllThereIs) {
  const std::string page = dir.file("page"), output = dir.file("output.json");
  for (const std::string& path : {page, output}) std::ofstream(path) << std::string(4 << 20, 'x');
  EXPECT_EQ(shmifperf({"report", result, "-o", page}).status, 0);
  EXPECT_EQ(text_of(page), shmifperf({"report", result, "-o", "-"}).out);
  EXPECT_EQ(text_of(page), shmifperf({"report", result, "-o", "/dev/stdout"}).out);
  EXPECT_EQ(shmifperf({"run", "--engine=null", "--rw=tx", "--number_ios=10", "--output-format=json",
                       "--output=" + output})
                .status,
            0);
  EXPECT_TRUE(Json::parse(text_of(output), nullptr, false).is_object());
}

TEST_F(ResultCommands, AResultIsStillThereWhereTheNextRunDidNotBegin) {
  const std::string before = text_of(result);
  const ToolResult refused = shmifperf({"run", "--engine=null", "--rw=tx", "--number_ios=10",
                                        "--metrics=198.18.255.1:0", "--output=" + result});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("cannot serve metrics on 198.18.255.1:0"), std::string::npos)
      << refused.err;
  EXPECT_EQ(text_of(result), before);
}

TEST_F(ResultCommands, MetricsOverIpv6AreThereOrTheReasonIs) {
  const ToolResult ran = shmifperf({"run", "--engine=null", "--rw=tx", "--number_ios=10",
                                    "--metrics=[::1]:0", "--output=" + result});
  if (ran.status == 0) {
    EXPECT_NE(ran.err.find("http://[::1]:"), std::string::npos) << ran.err;
  } else {
    EXPECT_NE(ran.err.find("cannot serve metrics on [::1]:0: "), std::string::npos) << ran.err;
  }
}

TEST_F(ResultCommands, TheTextOfAResultIsThatOfItsRun) {
  const ToolResult summary = shmifperf({"report", result, "--text"});
  EXPECT_EQ(summary.status, 0) << summary.err;
  EXPECT_EQ(summary.out.rfind("shmifperf ", 0), 0U) << summary.out;
  EXPECT_NE(summary.out.find("\n  job    tx  "), std::string::npos) << summary.out;
  EXPECT_NE(summary.out.find("\nuse --details for the rest\n"), std::string::npos) << summary.out;
  EXPECT_EQ(summary.out.find("--rate_iops=2000"), std::string::npos) << summary.out;
  const ToolResult text = shmifperf({"report", result, "--details"});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.rfind("shmifperf ", 0), 0U) << text.out;
  EXPECT_NE(text.out.find("--rate_iops=2000"), std::string::npos) << text.out;
  EXPECT_EQ(shmifperf({"report", result, "--text", "--details"}).out, text.out);
}

TEST_F(ResultCommands, APageThatCannotBeWrittenFailsWithItsPath) {
  expect_failure(shmifperf({"report", result, "-o", "/dev/full"}), 1,
                 "cannot write /dev/full: No space left on device");
  const std::string nowhere = dir.file("none/page.html");
  expect_failure(shmifperf({"report", result, "-o", nowhere}), 1, "cannot write " + nowhere);
  expect_failure(shmifperf({"report", result, "-o", result}), 2, "is the result itself");
  EXPECT_NO_THROW(Json::parse(text_of(result))) << "and is still there";
}

TEST_F(ResultCommands, WhatIsNoResultIsRefusedByEitherWithItsName) {
  const std::string garbled = dir.file("garbled.json");
  std::ofstream(garbled) << text_of(result).substr(0, 1000);
  const std::string foreign = dir.file("foreign.json");
  std::ofstream(foreign) << R"({"fio version": "fio-3.33", "jobs": []})";
  const std::string newer = changed([](Json& json) {
    json["format_version"] = 2;
    json["shmifperf_version"] = "9.0";
  });
  const std::string gone = dir.file("gone.json");
  const std::pair<std::string, std::string> cases[] = {
      {garbled, "it is not JSON (parse error at line "},
      {foreign, "not a result of shmifperf"},
      {newer, "format_version 2 of shmifperf 9.0, but this shmifperf reads 1; use"},
      {gone, "No such file"},
  };
  for (const auto& [path, why] : cases) {
    SCOPED_TRACE(path);
    for (const Words& words : {Words{"report", path}, Words{"compare", result, path}}) {
      const ToolResult refused = shmifperf(words);
      expect_failure(refused, 1, why);
      EXPECT_NE(refused.err.find(path), std::string::npos) << refused.err;
    }
  }
}

TEST_F(ResultCommands, ComparePassesWhatIsTheSameAndFailsWhatIsWorse) {
  const ToolResult same = shmifperf({"compare", result, result});
  EXPECT_EQ(same.status, 0) << same.out << same.err;
  EXPECT_NE(same.out.find("nothing became worse by more than 5"), std::string::npos) << same.out;
  const std::string even = received_at(2000, "even.json");
  const std::string slower = received_at(1400, "slower.json");
  const ToolResult worse = shmifperf({"compare", even, slower, "--json"});
  EXPECT_EQ(worse.status, 1) << worse.out << worse.err;
  EXPECT_EQ(Json::parse(worse.out)["worse"], true);
  EXPECT_EQ(shmifperf({"compare", even, slower, "--threshold", "40%"}).status, 0);
  EXPECT_EQ(shmifperf({"compare", slower, even}).status, 0) << "it has become better";
  const std::string failed = changed([](Json& broken) {
    for (Json& job : broken["jobs"]) job["passed"] = false;
  });
  EXPECT_EQ(shmifperf({"compare", result, failed}).status, 1);
}

TEST_F(ResultCommands, WrongUsageIsToldFromAWorseResult) {
  for (const Words& words :
       {Words{"compare", result}, Words{"compare", result, result, "--threshold", "much"},
        Words{"compare", result, result, "--confidence", "100%"},
        Words{"compare", result, result, "--confidence", "0%"}, Words{"compare", "-", "-"},
        Words{"report"}, Words{"report", result, "--text", "-o", "page"}}) {
    expect_failure(shmifperf(words), 2, "--help'");
  }
  for (const char* command : {"report", "compare"}) {
    const ToolResult help = shmifperf({command, "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.out.find("\nexamples:\n  shmifperf " + std::string(command)), std::string::npos);
  }
}

TEST_F(ResultCommands, AFullDiskUnderStandardOutputIsAFailure) {
  for (const std::string command : {"report \"$1\" --text", "compare \"$1\" \"$1\""}) {
    const ToolResult full =
        run_program({"sh", "-c", "\"$0\" " + command + " >/dev/full", shmifperf_path(), result});
    EXPECT_EQ(full.status, 1);
    EXPECT_NE(full.err.find("standard output: No space left"), std::string::npos) << full.err;
  }
}

TEST_F(ResultCommands, CompareUsesWhatItWasTold) {
  const ToolResult told = shmifperf({"compare", result, result, "--json", "--threshold=7%",
                                     "--loss-threshold=3%", "--confidence=90%"});
  ASSERT_EQ(told.status, 0) << told.err;
  const Json json = Json::parse(told.out);
  EXPECT_DOUBLE_EQ(json["threshold"].get<double>(), 0.07);
  EXPECT_DOUBLE_EQ(json["loss_threshold"].get<double>(), 0.03);
  EXPECT_DOUBLE_EQ(json["confidence"].get<double>(), 0.9);
  const Json usual = Json::parse(shmifperf({"compare", result, result, "--json"}).out);
  EXPECT_DOUBLE_EQ(usual["threshold"].get<double>(), 0.05);
  EXPECT_DOUBLE_EQ(usual["loss_threshold"].get<double>(), 0.001);
  EXPECT_DOUBLE_EQ(usual["confidence"].get<double>(), 0.95);
}

TEST_F(ResultCommands, CompareReadsEitherFromStandardInput) {
  const std::string failed = changed([](Json& broken) {
    for (Json& job : broken["jobs"]) job["passed"] = false;
  });
  EXPECT_EQ(shmifperf({"compare", "-", failed}, text_of(result)).status, 1);
  EXPECT_EQ(shmifperf({"compare", failed, "-"}, text_of(result)).status, 0);
  EXPECT_EQ(shmifperf({"compare", result, "-"}, text_of(failed)).status, 1);
}

TEST_F(ResultCommands, AStandardInputThatCannotBeReadIsToldAsThat) {
  for (const std::string command : {"report -", "compare - \"$1\"", "compare \"$1\" -"}) {
    const ToolResult refused = run_program(
        {"sh", "-c", "exec \"$0\" " + command + " <\"$2\"", shmifperf_path(), result, dir.path()});
    expect_failure(refused, 1, "cannot read a result from standard input: Is a directory");
  }
}

TEST_F(ResultCommands, APageTakesTheNameOfItsResultAndNoOtherSuffixThanJsonAway) {
  for (const std::string name : {"plain", "x.txt", "a.json.old", "x.json"}) {
    std::ofstream(dir.file(name)) << text_of(result);
    const std::string page = dir.file(name == "x.json" ? "x.html" : name + ".html");
    EXPECT_EQ(shmifperf({"report", dir.file(name)}).out, "wrote " + page + '\n');
    EXPECT_EQ(text_of(dir.file(name)), text_of(result)) << "and the result is as it was";
  }
}

TEST_F(ResultCommands, SeveralResultsAreOnePageNamedAfterAll) {
  const std::string other = received_at(1400, "slower.json");
  const ToolResult both = shmifperf({"report", result, other});
  EXPECT_EQ(both.status, 0) << both.err;
  EXPECT_EQ(both.out, "wrote " + dir.file("result-vs-slower.html") + '\n');
  const std::string page = text_of(dir.file("result-vs-slower.html"));
  EXPECT_NE(page.find(R"({"overlaid":[{"name":"result.json","result":{)"), std::string::npos);
  EXPECT_NE(page.find(R"({"name":"slower.json","result":{)"), std::string::npos);
  EXPECT_EQ(shmifperf({"report", result, other, "-o", dir.file("page")}).status, 0);
  EXPECT_EQ(text_of(dir.file("page")), page);
  const ToolResult piped = shmifperf({"report", result, "-"}, text_of(other));
  EXPECT_NE(piped.out.find(R"({"name":"on standard input","result":{)"), std::string::npos)
      << piped.err;
}

TEST_F(ResultCommands, APageOfMoreThanTwoResultsCountsThemAndNamesTheFirst) {
  Words eight = {"report"};
  for (char digit = '1'; digit <= '8'; ++digit) {
    const std::string file = dir.file(std::string(100, digit) + ".json");
    std::ofstream(file) << text_of(result);
    eight.push_back(file);
  }
  const ToolResult all = shmifperf(eight);
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out, "wrote " + dir.file(std::string(100, '1') + "-and-7-more.html") + '\n');
  const Words three(eight.begin(), eight.begin() + 4);
  EXPECT_EQ(shmifperf(three).out,
            "wrote " + dir.file(std::string(100, '1') + "-and-2-more.html") + '\n');
}

TEST_F(ResultCommands, WhatIsNoPageOfSeveralResultsIsRefusedWithWords) {
  const std::string other = received_at(1400, "slower.json");
  Words nine = {"report"};
  for (int i = 0; i < 9; ++i) nine.push_back(dir.file(std::to_string(i)));
  expect_failure(shmifperf(nine), 2,
                 "9 results on one page: it has colours for at most 8 (leave some out)");
  expect_failure(shmifperf({"report", result, other, result}), 2,
                 result + " is given twice: name each result once");
  expect_failure(shmifperf({"report", "-", "-"}), 2, "standard input is given twice");
  expect_failure(shmifperf({"report", result, other, "--text"}), 2, "--text prints one result");
  expect_failure(shmifperf({"report", result, other, "--details"}), 2,
                 "--details prints one result");
  expect_failure(shmifperf({"report", result, other, "-o", other}), 2, "is the result itself");
  expect_failure(shmifperf({"report", result, dir.file("gone.json")}), 1, "No such file");
}

}  // namespace
}  // namespace shmif::test
