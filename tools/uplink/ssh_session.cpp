#include "tools/uplink/ssh_session.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "base/text.hpp"
#include "shmif/debug/debug.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"

namespace shmif::tools {
namespace {

constexpr std::size_t kMaxErrorLine = 1024;
constexpr std::string_view kFarPrefix = "shmifctl: ";  ///< of what the far program says

/// A word that the shell of the far machine takes as it is.
std::string shell_quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) {
    if (c == '\'') {
      text += "'\\''";
    } else {
      text += c;
    }
  }
  return text + '\'';
}

/// Becomes ssh. It runs between fork() and exec, so it uses only system calls.
[[noreturn]] void become_ssh(char* const* words, int line, int errors, pid_t parent) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  // The analyzer does not know that both descriptors are there.
  if (::getppid() != parent || line < 0 || errors < 0) ::_exit(127);
  ::setpgid(0, 0);  // Ctrl-C ends the uplink, and the uplink ends ssh
  ::dup2(line, STDIN_FILENO);
  ::dup2(line, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  ::execvp(words[0], words);
  constexpr std::string_view kNoSsh = "cannot execute ssh\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kNoSsh.data(), kNoSsh.size());
  ::_exit(127);
}

}  // namespace

std::vector<std::string> ssh_command(const std::vector<std::string>& options,
                                     const std::string& host, const std::string& command) {
  std::vector<std::string> words{"ssh"};
  for (const std::string& option : options) words.insert(words.end(), {"-o", option});
  // The far end gets a line and nothing else: no terminal, no agent, no forwarded ports.
  for (const char* const option :
       {"BatchMode=yes", "ServerAliveInterval=2", "ServerAliveCountMax=3", "ConnectTimeout=10",
        "ClearAllForwardings=yes"}) {
    words.insert(words.end(), {"-o", option});
  }
  words.insert(words.end(), {"-T", "-a", "-x", "-e", "none", "--", host, command});
  return words;
}

std::vector<std::string> ssh_words(const UplinkWish& wish) {
  std::string command = wish.far_program + " uplink --stdio";
  if (!wish.port_name.empty()) command += " --port-name " + shell_quoted(wish.port_name);
  command += " -- " + shell_quoted(wish.far.path);
  return ssh_command(wish.ssh_options, wish.far.host, command);
}

SshSession::SshSession(const std::vector<std::string>& words, std::string host)
    : host_(std::move(host)) {
  std::array<int, 2> pair{-1, -1};
  std::array<int, 2> pipe{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    throw Exception(Error::from_errno(errno, "cannot make a socket pair"));
  line_ = UniqueFd(pair[0]);
  const UniqueFd theirs(pair[1]);
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0)
    throw Exception(Error::from_errno(errno, "cannot make a pipe"));
  errors_ = UniqueFd(pipe[0]);
  const UniqueFd their_errors(pipe[1]);
  ::fcntl(errors_.get(), F_SETFL, O_NONBLOCK);
  std::vector<std::string> copies = words;
  const std::vector<char*> pointers = argv_of(copies);
  debug(Debug::process, [&] {
    std::string text = "starts";
    for (const std::string& word : words) text += ' ' + word;
    return text;
  });
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become_ssh(pointers.data(), theirs.get(), their_errors.get(), parent);
  if (pid_ < 0) throw Exception(Error::from_errno(errno, "cannot start ssh"));
}

SshSession::~SshSession() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
}

bool SshSession::read_errors() {
  std::array<char, 4096> chunk{};
  const ssize_t got = ::read(errors_.get(), chunk.data(), chunk.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) {
    if (!begun_.empty()) take_error_line(std::exchange(begun_, {}));
    return false;
  }
  for (const char c : std::string_view(chunk.data(), static_cast<std::size_t>(got))) {
    if (c != '\n' && begun_.size() < kMaxErrorLine) {
      begun_ += c;
      continue;
    }
    take_error_line(std::exchange(begun_, {}));
  }
  return true;
}

void SshSession::take_error_line(const std::string& line) {
  if (auto counts = FarCounts::parse(line)) {
    far_counts_ = *counts;
    return;
  }
  std::string text = base::printable(line);
  while (text.ends_with('?') || text.ends_with(' ')) text.pop_back();  // a carriage return
  if (text.empty()) return;
  // Of ssh: "Warning: Permanently added ...", "** WARNING: connection is not using ...".
  if (!text.starts_with("Warning: ") && !text.starts_with("** ")) last_line_ = text;
  if (!is_quiet_ && lines_.take(LineBudget::Clock::now())) complain(host_ + ": " + text);
}

std::string SshSession::why_ended() const {
  constexpr int kFailureOfSsh = 255;
  if (!status_) return last_line_.starts_with(kFarPrefix) ? "" : last_line_;
  if (WIFSIGNALED(*status_)) {
    const char* const name = ::strsignal(WTERMSIG(*status_));
    return "ssh was ended by signal " + std::to_string(WTERMSIG(*status_)) + " (" +
           (name == nullptr ? "?" : name) + ')';
  }
  const int code = WEXITSTATUS(*status_);
  // What the far program said while it ran is no reason for a failure of ssh.
  return code == 0 || (code == kFailureOfSsh && last_line_.starts_with(kFarPrefix)) ? ""
                                                                                    : last_line_;
}

void SshSession::end(std::chrono::milliseconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  line_.reset();
  bool is_open = true;
  while (is_open) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd more{.fd = errors_.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&more, 1, static_cast<int>(left.count())) == 0) break;
    is_open = read_errors();
  }
  if (pid_ <= 0) return;
  // ssh has closed its standard error, so it ends now.
  while (!is_open && std::chrono::steady_clock::now() < until) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      status_ = status;
      pid_ = -1;
      return;
    }
    ::poll(nullptr, 0, 2);
  }
  // The far end has closed its standard error, or has not in time. ssh itself ends at SIGTERM.
  ::kill(pid_, SIGTERM);
  for (;;) {  // runs until `until` at most
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return;
    }
    if (std::chrono::steady_clock::now() >= until) return;  // the destructor kills it
    ::poll(nullptr, 0, 2);
  }
}

}  // namespace shmif::tools
