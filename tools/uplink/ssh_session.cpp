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
#include <charconv>
#include <climits>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/text.hpp"
#include "shmif/debug/debug.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"

namespace shmif::tools {

namespace {

constexpr std::string_view kSign = "shmif-uplink ";
constexpr std::size_t kMaxMachineName = 64;
constexpr std::size_t kMaxHelloLine = 256;
constexpr std::size_t kMaxGreeting = std::size_t{64} * 1024;
constexpr std::uint32_t kLeastMtu = 68;
constexpr std::uint32_t kMaxGreetingMtu = 65521;

bool is_name_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

/// Takes `sign` and the number behind it from the front of `text`. Result: whether it was there.
bool take_number(std::string_view& text, std::string_view sign, std::uint32_t& number) {
  if (!text.starts_with(sign)) return false;
  text.remove_prefix(sign.size());
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

Error bad_hello(const std::string& line) {
  return {Errc::bad_argument,
          "the other machine does not speak as an uplink: \"" + base::printable(line) + '"'};
}

}  // namespace

std::string Hello::to_line() const {
  return std::string(kSign) + std::to_string(kVersion) + " mtu=" + std::to_string(mtu) +
         " name=" + name + '\n';
}

Result<Hello> Hello::parse(const std::string& line) {
  std::string_view rest = line;
  std::uint32_t version = 0;
  if (!take_number(rest, kSign, version)) return bad_hello(line);
  if (version != kVersion) {
    return Error(Errc::bad_argument, "the other machine speaks version " + std::to_string(version) +
                                         " of the uplink, and this one version " +
                                         std::to_string(kVersion) +
                                         " (install the same shmifctl on both)");
  }
  Hello hello;
  constexpr std::string_view kNameSign = " name=";
  if (!take_number(rest, " mtu=", hello.mtu) || !rest.starts_with(kNameSign))
    return bad_hello(line);
  hello.name = rest.substr(kNameSign.size());
  const bool well = hello.mtu >= kLeastMtu && hello.mtu <= kMaxGreetingMtu && !hello.name.empty() &&
                    hello.name.size() <= kMaxMachineName &&
                    std::ranges::all_of(hello.name, is_name_character);
  if (!well) return bad_hello(line);
  return hello;
}

std::string machine_name() {
  std::array<char, HOST_NAME_MAX + 1> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer[0] == '\0') return "unnamed";
  std::string name(buffer.data());
  name.resize(std::min(name.size(), kMaxMachineName));
  std::ranges::replace_if(name, [](char c) { return !is_name_character(c); }, '_');
  return name;
}

Result<void> send_hello(int out, const Hello& hello, std::chrono::milliseconds at_most) {
  const std::string what = "cannot greet the other machine";
  const std::string line = hello.to_line();
  pollfd room{.fd = out, .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&room, 1, static_cast<int>(at_most.count()));
  if (ready == 0) return Error(Errc::timed_out, what + ": it does not read");
  // A pipe or a socket with room takes a line of this length as a whole.
  if (::write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return Error::from_errno(errno, what);
  return {};
}

Result<Hello> await_hello(int in, int stop, std::chrono::milliseconds at_most,
                          const Meanwhile& meanwhile) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  std::string line;
  for (std::size_t bytes = 0; bytes < kMaxGreeting;) {
    std::array<pollfd, 3> either{{{.fd = in, .events = POLLIN, .revents = 0},
                                  {.fd = stop, .events = POLLIN, .revents = 0},
                                  {.fd = meanwhile.descriptor, .events = POLLIN, .revents = 0}}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    const int ready = left.count() <= 0
                          ? 0
                          : ::poll(either.data(), either.size(), static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Error::from_errno(errno, "cannot wait for the other machine");
    if (either[1].revents != 0) return Error(Errc::interrupted, "a signal came");
    if (ready == 0) {
      return Error(Errc::timed_out, "the other machine has not answered within " +
                                        std::to_string(at_most.count() / 1000) + " s");
    }
    if (either[2].revents != 0) meanwhile.serve();
    if (either[0].revents == 0) continue;
    char c = 0;  // one at a time: what follows the line is for the link
    const ssize_t got = ::read(in, &c, 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A socket whose other end closed before it had read all is reset.
    if (got < 0 && errno != ECONNRESET)
      return Error::from_errno(errno, "cannot read from the other machine");
    if (got <= 0) return Error(Errc::link_ended, "the other machine has closed the line");
    ++bytes;
    if (c != '\n') {
      if (line.size() < kMaxHelloLine) line += c;
      continue;
    }
    if (line.starts_with(kSign)) return Hello::parse(line);  // of any version
    line.clear();
  }
  return bad_hello(line);
}

namespace {

constexpr std::string_view kCountsSign = "shmif-uplink-counts ";
constexpr std::size_t kMaxCountsLine = 1024;

struct CountRow {
  const char* name;
  std::uint64_t FarCounts::* member;
};
constexpr std::array kCountRows = {
    CountRow{"sent_frames", &FarCounts::sent_frames},
    CountRow{"delivered_frames", &FarCounts::delivered_frames},
    CountRow{"lost_frames", &FarCounts::lost_frames},
    CountRow{"line_full_frames", &FarCounts::line_full_frames},
    CountRow{"too_long_frames", &FarCounts::too_long_frames},
    CountRow{"refused_frames", &FarCounts::refused_frames},
    CountRow{"loops", &FarCounts::loops},
};

}  // namespace

void FarCounts::add(const FarCounts& more) {
  for (const CountRow& row : kCountRows) this->*row.member += more.*row.member;
}

Json FarCounts::to_json() const {
  Json json = Json::object();
  for (const CountRow& row : kCountRows) json[row.name] = this->*row.member;
  return json;
}

std::string FarCounts::to_line() const {
  return std::string(kCountsSign) + to_json().dump();
}

std::optional<FarCounts> FarCounts::parse(const std::string& line) {
  if (!line.starts_with(kCountsSign) || line.size() > kMaxCountsLine) return std::nullopt;
  // Deep nesting is no danger in so short a text.
  const Json json = Json::parse(line.substr(kCountsSign.size()), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  FarCounts counts;
  for (const CountRow& row : kCountRows) {
    const auto found = json.find(row.name);
    if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
    counts.*row.member = found->get<std::uint64_t>();
  }
  return counts;
}

FarCounts far_counts_of(const std::pair<BridgeWay, BridgeWay>& ways, const StreamDrops& drops,
                        const UplinkEnd& end) {
  const auto& [there, back] = ways;
  const tap::DirectionCounters& out = there.counters;
  const tap::DirectionCounters& in = back.counters;
  const WayFates fate_there = fates_of(there);
  const WayFates fate_back = fates_of(back);
  return {
      .sent_frames = fate_there.arrived,
      .delivered_frames = fate_back.arrived,
      .lost_frames = fate_there.lost + fate_back.lost,
      .line_full_frames = out.dropped_full,
      .too_long_frames = out.dropped_too_long + in.dropped_too_long + drops.too_long,
      .refused_frames = fate_there.refused + fate_back.refused + in.dropped_full + drops.too_short,
      .loops = end.why == UplinkEnd::Why::loop ? 1U : 0U};
}

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
