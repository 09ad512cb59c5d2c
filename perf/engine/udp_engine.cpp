// engine=udp: frames as payload of UDP datagrams, between two sockets of this machine. A job that
// is alone on its wire sends to the socket of another program, or receives from any.

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/engine/link_end.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::perf {
namespace {

struct UdpSocket {
  UniqueFd socket;
  std::string address;  ///< address that it is bound to
  std::size_t largest = 0;
};

class UdpWire final : public Wire {
 public:
  UdpWire(std::vector<UdpSocket> sockets, std::string address)
      : sockets_(std::move(sockets)), address_(std::move(address)) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = kUdpEngine.capabilities;
    can.max_ends = sockets_.size();
    return can;
  }
  std::string address() const override { return address_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, sockets_.size(), address_); !fits) {
      return std::move(fits).error();
    }
    const UdpSocket& ours = sockets_[options.index];
    UniqueFd socket(::fcntl(ours.socket.get(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot open an end of " + address_);
    auto link = DatagramLink::adopt(
        std::move(socket),
        {.max_frame_bytes = ours.largest, .address = ours.address, .peer_may_come = true});
    return make_end(std::move(link), options, RoomWait::poll, [](const DatagramLink& l) {
      WireCounters counted;
      counted.dropped_frames = l.dropped();
      return counted;
    });
  }

 private:
  std::vector<UdpSocket> sockets_;
  std::string address_;
};

/// Sets up a bound socket.
Result<UdpSocket> finish(UniqueFd socket, const JobOptions& job) {
  enlarge_buffers(socket.get(), kUdpBufferBytes);
  auto local = address_of(socket.get());
  if (!local) return std::move(local).error();
  UdpSocket made;
  made.largest = max_frame_bytes_of(job);
  made.address = "udp:" + local->to_string();
  made.socket = std::move(socket);
  return made;
}

/// Connects a bound socket and sets it up.
Result<UdpSocket> finish(UniqueFd socket, const SocketAddress& remote, const JobOptions& job) {
  if (auto connected = connect_to(socket.get(), remote); !connected) {
    return std::move(connected).error();
  }
  auto made = finish(std::move(socket), job);
  if (made) made->largest = std::min(made->largest, max_datagram_bytes(made->socket.get(), remote));
  return made;
}

std::unique_ptr<Wire> wire_of(UdpSocket socket, std::string address) {
  std::vector<UdpSocket> sockets;
  sockets.push_back(std::move(socket));
  return std::make_unique<UdpWire>(std::move(sockets), std::move(address));
}

/// The receiver is a socket of another program.
Result<std::unique_ptr<Wire>> make_sender(const JobOptions& job, const SocketAddress& receiver) {
  auto socket = bound_socket(SOCK_DGRAM, receiver.any().with_port(0));
  if (!socket) return std::move(socket).error();
  auto made = finish(*std::move(socket), receiver, job);
  if (!made) return std::move(made).error();
  return wire_of(*std::move(made), "udp:" + receiver.to_string());
}

/// The senders are sockets of other programs.
Result<std::unique_ptr<Wire>> make_receiver(const JobOptions& job, UniqueFd socket) {
  auto made = finish(std::move(socket), job);
  if (!made) return std::move(made).error();
  std::string address = made->address;
  return wire_of(*std::move(made), std::move(address));
}

/// Both ends are on this machine: the first has the requested port, the second any free one.
Result<std::unique_ptr<Wire>> make_local(const JobOptions& job, UniqueFd first,
                                         const SocketAddress& host) {
  auto second = bound_socket(SOCK_DGRAM, host.with_port(0));
  if (!second) return std::move(second).error();
  auto first_address = address_of(first.get());
  auto second_address = address_of(second->get());
  if (!first_address) return std::move(first_address).error();
  if (!second_address) return std::move(second_address).error();
  auto one = finish(std::move(first), *second_address, job);
  if (!one) return std::move(one).error();
  auto other = finish(*std::move(second), *first_address, job);
  if (!other) return std::move(other).error();
  std::vector<UdpSocket> sockets;
  sockets.push_back(*std::move(one));
  sockets.push_back(*std::move(other));
  std::string address = sockets.front().address;
  return std::unique_ptr<Wire>(std::make_unique<UdpWire>(std::move(sockets), std::move(address)));
}

Result<std::unique_ptr<Wire>> make_udp_wire(const JobOptions& job, std::size_t ends) {
  auto host = resolve(job.hostname, job.port);
  if (!host) return std::move(host).error();
  if (job.no_peer) return make_sender(job, *host);
  // A successful bind proves nothing: it works for group addresses, and with ip_nonlocal_bind for
  // any address.
  if (!host->is_any() && !is_of_this_machine(*host)) {
    return Error(Errc::bad_argument,
                 "the host " + job.hostname +
                     " is another machine or a group, but frames are received on this one (give an "
                     "address of this machine; or to send to a program there, rw=tx, no_peer and "
                     "its port)");
  }
  auto here = bound_socket(SOCK_DGRAM, *host);
  if (!here) return std::move(here).error();
  if (ends == 1 && job.rw == Role::rx) return make_receiver(job, *std::move(here));
  return make_local(job, *std::move(here), *host);
}

}  // namespace

const Engine kUdpEngine{
    .kind = EngineKind::udp,
    .name = "udp",
    .wire = "two UDP sockets, with the frames as their payload",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = 2},
    .through = Through::sockets,
    .make_wire = make_udp_wire};

}  // namespace shmif::perf
