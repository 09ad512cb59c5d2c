#include "shmif/log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <utility>

#include "base/unique_fd.hpp"
#include "shmif/debug/debug.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif {
namespace {

/// What is written to standard error by `log`.
template <class Log>
std::string written_by(Log log) {
  testing::internal::CaptureStderr();
  log();
  return testing::internal::GetCapturedStderr();
}

std::string one_of_each() {
  return written_by([] {
    log_debug("a");
    log_info("b");
    log_warning("c");
    log_error("d");
  });
}

TEST(Log, EachLevelLetsPassWhatIsAtLeastAsGrave) {
  const std::string error = "shmif: error: d\n";
  const std::string warning = "shmif: warning: c\n" + error;
  const std::string info = "shmif: info: b\n" + warning;
  const std::string all = "shmif: debug: a\n" + info;
  EXPECT_EQ(one_of_each(), warning) << "where nobody has set a level";
  const std::pair<const char*, std::string> levels[] = {
      {"trace", all},   {"debug", all},   {"info", info}, {"warning", warning},
      {"error", error}, {"critical", ""}, {"off", ""},    {"warning", warning}};
  for (const auto& [level, passes] : levels) {
    EXPECT_TRUE(set_log_level(level)) << level;
    EXPECT_EQ(one_of_each(), passes) << level;
  }
  for (const char* unknown : {"", "warn", "Error", "debug "}) {
    EXPECT_FALSE(set_log_level(unknown)) << unknown;
    EXPECT_EQ(one_of_each(), warning) << "it stays as it was";
  }
}

TEST(Log, AWarningThatIsGivenOnceIsNotRepeatedAndOthersAre) {
  static int runs = 0;  // of this test in this process, which remembers what it has logged
  const std::string one = "the one " + std::to_string(++runs);
  const std::string other = "the other " + std::to_string(runs);
  const auto warn = [](const std::string& text) {
    return written_by([&] { log_warning_once(text); });
  };
  EXPECT_EQ(warn(one), "shmif: warning: " + one + '\n');
  EXPECT_EQ(warn(other), "shmif: warning: " + other + '\n');
  EXPECT_EQ(warn(one), "");
  EXPECT_EQ(warn(other), "");
  EXPECT_EQ(written_by([&] { log_warning(one); }), "shmif: warning: " + one + '\n');
}

TEST(Log, LinesThatNobodyCanReadDoNotEndTheProcess) {
  const test::TempDir directory;
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd broken(ends[1]);
  ::close(ends[0]);
  const UniqueFd full(
      ::open((directory.path() + "/lines").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  for (const UniqueFd* const each : {&broken, &full}) {
    SCOPED_TRACE(each == &broken ? "a pipe without a reader" : "a file at its limit");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      test::no_core();
      const rlimit none{0, 0};
      ::setrlimit(RLIMIT_FSIZE, &none);
      ::signal(SIGPIPE, SIG_DFL);
      ::signal(SIGXFSZ, SIG_DFL);
      ::dup2(each->get(), STDERR_FILENO);
      log_error("a");
      if (!add_debug("wire")) ::_exit(2);
      debug(Debug::wire, [] { return std::string("b"); });
      ::_exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace shmif
