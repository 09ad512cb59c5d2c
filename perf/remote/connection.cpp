#include "perf/remote/connection.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace shmif::perf {
namespace {

constexpr int kBacklog = 64;

Error no_address(std::string_view text) {
  return {Errc::bad_argument, '"' + std::string(text) +
                                  "\" is not an address of a server (write HOST, HOST:PORT, or "
                                  "[ADDRESS]:PORT for IPv6)"};
}

/// Sends small messages without delay, because a user waits for each.
void send_at_once(int socket) {
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

Result<ServerAddress> parse_server_address(std::string_view text) {
  auto split = split_host_port(text);
  if (!split) return no_address(text);
  return ServerAddress{std::move(split->host), split->port.value_or(kRemotePort)};
}

Result<std::vector<SocketAddress>> addresses_of(const ServerAddress& server) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem = ::getaddrinfo(server.host.c_str(), nullptr, &hints, &found);
  if (problem != 0) {
    return Error(Errc::bad_argument,
                 "cannot find the host \"" + server.host + "\": " + ::gai_strerror(problem) +
                     " (give a name that this machine can resolve, or an IP address)");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  std::vector<SocketAddress> all;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    SocketAddress address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    all.push_back(address.with_port(server.port));
  }
  if (all.empty()) {
    return Error(Errc::bad_argument, "the host \"" + server.host +
                                         "\" has no IPv4 or IPv6 address (give its IP address)");
  }
  return all;
}

Result<UniqueFd> listen_at(const SocketAddress& address) {
  auto socket = bound_socket(SOCK_STREAM | SOCK_NONBLOCK, address);
  if (!socket) return std::move(socket).error();
  if (::listen(socket->get(), kBacklog) != 0) {
    return Error::from_errno(
        errno, "cannot listen at " + address.to_string(),
        errno == EADDRINUSE ? "another program uses that port; choose another" : "");
  }
  return socket;
}

Result<UniqueFd> begin_connecting(const SocketAddress& address) {
  UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "cannot make a socket");
  send_at_once(socket.get());
  if (::connect(socket.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) {
    const std::error_code why(errno, std::generic_category());
    return Error(why, why.message());
  }
  return socket;
}

Result<void> connected(int socket) {
  int problem = 0;
  socklen_t size = sizeof problem;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &problem, &size) != 0) problem = errno;
  const std::error_code why(problem, std::generic_category());
  if (why) return Error(why, why.message());
  return {};
}

bool is_loopback(const SocketAddress& address) noexcept {
  if (address.family() == AF_INET6) {
    sockaddr_in6 six{};
    std::memcpy(&six, &address.storage, sizeof six);
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) != 0;
  }
  sockaddr_in four{};
  std::memcpy(&four, &address.storage, sizeof four);
  return ntohl(four.sin_addr.s_addr) >> 24U == 127;
}

namespace {
constexpr std::size_t kReadBytes = 64U << 10U;
constexpr int kReadsAtOnce = 4;
}  // namespace

Connection::Connection(UniqueFd socket, std::size_t max_bytes)
    : socket_(std::move(socket)), reader_(max_bytes) {
  const int flags = ::fcntl(socket_.get(), F_GETFL);
  ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
}

short Connection::events() const noexcept {
  return static_cast<short>(waiting_bytes() != 0 ? POLLIN | POLLOUT : POLLIN);
}

void Connection::send_text(std::string_view json) {
  if (waiting_bytes() == 0) moved_ = Clock::now();
  out_ += with_length(json);
  pump();
}

void Connection::pump() {
  while (waiting_bytes() != 0) {
    const ssize_t n =
        ::send(socket_.get(), out_.data() + sent_, waiting_bytes(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return forget_sent();
      broken_ = Error::from_errno(errno, "cannot send");
      break;
    }
    sent_ += static_cast<std::size_t>(n);
    moved_ = Clock::now();
  }
  out_.clear();
  sent_ = 0;
}

/// Limits the buffer for a slow reader to twice the waiting bytes.
void Connection::forget_sent() {
  if (sent_ <= out_.size() / 2) return;
  out_.erase(0, sent_);
  sent_ = 0;
}

bool Connection::flush(std::chrono::milliseconds at_most) {
  pump();
  while (waiting_bytes() != 0) {
    pollfd entry{socket_.get(), POLLOUT, 0};
    if (::poll(&entry, 1, static_cast<int>(at_most.count())) == 0) return false;
    pump();
  }
  return !broken_;
}

void Connection::read_some(Clock::time_point now) {
  std::array<char, kReadBytes> piece;
  for (int i = 0; i < kReadsAtOnce; ++i) {
    const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (n > 0) {
      reader_.feed({piece.data(), static_cast<std::size_t>(n)});
      heard_ = now;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (!broken_) {
      broken_ = n == 0 ? Error({ECONNRESET, std::generic_category()}, "the connection was closed")
                       : Error::from_errno(errno, "the connection broke");
    }
    return;
  }
}

Result<std::vector<std::string>> Connection::receive(Clock::time_point now) {
  const bool was_broken = broken_.has_value();
  if (!was_broken) read_some(now);
  std::vector<std::string> messages;
  for (;;) {
    auto message = reader_.next();
    if (!message) {
      broken_ = message.error();
      break;
    }
    if (!*message) break;
    messages.push_back(std::move(**message));
  }
  if (!reader_.has_part()) {
    begun_.reset();
  } else if (!begun_ || !messages.empty()) {
    begun_ = heard_;
  }
  if (messages.empty() && broken_) return *broken_;
  return messages;
}

}  // namespace shmif::perf
