#include "tap/guest/init.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/descriptors.hpp"
#include "base/files.hpp"
#include "tap/guest/enter.hpp"
#include "tap/guest/ids.hpp"
#include "tap/guest/mounts.hpp"
#include "tap/guest/net.hpp"
#include "tap/guest/watch.hpp"
#include "tap/guest/wire.hpp"
#include "tap/upkeep.hpp"

namespace shmif::tap {
namespace {

GuestMessage message(GuestSays what, std::int32_t a = 0) {
  GuestMessage m;
  m.what = what;
  m.a = a;
  return m;
}

/// Closes the descriptors that the supervisor has open for itself. Init does not exec, so
/// close-on-exec alone is not enough. If a socket of another guest stayed open here, that guest
/// would not see the end of its connection. Descriptors that were inherited on purpose are not
/// marked close-on-exec; they stay open for the command.
void close_foreign(int ours) {
  std::vector<int> open;
  if (DIR* directory = ::opendir("/proc/self/fd"); directory != nullptr) {
    while (const dirent* entry = ::readdir(directory)) {
      int fd = -1;
      const char* const name = &entry->d_name[0];
      std::from_chars(name, name + std::strlen(name), fd);
      if (fd > STDERR_FILENO && fd != ours && fd != ::dirfd(directory)) open.push_back(fd);
    }
    ::closedir(directory);
  } else {
    for (int fd = STDERR_FILENO + 1; fd < 4096; ++fd) {
      if (fd != ours) open.push_back(fd);
    }
  }
  for (const int fd : open) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) != 0) ::close(fd);
  }
}

/// Whether execvp finds a file of this name. A name with a slash counts as found.
bool exists_in_path(const std::string& name) {
  if (name.find('/') != std::string::npos) return true;
  const char* const path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    directory.append("/").append(name);
    if (::access(directory.c_str(), F_OK) == 0) return true;
  }
  return false;
}

/// Makes sure that root's programs are found. The caller's PATH may lack their directories: that of
/// an ordinary user of Debian does.
void add_roots_directories_to_path() {
  const char* const path = std::getenv("PATH");
  std::string all = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (const std::string directory : {"/usr/local/sbin", "/usr/sbin", "/sbin"}) {
    if ((':' + all + ':').find(':' + directory + ':') == std::string::npos) all += ':' + directory;
  }
  ::setenv("PATH", all.c_str(), 1);
}

class Init {
 public:
  Init(const GuestPlan& plan, int socket) : plan_(plan), socket_(socket) {}

  [[noreturn]] void run() {
    // kill(-1) below must reach only processes of the guest.
    if (!plan_.entered && ::getpid() != 1) ::_exit(1);
    set_up_process();
    await(GuestSays::mapped);
    if (plan_.apart) {
      if (auto done = become_foreign_guest(plan_.foreign_init); !done) give_up(done.error());
      ::close(plan_.foreign_init);
    }
    become_root();
    if (auto done = set_up_world(); !done) give_up(done.error());
    await(GuestSays::run);
    if (net_) {
      if (auto done = net_->set_up(macs_); !done) give_up(done.error());
      if (auto done = begin_upkeep(); !done) give_up(done.error());
      net_.reset();
      if (!plan_.options.interfaces.empty()) say(socket_, message(GuestSays::ready));
    }
    start_command();
    serve();  // runs until the command or the supervisor has ended
  }

 private:
  void set_up_process() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, plan_.entered ? "shmif-enter" : "shmif-init");
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    // If SIGCHLD were ignored, the children's statuses would be lost.
    ::signal(SIGCHLD, SIG_DFL);
    // Files that init makes are for everybody in the guest. The command gets the caller's own mask.
    mask_ = ::umask(S_IWGRP | S_IWOTH);
    plan_.apart ? leave_session() : close_foreign(socket_);
  }

  /// In a guest of another user: gives up the caller's session, terminal and descriptors. Standard
  /// streams that are not a terminal stay, because they were meant for the program. This process
  /// leads the session, not the command, so jobs that the command leaves go on after it has ended.
  void leave_session() {
    if (::setsid() < 0) ::_exit(1);
    (void)take_terminal_signals();  // the supervisor got them, too, and will pass them on
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      if (::isatty(fd) == 1 && ::dup2(plan_.terminal, fd) < 0) ::_exit(1);
    }
    if (plan_.terminal >= 0 && ::ioctl(plan_.terminal, TIOCSCTTY, 0) == 0) {
      terminal_.reset(::fcntl(plan_.terminal, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    }
    base::close_all_but({socket_, plan_.foreign_init, terminal_.get()}, STDERR_FILENO + 1);
  }

  /// Waits for an order. Ends this process if the supervisor has ended. So no process is left if
  /// the supervisor died before PDEATHSIG was in force.
  void await(GuestSays what) {
    GuestMessage order;
    Heard heard = hear(socket_, order, IfBlocked::wait);
    for (; heard == Heard::message && order.what == GuestSays::mac;
         heard = hear(socket_, order, IfBlocked::wait)) {
      macs_.push_back(order.mac);
    }
    if (heard != Heard::message || order.what != what) ::_exit(0);
    if (what == GuestSays::mapped) single_id_ = order.a == 1;
    if (what != GuestSays::run) return;
    if (order.text.front() != '\0') take_hostname(order.text.data());
    own_group_ = order.a == 1;
    foreground_ = own_group_ && order.b == 1;
  }

  /// Takes the host name that became known only now. The guest's own name must have an address in
  /// /etc/hosts.
  void take_hostname(const std::string& name) const {
    if (::sethostname(name.data(), name.size()) != 0 || !etc_is_private_) return;
    // Make a new file: the old one may belong to a user who does not exist here.
    constexpr const char* kFresh = "/etc/.shmif-hosts";
    std::ofstream file(kFresh);
    file << base::text_of_regular_file("/etc/hosts") << "127.0.1.1\t" << name << '\n';
    file.close();
    if (file.fail() || ::rename(kFresh, "/etc/hosts") != 0) ::unlink(kFresh);
  }

  /// Makes the command's process group the foreground one.
  void take_terminal() const {
    const UniqueFd terminal = open_terminal();
    const pid_t group = command_ > 0 ? ::getpgid(command_) : ::getpgrp();
    if (terminal && group > 0) ::tcsetpgrp(terminal.get(), group);  // SIGTTOU is blocked
  }

  /// Whether the foreground process group is one of the guest's. Other groups have no number here.
  static bool has_terminal() {
    const UniqueFd terminal = open_terminal();
    return terminal && ::tcgetpgrp(terminal.get()) > 0;
  }

  static UniqueFd open_terminal() {
    return UniqueFd(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  }

  /// Takes the signals that the kernel has sent us on behalf of a terminal.
  static std::vector<int> take_terminal_signals() {
    std::vector<int> taken;
    sigset_t all;
    ::sigfillset(&all);
    siginfo_t info;
    const timespec now{};
    while (::sigtimedwait(&all, &info, &now) > 0) {
      if (info.si_code == SI_KERNEL && info.si_signo != SIGCHLD) taken.push_back(info.si_signo);
    }
    return taken;
  }

  /// Sends a signal to the command and to the other processes of its process group. If that is the
  /// supervisor's group, sends it to the command alone. Init may be in the group, too, but has all
  /// signals blocked.
  void send_on(int number) const {
    if (!own_group_) {
      ::kill(command_, number);
    } else if (const pid_t group = ::getpgid(command_); group > 1) {
      ::kill(-group, number);
    }
  }

  void become_root() {
    // For an ordinary user, the map has already made the ids 0. For root, and for a caller whose
    // real and effective ids differ, this makes them agree.
    (void)!::setresgid(0, 0, 0);
    (void)!::setresuid(0, 0, 0);
    // A change of credentials clears this setting. If the supervisor died in between, the next
    // await() notices.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  }

  Result<void> set_up_world() {
    const GuestOptions& options = plan_.options;
    if (!options.hostname.empty() &&
        ::sethostname(options.hostname.data(), options.hostname.size()) != 0) {
      return Error::from_errno(errno, "cannot set the host name \"" + options.hostname + '"');
    }
    if (single_id_) {
      // Call it here, so that a failure can be reported. Init itself changes no ids after this.
      if (auto done = pretend_to_change_ids(); !done) return done;
    }
    if (plan_.entered) {
      say(socket_, message(GuestSays::ready));
      return {};
    }
    auto mounts = arrange_guest_mounts(plan_.outer_uid, options.name_servers);
    if (!mounts) return std::move(mounts).error();
    etc_is_private_ = mounts->etc_is_private;
    for (const std::string& note : mounts->notes) {
      GuestMessage m = message(GuestSays::note);
      m.set_text(note);
      say(socket_, m);
    }
    auto net = GuestNet::make(options);
    if (!net) return std::move(net).error();
    net_.emplace(*std::move(net));
    auto watch = net_->open_watch();
    if (!watch) return std::move(watch).error();
    for (std::size_t i = 0; i < net_->ends().size(); ++i) {
      GuestEnd& end = net_->ends()[i];
      GuestMessage m = message(GuestSays::interface, static_cast<std::int32_t>(i));
      m.b = static_cast<std::int32_t>(end.index);
      m.c = static_cast<std::int32_t>(end.kind);
      m.mac = end.mac;
      say(socket_, m, end.descriptor.get());
      end.descriptor.reset();
    }
    for (const UniqueFd& each : *watch) say(socket_, message(GuestSays::watch), each.get());
    say(socket_, message(GuestSays::ready));
    return {};
  }

  Result<void> begin_upkeep() {
    auto given = net_->given();
    if (!given) return std::move(given).error();
    if (given->empty()) return {};
    auto socket = Upkeep::open_socket();
    if (!socket) return std::move(socket).error();
    upkeep_.emplace(*std::move(socket), [] { return Netlink::open(); }, *std::move(given));
    return {};
  }

  [[noreturn]] void give_up(const Error& error) {
    GuestMessage m = message(GuestSays::failed, error.code.value());
    m.b = error.code.category() == error_category() ? 1 : 0;
    m.set_text(error.message);
    say(socket_, m);
    ::_exit(0);
  }

  /// Forks the command. Init got the signals that the terminal sent before the command existed. It
  /// passes them on while the command has all signals blocked. So a signal that the terminal sent
  /// to both arrives only once. If the command leads its own group, init does not pass them on,
  /// because the supervisor got them as well and passes them on.
  void start_command() {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
      give_up(Error::from_errno(errno, "cannot start the command"));
    }
    failure_.reset(pair[0]);
    command_ = ::fork();
    if (command_ < 0) give_up(Error::from_errno(errno, "cannot start the command"));
    if (command_ == 0 && (plan_.entered || own_group_)) join_as_command(pair[1]);
    if (command_ == 0) await_go(pair[1]);
    if (command_ > 0 && own_group_) await_joined(pair[1]);
    if (command_ == 0 && plan_.options.command.empty()) run_body();
    if (command_ == 0) exec_command(pair[1]);
    for (const int number : take_terminal_signals()) {
      if (!own_group_) ::kill(command_, number);
    }
    (void)::send(failure_.get(), "", 1, MSG_NOSIGNAL);
    // A reader of the command's output must see the end of the output when the command closes it.
    base::close_all_but({socket_, failure_.get(), terminal_.get(), upkeep_descriptor()}, 0);
  }

  /// Waits until the command leads its process group. Until then the command drops signals, because
  /// it takes them for the terminal's. It would also drop those that we pass on. `end`: the
  /// command's end of the socket pair; the command has its own copy.
  void await_joined(int end) const {
    ::close(end);  // so that the wait ends if the command dies
    char joined = 0;
    (void)!::recv(failure_.get(), &joined, 1, 0);
  }

  /// In the command: waits until init has passed on the signals that were meant for it.
  void await_go(int order) {
    failure_.reset();  // so that the wait ends if init dies
    char go = 0;
    if (::recv(order, &go, 1, 0) != 1) ::_exit(125);
  }

  /// In the command: makes it lead its process group, as a shell's job does; so a program that
  /// makes a group for itself (timeout) keeps the terminal. Drops the signals that the terminal
  /// sent while the command was in the supervisor's group, because the supervisor got them as well
  /// and passes them on. If the guest's init did not start it, it ends with the process that did.
  void join_as_command(int failure) const {
    if (plan_.entered) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (plan_.apart) {
      ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
      return;
    }
    if (!own_group_) return;
    (void)::setpgid(0, 0);
    (void)take_terminal_signals();
    const UniqueFd terminal = foreground_ ? open_terminal() : UniqueFd();
    if (terminal) (void)::tcsetpgrp(terminal.get(), ::getpgrp());  // SIGTTOU is blocked
    (void)::send(failure, "", 1, MSG_NOSIGNAL);
  }

  /// Restores the caller's signals, and goes to the caller's directory.
  void take_callers_place() const {
    ::umask(mask_);
    // A body keeps the handlers of our program.
    plan_.options.command.empty() ? plan_.command_signals.restore_mask()
                                  : plan_.command_signals.restore();
    if (!plan_.entered) return;
    // Do it after the signals are restored, so that they can end a wait for a file system of the
    // guest that never answers. If the directory does not exist, the command stays where setns()
    // has put it, at the root.
    if (!plan_.directory.empty()) (void)!::chdir(plan_.directory.c_str());
  }

  /// A body gets the command's signals, and no descriptors of ours.
  [[noreturn]] void run_body() {
    take_callers_place();
    close_foreign(-1);
    int status = 125;
    try {
      status = plan_.options.body();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the status shows it
    }
    ::_exit(status);
  }

  [[noreturn]] void exec_command(int failure) {
    std::vector<char*> argv;
    argv.reserve(plan_.options.command.size() + 1);
    for (const std::string& word : plan_.options.command) {
      argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    take_callers_place();
    add_roots_directories_to_path();
    if (plan_.options.before_command && !before_command()) ::_exit(125);
    ::execvp(argv[0], argv.data());
    int number = errno;
    // execvp also returns EACCES if the caller may not look into a directory of PATH. But if no
    // such program exists, report that it was not found.
    if (number == EACCES && !exists_in_path(plan_.options.command[0])) number = ENOENT;
    (void)!::write(failure, &number, sizeof number);
    ::_exit(125);
  }

  bool before_command() const {
    try {
      return plan_.options.before_command();
    } catch (const std::exception&) {
      return false;
    }
  }

  /// Reaps, reports and forwards until the end.
  [[noreturn]] void serve() {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    const UniqueFd children(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    for (;;) {  // runs until the command or the supervisor has ended
      reap();
      std::array<pollfd, 3> ready{
          {{socket_, POLLIN, 0}, {children.get(), POLLIN, 0}, {upkeep_descriptor(), POLLIN, 0}}};
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      if (ready[0].revents != 0) obey();
      if (ready[2].revents != 0) upkeep_->read();
      signalfd_siginfo info{};
      while (::read(children.get(), &info, sizeof info) > 0) {
      }
    }
  }

  int upkeep_descriptor() const { return upkeep_ ? upkeep_->descriptor() : -1; }

  void obey() {
    GuestMessage order;
    switch (hear(socket_, order, IfBlocked::give_up)) {
      case Heard::nothing: return;
      case Heard::end: ::_exit(0);  // and the kernel kills everything in the namespace
      case Heard::message:
        if (order.what == GuestSays::signal) send_on(order.a);
        if (order.what == GuestSays::resume) resume(order);
        if (order.what == GuestSays::confirm && is_in_stop(order.a)) {
          GuestMessage m = message(GuestSays::still_stopped, stop_signal_);
          m.b = has_terminal() ? 1 : 0;
          say(socket_, m, -1, IfBlocked::give_up);
        }
        return;
    }
  }

  void resume(const GuestMessage& order) {
    if (own_group_ && order.b == 1) take_terminal();
    if (is_in_stop(order.a)) send_on(SIGCONT);
  }

  /// Stops are numbered because news of a stop may be old. A shell's SIGCONT reaches the supervisor
  /// and the command at once; after that, neither may act on an earlier stop.
  bool is_in_stop(std::int32_t number) {
    reap();
    return is_stopped_ && number == stops_;
  }

  void reap() {
    for (;;) {  // until no child has news
      // Look first: /proc describes a process only until it is reaped.
      siginfo_t next{};
      constexpr int kAny = WEXITED | WSTOPPED | WCONTINUED;
      if (::waitid(P_ALL, 0, &next, kAny | WNOHANG | WNOWAIT) != 0 || next.si_pid == 0) return;
      const bool only_started_others = next.si_pid == command_ && has_waited_for_nobody();
      int status = 0;
      const pid_t pid = ::waitpid(next.si_pid, &status, WNOHANG | WUNTRACED | WCONTINUED);
      if (pid <= 0) return;
      if (pid != command_) continue;
      is_stopped_ = WIFSTOPPED(status);
      if (is_stopped_) {
        stop_signal_ = WSTOPSIG(status);
        say(socket_, message(GuestSays::stopped, ++stops_), -1, IfBlocked::give_up);
      } else if (!WIFCONTINUED(status)) {
        end_with_command(status, only_started_others);
      }
    }
  }

  /// Reports how the command ended, or why it could not be run. `only_started_others`: it did
  /// not wait for any of its children.
  [[noreturn]] void end_with_command(int status, bool only_started_others) {
    if (int number = 0;
        ::recv(failure_.get(), &number, sizeof number, MSG_DONTWAIT) == sizeof number) {
      say(socket_, message(GuestSays::not_run, number));
      ::_exit(0);
    }
    GuestMessage end = message(GuestSays::exited, status);
    if (!plan_.entered && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {  // those that have ended do not count
      }
      const auto [daemons, jobs] = count_left();
      end.b = daemons;
      if (only_started_others) end.c = jobs;
    }
    say(socket_, end);
    plan_.entered ? leave_terminal() : end_the_rest();
    ::_exit(0);
  }

  /// When the leader of a session ends, the kernel hangs up on the foreground process group. To
  /// protect the other processes, this puts another group into the foreground. The only process of
  /// that group has ended.
  void leave_terminal() const {
    if (!terminal_) return;
    const pid_t nobody = ::fork();
    if (nobody == 0) ::_exit(0);
    // That process is not reaped, so no other process gets its number.
    if (nobody > 0 && ::setpgid(nobody, nobody) == 0) ::tcsetpgrp(terminal_.get(), nobody);
  }

  /// Whether the command, which has ended and is not reaped yet, did not wait for any child. When
  /// a process waits for a child, the kernel adds the child's page faults to the cminflt of the
  /// process, see proc(5). False if the command has become another program by exec.
  /// Also false if /proc is the outer one, where the command's number is that of another process.
  bool has_waited_for_nobody() const {
    if (plan_.options.command.empty()) return false;
    const std::string& path = plan_.options.command.front();
    const std::string name = path.substr(path.rfind('/') + 1, 15);  // what the kernel keeps
    const std::string number = std::to_string(command_);
    const std::string begin = number + " (" + name + ") ";
    std::ifstream file("/proc/" + number + "/stat");
    std::string text;
    if (!std::getline(file, text) || !text.starts_with(begin)) return false;
    std::istringstream fields(text.substr(begin.size()));
    std::string before;  // state, 3 ids, 2 of the terminal, flags, minflt
    for (int skipped = 0; skipped < 8; ++skipped) fields >> before;
    std::uint64_t cminflt = 1;
    fields >> cminflt;
    return cminflt == 0;
  }

  struct Left {
    int daemons = 0;  ///< in sessions of their own
    int jobs = 0;     ///< in init's session, as a shell's background jobs
  };

  /// How many processes the command has left behind.
  static Left count_left() {
    Left left;
    DIR* const directory = ::opendir("/proc");
    if (directory == nullptr) return left;
    while (const dirent* entry = ::readdir(directory)) {
      const char* const name = &entry->d_name[0];
      pid_t pid = 0;
      std::from_chars(name, name + std::strlen(name), pid);
      // Compare numbers. If /proc is the outer one, its numbers mean no process here, or another
      // one.
      const pid_t session = pid > 1 ? ::getsid(pid) : -1;
      if (session > 0) ++left.daemons;
      if (session == 0) ++left.jobs;
    }
    ::closedir(directory);
    return left;
  }

  /// Gives the processes that the command left behind a moment to end by themselves.
  void end_the_rest() const {
    if (::kill(-1, SIGTERM) != 0) return;  // no process is left
    ::kill(-1, SIGCONT);
    const auto deadline = std::chrono::steady_clock::now() + plan_.options.grace;
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    for (;;) {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
          deadline - std::chrono::steady_clock::now());
      if (::kill(-1, 0) != 0 || left.count() <= 0) return;
      constexpr long kSecond = 1'000'000'000;
      const timespec bound{left.count() / kSecond, left.count() % kSecond};
      ::sigtimedwait(&child, nullptr, &bound);
    }
  }

  const GuestPlan& plan_;
  const int socket_;
  mode_t mask_ = 0;  ///< the caller's umask
  bool single_id_ = false;
  bool etc_is_private_ = false;
  std::optional<GuestNet> net_;   ///< until the command starts
  std::optional<Upkeep> upkeep_;  ///< only if an interface has addresses
  std::vector<MacAddress> macs_;
  bool foreground_ = false;  ///< the command's group gets the terminal
  bool own_group_ = false;   ///< the command is in a process group of the guest's own
  pid_t command_ = -1;
  UniqueFd terminal_;  ///< apart: the terminal of our session
  UniqueFd failure_;   ///< the command's errno if it cannot be executed
  bool is_stopped_ = false;
  std::int32_t stops_ = 0;
  int stop_signal_ = 0;
};

}  // namespace

void run_guest_init(const GuestPlan& plan, int socket) noexcept {
  try {
    Init(plan, socket).run();
  } catch (const std::exception& error) {
    GuestMessage m = message(GuestSays::failed, EIO);
    m.set_text(error.what());
    say(socket, m);
  }
  ::_exit(0);
}

}  // namespace shmif::tap
