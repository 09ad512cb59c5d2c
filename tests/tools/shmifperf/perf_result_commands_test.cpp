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

TEST_F(ResultCommands, WhatTakesThePlaceOfALongerFileIsAllThereIs) {
  const std::string page = dir.file("page"), output = dir.file("output.json");
  for (const std::string& path : {page, output}) std::ofstream(path) << std::string(4 << 20, 'x');
  EXPECT_EQ(shmifperf({"report", result, "-o", page}).status, 0);
  EXPECT_EQ(text_of_file(page), shmifperf({"report", result, "-o", "-"}).out);
  EXPECT_EQ(text_of_file(page), shmifperf({"report", result, "-o", "/dev/stdout"}).out);
  EXPECT_EQ(shmifperf({"run", "--engine=null", "--rw=tx", "--number_ios=10", "--output-format=json",
                       "--output=" + output})
                .status,
            0);
  EXPECT_TRUE(Json::parse(text_of_file(output), nullptr, false).is_object());
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

TEST_F(ResultCommands, ComparePassesWhatIsTheSameAndFailsWhatIsWorse) {
  const std::string even = received_at(2000, "even.json");
  const std::string slower = received_at(1400, "slower.json");
  const std::string failed = changed([](Json& broken) {
    for (Json& job : broken["jobs"]) job["passed"] = false;
  });
  for (const auto& [words, status] :
       std::vector<std::pair<Words, int>>{{{result, result}, 0},
                                          {{even, slower}, 1},
                                          {{even, slower, "--threshold", "40%"}, 0},
                                          {{slower, even}, 0},
                                          {{result, failed}, 1},
                                          {{"-", failed}, 1},
                                          {{failed, "-"}, 0}}) {
    const ToolResult compared =
        shmifperf(Words{"compare"} + words + Words{"--json"}, text_of_file(result));
    EXPECT_EQ(compared.status, status) << words[0] << ' ' << words[1] << compared.err;
    EXPECT_EQ(Json::parse(compared.out)["worse"], status == 1);
  }
  const ToolResult same = shmifperf({"compare", result, result});
  EXPECT_TRUE(has(same.out, "nothing became worse by more than 5")) << same.out;
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

TEST_F(ResultCommands, ThePageOfResultsStandsBesideTheFirstUnlessToldOtherwise) {
  const std::string slower = received_at(1400, "slower.json");
  Words eight;
  for (char digit = '1'; digit <= '8'; ++digit) {
    eight.push_back(dir.file(std::string(100, digit) + ".json"));
    std::ofstream(eight.back()) << text_of_file(result);
  }
  for (const std::string name : {"plain", "a.json.old"}) {
    std::ofstream(dir.file(name)) << text_of_file(result);
  }
  for (const auto& [words, name] : std::vector<std::pair<Words, std::string>>{
           {{result}, "result.html"},
           {{dir.file("plain")}, "plain.html"},
           {{dir.file("a.json.old")}, "a.json.old.html"},
           {{result, slower}, "result-vs-slower.html"},
           {eight, std::string(100, '1') + "-and-7-more.html"}}) {
    const ToolResult beside = shmifperf(Words{"report"} + words);
    EXPECT_EQ(beside.status, 0) << beside.err;
    EXPECT_EQ(beside.out, "wrote " + dir.file(name) + '\n');
    const std::string page = text_of_file(dir.file(name));
    EXPECT_TRUE(page.starts_with("<!DOCTYPE html>")) << page.substr(0, 100);
    EXPECT_EQ(shmifperf(Words{"report", "-o", dir.file("page")} + words).status, 0);
    EXPECT_EQ(text_of_file(dir.file("page")), page);
  }
  EXPECT_EQ(shmifperf({"report", "-"}, text_of_file(result)).out,
            text_of_file(dir.file("result.html")));
  const std::string both = text_of_file(dir.file("result-vs-slower.html"));
  EXPECT_TRUE(has(both, R"({"overlaid":[{"name":"result.json","result":{)"));
  EXPECT_TRUE(has(both, R"({"name":"slower.json","result":{)"));
}

TEST_F(ResultCommands, WhatCannotBeReadOrWrittenIsRefusedWithItsName) {
  const std::string garbled = dir.file("garbled.json"), foreign = dir.file("foreign.json");
  std::ofstream(garbled) << text_of_file(result).substr(0, 1000);
  std::ofstream(foreign) << R"({"fio version": "fio-3.33", "jobs": []})";
  const std::string newer = changed([](Json& json) {
    json["format_version"] = 2;
    json["shmifperf_version"] = "9.0";
  });
  const std::string gone = dir.file("gone.json"), nowhere = dir.file("none/page.html");
  Words nine{"report"};
  for (int i = 0; i < 9; ++i) nine.push_back(dir.file(std::to_string(i)));
  std::vector<std::tuple<Words, int, std::string>> cases{
      {{"report", result, "-o", "/dev/full"}, 1, "/dev/full: No space left on device"},
      {{"report", result, "-o", nowhere}, 1, "cannot write " + nowhere},
      {{"report", result, "-o", result}, 2, "is the result itself"},
      {{"report", result, newer, result}, 2, result + " is given twice"},
      {{"report", "-", "-"}, 2, "standard input is given twice"},
      {{"report", result, newer, "--text"}, 2, "--text prints one result"},
      {{"report", result, "--text", "-o", "page"}, 2, "--help'"},
      {nine, 2, "at most 8 (leave some out)"},
      {{"report"}, 2, "--help'"},
      {{"compare", result}, 2, "--help'"},
      {{"compare", "-", "-"}, 2, "--help'"},
      {{"compare", result, result, "--threshold", "much"}, 2, "--threshold"},
      {{"compare", result, result, "--confidence", "100%"}, 2, "--confidence"}};
  for (const auto& [path, why] : std::vector<std::pair<std::string, std::string>>{
           {garbled, "it is not JSON (parse error at line "},
           {foreign, "not a result of shmifperf"},
           {newer, "format_version 2 of shmifperf 9.0"},
           {gone, "No such file"}}) {
    cases.push_back({{"report", path}, 1, why});
    cases.push_back({{"compare", result, path}, 1, path});
  }
  for (const auto& [words, status, says] : cases) {
    const ToolResult refused = shmifperf(words);
    EXPECT_EQ(refused.status, status) << words[0] << ' ' << words.back();
    EXPECT_EQ(refused.out, "");
    EXPECT_EQ(count_of_lines(refused.err), 1) << refused.err;
    EXPECT_TRUE(has(refused.err, says)) << refused.err;
  }
  EXPECT_NO_THROW(Json::parse(text_of_file(result))) << "and is still there";
  for (const std::string command : {"report \"$1\" --text >/dev/full", "report - <\"$2\"",
                                    "compare \"$1\" \"$1\" >/dev/full"}) {
    const ToolResult refused =
        run_program({"sh", "-c", "\"$0\" " + command, shmifperf_path(), result, dir.path()});
    EXPECT_EQ(refused.status, 1);
    EXPECT_TRUE(has(refused.err, "standard ")) << refused.err;
  }
}

}  // namespace
}  // namespace shmif::test
