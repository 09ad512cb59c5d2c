#pragma once
// Frames over a socket, a batch per system call. For Unix datagrams and packet sockets.

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <string>
#include <vector>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace shmif::bench {

/// Limits the wait of each send and receive on this socket to 50 ms.
inline void limit_waits(int socket) {
  const timeval limit{.tv_sec = 0, .tv_usec = 50'000};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/// `batch` messages, each with its own buffer.
class Messages {
 public:
  Messages(std::size_t batch, std::size_t bytes)
      : buffers_(batch, make_frame(bytes)), vectors_(batch), headers_(batch) {
    for (std::size_t i = 0; i < batch; ++i) {
      vectors_[i] = {.iov_base = buffers_[i].data(), .iov_len = bytes};
      headers_[i].msg_hdr.msg_iov = &vectors_[i];
      headers_[i].msg_hdr.msg_iovlen = 1;
    }
  }
  mmsghdr* data() noexcept { return headers_.data(); }
  unsigned size() const noexcept { return static_cast<unsigned>(headers_.size()); }

 private:
  std::vector<std::vector<std::byte>> buffers_;
  std::vector<iovec> vectors_;
  std::vector<mmsghdr> headers_;
};

class MessageSender final : public Sender {
 public:
  MessageSender(int socket, const Work& work)
      : socket_(socket), messages_(work.batch, work.frame_bytes) {}
  std::size_t send() override {
    const int sent = sendmmsg(socket_, messages_.data(), messages_.size(), 0);
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
      give_up("sendmmsg: error " + std::to_string(errno));
    }
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }

 private:
  int socket_;
  Messages messages_;
};

class MessageListener : public Listener {
 public:
  MessageListener(int socket, const Work& work)
      : socket_(socket), messages_(work.batch, work.frame_bytes) {}
  Heard hear() override {
    const int got = recvmmsg(socket_, messages_.data(), messages_.size(), MSG_WAITFORONE, nullptr);
    return {got < 0 ? 0 : static_cast<std::uint64_t>(got), 0};
  }

 private:
  int socket_;
  Messages messages_;
};

}  // namespace shmif::bench
