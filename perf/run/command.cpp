#include "perf/run/command.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "bus/unique_fd.hpp"

namespace shmif::perf {
namespace {

/// In the forked child: everything that a program expects, then the program. It dies with us.
[[noreturn]] void execute(char* const* argv, const char* output, int failure_pipe, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(125);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGHUP, SIGPIPE, SIGUSR1}) ::signal(number, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  bool ready = true;
  if (output != nullptr) {
    const int file = ::open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    ready = file >= 0 && ::dup2(file, STDOUT_FILENO) >= 0 && ::dup2(file, STDERR_FILENO) >= 0;
  }
  if (ready) ::execvp(argv[0], argv);
  const int number = errno;
  (void)!::write(failure_pipe, &number, sizeof number);
  ::_exit(125);
}

/// Result: 0, or why it could not be executed.
int start(const std::vector<std::string>& argv, const std::string& output, pid_t& pid) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return errno;
  const UniqueFd read_end(pipe[0]);
  UniqueFd write_end(pipe[1]);
  const pid_t self = ::getpid();
  pid = ::fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    execute(words.data(), output.empty() ? nullptr : output.c_str(), write_end.get(), self);
  }
  write_end.reset();
  int number = 0;
  if (::read(read_end.get(), &number, sizeof number) != static_cast<ssize_t>(sizeof number)) {
    return 0;
  }
  ::waitpid(pid, nullptr, 0);
  return number;
}

}  // namespace

Result<void> run_command(const std::vector<std::string>& argv, const std::string& output) {
  if (argv.empty()) return Error(Errc::bad_argument, "a command without words");
  pid_t pid = 0;
  if (const int failure = start(argv, output, pid); failure != 0) {
    return Error::from_errno(
        failure, "cannot run " + argv[0] + (output.empty() ? "" : " with its output in " + output));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return Error::from_errno(errno, "cannot wait for " + argv[0]);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string how = WIFEXITED(status) ? "status " + std::to_string(WEXITSTATUS(status))
                                            : "signal " + std::to_string(WTERMSIG(status));
  return Error(Errc::bad_argument,
               argv[0] + " ended with " + how +
                   (output.empty() ? "" : " (its output is in " + output + ')'));
}

}  // namespace shmif::perf
