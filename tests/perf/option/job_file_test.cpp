#include <gtest/gtest.h>
#include <fstream>
#include <map>

#include "perf/job/values.hpp"
#include "perf/option/job_file.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

using Files = std::map<std::string, std::string>;

struct Read {
  JobSet set;
  std::vector<std::string> errors;
};

/// Reads "main.job" of `files`, with a variable HOSTS=3 and one EMPTY.
Read read(const Files& files) {
  JobFileSources sources;
  sources.read = [&](const std::string& path) -> Result<std::string> {
    const auto it = files.find(path);
    if (it == files.end()) return Error(Errc::bad_argument, "no file " + path);
    return it->second;
  };
  sources.variable = [](const std::string& name) -> std::optional<std::string> {
    if (name == "HOSTS") return "3";
    if (name == "EMPTY") return "";
    return std::nullopt;
  };
  Read result;
  result.errors = read_job_file("main.job", result.set, sources);
  return result;
}

Read read(const std::string& text) {
  return read(Files{{"main.job", text}});
}

/// The one error of `text`.
std::string error_of(const std::string& text) {
  const Read result = read(text);
  EXPECT_EQ(result.errors.size(), 1U) << text;
  return result.errors.empty() ? "" : result.errors[0];
}

std::vector<std::string> names(const Read& result) {
  std::vector<std::string> all;
  for (const JobOptions& job : result.set.jobs) all.push_back(job.name);
  return all;
}

TEST(JobFile, SectionsAreJobsAndGlobalHoldsForThoseBehindIt) {
  const Read result = read(
      "; a comment\n"
      "[global]\n"
      "numjobs=2\n"
      "[a]\n"
      "# another\n"
      "  bs = 128 ; behind a space\n"
      "[ b ] # too\n"
      "\n"
      "[global]\n"
      "numjobs=5\n"
      "output-format=json\n"
      "[c] ; too\n"
      "stonewall ; a flag\n"
      "bs=64#x:1\n");
  EXPECT_EQ(result.errors.size(), 1U);  // the last line: no space, no comment
  ASSERT_EQ(names(result), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(result.set.jobs[0].numjobs, 2U);
  EXPECT_EQ(result.set.jobs[0].bs.tx.parts[0].min, 128U);
  EXPECT_EQ(result.set.jobs[1].numjobs, 2U);
  EXPECT_EQ(result.set.jobs[2].numjobs, 5U);
  EXPECT_TRUE(result.set.jobs[2].stonewall);
  EXPECT_FALSE(result.set.jobs[1].stonewall);
  EXPECT_EQ(result.set.run.output_format, std::vector{OutputFormat::json});
  EXPECT_EQ(result.set.jobs[1].where, "main.job:7");
}

TEST(JobFile, VariablesComeFromTheEnvironment) {
  const Read result = read("[a]\nnumjobs=${HOSTS}\ndescription=<${HOSTS}${EMPTY}>$x {y}\n");
  EXPECT_TRUE(result.errors.empty());
  EXPECT_EQ(result.set.jobs.at(0).numjobs, 3U);
  EXPECT_EQ(result.set.jobs.at(0).description, "<3>$x {y}");
  EXPECT_EQ(error_of("[a]\n\nsize=${SIZE}\n"),
            "main.job:3: the environment has no variable \"SIZE\" (set it, or write the value)");
  EXPECT_EQ(error_of("[a]\nsize=${}\n"),
            "main.job:2: \"${}\" names no variable of the environment (write ${NAME})");
  EXPECT_EQ(error_of("[a]\ninclude ${SIZE}\n").find("main.job:2: the environment has no"), 0U);
  JobSet set;
  const auto unset = read_job_text("x.job", "[a]\nnumjobs=${SHMIF_NO_SUCH}\n", set);
  EXPECT_EQ(unset.at(0).find("x.job:2: the environment has no variable"), 0U) << unset[0];
  EXPECT_NE(error_of("[a]\nsize=${SIZE\n").find("main.job:2: a ${ is not closed"),
            std::string::npos);
}

TEST(JobFile, ErrorsNameFileLineAndTheNearestOption) {
  EXPECT_EQ(error_of("[a]\nbs=64\nnumjob=3\n"),
            "main.job:3: unknown option \"numjob\", did you mean \"numjobs\"?");
  for (const std::string line : {"include = b.job", "included b.job"}) {
    EXPECT_EQ(error_of("[a]\n" + line).find("main.job:2: unknown option \"include"), 0U) << line;
  }
  EXPECT_EQ(error_of("[a]\nnumjobs=0\n"), "main.job:2: numjobs: \"0\" is out of range (1 to 256)");
  EXPECT_NE(error_of("[a]\nrate\n").find("main.job:2: rate: needs a value"), std::string::npos);
  EXPECT_NE(error_of("[a]\n=3\n").find("main.job:2: there is no name"), std::string::npos);
  EXPECT_NE(error_of("[a]\noutput=x\n").find("main.job:2: output: applies to the whole run"),
            std::string::npos);
}

TEST(JobFile, SectionsThatAreNoneAreRefusedAndTheirOptionsPassedOver) {
  for (const char* const line : {"[a", "[a] b", "[]", "[a/b]", "[a[b]"}) {
    const std::string error = error_of(std::string(line) + "\nnonsense=1\n[b]\nbs=64\n");
    EXPECT_EQ(error.rfind("main.job:1: ", 0), 0U) << error;
  }
  EXPECT_NE(error_of("rate=1\nbs=64\n[a]\n").find("before any section"), std::string::npos);
}

TEST(JobFile, ManyErrorsAreToldAtOnceUpToTwenty) {
  EXPECT_EQ(read("[a]\nx=1\ny=2\n[b]\nz=3\n").errors.size(), 3U);
  std::string text = "[a]\n";
  for (int i = 0; i < 100; ++i) text += "nonsense=1\n";
  const Read result = read(text);
  EXPECT_EQ(result.errors.size(), 20U);
  EXPECT_NE(result.errors.back().find("further errors"), std::string::npos);
}

TEST(JobFile, BytesThatAreNoTextAreRefused) {
  EXPECT_NE(error_of(std::string("[a]\nbs=6\0004\n", 10)).find("NUL"), std::string::npos);
  const Read result = read("\xef\xbb\xbf[a]\r\nbs=64\r\nstonewall\r\n");
  EXPECT_TRUE(result.errors.empty());
  EXPECT_TRUE(result.set.jobs.at(0).stonewall);
}

TEST(JobFile, AnIncludeStandsForTheLinesOfItsFile) {
  const Read result = read(Files{{"main.job",
                                  "[global]\nnumjobs=4\ninclude sub/one.job ; x\n[a]\n"
                                  "bs=64\ninclude sub/two.job # x\nrate=2Mbit\n"},
                                 {"sub/one.job", "rate=1Mbit\ninclude ../${HOSTS}#1.job\n"},
                                 {"sub/two.job", "bs=128\n[b]\nbs=256\n"},
                                 {"3#1.job", "loops=7\n"}});
  EXPECT_EQ(result.errors, std::vector<std::string>());
  EXPECT_EQ(result.set.warnings, std::vector<std::string>()) << "a default may be replaced";
  ASSERT_EQ(names(result), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(result.set.jobs[0].loops, 7U);
  EXPECT_EQ(result.set.jobs[0].bs.tx.parts[0].min, 128U);
  EXPECT_EQ(result.set.jobs[0].rate_bps.tx, 1'000'000U);
  EXPECT_EQ(result.set.jobs[1].rate_bps.tx, 2'000'000U);
  EXPECT_EQ(result.set.jobs[1].where, "sub/two.job:2");
}

TEST(JobFile, IncludesItselfHoweverItsPathIsWritten) {
  JobFileSources sources;
  sources.read = [](const std::string&) -> Result<std::string> {
    return std::string("[a]\ninclude main.job\n");
  };
  for (const std::string path : {"./main.job", "x/../main.job", ".//main.job"}) {
    JobSet set;
    // Beside "x/../main.job" is "x/../main.job" again.
    EXPECT_EQ(read_job_file(path, set, sources),
              std::vector<std::string>{path + ":2: include: \"main.job\" includes itself"});
  }
}

TEST(JobFile, StandardInputIsNamedAndWhatItIncludesIsInTheDirectory) {
  JobFileSources sources;
  sources.read = [](const std::string& path) -> Result<std::string> {
    if (path == "-") return std::string("[a]\ninclude b.job\nwrong=1\n");
    return std::string(path == "b.job" ? "loops=3\n" : "loops=4\n");
  };
  JobSet set;
  const auto errors = read_job_file("-", set, sources);
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0].find("standard input:3: unknown option"), 0U) << errors[0];
  EXPECT_EQ(set.jobs.at(0).loops, 3U);
  EXPECT_EQ(set.jobs[0].where, "standard input:1");
  EXPECT_EQ(set.run.job_files, (std::vector<std::string>{"standard input", "b.job"}));
}

TEST(JobFile, GoesAsFarAsItsLimitsAndNoFurther) {
  // Files within files.
  const auto chain = [](int files) {
    Files all;
    for (int i = 1; i <= files; ++i) {
      const std::string next = i < files ? "include " + std::to_string(i + 1) + ".job\n" : "";
      all[i == 1 ? "main.job" : std::to_string(i) + ".job"] =
          "[j" + std::to_string(i) + "]\n" + next;
    }
    return read(all);
  };
  EXPECT_EQ(chain(16).errors, std::vector<std::string>());
  EXPECT_EQ(chain(16).set.jobs.size(), 16U);
  EXPECT_EQ(chain(17).errors.size(), 1U);
  // Files in all.
  const auto wide = [](int includes) {
    Files all{{"main.job", "[a]\n"}, {"b.job", "loops=3\n"}};
    for (int i = 0; i < includes; ++i) all["main.job"] += "include b.job\n";
    return read(all).errors;
  };
  EXPECT_EQ(wide(255), std::vector<std::string>());
  EXPECT_EQ(wide(256), std::vector<std::string>{"main.job:257: include: more than 256 files"});
  // Jobs.
  std::string jobs;
  for (int i = 0; i < 4096; ++i) jobs += "[j" + std::to_string(i) + "]\n";
  const Read many = read(jobs + "[last]\n");
  EXPECT_EQ(many.errors, std::vector<std::string>{"main.job:4097: there are more than 4096 jobs"});
  EXPECT_EQ(many.set.jobs.size(), 4096U);
  // Bytes of a line, which all arrive.
  std::string line = "exec_prerun=/bin/echo ";
  line.append((64U << 10U) - line.size(), 'x');
  const Read longest = read("[a]\n" + line + "\nloops=3\n");
  EXPECT_EQ(longest.errors, std::vector<std::string>());
  EXPECT_EQ(longest.set.jobs.at(0).exec_prerun.at(1).size(), line.size() - 22);
  EXPECT_EQ(longest.set.jobs.at(0).loops, 3U);
  EXPECT_EQ(error_of("[a]\n" + line + "x\n"), "main.job:2: the line is longer than 64 KiB");
}

TEST(JobFile, FilesAreReadFromTheFileSystem) {
  test::TempDir directory;
  std::ofstream(directory.file("a.job")) << "[global]\ninclude b.job\n[x]\n";
  std::ofstream(directory.file("b.job")) << "loops=3\n";
  JobSet set;
  EXPECT_EQ(read_job_file(directory.file("a.job"), set), std::vector<std::string>());
  ASSERT_EQ(set.jobs.size(), 1U);
  EXPECT_EQ(set.jobs[0].loops, 3U);
  const auto missing = read_job_file(directory.file("c.job"), set);
  ASSERT_EQ(missing.size(), 1U);
  EXPECT_EQ(missing[0],
            "cannot read job file \"" + directory.file("c.job") + "\": No such file or directory");
  EXPECT_EQ(read_job_file(directory.path(), set).size(), 1U);
  for (const std::size_t more : {0U, 1U}) {
    std::ofstream(directory.file("big.job")) << std::string((1U << 20U) + more, '\n');
    EXPECT_EQ(read_job_file(directory.file("big.job"), set).size(), more);
  }
}

TEST(JobFile, WhatIsAssignedLaterWins) {
  const Read result = read("[global]\nrate=1Mbit\n[a]\nrate=2Mbit\nrate=3Mbit\n");
  EXPECT_TRUE(result.errors.empty());
  EXPECT_EQ(result.set.jobs.at(0).rate_bps.tx, 3'000'000U);
  EXPECT_EQ(
      result.set.warnings,
      std::vector<std::string>{"main.job:5: rate replaces that of line 4 (keep one of them)"});
}

JobSet jobs_of(const std::string& name) {
  JobSet set;
  EXPECT_EQ(read_job_text(name, find_profile(name)->text, set), std::vector<std::string>());
  return set;
}

TEST(Profiles, EachIsAJobFileWithAPlan) {
  for (const Profile& profile : profiles()) {
    const JobSet set = jobs_of(profile.name);
    EXPECT_EQ(problems_of(set), std::vector<std::string>()) << profile.name;
    EXPECT_TRUE(expand(set)) << profile.name;
    EXPECT_FALSE(std::string(profile.summary).ends_with('.')) << profile.name;
  }
}

TEST(Profiles, Rfc2544SearchesEachSizeOfSection91OneAfterTheOther) {
  const auto plan = expand(jobs_of("rfc2544")).value();
  std::vector<std::uint32_t> on_the_wire;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (!plan[i].peer_of.empty()) continue;
    EXPECT_EQ(plan[i].options.search, Search::ndr);
    const std::uint32_t bytes = plan[i].options.bs.tx.parts[0].min + 4;
    EXPECT_EQ(plan[i].options.name, "rfc2544-" + std::to_string(bytes));
    EXPECT_EQ(plan[i].waits_for.size(), i);
    on_the_wire.push_back(bytes);
  }
  EXPECT_EQ(on_the_wire, (std::vector<std::uint32_t>{64, 128, 256, 512, 1024, 1280, 1518}));
}

TEST(Profiles, AnUnknownOneIsAnsweredWithTheNearestOrWithAll) {
  EXPECT_EQ(unknown_profile("imx"), "unknown profile \"imx\", did you mean \"imix\"?");
  std::string all;
  for (const Profile& profile : profiles())
    all += (all.empty() ? "" : ", ") + std::string(profile.name);
  EXPECT_EQ(unknown_profile("frobnication"),
            "unknown profile \"frobnication\" (the profiles are " + all + ')');
}

}  // namespace

}  // namespace shmif::perf
