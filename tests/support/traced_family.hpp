#pragma once
// A program and all its descendants on a terminal of their own, moved along from system call to
// system call by ptrace, so that any of them can be given any signal at every stage of its life.
// The program is the one that ships: nothing is compiled in for the test.
//
//   the test  --traces-->  the program, its children, theirs ...
//       |                       ^ the foreground job
//       +------ forks ----->  a small shell, leader of the session that the terminal belongs to
//
// Between two system calls a process changes only its own memory, which goes with it. So for what
// it leaves behind in the kernel, the entries of its system calls are all stages there are.

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace shmif::test {

/// Everything about a terminal that programs change and people notice. Equal ones compare equal.
struct TerminalState {
  std::array<unsigned, 4> flags{};
  std::array<cc_t, NCCS> keys{};
  int file_flags = 0;  ///< of the open file that is standard input; O_NONBLOCK above all

  bool operator==(const TerminalState&) const = default;
  static TerminalState of(int terminal) {
    TerminalState state;
    termios modes{};
    ::tcgetattr(terminal, &modes);
    state.flags = {modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag};
    std::copy(std::begin(modes.c_cc), std::end(modes.c_cc), state.keys.begin());
    state.file_flags = ::fcntl(terminal, F_GETFL);
    return state;
  }
};

/// The processes that have `mark` (as NAME=VALUE) in their environment. It goes down to everybody
/// who descends from one that was started with it.
inline std::vector<pid_t> processes_with(const std::string& mark) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file(entry.path() / "environ", std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (('\0' + text).find('\0' + mark + '\0') != std::string::npos) found.push_back(pid);
  }
  return found;
}

/// A mark that nobody else has.
inline std::string fresh_mark() {
  static int count = 0;
  return "SHMIF_FAMILY=" + std::to_string(::getpid()) + '.' + std::to_string(++count);
}

class TracedFamily {
 public:
  /// A stage: `process` is about to make system call `number`, as the family's `step`th in all.
  struct Stage {
    std::uint64_t step = 0;
    pid_t process = -1;
    std::uint64_t number = 0;
  };
  enum class Go { on, alone };  ///< `alone`: no more stages are wanted, all may run freely
  using OnStage = std::function<Go(const Stage&)>;

  /// Starts `argv` (argv[0] is searched for in PATH) in the foreground of a new terminal.
  explicit TracedFamily(std::vector<std::string> argv) : mark_(fresh_mark()) {
    master_.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (!master_ || ::grantpt(master_.get()) != 0 || ::unlockpt(master_.get()) != 0) {
      throw std::runtime_error("no terminal");
    }
    slave_.reset(::open(::ptsname(master_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    before_ = TerminalState::of(slave_.get());
    const auto [news_read, news_write] = pipe();
    const auto [orders_read, orders_write] = pipe();
    std::fflush(nullptr);
    shell_ = ::fork();
    if (shell_ == 0) run_shell(argv, news_write, orders_read);
    ::close(news_write);
    ::close(orders_read);
    news_.reset(news_read);
    orders_.reset(orders_write);
    first_ = std::atoi(news().c_str());
    if (first_ <= 0 || ::ptrace(PTRACE_SEIZE, first_, nullptr, kOptions) != 0) {
      throw std::runtime_error("cannot trace");
    }
    running_[first_] = -1;
    (void)!::write(orders_.get(), "g", 1);
  }
  TracedFamily(const TracedFamily&) = delete;
  TracedFamily& operator=(const TracedFamily&) = delete;
  ~TracedFamily() {
    // The tracer's end is the end of every tracee, but this one goes on.
    for (const auto& [pid, parent] : running_) ::kill(pid, SIGKILL);
    const Ticker ticker;
    const auto deadline = Clock::now() + kPatience;
    while (!running_.empty() && Clock::now() < deadline) take_one();
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
  }

  /// Lets the family live until none of it is left, and asks `on_stage` before every system call.
  /// Result: false when some of it was still there after many seconds.
  bool run(const OnStage& on_stage) {
    on_stage_ = on_stage;
    const Ticker ticker;
    const auto deadline = Clock::now() + kPatience;
    for (;;) {
      // One that was born to a dying parent may not have told of itself yet; it has the mark.
      if (running_.empty() && processes_with(mark_).empty()) return true;
      if (Clock::now() >= deadline) return false;
      take_one();
    }
  }

  /// The program itself, and the first process that descends from it by `generations` forks: for
  /// `shmifctl exec` 0 is the supervisor, 1 the guest's init, 2 the command. Result: -1: none yet.
  pid_t member(int generations) const {
    const auto found = eldest_.find(generations);
    return generations == 0 ? first_ : found == eldest_.end() ? -1 : found->second;
  }
  bool is_running(pid_t pid) const { return running_.count(pid) != 0; }
  void type(const std::string& keys) const {
    (void)!::write(master_.get(), keys.data(), keys.size());
  }

  /// How the program ended: its exit status, or 128 + n. Asks the shell, so once and after run().
  /// `gave_terminal_back` is whether the program's process group has the terminal.
  struct End {
    int status = -1;
    bool gave_terminal_back = false;
  };
  End end() {
    End end;
    const std::string text = news();
    int back = 0;
    if (std::sscanf(text.c_str(), "%d %d", &end.status, &back) == 2) {
      end.gave_terminal_back = back == 1;
    }
    return end;
  }
  bool terminal_is_as_before() const { return TerminalState::of(slave_.get()) == before_; }
  const std::string& screen() {
    drain_screen();
    return screen_;
  }
  /// What is left of the family, for a message.
  std::string survivors() const {
    std::string text;
    for (const auto& [pid, parent] : running_) {
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string line;
      std::getline(stat, line);
      text += line.substr(0, 40) + '\n';
    }
    for (const pid_t pid : processes_with(mark_)) text += "process " + std::to_string(pid) + '\n';
    return text;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPatience{30};
  static constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK |
                                   PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;

  static std::pair<int, int> pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    return {ends[0], ends[1]};
  }
  /// The leader of the terminal's session: runs the job, and tells first its process id and then
  /// how it ended.
  [[noreturn]] void run_shell(std::vector<std::string>& argv, int news, int orders) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setsid();
    ::signal(SIGTTOU, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    const int terminal = ::open(::ptsname(master_.get()), O_RDWR | O_CLOEXEC);
    const pid_t job = ::fork();
    if (job == 0) run_job(argv, terminal, orders);
    ::setpgid(job, job);
    ::tcsetpgrp(terminal, job);
    (void)::dprintf(news, "%d", job);
    int status = 0;
    if (::waitpid(job, &status, 0) != job) ::_exit(1);
    (void)::dprintf(news, "%d %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                    ::tcgetpgrp(terminal) == job ? 1 : 0);
    for (;;) ::pause();  // the end of a session's leader would change the terminal
  }
  [[noreturn]] void run_job(std::vector<std::string>& argv, int terminal, int orders) const {
    ::setpgid(0, 0);
    char go = 0;
    if (::read(orders, &go, 1) != 1) ::_exit(99);
    // The same open file as the test's, so that O_NONBLOCK left on it is seen.
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(slave_.get(), fd);
    ::close(terminal);
    ::signal(SIGTTOU, SIG_DFL);
    ::signal(SIGHUP, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    std::vector<char*> words;
    for (std::string& word : argv) words.push_back(word.data());
    words.push_back(nullptr);
    ::putenv(const_cast<char*>(mark_.c_str()));
    ::putenv(const_cast<char*>("ASAN_OPTIONS=detect_leaks=0"));  // it cannot under ptrace
    ::execvp(words[0], words.data());
    ::_exit(99);
  }
  std::string news() const {
    pollfd entry{news_.get(), POLLIN, 0};
    std::array<char, 64> text{};
    if (::poll(&entry, 1, 30000) <= 0) return {};
    const ssize_t n = ::read(news_.get(), text.data(), text.size() - 1);
    return n > 0 ? std::string(text.data(), static_cast<std::size_t>(n)) : std::string();
  }

  /// While it lives, a wait ends ten times a second, for a look at the clock and the terminal.
  class Ticker {
   public:
    Ticker() {
      struct sigaction nothing{};
      nothing.sa_handler = [](int) {};  // without SA_RESTART: calls end with EINTR
      ::sigaction(SIGALRM, &nothing, &before_);
      set(100000);
    }
    Ticker(const Ticker&) = delete;
    Ticker& operator=(const Ticker&) = delete;
    ~Ticker() {
      set(0);
      ::sigaction(SIGALRM, &before_, nullptr);
    }

   private:
    static void set(suseconds_t us) {
      const itimerval interval{{0, us}, {0, us}};
      ::setitimer(ITIMER_REAL, &interval, nullptr);
    }
    struct sigaction before_{};
  };

  /// Takes the next thing that the kernel tells of a tracee, or waits a moment for one.
  void take_one() {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, __WALL | (running_.empty() ? WNOHANG : 0));
    if (pid > 0 && pid != shell_) return take(pid, status);
    drain_screen();
    if (pid == 0) ::usleep(1000);
  }

  void take(pid_t pid, int status) {
    if (!WIFSTOPPED(status)) {
      running_.erase(pid);
      ended_.insert(pid);
      return;
    }
    running_.try_emplace(pid, -1);
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
      unsigned long child = 0;
      ::ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &child);
      welcome(static_cast<pid_t>(child), pid);
    }
    if (signal == (SIGTRAP | 0x80)) return stage(pid);
    if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {  // stopped by a signal, with its group
      ::ptrace(PTRACE_LISTEN, pid, nullptr, nullptr);
      return;
    }
    go(pid, event == 0 ? signal : 0);
  }
  void welcome(pid_t child, pid_t parent) {
    generation_[child] = generation_[parent] + 1;
    eldest_.try_emplace(generation_[child], child);
    if (ended_.count(child) == 0) running_[child] = parent;
  }
  void stage(pid_t pid) {
    __ptrace_syscall_info info{};
    ::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && on_stage_) {
      if (on_stage_({++step_, pid, info.entry.nr}) == Go::alone) on_stage_ = nullptr;
    }
    go(pid, 0);
  }
  void go(pid_t pid, int signal) const {
    ::ptrace(on_stage_ ? PTRACE_SYSCALL : PTRACE_CONT, pid, nullptr, signal);
  }
  void drain_screen() {
    std::array<char, 4096> chunk{};
    ssize_t n = 0;
    while ((n = ::read(master_.get(), chunk.data(), chunk.size())) > 0) {
      screen_.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }

  std::string mark_;
  UniqueFd master_;
  UniqueFd slave_;
  UniqueFd news_;
  UniqueFd orders_;
  TerminalState before_;
  pid_t shell_ = -1;
  pid_t first_ = -1;
  std::map<pid_t, pid_t> running_;  ///< with their parents
  std::set<pid_t> ended_;
  std::map<pid_t, int> generation_;  ///< how many forks from the program
  std::map<int, pid_t> eldest_;      ///< of each generation
  OnStage on_stage_;
  std::uint64_t step_ = 0;
  std::string screen_;
};

}  // namespace shmif::test
