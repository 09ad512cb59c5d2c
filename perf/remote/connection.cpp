#include "perf/remote/connection.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace shmif::perf {

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
