#pragma once
// Guests for tests: each has a supervisor process of its own, as `shmifctl exec` would be.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/guest/guest.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::tap::test {

using shmif::test::eventually;
using shmif::test::kGenerousTime;

inline std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Whether a process runs no more. A dead one whose new parent has not reaped it yet is dead.
inline bool is_dead(pid_t pid) {
  const std::string status = contents("/proc/" + std::to_string(pid) + "/status");
  return status.empty() || status.find("State:\tZ") != std::string::npos;
}

inline std::vector<pid_t> children_of(pid_t parent) {
  const std::string number = std::to_string(parent);
  std::istringstream words(contents("/proc/" + number + "/task/" + number + "/children"));
  std::vector<pid_t> pids;
  for (pid_t each = 0; words >> each;) pids.push_back(each);
  return pids;
}

/// Who runs the supervisor.
struct Caller {
  uid_t uid = ::geteuid();

  bool is_root() const { return uid == 0; }
};

/// A user without a line in /etc/passwd, /etc/subuid and /etc/subgid.
inline constexpr uid_t kStranger = 65001;

/// Turns this process into one of an ordinary user, as logging in would.
inline void become(const Caller& caller) {
  if (caller.uid == ::geteuid()) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(caller.uid, caller.uid, caller.uid) != 0 ||
      ::setresuid(caller.uid, caller.uid, caller.uid) != 0) {
    ::_exit(99);
  }
  ::prctl(PR_SET_DUMPABLE, 1);  // what exec would do; without it /proc/self belongs to root
}

/// Moves the calling process into a mount namespace of its own, so that nobody else sees what it
/// mounts.
inline void leave_mounts() {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    ::_exit(98);
  }
}

/// A caller and a kind of device.
struct Setting {
  Caller caller;
  Via via = Via::veth;
  std::string name;
};
inline void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.name;
}

/// Every setting that this process can make: an ordinary user cannot become another one.
inline std::vector<Setting> settings() {
  std::vector<Setting> all;
  if (::geteuid() == 0) {
    all.push_back({{0}, Via::tap, "RootViaTap"});
    all.push_back({{0}, Via::veth, "RootViaVeth"});
    all.push_back({{kStranger}, Via::tap, "UserViaTap"});
    all.push_back({{kStranger}, Via::veth, "UserViaVeth"});
  } else {
    all.push_back({{::geteuid()}, Via::veth, "CallerViaVeth"});
  }
  return all;
}

/// A TUN device node that everybody may open, in a directory of its own.
class OpenTunDevice {
 public:
  OpenTunDevice() {
    // /tmp may be mounted with nodev, so that no device in it can be opened. /dev is not.
    made_ = make_in("/tmp") || make_in("/dev");
  }
  OpenTunDevice(const OpenTunDevice&) = delete;
  OpenTunDevice& operator=(const OpenTunDevice&) = delete;
  ~OpenTunDevice() { remove(); }
  bool works() const { return made_; }
  std::string path() const { return directory_ + "/tun"; }

 private:
  bool make_in(const std::string& parent) {
    directory_ = parent + "/shmif-tun-XXXXXX";
    if (::mkdtemp(directory_.data()) == nullptr) return false;
    (void)::chmod(directory_.c_str(), 0755);
    const std::string node = path();
    const mode_t mask = ::umask(0);
    const bool made = ::mknod(node.c_str(), S_IFCHR | 0666, makedev(10, 200)) == 0;
    ::umask(mask);
    if (made && UniqueFd(::open(node.c_str(), O_RDWR | O_CLOEXEC))) return true;
    remove();
    return false;
  }
  void remove() const {
    ::unlink(path().c_str());
    ::rmdir(directory_.c_str());
  }

  std::string directory_;
  bool made_ = false;
};

inline GuestOptions guest_running(std::vector<std::string> command, Via via = Via::veth) {
  GuestOptions options;
  options.command = std::move(command);
  options.via = via;
  options.interfaces.emplace_back();
  return options;
}

inline std::vector<std::string> shell(const std::string& script) {
  return {"sh", "-c", script};
}

/// A supervisor process with a guest. Its standard output and error come back here.
class Supervised {
 public:
  struct Options {
    GuestOptions guest;
    Caller caller;
    std::string input;
    std::function<void()> before;       ///< in the supervisor, as root, before the guest
    std::function<void(Guest&)> serve;  ///< in the supervisor, before the command starts
  };

  explicit Supervised(Options options) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    std::array<int, 2> life{};
    EXPECT_EQ(::pipe2(in.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(life.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], STDIN_FILENO);
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(out[1], STDERR_FILENO);
      for (const int ours : {in[1], out[0], life[0]}) ::close(ours);
      ::fcntl(life[1], F_SETFD, 0);  // every process of the guest inherits it
      ::_exit(supervise(options));
    }
    ::close(in[0]);
    ::close(out[1]);
    ::close(life[1]);
    (void)!::write(in[1], options.input.data(), options.input.size());
    ::close(in[1]);
    out_.reset(out[0]);
    life_.reset(life[0]);
  }
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;
  ~Supervised() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  /// Waits for `text` in the output.
  bool says(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + kGenerousTime;
    while (output_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() >= deadline || !read_some(100)) return false;
    }
    return true;
  }
  const std::string& output() const { return output_; }

  /// Waits for the end. Result: exit status, 128 + n when ended by signal n, -1 when it did not.
  int finish() {
    const auto deadline = std::chrono::steady_clock::now() + kGenerousTime;
    while (std::chrono::steady_clock::now() < deadline && read_some(100)) {
    }
    int status = 0;
    const bool ended = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
    if (!ended) return -1;
    pid_ = -1;
    for (pollfd rest{out_.get(), POLLIN, 0}; ::poll(&rest, 1, 0) > 0 && read_some(0);) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// Waits until no process is left that came from the supervisor.
  bool all_gone() const {
    pollfd entry{life_.get(), POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(kGenerousTime.count())) == 1 &&
           (entry.revents & POLLHUP) != 0;
  }

  /// What a supervisor does, in the calling process. Result: its exit status.
  static int supervise(const Options& options) {
    if (options.before) options.before();
    become(options.caller);
    auto guest = Guest::start(options.guest);
    if (!guest) {
      (void)::dprintf(STDERR_FILENO, "no guest: %s\n", guest.error().message.c_str());
      return guest.error().code == make_error_code(Errc::not_supported) ? 77 : 125;
    }
    for (const std::string& note : guest->notes()) {
      (void)::dprintf(STDERR_FILENO, "note: %s\n", note.c_str());
    }
    if (options.serve) options.serve(*guest);
    if (auto done = guest->release(); !done) return 125;
    const GuestExit exit = guest->wait();
    if (!exit.failure.empty()) (void)::dprintf(STDERR_FILENO, "%s\n", exit.failure.c_str());
    return exit.status;
  }

  /// The processes whose parent the supervisor is.
  std::vector<pid_t> children() const { return children_of(pid_); }

 private:
  /// Result: false at the end of the output.
  bool read_some(int milliseconds) {
    pollfd entry{out_.get(), POLLIN, 0};
    if (::poll(&entry, 1, milliseconds) <= 0) return true;
    std::array<char, 4096> chunk{};
    const ssize_t n = ::read(out_.get(), chunk.data(), chunk.size());
    if (n > 0) output_.append(chunk.data(), static_cast<std::size_t>(n));
    return n > 0;
  }

  pid_t pid_ = -1;
  UniqueFd out_;
  UniqueFd life_;
  std::string output_;
};

// A terminal for a test, and a process of the test that leads its session.

struct Pty {
  UniqueFd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)};
  std::string name;

  Pty() {
    if (master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0) {
      name = ::ptsname(master.get());
    }
  }
};

/// Runs `body` in a process that leads the session of a terminal, which is its standard streams.
/// Result: what `body` has to complain about; empty: nothing.
inline std::string on_terminal(const std::function<std::string(Pty&)>& body) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return "no pipe";
  const UniqueFd complaints(pipe[0]);
  UniqueFd said(pipe[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGTTOU, SIG_IGN);
    ::alarm(60);
    Pty pty;
    const int terminal = ::open(pty.name.c_str(), O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(terminal, fd);
    ::close(terminal);
    const std::string complaint = body(pty);
    (void)!::write(said.get(), complaint.data(), complaint.size());
    ::_exit(0);
  }
  said.reset();
  std::string complaint;
  std::array<char, 256> bytes{};
  for (;;) {  // until the child has ended
    const ssize_t count = ::read(complaints.get(), bytes.data(), bytes.size());
    if (count <= 0) break;
    complaint.append(bytes.data(), static_cast<std::size_t>(count));
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 ? complaint : complaint + " (status " + std::to_string(status) + ')';
}

inline void set_raw(int terminal, bool raw) {
  termios modes{};
  ::tcgetattr(terminal, &modes);
  if (raw) {
    ::cfmakeraw(&modes);
  } else {
    modes.c_lflag |= ICANON | ECHO;
  }
  ::tcsetattr(terminal, TCSANOW, &modes);
}

inline bool is_raw(int terminal) {
  termios modes{};
  return ::tcgetattr(terminal, &modes) == 0 && (modes.c_lflag & (ICANON | ECHO)) == 0;
}

}  // namespace shmif::tap::test
