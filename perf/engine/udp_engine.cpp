// engine=udp: frames as payload of UDP datagrams, between two sockets of this machine, or between a
// socket here and another machine.

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/engine/datagram_link.hpp"
#include "perf/engine/link_end.hpp"
#include "perf/engine/socket_address.hpp"
#include "perf/engine/wires.hpp"

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

/// Connects a bound socket and sets it up.
Result<UdpSocket> finish(UniqueFd socket, const SocketAddress& remote, const JobOptions& job) {
  if (auto connected = connect_to(socket.get(), remote); !connected) {
    return std::move(connected).error();
  }
  enlarge_buffers(socket.get(), kUdpBufferBytes);
  auto local = address_of(socket.get());
  if (!local) return std::move(local).error();
  UdpSocket made;
  made.largest = std::min(max_frame_bytes_of(job), max_datagram_bytes(socket.get(), remote));
  made.address = "udp:" + local->to_string();
  made.socket = std::move(socket);
  return made;
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
  auto here = bound_socket(SOCK_DGRAM, *host);
  if (here) return make_local(job, *std::move(here), *host);
  if (here.error().code != std::errc::address_not_available) return std::move(here).error();
  if (job.port == 0) {
    return Error(Errc::bad_argument, "the host " + job.hostname +
                                         " is another machine, but its UDP port is not known (give "
                                         "the same 'port' on both machines)");
  }
  if (ends > 1) {
    return Error(Errc::bad_argument,
                 "the host " + job.hostname +
                     " is another machine: one of the two ends of this wire is there, but " +
                     std::to_string(ends) +
                     " jobs want an end here (use rw=tx on one machine and rw=rx on the other)");
  }
  auto socket = bound_socket(SOCK_DGRAM, host->any());
  if (!socket) return std::move(socket).error();
  auto one = finish(*std::move(socket), *host, job);
  if (!one) return std::move(one).error();
  std::vector<UdpSocket> sockets;
  sockets.push_back(*std::move(one));
  return std::unique_ptr<Wire>(
      std::make_unique<UdpWire>(std::move(sockets), "udp:" + host->to_string()));
}

}  // namespace

const Engine kUdpEngine{
    .kind = EngineKind::udp,
    .name = "udp",
    .wire = "two UDP sockets, with the frames as their payload",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = 2},
    .make_wire = make_udp_wire};

}  // namespace shmif::perf
