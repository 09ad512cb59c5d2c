#include "instruments/heat/monitor_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <list>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxCallers = 16;
constexpr std::chrono::seconds kCallerPatience(10);
constexpr mode_t kOwnerOnly = 0700;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error(Errc::bad_argument, "cannot use " + path + " as a socket: the path is too long");
  }
  std::memcpy(&address.sun_path[0], path.c_str(), path.size());
  return address;
}

UniqueFd new_socket(int flags) {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

/// Whether the peer is this user, or root.
bool is_trusted(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         (peer.uid == ::geteuid() || peer.uid == 0);
}

/// One connection. It receives a request, sends the answer, and ends.
class Caller {
 public:
  explicit Caller(UniqueFd socket) : socket_(std::move(socket)) {}
  int descriptor() const { return socket_.get(); }
  short wants() const { return out_.empty() ? POLLIN : POLLOUT; }
  Clock::time_point begun() const { return begun_; }
  bool has_asked() const { return !out_.empty(); }

  /// Reads or writes as much as possible without waiting. Result: false when the connection is
  /// done.
  bool go_on(HeatMonitor& monitor, bool& ends) {
    return out_.empty() ? take(monitor, ends) : give();
  }

 private:
  bool take(HeatMonitor& monitor, bool& ends) {
    std::array<char, 4096> part;
    const ssize_t got = ::recv(socket_.get(), part.data(), part.size(), 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    in_.append(part.data(), static_cast<std::size_t>(got));
    const bool is_whole = in_.ends_with("\n\n");
    if (!is_whole && in_.size() <= kMaxRequestBytes) return true;
    const auto request = read_heat_request(in_);
    out_ = heat_answer_text(request ? answer_heat(monitor, *request, ends)
                                    : Result<std::string>(request.error()));
    return give();
  }

  bool give() {
    const ssize_t sent =
        ::send(socket_.get(), &out_[given_], out_.size() - given_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    given_ += static_cast<std::size_t>(sent);
    return given_ < out_.size();
  }

  UniqueFd socket_;
  std::string in_, out_;
  std::size_t given_ = 0;
  Clock::time_point begun_ = Clock::now();
};

/// Makes room for one more caller. Drops the oldest caller that has not sent a request yet; if
/// there is no such caller, the oldest one.
void make_room(std::list<Caller>& callers) {
  if (callers.size() < kMaxCallers) return;
  auto leaves = std::ranges::find_if(callers, [](const Caller& each) { return !each.has_asked(); });
  if (leaves == callers.end()) leaves = callers.begin();
  callers.erase(leaves);
}

/// Reads until the peer closes. Errors: as ask_heat_monitor().
Result<std::string> read_all(int socket) {
  std::string text;
  std::array<char, 16384> part;
  const auto deadline = Clock::now() + kCallerPatience;
  for (;;) {  // until the end, or the deadline
    pollfd ready{socket, POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) {
      return Error(Errc::timed_out, "the monitor of access heat does not answer (is it stopped?)");
    }
    const ssize_t got = ::recv(socket, part.data(), part.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got < 0) return Error(Errc::link_ended, "the monitor of access heat has died");
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  if (text.empty()) return Error(Errc::link_ended, "the monitor of access heat has died");
  return text;
}

/// Whether the file of this descriptor still has this name.
bool has_name(int descriptor, const std::string& path) {
  struct stat held{};
  struct stat named{};
  return ::fstat(descriptor, &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

std::string lock_path(const std::string& folder) {
  return folder + "/lock";
}

/// Locks the folder for one monitor. A monitor that ends removes the lock file. So the file that we
/// locked may have lost its name; then this tries again with a new file.
Result<UniqueFd> lock_folder(const std::string& folder) {
  const std::string path = lock_path(folder);
  constexpr mode_t kPrivate = 0600;
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kPrivate));
    if (!lock && errno == ENOENT) {  // the last monitor has just removed the folder
      if (auto made = make_private_folder(folder); !made) return std::move(made).error();
      continue;
    }
    if (!lock) return Error::from_errno(errno, "cannot open " + path);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0 && has_name(lock.get(), path)) return lock;
    if (has_name(lock.get(), path)) break;
  }
  return Error(Errc::busy, "another monitor of access heat has " + folder);
}

}  // namespace

Result<void> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), kOwnerOnly) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "cannot make " + path);
  }
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0)
    return Error::from_errno(errno, "cannot look at " + path);
  constexpr mode_t kOthers = 077;
  if (S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & kOthers) == 0) {
    return {};
  }
  return Error::from_errno(EPERM, "cannot use " + path,
                           "it must be a directory of this user that no other may use");
}

std::string heat_control_path() {
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  return runtime != nullptr && *runtime == '/' ? std::string(runtime) + "/shmif-heat"
                                               : "/tmp/shmif-heat-" + std::to_string(::geteuid());
}

Result<std::string> heat_control_folder() {
  std::string path = heat_control_path();
  if (auto made = make_private_folder(path); !made) return std::move(made).error();
  return path;
}

Result<std::string> ask_heat_monitor(const std::string& folder, const HeatRequest& request) {
  const auto address = address_of(folder + "/control");
  if (!address) return address.error();
  const UniqueFd socket = new_socket(0);
  if (!socket) return Error::from_errno(errno, "cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return Error(Errc::link_ended, "there is no monitor of access heat in " + folder);
    }
    return Error::from_errno(errno, "cannot connect to " + folder + "/control");
  }
  if (!is_trusted(socket.get())) {
    return Error::from_errno(EPERM, "cannot use the monitor in " + folder, "another user runs it");
  }
  const std::string text = heat_request_text(request);
  // The request fits into the socket's buffer.
  if (::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    return Error(Errc::link_ended, "the monitor of access heat has died");
  }
  const auto answer = read_all(socket.get());
  if (!answer) return answer.error();
  return read_heat_answer(*answer);
}

Result<HeatListener> HeatListener::open(const std::string& folder) {
  HeatListener listener;
  auto lock = lock_folder(folder);
  if (!lock) return lock.error();
  listener.lock_ = *std::move(lock);
  const auto address = address_of(folder + "/control");
  if (!address) return address.error();
  const std::string path = folder + "/control";
  // A socket with this name was left by a killed monitor. Another kind of file belongs to somebody
  // else.
  struct stat status{};
  const bool is_there = ::lstat(path.c_str(), &status) == 0;
  if (is_there && !S_ISSOCK(status.st_mode)) {
    return Error::from_errno(EEXIST, "cannot listen at " + path, "that file is no socket");
  }
  if (is_there) ::unlink(path.c_str());
  listener.socket_ = new_socket(SOCK_NONBLOCK);
  constexpr int kBacklog = 16;
  if (!listener.socket_ ||
      ::bind(listener.socket_.get(), reinterpret_cast<const sockaddr*>(&*address),
             sizeof *address) != 0 ||
      ::listen(listener.socket_.get(), kBacklog) != 0) {
    return Error::from_errno(errno, "cannot listen at " + path);
  }
  listener.path_ = path;
  return listener;
}

HeatListener::~HeatListener() {
  if (!socket_ || path_.empty()) return;
  ::unlink(path_.c_str());
  ::unlink(lock_path(path_.substr(0, path_.rfind('/'))).c_str());
}

void HeatListener::serve(HeatMonitor& monitor) {
  std::list<Caller> callers;
  bool ends = false;
  while (!ends || !callers.empty()) {
    std::vector<pollfd> ready{{ends ? -1 : socket_.get(), POLLIN, 0}};
    for (const Caller& each : callers) ready.push_back({each.descriptor(), each.wants(), 0});
    constexpr int kLookMs = 1000;
    ::poll(ready.data(), ready.size(), kLookMs);
    std::size_t i = 1;
    for (auto caller = callers.begin(); caller != callers.end(); ++i) {
      bool goes_on = Clock::now() - caller->begun() < kCallerPatience;
      if (ready[i].revents != 0) goes_on = caller->go_on(monitor, ends);
      caller = goes_on ? std::next(caller) : callers.erase(caller);
    }
    if (ready[0].revents == 0) continue;
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) continue;
    if (!is_trusted(socket.get())) {
      debug(Debug::heat, [] { return "hung up on a caller: another user's"; });
      continue;
    }
    make_room(callers);
    callers.emplace_back(std::move(socket));
  }
}

}  // namespace shmif::perf
