#pragma once
// Plans of job files that are written in tests.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "perf/option/job_file.hpp"
#include "tests/perf/plan/plans.hpp"

namespace shmif::perf::plans {

using Words = std::vector<std::string>;

inline JobSet set_of(const std::string& text) {
  JobSet set;
  for (const std::string& error : read_job_text("x.job", text, set)) ADD_FAILURE() << error;
  return set;
}

inline std::vector<PlannedJob> plan_of(const std::string& text) {
  auto plan = expand(set_of(text));
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : std::vector<PlannedJob>();
}

inline std::vector<std::string> names(const std::vector<PlannedJob>& plan) {
  std::vector<std::string> all;
  for (const PlannedJob& job : plan) all.push_back(job.options.name);
  return all;
}

/// Whether the message ends with what to do in parentheses, or with a name that may be meant.
inline bool names_remedy(const std::string& problem) {
  return problem.ends_with(')') || problem.ends_with("\"?");
}

/// One of the problems of `text` holds `words`, expand() refuses it, and each problem has a remedy.
inline void expect_problem(const std::string& text, const std::string& words) {
  const JobSet set = set_of(text);
  std::string all;
  for (const std::string& problem : problems_of(set)) all += problem + '\n';
  EXPECT_NE(all.find(words), std::string::npos) << "of:\n" << text << "problems:\n" << all;
  EXPECT_FALSE(expand(set)) << text;
  for (const std::string& problem : problems_of(set)) {
    EXPECT_TRUE(names_remedy(problem)) << problem << "\nsays not what to do";
  }
}

/// A job that lacks nothing but `lines`.
inline std::string sender(const std::string& lines) {
  return "[a]\nruntime=1\n" + lines + '\n';
}

}  // namespace shmif::perf::plans
