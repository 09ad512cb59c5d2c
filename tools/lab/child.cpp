#include "tools/lab/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>

#include "base/descriptors.hpp"
#include "base/signals.hpp"
#include "tools/common/program.hpp"

extern char** environ;

namespace shmif::tools {

namespace {

/// Our environment with other values for some names.
std::vector<std::string> joined_environment(
    const std::vector<std::pair<std::string, std::string>>& others) {
  std::vector<std::string> all;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view line(*each);
    bool replaced = false;
    for (const auto& [name, value] : others) {
      replaced = replaced || (line.starts_with(name) && line.substr(name.size()).starts_with('='));
    }
    if (!replaced) all.emplace_back(line);
  }
  for (const auto& [name, value] : others)
    all.push_back(std::string(name).append(1, '=').append(value));
  return all;
}

void write_short(const std::string& path, const char* text) noexcept {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, text, std::strlen(text));
  ::close(file);
}

/// All that the new process does before it is another program, or does the work of `body`: only
/// system calls.
[[noreturn]] void become_lab_program(const ChildWish& wish, pid_t parent, int output, int line,
                                     char* const* words, char* const* environment,
                                     const base::SignalState& signals) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, wish.on_death);
  if (::getppid() != parent) ::_exit(125);  // it died before the prctl()
  for (const std::string& group : wish.groups) write_short(group + "/cgroup.procs", "0");
  if (const int none = ::open("/dev/null", O_RDONLY); none >= 0) ::dup2(none, STDIN_FILENO);
  if (output >= 0) {
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
  }
  if (line >= 0) {
    ::dup2(line, STDIN_FILENO);
    ::dup2(line, STDOUT_FILENO);
  }
  base::close_all_but({}, STDERR_FILENO + 1);
  if (!wish.folder.empty() && ::chdir(wish.folder.c_str()) != 0) ::_exit(125);
  signals.restore();
  if (wish.body || wish.program.empty()) {
    environ = const_cast<char**>(environment);
    const int code = wish.body ? wish.body() : run_in_child(wish.words, wish.in_host);
    std::fflush(nullptr);
    ::_exit(code);
  }
  ::execvpe(wish.program.c_str(), words, environment);
  ::_exit(127);
}

}  // namespace

Result<LabChild> LabChild::start(const ChildWish& wish) {
  std::vector<std::string> words = wish.words;
  words.insert(words.begin(), wish.program);
  std::vector<std::string> environment = joined_environment(wish.environment);
  const std::vector<char*> argv = argv_of(words);
  const std::vector<char*> envp = argv_of(environment);
  std::array<int, 2> ends{-1, -1};
  if (wish.catch_output && ::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error::from_errno(errno, "cannot make a pipe for the output of a program");
  }
  LabChild child;
  child.output_.reset(ends[0]);
  const UniqueFd far_end(ends[1]);
  if (child.output_) ::fcntl(child.output_.get(), F_SETFL, O_NONBLOCK);
  std::array<int, 2> pair{-1, -1};
  if (wish.has_line && ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "cannot make a socket pair");
  }
  child.line_.reset(pair[0]);
  const UniqueFd far_line(pair[1]);
  const base::SignalState signals = base::state_for_programs(base::SignalState::now());
  const pid_t parent = ::getpid();
  child.pid_ = ::fork();
  if (child.pid_ == 0) {
    become_lab_program(wish, parent, far_end.get(), far_line.get(), argv.data(), envp.data(),
                       signals);
  }
  if (child.pid_ < 0) {
    child.pid_ = 0;
    return Error::from_errno(errno, "cannot start a process");
  }
  child.process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0U)));
  if (!child.process_) return Error::from_errno(errno, "cannot watch a process");
  return child;
}

LabChild& LabChild::operator=(LabChild&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(process_, other.process_);
  std::swap(output_, other.output_);
  std::swap(line_, other.line_);
  return *this;
}

LabChild::~LabChild() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool LabChild::read_output(std::string& into) {
  std::array<char, 65536> buffer{};
  const std::size_t most = into.size() + (has_ended() ? kMaxReadAtEnd : kMaxRead);
  while (output_) {
    if (into.size() >= most) return true;  // a program that prints without a pause
    const ssize_t n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(n));
      if (static_cast<std::size_t>(n) < buffer.size()) return true;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    output_.reset();
  }
  return false;
}

std::optional<int> LabChild::take_end() {
  if (pid_ <= 0) return std::nullopt;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
  pid_ = 0;
  process_.reset();
  if (ended < 0) return 125;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void LabChild::signal(int number) const noexcept {
  if (pid_ > 0) ::kill(pid_, number);
}

Result<std::pair<int, std::string>> run_short(const ChildWish& wish) {
  Result<LabChild> child = LabChild::start(wish);
  if (!child) return std::move(child).error();
  std::string said;
  while (child->read_output(said)) {
    pollfd entry{child->output(), POLLIN, 0};
    ::poll(&entry, 1, -1);
  }
  pollfd entry{child->process(), POLLIN, 0};
  std::optional<int> status;
  while (!(status = child->take_end())) ::poll(&entry, 1, -1);
  return std::pair(*status, std::move(said));
}

LabKeeper::LabKeeper(const char* name, const std::string& what, Works works,
                     const std::function<void()>& work)
    : works_(works) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Exception(Error::from_errno(errno, "cannot make a pipe"));
  }
  line_.reset(ends[1]);
  const UniqueFd far_end(ends[0]);
  pid_ = ::fork();
  if (pid_ < 0) throw Exception(Error::from_errno(errno, "cannot start " + what));
  if (pid_ > 0) return;
  ::setsid();
  ::prctl(PR_SET_NAME, name);
  base::close_all_but({far_end.get()}, 0);
  for (int stream = ::open("/dev/null", O_RDWR); stream >= 0 && stream < STDERR_FILENO;) {
    stream = ::dup(stream);
  }
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
  char word = 0;
  ssize_t n = 0;
  do {
    n = ::read(far_end.get(), &word, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 0) work();
  ::_exit(0);
}

LabKeeper::~LabKeeper() {
  const char word = 'x';
  if (works_ == Works::if_killed) static_cast<void>(!::write(line_.get(), &word, 1));
  line_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

LabMarks::LabMarks(std::size_t count) : bytes_(std::max<std::size_t>(count, 1)) {
  void* const memory =
      ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Exception(Error::from_errno(errno, "cannot share memory with the hosts of the lab"));
  }
  marks_ = static_cast<std::atomic<bool>*>(memory);
  static_assert(sizeof(std::atomic<bool>) == 1 && std::atomic<bool>::is_always_lock_free);
  std::uninitialized_value_construct_n(marks_, bytes_);
}

LabMarks::~LabMarks() {
  ::munmap(marks_, bytes_);
}

std::optional<pid_t> init_of_lab_host(pid_t supervisor) {
  const std::string text = std::to_string(supervisor);
  std::ifstream children("/proc/" + text + "/task/" + text + "/children");
  for (pid_t each = 0; children >> each;) {
    std::ifstream name("/proc/" + std::to_string(each) + "/comm");
    std::string word;
    if (name >> word && word == "shmif-init") return each;
  }
  return std::nullopt;
}

std::string end_text(int status) {
  if (status > 128 && status < 128 + 65) {
    const char* const name = ::strsignal(status - 128);
    return "was ended by signal " + std::to_string(status - 128) + " (" +
           (name == nullptr ? "?" : name) + ')';
  }
  return "ended with exit code " + std::to_string(status);
}

}  // namespace shmif::tools
