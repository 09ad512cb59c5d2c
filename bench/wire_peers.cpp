// Programs that use the formats of `shmifctl bridge stream:` and `dgram:`, like QEMU. They are
// connected to each other by a bare socket, or to bridges whose sockets are in the folder `place`.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "base/unique_fd.hpp"
#include "bench/frame.hpp"
#include "bench/messages.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"
#include "shmif/stream_link.hpp"

namespace shmif::bench {
namespace {

constexpr int kBufferBytes = 4 << 20;

sockaddr_un at_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) give_up("the path " + path + " is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

using Call = int (*)(int, const sockaddr*, socklen_t);

void at(int socket, Call call, const std::string& path) {
  const sockaddr_un address = at_path(path);
  if (call(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    give_up("no socket at " + path);
}

void wait_for(int socket, short events) {
  pollfd ready{.fd = socket, .events = events, .revents = 0};
  poll(&ready, 1, 50);
}

StreamLink link_on(int socket, const Work& work) {
  return StreamLink::adopt(UniqueFd(dup(socket)),
                           {.max_frame_bytes = work.frame_bytes, .address = "peer"});
}

class StreamSender final : public Sender {
 public:
  StreamSender(int socket, const Work& work)
      : link_(link_on(socket, work)),
        frame_(make_frame(work.frame_bytes)),
        batch_(work.batch, FrameView(frame_.data(), frame_.size())) {}
  std::size_t send() override {
    const SendResult sent = link_.send(batch_);
    if (sent.error) give_up("the stream ended: " + sent.error.message());
    if (sent.taken == 0) wait_for(link_.descriptor(), POLLOUT);
    return sent.taken;
  }

 private:
  StreamLink link_;
  std::vector<std::byte> frame_;
  std::vector<FrameView> batch_;
};

class StreamListener final : public Listener {
 public:
  StreamListener(int socket, const Work& work)
      : link_(link_on(socket, work)), batch_(work.batch, work.batch * work.frame_bytes) {}
  Heard hear() override {
    batch_.clear();
    const ReceiveResult got = link_.receive(batch_);
    if (got.frames == 0) wait_for(link_.descriptor(), POLLIN);
    return {got.frames, 0};
  }

 private:
  StreamLink link_;
  FrameBatch batch_;
};

/// A pair of sockets, or two connections to one bridge.
class PeerWire : public Wire {
 public:
  PeerWire(const Work& work, int type) : work_(work) {
    if (!work.place.empty()) {
      for (UniqueFd& end : ends_) end.reset(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
      return;
    }
    std::array<int, 2> pair{-1, -1};
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair.data()) != 0) give_up("no Unix sockets");
    for (unsigned i = 0; i < 2; ++i) ends_.at(i).reset(pair.at(i));
  }

 protected:
  std::string place(const char* name) const { return work_.place + '/' + name; }
  int end(unsigned i) const { return ends_.at(i).get(); }

  Work work_;

 private:
  std::array<UniqueFd, 2> ends_;
};

class StreamWire final : public PeerWire {
 public:
  explicit StreamWire(const Work& work) : PeerWire(work, SOCK_STREAM) {}
  std::unique_ptr<Listener> listener(unsigned) override {
    if (!work_.place.empty()) at(end(1), ::connect, place("q"));
    return std::make_unique<StreamListener>(end(1), work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    if (!work_.place.empty()) at(end(0), ::connect, place("q"));
    return std::make_unique<StreamSender>(end(0), work_);
  }
};

/// Two bridges: "bus0" with "vm0", and "bus1" with "vm1". Without bridges, "vm0" sends to "vm1".
class DatagramWire final : public PeerWire {
 public:
  explicit DatagramWire(const Work& work) : PeerWire(work, SOCK_DGRAM) {
    for (unsigned i = 0; i < 2; ++i) {
      limit_waits(end(i));
      setsockopt(end(i), SOL_SOCKET, SO_SNDBUF, &kBufferBytes, sizeof kBufferBytes);
    }
  }
  std::unique_ptr<Listener> listener(unsigned) override {
    if (!work_.place.empty()) at(end(1), ::bind, place("vm1"));
    return std::make_unique<MessageListener>(end(1), work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    if (!work_.place.empty()) {
      at(end(0), ::bind, place("vm0"));
      at(end(0), ::connect, place(work_.directly ? "vm1" : "bus0"));
    }
    return std::make_unique<MessageSender>(end(0), work_);
  }
};

}  // namespace

std::unique_ptr<Wire> make_stream_wire(const Work& work) {
  return std::make_unique<StreamWire>(work);
}

std::unique_ptr<Wire> make_datagram_wire(const Work& work) {
  return std::make_unique<DatagramWire>(work);
}

}  // namespace shmif::bench
