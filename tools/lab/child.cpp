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
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/descriptors.hpp"
#include "base/signals.hpp"
#include "base/text.hpp"
#include "tools/common/program.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/lab/state.hpp"

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

namespace {

// Hosts of a lab that are containers of podman.

constexpr const char* kEngine = "podman";
/// How long a container may take to end after its SIGTERM.
constexpr const char* kContainerGrace = "1";
constexpr const char* kInterfacePatience = "60";
/// How long podman may take, on a busy machine, to tell the exit code of a container that has
/// ended; and how long a container may take to end of which an interface is gone.
constexpr int kTellPatienceMs = 30'000;
constexpr int kEndPatienceMs = 2'000;
/// podman starts a program in far less than a second. A program that has the name of the runtime
/// counts as started after this time.
constexpr int kStartLookMs = 20;
constexpr int kMaxStartLooks = 500;
constexpr std::size_t kMaxPidBytes = 32;

/// What the runner of a container needs to know.
struct ContainerWish {
  std::string name;                       ///< for podman
  std::vector<std::string> options{};     ///< of `podman create`
  std::string text{};                     ///< the rest of its command line, for a shell
  std::vector<std::string> interfaces{};  ///< the paths of the buses, one for each
  /// Of `shmifctl tap`, for each interface, without --netns.
  std::vector<std::vector<std::string>> tap_words{};
  std::string port;      ///< its name on each bus
  std::string pid_file;  ///< gets the pid of its first process
  /// Its /etc/resolv.conf, as a file and what is in there; empty: that of podman.
  std::string resolver_file{};
  std::string resolver_text{};
};

/// What the keeper does when the runner has ended (K1).
void remove_container(const std::string& name) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_DFL);
  ::execlp(kEngine, kEngine, "rm", "--force", "--time", kContainerGrace, "--ignore", name.c_str(),
           static_cast<char*>(nullptr));
  ::_exit(127);
}

class ContainerRun {
 public:
  ContainerRun(const ContainerWish& wish, const std::function<void()>& on_start,
               const StopSignals& stop)
      : wish_(wish), on_start_(on_start), stop_(stop) {}

  int run() {
    if (!make() || !connect()) return stop_.stopped() ? kEndedBySignal + stop_.signal() : kFailed;
    return carry_on();
  }

 private:
  static ChildWish engine_wish(std::vector<std::string> words) {
    return {.program = kEngine, .words = std::move(words), .on_death = SIGTERM};
  }

  /// Waits for a program. Result: its exit code, or empty if a signal came. `said` gets its output.
  std::optional<int> finish(LabChild& child, std::string& said) const {
    for (;;) {  // until it ends, or a signal comes
      std::array<pollfd, 3> wanted{pollfd{child.process(), POLLIN, 0},
                                   pollfd{child.output(), POLLIN, 0},
                                   pollfd{stop_.descriptor(), POLLIN, 0}};
      ::poll(wanted.data(), wanted.size(), -1);
      child.read_output(said);
      if (stop_.stopped()) return std::nullopt;
      if (const auto status = child.take_end()) {
        child.read_output(said);
        return status;
      }
    }
  }

  /// Runs a step to its end. Result: whether it went well; if not, what it said is printed.
  bool step(const ChildWish& wish, const std::string& what, std::string* said = nullptr) const {
    LabChild child = LabChild::start(wish).value();
    std::string text;
    const auto status = finish(child, text);
    if (!status) return false;
    if (said != nullptr) *said = text;
    if (*status == 0) return true;
    while (text.ends_with('\n')) text.pop_back();
    complain("cannot " + what + " the container " + wish_.name + ": " +
             (text.empty() ? end_text(*status) : text));
    return false;
  }

  bool make() {
    if (!wish_.resolver_file.empty()) {
      const auto made = write_plain_file(wish_.resolver_file, wish_.resolver_text, 0644);
      if (!made) complain(made.error().message);
      if (!made) return false;
    }
    ChildWish create = engine_wish({"-c", "exec podman create \"$@\" " + wish_.text, "podman"});
    create.program = "sh";
    create.words.insert(create.words.end(), wish_.options.begin(), wish_.options.end());
    // `init` makes the namespaces, and starts no program: that is to find its interfaces.
    if (!step(create, "make") || !step(engine_wish({"init", wish_.name}), "prepare")) return false;
    std::string pid;
    if (!step(engine_wish({"inspect", "--format", "{{.State.Pid}}", wish_.name}), "look at",
              &pid)) {
      return false;
    }
    while (pid.ends_with('\n')) pid.pop_back();
    pid_ = pid.substr(pid.rfind('\n') + 1);  // behind warnings
    const auto written = write_plain_file(wish_.pid_file, pid_ + '\n', 0644);
    if (!written) complain(written.error().message + " (is the disk full?)");
    return static_cast<bool>(written);
  }

  bool connect() {
    for (const std::vector<std::string>& words : wish_.tap_words) {
      ChildWish wish{.words = words, .on_death = SIGTERM};
      wish.words.insert(wish.words.end(), {"--netns", pid_});
      taps_.push_back(LabChild::start(wish).value());
    }
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      LabChild wait = LabChild::start({.words = {"wait", wish_.interfaces[i], "--port", wish_.port,
                                                 "--timeout", kInterfacePatience}})
                          .value();
      std::string said;
      // A tap that fails has no port to wait for.
      while (!wait.has_ended()) {
        std::array<pollfd, 3> wanted{pollfd{wait.process(), POLLIN, 0},
                                     pollfd{taps_[i].process(), POLLIN, 0},
                                     pollfd{stop_.descriptor(), POLLIN, 0}};
        ::poll(wanted.data(), wanted.size(), -1);
        wait.read_output(said);
        if (stop_.stopped()) return false;
        if (tap_has_ended()) return false;
        if (const auto status = wait.take_end(); status && *status != 0) {
          complain("cannot connect the container " + wish_.name + " with " + wish_.interfaces[i] +
                   ": " + said);
          return false;
        }
      }
    }
    return true;
  }

  /// Whether an interface is gone; says which one.
  bool tap_has_ended() {
    for (std::size_t i = 0; i < taps_.size(); ++i) {
      std::string& said = said_[i];
      taps_[i].read_output(said);
      const auto status = taps_[i].take_end();
      if (!status) continue;
      taps_[i].read_output(said);
      while (said.ends_with('\n')) said.pop_back();
      complain("the interface of the container " + wish_.name + " on " + wish_.interfaces[i] + ' ' +
               end_text(*status) + (said.empty() ? "" : ": " + said));
      return true;
    }
    return false;
  }

  int carry_on() {
    ChildWish start = engine_wish({"start", "--attach", "--sig-proxy=false", wish_.name});
    start.catch_output = false;  // it is the output of this host
    const std::string runtime = first_process();
    bool has_started = false;
    int looks = 0;
    attached_.emplace(LabChild::start(start).value());
    for (;;) {  // until the container ends, an interface is gone, or a signal comes
      std::vector<pollfd> wanted{{attached_->process(), POLLIN, 0},
                                 {stop_.descriptor(), POLLIN, 0}};
      for (const LabChild& each : taps_) {
        wanted.push_back({each.process(), POLLIN, 0});
        if (each.output() >= 0) wanted.push_back({each.output(), POLLIN, 0});
      }
      ::poll(wanted.data(), wanted.size(), has_started ? -1 : kStartLookMs);
      if (stop_.stopped()) return kEndedBySignal + stop_.signal();
      if (!has_started) {
        const std::string now = first_process();
        has_started = (!now.empty() && now != runtime) || ++looks > kMaxStartLooks;
        if (has_started) on_start_();
      }
      // The interfaces end with the container, perhaps before podman has told.
      const auto status = attached_->take_end();
      if (!status && !tap_has_ended()) continue;
      const int code = status ? *status : await_end();
      // 125 to 127: podman has not started the program. It may have ended before a look at it.
      if (!has_started && (code < kOwnFailure || code > 127)) on_start_();
      return code;
    }
  }

  /// An interface is gone: because the container has ended, or because somebody killed it.
  int await_end() {
    const bool has_ended = ::kill(std::atoi(pid_.c_str()), 0) != 0 && errno == ESRCH;
    pollfd ended{attached_->process(), POLLIN, 0};
    ::poll(&ended, 1, has_ended ? kTellPatienceMs : kEndPatienceMs);
    return attached_->take_end().value_or(kFailed);
  }

  /// The name of the container's first process, which is a part of the runtime until it becomes the
  /// program. Empty: it has ended, or may not be seen.
  std::string first_process() const {
    std::string name;
    std::ifstream file("/proc/" + pid_ + "/comm");
    std::getline(file, name);
    return name;
  }

  const ContainerWish& wish_;
  const std::function<void()>& on_start_;
  const StopSignals& stop_;
  std::string pid_;
  std::vector<LabChild> taps_;
  std::optional<LabChild> attached_;
  std::vector<std::string> said_ = std::vector<std::string>(wish_.tap_words.size());
};

ContainerWish container_wish(const Lab& lab, const LabHost& host, std::optional<std::uint64_t> seed,
                             const std::vector<std::pair<std::string, std::string>>& environment,
                             const std::string& pid_file) {
  ContainerWish wish{
      .name = "shmif-" + lab.name + '-' + host.name, .port = host.name, .pid_file = pid_file};
  wish.options = {"--name", wish.name, "--replace", "--network", "none", "--hostname", host.name};
  const auto add = [&](const char* option, const std::string& value) {
    wish.options.insert(wish.options.end(), {option, value});
  };
  for (const auto& [name, value] : environment) {
    std::string setting = name;
    add("--env", setting.append("=").append(value));
  }
  for (const LabHost& each : lab.hosts) {
    for (const LabInterface& interface : each.interfaces) {
      for (const auto& address : interface.addresses) {
        add("--add-host", each.name + ':' + address.value.address.to_string());
      }
    }
  }
  if (host.name_servers || lab.gateways.empty()) {
    // Podman has no --dns for a container without a network of podman's.
    wish.resolver_file = pid_file + ".resolv.conf";
    add("--volume", wish.resolver_file + ":/etc/resolv.conf:ro");
    for (const tap::IpAddress& each : host.name_servers.value_or(std::vector<tap::IpAddress>())) {
      wish.resolver_text += "nameserver " + each.to_string() + '\n';
    }
  }
  // Without this, its link-local addresses could not be used for up to 2 s, and so no IPv6 could.
  if (std::filesystem::exists("/proc/sys/net/ipv6")) {
    for (const char* const which : {"all", "default"}) {
      add("--sysctl", std::string("net.ipv6.conf.") + which + ".accept_dad=0");
    }
  }
  if (host.forward) {
    add("--sysctl", "net.ipv4.ip_forward=1");
    add("--sysctl", "net.ipv6.conf.all.forwarding=1");
  }
  if (host.memory_bytes) add("--memory", std::to_string(*host.memory_bytes) + 'b');
  if (host.cpus) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", *host.cpus);
    add("--cpus", text);
  }
  wish.text = host.made_by.value;
  if (!host.run.empty()) {
    add("--entrypoint", "sh");
    wish.text += " -c " + base::quote_word(host.run);
  }
  for (const LabInterface& each : host.interfaces) {
    const std::string& path = lab.find_bus(each.bus_now())->path;
    wish.interfaces.push_back(path);
    std::vector<std::string>& words = wish.tap_words.emplace_back(
        std::vector<std::string>{"tap", path, "--name", each.bus.value, "--port-name", host.name});
    for (const std::vector<std::string>& more :
         {address_words(each), line_words(host, each, seed)}) {
      words.insert(words.end(), more.begin(), more.end());
    }
  }
  return wish;
}

}  // namespace

int run_container(const Lab& lab, const LabHost& host, std::optional<std::uint64_t> seed,
                  const std::vector<std::pair<std::string, std::string>>& environment,
                  const std::string& pid_file, const std::function<void()>& on_start) {
  const ContainerWish wish = container_wish(lab, host, seed, environment, pid_file);
  ::prctl(PR_SET_NAME, "shmif-container");
  const StopSignals stop;
  int code = kFailed;
  try {
    // The interfaces and the output stay until the container is gone: it may say good-bye.
    ContainerRun run(wish, on_start, stop);
    const LabKeeper keeper("shmif-container", "a process", LabKeeper::Works::always,
                           [&wish] { remove_container(wish.name); });
    code = run.run();
  } catch (const std::exception& error) {
    complain(error.what());
  }
  for (const std::string& each : {wish.pid_file, wish.resolver_file}) {
    if (!each.empty()) ::unlink(each.c_str());
  }
  return code;
}

std::optional<pid_t> pid_of_container(const std::string& pid_file) {
  const auto text = read_plain_file(pid_file, kMaxPidBytes);
  const pid_t pid = text ? std::atoi(text->c_str()) : 0;
  return pid > 0 ? std::optional(pid) : std::nullopt;
}

}  // namespace shmif::tools
