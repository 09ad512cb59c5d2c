// Commands that a run executes: what they find, where their output goes, and how they end.

#include "perf/worker/worker.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::run_commands {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string failure_of(const Result<void>& result) {
  return result ? "" : result.error().message;
}

TEST(CommandOfARun, HasNothingToReadAndTheSignalsOfAnyProgram) {
  // What this process has is not for the command: input, and signals ignored or blocked.
  const UniqueFd own_input(::dup(STDIN_FILENO));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "text", 4), 4);
  ::dup2(ends[0], STDIN_FILENO);
  ::close(ends[0]);
  ::close(ends[1]);
  const std::vector<int> numbers{SIGINT, SIGHUP, SIGPIPE, SIGUSR1};
  std::vector<void (*)(int)> before;
  for (const int number : numbers) before.push_back(::signal(number, SIG_IGN));
  sigset_t blocked;
  sigset_t old;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &old);
  const test::TempDir dir;
  const std::string output = dir.file("out");
  // A program of its own, for a shell changes what it ignores.
  const auto status = run_command({"grep", "-E", "SigIgn|SigBlk", "/proc/self/status"}, output,
                                  [] { return false; });
  const auto read = run_command({"cat"}, dir.file("read"), [] { return false; });
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
  for (std::size_t i = 0; i < numbers.size(); ++i) ::signal(numbers[i], before[i]);
  ::dup2(own_input.get(), STDIN_FILENO);
  EXPECT_EQ(failure_of(status), "");
  EXPECT_EQ(failure_of(read), "");
  EXPECT_EQ(content_of(dir.file("read")), "");
  std::ifstream file(output);
  std::string name;
  std::string mask;
  int masks = 0;
  for (; file >> name >> mask; ++masks) {
    const unsigned long long bits = std::stoull(mask, nullptr, 16);
    if (name == "SigBlk:") {
      EXPECT_EQ(bits, 0U);
    }
    for (const int number : numbers) {
      EXPECT_EQ(bits >> static_cast<unsigned>(number - 1) & 1U, 0U) << name << ' ' << number;
    }
  }
  EXPECT_EQ(masks, 2);
}

TEST(CommandOfARun, InheritsNoDescriptorBesideItsInputAndItsOutputs) {
  std::size_t inheritable = 0;  // those of whoever started this program
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    if (fd > 2 && (::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) ++inheritable;
  }
  const test::TempDir dir;
  EXPECT_EQ(failure_of(run_command({"ls", "/proc/self/fd"}, dir.file("out"), [] { return false; })),
            "");
  std::ifstream file(dir.file("out"));
  std::size_t more = 0;
  for (int fd = 0; file >> fd;) more += fd > 2 ? 1 : 0;
  EXPECT_EQ(more, inheritable + 1) << "the directory that ls reads";
}

TEST(CommandOfARun, ThatIsToEndEarlyEndsWithAllThatItHasStarted) {
  const test::TempDir dir;
  const std::string output = dir.file("out");
  const auto has_told = [&] { return content_of(output).ends_with('\n'); };
  EXPECT_EQ(failure_of(run_command({"sh", "-c", "sleep 1000 & echo $!; wait"}, output, has_told)),
            "sh did not end in time, and was killed");
  const std::string pid = content_of(output).substr(0, content_of(output).find('\n'));
  ASSERT_FALSE(pid.empty());
  // Its parent is gone: somebody else buries it, sooner or later.
  const auto runs = [&] {
    const std::string stat = content_of("/proc/" + pid + "/stat");
    return !stat.empty() && stat.find(") Z ") == std::string::npos;
  };
  for (int i = 0; i < 2000 && runs(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_FALSE(runs()) << pid;
  ::kill(static_cast<pid_t>(std::stol(pid)), SIGKILL);  // should it run all the same
}

/// Whether a process is there, and not only its exit status.
bool lives(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  const char state = text.at(text.rfind(')') + 2);
  return state != 'Z' && state != 'X';
}

TEST(CommandOfARun, DiesWithTheOneWhoRunsIt) {
  const test::TempDir dir;
  const std::string told = dir.file("pid");
  const pid_t runner = ::fork();
  ASSERT_GE(runner, 0);
  if (runner == 0) {
    (void)run_command(
        {"sh", "-c", "echo $$ > " + told + ".new; mv " + told + ".new " + told + "; exec sleep 20"},
        {}, [] { return false; });
    ::_exit(0);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  const auto wait_for = [&](const auto& happened) {
    while (!happened() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return happened();
  };
  EXPECT_TRUE(wait_for([&] { return std::filesystem::exists(told); }));
  ::kill(runner, SIGKILL);
  EXPECT_EQ(::waitpid(runner, nullptr, 0), runner);
  pid_t command = 0;
  std::ifstream(told) >> command;
  ASSERT_GT(command, 0);
  EXPECT_TRUE(wait_for([&] { return !lives(command); }));
  if (lives(command)) ::kill(command, SIGKILL);
}

}  // namespace
}  // namespace shmif::perf::run_commands
