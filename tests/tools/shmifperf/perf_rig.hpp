#pragma once
// shmifperf run, started by tests that look at what it says.

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

using Json = nlohmann::json;

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline Words shmifperf_words(const Words& arguments) {
  return Words{shmifperf_path()} + arguments;
}
inline ToolResult shmifperf(const Words& arguments, std::string input = {}) {
  return run_program(shmifperf_words(arguments), std::move(input));
}

/// What runs a program as a user without any rights.
inline const Words kAsNobody{
    "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"};
/// Why no test can do that here; empty: it can.
inline std::string why_not_as_nobody() {
  if (::geteuid() != 0) return "needs root: setpriv";
  if (run_program(kAsNobody + shmifperf_words({"--version"})).status == 0) return {};
  return "another user cannot run " + shmifperf_path();
}

inline Json parsed(const ToolResult& result) {
  return Json::parse(result.out, nullptr, false);
}

/// A line for each of `names`, with that in it, and nothing else.
inline void expect_usage_error(const Words& arguments, const Words& names) {
  const ToolResult result = shmifperf(arguments);
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'),
            static_cast<std::ptrdiff_t>(names.size()))
      << result.err;
  EXPECT_EQ(result.err.rfind("shmifperf: ", 0), 0U) << result.err;
  for (const std::string& name : names) {
    EXPECT_NE(result.err.find(name), std::string::npos) << result.err;
  }
  EXPECT_NE(result.err.find("--help'"), std::string::npos) << result.err;
}

/// What `--help` of a command says, in one line.
inline std::string help_of(const std::string& command) {
  const ToolResult result = shmifperf({command, "--help"});
  EXPECT_EQ(result.status, 0) << result.err;
  std::istringstream words(result.out);
  std::string line;
  for (std::string word; words >> word;) line += (line.empty() ? "" : " ") + word;
  return line;
}

struct WrongLine {
  Words arguments;
  std::string says;
};
/// `command` refuses each of these lines with one message.
inline void expect_wrong_lines(const std::string& command, const std::vector<WrongLine>& lines) {
  for (const WrongLine& line : lines) {
    expect_usage_error(Words{command} + line.arguments, {line.says});
  }
}

/// `shmifperf run OPTION...`, of a light load for a second unless told otherwise.
inline Words run_with(const Words& options) {
  return shmifperf_words({"run", "--runtime=1", "--rate_iops=500", "--drain_time=200ms"}) + options;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

inline std::string text_of_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The process sleeps in poll(2): an instrument that watches others does so when it has begun.
inline bool sleeps_in_poll(pid_t pid) {
  const std::string call = text_of_file("/proc/" + std::to_string(pid) + "/syscall");
#ifdef SYS_poll
  if (call.starts_with(std::to_string(SYS_poll) + ' ')) return true;
#endif
  return call.starts_with(std::to_string(SYS_ppoll) + ' ');
}

inline Json json_of_file(const std::string& path) {
  return Json::parse(text_of_file(path), nullptr, false);
}

/// Of one job of a result.
inline const Json& job_of(const Json& result, const std::string& name) {
  for (const Json& job : result.at("jobs")) {
    if (job.at("jobname") == name) return job;
  }
  throw std::runtime_error("no job " + name);
}

}  // namespace shmif::test
