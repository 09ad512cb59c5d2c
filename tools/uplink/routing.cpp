#include "tools/uplink/routing.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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
#include <sstream>

#include "base/result.hpp"
#include "shmif/debug/debug.hpp"
#include "tools/common/program.hpp"
#include "tools/relay/peer.hpp"

namespace shmif::tools {
namespace {

constexpr const char* kFrrFolder = "/run/frr";
constexpr const char* kZebraSocket = "/run/frr/zserv.api";
constexpr int kZebraStartMs = 20'000;
constexpr std::size_t kMaxFrrLine = 4096;
constexpr std::size_t kKeptLines = 4;

/// The file of one of FRR's programs; empty if it is not installed.
std::string frr_program(const std::string& name) {
  for (const char* const folder : {"/usr/lib/frr/", "/usr/libexec/frr/", "/usr/sbin/"}) {
    std::string file = folder + name;
    if (::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

struct FrrPrograms {
  std::string zebra, bgpd;
};

FrrPrograms find_frr() {
  FrrPrograms programs{frr_program("zebra"), frr_program("bgpd")};
  if (programs.zebra.empty() || programs.bgpd.empty()) {
    throw Exception(Error(Errc::not_supported,
                          "cannot run EVPN: no " +
                              std::string(programs.zebra.empty() ? "zebra" : "bgpd") +
                              " here (install Debian's package frr: apt install frr; or name the "
                              "machines with --remote)"));
  }
  return programs;
}

/// Everything below runs in the child, which has one thread. It writes what fails to standard
/// output, which the parent reads, and ends.
[[noreturn]] void leave_child(const std::string& what) {
  const std::string text = "cannot " + what + ": " + std::strerror(errno) + '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
  ::_exit(1);
}

/// Makes a folder that FRR's user can write to, and that nobody else sees.
void make_frr_folder() {
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    leave_child("make a private view of the file system");
  // /var/tmp: FRR leaves a folder there for each process.
  for (const char* const place : {"/run", "/var/tmp"}) {
    if (::mount("shmif-uplink", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m") != 0)
      leave_child(std::string("mount a file system at ") + place);
  }
  const passwd* const user = ::getpwnam("frr");
  if (user == nullptr) leave_child("find the user frr");
  for (const char* const folder : {kFrrFolder, "/var/tmp/frr"}) {
    if (::mkdir(folder, 0755) != 0 || ::chown(folder, user->pw_uid, user->pw_gid) != 0)
      leave_child(std::string("make the folder ") + folder);
  }
}

void write_configuration(const std::string& name, const std::string& text) {
  const std::string path = std::string(kFrrFolder) + '/' + name;
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    leave_child("write " + path);
}

/// Starts one of the programs in the foreground. `space`: its network namespace; -1: this one.
pid_t start_daemon(const std::string& file, const std::string& name, int space,
                   const std::vector<std::string>& more) {
  const pid_t child = ::fork();
  if (child < 0) leave_child("start " + name);
  if (child > 0) return child;
  if (space >= 0 && ::setns(space, CLONE_NEWNET) != 0) leave_child("enter a network namespace");
  std::vector<std::string> words{file, "-f", std::string(kFrrFolder) + '/' + name + ".conf", "-P",
                                 "0"};
  words.insert(words.end(), more.begin(), more.end());
  const std::vector<char*> pointers = argv_of(words);
  ::execv(file.c_str(), pointers.data());
  leave_child("execute " + file);
}

/// Waits until zebra listens, or has ended.
void await_zebra() {
  for (int waited = 0; waited < kZebraStartMs; waited += 10) {
    if (::access(kZebraSocket, F_OK) == 0) return;
    if (::waitpid(-1, nullptr, WNOHANG | WNOWAIT) > 0) return;
    ::poll(nullptr, 0, 10);
  }
  errno = ETIMEDOUT;
  leave_child("reach zebra");
}

/// Is the first process of the PID namespace: runs until one of the programs has ended, or until
/// the parent kills it.
[[noreturn]] void keep_programs(const FrrPrograms& programs, const RoutingWish& wish, int space,
                                int output, int parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd gone{.fd = parent, .events = POLLIN, .revents = 0};
  if (::poll(&gone, 1, 0) != 0) ::_exit(1);  // it ended before it could send the signal
  ::prctl(PR_SET_NAME, "shmif-routing");
  ::setpgid(0, 0);  // Ctrl-C ends the uplink, and the uplink ends this process
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(number, SIG_DFL);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) leave_child("open /dev/null");
  ::dup2(nothing, STDIN_FILENO);
  make_frr_folder();
  write_configuration("zebra.conf", "log stdout warnings\nip nht resolve-via-default\n");
  write_configuration("bgpd.conf", bgpd_configuration(wish));
  const pid_t zebra = start_daemon(programs.zebra, "zebra", space, {});
  await_zebra();
  const pid_t bgpd = start_daemon(programs.bgpd, "bgpd", -1, {"-l", wish.local.to_string()});
  for (;;) {  // ends with the first of the two
    int status = 0;
    const pid_t ended = ::waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) ::_exit(1);
    if (ended != zebra && ended != bgpd) continue;
    const std::string text =
        std::string(ended == zebra ? "zebra" : "bgpd") + " has ended " +
        (WIFSIGNALED(status) ? "by signal " + std::to_string(WTERMSIG(status))
                             : "with code " + std::to_string(WEXITSTATUS(status))) +
        '\n';
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    ::_exit(1);
  }
}

}  // namespace

std::string bgpd_configuration(const RoutingWish& wish) {
  std::ostringstream text;
  const std::string local = wish.local.to_string();
  text << "log stdout informational\n"
       << "router bgp " << wish.asn << '\n'
       << " bgp router-id " << local << '\n'
       << " bgp log-neighbor-changes\n"
       << " no bgp default ipv4-unicast\n"
       << " timers bgp 3 9\n";
  for (const tap::IpAddress& peer : wish.peers) {
    const std::string neighbor = " neighbor " + peer.to_string();
    text << neighbor << " remote-as " << wish.asn << '\n'
         << neighbor << " update-source " << local << '\n'
         << neighbor << " timers connect 1\n"
         << neighbor << " advertisement-interval 0\n";
  }
  text << " address-family l2vpn evpn\n";
  for (const tap::IpAddress& peer : wish.peers)
    text << "  neighbor " << peer.to_string() << " activate\n";
  text << "  advertise-all-vni\n"
       << " exit-address-family\n";
  return text.str();
}

Routing::Routing(const RoutingWish& wish, const tap::NetNamespace& inner) {
  const FrrPrograms programs = find_frr();
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Exception(Error::from_errno(errno, "cannot make a pipe"));
  output_ = UniqueFd(ends[0]);
  const UniqueFd theirs(ends[1]);
  ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  const UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  // This process has one thread, so its copy may do everything.
  const long child = ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, nullptr, nullptr,
                               nullptr, nullptr);
  if (child == 0) keep_programs(programs, wish, inner.descriptor(), theirs.get(), self.get());
  if (child < 0) {
    throw Exception(
        Error::from_errno(errno, "cannot make namespaces for FRR", "needs root: CAP_SYS_ADMIN"));
  }
  process_ = static_cast<pid_t>(child);
}

Routing::~Routing() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) continue;
}

bool Routing::read_output() {
  std::array<char, kMaxFrrLine> chunk{};
  const ssize_t got = ::read(output_.get(), chunk.data(), chunk.size());
  if (got == 0) ended_ = true;
  for (ssize_t i = 0; i < got; ++i) {
    const char c = chunk[static_cast<std::size_t>(i)];
    if (c != '\n' && begun_.size() < kMaxFrrLine) {
      begun_ += c;
      continue;
    }
    take_line(begun_);
    begun_.clear();
  }
  return !ended_;
}

/// A line such as "BGP: [M59KS-A3ZXZ] bgp_update_receive: ...", or "...%ADJCHANGE: neighbor
/// 198.18.0.2(Unknown) in vrf default Up".
void Routing::take_line(const std::string& line) {
  debug(Debug::relay, [&] { return "FRR: " + line; });
  last_lines_.push_back(line);
  if (last_lines_.size() > kKeptLines) last_lines_.erase(last_lines_.begin());
  const std::string sign = "ADJCHANGE: neighbor ";
  const std::size_t at = line.find(sign);
  if (at == std::string::npos) return;
  const std::string rest = line.substr(at + sign.size());
  const std::string peer = rest.substr(0, rest.find_first_of("( "));
  const bool is_up = rest.find(" Up") != std::string::npos;
  say("evpn: peer " + peer + (is_up ? " is up" : " is down"));
}

std::string Routing::why_ended() const {
  std::string text = "cannot go on without FRR: ";
  for (std::size_t i = 0; i < last_lines_.size(); ++i)
    text += (i == 0 ? "" : "; ") + last_lines_[i];
  const bool was_killed = std::ranges::any_of(last_lines_, [](const std::string& line) {
    return line.find(" has ended by signal ") != std::string::npos;
  });
  if (was_killed) return text;
  return text + " (is another BGP program listening on port 179 here?)";
}

}  // namespace shmif::tools
