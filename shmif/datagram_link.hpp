#pragma once
// DatagramLink: a datagram socket with a peer, as a Link. Each datagram is one frame.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/link.hpp"
#include "shmif/socket_address.hpp"

namespace shmif {

/// How a DatagramLink uses its socket.
struct DatagramOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer frames are refused; received ones are truncated
  std::string address;                 ///< for messages: "unix:", "udp:127.0.0.1:4000"
  /// A peer that refuses frames may start later, as with UDP. If false, a refusal ends the link.
  bool peer_may_come = false;
  /// For a socket that is not connected: where frames go. If no socket is there, a frame is lost,
  /// and counted as undelivered.
  std::optional<SocketAddress> remote = {};
  bool drops_too_long = false;  ///< drop longer frames instead of truncating them
};

/// Received datagrams that are not frames for the link.
struct DatagramDrops {
  std::uint64_t too_long = 0;   ///< only with DatagramOptions::drops_too_long
  std::uint64_t too_short = 0;  ///< shorter than an Ethernet header
};

/// Sends and receives many datagrams in one system call; it receives directly into the batch.
/// Datagrams that are too short for a frame are dropped and counted. The link ends when the peer of
/// a SOCK_SEQPACKET socket has closed. Threads: one may send while another receives and waits;
/// counters from any. Blocks: never; if the socket is full, it takes no more frames for now
/// (SendResult::taken).
class DatagramLink {
 public:
  /// Takes ownership of a socket. It must be connected, or DatagramOptions::remote must say where
  /// frames go. Otherwise the link can only receive.
  static DatagramLink adopt(UniqueFd socket, DatagramOptions options);
  DatagramLink(DatagramLink&&) noexcept;  ///< the other may then only be assigned to or destroyed
  DatagramLink& operator=(DatagramLink&&) noexcept;  ///< closes the socket that it had
  ~DatagramLink();

  /// Errors: frame_too_short, frame_too_long (also for the path to the peer), link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Errors: link_ended, or once an errno of the socket.
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;  ///< the socket
  /// As AnyLink::room_descriptor(). Also -1 if DatagramOptions::remote is not a Unix socket, if no
  /// socket is there, or if that socket is connected to another one.
  int room_descriptor() noexcept;
  WaitHint prepare_wait() noexcept;        ///< as Link
  void finish_wait() noexcept;             ///< as Link
  std::size_t max_frame_bytes() noexcept;  ///< DatagramOptions::max_frame_bytes
  std::string address();                   ///< DatagramOptions::address

  /// Frames for this socket that the kernel dropped since the link was made, because they were not
  /// received in time. Empty if the kernel does not count them.
  std::optional<std::uint64_t> dropped() const noexcept;
  /// Frames that send() took while no socket was at DatagramOptions::remote.
  std::uint64_t undelivered() const noexcept;
  DatagramDrops drops() const noexcept;  ///< counted since the link was made; threads: any

 private:
  struct Impl;
  explicit DatagramLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<DatagramLink>);

/// How many frames the kernel dropped since `socket` was made, because it was full: a 32-bit number
/// that wraps. Empty if the kernel does not count them.
std::optional<std::uint32_t> drops_of(int socket) noexcept;

/// Asks for buffers of `bytes` bytes. Without privileges, the kernel grants them only up to a
/// limit.
void enlarge_buffers(int socket, int bytes) noexcept;
/// For UDP. A full socket loses frames, so the buffer has room for frames that arrive while the
/// receiver waits for a CPU.
inline constexpr int kUdpBufferBytes = 8 << 20;

}  // namespace shmif
