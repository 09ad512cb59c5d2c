#pragma once
// Runs programs from tests: feeds standard input, collects standard output and error, bounds the
// time.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"

extern char** environ;

namespace shmif::test {

using Words = std::vector<std::string>;

inline Words operator+(Words first, const Words& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

/// Whether `part` stands in `text`. A failure shows both.
inline testing::AssertionResult contains(const std::string& text, const std::string& part) {
  const bool is_there = text.find(part) != std::string::npos;
  return (is_there ? testing::AssertionSuccess() : testing::AssertionFailure())
         << "\"" << part << "\" is " << (is_there ? "" : "not ") << "in:\n"
         << text;
}

/// How a program ended and what it said.
struct ToolResult {
  int status = -1;  ///< exit code, or 128 plus the number of the signal that ended it
  std::string out;
  std::string err;
  bool timed_out = false;  ///< it was still running at the end of its time and was killed
};

/// A program that runs beside the test. The destructor kills it.
/// Threads: one at a time.
class Tool {
 public:
  /// Starts `argv` (argv[0] is searched for in PATH), with `input` as its standard input.
  explicit Tool(std::vector<std::string> argv, std::string input = {}) : input_(std::move(input)) {
    std::array<int, 2> in{}, out{}, err{};
    if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0 ||
        pipe2(err.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("pipe2");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    // A program that ends without reading its input must not end the test; it itself gets the
    // default.
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> words;
    for (std::string& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    const int failure = posix_spawnp(&pid_, words[0], &actions, &attributes, words.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    in_ = in[1];
    out_ = out[0];
    err_ = err[0];
    if (failure != 0) {
      pid_ = -1;
      close_all();
      throw std::runtime_error("cannot start " + argv[0]);
    }
    for (const int fd : {in_, out_, err_}) fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  Tool(const Tool&) = delete;
  Tool& operator=(const Tool&) = delete;
  ~Tool() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close_all();
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }
  /// Stops it with SIGSTOP, and returns when it stands, or has ended.
  void stop() const {
    siginfo_t seen{};
    signal(SIGSTOP);
    if (pid_ > 0) waitid(P_PID, static_cast<id_t>(pid_), &seen, WSTOPPED | WEXITED | WNOWAIT);
  }

  /// Waits until `text` has appeared on standard output or error. Result: a failure, which shows
  /// what it has said, when the program ended or the time was up without it.
  testing::AssertionResult wait_for(const std::string& text,
                                    std::chrono::milliseconds at_most = kGenerousTime) {
    const auto deadline = Clock::now() + at_most;
    while (!contains(result_.out, text) && !contains(result_.err, text)) {
      if ((out_ < 0 && err_ < 0) || !pump(deadline))
        return contains(result_.out + result_.err, text);
    }
    return testing::AssertionSuccess();
  }

  /// Waits for the end, kills the program when `at_most` has passed. Result: everything it said.
  ToolResult finish(std::chrono::milliseconds at_most = kGenerousTime) {
    const auto deadline = Clock::now() + at_most;
    while (out_ >= 0 || err_ >= 0) {
      // A descendant may hold the pipes open: the end of the program itself is what counts.
      if (ended()) break;
      if (!pump(std::min(deadline, Clock::now() + std::chrono::milliseconds(20))) &&
          Clock::now() >= deadline) {
        break;
      }
    }
    while (!ended() && Clock::now() < deadline) usleep(2000);
    if (!ended()) {
      result_.timed_out = true;
      ::kill(pid_, SIGKILL);
      reap(0);
    }
    while (pump(Clock::now())) {
    }
    return result_;
  }

  /// What it has said up to the last wait_for().
  const ToolResult& so_far() const { return result_; }

 private:
  using Clock = std::chrono::steady_clock;

  static void close_one(int& fd) {
    if (fd >= 0) close(fd);
    fd = -1;
  }
  void close_all() {
    close_one(in_);
    close_one(out_);
    close_one(err_);
  }

  bool reap(int flags) {
    int status = 0;
    if (pid_ <= 0) return true;
    if (waitpid(pid_, &status, flags) != pid_) return false;
    result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    pid_ = -1;
    return true;
  }
  bool ended() { return reap(WNOHANG); }

  static bool drain(int& fd, std::string& into) {
    std::array<char, 65536> buffer;
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(n));
      return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) close_one(fd);
    return false;
  }

  void feed() {
    if (written_ < input_.size()) {
      const ssize_t n = write(in_, input_.data() + written_, input_.size() - written_);
      if (n > 0) written_ += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN && errno != EINTR) close_one(in_);
    }
    if (in_ >= 0 && written_ == input_.size()) close_one(in_);
  }

  /// Moves bytes until something came, or the deadline. Result: false when nothing came.
  bool pump(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    std::array<pollfd, 3> entries{
        {{out_, POLLIN, 0}, {err_, POLLIN, 0}, {in_, static_cast<short>(POLLOUT), 0}}};
    if (poll(entries.data(), entries.size(), left > 0 ? static_cast<int>(left) : 0) <= 0) {
      return false;
    }
    bool moved = false;
    if (entries[0].revents != 0) moved |= drain(out_, result_.out);
    if (entries[1].revents != 0) moved |= drain(err_, result_.err);
    if (entries[2].revents != 0) {
      feed();
      moved = true;
    }
    return moved;
  }

  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::string input_;
  std::size_t written_ = 0;
  ToolResult result_;
};

inline std::int64_t count_of_lines(const std::string& text) {
  return std::ranges::count(text, '\n');
}

/// How often `part` stands in `text`.
inline std::size_t times_in(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) {
    ++count;
  }
  return count;
}

/// The shmifctl under test: the one this build made, or the one that SHMIFCTL in the environment
/// names.
inline std::string shmifctl_path() {
  const char* const given = std::getenv("SHMIFCTL");
  return given != nullptr ? given : in_build("tools/shmifctl");
}

/// The shmifperf that this build made.
inline std::string shmifperf_path() {
  return in_build("tools/shmifperf");
}

/// Runs a program to its end.
inline ToolResult run_program(std::vector<std::string> argv, std::string input = {},
                              std::chrono::milliseconds at_most = kGenerousTime) {
  return Tool(std::move(argv), std::move(input)).finish(at_most);
}

/// Runs `shmifctl ARGUMENTS` to its end.
inline ToolResult run_tool(std::vector<std::string> arguments, std::string input = {},
                           std::chrono::milliseconds at_most = kGenerousTime) {
  arguments.insert(arguments.begin(), shmifctl_path());
  return run_program(std::move(arguments), std::move(input), at_most);
}

/// Whether an ordinary user may execute the program at all (a build tree below /root is closed).
inline bool others_can_run_tool() {
  return run_program({"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups",
                      shmifctl_path(), "--version"})
             .status == 0;
}

}  // namespace shmif::test
