#include "shmif/log.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

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

}  // namespace
}  // namespace shmif
