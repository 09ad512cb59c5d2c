#include "perf/worker/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "base/unique_fd.hpp"

namespace shmif::perf {
namespace {

/// In the forked child: sets up what a program expects, then executes the program. The program dies
/// when its parent does.
[[noreturn]] void execute(char* const* argv, const char* output, int failure_pipe, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(125);
  ::setpgid(0, 0);  // so that the processes it starts are killed with it
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

/// Result: the child's process id, or a negative errno. The other end of `failure_pipe` tells why
/// the program could not be executed.
pid_t start(const std::vector<std::string>& argv, const std::string& output, int failure_pipe) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    execute(words.data(), output.empty() ? nullptr : output.c_str(), failure_pipe, self);
  }
  ::setpgid(pid, pid);  // parent and child both do this: one of them is first
  return pid;
}

/// Result: the child's wait status; empty when it was killed.
std::optional<int> await_end(pid_t pid, const std::function<bool()>& ended_early) {
  constexpr int kLookEveryMs = 20;
  // If there is no pidfd, as on old kernels, the loop checks at every interval.
  const UniqueFd ends(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  bool killed = false;
  for (;;) {  // runs until the child has ended; a killed child ends
    int status = 0;
    if (::waitpid(pid, &status, killed ? 0 : WNOHANG) == pid) {
      return killed ? std::nullopt : std::optional(status);
    }
    if (!killed && ended_early()) {
      ::kill(-pid, SIGKILL);
      ::kill(pid, SIGKILL);  // the child may not have made its group yet
      killed = true;
      continue;
    }
    pollfd end{ends.get(), POLLIN, 0};
    ::poll(&end, 1, kLookEveryMs);
  }
}

}  // namespace

Result<void> run_command(const std::vector<std::string>& argv, const std::string& output,
                         const std::function<bool()>& ended_early) {
  if (argv.empty()) return Error(Errc::bad_argument, "a command without words");
  const auto not_run = [&](int number) {
    return Error::from_errno(
        number, "cannot run " + argv[0] + (output.empty() ? "" : " with its output in " + output));
  };
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return not_run(errno);
  const UniqueFd read_end(pipe[0]);
  UniqueFd write_end(pipe[1]);
  const pid_t pid = start(argv, output, write_end.get());
  if (pid < 0) return not_run(-pid);
  write_end.reset();
  const auto status = await_end(pid, ended_early);
  if (!status) {
    return Error(Errc::bad_argument, argv[0] + " did not end in time, and was killed");
  }
  int number = 0;
  if (::read(read_end.get(), &number, sizeof number) == static_cast<ssize_t>(sizeof number)) {
    return not_run(number);
  }
  if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return {};
  const std::string how = WIFEXITED(*status) ? "status " + std::to_string(WEXITSTATUS(*status))
                                             : "signal " + std::to_string(WTERMSIG(*status));
  return Error(Errc::bad_argument,
               argv[0] + " ended with " + how +
                   (output.empty() ? "" : " (its output is in " + output + ')'));
}

}  // namespace shmif::perf
