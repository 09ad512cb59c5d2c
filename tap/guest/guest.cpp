#include "tap/guest/guest.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "shmif/debug/debug.hpp"
#include "tap/guest/enter.hpp"
#include "tap/guest/ids.hpp"
#include "tap/guest/init.hpp"
#include "tap/guest/terminal.hpp"
#include "tap/guest/watch.hpp"
#include "tap/guest/wire.hpp"
#include "tap/namespaces.hpp"
#include "tap/netlink.hpp"

#if defined(__SANITIZE_THREAD__)
#define SHMIF_GUEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHMIF_GUEST_TSAN 1
#endif
#endif

namespace shmif::tap {
namespace {

constexpr std::chrono::milliseconds kStartTime{30000};

Error wrong(const std::string& what) {
  return {Errc::bad_argument, what};
}

/// ThreadSanitizer runs its own thread in every process, so a check would always fail there.
bool has_threads() {
#ifdef SHMIF_GUEST_TSAN
  return false;
#else
  int threads = 0;
  DIR* const directory = ::opendir("/proc/self/task");
  if (directory == nullptr) return false;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') ++threads;
  }
  ::closedir(directory);
  return threads > 1;
#endif
}

/// Checks the names of an interface and of its bridge, and adds them to `taken`.
Result<void> check_names(const GuestInterface& i, std::set<std::string>& taken) {
  std::vector<std::string> names = {i.name};
  if (i.lan) {
    names.push_back(i.lan->bridge);
    names.insert(names.end(), i.lan->taps.begin(), i.lan->taps.end());
  }
  for (const std::string& name : names) {
    if (!is_interface_name(name)) {
      return wrong("\"" + name +
                   "\" is not a name for an interface: 1 to 15 characters without '/', ':', '%' "
                   "and blanks");
    }
    if (name == "lo" || !taken.insert(name).second) {
      return wrong("the host cannot have two interfaces named \"" + name + '"');
    }
  }
  return {};
}

Result<void> check(const GuestOptions& options) {
  if (options.command.empty() && !options.body) return wrong("a host needs a command to run");
  std::set<std::string> names;
  for (const GuestInterface& i : options.interfaces) {
    if (auto done = check_names(i, names); !done) return done;
    if (i.mac && !i.mac->is_unicast()) {
      return wrong("interface \"" + i.name + "\" cannot have the MAC address " +
                   i.mac->to_string() + ": it is not a unicast address");
    }
    for (auto each = i.addresses.begin(); each != i.addresses.end(); ++each) {
      if (std::find(i.addresses.begin(), each, *each) != each) {
        return wrong("interface \"" + i.name + "\" cannot have the address " + each->to_string() +
                     " twice");
      }
    }
    for (const IpAddress& gateway : i.gateways) {
      if (is_on_link(gateway, i.addresses)) continue;
      return wrong("gateway " + gateway.to_string() + " is not in any network of interface \"" +
                   i.name + "\" (give the interface an address in the gateway's network)");
    }
  }
  if (has_threads()) return wrong("a host must be started before the process has threads");
  return {};
}

/// Keeps our own descriptors from getting the numbers of standard streams that the caller closed.
/// The placeholders are close-on-exec, so these streams are closed for the command, too.
void occupy_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
      (void)::open("/dev/null", O_RDWR | O_CLOEXEC);  // takes the lowest free number: this one
    }
  }
}

/// Every signal that can be taken and forwarded. Faults, child signals and profiling clocks concern
/// only the process that gets them.
sigset_t forwarded_signals() {
  sigset_t set;
  ::sigfillset(&set);
  for (const int number : {SIGKILL, SIGSTOP, SIGCHLD, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
                           SIGABRT, SIGSYS, SIGPROF, SIGVTALRM}) {
    ::sigdelset(&set, number);
  }
  return set;
}

/// Why the clone that makes the guest failed: this machine forbids namespaces, or there is no room
/// for another process now.
Error cannot_clone(int number) {
  const std::string what = "cannot make the host's namespaces";
  if (number == EAGAIN) {
    return Error::from_errno(
        number, what,
        "the process limit of this user (see 'ulimit -u') or of the machine is reached");
  }
  if (number == EMFILE)
    return Error::from_errno(number, what, "allow this program more open files: ulimit -n 1024");
  if (number == ENOMEM || number == ENFILE) return Error::from_errno(number, what);
  return Error(Errc::not_supported,
               Error::from_errno(number, what, why_no_namespaces(number)).message);
}

}  // namespace

struct Guest::Impl {
  GuestOptions options;
  bool entered = false;   ///< the command joins a running guest, whose init is not our child
  std::string directory;  ///< our directory before we joined the guest; empty if unknown
  base::ForeignSocket socket;
  UniqueFd signals;
  UniqueFd events;                      ///< an epoll of everything that dispatch() reads
  std::vector<UniqueFd> watch_sockets;  ///< until `watch` takes them
  std::optional<GuestWatch> watch;
  std::vector<GuestLink> links;
  std::vector<WatchedLink> watched;
  std::vector<std::string> notes;
  Terminal terminal;
  bool apart = false;   ///< the guest belongs to another user: it does not get our terminal
  TerminalRelay relay;  ///< what such a guest gets instead
  sigset_t mask_before{};
  bool masked = false;
  bool whole_job = false;  ///< we are the whole job of a shell with job control
  bool own_group = false;  ///< the command is in a process group of the guest's own
  bool hung_up = false;    ///< the command was told that it has no shell
  int gifts = 0;           ///< how often it got the terminal since our last stop
  pid_t init = -1;
  UniqueFd init_file;  ///< a pidfd
  bool released = false;
  std::int32_t stops = 0;    ///< number of the command's last stop, as far as we know
  std::int32_t resumed = 0;  ///< the last stop that we ordered to end
  std::optional<GuestExit> exit;
  std::vector<int> early;  ///< signals that came before the command could get them

  ~Impl() {
    end();
    if (masked) ::pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
  }

  Result<void> take_signals() {
    if (!options.forward_signals) return {};
    const sigset_t set = forwarded_signals();
    signals.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals) return Error::from_errno(errno, "cannot make a signalfd");
    ::pthread_sigmask(SIG_BLOCK, &set, &mask_before);
    masked = true;
    whole_job = is_whole_job();
    own_group = needs_own_group();
    return {};
  }

  /// For a guest of another user: keeps everything of ours away from the command.
  Result<void> set_apart(uid_t user) {
    apart = true;
    whole_job = false;
    own_group = false;
    clean_environment(user);
    return relay.open(user, may_use_terminal());
  }

  bool may_use_terminal() const { return !terminal.is_there() || terminal.is_ours(); }

  void pass_terminal() {
    if (!apart) return;
    if (may_use_terminal()) terminal.note_modes();
    relay.pass(may_use_terminal());
  }

  /// Clones init into the guest's namespaces. `foreign_init`: a pidfd of the guest's init if the
  /// guest belongs to another user; otherwise -1.
  Result<void> spawn(int foreign_init = -1) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
      return Error::from_errno(errno, "cannot make a pair of sockets");
    }
    socket = base::ForeignSocket(UniqueFd(pair[0]));
    const UniqueFd theirs(pair[1]);
    // A body is part of our program, and has our signals.
    base::SignalState signals_now = base::SignalState::now();
    if (masked) signals_now.set_mask(mask_before);
    const base::SignalState signals_wanted =
        options.body ? signals_now : base::state_for_programs(signals_now);
    GuestPlan plan{options,      entered,  signals_wanted, ::geteuid(), apart, relay.program_end(),
                   foreign_init, directory};
    // Make all namespaces at once, without a user namespace of our own first. So this works in any
    // process, and a death at any time leaves nothing behind.
    const unsigned long flags = (entered ? 0U : kGuestNamespaces) | CLONE_PIDFD | SIGCHLD;
    int file = -1;
    const long pid = ::syscall(SYS_clone, flags, nullptr, &file, nullptr, nullptr);
    if (pid < 0) return cannot_clone(errno);
    if (pid == 0) run_guest_init(plan, theirs.get());
    init = static_cast<pid_t>(pid);
    debug(Debug::guest, [&] {
      return "the init of the host is process " + std::to_string(init) +
             (entered ? ", in namespaces that exist" : ", in namespaces of its own");
    });
    init_file.reset(file);
    return {};
  }

  /// Tells init that its ids are mapped, and waits until everything is ready.
  Result<void> set_up(bool single_id) {
    GuestMessage mapped;
    mapped.what = GuestSays::mapped;
    mapped.a = single_id ? 1 : 0;
    (void)say(socket.get(), mapped);
    return hear_of_setup();
  }

  /// Listens to init until it says that everything is ready.
  Result<void> hear_of_setup() {
    const auto deadline = std::chrono::steady_clock::now() + kStartTime;
    for (;;) {  // until ready, failed, gone or late
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd entry{socket.get(), POLLIN, 0};
      const int ready = ::poll(&entry, 1, static_cast<int>(std::max<long>(left.count(), 0)));
      if (ready == 0) {
        return Error(Errc::timed_out, "the host was not set up after " +
                                          std::to_string(kStartTime.count() / 1000) + " s");
      }
      if (ready < 0) continue;
      GuestMessage m;
      UniqueFd fd;
      switch (entered ? hear(socket, m, &fd) : hear_own_init(socket.get(), m, fd)) {
        case Heard::nothing: continue;
        case Heard::end:
          if (!socket.why().empty()) {
            return Error::from_errno(EPROTO, "cannot set up the host: " + socket.why());
          }
          return Error::from_errno(ECHILD, "the host's init died while it set up the host");
        case Heard::message: break;
      }
      if (m.what == GuestSays::failed) return told_error(m);
      if (m.what == GuestSays::note || m.what == GuestSays::ready) {
        debug(Debug::guest, [&] {
          return m.what == GuestSays::ready ? std::string("the host is ready")
                                            : std::string("the init notes: ") + m.text.data();
        });
      }
      if (m.what == GuestSays::note) notes.emplace_back(m.text.data());
      if (m.what == GuestSays::ready) return open_events();
      if (m.what == GuestSays::watch) {
        watch_sockets.push_back(std::move(fd));
      } else if (m.what == GuestSays::interface) {
        add_link(m, std::move(fd));
      }
    }
  }

  static Error told_error(const GuestMessage& m) {
    return {std::error_code(m.a, m.b == 1 ? error_category() : std::generic_category()),
            m.text.data()};
  }

  void add_link(const GuestMessage& m, UniqueFd fd) {
    const auto number = static_cast<std::size_t>(m.a);
    if (number >= options.interfaces.size()) return;
    const GuestInterface& wanted = options.interfaces[number];
    links.push_back({wanted.name, static_cast<LinkKind>(m.c), std::move(fd), m.mac, wanted.mtu});
    // A bridge sets promiscuous mode on each of its ports, even if it has only one.
    const bool bridged = wanted.lan.has_value();
    debug(Debug::guest, [&] {
      const std::string mac =
          wanted.mac_comes_later ? "" : "MAC address " + m.mac.to_string() + " and ";
      return "interface " + wanted.name + " is there, with " + mac + "MTU " +
             std::to_string(wanted.mtu) + (bridged ? ", on a bridge of the host" : "");
    });
    watched.push_back({.index = static_cast<unsigned>(m.b),
                       .own = bridged ? 1U : 0U,
                       .comes_up_later = wanted.mac_comes_later,
                       .our_end = links.back().descriptor.get(),
                       .kind = links.back().kind});
  }

  Result<void> open_events() {
    if (watch_sockets.size() == 4) {
      auto opened = GuestWatch::open(WatchSockets::take(watch_sockets), watched);
      if (!opened) return std::move(opened).error();
      watch.emplace(*std::move(opened));
    }
    const int news = watch ? watch->descriptor() : -1;
    events.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!events) return Error::from_errno(errno, "cannot make an epoll descriptor");
    for (const int each : {socket.get(), news, signals.get(), relay.descriptor()}) {
      epoll_event event{};
      event.events = EPOLLIN;
      if (each >= 0 && ::epoll_ctl(events.get(), EPOLL_CTL_ADD, each, &event) != 0) {
        return Error::from_errno(errno, "cannot watch the host");
      }
    }
    return {};
  }

  void order(GuestSays what, std::int32_t a, bool b = false) const {
    GuestMessage m;
    m.what = what;
    m.a = a;
    m.b = b ? 1 : 0;
    (void)say(socket.get(), m, -1, IfBlocked::give_up);
  }

  void send_signal(int number) {
    debug(Debug::guest, [&] { return "passes signal " + std::to_string(number) + " on"; });
    if (number == SIGCONT) {
      resume(whole_job && has_terminal_to_give() ? Gift::terminal : Gift::nothing);
    } else {
      order(GuestSays::signal, number);
    }
  }

  enum class Gift : std::uint8_t { nothing, terminal };
  void resume(Gift gift) {
    if (gift == Gift::terminal) terminal.note_modes();
    resumed = stops;
    order(GuestSays::resume, stops, gift == Gift::terminal);
  }

  /// Whether we are the whole job of a shell with job control, as far as we can see. If other
  /// processes are in our process group (a script's shell, the pager at the end of a pipeline),
  /// keys are for them, too, and perhaps the terminal.
  bool is_whole_job() const {
    return masked && ::getpid() == ::getpgrp() && terminal.is_all_streams();
  }

  /// Whether the command must be in a process group of the guest's own. In the background it always
  /// must: a shell in the guest must see that it is not in the foreground. In our group it would
  /// see the number 0 for both groups, and take the terminal from the user's shell.
  bool needs_own_group() const {
    return whole_job || (masked && terminal.is_there() && !terminal.is_ours());
  }

  /// When a shell continues its job, it gives the terminal to our process group.
  bool has_terminal_to_give() const { return own_group && terminal.is_ours(); }

  /// Whether we must pass a signal on to the command. We need not if the kernel (the terminal) sent
  /// it to our process group and the command is in that group. But if we lead the terminal's
  /// session, we must pass on its hang-up, whichever group the command is in now.
  bool is_for_command(const signalfd_siginfo& info) const {
    if (info.ssi_code != SI_KERNEL) return true;
    if (apart) return info.ssi_signo != SIGWINCH && info.ssi_signo != SIGTSTP;
    switch (info.ssi_signo) {
      case SIGHUP: return own_group || ::getsid(0) == ::getpid();
      case SIGINT:
      case SIGQUIT:
      case SIGTSTP:
      case SIGWINCH: return own_group;
      default: return false;
    }
  }

  void forward_signals() {
    if (!signals) return;
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGWINCH) relay.take_size();
      if (info.ssi_signo == SIGCONT) relay.note_continued();
      if (!is_for_command(info)) continue;
      const auto number = static_cast<int>(info.ssi_signo);
      if (released) {
        send_signal(number);
      } else {
        early.push_back(number);
      }
    }
  }

  /// The command stopped: stop, too, as a shell expects of its job. SIGTSTP does nothing in a
  /// process group that no shell looks after. If a person stopped the command with SIGSTOP, that
  /// was on purpose; then we stop only if a terminal would hang otherwise.
  void stop_too(int number, bool guest_has_terminal) {
    if (apart) return;  // it stops in a terminal of its own
    if (!masked || (number == SIGSTOP && !guest_has_terminal && !terminal.is_ours())) return;
    const bool wants_terminal = own_group && (number == SIGTTIN || number == SIGTTOU);
    constexpr int kMaxGifts = 3;
    if (wants_terminal && has_terminal_to_give() && gifts < kMaxGifts) {
      // A shell moves a running job into the foreground without a SIGCONT. The number of tries is
      // limited, in case the terminal cannot be given.
      ++gifts;
      resume(Gift::terminal);
      return;
    }
    // Stop as the terminal would have stopped us if the command were in our process group.
    if (stop_by(wants_terminal ? number : SIGTSTP, wants_terminal)) {
      gifts = 0;
    } else if (wants_terminal) {
      // The command will never get the terminal. When a shell goes, the kernel hangs up on a
      // stopped process group, so do the same. If the command does not end then, it stays stopped.
      if (std::exchange(hung_up, true)) return;
      order(GuestSays::signal, SIGHUP);
    }
    // A command in another process group did not get the shell's SIGCONT.
    send_signal(SIGCONT);
  }

  void obey_init() {
    for (;;) {  // until there are no more messages
      GuestMessage m;
      switch (hear(socket, m, nullptr)) {
        case Heard::nothing: return;
        case Heard::end: end(); return;
        case Heard::message: break;
      }
      if (m.what == GuestSays::ready && watch) watch->come_up();
      if (m.what == GuestSays::stopped) {
        stops = m.a;
        order(GuestSays::confirm, stops);
      }
      if (m.what == GuestSays::still_stopped) {
        forward_signals();  // a SIGCONT that has come meanwhile ends this stop
        if (resumed != stops) stop_too(m.a, m.b == 1);
      }
      if (m.what == GuestSays::exited) {
        exit = exit_of(m.a);
        exit->daemons = m.b;
        exit->jobs = m.c;
        debug(Debug::guest,
              [&] { return "the program ended with " + std::to_string(exit->status); });
      }
      if (m.what == GuestSays::not_run) exit = not_run(m.a);
      if (m.what == GuestSays::failed) exit = GuestExit{125, m.text.data()};
    }
  }

  static GuestExit exit_of(int status) {
    return {.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)};
  }

  GuestExit not_run(int number) const {
    const std::string& name = options.command.at(0);  // a body cannot fail to be executed
    std::string why = "cannot run \"" + name + "\": " + std::strerror(number);
    if (number == ENOENT && name.find('/') == std::string::npos) {
      why += " (no such program in PATH)";
    } else if (number == ENOENT) {
      why += " (the file, or the interpreter that it names, does not exist)";
    } else if (number == EACCES) {
      why += " (is it a program that you may execute?)";
    }
    return {.status = number == ENOENT ? 127 : 126, .failure = why};
  }

  /// Kills init, and so every process of the guest, and waits until the kernel has finished.
  void end() {
    if (init <= 0) return;
    // Use the descriptor: if SIGCHLD is ignored, init's number may be that of another process by
    // now.
    ::syscall(SYS_pidfd_send_signal, init_file.get(), SIGKILL, nullptr, 0U);
    while (::waitpid(init, nullptr, 0) < 0 && errno == EINTR) {
    }
    init = -1;
    pass_terminal();  // the last output
    if (!exit) {
      exit =
          GuestExit{128 + SIGKILL, entered ? "the host has ended" : "the host's init was killed"};
    }
    terminal.take_back();
  }
};

Guest::Guest(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Guest::Guest(Guest&&) noexcept = default;
Guest& Guest::operator=(Guest&&) noexcept = default;
Guest::~Guest() = default;

Result<Guest> Guest::start(GuestOptions options) {
  if (auto done = check(options); !done) return std::move(done).error();
  occupy_standard_streams();
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  if (auto done = impl->take_signals(); !done) return std::move(done).error();
  if (auto done = impl->spawn(); !done) return std::move(done).error();
  auto ids = map_guest_ids(impl->init);
  if (!ids) return std::move(ids).error();
  impl->notes = std::move(ids->notes);
  if (auto done = impl->set_up(ids->single); !done) return std::move(done).error();
  return Guest(std::move(impl));
}

Result<Guest> Guest::enter(pid_t init, int init_file, GuestOptions options) {
  if (auto done = check(options); !done) return std::move(done).error();
  occupy_standard_streams();
  auto impl = std::make_unique<Impl>();
  impl->entered = true;
  impl->options = std::move(options);
  if (auto done = impl->take_signals(); !done) return std::move(done).error();
  auto target = look_at_guest(init, init_file);
  if (!target) return std::move(target).error();
  if (target->is_foreign) {
    if (auto done = impl->set_apart(target->user); !done) return std::move(done).error();
  }
  std::error_code ignored;
  impl->directory = std::filesystem::current_path(ignored).string();
  if (auto done = join_guest(*target, init_file); !done) return std::move(done).error();
  const int foreign_init = target->is_foreign ? init_file : -1;
  if (auto done = impl->spawn(foreign_init); !done) return std::move(done).error();
  if (auto done = impl->set_up(target->single_id); !done) return std::move(done).error();
  return Guest(std::move(impl));
}

std::span<GuestLink> Guest::links() noexcept {
  return impl_->links;
}

const std::vector<std::string>& Guest::notes() const noexcept {
  return impl_->notes;
}

pid_t Guest::pid() const noexcept {
  return impl_->init;
}

Result<void> Guest::release(const std::string& hostname, std::span<const MacAddress> macs) {
  impl_->forward_signals();
  for (std::size_t i = 0; i < macs.size(); ++i) {
    if (i < impl_->options.interfaces.size() && impl_->options.interfaces[i].mac_comes_later) {
      debug(Debug::guest, [&] {
        return "interface " + impl_->options.interfaces[i].name + " gets MAC address " +
               macs[i].to_string();
      });
    }
    GuestMessage address;
    address.what = GuestSays::mac;
    address.a = static_cast<std::int32_t>(i);
    address.mac = macs[i];
    (void)say(impl_->socket.get(), address);  // if init has died, the next message shows that
  }
  GuestMessage run;
  run.what = GuestSays::run;
  run.a = impl_->own_group ? 1 : 0;
  run.b = impl_->whole_job && impl_->has_terminal_to_give() ? 1 : 0;
  run.set_text(hostname);
  if (!say(impl_->socket.get(), run)) {
    return Error::from_errno(ECHILD, "the host's init died before the command was started");
  }
  impl_->released = true;
  for (const int number : impl_->early) impl_->send_signal(number);
  return {};
}

int Guest::descriptor() const noexcept {
  return impl_->events.get();
}

GuestNews Guest::dispatch() {
  GuestNews news;
  if (impl_->init > 0) impl_->obey_init();  // first, to know which stop a SIGCONT ends
  if (impl_->init > 0) impl_->forward_signals();
  if (impl_->init > 0) impl_->pass_terminal();
  if (impl_->watch) {
    impl_->watch->read(news.interfaces);
    news.addresses = impl_->watch->take_addresses();
  }
  if (impl_->init <= 0) news.exit = impl_->exit;
  return news;
}

GuestExit Guest::wait() {
  for (;;) {  // until the command ended
    GuestNews news = dispatch();
    if (news.exit) return *std::move(news.exit);
    pollfd entry{descriptor(), POLLIN, 0};
    (void)::poll(&entry, 1, -1);
  }
}

void Guest::signal(int number) noexcept {
  impl_->send_signal(number);
}

}  // namespace shmif::tap
