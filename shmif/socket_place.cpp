#include "shmif/socket_place.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

namespace shmif {
namespace {

constexpr int kBacklog = 64;

Result<SocketAddress> address_of_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error(Errc::bad_argument, "a socket's path has 1 to " +
                                         std::to_string(sizeof address.sun_path - 1) +
                                         " characters, and not " + std::to_string(path.size()));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  SocketAddress out;
  std::memcpy(&out.storage, &address, sizeof address);
  out.size = sizeof address;
  return out;
}

bool is_ip_address(const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, text.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), address.data()) == 1;
}

UniqueFd new_socket(const SocketPlace& place, int type) {
  return UniqueFd(::socket(place.address.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// Whether a program serves the socket at that path.
bool is_served(const SocketPlace& place, int type) {
  const UniqueFd probe = new_socket(place, type);
  if (!probe) return true;  // we cannot find out, so the file is kept
  return ::connect(probe.get(), place.address.get(), place.address.size) == 0 ||
         errno != ECONNREFUSED;
}

/// Keeps other processes of this program from looking for a socket file, or making one, in the same
/// directory at the same time. Otherwise two processes that find the same old file could both
/// replace it. This does not work if the directory cannot be read, or if somebody holds its lock
/// for long. Any user may do the latter with a directory such as /tmp.
class DirectoryLock {
 public:
  /// Blocks: for a second at most, while another process holds the lock.
  explicit DirectoryLock(const std::string& path) {
    const std::string directory = path.substr(0, path.find_last_of('/') + 1);
    directory_ = UniqueFd(
        ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    constexpr unsigned kTries = 100;
    for (unsigned i = 0;
         i < kTries && directory_ && ::flock(directory_.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
      if (errno != EWOULDBLOCK && errno != EINTR) break;  // a file system without locks
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

 private:
  UniqueFd directory_;
};

/// Says why no socket can be made there, and what to do about it.
Error cannot_make(const SocketPlace& place, int number) {
  std::string remedy;
  switch (number) {
    case ENOENT: remedy = "make its directory first"; break;
    case ENOTDIR: remedy = "a file is where the path has a directory"; break;
    case EROFS: remedy = "choose a directory that may be written to"; break;
    case EACCES:
    case EPERM:
      remedy = place.host ? "ports below 1024 need root" : "choose a directory that you may write";
      break;
    case EADDRNOTAVAIL: remedy = "no interface here has that address"; break;
    case EADDRINUSE: remedy = place.host ? "another program has that port" : ""; break;
    default: break;
  }
  return Error::from_errno(number, "cannot make the socket " + place.text, remedy);
}

/// Says why the connection failed, and what to do about it.
Error cannot_connect(const SocketPlace& place, int number) {
  const std::string what = "cannot connect to " + place.text;
  struct stat status{};
  if (place.host || ::stat(place.text.c_str(), &status) != 0) {
    return Error::from_errno(
        number, what,
        !place.host && number == EACCES ? "ask for search permission in its directory" : "");
  }
  if (number == ECONNREFUSED && !S_ISSOCK(status.st_mode)) {
    return {std::make_error_code(std::errc::not_a_socket),
            what + ": it is not a socket (give the path at which the program listens)"};
  }
  if (number != EACCES) return Error::from_errno(number, what);
  std::array<char, 8> mode{};
  std::snprintf(mode.data(), mode.size(), "%04o", status.st_mode & 07777U);
  return Error::from_errno(number, what,
                           "it belongs to user " + std::to_string(status.st_uid) + " and group " +
                               std::to_string(status.st_gid) + ", and has mode " + mode.data() +
                               ": who connects needs write permission");
}

/// Removes a socket file whose program has ended.
Result<void> remove_old(const SocketPlace& place, int type) {
  struct stat status{};
  if (::lstat(place.text.c_str(), &status) != 0) return {};
  if (S_ISDIR(status.st_mode)) {
    return Error(std::make_error_code(std::errc::file_exists),
                 "cannot make the socket " + place.text +
                     ": there is a directory (give the path of a new file in it)");
  }
  if (!S_ISSOCK(status.st_mode)) {
    return Error(std::make_error_code(std::errc::file_exists),
                 "cannot make the socket " + place.text +
                     ": there is a file that is no socket (choose another path)");
  }
  if (is_served(place, type)) {
    return Error(std::make_error_code(std::errc::address_in_use),
                 "cannot make the socket " + place.text + ": another program serves it");
  }
  if (::unlink(place.text.c_str()) != 0 && errno != ENOENT)
    return Error::from_errno(errno, "cannot remove the old socket " + place.text,
                             "delete it, or choose another path");
  return {};
}

/// Refuses a text that looks like a path, but is most likely meant as something else.
Result<void> check_meaning(const std::string& text) {
  const auto refuse = [](const std::string& why) { return Error(Errc::bad_argument, why); };
  if (text.starts_with('@'))
    return refuse(
        "abstract sockets are not supported (give the path of a socket; for a file of "
        "that name, write ./" +
        text + ')');
  if (text.starts_with("~/"))
    return refuse("the shell does not expand ~ there (write $HOME" + text.substr(1) + ')');
  if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos)
    return refuse("a port alone is no address (127.0.0.1:" + text + "; for a path, write ./" +
                  text + ')');
  return {};
}

}  // namespace

Result<SocketPlace> parse_socket_place(const std::string& text) {
  if (auto meant = check_meaning(text); !meant) return std::move(meant).error();
  SocketPlace place;
  place.text = text;
  if (text.find('/') == std::string::npos) {
    if (const auto parts = split_host_port(text); parts && parts->port) {
      auto host = resolve(parts->host, *parts->port);
      if (!host) return std::move(host).error();
      place.host = *host;
      place.address = *host;
      return place;
    }
    if (text.find(':') != std::string::npos || is_ip_address(text))
      return Error(
          Errc::bad_argument,
          "an address needs a port from 0 to 65535 (198.18.0.1:7000 or [fd00::1]:7000; for "
          "a path, write ./" +
              text + ')');
  }
  auto address = address_of_path(text);
  if (!address) return std::move(address).error();
  place.address = *address;
  return place;
}

Result<BoundSocket> BoundSocket::bind(int type, const SocketPlace& place) {
  BoundSocket bound;
  bound.socket_ = new_socket(place, type);
  if (!bound.socket_) return Error::from_errno(errno, "cannot make a socket");
  std::optional<DirectoryLock> lock;  // held until it listens
  if (place.host) {
    const int on = 1;
    (void)::setsockopt(bound.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  } else {
    lock.emplace(place.text);
    if (auto removed = remove_old(place, type); !removed) return std::move(removed).error();
  }
  if (::bind(bound.descriptor(), place.address.get(), place.address.size) != 0)
    return cannot_make(place, errno);
  struct stat status{};
  if (!place.host && ::lstat(place.text.c_str(), &status) == 0) {
    bound.path_ = place.text;
    bound.inode_ = status.st_ino;
  }
  if (type != SOCK_DGRAM && ::listen(bound.descriptor(), kBacklog) != 0)
    return cannot_make(place, errno);
  return bound;
}

BoundSocket::~BoundSocket() {
  struct stat status{};
  if (!socket_ || path_.empty() || ::lstat(path_.c_str(), &status) != 0) return;
  if (status.st_ino == inode_) ::unlink(path_.c_str());
}

Result<UniqueFd> BoundSocket::accept() const {
  UniqueFd peer(::accept4(descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (peer) {
    set_up_stream(peer.get());
    return peer;
  }
  // The program has gone again, or a signal came. The caller will call again.
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return UniqueFd();
  return Error::from_errno(errno, "cannot accept a connection",
                           errno == EMFILE ? "allow this program more open files: ulimit -n" : "");
}

void set_up_stream(int socket) noexcept {
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // fails for a Unix socket
}

Result<UniqueFd> connect_stream(const SocketPlace& place, int stop,
                                std::chrono::milliseconds at_most) {
  UniqueFd socket = new_socket(place, SOCK_STREAM);
  if (!socket) return Error::from_errno(errno, "cannot make a socket");
  if (::connect(socket.get(), place.address.get(), place.address.size) != 0) {
    if (errno != EINPROGRESS) return cannot_connect(place, errno);
    std::array<pollfd, 2> waiting{{{.fd = socket.get(), .events = POLLOUT, .revents = 0},
                                   {.fd = stop, .events = POLLIN, .revents = 0}}};
    const int timeout = at_most.count() < 0 ? -1 : static_cast<int>(at_most.count());
    int ready = 0;
    do {
      ready = ::poll(waiting.data(), waiting.size(), timeout);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) return cannot_connect(place, ETIMEDOUT);
    if (waiting[1].revents != 0) return UniqueFd();
    int number = 0;
    socklen_t size = sizeof number;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &number, &size) != 0) number = errno;
    if (number != 0) return cannot_connect(place, number);
  }
  set_up_stream(socket.get());
  return socket;
}

}  // namespace shmif
