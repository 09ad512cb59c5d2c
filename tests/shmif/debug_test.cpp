#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/debug_lines.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif {
namespace {

using test::clear_debug;

/// All categories are off before and after a test.
class DebugLines : public testing::Test {
 protected:
  void SetUp() override { clear_debug(); }
  void TearDown() override { clear_debug(); }

  /// What is written to standard error by `log`.
  template <class Log>
  static std::string written_by(Log log) {
    testing::internal::CaptureStderr();
    log();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(DebugLines, OnlyTheCategoriesThatWereTurnedOnAreWritten) {
  const auto log = [] {
    debug(Debug::rate, [] { return "of the rate"; });
    debug(Debug::verify, [] { return std::string("of the verification"); });
  };
  EXPECT_EQ(written_by(log), "");
  ASSERT_TRUE(add_debug("rate"));
  const std::string line = written_by(log);
  EXPECT_NE(line.find(" rate: of the rate\n"), std::string::npos) << line;
  EXPECT_EQ(line.find("verif"), std::string::npos) << line;
  ASSERT_TRUE(add_debug("verify,wire"));
  const std::string both = written_by(log);
  EXPECT_NE(both.find(" rate: of the rate\n"), std::string::npos) << both;
  EXPECT_NE(both.find(" verify: of the verification\n"), std::string::npos) << both;
  clear_debug();
  EXPECT_EQ(written_by(log), "");
}

TEST_F(DebugLines, ALineHasTheTimeTheProcessTheCategoryAndItsSubject) {
  ASSERT_TRUE(add_debug("process"));
  const std::string line = written_by([] {
    const DebugSubject job("job.3");
    debug(Debug::process, [] { return "is running"; });
  });
  const std::string pid = std::to_string(::getpid());
  EXPECT_TRUE(testing::internal::RE::FullMatch(
      line, testing::internal::RE("debug [0-9][0-9]:[0-9][0-9]:[0-9][0-9]\\.[0-9]+ " + pid +
                                  " process: \\[job\\.3\\] is running\n")))
      << line;
}

TEST_F(DebugLines, ASubjectLastsAsLongAsItsObjectAndBelongsToAThread) {
  ASSERT_TRUE(add_debug("plan"));
  const auto log = [] { debug(Debug::plan, [] { return "x"; }); };
  const std::string text = written_by([&] {
    {
      const DebugSubject outer("outer");
      {
        const DebugSubject inner("inner");
        log();
        std::thread(log).join();
      }
      log();
    }
    log();
  });
  std::vector<std::string> rest;
  for (std::size_t at = text.find("plan: "); at != std::string::npos;
       at = text.find("plan: ", at + 1)) {
    rest.push_back(text.substr(at + 6, text.find('\n', at) - at - 6));
  }
  EXPECT_EQ(rest, (std::vector<std::string>{"[inner] x", "x", "[outer] x", "x"}));
}

TEST_F(DebugLines, AWordThatIsNoCategoryIsNamedAndChangesNothing) {
  for (const char* list : {"", "proces", "rate,proces", "rate,", "Rate"}) {
    const auto done = add_debug(list);
    ASSERT_FALSE(done) << list;
    EXPECT_EQ(done.error().code, Errc::bad_argument);
    EXPECT_FALSE(debugs(Debug::rate)) << list;
  }
  EXPECT_EQ(add_debug("rate,proces,plam").error().message, "proces");
  ASSERT_TRUE(add_debug("all"));
  std::set<std::string> names;
  for (const DebugCategory& each : debug_categories()) {
    EXPECT_TRUE(debugs(each.category)) << each.name;
    names.insert(each.name);
  }
  EXPECT_EQ(names.size(), debug_categories().size()) << "each has its own name";
  for (const DebugCategory& each : debug_categories()) {
    clear_debug();
    ASSERT_TRUE(add_debug(each.name));
    for (const DebugCategory& other : debug_categories()) {
      EXPECT_EQ(debugs(other.category), other.category == each.category)
          << each.name << ' ' << other.name;
    }
  }
}

TEST_F(DebugLines, WhatIsOffIsNotEvenBuiltAndErrnoIsKept) {
  int built = 0;
  const auto make = [&built] {
    ++built;
    errno = ENOENT;
    return "x";
  };
  errno = EBUSY;
  debug(Debug::rate, make);
  EXPECT_EQ(built, 0);
  ASSERT_TRUE(add_debug("rate"));
  (void)written_by([&] {
    errno = EBUSY;
    debug(Debug::rate, make);
    EXPECT_EQ(errno, EBUSY);
  });
  EXPECT_EQ(built, 1);
  // A line that cannot be built is left out.
  EXPECT_EQ(written_by([] { debug(Debug::rate, []() -> std::string { throw std::bad_alloc(); }); }),
            "");
}

TEST_F(DebugLines, ControlCharactersAndLongTextsDoNotBreakALine) {
  ASSERT_TRUE(add_debug("remote"));
  const std::string text = written_by([] {
    debug(Debug::remote, [] { return std::string("a\nb\x1b[31m"); });
    const DebugSubject subject("c\nd\x1b[31m");
    debug(Debug::remote, [] { return std::string(100'000, 'x'); });
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text.substr(0, 200);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_LE(text.size() - text.find('\n') - 1, 4096U) << "a pipe takes it whole";
  EXPECT_TRUE(text.ends_with("xxx...\n"));
  for (const std::string shift : {"", "x"}) {
    const std::string umlauts = written_by([&] {
      debug(Debug::remote, [&] {
        std::string longer = shift;
        for (int i = 0; i < 4000; ++i) longer += "\u00e4";
        return longer;
      });
    });
    EXPECT_TRUE(umlauts.ends_with("\u00e4...\n")) << "no half of a character";
  }
}

/// Two processes with two threads each write at once, and each line stays whole.
TEST_F(DebugLines, LinesOfForkedProcessesAndThreadsStayWhole) {
  constexpr int kLines = 300;
  const test::TempDir directory;
  const std::string path = directory.path() + "/lines";
  ASSERT_TRUE(add_debug("wire"));
  const auto write = [](char letter) {
    for (int i = 0; i < kLines; ++i) {
      debug(Debug::wire, [letter] { return std::string(1500, letter); });
    }
  };
  std::vector<pid_t> children;
  for (const char letter : {'a', 'c'}) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      if (file < 0 || ::dup2(file, STDERR_FILENO) < 0) ::_exit(1);
      std::thread other(write, static_cast<char>(letter + 1));
      write(letter);
      other.join();
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  std::map<char, int> counts;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t at = line.find(" wire: ");
    ASSERT_NE(at, std::string::npos) << line;
    const std::string text = line.substr(at + 7);
    ASSERT_EQ(text, std::string(1500, text.at(0)));
    ++counts[text.at(0)];
  }
  EXPECT_EQ(counts,
            (std::map<char, int>{{'a', kLines}, {'b', kLines}, {'c', kLines}, {'d', kLines}}));
}

/// A process that is forked while other threads log must be able to log: it inherits no lock.
TEST_F(DebugLines, AProcessThatWasForkedWhileOthersLogCanLog) {
  const test::TempDir directory;
  ASSERT_TRUE(add_debug("wire"));
  const int before = ::dup(STDERR_FILENO);
  const int file =
      ::open((directory.path() + "/lines").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_GE(file, 0);
  ASSERT_GE(::dup2(file, STDERR_FILENO), 0);
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&stop] {
      while (!stop.load()) {
        debug(Debug::wire, [] { return "of another thread"; });
        std::this_thread::yield();
      }
    });
  }
  int ended = 0;
  for (int i = 0; i < 50; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::alarm(30);  // ends it if it hangs
      debug(Debug::wire, [] { return "of a child"; });
      ::_exit(0);
    }
    int status = -1;
    if (::waitpid(pid, &status, 0) == pid && status == 0) ++ended;
  }
  stop = true;
  for (std::thread& each : others) each.join();
  ::dup2(before, STDERR_FILENO);
  ::close(before);
  ::close(file);
  EXPECT_EQ(ended, 50);
}

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
