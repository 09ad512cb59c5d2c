#include "instruments/watch/held_child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/signals.hpp"
#include "bus/file/output_file.hpp"

namespace shmif::perf {
namespace {

constexpr int kNotExecuted = 125;

/// Where a child failed, and why. An empty message (end of the connection) means that it did not
/// fail.
struct Failure {
  enum class Of : int { none, output, cpu, program } of = Of::none;
  int number = 0;
  bool gains_rights = false;  ///< of a child that is ready
};

/// Looks at the file that execvp(3) would execute. A look at a file system that does not answer
/// blocks, so only the child looks.
bool gains_rights(const char* program) noexcept {
  const auto found = [](const char* path, bool& gains) {
    struct stat file{};
    if (::access(path, X_OK) != 0 || ::stat(path, &file) != 0 || !S_ISREG(file.st_mode)) {
      return false;
    }
    gains = (file.st_mode & (S_ISUID | S_ISGID)) != 0 ||
            ::getxattr(path, "security.capability", nullptr, 0) > 0;
    return true;
  };
  bool gains = false;
  const char* const path = ::getenv("PATH");
  std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
  if (std::strchr(program, '/') != nullptr) return found(program, gains) && gains;
  std::array<char, PATH_MAX> each;
  for (bool is_last = false; !is_last;) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string_view folder = end == 0 ? "." : rest.substr(0, end);
    const int size = std::snprintf(each.data(), each.size(), "%.*s/%s",
                                   static_cast<int>(folder.size()), folder.data(), program);
    if (size > 0 && static_cast<std::size_t>(size) < each.size() && found(each.data(), gains)) {
      return gains;
    }
    is_last = end == rest.size();
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

[[noreturn]] void fail(int gate, Failure::Of of) noexcept {
  const Failure failure{of, errno};
  (void)!::write(gate, &failure, sizeof failure);
  ::_exit(kNotExecuted);
}

/// Runs in the forked child. Makes only calls that are safe after a process with threads has
/// forked.
[[noreturn]] void run_child(char* const* argv, const ChildOptions& options, int output, int gate,
                            pid_t parent) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kNotExecuted);
  if (options.own_group) ::setpgid(0, 0);
  base::state_for_programs({}).restore();  // no state noted: block and ignore no signal
  if (options.no_input) {
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  }
  if (output >= 0) {
    if (::dup2(output, STDOUT_FILENO) < 0 || ::dup2(output, STDERR_FILENO) < 0) {
      fail(gate, Failure::Of::output);
    }
  }
  if (options.cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(*options.cpu), &one);
    if (::sched_setaffinity(0, sizeof one, &one) != 0) fail(gate, Failure::Of::cpu);
  }
  Failure ready;
  ready.gains_rights = gains_rights(argv[0]);
  if (::write(gate, &ready, sizeof ready) != sizeof ready) ::_exit(kNotExecuted);
  char go = 0;
  if (::read(gate, &go, 1) != 1) ::_exit(kNotExecuted);  // the owner no longer wants the program
  ::execvp(argv[0], argv);
  fail(gate, Failure::Of::program);
}

/// Reads the child's next message. Blocks: until the child sends one, has ended, or executes its
/// program.
Failure hear(int gate) noexcept {
  Failure failure;
  ssize_t got = 0;
  do {
    got = ::read(gate, &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  return got == sizeof failure ? failure : Failure{};
}

Error error_of(Failure failure, const std::string& name, const ChildOptions& options) {
  switch (failure.of) {
    case Failure::Of::output:
      return Error::from_errno(failure.number,
                               "cannot run " + name + " with its output in " + options.output);
    case Failure::Of::cpu:
      return Error::from_errno(failure.number,
                               "cannot run " + name + " on CPU " + std::to_string(*options.cpu),
                               "there is no such CPU, or this process may not use it");
    case Failure::Of::program:
    case Failure::Of::none: break;
  }
  const bool in_path = name.find('/') == std::string::npos;
  const char* const advice = failure.number != ENOENT ? "is it a program that you may execute?"
                             : in_path
                                 ? "no such program in PATH"
                                 : "the file, or the interpreter that it names, does not exist";
  return Error::from_errno(failure.number, "cannot run " + name, advice);
}

}  // namespace

Result<HeldChild> HeldChild::start(const ChildOptions& options) {
  if (options.argv.empty()) return Error(Errc::bad_argument, "a command without words");
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "cannot run " + options.argv[0]);
  }
  HeldChild child;
  child.gate_.reset(pair[0]);
  UniqueFd theirs(pair[1]);
  child.name_ = options.argv[0];
  child.own_group_ = options.own_group;
  bus::OutputFile output;
  if (!options.output.empty()) {
    auto file = bus::OutputFile::open_stream(
        options.output,
        {.what = "cannot run " + child.name_ + " with its output in " + options.output});
    if (!file) return std::move(file).error();
    if (auto started = file->start({}); !started) return std::move(started).error();
    output = *std::move(file);
  }
  std::vector<char*> words;
  words.reserve(options.argv.size() + 1);
  for (const std::string& word : options.argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t self = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "cannot run " + options.argv[0]);
  if (pid == 0) run_child(words.data(), options, output.descriptor(), theirs.get(), self);
  theirs.reset();
  child.pid_ = pid;
  child.file_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!child.file_) return Error::from_errno(errno, "cannot watch " + options.argv[0]);
  const Failure failure = hear(child.gate_.get());
  if (failure.of != Failure::Of::none) return error_of(failure, child.name_, options);
  child.gains_rights_ = failure.gains_rights;
  return child;
}

HeldChild::HeldChild(HeldChild&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      own_group_(other.own_group_),
      gains_rights_(other.gains_rights_),
      file_(std::move(other.file_)),
      gate_(std::move(other.gate_)),
      name_(std::move(other.name_)),
      status_(other.status_),
      failure_(other.failure_) {}

HeldChild::~HeldChild() {
  give_up();
}

void HeldChild::give_up() noexcept {
  if (pid_ < 0) return;
  kill(SIGKILL);
  constexpr std::chrono::seconds kForItsEnd{2};
  static_cast<void>(ends_within(kForItsEnd));
  pid_ = -1;
}

Result<void> HeldChild::release(const std::function<void()>& meanwhile) {
  (void)::send(gate_.get(), "", 1, MSG_NOSIGNAL);
  meanwhile();
  const Failure failure = hear(gate_.get());
  gate_.reset();
  if (failure.of == Failure::Of::none) return {};
  failure_ = failure.number == ENOENT ? 127 : 126;
  wait();
  return error_of(failure, name_, {});
}

std::optional<int> HeldChild::ended() {
  int status = 0;
  if (!status_ && pid_ >= 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

bool HeldChild::ends_within(std::chrono::milliseconds at_most) {
  pollfd end{.fd = file_.get(), .events = POLLIN, .revents = 0};
  if (!status_ && file_ && ::poll(&end, 1, static_cast<int>(at_most.count())) > 0) wait();
  return status_.has_value();
}

int HeldChild::wait() {
  int status = 0;
  while (!status_) {  // until it has ended
    if (::waitpid(pid_, &status, 0) == pid_) status_ = status;
    // If this process ignores SIGCHLD, the kernel does not keep the status.
    if (!status_ && errno != EINTR) status_ = 0;
  }
  return *status_;
}

void HeldChild::kill(int signal) noexcept {
  if (pid_ < 0 || status_) return;
  // The child may not have made its group yet.
  if (own_group_) ::kill(-pid_, signal);
  ::kill(pid_, signal);
}

int shell_status(int wait_status) noexcept {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace shmif::perf
